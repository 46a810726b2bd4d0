"""Lattices in batches: parameters, metric and reciprocal lattice, free parameters of crystal systems, Niggli reduction.

Niggli reduction follows I. Krivy and B. Gruber, Acta Cryst. A32, 297 (1976), with the tolerances of R. W. Grosse-Kunstleve, N. K. Sauter
and P. D. Adams, Acta Cryst. A60, 1 (2004); all cells of the batch go through the steps together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..base.errors import BadInput, Missing, NotConverged
from .state import Crystals

# Names of the free lattice parameters of each crystal system (standard settings; trigonal on hexagonal axes).
FREE = {
    "triclinic": ("a", "b", "c", "alpha", "beta", "gamma"),
    "monoclinic": ("a", "b", "c", "beta"),
    "orthorhombic": ("a", "b", "c"),
    "tetragonal": ("a", "c"),
    "trigonal": ("a", "c"),
    "hexagonal": ("a", "c"),
    "cubic": ("a",),
}
_NAMES = ("a", "b", "c", "alpha", "beta", "gamma")
_TIED = {"tetragonal": {"b": "a"}, "trigonal": {"b": "a"}, "hexagonal": {"b": "a"}, "cubic": {"b": "a", "c": "a"}}


def from_parameters(lengths, angles) -> Tensor:
    """Cells (..., 3, 3) of `lengths` (..., 3) in Å and `angles` (..., 3) alpha, beta, gamma in degrees; a along x, b in the xy plane.

    Right-handed and differentiable. BadInput where lengths are not positive or the angles enclose no volume.
    """
    lengths, angles = torch.as_tensor(lengths, dtype=torch.float64), torch.as_tensor(angles, dtype=torch.float64)
    if not bool(((lengths > 0) & torch.isfinite(lengths)).all()):
        raise BadInput(f"lengths are {lengths.tolist()}, each must be positive and finite", "lattice")
    cosine = torch.cos(torch.deg2rad(angles))
    cosine = torch.where(angles == 90, torch.zeros_like(cosine), cosine)  # cos(pi/2) is 6e-17
    cosine = torch.where(angles == 120, torch.full_like(cosine, -0.5), cosine)
    ca, cb, cg = cosine.unbind(-1)
    square = 1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg
    bad = ~((square > 1e-12) & ((angles > 0) & (angles < 180)).all(-1))
    if bool(bad.any()):
        raise BadInput(f"angles {angles[bad][0].tolist() if bad.dim() else angles.tolist()} enclose no volume", "lattice")
    sg = (1 - cg**2).sqrt()
    zero = torch.zeros_like(ca)
    rows = [
        torch.stack([zero + 1, zero, zero], -1),
        torch.stack([cg, sg, zero], -1),
        torch.stack([cb, (ca - cb * cg) / sg, square.sqrt() / sg], -1),
    ]
    return torch.stack(rows, -2) * lengths[..., None]


def parameters(cell: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (..., 3) in Å and angles (..., 3) in degrees of cells (..., 3, 3)."""
    lengths = cell.norm(dim=-1)
    a, b, c = (cell / lengths[..., None]).unbind(-2)
    between = lambda u, v: torch.rad2deg(torch.atan2(torch.linalg.cross(u, v).norm(dim=-1), (u * v).sum(-1)))
    return lengths, torch.stack([between(b, c), between(a, c), between(a, b)], -1)


def metric(cell: Tensor) -> Tensor:
    """Metric tensors (..., 3, 3) in Å^2: scalar products of the lattice vectors."""
    return cell @ cell.mT


def reciprocal(cell: Tensor) -> Tensor:
    """Reciprocal cells (..., 3, 3) in 1/Å, rows a*, b*, c* with a_i . a*_j = delta_ij (no factor 2 pi)."""
    return torch.linalg.inv(cell).mT


def spacing(cell: Tensor, hkl) -> Tensor:
    """Distances (..., planes) in Å between lattice planes `hkl` (planes, 3) of cells (..., 3, 3); BadInput for (0, 0, 0)."""
    hkl = torch.as_tensor(hkl, dtype=cell.dtype, device=cell.device).reshape(-1, 3)
    if bool((hkl == 0).all(-1).any()):
        raise BadInput("(0, 0, 0) names no planes", "hkl")
    return 1 / (hkl @ reciprocal(cell)).norm(dim=-1)


