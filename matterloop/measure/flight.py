"""The moving parts of a relaxation: crystals enter a window of limited size, step together, and leave one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput, MatterloopError, NeedsPackage
from ..base.units import stress_to_gpa
from ..crystal.graph import Within
from ..crystal.segments import runs
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetrizer
from ..potential.oracle import Labels, Oracle
from .coordinates import Frame, Geometry, Origin, culprit, origins
from .optimizers import Optimizer
from .rejection import Rejection

CLOSEST = 0.3  # Å, shortest distance that is still a structure
VOLUME_PER_ATOM = (1.0, 1000.0)  # Å^3, of fully periodic crystals
VOLUME_CHANGE = 10.0  # largest factor by which the volume may grow or shrink
LARGEST_FORCE = 1e3  # eV/Å
DEEPEST_FALL = 50.0  # eV/atom below the first energy: a hole of the potential, not a bond
SLACK = 2e-5  # eV per atom, rise of the value that counts as noise
FAILED, STOPPED, STEPS, CONVERGED, REJECTED = "failed", "stopped", "steps", "converged", "rejected"


@dataclass(frozen=True)
class RelaxedOne:
    """What became of one crystal.

    crystal    batch of one, the geometry last evaluated (for a failed one the last sound geometry)
    energy     total energy in eV of that geometry, without the pressure term; nan if failed
    forces     (atoms, 3) eV/Å; stress (3, 3) eV/Å^3, positive under tension; magmoms (atoms,) or None; spread eV/atom or nan
    steps      moves made
    status     "converged", "steps" (limit reached), "stopped" (asked to stop), "rejected" (hopeless, see Rejection) or "failed"
    reason     a sentence for every status but "converged"
    fmax       largest force on an atom in eV/Å; smax largest component of stress + pressure in eV/Å^3, 0 with a fixed cell
    energies   energy in eV of every evaluation, in order
    frames     the evaluated geometries, None unless asked for
    seconds    this crystal's share of the wall time: that of each evaluation, divided by atoms
    drops      eV by which the energy was expected to fall still, after each move
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
    seconds: float = 0.0
    drops: tuple[float, ...] = ()

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
class Limits:
    """When a crystal is done, and under what pressure (eV/Å^3); `cell` says whether lattices relax."""

    fmax: float
    smax: float
    steps: int
    pressure: float
    cell: bool


@dataclass
class _Member:
    """A crystal in flight: place in the input, coordinates, minimiser, and its last sound geometry as place `k` of a labelled batch."""

    index: int
    batch: Crystals
    k: int = 0
    volume: float = 0.0
    origin: Origin | None = None
    optimizer: Optimizer | None = None
    at: np.ndarray | None = None
    labels: Labels | None = None
    moves: int = 0
    energies: list[float] = field(default_factory=list)
    frames: list[Crystals] = field(default_factory=list)
    fmax: float = float("nan")
    smax: float = float("nan")
    seconds: float = 0.0
    drops: list[float] = field(default_factory=list)


