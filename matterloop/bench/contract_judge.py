"""What a judge of crystals must keep: reasons that are numbers with limits, equal for equal crystals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch

from ..archive.records import Reason
from ..base.registry import Card
from ..crystal.state import Crystals
from . import examples as ex
from .comparing import Check, Part, near, own_randomness, require, untouched

CAPABILITIES = {
    "structure": "turns away crystals whose atoms overlap", "composition": "turns away compositions without charge balance",
    "unique": "turns away crystals that repeat an earlier one of the batch", "novel": "turns away crystals that are known"}


def invariances(card: Card) -> tuple[str, ...]:
    """All of them."""
    return ex.INVARIANCES


def checks(part: Part) -> Iterator[Check]:
    """Checks of one judge."""
    subject = Subject(part)
    for name in ex.INVARIANCES:
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    names = ["answers", "one_atom", "inputs_untouched", "repeatable"]
    names += ["overlapping_atoms"] if part.can("structure") else []
    names += ["charge_balance"] if part.can("composition") else []
    names += ["duplicates"] if part.can("unique") else ["batching"]  # what repeats another depends on the batch
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


def apart() -> Crystals:
    """Periodic examples, no two of them the same crystal."""
    return Crystals.join([make() for name, make in ex.PERIODIC.items() if name not in ("outside_cell", "skewed")])


class Subject:
    """One judge under test."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance

    @cached_property
    def judge(self):
        return self.part.build()

    def same(self, a: list[tuple[Reason, ...]], b: list[tuple[Reason, ...]], what: str) -> None:
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            require([r.check for r in x] == [r.check for r in y], f"{what}: crystal {i} has other reasons")
            for r, s in zip(x, y, strict=True):
                near(r.value, s.value, f"{r.check} of crystal {i} {what}", self.tolerance)
                require(r.passed == s.passed, f"{r.check} of crystal {i} {what}: passed is {s.passed}, was {r.passed}")

    def invariant(self, name: str) -> None:
        crystals = apart()
        self.same(self.judge.judge(crystals), self.judge.judge(ex.RETELLINGS[name](crystals)), f"under {name}")

    def answers(self) -> None:
        """A value, a limit and a unit; NaN only with a note that says why; a failure that the numbers or the note explain."""
        crystals = ex.periodic()
        found = self.judge.judge(crystals)
        require(len(found) == len(crystals), f"{len(found)} answers for {len(crystals)} crystals")
        for reasons in found:
            require(bool(reasons), "a crystal has no reason at all")
            require(len({r.check for r in reasons}) == len(reasons), f"two reasons are called alike: {[r.check for r in reasons]}")
            for r in reasons:
                require(isinstance(r, Reason) and isinstance(r.check, str) and bool(r.check), f"{r!r} is not a named Reason")
                for what, value in (("value", r.value), ("limit", r.limit)):
                    require(isinstance(value, float) and not isinstance(value, bool), f"{r.check}: the {what} is {value!r}, wanted a float")
                require(isinstance(r.passed, bool) and isinstance(r.unit, str), f"{r.check}: passed is {r.passed!r}, unit {r.unit!r}")
                require(not math.isnan(r.value) or bool(r.note), f"{r.check}: the value is NaN and no note says why")
                require(r.confidence is None or 0 <= r.confidence <= 1, f"{r.check}: the confidence is {r.confidence}")

    def batching(self) -> None:
        crystals = apart()
        self.same(self.judge.judge(crystals), [self.judge.judge(c)[0] for c in crystals], "of a batch against one by one")

    def one_atom(self) -> None:
        require(len(self.judge.judge(ex.one_atom())) == 1, "one crystal of one atom has not one answer")

    def inputs_untouched(self) -> None:
        crystals = ex.periodic()
        with untouched(crystals):
            self.judge.judge(crystals)

    def repeatable(self) -> None:
        crystals = apart()
        with own_randomness():
            one = self.part.build().judge(crystals)
        self.same(one, self.part.build().judge(crystals), "the same twice")

    def passes(self, crystals: Crystals) -> list[bool]:
        return [all(r.passed for r in reasons) for reasons in self.judge.judge(crystals)]

    def overlapping_atoms(self) -> None:
        """Rock salt passes; two atoms on one place, and one atom in a cell too short for it, do not."""
        good = ex.skewed()
        near_atoms = good.put(frac=good.frac * torch.tensor([[1.0], [0.02]], dtype=torch.float64))
        own_image = Crystals.of([[0.0, 0, 0]], [11], [[0.3, 0, 0], [0, 8.0, 0], [0, 0, 8.0]])
        got = self.passes(Crystals.join([good, near_atoms, own_image]))
        require(got == [True, False, False], f"rock salt, overlapping atoms and an atom 0.3 Å from its own image pass: {got}, wanted True, False, False")

    def charge_balance(self) -> None:
        """NaCl passes, the same cell as NaCl of one more sodium (Na7Cl) does not."""
        salt = ex.rock_salt()
        wrong = salt.put(species=torch.tensor([11] * 7 + [17]))
        got = self.passes(Crystals.join([salt, wrong]))
        require(got == [True, False], f"NaCl and Na7Cl pass: {got}, wanted True, False")

    def duplicates(self) -> None:
        """Each retelling of an earlier crystal is turned away, a different crystal of the same formula is not."""
        cesium = Crystals.of([[0.0, 0, 0], [0.5, 0.5, 0.5]], ex.SALT, 3.4 * torch.eye(3))
        first = ex.low_symmetry()
        batch = Crystals.join([ex.rock_salt(), cesium, ex.skewed(), first, *(tell(first) for tell in ex.RETELLINGS.values())])
        got = [next(r.passed for r in reasons if r.check == "unique") for reasons in self.judge.judge(batch)]
        wanted = [True, True, False, True] + [False] * len(ex.RETELLINGS)
        names = ["rock salt", "caesium chloride", "rock salt again", "low symmetry", *ex.RETELLINGS]
        wrong = [n for n, a, b in zip(names, got, wanted, strict=True) if a != b]
        require(not wrong, f"unique is decided wrongly for: {', '.join(wrong)}")
