"""CrysGNN: an encoder learns to rebuild atoms and connections and to tell symmetries apart; frozen, it teaches other encoders beside their labels.

K. Das, B. Samanta, P. Goyal, S.-C. Lee, S. Bhattacharjee, N. Ganguly, "CrysGNN: distilling pre-trained knowledge to enhance property prediction for crystalline
materials", Proceedings of the AAAI Conference on Artificial Intelligence 37, 7323 (2023), doi:10.1609/aaai.v37i6.25892, arXiv:2301.05852; settings of the code.

    loss = (connections + elements + space group + contrast) / 4, of features of unit length
    connections, elements  as in CrysXPP, over all pairs and atoms of the batch
    space group            cross entropy of one of 230 by the mean over atoms
    contrast               -log exp(s_ap / t) / (exp(s_ap / t) + sum_n exp(s_an / t)) over pairs a, p of one crystal system, n of others; s cosine, t = 0.07
The student's loss, (1 - share) property + share |teacher - student|^2, is `Distilled` in learn/pretrained.py: `matterloop train ... --teacher FOLDER`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.compositions import atom_mean
from ..crystal.space_groups import crystal_system
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from ..layers.parts import linear
from ..layers.rebuilding import PairClasses
from ..learn.data import Batch
from ..learn.pretraining import sites
from ..represent.element_bins import WIDTH, element_bins
from .crysxpp import CLASSES, NONE, Connected

CARD = Card(
    name="crysgnn",
    build="CrysGNN",
    role="pretraining",
    paper="10.1609/aaai.v37i6.25892",
    year=2023,
    summary="elements, connections, space groups and likeness of crystal systems; teaches students beside their labels",
    keeps=("rotation", "reflection", "translation", "permutation", "cell"),
    reference=4.8456641365890025,
    waives={"supercell": "edges to copies of one atom are edges to several atoms in a supercell: fewer lead to each"},
    differs=(
        "any encoder of atoms is trained; the paper's is CGCNN with five convolutions, `matterloop pretrain crysgnn cgcnn --set blocks=5`",
        "neighbours as far as the twelfth are all counted, and atoms with fewer keep those; the code takes twelve in the order of listing and fills up with the first atom",
        "the bilinear form has no bias of its own; the linear map after it has",
        "a student's features pass a linear map before they are compared, so that any width will do; squares are summed over features as in the paper, the code averages them",
        "the paper pre-trains on 800,000 crystals for 20 epochs of Adam at 0.03 in batches of 128; here the data are those given and the recipe is that of the house",
    ),
)
SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
FAR = -1e30  # stands for minus infinity, with a slope


@dataclass(frozen=True)
class CrysGNN:
    """temperature  of the contrast
    symprec      Å within which symmetry is looked for
    """

    temperature: float = 0.07
    symprec: float = 0.01

    def task(self, encoder: nn.Module, inputs: Crystals, seed: int = 0) -> nn.Module:
        """What the encoder is trained on. BadInput naming the crystal where its symmetry cannot be found."""
        return Task(self, encoder, inputs, seed)


class Task(nn.Module):
    """The encoder with its four readers."""

    def __init__(self, method: CrysGNN, encoder: nn.Module, inputs: Crystals, seed: int):
        super().__init__()
        rng, width = torch_stream(seed, "crysgnn"), encoder.width
        self.encoder, self.temperature, self.connected = encoder, method.temperature, Connected(inputs)
        self.groups = torch.tensor([s.number for s in analyse(inputs.bare(), method.symprec)])
        self.systems = torch.tensor([SYSTEMS.index(crystal_system(int(g))) for g in self.groups])
        self.pairs, self.features, self.group = PairClasses(rng, width, CLASSES), linear(rng, width, WIDTH), linear(rng, width, 230)
        self.register_buffer("elements", torch.tensor(element_bins()), persistent=False)

    def loss(self, batch: Batch, rng: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of the four; nothing is drawn."""
        crystals = batch.crystals
        site = F.normalize(sites(self.encoder(crystals, batch.graph)))
        whole = atom_mean(site, crystals)
        weight = torch.tensor([NONE] + [1.0] * (CLASSES - 1)).to(site)
        parts = {
            "connections": F.cross_entropy(self.pairs(site, crystals), self.connected.of(batch.rows), weight),
            "elements": F.binary_cross_entropy_with_logits(self.features(site), self.elements[crystals.species].to(site)),
            "space_group": F.cross_entropy(self.group(whole), self.groups[batch.rows] - 1),
            "contrast": contrast(whole, self.systems[batch.rows], self.temperature)}
        return sum(parts.values()) / len(parts), parts


def contrast(rows: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Mean over ordered pairs of equal label of how little one is the other's nearest, 0 where there is no such pair (K. Sohn, NIPS 2016; NT-Xent with labels)."""
    unit = F.normalize(rows)
    alike = unit @ unit.T / temperature
    same = label[:, None] == label
    others = alike.masked_fill(same, FAR).logsumexp(1, keepdim=True)
    pairs = same & ~torch.eye(len(label), dtype=torch.bool)
    return (F.softplus(others - alike) * pairs).sum() / pairs.sum().clamp(min=1)
