"""Who trains and who is tested: splits at random, by formula, prototype, chemistry, time or element, kept as files that name every row.

Leaving whole clusters of chemistry out: B. Meredig et al., Mol. Syst. Des. Eng. 3, 819 (2018), doi:10.1039/C8ME00012C. Matbench's five folds: A. Dunn et al.,
npj Comput. Mater. 6, 138 (2020), doi:10.1038/s41524-020-00406-3, made by scikit-learn's KFold (StratifiedKFold for classes) with the seed 18012019; those of
all 13 tasks are found again here row by row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np

from ..archive.files import replacing
from ..base.elements import NUMBER, symbol
from ..base.errors import BadInput, Missing
from ..base.seeds import derive, numpy_stream

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
KINDS = ("random", "formula", "prototype", "cluster", "time", "element")
MATBENCH_SEED, MATBENCH_FOLDS = 18012019, 5
CLUSTERS = 20
FORMAT = 1


@dataclass(frozen=True)
class Split:
    """Row keys by part: "train", "val", "test", or "fold_0", "fold_1", ...

    kind, seed  how it was drawn; data: digest of the rows it was drawn from (see `digest`)
    """

    name: str
    kind: str
    seed: int
    data: str
    parts: Mapping[str, tuple[str, ...]]

    @property
    def folds(self) -> int:
        """Number of folds, 0 for a split into train, val and test."""
        return sum(p.startswith("fold_") for p in self.parts)

    def fold(self, number: int, val: float = 0.0) -> Split:
        """Train and test of one fold: it is the test, all others train; with `val` that share of the training rows is held back, drawn by `seed`."""
        if not 0 <= number < self.folds:
            raise BadInput(f"there is no fold {number}; the split has {self.folds}", self.name)
        train = [k for name, keys in self.parts.items() if name != f"fold_{number}" for k in keys]
        parts = {"test": self.parts[f"fold_{number}"]}
        if val:
            order = numpy_stream(self.seed, "val", number).permutation(len(train))
            held = max(1, round(val * len(train)))
            parts["val"] = tuple(train[i] for i in sorted(order[:held]))
            train = [train[i] for i in sorted(order[held:])]
        return Split(f"{self.name}/{number}", self.kind, self.seed, self.data, {"train": tuple(train), **parts})

    def rows(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """{part: row numbers} in a table whose rows have these keys, in the order of the split; BadInput for a key the table lacks."""
        place = {k: i for i, k in enumerate(keys)}
        if lost := [k for part in self.parts.values() for k in part if k not in place]:
            raise BadInput(f"{len(lost)} rows of the split are not in the table, the first is {lost[0]!r}", self.name)
        return {name: np.array([place[k] for k in part], dtype=np.int64) for name, part in self.parts.items()}

    def write(self, path: str | Path) -> Path:
        """The split as JSON."""
        path = Path(path)
        content = {"format": FORMAT, "name": self.name, "kind": self.kind, "seed": self.seed, "data": self.data, "parts": {k: list(v) for k, v in self.parts.items()}}
        with replacing(path) as new:
            new.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return path


def digest(keys: Sequence[str], *columns: Sequence) -> str:
    """SHA-256 of the keys and, if given, columns of a table (CIF text, labels): any change of a row changes it, the order of rows does not."""
    lines = ["\x1f".join(map(str, row)) for row in zip(keys, *columns, strict=True)]
    return hashlib.sha256("\x1e".join(sorted(lines)).encode()).hexdigest()


def read_split(path: str | Path, data: str | None = None) -> Split:
    """The split of a file, verified: known form, no row in two parts, and, if `data` is given, drawn from data of this digest. BadInput otherwise."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise BadInput(f"is of format {content['format']}, known is {FORMAT}", str(path))
        parts = {str(k): tuple(map(str, v)) for k, v in content["parts"].items()}
        split = Split(str(content["name"]), str(content["kind"]), int(content["seed"]), str(content["data"]), parts)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"is no split: {type(error).__name__} {error}", str(path)) from None
    checked(split, str(path))
    if data is not None and data != split.data:
        raise BadInput(f"was drawn from other data (digest {split.data[:12]}, these have {data[:12]}); rows may have changed", str(path))
    return split


