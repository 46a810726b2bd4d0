"""How the contract compares: by how much two answers differ, whether inputs and global state were left alone, whether a path is smooth."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..base.registry import Card
from ..crystal.state import MAIN, Crystals

TOLERANCE = 1e-8  # relative, in float64
FLOAT32 = 1e-4  # relative, of an answer in single precision against one in double
FLOOR = 1e-3  # answers smaller than this are compared absolutely
STEPS = 400  # of the path whose smoothness is looked at
KINK = 3.0  # a second difference this many times larger than those around it is a jump of the value or of the slope


class Broken(AssertionError):
    """A part does not keep what its card says; the text says by how much."""


@dataclass(frozen=True)
class Check:
    """One promise of the contract. `run` returns when it is kept and raises Broken otherwise.

    tier  "fast": in every test run; "full": in the full one only
    """

    name: str
    tier: str
    run: Callable[[], None]


@dataclass(frozen=True)
class Part:
    """A card and what makes the part it describes."""

    card: Card
    make: Callable[..., object]

    def build(self, **options):
        """The part in its test-sized configuration."""
        return self.make(**{**self.card.small, **options})

    def can(self, *words: str) -> bool:
        """Whether the card claims every one of these capabilities."""
        return all(w in self.card.capabilities for w in words)


def require(truth: bool, text: str) -> None:
    """Broken with `text` unless `truth`."""
    if not truth:
        raise Broken(text)


def near(a, b, what: str, tolerance: float, scale: float = 0.0) -> None:
    """Broken unless shapes agree and max |a - b| <= tolerance * max(max |a|, scale, FLOOR); NaN must meet NaN."""
    a, b = (x.detach().to(torch.float64) if isinstance(x, torch.Tensor) else torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    require(a.shape == b.shape, f"{what}: shape {tuple(b.shape)}, wanted {tuple(a.shape)}")
    require(torch.equal(a.isnan(), b.isnan()), f"{what}: {int(b.isnan().sum())} numbers are NaN, wanted {int(a.isnan().sum())}")
    known = ~a.isnan()
    if not bool(known.any()):
        return
    size = max(float(a[known].abs().max()), scale, FLOOR)
    off = float((a[known] - b[known]).abs().max()) / size
    require(off <= tolerance, f"{what}: relative difference {off:.1e}, allowed {tolerance:.0e}")


def tensors(crystals: Crystals) -> dict[str, Tensor]:
    """Every tensor of a batch by name."""
    return {name: crystals.get(name) for name in (*MAIN, *crystals.site, *crystals.whole)} | {"offsets": crystals.offsets}


@contextmanager
def untouched(crystals: Crystals) -> Iterator[None]:
    """Broken if anything of the batch changes inside."""
    before = {k: v.clone() for k, v in tensors(crystals).items()}
    yield
    after = tensors(crystals)
    if added := after.keys() ^ before.keys():
        raise Broken(f"fields were added to or taken from the input: {sorted(added)}")
    changed = [k for k, v in before.items() if not torch.equal(v, after[k])]
    require(not changed, f"the input was changed: {changed}")
    require(not any(v.requires_grad for v in after.values()), "the input was made to require gradients")


@contextmanager
def own_randomness() -> Iterator[None]:
    """Broken if the global generators of torch, numpy or random move inside, or torch's default dtype changes."""
    state = lambda: (torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate(), torch.get_default_dtype())
    before = state()
    yield
    moved = [name for name, a, b in zip(("torch", "numpy", "random", "default dtype"), before, state(), strict=True) if a != b]
    require(not moved, f"global state was changed: {', '.join(moved)}; draw from a generator that is passed in")


def strained(crystals: Crystals, steps: int = STEPS, reach: float = 0.04) -> Crystals:
    """A path of `steps` copies of one crystal under a growing anisotropic strain: longer along a, shorter along b, sheared."""
    pull = torch.tensor([[1.0, 0.4, 0.0], [0.0, -0.6, 0.2], [0.0, 0.0, 0.3]], dtype=torch.float64)
    s = torch.linspace(0, reach, steps, dtype=torch.float64)[:, None, None]
    cell = crystals.cell @ (torch.eye(3, dtype=torch.float64) + s * pull)
    return Crystals.of(crystals.frac.repeat(steps, 1), crystals.species.repeat(steps), cell, [crystals.atoms] * steps)


def smooth(values: Tensor, what: str, noise: float = 1e-14) -> None:
    """Broken if equally spaced `values` (steps,) or their slopes jump somewhere.

    A jump shows as one second difference that is KINK times larger than the medians of the ten before and of the ten after it.
    """
    values = values.detach().to(torch.float64)
    second = values.diff().diff().abs()
    floor = 64 * noise * float(values.abs().max().clamp(min=FLOOR))
    wide = 10
    windows = second.unfold(0, wide, 1).median(dim=1).values  # windows[i] over i .. i + wide - 1
    middle = torch.arange(wide + 2, len(second) - wide - 2)
    around = torch.maximum(windows[middle - wide - 1], windows[middle + 2])  # neighbours i - 1 and i + 1 feel the jump too
    excess = second[middle] / (KINK * around + floor)
    worst = int(excess.argmax())
    ratio = float(second[middle[worst]] / around[worst].clamp(min=1e-300))
    require(float(excess[worst]) <= 1, f"{what} jumps at step {int(middle[worst]) + 1} of {len(values)}: its second difference is {ratio:.0f} times "
                                       f"that of the steps around it, allowed {KINK:.0f}")
