"""What a task must keep: a perfect model scores zero, known errors are found, intervals hold the value and follow from the seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property


from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.state import Crystals
from ..potential.lennard_jones import LennardJones
from . import examples as ex
from .comparing import Check, Part, near, own_randomness, require, untouched

CAPABILITIES = {"potential": "offers labelled(crystals, oracle) and score(oracle, labelled crystals) -> scores with name, value, low, high, unit, count"}
OFFSET, FACTOR = 0.05, 1.1  # eV/atom added to energies, and what forces and stresses are multiplied by, of a model with known errors


def invariances(card: Card) -> tuple[str, ...]:
    """Errors depend neither on the axes nor on the order of atoms; a supercell weighs as one crystal, so the rest does not apply."""
    return ("rotation", "reflection", "permutation")


def checks(part: Part) -> Iterator[Check]:
    """Checks of one task."""
    subject = Subject(part)
    for name in invariances(part.card):
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    for name in ("answers", "inputs_untouched", "repeatable", "perfect", "known_errors", "not_measured", "order", "schemes"):
        yield Check(name, "fast", getattr(subject, name))


class Wrong:
    """An oracle with known errors."""

    name, energy_scheme = "wrong", "lj"

    def __init__(self, oracle: LennardJones):
        self.oracle = oracle

    def label(self, crystals: Crystals):
        found = self.oracle.label(crystals)
        return found._replace(energy=found.energy + OFFSET * crystals.counts.to(found.energy), forces=FACTOR * found.forces, stress=FACTOR * found.stress)


class Subject:
    """One task under test, on a pair potential and a copy of it with known errors."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance
        self.truth = LennardJones(epsilon=0.1, sigma=2.2, cutoff=5.5, ending="smooth")
        self.wrong, self.other = Wrong(self.truth), LennardJones(epsilon=0.11, sigma=2.25, cutoff=5.5, ending="smooth")

    @cached_property
    def task(self):
        return self.part.build()

    @cached_property
    def labelled(self) -> Crystals:
        return self.task.labelled(ex.displaced(6), self.truth)

    def values(self, crystals: Crystals, oracle=None, task=None) -> dict[str, tuple[float, float, float]]:
        return {s.name: (s.value, s.low, s.high) for s in (task or self.task).score(oracle or self.wrong, crystals)}

    def same(self, a: dict, b: dict, what: str, tolerance: float | None = None) -> None:
        require(a.keys() == b.keys(), f"{what}: scores {sorted(b)}, were {sorted(a)}")
        for name in a:
            near(a[name], b[name], f"{name} {what}", self.tolerance if tolerance is None else tolerance)

    def invariant(self, name: str) -> None:
        self.same(self.values(self.labelled, self.other), self.values(ex.RETELLINGS[name](self.labelled), self.other), f"under {name}")

    def answers(self) -> None:
        for s in self.task.score(self.wrong, self.labelled):
            require(s.low <= s.value <= s.high, f"{s.name} is {s.value:.4g}, its interval {s.low:.4g} to {s.high:.4g}")
            require(s.count == len(self.labelled) and isinstance(s.unit, str), f"{s.name} counts {s.count} crystals of {len(self.labelled)}, unit {s.unit!r}")

    def inputs_untouched(self) -> None:
        with untouched(self.labelled):
            self.task.score(self.wrong, self.labelled)

    def repeatable(self) -> None:
        with own_randomness():
            one = self.values(self.labelled, task=self.part.build())
        self.same(one, self.values(self.labelled, task=self.part.build()), "of the same seed twice", 0)

    def perfect(self) -> None:
        for name, (value, low, high) in self.values(self.labelled, self.truth).items():
            require(max(abs(value), abs(low), abs(high)) < 1e-5, f"a perfect model has the {name} error {value:.1e} ({low:.1e} to {high:.1e})")

    def known_errors(self) -> None:
        """Errors that were put in are found: 0.05 eV/atom, a tenth of every force and stress."""
        found = self.values(self.labelled)
        forces = self.labelled.site["forces"].norm(dim=-1)
        stress = self.labelled.whole["stress"].flatten(1).norm(dim=-1) / 3
        wanted = {"energy_per_atom": OFFSET, "forces": (FACTOR - 1) * float(forces.mean()), "stress": (FACTOR - 1) * float(stress.mean())}
        for name, value in wanted.items():
            require(name in found, f"the labels hold {name}, no score is called so")
            near(value, found[name][0], f"{name} error that was put in", self.tolerance)

    def not_measured(self) -> None:
        """A label that is NaN counts neither as right nor as wrong."""
        energy = self.labelled.whole["energy"].clone()
        energy[2] = math.nan
        score = next(s for s in self.task.score(self.wrong, self.labelled.put(energy=energy)) if s.name == "energy_per_atom")
        require(score.count == len(self.labelled) - 1, f"{score.count} crystals counted, one of {len(self.labelled)} has no label")
        near(OFFSET, score.value, "energy error beside a missing label", self.tolerance)

    def order(self) -> None:
        turned = self.labelled[list(reversed(range(len(self.labelled))))]
        self.same(self.values(self.labelled), self.values(turned), "of crystals in another order")

    def schemes(self) -> None:
        """Labels of another energy scheme are refused."""
        try:
            self.task.score(self.wrong, self.labelled, scheme="mp2020")
        except BadInput:
            return
        require(False, "energies of two schemes are compared without a word")
