"""Generalised coordinates in which relaxing crystals are nearly round: atoms and cell around the start, symmetric directions only, scaled by springs.

The logarithm of the deformation gradient as cell coordinate: E. B. Tadmor, G. S. Smith, N. Bernstein, E. Kaxiras, Phys. Rev. B 59, 235 (1999),
doi:10.1103/PhysRevB.59.235, here symmetric and with the exact derivative of the matrix exponential. Scaling by a model Hessian: stiffness.py.

    cell = C_0 exp(W),  cart = (cart_0 + u) exp(W),  W = sum_k w_k STRAINS_k symmetric,  z = [u; w] = A y,  A^T P A = 1

C_0, cart_0: the start; P: its model Hessian. A spans the directions that a crystal may take: all; for a slab, strains in its plane; none of the cell
for a molecule; where symmetry is kept, those that it leaves unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import lapack

from ..base.errors import BadInput
from ..crystal.graph import Graph, Within
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetrizer
from .stiffness import REACH, STRAINS, Springs

LARGEST_DENSE = 1200  # free coordinates; beyond, P is taken as diagonal
STRAIN_LENGTH = 2.5  # Å; a strain w counts as a move of w STRAIN_LENGTH


@dataclass(frozen=True, eq=False)
class Origin:
    """Where one crystal starts, and its map from reduced coordinates y (free,) to z = [u; w] (3 n + 6,).

    cart     (n, 3) Å;  cell (3, 3);  species (n,);  periodic (3,) bool
    scale    (3 n + 6, free) A, or (3 n + 6,) its diagonal for a very large crystal
    strains  (6, 6) projector onto the strains allowed, by the axes that repeat and by symmetry
    sites    (3 n, free displacements) orthonormal, None where atoms move freely
    clear    no two atoms are nearer than this in Å
    """

    cart: np.ndarray
    cell: np.ndarray
    species: np.ndarray
    periodic: np.ndarray
    scale: np.ndarray
    strains: np.ndarray
    sites: np.ndarray | None
    clear: float
    inverse: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "inverse", np.linalg.inv(self.cell))

    @property
    def free(self) -> int:
        """Number of reduced coordinates."""
        return self.scale.shape[-1]

    def move(self, y: np.ndarray) -> np.ndarray:
        """(3 n + 6,) z = A y."""
        return self.scale @ y if self.scale.ndim == 2 else self.scale * y

    def pull(self, force: np.ndarray) -> np.ndarray:
        """(free,) A^T force."""
        return force @ self.scale if self.scale.ndim == 2 else self.scale * force

    def reach(self, y: np.ndarray) -> float:
        """Å, the longest move of an atom or of the cell in a step y (free,)."""
        z = self.move(y)
        u, w = z[:-6].reshape(-1, 3), z[-6:]
        return float(np.sqrt(max(np.einsum("ni,ni->n", u, u).max(initial=0.0), STRAIN_LENGTH**2 * (w @ w))))


def origins(crystals: Crystals, cell: bool, symmetry: Sequence[Symmetrizer] = ()) -> list[Origin | BadInput]:
    """An Origin for every crystal; a BadInput in the place of those whose neighbours cannot be listed.

    cell      whether lattices relax;  symmetry: a symmetriser of each crystal alone, empty where symmetry is not kept
    """
    graphs = _neighbours(crystals)
    out: list[Origin | BadInput] = []
    springs = Springs.shipped()
    for k, graph in enumerate(graphs):
        if isinstance(graph, BadInput):
            out.append(graph)
            continue
        one = crystals[k]
        i, j, vectors = graph
        frame, periodic, species = one.cell[0].numpy(), one.periodic[0].numpy(), one.species.numpy()
        strains = _strains(frame, periodic if cell else np.zeros(3, dtype=bool))
        sites = None
        if symmetry:
            strains = _symmetric_strains(symmetry[k], frame) @ strains
            sites = _symmetric_sites(symmetry[k], frame, len(species))
        length = np.sqrt((vectors * vectors).sum(1))
        if len(length) and length.min() < 1e-6:
            out.append(BadInput("two atoms are closer than 0.3 Å"))
            continue
        volume = float(abs(np.linalg.det(frame)))
        if sites is None and 3 * len(species) > LARGEST_DENSE:
            diagonal = springs.diagonal(species, i, j, vectors, volume)
            scale = np.concatenate([diagonal[:-6], diagonal[-6:] / strains.diagonal().clip(1e-300)]) ** -0.5
        else:
            scale = _scale(springs.hessian(species, i, j, vectors, volume), sites, strains)
        out.append(Origin(one.cart.numpy(), frame, species, periodic, scale, strains, sites, float(length.min(initial=REACH))))
    return out


def _neighbours(crystals: Crystals) -> list[tuple[np.ndarray, np.ndarray, np.ndarray] | BadInput]:
    """(i, j, vectors) of each crystal, every pair once, atoms counted within it."""
    out: list = [None] * len(crystals)
    rest = list(range(len(crystals)))
    while rest:
        part = crystals[rest] if len(rest) < len(crystals) else crystals
        try:
            graph = Within(REACH, half=True)(part)
        except BadInput as error:
            place = culprit(error, len(rest))
            if place is None:
                raise
            out[rest.pop(place)] = error
            continue
        _share(part, graph, rest, out)
        break
    return out


def culprit(error: BadInput, count: int) -> int | None:
    """Number of the crystal that `error` names, None if it names none."""
    found = re.search(r"\bcrystal (\d+)\b", error.where)
    return int(found[1]) if found and int(found[1]) < count else None


def _share(part: Crystals, graph: Graph, rest: list[int], out: list) -> None:
    vectors = graph.vectors(part).numpy()
    i, j = graph.receivers.numpy(), graph.senders.numpy()
    ends = np.searchsorted(i, part.offsets.numpy())
    first = part.offsets.tolist()
    for place, k in enumerate(rest):
        rows = slice(ends[place], ends[place + 1])
        out[k] = (i[rows] - first[place], j[rows] - first[place], vectors[rows])


def _strains(cell: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """(6, 6) projector onto strains W = p W p, p onto the plane (or line) of the axes `moving`; all of them for three axes, none for none."""
    if moving.all():
        return np.eye(6)
    axes = cell[moving]
    p = np.linalg.pinv(axes) @ axes
    inside = p @ STRAINS @ p
    return np.tensordot(STRAINS, inside, axes=((1, 2), (1, 2)))


def _symmetric_strains(symmetry: Symmetrizer, cell: np.ndarray) -> np.ndarray:
    """(6, 6) projector onto the strains that every operation leaves unchanged."""
    turn = cell.T @ symmetry.rotation.numpy() @ np.linalg.inv(cell.T)
    turned = (turn[:, None] @ STRAINS @ turn[:, None].transpose(0, 1, 3, 2)).mean(0)
    return np.tensordot(STRAINS, turned, axes=((1, 2), (1, 2)))


def _symmetric_sites(symmetry: Symmetrizer, cell: np.ndarray, n: int) -> np.ndarray:
    """(3 n, free) orthonormal displacements that every operation leaves unchanged, orbit by orbit.

    An orbit of m atoms: what its first atom may do is the range of the mean of the turns that leave it in place; the others follow.
    """
    turn = cell.T @ symmetry.rotation.numpy() @ np.linalg.inv(cell.T)
    operation, source, target = (x.numpy() for x in (symmetry.operation, symmetry.source, symmetry.target))
    order = np.argsort(source, kind="stable").reshape(n, -1)  # the same number of operations for every atom
    columns, seen = [], np.zeros(n, dtype=bool)
    for atom in range(n):
        if seen[atom]:
            continue
        arrives = (target[order[atom]] == np.arange(n)[:, None]).astype(float)  # (n, operations) which of them bring it where
        count = arrives.sum(1)
        seen |= count > 0
        means = (arrives @ turn[operation[order[atom]]].reshape(-1, 9) / np.maximum(count, 1)[:, None]).reshape(n, 3, 3)
        values, vectors = np.linalg.eigh((means[atom] + means[atom].T) / 2)
        allowed = vectors[:, values > 0.5]
        if allowed.shape[1]:
            columns.append((means @ allowed).reshape(3 * n, -1) / np.sqrt((count > 0).sum()))
    return np.concatenate(columns, 1) if columns else np.zeros((3 * n, 0))


def _scale(p: np.ndarray, sites: np.ndarray | None, strains: np.ndarray) -> np.ndarray:
    """A of the module's head: columns span the free directions and A^T P A = 1."""
    atoms = len(p) - 6
    values, vectors = np.linalg.eigh(strains)
    bend = vectors[:, values > 0.5]
    move = np.eye(atoms) if sites is None else sites
    z = np.zeros((len(p), move.shape[1] + bend.shape[1]))
    z[:atoms, : move.shape[1]] = move
    z[atoms:, move.shape[1] :] = bend
    if not z.shape[1]:
        return z
    factor, info = lapack.dpotrf(z.T @ p @ z, lower=1, clean=1)
    if info:
        raise BadInput(f"the model Hessian is not positive (row {info})", "relax")
    inverse, _ = lapack.dtrtri(factor, lower=1)
    return np.ascontiguousarray(z @ inverse.T)


