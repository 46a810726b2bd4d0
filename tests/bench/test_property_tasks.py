"""The tasks are what the table says: rows, splits, labels."""

import numpy as np
import pytest

from matterloop.archive.shipped import list_shipped
from matterloop.archive.sources import SOURCES, load_frame
from matterloop.base.errors import Missing
from matterloop.bench.property_task_table import PROPERTY_TASKS
from matterloop.bench.property_tasks import load_task, property_task
from matterloop.learn.metrics import metric


def test_every_line_of_the_table_is_whole():
    known = {s.name: s for s in SOURCES}
    assert len({t.name for t in PROPERTY_TASKS}) == len(PROPERTY_TASKS)
    for t in PROPERTY_TASKS:
        assert t.data in list_shipped() if t.reader and not t.train else {t.train, *([t.test] if t.test else [])} <= set(known[t.data].files), t.name
        assert t.note and t.title and t.budget > 0 and "mean" in t.baselines, t.name
        for name in (t.metric, *t.also):
            metric(name)


def test_unknown_tasks_are_named():
    with pytest.raises(Missing, match="did you mean mp20bt_formation_energy"):
        property_task("mp20_formation_energy")


@pytest.mark.data
def test_mp20bt_trains_on_6400_rows_and_stops_by_the_last_716(data_dir):
    held = load_task("mp20bt_formation_energy", data_dir)
    part = held.part()
    assert {k: len(v) for k, v in part.items()} == {"train": 6400, "val": 716, "test": 7103} and held.folds == 1
    val = load_frame("mp20_biternary_val_test", "val.csv.gz", data_dir=data_dir)
    test = load_frame("mp20_biternary_val_test", "test.csv.gz", data_dir=data_dir)
    assert [held.keys[i] for i in part["val"]] == val.material_id.tolist()[-716:]
    assert held.labels[part["test"]].tolist() == test.formation_energy_per_atom.tolist()
    assert held.inputs.get("formation_energy").numpy()[0] == pytest.approx(-0.436368, abs=1e-6) and held.target.unit == "eV/atom"


@pytest.mark.data
def test_folds_of_classes_keep_their_shares(data_dir):
    held = load_task("matbench_glass", data_dir)
    assert held.folds == 5 and held.target.classes == 2 and set(np.unique(held.labels)) == {0.0, 1.0}
    for fold in range(5):
        part = held.part(fold)
        assert len(part["test"]) == 1136 and len(part["val"]) == 454 and not set(part["val"]) & {*part["test"], *part["train"]}
        assert held.labels[part["test"]].mean() == pytest.approx(held.labels.mean(), abs=1e-3)


@pytest.mark.data
def test_factors_and_times(data_dir):
    held = load_task("aflow_thermal_expansion", data_dir)
    raw = load_frame("aflow_props_cif", "thermal_expansion/train.csv.gz", data_dir=data_dir).thermal_expansion
    assert held.labels[0] == pytest.approx(1e6 * raw[0]) and {k: len(v) for k, v in held.part().items()} == {"train": 3083, "val": 343, "test": 734}
    held = load_task("mpts52_energy_by_year", data_dir)
    year = load_frame("mpts52_val_test", "val.csv.gz", data_dir=data_dir).set_index("material_id").year
    newest = {name: year.loc[[held.keys[i] for i in rows]] for name, rows in held.part().items()}
    assert newest["train"].max() < newest["val"].min() and newest["val"].max() < newest["test"].min()


@pytest.mark.data
def test_leaks_of_a_task_are_told_by_the_command_line(data_dir):
    from typer.testing import CliRunner

    from matterloop.app.cli import app

    said = CliRunner().invoke(app, ["bench", "leaks", "matbench_steels", "--data-dir", str(data_dir)])
    assert said.exit_code == 0 and "same reduced formula: " in said.stdout and " of 63 tested rows" in said.stdout
