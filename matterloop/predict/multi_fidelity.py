"""Several fidelities in one network: a learnt vector of the fidelity joins what the network makes of a crystal, and values of lower fidelity may be inputs.

C. Chen, Y. Zuo, W. Ye, X. Li, S. P. Ong, "Learning properties of ordered and disordered materials from multi-fidelity data", Nature Computational Science 1, 46
(2021), doi:10.1038/s43588-020-00002-x: the label of the fidelity is embedded as the global state of MEGNet, and all fidelities are learnt at once.

    u = v(fidelity)                               the state that MEGNet begins with, a learnt vector per fidelity
    x <- x + L ssp(L [x, v(fidelity), z, m])      any other encoder: on its features x, by crystal or atom
with z values of lower fidelity in units of their spread, 0 where they are not known, and m = 1 there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..base.errors import BadInput
from ..base.quantities import Quantity
from ..base.registry import Card, load
from ..base.seeds import torch_stream
from ..crystal.compositions import Compositions
from ..crystal.graph import Graph
from ..crystal.state import Crystals
from ..layers.parts import embedding, perceptron
from ..learn.targets import Features
from .megnet import MEGNet

CARD = Card(
    name="multi_fidelity",
    build="MultiFidelity",
    role="encoder",
    paper="10.1038/s43588-020-00002-x",
    year=2021,
    summary="a learnt vector of the fidelity of the data, and values of lower fidelity as inputs, around any encoder",
    capabilities=("seed", "whole"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={
        "smooth": "bonds are cut at the radius and averaged in MEGNet, the encoder of the paper: the prediction jumps when a bond appears",
        "far_atoms": "the global state joins all atoms of a structure, however far apart, as the paper intends",
    },
    reference=0.4667470174135996,
    small={"options": {"wide": 16, "width": 8, "hidden": 4, "blocks": 2, "bins": 20}, "levels": ("low", "middle", "high")},
    differs=(
        "any encoder may stand in the place of MEGNet; the vector of the fidelity then joins its last features, not every block",
        "values of lower fidelity as inputs are not in the paper, which gives the network their label alone",
        "fractional occupation of sites is not read: structures are ordered",
    ),
)


class MultiFidelity(nn.Module):
    """Encoder: the features of another encoder, told of which fidelity the answer shall be.

    encoder  name of the encoder within, with ":preset" where wanted; `options` its options
    levels   names of the fidelities, the highest last; the field `field` of the crystals holds their numbers 0 .. levels - 1. Where crystals have no such field
             the highest is meant
    inputs   {name of a field: (mean, spread)} of values of lower fidelity, NaN = not known, as is a field that crystals do not have
    vector   width of the learnt vector of a fidelity outside of MEGNet
    seed     of the first weights

    Missing for an unknown encoder or option; BadInput for labels that are no fidelity, levels of the same name and spreads that are not positive.
    """

    def __init__(self, encoder: str = "megnet", options: Mapping | None = None, levels: Sequence[str] = ("low", "high"), field: str = "fidelity",
                 inputs: Mapping[str, Sequence[float]] | None = None, vector: int = 16, seed: int = 0):
        super().__init__()
        self.levels, self.field, self.inputs = tuple(map(str, levels)), field, {k: tuple(map(float, v)) for k, v in (inputs or {}).items()}
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise BadInput(f"fidelities are {self.levels}; at least one is needed, each with a name of its own", "multi_fidelity")
        if bad := [k for k, v in self.inputs.items() if len(v) != 2 or not v[1] > 0]:
            raise BadInput(f"{self.inputs[bad[0]]} is no mean and positive spread", f"multi_fidelity, input {bad[0]!r}")
        rng, many = torch_stream(seed, "multi_fidelity"), len(self.levels)
        state = {"state": (field,), "levels": many} if encoder.partition(":")[0] == "megnet" and many > 1 else {}
        self.inner = load(encoder, role="encoder", **{**(options or {}), **state, "seed": seed})
        self.width, self.graph, self.offers = self.inner.width, self.inner.graph, tuple(getattr(self.inner, "offers", ()))
        if hasattr(self.inner, "head"):
            self.head = self.inner.head
        self.reads = (*((field,) if many > 1 else ()), *self.inputs)
        self.level = embedding(rng, many, vector) if many > 1 and not isinstance(self.inner, MEGNet) else None
        more = 2 * len(self.inputs) + (vector if self.level is not None else 0)
        self.mix = perceptron(rng, self.width + more, self.width, self.width) if more else None

    def forward(self, crystals: Crystals | Compositions, graph: Graph) -> Features:
        """Features of the encoder within, of the fidelities that the field says; vectors and tensors are left as they are."""
        label = self.label(crystals)
        found = self.inner(crystals.with_fields(whole={self.field: label}, quantities={self.field: Quantity()}), graph)
        if self.mix is None:
            return found
        known = (found.site if found.whole is None else found.whole).dtype
        parts = [] if self.level is None else [self.level(label)]
        u = torch.cat([*parts, *(self._value(crystals, name).to(known) for name in self.inputs)], -1)
        mixed = lambda x, rows: None if x is None else x + self.mix(torch.cat([x, rows], -1))
        site = found.site if found.whole is not None else mixed(found.site, u[crystals.owner])
        return found._replace(site=site, whole=mixed(found.whole, u))

    def label(self, crystals: Crystals | Compositions) -> Tensor:
        """(crystals,) number of the fidelity that is asked for."""
        many, where = len(self.levels), f"field {self.field!r}"
        if self.field not in crystals.whole or many == 1:
            return torch.full((len(crystals),), many - 1, device=crystals.species.device)
        given = crystals.get(self.field).reshape(len(crystals))
        label = given.long()
        if bool(((label < 0) | (label >= many) | (label != given)).any()):
            raise BadInput(f"a fidelity is not one of 0 .. {many - 1} ({', '.join(self.levels)})", where)
        return label

    def _value(self, crystals: Crystals | Compositions, name: str) -> Tensor:
        """(crystals, 2) a value in units of its spread, and whether it is missing."""
        mean, spread = self.inputs[name]
        value = crystals.get(name) if name in crystals.whole else torch.full((len(crystals),), torch.nan, device=crystals.species.device)
        value = (value.to(torch.float64).reshape(len(crystals)) - mean) / spread
        return torch.stack([value.nan_to_num(0.0), value.isnan().to(value)], -1)