class Frame:
    """The coordinates of all crystals in flight; built anew when one enters or leaves, which costs a few microseconds each."""

    def __init__(self, members: Sequence[Origin]):
        self.members = tuple(members)
        self.counts = np.array([len(m.species) for m in members], dtype=np.int64)
        self.owner = np.repeat(np.arange(len(members)), self.counts)
        self.first = np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def _constant(self):
        cat = lambda name: np.concatenate([getattr(m, name) for m in self.members])
        stack = lambda name: np.stack([getattr(m, name) for m in self.members])
        return cat("cart"), stack("cell"), stack("inverse"), stack("strains"), torch.from_numpy(cat("species")), torch.from_numpy(stack("periodic"))

    def place(self, y: Sequence[np.ndarray]) -> Geometry:
        """The geometries at reduced coordinates `y`, one array (free,) for each crystal; not checked, numbers may be absurd."""
        cart, cell, inverse, _, species, periodic = self._constant
        moved, w = np.empty_like(cart), np.empty((len(self.members), 6))
        first = self.first.tolist()
        for k, (member, at) in enumerate(zip(self.members, y, strict=True)):
            z = member.move(at)
            moved[first[k] : first[k + 1]] = z[:-6].reshape(-1, 3)
            w[k] = z[-6:]
        values, vectors = np.linalg.eigh(np.tensordot(w, STRAINS, axes=1))
        stretch = np.exp(values)
        bend = (vectors * stretch[:, None]) @ vectors.transpose(0, 2, 1)
        size = np.sqrt(np.maximum.reduceat(np.einsum("ni,ni->n", moved, moved), self.first[:-1]))
        frac = ((cart + moved)[:, None] @ inverse[self.owner])[:, 0]
        crystals = Crystals(
            torch.from_numpy(frac), species, torch.from_numpy(cell @ bend), torch.from_numpy(self.first), periodic)
        crystals.__dict__["owner"], crystals.__dict__["counts"] = torch.from_numpy(self.owner), torch.from_numpy(self.counts)
        return Geometry(crystals, values, vectors, stretch, bend, size)

    def symmetric(self, forces: np.ndarray, stress: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Forces (atoms, 3) and stress (crystals, 3, 3) without what the symmetry or the axes forbid."""
        strains = self._constant[3]
        six = np.einsum("kab,nab->nk", STRAINS, stress)
        six = (strains @ six[:, :, None])[:, :, 0]
        out = forces
        for k, member in enumerate(self.members):
            if member.sites is not None:
                rows = slice(self.first[k], self.first[k + 1])
                out = out.copy() if out is forces else out
                out[rows] = (member.sites @ (forces[rows].ravel() @ member.sites)).reshape(-1, 3)
        return out, np.tensordot(six, STRAINS, axes=1)

    def force(self, at: Geometry, forces: np.ndarray, stress: np.ndarray, volume: np.ndarray) -> list[np.ndarray]:
        """(free,) of each crystal: minus the gradient of the enthalpy by y; `stress` includes the pressure.

        F = exp(W):  -dH/du = f F;  dH/dW = Q (Γ ∘ Q^T B Q) Q^T with B the symmetric part of V F^-1 σ, W = Q w Q^T,
        Γ_ij = (e^w_i - e^w_j)/(w_i - w_j), e^w_i where they are equal;  then A^T of both
        """
        q = at.vectors
        a = (q / at.stretch[:, None] * volume[:, None, None]) @ q.transpose(0, 2, 1) @ stress
        a = q.transpose(0, 2, 1) @ (a + a.transpose(0, 2, 1)) @ q / 2
        gap = at.values[:, :, None] - at.values[:, None, :]
        near = np.abs(gap) < 1e-6
        mean = np.exp((at.values[:, :, None] + at.values[:, None, :]) / 2)
        slope = np.where(near, mean, (at.stretch[:, :, None] - at.stretch[:, None, :]) / np.where(near, 1.0, gap))
        six = np.einsum("kab,nab->nk", STRAINS, q @ (slope * a) @ q.transpose(0, 2, 1))
        pulled = (forces[:, None] @ at.bend[self.owner])[:, 0]
        out, first = [], self.first.tolist()
        for k, member in enumerate(self.members):
            out.append(member.pull(np.concatenate([pulled[first[k] : first[k + 1]].ravel(), -six[k]])))
        return out

    def largest(self, forces: np.ndarray) -> np.ndarray:
        """(crystals,) longest of the rows of `forces` (atoms, 3)."""
        return np.sqrt(np.maximum.reduceat(np.einsum("ni,ni->n", forces, forces), self.first[:-1]))

    def clear(self, at: Geometry) -> np.ndarray:
        """(crystals,) Å, a lower bound of the shortest distance between two atoms: r' >= least stretch (r - 2 largest displacement)."""
        known = np.array([m.clear for m in self.members])
        return at.stretch.min(1) * np.maximum(known - 2 * at.size, 0.0)


@dataclass(frozen=True, eq=False)
class Geometry:
    """Crystals at some coordinates, and what the derivatives need.

    values, vectors  eigenvalues (crystals, 3) and eigenvectors (crystals, 3, 3) of W;  stretch: eigenvalues of exp W;  bend: exp W (crystals, 3, 3)
    size             (crystals,) longest displacement of an atom in Å, before the cell is deformed
    """

    crystals: Crystals
    values: np.ndarray
    vectors: np.ndarray
    stretch: np.ndarray
    bend: np.ndarray
    size: np.ndarray
