"""The loop over toy parts: determinism, kill and resume in every stage, limits of time, replay."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from matterloop.archive.database import open_archive
from matterloop.archive.records import Ask, Event, Limit
from matterloop.base.errors import BadInput
from matterloop.campaign.loop import CAMPAIGN, Campaign, Settings, Watch
from matterloop.campaign.state import State, reason_from_json, reason_to_json, replay

sys.path.insert(0, str(Path(__file__).parent))
import toy  # noqa: E402

SETTINGS = dict(count=12, rounds=2, generators={"salts": 1.0}, steps=60, keep_symmetry=False, batch_atoms=6)


def campaign(folder, ask=Ask(), watch=Watch(), **more):
    Path(folder).mkdir(exist_ok=True)
    archive = open_archive(Path(folder) / "campaign.db")
    salts = toy.Salts()
    return Campaign(archive, ask, Settings(**{**SETTINGS, **more}), oracle=toy.oracle(), judges=toy.judges(), generators={"salts": salts}, watch=watch)


def told(state: State):
    """What must not differ between a broken and an unbroken run."""
    verdicts = {k: [(r.check, r.passed, r.note) for r in v.reasons] for k, v in state.judged.items()}
    energies = {k: r["energy"] for k, r in state.relaxed.items()}
    return state.rounds, list(state.judged), verdicts, energies


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return told(campaign(tmp_path_factory.mktemp("whole")).run())


def test_the_log_replayed_is_the_state(tmp_path):
    c = campaign(tmp_path)
    state = c.run(wish="w")
    again = replay(c.archive.events(CAMPAIGN))
    assert again == state and again.finished and again.wish == "w"
    assert len(state.judged) == 12 and set(state.relaxed) | set(state.failed) <= set(state.judged)


def test_the_same_seed_gives_the_same_run(tmp_path, unbroken):
    assert told(campaign(tmp_path).run()) == unbroken
    other = campaign(tmp_path / "other", seed=1).run()
    assert other.rounds != unbroken[0]


def test_a_polite_stop_after_any_number_of_steps_loses_nothing(tmp_path, unbroken):
    polls = {"left": 3}

    def stop():
        polls["left"] -= 1
        return polls["left"] < 0

    for attempt in range(60):
        polls["left"] = 3 + 4 * attempt
        state = campaign(tmp_path, watch=Watch(stop=stop)).run()
        if state.finished:
            break
    assert state.finished and attempt > 1
    same_as(told(state), unbroken)


def same_as(a, b):
    assert a[:3] == b[:3]
    assert a[3].keys() == b[3].keys()
    assert all(abs(a[3][k] - b[3][k]) < 1e-4 for k in a[3])


KILLED = """
import sys; sys.path.insert(0, {here!r})
import test_loop
stage, folder = sys.argv[1:]
import os, signal
from matterloop.campaign.loop import Campaign
log = Campaign.log
def dying(self, kind, content, *rest, **more):
    if kind == stage and not os.environ.get("AFTER"):
        os.kill(os.getpid(), signal.SIGKILL)
    log(self, kind, content, *rest, **more)
    if kind == stage:
        os.kill(os.getpid(), signal.SIGKILL)
