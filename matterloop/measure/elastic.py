"""Elastic tensors by strain and stress, for many crystals at once: only strains that symmetry does not make equal are computed.

M. de Jong et al., "Charting the complete elastic properties of inorganic crystalline compounds", Sci. Data 2, 150009 (2015), doi:10.1038/sdata.2015.9.
The crystal is relaxed, strained, its atoms relaxed in each strained cell, and the constants that its point group leaves free are fitted to all stresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.units import GPA_PER_EV_PER_A3
from ..crystal.composition import density
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from ..potential.oracle import Oracle
from .at_rest import brought_to_rest, check_periodic
from .elastic_tensor import ElasticTensor, allowed, mandel_to_voigt, strain_of, voigt_of
from .per_crystal import PerCrystal
from .relax import RelaxedOne, relax

CARD = Card(
    name="elastic",
    build="Elastic",
    role="measure",
    paper="10.1038/sdata.2015.9",
    year=2015,
    capabilities=("elastic_tensor",),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    tolerance=1e-3,
    tolerance_reason="differences of stresses of atoms that are relaxed to a limit, from starts that differ",
    differs=(
        "strains of 0.5 and 1 % with the stress of Cauchy and differences about zero, so that errors are of second order; the paper has Green-Lagrange strains",
        "only as many of the six strains as the point group needs, and the free constants are fitted to all stresses at once",
    ),
    small={"fmax": 0.001},
    summary="elastic tensor by strains and stresses with symmetry; Voigt, Reuss, Hill, stability, sound, Debye temperature",
)
STRAINS = (-0.01, -0.005, 0.005, 0.01)
WEAK = 0.1  # what is told less than this by a strain counts as not told: axes of a relaxed crystal are never quite those of its symmetry
_MANDEL = np.array([1, 1, 1, 2**0.5, 2**0.5, 2**0.5])


@dataclass(frozen=True)
class ElasticOne:
    """What came out for one crystal.

    tensor     None where it failed, with the reason
    relaxed    the crystal at rest, from which it was strained; the tensor's axes are its Cartesian ones
    strains    engineering strains (runs, 6) that were computed, stresses (runs, 6) in GPa
    residual   GPa, root mean square of what the fit leaves of the stresses
    """

    tensor: ElasticTensor | None
    relaxed: Crystals
    space_group: int
    strains: np.ndarray
    stresses: np.ndarray
    residual: float
    reason: str = ""

    @property
    def failed(self) -> bool:
        return self.tensor is None


@dataclass(frozen=True)
class Elasticity(PerCrystal[ElasticOne]):
    """Answer of `elastic`: one `ElasticOne` per crystal in input order, whose energies they are, and what it cost."""

    results: tuple[ElasticOne, ...]
    oracle: str
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class Elastic:
    """The settings of `elastic` as a thing to store and to call."""

    strains: Sequence[float] = STRAINS
    fmax: float = 0.01
    symprec: float = 0.01
    at_rest: bool = False

    def __call__(self, crystals: Crystals, oracle: Oracle, **more) -> Elasticity:
        return elastic(crystals, oracle, **{**{k: getattr(self, k) for k in self.__dataclass_fields__}, **more})


def elastic(crystals: Crystals, oracle: Oracle, *, strains: Sequence[float] = STRAINS, fmax: float = 0.01, symprec: float = 0.01, at_rest: bool = False,
            batch_atoms: int = 512, on_step: Callable[[str, int, int], None] | None = None, should_stop: Callable[[], bool] | None = None) -> Elasticity:
    """Elastic tensors of the crystals by the stresses of `oracle`.

    strains   magnitudes, engineering for shear; both signs of each, so that terms of second order cancel
    fmax      eV/Å to which atoms are relaxed, at rest and in every strained cell
    symprec   Å, within which symmetry is found after relaxing; constants that it forbids are zero exactly
    at_rest   the crystals are relaxed already and taken as they are
    on_step   called with ("relax" or "strain", finished, of)
    A crystal that cannot be relaxed or strained has a reason and no tensor; the others go on. BadInput for strains without both signs, for slabs and molecules.
    """
    sizes = sorted(strains)
    if not sizes or any(abs(a + b) > 1e-12 for a, b in zip(sizes, reversed(sizes), strict=True)) or 0.0 in sizes or max(sizes) > 0.1:
        raise BadInput(f"strains are {list(strains)}; wanted are both signs of each, at most 0.1", "elastic")
    check_periodic(crystals)
    begin, tell = time.perf_counter(), on_step or (lambda what, done, of: None)
    crystals = crystals.bare().to(torch.float64)
    options = {"fmax": fmax, "batch_atoms": batch_atoms, "should_stop": should_stop}
    evaluations, reasons = 0, [""] * len(crystals)
    if not at_rest:
        crystals, reasons, evaluations = brought_to_rest(crystals, oracle, smax=2e-5, steps=1000, on_step=lambda flying, done: tell("relax", done, len(reasons)), **options)
    plans = [None if reason else _plan(crystals[i], symprec) for i, reason in enumerate(reasons)]
    jobs = [(i, size * np.eye(6)[k]) for i, plan in enumerate(plans) if plan is not None for k in plan.modes for size in sizes]
    found: list[RelaxedOne] = []
    if jobs:
        bent = Crystals.join([_strained(crystals[i], strain) for i, strain in jobs])
        run = relax(bent, oracle, cell=False, steps=500, on_step=lambda flying, done: tell("strain", done, len(jobs)), **options)
        evaluations, found = evaluations + run.evaluations, list(run)
    results = []
    for i, plan in enumerate(plans):
        own = [(strain, r) for (which, strain), r in zip(jobs, found, strict=True) if which == i]
        results.append(_fitted(crystals[i], plan, own, reasons[i]))
    return Elasticity(tuple(results), oracle.name, evaluations, time.perf_counter() - begin)


@dataclass(frozen=True)
class _Plan:
    """Strains that are needed, and the tensors that symmetry allows (constants, 6, 6), Mandel."""

    symmetry: Symmetry
    basis: np.ndarray
    modes: tuple[int, ...]


def _plan(crystal: Crystals, symprec: float) -> _Plan:
    symmetry = analyse(crystal, symprec)[0]
    columns = crystal.cell[0].numpy().T
    basis = allowed(columns @ symmetry.rotations.numpy() @ np.linalg.inv(columns))
    modes: list[int] = []
    rank = 0
    while rank < len(basis):  # the strain whose stresses tell most of what is not known yet
        gain = [np.linalg.matrix_rank(_design(basis, [*modes, k]), tol=WEAK) if k not in modes else -1 for k in range(6)]
        best = int(np.argmax(gain))
        modes.append(best)
        rank = gain[best]
    return _Plan(symmetry, basis, tuple(modes))


def _design(basis: np.ndarray, modes: Sequence[int]) -> np.ndarray:
    """(6 * modes, constants) Mandel stresses of unit engineering strains."""
    return np.concatenate([basis[:, :, k].T / (_MANDEL[k] if k > 2 else 1.0) for k in modes])


def _strained(crystal: Crystals, engineering: np.ndarray) -> Crystals:
    bend = torch.eye(3, dtype=torch.float64) + torch.from_numpy(strain_of(engineering))
    return crystal.put(cell=crystal.cell @ bend)


def _fitted(crystal: Crystals, plan: _Plan | None, runs: list[tuple[np.ndarray, RelaxedOne]], reason: str) -> ElasticOne:
    empty = np.zeros((0, 6))
    if plan is None:
        return ElasticOne(None, crystal, 0, empty, empty, float("nan"), reason)
    strains = np.stack([s for s, _ in runs])
    stresses = np.stack([voigt_of(r.stress.numpy()) for _, r in runs]) * GPA_PER_EV_PER_A3
    bad = [r for _, r in runs if not r.converged]
    if bad:
        return ElasticOne(None, crystal, plan.symmetry.number, strains, stresses, float("nan"), f"strained: {len(bad)} of {len(runs)} not relaxed, the first {bad[0].status}: {bad[0].reason}")
    rows, wanted = [], []
    for k in plan.modes:  # the slope of each mode by least squares through the stresses of both signs
        size, stress = strains[strains[:, k] != 0][:, k], stresses[strains[:, k] != 0]
        centred = stress - stress.mean(0)
        rows.append(_design(plan.basis, [k]))
        wanted.append(_slope(size, centred) * _MANDEL)
    design, slopes = np.concatenate(rows), np.concatenate(wanted)
    constants, *_ = np.linalg.lstsq(design, slopes, rcond=None)
    left = slopes - design @ constants
    freedom = max(len(slopes) - len(constants), 1)
    spread = float(left @ left / freedom)
    covariance = spread * np.linalg.pinv(design.T @ design)
    stiffness = mandel_to_voigt(np.einsum("c,cab->ab", constants, plan.basis))
    error = mandel_to_voigt(np.sqrt(np.maximum(np.einsum("cab,cd,dab->ab", plan.basis, covariance, plan.basis), 0)))
    tensor = ElasticTensor(stiffness, float(density(crystal)[0]), crystal.atoms / float(crystal.volume[0]), error)
    return ElasticOne(tensor, crystal, plan.symmetry.number, strains, stresses, float(np.sqrt(spread)))


def _slope(size: np.ndarray, stress: np.ndarray) -> np.ndarray:
    """(6,) d stress / d strain at zero: stresses of both signs, fitted by a + b x^2 for the odd part of each pair."""
    half = sorted({round(abs(s), 12) for s in size})
    odd = np.stack([(stress[np.isclose(size, s)].mean(0) - stress[np.isclose(size, -s)].mean(0)) / (2 * s) for s in half])
    if len(half) == 1:
        return odd[0]
    x = np.array(half) ** 2
    design = np.stack([np.ones_like(x), x], 1)
    return np.linalg.lstsq(design, odd, rcond=None)[0][0]
