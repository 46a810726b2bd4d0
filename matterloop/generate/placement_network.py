"""Network that places a gene without prototype: lattice, free coordinates site by site, and how near a finished crystal comes to known ones.

Three parts. `shape`: the sites of a gene (element, position, space group) attend to each other; from their mean come a normal distribution of ln volume per
atom about the volume model and a mixture of normals of the reduced shape (ln b/a, ln c/a, angles). `coordinates`: site after site, a mixture of von Mises
distributions for each free coordinate, given the lattice and all coordinates before; after CrystalFormer: Z. Cao, X. Luo, J. Lv, L. Wang, arXiv:2403.15734.
`closeness`: a sum over orbits of a function of the distances (Å) and elements around them, trained to tell a known crystal from altered ones of the same
gene (A. van den Oord, Y. Li, O. Vinyals, arXiv:1807.03748, eq. 4); mixtures over fractions alone know nothing of distances, this part knows nothing else.
Trained by recipes/train_placement.py; no energy of any potential enters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.seeds import torch_stream
from ..crystal import lattice
from ..crystal.segments import segment_sum
from ..crystal.space_groups import GRID, LETTERS, crystal_system, table
from ..crystal.wyckoff import Parameters, pivot_solver, position
from ..layers.parts import Gaussians, embedding, linear, perceptron
from ..represent.gene_vocabulary import vocabulary
from ..represent.wyckoff_gene import Gene
from .declash import Orbits, Pairs
from .volume import MAX_Z, element_group, volume_per_atom

REACH = 5.5  # Å within which closeness sees neighbours
SHAPE = {  # which of ln b/a, ln c/a, (alpha, beta, gamma - 90 degrees) / 20 degrees are free
    "triclinic": (0, 1, 2, 3, 4), "monoclinic": (0, 1, 3), "orthorhombic": (0, 1), "tetragonal": (1,), "trigonal": (1,), "hexagonal": (1,), "cubic": ()}
DEGREES = 20.0
MOST_KAPPA = 200.0  # about 0.011 of the cell
ANYWHERE = 0.02  # share of every coordinate's distribution that is uniform
FEATURES = 9 + 6 + 4 + 1


@dataclass(frozen=True, eq=False)
class SiteBatch:
    """Genes padded to one length: group (B,), place and element (B, S), mask (B, S) true where there is a site, `prior` (B,) ln Å^3 per atom of the volume model."""

    group: Tensor
    place: Tensor
    element: Tensor
    mask: Tensor
    prior: Tensor

    def repeated(self, count: int) -> SiteBatch:
        """Every gene `count` times in a row."""
        return SiteBatch(*(x.repeat_interleave(count, 0) for x in (self.group, self.place, self.element, self.mask, self.prior)))


def batch_of(space_groups: Sequence[int], sites: Sequence[Sequence[tuple]], priors: Sequence[float]) -> SiteBatch:
    """Genes as they are written: `sites` [(letter, z, ...), ...] in the order in which coordinates are drawn."""
    words, longest = vocabulary(), max(len(s) for s in sites)
    place, element = np.zeros((2, len(sites), longest), dtype=np.int64)
    mask = np.zeros((len(sites), longest), dtype=bool)
    for b, (group, listed) in enumerate(zip(space_groups, sites, strict=True)):
        place[b, : len(listed)] = [words.slots[group, LETTERS.index(s[0])] for s in listed]
        element[b, : len(listed)] = [min(s[1], MAX_Z) for s in listed]
        mask[b, : len(listed)] = True
    return SiteBatch(torch.tensor(list(space_groups)), torch.from_numpy(place), torch.from_numpy(element), torch.from_numpy(mask),
                     torch.tensor(list(priors), dtype=torch.float32))


@cache
def _place_maps() -> tuple[Tensor, Tensor, Tensor]:
    """Linear part (places, 3, 3), shift (places, 3) and free coordinates (places, 3) of the first point of every position."""
    t = table()
    linear, shift = t.linear[t.map_start[:-1]].astype(np.float32), (t.shift[t.map_start[:-1]] / GRID).astype(np.float32)
    return torch.from_numpy(linear), torch.from_numpy(shift), torch.from_numpy(linear.any(1))


@cache
def _place_features() -> Tensor:
    linear, shift, free = _place_maps()
    atoms = torch.from_numpy(vocabulary().atoms.astype(np.float32))
    turn = 2 * math.pi * shift
    return torch.cat([linear.flatten(1), turn.sin(), turn.cos(), F.one_hot(free.sum(1), 4).float(), atoms.log()[:, None] / 3], 1)


@cache
def _groups_of_elements() -> Tensor:
    return torch.tensor([0, *(element_group(z) for z in range(1, MAX_Z + 1))])


def first_points(place: Tensor, values: Tensor) -> Tensor:
    """(..., 3) fractional coordinates of the first points of positions `place` (...) with x, y, z `values` (..., 3), absent ones 0."""
    linear, shift, _ = _place_maps()
    return (linear[place] @ values[..., None])[..., 0] + shift[place]


def harmonics(x: Tensor) -> Tensor:
    """(..., n) fractions to (..., 6 n) sines and cosines of one, two and three turns."""
    turn = 2 * math.pi * x
    return torch.cat([f(k * turn) for k in (1, 2, 3) for f in (torch.sin, torch.cos)], -1)


class Block(nn.Module):
    """Attention and a perceptron, each after a layer norm and added to its input."""

    def __init__(self, rng: torch.Generator, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.ask, self.mix = linear(rng, width, 3 * width), linear(rng, width, width)
        self.after = nn.LayerNorm(width)
        self.step = perceptron(rng, width, 2 * width, width, activation=nn.SiLU)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """x (B, S, width), allowed (B, S, S) true where the second index is seen by the first."""
        b, s, w = x.shape
        q, k, v = self.ask(self.norm(x)).view(b, s, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed[:, None])
        x = x + self.mix(seen.transpose(1, 2).reshape(b, s, w))
        return x + self.step(self.after(x))


class Sites(nn.Module):
    """Sites of genes seen by each other: (B, S, width)."""

    def __init__(self, rng: torch.Generator, width: int, depth: int, heads: int):
        super().__init__()
        words = vocabulary()
        self.element, self.family = embedding(rng, MAX_Z + 1, width), embedding(rng, 60, width)
        self.symmetry, self.group = embedding(rng, len(words.symmetries), width), embedding(rng, 231, width)
        self.letter = embedding(rng, len(LETTERS), width)
        self.place = linear(rng, FEATURES, width)
        self.blocks = nn.ModuleList(Block(rng, width, heads) for _ in range(depth))
        self.register_buffer("symmetry_of", torch.from_numpy(words.symmetry.copy()), persistent=False)
        self.register_buffer("letter_of", torch.from_numpy(words.letter.copy()), persistent=False)

    def forward(self, batch: SiteBatch) -> Tensor:
        place, z = batch.place, batch.element
        x = self.element(z) + self.family(_groups_of_elements()[z]) + self.symmetry(self.symmetry_of[place]) + self.letter(self.letter_of[place])
        x = (x + self.group(batch.group)[:, None]) * 0.5 + self.place(_place_features()[place])
        allowed = batch.mask[:, None, :] | torch.eye(place.shape[1], dtype=torch.bool)
        for block in self.blocks:
            x = block(x, allowed)
        return x


class Closeness(nn.Module):
    """Minus ln of how like a known crystal the surroundings of all atoms are, up to a constant of the gene: (crystals,), per primitive cell."""

    def __init__(self, rng: torch.Generator, width: int):
        super().__init__()
        self.rings = Gaussians(0.8, REACH, 20)
        self.distance = linear(rng, 20, width)
        self.centre, self.other = embedding(rng, MAX_Z + 1, width), embedding(rng, MAX_Z + 1, width)
        self.family_centre, self.family_other = embedding(rng, 60, width), embedding(rng, 60, width)
        self.second = linear(rng, width, width)
        self.around = perceptron(rng, 2 * width, width, width, 1, activation=nn.SiLU)

    def forward(self, orbits: Orbits, pairs: Pairs, distance: Tensor, cell: Tensor) -> Tensor:
        near = (distance.detach() < REACH).nonzero()[:, 0]
        orbit, d = pairs.orbit[near], distance[near].float()
        z = orbits.layout.species.clamp(max=MAX_Z)
        centre, other = z[orbits.first], z
        fade = 0.5 * (torch.cos(math.pi * d / REACH) + 1)
        family = _groups_of_elements()
        told = (self.centre.weight + self.family_centre(family))[z[pairs.i[near]]] + (self.other.weight + self.family_other(family))[other[pairs.j[near]]]
        x = F.silu(self.second(F.silu(self.distance(self.rings(d)) * 2 + told)))
        seen = segment_sum(x * fade[:, None], orbit, len(orbits.first)) * 0.1
        energy = self.around(torch.cat([seen, self.centre(centre) + self.family_centre(family[centre])], 1))[:, 0]
        return segment_sum(energy.double() * orbits.weight, orbits.owner, len(orbits))


class PlacementNetwork(nn.Module):
    """See the module. width: of the attention parts; mixture: von Mises terms per coordinate; `shapes` normals per lattice."""

    def __init__(self, width: int = 96, depth: int = 3, heads: int = 4, mixture: int = 8, shapes: int = 4, closeness: int = 48, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "placement network")
        self.settings = {"width": width, "depth": depth, "heads": heads, "mixture": mixture, "shapes": shapes, "closeness": closeness}
        self.mixture, self.shapes = mixture, shapes
        self.sites = Sites(rng, width, depth, heads)
        self.volume = perceptron(rng, width, width, 2, activation=nn.SiLU)
        self.shape = perceptron(rng, width + 1, width, shapes * 11, activation=nn.SiLU)
        self.before, self.previous = linear(rng, width + 18, width), linear(rng, 6, width)
        self.blocks = nn.ModuleList(Block(rng, width, heads) for _ in range(depth - 1))
        self.coordinate = perceptron(rng, width + 3 + 12, 2 * width, 3 * mixture, activation=nn.SiLU)
        with torch.no_grad():
            self.coordinate[-1].weight.mul_(0.05)  # begins uniform: sharp terms at wrong places would be unlearnt for good
        self.closeness = Closeness(rng, closeness)

    # lattice

    def lattice_terms(self, batch: SiteBatch, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and ln spread (B,) of ln volume per atom, and the mean of the sites (B, width)."""
        weight = batch.mask.float() * torch.from_numpy(vocabulary().atoms.astype(np.float32))[batch.place]
        pooled = (seen * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
        mean, spread = self.volume(pooled).unbind(-1)
        return batch.prior + 0.2 * mean, (spread - 2.5).clamp(-5, 0.5), pooled

    def shape_terms(self, pooled: Tensor, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ln weights (B, K), means and ln spreads (B, K, 5) of the shape, given ln volume minus the volume model's (B,)."""
        out = self.shape(torch.cat([pooled, residual[:, None]], 1)).view(-1, self.shapes, 11)
        return out[..., 0].log_softmax(-1), out[..., 1:6], (out[..., 6:] - 1.5).clamp(-5, 1)

    def lattice_loss(self, batch: SiteBatch, seen: Tensor, log_volume: Tensor, shape: Tensor, free: Tensor) -> Tensor:
        """(B,) minus ln probability of ln volume per atom (B,) and of the free entries (B, 5) of the shape (B, 5)."""
        mean, spread, pooled = self.lattice_terms(batch, seen)
        loss = 0.5 * ((log_volume - mean) / spread.exp()) ** 2 + spread
        weight, centre, width = self.shape_terms(pooled, log_volume - batch.prior)
        terms = (-0.5 * ((shape[:, None] - centre) / width.exp()) ** 2 - width) * free[:, None]
        return loss - torch.logsumexp(weight + terms.sum(-1), -1)

    # coordinates

    def decoded(self, batch: SiteBatch, seen: Tensor, geometry: Tensor, values: Tensor) -> Tensor:
        """(B, S, width) what each site knows of the gene, the lattice (`geometry` (B, 6): ln volume, shape) and the points of the sites before it."""
        points = harmonics(first_points(batch.place, values))
        before = F.pad(self.before(torch.cat([seen, points], -1)), (0, 0, 1, 0))[:, :-1]
        x = seen + before + self.previous(geometry)[:, None]
        s = x.shape[1]
        allowed = torch.ones(s, s, dtype=torch.bool).tril() & batch.mask[:, None, :] | torch.eye(s, dtype=torch.bool)
        for block in self.blocks:
            x = block(x, allowed)
        return x

    def terms(self, known: Tensor, values: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """ln weights, centres (turns) and kappas (..., K) of coordinate `axis` given `known` (..., width) and earlier coordinates of the site in `values` (..., 3)."""
        earlier = harmonics(values[..., :2]) * torch.tensor([axis > 0, axis > 1]).float().repeat(6)
        which = F.one_hot(torch.tensor(axis), 3).float().expand(*known.shape[:-1], 3)
        out = self.coordinate(torch.cat([known, which, earlier], -1))
        weight, centre, kappa = out.split(self.mixture, -1)
        spaced = torch.arange(self.mixture) / self.mixture
        narrow = (1 + F.softplus(kappa + 1).clamp(max=12.0).expm1()).clamp(max=MOST_KAPPA)  # at least 1: near 0 a centre has no gradient
        return weight.log_softmax(-1), centre + spaced, narrow

    def coordinate_loss(self, batch: SiteBatch, seen: Tensor, geometry: Tensor, values: Tensor) -> Tensor:
        """(B,) minus ln probability (against the uniform one) of the free coordinates in `values` (B, S, 3)."""
        known = self.decoded(batch, seen, geometry, values)
        free = _place_maps()[2][batch.place] & batch.mask[..., None]
        total = torch.zeros(len(values))
        for axis in range(3):
            weight, centre, kappa = self.terms(known, values, axis)
            turn = 2 * math.pi * (values[..., axis, None] - centre)
            log = torch.logsumexp(weight + kappa * (turn.cos() - 1) - torch.special.i0e(kappa).log(), -1)
            log = torch.logaddexp(log + math.log(1 - ANYWHERE), torch.full_like(log, math.log(ANYWHERE)))
            total = total - (log * free[..., axis]).sum(-1)
        return total

    # samples

    @torch.no_grad()
    def sample(self, space_group: int, sites: Sequence[tuple[str, int]], prior: float, count: int, rng: np.random.Generator, spread: float = 1.0) -> list[Parameters]:
        """`count` placements of sites [(letter, z), ...]; `prior` ln Å^3 per atom of the volume model; `spread` of the lattice, 0: its middle."""
        one = batch_of([space_group], [sites], [prior])
        seen = self.sites(one)
        mean, wide, pooled = self.lattice_terms(one, seen)
        log_volume = mean + 0.5 * spread * wide.exp() * torch.from_numpy(rng.normal(size=count).clip(-2, 2).astype(np.float32))
        weight, centre, width = self.shape_terms(pooled.expand(count, -1), log_volume - one.prior)
        chosen = torch.tensor([rng.choice(self.shapes, p=p / p.sum()) for p in weight.exp().double().numpy()])
        noise = torch.from_numpy(rng.normal(size=(count, 5)).clip(-2, 2).astype(np.float32))
        shape = centre[torch.arange(count), chosen] + spread * width[torch.arange(count), chosen].exp() * noise
        system = crystal_system(space_group)
        free = torch.zeros(5)
        free[list(SHAPE[system])] = 1
        shape = shape * free
        values = self._coordinates(one.repeated(count), seen.expand(count, -1, -1), torch.cat([log_volume[:, None], shape], 1), rng)
        out = []
        for k in range(count):
            placed = tuple((letter, z, tuple(float(values[k, s, a]) for a in position(space_group, letter).free)) for s, (letter, z) in enumerate(sites))
            atoms = sum(position(space_group, letter).multiplicity for letter, _ in sites)
            out.append(Parameters(space_group, lattice_of(system, float(log_volume[k].exp()) * atoms, shape[k].numpy()), placed))
        return out

    def _coordinates(self, batch: SiteBatch, seen: Tensor, geometry: Tensor, rng: np.random.Generator) -> Tensor:
        free = _place_maps()[2][batch.place[0]]
        values = torch.zeros(*batch.place.shape, 3)
        for s in range(batch.place.shape[1]):
            if not bool(free[s].any()):
                continue
            known = self.decoded(batch, seen, geometry, values)[:, s]
            for axis in free[s].nonzero()[:, 0].tolist():
                weight, centre, kappa = self.terms(known, values[:, s], axis)
                gumbel = torch.from_numpy(rng.gumbel(size=tuple(weight.shape)).astype(np.float32))
                k = (weight + gumbel).argmax(-1, keepdim=True)
                middle, narrow = centre.gather(-1, k)[:, 0].numpy(), kappa.gather(-1, k)[:, 0].numpy()
                drawn = middle + rng.vonmises(0.0, narrow) / (2 * math.pi)
                drawn = np.where(rng.random(len(drawn)) < ANYWHERE, rng.random(len(drawn)), drawn)
                values[:, s, axis] = torch.from_numpy((drawn % 1).astype(np.float32))
        return values


# lattices


def shape_of(parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Reduced shape (5,) and which entries are free (5,)."""
    system = crystal_system(parameters.space_group)
    held = dict(zip(lattice.FREE[system], parameters.lattice, strict=True))
    a = held["a"]
    full = np.array([math.log(held.get("b", a) / a), math.log(held.get("c", a) / a), *((held.get(n, 90.0) - 90) / DEGREES for n in ("alpha", "beta", "gamma"))])
    free = np.zeros(5)
    free[list(SHAPE[system])] = 1
    return full * free, free


def lattice_of(system: str, volume: float, shape: np.ndarray) -> tuple[float, ...]:
    """Free lattice values of a cell of `volume` Å^3 with a reduced shape (5,); angles so flat that they enclose little are pulled towards 90 degrees."""
    angles = 90 + DEGREES * np.clip(np.asarray(shape[2:], dtype=float), -1.75, 1.75)
    while system == "triclinic" and _corner(angles) < 0.15:
        angles = 90 + 0.8 * (angles - 90)
    ratio = np.exp(np.clip(np.asarray(shape[:2], dtype=float), -2.5, 2.5))
    held = {"a": 1.0, "b": float(ratio[0]), "c": float(ratio[1]), "alpha": angles[0], "beta": angles[1], "gamma": angles[2]}
    values = [float(held[n]) for n in lattice.FREE[system]]
    unit = float(torch.linalg.det(lattice.from_free(torch.tensor(values, dtype=torch.float64), system)))
    length = (volume / unit) ** (1 / 3)
    return tuple(v * length if len(n) == 1 else v for n, v in zip(lattice.FREE[system], values, strict=True))


def _corner(angles: np.ndarray) -> float:
    a, b, c = np.cos(np.radians(angles))
    return 1 - a**2 - b**2 - c**2 + 2 * a * b * c


# other descriptions of the same crystal


@cache
def translations(space_group: int) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (n, 3) of the origin, in parts of 1, 1/2, 1/3, 1/4 and 1/6 of the cell, that leave all operations of the group as they are, and the axes (m,) along which any does."""
    t = table()
    general = int(t.start[space_group]) - 1
    maps = slice(t.map_start[general], t.map_start[general + 1])
    turns, shifts = t.linear[maps].astype(int), t.shift[maps]
    centring = {tuple(s % GRID) for r, s in zip(turns.tolist(), shifts) if r == np.eye(3, dtype=int).tolist()}
    turns = np.unique(turns, axis=0)
    grid = np.stack(np.meshgrid(*[(0, 4, 6, 8, 12, 16, 18, 20)] * 3, indexing="ij"), -1).reshape(-1, 3)
    moved = np.einsum("rij,tj->tri", turns - np.eye(3, dtype=int), grid) % GRID
    inside = np.zeros((GRID,) * 3, bool)
    inside[tuple(np.array(sorted(centring)).T)] = True
    good = inside[moved[..., 0], moved[..., 1], moved[..., 2]].all(1)
    polar = [a for a in range(3) if not (turns[:, :, a] - np.eye(3, dtype=int)[a]).any()]
    return grid[good] / GRID, np.array(polar, dtype=int)


@cache
def _carried(space_group: int, shift: int) -> tuple[tuple[str, np.ndarray, np.ndarray], ...]:
    """For each letter the letter, linear part and shift of x, y, z after the origin moves by -translations[shift]."""
    by, out = translations(space_group)[0][shift], []
    letters = LETTERS[: int(table().start[space_group] - table().start[space_group - 1])]
    for letter in letters:
        p = position(space_group, letter)
        linear, start = p.representative
        trial = linear @ np.array([0.1234, 0.2917, 0.4371]) + start + by
        found = next((other, *q) for other in letters for q in [_solved(space_group, other, trial, p.multiplicity, p.dof)] if q is not None)
        other, k = found
        q = position(space_group, other)
        solve = pivot_solver(q.linear[k])
        out.append((other, solve @ linear, solve @ (start + by - q.shift[k])))
    return tuple(out)


def _solved(space_group: int, letter: str, point: np.ndarray, multiplicity: int, dof: int) -> tuple[int] | None:
    """Number of the map of a position of this multiplicity that holds the point, if any does."""
    p = position(space_group, letter)
    if p.multiplicity != multiplicity or p.dof != dof:
        return None
    for k in range(p.multiplicity):
        offset = point - p.shift[k]
        gap = p.linear[k] @ pivot_solver(p.linear[k]) @ offset - offset
        if np.abs(gap - np.round(gap)).max() < 1e-6:
            return (k,)
    return None


@cache
def _choices(space_group: int, letter: str) -> tuple[np.ndarray, np.ndarray]:
    """All (linear (n, 3, 3), shift (n, 3)) that turn x, y, z of an orbit into others that describe the same orbit."""
    p = position(space_group, letter)
    solve, trial = pivot_solver(p.linear[0]), np.array([0.1234, 0.2917, 0.4371])
    linear, shift = [], []
    for k in range(p.multiplicity):
        offset = p.linear[k] @ trial + p.shift[k] - p.shift[0]
        gap = p.linear[0] @ solve @ offset - offset
        if np.abs(gap - np.round(gap)).max() < 1e-6:
            linear.append(solve @ p.linear[k])
            shift.append(solve @ (p.shift[k] - p.shift[0]))
    return np.array(linear), np.array(shift)


def retold(parameters: Parameters, rng: np.random.Generator) -> Parameters:
    """The same crystal with its origin and the point that stands for each orbit chosen anew."""
    group = parameters.space_group
    shifts, polar = translations(group)
    carried = _carried(group, int(rng.integers(len(shifts))))
    slide = np.zeros(3)
    slide[polar] = rng.random(len(polar))
    sites = []
    for letter, z, values in parameters.sites:
        xyz = np.zeros(3)
        xyz[list(position(group, letter).free)] = values
        letter, linear, shift = carried[LETTERS.index(letter)]
        p = position(group, letter)
        xyz = linear @ xyz + shift
        if len(polar):
            xyz = xyz + pivot_solver(p.linear[0]) @ slide
        linears, shifts_ = _choices(group, letter)
        k = int(rng.integers(len(linears)))
        xyz = (linears[k] @ xyz + shifts_[k]) % 1
        sites.append((letter, z, tuple(float(v) if v < 1 else 0.0 for v in xyz[list(p.free)])))
    return Parameters(group, parameters.lattice, tuple(sites))


def log_prior(gene: Gene) -> float:
    """ln Å^3 per atom of the shipped volume model."""
    return math.log(volume_per_atom(gene.composition))


# files


def save(network: PlacementNetwork) -> dict[str, np.ndarray]:
    """Arrays for an .npz file: weights in half precision and the settings."""
    held = {f"weight.{k}": v.detach().numpy().astype(np.float16) for k, v in network.state_dict().items()}
    return {**held, **{f"setting.{k}": np.array(v) for k, v in network.settings.items()}}


def load(arrays: dict[str, np.ndarray]) -> PlacementNetwork:
    """The network of the arrays of `save`, not in training."""
    network = PlacementNetwork(**{k.removeprefix("setting."): int(v) for k, v in arrays.items() if k.startswith("setting.")})
    network.load_state_dict({k.removeprefix("weight."): torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items() if k.startswith("weight.")})
    return network.eval()


@cache
def shipped_network() -> PlacementNetwork:
    """The trained network that comes with the package; Missing where it does not ship."""
    from ..archive.shipped import read_arrays

    return load(read_arrays("placement"))
