"""What a source of labelled crystals must keep."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch

from ..base.quantities import quantity_of
from ..base.registry import Card
from ..crystal.state import Crystals
from .comparing import Check, Part, own_randomness, require, tensors

CAPABILITIES = {"labels": "its crystals carry measured fields", "needs_package": "lives in a package that need not be installed"}
COUNT = 4


def invariances(card: Card) -> tuple[str, ...]:
    """None: a source is asked for a number of crystals."""
    return ()


def checks(part: Part) -> Iterator[Check]:
    """Checks of one source: it offers name, version, licence, credit and read(count) -> Crystals."""
    subject = Subject(part)
    names = ["described", "reads", "repeatable"] + (["labels"] if part.can("labels") else [])
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


class Subject:
    """One source under test."""

    def __init__(self, part: Part):
        self.part = part

    @cached_property
    def crystals(self) -> Crystals:
        return self.part.build().read(COUNT)

    def described(self) -> None:
        source = self.part.build()
        for word in ("name", "version", "licence", "credit"):
            text = getattr(source, word, None)
            require(isinstance(text, str) and bool(text.strip()), f"`{word}` is {text!r}, wanted a text")

    def reads(self) -> None:
        """As many crystals as asked for, whose numbers can be structures, fewer only where there are no more."""
        require(len(self.crystals.checked()) == COUNT, f"{len(self.crystals)} crystals, {COUNT} were asked for")
        require(int(self.crystals.species.min()) > 0, "an atom is of an undecided element")
        first = self.part.build().read(2)
        require(torch.equal(first.species, self.crystals[:2].species), "the first two of two are not the first two of four")

    def repeatable(self) -> None:
        with own_randomness():
            again = self.part.build().read(COUNT)
        for name, value in tensors(self.crystals).items():
            require(torch.equal(torch.nan_to_num(value), torch.nan_to_num(tensors(again)[name])), f"{name} differs between two readings")

    def labels(self) -> None:
        """At least one field, each with its Quantity and something measured."""
        fields = {**self.crystals.site, **self.crystals.whole}
        require(bool(fields), "the crystals carry no field at all")
        for name, value in fields.items():
            quantity_of(name, self.crystals.quantities)
            require(bool(torch.isfinite(value).any()), f"{name} is NaN everywhere")