def heights(cell: Tensor) -> Tensor:
    """(..., 3) distances in Å between opposite faces of the cell."""
    return 1 / reciprocal(cell).norm(dim=-1)


def _system(system: str) -> tuple[str, ...]:
    if system not in FREE:
        raise Missing("crystal system", system, FREE)
    return FREE[system]


def free_parameters(cell: Tensor, system: str) -> Tensor:
    """(..., k) free lattice parameters of cells (..., 3, 3) in the standard setting of `system`, in the order of FREE[system].

    Lengths that the system makes equal are averaged; whether the cell obeys the system is not checked (see `deviation`).
    """
    names, tied = _system(system), _TIED.get(system, {})
    lengths, angles = parameters(cell)
    values = dict(zip(_NAMES, torch.cat([lengths, angles], -1).unbind(-1)))
    out = [torch.stack([values[n], *[values[k] for k, v in tied.items() if v == n]]).mean(0) for n in names]
    return torch.stack(out, -1)


def from_free(values, system: str) -> Tensor:
    """Cells (..., 3, 3) of the free parameters (..., k) of `system` in the order of FREE[system]; differentiable. BadInput for a wrong k."""
    names, tied = _system(system), _TIED.get(system, {})
    values = torch.as_tensor(values, dtype=torch.float64)
    if values.shape[-1:] != (len(names),):
        raise BadInput(f"got {list(values.shape)[-1:]} values, a {system} lattice has the free parameters {', '.join(names)}", "lattice")
    known = dict(zip(names, values.unbind(-1)))
    fixed = {"alpha": 90.0, "beta": 90.0, "gamma": 120.0 if system in ("trigonal", "hexagonal") else 90.0}
    full = [known[n] if n in known else known[tied[n]] if n in tied else torch.full_like(values[..., 0], fixed[n]) for n in _NAMES]
    return from_parameters(torch.stack(full[:3], -1), torch.stack(full[3:], -1))


def deviation(cell: Tensor, system: str) -> Tensor:
    """(...,) largest relative difference of the metric tensor from that of the nearest lattice of `system` in the same setting."""
    ideal = metric(from_free(free_parameters(cell, system), system))
    got = metric(cell)
    return (got - ideal).abs().amax((-1, -2)) / got.diagonal(dim1=-2, dim2=-1).amax(-1)


# Niggli reduction


def niggli_reduce(cell, tolerance: float = 1e-5, steps: int = 1000) -> tuple[Tensor, Tensor]:
    """Niggli-reduced cells (B, 3, 3) and integer matrices T (B, 3, 3), det T = 1, with reduced = T @ cell (the lattice is not turned).

    `tolerance` times volume^(2/3) is the difference of two entries of the metric tensor below which they count as equal.
    BadInput for left-handed or singular cells; NotConverged (state: the last T) after `steps` steps.
    """
    cell = torch.as_tensor(cell, dtype=torch.float64)
    if cell.shape[1:] != (3, 3):
        raise BadInput(f"cells have the shape {tuple(cell.shape)}, wanted (batch, 3, 3)", "niggli")
    volume = torch.linalg.det(cell)
    if not bool((volume > 0).all()):
        raise BadInput(f"cell {int((~(volume > 0)).nonzero()[0, 0])} is left-handed or has no volume", "niggli")
    change = torch.eye(3, dtype=torch.float64, device=cell.device).repeat(len(cell), 1, 1)
    active = torch.arange(len(cell), device=cell.device)
    epsilon = tolerance * volume ** (2 / 3)
    for _ in range(steps):
        if not len(active):
            return change @ cell, change
        step, again = _niggli_step(change[active] @ cell[active], epsilon[active])
        change[active] = step @ change[active]
        active = active[again]
    if len(active):
        raise NotConverged(f"Niggli reduction of cell {int(active[0])} did not end in {steps} steps", change)
    return change @ cell, change


