"""The nouns of a campaign: what is asked, proposed, concluded and written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..base.elements import DEFAULT_MASK, MAX_Z, symbol
from ..base.errors import BadInput
from ..crystal.state import Crystals


@dataclass(frozen=True)
class Limit:
    """A wanted range of one property; None leaves that side open."""

    name: str
    low: float | None = None
    high: float | None = None
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether `value`, in the limit's unit, lies in the range (ends included)."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Ask:
    """What is wanted of a crystal; the defaults leave everything free but the default element mask.

    required      atomic numbers that must all be present
    any_of        sets of atomic numbers, at least one of each set must be present
    allowed       nothing outside this set may be present; None: any element
    excluded      never present (the default mask unless changed)
    n_elements    fewest and most distinct elements
    atoms         fewest and most atoms in the primitive cell
    formula       reduced composition ((atomic number, count), ...) sorted by number; None: free
    anonymous     anonymous formula such as "ABC3"; "" free
    amounts       how many of some elements the reduced formula holds: ((8, 3),) with "ABC3" is ABO3
    space_groups  allowed space-group numbers; empty: free
    prototypes    names of wanted structure types ("perovskite", "spinel"); empty: free
    limits        wanted property ranges; energy_above_hull in eV/atom among them
    """

    required: frozenset[int] = frozenset()
    any_of: tuple[frozenset[int], ...] = ()
    allowed: frozenset[int] | None = None
    excluded: frozenset[int] = DEFAULT_MASK
    n_elements: tuple[int, int] = (1, 6)
    atoms: tuple[int, int] = (1, 40)
    formula: tuple[tuple[int, int], ...] | None = None
    anonymous: str = ""
    amounts: tuple[tuple[int, int], ...] = ()
    space_groups: frozenset[int] = frozenset()
    prototypes: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()

    def __post_init__(self):
        for what, (low, high) in (("n_elements", self.n_elements), ("atoms", self.atoms)):
            if not 1 <= low <= high:
                raise BadInput(f"{what} is {low} to {high}; the fewest must be at least 1 and not above the most", "ask")
        if clash := self.required & self.excluded:
            raise BadInput(f"required and excluded at once: {' '.join(symbol(z) for z in sorted(clash))}", "ask")
        if self.allowed is not None and (outside := self.required - self.allowed):
            raise BadInput(f"required but not allowed: {' '.join(symbol(z) for z in sorted(outside))}", "ask")
        for group in self.any_of:
            if not group & self.palette:
                raise BadInput(f"none of {' '.join(symbol(z) for z in sorted(group))} is allowed", "ask")
        if bad := [g for g in self.space_groups if not 1 <= g <= 230]:
            raise BadInput(f"space groups are 1 to 230, got {sorted(bad)}", "ask")

    @property
    def palette(self) -> frozenset[int]:
        """Atomic numbers that may be used."""
        every = frozenset(range(1, MAX_Z + 1)) if self.allowed is None else self.allowed
        return every - self.excluded

    def limit(self, name: str) -> Limit | None:
        """The limit on the property `name`, None if free."""
        return next((x for x in self.limits if x.name == name), None)

    def permits(self, species: set[int] | frozenset[int]) -> bool:
        """Whether a set of elements fulfils required, any_of, palette and n_elements."""
        return (self.required <= species and species <= self.palette and all(species & g for g in self.any_of)
                and self.n_elements[0] <= len(species) <= self.n_elements[1])


@dataclass(frozen=True, eq=False)
class Candidate:
    """One proposed crystal and where it came from.

    key      name that follows from source, seed and place in the proposal: the same run gives the same keys
    crystal  a batch of one
    source   name of the generator
    parents  keys or names of what it was made from (a prototype, a material id, other candidates)
    seed     seed of the proposal it belongs to
    about    plain facts for the report: prototype, gene, substitution probability
    """

    key: str
    crystal: Crystals
    source: str
    parents: tuple[str, ...] = ()
    seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """One check of a verdict: a number with its limit, never a bare boolean.

    confidence  probability that `passed` is right, None where nothing measured says so
    borderline  the value lies so near the limit that a repeat may decide otherwise
    """

    check: str
    value: float
    limit: float
    unit: str
    passed: bool
    confidence: float | None = None
    note: str = ""
    borderline: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was concluded of a candidate and from which numbers; smaller `score` is better."""

    key: str
    reasons: tuple[Reason, ...] = ()
    score: float = float("inf")

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(r.passed for r in self.reasons)

    def reason(self, check: str) -> Reason | None:
        """The reason called `check`, None if it was not made."""
        return next((r for r in self.reasons if r.check == check), None)


@dataclass(frozen=True)
class Event:
    """One line of a campaign's log; `content` is JSON, crystals in it by their key in the archive."""

    number: int
    kind: str  # started | asked | proposed | screened | relaxed | failed | judged | observed | stopped | finished | second_opinion | reported
    content: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""
