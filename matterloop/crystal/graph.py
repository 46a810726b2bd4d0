"""Which periodic images see each other. Topology is fixed; edge vectors stay differentiable in frac and cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.errors import BadInput
from .segments import offsets_of, runs
from .state import Crystals

MAX_IMAGES = 50_000  # lattice images of one crystal within reach; a flat cell would ask for millions
CHUNK = 4_000_000  # candidate pairs looked at together


@dataclass(frozen=True)
class Graph:
    """Directed edges, sorted by receiver: the receiver is the centre, the sender its neighbour.

    senders, receivers  (edges,)    atom indices
    shift               (edges, 3)  integer lattice translation of the sender
    """

    senders: Tensor
    receivers: Tensor
    shift: Tensor

    def __len__(self) -> int:
        return len(self.senders)

    def vectors(self, crystals: Crystals) -> Tensor:
        """(edges, 3) from centre (receiver) to neighbour (sender) in Å, differentiable in frac and cell."""
        step = crystals.frac[self.senders] - crystals.frac[self.receivers] + self.shift.to(crystals.frac)
        return torch.bmm(step[:, None], crystals.cell[crystals.owner[self.receivers]])[:, 0]

    def owner(self, crystals: Crystals) -> Tensor:
        """(edges,) crystal of each edge."""
        return crystals.owner[self.receivers]

    def pick(self, keep: Tensor) -> Graph:
        """Some of the edges, by index or mask."""
        return Graph(self.senders[keep], self.receivers[keep], self.shift[keep])


def reach_of(crystals: Crystals, radius: float) -> Tensor:
    """(crystals, 3) how many cells away along a, b, c an image may lie and still come within `radius` Å; 0 where not periodic."""
    spacing = 1 / torch.linalg.inv(crystals.cell).norm(dim=-2)  # (B, 3) distance of lattice planes, Å
    frac = crystals.frac.detach()
    index = crystals.owner[:, None].expand(-1, 3)
    high = torch.full_like(spacing, -torch.inf).scatter_reduce(0, index, frac, "amax")
    low = torch.full_like(spacing, torch.inf).scatter_reduce(0, index, frac, "amin")
    width = torch.where(crystals.counts[:, None] > 0, high - low, torch.zeros_like(high))
    return torch.where(crystals.periodic, torch.floor(radius / spacing + width + 1e-9), torch.zeros_like(spacing)).long()


@dataclass(frozen=True)
class Within:
    """All images closer than `radius` (Å); `self_images` keeps an atom's own images."""

    radius: float
    self_images: bool = True

    @torch.no_grad()
    def __call__(self, crystals: Crystals) -> Graph:
        """Raises BadInput naming the crystal when more than MAX_IMAGES images lie within reach."""
        crystals = crystals.bare().to(torch.float64)
        reach = reach_of(crystals, self.radius)
        images = (2 * reach + 1).prod(-1)
        if bool((images > MAX_IMAGES).any()):
            i = int((images > MAX_IMAGES).nonzero()[0, 0])
            raise BadInput(
                f"{int(images[i])} lattice images lie within {self.radius} Å, allowed are {MAX_IMAGES}: the cell is too flat or too small "
                f"(lengths {[round(x, 3) for x in crystals.lengths[i].tolist()]} Å)", f"crystal {i}")
        pairs = crystals.counts * crystals.counts * images  # candidates per crystal
        parts, start, total = [], 0, torch.cat([pairs.new_zeros(1), pairs.cumsum(0)]).tolist()
        while start < len(crystals):
            stop = start + 1
            while stop < len(crystals) and total[stop + 1] - total[start] <= CHUNK:
                stop += 1
            parts.append(self._search(crystals, reach, images, start, stop))
            start = stop
        if not parts:
            empty = crystals.species.new_zeros(0)
            return Graph(empty, empty, empty.new_zeros(0, 3))
        return Graph(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _search(self, crystals: Crystals, reach: Tensor, images: Tensor, start: int, stop: int):
        """Candidates of crystals start..stop in one vectorised sweep: rows (centre, image), columns neighbours."""
        sub = torch.arange(start, stop, device=crystals.cell.device)
        counts, n_images = crystals.counts[sub], images[sub]
        # one row per (crystal, image): its shift and Cartesian displacement
        row_crystal = sub.repeat_interleave(n_images)
        local = runs(torch.zeros_like(n_images), n_images)
        size = 2 * reach[row_crystal] + 1
        shift = torch.stack([local // (size[:, 1] * size[:, 2]), (local // size[:, 2]) % size[:, 1], local % size[:, 2]], -1) - reach[row_crystal]
        push = torch.bmm(shift.to(crystals.cell)[:, None], crystals.cell[row_crystal])[:, 0]
        first_row = offsets_of(n_images)[:-1]
        # ordered atom pairs of each crystal, as they would be in one cell
        atom_pairs = counts * counts
        pair_crystal = sub.repeat_interleave(atom_pairs)
        k = runs(torch.zeros_like(atom_pairs), atom_pairs)
        n = crystals.counts[pair_crystal]
        begin = crystals.offsets[:-1][pair_crystal]
        centre, neighbour = begin + k // n, begin + k % n
        cart = crystals.cart
        base = cart[neighbour] - cart[centre]
        many = images[pair_crystal]
        pair = torch.arange(len(k), device=k.device).repeat_interleave(many)
        row = runs(first_row[pair_crystal - start], many)
        square = (base[pair] + push[row]).square().sum(-1)
        keep = square < self.radius**2
        keep &= ~((centre == neighbour)[pair] & (shift == 0).all(-1)[row])
        if not self.self_images:
            keep &= (centre != neighbour)[pair]
        pair, row = pair[keep], row[keep]
        return neighbour[pair], centre[pair], shift[row]


@dataclass(frozen=True)
class Nearest:
    """The `count` nearest images of every atom within `radius` (Å); `ties` keeps every image as near as the last one (within `slack` Å)."""

    count: int
    radius: float = 8.0
    ties: bool = True
    slack: float = 1e-3

    @torch.no_grad()
    def __call__(self, crystals: Crystals) -> Graph:
        """Raises BadInput when an atom has fewer than `count` neighbours within `radius`."""
        graph = Within(self.radius)(crystals)
        length = graph.vectors(crystals.bare().to(torch.float64)).norm(dim=-1)
        order = torch.argsort(length, stable=True)
        order = order[torch.argsort(graph.receivers[order], stable=True)]  # by centre, then by length
        degree = torch.bincount(graph.receivers, minlength=crystals.atoms)
        if crystals.atoms and int(degree.min()) < self.count:
            atom = int(degree.argmin())
            raise BadInput(
                f"an atom has {int(degree[atom])} neighbours within {self.radius} Å, {self.count} wanted; raise `radius`", f"crystal {int(crystals.owner[atom])}")
        first = offsets_of(degree)[:-1]
        rank = torch.arange(len(order), device=order.device) - first[graph.receivers[order]]
        if self.ties:
            limit = length[order[first + self.count - 1]] + self.slack
            return graph.pick(order[length[order] <= limit[graph.receivers[order]]])
        return graph.pick(order[rank < self.count])


@dataclass(frozen=True)
class Full:
    """Every ordered pair of atoms of a crystal (an atom with itself too), through the image nearest in fractional space."""

    @torch.no_grad()
    def __call__(self, crystals: Crystals) -> Graph:
        pairs = crystals.counts * crystals.counts
        k = runs(torch.zeros_like(pairs), pairs)
        owner = torch.arange(len(crystals), device=k.device).repeat_interleave(pairs)
        n, begin = crystals.counts[owner], crystals.offsets[:-1][owner]
        receivers, senders = begin + k // n, begin + k % n
        step = crystals.frac[senders] - crystals.frac[receivers]
        shift = torch.where(crystals.periodic[owner], -torch.round(step), torch.zeros_like(step)).long()
        return Graph(senders, receivers, shift)


def line_graph(graph: Graph) -> tuple[Tensor, Tensor]:
    """Ordered pairs of different edges (left, right) that share their receiver: one per angle, (angles,) each."""
    order = torch.argsort(graph.receivers, stable=True)
    if not len(order):
        return order, order
    degree = torch.bincount(graph.receivers)
    first = offsets_of(degree)[:-1]
    per_edge = degree[graph.receivers[order]]
    left = order.repeat_interleave(per_edge)
    right = order[runs(first[graph.receivers[order]], per_edge)]
    keep = left != right
    return left[keep], right[keep]
