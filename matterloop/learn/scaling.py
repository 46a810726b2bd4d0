"""From the numbers a network likes to the units of a target and back: mean and spread, energies of the elements, logarithms.

    y = m + s x + sum over atoms of e(element)        extensive targets: m, s and e per atom, summed
    y = m + s x + mean over atoms of e(element)       other targets of a crystal; of a site: e of its element
    ln y instead of y                                 `log`, for positive quantities that range over decades
e by least squares on the composition; where compositions leave it undetermined the shortest solution, ridge regression with a tiny penalty
(A. E. Hoerl, R. W. Kennard, Technometrics 12, 55 (1970), eq. 2.1). Robust: the median, and the median absolute deviation times 1.4826.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..base.elements import MAX_Z, NUMBER, symbol
from ..base.errors import BadInput, Missing
from ..crystal.compositions import atom_mean, atom_sum, sizes
from ..crystal.state import Crystals

if TYPE_CHECKING:
    from .targets import Target

RIDGE = 1e-4  # penalty in units of the number of labels, only where least squares are singular
NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


@dataclass(frozen=True)
class Scaling:
    """How raw numbers x become a target.

    mean, spread  in the target's unit (of its logarithm if `log`), per atom where extensive
    log           the formula above gives ln y
    references    {atomic number: energy of the element} in the target's unit; an element that is not in it counts 0, as the average one
    """

    mean: float = 0.0
    spread: float = 1.0
    log: bool = False
    references: Mapping[int, float] | None = None

    def __post_init__(self):
        if not 0 < self.spread < float("inf") or not abs(self.mean) < float("inf"):
            raise BadInput(f"mean is {self.mean}, spread is {self.spread}; both must be finite and the spread positive", "Scaling")

    def inverse(self, x: Tensor, target: Target, crystals: Crystals) -> Tensor:
        """Raw numbers, (atoms,) where the target is extensive or per site, else (crystals,), with trailing axes of its rank: the target in its unit.

        Vectors and tensors: the spread alone, and the mean times the unit matrix.
        """
        y = self._rise(self.spread * x.to(torch.float64), target.rank)
        if self.references is not None:
            e = self._table(y.device)[crystals.species]
            y = y + (e if target.per == "site" or target.extensive else atom_mean(e, crystals))
        if target.extensive:
            return atom_sum(y, crystals)
        return y.exp() if self.log else y

    def apply(self, y: Tensor, target: Target, crystals: Crystals) -> Tensor:
        """Labels in the target's unit, (crystals,) or (atoms,), as the numbers a model is to give; extensive ones as the mean over atoms. NaN stays NaN.

        BadInput where a logarithm is asked of a number that is not positive.
        """
        y = y.to(torch.float64)
        if self.log:
            if bool((y <= 0).any()):
                raise BadInput(f"the label {float(y[y <= 0][0])} has no logarithm; leave the row out or train without log", f"target {target.name!r}")
            y = y.log()
        if target.extensive:
            y = y / sizes(crystals).view(-1, *[1] * (y.dim() - 1))
        if self.references is not None:
            e = self._table(y.device)[crystals.species]
            y = y - (e if target.per == "site" else atom_mean(e, crystals))
        return self._rise(y, target.rank, -1) / self.spread

    def _rise(self, y: Tensor, rank: int, sign: int = 1) -> Tensor:
        if rank == 0:
            return y + sign * self.mean
        return y + sign * self.mean * torch.eye(3, dtype=y.dtype, device=y.device) if rank == 2 else y

    def _table(self, device) -> Tensor:
        table = torch.zeros(MAX_Z + 1, dtype=torch.float64)
        for z, value in self.references.items():
            table[z] = value
        return table.to(device)

    # as words, for the files of a model

    def to_words(self) -> dict[str, Any]:
        """Plain JSON; elements by symbol. Numbers come back to the bit."""
        return {"mean": self.mean, "spread": self.spread, "log": self.log,
                "references": None if self.references is None else {symbol(z): e for z, e in self.references.items()}}

    @staticmethod
    def of_words(words: Mapping[str, Any], where: str = "scaling") -> Scaling:
        """The reverse of `to_words`; BadInput for unknown keys or elements and for what is no number."""
        known = {f.name for f in fields(Scaling)}
        if unknown := [k for k in words if k not in known]:
            raise BadInput(str(Missing("word of a scaling", str(unknown[0]), known)), where)
        references = words.get("references")
        if references is not None:
            if lost := [s for s in references if s not in NUMBER]:
                raise BadInput(str(Missing("element", str(lost[0]), NUMBER)), where)
            references = {NUMBER[s]: float(e) for s, e in references.items()}
        try:
            return Scaling(float(words.get("mean", 0.0)), float(words.get("spread", 1.0)), bool(words.get("log", False)), references)
        except (TypeError, ValueError) as error:
            raise BadInput(str(error), where) from None


def fit_scaling(target: Target, crystals: Crystals, *, kind: Literal["standard", "robust"] = "standard", log: bool = False, references: bool = False) -> Scaling:
    """The scaling of a target that its known labels in `crystals` ask for.

    kind        "standard": mean and standard deviation; "robust": median and median absolute deviation
    references  energies of the elements first, mean and spread of what remains
    Vectors have no mean, tensors the mean of their trace over 3; the spread is the root of the mean square of what remains.
    BadInput without any label, for classes, for the logarithm of an extensive target, vector or tensor, and for references of a vector or tensor.
    """
    where = f"target {target.name!r}"
    if target.classes:
        raise BadInput("classes are not scaled", where)
    if log and (target.extensive or target.rank):
        raise BadInput("a logarithm is for intensive numbers; it does not add over atoms and does not turn", where)
    if references and target.rank:
        raise BadInput("elements have no vectors or tensors of their own", where)
    if kind not in ("standard", "robust"):
        raise Missing("kind of scaling", kind, ("standard", "robust"))
    y = Scaling(log=log).apply(crystals.get(target.name), target, crystals)
    known = ~y.isnan() if not target.rank else ~y.flatten(1).isnan().any(1)
    if not bool(known.any()):
        raise BadInput("no label is known: there is nothing to learn from", where)
    elements = None
    if references:
        elements = _elements(y, known, target, crystals)
        y = Scaling(log=False, references=elements).apply(y * (sizes(crystals) if target.extensive else 1), target, crystals)
    y = y[known]
    if target.rank == 1:
        return Scaling(0.0, _positive(y.square().mean().sqrt()))
    if target.rank == 2:
        mean = float(y.diagonal(dim1=-2, dim2=-1).mean())
        return Scaling(mean, _positive((y - mean * torch.eye(3, dtype=y.dtype)).square().mean().sqrt()))
    middle = y.median() if kind == "robust" else y.mean()
    spread = NORMAL * (y - middle).abs().median() if kind == "robust" else torch.zeros(())
    if not float(spread):  # asked for, or more than half of the labels are equal
        spread = (y - y.mean()).square().mean().sqrt()
    return Scaling(float(middle), _positive(spread), log, elements)


def _positive(spread: Tensor) -> float:
    return float(spread) if float(spread) > 1e-12 else 1.0  # labels that are all alike need no stretching


def _elements(y: Tensor, known: Tensor, target: Target, crystals: Crystals) -> dict[int, float]:
    """{atomic number: energy} that explain labels per atom best, relative to their mean."""
    z, column = crystals.species.unique(return_inverse=True)
    one = torch.nn.functional.one_hot(column, len(z)).to(torch.float64)
    share = (one if target.per == "site" else atom_mean(one, crystals))[known]
    seen = (share > 0).any(0)
    share, z, y = share[:, seen], z[seen], y[known]
    square, side = share.T @ share, share.T @ (y - y.mean())
    if int(torch.linalg.matrix_rank(share)) < share.shape[1]:
        square = square + RIDGE * len(share) * torch.eye(len(z), dtype=square.dtype) / len(z)
        energies = torch.linalg.solve(square, side)
    else:
        energies = torch.linalg.lstsq(share, (y - y.mean())[:, None]).solution[:, 0]
    return dict(zip(z.tolist(), energies.tolist(), strict=True))
