"""Progress with rate and time left on standard error, and the first Ctrl-C as a polite request to stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..campaign.watch import Watch

EVERY = 60.0  # seconds between the lines of a long stage where there is no terminal to draw on


def pace(rate: float) -> str:
    """A rate in items per second as a person reads it."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min" if rate > 0 else ""


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02d}"


class Lines:
    """One plain line per stage when it ends, and one a minute while it lasts: for logs and pipes."""

    def __init__(self, say: Callable[[str], None], every: float = EVERY):
        self.say, self.every, self.name = say, every, ""

    def stage(self, name: str, total: int) -> None:
        self.end()
        self.name, self.total, self.done, self.first, self.begun, self.said = name, total, 0, None, time.monotonic(), time.monotonic()

    def advance(self, name: str, done: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done if now - self.begun < 0.1 else 0  # what an earlier session had done counts for no rate
        self.done = done
        if now - self.said >= self.every and done < self.total:
            rate = (done - self.first) / (now - self.begun)
            left = f", about {clock((self.total - done) / rate)} left" if rate else ""
            self.said = now
            self.say(f"{self.name}: {done} of {self.total}, {pace(rate)}{left}")

    def note(self, text: str) -> None:
        self.say(text)

    def end(self) -> None:
        if self.name:
            took = time.monotonic() - self.begun
            rate = pace((self.done - (self.first or 0)) / took) if took else ""
            count = f"{self.done} of {self.total}" if self.total > 1 else "done" if self.done == self.total else "not done"
            self.say(f"{self.name}: {count} in {clock(took)}{f' ({rate})' if rate and self.total > 1 else ''}")
        self.name = ""


class Bars:
    """One bar per stage with count, rate, time spent and time left, drawn on a terminal."""

    def __init__(self, console):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.progress = Progress(TextColumn("{task.description:<9}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[rate]:>9}"), TimeElapsedColumn(),
                                 TextColumn("left"), TimeRemainingColumn(), console=console)
        self.tasks: dict[str, tuple] = {}

    def stage(self, name: str, total: int) -> None:
        self.progress.start()
        self.tasks[name] = (self.progress.add_task(name, total=total or None, rate=""), time.monotonic(), [])

    def advance(self, name: str, done: int) -> None:
        if name in self.tasks:
            task, begun, first = self.tasks[name]
            spent = time.monotonic() - begun
            if not first:
                first.append(done if spent < 0.1 else 0)
            self.progress.update(task, completed=done, rate=pace((done - first[0]) / spent) if spent else "")

    def note(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False)

    def end(self) -> None:
        self.progress.stop()


@contextmanager
def watching(quiet: bool = False) -> Iterator[Watch]:
    """A `Watch` that shows what is done: bars on a terminal, plain lines elsewhere, notes alone if quiet.

    The first Ctrl-C or SIGTERM ends after the step at hand, `stop()` is true from then on; the second raises KeyboardInterrupt at once.
    """
    from rich.console import Console

    asked = threading.Event()
    console = Console(stderr=True)
    say = lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)
    show = Bars(console) if console.is_terminal and not quiet else Lines(say)
    nothing = lambda *_: None

    def interrupt(number, frame) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("stopping after the step at hand; everything done so far is kept (again to stop at once)")

    before = {}
    if threading.current_thread() is threading.main_thread():
        for s in (signal.SIGINT, signal.SIGTERM):
            before[s] = signal.signal(s, interrupt)
    try:
        yield Watch(nothing, nothing, say, asked.is_set) if quiet else Watch(show.stage, show.advance, show.note, asked.is_set)
    finally:
        show.end()
        for s, handler in before.items():
            signal.signal(s, handler)
        sys.stderr.flush()
