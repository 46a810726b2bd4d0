"""Convex hull of the energies of one potential: which phases are stable, and how far above them another crystal lies.

S. P. Ong, L. Wang, B. Kang, G. Ceder, "Li-Fe-P-O2 phase diagram from first principles calculations", Chem. Mater. 20, 1798 (2008), doi:10.1021/cm702327g;
distance against other compositions: C. J. Bartel et al., npj Comput. Mater. 6, 97 (2020), doi:10.1038/s41524-020-00362-y (decomposition enthalpy).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.registry import Card
from .facets import TOLERANCE, Facets
from .rivals import Rivals
from .simplex import lowest_mixtures, ordered_sum

CARD = Card(
    name="hull",
    build="Hull",
    role="measure",
    paper="10.1021/cm702327g",
    year=2008,
    capabilities=("energy_above_hull", "formation_energy", "decomposition", "plot_data"),
    keeps=("permutation", "supercell"),
    differs=("a distance is a linear program over the phases of its chemical system, so that no hull is built for it; facets are found for diagrams only",
             "no grand potential and no entropy"),
    summary="own convex hull per potential and energy scheme; distances, decompositions, plot data",
)

Composition = Mapping[int, float]
Key = tuple[tuple[int, float], ...]
BATCH = 2**18  # phases times queries that are worked on at once


@dataclass(frozen=True)
class Distances:
    """Answer of `Hull.energy_above`.

    above           (queries,) eV/atom; negative below the hull of the other phases; nan where there is no hull
    decompositions  per query ((name, atomic share), ...), largest share first
    reasons         per query "" or why there is no number
    """

    above: np.ndarray
    decompositions: tuple[tuple[tuple[str, float], ...], ...]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.above)


class Hull:
    """Hull of all phases of one potential. Distances need no facets; those of a chemical system are built when a diagram asks for them, and kept.

    compositions  [{atomic number: count}] of every phase, any multiple of the formula unit
    energies      (phases,) eV/atom, not formation energies unless all are
    names         what to call them in decompositions
    scheme        energy scheme of all of them ("mp2020"), or one per phase, which must agree
    potential     name of the oracle
    about         anything to carry along (source, version, protocol), not read here

    Raises BadInput for mixed schemes, empty or negative compositions and energies that are not finite, naming the phase.
    """

    def __init__(self, compositions: Sequence[Composition], energies: Sequence[float], names: Sequence[str], scheme: str | Sequence[str], potential: str,
                 about: Mapping[str, Any] | None = None):
        self.energies = np.asarray(energies, dtype=np.float64).reshape(-1)
        self.names = tuple(map(str, names))
        if not len(compositions) == len(self.energies) == len(self.names):
            raise BadInput(f"{len(compositions)} compositions, {len(self.energies)} energies and {len(self.names)} names; one of each per phase", "Hull")
        if not np.isfinite(self.energies).all():
            i = int((~np.isfinite(self.energies)).argmax())
            raise BadInput(f"the energy is {self.energies[i]}; leave phases without an energy out", f"phase {i} ({self.names[i]})")
        self.scheme, self.potential, self.about = _one_scheme(scheme, self.names), potential, dict(about or {})
        self.fractions = tuple(_fractions(c, f"phase {i} ({self.names[i]})") for i, c in enumerate(compositions))
        self.keys = tuple(map(_key, self.fractions))
        self._lowest: dict[Key, int] = {}
        self._members: dict[tuple[int, ...], list[int]] = {}
        for i, key in enumerate(self.keys):
            self._members.setdefault(tuple(z for z, _ in key), []).append(i)
            if key not in self._lowest or self.energies[i] < self.energies[self._lowest[key]]:
                self._lowest[key] = i
        self._rivals = Rivals(self.fractions, self.energies, self._lowest)
        self._cache: dict[tuple[int, ...], _System] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that have an elemental reference, ascending."""
        return tuple(sorted(s[0] for s in self._members if len(s) == 1))

    def references(self) -> dict[int, tuple[str, float]]:
        """{atomic number: (name, eV/atom)} of the elemental references, the lowest phase of each element."""
        return {z: (self.names[i], float(self.energies[i])) for z in self.elements for i in [self._lowest[((z, 1.0),)]]}

    def missing(self, composition: Composition) -> tuple[int, ...]:
        """Elements of `composition` without an elemental reference; a system with any has no hull."""
        return tuple(z for z in _fractions(composition, "composition") if ((z, 1.0),) not in self._lowest)

    # questions

    def energy_above(self, compositions: Sequence[Composition], energies: Sequence[float], scheme: str | None = None, *,
                     other_compositions: bool = False, missing: str = "raise") -> Distances:
        """Distance of each query to the hull, eV/atom, and what it would decompose into.

        compositions        [{atomic number: count}], energies (queries,) eV/atom in the hull's own scheme
        scheme              of the energies; BadInput if it is not the hull's. None: the caller vouches for it
        other_compositions  leave phases of the query's own composition out of the hull: the decomposition enthalpy, negative for a stable phase by its
                            depth; for an element its energy above the reference
        missing             "raise" BadInput for a system without all its elements, or "report" nan and the reason for that query

        Raises BadInput as above and for energies that are not finite ("report": nan).
        """
        if scheme is not None and scheme != self.scheme:
            raise BadInput(f"energies of scheme {scheme!r} cannot be measured against a hull of scheme {self.scheme!r} ({self.potential})", "hull")
        if missing not in ("raise", "report"):
            raise BadInput(f"missing is {missing!r}, allowed are 'raise' and 'report'", "hull")
        energies = np.asarray(energies, dtype=np.float64).reshape(-1)
        if len(energies) != len(compositions):
            raise BadInput(f"{len(compositions)} compositions and {len(energies)} energies; one of each per query", "hull")
        fractions = [_fractions(c, f"query {i}") for i, c in enumerate(compositions)]
        keys = [_key(f) for f in fractions]
        above, parts, reasons = np.full(len(keys), np.nan), [()] * len(keys), [""] * len(keys)
        good = []
        for i, key in enumerate(keys):
            if why := self._refusal(key, energies[i]):
                if missing == "raise":
                    raise BadInput(why, f"query {i}")
                reasons[i] = why
            else:
                good.append(i)
        for part in self._parts(good, keys):
            for i, floor, mixture in self._floors(part, fractions, keys, other_compositions):
                above[i] = energies[i] - floor
                parts[i] = tuple((self.names[phase], share) for phase, share in mixture)
        return Distances(above, tuple(parts), tuple(reasons))

    def formation_energy(self, compositions: Sequence[Composition], energies: Sequence[float]) -> np.ndarray:
        """(queries,) eV/atom relative to this hull's elemental references; nan for a composition with an element that has none."""
        out = np.full(len(compositions), np.nan)
        for i, (composition, energy) in enumerate(zip(compositions, energies, strict=True)):
            if not self.missing(composition):
                fractions = _fractions(composition, f"query {i}")
                out[i] = energy - sum(n * self.energies[self._lowest[((z, 1.0),)]] for z, n in fractions.items())
        return out

    def stable(self, elements: Iterable[int] | None = None, tolerance: float = 1e-8) -> np.ndarray:
        """Numbers of the phases within `tolerance` eV/atom of the hull, ascending; of all systems within `elements` only, if given.

        Phases of systems without all their elements are left out. Without `elements` every chemical system is built: seconds for ten thousand phases.
        """
        wanted = None if elements is None else frozenset(elements)
        chosen = [i for s, members in self._members.items() if wanted is None or wanted.issuperset(s) for i in members]
        answer = self.energy_above([self.fractions[i] for i in chosen], self.energies[chosen], missing="report")
        return np.array(sorted(i for i, d in zip(chosen, answer.above, strict=True) if d <= tolerance), dtype=np.int64)

    def with_entries(self, compositions: Sequence[Composition], energies: Sequence[float], names: Sequence[str], scheme: str | None = None) -> Hull:
        """A new hull with more phases; facets of chemical systems that they do not touch are kept. BadInput for another scheme."""
        if scheme is not None and scheme != self.scheme:
            raise BadInput(f"phases of scheme {scheme!r} cannot join a hull of scheme {self.scheme!r} ({self.potential})", "hull")
        more = Hull(compositions, energies, names, self.scheme, self.potential)
        grown = Hull([*self.fractions, *more.fractions], np.concatenate([self.energies, more.energies]), [*self.names, *more.names],
                     self.scheme, self.potential, self.about)
        touched = [frozenset(s) for s in more._members]
        grown._cache = {system: place for system, place in self._cache.items() if not any(t <= set(system) for t in touched)}
        return grown

    # data for figures

    def diagram(self, elements: Sequence[int]) -> dict[str, Any]:
        """Phase diagram of 1 to 5 elements as plain data.

        elements, symbols; entries: all phases of the system, as `names`, `fractions` (p, k) lists, `formation_energy` and `above` (p) eV/atom, `stable` (p);
        `simplices` (f, k): facets of the lower hull by entry.
        """
        system = tuple(sorted(set(elements)))
        if lacking := [z for z in system if ((z, 1.0),) not in self._lowest]:
            raise BadInput(f"no elemental reference for {', '.join(map(symbol, lacking))}, so {_text(system)} has no hull", "hull")
        place = self._system(system)
        if place.facets.corners is None:
            raise BadInput(f"{len(system)} elements have no list of facets; ask for 5 at most", "hull")
        entries = self._entries(system)
        shares = [self.fractions[i] for i in entries]
        above = self.energy_above(shares, self.energies[entries]).above
        number = {phase: n for n, phase in enumerate(entries)}
        return {
            "elements": list(elements), "symbols": [symbol(z) for z in elements], "names": [self.names[i] for i in entries],
            "fractions": [[s.get(z, 0.0) for z in elements] for s in shares],
            "formation_energy": self.formation_energy(shares, self.energies[entries]).tolist(), "above": above.tolist(), "stable": (above <= 1e-8).tolist(),
            "simplices": [[number[place.phases[c]] for c in corners] for corners in place.facets.corners.tolist()],
        }

    def binary_curve(self, a: int, b: int) -> dict[str, Any]:
        """`diagram` of two elements, with `fraction` (p) of b of every entry and the hull line from a to b: `curve` [(fraction, eV/atom, name), ...]."""
        data = self.diagram((a, b))
        data["fraction"] = [f[1] for f in data["fractions"]]
        corners = sorted({c for simplex in data["simplices"] for c in simplex}, key=lambda c: data["fraction"][c])
        data["curve"] = [(data["fraction"][c], data["formation_energy"][c], data["names"][c]) for c in corners]
        return data

    def ternary(self, a: int, b: int, c: int) -> dict[str, Any]:
        """`diagram` of three elements, with `xy` (p, 2): entries in an equilateral triangle of side 1, a at (0, 0), b at (1, 0), c at the top."""
        data = self.diagram((a, b, c))
        data["xy"] = [(f[1] + f[2] / 2, f[2] * 3**0.5 / 2) for f in data["fractions"]]
        return data

    # chemical systems

    def _refusal(self, key: Key, energy: float) -> str:
        system = tuple(z for z, _ in key)
        if lacking := [symbol(z) for z in system if ((z, 1.0),) not in self._lowest]:
            return f"no elemental reference for {', '.join(lacking)}, so {_text(system)} has no hull"
        return "" if np.isfinite(energy) else f"the energy is {energy}"

    def _entries(self, system: tuple[int, ...]) -> list[int]:
        """All phases whose elements lie in `system`."""
        if 2 ** len(system) > len(self._members):
            inside = [s for s in self._members if set(s) <= set(system)]
        else:
            inside = [s for k in range(1, len(system) + 1) for s in combinations(system, k)]
        return sorted(i for s in inside for i in self._members.get(s, ()))

    def _parts(self, queries: list[int], keys: Sequence[Key]) -> Iterable[list[int]]:
        """Queries in groups of systems of about as many phases, so that little of a group's arrays is filling."""
        size = {i: len(self._rivals.phases(tuple(z for z, _ in keys[i]))) for i in queries}
        part: list[int] = []
        for i in sorted(queries, key=size.__getitem__, reverse=True):
            if part and (len(part) + 1) * size[part[0]] > BATCH:
                yield part
                part = []
            part.append(i)
        if part:
            yield part

    def _floors(self, queries: list[int], fractions: Sequence[Mapping[int, float]], keys: Sequence[Key], other_compositions: bool):
        """(query, eV/atom of the lowest mixture at its composition, ((phase, share), ...) with the largest first) for each of `queries`."""
        number: dict[tuple[int, ...], int] = {}
        system = np.array([number.setdefault(tuple(fractions[i]), len(number)) for i in queries])
        phases, energies, shares = self._rivals.together(list(number))
        k = shares.shape[2]
        x = np.zeros((len(queries), k))
        for n, i in enumerate(queries):
            found = fractions[i]
            x[n, : len(found)] = tuple(found.values())
        without = None
        if other_compositions:
            own = np.array([self._lowest.get(keys[i], -1) if len(keys[i]) > 1 else -1 for i in queries])
            without = (phases[system] == own[:, None]) & np.isfinite(energies[system])
        basis, carried, solved = lowest_mixtures(x, shares, energies, system, without)
        carried[carried <= TOLERANCE] = 0.0
        carried /= ordered_sum(carried, 1)[:, None]
        order = np.argsort(-carried, axis=1, kind="stable")
        basis, carried = np.take_along_axis(basis, order, 1), np.take_along_axis(carried, order, 1)
        elements = np.zeros((len(number), k))
        for s, n in number.items():
            elements[n, : len(s)] = self._rivals.zero[list(s)]
        taken = np.where(carried > 0, energies[system[:, None], basis], 0.0)
        floors = (ordered_sum(carried * taken, 1) + ordered_sum(x * elements[system], 1)).tolist()
        named, lists = phases[system[:, None], basis].tolist(), carried.tolist()
        for n, i in enumerate(queries):
            if solved[n]:
                yield i, floors[n], tuple((phase, share) for phase, share in zip(named[n], lists[n], strict=True) if share)
            else:
                yield self._programme(i, fractions[i], phases[system[n]], energies[system[n]], shares[system[n]], without[n] if without is not None else None)

    def _programme(self, i: int, fractions: Mapping[int, float], phases: np.ndarray, energies: np.ndarray, shares: np.ndarray, without: np.ndarray | None):
        """As one answer of `_floors`, by scipy's linear program."""
        open_ = np.flatnonzero(np.isfinite(energies) & (~without if without is not None else True))
        carry = Facets(shares[open_][:, : len(fractions)], energies[open_]).programme(np.array(list(fractions.values())))
        keep = carry > TOLERANCE
        chosen, carry = open_[keep], carry[keep] / carry[keep].sum()
        floor = float(carry @ energies[chosen]) + sum(share * self._rivals.zero[z] for z, share in fractions.items())
        return i, floor, tuple((int(phases[chosen[j]]), float(carry[j])) for j in np.argsort(-carry, kind="stable"))

    # facets

    def _system(self, system: tuple[int, ...]) -> _System:
        if system not in self._cache:
            self._cache[system] = self._build(system)
        return self._cache[system]

    def _build(self, system: tuple[int, ...]) -> _System:
        phases = self._rivals.phases(system)
        if len(system) > 3:  # what is unstable in a subsystem is no corner here
            corners = set().union(*(self._system(part).corner_phases for part in combinations(system, len(system) - 1)))
            phases = np.array([i for i in phases.tolist() if len(self.fractions[i]) in (1, len(system)) or i in corners])
        x, energies = self._rivals.relative(system, phases)
        facets = Facets.of(x, energies)
        return _System(facets, phases, frozenset(phases[facets.vertices].tolist()))


