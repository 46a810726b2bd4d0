"""What every generator offers, whether it learns from verdicts or not."""

from __future__ import annotations

import math
import re
from typing import Protocol, runtime_checkable

from ..archive.records import Ask, Candidate, Verdict
from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.registry import load
from ..crystal.composition import anonymous_formula, composition_of, reduced, reduced_formula
from ..crystal.prototypes import named
from ..crystal.space_groups import lattice_points
from ..crystal.state import Crystals
from ..crystal.wyckoff import positions

_LETTER = re.compile(r"([A-Z])(\d*)")


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


@runtime_checkable
class Recalls(Protocol):
    """A generator that learns from the candidates themselves and not from their keys alone."""

    def recall(self, candidates: list[Candidate]) -> None:
        """Hear what the keys of the next verdicts stand for; campaigns call it before `observe`, for rounds of earlier sessions too."""
        ...


def load_generator(name: str, **options) -> Generator:
    """The generator or search called `name`, both of which propose; Missing with the nearest names otherwise."""
    return load(name, role=("generator", "search"), **options)


def check_ask(ask: Ask) -> None:
    """BadInput that says why no crystal at all can fulfil the ask; Missing for a structure type that nobody knows."""
    fewest, most = ask.n_elements
    if fewest > ask.atoms[1]:
        raise BadInput(f"no formula of {fewest} elements fits into {ask.atoms[1]} atoms", "ask")
    if len(ask.required) > most:
        raise BadInput(f"{len(ask.required)} elements are required, at most {most} allowed", "ask")
    if len(ask.palette) < fewest:
        raise BadInput(f"{fewest} elements are wanted, only {len(ask.palette)} may be used", "ask")
    if (apart := _disjoint(ask)) > most:
        raise BadInput(f"at least {apart} elements are needed to hold one of each wanted class, at most {most} allowed", "ask")
    if ask.space_groups and (smallest := min(smallest_cell(g) for g in ask.space_groups)) > ask.atoms[1]:
        raise BadInput(f"a crystal of the space groups {_listed(ask.space_groups)} has at least {smallest} atoms, at most {ask.atoms[1]} are wanted", "ask")
    if ask.formula is not None:
        _check_formula(ask)
    if ask.anonymous:
        _check_anonymous(ask, ask.anonymous, "anonymous formula")
    for name in ask.prototypes:
        types = named(name)
        if ask.space_groups and not any(p.space_group in ask.space_groups for p in types):
            raise BadInput(f"{name} has the space group {_listed({p.space_group for p in types})}, wanted {_listed(ask.space_groups)}", "ask")
        if not any(ask.atoms[0] <= p.atoms <= ask.atoms[1] for p in types):
            raise BadInput(f"{name} has {_listed({p.atoms for p in types})} atoms in the primitive cell, wanted {ask.atoms[0]} to {ask.atoms[1]}", "ask")
        for pattern in {p.anonymous for p in types} if len({p.anonymous for p in types}) == 1 else ():
            _check_anonymous(ask, pattern, f"structure type {name}")


def smallest_cell(space_group: int) -> int:
    """Fewest atoms that the primitive cell of a crystal with this space group can hold."""
    return min(p.multiplicity for p in positions(space_group)) // lattice_points(space_group)


def _listed(numbers) -> str:
    return ", ".join(map(str, sorted(numbers)[:8]))


def _disjoint(ask: Ask) -> int:
    """A lower bound of the elements needed: required ones and classes that share no element with them or each other."""
    used, needed = set(ask.required), len(ask.required)
    for group in sorted(ask.any_of, key=len):
        if not group & used:
            needed += 1
            used |= group
    return needed