Campaign.log = dying
test_loop.campaign(folder).run()
"""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stage", ["asked", "started", "proposed", "screened", "relaxed", "judged", "observed", "finished"])
def test_kill_9_at_every_event_then_resume_is_the_unbroken_run(stage, after, tmp_path, unbroken):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **({"AFTER": "1"} if after else {})}
    done = subprocess.run([sys.executable, "-c", KILLED.format(here=str(Path(__file__).parent)), stage, str(tmp_path)], env=env, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    c = campaign(tmp_path)
    before = len(c.archive.events(CAMPAIGN))
    state = c.run()
    same_as(told(state), unbroken)
    events = c.archive.events(CAMPAIGN)
    assert [e.number for e in events] == list(range(len(events))) and len(events) > before
    assert c.archive.verify() == []


def test_seconds_end_the_run_and_a_longer_one_goes_on(tmp_path):
    first = campaign(tmp_path, count=None, seconds=1.0)
    begun = time.monotonic()
    state = first.run()
    assert time.monotonic() - begun < 15 and not state.finished
    kept = dict(state.relaxed)
    more = campaign(tmp_path, count=None, seconds=state.seconds + 1.0).run()
    assert all(more.relaxed[k] == v for k, v in kept.items()) and len(more.relaxed) >= len(kept)


def test_generators_hear_every_finished_round_again_after_a_restart(tmp_path):
    first = campaign(tmp_path)
    first.run()
    second = campaign(tmp_path)
    second.run()
    assert second.generators["salts"].heard == first.generators["salts"].heard and len(first.generators["salts"].heard) == 2


def test_the_ask_is_held_against_every_candidate(tmp_path):
    ask = Ask(required=frozenset({8}), limits=(Limit("energy_above_hull", None, -1.0, "eV/atom"), Limit("density", None, 0.001, "g/cm^3")))
    state = campaign(tmp_path, ask=ask).run()
    assert not any(v.passed for v in state.judged.values())
    unmet = [v for v in state.judged.values() if not v.reason("ask").passed]
    assert unmet and all(k not in state.relaxed for k in (v.key for v in unmet))
    measured = [v for v in state.judged.values() if v.reason("energy_above_hull")]
    assert measured and not any(v.reason("energy_above_hull").passed or v.reason("density").passed for v in measured)


def test_settings_refuse_what_cannot_run():
    for wrong in ({"count": None}, {"count": 0}, {"rounds": 0}, {"fmax": -1.0}, {"generators": {}}, {"generators": {"salts": 0.0}}):
        with pytest.raises(BadInput):
            Settings(**{**SETTINGS, **wrong})


def test_an_unknown_event_is_refused():
    with pytest.raises(BadInput, match="newer version"):
        State().apply(Event(0, "teleported", {}))


def test_reasons_survive_json_with_numbers_that_are_not_finite():
    from matterloop.archive.records import Reason

    for value, limit in ((float("nan"), 1.0), (1.5, float("inf")), (float("-inf"), 0.0)):
        reason = Reason("x", value, limit, "eV", False, 0.25, "why", True)
        back = reason_from_json(json.loads(json.dumps(reason_to_json(reason), allow_nan=False)))
        assert repr(back) == repr(reason)


def test_two_writers_cannot_share_a_campaign(tmp_path):
    from matterloop.archive.failures import Conflict

    one, two = campaign(tmp_path), campaign(tmp_path)
    one.run()
    with pytest.raises(Conflict):
        two.run()


def test_kept_candidates_whose_hull_lacks_phases_come_after_those_whose_hull_is_complete(tmp_path):
    from dataclasses import replace

    from matterloop.campaign.outcome import rows_of

    doubtful = 11  # the reference lacks phases of sodium
    c = campaign(tmp_path, ask=Ask(limits=(Limit("energy_above_hull", None, 10.0, "eV/atom"),)))
    c.judges = replace(c.judges, coverage=lambda composition: (0.5, ("NaF",)) if doubtful in composition else (1.0, ()))
    state = c.run()
    kept = [r for r in rows_of(c.archive, CAMPAIGN, state, state.judged) if r.kept]
    sure = [r.coverage == 1 for r in kept]
    assert sure == sorted(sure, reverse=True) and True in sure and False in sure
    for part in ([r for r in kept if r.coverage == 1], [r for r in kept if r.coverage < 1]):
        assert [r.energy_above_hull for r in part] == sorted(r.energy_above_hull for r in part)


def test_more_rounds_than_proposals_are_refused():
    with pytest.raises(BadInput, match="3 rounds for 2 proposals"):
        Settings(**{**SETTINGS, "count": 2, "rounds": 3})
