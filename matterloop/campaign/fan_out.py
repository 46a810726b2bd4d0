"""The driver's side of a fan-out: cut what waits into tasks, hand them to an executor, and take results in, each once, whatever dies.

What is true stands in two places: the log of the archive (what is known) and the spool (what workers have done since). A result is taken in when the
log does not hold its candidate yet, so that reading the spool twice, or two workers with the same crystal, change nothing. A worker that dies leaves
its finished crystals behind; those it had in hand are tried again one by one, so that the culprit is known at its next death, and a crystal whose
worker has died three times, at last with nothing else in hand, is set aside: the candidate fails with that reason, the campaign goes on.
Failures of the platform (no job starts, another version on a node) are never a crystal's fault: they are tried again a few times, then end the run.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..archive.codec import crystal_keys
from ..archive.records import Candidate
from ..base.errors import MatterloopError
from ..crystal.state import Crystals
from ..potential.oracle import Oracle
from .engines import GRACE, Call, Engine, open_engine
from .executors import Executor
from .spool import Attempt, Item, Spool, unpack
from .tasks import Pace, Protocol, task_key

BEAT = 2.0  # seconds between heartbeats
DEATHS = 3  # of its worker, after which a crystal is set aside
TROUBLE = 5  # failures of the platform in a row after which the run ends
AHEAD = 1.5  # tasks handed out for each worker
CAREFUL = 8  # crystals in a task that goes one by one
SAMPLE = 2000  # crystals whose cost is summed to size a task
AWAIT = 15.0  # seconds that workers of an earlier driver have to notice a new one


class WorkersFailed(MatterloopError, RuntimeError):
    """Workers cannot be started or cannot work; what was done is kept, and the run can be resumed."""


@dataclass(frozen=True)
class Landing:
    """One candidate at its end: content of a "relaxed" event and its crystal, or of a "failed" event and None; the worker's CPU seconds for it and memory."""

    content: dict[str, Any]
    crystal: Crystals | None
    cpu: float = 0.0
    peak_mib: float = 0.0


Land = Callable[[list[Landing]], None]


@dataclass
class _Running:
    attempt: Attempt
    items: list[Item]
    careful: bool
    call: Call


@dataclass
class _Round:
    """What is left of one call of `relax`, and where it lands."""

    protocol: str
    land: Land
    waiting: dict[str, Item]
    fresh: list[str]
    careful: list[str] = field(default_factory=list)
    landed: int = 0


