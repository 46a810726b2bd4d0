"""CGCNN: gated convolutions over the nearest neighbours of each atom, and the mean over atoms.

T. Xie, J. C. Grossman, "Crystal graph convolutional neural networks for an accurate and interpretable prediction of material properties",
Physical Review Letters 120, 145301 (2018), doi:10.1103/PhysRevLett.120.145301, eqs. 5 and 6; settings of the published code.

    v_i' = softplus(v_i + BN(sum_j sigmoid(z^f_ij) * softplus(z^s_ij))),  z_ij = BN(W [v_i, v_j, e_ij])
    y = W softplus(W softplus(mean_i v_i) + b) + b
with e_ij the distance in Gaussians exp(-(r - mu_k)^2 / step^2), v_i at first a linear map of 92 zeros and ones of the element.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import Alike, lengths_of, nodes_of
from ..crystal.graph import Graph, Nearest
from ..crystal.state import Crystals
from ..layers.gated_convolution import GatedConvolution, Messages
from ..layers.parts import Gaussians, linear
from ..learn.targets import Features
from ..represent.element_bins import WIDTH, element_bins

CARD = Card(
    name="cgcnn",
    build="CGCNN",
    role="encoder",
    paper="10.1103/PhysRevLett.120.145301",
    year=2018,
    summary="gated convolutions over the 12 nearest neighbours, batch normalisation, mean over atoms",
    capabilities=("seed",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=145.58739583404332,
    waives={"smooth": "neighbours are cut at the twelfth without a smooth end, as in the paper: predictions jump where another atom takes its place"},
    presets={"selector": {"selector": True}},
    small={"width": 16, "blocks": 2, "neighbours": 8, "radius": 6.0, "step": 0.4, "hidden": 16},
    differs=(
        "all neighbours as near as the twelfth are kept; the code takes twelve of them in the order in which they were listed, so that equal crystals differ",
        "an atom with fewer than twelve neighbours within 8 Å keeps those it has; the code fills up with the first atom of the crystal at 9 Å",
        "the bins of element properties are filled from the tables of Magpie: those of groups, periods, blocks, ionisation energies and nearly all valence "
        "electrons agree with the code's table, electronegativity, electron affinity and volume for four elements of five, radii (Cordero's) for two of five",
        "no bias before batch normalisation, which would take it away",
        "no dropout before the last layer where classes are predicted",
        "first weights are drawn after Glorot for all layers; the code takes torch's own",
        "an atom or edge that symmetry repeats is computed once and counted as often as it occurs: the same numbers, less work",
    ),
)
SPARSE = 0.01  # of the mean absolute weight of element properties, in the loss


class CGCNN(nn.Module):
    """Encoder: (atoms, width) features.

    width       features of an atom; `blocks` convolutions
    neighbours  nearest neighbours of an atom within `radius` Å, with all that are as near as the last
    step        of the Gaussians in Å, from 0 to the radius
    hidden      width of the layers of its head after pooling; `layers` their number
    selector    a trainable weight for every property of elements, at first 1 (CrysXPP)
    elements    > 0: so many learnt numbers of each element take the place of the 92, see `set_element_embeddings`
    seed        of the first weights
    """

    def __init__(self, width: int = 64, blocks: int = 3, neighbours: int = 12, radius: float = 8.0, step: float = 0.2, hidden: int = 128, layers: int = 1,
                 selector: bool = False, elements: int = 0, seed: int = 0):
        super().__init__()
        rng = torch_stream(seed, "cgcnn")
        self.width, self.hidden, self.layers = width, hidden, layers
        self.graph = Alike(Nearest(neighbours, radius, fewer=True))
        known = elements or WIDTH
        if elements:
            self.elements = nn.Parameter(torch.randn(MAX_Z + 1, elements, generator=rng))
        else:
            self.register_buffer("elements", torch.tensor(element_bins()))  # kept with the weights, which go with these very numbers
        self.embed = linear(rng, known, width)
        self.select = nn.Parameter(torch.ones(known)) if selector else None
        if selector:
            self.penalty = lambda: SPARSE * self.select.abs().mean()
        bins = round(radius / step) + 1
        self.expand = Gaussians(0.0, radius, bins, 1 / step**2)
        self.blocks = nn.ModuleList(GatedConvolution(rng, width, bins) for _ in range(blocks))

    def forward(self, crystals: Crystals, graph: Graph) -> Features:
        """Features in the dtype of the weights."""
        nodes = nodes_of(graph, crystals.atoms)
        length, count = lengths_of(graph, crystals)
        e = self.expand(length.to(self.embed.weight.dtype))
        messages = Messages(nodes, count, e.dtype)
        elements = self.elements if self.select is None else self.elements * self.select
        x = F.embedding(crystals.species[nodes.first], self.embed(elements))
        for block in self.blocks:
            x = block(x, e, messages)
        return Features(x[nodes.of_atom])

    def head(self, rng: torch.Generator, outputs: int) -> nn.Module:
        """The layers of the paper after pooling: (rows, width) to (rows, outputs)."""
        widths = [self.width, *[self.hidden] * self.layers]
        maps = [m for a, b in zip(widths, widths[1:], strict=False) for m in (nn.Softplus(), linear(rng, a, b))]
        return nn.Sequential(*maps, nn.Softplus(), linear(rng, widths[-1], outputs))

    def set_element_embeddings(self, table: Tensor, frozen: bool = True) -> None:
        """Begin with the rows of `table` (119, elements) instead of properties, and keep them as they are if `frozen`; BadInput for another width."""
        if not isinstance(self.elements, nn.Parameter) or table.shape != self.elements.shape:
            raise BadInput(f"the table is {tuple(table.shape)}; build the model with elements={table.shape[-1]}", "CGCNN")
        with torch.no_grad():
            self.elements.copy_(table)
        self.elements.requires_grad_(not frozen)