def _niggli_step(cell: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """One pass of steps A1-A8: the matrix that applies it and whether another pass is needed, (b, 3, 3) and (b,)."""
    b = len(cell)
    eye = torch.eye(3, dtype=cell.dtype, device=cell.device).repeat(b, 1, 1)

    def form(cells):
        g = metric(cells)
        return g[:, 0, 0], g[:, 1, 1], g[:, 2, 2], 2 * g[:, 1, 2], 2 * g[:, 0, 2], 2 * g[:, 0, 1]

    def swap(mask, i, j, now):
        turn = -eye.clone()
        turn[:, [i, j]] = turn[:, [j, i]]
        return torch.where(mask[:, None, None], turn @ now, now)

    equal = lambda u, v: (u - v).abs() <= eps
    less = lambda u, v: u < v - eps
    # A1, A2: order the lengths
    A, B, C, xi, eta, zeta = form(cell)
    step = swap(less(B, A) | (equal(A, B) & less(eta.abs(), xi.abs())), 0, 1, eye)
    A, B, C, xi, eta, zeta = form(step @ cell)
    exchanged = less(C, B) | (equal(B, C) & less(zeta.abs(), eta.abs()))
    step = swap(exchanged, 1, 2, step)
    # A3, A4: all angles acute or none
    A, B, C, xi, eta, zeta = form(step @ cell)
    products = torch.stack([xi, eta, zeta], -1)
    sign = torch.where(products > eps[:, None], 1.0, torch.where(products < -eps[:, None], -1.0, 0.0)).to(cell)
    acute = sign.prod(-1) > 0
    flip = torch.where(sign == 0, torch.ones_like(sign), sign)
    flip = torch.where(acute[:, None], flip, -flip)  # wanted: product of (flip_j flip_k) turns every angle into the wanted kind
    free = (sign == 0) & ~acute[:, None]
    odd = flip.prod(-1) < 0
    last = free & (free.long().cumsum(-1) == free.sum(-1, keepdim=True))
    flip = torch.where(odd[:, None] & last, -flip, flip)
    turned = torch.diag_embed(flip)
    step = torch.where(exchanged[:, None, None], step, turned @ step)
    A, B, C, xi, eta, zeta = form(step @ cell)
    # A5-A8: shorten; the first that applies
    gain = torch.zeros_like(eye)
    open_ = ~exchanged
    sgn = lambda v: torch.where(v >= 0, 1.0, -1.0).to(cell)

    def apply(mask, entries):
        nonlocal open_
        mask = mask & open_
        for i, j, value in entries:
            gain[:, i, j] += torch.where(mask, value, torch.zeros_like(value))
        open_ = open_ & ~mask

    apply(less(B, xi.abs()) | (equal(xi, B) & less(2 * eta, zeta)) | (equal(xi, -B) & less(zeta, torch.zeros_like(A))), [(2, 1, -sgn(xi))])
    apply(less(A, eta.abs()) | (equal(eta, A) & less(2 * xi, zeta)) | (equal(eta, -A) & less(zeta, torch.zeros_like(A))), [(2, 0, -sgn(eta))])
    apply(less(A, zeta.abs()) | (equal(zeta, A) & less(2 * xi, eta)) | (equal(zeta, -A) & less(eta, torch.zeros_like(A))), [(1, 0, -sgn(zeta))])
    total = xi + eta + zeta + A + B
    one = torch.ones_like(A)
    apply(less(total, torch.zeros_like(A)) | (equal(total, torch.zeros_like(A)) & less(torch.zeros_like(A), 2 * (A + eta) + zeta)),
          [(2, 0, one), (2, 1, one)])
    return (eye + gain) @ step, exchanged | ~open_


def niggli(crystals: Crystals, tolerance: float = 1e-5) -> Crystals:
    """The same crystals in Niggli-reduced cells, atoms wrapped; not turned, order of atoms and all fields kept.

    BadInput for a structure that is not periodic along all three axes.
    """
    flat = ~crystals.periodic.all(1)
    if bool(flat.any()):
        raise BadInput("only structures periodic along a, b and c have a Niggli cell", f"crystal {int(flat.nonzero()[0, 0])}")
    _, change = niggli_reduce(crystals.cell.detach(), tolerance)
    return crystals.recelled(change.round()).wrapped()