def _check_formula(ask: Ask) -> None:
    counts = dict(ask.formula)
    text = reduced_formula(counts)
    if reduced(counts) != tuple(ask.formula):
        raise BadInput(f"the formula must be reduced and sorted by atomic number, {text} is {reduced(counts)}", "ask")
    if not ask.permits(set(counts)):
        banned = [symbol(z) for z in counts if z not in ask.palette]
        raise BadInput(f"{text} does not fit the wanted elements" + (f": {' '.join(banned)} may not be used" if banned else ""), "ask")
    unit = sum(counts.values())
    if not any(ask.atoms[0] <= k * unit <= ask.atoms[1] for k in range(1, ask.atoms[1] // unit + 1)):
        raise BadInput(f"no multiple of {text} ({unit} atoms) has {ask.atoms[0]} to {ask.atoms[1]} atoms", "ask")


def _check_anonymous(ask: Ask, pattern: str, what: str) -> None:
    counts = anonymous_counts(pattern)
    if not ask.n_elements[0] <= len(counts) <= ask.n_elements[1]:
        raise BadInput(f"the {what} ({pattern}) has {len(counts)} elements, wanted are {ask.n_elements[0]} to {ask.n_elements[1]}", "ask")
    if len(ask.required) > len(counts):
        raise BadInput(f"the {what} ({pattern}) has {len(counts)} elements, {len(ask.required)} are required", "ask")
    if sum(counts) > ask.atoms[1]:
        raise BadInput(f"the {what} ({pattern}) has at least {sum(counts)} atoms, at most {ask.atoms[1]} are wanted", "ask")
    if ask.formula is not None and sorted(n for _, n in ask.formula) != counts:
        raise BadInput(f"{reduced_formula(dict(ask.formula))} is not of the {what} ({pattern})", "ask")


def anonymous_counts(pattern: str) -> list[int]:
    """Ascending counts of an anonymous formula: [1, 1, 3] for 'ABC3'; BadInput if it is none."""
    found = [(name, int(n or 1)) for name, n in _LETTER.findall(pattern)]
    if not found or _LETTER.sub("", pattern):
        raise BadInput(f"{pattern!r} is not an anonymous formula such as 'ABC3'", "ask")
    counts = sorted(n for _, n in found)
    factor = math.gcd(*counts)
    return [n // factor for n in counts]


def fulfils(ask: Ask, crystal: Crystals, symprec: float = 0.01) -> list[str]:
    """What of the ask's elements, formula, atoms, symmetry and structure type a crystal (batch of one) does not fulfil; empty if all is met.

    Limits on properties are not looked at: they need a measurement. A named structure type is met when the anonymous Wyckoff gene is that of a known
    structure of the type.
    """
    from ..crystal.symmetry import analyse
    from ..represent.wyckoff_gene import gene

    counts = composition_of(crystal.species)
    elements, unmet = set(counts), []
    if missing := ask.required - elements:
        unmet.append(f"lacks {' '.join(symbol(z) for z in sorted(missing))}")
    if banned := elements - ask.palette:
        unmet.append(f"holds {' '.join(symbol(z) for z in sorted(banned))}, not allowed")
    for group in ask.any_of:
        if not group & elements:
            unmet.append(f"holds none of {' '.join(symbol(z) for z in sorted(group)[:12])}")
    if not ask.n_elements[0] <= len(elements) <= ask.n_elements[1]:
        unmet.append(f"{len(elements)} elements, wanted {ask.n_elements[0]} to {ask.n_elements[1]}")
    if ask.formula is not None and reduced(counts) != tuple(ask.formula):
        unmet.append(f"formula {reduced_formula(counts)}, wanted {reduced_formula(dict(ask.formula))}")
    if ask.anonymous and sorted(n for _, n in reduced(counts)) != anonymous_counts(ask.anonymous):
        unmet.append(f"anonymous formula {anonymous_formula(counts)}, wanted {ask.anonymous}")
    symmetry = analyse(crystal, symprec)[0]
    atoms = symmetry.primitive.atoms
    if not ask.atoms[0] <= atoms <= ask.atoms[1]:
        unmet.append(f"{atoms} atoms in the primitive cell, wanted {ask.atoms[0]} to {ask.atoms[1]}")
    if ask.space_groups and symmetry.number not in ask.space_groups:
        unmet.append(f"space group {symmetry.number}, wanted {_listed(ask.space_groups)}")
    if ask.prototypes:
        types = [p for name in ask.prototypes for p in named(name)]
        known = {g.anonymous for p in types for g in gene(p.filled(range(1, len(p.counts) + 1)), symprec)}
        if gene(crystal, symprec)[0].anonymous not in known:
            unmet.append(f"not of the structure type {' or '.join(ask.prototypes)}")
    return unmet
