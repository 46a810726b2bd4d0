"""Explain what a kept model predicts, as a user does: networks and classical models, bad rows, a stop, the files."""

import json
import xml.etree.ElementTree as tree

import numpy as np
import pandas as pd
import pytest

from matterloop.app.explain_verbs import explain
from matterloop.app.train_verbs import train
from matterloop.base.errors import BadInput, Missing
from matterloop.campaign.watch import Watch
from matterloop.crystal.formats import cif_texts
from matterloop.crystal.state import Crystals

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
METALS, ANIONS = (3, 11, 19, 37, 12, 20, 38, 56), (8, 16, 34, 9, 17, 35, 53, 7)


def salt(metal, anion, length=5.0):
    return cif_texts(Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [metal, anion], length * FCC), ["x"])[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table of 64 rock salts, a network for their cell length and a forest for a rule of their anion."""
    place = tmp_path_factory.mktemp("explain")
    rows = [(f"s{i}{k}", salt(a, b, 4.2 + 0.12 * i + 0.1 * k), 4.2 + 0.12 * i + 0.1 * k, 2.0 * (b in (9, 17, 35, 53)) + 0.01 * i) for i, a in enumerate(METALS) for k, b in enumerate(ANIONS)]
    pd.DataFrame(rows, columns=["material_id", "cif", "length", "halide"]).to_csv(place / "salts.csv", index=False)
    train(place / "salts.csv", "length", model="schnet", out=place / "net", epochs=2, unit="Å", options={"width": 8, "blocks": 1, "radius": 4.5, "spacing": 0.5, "gamma": 4.0})
    train(place / "salts.csv", "halide", model="random_forest", out=place / "forest", unit="eV", options={"trees": 30})
    (place / "new.cif").write_text(salt(11, 17))
    (place / "bad.cif").write_text("data_x\n_cell_length_a nonsense\n")
    return place


def test_a_network_is_explained_by_element_site_and_bond(place, tmp_path):
    found = explain(place / "net", [place / "new.cif"], out=tmp_path / "why")
    (row,) = found["rows"]
    assert row["formula"] == "NaCl" and row["unit"] == "Å" and found["finished"]
    assert row["elements_base"] + sum(row["elements"].values()) == pytest.approx(row["answer"], abs=1e-9)
    assert row["base"] + sum(s["contribution"] for s in row["sites"]) == pytest.approx(row["answer"], abs=1e-9)
    assert [s["element"] for s in row["sites"]] == ["Na", "Cl"] and row["bonds"][0]["pair"] == "Na-Cl" and row["bonds"][0]["length"] == pytest.approx(2.5)
    from matterloop.app.predict_verbs import predict

    assert predict(place / "net", [place / "new.cif"])[0]["value"] == pytest.approx(row["answer"], rel=1e-5)
    written = {p.relative_to(tmp_path / "why").as_posix() for p in (tmp_path / "why").rglob("*") if p.is_file()}
    assert {"explain.md", "explanation.json", "figures/elements.svg", "figures/bonds.svg", "figures/row_1.svg"} == written == set(found["files"])
    page = (tmp_path / "why" / "explain.md").read_text()
    assert all(f"({name})" in page for name in written if name.endswith(".svg"))
    for name in written:
        if name.endswith(".svg"):
            tree.parse(tmp_path / "why" / name)
    assert json.loads((tmp_path / "why" / "explanation.json").read_text())["rows"][0]["formula"] == "NaCl"


def test_a_forest_is_explained_by_the_planted_rule(place):
    found = explain(place / "forest", [place / "salts.csv"])
    assert len(found["rows"]) == 64 and all(abs(r["gap"]) < 1e-9 for r in found["rows"])
    assert "trees" in found["summary"]["method"] and "trained on" in found["summary"]["background"]
    top = [r["name"] for r in found["summary"]["importance"][:6]]
    assert any("Column" in n or "Valence" in n or "Unfilled" in n or "Mendeleev" in n for n in top), top
    halides = [r for r in found["rows"] if r["formula"].endswith(("F", "Cl", "Br", "I"))]
    assert np.mean([sum(c["contribution"] for c in r["columns"].values()) for r in halides]) > 0.5
    assert found["summary"]["surrogates"][0]["fidelity"] > 0.9
    assert {"columns", "importance", "row_1"} <= found["figures"].keys() and any(k.startswith("along_") for k in found["figures"])


def test_path_dependent_and_kernel_say_nearly_the_same(place):
    rows = {m: explain(place / "forest", [place / "new.cif"], method=m)["rows"][0] for m in ("interventional", "path_dependent")}
    assert all(abs(r["gap"]) < 1e-9 for r in rows.values())
    assert rows["interventional"]["answer"] == rows["path_dependent"]["answer"] and rows["interventional"]["columns"] != rows["path_dependent"]["columns"]


def test_a_bad_file_is_named_and_the_others_are_explained(place, cli):
    code, out, err = cli("explain", place / "net", place / "bad.cif", place / "new.cif", "--json")
    first, second, last = map(json.loads, out.splitlines())
    assert code == 1 and "error" in first and first["file"].endswith("bad.cif") and second["formula"] == "NaCl" and last["summary"]["rows"] == 1
    code, out, err = cli("explain", place / "net", place / "bad.cif", place / "new.cif", "--skip-bad")
    assert code == 0 and "skipped" in err and "bad.cif" in err and "NaCl" in out


def test_a_stop_keeps_what_was_explained(place, cli, tmp_path):
    asked = iter([False, True])
    found = explain(place / "net", [place / "salts.csv"], out=tmp_path / "why", watch=Watch(stop=lambda: next(asked, True)))
    assert not found["finished"] and len(found["rows"]) == 8
    assert "Stopped before the end" in (tmp_path / "why" / "explain.md").read_text()


def test_the_answer_does_not_depend_on_what_else_is_explained(place):
    alone = explain(place / "net", [place / "new.cif"])["rows"][0]
    among = explain(place / "net", [place / "salts.csv", place / "new.cif"])["rows"][-1]
    assert among["elements"] == pytest.approx(alone["elements"], abs=1e-12) and among["formula"] == "NaCl"


def test_a_background_is_what_is_counted_from(place):
    row = explain(place / "net", [place / "new.cif"], background=[place / "new.cif"], method="shapley")["rows"][0]
    plain = explain(place / "net", [place / "new.cif"], method="shapley")["rows"][0]
    assert row["answer"] == plain["answer"] and row["base"] != pytest.approx(plain["base"])


def test_one_row_without_others_to_compare_with_is_refused(place, tmp_path):
    train(place / "salts.csv", "halide", model="random_forest", out=tmp_path / "forest", options={"trees": 3, "features": "elements"})
    with pytest.raises(BadInput, match="give others with --background"):
        explain(tmp_path / "forest", [place / "new.cif"])
    row = explain(tmp_path / "forest", [place / "new.cif"], background=[place / "salts.csv"])["rows"][0]
    assert row["formula"] == "NaCl" and abs(row["gap"]) < 1e-9


def test_methods_that_do_not_suit_are_refused(place):
    with pytest.raises(BadInput, match="does not suit a network"):
        explain(place / "net", [place / "new.cif"], method="kernel")
    with pytest.raises(BadInput, match="does not suit a classical model"):
        explain(place / "forest", [place / "new.cif"], method="shapley")
    with pytest.raises(Missing, match="did you mean shapley"):
        explain(place / "net", [place / "new.cif"], method="shaply")
