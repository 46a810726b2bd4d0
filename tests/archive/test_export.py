import csv
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from matterloop.archive.export import candidates_table
from matterloop.archive.failures import ArchiveError
from matterloop.base.errors import BadInput

ROWS = [
    {"key": "a-0", "formula": "NaCl", "energy_above_hull": 0.0, "passed": True, "n_atoms": 2, "volume": 44.5, "reasons": ["ok", "好"]},
    {"key": "a-1", "formula": 'Mg"O', "energy_above_hull": math.inf, "passed": False, "volume": np.float64(18.5)},
    {"key": "a-2", "formula": "", "energy_above_hull": 1, "passed": None, "n_atoms": 4},
]


def test_both_files_hold_every_row(tmp_path):
    as_csv, as_parquet = candidates_table(ROWS, tmp_path, units={"volume": "Å^3"})
    back = pq.read_table(as_parquet)
    assert back.column_names == ["key", "formula", "energy_above_hull", "passed", "n_atoms", "volume", "reasons"]
    assert back["energy_above_hull"].to_pylist() == [0.0, math.inf, 1.0]
    assert back["passed"].to_pylist() == [True, False, None] and back["n_atoms"].to_pylist() == [2, None, 4]
    assert back["volume"].to_pylist() == [44.5, 18.5, None]
    assert back["reasons"].to_pylist() == ['["ok","好"]', None, None]
    with as_csv.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [r["formula"] for r in read] == ["NaCl", 'Mg"O', ""]
    assert [r["energy_above_hull"] for r in read] == ["0.0", "inf", "1"] and read[1]["volume"] == "18.5" and read[2]["volume"] == ""


def test_units_stand_with_their_columns(tmp_path):
    schema = pq.read_schema(candidates_table(ROWS, tmp_path, units={"volume": "Å^3"})[1])
    assert schema.field("volume").metadata[b"unit"].decode() == "Å^3"
    assert schema.field("energy_above_hull").metadata[b"unit"] == b"eV/atom"
    assert b"unit" not in (schema.field("key").metadata or {})


def test_no_rows_give_two_readable_files(tmp_path):
    as_csv, as_parquet = candidates_table([], tmp_path)
    assert as_csv.read_text() == "\n" and pq.read_table(as_parquet).num_rows == 0


def test_a_column_of_two_kinds_is_named(tmp_path):
    with pytest.raises(BadInput, match="column 'x' holds int and str"):
        candidates_table([{"x": 1}, {"x": "one"}], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_files(tmp_path, monkeypatch):
    as_csv, as_parquet = candidates_table(ROWS, tmp_path)
    before = as_csv.read_bytes(), as_parquet.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArchiveError, match="No space left on device.*An earlier file is untouched"):
        candidates_table(ROWS[:1], tmp_path)
    assert (as_csv.read_bytes(), as_parquet.read_bytes()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["candidates.csv", "candidates.parquet"]


def test_who_reads_an_old_file_reads_it_to_its_end(tmp_path):
    as_csv, _ = candidates_table(ROWS, tmp_path)
    whole = as_csv.read_text()
    with as_csv.open() as reader:
        candidates_table(ROWS[:1], tmp_path)
        assert reader.read() == whole != as_csv.read_text()


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(ArchiveError, match="cannot be written"):
        candidates_table(ROWS, tmp_path / "taken")
