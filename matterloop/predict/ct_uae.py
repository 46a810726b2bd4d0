"""Universal atomic embeddings: vectors of elements that a transformer learns from several labels together, plugged into other networks as their first layer.

L. Jin, Z. Du, L. Shu, Y. Cen, Y. Xu, Y. Mei, H. Zhang, "Transformer-generated atomic embeddings to enhance prediction accuracy of crystal properties with machine
learning", Nature Communications 16, 1210 (2025), doi:10.1038/s41467-025-56481-x.

    loss = sum over labels of the mean error of a head each, in units of the label's spread; crystals turned and shifted at random in every step
    afterwards e(z), the vectors of elements, are what CGCNN, MEGNet and ALIGNN begin with, kept as they are or learnt on
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.state import Crystals
from ..learn.data import Batch
from ..learn.pretraining import multitask

if TYPE_CHECKING:
    from ..learn.pretrained import Pretrained

CARD = Card(
    name="ct_uae",
    build="CTUAE",
    role="pretraining",
    paper="10.1038/s41467-025-56481-x",
    year=2025,
    summary="vectors of elements learnt from several labels together, for the first layer of other networks",
    capabilities=("supervised", "labels_only", "transfer"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=1.117244757612398,
    differs=(
        "any encoder with a table of elements may learn the vectors; the paper's is `crystal_transformer`, and only with it are turns and shifts felt",
        "labels are those that the crystals carry; the paper takes formation energy, band gap, total energy and magnetisation of 134,243 crystals",
        "errors are absolute and in units of each label's spread; the sum of the paper's losses is not described further",
        "in CGCNN and ALIGNN the vectors pass the linear map that properties of elements pass else",
    ),
)
REACH = 4.0  # Å: spread of shifts


@dataclass(frozen=True)
class CTUAE:
    """The method.

    targets  fields of the crystals that are learnt together
    frozen   vectors of elements are not trained further in the network that they are given to
    moved    turn and shift crystals in every step
    """

    targets: tuple[str, ...] = ()
    frozen: bool = True
    moved: bool = True

    def __post_init__(self):
        if not self.targets:
            raise BadInput("no label is named: give `targets`, as targets=formation_energy,band_gap", "ct_uae")

    def task(self, encoder: nn.Module, inputs: Crystals, seed: int) -> nn.Module:
        """Several labels together; Missing for a field that the crystals do not have."""
        return Together(encoder, inputs, self.targets, seed, self.moved)

    def transfer(self, start: Pretrained, encoder: nn.Module, model: str, options) -> None:
        """Put the vectors of elements into `encoder`; BadInput where it has no table of elements or one of another width."""
        give(encoder, table_of(start.build()), model, self.frozen)


class Together(nn.Module):
    """The task of training: a head per label."""

    def __init__(self, encoder: nn.Module, inputs: Crystals, targets, seed: int, moved: bool):
        super().__init__()
        self.predictor, self.moved = multitask(encoder, inputs, targets, seed), moved

    @property
    def encoder(self) -> nn.Module:
        return self.predictor.encoder

    def loss(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the mean errors, and each."""
        crystals = turned_and_shifted(batch.crystals, rng) if self.moved else batch.crystals
        return self.predictor.loss(Batch(crystals, batch.graph, batch.rows))


def turned_and_shifted(crystals: Crystals, rng: torch.Generator) -> Crystals:
    """Every crystal turned by a rotation drawn evenly and moved by a normal draw of REACH Å; atoms are not wrapped into the cell, so that edges stay edges.

    Rotations from normal quaternions: K. Shoemake, Graphics Gems III (1992), 124.
    """
    draw = torch.randn(len(crystals), 7, generator=rng, dtype=torch.float64).to(crystals.cell)
    w, x, y, z = F.normalize(draw[:, :4], dim=-1).unbind(-1)
    turn = torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1).view(-1, 3, 3)
    cell = crystals.cell @ turn.transpose(1, 2)
    step = torch.linalg.solve(cell.transpose(1, 2), REACH * draw[:, 4:, None])[:, :, 0]
    return crystals.put(cell=cell, frac=crystals.frac + step[crystals.owner])


def table_of(encoder: nn.Module) -> Tensor:
    """(119, width) vectors of elements of an encoder; BadInput where it has none."""
    if hasattr(encoder, "element_embeddings"):
        return encoder.element_embeddings()
    held = getattr(encoder, "embed", None)
    if isinstance(held, nn.Embedding):
        return held.weight.detach().clone()
    raise BadInput(f"{type(encoder).__name__} has no table of elements that could be taken; pre-train crystal_transformer, megnet or schnet", "ct_uae")


def give(encoder: nn.Module, table: Tensor, model: str, frozen: bool) -> None:
    """Put (119, width) vectors of elements into an encoder."""
    if hasattr(encoder, "set_element_embeddings"):
        encoder.set_element_embeddings(table, frozen)
        return
    held = getattr(encoder, "embed", None)
    if not isinstance(held, nn.Embedding):
        raise BadInput("has no table of elements that could be set; cgcnn, megnet, alignn and encoders that embed elements directly have one", f"model {model!r}")
    if held.weight.shape != table.shape:
        raise BadInput(f"elements have {table.shape[1]} numbers in the start and {held.weight.shape[1]} here; give the encoder that width", f"model {model!r}")
    with torch.no_grad():
        held.weight.copy_(table)
    held.weight.requires_grad_(not frozen)
