"""What a source of energies must keep, from a pair potential to a pretrained network."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.state import Crystals
from ..potential.oracle import Labels
from . import examples as ex
from .comparing import FLOAT32, TOLERANCE, Check, Part, near, own_randomness, require, smooth, strained, untouched
from .contract_encoder import clusters, dead_parameters, learn, load_into, reference, save, scrambled

CAPABILITIES = {
    "energy": "gives energies", "forces": "gives forces", "stress": "gives stresses", "magmoms": "gives magnetic moments", "spread": "says how sure it is",
    "pretrained": "comes with weights that were trained", "learns": "a torch module whose weights are trained here",
    "dtype": "the option `dtype` sets its precision; the contract then holds it to the tolerance of float64 in torch.float64",
    "seed": "the first weights follow from the option `seed`", "parity": "offers parity(): [(what, ours, theirs, allowed absolute difference), ...]",
    "needs_package": "lives in a package that need not be installed"}
FIELDS = {"forces": "forces", "stress": "stress", "magmoms": "magmom"}  # of Labels -> of Crystals
DIRECTIONS = 4
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))  # fourth-order first derivative


def invariances(card: Card) -> tuple[str, ...]:
    """All of them."""
    return ex.INVARIANCES


def checks(part: Part) -> Iterator[Check]:
    """Checks of one potential."""
    subject = Subject(part)
    for name in ex.INVARIANCES:
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    fast = ["answers", "batching", "one_atom", "inputs_untouched", "repeatable", "float32", "geometry", "far_atoms", "reference"]
    full = ["smooth"]
    if part.can("forces"):
        fast += ["forces", "net_force"]
    if part.can("stress"):
        fast.append("stress")
    if part.can("learns"):
        fast += ["every_parameter", "save_load"]
        full.append("overfits")
    else:  # weights that nobody has fitted yet say nothing of short distances
        fast.append("short_distances")
    if part.can("parity"):
        full.append("parity")
    yield from (Check(name, "fast", getattr(subject, name)) for name in fast)
    yield from (Check(name, "full", getattr(subject, name)) for name in full)


def with_labels(crystals: Crystals, labels: Labels) -> Crystals:
    """The labels as fields, so that they are re-told with the crystals."""
    site = {FIELDS[k]: v for k in ("forces", "magmoms") if (v := getattr(labels, k)) is not None}
    whole = {"energy": labels.energy} | ({"stress": labels.stress} if labels.stress is not None else {})
    return crystals.bare().with_fields(site=site, whole=whole)


class Subject:
    """One potential under test."""

    def __init__(self, part: Part):
        self.part = part
        self.tolerance = TOLERANCE if part.can("dtype") else part.card.tolerance
        self.coarse = not part.can("dtype") and part.card.dtype != "float64"
        self.slope = (2e-2, 2e-2) if self.coarse else (2e-3, 1e-6)  # step in Å, relative tolerance of differences

    def fresh(self, **options):
        built = self.part.build(**({"dtype": torch.float64} if self.part.can("dtype") else {}) | options)
        return built.to(torch.float64).eval() if self.part.can("learns") else built

    @cached_property
    def oracle(self):
        return self.fresh()

    @cached_property
    def told(self) -> Crystals:
        """Every example with its labels as fields; the periodic ones come first."""
        crystals = ex.every()
        return with_labels(crystals, self.oracle.label(crystals))

    def agree(self, a: Crystals, b: Crystals, what: str, tolerance: float | None = None) -> None:
        for name in (*a.whole, *a.site):
            near(a.get(name), b.get(name), f"{name} {what}", self.tolerance if tolerance is None else tolerance, scale=0.1 if name != "stress" else 0.0)

    def invariant(self, name: str) -> None:
        before = self.told[: len(ex.PERIODIC)] if name in ex.ONLY_PERIODIC else self.told
        expected = ex.RETELLINGS[name](before)
        self.agree(expected, with_labels(expected, self.oracle.label(expected.bare())), f"under {name}")

    def answers(self) -> None:
        crystals = ex.every()
        labels = self.oracle.label(crystals)
        shapes = {"energy": (len(crystals),), "forces": (crystals.atoms, 3), "stress": (len(crystals), 3, 3), "spread": (len(crystals),), "magmoms": (crystals.atoms,)}
        for name, shape in shapes.items():
            value = getattr(labels, name)
            require(value is not None or name not in self.part.card.capabilities, f"the card promises {name}, the answer has none")
            if value is None:
                continue
            require(tuple(value.shape) == shape, f"{name} has shape {tuple(value.shape)}, wanted {shape}")
            require(value.dtype == torch.float64 and not value.requires_grad, f"{name} is {value.dtype}, requires_grad {value.requires_grad}; wanted float64, detached")
            solid = value[: len(ex.PERIODIC)] if name == "stress" else value
            require(bool(solid.isfinite().all()), f"{name}: {int((~solid.isfinite()).sum())} numbers are not finite")
        for name in ("name", "energy_scheme"):
            text = getattr(self.oracle, name, None)
            require(isinstance(text, str) and text not in ("", "none"), f"`{name}` is {text!r}, wanted a word")
        if labels.stress is not None:
            near(labels.stress[: len(ex.PERIODIC)], labels.stress[: len(ex.PERIODIC)].mT, "stress against its transpose", max(self.tolerance, 1e-12))

    def batching(self) -> None:
        self.agree(self.told, Crystals.join([with_labels(c, self.oracle.label(c)) for c in self.told.bare()]), "of a batch against one by one")

    def one_atom(self) -> None:
        labels = self.oracle.label(ex.one_atom())
        require(labels.energy.shape == (1,), f"the energy of one crystal of one atom has shape {tuple(labels.energy.shape)}, wanted (1,)")
        if labels.forces is not None:
            near(torch.zeros(1, 3), labels.forces, "force on the only atom of a cell", max(self.tolerance, 1e-8), scale=1.0)

    def inputs_untouched(self) -> None:
        crystals = ex.every()
        with untouched(crystals):
            self.oracle.label(crystals)

    def repeatable(self) -> None:
        crystals = ex.periodic()
        with own_randomness():
            one = self.fresh().label(crystals)
        self.agree(with_labels(crystals, one), with_labels(crystals, self.fresh().label(crystals)), "of the same seed twice", 0)

    def float32(self) -> None:
        """In single precision, or where the precision cannot be set, for crystals in single precision."""
        if self.part.can("dtype"):
            labels = self.fresh(dtype=torch.float32).label(self.told.bare())
        elif self.part.can("learns"):
            labels = self.fresh().to(torch.float32).label(self.told.bare())
        else:
            labels = self.oracle.label(self.told.bare().to(torch.float32))
        self.agree(self.told, with_labels(self.told, Labels(*(None if x is None else x.to(torch.float64) for x in labels))), "in float32 against float64",
                   max(FLOAT32, self.part.card.tolerance))

    def geometry(self) -> None:
        base = ex.low_symmetry()
        bent = base.put(cell=base.cell @ torch.diag(torch.tensor([1.05, 1.0, 1 / 1.05], dtype=torch.float64)))
        change = float((self.oracle.label(bent).energy - self.oracle.label(base).energy).abs().max())
        require(change > 1e-6, f"a strain of 5 % at constant volume changes the energy by {change:.1e} eV: geometry is not looked at")

    def far_atoms(self) -> None:
        apart, together = clusters()
        near(self.oracle.label(apart).energy.sum(), self.oracle.label(together).energy[0], "energy of two clusters 60 Å apart against their sum", self.tolerance)

    def reference(self) -> None:
        """Energy per atom in eV of the crystal without symmetry."""
        reference(self.part.card, float(self.oracle.label(ex.low_symmetry()).energy[0]) / 5)

    def short_distances(self) -> None:
        """Three pairs of atoms, alone in space, from 0.6 to 2.4 Å."""
        lengths = (0.6, 0.9, 2.4)
        for pair in ((11, 11), (11, 17), (17, 17)):
            dimers = Crystals.of([x for d in lengths for x in ([0.4, 0.5, 0.5], [0.4 + d / 20, 0.5, 0.5])], pair * 3, (20 * torch.eye(3)).expand(3, 3, 3), [2] * 3,
                                 periodic=[False] * 3)
            energy = self.oracle.label(dimers).energy.tolist()
            require(energy[0] > energy[1] > energy[2], f"atoms {pair} at {lengths} Å have energies {[round(e, 2) for e in energy]} eV: they must repel")

    def forces(self) -> None:
        base = ex.low_symmetry()
        found, (step, allowed) = self.oracle.label(base).forces, self.slope
        rng = torch_stream(0, "pushes")
        pushes = torch.randn(DIRECTIONS, base.atoms, 3, generator=rng, dtype=torch.float64)
        pushes /= pushes.flatten(1).norm(dim=1)[:, None, None]
        inverse = torch.linalg.inv(base.cell[0])
        slopes = self.differences([base.put(frac=base.frac + k * step * push @ inverse) for push in pushes for k, _ in STENCIL], step)
        near(slopes, -(found * pushes).sum((1, 2)), "forces against differences of the energy", allowed, scale=float(found.abs().max()))

    def stress(self) -> None:
        base = ex.low_symmetry()
        found, (step, allowed) = self.oracle.label(base).stress[0], self.slope
        step, eye = step / 5, torch.eye(3, dtype=torch.float64)
        modes = torch.stack([(eye[i][:, None] * eye[j] + eye[j][:, None] * eye[i]) / 2 for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
        slopes = self.differences([base.put(cell=base.cell @ (eye + k * step * mode)) for mode in modes for k, _ in STENCIL], step) / base.volume
        near(slopes, (found * modes).sum((1, 2)), "stress against differences of the energy by strain", allowed, scale=float(found.abs().max()))

    def differences(self, crystals: list[Crystals], step: float) -> Tensor:
        energy = self.oracle.label(Crystals.join(crystals)).energy.reshape(-1, len(STENCIL))
        return energy @ torch.tensor([w for _, w in STENCIL], dtype=torch.float64) / step

    def net_force(self) -> None:
        from ..crystal.segments import segment_sum

        forces = self.told.site["forces"]
        total = segment_sum(forces, self.told.owner, len(self.told))
        near(torch.zeros_like(total), total, "sum of the forces of a crystal", self.tolerance, scale=max(float(forces.abs().max()), 0.1))

    def smooth(self) -> None:
        for start in ex.paths():
            smooth(torch.cat([self.oracle.label(c).energy for c in strained(start).split(400)]), "the energy", noise=1e-7 if self.coarse else 1e-14)

    def every_parameter(self) -> None:
        model, crystals = self.fresh().train(), ex.every()
        model.energy(crystals).square().sum().backward()
        dead = dead_parameters(model)
        require(not dead, f"no gradient reaches {', '.join(dead[:6])}{' ...' if len(dead) > 6 else ''}")

    def save_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            save(self.oracle, path)
            other = load_into(scrambled(self.fresh(**({"seed": 1} if self.part.can("seed") else {}))), path)
        self.agree(self.told, with_labels(self.told, other.label(self.told.bare())), "after save and load", 0)

    def overfits(self) -> None:
        from ..potential.lennard_jones import LennardJones

        crystals, model = ex.displaced(8), self.fresh().train()
        energy = LennardJones(epsilon=2.0, sigma=2.4, cutoff=6.0, ending="smooth").label(crystals).energy / crystals.counts
        learn(model, lambda: (model.energy(crystals) / crystals.counts - energy).abs().mean(), float((energy - energy.median()).abs().mean()),
              "energies of eight crystals")

    def parity(self) -> None:
        for what, ours, theirs, allowed in self.oracle.parity():
            off = float((torch.as_tensor(ours) - torch.as_tensor(theirs)).abs().max())
            require(off <= allowed, f"{what} against the published code: largest difference {off:.1e}, allowed {allowed:.0e}")
