"""Pre-training of atoms and then of crystals: what was masked is named, surroundings are told from those of others, several labels are learnt together.

W. Hu, B. Liu, J. Gomes, M. Zitnik, P. Liang, V. Pande, J. Leskovec, "Strategies for pre-training graph neural networks", International Conference on
Learning Representations 2020, arXiv:1905.12265, sections 3.1 (context prediction), 3.2 (attribute masking) and 3.3 (supervised, of whole graphs).

    masking     cross entropy of the element of masked atoms, and of the length of hidden edges in bins, from features of the atoms at them
    context     sigmoid(h_i c_j) says whether the surroundings j, atoms between two radii, are those of atom i: 1 for j = i, 0 for j of another
    supervised  a head for each of the `targets`, trained together; the encoder begins with weights from one of the first two
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.errors import BadInput, Missing
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.alike import Alike, lengths_of, nodes_of
from ..crystal.graph import Graph, Within
from ..crystal.segments import Bins, segment_max, segment_sum
from ..crystal.state import Crystals
from ..layers.parts import Gaussians, embedding, linear, perceptron
from ..learn.data import Batch, Samples
from ..learn.pretraining import multitask, sites

CARD = Card(
    name="pretrain_gnn",
    build="PretrainGNN",
    role="pretraining",
    paper="1905.12265",
    year=2019,
    summary="masked elements and distances, or context prediction, then several labels together; for any encoder of atoms",
    capabilities=("supervised",),
    keeps=("rotation", "reflection", "translation", "cell"),
    reference=8.769515220480198,
    waives={
        "permutation": "which atoms are masked is drawn in the order of atoms: another order draws others, equally often",
        "supercell": "copies of an atom are drawn one by one, so that fewer of them are masked together"},
    presets={"masking": {"what": "masking"}, "context": {"what": "context"}},
    differs=(
        "atoms that symmetry makes equal are masked together where the encoder computes them once",
        "edges to hide are drawn apart from atoms, all edges between two different atoms together, in both directions; the code hides those at masked atoms. Lengths take the "
        "place of kinds of bonds and are told in bins of 0.5 Å; they are hidden only where the encoder takes lengths from its graph",
        "context is what lies between two radii in Å instead of between 4 and 7 bonds, read by one sum over filtered elements instead of a second graph network, for every "
        "atom instead of one per graph; the features of the atom pass a linear map before the product",
        "the weights are those of the house's encoders and recipe: the paper trains GIN of 5 layers and 300 features for 100 epochs, Adam at 1e-3 in batches of 256",
    ),
)
WAYS = ("masking", "context")
HIDDEN = 1e3  # Å: the length of a hidden edge, beyond every function of distance
BIN, BINS = 0.5, 24  # Å; of lengths that are told


@dataclass(frozen=True)
class PretrainGNN:
    """what     "masking" or "context"
    mask        share of atoms whose element is masked, at least one of a crystal
    classes     kinds that atoms are drawn into; edges between different atoms whose kinds add up to a multiple of them are hidden: 1 in `classes`; 0: none
    inner, outer  radii in Å between which context lies
    targets     fields with labels of crystals: these are learnt instead
    """

    what: str = "masking"
    mask: float = 0.15
    classes: int = 7
    inner: float = 4.0
    outer: float = 6.5
    targets: Sequence[str] = ()

    def task(self, encoder: nn.Module, inputs: Crystals, seed: int = 0) -> nn.Module:
        """What the encoder is trained on. Missing for an unknown way, BadInput for shares and radii out of order."""
        if self.what not in WAYS:
            raise Missing("way of pre-training", self.what, WAYS)
        if not 0 < self.mask < 1 or not 0 <= self.inner < self.outer:
            raise BadInput(f"mask {self.mask} must lie between 0 and 1, inner {self.inner} Å below outer {self.outer} Å", "pretrain_gnn")
        if self.targets:
            return multitask(encoder, inputs, self.targets, seed)
        return (Masking if self.what == "masking" else Context)(self, encoder, inputs, seed)


class Masking(nn.Module):
    """Elements and lengths that were hidden are told from the features of atoms."""

    def __init__(self, method: PretrainGNN, encoder: nn.Module, inputs: Crystals, seed: int):
        super().__init__()
        rng = torch_stream(seed, "pretrain_gnn", "masking")
        self.encoder, self.share, self.classes = encoder, method.mask, method.classes
        self.element = linear(rng, encoder.width, MAX_Z + 1)
        self.length = linear(rng, encoder.width, BINS) if method.classes and "length" in encoder.graph(inputs[:1]).edge else None

    def loss(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross entropy of elements and of lengths."""
        crystals, graph = batch.crystals, batch.graph
        alike = torch.arange(crystals.atoms) if graph.alike is None else graph.alike
        chance = torch.rand(crystals.atoms, generator=rng, dtype=torch.float64)[alike]
        least = -segment_max(-chance, crystals.owner, len(crystals))
        masked = (chance < self.share) | (chance == least[crystals.owner])
        hidden, shown = None, graph
        if self.length is not None:
            kind = torch.randint(self.classes, (crystals.atoms,), generator=rng)[alike]
            apart = alike[graph.senders] != alike[graph.receivers]  # an atom always sees itself
            hidden = (apart & ((kind[graph.senders] + kind[graph.receivers]) % self.classes == 0)).nonzero()[:, 0]
            length = graph.edge["length"]
            shown = replace(graph, edge={**graph.edge, "length": length.index_fill(0, hidden, HIDDEN)})
        site = sites(self.encoder(crystals.put(species=crystals.species.masked_fill(masked, 0)), shown))
        told = (masked & (alike == torch.arange(crystals.atoms))).nonzero()[:, 0]
        parts = {"element": F.cross_entropy(self.element(site[told]), crystals.species[told])}
        if self.length is not None:
            ends = site[graph.senders[hidden]] + site[graph.receivers[hidden]]
            bins = (graph.edge["length"][hidden] / BIN).long().clamp(max=BINS - 1)
            parts["length"] = F.cross_entropy(self.length(ends), bins, reduction="sum") / max(len(hidden), 1)
        return sum(parts.values()), parts


