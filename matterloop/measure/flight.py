"""The moving parts of a relaxation: crystals enter a window of limited size, step together, and leave one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..base.errors import BadInput, MatterloopError, NeedsPackage
from ..base.units import stress_to_gpa
from ..crystal.graph import Within
from ..crystal.segments import runs, segment_max
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetrizer
from ..potential.oracle import Labels, Oracle
from .coordinates import Frame
from .optimizers import Optimizer, State

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
class Limits:
    """When a crystal is done, and under what pressure (eV/Å^3); `cell` says whether lattices relax."""

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

    def pick(self, keep: Tensor) -> _Flight:
        """The crystals of `keep` (indices within the flight)."""
        if len(keep) == len(self.index):
            return self
        if not len(keep):
            return _Flight(())
        rows = self.frame.rows_of(keep)
        return _Flight(tuple(self.index[i] for i in keep.tolist()), self.frame.pick(keep), self.x[rows], self.memory.pick(rows, keep), self.moves[keep])

    def joined(self, other: _Flight) -> _Flight:
        if not self.index or not other.index:
            return other if other.index else self
        return _Flight(
            self.index + other.index, self.frame.joined(other.frame), torch.cat([self.x, other.x]), State.join([self.memory, other.memory]),
            torch.cat([self.moves, other.moves]))


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


class Run:
    """State of one call of `relax`; `done` {place in the input: RelaxedOne} grows until it holds all."""

    def __init__(self, crystals: Crystals, oracle: Oracle, limits: Limits, optimizer: Optimizer, keep_symmetry: bool, symprec: float, trajectory: bool,
                 on_done: Callable[[int, RelaxedOne], None] | None):
        self.crystals, self.oracle, self.limits, self.optimizer = crystals, oracle, limits, optimizer
        self.keep_symmetry, self.symprec, self.trajectory, self.on_done = keep_symmetry, symprec, trajectory, on_done
        self.flight, self.done, self.traces = _Flight(()), {}, {}
        self.calls = self.evaluations = 0
        self.volumes = crystals.volume

    # entering and leaving

    def admit(self, waiting: int, batch_atoms: int) -> int:
        """Let crystals enter in input order while they fit; returns the first that still waits."""
        atoms = sum(int(self.crystals.counts[i]) for i in self.flight.index)
        entering, starts, symmetry = [], [], []
        while waiting < len(self.crystals):
            n = int(self.crystals.counts[waiting])
            if atoms and atoms + n > batch_atoms:
                break
            self.traces[waiting] = _Trace(self.crystals, waiting)
            try:
                starts.append(self._start(waiting, symmetry))
                entering.append(waiting)
                atoms += n
            except BadInput as error:
                self._finish(waiting, FAILED, str(error), 0)
            waiting += 1
        if entering:
            frame = Frame.of(Crystals.join(starts), self.limits.cell, tuple(symmetry))
            x = frame.coordinates()
            memory = self.optimizer.init(x, frame.owner, len(entering))
            self.flight = self.flight.joined(_Flight(tuple(entering), frame, x, memory, torch.zeros(len(entering), dtype=torch.long)))
        return waiting

    def _start(self, i: int, symmetry: list[Symmetrizer]) -> Crystals:
        """Where crystal `i` starts, its symmetriser appended to `symmetry` if one is wanted; BadInput where it cannot."""
        crystal = self.crystals[i]
        bulk = bool(crystal.periodic.all())
        if not crystal.atoms:
            raise BadInput("there are no atoms")
        if self.limits.pressure and self.limits.cell and not bulk:
            raise BadInput("a pressure needs a crystal that repeats along all three axes")
        per_atom = float(self.volumes[i]) / crystal.atoms
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
        forces, total = frame.symmetric(labels.forces, total, trial.cell)
        force = frame.force(x, forces, total, volume)
        fmax = segment_max(forces.norm(dim=-1), trial.owner, len(trial), 0.0)
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