def checked(split: Split, where: str = "") -> Split:
    """The split; BadInput if a row stands twice or a part is empty."""
    seen: dict[str, str] = {}
    for name, keys in split.parts.items():
        if not keys:
            raise BadInput(f"the part {name!r} is empty; there are too few rows or groups for this split", where or split.name)
        for k in keys:
            if k in seen:
                raise BadInput(f"row {k!r} stands in {seen[k]!r} and in {name!r}", where or split.name)
            seen[k] = name
    return split


# drawing


def draw(kind: str, keys: Sequence[str], *, data: str = "", shares: Mapping[str, float] = SHARES, seed: int = 0, name: str = "", crystals=None, counts=None,
         times: Sequence | None = None, element: str = "", clusters: int = CLUSTERS) -> Split:
    """A split of the rows `keys` into parts of about these shares.

    random     row by row
    formula    rows of one reduced formula stay together
    prototype  rows of one prototype (Wyckoff gene with the elements left out) stay together; needs `crystals`
    cluster    rows of one of `clusters` k-means clusters of Magpie vectors stay together
    time       by the column `times`: the oldest train, the newest test; rows of one time stay together
    element    every row with `element` is tested, the others are drawn at random
    crystals or `counts` (rows, 119), atoms of each atomic number, say what the rows are. BadInput for what is missing, Missing for an unknown kind.
    """
    keys = [str(k) for k in keys]
    if len(set(keys)) < len(keys):
        twice = next(k for i, k in enumerate(keys) if k in keys[:i])
        raise BadInput(f"the key {twice!r} stands twice; keys must name one row each", "split")
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise BadInput(f"shares are {dict(shares)}; positive numbers that add up to 1 are wanted", "split")
    if counts is None and crystals is not None:
        from ..crystal.composition import composition_matrix

        counts = composition_matrix(crystals).numpy()
    need = {"formula": counts, "cluster": counts, "element": counts, "prototype": crystals, "time": times}
    if kind not in KINDS:
        raise Missing("kind of split", kind, KINDS)
    if kind in need and need[kind] is None:
        raise BadInput({"prototype": "needs structures", "time": "needs a column of times"}.get(kind, "needs compositions"), f"split by {kind}")
    if kind == "time":
        places = _by_time(times, shares)
    elif kind == "element":
        places = _by_element(counts, element, shares, seed)
    else:
        groups = {"random": lambda: range(len(keys)), "formula": lambda: formulas(counts), "prototype": lambda: prototypes(crystals),
                  "cluster": lambda: chemistry_clusters(counts, clusters, seed)}[kind]()
        places = by_group(list(groups), shares, seed)
    label = name or (f"{kind} {element}".strip())
    return checked(Split(label, kind, seed, data or digest(keys), {part: tuple(keys[i] for i in rows) for part, rows in places.items()}))


