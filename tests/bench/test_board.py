"""A record holds what a reader needs, a failure is a record, and the board ranks, compares and escapes."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from matterloop.app.board_page import figures, markdown, page, write_board, write_page
from matterloop.app.figures.cost import against_cost, decades
from matterloop.base.errors import BadInput, Missing
from matterloop.bench.board import board, entries, read_records
from matterloop.bench.property_running import Stopped, errors_of, over_folds, run, time_to_goal, write_record
from matterloop.bench.property_task_table import PropertyTask
from matterloop.bench.property_tasks import TaskData
from matterloop.crystal.compositions import Compositions
from matterloop.learn.splits import k_fold
from matterloop.learn.targets import Target

METALS, ANIONS = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba", "Sc", "Y"), ("O", "S", "Se", "F", "Cl", "Br")


def planted(folds: int = 2, name: str = "matbench_steels") -> TaskData:
    """Sixty compositions whose label is the share of the metal times its place in the list."""
    formulas = [f"{m}{n}{x}" for i, m in enumerate(METALS) for n, x in zip((1, 2, 3, 1, 2, 3), ANIONS, strict=True)]
    labels = torch.tensor([(i // 6) * (i % 3 + 1) / 4.0 for i in range(60)], dtype=torch.float64)
    task = PropertyTask(name, "Planted", "matbench_v01_official_tables", "planted", "eV", "matbench_steels.json.bz2", "matbench", inputs="compositions", note="planted", budget=120.0)
    target = Target("planted", "eV")
    inputs = Compositions.of(formulas).with_fields({"planted": labels}, {"planted": target.quantity})
    keys = tuple(str(i) for i in range(60))
    return TaskData(task, target, inputs, keys, k_fold(keys, folds))


@pytest.fixture(scope="module")
def records():
    held = planted()
    small = {"width": 16, "hidden": 24, "layers": 1, "out": (16,)}
    return {
        "mean": run("planted", "mean", held=held), "forest": run("planted", "random_forest", held=held, options={"trees": 20}),
        "network": run("planted", "roost", held=held, options=small, recipe={"epochs": 2}, budget=30.0, command="matterloop bench run planted roost"),
        "broken": run("planted", "schnet", held=held), "more": run("planted", "random_forest", held=held, seed=1, options={"trees": 10}, more_data="saw the test rows")}


def test_the_mean_is_the_mean_of_what_trains(records):
    held, r = planted(), records["mean"]
    expected = []
    for fold in range(2):
        part = held.part(fold)
        level = held.labels[np.concatenate([part["train"], part["val"]])].mean()
        expected.append(np.abs(held.labels[part["test"]] - level).mean())
    assert r["value"] == pytest.approx(np.mean(expected)) and [f["value"] for f in r["per_fold"]] == pytest.approx(expected)
    assert r["low"] < r["value"] < r["high"] and r["count"] == 60 and r["unit"] == "eV" and r["failed"] is None


def test_a_record_of_a_network_says_what_it_cost(records):
    r = records["network"]
    assert r["failed"] is None and r["parameters"] > 1000 and r["epochs"] == 2 and r["recipe"]["epochs"] == 2
    for key in ("seconds_per_epoch", "forward_per_second", "backward_per_second", "training_per_second", "inference_per_second", "latency_seconds", "peak_memory_mib", "training_cpu_seconds"):
        assert r[key] > 0, key
    assert 1 / r["training_per_second"] >= 1 / r["forward_per_second"]
    assert {"commit", "changed"} <= set(r["revision"]) and r["hardware"]["cores"] and r["versions"]["torch"] and r["data"]["digest"] == planted().split.data
    assert r["known"].pop("by") == "features" and sum(w["rows"] for w in r["known"].values()) == 60


def test_errors_are_kept_row_by_row(records):
    r = records["forest"]
    off = errors_of(r)
    assert len(off) == 60 and np.abs(off).mean() == pytest.approx(r["value"], rel=1e-2)
    assert r["value"] < records["mean"]["value"]
    assert r["inference_per_second"] > 0 and r["training_seconds"] > 0


def test_a_model_that_cannot_do_the_task_is_a_failed_record(records, tmp_path):
    r = records["broken"]
    assert "needs structures" in r["failed"] and "value" not in r
    assert json.loads(write_record(r, tmp_path).read_text())["failed"] == r["failed"]
    with pytest.raises(Missing, match="did you mean"):
        run("planted", "rost", held=planted())
    with pytest.raises(BadInput, match="no fold 7"):
        run("planted", "mean", held=planted(), folds=[7])


def test_records_of_other_settings_lie_beside_each_other(records, tmp_path):
    paths = {write_record(r, tmp_path).name for r in records.values()}
    assert len(paths) == 5 and "matbench_steels__random_forest__trees-20__seed0.json" in paths
    (tmp_path / "other.json").write_text("{}")
    found, odd = read_records(tmp_path)
    assert len(found) == 5 and "other.json" in odd[0]
    assert write_record({**records["mean"], "folds": [1], "budget_seconds": 7.0}, tmp_path).name == "matbench_steels__mean__budget7__folds1__seed0.json"
    with pytest.raises(BadInput, match="is no folder"):
        read_records(tmp_path / "nowhere")


def test_a_run_that_is_stopped_leaves_no_record_and_goes_on(tmp_path):
    asked, small = [], {"width": 16, "hidden": 24, "layers": 1, "out": (16,)}
    plan = {"held": planted(), "options": small, "recipe": {"epochs": 3}, "folds": [0], "budget": 60.0, "work": tmp_path}
    with pytest.raises(Stopped, match="--work FOLDER"):
        run("planted", "roost", should_stop=lambda: asked.append(1) or len(asked) > 3, **plan)
    found = run("planted", "roost", **plan)
    assert found["failed"] is None and found["epochs"] == 3


def test_the_board_ranks_by_value_names_the_base_and_shows_failures(records):
    (b,) = board([r for r in records.values()])
    assert [e.value for e in b.entries[:-1]] == sorted(e.value for e in b.entries[:-1]) and b.entries[-1].model == "schnet"
    assert b.base.model == "mean"  # no forest with its own settings has run
    forest = next(e for e in b.entries if e.model == "random_forest")
    gap, low, high = forest.difference
    assert gap == pytest.approx(records["forest"]["value"] - records["mean"]["value"], rel=0.02) and low < gap < high < 0
    assert [e.more_data for e in b.more] == ["saw the test rows"] and not any(e.more_data for e in b.entries)
    assert [e.model for e in b.failed] == ["schnet"]
    plain = entries([b])
    assert len(plain) == 5 and {"task", "model", "metric", "value", "interval"} <= set(plain[0])


def test_several_seeds_are_told_by_median_and_range(records):
    runs = [{**records["mean"], "seed": s, "value": v, "low": v - 0.1, "high": v + 0.1} for s, v in enumerate((1.0, 3.0, 1.2))]
    (b,) = board(runs)
    (e,) = b.entries
    assert e.value == 1.2 and e.seeds == 3 and e.seed_range == (1.0, 3.0) and e.interval == (1.0, 3.0)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.words = set(), []

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        assert not any(k in ("src", "href") and str(v).startswith(("http", "//")) for k, v in attrs)

    def handle_data(self, data):
        self.words.append(data)


def test_pages_hold_every_entry_and_nothing_from_elsewhere(records, tmp_path):
    nasty = {**records["mean"], "model": "<script>alert(1)</script>", "more_data": "a | b"}
    boards = board([*records.values(), nasty])
    html, text = page(boards), markdown(boards)
    tags = Tags()
    tags.feed(html)
    assert "script" not in tags.found and "link" not in tags.found and "svg" in tags.found
    assert any("<script>alert" in w for w in tags.words)
    for name in ("random_forest (trees-20)", "mean", "needs structures", "saw the test rows", "matterloop bench run planted roost"):
        assert name in text and name in html
    assert "| *mean* | " in text and '<tr class="base">' in html
    assert all(line.count("|") > 5 for line in text.splitlines() if line.startswith("| "))
    written = write_board(boards, tmp_path)
    assert {p.name for p in written} >= {"board.md", "board.html", "board.json", "matbench_steels_ranking.svg"} and all(p.exists() for p in written)
    assert set(figures(boards[0])) == {"ranking", "cost", "course"}
    page_file, *drawn = write_page(boards, tmp_path / "own.md")
    linked = [w.split(")")[0] for w in page_file.read_text().split("](own/")[1:]]
    assert sorted(linked) == sorted(p.name for p in drawn) and f"--page {page_file.as_posix()}" in page_file.read_text()


def test_an_entry_says_its_seeds_software_and_course(records):
    (b,) = board([records["network"], {**records["network"], "seed": 7}])
    (e,) = b.entries
    assert e.seed_numbers == (0, 7) and "torch 2." in e.software and "python 3." in e.software
    seconds, errors = zip(*e.course, strict=True)
    assert len(e.course) == 2 and seconds[1] == pytest.approx(sum(r["seconds"] for r in records["network"]["course"]), abs=0.01)
    assert errors == tuple(r["score"] for r in records["network"]["course"])
    assert e.costs["pace_seconds"] > 0
    assert "0, 7" in markdown([b]) and e.software in markdown([b]) and e.software in page([b])


def test_a_logarithmic_axis_has_round_numbers():
    assert decades(3, 60) == [5, 10, 20, 50] and decades(0.5, 3000) == [1, 10, 100, 1000] and decades(0.02, 0.3) == pytest.approx([0.02, 0.05, 0.1, 0.2])


def test_only_models_that_no_cheaper_one_betters_lie_on_the_line():
    rows = [("a", 10.0, 0.5, 0.4, 0.6, ""), ("b", 20.0, 0.7, 0.6, 0.8, "base"), ("c", 40.0, 0.3, 0.2, 0.4, "")]
    front = lambda picture: len(picture.split('points="')[1].split('"')[0].split())
    assert front(against_cost(rows, "s", "eV")) == 3 and front(against_cost([*rows, ("d", 5.0, 0.1, 0.1, 0.1, ""), ("e", 90.0, 0.05, 0.0, 0.1, "")], "s", "eV")) == 3
    assert front(against_cost(rows[1:], "s", "eV")) == 3 and front(against_cost(rows[:2], "s", "eV", larger=True)) == 3 and '"3 4"' not in against_cost(rows[:2], "s", "eV")
    assert all(f">{name}</text>" in against_cost(rows, "s", "eV") for name in "abc")


def test_folds_are_averaged_and_resampled_within():
    rng = np.random.default_rng(0)
    pairs = [(np.zeros(200), rng.normal(size=200)), (np.zeros(300), 3 * rng.normal(size=300))]
    value, low, high = over_folds(pairs, "mae")
    assert value == pytest.approx((np.abs(pairs[0][1]).mean() + np.abs(pairs[1][1]).mean()) / 2)
    half = 1.96 * np.hypot(np.abs(pairs[0][1]).std() / 200**0.5, np.abs(pairs[1][1]).std() / 300**0.5) / 2
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


def test_time_to_a_goal_counts_the_seconds_until_it_is_met():
    epochs = [{"epoch": i + 1, "seconds": 2.0, "score": s} for i, s in enumerate((0.5, 0.2, 0.3, 0.1))]
    assert time_to_goal(epochs, 0.25) == 4.0 and time_to_goal(epochs, 0.01) is None and time_to_goal(epochs, None) is None
