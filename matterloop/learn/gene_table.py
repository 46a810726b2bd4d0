"""Relaxed structures as rows of one table: free parameters, energy and the labels that follow from it; what generators and predictors learn from.

Labels need a hull, which stands on a higher floor: whoever reads a table brings `Levels`. The shipped rows, labelled: measure/labelled_genes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..base.elements import NUMBER, symbol
from ..base.errors import BadInput, Missing
from ..base.seeds import derive
from ..crystal.lattice import FREE
from ..crystal.space_groups import LETTERS, crystal_system, table
from ..crystal.wyckoff import Parameters
from ..represent.wyckoff_gene import Gene

if TYPE_CHECKING:
    import pandas as pd

CONVERGED = "converged"
COLUMNS = ("id", "source", "status", "space_group", "sites", "lattice", "parameters", "gene", "energy_per_atom")
SAME = 1e-3  # eV/atom: rows of one gene nearer than this are one structure
DEPTH = 0.2  # eV/atom below the hull: farther down it is a hole of the potential, or the hull lacks the phases that matter there

Levels = Callable[[Sequence[Mapping[int, int]]], tuple[np.ndarray, np.ndarray]]
"""Compositions -> (energy of the elements, energy of the hull) at each, eV/atom; nan where there is none."""


@dataclass(frozen=True, eq=False)
class GeneTable:
    """Structures relaxed by our engine, one row each; the same structure from several sources is one row.

    ids               "mp-149", "wbm-17", "own_random-...": where the row was found first; `aliases` (rows,) the ids of its repetitions
    source            (rows,) text: mp, built, wbm, alexandria, oqmd, aflow, own_random, own_substituted, own_template
    parameters        the relaxed crystal in the standard setting, Å and degrees
    energy            (rows,) eV/atom of the potential
    formation_energy  (rows,) eV/atom relative to the elements of the potential's hull
    above_hull        (rows,) eV/atom, 0 for what lies on the hull or below it
    band_gap          (rows,) eV, PBE, of the published structure; nan where none was published
    splits            data files in which the structure or a repetition of it occurs: {"mp20_val"}, {"mp20_test", "mpts52_val"}, ...
    """

    ids: tuple[str, ...]
    source: np.ndarray
    parameters: tuple[Parameters, ...]
    energy: np.ndarray
    formation_energy: np.ndarray
    above_hull: np.ndarray
    band_gap: np.ndarray
    splits: tuple[frozenset[str], ...]
    aliases: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self):
        if not self.aliases:
            object.__setattr__(self, "aliases", ((),) * len(self.ids))
        for f in fields(self):
            if len(getattr(self, f.name)) != len(self.ids):
                raise BadInput(f"{len(getattr(self, f.name))} values of {f.name!r} for {len(self.ids)} rows", "GeneTable")

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def of(ids: Sequence[str], source: str | Sequence[str], parameters: Sequence[Parameters], energies: Sequence[float], levels: Levels,
           band_gap: Sequence[float] | None = None, splits: Sequence[Collection[str]] | None = None) -> GeneTable:
        """A table of structures that were relaxed elsewhere in the process, such as a round of candidates; nothing is merged or left out.

        source    one for all, or one each
        energies  (rows,) eV/atom in the scheme of `levels`
        """
        n, energies = len(ids), np.asarray(energies, dtype=np.float64)
        elements, hull = levels([Gene.of(p.space_group, p.sites).composition for p in parameters])
        return GeneTable(
            tuple(ids), np.array([source] * n if isinstance(source, str) else list(source), dtype=object), tuple(parameters), energies, energies - elements,
            np.maximum(energies - hull, 0.0), np.full(n, np.nan) if band_gap is None else np.asarray(band_gap, dtype=np.float64),
            (frozenset(),) * n if splits is None else tuple(map(frozenset, splits)))

    @staticmethod
    def join(tables: Iterable[GeneTable]) -> GeneTable:
        """The rows of several tables one after the other; repetitions are not merged."""
        tables = list(tables)
        if not tables:
            raise BadInput("no table to join", "GeneTable")
        column = lambda name: [getattr(t, name) for t in tables]
        return GeneTable(**{
            f.name: np.concatenate(column(f.name)) if isinstance(getattr(tables[0], f.name), np.ndarray) else tuple(x for part in column(f.name) for x in part)
            for f in fields(GeneTable)})

    def genes(self) -> list[Gene]:
        """The canonical gene of every row, in the row's own space group; found when first asked for.

        Letters may differ from those of `parameters`, which keep the setting in which the crystal was written.
        """
        return self._genes

    @cached_property
    def _genes(self) -> list[Gene]:
        known: dict[tuple, Gene] = {}
        found = []
        for p in self.parameters:
            key = (p.space_group, tuple(site[:2] for site in p.sites))
            if key not in known:
                known[key] = Gene.of(p.space_group, p.sites).canonical
            found.append(known[key])
        return found

    @cached_property
    def systems(self) -> tuple[str, ...]:
        """Chemical system of every row: "Cl-Na", symbols by atomic number."""
        named: dict[frozenset[int], str] = {}
        found = []
        for p in self.parameters:
            elements = frozenset(z for _, z, _ in p.sites)
            if elements not in named:
                named[elements] = "-".join(symbol(z) for z in sorted(elements))
            found.append(named[elements])
        return tuple(found)

    def take(self, rows) -> GeneTable:
        """The rows of these numbers, or where a mask (rows,) is true, in the given order."""
        rows = np.asarray(rows)
        if rows.dtype == bool:
            if len(rows) != len(self):
                raise BadInput(f"a mask of {len(rows)} for {len(self)} rows", "GeneTable")
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64, copy=False).reshape(-1)
        listed = rows.tolist()
        return GeneTable(**{
            f.name: value[rows] if isinstance(value := getattr(self, f.name), np.ndarray) else tuple(value[i] for i in listed) for f in fields(self)})

    def exclude_splits(self, names: str | Collection[str]) -> GeneTable:
        """Without every row that occurs in one of these data files, itself or as a repetition; Missing for a file that no row occurs in."""
        names = {names} if isinstance(names, str) else set(names)
        every = frozenset().union(*set(self.splits))
        if unknown := names - every:
            raise Missing("data file of the table", sorted(unknown)[0], every)
        return self.take(np.array([not names & s for s in self.splits], dtype=bool))

    def held_out_systems(self, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(rest, held out): row numbers such that no chemical system stands on both sides; about `fraction` of the systems is held out.

        A system's side follows from its elements and the seed alone: it stays where it is when the table grows.
        """
        if not 0 <= fraction <= 1:
            raise BadInput(f"fraction is {fraction}, it must lie in 0..1", "held_out_systems")
        side = {s: derive(seed, "held out system", s) < fraction * 2.0**63 for s in set(self.systems)}
        out = np.array([side[s] for s in self.systems], dtype=bool)
        return np.flatnonzero(~out), np.flatnonzero(out)


