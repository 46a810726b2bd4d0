"""The verbs below `matterloop potentials`: which outside potentials there are, their environments, and whether they answer."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

potential_app = typer.Typer(help="Outside potentials: SevenNet, MACE, MatterSim, ORB, metatomic models, each in an environment of its own.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="sevennet, mace, mattersim, orb or metatomic")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object per result on standard output")]


def listing() -> list[dict[str, Any]]:
    """One dict for each door: potential, energy_scheme, where ("here", "environment", "not installed"), version, folder."""
    from importlib.metadata import version

    from ..potential.outside import DOORS, agrees
    from ..potential.outside_environments import facts, folder, python_of

    rows = []
    for name, door in sorted(DOORS.items()):
        row = {"potential": name, "energy_scheme": door.energy_scheme, "where": "not installed", "version": "", "folder": ""}
        if python_of(name):
            row |= {"where": "environment", "version": facts(name).get("versions", {}).get(door.install[0], ""), "folder": str(folder() / name)}
        elif agrees(door.package):
            row |= {"where": "here", "version": version(door.install[0])}
        rows.append(row)
    return rows


def check(name: str, path: str | None = None, python: str | None = None) -> dict[str, Any]:
    """What a potential says of a distorted rock salt: energy per atom (eV), largest force (eV/Å), pressure (GPa), how far its forces are from the slope of
    its energy (eV/Å), seconds to start and per crystal, versions.
    """
    import torch

    from ..base.units import stress_to_gpa
    from ..bench.examples import low_symmetry
    from ..crystal.state import Crystals
    from ..potential.outside import outside

    base = low_symmetry()
    oracle = outside(name, path=path, python=python)
    begun = time.perf_counter()
    first = oracle.label(base)
    started = time.perf_counter() - begun
    step = 0.01  # Å along the force
    push = first.forces / first.forces.norm().clamp(min=1e-12)
    moved = [base.put(frac=base.frac + sign * step * push @ torch.linalg.inv(base.cell[0])) for sign in (-1, 1)]
    begun = time.perf_counter()
    energy = oracle.label(Crystals.join(moved)).energy
    seconds = (time.perf_counter() - begun) / 2
    slope = -float(energy[1] - energy[0]) / (2 * step)
    return {"potential": oracle.name, "energy_scheme": oracle.energy_scheme, "energy_per_atom": float(first.energy[0]) / base.atoms,
            "largest_force": float(first.forces.norm(dim=1).max()), "pressure_gpa": -float(stress_to_gpa(first.stress[0]).trace()) / 3,
            "force_error": abs(slope - float((first.forces * push).sum())), "start_seconds": started, "seconds": seconds, "versions": getattr(oracle, "versions", {})}


@potential_app.command("list")
def list_(json_: Json = False) -> None:
    """Every outside potential, and where it was found."""
    from .cli import emit

    emit(listing(), json_, ("potential", "where", "version", "energy_scheme", "folder"))


@potential_app.command()
def setup(name: Name, fresh: Annotated[bool, typer.Option("--fresh", help="make it anew though it is there")] = False, json_: Json = False) -> None:
    """Make the environment of a potential (some GB; needs a package index)."""
    from importlib.metadata import version

    from ..base.errors import Missing
    from ..potential.outside import DOORS
    from ..potential.outside_environments import setup as run
    from .cli import emit, say

    if name not in DOORS:
        raise Missing("outside potential", name, DOORS)
    run(name, DOORS[name].install, torch=version("torch"), without=DOORS[name].without, fresh=fresh, say=say)
    emit([row for row in listing() if row["potential"] == name], json_, ("potential", "where", "version", "energy_scheme", "folder"))


@potential_app.command("check")
def check_(name: Name, path: Annotated[str | None, typer.Option(help="a model file of your own; some packages run code from it")] = None,
           python: Annotated[str | None, typer.Option(help="interpreter of an environment of your own")] = None, json_: Json = False) -> None:
    """Ask a potential for one crystal: energy, forces against the slope of the energy, seconds."""
    from .cli import emit

    emit([check(name, path, python)], json_, ("potential", "energy_scheme", "energy_per_atom", "largest_force", "force_error", "pressure_gpa", "start_seconds", "seconds", "versions"))


@potential_app.command()
def remove(name: Name) -> None:
    """Delete the environment of a potential."""
    from ..base.errors import Missing
    from ..potential.outside import DOORS
    from ..potential.outside_environments import remove as run
    from .cli import say

    if name not in DOORS:
        raise Missing("outside potential", name, DOORS)
    say(f"{name}: {'removed' if run(name) else 'there was none'}")
