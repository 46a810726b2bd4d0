"""The fan-out of a campaign: the same run on any number of workers, and whatever dies."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from matterloop.campaign.executors import NAMED
from matterloop.campaign.fan_out import WorkersFailed
from matterloop.campaign.loop import CAMPAIGN
from matterloop.campaign.spool import Attempt, Spool, birth
from matterloop.campaign.watch import Watch

sys.path.insert(0, str(Path(__file__).parent))
import fanned  # noqa: E402

POOL = replace(NAMED["processes"], task_seconds=0.5, stale=5.0)


def pool(workers, **more):
    return replace(POOL, workers_per_node=workers, **more)


@pytest.fixture(autouse=True, scope="module")
def plug_in(tmp_path_factory):
    """The toy potentials as a plug-in, for this process and for every worker."""
    place = str(fanned.plug_in(tmp_path_factory.mktemp("plug-in")))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (place, os.environ.get("PYTHONPATH")))))
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return fanned.run(tmp_path_factory.mktemp("whole") / "run", "")


def wait_for(what, seconds=60.0):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return found


def workers_of(spool):
    """{pid: attempt} of the attempts whose process lives."""
    found = {}
    for attempt in Spool(spool).attempts_here():
        attempt.more()
        if attempt.about and not attempt.end and not attempt.gone():
            found[attempt.about["pid"]] = attempt
    return found


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)])
def test_keys_order_verdicts_and_energies_do_not_depend_on_the_number_of_workers(workers, tmp_path, unbroken):
    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(workers))
    with fan_out:
        state = c.run()
        fan_out.finished()
    assert fanned.same(state, unbroken) and fanned.landed_once(archive)
    assert not (tmp_path / "run" / "spool").exists() and fan_out.counts["deaths"] == 0
    assert state.spent["relax"].cpu > 0 and all(r["host"] for r in state.relaxed.values())


def test_a_killed_worker_loses_nothing_but_what_it_had_in_hand(tmp_path):
    whole = fanned.run(tmp_path / "whole", "", count=8, rounds=1)
    spool, killed = tmp_path / "run" / "spool", []

    def stop():
        if not killed:
            for pid, attempt in workers_of(spool).items():
                if attempt.finished:
                    os.kill(pid, signal.SIGKILL)
                    killed.append((attempt, len(attempt.finished)))
                    break
        return False

    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(2, task_seconds=50.0), "toy_salts:slow", watch=Watch(stop=stop), count=8, rounds=1)
    with fan_out:
        state = c.run()
    assert killed and fan_out.counts["deaths"] == 1 and fan_out.counts["set aside"] == 0
    assert fanned.same(state, whole) and fanned.landed_once(archive)


def test_a_crystal_that_kills_its_worker_three_times_is_set_aside_and_the_rest_goes_on(tmp_path):
    whole = fanned.run(tmp_path / "whole", "")
    notes = []
    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(2), "toy_salts:kills", notes=notes)
    with fan_out:
        state = c.run()
    poisonous = {k.key for k in archive.candidates(CAMPAIGN) if 20 in k.crystal.species.tolist()} & (set(whole.relaxed) | set(whole.failed))
    assert poisonous and set(state.failed) == poisonous | set(whole.failed)
    for key in poisonous:
        assert "its worker died 3 times" in state.failed[key]["reason"] and "signal 9" in state.failed[key]["reason"] and state.failed[key]["platform"]
        assert not state.judged[key].passed and "set aside" in state.judged[key].reason("relaxation").note
    assert state.relaxed.keys() == whole.relaxed.keys() - poisonous and all(abs(r["energy"] - whole.relaxed[k]["energy"]) < 1e-6 for k, r in state.relaxed.items())
    assert fanned.landed_once(archive) and any("set aside" in n for n in notes)
    assert fan_out.counts["set aside"] == len(poisonous) and fan_out.counts["deaths"] <= 3 * len(poisonous)


@pytest.mark.slow
def test_a_crystal_that_hangs_is_ended_by_the_kernel_and_set_aside(tmp_path):
    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(2, patience=0.6), "toy_salts:hangs", count=6, rounds=1)
    with fan_out:
        state = c.run()
    hanging = {k.key for k in archive.candidates(CAMPAIGN) if 20 in k.crystal.species.tolist()}
    aside = {k for k, f in state.failed.items() if f.get("platform")}
    assert hanging and aside == hanging and state.finished and fanned.landed_once(archive)
    assert all("did not end within 0.6 s" in state.failed[k]["reason"] for k in aside)


def driver(folder, executor, potential, count=16):
    return subprocess.Popen([sys.executable, fanned.__file__, str(folder), str(executor), potential], env={**os.environ, "OMP_NUM_THREADS": "1", "TOY_COUNT": str(count)},
                            stderr=subprocess.PIPE, start_new_session=True)


def kill(process, spool, workers):
    """Kill a driver when so many workers are at it and have left results that it has not taken in; returns {pid: birth} of the workers."""
    finished = lambda: sum(len(a.finished) for a in workers_of(spool).values())
    wait_for(lambda: len(workers_of(spool)) == workers)
    os.kill(process.pid, signal.SIGSTOP)
    before, found = finished(), {p: birth(p) for p in workers_of(spool)}
    wait_for(lambda: finished() > before)
    process.kill()
    process.wait()
    return found


def test_kill_9_of_the_driver_then_workers_end_by_themselves_and_resume_is_the_unbroken_run(tmp_path):
    whole = fanned.run(tmp_path / "whole", "", count=8)
    spool = tmp_path / "run" / "spool"
    process = driver(tmp_path / "run", "processes:2", "toy_salts:slower", 8)
    pids = kill(process, spool, 2)
    wait_for(lambda: all(birth(p) != b for p, b in pids.items()), 5.0)  # their parent is gone: no need to wait for its heartbeat to go stale
    left = {k for a in Spool(spool).attempts_here() for k in [x["key"] for x in a.more()]}
    notes = []
    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(2), "toy_salts:slower", notes=notes, count=8)
    before = set(c.state.relaxed)
    with fan_out:
        state = c.run()
    assert left - before and any("of an earlier session taken in" in n for n in notes)
    assert fanned.same(state, whole) and fanned.landed_once(archive) and fan_out.counts["deaths"] == 0


@pytest.mark.slow
def test_what_workers_left_is_taken_in_by_a_driver_without_an_executor(tmp_path):
    whole = fanned.run(tmp_path / "whole", "", count=8)
    spool = tmp_path / "run" / "spool"
    process = driver(tmp_path / "run", "processes:1", "toy_salts:slower", 8)
    kill(process, spool, 1)
    notes = []
    state = fanned.run(tmp_path / "run", "", "toy_salts:slower", notes=notes, count=8)
    assert fanned.same(state, whole) and not spool.exists()


def test_a_worker_whose_driver_is_silent_ends_within_the_stated_time(tmp_path):
    """The heartbeat alone decides here: the worker's parent, this test, lives."""
    from matterloop.campaign.engine_processes import Processes

    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(1), "toy_salts:slower", count=8, rounds=1)
    c.propose(0)
    c.screen(0)
    spool = fan_out.spool.make()
    engine = Processes(pool(1), spool.folder)
    items = planted(c, spool)
    spool.write_beat("a driver that dies", 0, False)
    engine.start({"folder": str(spool.folder), "task": "t", "attempt": "1", "stale": 2.0})
    attempt = Attempt(spool.attempt_path("t", "1"), "t")
    wait_for(lambda: attempt.more() or attempt.about)
    begun = time.monotonic()
    wait_for(lambda: attempt.more() and False or attempt.end, 20.0)
    assert "no sign of life for 2 s" in attempt.end and time.monotonic() - begun < 12.0 and len(attempt.finished) < len(items)
    engine.close()


