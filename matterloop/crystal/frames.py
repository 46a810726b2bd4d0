"""Frames of lattice vectors that belong to the crystal and not to the cell it is told in.

A frame is (e1, e2, e3): e1 a shortest lattice vector, e2 a shortest one not along e1, e3 a shortest one outside of their plane, e1 e2 >= 0, e1 e3 >= 0,
right-handed (K. Yan, C. Fu, X. Qian, X. Qian, S. Ji, arXiv:2403.11857, section 3.2). Where several fulfil this, as in every lattice of high symmetry, all of them
are told, so that what is averaged over them does not depend on the cell. Which vectors are the shortest changes at once when two lengths cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .graph import Graph
from .lattice import niggli_reduce
from .segments import offsets_of, runs, segment_min, segment_sum
from .state import Crystals
from .translations import Translations

SLACK = 1e-3  # Å, between lengths that count as equal; relative, between directions
NEAR = 0.05  # Å, between an atom and the copy that a translation brings onto it


@dataclass(frozen=True)
class Frames:
    """Vectors of all frames, each once for every place in a frame that it takes.

    crystal, place  (rows,) the place is 0, 1 or 2
    vector          (rows, 3) Å
    weight          (rows,) share of the crystal's frames that have the vector there: 1 where there is one frame
    """

    crystal: Tensor
    place: Tensor
    vector: Tensor
    weight: Tensor


@torch.no_grad()
def frames(cell: Tensor, periodic: Tensor) -> Frames:
    """Of the lattices `cell` (B, 3, 3) that repeat along the axes `periodic` (B, 3), no smaller lattice mapping the crystal onto itself.

    Nothing for a molecule, frames of two vectors without handedness for a slab, whose cell must be about as short as it can be.
    """
    b = len(cell)
    reduced, _ = niggli_reduce(cell)
    cell = torch.where(periodic.all(1)[:, None, None], reduced, cell)
    longest = torch.where(periodic, cell.norm(dim=-1), 0.0).amax(-1)  # e3 is no longer
    steps = torch.cartesian_prod(*[torch.arange(-2, 3).to(cell)] * 3)
    vector = steps @ cell
    length = vector.norm(dim=-1)
    able = ((steps == 0) | periodic[:, None]).all(-1) & (length > 0) & (length <= longest[:, None] + SLACK)
    crystal, which = able.nonzero().unbind(1)
    vector, length, every = vector[crystal, which], length[crystal, which], torch.arange(len(crystal))
    chosen, sets = [], []  # one frame found greedily tells the three lengths
    for place in range(3):
        able = torch.ones_like(length, dtype=torch.bool)
        if place == 1:
            able = torch.linalg.cross(vector, chosen[0][crystal]).norm(dim=-1) > SLACK * length
        if place == 2:
            normal = torch.linalg.cross(*chosen)[crystal]
            able = (vector * normal).sum(-1).abs() > SLACK * normal.norm(dim=-1)
        least = segment_min(torch.where(able, length, torch.inf), crystal, b)[crystal]
        near = (length < least + SLACK) & least.isfinite()
        first = segment_min(torch.where(near & able, every, len(every)), crystal, b, len(every))
        chosen.append(torch.cat([vector, vector.new_zeros(1, 3)])[first])
        sets.append(near.nonzero()[:, 0])
    table = sets[0][:, None]
    for place in (1, 2):
        table = _longer(table, sets[place], crystal, vector, b)
    share = 1 / torch.bincount(crystal[table[:, 0]], minlength=b).to(vector)
    there = table >= 0
    used, place = table[there], torch.arange(3).expand_as(table)[there]
    key, group = torch.unique(place * max(len(every), 1) + used, return_inverse=True)
    weight = segment_sum(share[crystal[used]], group, len(key))
    place, used = key // max(len(every), 1), key % max(len(every), 1)
    return Frames(crystal[used], place, vector[used], weight)


def _longer(table: Tensor, options: Tensor, crystal: Tensor, vector: Tensor, b: int) -> Tensor:
    """(frames, places + 1) vectors: every frame begun in `table` (frames, places) with every one of the `options` that goes with it, -1 where a crystal has none."""
    counts = torch.bincount(crystal[options], minlength=b)
    of = crystal[table[:, 0]]
    many = counts[of].clamp(min=1)
    place = runs(offsets_of(counts)[:-1][of], many)
    none = (counts[of] == 0).repeat_interleave(many)
    last = torch.cat([options, options.new_full((1,), -1)])[torch.where(none, len(options), place)]
    table = torch.cat([table.repeat_interleave(many, 0), last[:, None]], 1)
    e = torch.cat([vector, vector.new_zeros(1, 3)])[table].unbind(1)  # -1 is the zero at the end
    size, normal = e[-1].norm(dim=-1), torch.linalg.cross(e[0], e[1])
    good = (e[0] * e[-1]).sum(-1) >= -SLACK * size
    good &= normal.norm(dim=-1) > SLACK * e[1].norm(dim=-1)
    if len(e) == 3:
        good &= (normal * e[2]).sum(-1) > SLACK * normal.norm(dim=-1)
    return table[good | (last < 0)]


@torch.no_grad()
def copy_edges(crystals: Crystals, known: Translations, crystal: Tensor, vector: Tensor) -> tuple[Graph, Tensor]:
    """Edges from every atom to its copies at lattice vectors, and (edges,) the row that each is of.

    crystal, vector  (rows,), (rows, 3) Å: vectors of the primitive lattice, so that a supercell has the edges of its cell
    known            `translations` of the crystals: copies are as exact as they are
    """
    crystals = crystals.bare().to(torch.float64)
    many = torch.bincount(known.first, minlength=crystals.atoms)  # copies of each first atom
    members, begin = torch.argsort(known.first, stable=True), offsets_of(many)[:-1]
    row = torch.arange(len(crystal)).repeat_interleave(crystals.counts[crystal])
    atom = runs(crystals.offsets[:-1][crystal], crystals.counts[crystal])
    copies = many[known.first[atom]]
    image = members[runs(begin[known.first[atom]], copies)]
    row, atom = row.repeat_interleave(copies), atom.repeat_interleave(copies)
    inverse = torch.linalg.inv(crystals.cell)[crystal[row]]
    step = torch.bmm(vector[row][:, None], inverse)[:, 0] + crystals.frac[atom] - crystals.frac[image]
    shift = torch.where(crystals.periodic[crystal[row]], torch.round(step), torch.zeros_like(step))
    off = torch.bmm((step - shift)[:, None], crystals.cell[crystal[row]])[:, 0].norm(dim=-1)
    row, atom, image, shift = (x[off < NEAR] for x in (row, atom, image, shift.long()))
    return Graph(image, atom, shift), row


def united(*graphs: Graph, both_ways: bool = True) -> tuple[Graph, list[Tensor]]:
    """Every edge of the graphs once, by receiver, with its opposite if `both_ways`; and for each graph (its edges,) the places of its edges."""
    senders, receivers, shift = (torch.cat([getattr(g, name) for g in graphs]) for name in ("senders", "receivers", "shift"))
    if both_ways:
        senders, receivers, shift = torch.cat([senders, receivers]), torch.cat([receivers, senders]), torch.cat([shift, -shift])
    if not len(senders):
        return Graph(senders, receivers, shift), [senders for _ in graphs]
    reach, atoms = int(shift.abs().max()), int(torch.maximum(senders.max(), receivers.max())) + 1
    key = receivers * atoms + senders
    for axis in range(3):
        key = key * (2 * reach + 1) + shift[:, axis] + reach
    key, place = torch.unique(key, return_inverse=True)
    first = torch.empty_like(key).index_copy(0, place, torch.arange(len(place), device=place.device))
    ends = offsets_of(torch.tensor([len(g) for g in graphs])).tolist()
    return Graph(senders[first], receivers[first], shift[first]), [place[a:b] for a, b in zip(ends, ends[1:], strict=False)]
