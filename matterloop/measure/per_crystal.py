"""Answers that hold one thing for each crystal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

One = TypeVar("One")


class PerCrystal(Generic[One]):
    """An answer whose `results` hold one thing for each crystal, in input order."""

    results: tuple[One, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[One]:
        return iter(self.results)

    def __getitem__(self, i: int) -> One:
        return self.results[i]