class Run:
    """State of one call of `relax`; `done` {place in the input: RelaxedOne} grows until it holds all."""

    def __init__(self, crystals: Crystals, oracle: Oracle, limits: Limits, optimizer: Callable[[int, float], Optimizer], keep_symmetry: bool, symprec: float,
                 trajectory: bool, on_done: Callable[[int, RelaxedOne], None] | None, reject: Rejection | None = None):
        self.reject = reject
        self.crystals, self.oracle, self.limits, self.optimizer = crystals, oracle, limits, optimizer
        self.keep_symmetry, self.symprec, self.trajectory, self.on_done = keep_symmetry, symprec, trajectory, on_done
        self.members: list[_Member] = []
        self.done: dict[int, RelaxedOne] = {}
        self.calls = self.evaluations = self.atoms = 0
        self._frame: Frame | None = None

    # entering and leaving

    def admit(self, waiting: int, batch_atoms: int) -> int:
        """Let crystals enter in input order while they fit; returns the first that still waits."""
        begin = time.perf_counter()
        entering, starts, symmetry = [], [], []
        while waiting < len(self.crystals):
            n = int(self.crystals.counts[waiting])
            if self.atoms and self.atoms + n > batch_atoms:
                break
            member = _Member(waiting, self.crystals, waiting)
            try:
                starts.append(self._start(member, symmetry))
                entering.append(member)
                self.atoms += n
            except BadInput as error:
                self._finish(member, FAILED, str(error))
            waiting += 1
        if entering:
            for member, origin in zip(entering, origins(Crystals.join(starts), self.limits.cell, symmetry), strict=True):
                if isinstance(origin, BadInput):
                    self._finish(member, FAILED, str(origin))
                    self.atoms -= int(self.crystals.counts[member.index])
                    continue
                member.origin, member.at = origin, np.zeros(origin.free)
                member.optimizer = self.optimizer(origin.free, SLACK * len(origin.species))
                self._enter(member)
            share = (time.perf_counter() - begin) / len(entering)
            for member in entering:
                member.seconds += share
        return waiting

    def _enter(self, member: _Member) -> None:
        self.members.append(member)
        self._frame = None

    def _start(self, member: _Member, symmetry: list[Symmetrizer]) -> Crystals:
        """Where a crystal starts, its symmetriser appended to `symmetry` if one is wanted; BadInput where it cannot."""
        crystal = self.crystals[member.index]
        bulk = bool(crystal.periodic.all())
        if not crystal.atoms:
            raise BadInput("there are no atoms")
        if self.limits.pressure and self.limits.cell and not bulk:
            raise BadInput("a pressure needs a crystal that repeats along all three axes")
        member.volume = float(crystal.volume)
        per_atom = member.volume / crystal.atoms
        if bulk and not VOLUME_PER_ATOM[0] <= per_atom <= VOLUME_PER_ATOM[1]:
            raise BadInput(f"{per_atom:.3g} Å^3 per atom at the start, allowed are {VOLUME_PER_ATOM[0]} to {VOLUME_PER_ATOM[1]}")
        if not self.keep_symmetry:
            return crystal
        try:
            found = Symmetrizer.of(crystal, self.symprec)
        except BadInput as error:
            raise BadInput(f"its symmetry cannot be kept: {error}") from None
        symmetry.append(found)
        return found.crystals(crystal)

    def _finish(self, member: _Member, status: str, reason: str) -> None:
        crystal, labels, nan = member.batch[member.k], None, float("nan")
        if member.labels is not None:
            labels = _pick_labels(member.labels, member.batch, [member.k])
        one = RelaxedOne(
            crystal=crystal,
            energy=float(labels.energy) if labels is not None and status != FAILED else nan,
            forces=labels.forces if labels is not None else torch.full((crystal.atoms, 3), nan, dtype=torch.float64),
            stress=labels.stress[0] if labels is not None and labels.stress is not None else torch.full((3, 3), nan, dtype=torch.float64),
            magmoms=labels.magmoms if labels is not None else None,
            spread=float(labels.spread) if labels is not None and labels.spread is not None else nan,
            steps=member.moves, status=status, reason=reason, fmax=member.fmax, smax=member.smax, energies=tuple(member.energies),
            frames=Crystals.join(member.frames) if member.frames else None, seconds=member.seconds, drops=tuple(member.drops))
        self.done[member.index] = one
        if self.on_done is not None:
            self.on_done(member.index, one)

    def stop(self, waiting: int) -> None:
        """Hand back all that is unfinished."""
        for member in self.members:
            self._finish(member, STOPPED, "stopped when asked to")
        for i in range(waiting, len(self.crystals)):
            self._finish(_Member(i, self.crystals, i), STOPPED, "stopped before its first evaluation")
        self._keep([])

    def _keep(self, members: list[_Member]) -> None:
        if len(members) != len(self.members):
            self.members, self._frame = members, None
            self.atoms = sum(len(m.origin.species) for m in members)

    def _drop(self, failures: dict[int, str]) -> None:
        """Finish the crystals of `failures` {place in flight: reason}."""
        for k, why in failures.items():
            self._finish(self.members[k], FAILED, why)
        self._keep([m for k, m in enumerate(self.members) if k not in failures])

    @property
    def frame(self) -> Frame:
        """Coordinates of all members."""
        if self._frame is None:
            self._frame = Frame([m.origin for m in self.members])
        return self._frame

    # one evaluation of everything in flight, then one move

    def advance(self) -> None:
        begin, flying, atoms = time.perf_counter(), self.members, self.atoms
        try:
            self._advance(lambda: (time.perf_counter() - begin) / atoms)
        finally:
            share = (time.perf_counter() - begin) / atoms
            for member in flying:
                member.seconds += share * len(member.origin.species)

    def _advance(self, spent: Callable[[], float]) -> None:
        at = self._place()
        if failures := self._absurd(at):
            self._drop(failures)
            at = self._place() if self.members else at
        if not self.members:
            return
        labels, failures = self._label(at.crystals)
        if failures:
            self._drop(failures)
            at = self._place() if self.members else at
        if self.members and (failures := self._unsound(at, labels)):
            keep = [k for k in range(len(self.members)) if k not in failures]
            labels = _pick_labels(labels, at.crystals, keep)
            self._drop(failures)
            at = self._place() if self.members else at
        if self.members:
            self._move(at, labels, spent)

    def _place(self) -> Geometry:
        return self.frame.place([m.at for m in self.members])

    def _unsound(self, at: Geometry, labels: Labels) -> dict[int, str]:
        """{place: reason} of labels that no structure has."""
        energy, largest, counts = labels.energy.numpy(), self.frame.largest(labels.forces.numpy()), self.frame.counts
        finite = np.isfinite(energy) & np.isfinite(largest)
        if labels.stress is not None and self.limits.cell:
            finite &= np.isfinite(labels.stress.numpy()).all((1, 2))
        fall = np.array([m.energies[0] if m.energies else e for m, e in zip(self.members, energy.tolist(), strict=True)])
        fall = (fall - energy) / counts
        failures = {}
        for k in np.flatnonzero(~(finite & (largest <= LARGEST_FORCE) & (fall <= DEEPEST_FALL))).tolist():
            if not finite[k]:
                failures[k] = "energy, forces or stress are not finite"
            elif largest[k] > LARGEST_FORCE:
                failures[k] = f"a force of {largest[k]:.3g} eV/Å, allowed are {LARGEST_FORCE:g}"
            else:
                failures[k] = f"the energy fell by {fall[k]:.3g} eV/atom, allowed are {DEEPEST_FALL:g}: a hole of the potential"
        return failures

    def _move(self, at: Geometry, labels: Labels, spent: Callable[[], float]) -> None:
        """Judge convergence at `at`; those that are not done take a step."""
        limits, frame, trial = self.limits, self.frame, at.crystals
        energy, volume = labels.energy.numpy(), trial.volume.numpy()
        stress, value = np.zeros((len(self.members), 3, 3)), energy
        if limits.cell:
            stress, value = labels.stress.numpy() + limits.pressure * np.eye(3), energy + limits.pressure * volume
        forces, stress = frame.symmetric(labels.forces.numpy(), stress)
        force = frame.force(at, forces, stress, volume)
        fmax, smax = frame.largest(forces), np.abs(stress).max((1, 2))
        converged = (fmax <= limits.fmax) & (smax <= limits.smax)
        staying = []
        for k, member in enumerate(self.members):
            member.energies.append(float(energy[k]))
            member.fmax, member.smax = float(fmax[k]), float(smax[k])
            member.batch, member.k, member.labels = trial, k, labels
            if self.trajectory:
                member.frames.append(trial[k])
            if converged[k] or member.moves >= limits.steps:
                why = "" if converged[k] else f"{limits.steps} steps were not enough: fmax {member.fmax:.3g} eV/Å, smax {stress_to_gpa(member.smax):.3g} GPa"
                member.seconds += spent() * len(member.origin.species)
                self._finish(member, CONVERGED if converged[k] else STEPS, why)
                continue
            member.at = member.optimizer.step(member.at, float(value[k]), force[k], member.origin.reach)
            drop = member.optimizer.drop
            member.drops.append(drop)
            if self.reject and (why := self.reject.verdict(member.index, member.moves, min(member.energies), drop, len(member.origin.species))):
                member.seconds += spent() * len(member.origin.species)
                self._finish(member, REJECTED, why)
                continue
            member.moves += 1
            staying.append(member)
        self._keep(staying)

    def _absurd(self, at: Geometry) -> dict[int, str]:
        """{place: reason} of geometries that no oracle should be asked about."""
        bad, trial = {}, at.crystals
        with np.errstate(all="ignore"):
            first = self.frame.first[:-1]
            finite = np.isfinite(trial.cell.numpy()).all((1, 2)) & np.logical_and.reduceat(np.isfinite(trial.frac.numpy()).all(1), first)
            for k in np.flatnonzero(~finite).tolist():
                bad[k] = "the coordinates are not finite"
            volume, was = trial.volume.numpy(), np.array([m.volume for m in self.members])
            per_atom, bulk = volume / self.frame.counts, trial.periodic.numpy().all(1)
            out = ~((volume <= was * VOLUME_CHANGE) & (volume >= was / VOLUME_CHANGE))
            out |= bulk & ~((per_atom >= VOLUME_PER_ATOM[0]) & (per_atom <= VOLUME_PER_ATOM[1]))
            for k in np.flatnonzero(out).tolist():
                bad.setdefault(k, f"the volume went from {was[k]:.4g} to {volume[k]:.4g} Å^3")
            rest = [k for k in np.flatnonzero(~(self.frame.clear(at) >= CLOSEST)).tolist() if k not in bad]  # the others cannot be that near
        while rest:
            try:
                graph = Within(CLOSEST)(trial[rest])
            except BadInput as error:
                place = culprit(error, len(rest))
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
        place = culprit(error, len(trial)) if isinstance(error, BadInput) else None
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
            answers |= {k: _pick_labels(labels, sub, [j]) for j, k in enumerate(good)}
        return _join_labels([answers[k] for k in sorted(answers)], trial), failures


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


def _pick_labels(labels: Labels, crystals: Crystals, keep: list[int]) -> Labels:
    """Labels of the crystals `keep` (indices) of `crystals`."""
    keep = torch.tensor(keep, dtype=torch.long)
    rows = runs(crystals.offsets[:-1][keep], crystals.counts[keep])
    pick = lambda value, which: None if value is None else value[which]
    return Labels(labels.energy[keep], labels.forces[rows], pick(labels.stress, keep), pick(labels.spread, keep), pick(labels.magmoms, rows))


def _join_labels(parts: list[Labels], crystals: Crystals) -> Labels:
    if not parts:
        nothing = crystals.cell.new_zeros
        return Labels(nothing(0), nothing(0, 3), nothing(0, 3, 3))
    column = lambda name: None if getattr(parts[0], name) is None else torch.cat([getattr(p, name) for p in parts])
    return Labels(*(column(name) for name in Labels._fields))
