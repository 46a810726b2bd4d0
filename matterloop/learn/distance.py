"""Do I know this kind of crystal? How far a crystal lies from those trained on, as a percentile of how far these lie from each other.

Descriptors are scaled column by column, and blocks of columns (composition, structure) weigh alike. A crystal's distance is the mean over its nearest training
rows; a training row's own is taken without itself. Distance in descriptor space as a measure of trust: J. P. Janet et al., Chem. Sci. 10,
7913 (2019), doi:10.1039/C9SC02298H; I. V. Tetko et al., J. Chem. Inf. Model. 48, 1733 (2008), doi:10.1021/ci800151m.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base.elements import MAX_Z
from ..base.errors import BadInput, Missing
from ..base.seeds import numpy_stream
from ..crystal.composition import composition_matrix
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from ..represent.crystal_nn import fingerprints
from ..represent.magpie import of_counts

NEIGHBOURS = 5
MOST = 20_000  # training rows that are kept; of more a sample
KNOWN, EDGE = 90.0, 99.0  # percentiles up to which a crystal counts as known, and as at the edge
CHUNK = 4_000_000  # distances held at once
DESCRIPTORS = ("magpie", "magpie+crystal_nn")
ARRAYS = ("middle", "spread", "points", "own", "rows")


def word(percentile: float) -> str:
    """"known" up to the 90th percentile of the training rows' own distances, "edge" up to the 99th, "unknown" beyond."""
    return "known" if percentile <= KNOWN else "edge" if percentile <= EDGE else "unknown"


@dataclass(frozen=True)
class Nearness:
    """Of every row: its distance, the percentile of it among the training rows' own, and the nearest training rows, nearest first (rows, neighbours)."""

    distance: np.ndarray
    percentile: np.ndarray
    nearest: np.ndarray

    @property
    def words(self) -> list[str]:
        return [word(p) for p in self.percentile]


def counts_of(inputs: Crystals | Compositions) -> np.ndarray:
    """(rows, 119) atoms of each atomic number."""
    if isinstance(inputs, Crystals):
        return composition_matrix(inputs).cpu().numpy().astype(np.float64)
    out = np.zeros((len(inputs), MAX_Z + 1))
    np.add.at(out, (inputs.owner.cpu().numpy(), inputs.species.cpu().numpy()), inputs.amount.cpu().numpy())
    return out


def describe(inputs: Crystals | Compositions, kind: str) -> list[np.ndarray]:
    """The blocks (rows, columns) of a descriptor; a structure that CrystalNN cannot judge has NaN in that block.

    "magpie": composition alone; "magpie+crystal_nn": and the mean coordination of sites, which needs crystals.
    """
    if kind not in DESCRIPTORS:
        raise Missing("descriptor for distances", kind, DESCRIPTORS)
    blocks = [of_counts(counts_of(inputs))]
    if kind != "magpie":
        if not isinstance(inputs, Crystals):
            raise BadInput("compositions have no structure; describe them by 'magpie'", "distance")
        blocks.append(fingerprints(inputs.bare())[0].numpy())
    return blocks