@dataclass(frozen=True)
class Ring:
    """All images between two radii in Å."""

    inner: float
    outer: float

    def __call__(self, crystals: Crystals) -> Graph:
        """Errors as `Within`."""
        graph = Within(self.outer)(crystals)
        return graph.pick(graph.vectors(crystals.bare().to(torch.float64)).norm(dim=-1) > self.inner)


class Context(nn.Module):
    """Whose surroundings these are: those of the atom against those of another, drawn anew in every step."""

    def __init__(self, method: PretrainGNN, encoder: nn.Module, inputs: Crystals, seed: int):
        super().__init__()
        rng = torch_stream(seed, "pretrain_gnn", "context")
        width = encoder.width
        self.encoder, self.rings = encoder, Samples.of(inputs.bare(), Alike(Ring(method.inner, method.outer)))
        self.expand = Gaussians(method.inner, method.outer, 16)
        self.filter, self.elements = perceptron(rng, 16, width, width), embedding(rng, MAX_Z + 1, width)
        self.read, self.outward = perceptron(rng, width, width, width), linear(rng, width, width)

    def loss(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross entropy of true and of false pairs."""
        crystals = batch.crystals
        ring = self.rings.batch(batch.rows).graph
        nodes = nodes_of(ring, crystals.atoms)
        length, count = lengths_of(ring, crystals)
        bins = self.expand(length.to(self.outward.weight.dtype))
        senders, receivers = Bins(nodes.senders, len(nodes)), Bins(nodes.receivers, len(nodes))
        message = senders.take(self.elements(crystals.species[nodes.first])) * self.filter(bins) * count[:, None].to(bins)
        many = segment_sum(count, nodes.receivers, len(nodes)).clamp(min=1)[:, None].to(bins)
        context = self.read(receivers.sum(message) / many)
        own = self.outward(sites(self.encoder(crystals, batch.graph))[nodes.first])
        other = torch.randperm(len(nodes), generator=rng)
        scale = own.shape[1] ** -0.5
        true, false = ((own * c).sum(-1) * scale for c in (context, context[other]))
        parts = {"true": F.softplus(-true).mean(), "false": F.softplus(false).mean()}
        return sum(parts.values()), parts
