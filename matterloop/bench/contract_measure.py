"""What a measurement must keep: relaxations that end in the same minimum however the crystal is told, hulls that are hulls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import torch_stream
from ..base.units import GPA_PER_EV_PER_A3
from ..crystal.state import Crystals
from ..potential.lennard_jones import LennardJones
from . import examples as ex
from .comparing import Check, Part, near, own_randomness, require, untouched

CAPABILITIES = {
    "relaxes": "called with (crystals, oracle) it minimises their energies", "pressure": "takes the option `pressure`", "keeps_symmetry": "takes the option `keep_symmetry`",
    "energy_above_hull": "built from phases it gives energy_above(compositions, energies)", "formation_energy": "gives formation energies",
    "decomposition": "names what a crystal would decompose into", "plot_data": "gives the data of phase diagrams",
    "elastic_tensor": "called with (crystals, oracle) it gives their elastic tensors"}
TOLD = ("permutation", "supercell")  # retellings of compositions and energies


def invariances(card: Card) -> tuple[str, ...]:
    """All of them where geometries are measured, those that composition knows for a hull."""
    return ex.INVARIANCES if {"relaxes", "elastic_tensor"} & set(card.capabilities) else TOLD


def checks(part: Part) -> Iterator[Check]:
    """Checks of one measurement."""
    if part.can("relaxes"):
        subject, names = Relaxing(part), ["answers", "batching", "one_atom", "inputs_untouched", "repeatable", "lowers_energy", "explosions"]
        names += ["pressure"] if part.can("pressure") else []
        names += ["keeps_symmetry"] if part.can("keeps_symmetry") else []
    elif part.can("elastic_tensor"):
        subject, names = Straining(part), ["answers", "batching", "one_atom", "inputs_untouched", "repeatable", "turns", "forbidden", "hopeless"]
    else:
        subject, names = Hulling(part), ["answers", "batching", "repeatable", "schemes", "missing_elements"]
        names += ["decomposition"] if part.can("decomposition") else []
        names += ["formation_energy"] if part.can("formation_energy") else []
    for name in invariances(part.card):
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


class Relaxing:
    """A relaxation under test, on a pair potential."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance
        self.oracle = LennardJones(epsilon=0.15, sigma=2.45, cutoff=6.0, ending="smooth")

    @cached_property
    def crystals(self) -> Crystals:
        """Three distorted crystals of four atoms in the valley of one minimum, close packing: rock salt is none of a pair potential."""
        return self.distorted(3)

    def distorted(self, count: int) -> Crystals:
        packed = torch.tensor([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
        base, parts = Crystals.of(packed, [11, 17, 17, 17], 3.79 * torch.eye(3)), []
        for i in range(count):
            rng = torch_stream(i, "distorted")
            strain, jolt = 0.02 * torch.randn(3, 3, generator=rng, dtype=torch.float64), 0.02 * torch.randn(4, 3, generator=rng, dtype=torch.float64)
            parts.append(base.put(frac=base.frac + jolt, cell=base.cell @ (torch.eye(3, dtype=torch.float64) + (strain + strain.T) / 2)))
        return Crystals.join(parts)

    def run(self, crystals: Crystals, **options):
        return self.part.build(**options)(crystals, self.oracle)

    @cached_property
    def relaxed(self):
        return self.run(self.crystals)

    def invariant(self, name: str) -> None:
        """Energy and volume per atom of the minimum."""
        other = self.run(ex.RETELLINGS[name](self.crystals))
        near(self.relaxed.energies_per_atom, other.energies_per_atom, f"energy per atom under {name}", self.tolerance)
        density = lambda r: r.crystals.volume / r.crystals.counts
        near(density(self.relaxed), density(other), f"volume per atom under {name}", 100 * self.tolerance)  # its error is the root of the energy's

    def answers(self) -> None:
        """One result for each crystal, in order, whose energy and forces are those of the geometry it gives."""
        require(len(self.relaxed) == len(self.crystals), f"{len(self.relaxed)} results for {len(self.crystals)} crystals")
        require(torch.equal(self.relaxed.crystals.species, self.crystals.species), "species or their order changed")
        labels = self.oracle.label(self.relaxed.crystals.bare())
        near(labels.energy, self.relaxed.energies, "energy of the final geometry", 1e-10)
        near(labels.forces, torch.cat([r.forces for r in self.relaxed]), "forces of the final geometry", 1e-8)
        for r in self.relaxed:
            require(r.converged or bool(r.reason), "a crystal that did not converge does not say why")

    def batching(self) -> None:
        alone = [self.run(c)[0].energy for c in self.crystals]
        near(self.relaxed.energies, torch.tensor(alone, dtype=torch.float64), "energies of a batch against one by one", self.tolerance)

    def one_atom(self) -> None:
        one = self.run(ex.one_atom(side=2.6))[0]
        require(not one.failed and one.crystal.atoms == 1, f"a crystal of one atom fails: {one.reason}")

    def inputs_untouched(self) -> None:
        crystals = self.distorted(2)
        with untouched(crystals):
            self.run(crystals)

    def repeatable(self) -> None:
        with own_randomness():
            again = self.run(self.crystals)
        near(self.relaxed.energies, again.energies, "energies twice", 0)

    def lowers_energy(self) -> None:
        """With steps enough every crystal converges below its first energy, with forces under the limit."""
        before = self.oracle.label(self.crystals).energy
        found = self.run(self.crystals, steps=500)
        require(bool(found.converged.all()), f"{int((~found.converged).sum())} of {len(found)} do not converge in 500 steps")
        require(bool((found.energies < before).all()), f"energies after {found.energies.tolist()}, before {before.tolist()}")
        forces = self.oracle.label(found.crystals.bare()).forces.norm(dim=-1).max()
        require(float(forces) <= 0.05 + 1e-9, f"a force of {float(forces):.3f} eV/Å is left, allowed 0.05")

    def explosions(self) -> None:
        """Two atoms on one place are reported with a reason; the crystals around them are relaxed as if alone."""
        good = self.crystals[:1]
        bad = good.put(frac=good.frac[[0, 0, *range(2, good.atoms)]])
        found = self.run(Crystals.join([good, bad, good]))
        require(found[1].failed and bool(found[1].reason), f"overlapping atoms end as {found[1].status!r}, wanted a failure with a reason")
        near([self.relaxed[0].energy] * 2, [found[0].energy, found[2].energy], "energies beside a crystal that fails", self.tolerance)

    def pressure(self) -> None:
        """Pressure makes crystals smaller: 0.05 eV/Å^3 (8 GPa) and the stress that answers it."""
        free, pressed = (self.run(self.crystals[:1], steps=500, pressure=p)[0] for p in (0.0, 0.05))
        volumes = [float(r.crystal.volume[0]) for r in (free, pressed)]
        require(volumes[1] < 0.995 * volumes[0], f"the volume is {volumes[1]:.2f} Å^3 under pressure, {volumes[0]:.2f} without")
        trace = float(self.oracle.label(pressed.crystal.bare()).stress[0].diagonal().mean())
        require(abs(trace + 0.05) < 5e-3, f"the mean stress is {trace:.4f} eV/Å^3 under a pressure of 0.05, wanted -0.05 within 0.005")

    def keeps_symmetry(self) -> None:
        from ..crystal.symmetry import analyse

        start = Crystals.join([ex.rock_salt(), ex.skewed()])
        start = start.put(cell=start.cell * 1.06)
        found = self.run(start, steps=60, keep_symmetry=True)
        groups = [s.number for s in analyse(found.crystals.bare(), 0.001)]
        require(groups == [225, 225], f"space groups {groups} after a relaxation that keeps them, wanted 225")


class Straining:
    """Elastic tensors under test, of close packings of a pair potential."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance
        self.oracle = LennardJones(epsilon=0.15, sigma=2.45, cutoff=5.0, ending="smooth")  # it ends between two shells, so that curvatures do not jump

    @staticmethod
    def crystals() -> Crystals:
        """Cubic close packing of one element, layers of two, and the first two shaken."""
        packed = torch.tensor([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
        cell = 3.79 * torch.eye(3, dtype=torch.float64)
        sound = Crystals.join([Crystals.of(packed, [18] * 4, cell), Crystals.of(packed, [11, 17, 17, 11], cell)])
        rng = torch_stream(0, "shaken")
        jolt, strain = 0.02 * torch.randn(8, 3, generator=rng, dtype=torch.float64), 0.02 * torch.randn(2, 3, 3, generator=rng, dtype=torch.float64)
        return Crystals.join([sound, sound.put(frac=sound.frac + jolt, cell=sound.cell @ (torch.eye(3, dtype=torch.float64) + (strain + strain.mT) / 2))])

    def run(self, crystals: Crystals):
        return self.part.build(**self.part.card.small)(crystals, self.oracle)

    @cached_property
    def found(self):
        return self.run(self.crystals())

    def numbers(self, found) -> torch.Tensor:
        for i, one in enumerate(found):
            require(not one.failed, f"crystal {i} has no tensor: {one.reason}")
        return torch.stack([torch.as_tensor([*one.tensor.eigenvalues, one.tensor.bulk_hill, one.tensor.shear_hill], dtype=torch.float64) for one in found])

    def invariant(self, name: str) -> None:
        """What does not depend on axes: eigenvalues and mean moduli."""
        near(self.numbers(self.found), self.numbers(self.run(ex.RETELLINGS[name](self.crystals()))), f"eigenvalues and moduli under {name}", self.tolerance)

    def answers(self) -> None:
        """The bulk modulus is the curvature of the energy over volume, and the tensor is symmetric and positive."""
        one = self.found[0]
        require(len(self.found) == len(self.crystals()), f"{len(self.found)} answers for {len(self.crystals())} crystals")
        rest, h = one.relaxed, 2e-3
        volume = float(rest.volume[0])
        energy = [float(self.oracle.label(rest.put(cell=rest.cell * (1 + x) ** (1 / 3)).bare()).energy[0]) for x in (-h, 0.0, h)]
        curvature = (energy[0] - 2 * energy[1] + energy[2]) / h**2 / volume * GPA_PER_EV_PER_A3
        near(curvature, one.tensor.bulk_hill, "bulk modulus against the curvature of the energy in GPa", 1e-3)
        for x in self.found:
            require(bool(np.allclose(x.tensor.stiffness, x.tensor.stiffness.T, atol=1e-6)), "a stiffness is not symmetric")
            require(x.tensor.stable, f"close packing is called unstable: eigenvalues {x.tensor.eigenvalues}")

    def batching(self) -> None:
        near(self.numbers(self.found), torch.cat([self.numbers(self.run(c)) for c in self.crystals()]), "tensors of a batch against one by one", self.tolerance)

    def one_atom(self) -> None:
        """The primitive cell of close packing gives what the cubic cell of four atoms gives."""
        cell = 1.895 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64)
        near(self.numbers(self.found)[:1], self.numbers(self.run(Crystals.of([[0.0, 0, 0]], [18], cell))), "tensor of the cell of one atom", self.tolerance)

    def inputs_untouched(self) -> None:
        crystals = self.crystals()
        with untouched(crystals):
            self.run(crystals)

    def repeatable(self) -> None:
        with own_randomness():
            again = self.numbers(self.run(self.crystals()))
        near(self.numbers(self.found), again, "tensors twice", 0)

    def turns(self) -> None:
        """The stiffness of a turned crystal is the turned stiffness."""
        turn = ex.rotation()
        other = self.run(self.crystals().rotated(turn))
        for a, b in zip(self.found, other, strict=True):
            near(a.tensor.rotated(turn.numpy()).stiffness, b.tensor.stiffness, "stiffness of a turned crystal in GPa", 10 * self.tolerance)

    def forbidden(self) -> None:
        """Constants that cubic symmetry forbids are zero, those that it makes equal are."""
        c = self.found[0].tensor.stiffness
        off = [c[i, j] for i in range(6) for j in range(3, 6) if i != j]
        require(max(map(abs, off)) < 1e-6 * c[0, 0], f"a constant that symmetry forbids is {max(map(abs, off)):.3g} GPa")
        near([c[0, 0], c[0, 1], c[3, 3]], [c[2, 2], c[1, 2], c[5, 5]], "constants that symmetry makes equal", 1e-6)

    def hopeless(self) -> None:
        """Two atoms on one place are reported with a reason; the others have their tensors."""
        good = self.crystals()[:1]
        bad = good.put(frac=good.frac[[0, 0, 2, 3]])
        found = self.run(Crystals.join([good, bad]))
        require(found[1].failed and bool(found[1].reason), "overlapping atoms have a tensor, wanted a failure with a reason")
        near(self.numbers(self.found)[:1], self.numbers([found[0]]), "tensor beside a crystal that fails", self.tolerance)


class Hulling:
    """A hull under test: Li, O and five compounds, whose distances are worked out by hand."""

    COMPOSITIONS = ({3: 1}, {8: 2}, {3: 2, 8: 1}, {3: 1, 8: 1}, {3: 1, 8: 3}, {3: 4, 8: 4}, {26: 1})
    ENERGIES = (-1.0, -4.0, -3.5, -3.75, -3.55, -3.70, -8.0)  # eV/atom; formation energies 0, 0, -1.5, -1.25, -0.3, -1.2, 0
    NAMES = ("Li", "O2", "Li2O", "LiO", "LiO3", "LiO-b", "Fe")
    # LiO3 lies between LiO and O2: half its atoms in each, -0.625 eV/atom, so 0.325 above; LiO-b 0.05 above LiO
    ABOVE = (0.0, 0.0, 0.0, 0.0, 0.325, 0.05, 0.0)

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance

    def made(self, order=None, copies: int = 1):
        order = range(len(self.NAMES)) if order is None else order
        return self.part.build(compositions=[{z: n * copies for z, n in self.COMPOSITIONS[i].items()} for i in order],
                               energies=[self.ENERGIES[i] for i in order], names=[self.NAMES[i] for i in order], scheme="lj", potential="toy")

    @cached_property
    def hull(self):
        return self.made()

    def above(self, hull, compositions=COMPOSITIONS, energies=ENERGIES):
        return np.asarray(hull.energy_above(list(compositions), list(energies)).above)

    def invariant(self, name: str) -> None:
        """Phases in another order; every composition as a multiple of its formula unit."""
        before = self.above(self.hull)
        other = self.made(order=[5, 2, 0, 6, 4, 1, 3]) if name == "permutation" else self.made(copies=3)
        queries = [{z: 2 * n for z, n in c.items()} for c in self.COMPOSITIONS] if name == "supercell" else self.COMPOSITIONS
        near(before, self.above(other, queries), f"distances under {name}", self.tolerance)

    def answers(self) -> None:
        near(np.array(self.ABOVE), self.above(self.hull), "distances to the hull in eV/atom against those worked out by hand", self.tolerance)
        near(-0.1, self.above(self.hull, [{3: 1, 8: 1}], [-3.85])[0], "distance of a crystal below the hull", self.tolerance)

    def batching(self) -> None:
        alone = [self.above(self.made(), [c], [e])[0] for c, e in zip(self.COMPOSITIONS, self.ENERGIES, strict=True)]
        near(self.above(self.hull), np.array(alone), "distances of many against one by one", self.tolerance)

    def repeatable(self) -> None:
        with own_randomness():
            one = self.above(self.made())
        near(one, self.above(self.made()), "the same twice", 0)

    def schemes(self) -> None:
        """Energies of another scheme are refused, as queries and as phases."""
        for what, ask in (("a query", lambda: self.hull.energy_above([{3: 1}], [-1.0], "mp2020")),
                          ("phases", lambda: self.part.build(compositions=[{3: 1}, {8: 1}], energies=[0.0, 0.0], names=["a", "b"], scheme=["lj", "mp2020"], potential="toy"))):
            try:
                ask()
            except BadInput:
                continue
            require(False, f"{what} of another energy scheme is taken without a word")

    def missing_elements(self) -> None:
        """A system without all its elements has no hull and says so."""
        try:
            found = self.hull.energy_above([{3: 1, 17: 1}], [-3.0])
        except BadInput as error:
            require("Cl" in str(error), f"the element without a reference is not named: {error}")
            return
        require(False, f"LiCl gets the distance {float(found.above[0])} from a hull without Cl")

    def decomposition(self) -> None:
        got = dict(self.hull.energy_above([{3: 1, 8: 3}], [-3.55]).decompositions[0])
        require(got.keys() == {"LiO", "O2"}, f"LiO3 decomposes into {sorted(got)}, wanted LiO and O2")
        near(0.5, got["LiO"], "share of LiO in the decay of LiO3", self.tolerance)

    def formation_energy(self) -> None:
        near(np.array([0, 0, -1.5, -1.25, -0.3, -1.2, 0]), np.asarray(self.hull.formation_energy(list(self.COMPOSITIONS), list(self.ENERGIES))),
             "formation energies in eV/atom", self.tolerance)
