"""What a lower fidelity says of each crystal, measured where it is known and predicted elsewhere: to be subtracted from labels, or to be an input.

    y = y_low + d                delta learning: the model learns the difference d
    y = f(crystal, y_low)        the value as an input
R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, J. Chem. Theory Comput. 11, 2087 (2015), doi:10.1021/acs.jctc.5b00099, eq. 1; compared with learning
all fidelities at once by C. Chen et al., Nature Computational Science 1, 46 (2021), doi:10.1038/s43588-020-00002-x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..base.errors import BadInput, Missing
from ..base.quantities import Quantity
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals

if TYPE_CHECKING:
    from .calibrated import CalibratedPredictor

FOLDER = "low"  # within that of the predictor
USES = ("minus", "input")


@dataclass(frozen=True)
class LowFidelity:
    """A lower fidelity beside a predictor.

    field      of the crystals with its values, NaN = not known
    use        "minus": the predictor gives the difference to it; "input": the predictor reads it
    predictor  of the values that are not known
    """

    field: str
    use: str
    predictor: CalibratedPredictor

    def __post_init__(self):
        if self.use not in USES:
            raise Missing("use of a lower fidelity", self.use, USES)
        if self.predictor.target.classes:
            raise BadInput("holds classes; a lower fidelity is a number", f"field {self.field!r}")

    def values(self, inputs: Crystals | Compositions, on_progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """(rows,) what is known, and predictions where nothing is."""
        known = inputs.get(self.field).to(torch.float64).numpy().reshape(-1).copy() if self.field in inputs.whole else np.full(len(inputs), np.nan)
        if len(lost := np.flatnonzero(np.isnan(known))):
            try:
                raw = self.predictor.raw(inputs[lost].bare(), on_progress)
            except BadInput as error:
                raise error.renumbered(lambda i: int(lost[i])) from None
            known[lost] = raw.mean(0)
        return known

    def filled(self, inputs: Crystals | Compositions) -> Crystals | Compositions:
        """The inputs with a value for each row."""
        return inputs.with_fields(whole={self.field: torch.from_numpy(self.values(inputs))}, quantities={self.field: Quantity(unit=self.predictor.target.unit)})

    def to_words(self) -> dict[str, Any]:
        """Plain JSON; the predictor is kept in the folder FOLDER."""
        return {"field": self.field, "use": self.use}
