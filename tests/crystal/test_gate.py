"""Hostile input: each kind is refused with a sentence, quickly, and the others go on."""

import gzip
import math
import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matterloop.base.errors import BadInput, MatterloopError
from matterloop.crystal import formats, formats_sandbox
from matterloop.crystal.gate import Limits, cell_problem, decoded, problems, read_text, run_limited
from matterloop.crystal.state import Crystals

F64 = torch.float64
HEAD = "data_x\n_cell_length_a {}\n_cell_length_b {}\n_cell_length_c {}\n_cell_angle_alpha {}\n_cell_angle_beta {}\n_cell_angle_gamma {}\n"
SITES = "loop_\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"


def cif(lengths=(4, 4, 4), angles=(90, 90, 90), sites="Fe 0 0 0\n") -> str:
    return HEAD.format(*lengths, *angles) + "_symmetry_Int_Tables_number 1\n" + SITES + sites


def refusal(text: str | bytes, **options) -> str:
    found = formats.read_text_of(text, **options)
    assert len(found) == 0 and len(found.errors) == 1
    return str(found.errors[0])


# geometry


@pytest.mark.parametrize(("text", "words"), [
    (cif(sites="Fe 0 0 0\nFe 0.01 0 0\n"), "Fe (atom 0) and Fe (atom 1) are 0.04 Å apart, at least 0.5 Å is wanted; they overlap"),
    (cif(sites="Fe 0.001 0 0\nO 0.999 0 0\n"), "Fe (atom 0) and O (atom 1) are 0.008 Å apart"),
    (cif((0.01, 0.01, 1000), sites="".join(f"C 0 0 {i / 24}\n" for i in range(24))), "a = 0.01 Å, allowed are 1.5 to 200 Å"),
    (cif((4, 4, 400)), "c = 400 Å, allowed are 1.5 to 200 Å; widen Limits(lengths=...)"),
    (cif((4, 4, 4), (60, 60, 120)), "the angles 60, 60, 120 close no cell: it has no volume"),
    (cif((4, 4, 4), (60, 60, 119.9999)), "Å^3 per atom, allowed are 2 to 250"),
    (cif((4, 4, 4), (90, 90, 2)), "gamma = 2 °, allowed are 4 to 176 °"),
    (cif((1.6, 1.6, 1.6), sites="Fe 0 0 0\nFe 0.5 0.5 0.5\nFe .5 0 0\n"), "1.36533 Å^3 per atom"),
    (cif((30, 30, 30)), "27000 Å^3 per atom"),
    (cif(("nan", 4, 4)), "'nan' is not a number"),
    (cif(sites="Fe nan 0 0\n"), "'nan' is not a number"),
    (cif(sites="Zz 0 0 0\n"), "'Zz' names no element"),
    (cif(sites="D 0 0 0\n"), "deuterium; isotopes are not told apart here"),
    (cif(sites="Fe 0 0\n"), "its last row is cut off"),
    (cif(sites=""), "a loop has no values"),
    (cif().replace("_fract_z\n", "_fract_z\n_atom_site_occupancy\n").replace("Fe 0 0 0", "Fe 0 0 0 0.5"), "disordered"),
], ids=lambda x: None if x.startswith("data") else x[:40])
def test_a_structure_that_must_not_go_on_is_refused_with_a_sentence(text, words):
    assert words in refusal(text)


def test_the_thin_bomb_is_stopped_by_every_reader_and_as_a_batch():
    """24 atoms in 0.01 x 0.01 x 1000 Å: a neighbour search of 5 Å would look at 10^6 images of each."""
    frac = torch.zeros(24, 3, dtype=F64)
    frac[:, 2] = torch.arange(24) / 24
    bomb = Crystals.of(frac, [6] * 24, torch.diag(torch.tensor([0.01, 0.01, 1000.0])))
    for kind, text in (("cif", formats.cif_texts(bomb)[0]), ("poscar", formats.poscar_texts(bomb)[0]), ("extxyz", formats.extxyz_text(bomb))):
        assert "a = 0.01 Å" in refusal(text, kind=kind)
        assert "too near for 24 atoms" in refusal(text, kind=kind, limits=Limits(lengths=(0, 1e4), volume_per_atom=(0, 1e9)))


def test_a_named_space_group_does_not_carry_a_bomb_past_the_gate_to_a_library(monkeypatch):
    monkeypatch.setattr("matterloop.crystal.formats_read.run_limited", lambda *_: pytest.fail("the library was called"))
    text = cif((0.01, 0.01, 1000)).replace("_symmetry_Int_Tables_number 1", "_symmetry_space_group_name_H-M 'P 4/m m m'")
    assert "a = 0.01 Å" in refusal(text)


