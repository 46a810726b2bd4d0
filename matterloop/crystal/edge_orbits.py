"""Edges of crystal graphs that the space group makes equal: one of each orbit is kept and counted; translations are told by their class in a supercell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.errors import BadInput
from .graph import Graph
from .segments import offsets_of, segment_min, segment_sum
from .state import Crystals
from .symmetry import Symmetrizer, Symmetry, analyse
from .translations import Translations, translations

COLOURS = 9  # 0 between different sites; 1 to 7 a translation whose class has so many equals; 8 a translation by twice a lattice vector


def reduced(crystals: Crystals, graph: Graph, symprec: float = 0.01) -> Graph:
    """`graph` (all images within a radius) reduced by the space groups of the crystals, found within `symprec` Å.

    The first of equivalent atoms stands for them (`alike`), and of its edges one for every orbit of the operations that leave it in place: the shortest, with
    `count` (edges,) edges in the orbit. Every edge has a `colour` (edges,): 0, or for a translation T of the primitive lattice L the number of classes of
    L / 2 L that the point group makes equal to that of T (1 to 7), 8 for T in 2 L. Colours do not depend on the choice of cell.

    Structures without three periodic axes have colour 0 and, as crystals whose group cannot be found, all their edges. Where positions or cell require
    gradients all have theirs, with counts of 1: equal lengths change differently.
    """
    device, wanted = graph.senders.device, crystals.frac.requires_grad or crystals.cell.requires_grad
    with torch.no_grad():
        plain = crystals.bare().to("cpu").to(torch.float64)
        graph = Graph(graph.senders.cpu(), graph.receivers.cpu(), graph.shift.cpu())
        copies = translations(plain, symprec)
        colour, alike = colours(plain, graph, copies), torch.arange(plain.atoms)
        keep, count = torch.arange(len(graph)), torch.ones_like(graph.senders)
        if not wanted:
            which, symmetrizer = _operations(plain, symprec, copies.found)
            for i in which:
                start = int(plain.offsets[i])
                alike[start : start + len(copies.found[i].orbits)] = start + copies.found[i].orbits
            keep, count = _shortest(plain, graph, alike, which, symmetrizer)
        graph = graph.pick(keep)
        senders, receivers, shift, count, colour, alike = (
            x.to(device) for x in (graph.senders, graph.receivers, graph.shift, count, colour[keep], alike))
        return Graph(senders, receivers, shift, {"count": count, "colour": colour}, alike)


@dataclass(frozen=True)
class Orbits:
    """Which atoms and edges of a graph the space groups make equal, and how what has a direction turns from one to the other.

    alike  (atoms,) first of the atoms that operations bring onto each, which stands for it
    turn   (atoms, 3, 3) brings Cartesian vectors at that atom onto those here: v = turn @ v_first. Of several such matrices one; they agree on every vector that
           the surroundings of the atom give rise to
    at     (ends,) edges of atoms that stand for others;  orbit  (ends,) their orbit under the operations that leave the receiver in place
    kept   (orbits,) the first edge of each orbit, by receiver;  count  (orbits,) edges in it
    """

    alike: Tensor
    turn: Tensor
    at: Tensor
    orbit: Tensor
    kept: Tensor
    count: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """Values (edges, ...) summed over each orbit, (orbits, ...)."""
        return segment_sum(values[self.at], self.orbit, len(self.kept))

    def graph(self, graph: Graph, **data: Tensor) -> Graph:
        """The kept edges with their counts and `data` (orbits, ...)."""
        short = graph.pick(self.kept)
        return Graph(short.senders, short.receivers, short.shift, {**short.edge, "count": self.count, **data}, self.alike)


@torch.no_grad()
def orbits(crystals: Crystals, graph: Graph, symprec: float = 1e-4) -> Orbits:
    """Of any graph that has with every edge all edges that the space group, found within `symprec` Å, makes equal to it.

    The first edge of an orbit stands for all as it lies: what is nearly symmetric is told as if it were symmetric, hence the small tolerance. Structures without three
    periodic axes have no operations, and supercells those that their cell shows.
    """
    plain, device = crystals.bare().to("cpu").to(torch.float64), graph.senders.device
    graph = Graph(graph.senders.cpu(), graph.receivers.cpu(), graph.shift.cpu())
    alike, turn = torch.arange(plain.atoms), torch.eye(3, dtype=torch.float64).repeat(plain.atoms, 1, 1)
    solid = plain.periodic.all(1).nonzero()[:, 0]
    found: list[Symmetry | None] = [None] * len(plain)
    for i, symmetry in zip(solid.tolist(), analyse(plain[solid], symprec, on_error="keep"), strict=True):
        found[i] = None if isinstance(symmetry, BadInput) else symmetry
    which, symmetrizer = _operations(plain, symprec, tuple(found))
    if symmetrizer is not None:
        n = plain.counts[which]
        shift = (plain.offsets[:-1][which] - offsets_of(n)[:-1])[symmetrizer.owner[symmetrizer.operation]]
        source, target = symmetrizer.source + shift, symmetrizer.target + shift
        first = segment_min(source.to(torch.float64), target, plain.atoms)
        alike = torch.where(first.isfinite(), first, alike).long()
        pair = (source == alike[target]).nonzero()[:, 0]
        cartesian = symmetrizer._cartesian(plain.cell[which])
        turn[target[pair]] = cartesian[symmetrizer.operation[pair]]
    at = (alike[graph.receivers] == graph.receivers).nonzero()[:, 0]
    label, orbit = torch.unique(_labels(plain, graph.pick(at), which, symmetrizer), return_inverse=True)
    return Orbits(*(x.to(device) for x in (alike, turn, at, orbit, at[label], torch.bincount(orbit, minlength=len(label)))))


def _shortest(crystals: Crystals, graph: Graph, alike: Tensor, which: list[int], symmetrizer: Symmetrizer | None) -> tuple[Tensor, Tensor]:
    """The shortest edge of every orbit of edges at the atoms that stand for others, by receiver, and how many edges each orbit has."""
    at = (alike[graph.receivers] == graph.receivers).nonzero()[:, 0]
    graph = graph.pick(at)
    label, length = _labels(crystals, graph, which, symmetrizer), graph.vectors(crystals).norm(dim=-1)
    order = torch.argsort(length, stable=True)
    order = order[torch.argsort(label[order], stable=True)]
    same = label[order]
    start = torch.ones_like(same, dtype=torch.bool)
    start[1:] = same[1:] != same[:-1]
    kept, count = order[start], torch.bincount(label, minlength=len(label))[same[start]]
    by_atom = torch.argsort(graph.receivers[kept], stable=True)
    return at[kept[by_atom]], count[by_atom]


def colours(crystals: Crystals, graph: Graph, copies: Translations) -> Tensor:
    """(edges,) as in `reduced`."""
    colour = torch.zeros_like(graph.receivers)
    have = torch.tensor([s is not None for s in copies.found], dtype=torch.bool)
    if not bool(have.any()):
        return colour
    edge = ((copies.first[graph.senders] == copies.first[graph.receivers]) & have[graph.owner(crystals)]).nonzero()[:, 0]
    owner = graph.owner(crystals)[edge]
    step = torch.linalg.solve(copies.cell.mT[owner], graph.pick(edge).vectors(crystals)).round().long()
    code = (step % 2 * torch.tensor([4, 2, 1])).sum(-1)
    colour[edge] = torch.where(code == 0, torch.full_like(code, COLOURS - 1), _class_sizes(copies)[owner, code])
    return colour


def _class_sizes(copies: Translations) -> Tensor:
    """(crystals, 8) how many classes of L / 2 L the point group makes equal to each; a class is told by its parities as a binary number."""
    parts, owner = [], []
    for i, symmetry in enumerate(copies.found):
        if symmetry is None:
            continue
        if len(symmetry.mapping) > int(symmetry.mapping.max()) + 1:  # a larger cell may hide operations, and is not what `copies.cell` holds
            symmetry = analyse(symmetry.primitive, symmetry.symprec)[0]
        parts.append(symmetry.rotations.long())
        owner.append(torch.full((len(parts[-1]),), i))
    turn, owner = torch.cat(parts), torch.cat(owner)
    parity = torch.cartesian_prod(*[torch.arange(2)] * 3)
    code = ((turn @ parity.T) % 2 * torch.tensor([[4], [2], [1]])).sum(1)  # (operations, 8)
    met = torch.zeros(len(copies.found), 8, 8, dtype=torch.bool)
    met[owner[:, None].expand_as(code), torch.arange(8).expand_as(code), code] = True
    return met.sum(-1)


def _operations(crystals: Crystals, symprec: float, found: tuple[Symmetry | None, ...]) -> tuple[list[int], Symmetrizer | None]:
    """Crystals with operations that permute their atoms, and these operations."""
    which = [i for i, s in enumerate(found) if s is not None]
    while which:
        try:
            return which, Symmetrizer.of(crystals[which], symprec, [found[i] for i in which])
        except BadInput as error:
            del which[int(error.where.split()[1])]
    return which, None


def _labels(crystals: Crystals, graph: Graph, which: list[int], symmetrizer: Symmetrizer | None) -> Tensor:
    """(edges,) the first edge of the orbit of each under the operations that leave its receiver where it is."""
    label = torch.arange(len(graph))
    if symmetrizer is None:
        return label
    counts = symmetrizer.offsets.diff()
    operations, first_operation, first_pair = torch.zeros(3, len(crystals), dtype=torch.long)
    n = crystals.counts[which]
    operations[which], first_operation[which], first_pair[which] = counts, symmetrizer.offsets[:-1], offsets_of(counts * n)[:-1]
    moved_to = symmetrizer.target + (crystals.offsets[:-1][which] - offsets_of(n)[:-1]).repeat_interleave(counts * n)
    owner = graph.owner(crystals)
    begin, size = crystals.offsets[:-1], crystals.counts
    reach = int(graph.shift.abs().max()) + 1 if len(graph) else 1

    def key(receiver: Tensor, sender: Tensor, shift: Tensor) -> Tensor:
        s = shift + reach
        base = 2 * reach + 1
        return ((receiver * int(size.max()) + sender - begin[owner_of(receiver)]) * base + s[:, 0]) * base**2 + s[:, 1] * base + s[:, 2]

    owner_of = lambda atom: crystals.owner[atom]
    known, place = torch.sort(key(graph.receivers, graph.senders, graph.shift))
    turn = symmetrizer.rotation.round().long()
    for k in range(int(counts.max())):  # the k-th operation of every crystal that has as many
        edge = (operations[owner] > k).nonzero()[:, 0]
        at = owner[edge]
        pair = first_pair[at] + k * size[at]
        i, j = graph.receivers[edge], graph.senders[edge]
        pair_i, pair_j = pair + i - begin[at], pair + j - begin[at]
        stays = (moved_to[pair_i] == i).nonzero()[:, 0]
        edge, at, i, pair_i, pair_j = (x[stays] for x in (edge, at, i, pair_i, pair_j))
        shift = (turn[first_operation[at] + k] @ graph.shift[edge, :, None])[..., 0]
        shift = shift + (symmetrizer.translation[pair_i] - symmetrizer.translation[pair_j]).round().long()
        inside = (shift.abs() <= reach).all(1).nonzero()[:, 0]
        wanted = key(i[inside], moved_to[pair_j[inside]], shift[inside])
        spot = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
        hit = (known[spot] == wanted).nonzero()[:, 0]  # at the very radius an image may be missing
        mine = edge[inside[hit]]
        label[mine] = torch.minimum(label[mine], place[spot[hit]])
    return label
