"""Elastic tensors with one bug at a time, for the tests that show that every check of them can fail."""

from dataclasses import replace

import numpy as np
import torch

from matterloop.measure.elastic import Elastic
from matterloop.measure.elastic_tensor import ElasticTensor

from .planted import SHIFTS, all_or_nothing, no_single_atoms, part, start_in_place


class Bent:
    """The measurement with a bug: `bug(stiffness (6, 6), place, crystals)` gives the stiffness that comes out; `start` is called with the crystals first."""

    def __init__(self, bug=None, start=None, **options):
        self.bug, self.start, self.inner = bug, start, Elastic(**options)

    def __call__(self, crystals, oracle):
        found = self.inner(crystals if self.start is None else self.start(crystals), oracle)
        if self.bug is None:
            return found
        results = []
        for i, one in enumerate(found):
            wrong = None if one.failed else ElasticTensor(self.bug(one.tensor.stiffness, i, crystals), one.tensor.density, one.tensor.number_density)
            results.append(replace(one, tensor=wrong))
        return replace(found, results=tuple(results))


def elastic(bug=None, start=None):
    return part("measure", lambda **o: Bent(bug, start, **o), ("elastic_tensor",), tolerance=1e-3, tolerance_reason="stresses of relaxed atoms", small={"fmax": 0.001})


def _forbidden(c, i, crystals):
    wrong = c.copy()
    wrong[0, 3] = wrong[3, 0] = 0.5
    return wrong


SOUND = elastic()
BUGS = {name: elastic(lambda c, i, crystals, f=f: c * (1 + 30 * float(f(crystals)[i]))) for name, f in SHIFTS.items()} | {
    "answers": elastic(lambda c, i, crystals: 1.01 * c),
    "batching": elastic(lambda c, i, crystals: c * (1 + 0.01 * i)),
    "one_atom": elastic(start=no_single_atoms),
    "inputs_untouched": elastic(start=start_in_place),
    "repeatable": elastic(lambda c, i, crystals: c + 1e-9 * float(torch.rand(1))),
    "turns": elastic(lambda c, i, crystals: c + np.diag([5.0, 0, 0, 0, 0, 0])),
    "forbidden": elastic(_forbidden),
    "hopeless": elastic(start=all_or_nothing),
}
