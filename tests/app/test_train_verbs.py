"""Train on a table of one's own and predict with it, as a user does: the command line, its errors, its files."""

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from matterloop.app.cli import app
from matterloop.app.predict_verbs import predict
from matterloop.app.train_table import read_user_table
from matterloop.app.train_verbs import default_folder, train
from matterloop.base.errors import BadInput, Missing
from matterloop.campaign.watch import Watch
from matterloop.crystal.formats import cif_texts
from matterloop.crystal.state import Crystals
from matterloop.learn.calibrated import CalibratedPredictor
from matterloop.learn.splits import read_split

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
METALS, ANIONS = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba"), ("O", "S", "Se", "F", "Cl", "Br", "I", "N")
SMALL = {"width": 8, "blocks": 1, "radius": 4.5, "spacing": 0.5, "gamma": 4.0}


def call(*words: str, code: int = 0):
    found = CliRunner().invoke(app, [str(w) for w in words])
    assert found.exit_code == code, (found.exit_code, found.output, found.stderr, found.exception)
    return found


@pytest.fixture(scope="module")
def salts() -> list[tuple[str, float]]:
    """(CIF, cell length) of 64 rock salts."""
    out = []
    for i, a in enumerate((3, 11, 19, 37, 12, 20, 38, 56)):
        for k, b in enumerate((8, 16, 34, 9, 17, 35, 53, 7)):
            length = 4.2 + 0.12 * i + 0.1 * k
            out.append((cif_texts(Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * FCC), ["x"])[0], length))
    return out


