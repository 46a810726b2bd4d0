"""submitit: one Slurm job for each task."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from ..base.errors import MatterloopError, NeedsPackage
from .engines import SPOOL, plain_place
from .executors import Executor
from .workers import work


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
            self.executor = SlurmExecutor(folder=plain_place(folder, True), **more)
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
