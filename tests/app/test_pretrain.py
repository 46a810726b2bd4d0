"""Pre-train on structures of one's own and begin a training with it, as a user does."""

import json

import pytest
from typer.testing import CliRunner

from matterloop.app.cli import app
from matterloop.app.pretrain_verbs import STATE, pretrain
from matterloop.app.train_verbs import train
from matterloop.base.errors import BadInput, Missing
from matterloop.bench.property_running import few, run, write_record
from matterloop.campaign.watch import Watch
from matterloop.learn.pretrained import Pretrained

from .test_train_verbs import SMALL, call, salts, table, write  # noqa: F401  (fixtures)

OPTIONS = [w for k, v in SMALL.items() for w in ("--set", f"{k}={v}")]


def pretrained(table, folder, *more):
    return call("pretrain", "pretrain_gnn", "schnet", table, "--out", folder, "--epochs", 3, *OPTIONS, *more)


def test_from_a_table_without_labels_to_a_predictor(table, tmp_path):
    told = json.loads(pretrained(table, tmp_path / "start", "--json").stdout)
    assert told["finished"] and told["crystals"] == 64 and told["epochs"] == 3 and told["losses"][-1] < told["losses"][0]
    assert not (tmp_path / "start" / STATE).exists()
    found = json.loads(call("train", table, "--target", "length", "--start", tmp_path / "start", "--out", tmp_path / "out", "--epochs", 3, "--freeze", 1, "--json").stdout)
    assert found["finished"] and found["model"] == "schnet"
    assert "began with weights from `pretrain_gnn` with `schnet`: 64 structures of ['salts.csv'], no labels" in (tmp_path / "out" / "report.md").read_text()
    settings = json.loads((tmp_path / "out" / "train.json").read_text())
    assert settings["start"] == str(tmp_path / "start") and settings["recipe"] == {"freeze": 1, "encoder_rate": 1.0}
    taught = json.loads(call("train", table, "--target", "length", "--model", "egnn", "--set", "width=8", "--set", "layers=1", "--teacher", tmp_path / "start", "--out", tmp_path / "taught",
                             "--epochs", 2, "--json").stdout)
    assert taught["finished"] and taught["model"] == "egnn"


def test_a_stopped_one_goes_on_by_the_same_command(table, tmp_path):
    steps = []
    first = pretrain("pretrain_gnn", "schnet", [table], out=tmp_path / "a", epochs=3, options=SMALL, watch=Watch(stop=lambda: steps.append(1) or len(steps) > 3))
    assert not first["finished"] and (tmp_path / "a" / STATE).exists()
    with pytest.raises(BadInput, match="epochs was 3, is 4"):
        pretrain("pretrain_gnn", "schnet", [table], out=tmp_path / "a", epochs=4, options=SMALL)
    assert pretrain("pretrain_gnn", "schnet", [table], out=tmp_path / "a", epochs=3, options=SMALL)["finished"]
    with pytest.raises(BadInput, match="finished pre-training"):
        pretrain("pretrain_gnn", "schnet", [table], out=tmp_path / "a", epochs=3, options=SMALL)


def test_labels_of_a_table_are_learnt_after_a_start(table, tmp_path):
    pretrained(table, tmp_path / "nodes")
    told = json.loads(pretrained(table, tmp_path / "labels", "--start", tmp_path / "nodes", "--target", "length", "--json").stdout)
    assert list(told["parts"]) == ["length"]
    kept = Pretrained.load(tmp_path / "labels")
    assert kept.before["method"] == "pretrain_gnn" and kept.data["labels"] == ["length"]
    with pytest.raises(Missing, match="did you mean length"):
        pretrain("pretrain_gnn", "schnet", [table], out=tmp_path / "x", options=SMALL, targets=["lenght"])


@pytest.mark.parametrize("words, text", [
    (("pretrain", "pretrain_gn", "schnet"), "did you mean pretrain_gnn"), (("pretrain", "pretrain_gnn", "schnett"), "did you mean schnet"),
    (("pretrain", "pretrain_gnn", "schnet", "--start", "nowhere"), "cannot be read")])
