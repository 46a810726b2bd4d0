"""A campaign small enough for tests: a generator of cubic salts, a pair potential, a hull of its elements."""

import torch

from matterloop.archive.records import Candidate
from matterloop.base.seeds import numpy_stream
from matterloop.campaign.judging import Judges
from matterloop.crystal.state import Crystals
from matterloop.judge.chemistry_sense import ChemistrySense
from matterloop.judge.sun import Reference
from matterloop.measure.hull import Hull
from matterloop.potential.lennard_jones import LennardJones

METALS, ANIONS = (3, 11, 19, 12, 20), (8, 16, 9, 17)
CUBE = 5.2 * torch.eye(3, dtype=torch.float64)


class Salts:
    """Rock-salt and caesium-chloride cells of random metals and anions with slightly displaced atoms."""

    name = "salts"

    def __init__(self):
        self.heard = []

    def propose(self, ask, count, seed):
        found = []
        for place in range(count):
            rng = numpy_stream(seed, self.name, place)
            metal, anion = (int(rng.choice([z for z in group if z in ask.palette])) for group in (METALS, ANIONS))
            side = float(rng.uniform(2.9, 3.6))
            frac = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5]]) + 0.02 * torch.tensor(rng.standard_normal((2, 3)))
            crystal = Crystals.of(frac, [metal, anion], side * torch.eye(3))
            found.append(Candidate(f"{self.name}-{seed}-{place}", crystal, self.name, (), seed, {"side": side}))
        return found

    def observe(self, verdicts):
        self.heard.append([v.key for v in verdicts])


def oracle():
    return LennardJones(sigma=2.3, epsilon=0.1, cutoff=6.0)


def judges():
    elements = [*METALS, *ANIONS]
    hull = Hull([{z: 1} for z in elements], [-0.3] * len(elements), [str(z) for z in elements], oracle().energy_scheme, "lennard_jones")
    return Judges(hull, Reference(), None, None, ChemistrySense())
