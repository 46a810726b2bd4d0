"""Soft spheres: free parameters of many crystals pushed until no two atoms are too near, own images included, symmetry kept.

    E = sum_i m_i sum_(j, n) max(0, 1 - d / (SLACK r))^2 + PULL |q|^2

i: one atom of each orbit, m_i its multiplicity; j, n: all other atoms and images; d: distance; r: usual shortest distance of the pair (volume.contacts);
q: change of the free lattice parameters (lengths by exp(q), angles by ANGLE q). All free site and lattice parameters move. After
C. J. Pickard and R. J. Needs, J. Phys.: Condens. Matter 23, 053201 (2011), 10.1088/0953-8984/23/5/053201 (minimum separations).
A fixed number of steps, a fixed number of larger cells, then a reason: nothing here can hang.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..crystal.lattice import FREE, heights
from ..crystal.segments import offsets_of, runs, segment_min, segment_sum
from ..crystal.space_groups import crystal_system, lattice_points
from ..crystal.wyckoff import Layout, Parameters, layout, position
from .volume import contacts as usual_contacts

SLACK = 0.95  # of the usual shortest distance: from here on atoms push
TIGHTEST = 0.80  # of it: below, a crystal is not let through
PULL = 0.5  # per squared unit of q
ANGLE = 20.0  # degrees per unit of q
STEPS = 60
RELIST = 10  # steps between two listings of neighbours
SKIN = 0.8  # Å beyond the reach that are listed
LONGEST = 0.12  # Å, the longest move of a coordinate in one step
GROWTH = 1.15  # of the volume, after each failure
GROWTHS = 4
MOST_PAIRS = 4_000_000  # pairs of atom and image that one crystal may have listed

Contacts = Callable[[np.ndarray], np.ndarray]
Field = Callable[["Orbits", "Pairs", Tensor, Tensor], Tensor]  # (orbits, pairs, distances, cells) to one number per crystal


@dataclass(frozen=True, eq=False)
class Orbits:
    """A batch of crystals by orbits.

    first (orbits,)   atom that stands for each orbit;  weight (orbits,) atoms of it in the primitive cell;  owner (orbits,) its crystal
    crystal (atoms,)  crystal of each atom
    """

    layout: Layout
    first: Tensor
    weight: Tensor
    owner: Tensor
    crystal: Tensor

    @staticmethod
    def of(parameters: Sequence[Parameters]) -> Orbits:
        """Errors as `wyckoff.layout`."""
        plan = layout([p.space_group for p in parameters], [p.sites for p in parameters])
        sizes = torch.tensor([position(p.space_group, s[0]).multiplicity for p in parameters for s in p.sites], dtype=torch.long)
        points = torch.tensor([lattice_points(p.space_group) for p in parameters for _ in p.sites], dtype=torch.long)
        owner = torch.arange(len(parameters)).repeat_interleave(torch.tensor([len(p.sites) for p in parameters], dtype=torch.long))
        crystal = torch.arange(len(parameters)).repeat_interleave(plan.offsets.diff())
        return Orbits(plan, offsets_of(sizes)[:-1], (sizes // points).to(torch.float64), owner, crystal)

    def __len__(self) -> int:
        return len(self.layout.space_groups)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Neighbours of the atoms that stand for orbits.

    orbit (pairs,)  orbit of the centre;  i, j (pairs,) atoms;  shift (pairs, 3) whole cells: the vector is (frac[j] + shift - frac[i]) @ cell
    """

    orbit: Tensor
    i: Tensor
    j: Tensor
    shift: Tensor

    def distances(self, orbits: Orbits, frac: Tensor, cell: Tensor) -> Tensor:
        """(pairs,) Å, differentiable."""
        between = frac[self.j] + self.shift - frac[self.i]
        return torch.bmm(between[:, None], cell[orbits.owner[self.orbit]])[:, 0].pow(2).sum(-1).add(1e-12).sqrt()


