"""Sets whose members weigh differently: messages between members and their pooling, by attention that counts weights; and what such models begin and end with.

    a_j = n_j w_j^p exp(g_j) / sum_k n_k w_k^p exp(g_k)    weight w of a member, learnt power p, learnt score g; n equal members may stand as one
    out = mean over heads of sum_j a_j m_j                 learnt message m
Attention of O. Vinyals, S. Bengio, M. Kudlur, arXiv:1511.06391, with weights as in R. E. A. Goodall, A. A. Lee, Nature Communications 11, 6280 (2020),
eqs. 2 to 4. The last map of a message is linear and the a_j add up to 1, so it is applied once to their sum; it is the mean over heads too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..crystal.segments import offsets_of, runs, segment_softmax, segment_sum
from ..represent.element_vectors import element_vectors
from .parts import linear


def dense_pairs(counts: Tensor) -> tuple[Tensor, Tensor]:
    """(receivers, senders), every ordered pair of members of sets of `counts` (sets,) members that follow each other, a member with itself too."""
    begin = offsets_of(counts)[:-1].repeat_interleave(counts)
    many = counts.repeat_interleave(counts)
    receivers = torch.arange(len(many), device=counts.device).repeat_interleave(many)
    return receivers, runs(begin, many)


class ElementInput(nn.Module):
    """(rows,) atomic numbers to (rows, width): a linear map of what is known of the element, and a learnt vector of its own that begins at zero."""

    def __init__(self, rng: torch.Generator, width: int):
        super().__init__()
        table = torch.from_numpy(element_vectors().copy())
        self.register_buffer("known", table)
        self.read = linear(rng, table.shape[1], width)
        self.own = nn.Embedding(MAX_Z + 1, width, _weight=torch.zeros(MAX_Z + 1, width))

    def forward(self, species: Tensor) -> Tensor:
        return self.read(self.known[species]) + self.own(species)


class WeightedAttention(nn.Module):
    """(rows, width) features and ln of weights (rows,) to one vector per set, or per member where it looks at `pairs`.

    hidden  width of the one hidden layer of scores and messages, leaky ReLU behind it; `heads` of them
    pairs   scores and messages depend on the receiving member too
    """

    def __init__(self, rng: torch.Generator, width: int, hidden: int, heads: int, pairs: bool):
        super().__init__()
        self.heads = heads
        parts = [linear(rng, width * (1 + pairs), hidden) for _ in range(2 * heads)]  # scores of all heads, then messages
        first = torch.cat([p.weight for p in parts]).detach()
        self.of_sender = nn.Parameter(first[:, :width].clone())
        self.of_receiver = nn.Parameter(first[:, width:].clone()) if pairs else None
        self.bias = nn.Parameter(torch.zeros(len(first)))
        self.score = nn.Parameter(torch.stack([linear(rng, hidden, 1).weight[0] for _ in range(heads)]).detach())
        self.power = nn.Parameter(torch.randn(heads, generator=rng))
        self.out = linear(rng, heads * hidden, width)

    def forward(self, x: Tensor, log_weight: Tensor, receivers: Tensor, senders: Tensor | None, size: int, log_count: Tensor | None = None) -> Tensor:
        """receivers (edges,): the member, or the set, that each row of `senders` speaks to; senders None: every member once. (size, width)."""
        log_weight = log_weight[:, None] * self.power + (0.0 if log_count is None else log_count[:, None])
        hidden = F.linear(x, self.of_sender, self.bias)
        if senders is not None:
            hidden = hidden.index_select(0, senders).add_(F.linear(x, self.of_receiver).index_select(0, receivers))
            log_weight = log_weight.index_select(0, senders)
        hidden = F.leaky_relu(hidden, inplace=senders is not None).view(len(hidden), 2, self.heads, -1)
        score = (hidden[:, 0] * self.score).sum(-1) + log_weight
        share = segment_softmax(score, receivers, size)
        return self.out(segment_sum(share[..., None] * hidden[:, 1], receivers, size).flatten(1))


class SetNetwork(nn.Module):
    """Members (rows, width) of sets to sets (sets, width): `layers` of messages between all members, each added to the members, then pooling."""

    def __init__(self, rng: torch.Generator, width: int, layers: int, heads: int, hidden: int):
        super().__init__()
        self.messages = nn.ModuleList(WeightedAttention(rng, width, hidden, heads, pairs=True) for _ in range(layers))
        self.pool = WeightedAttention(rng, width, hidden, heads, pairs=False)

    def forward(self, x: Tensor, weight: Tensor, owner: Tensor, size: int, count: Tensor | None = None) -> Tensor:
        """x (rows, width), weight (rows,) positive, owner (rows,) set of each, ascending; count (rows,) equal members that each row stands for, 1 if absent."""
        receivers, senders = dense_pairs(torch.bincount(owner, minlength=size))
        log_weight, log_count = weight.log(), None if count is None else count.log()
        for message in self.messages:
            x = x + message(x, log_weight, receivers, senders, len(x), log_count)
        return self.pool(x, log_weight, owner, None, size, log_count)


class ResidualPerceptron(nn.Module):
    """x -> act(L x) + S x from width to width, S the identity where widths agree and a linear map without bias else; a plain linear map last if `outputs`."""

    def __init__(self, rng: torch.Generator, widths: tuple[int, ...], outputs: int = 0, slope: float = 0.0):
        super().__init__()
        self.slope = slope  # of the activation below zero
        steps = list(zip(widths, widths[1:], strict=False))
        self.main = nn.ModuleList(linear(rng, a, b) for a, b in steps)
        self.shortcut = nn.ModuleList(nn.Identity() if a == b else linear(rng, a, b, bias=False) for a, b in steps)
        self.last = linear(rng, widths[-1], outputs) if outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for main, shortcut in zip(self.main, self.shortcut, strict=True):
            x = F.leaky_relu(main(x), self.slope) + shortcut(x)
        return self.last(x)