def write(path, head, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([head, *rows])
    return path


@pytest.fixture
def table(salts, tmp_path):
    return write(tmp_path / "salts.csv", ["material_id", "cif", "length"], [[f"s{i}", cif, y] for i, (cif, y) in enumerate(salts)])


@pytest.fixture
def formulas(tmp_path):
    rows = [[f"{m}{n}{x}", i * n / 4, "yes" if x in "OSSe" else "no"] for i, m in enumerate(METALS) for n, x in zip((1, 2, 3, 1, 2, 3, 1, 2), ANIONS, strict=True)]
    return write(tmp_path / "formulas.csv", ["formula", "hardness", "chalcogenide"], rows)


def test_structures_in_one_command(table, salts, tmp_path):
    out = tmp_path / "model"
    said = call("train", table, "--target", "length", "--unit", "Å", "--model", "schnet", "--epochs", 3, "--out", out, *(w for k, v in SMALL.items() for w in ("--set", f"{k}={v}")))
    assert "mean absolute error" in said.output and "Å" in said.output and "base case, mean of the training rows" in said.output
    assert {"report.md", "parity.svg", "split.json", "train.json", "trained.json", "weights.safetensors", "test_predictions.csv"} <= {p.name for p in out.iterdir()}
    assert not (out / "training").exists()
    split = read_split(out / "split.json")
    assert sum(map(len, split.parts.values())) == 64 and split.kind == "formula"
    settings = json.loads((out / "train.json").read_text())
    assert settings["finished"] and settings["model"] == "schnet" and settings["versions"]["torch"] and settings["result"]["rows"]["train"] == len(split.parts["train"])
    tested = list(csv.DictReader(io.StringIO((out / "test_predictions.csv").read_text())))
    assert {r["key"] for r in tested} == set(split.parts["test"])
    new = tmp_path / "new.cif"
    new.write_text(salts[5][0])
    rows = [json.loads(x) for x in call("predict", out, new, "--json").stdout.splitlines()]
    assert rows[0]["formula"] == "LiBr" and rows[0]["unit"] == "Å" and rows[0]["known"] in ("known", "edge", "unknown") and rows[0]["target"] == "length"
    row = next((r for r in tested if r["key"] == "s5"), None)
    assert row is None or float(row["prediction"]) == pytest.approx(rows[0]["value"])
    report = (out / "report.md").read_text()
    assert f"matterloop predict {out} FILES..." in report and "parity.svg" in report


def test_formulas_and_classes_without_naming_a_model(formulas, tmp_path):
    out = tmp_path / "model"
    found = train(formulas, "chalcogenide", out=out, options={"trees": 20})
    assert found["model"] == "random_forest" and {s["name"] for s in found["scores"]} >= {"auc", "f1"} and found["baseline"]["score"]["name"] == "accuracy"
    rows = predict(out, ["LiO", formulas, "Quux"])
    assert rows[0]["value"] in ("yes", "no") and 0 <= rows[0]["probability"] <= 1 and len(rows) == 66
    assert "error" in rows[-1] and rows[-1]["name"] == "Quux"
    assert [r["row"] for r in rows[1:65]] == list(range(64)) and rows[1]["file"] == str(formulas)


def test_a_table_is_printed_as_csv_and_for_people(formulas, tmp_path):
    out = tmp_path / "model"
    call("train", formulas, "--target", "hardness", "--out", out, "--set", "trees=20")
    said = call("predict", out, "Li2S", "NaCl", "--csv")
    rows = list(csv.DictReader(io.StringIO(said.stdout)))
    assert [r["formula"] for r in rows] == ["Li2S", "NaCl"] and float(rows[0]["low"]) <= float(rows[0]["value"]) <= float(rows[0]["high"])
    assert "known" in call("predict", out, "Li2S").stdout
    assert "exclude each other" in str(CliRunner().invoke(app, ["predict", str(out), "LiF", "--csv", "--json"]).exception)


def test_a_folder_of_structures_with_a_table_of_labels(salts, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, (cif, _) in enumerate(salts[:20]):
        (folder / f"s{i}.cif").write_text(cif)
    write(folder / "id_prop.csv", ["s0", salts[0][1]], [[f"s{i}", y] for i, (_, y) in enumerate(salts[1:20], 1)])  # no header, as CGCNN has it
    found = read_user_table(folder, "value")
    assert len(found.keys) == 20 and found.keys[0] == "s0" and found.labels.tolist() == [y for _, y in salts[:20]]
    (folder / "id_prop.csv").unlink()
    write(folder / "labels.csv", ["name", "length"], [["s1.cif", 1.5], ["s99", 2.0]])
    found = read_user_table(folder, "length")
    assert found.keys == ("s1.cif",) and found.errors[0].row == "row 1 (s99)" and "no structure file" in found.errors[0].message
    (folder / "more.csv").write_text("a\n1\n")
    with pytest.raises(BadInput, match="holds 2 tables"):
        read_user_table(folder, "length")


def test_a_wrong_row_is_named_and_left_out_only_when_asked(salts, tmp_path):
    rows = [[f"s{i}", cif, y] for i, (cif, y) in enumerate(salts[:24])]
    rows[3][1], rows[5][2], rows[7][2] = "data_x\n_cell_length_a 3\n", "soft", ""
    path = write(tmp_path / "bad.csv", ["material_id", "cif", "length"], rows)
    notes = []
    with pytest.raises(BadInput) as error:
        train(path, "length", out=tmp_path / "m", watch=Watch(note=notes.append))
    assert "2 rows cannot be used" in str(error.value) and "--skip-bad" in str(error.value)
    told = "\n".join(notes)
    assert "row 3 (s3), field '_cell_length_b'" in told and "row 5 (s5), field 'length': 'soft' is not a finite number" in told
    assert not (tmp_path / "m").exists()
    found = train(path, "length", out=tmp_path / "m", skip_bad=True, options={"trees": 10})
    assert len(found["errors"]) == 2 and sum(found["rows"].values()) == 22  # the row without a label is no error


def test_a_wrong_file_fails_and_the_others_go_on(table, salts, tmp_path):
    out = tmp_path / "model"
    train(table, "length", model="random_forest", out=out, options={"trees": 10})
    new = tmp_path / "new"
    new.mkdir()
    (new / "a.cif").write_text("data_x\n_cell_length_a 3\n")
    (new / "b.cif").write_text(salts[0][0])
    rows = [json.loads(x) for x in call("predict", out, new, "--json", code=1).stdout.splitlines()]
    assert rows[0]["field"] == "_cell_length_b" and rows[0]["file"].endswith("a.cif") and rows[1]["formula"] == "Li2O2"  # as peroxides are written
    said = call("predict", out, new, "--json", "--skip-bad")
    assert len(said.stdout.splitlines()) == 1 and "skipped" in said.stderr and "a.cif" in said.stderr


def test_a_stopped_training_is_told_how_to_go_on(table, tmp_path):
    out, asked = tmp_path / "model", []
    plan = {"model": "schnet", "epochs": 4, "out": out, "options": SMALL}
    stopped = train(table, "length", watch=Watch(stop=lambda: asked.append(1) or len(asked) > 6), **plan)
    assert not stopped["finished"] and (out / "training" / "training_0.safetensors").exists() and not (out / "trained.json").exists()
    with pytest.raises(BadInput, match="go on with --resume"):
        train(table, "length", **plan)
    with pytest.raises(BadInput, match="epochs was 4, is 5"):
        train(table, "length", resume=True, **{**plan, "epochs": 5})
    found = train(table, "length", resume=True, **plan)
    assert found["finished"]
    whole = train(table, "length", **{**plan, "out": tmp_path / "whole"})
    assert found["scores"] == whole["scores"]
    with pytest.raises(BadInput, match="holds a finished predictor"):
        train(table, "length", **plan)
    assert train(table, "length", overwrite=True, **plan)["scores"] == whole["scores"]


@pytest.mark.parametrize(("word", "more", "told"), [("width", {}, "standard deviation that the network learnt"), ("evidential", {}, "the evidence that the network learnt"),
                                                    ("ensemble", {"members": 2}, "how far networks")])
def test_a_network_says_how_sure_it_is_in_several_ways(word, more, told, table, tmp_path):
    out = tmp_path / "model"
    words = (w for k, v in SMALL.items() for w in ("--set", f"{k}={v}"))
    call("train", table, "--target", "length", "--model", "schnet", "--epochs", 3, "--out", out, "--uncertainty", word, *(w for k, v in more.items() for w in (f"--{k}", v)), *words)
    model = CalibratedPredictor.load(out)
    crystals = read_user_table(table, "length").inputs
    value, spread = model.mean_and_spread(model.raw(crystals), crystals)
    assert (spread > 0).all() and len(set(spread.tolist())) > 10
    assert (model.target.width, model.target.evidential, len(model.members)) == (word == "width", word == "evidential", more.get("members", 1))
    said = model.predict(crystals)
    assert model.conformal.kind in ("plain", "spread") and (said.low < value).all() and (value < said.high).all()
    assert (told in (out / "report.md").read_text()) is (model.conformal.kind == "spread")


def test_energies_of_the_elements_are_what_a_network_need_not_learn(table, tmp_path):
    train(table, "length", model="schnet", epochs=1, out=tmp_path, options=SMALL, references=True, split="random")
    scaling = CalibratedPredictor.load(tmp_path).members[0].predictor.scale["length"]
    assert set(scaling.references) >= {11, 19, 17, 35} and scaling.references[19] > scaling.references[11]  # potassium is larger than sodium


@pytest.mark.parametrize(("words", "message"), [
    ({"epochs": 5}, "--epochs: is for networks, and random_forest is a classical model"), ({"minutes": 1.0}, "--minutes: is for networks"), ({"members": 2}, "--members: is for networks"),
    ({"references": True}, "--references: is for networks"), ({"uncertainty": "width"}, "--uncertainty: is for networks"),
    ({"model": "roost", "uncertainty": "bayes"}, "no kind of uncertainty called 'bayes'"), ({"model": "roost", "uncertainty": "conformal", "members": 2}, "that is --uncertainty ensemble")])
def test_options_that_a_model_has_no_use_for_are_refused(words, message, formulas, tmp_path):
    with pytest.raises((BadInput, Missing), match=message):
        train(formulas, "hardness", out=tmp_path / "other", **words)
    assert not (tmp_path / "other").exists()


def test_splits_are_chosen_and_read_back(formulas, table, tmp_path):
    found = train(formulas, "hardness", out=tmp_path / "a", split="element:Na", options={"trees": 5})
    assert found["rows"]["test"] == 8
    again = train(formulas, "hardness", out=tmp_path / "b", split=str(tmp_path / "a" / "split.json"), options={"trees": 5})
    assert again["rows"] == found["rows"] and again["scores"] == found["scores"]
    with pytest.raises(Missing, match="did you mean random"):
        train(formulas, "hardness", out=tmp_path / "c", split="randm")
    with pytest.raises(BadInput, match="names 64 rows that are not in the table|names .* rows"):
        train(table, "length", out=tmp_path / "d", split=str(tmp_path / "a" / "split.json"), model="random_forest")


@pytest.mark.parametrize(("words", "text"), [
    (["--target", "hardnes"], "did you mean hardness"), (["--target", "hardness", "--model", "schnet"], "needs structures"),
    (["--target", "hardness", "--model", "forrest"], "no encoder or regressor called 'forrest'"), (["--target", "hardness", "--set", "trees"], "is not NAME=VALUE"),
    (["--target", "hardness", "--formula", "nothing"], "column of"), (["--target", "hardness", "--resume"], "no training to go on with")])
def test_wrong_use_is_said_in_one_line(words, text, formulas, tmp_path):
    found = CliRunner().invoke(app, ["train", str(formulas), "--out", str(tmp_path / "m"), *words])
    assert found.exit_code == 1 and text in str(found.exception)  # `main` prints it and exits with 2


def test_other_wrong_uses(tmp_path, formulas):
    with pytest.raises(BadInput, match="is not there"):
        train(tmp_path / "nowhere.csv", "x", out=tmp_path / "m")
    (tmp_path / "plain.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="has neither a column of CIF texts"):
        train(tmp_path / "plain.csv", "b", out=tmp_path / "m")
    with pytest.raises(BadInput, match="a trained predictor is a folder"):
        predict(tmp_path, ["LiF"])
    assert str(default_folder("data/My Table.csv", "gap (eV)")) == "runs/train-my-table-gap-ev"


def test_labels_are_numbers_or_two_classes(tmp_path):
    path = write(tmp_path / "t.csv", ["formula", "a", "b", "c"], [["LiF", 0, "True", "x"], ["NaF", 1, "False", "y"], ["KF", "", "", "z"]])
    assert read_user_table(path, "a").classes == ("0.0", "1.0") or read_user_table(path, "a").classes == ("0", "1")
    assert read_user_table(path, "a", kind="number").classes == ()
    b = read_user_table(path, "b")
    assert b.classes == ("False", "True") and b.labels[:2].tolist() == [1.0, 0.0] and np.isnan(b.labels[2])
    with pytest.raises(BadInput, match="3 different values"):
        read_user_table(path, "c", kind="class")