def by_group(groups: Sequence[Hashable], shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """{part: rows}, groups kept whole: in random order each goes to the part that lacks most rows; None is a group of its own."""
    members: dict[Hashable, list[int]] = {}
    for i, g in enumerate(groups):
        members.setdefault(("alone", i) if g is None else ("group", g), []).append(i)
    blocks = list(members.values())
    left = {part: share * len(groups) for part, share in shares.items()}
    parts: dict[str, list[int]] = {part: [] for part in shares}
    for b in numpy_stream(seed, "split").permutation(len(blocks)):
        part = max(left, key=lambda p: left[p])
        parts[part] += blocks[b]
        left[part] -= len(blocks[b])
    return {part: sorted(rows) for part, rows in parts.items()}


def _by_time(times: Sequence, shares: Mapping[str, float]) -> dict[str, list[int]]:
    values = np.asarray(times)
    if len(bad := [i for i, t in enumerate(values.tolist()) if t is None or t != t]):
        raise BadInput(f"{len(bad)} rows have no time, the first is row {bad[0]}", "split by time")
    order = np.argsort(values, kind="stable")
    steps = [i for i in range(1, len(values)) if values[order[i]] != values[order[i - 1]]]  # where a new time begins
    parts, begin = {}, 0
    for part, wanted in zip(list(shares)[:-1], np.cumsum(list(shares.values())) * len(values), strict=False):
        end = min((i for i in steps if i > begin), key=lambda i: abs(i - wanted), default=begin)
        parts[part] = sorted(order[begin:end].tolist())
        begin = end
    return {**parts, list(shares)[-1]: sorted(order[begin:].tolist())}


def _by_element(counts: np.ndarray, element: str, shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    if element not in NUMBER:
        raise Missing("element", element, NUMBER)
    has = np.asarray(counts)[:, NUMBER[element]] > 0
    rest = np.flatnonzero(~has)
    others = {p: s / (1 - shares.get("test", 0.0)) for p, s in shares.items() if p != "test"}
    inner = by_group(list(range(len(rest))), others, seed)
    return {**{p: [int(rest[i]) for i in rows] for p, rows in inner.items()}, "test": np.flatnonzero(has).tolist()}


def elements_to_leave_out(counts: np.ndarray, least: int = 20) -> list[str]:
    """Elements that at least `least` rows hold and as many lack, by atomic number: one split of kind "element" each."""
    many = (np.asarray(counts) > 0).sum(0)
    return [symbol(z) for z in range(1, len(many)) if least <= many[z] <= len(counts) - least]


def k_fold(keys: Sequence[str], folds: int = 5, *, groups: Sequence[Hashable] | None = None, data: str = "", seed: int = 0, name: str = "") -> Split:
    """`folds` parts of about equal size, at random; with `groups` rows of one group stay together."""
    keys = [str(k) for k in keys]
    shares = {f"fold_{i}": 1 / folds for i in range(folds)}
    places = by_group(list(range(len(keys))) if groups is None else groups, shares, seed)
    return checked(Split(name or f"{folds} folds", "folds", seed, data or digest(keys), {p: tuple(keys[i] for i in rows) for p, rows in places.items()}))


def matbench_folds(keys: Sequence[str], labels: Sequence, classes: bool, *, data: str = "", name: str = "") -> Split:
    """The official five folds of a Matbench v0.1 task whose rows, in the official order, have these keys and labels."""
    from sklearn.model_selection import KFold, StratifiedKFold

    folder = (StratifiedKFold if classes else KFold)(n_splits=MATBENCH_FOLDS, shuffle=True, random_state=MATBENCH_SEED)
    labels = np.asarray(labels)
    parts = {f"fold_{i}": tuple(str(keys[k]) for k in test) for i, (_, test) in enumerate(folder.split(labels[:, None], labels))}
    return Split(name or "matbench", "matbench", MATBENCH_SEED, data or digest(keys), parts)


# what belongs together


def formulas(counts: np.ndarray) -> list[tuple]:
    """One hashable per row of `counts` (rows, 119), equal for equal reduced formulas; fractions are compared to a millionth of an atom."""
    out = []
    for row in np.asarray(counts, dtype=np.float64):
        z = np.flatnonzero(row)
        whole = np.rint(row[z])
        if len(z) and np.abs(whole - row[z]).max() < 1e-9:
            shared = gcd(*(int(n) for n in whole))
            out.append(tuple((int(a), int(n) // shared) for a, n in zip(z, whole, strict=True)))
        else:
            out.append(tuple((int(a), round(float(x), 6)) for a, x in zip(z, row[z] / row[z].sum(), strict=True)))
    return out


def prototypes(crystals, symprec: float = 0.1) -> list[str | None]:
    """Anonymous Wyckoff gene of every crystal, None where no space group is found; crystals of one structure type share it."""
    from ..crystal.symmetry import analyse
    from ..represent.wyckoff_gene import from_symmetry

    return [None if isinstance(s, Exception) else from_symmetry(s).anonymous for s in analyse(crystals.bare(), symprec, on_error="keep")]


def chemistry_clusters(counts: np.ndarray, clusters: int = CLUSTERS, seed: int = 0) -> np.ndarray:
    """(rows,) cluster of each composition: k-means on Magpie vectors, every column scaled to unit variance."""
    from sklearn.cluster import KMeans

    from ..represent.magpie import of_counts

    if not 1 < clusters <= len(counts):
        raise BadInput(f"{clusters} clusters of {len(counts)} rows; between 2 and the number of rows are possible", "split by cluster")
    x = of_counts(counts)
    spread = x.std(0)
    x = ((x - x.mean(0)) / np.where(spread > 0, spread, 1.0)).round(9)
    return KMeans(clusters, n_init=4, random_state=derive(seed, "clusters") % 2**32).fit_predict(x)
