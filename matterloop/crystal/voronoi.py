"""Faces of the Voronoi cells of periodic crystals: their areas and the solid angles that they subtend at the atom.

The cell of an atom is cut out by the planes midway to its neighbours n, x . 2n / |n|^2 <= 1, and so is the polar dual of the convex hull of the points
2n / |n|^2: a facet of the hull is a vertex of the cell (F. Aurenhammer, ACM Comput. Surv. 23, 345 (1991), section 3). The hull is Qhull's (C. B. Barber,
D. P. Dobkin, H. Huhdanpaa, ACM Trans. Math. Softw. 22, 469 (1996)); a neighbour beyond twice the farthest vertex cannot cut the cell, so that a few dozen
points are enough. Solid angles: A. van Oosterom, J. Strackee, IEEE Trans. Biomed. Eng. 30, 125 (1983), eq. 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..base.errors import BadInput
from .graph import Within
from .state import Crystals

FIRST = 24  # neighbours that a cell is tried with first
OPEN = 1e-9  # a facet of the hull so near the centre belongs to a cell that is not closed
OVERLAP = 1e-3  # Å: atoms nearer than this have no cells of their own
WIDEST = 64.0  # Å: neighbours are looked for no farther


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces of Voronoi cells, ordered by their atom and then by the distance of the neighbour behind them.

    centre, neighbour  (faces,)    atom that the cell is of, and the one on the other side
    vector             (faces, 3)  from the centre to the neighbour's image, Å
    area               (faces,)    Å^2
    solid_angle        (faces,)    steradian; those of a cell add up to 4 pi
    """

    centre: np.ndarray
    neighbour: np.ndarray
    vector: np.ndarray
    area: np.ndarray
    solid_angle: np.ndarray

    def __len__(self) -> int:
        return len(self.centre)


def voronoi_faces(crystals: Crystals, radius: float = 7.0) -> Faces:
    """The faces of every atom's cell among its neighbours within `radius` Å, twice that for atoms whose cell is then still open, and so on.

    BadInput naming the crystal for one that does not repeat along three axes, with atoms closer than `OVERLAP`, or too flat to be searched.
    """
    crystals = crystals.bare().to(torch.float64).to("cpu")
    if not bool(crystals.periodic.all()):
        raise BadInput("it does not repeat along three axes; its outer atoms have no closed Voronoi cells", f"crystal {int((~crystals.periodic.all(1)).nonzero()[0, 0])}")
    closed: list[_Cell] = []
    waiting = np.arange(crystals.atoms)
    while len(waiting):
        if radius > WIDEST:
            raise BadInput(f"an atom has no closed Voronoi cell among neighbours within {WIDEST} Å", f"crystal {int(crystals.owner[waiting[0]])}")
        closed, waiting = closed + (found := _cells(crystals, waiting, radius)), np.setdiff1d(waiting, [c.atom for c in found])
        radius *= 2
    return _measured(sorted(closed, key=lambda c: c.atom))


@dataclass(frozen=True, eq=False)
class _Cell:
    """One closed cell: neighbours (n,) and vectors (n, 3) by distance; corners (facets, 3), and for each facet the 3 neighbours that meet there."""

    atom: int
    neighbours: np.ndarray
    vectors: np.ndarray
    corners: np.ndarray
    meeting: np.ndarray


def _cells(crystals: Crystals, atoms: np.ndarray, radius: float) -> list[_Cell]:
    """The cells of `atoms` that are closed by neighbours within `radius`."""
    which = np.unique(crystals.owner.numpy()[atoms])
    part = crystals[which.tolist()]
    try:
        graph = Within(radius)(part)
    except BadInput as error:
        raise error.renumbered(lambda i: int(which[i])) from None
    start = np.concatenate([np.arange(int(crystals.offsets[c]), int(crystals.offsets[c + 1])) for c in which.tolist()])  # atom of the batch by atom of the part
    vectors, receivers, senders = graph.vectors(part).numpy(), graph.receivers.numpy(), start[graph.senders.numpy()]
    length = np.linalg.norm(vectors, axis=1)
    if len(length) and length.min() < OVERLAP:
        raise BadInput(f"two atoms lie {length.min():.1g} Å from each other", f"crystal {int(crystals.owner[start[receivers[length.argmin()]]])}")
    order = np.lexsort((length, receivers))
    vectors, senders, length = vectors[order], senders[order], length[order]
    ends = np.concatenate([[0], np.cumsum(np.bincount(receivers, minlength=part.atoms))])
    wanted, found = set(atoms.tolist()), []
    for k, atom in enumerate(start.tolist()):
        if atom in wanted and (cut := _cut(vectors[ends[k] : ends[k + 1]], length[ends[k] : ends[k + 1]])) is not None:
            count, corners, meeting = cut
            found.append(_Cell(atom, senders[ends[k] : ends[k] + count], vectors[ends[k] : ends[k] + count], corners, meeting))
    return found


