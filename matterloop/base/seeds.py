"""Named random streams: the same seed and names give the same numbers on every run, in any call order."""

from __future__ import annotations

import hashlib


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that follows from `seed` and a path of names."""
    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def numpy_stream(seed: int, *names: str | int):
    """Return a `numpy.random.Generator` for the path `names` below `seed`."""
    import numpy as np

    return np.random.default_rng(derive(seed, *names))


def torch_stream(seed: int, *names: str | int):
    """Return a CPU `torch.Generator` for the path `names` below `seed`."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))
