import hashlib
import io
import os
from pathlib import PurePosixPath

import pytest

from matterloop.archive import sources
from matterloop.archive.failures import ArchiveError
from matterloop.archive.source_table import SOURCES, DataSource
from matterloop.archive.sources import NotHere, data_get, data_list, data_path, load_frame, members
from matterloop.base.errors import BadInput, Missing

ONE, TWO = b"a,b\n1,2\n3,4\n", b"hello"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TOY = DataSource("toy", "1234abcd", "me/toy", "1234abcd", "CC0", "two columns", "me", {"one.csv": digest(ONE), "sub/two.txt": digest(TWO)},
                 homes={"": "1234abcd/data"}, rows={"one.csv": 2})
CUT = DataSource("toy_cut", "1234abcd+cut", "me/toy", "1234abcd", "CC0", "one of them", "me", {"one.csv": digest(ONE)}, changes="some rows left out")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A machine that knows two toy data sets and holds none; `put` lays their files into a folder."""
    monkeypatch.setattr(sources, "SOURCES", (TOY, CUT))
    monkeypatch.setenv("MATTERLOOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MATTERLOOP_DATA", raising=False)

    def put(place: str, one: bytes = ONE):
        for file, content in (("one.csv", one), ("sub/two.txt", TWO)):
            path = tmp_path / place / "toy" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / place

    return put


def server(answers: dict):
    asked = []

    def open_url(url):
        asked.append(url)
        answer = answers[url.rsplit("/data/")[1]]
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    return open_url, asked


def test_folders_are_searched_in_order(world, tmp_path, monkeypatch):
    world("cache/data")
    assert data_path("toy", "one.csv") == tmp_path / "cache/data/toy/one.csv"
    monkeypatch.setenv("MATTERLOOP_DATA", str(world("environment")))
    assert data_path("toy", "one.csv") == tmp_path / "environment/toy/one.csv"
    given = world("given")
    assert data_path("toy", "sub/two.txt", data_dir=given) == given / "toy/sub/two.txt"
    assert data_path("toy", data_dir=given) == given / "toy"
    (given / "toy" / "one.csv").unlink()
    assert data_path("toy", "one.csv", data_dir=given) == tmp_path / "environment/toy/one.csv"


@pytest.mark.parametrize("place", ["data_dir", "MATTERLOOP_DATA"])
def test_a_folder_that_is_none_is_said(world, tmp_path, monkeypatch, place):
    monkeypatch.setenv("MATTERLOOP_DATA", str(tmp_path / "none") if place == "MATTERLOOP_DATA" else "")
    with pytest.raises(BadInput, match=f"^{place}: .*is no folder"):
        data_path("toy", data_dir=tmp_path / "none" if place == "data_dir" else None)


def test_unknown_names_offer_the_nearest(world):
    with pytest.raises(Missing, match="no data set called 'tov'; did you mean toy"):
        data_path("tov")
    with pytest.raises(Missing, match="did you mean one.csv"):
        data_path("toy", "on.csv")


@pytest.mark.parametrize("file", ["../toy/one.csv", "/etc/passwd", "sub/../one.csv", "sub\\two.txt", "", "."])
def test_no_path_leads_out_of_the_data_set(world, file):
    given = world("given")
    with pytest.raises(Missing):
        data_path("toy", file, data_dir=given)
    with pytest.raises(Missing):
        data_get("../toy", data_dir=given)


def test_a_changed_file_is_never_handed_out(world, tmp_path):
    given = world("given")
    assert data_path("toy", "one.csv", data_dir=given)
    world("given", one=ONE.replace(b"4", b"5"))
    os.utime(given / "toy/one.csv", (1, 1))
    with pytest.raises(BadInput, match="is not the file of version 1234abcd"):
        data_path("toy", "one.csv", data_dir=given)
    with pytest.raises(BadInput, match="is not the file"):
        data_get("toy", data_dir=given)
    (row, _) = data_list(given)
    assert row["verified"] is False and row["damaged"] == ["one.csv"]


def test_what_is_missing_is_downloaded_once(world, tmp_path):
    open_url, asked = server({"one.csv": ONE, "sub/two.txt": TWO})
    seen = []
    assert data_get("toy", open_url=open_url, on_progress=lambda f, n: seen.append((f, n))) == tmp_path / "cache/data/toy"
    assert asked == ["https://raw.githubusercontent.com/me/toy/1234abcd/data/one.csv", "https://raw.githubusercontent.com/me/toy/1234abcd/data/sub/two.txt"]
    assert seen == [("one.csv", len(ONE)), ("two.txt", len(TWO))]
    data_get("toy", open_url=open_url)
    assert len(asked) == 2 and data_path("toy") == tmp_path / "cache/data/toy"
    (tmp_path / "cache/data/toy/one.csv").write_bytes(b"damaged")
    data_get("toy", "one.csv", open_url=open_url)
    assert len(asked) == 3 and data_path("toy", "one.csv").read_bytes() == ONE


@pytest.mark.parametrize("answer, error, why", [
    (b"other bytes", BadInput, "other bytes than the known ones"), (OSError("no route to host"), ArchiveError, "the download failed .no route to host.")])
def test_a_bad_download_leaves_nothing(world, tmp_path, answer, error, why):
    open_url, _ = server({"one.csv": answer})
    with pytest.raises(error, match=why):
        data_get("toy", "one.csv", open_url=open_url)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_a_download_without_end_is_stopped(world, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST", 10)
    open_url, _ = server({"one.csv": ONE})
    with pytest.raises(BadInput, match="larger than 10 bytes"):
        data_get("toy", "one.csv", open_url=open_url)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_redirects_away_from_https_are_refused():
    import urllib.request

    with pytest.raises(BadInput, match="not https"):
        sources._OnlyHttps().redirect_request(urllib.request.Request("https://a.org/x"), None, 302, "", {}, "http://a.org/x")
    with pytest.raises(BadInput, match="only https"):
        sources._download("http://a.org/x", None, "", None, None)


def test_without_a_public_home_the_error_says_where_to_put_it(world, tmp_path):
    with pytest.raises(NotHere, match="run `matterloop data get toy`"):
        data_path("toy")
    with pytest.raises(NotHere) as caught:
        data_get("toy_cut")
    assert "https://github.com/me/toy/tree/1234abcd" in str(caught.value) and str(tmp_path / "cache/data/toy_cut") in str(caught.value)


def test_the_list_says_where_each_is(world):
    given = world("given")
    toy, cut = data_list(given)
    assert (toy["name"], toy["rows"], toy["present"], toy["verified"], toy["download"], toy["licence"]) == ("toy", 2, str(given / "toy"), True, True, "CC0")
    assert (cut["present"], cut["verified"], cut["download"]) == ("", None, False)


def test_tables_are_read_and_other_files_refused(world):
    given = world("given")
    assert load_frame("toy", "one.csv", data_dir=given).to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    assert list(load_frame("toy", "one.csv", data_dir=given, usecols=["b"])) == ["b"]
    with pytest.raises(BadInput, match="is no table"):
        load_frame("toy", "sub/two.txt", data_dir=given)
    with pytest.raises(BadInput, match="is no archive"):
        next(members("toy", "one.csv", data_dir=given))


@pytest.mark.parametrize("s", SOURCES, ids=lambda s: s.name)
def test_every_entry_of_the_table_is_whole(s):
    assert s.licence and s.credit and s.description and len(s.snapshot) == 40 and s.version.startswith(s.snapshot[:8])
    assert s.files and all(len(d) == 64 and int(d, 16) for d in s.files.values())
    for file in s.files:
        parts = PurePosixPath(file).parts
        assert not PurePosixPath(file).is_absolute() and ".." not in parts and "\\" not in file
        assert s.url(file) or s.changes or s.name == "xrd_autoanalyzer"  # nine of its patterns come from other places of its history
    assert set(s.rows) | set(s.read) <= set(s.files)
    assert bool(s.changes) == ("+" in s.version)


def test_urls_are_raw_files_at_a_commit():
    elements = sources.source("mp_elemental_refs")
    assert elements.url("2023-02-07-mp-elemental-reference-entries.json.gz") == (
        "https://raw.githubusercontent.com/janosh/matbench-discovery/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/data/mp/"
        "2023-02-07-mp-elemental-reference-entries.json.gz")
    assert sources.source("wbm_10k").url("val.csv.gz").endswith("/990f2e1d75705d5e917a78c6699fa112fc4bdfd4/data/wbm/val.csv.gz")
    assert sources.source("mp20_biternary_val_test").url("val.csv.gz") == ""
    assert len(SOURCES) == len({s.name for s in SOURCES}) == 31


@pytest.mark.data
def test_every_known_file_is_here_unchanged(data_dir):
    listed = data_list(data_dir)
    assert {r["name"] for r in listed} == {p.name for p in data_dir.iterdir() if p.is_dir()}
    assert [r["name"] for r in listed if not r["verified"]] == []
    for s in SOURCES:
        held = {str(p.relative_to(data_dir / s.name)) for p in (data_dir / s.name).rglob("*") if p.is_file()} - {"SOURCE.txt"}
        assert held == set(s.files), s.name


@pytest.mark.data
@pytest.mark.parametrize("name, file, rows", [
    ("mp20_biternary_val_test", "val.csv.gz", 7116), ("mp20_biternary_val_test", "test.csv.gz", 7103), ("mp20_mlip_hull_energies", None, 34424),
    ("matbench_v01_official_tables", "matbench_phonons.json.bz2", 1265), ("matbench_v01_official_tables", "matbench_mp_e_form.json.bz2", 132752),
    ("matminer_tensors", "dielectric_constant.csv.gz", 1056), ("roost_history_sets", "supercon.csv", 653), ("phonon_dfpt_petretto1521", None, 1271)])
def test_tables_have_the_rows_the_list_says(data_dir, name, file, rows):
    known = sources.source(name).rows
    file = file or next(iter(known))
    assert len(load_frame(name, file, data_dir=data_dir)) == rows == known[file]


@pytest.mark.data
def test_matbench_rows_keep_the_official_order(data_dir):
    frame = load_frame("matbench_v01_official_tables", "matbench_steels.json.bz2", data_dir=data_dir)
    assert frame["mbid"].tolist() == [f"mb-steels-{i:03d}" for i in range(1, 313)]


@pytest.mark.data
def test_archives_are_read_without_unpacking(data_dir):
    assert sum(n.endswith(".cif") for n, _ in members("raspa2_structures", "raspa2_structures.tar.zst", data_dir=data_dir)) >= 200
    assert any(b"Lattice=" in content for n, content in members("zuo_2020", "ZuoEtAl2020.tar.gz", data_dir=data_dir) if n.endswith("xyz"))
