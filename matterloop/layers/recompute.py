"""A function whose intermediate results are not kept for the backward pass but computed once more there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def recomputed(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """function(*tensors), differentiable once in those of the tensors that need it; the function may read no other tensor that needs a gradient.

    T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training deep nets with sublinear memory cost", arXiv:1604.06174.
    """
    return _Recomputed.apply(function, *tensors)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, *tensors):
        ctx.function = function
        ctx.save_for_backward(*tensors)
        return function(*tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, down):
        tensors = [t.detach().requires_grad_(wanted) for t, wanted in zip(ctx.saved_tensors, ctx.needs_input_grad[1:], strict=True)]
        with torch.enable_grad():
            out = ctx.function(*tensors)
        found = iter(torch.autograd.grad(out, [t for t in tensors if t.requires_grad], down))
        return None, *(next(found) if t.requires_grad else None for t in tensors)