@dataclass(frozen=True)
class Reference:
    """The training rows as points, and what makes a row a point.

    middle, spread  (columns,) of the descriptor; points (rows, columns) float32
    own             (rows,) distances of the training rows without themselves, ascending
    rows            (rows,) their numbers among those that were given
    elements        (119,) whether an element stood in a training row; a row with one that did not is as far as can be
    """

    kind: str
    middle: np.ndarray
    spread: np.ndarray
    points: np.ndarray
    own: np.ndarray
    rows: np.ndarray
    neighbours: int = NEIGHBOURS
    elements: np.ndarray = field(default_factory=lambda: np.ones(MAX_Z + 1, dtype=bool))

    @staticmethod
    def of(blocks: Sequence[np.ndarray], kind: str = "features", *, neighbours: int = NEIGHBOURS, seed: int = 0) -> Reference:
        """From the descriptor blocks (rows, columns) of the training rows; BadInput for fewer than three rows."""
        rows = np.arange(len(blocks[0]))
        if len(rows) < 3:
            raise BadInput(f"{len(rows)} training rows, at least 3 are needed", "distance")
        if len(rows) > MOST:
            rows = np.sort(numpy_stream(seed, "distance").choice(len(rows), MOST, replace=False))
            blocks = [b[rows] for b in blocks]
        middle, spread = [], []
        for block in blocks:
            x = np.where(np.isfinite(block), block, np.nan)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a column of which nothing is known
                m, s = np.nan_to_num(np.nanmean(x, 0)), np.nan_to_num(np.nanstd(x, 0))
            varies = s > 1e-9 * np.maximum(1.0, np.abs(m))
            middle.append(m)
            spread.append(np.where(varies, s, np.maximum(1.0, np.abs(m))) * np.sqrt(max(1, varies.sum())))  # a column that never varied is news when it does
        middle, spread = np.concatenate(middle), np.concatenate(spread)
        points = _scaled(np.concatenate(blocks, 1), middle, spread)
        found = Reference(kind, middle, spread, points, np.zeros(0), rows, min(neighbours, len(points) - 1))
        return replace(found, own=np.sort(found._search(points, without=np.arange(len(points)))[0]))

    @staticmethod
    def train(inputs: Crystals | Compositions, kind: str = "", seed: int = 0) -> Reference:
        """Of the training rows, described by composition, and by structure where they have one."""
        kind = kind or ("magpie+crystal_nn" if isinstance(inputs, Crystals) else "magpie")
        return Reference.of(describe(inputs, kind), kind, seed=seed).with_elements(inputs)

    def with_elements(self, inputs: Crystals | Compositions) -> Reference:
        """Copy that knows the elements of the training rows."""
        return replace(self, elements=(counts_of(inputs) > 0).any(0))

    def nearness(self, inputs: Crystals | Compositions, blocks: Sequence[np.ndarray] | None = None) -> Nearness:
        """How near crystals or compositions are; `blocks` of the descriptor where it is not one of `DESCRIPTORS`."""
        found = self.of_blocks(describe(inputs, self.kind) if blocks is None else blocks)
        new = (counts_of(inputs)[:, ~self.elements] > 0).any(1)
        return replace(found, distance=np.where(new, np.maximum(found.distance, self.own[-1]), found.distance), percentile=np.where(new, 100.0, found.percentile))

    def of_blocks(self, blocks: Sequence[np.ndarray]) -> Nearness:
        """How near rows with these descriptor blocks are; the percentile is the share of training rows whose own distance is smaller, times 100."""
        x = np.concatenate(blocks, 1)
        if x.shape[1] != len(self.middle):
            raise BadInput(f"the descriptor has {x.shape[1]} columns, the training rows had {len(self.middle)}", "distance")
        distance, nearest = self._search(_scaled(x, self.middle, self.spread))
        return Nearness(distance, 100.0 * np.searchsorted(self.own, distance, side="left") / len(self.own), self.rows[nearest])

    def _search(self, points: np.ndarray, without: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        held = self.points.astype(np.float64)
        norm = (held**2).sum(1)
        distance, nearest = np.zeros(len(points)), np.zeros((len(points), self.neighbours), dtype=np.int64)
        step = max(1, CHUNK // len(held))
        for begin in range(0, len(points), step):
            some = points[begin : begin + step].astype(np.float64)
            square = (some**2).sum(1)[:, None] + norm - 2 * some @ held.T
            if without is not None:
                square[np.arange(len(some)), without[begin : begin + step]] = np.inf
            near = np.argpartition(square, self.neighbours - 1, axis=1)[:, : self.neighbours]
            order = np.take_along_axis(near, np.argsort(np.take_along_axis(square, near, 1), axis=1, kind="stable"), 1)
            nearest[begin : begin + step] = order
            exact = np.sqrt(((some[:, None] - held[order]) ** 2).sum(-1))
            distance[begin : begin + step] = exact.mean(1)
        return distance, nearest

    # as a file

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything but kind and neighbours."""
        return {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in ARRAYS} | {"elements": torch.from_numpy(self.elements.astype(np.uint8))}

    def to_words(self) -> dict[str, Any]:
        return {"kind": self.kind, "neighbours": self.neighbours}

    @staticmethod
    def of_file(tensors: Mapping[str, Tensor], words: Mapping[str, Any]) -> Reference:
        """The reverse of `to_tensors` and `to_words`."""
        elements = tensors["elements"].numpy().astype(bool) if "elements" in tensors else np.ones(MAX_Z + 1, dtype=bool)
        return Reference(str(words["kind"]), *(tensors[n].numpy() for n in ARRAYS), int(words["neighbours"]), elements)


def _scaled(x: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Columns around their middle in units of their spread as float32, 0 where nothing is known."""
    scaled = (x - middle) / spread
    return np.where(np.isfinite(scaled), scaled, 0.0).astype(np.float32)
