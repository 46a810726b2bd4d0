"""Crystals on which two evaluations of one potential are held against each other: published, disturbed and repeated ones of every size up to 100 atoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..archive.sources import load_frame
from ..base.errors import BadInput
from ..crystal.formats_cif import blocks, frame_of
from ..crystal.formats_frame import assemble
from ..crystal.state import Crystals

MP20 = "mp20_biternary_val_test"
FILES = ((MP20, "test.csv.gz"), (MP20, "val.csv.gz"), ("mpts52_val_test", "val.csv.gz"))
LARGEST = 100  # atoms


def read_cifs(texts: list[str]) -> Crystals:
    """CIF texts as one batch; BadInput names the first that cannot be read."""
    frames = []
    for k, text in enumerate(texts):
        try:
            frames.append(frame_of(blocks(text)[0]))
        except BadInput as error:
            raise BadInput(error.message, f"row {k}") from error
    return assemble(frames)[0].bare()


def mp20_crystals(count: int, file: str = "test.csv.gz", seed: int | None = None, data_dir: str | Path | None = None) -> Crystals:
    """The first `count` structures of a file of MP-20, or `count` drawn by `seed`."""
    table = load_frame(MP20, file, data_dir=data_dir, usecols=["cif"])
    return read_cifs((table.head(count) if seed is None else table.sample(count, random_state=seed)).cif.tolist())


def disturbed(crystals: Crystals, seed: int, strain: float = 0.03, rattle: float = 0.05) -> Crystals:
    """Each cell strained (Frobenius norm of the mean strain `strain`) and each atom pushed by a normal of `rattle` Å per component."""
    rng = np.random.default_rng(seed)
    bend = rng.normal(size=(len(crystals), 3, 3)) * strain / 3**0.5
    cell = crystals.cell @ torch.from_numpy(np.eye(3) + (bend + bend.swapaxes(1, 2)) / 2)
    push = torch.from_numpy(rng.normal(size=(crystals.atoms, 3)) * rattle)
    return crystals.put(cell=cell, frac=crystals.frac + torch.bmm(push[:, None], torch.linalg.inv(cell)[crystals.owner])[:, 0])


def parity_crystals(count: int = 500, seed: int = 0, data_dir: str | Path | None = None) -> Crystals:
    """`count` crystals whose sizes run evenly from 1 to 100 atoms: of MP-20 and MPTS-52, beyond their sizes supercells of them; every second one
    strained by 2 % and rattled by 0.05 Å.
    """
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for name, file in FILES:
        texts += load_frame(name, file, data_dir=data_dir, usecols=["cif"]).cif.tolist()
    pool = read_cifs(texts)
    by_size = {int(n): np.flatnonzero(pool.counts.numpy() == n) for n in torch.unique(pool.counts)}
    reached = {n * m: (n, m) for m in range(LARGEST, 0, -1) for n in by_size if n * m <= LARGEST}  # the largest cell that a size can be made of
    sizes = np.array(sorted(reached))
    found = []
    for k in range(count):
        n, m = reached[int(sizes[np.abs(sizes - (1 + k * (LARGEST - 1) / max(count - 1, 1))).argmin()])]  # the nearest size that there is
        one = pool[int(rng.choice(by_size[n]))]
        along = int(torch.argmin(one.lengths[0]))
        found.append(one.repeated(*[m if axis == along else 1 for axis in range(3)]) if m > 1 else one)
    moved = disturbed(Crystals.join(found), seed, strain=0.02)
    return Crystals.join([moved[k] if k % 2 else found[k] for k in range(count)])
