"""Records of `bench discover`: sums, intervals, comparison, and files that are none."""

import json
import math

import pytest

from matterloop.base.errors import BadInput
from matterloop.bench import discovering
from matterloop.campaign.outcome import Outcome


def outcome(proposed=10, kept=4, stable=2, relax=6.0, finished=True):
    stage = lambda cpu, n=None: {"cpu_seconds": cpu, "wall_seconds": 2 * cpu, "share_of_cpu": 0.5, "peak_mib": 100.0 * cpu, **({"candidates": n} if n is not None else {})}
    cost = {"stages": {"load": stage(1.0), "relax": stage(relax, proposed - 1)}, "total": {"evaluations": 50},
            "counts": {"proposed": proposed, "relaxed": proposed - 1, "kept": kept, "stable": stable, "stable_unique_novel": stable}}
    return Outcome((), (), {}, {}, (("proposed", proposed), ("kept", kept)), (), cost=cost, finished=finished, stopped="" if finished else "time")


@pytest.fixture
def record(monkeypatch):
    monkeypatch.setattr(discovering, "calibration", lambda: 0.5)

    def make(**more):
        found = discovering.measure(lambda wish, count, seed, out: outcome(**more), ("a", "b", "c"), 10, 3)
        for one in found["wishes"]:
            one["cpu_seconds"] = 10.0
        found["together"]["cpu_seconds"] = 30.0
        return json.loads(json.dumps(found))

    return make


def test_a_record_sums_over_the_wishes(record):
    found = record()
    whole = found["together"]
    assert whole["counts"] == {"proposed": 30, "relaxed": 27, "kept": 12, "stable": 6, "stable_unique_novel": 6} and whole["evaluations"] == 150
    assert whole["stages"]["relax"]["cpu_seconds"] == 18.0 and whole["stages"]["relax"]["wall_seconds"] == 36.0 and whole["stages"]["relax"]["candidates"] == 27
    assert whole["stages"]["relax"]["peak_mib"] == 600.0 and whole["stages"]["relax"]["cpu_seconds_per_candidate"] == pytest.approx(18 / 27, abs=1e-5)
    assert whole["funnel"]["kept"]["share"] == 0.4 and whole["funnel"]["kept"]["low"] < 0.4 < whole["funnel"]["kept"]["high"]
    assert found["standard"] is False and found["seed"] == 3 and found["calibration"] == [0.5, 0.5] and {"hardware", "versions", "revision", "made"} <= found.keys()


def test_rates_are_of_all_cpu_seconds_that_were_spent():
    whole = discovering.together([{"cost": dict(outcome().cost), "funnel": [["proposed", 10]]}], {"cpu": 36.0, "elapsed": 50.0, "peak_mib": 1.0})
    assert whole["per_cpu_hour"]["stable"]["value"] == pytest.approx(200.0) and whole["cpu_seconds_outside_stages"] == 29.0
    assert whole["per_cpu_hour"]["stable"]["low"] < 200 < whole["per_cpu_hour"]["stable"]["high"]


def test_a_run_that_ended_early_gives_no_record():
    with pytest.raises(BadInput, match="ended early"):
        discovering.measure(lambda *_, **__: outcome(finished=False), ("a",), 10)
    with pytest.raises(BadInput, match="at least one"):
        discovering.measure(lambda *_, **__: outcome(), (), 10)


def test_the_same_record_is_once_as_fast(record):
    changed = discovering.compare(record(), record())
    assert changed["speed"] == {"value": 1.0, "low": 1.0, "high": 1.0} and changed["stages"] == {"load": 1.0, "relax": 1.0}
    assert changed["rates"]["stable"]["value"] == 1.0 and changed["rates"]["stable"]["low"] < 1 < changed["rates"]["stable"]["high"]
    assert not [n for n in changed["notes"] if "differs" in n]


def test_half_the_seconds_is_twice_the_speed_and_a_faster_processor_is_taken_out(record):
    now, earlier = record(relax=3.0), record()
    for one, seconds in zip(now["wishes"], (4.0, 5.0, 6.0), strict=True):
        one["cpu_seconds"] = seconds
    now["together"]["cpu_seconds"], now["calibration"] = 15.0, [0.25, 0.3]
    now["hardware"]["processor"] = "another"
    changed = discovering.compare(now, earlier)
    assert changed["speed"]["value"] == 2.0 and 10 / 6 <= changed["speed"]["low"] < 2 < changed["speed"]["high"] <= 10 / 4
    assert changed["calibrated"]["value"] == 1.0 and changed["stages"]["relax"] == 2.0
    assert changed["rates"]["kept"]["value"] == pytest.approx(2.0) and changed["counts"]["kept"] == [12, 12]
    assert any("processor differs: another now" in n for n in changed["notes"])


@pytest.mark.parametrize("change, words", [({"seed": 4}, "seed is 3 here and 4"), ({"count": 5}, "count is 10 here and 5"), ({"wishes": [{"wish": "z", "cpu_seconds": 1.0}]}, "other wishes")])
def test_records_of_another_task_are_refused(record, change, words):
    with pytest.raises(BadInput, match=words):
        discovering.compare(record(), record() | change)


@pytest.mark.parametrize("text, words", [(None, "cannot be read"), ("{", "not JSON"), ("[1]", "no record"), ('{"record": "matterloop bench discover", "format": 99}', "format 99")])
def test_files_that_are_no_record_are_refused(tmp_path, text, words):
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        discovering.read_record(path)
    assert "r.json" in str(caught.value)


def test_a_record_comes_back_from_its_file(tmp_path, record):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record()))
    assert discovering.read_record(path) == json.loads(path.read_text())


def test_the_processor_is_measured_and_the_checkout_named():
    a = discovering.calibration()
    assert 0 < a < 60 and math.isfinite(a)
    assert set(discovering.revision()) in (set(), {"commit", "changed"})


def test_every_standard_wish_is_understood():
    from matterloop.campaign.wish import read_wish

    assert not [w for w in discovering.WISHES if read_wish(w).not_understood]
