"""Wrong wishes, hostile files, full disks and strange folders: one clear sentence, the others go on, nothing is lost."""

import errno
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

from matterloop.archive.database import open_archive
from matterloop.archive.failures import Conflict
from matterloop.archive.locks import file_lock
from matterloop.campaign.loop import CAMPAIGN

CELL = "_cell_length_a {a}\n_cell_length_b {b}\n_cell_length_c {c}\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma {g}\n"
LOOP = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"


def cif(sites="Na 0 0 0 1\nCl 0.5 0.5 0.5 1\n", a=3.5, b=3.5, c=3.5, g=90, more=""):
    return "data_x\n" + CELL.format(a=a, b=b, c=c, g=g) + more + LOOP + sites


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


# wishes


@pytest.mark.parametrize("args, words", [
    (["roses are red"], "--anyway"),
    ([""], "empty"),
    (["lithium oxides with 0 atoms"], "0 atoms"),
    (["quaternary compounds with 2 atoms"], "at least 4 atoms"),
    (["binary compounds of Li, Fe and O"], "at most 2"),
    (["lithium oxides", "--exclude", "O"], "excluded"),
    (["lithium oxides", "--exclude", "Xx"], "did you mean Xe"),
    (["lithium oxides", "--include", "Zz"], "no element"),
    (["lithium oxides", "--potential", "lennard_jones"], "no potential with shipped reference phases"),
    (["lithium oxides", "--potential", "chgnett"], "did you mean chgnet"),
    (["lithium oxides", "--reference", "nowhere.csv"], "cannot be read"),
    (["lithium oxides", "--reference", "{tmp}/empty.csv"], "empty.csv"),
    (["lithium oxides", "--reference", "{tmp}/raw.csv"], "'pbe-raw', the hull is of 'mp2020'"),
    (["lithium oxides", "--rounds", "5", "--count", "2"], "5 rounds for 2 proposals"),
    (["lithium oxides", "--count", "0"], "greater than or equal to 1"),
    (["{tmp}/typo.toml"], "did you mean 'atoms'"),
    (["{tmp}/unit.toml"], "'furlong' does not measure"),
    (["{tmp}/broken.toml"], "not valid TOML"),
    (["nowhere.toml"], "cannot be read"),
], ids=lambda x: " ".join(x)[-40:] if isinstance(x, list) else "")
def test_what_cannot_run_is_one_sentence_and_leaves_no_folder(cli, args, words, tmp_path):
    (tmp_path / "empty.csv").write_text("formula,energy_per_atom,scheme\n")
    (tmp_path / "raw.csv").write_text("formula,energy_per_atom,scheme,potential\nLi,-1.9,pbe-raw,chgnet\n")
    (tmp_path / "typo.toml").write_text("atms = [1, 8]\n")
    (tmp_path / "unit.toml").write_text('[limits.energy_above_hull]\nhigh = 0.1\nunit = "furlong"\n')
    (tmp_path / "broken.toml").write_text("required = [")
    code, out, err = cli("discover", *[a.replace("{tmp}", str(tmp_path)) for a in args], "--no-lookup", "--quiet", "--out", tmp_path / "run")
    assert code == 2 and words in err and not out and "Traceback" not in err, err
    assert not (tmp_path / "run").exists()


def test_generate_refuses_a_sentence_that_says_nothing_but_not_no_sentence(cli):
    assert cli("generate", "roses are red", "--count", 1)[0] == 2
    code, _, err = cli("generate", "--elements", "Mg,O", "--count", 1)
    assert code == 0 and "WARNING" not in err


def test_what_was_not_understood_is_said_loudly_on_the_screen_and_in_the_report(finished):
    folder, out, err = finished
    assert err.count("WARNING: not understood, and not used: 'smell'") == 1  # with --json the summary is the objects alone
    assert "smell" in (folder / "report.html").read_text() and "Not understood" in (folder / "report.html").read_text()


def test_rows_of_an_own_reference_that_cannot_be_used_are_named(finished):
    folder, _, err = finished
    page = (folder / "report.html").read_text()
    for row, why in (("row 4", "Xq"), ("row 5", "abc"), ("row 6", "nan")):
        line = next(x for x in err.splitlines() if row in x)
        assert "row of the reference left out" in line and why in line and row in page


def test_json_is_alone_on_standard_output_and_each_stage_a_line_on_standard_error(finished):
    folder, out, err = finished
    *found, last = rows(out)
    assert last.keys() == {"cost"}
    assert len(found) == 2 and {r["key"] for r in found} == {r.split(",")[1] for r in (folder / "candidates.csv").read_text().splitlines()[1:]}
    assert not any(isinstance(v, float) and v != v for r in found for v in r.values()) and "NaN" not in out
    assert [x.split(":")[0] for x in err.splitlines() if x.split(":")[0] in ("propose", "screen", "relax", "judge", "report")] == ["propose", "screen", "relax", "judge", "report"]


