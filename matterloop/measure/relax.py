"""Relax many crystals at once, atoms and cell, with finished ones leaving the batch and waiting ones entering it.

In-flight batching is the idea of TorchSim's autobatcher (arXiv:2508.06628). Minimisers: optimizers.py; cell coordinates: coordinates.py; the window of
crystals in flight, failures and what a result holds: flight.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..base.errors import BadInput, Missing
from ..base.registry import Card
from ..crystal.state import Crystals
from ..potential.oracle import Oracle
from .flight import Limits, RelaxedOne, Run
from .optimizers import OPTIMIZERS
from .per_crystal import PerCrystal
from .rejection import Rejection

CARD = Card(
    name="relax",
    build="Relaxer",
    role="measure",
    paper="10.1103/PhysRevLett.97.170201",
    year=2006,
    capabilities=("relaxes", "pressure", "keeps_symmetry"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    tolerance=1e-6,
    tolerance_reason="end points of an iteration stopped at fmax",
    presets={"fire": {"optimizer": "fire"}},
    small={"fmax": 0.001, "smax": 2e-5},
    differs=(
        "the cell moves with a symmetric logarithmic strain, so that crystals do not turn",
        "coordinates are scaled by a spring model's Hessian (measure/stiffness.py), for FIRE too, which caps the longest move of an atom, not the whole vector",
        "early rejection (an option, off unless asked for) wrongly gives up 2.6 % of good candidates of substitution, 0.4 % of templates, 20 % of random search",
    ),
    summary="batched relaxation of atoms and cell in symmetric coordinates scaled by springs, L-BFGS or FIRE, constant pressure, symmetry kept when asked",
)


@dataclass(frozen=True)
class Relaxation(PerCrystal[RelaxedOne]):
    """Answer of `relax`: one `RelaxedOne` per crystal in input order, and what it cost.

    oracle, energy_scheme  whose energies these are
    calls                  calls of the oracle; evaluations: crystals it labelled; seconds: wall time
    """

    results: tuple[RelaxedOne, ...]
    oracle: str
    energy_scheme: str
    calls: int
    evaluations: int
    seconds: float

    @cached_property
    def crystals(self) -> Crystals:
        """All final geometries in input order, failed ones too (see `failed`), with fields energy (nan if failed), stress, forces and, if known, magmom."""
        if not self.results:
            return Crystals.of([], [], [], [])
        joined = Crystals.join([r.crystal for r in self.results])
        site = {"forces": torch.cat([r.forces for r in self.results])}
        if any(r.magmoms is not None for r in self.results):
            unknown = lambda r: torch.full((r.crystal.atoms,), torch.nan, dtype=torch.float64)
            site["magmom"] = torch.cat([unknown(r) if r.magmoms is None else r.magmoms for r in self.results])
        return joined.with_fields(site=site, whole={"energy": self.energies, "stress": torch.stack([r.stress for r in self.results])})

    @property
    def energies(self) -> Tensor:
        """(crystals,) total energies in eV, nan if failed."""
        return torch.tensor([r.energy for r in self.results], dtype=torch.float64)

    @property
    def energies_per_atom(self) -> Tensor:
        """(crystals,) eV/atom, nan if failed."""
        return torch.tensor([r.energy_per_atom for r in self.results], dtype=torch.float64)

    @property
    def converged(self) -> Tensor:
        """(crystals,) bool."""
        return torch.tensor([r.converged for r in self.results], dtype=torch.bool)

    @property
    def failed(self) -> Tensor:
        """(crystals,) bool."""
        return torch.tensor([r.failed for r in self.results], dtype=torch.bool)


@dataclass(frozen=True)
class Relaxer:
    """The settings of `relax` as a thing to store and to call: `Relaxer(fmax=0.02)(crystals, oracle)`."""

    fmax: float = 0.05
    smax: float = 0.003
    steps: int = 500
    pressure: float = 0.0
    optimizer: str = "lbfgs"
    cell: bool = True
    keep_symmetry: bool = False
    symprec: float = 0.01
    batch_atoms: int = 512

    def __call__(self, crystals: Crystals, oracle: Oracle, **more) -> Relaxation:
        settings = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return relax(crystals, oracle, **{**settings, **more})


def relax(
    crystals: Crystals, oracle: Oracle, *, fmax: float = 0.05, smax: float = 0.003, steps: int = 500, pressure: float = 0.0, optimizer: str = "lbfgs",
    cell: bool = True, keep_symmetry: bool = False, symprec: float = 0.01, batch_atoms: int = 512, trajectory: bool = False,
    reject: Rejection | None = None, on_done: Callable[[int, RelaxedOne], None] | None = None, on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Relaxation:
    """Minimise the enthalpy E + p V of every crystal; one that fails is reported and dropped, the others go on.

    crystals       any mix of crystals, slabs (cell relaxes in the plane only) and molecules (atoms only); fields are dropped
    fmax, smax     converged when no force exceeds fmax (eV/Å) and no component of stress + pressure exceeds smax (eV/Å^3; 0.003 = 0.48 GPa)
    steps          most moves of one crystal
    pressure       hydrostatic, eV/Å^3, positive compresses (units.gpa_to_stress converts GPa at the border); fully periodic crystals only
    optimizer      "lbfgs", or "fire": three times the evaluations, for potentials whose energies do not match their forces
    cell           whether lattices relax
    keep_symmetry  start from the symmetrised crystal (within `symprec` Å) and move along its symmetric directions only
    batch_atoms    most atoms in flight; a larger crystal runs alone. Entry is in input order; no result depends on its neighbours in the batch, as far
                   as the oracle's labels do not (potential.oracle.steady; single precision rounds differently in batches of different sizes)
    trajectory     keep every evaluated geometry
    reject         give up crystals that will end too high above the hull (status "rejected", numbers in the reason); off by default; of good candidates it loses
                   0.4 % (templates) to 20 % (random search), see rejection.Rejection
    on_done        called with (index, RelaxedOne) when a crystal leaves; on_step with (crystals in flight, crystals finished) after every evaluation
    should_stop    polled before every evaluation; when true, all that is unfinished is returned with status "stopped"

    Raises BadInput for impossible settings and for an oracle without forces (or stress when `cell`), Missing for an unknown optimizer, NeedsPackage from
    the oracle. Any other exception of the oracle is traced to its crystals by halving the batch.
    """
    if optimizer not in OPTIMIZERS:
        raise Missing("optimizer", optimizer, OPTIMIZERS)
    for name, number, least in (("fmax", fmax, 0.0), ("smax", smax, 0.0), ("batch_atoms", batch_atoms, 0), ("steps", steps, -1)):
        if not number > least:
            raise BadInput(f"{name} is {number}, it must be above {least}", "relax")
    if reject is not None:
        if pressure:
            raise BadInput("hopeless crystals are judged by energies above a hull, which is one without pressure", "relax")
        reject = reject.checked(len(crystals))
    run = Run(crystals.bare().to(torch.float64), oracle, Limits(fmax, smax, steps, pressure, cell), OPTIMIZERS[optimizer], keep_symmetry, symprec, trajectory, on_done, reject)
    begin, waiting = time.perf_counter(), 0
    while True:
        waiting = run.admit(waiting, batch_atoms)
        if not run.members:
            break
        if should_stop is not None and should_stop():
            run.stop(waiting)
            break
        run.advance()
        if on_step is not None:
            on_step(len(run.members), len(run.done))
    results = tuple(run.done[i] for i in range(len(crystals)))
    return Relaxation(results, oracle.name, oracle.energy_scheme, run.calls, run.evaluations, time.perf_counter() - begin)
