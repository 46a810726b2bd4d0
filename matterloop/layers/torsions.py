"""Local spherical coordinates of the neighbours of an atom: about the axis to one of them, each other one has an angle, and a torsion to the next in azimuth.

Y. Liu, L. Wang, M. Liu, Y. Lin, X. Zhang, B. Oztekin, S. Ji, "Spherical message passing for 3D molecular graphs", ICLR 2022, arXiv:2102.05013, section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TIE = 1e-2  # rad; neighbours nearer than this in azimuth, or than this to the axis, do not tell each other's order


def local_directions(unit: Tensor, real: Tensor) -> Tensor:
    """(atoms, m, m, 3) unit vectors [atom, axis, neighbour] of the directions `unit` (atoms, m, 3), seen about each other as the polar axis.

    The azimuth is the torsion: the angle, counted anticlockwise about the axis, from the neighbour's half-plane to that of the next neighbour, where
    neighbours within TIE of the same half-plane count as one, and a lone one has 2 pi. That is the same for every order of the neighbours and every frame.
    A neighbour on the axis has no azimuth and is nobody's next. real (atoms, m) says which rows are neighbours; other rows, and the pair of a neighbour
    with itself, are meaningless.
    """
    axis, other = unit[:, :, None], unit[:, None]
    least = torch.nn.functional.one_hot(unit.abs().argmin(-1), 3).to(unit)
    first = torch.nn.functional.normalize(torch.linalg.cross(unit, least), dim=-1)
    second = torch.linalg.cross(unit, first)
    x, y, z = (first[:, :, None] * other).sum(-1), (second[:, :, None] * other).sum(-1), (axis * other).sum(-1)
    off = (x * x + y * y > TIE**2) & real[:, None] & real[:, :, None] & ~torch.eye(unit.shape[1], dtype=torch.bool, device=unit.device)
    sine = torch.where(off, x * x + y * y, 1).sqrt()
    azimuth = torch.atan2(torch.where(off, y, 0), torch.where(off, x, 1))
    torsion = torch.where(off, _to_next(azimuth, off), 0)
    sine, z = torch.where(off, sine, 0), torch.where(off, z, z.sign())
    return torch.stack([sine * torch.cos(torsion), sine * torch.sin(torsion), z], -1)


def _to_next(azimuth: Tensor, off: Tensor) -> Tensor:
    """(..., m) angle from each azimuth to the next one that is more than TIE away from the one before it; rows where `off` is False are not looked at."""
    never = math.inf
    sorted_, order = torch.where(off, azimuth, never).sort(dim=-1)
    many = off.sum(-1, keepdim=True)
    last = sorted_.gather(-1, (many - 1).clamp(min=0)) - 2 * math.pi
    start = sorted_ - torch.cat([last, sorted_[..., :-1]], -1) > TIE  # a gap lies before it; inf - inf is not
    starts = torch.where(start & sorted_.isfinite(), sorted_, never)
    coming = starts.flip(-1).cummin(-1).values.flip(-1)
    around = coming[..., :1] + 2 * math.pi  # the first start once more
    coming = torch.minimum(torch.cat([coming[..., 1:], torch.full_like(around, never)], -1), around)
    turn = torch.where(coming.isfinite() & sorted_.isfinite(), coming - sorted_, 2 * math.pi)
    return torch.empty_like(turn).scatter(-1, order, turn)