def test_problems_name_each_bad_crystal_of_a_batch_and_leave_the_good_ones():
    cell = 4 * torch.eye(3, dtype=F64)
    skip_checks = lambda frac, species, cells, counts: Crystals(torch.tensor(frac, dtype=F64), torch.tensor(species), torch.stack(cells), torch.tensor([0, *counts]).cumsum(0))
    batch = skip_checks(
        [[0, 0, 0], [0, math.nan, 0], [0, 0, 0], [0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0, 0]], [26, 26, 500, 26, 26, 26, 26],
        [cell, cell, cell, cell * torch.tensor([1, 1, 0]), cell, cell, cell * math.inf], [1, 1, 1, 1, 2, 0, 1])
    found = problems(batch, Limits())
    assert {i: s.split(",")[0][:40] for i, s in found.items()} == {
        1: "a coordinate is not finite", 2: "an atomic number is outside 0..118", 3: "the cell has no volume: its vectors lie "[:40],
        4: "Fe (atom 0) and Fe (atom 1) are 0.4 Å ap", 5: "it has no atoms", 6: "the cell holds a number that is not fini"}
    assert set(problems(batch)) == {1, 2, 3, 5, 6}  # without limits: only what no structure can be


def test_the_shortest_distance_is_that_of_the_general_neighbour_search():
    """Also across cell faces, in skewed cells, in cells thinner than twice the distance, and not along axes that do not repeat."""
    from matterloop.crystal.graph import Within

    rng = torch.Generator().manual_seed(3)
    seen = set()
    for trial in range(60):
        cell = torch.diag(0.8 + 3 * torch.rand(3, generator=rng, dtype=F64)) + 0.4 * torch.rand(3, 3, generator=rng, dtype=F64).tril(-1)
        n = int(torch.randint(1, 4, (1,), generator=rng))
        crystal = Crystals.of(torch.rand(n, 3, generator=rng, dtype=F64) * 3 - 1, [6] * n, cell, periodic=torch.rand(3, generator=rng) < 0.8)
        limit = 0.9
        loose = Limits(lengths=(0, 99), angles=(0, 180), volume_per_atom=(0, 999), min_distance=limit)
        near = len(Within(limit)(crystal)) > 0
        assert (0 in problems(crystal, loose)) == near, trial
        seen.add(near)
    assert seen == {True, False}


def test_a_molecule_and_a_slab_are_not_judged_by_axes_that_do_not_repeat():
    molecule = Crystals.of([[0, 0, 0], [0, 0, 0.74]], [1, 1], torch.eye(3), periodic=[False] * 3)
    slab = Crystals.of([[0, 0, 0.5]], [6], [[2.46, 0, 0], [0, 2.46, 0], [0, 0, 500]], periodic=[True, True, False])
    assert problems(Crystals.join([molecule, slab]), Limits()) == {}
    assert "0.74 Å apart" in problems(molecule, Limits(min_distance=0.8))[0]


def test_limits_are_options():
    assert cell_problem((3, 3, 250), (90, 90, 90), Limits(lengths=(1, 300))) == ""
    assert "c = 250" in cell_problem((3, 3, 250), (90, 90, 90), Limits())
    assert "alpha = nan" in cell_problem((3, 3, 3), (math.nan, 90, 90), Limits())


@pytest.mark.data
def test_no_crystal_of_mp20_is_refused(data_dir):
    found = formats.read_table(data_dir / "mp20_biternary_val_test" / "test.csv.gz", rows=slice(0, 1500))
    assert len(found) == 1500 and not found.errors


# text and files


@pytest.mark.parametrize(("data", "words"), [
    (b"", "it is empty"), (b" \n\t", "it is empty"), (cif().encode("utf-16"), "it is UTF-16 text; save it as UTF-8"), (cif().encode("utf-16-le"), "byte 1 is zero"),
    (b"data_x\n_author 'M\xfcller'\n", "line 2 holds the byte 0xfc, which is not UTF-8 (Latin-1"), (b"\x7fELF\x02\x01\x01\x00", "it is not text: byte 7 is zero"),
    (b"\x89PNG\r\n\x1a\n\x01", "not UTF-8"), (b"# nothing else\n", "no data block"), (b"hello world\n", "a CIF starts with data_")])
