"""What a relaxation task is: how each crystal is relaxed, which code and weights do it, and how a round is cut into tasks.

A task is named by its content: the candidates and their crystals, the potential with the digest of its numbers, the settings, and the digest of the
code. Two tasks of one name give the same answers, so an answer is used wherever it comes from, and never when any of these has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.registry import find, load
from ..crystal.state import Crystals
from ..measure.flight import RelaxedOne
from ..measure.relax import Relaxation, relax
from ..potential.oracle import Oracle, steady

PACKAGE = Path(__file__).parents[1]
ROOMS = ("base", "crystal", "layers", "measure", "potential")  # whose code an end point depends on
SOURCES = {".py", ".c", ".cpp", ".cu", ".h"}
LIBRARIES = ("torch", "numpy", "scipy", "moyopy", "vesin", "chgnet")
STEPS_EXPECTED = 40.0  # evaluations of one crystal before anything was measured
RATE_EXPECTED = 500.0  # atoms evaluated per second by one worker before anything was measured


@dataclass(frozen=True)
class Protocol:
    """How every crystal of a campaign is relaxed; the fields are those of campaign.loop.Settings."""

    potential: str = "chgnet"
    fmax: float = 0.05
    smax: float = 0.003
    steps: int = 300
    optimizer: str = "lbfgs"
    keep_symmetry: bool = True
    batch_atoms: int = 256

    def oracle(self) -> Oracle:
        """The potential, in the form whose answers do not depend on the batch."""
        return steady(load(self.potential, role="potential"))

    def relax(self, crystals: Crystals, oracle: Oracle, **calls: Callable) -> Relaxation:
        """`measure.relax.relax` with these settings; `calls` are on_done, on_step and should_stop."""
        return relax(crystals, oracle, fmax=self.fmax, smax=self.smax, steps=self.steps, optimizer=self.optimizer, keep_symmetry=self.keep_symmetry,
                     batch_atoms=self.batch_atoms, **calls)

    def ground(self, oracle: Oracle) -> dict[str, str]:
        """What an end point depends on besides these settings: digests of the code and of the potential's numbers, versions of libraries."""
        return {"code": code_digest(self.potential), "weights": numbers_digest(oracle), "libraries": libraries()}

    def key(self, oracle: Oracle) -> str:
        """Name of this protocol on its ground, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps([asdict(self), self.ground(oracle)], sort_keys=True).encode()).hexdigest()


def code_digest(potential: str) -> str:
    """SHA-256 of the package's sources that decide where a relaxation ends, the potential's own file among them."""
    return _code_digest(find(potential.partition(":")[0], "potential").path)


@cache
def _code_digest(potential: Path) -> str:
    digest = hashlib.sha256()
    files = sorted(p for room in ROOMS for p in (PACKAGE / room).rglob("*") if p.suffix in SOURCES)
    for path in [*files, Path(__file__), *([] if potential in files else [potential])]:
        digest.update(f"\n{path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def libraries() -> str:
    """Names and versions of the libraries that do the numerics."""
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def numbers_digest(oracle: Oracle) -> str:
    """SHA-256 of an oracle's numbers: its own `weights_digest` where it offers one, else of every tensor, array and real number found in it.

    Numbers are widened to double precision first, so that a copy of the same weights on another device has the same digest.
    """
    offered = getattr(oracle, "weights_digest", None)
    digest = hashlib.sha256(f"{oracle.name}\n{oracle.energy_scheme}\n".encode())
    digest.update(str(offered).encode()) if offered is not None else _take(digest, "", oracle, 4)
    return digest.hexdigest()


def _take(digest, name: str, value: Any, depth: int) -> None:
    """Feed what is a number in `value` to the digest, each with the path of names that leads to it."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, (np.ndarray, float)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            digest.update(f"{name} {array.shape}\n".encode() + np.ascontiguousarray(array, dtype=np.float64).tobytes())
    elif isinstance(value, torch.nn.Module):
        inner = {**dict(value.named_parameters()), **dict(value.named_buffers()), **{k: v for k, v in vars(value).items() if isinstance(v, float)}}
        for key in sorted(inner):
            _take(digest, f"{name}.{key}", inner[key], depth - 1)
    elif depth > 0:
        inner = value if isinstance(value, Mapping) else dict(enumerate(value)) if isinstance(value, (list, tuple)) else getattr(value, "__dict__", {})
        for key in sorted(inner, key=str):
            if not str(key).startswith("_"):
                _take(digest, f"{name}.{key}", inner[key], depth - 1)


def content_of(key: str, one: RelaxedOne) -> tuple[dict[str, Any], Crystals | None]:
    """(content of a "relaxed" event, relaxed crystal) of a relaxation that ended, or (content of a "failed" event, None)."""
    common = {"key": key, "steps": one.steps, "evaluations": len(one.energies), "atoms": one.crystal.atoms, "reason": one.reason,
              "seconds": round(one.seconds, 5)}
    if one.failed:
        return {**common, "stage": "relax"}, None
    return {**common, "energy": one.energy, "fmax": one.fmax, "smax": one.smax, "converged": one.converged,
            "moment": None if one.magmoms is None else float(one.magmoms.abs().sum())}, one.crystal.bare()


@dataclass
class Pace:
    """How long crystals take one worker, learnt from those that are done: sizes the tasks that come next."""

    steps: float = STEPS_EXPECTED
    rate: float = RATE_EXPECTED
    done: int = 0
    evaluations: float = 0.0
    work: float = 0.0
    seconds: float = 0.0

    def learn(self, crystals: int, evaluations: int, atoms_evaluated: int, seconds: float) -> None:
        """Take in one attempt at a task: crystals done, their evaluations, atoms x evaluations, and the seconds it took."""
        self.done, self.evaluations = self.done + crystals, self.evaluations + evaluations
        self.work, self.seconds = self.work + atoms_evaluated, self.seconds + seconds
        if self.done >= 3 and self.seconds > 0:
            self.steps, self.rate = self.evaluations / self.done, self.work / self.seconds

    def cost(self, atoms: int) -> float:
        """Expected seconds of one worker for a crystal of so many atoms."""
        return atoms * self.steps / self.rate

    def cut(self, atoms: Sequence[int], waiting: int, seconds: float, slots: int) -> int:
        """How many of the next crystals (their atoms, in order) of all `waiting` ones the next task takes: `seconds` of work, less towards the end so
        that all `slots` workers end together, less before anything is measured; always at least one.
        """
        costs = [self.cost(n) for n in atoms]
        whole = sum(costs) * waiting / len(costs)
        most = min(seconds if self.done >= 3 else seconds / 4, max(whole / (2 * slots), seconds / 50))
        count, total = 0, 0.0
        for cost in costs:
            if count and total + cost > most:
                break
            count, total = count + 1, total + cost
        return count


def task_key(protocol: str, crystals: Mapping[str, str], careful: bool) -> str:
    """Name of a task: SHA-256 of its protocol, its candidates with the keys of their crystals in order, and whether it goes one by one."""
    return hashlib.sha256(json.dumps([protocol, list(crystals.items()), careful]).encode()).hexdigest()[:32]
