"""Potentials for tests of the fan-out, offered to workers as a plug-in: the pairs of toy.py, and pairs that kill, hang or take their time."""

import os
import signal
import time

import torch

from matterloop.base.registry import Card
from matterloop.potential.lennard_jones import LennardJones
from matterloop.potential.oracle import Labels

CARD = Card(
    name="toy_salts",
    build="ToySalts",
    role="potential",
    paper="none",
    year=2026,
    presets={"kills": {"kills": 20}, "hangs": {"hangs": 20}, "slow": {"pause": 0.03}, "slower": {"pause": 0.1}, "slowest": {"pause": 0.3}},
)


class ToySalts(LennardJones):
    """Lennard-Jones salts, each evaluated alone; at an element of choice it kills its own process or hangs, and it may pause before every answer."""

    def __init__(self, kills=0, hangs=0, pause=0.0):
        super().__init__(sigma=2.3, epsilon=0.1, cutoff=6.0)
        self.kills, self.hangs, self.pause = kills, hangs, pause

    def label(self, crystals, keep_graph=False):
        species = crystals.species.tolist()
        if self.kills in species:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hangs in species:
            time.sleep(3600)
        time.sleep(self.pause * len(crystals))
        each = [super(ToySalts, self).label(one) for one in crystals]
        return Labels(*(torch.cat(column) if column[0] is not None else None for column in zip(*each, strict=True)))
