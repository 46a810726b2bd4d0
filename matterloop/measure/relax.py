"""Relax many crystals at once, atoms and cell, with finished ones leaving the batch and waiting ones entering it.

Cell coordinates: the logarithm of the deformation gradient, after E. B. Tadmor et al., Phys. Rev. B 59, 235 (1999), doi:10.1103/PhysRevB.59.235, with the
exact derivative of the matrix exponential. In-flight batching: the idea of TorchSim's autobatcher (arXiv:2508.06628). Minimisers: optimizers.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..base.errors import BadInput, MatterloopError, Missing, NeedsPackage
from ..base.registry import Card
from ..base.units import stress_to_gpa
from ..crystal.graph import Within
from ..crystal.segments import offsets_of, runs, segment_max
from ..crystal.state import Crystals
from ..potential.oracle import Labels, Oracle
from .optimizers import OPTIMIZERS, State

CARD = Card(
    name="relax",
    build="Relaxer",
    role="measure",
    paper="10.1103/PhysRevLett.97.170201",
    year=2006,
    capabilities=("forces", "stress", "batched", "pressure", "keeps_symmetry"),
    keeps=("translation", "permutation"),
    waives={
        "rotation": "a path of some hundred steps amplifies rounding; end points agree to the convergence limits, not to 1e-8",
        "reflection": "as rotation",
        "cell": "the cell coordinates weigh against the atoms by the number of atoms, so that another cell takes another path to the same minimum",
        "supercell": "as cell",
    },
    tolerance=1e-6,
    tolerance_reason="end points of an iteration stopped at fmax",
    presets={"lbfgs": {"optimizer": "lbfgs"}},
    small={"steps": 20},
    differs=("the cell moves with a symmetric logarithmic strain, so that crystals do not turn", "FIRE caps the move of each row, not of the whole vector"),
    summary="batched relaxation of atoms and cell, FIRE or L-BFGS, constant pressure, symmetry kept when asked",
)

CELL_LENGTH = 2.0  # Å; a log strain w counts as a move of w * CELL_LENGTH * sqrt(atoms), which gives it the stiffness of a bond
CLOSEST = 0.3  # Å, shortest distance that is still a structure
VOLUME_PER_ATOM = (1.0, 1000.0)  # Å^3, of fully periodic crystals
VOLUME_CHANGE = 10.0  # largest factor by which the volume may grow or shrink
LARGEST_FORCE = 1e3  # eV/Å
DEEPEST_FALL = 50.0  # eV/atom below the first energy: a hole of the potential, not a bond
FAILED, STOPPED, STEPS, CONVERGED = "failed", "stopped", "steps", "converged"


@dataclass(frozen=True)
class RelaxedOne:
    """What became of one crystal.

    crystal    batch of one, the geometry last evaluated (for a failed one the last sound geometry)
    energy     total energy in eV of that geometry, without the pressure term; nan if failed
    forces     (atoms, 3) eV/Å; stress (3, 3) eV/Å^3, positive under tension; magmoms (atoms,) or None; spread eV/atom or nan
    steps      moves made
    status     "converged", "steps" (limit reached), "stopped" (asked to stop) or "failed"
    reason     a sentence for every status but "converged"
    fmax       largest force on an atom in eV/Å; smax largest component of stress + pressure in eV/Å^3, 0 with a fixed cell
    energies   energy in eV of every evaluation, in order
    frames     the evaluated geometries, None unless asked for
    """

    crystal: Crystals
    energy: float
    forces: Tensor
    stress: Tensor
    magmoms: Tensor | None
    spread: float
    steps: int
    status: str
    reason: str
    fmax: float
    smax: float
    energies: tuple[float, ...]
    frames: Crystals | None = None

    @property
    def converged(self) -> bool:
        return self.status == CONVERGED

    @property
    def failed(self) -> bool:
        return self.status == FAILED

    @property
    def energy_per_atom(self) -> float:
        """eV/atom, nan if failed."""
        return self.energy / max(self.crystal.atoms, 1)


@dataclass(frozen=True)
class Relaxation:
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

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[RelaxedOne]:
        return iter(self.results)

    def __getitem__(self, i: int) -> RelaxedOne:
        return self.results[i]

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
    """The settings of `relax` as a thing to store and to call: `Relaxer(optimizer="lbfgs")(crystals, oracle)`."""

    fmax: float = 0.05
    smax: float = 0.003
    steps: int = 500
    pressure: float = 0.0
    optimizer: str = "fire"
    cell: bool = True
    keep_symmetry: bool = False
    symprec: float = 0.01
    batch_atoms: int = 512

    def __call__(self, crystals: Crystals, oracle: Oracle, **more) -> Relaxation:
        settings = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return relax(crystals, oracle, **{**settings, **more})


def relax(
    crystals: Crystals, oracle: Oracle, *, fmax: float = 0.05, smax: float = 0.003, steps: int = 500, pressure: float = 0.0, optimizer: str = "fire",
    cell: bool = True, keep_symmetry: bool = False, symprec: float = 0.01, batch_atoms: int = 512, trajectory: bool = False,
    on_done: Callable[[int, RelaxedOne], None] | None = None, on_step: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Relaxation:
    """Minimise the enthalpy E + p V of every crystal; one that fails is reported and dropped, the others go on.

    crystals       any mix of crystals, slabs (cell relaxes in the plane only) and molecules (atoms only); fields are dropped
    fmax, smax     converged when no force exceeds fmax (eV/Å) and no component of stress + pressure exceeds smax (eV/Å^3; 0.003 = 0.48 GPa)
    steps          most moves of one crystal
    pressure       hydrostatic, eV/Å^3, positive compresses (units.gpa_to_stress converts GPa at the border); fully periodic crystals only
    optimizer      "fire" or "lbfgs" (fewer evaluations; the same minimum)
    cell           whether lattices relax
    keep_symmetry  start from the symmetrised crystal (within `symprec` Å) and move along its symmetric directions only
    batch_atoms    most atoms in flight; a larger crystal runs alone. Entry is in input order, and no result depends on its neighbours in the batch
    trajectory     keep every evaluated geometry
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
    if keep_symmetry:
        raise BadInput("keep_symmetry is not built yet; relax without it", "relax")
    run = _Run(crystals.bare().to(torch.float64), oracle, _Limits(fmax, smax, steps, pressure, cell), optimizer, keep_symmetry, symprec, trajectory, on_done)
    begin, waiting = time.perf_counter(), 0
    while True:
        waiting = run.admit(waiting, batch_atoms)
        if not run.flight.index:
            break
        if should_stop is not None and should_stop():
            run.stop(waiting)
            break
        run.advance()
        if on_step is not None:
            on_step(len(run.flight.index), len(run.done))
    results = tuple(run.done[i] for i in range(len(crystals)))
    return Relaxation(results, oracle.name, oracle.energy_scheme, run.calls, run.evaluations, time.perf_counter() - begin)


