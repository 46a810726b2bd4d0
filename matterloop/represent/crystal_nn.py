"""CrystalNN fingerprint, preset "ops": for every site the likelihood of each coordination number and how much its neighbours look like known motifs.

Neighbours: H. Pan and others, Inorg. Chem. 60, 1590 (2021), doi:10.1021/acs.inorgchem.0c02996; fingerprint: N. E. R. Zimmermann, A. Jain, RSC Adv. 10, 6063
(2020), doi:10.1039/C9RA07755C. Every face of a site's Voronoi cell has the weight w = (solid angle)^2 / area, times 1 + 3 sqrt(|dX| / 3.3) for a
difference dX of electronegativities, scaled so that the largest is 1, times a cosine that falls from 1 to 0 as the distance passes the sum of covalent
radii by 0.5 to 1 Å, rounded to 3 decimals. With weights in descending order coordination number n has the likelihood of the area under the quarter
circle between w_(n+1) and w_n. Equal to matminer's CrystalNNFingerprint.from_preset("ops").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.composition import ELECTRONEGATIVITY
from ..crystal.segments import segment_mean
from ..crystal.state import Crystals
from ..crystal.voronoi import Faces, voronoi_faces
from .order_parameters import MOTIFS, Angles, order_parameter

CARD = Card(
    name="crystal_nn",
    build="CrystalNN",
    role="descriptor",
    paper="10.1021/acs.inorgchem.0c02996",
    year=2021,
    capabilities=("vector",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    tolerance=1e-6,
    tolerance_reason="angles come from arccos, which turns a rounding of 1e-16 near 0 and 180 degrees into 1e-8",
    reference=0.7401759349827555,
    differs=(
        "cells that are open among the neighbours within 7 Å are closed with those within 14 Å; matminer stops at the diagonal of the cell as given",
        "where an order parameter depends on which of two equal neighbours comes first (body-centered cubic), both count by half; matminer takes the order of its Voronoi code",
        "angles within 1e-9 of a limit of a motif count as on it; matminer lets the rounding decide",
    ),
    summary="likelihood of coordination numbers and likeness to coordination motifs, averaged over sites",
)
RADIUS = 7.0  # Å: neighbours among which cells are sought first
MOST = 24  # largest coordination number
SOFT, HARD = 0.5, 1.0  # Å beyond the sum of covalent radii: weights begin to fall, and are zero
CONTRAST, WIDEST = 3.0, 3.3  # weight of electronegativity, and the largest difference between two elements
ATOMS = 4000  # sites described together
TRIPLES = 1_000_000  # angles held at once
COVALENT = (  # Å, by atomic number from 1: B. Cordero and others, Dalton Trans. 2008, 2832, doi:10.1039/b801115j; low-spin Mn, Fe and Co as pymatgen has them
    0.31, 0.28, 1.28, 0.96, 0.84, 0.73, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11, 1.07, 1.05, 1.02, 1.06, 2.03, 1.76, 1.70, 1.60, 1.53, 1.39, 1.50, 1.42, 1.38,
    1.24, 1.32, 1.22, 1.22, 1.20, 1.19, 1.20, 1.20, 1.16, 2.20, 1.95, 1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44, 1.42, 1.39, 1.39, 1.38, 1.39, 1.40,
    2.44, 2.15, 2.07, 2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92, 1.89, 1.90, 1.87, 1.87, 1.75, 1.70, 1.62, 1.51, 1.44, 1.41, 1.36, 1.36, 1.32, 1.45,
    1.46, 1.48, 1.40, 1.50, 1.50, 2.60, 2.21, 2.15, 2.06, 2.00, 1.96, 1.90, 1.87, 1.80, 1.69)
LABELS = tuple(label for n in range(1, MOST + 1) for label in (f"wt CN_{n}", *(f"{name} CN_{n}" for name, _, _ in MOTIFS.get(n, ()))))


def site_fingerprints(crystals: Crystals) -> Tensor:
    """(atoms, 61) the fingerprint of every site, columns as in `LABELS`, float64.

    BadInput naming the crystal for undecided elements, elements beyond curium, and crystals without closed Voronoi cells (`voronoi_faces`).
    """
    crystals = crystals.bare().to("cpu").to(torch.float64)
    bad = (crystals.species < 1) | (crystals.species > len(COVALENT))
    if bool(bad.any()):
        atom = int(bad.nonzero()[0, 0])
        raise BadInput(f"element {int(crystals.species[atom])} has no covalent radius; known are 1 to {len(COVALENT)}", f"crystal {int(crystals.owner[atom])}")
    return torch.from_numpy(_of_sites(crystals))


def neighbour_weights(crystals: Crystals, faces: Faces) -> np.ndarray:
    """(faces,) weight of the neighbour behind each face, 0 to 1, not rounded."""
    x, radius = np.array(ELECTRONEGATIVITY), np.array([np.nan, *COVALENT])
    species = crystals.species.numpy()
    a, b = species[faces.centre], species[faces.neighbour]
    per_atom = lambda values: np.maximum.reduceat(values, np.flatnonzero(np.diff(faces.centre, prepend=-1)))[np.unique(faces.centre, return_inverse=True)[1]]
    angle = faces.solid_angle
    weight = np.divide(angle**2, faces.area, out=np.zeros_like(angle), where=faces.area > 0)
    contrast = np.abs(x[a] - x[b])
    weight *= 1 + CONTRAST * np.sqrt(np.where(np.isnan(contrast), 0.0, contrast) / WIDEST)
    weight /= per_atom(weight)
    beyond = np.linalg.norm(faces.vector, axis=1) - radius[a] - radius[b]
    return weight * (np.cos(np.clip((beyond - SOFT) / (HARD - SOFT), 0, 1) * np.pi) + 1) / 2


def _of_sites(crystals: Crystals) -> np.ndarray:
    faces = voronoi_faces(crystals, RADIUS)
    weight = neighbour_weights(crystals, faces)
    order = np.lexsort((-weight, faces.centre))
    centre, weight = faces.centre[order], weight[order]
    rank = np.arange(len(centre)) - np.searchsorted(centre, centre)
    ordered = np.zeros((crystals.atoms, MOST + 1))
    place = np.zeros((crystals.atoms, MOST + 1), dtype=np.int64)
    keep = rank <= MOST
    ordered[centre[keep], rank[keep]], place[centre[keep], rank[keep]] = weight[keep], order[keep]
    area = _quarter_circle(np.round(ordered, 3))
    likelihood = area[:, :-1] - area[:, 1:]  # of coordination numbers 1 to 24; exactly 0 between equal weights
    unit = faces.vector / np.linalg.norm(faces.vector, axis=1, keepdims=True)
    columns = []
    for n in range(1, MOST + 1):
        columns.append(likelihood[:, n - 1])
        if n in MOTIFS:
            columns += _motifs(n, likelihood[:, n - 1], unit, place, ordered)
    return np.stack(columns, 1)


def _quarter_circle(x: np.ndarray) -> np.ndarray:
    """Area under the unit circle from 0 to x as a share of its quarter."""
    return (x * np.sqrt(1 - x * x) + np.arcsin(x)) / (np.pi / 2)


def _motifs(n: int, likelihood: np.ndarray, unit: np.ndarray, place: np.ndarray, ordered: np.ndarray) -> list[np.ndarray]:
    """Likelihood of coordination number n times the order parameter of each of its motifs, (atoms,) each."""
    found = np.zeros((len(MOTIFS[n]), len(likelihood)))
    rows = np.flatnonzero(likelihood)
    for part in np.array_split(rows, -(-len(rows) * n**3 // TRIPLES) or 1):
        angles = Angles(unit[place[part, :n]], ordered[part, :n])
        for k, (_, form, parameters) in enumerate(MOTIFS[n]):
            found[k, part] = likelihood[part] * order_parameter(form, parameters, angles)
    return list(found)


def fingerprints(crystals: Crystals) -> tuple[Tensor, dict[int, str]]:
    """((crystals, 61) mean of the site fingerprints of each crystal, {crystal: why it has none}); rows without one are NaN."""
    out = torch.full((len(crystals), len(LABELS)), torch.nan, dtype=torch.float64)
    failed: dict[int, str] = {}
    start = 0
    for part in crystals.split(ATOMS):
        try:
            out[start : start + len(part)] = CrystalNN()(part)
        except BadInput:
            for i, one in enumerate(part, start):
                try:
                    out[i] = CrystalNN()(one)[0]
                except BadInput as error:
                    failed[i] = error.message
        start += len(part)
    return out, failed


@dataclass(frozen=True)
class CrystalNN:
    """The descriptor as an object: called with crystals it returns (crystals, 61) float64, the mean over sites, columns as in `LABELS`."""

    def __call__(self, crystals: Crystals) -> Tensor:
        return segment_mean(site_fingerprints(crystals), crystals.owner.to("cpu"), len(crystals))
