"""Where the layers of a network look: the weights of every softmax over neighbours, sites or elements, heard without the network's help.

A weight says where a layer looks, not what follows from it (S. Jain, B. C. Wallace, NAACL 2019, arXiv:1902.10186): compare with occlusion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..base.elements import symbol
from ..base.errors import BadInput
from ..crystal.alike import nodes_of
from ..crystal.graph import Graph
from ..crystal.segments import listening, segment_sum
from ..layers.weighted_sets import dense_pairs
from .explanation import Reading, State


@dataclass(frozen=True)
class Attention:
    """One softmax of a network: `weight` (rows, heads), which add up to 1 over the rows of each bin of `index` (rows,).

    kind  "neighbours": edges of each atom; "sites": atoms of each crystal; "members": elements, or edges, of each crystal; "elements": pairs of elements, of
          the one that looks; "other"
    """

    kind: str
    layer: int
    weight: Tensor
    index: Tensor


class _Dots(TorchFunctionMode):
    """Hears scaled dot products between members of sets that are filled up to equal lengths; `heard` as from `listening`, rows ordered as dense pairs."""

    def __init__(self, heard: list[tuple[Tensor, Tensor]]):
        super().__init__()
        self.heard = heard

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and (mask := kwargs.get("attn_mask")) is not None and mask.dtype == torch.bool:
            query, key = args[:2]
            score = query @ key.mT / math.sqrt(query.shape[-1])
            there = mask.expand_as(score)
            weight, real = score.masked_fill(~there, float("-inf")).softmax(-1), there[:, 0, 0]
            pair = real[:, :, None] & real[:, None]
            number = (real.flatten().cumsum(0) - 1).view_as(real)
            self.heard.append((weight.permute(0, 2, 3, 1)[pair].detach(), number[:, :, None].expand_as(pair)[pair]))
        return func(*args, **kwargs)


@torch.no_grad()
def attention(reading: Reading, state: State, graph: Graph | None = None) -> list[Attention]:
    """The attention of every layer that shows its weights, in the order of the network; empty where none does.

    Where one atom stands for all alike, the weights of sites are divided among them, and an edge's weight is that of all edges it stands for.
    """
    graph = reading.graph(state) if graph is None else graph
    nodes = nodes_of(graph, len(state.species))
    with listening() as heard, _Dots(heard):
        reading(state, graph)
    pairs = _pairs(state, graph)[0] if torch.equal(graph.senders, graph.receivers) else graph.receivers[:0]
    found = []
    for i, (weight, index) in enumerate(heard):
        weight = weight.reshape(len(index), -1)
        same = lambda other, index=index: len(other) > 0 and torch.equal(index, other)
        if same(state.owner[nodes.first]):
            found.append(Attention("sites", i, (weight / nodes.copies[:, None])[nodes.of_atom], state.owner))
        elif same(nodes.receivers):
            found.append(Attention("neighbours", i, weight, graph.receivers))
        else:
            found.append(Attention("members" if same(graph.owner(state)) else "elements" if same(pairs) else "other", i, weight, index))
    return found


def attention_between(state: State, graph: Graph, found: Attention) -> dict[tuple[str, str], float]:
    """{(who looks, at whom): share of the attention of an average atom of the one element that goes to the other}, of neighbours or elements; BadInput for other kinds."""
    if found.kind not in ("neighbours", "elements"):
        raise BadInput(f"is attention over {found.kind}, wanted is that over neighbours or elements", "attention_between")
    here, there = (graph.receivers, graph.senders) if found.kind == "neighbours" else (graph.receivers[k] for k in _pairs(state, graph))
    weight = found.weight.mean(1)
    if found.kind == "neighbours":
        nodes = nodes_of(graph, len(state.species))
        weight = weight * nodes.copies[nodes.of_atom[here]]
    kinds, of = torch.unique(torch.stack([state.species[here], state.species[there]], -1), dim=0, return_inverse=True)
    total = segment_sum(weight, of, len(kinds))
    whole = segment_sum(total, kinds[:, 0], int(kinds.max()) + 1)
    return {(symbol(a), symbol(b)): float(t / whole[a]) for (a, b), t in zip(kinds.tolist(), total, strict=True)}


def _pairs(state: State, graph: Graph) -> tuple[Tensor, Tensor]:
    """(who looks, at whom) of all pairs of loops of each crystal."""
    return dense_pairs(torch.bincount(graph.owner(state), minlength=len(state)))