# coordinates: for every crystal its atoms' rows, then three rows for its cell


@dataclass(frozen=True)
class Frame:
    """Generalised coordinates of a batch around its starting geometry C_0.

    cell = C_0 exp(W), W symmetric;  x = [frac C_0; scale W],  scale = CELL_LENGTH sqrt(atoms)

    start     the starting crystals (float64)
    moves_in  (crystals, 3, 3) projector onto the directions in which the cell may strain; zero for molecules and fixed cells
    """

    start: Crystals
    moves_in: Tensor

    @staticmethod
    def of(start: Crystals, cell: bool) -> Frame:
        axes = start.cell * (start.periodic & cell)[:, :, None]
        whole = (start.periodic.all(1) & cell)[:, None, None]
        return Frame(start, torch.where(whole, torch.eye(3, dtype=torch.float64), torch.linalg.pinv(axes) @ axes))

    @cached_property
    def counts(self) -> Tensor:
        return self.start.counts + 3

    @cached_property
    def owner(self) -> Tensor:
        """(rows,) crystal of each row."""
        return torch.arange(len(self.start)).repeat_interleave(self.counts)

    @cached_property
    def atom_rows(self) -> Tensor:
        return runs(offsets_of(self.counts)[:-1], self.start.counts)

    @cached_property
    def cell_rows(self) -> Tensor:
        """(crystals, 3)"""
        return (offsets_of(self.counts)[1:] - 3)[:, None] + torch.arange(3)

    @cached_property
    def scale(self) -> Tensor:
        return CELL_LENGTH * self.start.counts.to(torch.float64).sqrt()

    def rows_of(self, which: Tensor) -> Tensor:
        """Rows of the crystals `which` (indices)."""
        return runs(offsets_of(self.counts)[:-1][which], self.counts[which])

    def coordinates(self) -> Tensor:
        """(rows, 3) x of the start."""
        x = self.start.cell.new_zeros(len(self.owner), 3)
        x[self.atom_rows] = self.start.cart
        return x

    def strain(self, x: Tensor) -> Tensor:
        """(crystals, 3, 3) W."""
        w = x[self.cell_rows] / self.scale[:, None, None]
        return (w + w.mT) / 2

    def crystals(self, x: Tensor) -> Crystals:
        """The crystals at coordinates `x`; not checked, numbers may be absurd."""
        frac = torch.bmm(x[self.atom_rows][:, None], torch.linalg.inv(self.start.cell)[self.start.owner])[:, 0]
        return self.start.put(frac=frac, cell=self.start.cell @ torch.linalg.matrix_exp(self.strain(x)))

    def force(self, x: Tensor, forces: Tensor, stress: Tensor, volume: Tensor) -> Tensor:
        """(rows, 3) minus the gradient of the enthalpy by x; `stress` includes the pressure.

        F = exp(W):  -dH/dx_atoms = f F;  dH/dW = Q (Γ ∘ Q^T A Q) Q^T with A = V F^-1 σ and W = Q w Q^T, Γ_ij = (e^w_i - e^w_j)/(w_i - w_j)
        """
        w, q = torch.linalg.eigh(self.strain(x))
        e = w.exp()
        bend = q @ torch.diag_embed(e) @ q.mT
        gap = w[:, :, None] - w[:, None, :]
        near = gap.abs() < 1e-6
        mean = ((w[:, :, None] + w[:, None, :]) / 2).exp()
        gamma = torch.where(near, mean, (e[:, :, None] - e[:, None, :]) / torch.where(near, torch.ones_like(gap), gap))
        a = volume[:, None, None] * (torch.linalg.inv(bend) @ stress)
        by_w = q @ (gamma * (q.mT @ a @ q)) @ q.mT
        by_w = self.moves_in @ ((by_w + by_w.mT) / 2) @ self.moves_in
        out = torch.zeros_like(x)
        out[self.atom_rows] = torch.bmm(forces[:, None], bend[self.start.owner])[:, 0]
        out[self.cell_rows] = -by_w / self.scale[:, None, None]
        return out


