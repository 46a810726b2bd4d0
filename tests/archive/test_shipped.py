import json

import numpy as np
import pandas as pd
import pytest

from matterloop.archive import shipped
from matterloop.base.errors import BadInput, Missing

LARGEST = 16_000_000


@pytest.fixture
def folder(tmp_path):
    """A folder of shipped files: a table, arrays and a JSON file, each with its card."""
    pd.DataFrame({"formula": ["NaCl", "MgO"], "energy": [-3.5, -6.0]}).to_parquet(tmp_path / "salts.parquet")
    np.savez(tmp_path / "radii.npz", r=np.arange(3.0))
    (tmp_path / "limits.json").write_text('{"low": 0.1}')
    for name in ("salts.parquet", "radii.npz", "limits.json"):
        shipped.write_card(tmp_path / name, what="two salts", made_by="recipes/salts.py", credit="us", protocol="static", scheme="mp2020", rows=2)
    (tmp_path / "__init__.py").touch()
    return tmp_path


def test_every_file_comes_back_by_name(folder):
    assert shipped.list_shipped(folder=folder) == ["limits", "radii", "salts"]
    assert shipped.read_table("salts", folder=folder)["energy"].tolist() == [-3.5, -6.0]
    assert list(shipped.read_table("salts", columns=["formula"], folder=folder)) == ["formula"]
    assert shipped.read_arrays("radii", folder=folder)["r"].tolist() == [0, 1, 2]
    assert shipped.read_json("limits", folder=folder) == shipped.read_json("limits.json", folder=folder) == {"low": 0.1}
    assert shipped.path("radii.npz", folder=folder) == folder / "radii.npz"


def test_a_card_says_what_how_and_whose(folder):
    card = shipped.card("salts", folder=folder)
    assert card["file"] == "salts.parquet" and card["scheme"] == "mp2020" and card["rows"] == 2 and len(card["sha256"]) == 64 and card["code_version"]
    with pytest.raises(BadInput, match="the card needs credit"):
        shipped.write_card(folder / "salts.parquet", what="x", made_by="y", credit="")


def test_unknown_names_offer_the_nearest(folder):
    with pytest.raises(Missing, match="no shipped file called 'salt'; did you mean salts"):
        shipped.path("salt", folder=folder)
    with pytest.raises(Missing):
        shipped.path("../shipped/salts", folder=folder)


def test_a_changed_file_is_refused(folder):
    assert shipped.path("limits", folder=folder)
    (folder / "limits.json").write_text('{"low": 0.2}')
    with pytest.raises(BadInput, match="not the one its card describes"):
        shipped.read_json("limits", folder=folder)


def test_a_file_without_a_whole_card_is_refused(folder):
    (folder / "salts.card.json").unlink()
    with pytest.raises(BadInput, match="has no card salts.card.json"):
        shipped.read_table("salts", folder=folder)
    words = shipped.card("radii", folder=folder)
    for broken, why in ((json.dumps({**words, "credit": ""}), "lacks credit"), ("[]", "lacks everything"), ("{", "not JSON"), (json.dumps({**words, "file": "x.npz"}), "card of 'x.npz'")):
        (folder / "radii.card.json").write_text(broken)
        with pytest.raises(BadInput, match=why):
            shipped.path("radii", folder=folder)


def test_the_wrong_reader_is_refused(folder):
    with pytest.raises(BadInput, match="is a .npz file, not .parquet"):
        shipped.read_table("radii", folder=folder)


@pytest.mark.parametrize("name", shipped.list_shipped())
def test_everything_shipped_is_small_described_and_unchanged(name):
    assert shipped.path(name).stat().st_size < LARGEST


def test_nothing_lies_in_the_shipped_folder_unnoticed():
    files = {p.name for p in shipped.SHIPPED.iterdir() if p.is_file()} - {"__init__.py"}
    named = {shipped.path(n).name for n in shipped.list_shipped()}
    cards = {f"{n}{suffix}" for n in shipped.list_shipped() for suffix in (shipped.CARD_SUFFIX, ".json")}
    assert files <= named | cards
