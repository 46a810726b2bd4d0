"""One structure as a reader leaves it, and many of them as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.quantities import STANDARD, Quantity
from .segments import offsets_of
from .state import Crystals


@dataclass
class Frame:
    """cell (3, 3) Å rows, species (atoms,) atomic numbers, frac (atoms, 3); `site` (atoms, ...) and `whole` fields by name."""

    cell: Sequence
    species: Sequence[int]
    frac: Sequence
    periodic: tuple[bool, bool, bool] = (True, True, True)
    site: dict[str, np.ndarray] = field(default_factory=dict)
    whole: dict[str, object] = field(default_factory=dict)
    quantities: dict[str, Quantity] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    name: str = ""


def assemble(frames: Sequence[Frame], quantities: Mapping[str, Quantity] | None = None) -> tuple[Crystals, list[list[str]]]:
    """One unchecked batch of all frames and the notes on each.

    Left-handed cells become right-handed by negating cell and frac (the atoms stay where they are), which is noted. A field that some frames
    lack is NaN there ("not measured") and noted once per frame; a field that two frames give different shapes is left out of all and noted.
    """
    notes = [list(f.notes) for f in frames]
    counts = np.array([len(f.species) for f in frames], dtype=np.int64)
    cell = np.array([f.cell for f in frames], dtype=np.float64).reshape(-1, 3, 3)
    frac = np.concatenate([np.asarray(f.frac, dtype=np.float64).reshape(-1, 3) for f in frames]) if frames else np.zeros((0, 3))
    species = np.concatenate([np.asarray(f.species, dtype=np.int64) for f in frames]) if frames else np.zeros(0, dtype=np.int64)
    with np.errstate(all="ignore"):
        left = np.linalg.det(cell) < 0
    if left.any():
        cell[left] *= -1
        frac[np.repeat(left, counts)] *= -1
        for i in np.nonzero(left)[0]:
            notes[i].append("the cell was left-handed; cell and fractional coordinates were both negated, the atoms stay where they are")
    known = {**{k: q for f in frames for k, q in f.quantities.items()}, **(quantities or {})}
    of_sites = lambda name: [f.site.get(name) for f in frames]
    of_whole = lambda name: [f.whole.get(name) for f in frames]
    site, whole = {}, {}
    names = dict.fromkeys(k for f in frames for k in (*f.site, *f.whole) if k in STANDARD or k in known)
    for name in names:
        per_site, per_crystal = of_sites(name), of_whole(name)
        some_site, some_whole = any(v is not None for v in per_site), any(v is not None for v in per_crystal)
        values = per_site if some_site else per_crystal
        tails = {np.shape(v)[1 if some_site else 0:] for v in values if v is not None}
        rank = (known.get(name) or STANDARD[name]).rank
        if (some_site and some_whole) or len(tails) != 1 or next(iter(tails))[len(next(iter(tails))) - rank:] != (3,) * rank:
            for note in notes:
                note.append(f"the field {name!r} does not have one shape that fits its rank {rank} and was left out")
            continue
        tail = tails.pop()
        for i, value in enumerate(values):
            if value is None:
                notes[i].append(f"the field {name!r} is not given and stands as NaN")
        parts = [np.full(((n,) if some_site else ()) + tail, np.nan) if v is None else np.asarray(v) for v, n in zip(values, counts, strict=True)]
        (site if some_site else whole)[name] = torch.from_numpy(np.concatenate(parts) if some_site else np.stack(parts))
    periodic = np.array([f.periodic for f in frames], dtype=bool).reshape(-1, 3)
    crystals = Crystals(
        torch.from_numpy(frac), torch.from_numpy(species), torch.from_numpy(cell), offsets_of(torch.from_numpy(counts)), torch.from_numpy(periodic),
        site, whole, {k: q for k, q in known.items() if k in names})
    return crystals, notes


def unknown_fields(frame: Frame, known: Mapping[str, Quantity]) -> list[str]:
    """Names in the frame that have no Quantity, so that nobody can say how they transform."""
    return [k for k in (*frame.site, *frame.whole) if k not in STANDARD and k not in known and k not in frame.quantities]


def no_crystals() -> Crystals:
    """A batch of no crystals."""
    return Crystals(torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, dtype=torch.long), torch.zeros(0, 3, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.long))


def refuse_undecided(crystals: Crystals, what: str) -> None:
    """BadInput when an undecided species stands in the batch."""
    if bool((crystals.species == 0).any()):
        i = int(crystals.owner[(crystals.species == 0).nonzero()[0, 0]])
        raise BadInput(f"an atom has no element yet (species 0), which {what} cannot tell", f"crystal {i}")


def pieces(crystals: Crystals, *tensors):
    """Per crystal: NumPy views of per-atom tensors."""
    ends = crystals.offsets.tolist()
    arrays = [t.detach().cpu().numpy() for t in tensors]
    return [[a[ends[i] : ends[i + 1]] for a in arrays] for i in range(len(crystals))]