# the run


@dataclass(frozen=True)
class _Limits:
    fmax: float
    smax: float
    steps: int
    pressure: float
    cell: bool


@dataclass(frozen=True)
class _Flight:
    """The crystals in flight: input numbers, frame, coordinates, minimiser's memory, moves made."""

    index: tuple[int, ...]
    frame: Frame | None = None
    x: Tensor | None = None
    memory: State | None = None
    moves: Tensor | None = None
    symmetry: tuple = ()

    def pick(self, keep: Tensor) -> _Flight:
        """The crystals of `keep` (indices within the flight)."""
        if len(keep) == len(self.index):
            return self
        if not len(keep):
            return _Flight(())
        rows, which = self.frame.rows_of(keep), keep.tolist()
        return _Flight(
            tuple(self.index[i] for i in which), Frame(self.frame.start[keep], self.frame.moves_in[keep]), self.x[rows], self.memory.pick(rows, keep),
            self.moves[keep], tuple(self.symmetry[i] for i in which) if self.symmetry else ())

    def joined(self, other: _Flight) -> _Flight:
        if not self.index or not other.index:
            return other if other.index else self
        frame = Frame(Crystals.join([self.frame.start, other.frame.start]), torch.cat([self.frame.moves_in, other.frame.moves_in]))
        return _Flight(
            self.index + other.index, frame, torch.cat([self.x, other.x]), State.join([self.memory, other.memory]), torch.cat([self.moves, other.moves]),
            self.symmetry + other.symmetry)


@dataclass
class _Trace:
    """What is remembered of one crystal in flight: its energies, and its last sound geometry as place `k` of a labelled batch."""

    batch: Crystals
    k: int
    labels: Labels | None = None
    energies: list[float] = field(default_factory=list)
    frames: list[Crystals] = field(default_factory=list)
    fmax: float = float("nan")
    smax: float = float("nan")


