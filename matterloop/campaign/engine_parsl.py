"""Parsl's high-throughput executor: pilot jobs that serve many tasks, on this machine or in Slurm jobs.

Y. Babuji et al., "Parsl: pervasive parallel programming in Python", HPDC 2019, doi:10.1145/3307681.3325400.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..base.errors import BadInput, MatterloopError, NeedsPackage
from .engines import SPOOL, plain_place
from .executors import Executor
from .workers import work

IDLE_JOBS = 4  # jobs that may end without having answered a call before that is an error


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
        place = plain_place(folder, executor.remote)
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
        logging.getLogger("parsl").setLevel(logging.CRITICAL)  # what matters is told by the driver; interchange and managers keep logs of their own
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