def test_what_is_not_cif_text_is_refused_with_a_sentence(data, words, tmp_path):
    (tmp_path / "x.cif").write_bytes(data)
    found = formats.read(tmp_path / "x.cif")
    assert len(found.errors) == 1 and words in str(found.errors[0]) and str(found.errors[0]).startswith(str(tmp_path / "x.cif"))
    assert words in refusal(data)


def test_a_mark_of_utf8_and_foreign_names_are_fine():
    assert decoded(b"\xef\xbb\xbfdata_\r\nx\rM\xc3\xbcller") == "data_\nx\nMüller"


def test_a_huge_file_is_refused_by_its_size_before_it_is_read(tmp_path, monkeypatch):
    with (tmp_path / "x.cif").open("wb") as file:
        file.truncate(5 << 30)  # sparse: takes no room
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(BadInput, match=r"5368709120 bytes, allowed are 1000000; raise Limits\(bytes=...\)"):
        read_text(tmp_path / "x.cif", Limits())


def test_a_packed_bomb_is_unpacked_no_further_than_the_limit(tmp_path):
    with gzip.open(tmp_path / "x.cif.gz", "wb", compresslevel=9) as file:
        for _ in range(30):
            file.write(b"#" * 1_000_000)
    assert (tmp_path / "x.cif.gz").stat().st_size < 100_000
    assert "more than 1000000 bytes" in str(formats.read(tmp_path / "x.cif.gz").errors[0])
    data = gzip.compress(cif().encode())
    (tmp_path / "cut.cif.gz").write_bytes(data[:-20])
    (tmp_path / "no.cif.gz").write_bytes(b"not packed")
    (tmp_path / "two.cif.gz").write_bytes(gzip.compress(cif()[:50].encode()) + gzip.compress(cif()[50:].encode()))
    found = formats.read([tmp_path / "cut.cif.gz", tmp_path / "no.cif.gz", tmp_path / "two.cif.gz"])
    assert len(found) == 1 and "ends too early" in str(found.errors[0]) and "not a gzip file" in str(found.errors[1])


def test_places_that_are_no_readable_files_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "loop.cif").symlink_to(tmp_path / "loop.cif")
    (tmp_path / "dangling.cif").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.cif").mkdir()
    os.mkfifo(tmp_path / "pipe.cif")  # opening it would wait for ever
    (tmp_path / "good.cif").write_text(cif())
    (tmp_path / "link.cif").symlink_to(tmp_path / "good.cif")
    found = formats.read([tmp_path / n for n in ("loop.cif", "dangling.cif", "folder.cif", "pipe.cif", "link.cif")] + ["a\0b.cif", "x" * 5000 + ".cif"])
    assert len(found) == 1
    for words, error in zip(("symbolic link", "no such file", "it is a folder", "pipe or socket", "null", "name too long"), found.errors, strict=True):
        assert words in str(error).lower()


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x.cif").write_text(cif())

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # root, who runs containers, may open everything
    assert "it may not be read: permission denied" in str(formats.read(tmp_path / "x.cif").errors[0])


def test_a_million_atoms_are_refused_before_they_are_expanded_or_compared():
    lines = "".join(f"Fe 0 0 {i / 40000}\n" for i in range(40_000))
    assert "40000 sites, allowed are 500; raise Limits(atoms=...)" in refusal(cif(sites=lines))
    assert "bytes, allowed are 1000000" in refusal(cif(sites="Fe 0 0 0\n" * 1_000_000))
    assert "1000000 atoms, allowed are 1 to 500" in refusal("1000000\n\n" + "He 0 0 0\n" * 1_000_000, kind="extxyz", limits=Limits(bytes=100_000_000))
    salt = formats.read_text_of("x\n1\n4 0 0\n0 4 0\n0 0 4\nFe\n1000000\nDirect\n0 0 0\n", "poscar")
    assert "1000000 atoms, allowed are 1 to 500" in str(salt.errors[0])