class _Run:
    """The moving parts of one call of `relax`; everything else in this file is a pure function."""

    def __init__(self, crystals, oracle, limits, optimizer, keep_symmetry, symprec, trajectory, on_done):
        self.crystals, self.oracle, self.limits, self.optimizer = crystals, oracle, limits, OPTIMIZERS[optimizer]
        self.keep_symmetry, self.symprec, self.trajectory, self.on_done = keep_symmetry, symprec, trajectory, on_done
        self.flight, self.done, self.traces = _Flight(()), {}, {}
        self.calls = self.evaluations = 0
        self.volumes = crystals.volume

    # entering and leaving

    def admit(self, waiting: int, batch_atoms: int) -> int:
        """Let crystals enter in input order while they fit; returns the first that still waits."""
        atoms = sum(int(self.crystals.counts[i]) for i in self.flight.index)
        entering = []
        while waiting < len(self.crystals):
            n = int(self.crystals.counts[waiting])
            if atoms and atoms + n > batch_atoms:
                break
            self.traces[waiting] = _Trace(self.crystals, waiting)
            if why := self._refusal(waiting):
                self._finish(waiting, FAILED, why, 0)
            else:
                atoms += n
                entering.append(waiting)
            waiting += 1
        if entering:
            frame = Frame.of(self.crystals[entering], self.limits.cell)
            x = frame.coordinates()
            memory = self.optimizer.init(x, frame.owner, len(entering))
            self.flight = self.flight.joined(_Flight(tuple(entering), frame, x, memory, torch.zeros(len(entering), dtype=torch.long)))
        return waiting

    def _refusal(self, i: int) -> str:
        periodic = self.crystals.periodic[i]
        if int(self.crystals.counts[i]) == 0:
            return "there are no atoms"
        if self.limits.pressure and self.limits.cell and not bool(periodic.all()):
            return "a pressure needs a crystal that repeats along all three axes"
        if bool(periodic.all()) and not VOLUME_PER_ATOM[0] <= float(self.volumes[i]) / int(self.crystals.counts[i]) <= VOLUME_PER_ATOM[1]:
            return f"{float(self.volumes[i]) / int(self.crystals.counts[i]):.3g} Å^3 per atom at the start, allowed are {VOLUME_PER_ATOM[0]} to {VOLUME_PER_ATOM[1]}"
        return ""

    def _finish(self, i: int, status: str, reason: str, moves: int) -> None:
        trace = self.traces.pop(i)
        crystal, nan = trace.batch[trace.k], float("nan")
        known = trace.labels is not None
        labels = _pick_labels(trace.labels, trace.batch, torch.tensor([trace.k])) if known else None
        one = RelaxedOne(
            crystal=crystal,
            energy=float(labels.energy) if known and status != FAILED else nan,
            forces=labels.forces if known else torch.full((crystal.atoms, 3), nan, dtype=torch.float64),
            stress=labels.stress[0] if known and labels.stress is not None else torch.full((3, 3), nan, dtype=torch.float64),
            magmoms=labels.magmoms if known else None,
            spread=float(labels.spread) if known and labels.spread is not None else nan,
            steps=moves, status=status, reason=reason, fmax=trace.fmax, smax=trace.smax, energies=tuple(trace.energies),
            frames=Crystals.join(trace.frames) if trace.frames else None)
        self.done[i] = one
        if self.on_done is not None:
            self.on_done(i, one)

    def stop(self, waiting: int) -> None:
        """Hand back all that is unfinished."""
        for k, i in enumerate(self.flight.index):
            self._finish(i, STOPPED, "stopped when asked to", int(self.flight.moves[k]))
        for i in range(waiting, len(self.crystals)):
            self.traces[i] = _Trace(self.crystals, i)
            self._finish(i, STOPPED, "stopped before its first evaluation", 0)
        self.flight = _Flight(())

    def _drop(self, failures: dict[int, str]) -> Tensor:
        """Finish the crystals of `failures` {place in flight: reason}; returns the places that stay, and shrinks the flight to them."""
        for k, why in failures.items():
            self._finish(self.flight.index[k], FAILED, why, int(self.flight.moves[k]))
        keep = torch.tensor([k for k in range(len(self.flight.index)) if k not in failures], dtype=torch.long)
        self.flight = self.flight.pick(keep)
        return keep

    # one evaluation of everything in flight, then one move

    def advance(self) -> None:
        trial = self.flight.frame.crystals(self.flight.x)
        keep = self._drop(self._absurd(trial))
        if not len(keep):
            return
        trial = trial[keep]
        labels, failures = self._label(trial)
        if failures:
            keep = self._drop(failures)
            trial = trial[keep]
        if not len(keep) or not self.flight.index:
            return
        per_atom = labels.energy / trial.counts
        first = torch.tensor([(self.traces[i].energies or [float(e)])[0] for i, e in zip(self.flight.index, labels.energy.tolist(), strict=True)])
        size = segment_max(labels.forces.norm(dim=-1), trial.owner, len(trial), 0.0)
        finite = torch.isfinite(labels.energy) & torch.isfinite(size)
        if labels.stress is not None and self.limits.cell:
            finite &= torch.isfinite(labels.stress).flatten(1).all(1)
        failures = {}
        for k in (~(finite & (size <= LARGEST_FORCE) & (per_atom >= first / trial.counts - DEEPEST_FALL))).nonzero()[:, 0].tolist():
            if not bool(finite[k]):
                failures[k] = "energy, forces or stress are not finite"
            elif float(size[k]) > LARGEST_FORCE:
                failures[k] = f"a force of {float(size[k]):.3g} eV/Å, allowed are {LARGEST_FORCE:g}"
            else:
                failures[k] = f"the energy fell by {float(first[k] / trial.counts[k] - per_atom[k]):.3g} eV/atom, allowed are {DEEPEST_FALL:g}: a hole of the potential"
        if failures:
            keep = self._drop(failures)
            labels, trial = _pick_labels(labels, trial, keep), trial[keep]
            if not len(keep):
                return
        self._move(trial, labels)

    def _move(self, trial: Crystals, labels: Labels) -> None:
        """Judge convergence at `trial`; those that are not done take a step."""
        frame, x, limits = self.flight.frame, self.flight.x, self.limits
        stress = labels.stress if limits.cell else torch.zeros_like(trial.cell)
        volume = trial.volume
        total = stress + limits.pressure * torch.eye(3, dtype=torch.float64) * bool(limits.cell)
        force = frame.force(x, labels.forces, total, volume)
        fmax = segment_max(labels.forces.norm(dim=-1), trial.owner, len(trial), 0.0)
        smax = (frame.moves_in @ total @ frame.moves_in).abs().flatten(1).amax(1)
        value = labels.energy + limits.pressure * volume * bool(limits.cell)
        converged = (fmax <= limits.fmax) & (smax <= limits.smax)
        ended = converged | (self.flight.moves >= limits.steps)
        for k, i in enumerate(self.flight.index):
            trace = self.traces[i]
            trace.energies.append(float(labels.energy[k]))
            trace.fmax, trace.smax = float(fmax[k]), float(smax[k])
            trace.batch, trace.k, trace.labels = trial, k, labels
            if self.trajectory:
                trace.frames.append(trial[k])
            if ended[k]:
                why = "" if converged[k] else f"{limits.steps} steps were not enough: fmax {trace.fmax:.3g} eV/Å, smax {stress_to_gpa(trace.smax):.3g} GPa"
                self._finish(i, CONVERGED if converged[k] else STEPS, why, int(self.flight.moves[k]))
        memory, x = self.optimizer.step(self.flight.memory, x, value, force, frame.owner)
        self.flight = replace(self.flight, memory=memory, x=x, moves=self.flight.moves + 1).pick((~ended).nonzero()[:, 0])

    def _absurd(self, trial: Crystals) -> dict[int, str]:
        """{place: reason} of geometries that no oracle should be asked about."""
        bad = {}
        finite = torch.isfinite(trial.cell).flatten(1).all(1)
        finite &= segment_max((~torch.isfinite(trial.frac)).any(-1).to(torch.float64), trial.owner, len(trial), 0.0) == 0
        for k in (~finite).nonzero()[:, 0].tolist():
            bad[k] = "the coordinates are not finite"
        volume = trial.volume
        was = self.volumes[list(self.flight.index)]
        per_atom = volume / trial.counts
        bulk = trial.periodic.all(1)
        out = (volume > was * VOLUME_CHANGE) | (volume < was / VOLUME_CHANGE) | (bulk & ((per_atom < VOLUME_PER_ATOM[0]) | (per_atom > VOLUME_PER_ATOM[1])))
        for k in out.nonzero()[:, 0].tolist():
            bad.setdefault(k, f"the volume went from {float(was[k]):.4g} to {float(volume[k]):.4g} Å^3")
        rest = [k for k in range(len(trial)) if k not in bad]
        while rest:
            try:
                graph = Within(CLOSEST)(trial[rest])
            except BadInput as error:
                place = _culprit(error, len(rest))
                if place is None:
                    raise
                bad[rest.pop(place)] = str(error)
                continue
            for k in torch.unique(graph.owner(trial[rest])).tolist():
                bad[rest[k]] = f"two atoms are closer than {CLOSEST} Å"
            break
        return bad

    def _label(self, trial: Crystals) -> tuple[Labels, dict[int, str]]:
        """Labels of the crystals that could be labelled, in order, and {place: reason} of the others; a failing batch is halved until the culprit stands alone."""
        self.calls += 1
        try:
            labels = self.oracle.label(trial)
        except NeedsPackage:
            raise
        except Exception as error:  # any fault of foreign code is one crystal's until shown otherwise
            return self._label_around(trial, error)
        self.evaluations += len(trial)
        return _checked(labels, trial, self.limits.cell), {}

    def _label_around(self, trial: Crystals, error: Exception) -> tuple[Labels, dict[int, str]]:
        text = str(error) if isinstance(error, MatterloopError) else f"{type(error).__name__}: {error}"
        if len(trial) == 1:
            nothing = trial.cell.new_zeros
            return Labels(nothing(0), nothing(0, 3), nothing(0, 3, 3)), {0: f"the oracle refused it: {text}"}
        place = _culprit(error, len(trial)) if isinstance(error, BadInput) else None
        half = len(trial) // 2
        parts = [[place], [k for k in range(len(trial)) if k != place]] if place is not None else [list(range(half)), list(range(half, len(trial)))]
        answers, failures = {}, {}
        for part in parts:
            if place is not None and part == [place]:
                failures[place] = f"the oracle refused it: {text}"
                continue
            labels, bad = self._label(trial[part])
            failures |= {part[k]: why for k, why in bad.items()}
            good = [part[k] for k in range(len(part)) if k not in bad]
            sub = trial[good]
            answers |= {k: _pick_labels(labels, sub, torch.tensor([j])) for j, k in enumerate(good)}
        return _join_labels([answers[k] for k in sorted(answers)], trial), failures


