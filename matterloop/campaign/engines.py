"""The doors to executors: each starts worker processes, hands them calls of `workers.work`, and says when a call has ended or was lost.

Parsl (Y. Babuji et al., HPDC 2019, doi:10.1145/3307681.3325400): its high-throughput executor starts pilot jobs that serve many tasks. submitit: one
Slurm job for each task. processes: subprocesses of this machine. Names and limits of tasks are all that passes through an engine; answers stand in the
spool, so an engine that loses a message loses no result.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from ..base.errors import BadInput, MatterloopError, NeedsPackage
from .executors import Executor
from .workers import work

GRACE = 10.0  # seconds that workers have to end by themselves when an engine closes
IDLE_JOBS = 4  # jobs that may end without having answered a call before that is an error
SPOOL = "MATTERLOOP_SPOOL"  # in the environment of every worker: whose it is


class Call(Protocol):
    """One call of `work` under way."""

    def ended(self) -> str | None:
        """None while it may still run, "" when `work` has returned, else how it was lost."""


class Engine(Protocol):
    """Starts calls; `close` ends every process that it has started."""

    def start(self, arguments: dict[str, Any]) -> Call: ...

    def close(self) -> None: ...


def open_engine(executor: Executor, folder: Path) -> Engine:
    """The engine of an executor, its files below `folder`; NeedsPackage where its package is not installed."""
    return {"parsl": ParslEngine, "submitit": SubmititEngine, "processes": Processes}[executor.kind](executor, folder)


# subprocesses


class _Worker:
    """One subprocess that serves calls, and the thread that reads its answers."""

    def __init__(self, environment: dict[str, str], log):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "matterloop.campaign.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, **environment}, text=True, start_new_session=True)
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.call: ProcessCall | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def hear(self) -> None:
        """Note what the worker has said or how it ended."""
        while not self.answers.empty():
            line = self.answers.get()
            if self.call is not None:
                self.call.how = "" if line else self._fate()
                self.call = None

    def _fate(self) -> str:
        code = self.process.wait()
        if code < 0:
            return f"its process was killed by signal {-code}"
        words = Path(self.log.name).read_text(errors="replace").split("\n")
        return f"its process ended with code {code}: {next((w.strip() for w in reversed(words) if w.strip()), 'it said nothing')}"

    def alive(self) -> bool:
        return self.process.poll() is None


class ProcessCall:
    """A call that waits for, or runs in, a subprocess."""

    def __init__(self, engine: Processes, arguments: dict[str, Any]):
        self.engine, self.arguments, self.how = engine, arguments, None

    def ended(self) -> str | None:
        self.engine.turn()
        return self.how


class Processes:
    """A pool of subprocesses; one that dies is replaced."""

    def __init__(self, executor: Executor, folder: Path):
        if executor.gpus_per_node:
            self.environments = [{**executor.environment(), "CUDA_VISIBLE_DEVICES": str(i)} for i in range(executor.workers)]
        else:
            self.environments = [executor.environment()] * executor.workers
        self.environments = [{**e, SPOOL: str(folder)} for e in self.environments]
        self.waiting: deque[ProcessCall] = deque()
        self.log = (folder / "workers.log").open("ab")
        self.workers: list[_Worker | None] = [None] * executor.workers

    def start(self, arguments: dict[str, Any]) -> ProcessCall:
        call = ProcessCall(self, arguments)
        self.waiting.append(call)
        self.turn()
        return call

    def turn(self) -> None:
        """Hear the workers, and hand waiting calls to free ones."""
        for i, worker in enumerate(self.workers):
            if worker is not None:
                worker.hear()
                if not worker.alive() and worker.call is None:
                    worker = self.workers[i] = None
            if self.waiting and (worker is None or worker.call is None):
                worker = self.workers[i] = worker or _Worker(self.environments[i], self.log)
                worker.call = self.waiting.popleft()
                try:
                    worker.process.stdin.write(json.dumps(worker.call.arguments) + "\n")
                    worker.process.stdin.flush()
                except OSError:
                    pass  # it has just died: the next turn hears of it

    def close(self) -> None:
        alive = [w.process for w in self.workers if w is not None]
        for process in alive:
            process.stdin.close()
            process.terminate()
        until = time.monotonic() + GRACE
        for process in alive:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()


# Parsl


class ParslCall:
    def __init__(self, engine: ParslEngine, future):
        self.engine, self.future = engine, future

    def ended(self) -> str | None:
        if not self.future.done():
            return None
        error = self.future.exception()
        if self.engine.broken:
            raise MatterloopError(self.engine.broken)
        self.engine.answered += 1
        return "" if error is None else f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}".rstrip(": ")


class ParslEngine:
    """Parsl's high-throughput executor on this machine or in Slurm jobs.

    A dead worker is noticed within one `heartbeat`, a node that is out of reach after five; with Parsl's own 30 and 120 s the first would take half a
    minute. The interchange runs under a guard (guard.py) that ends it with the driver; managers then miss it and end, and workers end with their manager.
    """

    def __init__(self, executor: Executor, folder: Path):
        try:
            import parsl
            import zmq
            from parsl.config import Config
            from parsl.executors import HighThroughputExecutor
            from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
        except ImportError:
            raise NeedsPackage("parsl", "this executor", "matterloop[parsl]") from None
        place = _plain_place(folder, executor.remote)
        self.place, self.answered, self.broken, self.hold = place, 0, "", executor.remote
        encrypted = executor.encrypted and zmq.has("curve")
        if not encrypted and executor.encrypted and executor.remote:
            raise BadInput("this build of ZeroMQ cannot encrypt; install pyzmq with libsodium, or set encrypted = false on a network that you trust", "executor")
        python = executor.python or sys.executable
        quoted = shlex.quote(python).replace("{", "{{").replace("}", "}}")
        more: dict[str, Any] = {"address": executor.address or None if executor.remote else "127.0.0.1"}
        if executor.gpus_per_node:
            more["available_accelerators"] = executor.gpus_per_node
        if executor.remote:
            more["drain_period"] = max(executor.seconds // 2, executor.seconds - int(2 * executor.task_seconds) - 60)
        logging.getLogger("parsl").setLevel(logging.CRITICAL)  # its log files below `folder` keep everything; what matters is told by the driver
        config = Config(
            executors=[HighThroughputExecutor(
                label="relax", provider=_provider(executor, folder), block_error_handler=self._jobs_ended, max_workers_per_node=executor.workers, cores_per_worker=1e-6, encrypted=encrypted,
                heartbeat_period=executor.heartbeat, heartbeat_threshold=5 * executor.heartbeat, prefetch_capacity=0, worker_logdir_root=str(place),
                launch_cmd=DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", f"{quoted} -P -m parsl.executors.high_throughput.process_worker_pool", 1),
                interchange_launch_cmd=[sys.executable, "-P", "-m", "matterloop.campaign.guard", str(os.getpid()), str(folder)], **more)],
            run_dir=str(place), strategy="simple", strategy_period=1 if not executor.remote else 5, retries=0, usage_tracking=0,
            initialize_logging=False)
        self.kernel = parsl.dataflow.dflow.DataFlowKernel(config)
        self.app = parsl.python_app(work, data_flow_kernel=self.kernel, cache=False)

    def start(self, arguments: dict[str, Any]) -> ParslCall:
        return ParslCall(self, self.app(**arguments, hold=self.hold))

    def _jobs_ended(self, parsl_executor, status: dict) -> None:
        """What Parsl asks about the jobs it has started: give up when they end one after the other without having done anything."""
        idle = [s for s in status.values() if s.terminal and s.state.name not in ("CANCELLED", "SCALED_IN")]
        if len(idle) >= IDLE_JOBS + self.answered:
            said = next((t.strip().splitlines()[-1] for s in reversed(idle) for t in (s.stderr_summary, s.stdout_summary, s.message) if t and t.strip()), "")
            self.broken = f"{len(idle)} jobs ended before they had done anything{': ' + said if said else ''}; look at `init` and `python` of the executor"
            parsl_executor.set_bad_state_and_fail_all(MatterloopError(self.broken))

    def close(self) -> None:
        """Managers are told to end, jobs are cancelled."""
        if not self.kernel.cleanup_called:
            self.kernel.cleanup()
        if self.place.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(self.place, ignore_errors=True)


def _plain_place(folder: Path, remote: bool) -> Path:
    """Where an engine keeps its scripts and logs: below the spool, or, since job scripts hold the path unquoted, a temporary folder if that has spaces."""
    if re.fullmatch(r"[\w@%+=:,./-]+", str(folder), re.ASCII):
        return folder / "engine"
    if remote:
        raise BadInput("the path holds a space or another character that job scripts cannot have; choose another --out", str(folder))
    return Path(tempfile.mkdtemp(prefix="matterloop-"))


def _provider(executor: Executor, folder: Path):
    from parsl.launchers import SingleNodeLauncher, SrunLauncher
    from parsl.providers import LocalProvider, SlurmProvider

    class Slurm(SlurmProvider):
        """Asks after its jobs four times as often as Parsl's own: a job that was cancelled is replaced that much sooner."""

        status_polling_interval = 15

    init = "\n".join([*executor.lines(), f"export {SPOOL}={shlex.quote(str(folder))}"])
    if not executor.remote:
        return LocalProvider(init_blocks=1, min_blocks=0, max_blocks=1, worker_init=init)
    try:
        return Slurm(
            partition=executor.partition or None, account=executor.account or None, qos=executor.qos or None, constraint=executor.constraint or None,
            nodes_per_block=executor.nodes, init_blocks=1, min_blocks=0, max_blocks=executor.jobs, walltime=executor.walltime, exclusive=executor.exclusive,
            gpus_per_node=executor.gpus_per_node or None, worker_init=init, cmd_timeout=60,
            cores_per_node=None if executor.exclusive else executor.workers * executor.cores_per_worker,
            scheduler_options="\n".join(f"#SBATCH {o}" for o in executor.options),
            launcher=SrunLauncher() if executor.nodes > 1 else SingleNodeLauncher())
    except (OSError, ValueError) as error:
        raise MatterloopError(f"Slurm does not answer here: {error}") from None