# tables on disk


def read_rows(frames: Mapping[str, pd.DataFrame], levels: Levels, files: pd.DataFrame | None = None) -> GeneTable:
    """The usable rows of tables of relaxed structures: labelled, joined with what is known of their ids, repetitions merged.

    frames  {name of the file: frame with COLUMNS}: sites as 'Na_a.Cl_b', lattice in the order of `lattice.FREE`, parameters of all sites in order
    files   frame of id, files (names of data files, apart by blanks), band_gap (eV or nan) and same_as (id of the row that it repeats, or "")
    Left out: rows whose status is not "converged", whose labels are not known, and those more than DEPTH below the hull.
    BadInput naming file, row and field for a row that cannot be read.
    """
    import pandas as pd

    parts = [_checked(frame, name) for name, frame in frames.items()]
    if not parts:
        raise BadInput("no table to read", "gene table")
    frame = pd.concat([p[0] for p in parts], ignore_index=True)
    counts = np.concatenate([p[1] for p in parts])
    _refuse_repeated(frame.id, ", ".join(frames))
    compositions, which = _compositions(counts)
    elements, hull = (np.asarray(level, dtype=np.float64)[which] for level in levels(compositions))
    energy = frame.energy_per_atom.to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore"):
        usable = np.flatnonzero(np.isfinite(elements) & (energy - hull >= -DEPTH))
    frame, energy, elements, hull = frame.iloc[usable].reset_index(drop=True), energy[usable], elements[usable], hull[usable]
    splits, gap, others = _known_of(frame.id, files)
    first, splits, gap, others = _merged(frame.id, frame.gene, energy, splits, gap, others)
    kept = frame.iloc[first]
    return GeneTable(
        tuple(kept.id), kept.source.astype(str).to_numpy(dtype=object), _parameters(kept), energy[first], (energy - elements)[first], np.maximum(energy - hull, 0.0)[first],
        gap, splits, others)


