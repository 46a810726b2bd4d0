"""What runs inside a worker: relax the crystals of one task, write each down as it ends, and know when to stop.

An executor only starts processes and calls `work`; the answer stands in the spool, not in what `work` returns. A worker ends by itself when the
driver's heartbeat stands still or asks for it, when its parent process is gone, on SIGTERM or SIGUSR2 (what Slurm sends before it kills), and before
its wall time is over. One that hangs in a single evaluation is ended by the kernel: SIGALRM keeps its default action, which needs no Python.

    python -m matterloop.campaign.workers        reads calls as JSON lines from its standard input, until that closes
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import torch

from ..archive.failures import ArchiveError
from ..base.config import from_mapping
from ..base.errors import BadInput, MatterloopError, NeedsPackage
from ..crystal.state import Crystals
from ..measure.flight import RelaxedOne
from ..potential.oracle import Oracle
from .cost import peak_mib
from .spool import AttemptLog, Item, Spool
from .tasks import Protocol, content_of

ENDS = "MATTERLOOP_ENDS"  # seconds since 1970 at which this worker's job is killed; set by the job's first lines
THREADS = "MATTERLOOP_THREADS"  # threads of one worker
SET_UP = 600.0  # most seconds until a potential is loaded
LOOK = 0.5  # seconds between two looks at the driver's heartbeat
WINDOWS = 2  # crystals claimed together, in multiples of the protocol's batch_atoms
SLOWEST = 0.95  # quantile of a crystal's seconds that must remain before another is claimed
_SECONDS: list[float] = []  # of the crystals that this process has done, the last ones


@dataclass
class Lookout:
    """Says when to stop: `why` is empty until something asks for it. Called before every evaluation, looks around twice a second at most."""

    spool: Spool
    stale: float
    patience: float
    sign: Callable[[], None] = lambda: None
    why: str = ""
    ends: float = field(default_factory=lambda: float(os.environ.get(ENDS) or math.inf))
    parent: int = field(default_factory=os.getppid)
    looked: float = 0.0
    beat: dict = field(default_factory=dict)
    moved: float = field(default_factory=time.monotonic)
    alarmed: bool = False

    def stop(self) -> bool:
        """Whether to stop; each call says that the last evaluation has ended."""
        if self.alarmed:
            signal.setitimer(signal.ITIMER_REAL, self.patience)
        now = time.monotonic()
        if not self.why and now - self.looked >= LOOK:
            self.looked = now
            self.look(now)
            self.sign()
        return bool(self.why)

    def look(self, now: float) -> None:
        beat = self.spool.beat()
        if beat and beat != self.beat:
            if self.beat and beat["session"] != self.beat["session"]:
                self.why = "another driver has taken over"
            self.beat, self.moved = beat, now
        if beat.get("stop"):
            self.why = "the driver asked for it"
        elif now - self.moved > self.stale:
            self.why = f"the driver has shown no sign of life for {self.stale:g} s"
        elif os.getppid() != self.parent:
            self.why = "the process that started the worker is gone"
        elif time.time() >= self.ends:
            self.why = "wall time"

    def fit(self, most: int, expected: float) -> int:
        """How many crystals may be claimed, up to `most`: as many slow ones as the wall time has room for."""
        count = most if math.isinf(self.ends) else max(0, min(most, int((self.ends - time.time()) / slow(expected))))
        if not count and not self.why:
            self.why = "wall time"
        return count

    def caught(self, number: int, frame) -> None:
        self.why = self.why or f"signal {signal.Signals(number).name}"

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGUSR2 as a request to stop, and let the kernel end an evaluation that takes longer than `patience` (SET_UP before the first)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.signal(n, self.caught) for n in (signal.SIGTERM, signal.SIGUSR2)}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self.alarmed = True
        signal.setitimer(signal.ITIMER_REAL, max(SET_UP, self.patience))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.alarmed = False
            for number, handler in before.items():
                signal.signal(number, handler)


def slow(expected: float) -> float:
    """Seconds that all but the slowest crystals need: the quantile SLOWEST of those done here, or `expected` before there are ten."""
    known = sorted(_SECONDS)
    return known[math.ceil(SLOWEST * len(known)) - 1] if len(known) >= 10 else max([expected, *known, 1e-3])


@cache
def _parts(folder: str, protocol: str) -> tuple[Protocol, Oracle]:
    """(protocol, oracle) for the tasks of a campaign, built once in a process; BadInput if code or weights are not the driver's."""
    torch.set_num_threads(int(os.environ.get(THREADS) or 1))
    spool = Spool(folder)
    content = spool.read_json(spool.protocol_path)
    found = from_mapping(Protocol, content["protocol"], "protocol")
    oracle = found.oracle()
    here = found.ground(oracle)
    if other := [f"{k} ({content['ground'][k][:80]} there, {v[:80]} here)" for k, v in here.items() if content["ground"][k] != v]:
        raise BadInput(f"a worker needs the installation of the driver; not the same: {'; '.join(other)}", f"worker, {sys.executable}")
    if found.key(oracle) != protocol:
        raise BadInput("the task was made under other settings", f"worker, {sys.executable}")
    return found, oracle