def test_a_wish_outside_the_own_reference_is_refused_before_anything_is_made(cli, tmp_path):
    (tmp_path / "own.csv").write_text("formula,energy_per_atom,scheme,potential\nLi,-1.9,mp2020,chgnet\nO2,-4.9,mp2020,chgnet\n")
    code, _, err = cli("discover", "binary magnesium oxides", "--count", 2, "--reference", tmp_path / "own.csv", "--out", tmp_path / "run", "--no-lookup", "--quiet", "--json")
    assert code == 2 and "own.csv: holds no phase of Mg" in err and not (tmp_path / "run").exists()


def test_proposals_keep_to_the_elements_of_the_own_reference(cli, tmp_path):
    (tmp_path / "own.csv").write_text("formula,energy_per_atom,scheme,potential\nLi,-1.9,mp2020,chgnet\nO2,-4.9,mp2020,chgnet\nNa,-1.3,mp2020,chgnet\n")
    code, out, _ = cli("discover", "binary oxides", "--count", 3, "--reference", tmp_path / "own.csv", "--out", tmp_path / "run", "--no-lookup", "--quiet", "--json")
    found = [r for r in rows(out) if "key" in r]  # the last object is the cost
    assert code == 0 and found and all(set(re.findall("[A-Z][a-z]?", r["formula"])) <= {"Li", "Na", "O"} for r in found)


def test_a_crystal_outside_the_own_reference_has_no_hull_and_says_so(cli, tmp_path):
    (tmp_path / "salt.cif").write_text(cif())
    (tmp_path / "own.csv").write_text("formula,energy_per_atom,scheme,potential\nLi,-1.9,mp2020,chgnet\nO2,-4.9,mp2020,chgnet\n")
    code, out, _ = cli("hull", tmp_path / "salt.cif", "--reference", tmp_path / "own.csv", "--as-is", "--quiet", "--json")
    assert code == 1 and "no elemental reference for Na, Cl" in rows(out)[0]["error"]