def of_compounds(frame: pd.DataFrame) -> pd.DataFrame:
    """The relaxed rows of a table such as shipped/compounds_chgnet.parquet with the columns of `read_rows`."""
    frame = frame[frame.lattice.notna()]
    return frame.assign(
        id=frame.material_id, source=np.where(frame.source == "built", "built", "mp"), status=CONVERGED, space_group=frame.relaxed_space_group,
        gene=np.where(frame.relaxed_gene != "", frame.relaxed_gene, frame.gene), energy_per_atom=frame.relaxed_energy_per_atom)[list(COLUMNS)]


def _checked(frame: pd.DataFrame, file: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Converged rows, and (rows, 119) atoms of each element in their conventional cells; BadInput naming the first row that cannot be read."""
    if lost := [c for c in COLUMNS if c not in frame]:
        raise BadInput(f"lacks the columns {', '.join(lost)}", file)
    frame = frame.loc[(frame.status == CONVERGED).to_numpy(), list(COLUMNS)].reset_index(drop=True)

    def refuse(bad: np.ndarray, field: str, why: Callable[[int], str]) -> None:
        if bad.any():
            i = int(bad.argmax())
            raise BadInput(why(i), file=file, row=f"row {frame.id.iat[i]}", field=field)

    group = frame.space_group.to_numpy(dtype=np.int64)
    refuse((group < 1) | (group > 230), "space_group", lambda i: f"{group[i]} is no space group; allowed are 1 to 230")
    energy = frame.energy_per_atom.to_numpy(dtype=np.float64)
    refuse(~np.isfinite(energy), "energy_per_atom", lambda i: f"the energy is {energy[i]}")
    row, species, letter = _sites(frame.sites, refuse)
    letters, dof, multiplicity = _positions()
    of_site = group[row]
    beyond = letter >= letters[of_site]
    refuse(_any(row, beyond, len(frame)), "sites", lambda i: f"{frame.sites.iat[i]!r} names a letter that group {group[i]} does not have")
    place = table().start[of_site - 1] + letter
    once = dof[place] == 0
    sites, times = np.unique(row[once] * len(LETTERS) + letter[once], return_counts=True)
    refuse(_any(sites // len(LETTERS), times > 1, len(frame)), "sites", lambda i: f"{frame.sites.iat[i]!r} uses a position without free parameters twice")
    for field, wanted in (("lattice", _lattice_values()[group]), ("parameters", np.bincount(row, dof[place], len(frame)).astype(np.int64))):
        lengths = np.array([-1 if values is None else len(values) for values in frame[field]], dtype=np.int64)
        refuse(lengths != wanted, field, lambda i: f"has {max(lengths[i], 0)} values, {wanted[i]} are wanted")
        values = np.concatenate([np.zeros(0), *frame[field]])
        refuse(_any(np.repeat(np.arange(len(frame)), wanted), ~np.isfinite(values), len(frame)), field, lambda i: f"holds a number that is not finite: {list(frame[field].iat[i])}")
    counts = np.zeros((len(frame), 119), dtype=np.int32)
    np.add.at(counts, (row, species), multiplicity[place])
    return frame, counts


def _sites(texts: pd.Series, refuse: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, atomic number, index of the letter) of every occupied position, all rows one after the other."""
    import pandas as pd

    if not len(texts):
        return (np.zeros(0, dtype=np.int64),) * 3
    row = np.repeat(np.arange(len(texts)), texts.str.count(r"\.").to_numpy(dtype=np.int64) + 1)
    codes, unique = pd.factorize(np.array(".".join(texts).split("."), dtype=object))
    halves = [text.partition("_")[::2] for text in unique]
    species = np.array([NUMBER.get(element, 0) for element, _ in halves], dtype=np.int64)
    letter = np.array([LETTERS.find(name) if len(name) == 1 else -1 for _, name in halves], dtype=np.int64)
    bad = _any(row, ((species == 0) | (letter < 0))[codes], len(texts))
    refuse(bad, "sites", lambda i: f"{texts.iat[i]!r} is no list of elements and Wyckoff letters such as 'Na_a.Cl_b'")
    return row, species[codes], letter[codes]


def _any(row: np.ndarray, what: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) whether `what` holds anywhere in a row."""
    out = np.zeros(rows, dtype=bool)
    out[row[what]] = True
    return out


def _positions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of letters (231,) of each group; free parameters and multiplicity (positions,) of each position of the table."""
    t = table()
    dof = t.linear[t.map_start[:-1]].any(1).sum(-1)
    return np.concatenate([[0], np.diff(t.start)]), dof, t.multiplicity.astype(np.int64)


def _lattice_values() -> np.ndarray:
    """(231,) number of free lattice values of each group."""
    return np.array([0, *(len(FREE[crystal_system(g)]) for g in range(1, 231))])


def _compositions(counts: np.ndarray) -> tuple[list[dict[int, int]], np.ndarray]:
    """(distinct reduced compositions, (rows,) which of them) of atoms (rows, 119)."""
    if not len(counts):
        return [], np.zeros(0, dtype=np.int64)
    unique, which = np.unique(counts // np.gcd.reduce(counts, axis=1)[:, None], axis=0, return_inverse=True)
    row, z = unique.nonzero()
    found: list[dict[int, int]] = [{} for _ in unique]
    for i, element, n in zip(row.tolist(), z.tolist(), unique[row, z].tolist(), strict=True):
        found[i][element] = n
    return found, which.reshape(-1)


def _refuse_repeated(ids: pd.Series, file: str) -> None:
    if (twice := ids.duplicated()).any():
        raise BadInput("the id stands twice", file=file, row=f"row {ids[twice].iat[0]}", field="id")


def _known_of(ids: pd.Series, files: pd.DataFrame | None) -> tuple[list[frozenset[str]], np.ndarray, list[tuple[str, ...]]]:
    """(splits, band gaps, ids that repeat it) of every id, as the table of data files has them; a repetition's splits and gap count for its row."""
    splits, gap, others = [frozenset()] * len(ids), np.full(len(ids), np.nan), [()] * len(ids)
    if files is None:
        return splits, gap, others
    place = {name: i for i, name in enumerate(ids)}
    sets = {text: frozenset(text.split()) for text in files["files"].unique()}
    own = (files.same_as == "").to_numpy()
    for part in (files[own], files[~own]):
        for name, text, value, same_as in zip(part.id, part["files"], part.band_gap.tolist(), part.same_as, strict=True):
            if (i := place.get(same_as or name)) is None:
                continue
            splits[i] = splits[i] | sets[text] if splits[i] else sets[text]
            gap[i] = value if np.isnan(gap[i]) else gap[i]
            others[i] += (name,) if same_as else ()
    return splits, gap, others


def _merged(ids: pd.Series, genes: pd.Series, energy: np.ndarray, splits: list[frozenset[str]], gap: np.ndarray, others: list[tuple[str, ...]]):
    """(first row, splits, gaps, other ids) of every distinct structure: equal gene keys, and energies that follow each other within SAME."""
    import pandas as pd

    codes = pd.factorize(genes)[0]
    order = np.lexsort((energy, codes))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (np.diff(codes[order]) != 0) | (np.diff(energy[order]) > SAME)
    member = np.empty(len(order), dtype=np.int64)
    member[order] = np.cumsum(fresh) - 1
    by_member = np.argsort(member, kind="stable")  # within a structure rows stay in their order
    bounds = [*np.flatnonzero(np.diff(member[by_member], prepend=-1)).tolist(), len(by_member)]
    first = by_member[bounds[:-1]]
    gap, names = gap.copy(), ids.to_list()
    for k in np.flatnonzero(np.diff(bounds) > 1).tolist():
        rows = by_member[bounds[k] : bounds[k + 1]].tolist()
        head = rows[0]
        splits[head] = frozenset().union(*(splits[i] for i in rows))
        gap[head] = next((g for g in gap[rows].tolist() if not np.isnan(g)), np.nan)
        others[head] = tuple(x for i in rows for x in ((names[i], *others[i]) if i != head else others[i]))
    first = np.sort(first)
    return first, tuple(splits[i] for i in first.tolist()), gap[first], tuple(others[i] for i in first.tolist())


def _parameters(frame: pd.DataFrame) -> tuple[Parameters, ...]:
    """Free parameters of checked rows."""
    _, dof, _ = _positions()
    row, species, letter = _sites(frame.sites, lambda *_: None)
    group = frame.space_group.to_numpy(dtype=np.int64)
    values = np.concatenate([np.zeros(0), *frame.parameters]).tolist()
    value_ends = np.cumsum(dof[table().start[group[row] - 1] + letter]).tolist()
    starts = [0, *value_ends][:-1]
    sites = [(LETTERS[k], z, tuple(values[a:b])) for k, z, a, b in zip(letter.tolist(), species.tolist(), starts, value_ends, strict=True)]
    lattice = np.concatenate([np.zeros(0), *frame.lattice]).tolist()
    lattice_ends = np.cumsum(_lattice_values()[group]).tolist()
    site_ends = np.cumsum(np.bincount(row, minlength=len(frame))).tolist()
    found, a, s = [], 0, 0
    for g, b, e in zip(group.tolist(), lattice_ends, site_ends, strict=True):
        found.append(Parameters(g, tuple(lattice[a:b]), tuple(sites[s:e])))
        a, s = b, e
    return tuple(found)