def windows(items: Sequence[Item], atoms: int) -> Iterator[list[Item]]:
    """The items in order, in groups of at most `atoms` atoms (a larger crystal alone)."""
    group: list[Item] = []
    for item in items:
        if group and sum(i.crystal.atoms for i in group) + item.crystal.atoms > atoms:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def work(folder: str, task: str, attempt: str, stale: float = 60.0, patience: float = 300.0, expected: float = 1.0, hold: bool = False) -> str:
    """Relax what a task holds and write it to the attempt's log; returns why it ended, "done" if all of it is.

    stale     seconds without a heartbeat of the driver after which to end
    patience  most seconds of one evaluation
    expected  seconds of a slow crystal, before this process knows better
    hold      when too little wall time is left, do not return before the job ends: a pilot job would only be handed the next task in vain
    """
    spool = Spool(folder)
    lookout = Lookout(spool, stale, patience)
    with lookout.signals():
        try:
            log = AttemptLog(spool.attempt_path(task, attempt), task)
        except FileExistsError:
            return "begun already"  # the executor has handed the same call out twice
        lookout.sign = log.alive
        why, reason = "error", ""
        try:
            key, items, careful = spool.read_task(task)
            protocol, oracle = _parts(str(spool.folder), key)
            log.clock = time.monotonic()  # loading is no part of what a crystal takes
            try:
                why = _relax(key, protocol, oracle, items, careful, log, lookout, expected)
            except (ArchiveError, NeedsPackage):
                raise
            except Exception as error:  # a fault that some crystal provokes; the driver finds out which
                why, reason = "crash", f"{type(error).__name__}: {error}"
        except (MatterloopError, OSError, ImportError) as error:
            reason = str(error) if isinstance(error, MatterloopError) else f"{type(error).__name__}: {error}"
        try:
            log.end(why, reason)
        finally:
            log.close()
    while hold and lookout.why == "wall time":
        time.sleep(LOOK)
        lookout.why, lookout.ends = "", 0.0
        lookout.look(time.monotonic())
    return why


def _relax(key: str, protocol: Protocol, oracle: Oracle, items: Sequence[Item], careful: bool, log: AttemptLog, lookout: Lookout, expected: float) -> str:
    """Relax all items, a window at a time, one by one if `careful`; returns "done" or why not."""
    spent = [time.process_time()]
    waiting = list(items)
    while waiting:
        group = next(windows(waiting, 0 if careful else WINDOWS * protocol.batch_atoms))
        if lookout.stop() or not (count := lookout.fit(len(group), expected)):
            return lookout.why
        group, waiting = group[:count], waiting[count:]
        if careful:
            log.begin(group[0].key)

        def write(index: int, one: RelaxedOne, group: Sequence[Item] = group) -> None:
            if one.status == "stopped":
                return
            _SECONDS.append(one.seconds)
            del _SECONDS[:-200]
            content, crystal = content_of(group[index].key, one)
            log.result(group[index], key, content, crystal, time.process_time() - spent[0], peak_mib())
            spent[0] = time.process_time()

        protocol.relax(Crystals.join([i.crystal.bare() for i in group]), oracle, on_done=write, should_stop=lookout.stop)
        if lookout.why:
            return lookout.why
    return "done"


def main() -> None:
    """Serve calls from standard input: one JSON object of `work`'s arguments a line; answer each with a line."""
    for line in sys.stdin:
        why = work(**json.loads(line))
        sys.stdout.write(json.dumps(why) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