# submitit


class SubmititCall:
    def __init__(self, engine: SubmititEngine, job):
        self.engine, self.job = engine, job

    def ended(self) -> str | None:
        if self.job.paths.result_pickle.exists():
            return ""
        return None if self.engine.queued(self.job.job_id) else self.fate()

    def fate(self) -> str:
        return "" if self.job.paths.result_pickle.exists() else f"the Slurm job {self.job.job_id} ended without an answer, see {self.job.paths.stderr}"


class SubmititEngine:
    """One Slurm job for each call, through submitit; which jobs live is asked of squeue, since sacct is not everywhere."""

    EVERY = 5.0  # seconds between two questions to squeue

    def __init__(self, executor: Executor, folder: Path):
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise NeedsPackage("submitit", "this executor", "matterloop[submitit]") from None
        more: dict[str, Any] = {"python": shlex.quote(executor.python)} if executor.python else {}
        try:
            self.executor = SlurmExecutor(folder=_plain_place(folder, True), **more)
        except RuntimeError as error:
            raise MatterloopError(f"Slurm does not answer here: {error}") from None
        extra = {k: v for k, v in (("account", executor.account), ("qos", executor.qos), ("constraint", executor.constraint)) if v}
        for option in executor.options:
            name, _, value = option.lstrip("-").partition("=")
            extra[name] = value or True
        self.executor.update_parameters(
            job_name="matterloop", time=max(1, executor.seconds // 60), nodes=1, ntasks_per_node=1, cpus_per_task=executor.cores_per_worker,
            setup=[*executor.lines(), f"export {SPOOL}={shlex.quote(str(folder))}"], **({"partition": executor.partition} if executor.partition else {}),
            **({"gpus_per_node": 1} if executor.gpus_per_node else {}), **({"exclusive": True} if executor.exclusive else {}),
            additional_parameters=extra)
        self.jobs: set[str] = set()
        self.known: set[str] = set()
        self.asked = -1e9

    def start(self, arguments: dict[str, Any]) -> SubmititCall:
        job = self.executor.submit(work, **arguments)
        self.jobs.add(job.job_id)
        self.known.add(job.job_id)
        return SubmititCall(self, job)

    def queued(self, job: str) -> bool:
        """Whether Slurm still knows the job as waiting or running."""
        if time.monotonic() - self.asked >= self.EVERY:
            before = set(self.jobs)
            answer = subprocess.run(["squeue", "--me", "--noheader", "--format=%A"], capture_output=True, text=True, timeout=60)
            if answer.returncode == 0:  # a controller that does not answer is no reason to give a job up
                self.known = set(answer.stdout.split()) | (self.jobs - before)
                self.asked = time.monotonic()
        return job in self.known

    def close(self) -> None:
        if left := sorted(j for j in self.jobs if self.queued(j)):
            subprocess.run(["scancel", *left], capture_output=True, timeout=60)
