"""Sets of rows as one vector each, read several times with attention whose question is remembered between readings.

O. Vinyals, S. Bengio, M. Kudlur, "Order matters: sequence to sequence for sets", ICLR 2016, arXiv:1511.06391, eq. 3 to 7.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..crystal.segments import segment_softmax, segment_sum
from .parts import linear


class SetToVector(nn.Module):
    """(rows, width) in sets to (sets, 2 hidden): the last question and the last answer of `steps` readings.

    q = LSTM(q*), e_r = m_r . q, a = softmax of e over a set, s = sum_r a_r m_r, q* = [q, s], with m = L x the rows. An average, so twice the set gives
    the same vector; an empty set answers 0.
    """

    def __init__(self, rng: torch.Generator, width: int, hidden: int, steps: int = 3):
        super().__init__()
        self.hidden, self.steps = hidden, steps
        self.rows, self.gates = linear(rng, width, hidden), linear(rng, 2 * hidden, 4 * hidden)
        with torch.no_grad():
            self.gates.bias[hidden : 2 * hidden] = 1  # remember at first

    def forward(self, x: Tensor, index: Tensor, size: int, times: Tensor) -> Tensor:
        """`index` (rows,) says to which of `size` sets a row belongs, `times` (rows,) how often it is there."""
        m, often = self.rows(x), times.to(x.dtype).log()[:, None]
        cell, asked = m.new_zeros(size, self.hidden), m.new_zeros(size, 2 * self.hidden)
        for _ in range(self.steps):
            write, keep, new, show = self.gates(asked).chunk(4, -1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(new)
            question = torch.sigmoid(show) * torch.tanh(cell)
            weight = segment_softmax((m * question.index_select(0, index)).sum(-1, keepdim=True) + often, index, size)
            asked = torch.cat([question, segment_sum(weight * m, index, size)], -1)
        return asked