def test_what_a_reader_changed_is_told_on_standard_error(cli, tmp_path):
    (tmp_path / "POSCAR").write_text("left-handed\n1.0\n0 2.8 2.8\n2.8 2.8 0\n2.8 0 2.8\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
    code, out, err = cli("energy", tmp_path / "POSCAR", "--json")
    assert code == 0 and "negat" in err and len(rows(out)) == 1


# files


@pytest.fixture
def hostile(tmp_path):
    """Files that must be refused with these words, and good ones among them."""
    bad = {
        "overlap": (cif("Na 0 0 0 1\nCl 0 0 0.001 1\n"), "overlap"), "same_site": (cif("Na 0 0 0 1\nNa 0 0 0 1\nCl .5 .5 .5 1\n"), "overlap"),
        "disorder": (cif("Na 0 0 0 0.5\nK 0 0 0 0.5\nCl .5 .5 .5 1\n"), "disordered"), "no_volume": (cif(c=0), "not possible"),
        "flat": (cif(g=0), "not possible"), "nan": (cif("Na nan 0 0 1\n"), "'nan' is not a number"), "inf": (cif(a="inf"), "'inf' is not a number"),
        "vast_number": (cif(a="1e308"), "volume"), "unknown": (cif("Xx 0 0 0 1\n"), "names no element"), "deuterium": (cif("D 0 0 0 1\n"), "deuterium"),
        "bomb": (cif("Na 0 0 0 1\n", 0.01, 0.01, 1000), "0.01 Å"), "needle": (cif("Na 0 0 0 1\n", c="1e6"), "1e+06 Å"), "og": (cif("Og 0 0 0 1\n"), "CHGNet knows"),
        "empty": ("", "empty"), "cut": (cif()[:60], "no value"), "group": (cif(more="_symmetry_space_group_name_H-M 'F m -3 q'\n"), "does not know the space group"),
        "binary": (b"\0\1\2" * 50, "not text"), "latin": (b"# \xe9\n" + cif().encode(), "UTF-8"), "utf16": (cif().encode("utf-16"), "UTF-16"),
        "many": (cif("".join(f"Na {i / 600:.5f} 0 0 1\n" for i in range(600))), "600 sites"),
    }
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name, (text, _) in bad.items():
        (folder / f"{name}.cif").write_bytes(text if isinstance(text, bytes) else text.encode())
    wanted = {f"{name}.cif": words for name, (_, words) in bad.items()}
    (folder / "folder.cif").mkdir()
    (folder / "loop.cif").symlink_to("loop.cif")
    (folder / "dangling.cif").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.cif")
    with (folder / "million.cif").open("wb") as file:
        file.truncate(50_000_000)
    wanted |= {"folder.cif": "folder", "loop.cif": "symbolic links", "dangling.cif": "no such file", "pipe.cif": "regular file", "million.cif": "50000000 bytes"}
    for i in range(3):
        (folder / f"good{i}.cif").write_text(cif(a=3.5 + i / 10))
    return folder, wanted


@pytest.mark.parametrize("verb", ["energy", "relax", "hull"])
def test_hostile_files_are_named_and_the_others_go_on(cli, hostile, verb):
    folder, wanted = hostile
    files = sorted(folder.iterdir())
    if verb != "energy":  # the same reader: a few suffice
        files = [f for f in files if f.stem in ("overlap", "og", "nan", "good0", "good1", "good2")]
    code, out, err = cli(verb, *files, "--json", *([] if verb == "energy" else ["--quiet"]))
    found = rows(out)
    assert code == 1 and [r["file"] for r in found] == [str(f) for f in files] and "Traceback" not in err
    for r in found:
        name = os.path.basename(r["file"])
        assert ("error" not in r and r["energy_per_atom"] < -3) if name.startswith("good") else wanted[name] in r["error"], r


def test_more_atoms_are_let_in_when_asked(cli, tmp_path):
    (tmp_path / "many.cif").write_text(cif("".join(f"Na {i / 600:.5f} 0 0 1\n" for i in range(600)), a=199, b=30, c=30))
    assert "600 sites, allowed are 500" in rows(cli("energy", tmp_path / "many.cif", "--json")[1])[0]["error"]
    assert "600 sites" not in rows(cli("energy", tmp_path / "many.cif", "--json", "--max-atoms", 600)[1])[0].get("error", "")


@pytest.mark.parametrize("option, value, words", [("--fmax", "-1", "above 0"), ("--fmax", "nan", "above 0"), ("--pressure", "nan", "GPa"), ("--optimizer", "bfgs", "did you mean lbfgs")])
def test_settings_of_a_relaxation_that_cannot_be_are_wrong_use(cli, tmp_path, option, value, words):
    (tmp_path / "salt.cif").write_text(cif())
    code, out, err = cli("relax", tmp_path / "salt.cif", option, value, "--quiet", "--json")
    assert code == 2 and words in err and not out


# disks and folders


def full_after(monkeypatch, writes):
    """A disk that is full after so many files of ours."""
    real, left = os.fsync, [writes]

    def fsync(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr("matterloop.archive.files.os.fsync", fsync)


def test_a_full_disk_costs_only_the_file_it_refused(cli, tmp_path, monkeypatch):
    for i in range(3):
        (tmp_path / f"{i}.cif").write_text(cif(a=3.4 + i / 10))
    full_after(monkeypatch, 1)
    code, out, _ = cli("relax", *sorted(tmp_path.glob("*.cif")), "--out", tmp_path / "out", "--json", "--quiet")
    found = rows(out)
    assert code == 1 and len(found) == 3 and all(r["energy_per_atom"] < -3 for r in found)
    assert sum("No space left" in r.get("error", "") for r in found) == 2 and len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("writes", [0, 1, 3, 5])
def test_a_disk_that_fills_while_results_are_written_loses_nothing(cli, copied, finished, monkeypatch, writes):
    before = {p.relative_to(copied): p.read_bytes() for p in copied.rglob("*") if p.is_file() and p.suffix in (".csv", ".html", ".cif")}
    with monkeypatch.context() as m:
        full_after(m, writes)
        code, _, err = cli("resume", copied, "--no-lookup", "--quiet")
        assert code == 2 and "No space left" in err and "Traceback" not in err
        assert {k: (copied / k).read_bytes() for k in before} == before or writes > 0  # old files stay whole
        assert all((copied / k).stat().st_size for k in before)
    code, out, _ = cli("resume", copied, "--no-lookup", "--quiet", "--json")
    assert code == 0 and rows(out)[:-1] == rows(finished[1])[:-1]


def test_a_log_that_meets_a_full_disk_says_so(cli, tmp_path):
    """The database itself, under a limit on the size of files."""
    program = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000));"
               "from matterloop.archive.database import open_archive; from matterloop.base.errors import MatterloopError\n"
               "a = open_archive(sys.argv[1])\n"
               "try:\n    [a.append('x', 'y', {'text': 'z' * 5000}) for _ in range(100)]\n"
               "except MatterloopError as e: print(e)")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.db")], capture_output=True, text=True)
    assert done.returncode == 0 and "full" in done.stdout and "committed before is kept" in done.stdout, done.stderr
    with open_archive(tmp_path / "a.db") as archive:
        kept = archive.events("x")
        assert kept and [e.number for e in kept] == list(range(len(kept)))


