"""What every generator offers, whether it learns from verdicts or not."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..archive.records import Ask, Candidate, Verdict


@runtime_checkable
class Generator(Protocol):
    """A source of candidates: enumeration, random search, evolution, a trained model.

    name  name of the generator, first part of its candidates' keys
    """

    name: str

    def propose(self, ask: Ask, count: int, seed: int) -> list[Candidate]:
        """At most `count` candidates that honour the ask's elements, formula, atoms and symmetry, fewer when no more exist.

        The same ask, count and seed give the same candidates; keys are f"{name}-{seed}-{place}".
        """
        ...

    def observe(self, verdicts: list[Verdict]) -> None:
        """Hear what became of earlier proposals; generators that do not learn ignore it."""
        ...
