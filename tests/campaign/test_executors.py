"""Executors by name and from files; Parsl on this machine; Parsl and submitit on a Slurm of one node (make test-slurm)."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from matterloop.base.errors import BadInput, Missing
from matterloop.campaign.executors import NAMED, Executor, read_executor
from matterloop.campaign.fan_out import WorkersFailed
from matterloop.campaign.loop import CAMPAIGN
from matterloop.campaign.spool import Spool, birth
from matterloop.campaign.watch import Watch

sys.path.insert(0, str(Path(__file__).parent))
import fanned  # noqa: E402

slurm = [pytest.mark.slurm, pytest.mark.skipif(not os.environ.get("MATTERLOOP_TEST_SLURM"), reason="needs a Slurm; run: make test-slurm")]
LOCAL = replace(NAMED["local"], workers_per_node=2, task_seconds=0.5, stale=5.0)
ON_SLURM = {
    "parsl": replace(NAMED["slurm"], workers_per_node=2, task_seconds=0.5, walltime="00:05:00", exclusive=False, address="127.0.0.1", stale=15.0, heartbeat=2),
    "submitit": replace(NAMED["submitit"], jobs=2, task_seconds=2.0, walltime="00:05:00", stale=15.0),
}


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


def processes_of(folder):
    """Numbers of the processes whose command line or environment names the folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int(place.name) != os.getpid() and str(folder).encode() in (place / "cmdline").read_bytes() + (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def wait_for(what, seconds=60.0):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return found


# names and files


def test_names_and_counts():
    assert read_executor("") is None and read_executor("local") == NAMED["local"]
    assert read_executor("processes:3").workers == 3 and read_executor("slurm:4").workers_per_node == 4 and read_executor("submitit:7").slots == 7
    assert read_executor(LOCAL) is LOCAL and LOCAL.slots == 2


@pytest.mark.parametrize("wrong, text", [("locl", "did you mean local"), ("local:0", "number of workers"), ("local:many", "number of workers"), ("nowhere", "no executor called")])
def test_wrong_names_are_refused(wrong, text):
    with pytest.raises((BadInput, Missing), match=text):
        read_executor(wrong)


def test_a_file_says_all_that_differs(tmp_path):
    file = tmp_path / "cluster.toml"
    file.write_text('provider = "slurm"\npartition = "gpu"\naccount = "abc-123"\nwalltime = "1-02:00:00"\njobs = 3\nnodes = 2\ngpus_per_node = 4\n'
                    'init = ["module load python"]\noptions = ["--mem=16G"]\n')
    found = read_executor(file)
    assert found == Executor(provider="slurm", partition="gpu", account="abc-123", walltime="1-02:00:00", jobs=3, nodes=2, gpus_per_node=4,
                             init=("module load python",), options=("--mem=16G",), task_seconds=120.0, stale=120.0, heartbeat=10)
    assert found.seconds == 26 * 3600 and found.workers == 4 and found.slots == 24 and found.remote
    lines = found.lines()
    assert lines[0] == "module load python" and "export OMP_NUM_THREADS=1" in lines and lines[-1] == f"export MATTERLOOP_ENDS=$(( $(date +%s) + {26 * 3600 - 20} ))"


@pytest.mark.parametrize("text, told", [
    ("partiton = 'x'", "did you mean partition"), ("kind = 'dask'", "no kind called 'dask'"), ("provider = 'pbs'", "no provider called 'pbs'"),
    ("provider = 'slurm'\nwalltime = '2 hours'", "write HH:MM:SS"), ("provider = 'slurm'\nwalltime = '00:00:30'", "a minute at least"),
    ("workers_per_node = 0", "must be above 0"), ("gpus_per_node = 2\nworkers_per_node = 3", "3 workers for 2 GPUs"), ("partition = 'a; rm'", "must be one word"),
    ("stale = 1", "5 s are the least"), ("jobs = 'two'", "field jobs"), ("[slurm]\njobs = 2", r"has a table \[slurm\]"), ("kind = ", "is not valid TOML"),
])
def test_wrong_fields_are_refused_by_file_and_name(text, told, tmp_path):
    file = tmp_path / "cluster.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=told) as error:
        read_executor(file)
    assert str(file) in str(error.value)


def test_workers_have_their_threads_and_gpus(tmp_path):
    from matterloop.campaign.engine_processes import Processes

    engine = Processes(Executor(kind="processes", gpus_per_node=2, cores_per_worker=3), tmp_path)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in engine.environments] == ["0", "1"] and all(e["OMP_NUM_THREADS"] == "3" for e in engine.environments)
    engine.close()


# Parsl on this machine


def parsl_run(tmp_path, executor, potential="toy_salts", **more):
    pytest.importorskip("parsl")
    c, fan_out, archive = fanned.campaign(tmp_path / "a run", executor, potential, **more)
    with fan_out:
        state = c.run()
        if state.finished:
            fan_out.finished()
    return state, fan_out, archive


def test_parsl_gives_the_same_run_and_leaves_nothing_behind(tmp_path, unbroken):
    state, fan_out, archive = parsl_run(tmp_path, LOCAL)
    assert fanned.same(state, unbroken) and fanned.landed_once(archive) and fan_out.counts["deaths"] == 0
    assert not (tmp_path / "a run" / "spool").exists()
    wait_for(lambda: not processes_of(tmp_path), 30)  # a manager that was told to end may take a moment


@pytest.mark.slow
def test_parsl_survives_a_crystal_that_kills_its_workers(tmp_path, unbroken):
    state, fan_out, archive = parsl_run(tmp_path, LOCAL, "toy_salts:kills", count=8, rounds=1)
    poisonous = {k.key for k in archive.candidates(CAMPAIGN) if 20 in k.crystal.species.tolist()}
    assert state.finished and poisonous and set(state.failed) >= poisonous and fanned.landed_once(archive)
    assert all("its worker died 3 times" in state.failed[k]["reason"] for k in poisonous)
    wait_for(lambda: not processes_of(tmp_path), 30)