def test_wrong_use_is_said_in_one_line(words, text, table, tmp_path):
    found = CliRunner().invoke(app, [*words[:3], str(table), "--out", str(tmp_path / "x"), *words[3:]])
    assert found.exit_code == 1 and text in str(found.exception)  # `main` prints it and exits with 2


def test_a_wrong_row_is_named_and_left_out_only_when_asked(salts, tmp_path):
    path = write(tmp_path / "t.csv", ["material_id", "cif"], [[f"s{i}", cif if i != 2 else "nonsense"] for i, (cif, _) in enumerate(salts[:12])])
    with pytest.raises(BadInput, match="1 structures cannot be read"):
        pretrain("pretrain_gnn", "schnet", [path], out=tmp_path / "a", epochs=1, options=SMALL)
    told = pretrain("pretrain_gnn", "schnet", [path], out=tmp_path / "a", epochs=1, options=SMALL, skip_bad=True)
    assert told["crystals"] == 11 and len(told["errors"]) == 1


def test_a_classical_model_has_no_use_for_a_start(table, tmp_path):
    pretrained(table, tmp_path / "start")
    with pytest.raises(BadInput, match="--start.*classical|classical"):
        train(table, "length", model="random_forest:structure", start=tmp_path / "start", out=tmp_path / "out")


def test_few_rows_are_drawn_by_seed_and_those_for_stopping_with_them():
    import numpy as np

    part = {"train": np.arange(1000), "val": np.arange(1000, 1100), "test": np.arange(1100, 1200)}
    one, again, other = few(part, 200, 0), few(part, 200, 0), few(part, 200, 1)
    assert len(one["train"]) == 200 and len(one["val"]) == 50 and len(one["test"]) == 100
    assert (one["train"] == again["train"]).all() and (one["train"] != other["train"]).any()
    assert len(few(part, 20, 0)["val"]) == 25
    with pytest.raises(BadInput, match="2000 training rows are asked for, there are 1000"):
        few(part, 2000, 0)


@pytest.mark.data
def test_a_record_says_what_it_began_with_and_more_data_are_named(tmp_path):
    start = Pretrained.load(_start_of_task(tmp_path))
    foreign = Pretrained(**{**start.__dict__, "data": {"crystals": 3}})
    with pytest.raises(BadInput, match="--more-data must say which"):
        run("perov5_heat", "schnet", start=foreign, options=SMALL)
    with pytest.raises(BadInput, match="is for one network"):
        run("perov5_heat", "random_forest", start=start)
    record = run("perov5_heat", "schnet", start=start, options=SMALL, recipe={"epochs": 1}, train_rows=60)
    assert record["failed"] is None and record["start"]["method"] == "pretrain_gnn" and record["train_rows"] == 60
    assert "start-pretrain_gnn_rows60" in write_record(record, tmp_path).name
    with pytest.raises(Missing):
        pretrain("pretrain_gnn", "schnet", ["task:perov"], out=tmp_path / "b")


def _start_of_task(tmp_path):
    from matterloop.bench.property_tasks import load_task
    from matterloop.learn.pretraining import pretrain as learn

    held = load_task("perov5_heat")
    rows = held.part(0)["train"][:40]
    return learn("pretrain_gnn", "schnet", held.inputs, rows, options=SMALL, recipe={"epochs": 1}, data={"training_rows_of": held.split.data}).save(tmp_path / "start")


def test_a_gain_is_drawn_green_where_its_interval_is_below_zero():
    from matterloop.app.figures.learning_gain import learning_gain

    base = [{"task": "t", "rows": 100, "variant": "scratch", "mae": 30.0}]
    entry = lambda name, low, high: {"task": "t", "rows": 100, "variant": name, "mae": 25.0, "against_scratch": {"change": (low + high) / 2, "low": low, "high": high}}
    drawn = learning_gain([*base, entry("better", -0.2, -0.1), entry("same", -0.1, 0.1), entry("worse & worse", 0.1, 0.2)], {"t": "GPa"})
    dots = [g for g in drawn.split("<g>") if "<title>" in g]
    assert [("#0b7a75" in d, "#c4622d" in d) for d in dots] == [(True, False), (False, False), (False, True)]
    assert "better, 100 rows: -15.0% (-20.0% to -10.0%)" in drawn and "worse &amp; worse" in drawn and "30 with 100 rows, GPa" in drawn