def _culprit(error: BadInput, count: int) -> int | None:
    """Number of the crystal that `error` names, None if it names none."""
    found = re.search(r"\bcrystal (\d+)\b", error.where)
    return int(found[1]) if found and int(found[1]) < count else None


def _checked(labels: Labels, crystals: Crystals, cell: bool) -> Labels:
    """`labels` in float64; BadInput if the oracle broke its promise of shapes."""
    wanted = {"energy": (len(crystals),), "forces": (crystals.atoms, 3), "stress": (len(crystals), 3, 3)}
    for name, shape in wanted.items():
        value = getattr(labels, name)
        if value is None and name == "stress" and not cell:
            continue
        if value is None or tuple(value.shape) != shape:
            raise BadInput(f"the oracle gave {name} of shape {None if value is None else tuple(value.shape)}, relaxation needs {shape}", "oracle")
    real = lambda value: None if value is None else value.detach().to("cpu", torch.float64)
    return Labels(*map(real, labels))


def _pick_labels(labels: Labels, crystals: Crystals, keep: Tensor) -> Labels:
    """Labels of the crystals `keep` (indices) of `crystals`."""
    rows = runs(crystals.offsets[:-1][keep], crystals.counts[keep])
    pick = lambda value, which: None if value is None else value[which]
    return Labels(labels.energy[keep], labels.forces[rows], pick(labels.stress, keep), pick(labels.spread, keep), pick(labels.magmoms, rows))


def _join_labels(parts: list[Labels], crystals: Crystals) -> Labels:
    if not parts:
        nothing = crystals.cell.new_zeros
        return Labels(nothing(0), nothing(0, 3), nothing(0, 3, 3))
    column = lambda name: None if getattr(parts[0], name) is None else torch.cat([getattr(p, name) for p in parts])
    return Labels(*(column(name) for name in Labels._fields))
