"""What a source of candidates must keep: enumeration, random search or a trained model, whether it learns from verdicts or not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch

from ..archive.records import Ask, Candidate, Reason, Verdict
from ..base.elements import DEFAULT_MASK, symbol
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.composition import composition_of
from ..crystal.graph import Within
from ..crystal.segments import segment_min
from ..generate.proposal import fulfils
from .comparing import Check, Part, near, own_randomness, require
from .contract_encoder import dead_parameters

CAPABILITIES = {
    "elements": "honours required, allowed and excluded elements", "formula": "honours a reduced formula", "anonymous": "honours an anonymous formula",
    "atoms": "honours a range of atoms in the primitive cell", "space_group": "honours space groups", "prototype": "honours a structure type by name",
    "learns": "verdicts it hears change what it proposes", "trained": "a torch module with loss(crystals, rng)",
    "process": "offers processes: {field: noise process with prior(shape, rng) and corrupt(x, t, rng)}"}
OPEN = Ask(excluded=DEFAULT_MASK | {9, 17, 35, 53}, n_elements=(2, 3), atoms=(2, 12))
ASKS = {  # capability -> what is asked
    "elements": Ask(required=frozenset({8}), any_of=(frozenset({3, 11, 19}),), excluded=DEFAULT_MASK | {26, 27}, n_elements=(2, 3), atoms=(2, 16)),
    "formula": Ask(formula=((8, 3), (22, 1), (38, 1)), atoms=(5, 20)),
    "anonymous": Ask(anonymous="AB2", n_elements=(2, 2), atoms=(3, 12)),
    "atoms": Ask(n_elements=(2, 2), atoms=(3, 4)),
    "space_group": Ask(space_groups=frozenset({225, 221}), n_elements=(2, 3), atoms=(2, 10)),
    "prototype": Ask(prototypes=("perovskite",), n_elements=(3, 3), atoms=(5, 10)),
}
IMPOSSIBLE = (
    Ask(required=frozenset({3, 8, 26}), n_elements=(1, 2)),
    Ask(n_elements=(5, 6), atoms=(1, 4)),
    Ask(formula=((8, 3), (22, 1), (38, 1)), atoms=(1, 4)),
)
COUNT, SEED = 5, 3
CLOSEST, VOLUME = 0.5, (1.0, 500.0)  # Å, and Å^3 per atom: what is still a structure


def invariances(card: Card) -> tuple[str, ...]:
    """None: what is proposed follows from an ask, not from a crystal."""
    return ()


def checks(part: Part) -> Iterator[Check]:
    """Checks of one generator or search."""
    subject = Subject(part)
    for word, ask in ASKS.items():
        if part.can(word):
            yield Check(f"honours_{word}", "fast", lambda ask=ask: subject.honours(ask))
    names = ["keys", "repeatable", "finite", "impossible", "observes", "longer_begins_with_shorter"]
    names += ["every_parameter"] if part.can("trained") else []
    names += ["process_limits"] if part.can("process") else []
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


def same(a: list[Candidate], b: list[Candidate], what: str) -> None:
    """Broken unless two proposals are the same to the bit."""
    require([c.key for c in a] == [c.key for c in b], f"{what}: keys {[c.key for c in b]}, were {[c.key for c in a]}")
    for x, y in zip(a, b, strict=True):
        require(torch.equal(x.crystal.species, y.crystal.species), f"{what}: {x.key} has other atoms")
        near(x.crystal.cell, y.crystal.cell, f"{what}: cell of {x.key}", 0)
        near(x.crystal.frac, y.crystal.frac, f"{what}: coordinates of {x.key}", 0)


def verdict(candidate: Candidate, good: bool) -> Verdict:
    """A verdict as a campaign gives it."""
    above = 0.01 if good else 0.9
    return Verdict(candidate.key, (Reason("energy_above_hull", above, 0.1, "eV/atom", good),), above)


class Subject:
    """One generator under test."""

    def __init__(self, part: Part):
        self.part = part

    @cached_property
    def generator(self):
        return self.part.build()

    @cached_property
    def proposed(self) -> list[Candidate]:
        found = self.generator.propose(OPEN, COUNT, SEED)
        require(len(found) == COUNT, f"{len(found)} candidates for an ask that leaves nearly everything open, wanted {COUNT}")
        return found

    def honours(self, ask: Ask) -> None:
        found = self.generator.propose(ask, COUNT, SEED)
        require(0 < len(found) <= COUNT, f"{len(found)} candidates, wanted 1 to {COUNT}")
        for c in found:
            elements = set(composition_of(c.crystal.species))
            require(elements <= ask.palette, f"{c.key} holds {' '.join(symbol(z) for z in sorted(elements - ask.palette))}, which may not be used")
            unmet = fulfils(ask, c.crystal)
            require(not unmet, f"{c.key} ({c.crystal.formula()}): {'; '.join(unmet)}")

    def keys(self) -> None:
        """f"{name}-{seed}-{place}", distinct, one crystal each, source and seed written on the candidate."""
        name = getattr(self.generator, "name", "")
        require(name == self.part.card.name, f"the generator calls itself {name!r}, its card {self.part.card.name!r}")
        wanted = [f"{name}-{SEED}-{place}" for place in range(COUNT)]
        got = [c.key for c in self.proposed]
        require(got == wanted, f"keys are {got}, wanted {wanted}")
        for c in self.proposed:
            require(len(c.crystal) == 1 and c.source == name and c.seed == SEED, f"{c.key}: {len(c.crystal)} crystals, source {c.source!r}, seed {c.seed}")

    def repeatable(self) -> None:
        with own_randomness():
            again = self.part.build().propose(OPEN, COUNT, SEED)
        same(self.proposed, again, "the same seed twice")
        other = self.part.build().propose(OPEN, COUNT, SEED + 1)
        require(any(a.crystal.formula() != b.crystal.formula() or not torch.equal(a.crystal.frac, b.crystal.frac) or not torch.equal(a.crystal.cell, b.crystal.cell)
                    for a, b in zip(self.proposed, other, strict=False)), "another seed gives the same candidates")

    def longer_begins_with_shorter(self) -> None:
        """A key means one crystal, however many are asked for: campaigns ask again for more."""
        same(self.proposed, self.part.build().propose(OPEN, COUNT + 2, SEED)[:COUNT], f"the first {COUNT} of {COUNT + 2}")
        require(not self.generator.propose(OPEN, 0, SEED), "asked for none, it proposes some")

    def finite(self) -> None:
        for c in self.proposed:
            crystal = c.crystal.checked()
            require(crystal.atoms > 0 and int(crystal.species.min()) > 0, f"{c.key}: {crystal.atoms} atoms, an undecided element among them")
            volume = float(crystal.volume[0]) / crystal.atoms
            require(VOLUME[0] < volume < VOLUME[1], f"{c.key}: {volume:.3g} Å^3 per atom, allowed {VOLUME[0]:g} to {VOLUME[1]:g}")
            graph = Within(2.0)(crystal)
            nearest = float(segment_min(graph.vectors(crystal).norm(dim=-1), graph.owner(crystal), 1, 2.0)[0])
            require(nearest >= CLOSEST, f"{c.key}: two atoms are {nearest:.2f} Å apart, allowed {CLOSEST} Å and more")

    def impossible(self) -> None:
        """An ask that no crystal can fulfil is BadInput, not an empty list."""
        for ask in IMPOSSIBLE:
            try:
                found = self.generator.propose(ask, 1, SEED)
            except BadInput as error:
                require(len(str(error)) > 20, f"an impossible ask is refused with {str(error)!r}, which does not say why")
                continue
            require(False, f"an impossible ask is answered with {len(found)} candidates instead of BadInput")

    def observes(self) -> None:
        """Hears verdicts, none and unknown keys among them; changes its mind only if it claims to learn."""
        generator = self.part.build()
        first = generator.propose(OPEN, COUNT, SEED)
        generator.observe([])
        generator.observe([verdict(c, i % 2 == 0) for i, c in enumerate(first)] + [Verdict("someone-else-0-0")])
        after = generator.propose(OPEN, COUNT, SEED + 1)
        deaf = self.part.build().propose(OPEN, COUNT, SEED + 1)
        if not self.part.can("learns"):
            same(deaf, after, "after hearing verdicts")
        else:
            changed = [a.crystal.formula() for a in deaf] != [b.crystal.formula() for b in after] or any(
                a.crystal.frac.shape != b.crystal.frac.shape or not torch.equal(a.crystal.frac, b.crystal.frac) for a, b in zip(deaf, after, strict=False))
            require(changed, "verdicts change nothing, though the card says that it learns")

    def every_parameter(self) -> None:
        from .examples import periodic

        model = self.part.build().train()
        model.loss(periodic(), torch_stream(0, "loss"))[0].backward()
        dead = dead_parameters(model)
        require(not dead, f"no gradient reaches {', '.join(dead[:6])}{' ...' if len(dead) > 6 else ''}")

    def process_limits(self) -> None:
        """At time 0 a noise process leaves its field as it is; at time 1 what it gives is distributed as its prior."""
        for field, process in self.generator.processes.items():
            rng, rows = torch_stream(0, "process", field), 4096
            x = torch.rand(rows, 3, generator=rng, dtype=torch.float64)
            still = process.corrupt(x, torch.zeros(rows, 1, dtype=torch.float64), rng)
            near(x, still, f"{field} at time 0", 2e-2)
            last, prior = process.corrupt(x, torch.ones(rows, 1, dtype=torch.float64), rng), process.prior((rows, 3), rng)
            spread = float(prior.std())
            off, ratio = float((last.mean() - prior.mean()).abs()) / spread, float(last.std()) / spread
            require(off < 0.05 and 0.95 < ratio < 1.05, f"{field} at time 1: mean off by {off:.3f} prior widths (allowed 0.05), width {ratio:.3f} of the prior's (0.95 to 1.05)")

