"""What a fixed description of crystals must keep: texts (keys) or vectors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch

from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.state import Crystals
from . import examples as ex
from .comparing import Check, Part, near, own_randomness, require, untouched
from .contract_encoder import reference

CAPABILITIES = {
    "key": "called with crystals it gives one text each", "vector": "called with crystals it gives (crystals, width) numbers",
    "site": "called with crystals it gives (atoms, width) numbers",
    "round_trip": "offers decode(text), and encode(decode(text)) == text; decode of nonsense is BadInput"}
NONSENSE = ("", "\x00", "no such text", "999:Xx_z", "225:Na_a.Na_", "()" * 50)


def invariances(card: Card) -> tuple[str, ...]:
    """All of them."""
    return ex.INVARIANCES


def checks(part: Part) -> Iterator[Check]:
    """Checks of one descriptor."""
    subject = Subject(part)
    for name in ex.INVARIANCES:
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    names = ["answers", "batching", "one_atom", "inputs_untouched", "repeatable", "geometry", "not_periodic"]
    if part.can("round_trip"):
        names.append("round_trip")
    if not part.can("key"):
        names.append("reference")
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


class Subject:
    """One descriptor under test, on the periodic examples."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance

    @cached_property
    def descriptor(self):
        return self.part.build()

    def same(self, a, b, what: str) -> None:
        if self.part.can("key"):
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                require(x == y, f"{what}: crystal {i} is {y!r}, was {x!r}")
        else:
            near(a, b, what, self.tolerance)

    def invariant(self, name: str) -> None:
        crystals = ex.periodic()
        before = self.descriptor(crystals)
        if self.part.can("site"):
            order = ex.shuffle(crystals) if name == "permutation" else torch.arange(crystals.atoms)
            before = before[order]
            before = before.repeat_interleave(int(torch.tensor(ex.COPIES).prod()), 0) if name == "supercell" else before
        self.same(before, self.descriptor(ex.RETELLINGS[name](crystals)), f"under {name}")

    def answers(self) -> None:
        crystals = ex.periodic()
        found = self.descriptor(crystals)
        if self.part.can("key"):
            require(isinstance(found, list) and len(found) == len(crystals) and all(isinstance(t, str) and t for t in found),
                    f"wanted a list of {len(crystals)} texts, got {str(found)[:80]}")
        else:
            rows = crystals.atoms if self.part.can("site") else len(crystals)
            require(isinstance(found, torch.Tensor) and found.dim() == 2 and len(found) == rows, f"wanted ({rows}, width) numbers, got {getattr(found, 'shape', type(found))}")
            require(bool(found.isfinite().all()), f"{int((~found.isfinite()).sum())} numbers are not finite")

    def batching(self) -> None:
        crystals = ex.periodic()
        alone = [self.descriptor(c) for c in crystals]
        self.same(self.descriptor(crystals), [t for a in alone for t in a] if self.part.can("key") else torch.cat(alone), "a batch against one by one")

    def one_atom(self) -> None:
        found = self.descriptor(ex.one_atom())
        require(len(found) == 1, f"one crystal of one atom gives {len(found)} descriptions")

    def inputs_untouched(self) -> None:
        crystals = ex.periodic()
        with untouched(crystals):
            self.descriptor(crystals)

    def repeatable(self) -> None:
        with own_randomness():
            one = self.part.build()(ex.periodic())
        self.same(one, self.part.build()(ex.periodic()), "the same twice")

    def geometry(self) -> None:
        """Rock salt and the caesium-chloride structure of the same formula differ."""
        cesium = Crystals.of([[0.0, 0, 0], [0.5, 0.5, 0.5]], ex.SALT, 3.4 * torch.eye(3))
        one, two = self.descriptor(ex.skewed()), self.descriptor(cesium)
        differ = one != two if self.part.can("key") else float((torch.as_tensor(one) - torch.as_tensor(two)).abs().max()) > 1e-6
        require(differ, "two polymorphs of the same formula are described alike: geometry is not looked at")

    def not_periodic(self) -> None:
        """A slab or a molecule is described or refused with BadInput, nothing else."""
        for make in ex.OTHER.values():
            try:
                self.descriptor(make())
            except BadInput:
                continue

    def round_trip(self) -> None:
        for text in self.descriptor(ex.periodic()):
            again = self.descriptor.encode(self.descriptor.decode(text))
            require(again == text, f"{text!r} comes back as {again!r}")
        for text in NONSENSE:
            try:
                self.descriptor.decode(text)
            except (BadInput, LookupError):
                continue
            require(False, f"nonsense is decoded without a word: {text!r}")

    def reference(self) -> None:
        """Euclidean norm of the description of the crystal without symmetry."""
        reference(self.part.card, float(torch.as_tensor(self.descriptor(ex.low_symmetry())).norm()))