def planted(c, spool):
    """The task "t" of all sensible candidates of round 0, and the protocol; returns its items."""
    from dataclasses import asdict

    from matterloop.archive.codec import crystal_keys
    from matterloop.campaign.spool import Item

    candidates = c.proposed(c.state.waiting(0))
    items = [Item(x.key, crystal_keys(x.crystal.bare())[0], x.crystal.bare()) for x in candidates]
    key = c.settings.protocol.key(c.oracle)
    spool.write_json(spool.protocol_path, {"protocol": asdict(c.settings.protocol), "ground": c.settings.protocol.ground(c.oracle)})
    spool.write_task("t", key, items, False)
    return items


def test_a_worker_stops_in_time_before_its_wall_time(tmp_path, monkeypatch):
    from matterloop.campaign import workers

    c, fan_out, _ = fanned.campaign(tmp_path / "run", pool(1), "toy_salts:slow", count=8, rounds=1, batch_atoms=2)
    c.propose(0)
    c.screen(0)
    spool = fan_out.spool.make()
    items = planted(c, spool)
    spool.write_beat("s", 0, False)
    monkeypatch.setenv(workers.ENDS, str(time.time() + 3.0))
    assert workers.work(str(spool.folder), "t", "1", expected=2.9) == "wall time"  # another slow crystal would not end in time
    attempt = Attempt(spool.attempt_path("t", "1"), "t")
    attempt.more()
    assert attempt.end == "wall time" and len(attempt.finished) < len(items) and not attempt.begun
    monkeypatch.setenv(workers.ENDS, str(time.time() + 1000.0))
    assert workers.work(str(spool.folder), "t", "2", expected=2.9) == "done"


