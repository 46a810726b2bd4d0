"""Progress bars with rate and time left on standard error, and the first Ctrl-C as a polite request to stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..campaign.watch import Watch


@contextmanager
def watching(quiet: bool = False) -> Iterator[Watch]:
    """A `Watch` that draws one bar per stage; the first Ctrl-C or SIGTERM ends after the step at hand, the second one at once."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    asked = threading.Event()
    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=quiet, transient=False)
    tasks: dict[str, int] = {}

    def stage(name: str, total: int) -> None:
        progress.start()
        tasks[name] = progress.add_task(name, total=total, rate="")

    def advance(name: str, done: int) -> None:
        if name in tasks:
            task = progress.tasks[tasks[name]]
            rate = done / task.elapsed if task.elapsed else 0.0
            progress.update(tasks[name], completed=done, rate=f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.0f}/min")

    def note(text: str) -> None:
        if not quiet:
            progress.console.log(text, highlight=False)

    def interrupt(number, frame) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        progress.console.log("stopping after the step at hand; everything done so far is kept (again to stop at once)", highlight=False)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for s in (signal.SIGINT, signal.SIGTERM):
            before[s] = signal.signal(s, interrupt)
    try:
        yield Watch(stage, advance, note, asked.is_set)
    finally:
        if tasks:
            progress.stop()
        for s, handler in before.items():
            signal.signal(s, handler)
        sys.stderr.flush()
