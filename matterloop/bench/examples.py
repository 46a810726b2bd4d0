"""Awkward test crystals, made here: where a model with a wrong symmetry, a hard cut or a silent assumption about cells gives itself away."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..base.seeds import torch_stream
from ..crystal.state import Crystals

SALT = (11, 17)  # Na, Cl
FCC = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
SIDE = 5.64  # Å, of rock salt
SKEW = ((1, 1, 0), (0, 1, 0), (0, -1, 1))  # the same lattice by other vectors


def rock_salt(species: Sequence[int] = SALT, side: float = SIDE) -> Crystals:
    """Conventional cell of 8 atoms, 4 of each species: 6 neighbours of the other species, then 12 of the own."""
    return _salt([species[0]] * 4 + [species[-1]] * 4, side)


def ordered_rock_salt(species: Sequence[int] = SALT, side: float = SIDE) -> Crystals:
    """Rock salt whose 12th neighbour shell is shared by two species.

    One sublattice alternates in layers, so that among the 12 equally far second neighbours of an atom 4 are of its own species and 8 of the other.
    A graph cut at k neighbours without ties passes on plain rock salt, where all of a shell are alike, and fails here.
    """
    a, b = species[0], species[-1]
    return _salt([a, b, b, a, b, b, b, b], side)


def _salt(species: list[int], side: float) -> Crystals:
    sites = torch.tensor(FCC, dtype=torch.float64)
    return Crystals.of(torch.cat([sites, (sites + 0.5) % 1]), species, side * torch.eye(3, dtype=torch.float64))


def low_symmetry(species: Sequence[int] = SALT) -> Crystals:
    """Five atoms without any symmetry in a triclinic cell, none nearer than 2.5 Å."""
    a, b = species[0], species[-1]
    frac = [[0.031, 0.047, 0.012], [0.518, 0.083, 0.427], [0.094, 0.541, 0.468], [0.462, 0.573, 0.071], [0.713, 0.447, 0.702]]
    return Crystals.of(frac, [a, a, b, b, b], [[5.1, 0.0, 0.0], [0.7, 5.5, 0.0], [-0.4, 0.9, 6.2]])


def one_atom(species: Sequence[int] = SALT, side: float = 3.1) -> Crystals:
    """One atom in a cubic cell: its only neighbours are its own images."""
    return Crystals.of([[0.0, 0.0, 0.0]], [species[0]], side * torch.eye(3, dtype=torch.float64))


def skewed(species: Sequence[int] = SALT, side: float = SIDE) -> Crystals:
    """The primitive cell of rock salt by long, nearly parallel vectors."""
    a, b = species[0], species[-1]
    cell = side / 2 * torch.tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64)
    return Crystals.of([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]], [a, b], cell).recelled(torch.tensor([[1, 2, 1], [0, 1, 0], [0, -2, 1]]))


def slab(species: Sequence[int] = SALT, side: float = 4.1) -> Crystals:
    """Four atoms that repeat along a and b only."""
    a, b = species[0], species[-1]
    frac = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.02], [0.52, 0.0, 0.17], [0.0, 0.48, 0.19]]
    return Crystals.of(frac, [a, b, b, a], [[side, 0.0, 0.0], [0.3, side, 0.0], [0.0, 0.0, 16.0]], periodic=[True, True, False])


def molecule(species: Sequence[int] = SALT) -> Crystals:
    """Three atoms that repeat along no axis; the cell is a mere frame."""
    a, b = species[0], species[-1]
    return Crystals.of([[0.2, 0.21, 0.2], [0.43, 0.2, 0.22], [0.24, 0.45, 0.23]], [a, b, b], 10 * torch.eye(3, dtype=torch.float64), periodic=[False] * 3)


def outside_cell(species: Sequence[int] = SALT) -> Crystals:
    """`low_symmetry` with atoms several cells away from [0, 1)."""
    inside = low_symmetry(species)
    turns = torch.tensor([[0, 0, 0], [3, -1, 0], [-2, 0, 5], [0, 1, -1], [1, 1, 1]], dtype=torch.float64)
    return inside.put(frac=inside.frac + turns)


PERIODIC = {
    "rock_salt": rock_salt, "ordered_rock_salt": ordered_rock_salt, "low_symmetry": low_symmetry, "one_atom": one_atom, "skewed": skewed,
    "outside_cell": outside_cell}
OTHER = {"slab": slab, "molecule": molecule}


def periodic(species: Sequence[int] = SALT) -> Crystals:
    """The fully periodic examples as one batch of six."""
    return Crystals.join([make(species) for make in PERIODIC.values()])


def every(species: Sequence[int] = SALT) -> Crystals:
    """All eight examples as one batch."""
    return Crystals.join([make(species) for make in (PERIODIC | OTHER).values()])


def displaced(count: int, species: Sequence[int] = SALT, seed: int = 0, size: float = 0.08) -> Crystals:
    """`count` primitive rock-salt cells of 2 x 1 x 1, strained by some percent and their atoms moved by `size` Å: all different."""
    rng = torch_stream(seed, "displaced")
    primitive = SIDE / 2 * torch.tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64)
    base = Crystals.of([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]], [species[0], species[-1]], primitive).repeated(2, 1, 1)
    parts = []
    for _ in range(count):
        strain = 0.03 * torch.randn(3, 3, generator=rng, dtype=torch.float64)
        jolt = size * torch.randn(base.atoms, 3, generator=rng, dtype=torch.float64)
        cell = base.cell @ (torch.eye(3, dtype=torch.float64) + (strain + strain.T) / 2)
        parts.append(base.put(frac=base.frac + jolt @ torch.linalg.inv(cell[0]), cell=cell))
    return Crystals.join(parts)


def jolted(species: Sequence[int] = SALT, seed: int = 0, size: float = 0.05) -> Crystals:
    """Ordered rock salt whose atoms are moved by `size` Å: neighbours of different species change rank when it is strained."""
    base = ordered_rock_salt(species)
    jolt = size * torch.randn(base.atoms, 3, generator=torch_stream(seed, "jolted"), dtype=torch.float64)
    return base.put(frac=base.frac + jolt @ torch.linalg.inv(base.cell[0]))


def paths(species: Sequence[int] = SALT) -> tuple[Crystals, ...]:
    """Where the paths of strain begin on which smoothness is looked at: distances cross most cutoffs between 3 and 7 Å on one or the other."""
    return jolted(species), low_symmetry(species)


# the same crystals described differently


def rotation(seed: int = 0) -> Tensor:
    """(3, 3) a proper rotation by no special angle."""
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch_stream(seed, "rotation"), dtype=torch.float64)).Q
    return q * torch.linalg.det(q).sign()


def shuffle(crystals: Crystals, seed: int = 0) -> Tensor:
    """(atoms,) an order of atoms within their own crystals."""
    noise = torch.rand(crystals.atoms, generator=torch_stream(seed, "shuffle"), dtype=torch.float64)
    return torch.argsort(crystals.owner.to(noise) + noise)


COPIES = (2, 1, 2)
RETELLINGS = {
    "rotation": lambda c: c.rotated(rotation()),
    "reflection": lambda c: c.rotated(-rotation()),
    "translation": lambda c: c.shifted(torch.tensor([0.31, -0.17, 0.23])),
    "permutation": lambda c: c.shuffled(shuffle(c)),
    "cell": lambda c: c.recelled(torch.tensor(SKEW)),
    "supercell": lambda c: c.repeated(*COPIES),
}
INVARIANCES = tuple(RETELLINGS)
ONLY_PERIODIC = ("cell", "supercell")  # retellings that need axes that repeat