@pytest.mark.slow
def test_sigterm_ends_a_worker_cleanly(tmp_path):
    spool = tmp_path / "run" / "spool"
    terminated = []

    def stop():
        if not terminated:
            for pid, attempt in workers_of(spool).items():
                if attempt.finished:
                    os.kill(pid, signal.SIGTERM)
                    terminated.append(attempt)
                    break
        return False

    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(1, task_seconds=50.0), "toy_salts:slow", watch=Watch(stop=stop), count=8, rounds=1)
    with fan_out:
        state = c.run()
    assert terminated and fan_out.counts["deaths"] == 0 and fan_out.counts["put back"] >= 1 and state.finished and fanned.landed_once(archive)


@pytest.mark.slow
def test_stopping_the_driver_leaves_no_process_and_resuming_ends_as_the_unbroken_run(tmp_path, unbroken):
    spool, seen = tmp_path / "run" / "spool", {}

    def stop():
        seen.update({p: birth(p) for p in workers_of(spool)})
        return len(c.state.relaxed) >= 3

    c, fan_out, _ = fanned.campaign(tmp_path / "run", pool(2), "toy_salts", watch=Watch(stop=stop))
    with fan_out:
        state = c.run()
    assert not state.finished and seen and all(birth(p) != b for p, b in seen.items())
    assert fanned.same(fanned.run(tmp_path / "run", pool(2)), unbroken)


def test_workers_that_cannot_work_end_the_run_with_a_reason_and_blame_no_crystal(tmp_path, monkeypatch):
    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(1))
    monkeypatch.setenv("PYTHONPATH", "")  # workers find the package, but not the plug-in
    if os.environ.get("MATTERLOOP_SOURCE"):
        monkeypatch.setenv("PYTHONPATH", os.environ["MATTERLOOP_SOURCE"])
    with pytest.raises(WorkersFailed, match="toy_salts"), fan_out:
        c.run()
    assert not c.state.failed and not c.state.relaxed and not fan_out.deaths


@pytest.mark.slow
def test_a_worker_with_other_code_or_weights_refuses(tmp_path, monkeypatch):
    from matterloop.potential.lennard_jones import LennardJones

    c, fan_out, _ = fanned.campaign(tmp_path / "run", pool(1), count=4, rounds=1)
    c.oracle = LennardJones(sigma=2.4, epsilon=0.1, cutoff=6.0)
    c.oracle.name = "toy_salts"
    with pytest.raises(WorkersFailed, match="not the same: weights"), fan_out:
        c.run()
    assert not c.state.relaxed


@pytest.mark.slow
def test_results_of_other_settings_in_the_spool_are_not_used(tmp_path):
    spool = tmp_path / "run" / "spool"
    process = driver(tmp_path / "run", "processes:1", "toy_salts:slower", 8)
    kill(process, spool, 1)
    notes = []
    c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(1), "toy_salts:slower", notes=notes, count=8, steps=40)
    before = len(c.state.relaxed)
    with fan_out:
        c.propose(0)
        c.screen(0)
        fan_out.executor = None
        c.relax(0)
    assert any("other code, weights or settings" in n for n in notes) and not any("taken in" in n for n in notes)
    assert len(c.state.relaxed) > before


@pytest.mark.slow
def test_reading_the_spool_twice_lands_once(tmp_path, unbroken):
    """A driver killed between writing the archive and clearing the spool finds the same results again."""
    from matterloop.campaign.spool import Spool as Kept

    forget = Kept.forget
    try:
        Kept.forget = lambda self, attempt, task_too: None
        c, fan_out, archive = fanned.campaign(tmp_path / "run", pool(2))
        fan_out.finished = lambda: None
        with fan_out:
            c.run()
    finally:
        Kept.forget = forget
    assert list((tmp_path / "run" / "spool" / "attempts").glob("*.log"))
    archive.close()
    events = len(archive.events(CAMPAIGN))
    c, fan_out, archive = fanned.campaign(tmp_path / "run", "")
    with fan_out:
        landed = []
        everything = c.proposed([k for turn in c.state.rounds for k in c.state.sensible(turn)])
        fan_out.relax(everything, c.settings.protocol, c.oracle, lambda landings: landed.extend(x.content["key"] for x in landings), lambda: False)
    assert sorted(landed) == sorted({c.key for c in everything}) and len(archive.events(CAMPAIGN)) == events
    assert fanned.same(fanned.run(tmp_path / "run", ""), unbroken) and fanned.landed_once(archive)
