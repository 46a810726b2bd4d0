"""The doors to executors: each starts worker processes, hands them calls of `workers.work`, and says when a call has ended or was lost.

Names and limits of tasks are all that passes through an engine; answers stand in the spool, so an engine that loses a message loses no result.
One file each: engine_parsl.py, engine_submitit.py, engine_processes.py.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Protocol

from ..base.errors import BadInput
from .executors import Executor

GRACE = 10.0  # seconds that workers have to end by themselves when an engine closes
SPOOL = "MATTERLOOP_SPOOL"  # in the environment of every worker: whose it is


class Call(Protocol):
    """One call of `work` under way."""

    def ended(self) -> str | None:
        """None while it may still run, "" when `work` has returned, else how it was lost. MatterloopError when the engine has given up."""


class Engine(Protocol):
    """Starts calls; `close` ends every process that it has started."""

    def start(self, arguments: dict[str, Any]) -> Call: ...

    def close(self) -> None: ...


def open_engine(executor: Executor, folder: Path) -> Engine:
    """The engine of an executor, its files below `folder`; NeedsPackage where its package is not installed."""
    if executor.kind == "parsl":
        from .engine_parsl import ParslEngine

        return ParslEngine(executor, folder)
    if executor.kind == "submitit":
        from .engine_submitit import SubmititEngine

        return SubmititEngine(executor, folder)
    from .engine_processes import Processes

    return Processes(executor, folder)


def plain_place(folder: Path, remote: bool) -> Path:
    """Where an engine keeps its scripts and logs: below the spool, or, since job scripts hold the path unquoted, a temporary folder if that has spaces."""
    if re.fullmatch(r"[\w@%+=:,./-]+", str(folder), re.ASCII):
        return folder / "engine"
    if remote:
        raise BadInput("the path holds a space or another character that job scripts cannot have; choose another --out", str(folder))
    return Path(tempfile.mkdtemp(prefix="matterloop-"))