@dataclass(frozen=True)
class _System:
    """Facets of one chemical system; `phases` (p,) are their numbers in the hull, `corner_phases` those at corners."""

    facets: Facets
    phases: np.ndarray
    corner_phases: frozenset[int] = field(default_factory=frozenset)


def _text(system: Sequence[int]) -> str:
    return "-".join(map(symbol, system))


def _fractions(composition: Composition, where: str) -> dict[int, float]:
    """{atomic number: atomic fraction}, sorted by number."""
    total = sum(composition.values())
    if not composition or not 0 < total < float("inf") or min(composition.values()) < 0:
        raise BadInput(f"the composition is {dict(composition)}; counts must be positive and finite", where)
    return {int(z): float(n / total) for z, n in sorted(composition.items()) if n > 0}


def _key(fractions: Mapping[int, float]) -> Key:
    """((atomic number, rounded fraction), ...): equal for all multiples of a formula."""
    return tuple((z, round(n, 9)) for z, n in fractions.items())


def _one_scheme(scheme: str | Sequence[str], names: Sequence[str]) -> str:
    if isinstance(scheme, str):
        return scheme
    if len(scheme) != len(names) or not len(scheme):
        raise BadInput(f"{len(scheme)} schemes for {len(names)} phases; give one for all or one each", "Hull")
    if other := [i for i, s in enumerate(scheme) if s != scheme[0]]:
        raise BadInput(
            f"phase {other[0]} ({names[other[0]]}) has the energy scheme {scheme[other[0]]!r}, phase 0 ({names[0]}) has {scheme[0]!r}; "
            "make one hull per scheme", "Hull")
    return scheme[0]