@pytest.mark.slow
def test_kill_9_of_a_driver_of_parsl_leaves_no_process_after_half_a_minute(tmp_path, unbroken):
    pytest.importorskip("parsl")
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, fanned.__file__, str(folder), "local:2", "toy_salts:slower"], env=os.environ | {"TOY_COUNT": "8"}, start_new_session=True)
    spool = Spool(folder / "spool")

    def working():
        found = []
        for a in spool.attempts_here():
            a.more()
            found += [(a.about["pid"], a.about["birth"])] if a.about and a.finished and not a.end else []
        return found

    workers = wait_for(working)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: all(birth(pid) != b for pid, b in workers) and not processes_of(folder), 40.0)
    state = fanned.run(folder, "", "toy_salts:slower", count=8)
    assert fanned.same(state, fanned.run(tmp_path / "whole", "", count=8))


@pytest.mark.slow
def test_jobs_that_cannot_begin_end_the_run_with_a_reason(tmp_path):
    with pytest.raises(WorkersFailed, match="jobs ended before"):
        parsl_run(tmp_path, replace(LOCAL, init=("exit 3",)), count=4, rounds=1)
    assert not processes_of(tmp_path)


# a real Slurm


def on_slurm(tmp_path, kind, potential="toy_salts", watch=None, **more):
    pytest.importorskip("parsl" if kind == "parsl" else "submitit")
    c, fan_out, archive = fanned.campaign(tmp_path / "run", replace(ON_SLURM[kind], **more.pop("executor", {})), potential, watch=watch, **more)
    with fan_out:
        state = c.run()
        if state.finished:
            fan_out.finished()
    return state, fan_out, archive


def jobs():
    return subprocess.run(["squeue", "--noheader", "--format=%A %T"], capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


def gone():
    return all(j.endswith("COMPLETING") for j in jobs())


@pytest.mark.parametrize("kind", ON_SLURM)
class TestSlurm:
    pytestmark = slurm

    def test_gives_the_same_run_and_leaves_no_job(self, kind, tmp_path, unbroken):
        state, fan_out, archive = on_slurm(tmp_path, kind)
        assert fanned.same(state, unbroken) and fanned.landed_once(archive) and fan_out.counts["deaths"] == 0
        wait_for(gone, 30.0)

    def test_a_cancelled_job_is_replaced_and_nothing_is_lost(self, kind, tmp_path):
        whole = fanned.run(tmp_path / "whole", "")
        cancelled = []

        def stop():
            if not cancelled and len(c.state.relaxed) >= 2:
                running = [j.split()[0] for j in jobs() if j.endswith("RUNNING")]
                if running:
                    subprocess.run(["scancel", running[0]], check=True)
                    cancelled.append(running[0])
            return False

        pytest.importorskip("parsl" if kind == "parsl" else "submitit")
        c, fan_out, archive = fanned.campaign(tmp_path / "run", ON_SLURM[kind], "toy_salts:slow", watch=Watch(stop=stop))
        with fan_out:
            state = c.run()
        assert cancelled and state.finished and fanned.same(state, whole) and fanned.landed_once(archive)

    def test_a_crystal_that_kills_its_worker_is_set_aside(self, kind, tmp_path):
        state, fan_out, archive = on_slurm(tmp_path, kind, "toy_salts:kills", count=6, rounds=1)
        poisonous = {k.key for k in archive.candidates(CAMPAIGN) if 20 in k.crystal.species.tolist()}
        assert state.finished and poisonous and all("its worker died 3 times" in state.failed[k]["reason"] for k in poisonous) and fanned.landed_once(archive)

    def test_kill_9_of_the_driver_then_jobs_end_and_resume_is_the_unbroken_run(self, kind, tmp_path):
        whole = fanned.run(tmp_path / "whole", "", count=8)
        folder, file = tmp_path / "run", tmp_path / "cluster.toml"
        file.write_text(('provider = "slurm"\nworkers_per_node = 2\naddress = "127.0.0.1"\nexclusive = false\nheartbeat = 2\n' if kind == "parsl" else 'kind = "submitit"\njobs = 2\n')
                        + 'stale = 15.0\ntask_seconds = 5\nwalltime = "00:05:00"\n')
        process = subprocess.Popen([sys.executable, fanned.__file__, str(folder), str(file), "toy_salts:slower"], env=os.environ | {"TOY_COUNT": "8"}, start_new_session=True)
        spool = Spool(folder / "spool")
        wait_for(lambda: any(a.more() for a in spool.attempts_here()))
        process.kill()
        process.wait()
        assert fanned.same(fanned.run(folder, file, "toy_salts:slower", count=8), whole)
        wait_for(gone, 60.0)  # the killed driver's pilot job ends when it misses the interchange

    def test_jobs_end_before_their_wall_time_and_others_go_on(self, kind, tmp_path):
        every = lambda: set(re.findall(r"JobId=(\d+)", subprocess.run(["scontrol", "show", "jobs", "--oneliner"], capture_output=True, text=True).stdout))
        before = every()
        short = {"walltime": "00:01:00", "task_seconds": 100.0, "jobs": 1, "workers_per_node": 1}  # workers stop after 40 s, the work takes a minute
        state, fan_out, archive = on_slurm(tmp_path, kind, "toy_salts:slowest", count=24, rounds=1, executor=short)
        assert state.finished and fan_out.counts["deaths"] == 0 and not any(f.get("platform") for f in state.failed.values()) and fanned.landed_once(archive)
        assert len(every() - before) >= 2
