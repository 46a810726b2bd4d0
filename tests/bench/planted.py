"""Small changes that break one promise each, for the tests that show that every check of the contract can fail."""

import torch

from matterloop.base.registry import Card
from matterloop.bench.comparing import Part
from matterloop.bench.contract import role_of
from matterloop.crystal.graph import Within
from matterloop.crystal.segments import segment_sum


def part(role, make, capabilities=(), **more):
    """A part with an honest card: every invariance of its role kept."""
    card = Card(name="planted", build="made", role=role, paper="none", year=2026, summary="planted", capabilities=capabilities)
    values = {**card.__dict__, "keeps": role_of(card).invariances(card), **more}
    return Part(Card(**values), make)


def first(values, crystals):
    """(crystals,) value of the first atom of each crystal."""
    return values[crystals.offsets[:-1]]


def handed(crystals):
    """(crystals,) a number that rotations leave alone and mirrors turn around."""
    graph = Within(4.0)(crystals)
    vector = graph.vectors(crystals)
    length, z = vector.norm(dim=-1, keepdim=True), crystals.species[graph.senders][:, None].to(vector)
    p, q, r = (segment_sum(vector * w, graph.receivers, crystals.atoms) for w in ((-length).exp() * z, (-length.square() / 4).exp(), length * (-length).exp() / z))
    return segment_sum((p * torch.linalg.cross(q, r)).sum(-1), crystals.owner, len(crystals))


# what an honest answer is shifted by, (crystals,) numbers per atom: each breaks the invariance that it is called after
SHIFTS = {
    "rotation": lambda c: 0.01 * c.cell[:, 0, 0].abs(),
    "reflection": lambda c: handed(c) / c.counts,
    "translation": lambda c: 0.01 * torch.sin(2 * torch.pi * first(c.frac, c)[:, 0]),
    "permutation": lambda c: 0.01 * first(c.species, c) + 0.01 * torch.sin(2 * torch.pi * (first(c.frac, c) - c.frac[c.offsets[1:] - 1])).sum(-1),
    "cell": lambda c: 0.01 * c.cell.norm(dim=-1).sum(-1) / c.volume ** (1 / 3),
    "supercell": lambda c: 0.01 * c.counts.to(c.frac),
}


# what a part does to crystals before it measures them


def start_in_place(c):
    c.frac.add_(1.0)
    return c


def no_single_atoms(c):
    if c.atoms == 1:
        raise IndexError("squeezed away")
    return c


def all_or_nothing(c):
    if float((c.frac[c.offsets[:-1]] - c.frac[(c.offsets[:-1] + 1).clamp(max=c.atoms - 1)]).abs().sum(1).min()) == 0 and c.atoms > 1:
        raise RuntimeError("an energy is infinite")
    return c
