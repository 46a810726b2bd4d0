"""CrystalTransformer: attention between the atoms of a cell, each told by a learnt vector of its element and its Cartesian coordinates as they stand.

L. Jin, Z. Du, L. Shu, Y. Cen, Y. Xu, Y. Mei, H. Zhang, "Transformer-generated atomic embeddings to enhance prediction accuracy of crystal properties with machine
learning", Nature Communications 16, 1210 (2025), doi:10.1038/s41467-025-56481-x, figure 6; sizes after the published weights.

    x_i = (e(z_i), L r_i)                                     two halves: the element's vector, the "universal atomic embedding", and its place
    x <- N(x + attention(x)),  x <- N(x + L relu(L x))        eight times, N layer normalisation
    y = L mean_i x_i
The network sees no lattice and knows no symmetry: turns and shifts are learnt from copies (predict/ct_uae.py). It is there for its vectors of elements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.elements import MAX_Z
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.graph import Graph
from ..crystal.segments import offsets_of
from ..crystal.state import Crystals
from ..layers.parts import embedding, linear
from ..learn.targets import Features
from .crabnet import Block

CARD = Card(
    name="crystal_transformer",
    build="CrystalTransformer",
    role="encoder",
    paper="10.1038/s41467-025-56481-x",
    year=2025,
    summary="attention between the atoms of a cell by raw coordinates: a maker of vectors of elements",
    capabilities=("seed",),
    keeps=("permutation",),
    waives={
        "rotation": "coordinates enter as they stand, as in the paper: turns are learnt from turned copies",
        "reflection": "coordinates enter as they stand, as in the paper",
        "translation": "coordinates enter as they stand, as in the paper: shifts are learnt from shifted copies",
        "cell": "the lattice is not looked at: an atom that is told at an equal place of another cell is another atom",
        "supercell": "the lattice is not looked at: copies of an atom are further atoms",
        "far_atoms": "attention joins all atoms of a structure, however far apart",
    },
    reference=2.2784109248070403,
    presets={"small": {"embedding_width": 64, "place_width": 64, "layers": 3, "heads": 4, "inner": 128}},
    small={"embedding_width": 8, "place_width": 24, "layers": 1, "heads": 2, "inner": 64, "dropout": 0.0},
    differs=(
        "crystals are the mean of their atoms; the code reads the first atom that is listed",
        "keys have no bias: a softmax does not feel it; the code's positional encoding, which nothing reads, is left out",
    ),
)


class CrystalTransformer(nn.Module):
    """Encoder: (atoms, embedding_width + place_width) features.

    embedding_width  of an element's vector; place_width of what becomes of coordinates
    layers, heads, inner, dropout  of the attention
    reach            Å that coordinates are divided by
    seed             of the first weights
    """

    def __init__(self, embedding_width: int = 128, place_width: int = 128, layers: int = 8, heads: int = 8, inner: int = 512, dropout: float = 0.1, reach: float = 1.0,
                 seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "crystal_transformer")
        self.width, self.reach = embedding_width + place_width, reach
        self.embed, self.place = embedding(rng, MAX_Z + 1, embedding_width), linear(rng, 3, place_width)
        self.blocks = nn.ModuleList(Block(rng, self.width, heads, inner, dropout) for _ in range(layers))

    def graph(self, crystals: Crystals) -> Graph:
        """No edges: every atom hears every other."""
        none = crystals.species.new_zeros(0)
        return Graph(none, none, none.new_zeros(0, 3))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights."""
        counts, owner = crystals.counts, crystals.owner
        longest = int(counts.max()) if len(counts) else 0
        place = torch.arange(len(owner), device=owner.device) + (longest * torch.arange(len(counts), device=owner.device) - offsets_of(counts)[:-1])[owner]
        there = torch.arange(longest, device=owner.device) < counts[:, None]
        x = torch.cat([self.embed(crystals.species), self.place((crystals.cart / self.reach).to(self.place.weight.dtype))], -1)
        for block in self.blocks:
            x = block(x, place, there)
        return Features(x)

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The last map of the paper: (rows, width) to (rows, outputs)."""
        return linear(rng, self.width, outputs)

    def element_embeddings(self) -> Tensor:
        """(119, embedding_width) copy of the elements' vectors, row = atomic number."""
        return self.embed.weight.detach().clone()
