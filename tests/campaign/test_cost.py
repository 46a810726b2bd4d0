"""Costs: every logged second lands in a stage, sessions add up, intervals are the exact ones."""

import math
import sys
from pathlib import Path

import pytest

from matterloop.archive.records import Event, Reason, Verdict
from matterloop.campaign import cost
from matterloop.campaign.loop import CAMPAIGN
from matterloop.campaign.state import State, replay
from matterloop.campaign.watch import Watch

sys.path.insert(0, str(Path(__file__).parent))
from test_loop import campaign  # noqa: E402


def at(kind, elapsed, cpu, peak=100, **content):
    return kind, {"elapsed": elapsed, "cpu": cpu, "peak_mib": peak, **content}


def state_of(*events):
    return replay(Event(i, kind, content) for i, (kind, content) in enumerate(events))


LOG = (
    ("asked", {"settings": {"count": 2}, "wish": "w"}),
    ("started", {"loading": {"wall": 3.0, "cpu": 2.0, "peak_mib": 50}}),
    at("proposed", 1.0, 1.0, round=0, candidates=["a", "b"]),
    at("screened", 1.5, 1.25, round=0, reasons={"a": [], "b": []}),
    at("relaxed", 4.5, 7.25, 900, key="a", energy=-4.0, evaluations=10, atoms=6, crystals=["x"]),
)


def test_seconds_between_events_belong_to_the_stage_that_the_later_one_ends():
    spent = state_of(*LOG).spent
    assert {k: (s.wall, s.cpu, s.peak_mib) for k, s in spent.items()} == {
        "load": (3.0, 2.0, 50), "propose": (1.0, 1.0, 100), "screen": (0.5, 0.25, 100), "relax": (3.0, 6.0, 900)}


def test_sessions_add_up_and_each_counts_from_its_own_start():
    state = state_of(
        *LOG, at("stopped", 5.0, 8.0, stage="relax", reason="asked to stop"), ("started", {"loading": {"wall": 1.0, "cpu": 1.0}}),
        at("relaxed", 2.0, 2.0, key="b", energy=-1.0, evaluations=5, atoms=4, crystals=["y"]), at("judged", 2.5, 2.5, round=0, verdicts={}),
        at("finished", 2.5, 2.5, reason="", stage=""), ("reported", {"elapsed": 9.0, "cpu": 9.0, "report": {"wall": 0.5, "cpu": 0.25, "peak_mib": 120}}))
    assert state.spent["relax"].wall == 3.5 + 2.0 and state.spent["relax"].cpu == 6.75 + 2.0 and state.spent["load"].wall == 4.0
    assert state.spent["report"].cpu == 0.25 and state.seconds == 7.5 and state.finished
    shares = cost.relax_seconds(state)  # 10 x 6 and 5 x 4 atom evaluations of 8.75 s
    assert shares == pytest.approx({"a": 8.75 * 60 / 80, "b": 8.75 * 20 / 80})
    for key, seconds in (("a", 1.0), ("b", 4.0)):
        state.relaxed[key]["seconds"] = seconds
    assert cost.relax_seconds(state) == pytest.approx({"a": 8.75 / 5, "b": 8.75 * 4 / 5})
    found = cost.budget(state, {})
    assert found["total"]["cpu_seconds"] == sum(s.cpu for s in state.spent.values()) and found["total"]["evaluations"] == 15
    assert found["total"]["evaluated_atoms"] == 80 and found["total"]["sessions"] == 2 and found["stages"]["relax"]["candidates"] == 2


def test_a_log_without_cpu_seconds_is_read_and_says_nothing():
    state = state_of(("asked", {"settings": {"count": 1}, "wish": ""}), ("started", {}), ("proposed", {"round": 0, "candidates": ["a"], "elapsed": 1.0}),
                     ("relaxed", {"key": "a", "elapsed": 3.0}))
    found = cost.budget(state, {})
    assert state.seconds == 3.0 and not state.spent and math.isnan(found["per_cpu_hour"]["kept"]["value"]) and math.isnan(cost.relax_seconds(state)["a"])