def _cut(vectors: np.ndarray, length: np.ndarray) -> tuple[int, np.ndarray, np.ndarray] | None:
    """(neighbours used, corners, meeting) of the cell among neighbours sorted by distance; None if it stays open."""
    from scipy.spatial import ConvexHull, QhullError

    points = 2 * vectors / (length**2)[:, None]
    count = min(FIRST, len(points))
    while count >= 4:
        try:
            hull = ConvexHull(points[:count])
            closed = bool((hull.equations[:, 3] < -OPEN).all())
        except QhullError:  # all in one plane
            closed = False
        if closed:
            corners = -hull.equations[:, :3] / hull.equations[:, 3:]
            reach = 2 * float(np.sqrt((corners**2).sum(1).max())) * (1 + 1e-9)
            needed = int(np.searchsorted(length, reach))
            if needed <= count:
                return count, corners, hull.simplices
            count = needed
        elif count == len(points):
            return None
        else:
            count = min(2 * count, len(points))
    return None


def _measured(cells: list[_Cell]) -> Faces:
    """Areas and solid angles of all faces at once: each face is a fan of triangles around the mean of its corners."""
    if not cells:
        return Faces(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    first = np.concatenate([[0], np.cumsum([len(c.vectors) for c in cells])])
    vector = np.concatenate([c.vectors for c in cells])
    corner = np.concatenate([c.corners for c in cells]).repeat(3, axis=0)
    face = np.concatenate([c.meeting.reshape(-1) + start for c, start in zip(cells, first, strict=False)])
    used, face = np.unique(face, return_inverse=True)
    vector = vector[used]
    centre = np.repeat([c.atom for c in cells], [len(c.vectors) for c in cells])[used]
    neighbour = np.concatenate([c.neighbours for c in cells])[used]
    middle = np.stack([np.bincount(face, corner[:, k]) for k in range(3)], 1) / np.bincount(face)[:, None]
    side = _across(vector)
    turn = np.cross(vector, side) / np.linalg.norm(vector, axis=1, keepdims=True)
    arm = corner - middle[face]
    angle = np.arctan2((arm * turn[face]).sum(1), (arm * side[face]).sum(1))
    order = np.lexsort((angle, face))
    face, corner = face[order], corner[order]
    starts = np.flatnonzero(np.diff(face, prepend=-1))
    following = np.arange(1, len(face) + 1)
    following[np.append(starts[1:], len(face)) - 1] = starts  # the last corner of a face is followed by its first
    a, b, c = middle[face], corner, corner[following]
    area = np.bincount(face, np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)
    return Faces(centre, neighbour, vector, area, np.bincount(face, _solid_angle(a, b, c)))


def _across(vector: np.ndarray) -> np.ndarray:
    """(faces, 3) a unit vector at a right angle to each."""
    axis = np.eye(3)[np.abs(vector).argmin(1)]
    side = np.cross(vector, axis)
    return side / np.linalg.norm(side, axis=1, keepdims=True)


def _solid_angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """(triangles,) steradian that the triangles abc subtend at the origin."""
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    dot = lambda x, y: (x * y).sum(1)
    triple = np.abs(dot(a, np.cross(b, c)))
    return 2 * np.arctan2(triple, la * lb * lc + lc * dot(a, b) + lb * dot(a, c) + la * dot(b, c))