@pytest.mark.parametrize("text", [
    "data_x\n" + "'a " * 300_000, "data_x\n_a " + "'a'b" * 200_000, "data_x\n" + "\n;x" * 300_000, "data_" * 190_000, "data_x\n" + "loop_\n" * 150_000, "data_x\n" + "_a 1\n" * 200_000,
    "data_x\n" + "".join(f"_a{i} 1\n" for i in range(90_000)), "data_a\n" * 140_000, "data_x\n#" + "#" * 900_000, "data_x\n_a\n;" + "\n" * 900_000,
    HEAD.format("1" * 900_000, 4, 4, 90, 90, 90), cif(sites="Fe " + "9" * 300_000 + " 0 0\n"), cif(sites="A" * 900_000 + " 0 0 0\n"),
    cif().replace("_symmetry_Int_Tables_number 1", "_symmetry_equiv_pos_as_xyz '" + "x+" * 400_000 + "'"),
    cif().replace("_symmetry_Int_Tables_number 1", "loop_\n_symmetry_equiv_pos_as_xyz\n" + "'x,y,z'\n" * 100_000),
    cif().replace("_symmetry_Int_Tables_number 1", "_symmetry_Int_Tables_number 1\n_chemical_formula_sum '" + "(" * 400_000 + "'"),
], ids=lambda t: t[:60].replace("\n", " "))
def test_a_megabyte_made_to_be_slow_is_done_in_two_seconds(text):
    start = time.process_time()
    formats.read_text_of(text)
    assert time.process_time() - start < 2.0


numbers = st.sampled_from(["0", "1", "90", "0.5", "1e308", "-1e308", "1e-308", "nan", "inf", "-0.0", "60", "120", "4", "179.999999", "4(1)", "."]) | st.floats(allow_nan=True).map(repr)


@given(st.lists(numbers, min_size=6, max_size=6), st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=4), st.booleans())
@settings(max_examples=150, deadline=2000)
def test_no_numbers_break_the_gate(cell, sites, loose):
    text = cif(cell[:3], cell[3:], "".join(f"Fe {' '.join(s)}\n" for s in sites))
    limits = Limits(lengths=(0, math.inf), angles=(0, 180), volume_per_atom=(0, math.inf)) if loose else Limits()
    found = formats.read_text_of(text, limits=limits)
    assert len(found) + len(found.errors) == 1 and all(isinstance(e, MatterloopError) for e in found.errors)
    if len(found):
        assert bool(torch.isfinite(found.crystals.cart).all())


@given(st.lists(numbers, min_size=9, max_size=9), st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=3), st.sampled_from(["poscar", "extxyz"]))
@settings(max_examples=150, deadline=2000)
def test_no_numbers_break_the_other_readers(cell, sites, kind):
    n = len(sites)
    if kind == "poscar":
        rows = [" ".join(cell[i : i + 3]) for i in (0, 3, 6)]
        text = "\n".join(["x", "1.0", *rows, "Fe", str(n), "Cartesian", *map(" ".join, sites)]) + "\n"
    else:
        text = f'{n}\nLattice="{" ".join(cell)}"\n' + "".join(f"Fe {' '.join(s)}\n" for s in sites)
    found = formats.read_text_of(text, kind)
    assert len(found) + len(found.errors) == 1 and all(isinstance(e, MatterloopError) for e in found.errors)


# the child process

EVIL = """
import importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location("sandbox", SANDBOX)
sandbox = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sandbox)
def structure(text):
    if text == "memory": bytearray(4 << 30)
    if text == "cpu":
        while True: pass
    if text == "sleep": time.sleep(60)
    if text == "die": os._exit(9)
    if text == "print": print("noise"); sys.stdout.write("{}")
    if text == "write": open(FOLDER + "/written", "w").write("x" * 10000)
    if text == "environment": return {"frac": sorted(os.environ)}
    return {"frac": text}
sandbox.structure = structure
sandbox.main(*map(int, sys.argv[1:4]))
"""


def test_a_library_that_misbehaves_costs_its_own_task_only(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    script = tmp_path / "evil.py"
    script.write_text(EVIL.replace("SANDBOX", repr(formats_sandbox.__file__)).replace("FOLDER", repr(str(tmp_path))))
    tasks = ["fine", "memory", "fine", "die", "print", "cpu", "write", "environment", "fine"]
    answers = run_limited(script, tasks, Limits(memory=1 << 30, cpu=1, wall=30))
    told = [a.get("error") or a["frac"] for a in answers]
    assert [told[i] for i in (0, 2, 4, 8)] == ["fine", "fine", "print", "fine"]
    for i, words in {1: "wanted more than 1024 MiB", 3: "exit status 9", 5: "more than 1 s of CPU", 6: "File too large"}.items():
        assert words in told[i]
    assert "SECRET_TOKEN" not in told[7] and not (tmp_path / "written").read_text()
    assert run_limited(script, ["sleep"], Limits(wall=1)) == [{"error": "the library took more than 1 s; stopped"}]
