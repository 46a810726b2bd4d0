"""What every source of energies offers, from Lennard-Jones to first principles."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..crystal.state import Crystals


class Labels(NamedTuple):
    """Answer of an oracle, float64, detached.

    energy   (crystals,) total energies in eV
    forces   (atoms, 3) eV/Å
    stress   (crystals, 3, 3) eV/Å^3, positive under tension, symmetric
    spread   (crystals,) standard deviation of the energy per atom in eV, None where the oracle cannot say
    magmoms  (atoms,) magnetic moments in Bohr magnetons, None where the oracle has none
    """

    energy: Tensor
    forces: Tensor | None = None
    stress: Tensor | None = None
    spread: Tensor | None = None
    magmoms: Tensor | None = None


@runtime_checkable
class Oracle(Protocol):
    """Anything that labels crystals: a potential, an ensemble, an ASE calculator, a queue of first-principles jobs.

    name           name of the oracle, stored beside every number it gave
    energy_scheme  what its energies mean: "mp2020", "mp-raw", "pbe-raw", "lj"; hulls refuse to mix schemes
    """

    name: str
    energy_scheme: str

    def label(self, crystals: Crystals) -> Labels: ...


def steady(oracle: Oracle) -> Oracle:
    """The oracle in the form whose answer for a crystal does not depend on what else is in the batch, where it offers one."""
    return oracle.steady() if hasattr(oracle, "steady") else oracle


class Potential(nn.Module):
    """Base of every differentiable energy model: write `energy`, get forces and stress.

    forces = -dE/dr at fixed cell; stress = (1/V) dE/d(strain) of a homogeneous strain at fixed frac.
    """

    name = "potential"
    energy_scheme = "none"

    def energy(self, crystals: Crystals) -> Tensor:
        """(crystals,) total energies in eV, differentiable in frac and cell."""
        raise TypeError(f"{type(self).__name__} must write energy()")

    def label(self, crystals: Crystals, keep_graph: bool = False) -> Labels:
        """Energies, forces and stresses of a batch; `keep_graph` leaves them differentiable for training."""
        with torch.enable_grad():
            frac = crystals.frac.detach().clone().requires_grad_()
            strain = torch.zeros_like(crystals.cell, requires_grad=True)
            bent = crystals.cell @ (torch.eye(3).to(strain) + (strain + strain.mT) / 2)
            energy = self.energy(replace(crystals, frac=frac, cell=bent))
            by_frac, by_strain = torch.autograd.grad(energy.sum(), [frac, strain], create_graph=keep_graph, materialize_grads=True)
        inverse = torch.linalg.inv(crystals.cell)[crystals.owner]
        forces = -torch.bmm(inverse, by_frac[:, :, None])[:, :, 0]
        stress = by_strain / crystals.volume[:, None, None]
        return Labels(*(x if keep_graph else x.detach() for x in (energy, forces, stress)))