@pytest.mark.parametrize("verb", ["show", "resume", "discover"])
@pytest.mark.parametrize("harm, words", [("version", "schema version 99"), ("cut", "damaged"), ("noise", "damaged"), ("missing", "no run folder")])
def test_a_database_that_cannot_be_read_is_told_and_left_alone(cli, copied, harm, words, verb):
    file = copied / "campaign.db"
    if harm == "version":
        with sqlite3.connect(file) as connection:
            connection.execute("update meta set value = '99' where name = 'schema_version'")
        connection.close()
    elif harm == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:len(file.read_bytes()) // 2] if harm == "cut" else os.urandom(30000))
    if harm == "missing" and verb == "discover":
        return  # a folder without a run is a place for one
    content = file.read_bytes() if file.exists() else None
    extra = {"show": [], "resume": ["--no-lookup", "--quiet"], "discover": ["--no-lookup", "--quiet", "--count", 1, "--out", copied]}[verb]
    code, _, err = cli(verb, "oxides" if verb == "discover" else copied, *extra)
    assert code == 2 and words in err and "Traceback" not in err, err
    assert content is None or file.read_bytes() == content


def test_a_folder_that_holds_a_run_or_is_a_file_is_not_taken(cli, copied, tmp_path):
    content = (copied / "campaign.db").read_bytes()
    code, _, err = cli("discover", "oxides", "--count", 1, "--no-lookup", "--quiet", "--out", copied)
    assert code == 2 and "matterloop resume" in err and "--overwrite" in err and (copied / "campaign.db").read_bytes() == content
    (tmp_path / "file").write_text("mine")
    code, _, err = cli("discover", "oxides", "--count", 1, "--no-lookup", "--quiet", "--out", tmp_path / "file")
    assert code == 2 and "is a file" in err and (tmp_path / "file").read_text() == "mine"


def test_a_run_that_is_being_written_is_neither_resumed_nor_overwritten(cli, copied):
    content = (copied / "report.html").read_bytes()
    with file_lock(copied / "campaign.db", CAMPAIGN):
        for args in (["resume", copied], ["discover", "oxides", "--count", 1, "--out", copied, "--overwrite"]):
            code, _, err = cli(*args, "--no-lookup", "--quiet")
            assert code == 2 and "another process is writing" in err
        assert cli("show", copied)[0] == 0
    assert (copied / "report.html").read_bytes() == content
    assert issubclass(Conflict, OSError)


def test_overwrite_replaces_our_files_only_and_odd_paths_work(cli, copied, finished, tmp_path):
    odd = tmp_path / "a" / ".." / "ünï cödé" / "日本"
    shutil.copytree(copied, odd.resolve())
    (odd.resolve() / "notes.txt").write_text("mine")
    (odd.resolve() / "structures" / ".old.cif.abc.cif").write_text("cut short")
    code, out, err = cli("discover", "binary lithium oxides that smell", "--count", 2, "--reference", finished[0].parent / "own.csv", "--out", odd, "--overwrite", "--no-lookup",
                         "--quiet", "--json")
    assert code == 0 and rows(out)[:-1] == rows(finished[1])[:-1], err
    assert (odd.resolve() / "notes.txt").read_text() == "mine" and not list(odd.resolve().rglob(".*"))


def test_a_run_is_resumed_from_any_folder_with_the_reference_it_began_with(cli, tmp_path, monkeypatch, finished):
    shutil.copy(finished[0].parent / "own.csv", tmp_path / "own.csv")
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("discover", "binary lithium oxides", "--count", 1, "--reference", "own.csv", "--out", "run", "--no-lookup", "--quiet", "--json")
    assert code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, again, _ = cli("resume", tmp_path / "run", "--no-lookup", "--quiet", "--json")
    assert code == 0 and rows(again)[:-1] == rows(out)[:-1]


def test_a_folder_killed_before_its_wish_was_written_can_be_used_again(cli, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    open_archive(folder / "campaign.db").close()
    code, _, err = cli("resume", folder, "--no-lookup", "--quiet")
    assert code == 2 and "start it again" in err
    from matterloop.app.folder import new_folder

    new_folder(folder, overwrite=False)


def test_a_read_only_folder_can_be_shown_and_says_why_it_cannot_go_on(copied):
    as_user = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    if as_user and shutil.which("setpriv") is None:
        pytest.skip("root ignores modes and setpriv is not here")
    for path in sorted(copied.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copied.chmod(0o555)
    code = ("import sys; from matterloop.app.discover import resume, show; from matterloop.base.errors import MatterloopError\n"
            "print(len(show(sys.argv[1]).rows))\n"
            "try: resume(sys.argv[1])\nexcept MatterloopError as e: print(e)")
    try:
        done = subprocess.run([*as_user, sys.executable, "-c", code, str(copied)], capture_output=True, text=True)
    finally:
        copied.chmod(0o755)
        (copied / "structures").chmod(0o755)
    assert done.stdout.startswith("2\n") and ("read-only" in done.stdout or "allow writing" in done.stdout), done.stdout + done.stderr
