"""Sums, means, extremes and softmax over runs of rows: the one place where rows are reduced into bins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_HEARD: ContextVar[list[tuple[Tensor, Tensor]] | None] = ContextVar("softmaxes", default=None)


def segment_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows of `values` (rows, ...) into `size` bins chosen by `index` (rows,): (size, ...)."""
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)


def segment_count(index: Tensor, size: int) -> Tensor:
    """(size,) number of rows in each bin."""
    return torch.bincount(index, minlength=size)


def segment_mean(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Average rows per bin; empty bins give 0."""
    count = segment_count(index, size).clamp(min=1).to(values)
    return segment_sum(values, index, size) / count.view(-1, *[1] * (values.dim() - 1))


def segment_max(values: Tensor, index: Tensor, size: int, empty: float = float("-inf")) -> Tensor:
    """Largest row per bin, elementwise; empty bins give `empty`."""
    shape = (size, *values.shape[1:])
    where = index.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    return torch.full(shape, empty, dtype=values.dtype, device=values.device).scatter_reduce(0, where, values, "amax")


def segment_min(values: Tensor, index: Tensor, size: int, empty: float = float("inf")) -> Tensor:
    """Smallest row per bin, elementwise; empty bins give `empty`."""
    return -segment_max(-values, index, size, -empty)


def segment_softmax(score: Tensor, index: Tensor, size: int) -> Tensor:
    """Softmax of `score` (rows, ...) within each bin, stable for large scores."""
    top = segment_max(score.detach(), index, size, 0.0)[index]
    weight = (score - top).exp()
    share = weight / segment_sum(weight, index, size)[index]
    if (heard := _HEARD.get()) is not None:
        heard.append((share.detach(), index))
    return share


@contextmanager
def listening() -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The weights (rows, ...) and bins (rows,) of every `segment_softmax` inside, in order: what a network attends to."""
    heard: list[tuple[Tensor, Tensor]] = []
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)


def offsets_of(counts: Tensor) -> Tensor:
    """(B+1,) starts of runs of lengths `counts` (B,), the total last."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def runs(starts: Tensor, counts: Tensor) -> Tensor:
    """Concatenation of arange(start, start + count) for every run, without a loop: (counts.sum(),)."""
    total = int(counts.sum())
    begin = offsets_of(counts)[:-1]
    shift = (starts - begin).repeat_interleave(counts, output_size=total)
    return torch.arange(total, device=counts.device) + shift


class Bins:
    """Rows sorted into bins once and summed many times: several times faster than index_add where the same index serves again.

    index    (rows,)      bin of each row
    order    (rows,)      rows by bin
    offsets  (size + 1,)  where each bin starts in `order`, the number of rows last
    """

    def __init__(self, index: Tensor, size: int):
        self.index, self.size = index, size
        self.order = torch.sort(index, stable=True).indices
        self.offsets = offsets_of(torch.bincount(index, minlength=size))

    def sum(self, values: Tensor) -> Tensor:
        """(rows, width) to (size, width), differentiable any number of times."""
        return _BinSum.apply(values, self)

    def take(self, table: Tensor) -> Tensor:
        """(size, width) to (rows, width): table[index], differentiable any number of times."""
        return _BinTake.apply(table, self)

    def raw_sum(self, values: Tensor) -> Tensor:
        """`sum` outside of autograd."""
        if not len(self.order):
            return values.new_zeros(self.size, values.shape[1])
        return torch.embedding_bag(values, self.order, self.offsets, mode=0, include_last_offset=True)[0]


class _BinSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, bins):
        ctx.bins = bins
        return bins.raw_sum(values)

    @staticmethod
    def backward(ctx, slope):
        return ctx.bins.take(slope), None


class _BinTake(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, bins):
        ctx.bins = bins
        return table.index_select(0, bins.index)

    @staticmethod
    def backward(ctx, slope):
        return ctx.bins.sum(slope.contiguous()), None
