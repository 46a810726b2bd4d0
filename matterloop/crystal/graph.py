"""Which periodic images see each other. Topology is fixed; edge vectors stay differentiable in frac and cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..base.errors import BadInput
from .segments import offsets_of, runs, segment_min
from .state import Crystals

MAX_IMAGES = 50_000  # lattice images of one crystal within reach; a flat cell would ask for millions
CHUNK = 1_000_000  # pairs listed together
FIRST, GROWTH = 4.2, 1.35  # Å within which most atoms have 12 neighbours, and how far is looked next where they do not
LARGE = 100  # atoms; a larger crystal is searched with a cell list, whose cost is linear in its atoms


@dataclass(frozen=True)
class Graph:
    """Directed edges, sorted by receiver: the receiver is the centre, the sender its neighbour.

    senders, receivers  (edges,)    atom indices
    shift               (edges, 3)  integer lattice translation of the sender
    edge                {name: (edges, ...)} numbers that a builder computed once for its edges; no gradient flows into them
    alike               (atoms,) the atom whose edges stand for each atom's own, or None: every atom has its own; see crystal/alike.py
    """

    senders: Tensor
    receivers: Tensor
    shift: Tensor
    edge: Mapping[str, Tensor] = field(default_factory=dict)
    alike: Tensor | None = None

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
        return Graph(self.senders[keep], self.receivers[keep], self.shift[keep], {name: value[keep] for name, value in self.edge.items()}, self.alike)


@dataclass(frozen=True)
class Within:
    """All images closer than `radius` (Å); `self_images` keeps an atom's own images; `half` gives every pair once, sender >= receiver.

    Crystals up to LARGE atoms are searched together: for every pair of atoms the lattice points inside the sphere are listed axis by axis in
    the triangular frame of the cell (U. Fincke, M. Pohst, Mathematics of Computation 44, 463 (1985), eq. 2.8), so that skewed and tiny cells
    cost no more than the edges they have. Larger crystals go one by one to the cell list of vesin.
    """

    radius: float
    self_images: bool = True
    half: bool = False

    @torch.no_grad()
    def __call__(self, crystals: Crystals) -> Graph:
        """Raises BadInput naming the crystal when more than MAX_IMAGES images lie within reach or a number is not finite."""
        if not 0 < self.radius < float("inf"):
            raise BadInput(f"the radius is {self.radius} Å, allowed are positive finite numbers", "Within")
        crystals = crystals.bare().to(torch.float64)
        self._refuse_flat(crystals)
        parts, start, counts = [], 0, crystals.counts.tolist()
        while start < len(counts):
            stop, pairs = start, 0
            while stop < len(counts) and counts[stop] <= LARGE and (stop == start or pairs + counts[stop] ** 2 // 2 <= CHUNK):
                pairs += counts[stop] ** 2 // 2
                stop += 1
            if stop == start:
                parts.append(self._large(crystals, start))
                stop += 1
            else:
                parts.append(self._small(crystals, start, stop))
            start = stop
        if not parts:
            parts = [(crystals.species.new_zeros(0), crystals.species.new_zeros(0), crystals.species.new_zeros(0, 3))]
        i, j, shift = parts[0] if len(parts) == 1 else (torch.cat(column) for column in zip(*parts, strict=True))
        if not self.self_images:
            keep = i != j
            i, j, shift = i[keep], j[keep], shift[keep]
        if self.half:
            return Graph(j, i, shift)
        receivers, order = torch.sort(torch.cat([i, j]), stable=True)
        return Graph(torch.cat([j, i]).index_select(0, order), receivers, torch.cat([shift, -shift]).index_select(0, order))

    def _refuse_flat(self, crystals: Crystals) -> None:
        finite = crystals.cell.isfinite().flatten(1).all(1)
        finite[crystals.owner[~crystals.frac.isfinite().all(1)]] = False
        if not bool(finite.all()):
            raise BadInput("the cell or a coordinate is not finite", f"crystal {int((~finite).nonzero()[0, 0])}")
        height = 1 / torch.linalg.inv(crystals.cell).norm(dim=-2)  # (B, 3) distance of lattice planes, Å
        images = torch.where(crystals.periodic, torch.floor(2 * self.radius / height) + 1, torch.ones_like(height)).prod(-1)
        if bool((images > MAX_IMAGES).any()):
            i = int((images > MAX_IMAGES).nonzero()[0, 0])
            raise BadInput(
                f"{int(images[i])} lattice images lie within {self.radius} Å, allowed are {MAX_IMAGES}: the cell is too flat or too small "
                f"(lengths {[round(x, 3) for x in crystals.lengths[i].tolist()]} Å)", f"crystal {i}")

    def _small(self, crystals: Crystals, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair once of the crystals start..stop: (i, j, shift), i ascending."""
        first, last = int(crystals.offsets[start]), int(crystals.offsets[stop])
        atom = torch.arange(first, last, device=crystals.cell.device)
        count = crystals.offsets[1:][crystals.owner[first:last]] - atom
        i, j = atom.repeat_interleave(count), runs(atom, count)
        # cell = triangle @ rotation: the third shift alone decides z, the second and third decide y
        triangle = torch.linalg.qr(crystals.cell.mT).R.mT.reshape(-1, 9)
        owner = crystals.owner[i]
        step = crystals.frac[j] - crystals.frac[i]
        parts, begin = [], 0
        dense = triangle[:, [0, 4, 8]].abs().prod(-1)  # about this many candidates per pair: keep the lists below CHUNK rows
        total = (1 + 4.2 * self.radius**3 / dense)[owner].cumsum(0)
        while begin < len(i):
            end = len(i) if float(total[-1]) <= CHUNK else max(begin + 1, int(torch.searchsorted(total, (total[begin - 1] if begin else 0) + CHUNK)))
            which = slice(begin, end)
            parts.append(self._images(i[which], j[which], step[which], triangle[owner[which]], crystals.periodic[owner[which]]))
            begin = end
        if not parts:
            return i, j, i.new_zeros(0, 3)
        return parts[0] if len(parts) == 1 else tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _images(self, i: Tensor, j: Tensor, step: Tensor, triangle: Tensor, periodic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The images of the pairs i, j (pairs,) within the sphere, listed axis by axis; a row is one choice of the shifts decided so far."""
        step, triangle, periodic = (x.T.contiguous() for x in (step, triangle, periodic))
        pair = torch.arange(len(i), device=i.device)
        own = i == j  # and no shift yet that tells one side from the other
        rest = torch.full_like(step[0], self.radius**2)  # squared length still free
        found: list[Tensor] = []  # shifts along c, then b, then a
        known: list[Tensor] = []  # step + shift along the same
        for axis in (2, 1, 0):
            at = (lambda x: x) if axis == 2 else (lambda x, pair=pair: x.index_select(0, pair))
            slope, begin, still = at(triangle[4 * axis]), at(step[axis]), at(periodic[axis])
            off = sum((x * at(triangle[3 * other + axis]) for x, other in zip(known, (2, 1), strict=False)), torch.zeros_like(rest))
            middle = -begin - off / slope
            half = rest.clamp(min=0).sqrt() / slope.abs() + 1e-9
            low, high = torch.ceil(middle - half), torch.floor(middle + half)
            low = torch.where(own, low.clamp(min=1 if axis == 0 else 0), low)  # of an atom's own images only those on the positive side
            flat = (middle.abs() <= half).to(low) - 1  # 0 if the unshifted atom is within reach, -1 if not
            low, high = torch.where(still, low, 0), torch.where(still, high, flat)
            if axis == 0:
                high = torch.where(own & ~still, -1, high)
            many = (high - low + 1).clamp(min=0).long()
            row = torch.arange(len(many), device=many.device).repeat_interleave(many)
            shift = runs(low.long(), many)
            take = lambda x, row=row: x.index_select(0, row)
            pair, found = take(pair), [*(take(x) for x in found), shift]
            last = take(begin) + shift
            rest = take(rest) - (last * take(slope) + take(off)).square()
            if axis:
                own = take(own) & (shift == 0)
                known = [*(take(x) for x in known), last]
        keep = (rest > 0).nonzero()[:, 0]
        pair, (c, b, a) = pair.index_select(0, keep), (x.index_select(0, keep) for x in found)
        return i.index_select(0, pair), j.index_select(0, pair), torch.stack([a, b, c], -1)

    def _large(self, crystals: Crystals, which: int) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair once of one crystal of many atoms: (i, j, shift), i ascending."""
        import numpy as np
        import vesin

        one = crystals[which].to("cpu")
        frac, periodic = one.frac.numpy(), one.periodic[0].numpy()
        turns = np.where(periodic, np.floor(frac), 0.0)
        cart = (frac - turns) @ one.cell[0].numpy()
        search = vesin.NeighborList(cutoff=self.radius * (1 + 1e-9), full_list=True)
        i, j, shift, step = search.compute(points=cart, box=one.cell[0].numpy(), periodic=periodic, quantities="ijSD", copy=False)
        s = shift
        positive = (s[:, 2] > 0) | ((s[:, 2] == 0) & ((s[:, 1] > 0) | ((s[:, 1] == 0) & (s[:, 0] > 0))))
        keep = np.flatnonzero(((i < j) | ((i == j) & positive)) & ((step**2).sum(1) < self.radius**2))
        keep = keep[np.argsort(i[keep], kind="stable")]
        i, j = i[keep].astype(np.int64), j[keep].astype(np.int64)
        shift = (shift[keep] + turns[i] - turns[j]).astype(np.int64)
        begin = int(crystals.offsets[which])
        return tuple(torch.from_numpy(x).to(crystals.cell.device) for x in (i + begin, j + begin, shift))


class SkinList:
    """`Within(radius)` that remembers: pairs are listed out to radius + skin, and again only for crystals whose atoms or cells have moved too far.

    Between two lists a pair at r becomes at least least_stretch (r - 2 u), where u is the largest displacement of an atom at the old cell and
    least_stretch the least factor by which the new cell shortens a vector; so a list is good while radius / least_stretch + 2 u <= radius + skin
    (with a fixed cell: u <= skin / 2, L. Verlet, Physical Review 159, 98 (1967), doi:10.1103/PhysRev.159.98). The answer holds the same pairs as
    `Within(radius, half=half)`; whether a crystal is the one remembered is decided by species and this bound alone, so batches may lose and gain
    crystals from call to call. Not for use from several threads at once.

    It pays for crystals of hundreds of atoms that move little from call to call, as in dynamics (a search in 33 to 55 % of the time). In relaxations of
    small cells it does not: steps are few and long, and listing 64 such cells anew costs no more than sorting out the pairs of the skin.

    radius, skin  Å;  half: every pair once
    searched      crystals whose neighbours were searched so far;  served: crystals answered so far
    """

    def __init__(self, radius: float, skin: float = 0.5, half: bool = False):
        if not 0 < skin < float("inf"):
            raise BadInput(f"the skin is {skin} Å, allowed are positive finite numbers", "SkinList")
        self.radius, self.skin, self.half = radius, skin, half
        self.searched = self.served = 0
        self._known: Crystals | None = None
        self._graph: Graph | None = None
        self._keys: list[tuple] = []
        self._inverse: Tensor | None = None

    @torch.no_grad()
    def __call__(self, crystals: Crystals) -> Graph:
        """The graph of `crystals`; errors as `Within`."""
        crystals = crystals.bare().to(torch.float64)
        keys = self._keys_of(crystals)
        partner = self._partners(crystals, keys)
        self.served += len(crystals)
        old = (partner >= 0).nonzero()[:, 0]
        if len(old):
            far = ~self._near(crystals, old, partner[old])
            partner[old[far]] = -1
        new = (partner < 0).nonzero()[:, 0]
        if len(new) or len(crystals) != len(self._keys) or not torch.equal(partner, torch.arange(len(partner))):
            self._renew(crystals, partner, new, keys)
        square = self._graph.vectors(crystals).square().sum(-1)
        graph = self._graph.pick((square < self.radius**2).nonzero()[:, 0])
        if self.half:
            return graph
        receivers, order = torch.sort(torch.cat([graph.receivers, graph.senders]), stable=True)
        return Graph(torch.cat([graph.senders, graph.receivers])[order], receivers, torch.cat([graph.shift, -graph.shift])[order])

    @staticmethod
    def _keys_of(crystals: Crystals) -> list[tuple]:
        """What does not change while a crystal moves."""
        species, periodic, ends = crystals.species.cpu().numpy(), crystals.periodic.cpu().numpy(), crystals.offsets.tolist()
        return [(species[a:b].tobytes(), p.tobytes()) for a, b, p in zip(ends, ends[1:], periodic, strict=False)]

    def _partners(self, crystals: Crystals, keys: list[tuple]) -> Tensor:
        """(crystals,) place among the remembered, -1 if none: those with the same key in their order, or by the nearest cell where some came or went."""
        if keys == self._keys:
            return torch.arange(len(keys))
        held: dict[tuple, list[int]] = {}
        asked: dict[tuple, list[int]] = {}
        for table, names in ((held, self._keys), (asked, keys)):
            for place, key in enumerate(names):
                table.setdefault(key, []).append(place)
        partner = torch.full((len(keys),), -1)
        for key, here in asked.items():
            there = held.get(key)
            if there and len(there) != len(here):
                there = [there[k] for k in torch.cdist(crystals.cell[here].flatten(1), self._known.cell[there].flatten(1)).argmin(1).tolist()]
            if there:
                partner[here] = torch.tensor(there)
        return partner

    def _near(self, crystals: Crystals, here: Tensor, there: Tensor) -> Tensor:
        """Whether the remembered lists `there` are still good for the crystals `here`, (pairs of crystals,) bool."""
        counts = crystals.counts[here]
        owner = torch.arange(len(here)).repeat_interleave(counts)
        mine, theirs = runs(crystals.offsets[:-1][here], counts), runs(self._known.offsets[:-1][there], counts)
        moved = ((crystals.frac[mine] - self._known.frac[theirs])[:, None] @ self._known.cell[there][owner])[:, 0].norm(dim=-1)
        moved = torch.zeros(len(here), dtype=moved.dtype).scatter_reduce(0, owner, moved, "amax")
        shortest = 1 / torch.linalg.matrix_norm(torch.linalg.inv(crystals.cell[here]) @ self._known.cell[there], 2)
        return self.radius / shortest + 2 * moved <= self.radius + self.skin

    def _renew(self, crystals: Crystals, partner: Tensor, new: Tensor, keys: list[tuple]) -> None:
        """Remember `crystals`: lists of those with a partner are kept with the geometry they were made for, the others are searched."""
        self.searched += len(new)
        frac, cell, parts = crystals.frac.clone(), crystals.cell.clone(), []
        old = (partner >= 0).nonzero()[:, 0]
        if len(old):
            counts = crystals.counts[old]
            frac[runs(crystals.offsets[:-1][old], counts)] = self._known.frac[runs(self._known.offsets[:-1][partner[old]], counts)]
            cell[old] = self._known.cell[partner[old]]
            ends = torch.searchsorted(self._graph.receivers, self._known.offsets)
            begin, many = ends[:-1][partner[old]], ends.diff()[partner[old]]
            shift = (crystals.offsets[:-1][old] - self._known.offsets[:-1][partner[old]]).repeat_interleave(many)
            edges = self._graph.pick(runs(begin, many))
            parts.append(Graph(edges.senders + shift, edges.receivers + shift, edges.shift))
        if len(new):
            counts = crystals.counts[new]
            fresh = crystals[new]
            try:
                edges = Within(self.radius + self.skin, half=True)(fresh)
            except BadInput as error:
                raise error.renumbered(lambda i: int(new[i])) from None
            shift = crystals.offsets[:-1][new] - fresh.offsets[:-1]
            parts.append(Graph(edges.senders + shift[fresh.owner[edges.senders]], edges.receivers + shift[fresh.owner[edges.receivers]], edges.shift))
        joined = parts[0] if len(parts) == 1 else Graph(*(torch.cat([getattr(p, name) for p in parts]) for name in ("senders", "receivers", "shift")))
        if len(parts) == 2:
            joined = joined.pick(torch.argsort(joined.receivers, stable=True))
        self._known, self._graph, self._keys = crystals.put(frac=frac, cell=cell), joined, keys


def _renumbering(search: Callable[[], Graph], which: Tensor) -> Graph:
    """What `search` finds; its errors name the place in the whole batch."""
    try:
        return search()
    except BadInput as error:
        raise error.renumbered(lambda i: int(which[i])) from None


@dataclass(frozen=True)
class Nearest:
    """The `count` nearest images of every atom within `radius` (Å); `ties` keeps every image as near as the last one (within `slack` Å).

    An atom with fewer neighbours (of a molecule, of a thin slab) keeps those it has if `fewer`, and is an error otherwise.
    """

    count: int
    radius: float = 8.0
    ties: bool = True
    slack: float = 1e-3
    fewer: bool = False

    @torch.no_grad()
    def __call__(self, crystals: Crystals) -> Graph:
        """Raises BadInput when an atom has fewer than `count` neighbours within `radius`, unless `fewer`."""
        graph, length = self._found(crystals.bare().to(torch.float64))
        order = torch.argsort(length, stable=True)
        order = order[torch.argsort(graph.receivers[order], stable=True)]  # by centre, then by length
        degree = torch.bincount(graph.receivers, minlength=crystals.atoms)
        if crystals.atoms and not self.fewer and int(degree.min()) < self.count:
            atom = int(degree.argmin())
            raise BadInput(
                f"an atom has {int(degree[atom])} neighbours within {self.radius} Å, {self.count} wanted; raise `radius`", f"crystal {int(crystals.owner[atom])}")
        first = offsets_of(degree)[:-1]
        rank = torch.arange(len(order), device=order.device) - first[graph.receivers[order]]
        if self.ties:
            if not len(order):
                return graph
            limit = length[order[first + degree.clamp(max=self.count) - 1]] + self.slack  # of an atom without neighbours: any, it is not asked for
            return graph.pick(order[length[order] <= limit[graph.receivers[order]]])
        return graph.pick(order[rank < self.count])

    def _found(self, crystals: Crystals) -> tuple[Graph, Tensor]:
        """All edges that can matter and their lengths: of each crystal those within a radius that surely holds the nearest of all its atoms."""
        left, reach, parts = torch.arange(len(crystals), device=crystals.cell.device), min(self.radius, FIRST * (self.count / 12) ** (1 / 3)), []
        while len(left):
            some = crystals[left]
            graph = Within(reach)(some) if len(left) == len(crystals) else _renumbering(lambda some=some, reach=reach: Within(reach)(some), left)
            length = graph.vectors(some).norm(dim=-1)
            near = torch.bincount(graph.receivers[length + self.slack < reach], minlength=some.atoms)
            done = segment_min(near.to(length), some.owner, len(some)) >= self.count if reach < self.radius else torch.ones(len(some), dtype=torch.bool, device=left.device)
            keep = done[some.owner[graph.receivers]].nonzero()[:, 0]
            moved = (crystals.offsets[:-1][left] - some.offsets[:-1])[some.owner[graph.receivers[keep]]]
            parts.append((graph.senders[keep] + moved, graph.receivers[keep] + moved, graph.shift[keep], length[keep]))
            left, reach = left[~done], min(self.radius, GROWTH * reach)
        if not parts:
            return Within(self.radius)(crystals), crystals.frac.new_zeros(0)
        senders, receivers, shift, length = parts[0] if len(parts) == 1 else (torch.cat(column) for column in zip(*parts, strict=True))
        if len(parts) > 1:
            order = torch.argsort(receivers, stable=True)
            senders, receivers, shift, length = (x[order] for x in (senders, receivers, shift, length))
        return Graph(senders, receivers, shift), length


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
