"""What a long piece of work tells whoever watches it, and how it is asked to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Watch:
    """What the loop tells whoever watches; every call is optional. `stop()` true ends the campaign after the step at hand."""

    stage: Callable[[str, int], None] = lambda name, total: None  # a stage begins, with how many crystals
    advance: Callable[[str, int], None] = lambda name, done: None  # so many of them are done
    note: Callable[[str], None] = lambda text: None
    stop: Callable[[], bool] = lambda: False