def neighbours(orbits: Orbits, frac: Tensor, cell: Tensor, reach: float | Tensor) -> Pairs:
    """All pairs nearer than `reach` Å (or (crystals,) Å), an atom with its own images but not with itself.

    BadInput where a cell is so flat or large that a crystal has more than MOST_PAIRS candidates.
    """
    frac, cell = frac.detach(), cell.detach()
    reach = torch.as_tensor(reach, dtype=frac.dtype).expand(len(orbits))
    limit = (reach[:, None] / heights(cell) + 0.5).floor().long()
    images = (2 * limit + 1).prod(1)
    atoms, first = orbits.layout.offsets.diff(), orbits.layout.offsets[:-1]
    most = images * atoms
    if len(orbits) and int(most.max()) > MOST_PAIRS:
        at = int(most.argmax())
        raise BadInput(f"a cell with heights of {heights(cell)[at].tolist()} Å has {int(most[at])} images of atoms within {float(reach[at]):.1f} Å", f"crystal {at}")
    orbit = torch.arange(len(orbits.owner)).repeat_interleave(atoms[orbits.owner])
    j = runs(first[orbits.owner], atoms[orbits.owner])
    i, owner = orbits.first[orbit], orbits.owner[orbit]
    between = frac[j] - frac[i]
    wrap = -between.round()
    count = images[owner]
    row = torch.arange(len(j)).repeat_interleave(count)
    k = torch.arange(len(row)) - (offsets_of(count)[:-1])[row]
    width, low = (2 * limit + 1)[owner[row]], limit[owner[row]]
    z = k % width[:, 2]
    y = (k // width[:, 2]) % width[:, 1]
    x = k // (width[:, 2] * width[:, 1])
    shift = torch.stack([x, y, z], 1) - low + wrap[row]
    vectors = torch.bmm((between[row] + shift)[:, None], cell[owner[row]])[:, 0]
    near = (vectors.pow(2).sum(-1) < reach[owner[row]] ** 2) & ~((i[row] == j[row]) & (shift == 0).all(1))
    row, shift = row[near], shift[near]
    return Pairs(orbit[row], i[row], j[row], shift)


def contact_of_pairs(orbits: Orbits, pairs: Pairs, contacts: Contacts = usual_contacts) -> Tensor:
    """(pairs,) Å, usual shortest distance of the elements of each pair."""
    table = torch.from_numpy(np.asarray(contacts(np.arange(119)), dtype=np.float64))
    return table[orbits.layout.species[pairs.i], orbits.layout.species[pairs.j]]


def overlap(orbits: Orbits, pairs: Pairs, distance: Tensor, contact: Tensor, slack: float = SLACK) -> Tensor:
    """(crystals,) the first sum of E, differentiable."""
    depth = (1 - distance / (slack * contact)).clamp_min(0)
    return segment_sum(orbits.weight[pairs.orbit].to(depth) * depth**2, orbits.owner[pairs.orbit], len(orbits))


def tightness(orbits: Orbits, frac: Tensor, cell: Tensor, contacts: Contacts = usual_contacts) -> Tensor:
    """(crystals,) smallest ratio of a distance to the usual shortest one of its pair; infinite where no pair is within reach of it."""
    pairs = neighbours(orbits, frac, cell, _reach(orbits, contacts))
    ratio = pairs.distances(orbits, frac, cell) / contact_of_pairs(orbits, pairs, contacts)
    return segment_min(ratio, orbits.owner[pairs.orbit], len(orbits))


def _reach(orbits: Orbits, contacts: Contacts) -> Tensor:
    """(crystals,) longest contact between two elements of each crystal."""
    table = torch.from_numpy(np.asarray(contacts(np.arange(119)), dtype=np.float64)).diagonal()
    radii = table[orbits.layout.species[orbits.first]]
    wide = torch.zeros(len(orbits), dtype=torch.float64).scatter_reduce(0, orbits.owner, radii, "amax")
    return 1.25 * wide  # unlike pairs may ask for a little more than the larger of like pairs


# free parameters as flat coordinates


@dataclass(frozen=True, eq=False)
class Moving:
    """Free parameters of a batch as flat tensors: site values (n,), lattice values (m,) and which of them are angles (m,)."""

    orbits: Orbits
    values: Tensor
    lattice: Tensor
    is_angle: Tensor
    value_owner: Tensor
    lattice_owner: Tensor

    @staticmethod
    def of(parameters: Sequence[Parameters]) -> Moving:
        """Errors as `wyckoff.layout`."""
        orbits = Orbits.of(parameters)
        values = torch.tensor([v for p in parameters for s in p.sites for v in s[2]], dtype=torch.float64)
        names = [n for p in parameters for n in FREE[crystal_system(p.space_group)]]
        index = torch.arange(len(parameters))
        return Moving(
            orbits, values, torch.tensor([v for p in parameters for v in p.lattice], dtype=torch.float64), torch.tensor([len(n) > 1 for n in names], dtype=torch.bool),
            index.repeat_interleave(orbits.layout.value_offsets.diff()), index.repeat_interleave(orbits.layout.lattice_offsets.diff()))

    def moved(self, q: Tensor) -> Tensor:
        """Lattice values after the change q (m,)."""
        angles = (self.lattice + ANGLE * q.clamp(-2, 2)).clamp(40.0, 140.0)
        return torch.where(self.is_angle, angles, self.lattice * q.clamp(-1, 1).exp())

    def geometry(self, values: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """frac (atoms, 3) and cell (crystals, 3, 3), differentiable."""
        return self.orbits.layout.frac(values), self.orbits.layout.cell(self.moved(q))

    def energy(self, values: Tensor, q: Tensor, pairs: Pairs, contact: Tensor, field: Field | None = None) -> Tensor:
        """(crystals,) E, with `field` added where given; differentiable in both."""
        frac, cell = self.geometry(values, q)
        distance = pairs.distances(self.orbits, frac, cell)
        total = overlap(self.orbits, pairs, distance, contact) + PULL * segment_sum(q**2, self.lattice_owner, len(self.orbits))
        return total if field is None else total + field(self.orbits, pairs, distance, cell)

    def parameters(self, given: Sequence[Parameters], values: Tensor, q: Tensor) -> list[Parameters]:
        """The parameters after the move, site values in [0, 1)."""
        flat, lattice = _wrapped(values).tolist(), self.moved(q).tolist()
        found, v, n = [], 0, 0
        for p in given:
            sites = []
            for letter, z, old in p.sites:
                sites.append((letter, z, tuple(flat[v : v + len(old)])))
                v += len(old)
            found.append(Parameters(p.space_group, tuple(lattice[n : n + len(p.lattice)]), tuple(sites)))
            n += len(p.lattice)
        return found


def _wrapped(values: Tensor) -> Tensor:
    inside = values % 1
    return torch.where(inside >= 1, torch.zeros_like(inside), inside)


def pushed(parameters: Sequence[Parameters], contacts: Contacts = usual_contacts, *, steps: int = STEPS, field: Field | None = None,
           field_reach: float = 0.0) -> list[Parameters]:
    """E (and `field`, if given) lowered by at most `steps` steps of Adam, each coordinate by at most LONGEST Å a step; crystals do not see each other.

    A crystal without overlap stays as it is where no field is given. field_reach: Å within which the field wants to see neighbours.
    """
    if not parameters:
        return []
    moving = Moving.of(parameters)
    orbits, values, q = moving.orbits, moving.values.clone(), torch.zeros_like(moving.lattice)
    _, cell = moving.geometry(values, q)
    length = torch.linalg.det(cell).clamp_min(1.0) ** (1 / 3)
    rate = [LONGEST / length[moving.value_owner], torch.full_like(q, 0.01)]
    first, second = [torch.zeros_like(values), torch.zeros_like(q)], [torch.zeros_like(values), torch.zeros_like(q)]
    reach = torch.maximum(_reach(orbits, contacts), torch.full((len(orbits),), float(field_reach), dtype=torch.float64)) + SKIN
    for step in range(steps):
        if step % RELIST == 0:
            pairs = neighbours(orbits, *moving.geometry(values, q), reach)
            contact = contact_of_pairs(orbits, pairs, contacts)
        state = [values.requires_grad_(), q.requires_grad_()]
        energy = moving.energy(*state, pairs, contact, field)
        grads = torch.autograd.grad(energy.sum(), state, allow_unused=True)
        values, q = values.detach(), q.detach()
        busy = torch.ones(len(orbits), dtype=torch.bool) if field is not None else energy.detach() > 1e-12
        if not bool(busy.any()):
            break
        fade = 1.0 - 0.9 * step / steps
        for k, (x, owner) in enumerate(((values, moving.value_owner), (q, moving.lattice_owner))):
            g = torch.zeros_like(x) if grads[k] is None else grads[k]
            first[k] = 0.8 * first[k] + 0.2 * g
            second[k] = 0.95 * second[k] + 0.05 * g**2
            size = (second[k] / (1 - 0.95 ** (step + 1))).sqrt() + 1e-9
            x += torch.where(busy[owner], -fade * rate[k] * (first[k] / (1 - 0.8 ** (step + 1)) / size).clamp(-1, 1), torch.zeros_like(x))
    return moving.parameters(parameters, values, q)


@dataclass(frozen=True)
class Declashed:
    """A crystal after the push: its parameters, tightness, how often its cell was enlarged, and why it is no use ("" where it is)."""

    parameters: Parameters
    tightness: float
    grown: int
    reason: str


def declash(parameters: Sequence[Parameters], contacts: Contacts = usual_contacts, *, steps: int = STEPS, growths: int = GROWTHS,
            tightest: float = TIGHTEST) -> list[Declashed]:
    """Push every crystal until its distances are at least `tightest` of the usual shortest ones; where that fails in a cell 15 % larger, at most `growths` times.

    Nothing is raised for a crystal that cannot be helped: its `reason` says so, the parameters are the last ones.
    """
    out: list[Declashed | None] = [None] * len(parameters)
    waiting = {i: p for i, p in enumerate(parameters)}
    for grown in range(growths + 1):
        rows = sorted(waiting)
        if not rows:
            break
        moved = pushed([waiting[i] for i in rows], contacts, steps=steps)
        tight = tightness_of(moved, contacts)
        for i, p, t in zip(rows, moved, tight, strict=True):
            enough = t >= tightest
            if enough or grown == growths:
                why = "" if enough else f"two atoms remain at {t:.2f} of their usual shortest distance in a cell enlarged {grown} times"
                out[i] = Declashed(p, t, grown, why)
                del waiting[i]
            else:
                waiting[i] = scaled(p, GROWTH)
    return out


def tightness_of(parameters: Sequence[Parameters], contacts: Contacts = usual_contacts) -> list[float]:
    """Smallest ratio of a distance to the usual shortest one, for each crystal."""
    if not parameters:
        return []
    moving = Moving.of(parameters)
    return tightness(moving.orbits, *moving.geometry(moving.values, torch.zeros_like(moving.lattice)), contacts).tolist()


def scaled(parameters: Parameters, factor: float) -> Parameters:
    """The same crystal with `factor` times the volume."""
    names = FREE[crystal_system(parameters.space_group)]
    return replace(parameters, lattice=tuple(v * factor ** (1 / 3) if len(n) == 1 else v for n, v in zip(names, parameters.lattice, strict=True)))
