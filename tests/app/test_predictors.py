"""The predictors that ship: listed with their figures, found by name, and told on the page."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from matterloop.app.cli import app
from matterloop.app.predict_verbs import model_of
from matterloop.archive.shipped import SHIPPED, card
from matterloop.bench.property_task_table import PROPERTY_TASKS
from matterloop.learn.shipped_predictors import described_predictors, predicted_properties, shipped_names

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "predictors.md"
RECORDS = Path(__file__).parents[2] / "benchmarks" / "records" / "board"


def test_every_predictor_has_its_task_its_figure_and_its_line_on_the_page():
    tasks, page = {t.name for t in PROPERTY_TASKS}, PAGE.read_text(encoding="utf-8")
    for r in described_predictors():
        assert r["low"] <= r["value"] <= r["high"] and r["tested"] > 90, r["name"]
        assert r["task"] in tasks, r["name"]
        assert f"| {r['name']} |" in page and f"{r['value']:.4g}" in page, r["name"]


def test_every_predictor_has_its_entry_on_the_board():
    held = {r["shipped"].partition(":")[0]: r for r in (json.loads(p.read_text(encoding="utf-8")) for p in RECORDS.glob("*.json")) if r.get("shipped")}
    for name in shipped_names():
        record, words = held[f"predictor_{name}"], card(f"predictor_{name}")
        assert record["model"] == words["model"] and record["members"] == words["members"], name
        assert record["value"] == pytest.approx(words["measured"][words["metric"]]["value"], rel=1e-3) or record["task"] != words["task"], name


def test_files_are_small():
    sizes = {p: p.stat().st_size for p in SHIPPED.rglob("predictor_*/**/*") if p.is_file()}
    assert max(sizes.values()) < 16e6 and sum(sizes.values()) < 40e6


def test_the_command_lists_them():
    said = CliRunner().invoke(app, ["predictors", "--json"])
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert said.exit_code == 0 and {"band_gap", "bulk_modulus", "measured_band_gap"} <= {r["name"] for r in rows}


def test_predict_takes_the_name_of_a_predictor_that_ships():
    said = CliRunner().invoke(app, ["predict", "measured_band_gap", "GaN", "Fe3Al", "--json"])
    nitride, alloy = (json.loads(line) for line in said.stdout.splitlines())
    assert 1.0 < nitride["value"] < 4.5 and alloy["value"] == 0.0 and nitride["unit"] == "eV" and nitride["low"] < nitride["value"] < nitride["high"]


def test_a_wish_and_the_predictor_itself_have_one_model():
    assert {"band_gap", "measured_band_gap", "thermal_expansion", "last_phonon_peak"} <= set(predicted_properties())
    assert model_of("thermal_conductivity") is model_of("thermal_conductivity")