def test_a_real_campaign_accounts_for_its_time_whether_it_was_broken_or_not(tmp_path):
    left = {"polls": 6}

    def stop():
        left["polls"] -= 1
        return left["polls"] < 0

    first = campaign(tmp_path, watch=Watch(stop=stop)).run()
    assert not first.finished and first.spent["relax"].cpu > 0
    c = campaign(tmp_path)
    state = c.run()
    assert state.finished and len(state.sessions) == 2
    for name, spent in first.spent.items():
        assert state.spent[name].cpu >= spent.cpu and state.spent[name].wall >= spent.wall
    assert sum(s.wall for s in state.spent.values()) == pytest.approx(state.seconds, abs=0.02)
    assert {"propose", "screen", "relax", "judge", "observe"} <= state.spent.keys() and state.spent["relax"].peak_mib > 10
    found = cost.budget(state, c.all_verdicts())
    assert found["counts"]["proposed"] == 12 and found["total"]["evaluations"] == sum(r["evaluations"] for r in [*state.relaxed.values(), *state.failed.values()])
    assert all(r["evaluations"] >= r["steps"] > 0 and r["atoms"] == 2 and r["seconds"] > 0 for r in state.relaxed.values())
    assert replay(c.archive.events(CAMPAIGN)) == state


def test_work_elsewhere_is_counted():
    meter = cost.Meter()
    meter.add(cpu=100.0, peak_mib=1e6)
    reading = meter.read()
    assert 100 <= reading["cpu"] < 110 and reading["peak_mib"] == 1e6 and reading["elapsed"] < 10


def verdict(above, **failed):
    checks = {"relaxation": True, "charge_balance": True, "unique": True, "novel": True, **failed}
    return Verdict("k", (*(Reason(c, 0.0, 0.0, "", ok) for c, ok in checks.items()), Reason("energy_above_hull", above, 0.05, "eV/atom", above <= 0.05)))


def test_what_counts_as_stable():
    assert cost.stable(verdict(-0.01)) and cost.stable(verdict(0.0)) and not cost.stable(verdict(0.01)) and not cost.stable(verdict(float("nan")))
    assert cost.kept(verdict(0.01)) and not cost.kept(verdict(0.06)) and not cost.stable(Verdict("k"))
    assert not cost.stable(verdict(-1.0, relaxation=False)) and not cost.stable(verdict(-1.0, charge_balance=False))
    assert cost.stable(verdict(-1.0, novel=False)) and not cost.stable_unique_novel(verdict(-1.0, novel=False)) and cost.stable_unique_novel(verdict(-1.0))


def test_intervals_are_the_exact_ones():
    # Garwood's 95 % limits for 0 and 10 events; Clopper and Pearson's for 3 of 10
    assert cost.count_interval(0) == pytest.approx((0.0, 3.6889), abs=1e-4)
    assert cost.count_interval(10) == pytest.approx((4.7954, 18.3904), abs=1e-4)
    assert cost.share_interval(3, 10) == pytest.approx((0.0667, 0.6525), abs=1e-4)
    assert cost.share_interval(0, 0) == (0.0, 1.0) and cost.share_interval(5, 5)[1] == 1.0
    assert cost.rate(10, 2.0) == pytest.approx({"value": 5.0, "low": 2.3977, "high": 9.1952}, abs=1e-4)
    assert math.isnan(cost.rate(3, 0.0)["value"])


def test_the_ratio_of_rates_holds_one_for_equal_rates_and_not_for_far_ones():
    same = cost.rate_ratio(40, 1.0, 80, 2.0)
    assert same["value"] == 1.0 and same["low"] < 1 < same["high"]
    far = cost.rate_ratio(100, 1.0, 10, 1.0)
    assert far["value"] == 10 and far["low"] > 5 and far["high"] < 22
    low, high = (p / (1 - p) for p in cost.share_interval(100, 110))
    assert (far["low"], far["high"]) == pytest.approx((low, high))
    assert cost.rate_ratio(3, 1.0, 0, 1.0)["high"] == math.inf and math.isnan(cost.rate_ratio(0, 1.0, 0, 1.0)["value"])


def test_an_empty_state_costs_nothing():
    found = cost.budget(State(), {})
    assert found["stages"] == {} and found["total"]["cpu_seconds"] == 0 and found["cpu_seconds_per"]["kept"] == math.inf
