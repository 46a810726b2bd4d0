"""Where atoms enter a network: the place at which atomic numbers become rows of features, found in any encoder without its help.

An entrance is the outermost module that is called with atomic numbers, or a look-up of rows by them. Rows that enter may stand for an atom, for all atoms
alike (crystal/alike.py) or for all atoms of an element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..crystal.alike import nodes_of
from ..crystal.compositions import Compositions
from ..crystal.graph import Graph
from ..crystal.segments import segment_mean, segment_sum
from ..crystal.state import Crystals


@dataclass(frozen=True)
class Rows:
    """Which rows that enter belong to which atoms, by way of groups that both are in.

    of_row   (rows,) group of each row
    of_atom  (atoms,) group of each atom
    size     number of groups
    """

    of_row: Tensor
    of_atom: Tensor
    size: int

    def shared_out(self, values: Tensor) -> Tensor:
        """(atoms,) numbers of rows (rows,), those of a group added up and divided evenly among its atoms."""
        many = torch.bincount(self.of_atom, minlength=self.size).to(values)
        return (segment_sum(values, self.of_row, self.size) / many)[self.of_atom]

    def taken(self, values: Tensor) -> Tensor:
        """(rows,) numbers of atoms (atoms,), averaged over those that a row stands for."""
        return segment_mean(values, self.of_atom, self.size)[self.of_row]


Change = Callable[[Tensor, Rows, int], Tensor]
"""(what enters (rows, width), whose it is, number of the entrance) -> what is to enter instead."""


def rows_of(index: Tensor, state: Crystals | Compositions, graph: Graph) -> Rows | None:
    """Whose the rows looked up by `index` are; None where it does not hold the atomic numbers of the state."""
    species, n = state.species, len(state.species)
    if torch.equal(index, species):
        every = torch.arange(n, device=species.device)
        return Rows(every, every, n)
    if graph.alike is not None:
        nodes = nodes_of(graph, n)
        if torch.equal(index, species[nodes.first]):
            return Rows(torch.arange(len(nodes), device=species.device), nodes.of_atom, len(nodes))
    if len(index) == len(graph) and torch.equal(graph.senders, graph.receivers) and torch.equal(index, species[graph.receivers]):
        kinds, of_atom = torch.unique(state.owner * (MAX_Z + 1) + species, return_inverse=True)
        return Rows(of_atom[graph.receivers], of_atom, len(kinds))
    return None


class _Doorman(TorchFunctionMode):
    """Passes what enters through `change`; modules count by hooks, plain look-ups by the call of F.embedding outside of them."""

    def __init__(self, state: Crystals | Compositions, graph: Graph, change: Change):
        super().__init__()
        self.state, self.graph, self.change = state, graph, change
        self.inside = self.found = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        return self.passed(args[0], out) if func is F.embedding and args and not self.inside else out

    def passed(self, index: Tensor, out: Tensor) -> Tensor:
        rows = rows_of(index, self.state, self.graph) if out.dim() == 2 else None
        if rows is None:
            return out
        self.found += 1
        return self.change(out, rows, self.found - 1)

    def enter(self, module: nn.Module, args: tuple) -> None:
        self.inside += _by_number(args)

    def leave(self, module: nn.Module, args: tuple, out):
        if _by_number(args):
            self.inside -= 1
            if not self.inside and isinstance(out, Tensor):
                return self.passed(args[0], out)
        return None


@contextmanager
def entering(encoder: nn.Module, state: Crystals | Compositions, graph: Graph, change: Change) -> Iterator[None]:
    """Inside, what enters the encoder goes through `change`; BadInput at the end where nothing entered."""
    doorman = _Doorman(state, graph, change)
    hooks = [h for m in encoder.modules() for h in (m.register_forward_pre_hook(doorman.enter), m.register_forward_hook(doorman.leave))]
    try:
        with doorman:
            yield
    finally:
        for hook in hooks:
            hook.remove()
    if not doorman.found:
        raise BadInput(f"{type(encoder).__name__} does not show where atoms enter: it reads crystals as a whole, and methods that leave atoms out cannot reach it", "entrance")


def _by_number(args: tuple) -> bool:
    return bool(args) and isinstance(args[0], Tensor) and args[0].dim() == 1 and not args[0].is_floating_point() and args[0].dtype != torch.bool
