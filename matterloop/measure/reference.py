"""Reference phases: what a new crystal must beat, what is already known, and how much of the known world the reference holds.

The shipped tables are made by recipes/reference_elements.py, recipes/reference_compounds.py, recipes/reference_sevennet.py and recipes/hull_formulas.py; their
cards say how. Every potential has phases and a hull of its own; energies of raw potentials come onto theirs with corrections (corrections.py).
Phases of a user's own: own_reference.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..archive import shipped
from ..base.elements import number, symbol
from ..base.errors import BadInput, Missing
from ..crystal.composition import parse_formula, reduced, reduced_formula
from ..crystal.state import Crystals
from ..crystal.wyckoff import Parameters, from_parameters, position
from .hull import Hull

Composition = Mapping[int, float]
RELAXED, PUBLISHED, BUILT, USER = "relaxed", "published geometry, single point", "built by substitution, relaxed", "user's own"
ELSEWHERE = "geometry of another potential, single point"


@dataclass(frozen=True, eq=False)
class Phases:
    """Phases with energies of one potential and one energy scheme.

    names         what to call them: a material id, an element with its structure, a user's own name
    compositions  {atomic number: count} of each, reduced
    energies      (phases,) eV/atom
    protocols     how each energy was computed: RELAXED, PUBLISHED, BUILT, ELSEWHERE or USER
    corrections   (phases,) eV/atom of corrections that the energies hold; None: no such energies
    errors        rows that could not be used, as BadInput with file, row and field
    """

    names: tuple[str, ...]
    compositions: tuple[dict[int, int], ...]
    energies: np.ndarray
    protocols: tuple[str, ...]
    scheme: str
    potential: str
    about: Mapping[str, Any]
    errors: tuple[BadInput, ...] = ()
    corrections: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> list[str]:
        """What the phases are called on a hull: 'formula (name)', elements by their symbol."""
        return [symbol(next(iter(c))) if len(c) == 1 else f"{reduced_formula(c)} ({n})" for n, c in zip(self.names, self.compositions, strict=True)]

    def hull(self) -> Hull:
        """Their convex hull; phases are called by their labels."""
        return Hull(self.compositions, self.energies, self.labels, self.scheme, self.potential, self.about)

    def without(self, names: Collection[str]) -> Phases:
        """The phases not called by `names`; Missing for a name that none has."""
        names = {names} if isinstance(names, str) else set(names)
        if unknown := names - set(self.names):
            raise Missing("reference phase", sorted(unknown)[0], self.names)
        keep = [i for i, n in enumerate(self.names) if n not in names]
        pick = lambda column: tuple(column[i] for i in keep)
        return Phases(pick(self.names), pick(self.compositions), self.energies[keep], pick(self.protocols), self.scheme, self.potential, self.about, self.errors,
                      None if self.corrections is None else self.corrections[keep])


# the shipped reference


OWN_TABLE = "reference_"  # a potential with a table of this name judges the geometries of another one beside its own


def with_reference() -> dict[str, str]:
    """{name of shipped phases: name of the oracle whose they are}."""
    held = shipped.list_shipped()
    return {**{n.removeprefix("compounds_"): n.removeprefix("compounds_") for n in held if n.startswith("compounds_")},
            **{n.removeprefix(OWN_TABLE): shipped.card(n)["potential"] for n in held if n.startswith(OWN_TABLE)}}


def reference_name(potential: str) -> str:
    """What the shipped phases of a potential are called, by that name or by the name of its oracle; Missing with the nearest names for a potential without any."""
    names = with_reference()
    found = potential if potential in names else next((name for name, oracle in names.items() if oracle == potential), None)
    if found is None:
        raise Missing("potential with shipped reference phases", potential, {*names, *names.values()})
    return found


@cache
def _elements(potential: str):
    return shipped.read_table(f"elements_{_geometries(potential)}")


@cache
def _compounds(potential: str):
    return shipped.read_table(f"compounds_{_geometries(potential)}")


def _geometries(potential: str) -> str:
    """The potential whose geometries and genes serve `potential`: itself, or the one that its own table starts from."""
    name = reference_name(potential)
    return shipped.card(OWN_TABLE + name)["geometries_of"] if OWN_TABLE + name in shipped.list_shipped() else name


def _card(kind: str, potential: str) -> dict[str, Any]:
    return shipped.card(f"{kind}_{potential}")


@cache
def phases(potential: str = "chgnet") -> Phases:
    """All reference phases that ship for `potential`: every compound, and every sound structure of the elements.

    A compound relaxed by our engine counts with its relaxed energy, any other with its energy at the published geometry, which lies above
    (`about["unrelaxed_offset"]` says by how much). Built ones are called "built-FORMULA-SPACEGROUP": the formula is known, the geometry is
    ours. Energies of a raw potential hold its corrections, see `corrections`. Missing for a potential without shipped phases.
    """
    if OWN_TABLE + (name := reference_name(potential)) in shipped.list_shipped():
        return own_phases(shipped.read_table(OWN_TABLE + name), shipped.card(OWN_TABLE + name))
    elements, compounds = _elements(potential), _compounds(potential)
    elements = elements[elements.sound]
    relaxed = np.isfinite(compounds.relaxed_energy_per_atom.to_numpy())
    energies = np.where(relaxed, compounds.relaxed_energy_per_atom, compounds.energy_per_atom)
    card = _card("compounds", potential)
    facts = card.get("facts", {})
    about = {"compounds": len(compounds), "relaxed": int((compounds.protocol == RELAXED).sum()), "built": int((compounds.protocol == BUILT).sum()), "element_structures": len(elements),
             "unrelaxed_offset": facts.get("published_minus_relaxed_eV_per_atom", {}), "tables": {
                 kind: _card(kind, potential)["sha256"] for kind in ("elements", "compounds")}}
    return Phases(
        (*(f"{e} {p}" for e, p in zip(elements.element, elements.prototype, strict=True)), *compounds.material_id),
        (*({number(e): 1} for e in elements.element), *(dict(zip(z.tolist(), n.tolist(), strict=True)) for z, n in zip(compounds.elements, compounds.counts, strict=True))),
        np.concatenate([elements.energy_per_atom.to_numpy(), energies]), (*[RELAXED] * len(elements), *map(str, compounds.protocol)),
        card["scheme"], potential, about)


def own_phases(table, card: Mapping[str, Any]) -> Phases:
    """Phases of a table made by recipes/reference_sevennet.py: relaxed energy where there is one, corrections of the table added to both."""
    relaxed = np.isfinite(table.relaxed_energy_per_atom.to_numpy())
    corrections = table.correction_per_atom.to_numpy(dtype=np.float64)
    energies = np.where(relaxed, table.relaxed_energy_per_atom, table.energy_per_atom) + corrections
    counted = {str(k): int(n) for k, n in table.protocol.value_counts().items() if n}
    about = {"phases": len(table), "protocols": counted, "tables": {card["name"]: card["sha256"]}, "corrections": card.get("corrections", "")}
    return Phases(tuple(table.material_id), tuple(parse_formula(f) for f in table.formula), energies, tuple(map(str, table.protocol)), card["scheme"], card["potential"],
                  about, corrections=corrections)


@cache
def _shipped_hull(potential: str) -> Hull:
    return phases(potential).hull()


def reference_hull(potential: str = "chgnet", exclude: Collection[str] = ()) -> Hull:
    """Convex hull of the shipped phases of `potential`, kept for the process; `exclude` leaves out phases by material id or name.

    A chemical system without all its elements has no hull: `Hull.missing` names them and `Hull.energy_above` refuses.
    Missing for a potential without shipped phases and for a name that no phase has.
    """
    return _shipped_hull(potential) if not exclude else phases(potential).without(exclude).hull()


@cache
def known_genes(potential: str = "chgnet") -> dict[str, tuple[str, ...]]:
    """{gene key: names of the phases that have it}, of the published geometries and, where it differs, of the relaxed ones."""
    found: dict[str, dict[str, None]] = {}
    compounds, elements = _compounds(potential), _elements(potential)
    named = [*zip(elements.gene, (f"{e} {p}" for e, p in zip(elements.element, elements.prototype, strict=True))), *zip(compounds.gene, compounds.material_id),
             *zip(compounds.relaxed_gene, compounds.material_id)]
    for gene, name in named:
        if gene:
            found.setdefault(gene, {})[name] = None
    return {gene: tuple(names) for gene, names in found.items()}


@cache
def _rows_by_formula(potential: str) -> dict[str, list[int]]:
    compounds = _compounds(potential)
    rows: dict[str, list[int]] = {}
    for i in np.isfinite(compounds.relaxed_energy_per_atom.to_numpy()).nonzero()[0].tolist():
        rows.setdefault(compounds.formula.iat[i], []).append(i)
    return rows


def reference_crystals(source: str | Composition | Iterable[int], potential: str = "chgnet") -> tuple[Crystals, list[str]]:
    """(crystals, names) of the reference phases of one reduced formula whose geometry ships: those that our engine relaxed.

    source  a formula, {atomic number: count} or atomic numbers. Compounds come in conventional cells, elements in primitive ones. An empty batch
    where no geometry of that formula ships; novelty is then by gene only. BadInput for text that is no formula.
    """
    composition = dict(reduced(source))
    formula = reduced_formula(composition)
    parts, names = [], []
    if len(composition) == 1:
        table = _elements(potential)
        for row in table[(table.element == symbol(next(iter(composition)))) & table.sound].itertuples():
            parts.append(Crystals.of(np.reshape(row.frac, (-1, 3)), [next(iter(composition))] * row.n_atoms, np.reshape(row.cell, (3, 3))))
            names.append(f"{row.element} {row.prototype}")
    table, rows = _compounds(potential), _rows_by_formula(potential).get(formula, [])
    if rows:
        parts.append(from_parameters([_parameters(table.iloc[i]) for i in rows]))
        names += [table.material_id.iat[i] for i in rows]
    return (Crystals.join(parts) if parts else Crystals.of([], [], [], [])), names


def _parameters(row) -> Parameters:
    """Lattice and sites of one relaxed row: `sites` names element and letter, `parameters` holds the free values of all sites in order."""
    group, values, sites, start = int(row.relaxed_space_group), [float(v) for v in row.parameters], [], 0
    for part in row.sites.split("."):
        element, letter = part.split("_")
        stop = start + position(group, letter).dof
        sites.append((letter, number(element), tuple(values[start:stop])))
        start = stop
    return Parameters(group, tuple(float(v) for v in row.lattice), tuple(sites))


# coverage: how many of the phases that the Materials Project's hull names are in the reference


class Named(NamedTuple):
    """Phases that the hull of the Materials Project's formation energies names at a composition.

    phases  reduced formulas
    exact   True: the corners of the facet at that composition. False: the table has no facets for a system of that many elements without a phase of its own,
            and these are all phases on the hull within the system, more than the facet's
    """

    phases: tuple[str, ...]
    exact: bool


@dataclass(frozen=True, eq=False)
class _Facets:
    """Phases on the hull by row, and facets by chemical system."""

    formulas: tuple[str, ...]
    groups: Mapping[str, int]  # space group of the lowest entry of each compound
    fractions: tuple[dict[int, float], ...]
    systems: Mapping[frozenset[int], list[int]]  # rows of phases whose elements are exactly these
    corners: np.ndarray
    first: Mapping[bytes, tuple[int, int]]  # packed element mask -> range of facets


@cache
def _facets() -> _Facets:
    table, grid = shipped.read_table("hull_formulas"), shipped.read_table("hull_facets").to_numpy()
    listed = [dict(zip(z.tolist(), n.tolist(), strict=True)) for z, n in zip(table.elements, table.counts, strict=True)]
    systems: dict[frozenset[int], list[int]] = {}
    masks = np.zeros((len(listed) + 1, 2), dtype=np.uint64)  # the last row, for "no corner", stays empty
    for i, c in enumerate(listed):
        systems.setdefault(frozenset(c), []).append(i)
        for z in c:
            masks[i, z // 64] |= np.uint64(1 << z % 64)
    mask = np.bitwise_or.reduce(masks[grid], axis=1)
    order = np.lexsort(mask.T)
    mask, grid = mask[order], grid[order]
    starts = np.concatenate([[0], (mask[1:] != mask[:-1]).any(1).nonzero()[0] + 1, [len(mask)]])
    first = {mask[a].tobytes(): (int(a), int(b)) for a, b in zip(starts[:-1], starts[1:], strict=True)}
    total = lambda c: sum(c.values())
    groups = {f: int(g) for f, g, c in zip(table.formula, table.space_group, listed, strict=True) if len(c) > 1}
    return _Facets(tuple(table.formula), groups, tuple({z: n / total(c) for z, n in c.items()} for c in listed), systems, grid, first)


def named_phases(composition: str | Composition | Iterable[int]) -> Named:
    """What the hull of the 132,752 formation energies of matbench_mp_e_form names at a composition: the phases it would decompose into, or itself."""
    facets, fractions = _facets(), _fractions(composition)
    system = tuple(sorted(fractions))
    elements = tuple(symbol(z) for z in system)
    if len(system) == 1:
        return Named(elements, True)
    if len(system) == 2:
        return Named(_binary(facets, fractions, system), True)
    mask = np.zeros(2, dtype=np.uint64)
    for z in system:
        mask[z // 64] |= np.uint64(1 << z % 64)
    a, b = facets.first.get(mask.tobytes(), (0, 0))
    if a < b:
        corners = facets.corners[a:b, : len(system)]
        column = {z: k for k, z in enumerate(system)}
        matrix = np.zeros((*corners.shape, len(system)))
        for f, row in enumerate(corners.tolist()):
            for c, phase in enumerate(row):
                for z, x in facets.fractions[phase].items():
                    matrix[f, c, column[z]] = x
        shares = np.linalg.solve(matrix.transpose(0, 2, 1), np.broadcast_to(np.array([fractions[z] for z in system])[:, None], (b - a, len(system), 1)))[..., 0]
        best = int(shares.min(1).argmax())
        if shares[best].min() > -1e-6:
            return Named(tuple(facets.formulas[p] for p, x in zip(corners[best].tolist(), shares[best], strict=True) if x > 1e-6), True)
    inside = [i for s, rows in facets.systems.items() if s <= fractions.keys() for i in rows if len(s) > 1]
    if not inside or len(system) == 3:  # no stored facet: nothing but the elements
        return Named(elements, True)
    return Named((*elements, *(facets.formulas[i] for i in inside)), False)


def _binary(facets: _Facets, fractions: Mapping[int, float], system: tuple[int, int]) -> tuple[str, ...]:
    """Neighbours on the line of two elements, or the phase itself."""
    a, b = system
    line = sorted([(0.0, symbol(a)), (1.0, symbol(b)), *((facets.fractions[i][b], facets.formulas[i]) for i in facets.systems.get(frozenset(system), ()))])
    x = fractions[b]
    itself = [name for at, name in line if abs(at - x) < 1e-6]
    if itself:
        return (itself[0],)
    return tuple(name for at, name in (max(p for p in line if p[0] < x), min(p for p in line if p[0] > x)))


def _fractions(composition: str | Composition | Iterable[int]) -> dict[int, float]:
    counts = dict(reduced(composition))
    return {z: n / sum(counts.values()) for z, n in counts.items()}


@cache
def _held(potential: str) -> dict[str, frozenset[int]]:
    """{formula, or symbol of an element: space groups in which the reference holds it}."""
    held: dict[str, set[int]] = {}
    if OWN_TABLE + (name := reference_name(potential)) in shipped.list_shipped():
        table = shipped.read_table(OWN_TABLE + name, columns=["formula", "space_group"])
        for formula, group in zip(table.formula, table.space_group, strict=True):
            held.setdefault(formula, set()).add(int(group))
        return {formula: frozenset(groups) for formula, groups in held.items()}
    elements, compounds = _elements(potential), _compounds(potential)
    for formula, group in [*zip(elements.element, elements.space_group), *zip(compounds.formula, compounds.space_group), *zip(compounds.formula, compounds.relaxed_space_group)]:
        held.setdefault(formula, set()).add(int(group))
    return {formula: frozenset(groups) for formula, groups in held.items()}


def coverage(composition: str | Composition | Iterable[int], reference: Collection[str] | None = None, potential: str = "chgnet") -> tuple[float, tuple[str, ...]]:
    """(share, missing): which of the phases named at a composition the reference holds; below 1 stability is "as far as known".

    reference  reduced formulas that are held; None: the shipped phases of `potential`, where a phase counts as held if the reference has its formula in the space
               group of the Materials Project's lowest entry ("MgO (225)" is missing where only other polymorphs are there). An element is held if its structure is.
    Where the facet is not known (`named_phases(...).exact` false) all hull phases of the system count: the share is then the cautious one.
    """
    named = named_phases(composition).phases
    if reference is not None:
        held = {_plain(name) for name in reference}
        missing = [name for name in named if _plain(name) not in held]
    else:
        groups, lowest, missing = _held(potential), _facets().groups, []
        for name in named:
            if (found := groups.get(_plain(name))) is None:
                missing.append(name)
            elif name in lowest and lowest[name] not in found:
                missing.append(f"{name} ({lowest[name]})")
    return 1 - len(missing) / len(named), tuple(missing)


def _plain(formula: str) -> str:
    """Reduced formulas of elements are written as molecules (O2); the reference calls them by their symbol."""
    counts = parse_formula(formula)
    return symbol(next(iter(counts))) if len(counts) == 1 else formula
