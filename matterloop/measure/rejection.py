"""When a relaxation may be given up: a lower estimate of where it will end lies too far above the hull.

The estimate is that of a quasi-Newton method: at an energy E, with g the gradient and H the current model of the Hessian, the minimum of the model lies
g·H^-1·g / 2 below (the Newton decrement, S. Boyd, L. Vandenberghe, Convex Optimization (2004), section 9.5.1), here times a factor for what the model
does not know. How often it is wrong was measured on 1,438 relaxations of candidates for six wishes by recipes/measure_rejection.py: LOST, by generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.errors import BadInput

# generator: (candidates that ended within 0.1 eV/atom of the hull, those of them that the defaults with above=0.1 give up, share of evaluations saved)
LOST = {"substitution": (193, 5, 0.31), "template": (265, 1, 0.23), "random_search": (88, 18, 0.70)}


@dataclass(frozen=True)
class Rejection:
    """Give up a crystal once  lowest E / atoms - factor decrement / atoms - slack  lies more than `above` over the hull.

    False rejections of the defaults at above=0.1 eV/atom, as shares of the good candidates: 2.6 % of those made by substitution (95 % interval 1.1 to 5.9),
    0.4 % by templates (0.1 to 2.1), 20 % by random search (13 to 30), whose relaxations pass over barriers that no local model knows: leave it off there.
    It saves 31, 23 and 70 % of the evaluations. With slack=0.1: 5.7, 1.9 and 25 % lost, 49, 32 and 73 % saved.

    above   eV/atom over the hull that is still of interest
    hull    (crystals,) eV/atom, energy of the hull at each crystal's composition in the oracle's scheme; nan: never given up
    after   moves that are made in any case
    factor, slack  of the estimate; slack in eV/atom
    """

    above: float
    hull: Tensor
    after: int = 2
    factor: float = 2.0
    slack: float = 0.2

    def checked(self, crystals: int) -> Rejection:
        """Return self with `hull` in float64; BadInput for impossible numbers."""
        hull = torch.as_tensor(self.hull, dtype=torch.float64)
        if tuple(hull.shape) != (crystals,):
            raise BadInput(f"hull energies of shape {tuple(hull.shape)} for {crystals} crystals", "relax")
        if not (self.above >= 0 and self.after >= 1 and self.factor >= 0 and self.slack >= 0):
            raise BadInput(f"above {self.above}, after {self.after}, factor {self.factor}, slack {self.slack}: none may be negative, and after at least 1", "relax")
        return Rejection(self.above, hull, self.after, self.factor, self.slack)

    def verdict(self, index: int, moves: int, lowest: float, drop: float, atoms: int) -> str:
        """Why crystal `index` is given up, "" if it is not; `lowest` energy so far and expected `drop` in eV."""
        hull = float(self.hull[index])
        least = lowest / atoms - self.factor * drop / atoms - self.slack
        if moves < self.after or not least - hull > self.above:
            return ""
        return (f"after {moves} moves at {lowest / atoms - hull:.3f} eV/atom above the hull, expected to end {least - hull:.3f} above it or higher; "
                f"{self.above:g} is allowed; of good candidates this rule loses 0.4 (templates) to 20 % (random search)")