class FanOut:
    """Relaxes candidates through an executor; a context manager, since it starts processes.

    spool     folder for tasks and results; must be seen by every node
    executor  None: nothing is started, only what an earlier driver's workers left in the spool is taken in
    note      hears what a user should know
    """

    def __init__(self, spool: Path | str, executor: Executor | None = None, note: Callable[[str], None] = lambda text: None):
        self.spool, self.executor, self.note = Spool(spool), executor, note
        self.engine: Engine | None = None
        self.session, self.pace = uuid.uuid4().hex[:12], Pace()
        self.running: list[_Running] = []
        self.deaths: Counter[str] = Counter()
        self.trouble, self.number = 0.0, 0
        self.stopping, self.closed, self.clean = False, threading.Event(), False
        self.reaped = 0.0  # CPU seconds of workers that were children of this process: told already, crystal by crystal
        self.counts: Counter[str] = Counter()  # tasks, deaths, set aside, retried: for whoever asks

    # as a context

    def __enter__(self) -> FanOut:
        if self.executor is not None:
            self.spool.make()
            self._beat(0)
            threading.Thread(target=self._beats, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, kind, *_) -> None:
        self._stop()
        self.closed.set()
        if self.engine is not None:
            before = os.times()
            self.engine.close()
            after = os.times()
            self.reaped = after.children_user + after.children_system - before.children_user - before.children_system
        if self.clean and kind is None or not any(self.spool.attempts.glob("*.log")):
            self.spool.remove()

    def _beats(self) -> None:
        count = 1
        while not self.closed.wait(BEAT):
            self._beat(count)
            count += 1

    def _beat(self, count: int) -> None:
        try:
            self.spool.write_beat(self.session, count, self.stopping)
        except OSError:
            pass  # a full disk must not end the driver here; workers end if it lasts

    def _stop(self) -> None:
        """Ask the workers to end after the evaluation at hand, and wait a little for them."""
        if self.engine is None or self.stopping:
            return
        self.stopping = True
        self._beat(-1)
        until = time.monotonic() + GRACE / 2
        while time.monotonic() < until and any(r.attempt.path.exists() and r.call.ended() is None for r in self.running):
            time.sleep(0.05)

    # relaxing

    def relax(self, candidates: Sequence[Candidate], protocol: Protocol, oracle: Oracle, land: Land, halted: Callable[[], bool]) -> None:
        """Bring every candidate to its end: `land(landings)` gets each once, in no promised order, until all are done or `halted()`.

        What is handed over in one call of `land` must be kept whole or not at all. Raises WorkersFailed when the platform fails again and again.
        """
        if not candidates or (self.executor is None and not self.spool.attempts.is_dir()):
            return
        crystals = [c.crystal.bare() for c in candidates]
        names = crystal_keys(Crystals.join(crystals))
        items = {c.key: Item(c.key, name, crystal) for c, name, crystal in zip(candidates, names, crystals, strict=True)}
        round_ = _Round(protocol.key(oracle), land, items, list(items))
        self._collect(round_, halted)
        if self.executor is not None and round_.waiting:
            self.spool.write_json(self.spool.protocol_path, {"protocol": asdict(protocol), "ground": protocol.ground(oracle)})
            while round_.waiting and not halted():
                if not self._turn(round_):
                    time.sleep(min(1.0, 0.02 + 0.002 * len(self.running)))
            self._drain(round_)

    def _turn(self, round_: _Round) -> bool:
        """Take in what is new, see to calls that ended, hand out tasks; whether anything happened."""
        ended: dict[int, str] = {}
        for i, r in enumerate(self.running):
            try:
                how = r.call.ended()  # before reading, so that nothing is written after the last look
            except MatterloopError as error:  # the engine has given up
                raise WorkersFailed(f"{error}. What was done is kept; resume when this is mended") from None
            if how is None and r.attempt.silent() > 2 * self.executor.patience + 30:
                how = "no sign of life"
            if how is not None:
                ended[i] = how
        happened = bool(ended) | bool(self._fold(round_, [r.attempt for r in self.running]))
        for r in self.running:
            if r.attempt.end == "wall time" and r.items:  # its worker waits for the end of its job: others may have what it left
                self._put_back(round_, r, "wall time")
        gone = [(self.running[i], how) for i, how in ended.items()]
        self.running = [r for i, r in enumerate(self.running) if i not in ended]
        for r, how in gone:
            self._ended(round_, r, how)
        while len(self.running) < max(self.executor.slots + 1, AHEAD * self.executor.slots) and (round_.fresh or round_.careful):
            self._hand_out(round_)
            happened = True
        return happened

    def _hand_out(self, round_: _Round) -> None:
        careful = bool(round_.careful)
        queue = round_.careful if careful else round_.fresh
        if careful:
            suspects = [k for k in queue if self.deaths[k] > 1]
            keys = suspects[:1] or queue[: max(1, min(CAREFUL, -(-len(queue) // self.executor.slots)))]
        else:
            keys = queue[: self.pace.cut([round_.waiting[k].crystal.atoms for k in queue[:SAMPLE]], len(queue), self.executor.task_seconds, self.executor.slots)]
        taken = set(keys)
        queue[:] = [k for k in queue if k not in taken]
        items = [round_.waiting[k] for k in keys]
        task = task_key(round_.protocol, {i.key: i.content for i in items}, careful)
        self.spool.write_task(task, round_.protocol, items, careful)
        if self.engine is None:
            self.engine = open_engine(self.executor, self.spool.folder)
        self.number += 1
        name = f"{self.session}-{self.number:06d}"
        expected = 3 * self.pace.cost(max(i.crystal.atoms for i in items))
        try:
            call = self.engine.start({"folder": str(self.spool.folder), "task": task, "attempt": name, "stale": self.executor.stale,
                                      "patience": self.executor.patience, "expected": expected})
        except MatterloopError:
            raise
        except Exception as error:  # of the engine's own: its scheduler refuses, or it has given up
            why = getattr(self.engine, "broken", "") or f"no task can be handed out: {type(error).__name__}: {error}"
            raise WorkersFailed(f"{why}. What was done is kept; resume when this is mended") from error
        self.running.append(_Running(Attempt(self.spool.attempt_path(task, name), task), items, careful, call))
        self.counts["tasks"] += 1

    def _fold(self, round_: _Round, attempts: Sequence[Attempt]) -> int:
        """Land, all together, what attempts have written since the last look; returns how many results they held."""
        new: dict[str, tuple[dict, Attempt]] = {}
        held = 0
        for attempt in attempts:
            for line in attempt.more():
                held += 1
                item = round_.waiting.get(line["key"])
                if line["under"] != round_.protocol:
                    self.counts["foreign"] += 1
                elif item is not None and item.content == line["of"]:  # else it has landed already
                    new.setdefault(item.key, (line, attempt))
        crystals = iter(unpack([line["crystal"] for line, _ in new.values() if line["crystal"] is not None]))
        landings = {key: Landing({**line["content"], "host": attempt.about.get("host", "")}, None if line["crystal"] is None else next(crystals),
                                 line["cpu"], line["peak_mib"]) for key, (line, attempt) in new.items()}
        if landings:
            round_.land(list(landings.values()))
            for key in landings:
                del round_.waiting[key]
            round_.landed += len(landings)
            self.trouble = 0.0
        return held

    def _ended(self, round_: _Round, r: _Running, how: str) -> None:
        """A call is over: put what it left undone back, and find out what a death means."""
        attempt = r.attempt
        self.pace.learn(len(attempt.finished), attempt.evaluations, attempt.work, attempt.seconds)
        left = [i.key for i in r.items if i.key in round_.waiting]
        if attempt.about and (not attempt.end or attempt.end == "crash"):
            if not attempt.end and attempt.silent() >= self.executor.patience:
                how = f"an evaluation did not end within {self.executor.patience:g} s"
            self._died(round_, attempt, r.careful, left, attempt.reason if attempt.end == "crash" else how or "the worker ended without a word")
        else:
            if attempt.end == "error" or not attempt.about:
                self._platform(attempt.reason or how or "a call ended before it began")
            self._put_back(round_, r, attempt.end)
        self.spool.forget(attempt, all(attempt.task != other.attempt.task for other in self.running))

    def _put_back(self, round_: _Round, r: _Running, why: str) -> None:
        """What a call has left undone waits again, and is no longer its business."""
        left = [i.key for i in r.items if i.key in round_.waiting]
        r.items = []
        (round_.careful if r.careful else round_.fresh)[:0] = left
        self.counts["put back"] += bool(left)
        if left and not r.attempt.finished and r.attempt.end not in ("", "error"):
            self._platform(why, 0.25)  # stopped before anything was done: no fault, but it must not go on for ever

    def _died(self, round_: _Round, attempt: Attempt, careful: bool, left: list[str], how: str) -> None:
        """Count the death of a worker for the crystals that it had in hand, set one aside that has caused too many."""
        alone = careful or len(left) == 1
        suspects = [k for k in left if k == attempt.begun] if careful else left
        self.counts["deaths"] += 1
        if not suspects:  # between two crystals: nobody's fault
            self._platform(how)
        self.spool.add_deaths([{"key": k, "of": round_.waiting[k].content, "under": round_.protocol, "alone": alone, "how": how} for k in suspects])
        for key in suspects:
            self.deaths[key] += 1
            if self.deaths[key] >= DEATHS and alone:
                self._set_aside(round_, key, how)
        names = set(round_.careful)
        round_.careful += [k for k in left if k in round_.waiting and k not in names]

    def _set_aside(self, round_: _Round, key: str, how: str) -> None:
        reason = f"set aside: its worker died {self.deaths[key]} times, at last with nothing else in hand ({how})"
        atoms = round_.waiting[key].crystal.atoms
        round_.land([Landing({"key": key, "stage": "relax", "reason": reason, "steps": 0, "evaluations": 0, "atoms": atoms, "platform": True}, None)])
        del round_.waiting[key]
        self.counts["set aside"] += 1
        self.note(f"{key} {reason}")

    def _platform(self, why: str, weight: float = 1.0) -> None:
        """A failure that is no crystal's fault: bounded, and told."""
        self.trouble += weight
        self.counts["platform"] += 1
        if self.trouble >= TROUBLE:
            raise WorkersFailed(f"workers fail again and again: {why}. What was done is kept; resume when this is mended")
        if self.trouble <= 1:
            self.note(f"a worker could not work, trying again: {why}")
        time.sleep(0.2 * self.trouble)

    def _drain(self, round_: _Round) -> None:
        """Nothing more is wanted of the calls under way: ask them to end, take in what they still bring."""
        if round_.waiting:
            self._stop()
            self._fold(round_, [r.attempt for r in self.running])

    # what an earlier driver left

    def _collect(self, round_: _Round, halted: Callable[[], bool]) -> None:
        """Take in what workers of earlier sessions have done; those that still run see the new heartbeat and end."""
        ours = {r.attempt.path for r in self.running}
        old = [a for a in self.spool.attempts_here() if a.path not in ours]
        for death in self.spool.deaths():
            if death["under"] == round_.protocol and death["key"] in round_.waiting and death["of"] == round_.waiting[death["key"]].content:
                self.deaths[death["key"]] += 1
        if old and self.executor is None:
            self._beat(0)
        until = time.monotonic() + AWAIT
        while old:
            gone = [a.gone() for a in old]  # before reading, so that nothing is written after the last look
            self._fold(round_, old)
            over = [a.end != "" or dead or not a.about or time.monotonic() > until for a, dead in zip(old, gone, strict=True)]
            for attempt, dead, done in zip(old, gone, over, strict=True):
                if done:
                    self._mourn(round_, attempt, dead)
            old = [a for a, done in zip(old, over, strict=True) if not done]
            if old:
                if halted():
                    break
                time.sleep(0.1)
        if round_.landed:
            self.note(f"{round_.landed} results of an earlier session taken in")
        if self.counts["foreign"]:
            self.note(f"{self.counts['foreign']} results in the spool are of other code, weights or settings; they are not used")
        round_.fresh = [k for k in round_.waiting if not self.deaths[k]]
        round_.careful = [k for k in round_.waiting if self.deaths[k]]

    def _mourn(self, round_: _Round, attempt: Attempt, gone: bool) -> None:
        """Put an attempt of an earlier session away; one that ended without a word, its process gone, is a death that its driver did not see."""
        try:
            protocol, items, careful = self.spool.read_task(attempt.task)
        except MatterloopError:  # its driver had done with the task already
            return self.spool.forget(attempt, True)
        left = [i.key for i in items if i.key in round_.waiting and round_.waiting[i.key].content == i.content]
        if left and gone and not attempt.end and protocol == round_.protocol:
            self._died(round_, attempt, careful, left, "found dead when the run was resumed")
        self.spool.forget(attempt, False)

    def finished(self) -> None:
        """Say that the campaign is over: whatever lies in the spool is in the archive, or not wanted."""
        self.clean = True

    def describe(self) -> Mapping[str, Any]:
        """What the log remembers of the executor."""
        return asdict(self.executor) if self.executor is not None else {}
