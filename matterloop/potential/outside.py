"""Any ASE calculator as an oracle, and doors by name to universal potentials that live in packages of their own.

The catalogue's entry stands for MatterSim (Han Yang, Chenxi Hu, Yichi Zhou and others, "MatterSim: a deep learning atomistic model across
elements, temperatures and pressures", arXiv:2405.04967) and its relatives MACE, ORB and SevenNet, which are reached the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..base.elements import symbol
from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.registry import Card
from ..crystal.state import Crystals
from .oracle import Labels

CARD = Card(
    name="mattersim",
    build="outside",
    role="potential",
    paper="2405.04967",
    year=2024,
    summary="universal potentials of other packages through ASE: MatterSim, MACE, ORB, SevenNet",
    capabilities=("energy", "forces", "stress", "pretrained", "needs_package"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"reference": "the number depends on the release of a package that is not installed where the suite runs"},
    dtype="float32",
    tolerance=1e-4,
    tolerance_reason="the packages evaluate in single precision by default",
    presets={"mace": {"model": "mace"}, "orb": {"model": "orb"}, "sevennet": {"model": "sevennet"}},
    differs=("crystals are evaluated one by one: an ASE calculator knows no batches",),
)


class AseOracle:
    """An ASE calculator as an oracle; crystals are handed to it one by one.

    factory        makes the calculator; called once, at the first label
    name           stored beside every number
    energy_scheme  what its energies mean ("mp-raw", "pbe-raw", ...); hulls refuse to mix schemes
    free_energy    take the energy whose gradient the forces are (with electronic entropy) instead of the one extrapolated to zero smearing
    forces, stress whether to ask for them; a calculator that has none is an error that says so
    """

    def __init__(self, factory: Callable[[], object], name: str, energy_scheme: str, *, free_energy: bool = False, forces: bool = True, stress: bool = True):
        self.factory, self.name, self.energy_scheme = factory, name, energy_scheme
        self.free_energy, self.forces, self.stress = free_energy, forces, stress
        self._calculator = None

    def label(self, crystals: Crystals) -> Labels:
        """Energies (crystals,) eV, forces (atoms, 3) eV/Å, stresses (crystals, 3, 3) eV/Å^3 positive under tension, and moments if it has them.

        The stress of a structure that is not periodic is NaN: it has no volume. Raises BadInput naming the crystal when the calculator fails
        on it or lacks a property.
        """
        rows = [self._one(crystals[i], i) for i in range(len(crystals))]
        home = crystals.cell.device
        cat = lambda k, shape: torch.cat([r[k] for r in rows]).to(home) if rows else torch.zeros(shape, dtype=torch.float64, device=home)
        moments = cat(3, (0,)) if rows and all(r[3] is not None for r in rows) else None
        return Labels(cat(0, (0,)), cat(1, (0, 3)) if self.forces else None, cat(2, (0, 3, 3)) if self.stress else None, None, moments)

    def _one(self, crystal: Crystals, index: int) -> tuple:
        from ase import Atoms
        from ase.calculators.calculator import PropertyNotImplementedError

        if self._calculator is None:
            self._calculator = self.factory()
        atoms = Atoms(
            [symbol(z) for z in crystal.species.tolist()] if bool((crystal.species > 0).all()) else self._refuse_undecided(index),
            positions=crystal.cart.detach().cpu().numpy(), cell=crystal.cell[0].detach().cpu().numpy(), pbc=crystal.periodic[0].cpu().numpy())
        atoms.calc = self._calculator
        real = lambda x: torch.as_tensor(x, dtype=torch.float64)
        asked = "energy"
        try:
            energy = real([atoms.get_potential_energy(force_consistent=self.free_energy)])
            asked = "forces"
            forces = real(atoms.get_forces()) if self.forces else None
            asked = "stress"
            stress = None
            if self.stress:
                whole = bool(crystal.periodic.all())
                stress = real(atoms.get_stress(voigt=False))[None] if whole else torch.full((1, 3, 3), torch.nan, dtype=torch.float64)
        except PropertyNotImplementedError:
            raise BadInput(f"the calculator of {self.name!r} gives no {asked}; make the oracle with {asked}=False to do without", f"crystal {index}") from None
        except Exception as error:  # foreign code may raise anything; the crystal that caused it must be named
            raise BadInput(f"the calculator of {self.name!r} failed: {type(error).__name__}: {error}", f"crystal {index}") from error
        results = getattr(self._calculator, "results", {})
        return energy, forces, stress, real(results["magmoms"]).reshape(-1) if "magmoms" in results else None

    def _refuse_undecided(self, index: int):
        raise BadInput("an atom is of an undecided element (0)", f"crystal {index}")


@dataclass(frozen=True)
class Door:
    """How to reach a potential: its package, what pip installs, what its energies mean, and what makes its calculator."""

    package: str
    install: str
    energy_scheme: str
    make: Callable


def _mattersim(device: str, **options):
    from mattersim.forcefield import MatterSimCalculator

    return MatterSimCalculator(device=device, **options)


def _mace(device: str, **options):
    from mace.calculators import mace_mp

    return mace_mp(device=device, **{"default_dtype": "float64", **options})


def _orb(device: str, weights: str = "orb_v3_conservative_inf_mpa", **options):
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.calculator import ORBCalculator

    made = getattr(pretrained, weights)(device=device)
    model, *adapter = made if isinstance(made, tuple) else (made,)  # newer releases return the graph adapter too
    return ORBCalculator(model, *adapter, device=device, **options)


def _sevennet(device: str, **options):
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(device=device, **{"model": "7net-0", **options})


DOORS = {
    "mattersim": Door("mattersim", "mattersim", "mp-raw", _mattersim),
    "mace": Door("mace", "mace-torch", "mp-raw", _mace),
    "orb": Door("orb_models", "orb-models", "mp-raw", _orb),
    "sevennet": Door("sevenn", "sevenn", "mp-raw", _sevennet),
}


def outside(model: str = "mattersim", device: str | None = None, energy_scheme: str | None = None, **options) -> AseOracle:
    """The oracle behind a door of DOORS; `options` go to its calculator, `energy_scheme` overrides the door's when other weights are asked for.

    Raises Missing for an unknown model and NeedsPackage, before anything is computed, when its package is not installed.
    """
    from importlib.util import find_spec

    if model not in DOORS:
        raise Missing("outside potential", model, DOORS)
    door = DOORS[model]
    if find_spec(door.package) is None:
        raise NeedsPackage(door.package, f"the potential {model!r}", door.install)
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return AseOracle(lambda: door.make(where, **options), model, energy_scheme or door.energy_scheme)
