"""What a run cost, where a reader meets it: the page, run.toml, JSON, the screen; and the tables of the benchmarks."""

import json
import tomllib
from xml.etree import ElementTree

import pytest

from matterloop.app.figures.stage_cost import duration, stage_cost


def test_the_same_cost_stands_on_the_page_in_run_toml_and_in_json(finished):
    folder, out, _ = finished
    last = json.loads(out.splitlines()[-1])["cost"]
    run = tomllib.loads((folder / "run.toml").read_text())["run"]["cost"]
    assert run["total"] == last["total"] and run["counts"]["proposed"] == 2 and run["stages"].keys() == last["stages"].keys() >= {"load", "propose", "screen", "judge", "report"}
    assert last["total"]["cpu_seconds"] == pytest.approx(sum(s["cpu_seconds"] for s in last["stages"].values()), abs=0.01) and last["total"]["peak_mib"] > 50
    page = (folder / "report.html").read_text()
    assert "What it cost" in page and "per CPU-hour" in page and f"{last['total']['evaluations']} evaluations of the potential" in page
    assert set(last["relax_cpu_seconds"]) == {r["key"] for r in map(json.loads, out.splitlines()[:-1]) if r["evaluations"]}


def test_a_resumed_run_adds_its_seconds(cli, copied):
    before = tomllib.loads((copied / "run.toml").read_text())["run"]["cost"]
    assert cli("resume", copied, "--no-lookup", "--quiet")[0] == 0
    after = tomllib.loads((copied / "run.toml").read_text())["run"]["cost"]
    assert after["total"]["sessions"] == before["total"]["sessions"] + 1 and after["stages"]["report"]["cpu_seconds"] > before["stages"]["report"]["cpu_seconds"]
    assert after["stages"]["propose"] == before["stages"]["propose"] | {"share_of_cpu": after["stages"]["propose"]["share_of_cpu"]}


def test_the_figure_is_well_formed_and_says_every_stage():
    stages = {name: {"cpu_seconds": cpu, "wall_seconds": wall, "share_of_cpu": cpu / 11, "peak_mib": 500.0} for name, cpu, wall in (("propose", 1.0, 2.0), ("relax", 10.0, 5.5), ("<judge>", 0.0, 0.0))}
    svg = stage_cost(stages)
    words = "".join(ElementTree.fromstring(svg).itertext())
    assert "propose" in words and "<judge>" in words and "10 s" in words and "5.5 s" in words and "91%" in words and "500 MiB" in words
    ElementTree.fromstring(stage_cost({}))


@pytest.mark.parametrize("seconds, words", [(0.314, "0.31 s"), (9.96, "10 s"), (42.4, "42 s"), (119, "119 s"), (210, "3.5 min"), (7560, "2.1 h"), (0, "0 s")])
def test_durations_read_well(seconds, words):
    assert duration(seconds) == words


def test_bench_refuses_before_it_spends_minutes(cli, tmp_path):
    (tmp_path / "r.json").write_text("{}")
    code, _, err = cli("bench", "discover", "--compare", tmp_path / "r.json")
    assert code == 2 and "no record" in err
    code, _, err = cli("bench", "hull", "--potential", "chgnett", "--data-dir", tmp_path)
    assert code == 2


@pytest.mark.slow
def test_bench_discover_writes_a_record_that_the_next_one_is_compared_with(cli, tmp_path):
    args = ("bench", "discover", "binary lithium oxides", "--count", 3, "--record", tmp_path / "records" / "a.json")
    code, _, err = cli(*args)
    assert code == 0 and "together" in err
    code, out, _ = cli(*args[:-1], tmp_path / "b.json", "--compare", tmp_path / "records" / "a.json", "--json")
    found = json.loads(out)
    assert code == 0 and found["compared"]["counts"]["proposed"] == [3, 3] and 0.1 < found["compared"]["speed"]["value"] < 50
    assert json.loads((tmp_path / "b.json").read_text())["together"]["counts"] == found["together"]["counts"]
