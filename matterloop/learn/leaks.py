"""Is a tested material among those trained on? Four rungs: same formula, same formula and space group, same Wyckoff gene, same crystal for StructureMatcher.

A random split of a database tests on near copies of what was trained on; the error then says little about new materials. StructureMatcher: S. P. Ong et al.,
Comput. Mater. Sci. 68, 314 (2013), as in crystal/matching.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..base.errors import BadInput
from ..crystal.composition import composition_matrix
from ..crystal.matching import prepare, same
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from ..represent.wyckoff_gene import from_symmetry
from .splits import formulas

RUNGS = {"formula": "same reduced formula", "space_group": "same formula and space group", "gene": "same Wyckoff gene",
         "structure": "same crystal for StructureMatcher"}
SYMPREC = 0.1  # Å


@dataclass(frozen=True)
class Leak:
    """Rows of the test that one rung finds in the training rows.

    pairs   (test row, training row) of each, the first training row that is the same; whole: rows tested
    failed  rows that this rung could not judge
    """

    rung: str
    pairs: tuple[tuple[int, int], ...]
    whole: int
    failed: tuple[int, ...] = field(default=())

    @property
    def count(self) -> int:
        return len(self.pairs)

    @property
    def share(self) -> float:
        return len(self.pairs) / self.whole if self.whole else 0.0

    def __str__(self) -> str:
        beyond = f", {len(self.failed)} rows could not be judged" if self.failed else ""
        return f"{RUNGS[self.rung]}: {self.count} of {self.whole} tested rows ({100 * self.share:.1f} %){beyond}"


def composition_leaks(train: np.ndarray, test: np.ndarray) -> Leak:
    """The rung "formula" of two sets of compositions (rows, 119), atoms of each atomic number."""
    return _met("formula", formulas(train), formulas(test))


def crystal_leaks(train: Crystals, test: Crystals, match: bool = True, symprec: float = SYMPREC) -> dict[str, Leak]:
    """All rungs of two sets of crystals, {rung: leak}; without `match` not the last.

    StructureMatcher compares every pair of one reduced formula, the training row first, and stops at the first that is the same. A crystal whose symmetry is
    not found, or that cannot be compared, is named in `failed` (training rows that fail are not counted there).
    """
    if not len(train) or not len(test):
        raise BadInput(f"{len(train)} training and {len(test)} test crystals; both are needed", "leak test")
    names = [formulas(composition_matrix(x).numpy()) for x in (train, test)]
    found = {"formula": _met("formula", *names)}
    shared = set(names[0]) & set(names[1])  # only these can meet on a higher rung
    rows = [[i for i, f in enumerate(x) if f in shared] for x in names]
    genes: list[list] = []
    for crystals, which in zip((train, test), rows, strict=True):
        held = analyse(crystals[which].bare(), symprec, on_error="keep") if which else []
        genes.append([None if isinstance(s, Exception) else from_symmetry(s) for s in held])
    failed = tuple(i for i, g in zip(rows[1], genes[1], strict=True) if g is None)
    for rung, key in (("space_group", lambda f, g: (f, g.space_group)), ("gene", lambda f, g: g.key)):
        keys = []
        for name, which, held in zip(names, rows, genes, strict=True):
            at = {i: key(name[i], g) for i, g in zip(which, held, strict=True) if g is not None}
            keys.append([at.get(i) for i in range(len(name))])
        found[rung] = _met(rung, *keys, failed=failed)
    if match:
        found["structure"] = _matched(train, test, names, rows)
    return found


def _met(rung: str, train: Sequence[Hashable | None], test: Sequence[Hashable | None], failed: tuple[int, ...] = ()) -> Leak:
    first: dict[Hashable, int] = {}
    for i, key in enumerate(train):
        if key is not None:
            first.setdefault(key, i)
    return Leak(rung, tuple((i, first[key]) for i, key in enumerate(test) if key is not None and key in first), len(test), failed)


def _matched(train: Crystals, test: Crystals, names, rows) -> Leak:
    if not rows[1]:
        return Leak("structure", (), len(test))
    ready = dict(zip(rows[0], prepare(train[rows[0]]), strict=True))
    by_formula: dict[Hashable, list[int]] = {}
    for i in rows[0]:
        by_formula.setdefault(names[0][i], []).append(i)
    pairs, failed = [], []
    for i, one in zip(rows[1], prepare(test[rows[1]]), strict=True):
        for k in by_formula[names[1][i]]:
            try:
                hit = same(ready[k], one)
            except BadInput:
                failed.append(i)
                break
            if hit:
                pairs.append((i, k))
                break
    return Leak("structure", tuple(pairs), len(test), tuple(failed))


def told(leaks: Mapping[str, Leak], train_names: Sequence[str], test_names: Sequence[str], most: int = 5) -> list[str]:
    """One line for each rung and, for the strictest, up to `most` pairs by name."""
    lines = [str(x) for x in leaks.values()]
    last = list(leaks.values())[-1]
    for i, k in last.pairs[:most]:
        lines.append(f"  {test_names[i]} is {train_names[k]} of the training rows")
    if last.count > most:
        lines.append(f"  and {last.count - most} more")
    return lines
