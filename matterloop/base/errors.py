"""The few errors that matterloop raises on purpose; each says what was got, what is allowed and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

_CRYSTAL = re.compile(r"crystal (\d+)(,.*)?", re.DOTALL)


class MatterloopError(Exception):
    """Base of every error raised on purpose; the command line prints its text without a traceback."""


class BadInput(MatterloopError, ValueError):
    """Input from outside that cannot be used. `where` names the place it came from; `file`, `row` and `field` say it in parts."""

    def __init__(self, message: str, where: str = "", *, file: str = "", row: str = "", field: str = ""):
        self.message, self.file, self.row, self.field = message, str(file), str(row), field
        self.where = where or ", ".join(x for x in (self.file, self.row, field and f"field {field!r}") if x)
        super().__init__(f"{self.where}: {message}" if self.where else message)

    @property
    def crystal(self) -> int | None:
        """The place in its batch of the crystal that `where` names ("crystal 3", "crystal 3, site 1"); None where it names none."""
        match = _CRYSTAL.fullmatch(self.where)
        return int(match[1]) if match else None

    def renumbered(self, place: Callable[[int], int]) -> BadInput:
        """The same error about the crystal's place in a larger batch, place(its place here); itself where no crystal is named."""
        match = _CRYSTAL.fullmatch(self.where)
        return BadInput(self.message, f"crystal {place(int(match[1]))}{match[2] or ''}") if match else self


class Missing(MatterloopError, LookupError):
    """A name that nothing answers to; the text offers the nearest known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = ()):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            hint = f"; did you mean {', '.join(near)}?"
        elif known:
            hint = f"; known: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"
        else:
            hint = ""
        self.kind, self.name, self.near = kind, name, near
        super().__init__(f"no {kind} called {name!r}{hint}")


class NeedsPackage(MatterloopError, ImportError):
    """An optional package is not installed; the text says which, what for and how to get it."""

    def __init__(self, package: str, purpose: str, install: str = ""):
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed; run: pip install {install or package}")


class NotConverged(MatterloopError, RuntimeError):
    """An iteration stopped at its limit; `state` holds the last state reached."""

    def __init__(self, message: str, state=None):
        self.state = state
        super().__init__(message)
