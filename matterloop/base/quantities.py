"""What a number attached to atoms or crystals is: how it turns, mirrors, adds and in which unit it stands."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BadInput


@dataclass(frozen=True)
class Quantity:
    """How a field transforms when the same crystal is described differently.

    rank       0 scalar, 1 vector, 2 tensor: number of trailing axes of length 3 that rotate
    parity     +1 for true tensors (forces: -1 under inversion already by their rank), -1 for pseudo tensors
    extensive  True if a supercell of n cells holds n times as much (whole-crystal fields only)
    unit       unit at rest, as text
    """

    rank: int = 0
    parity: int = 1
    extensive: bool = False
    unit: str = ""

    def __post_init__(self):
        if self.rank not in (0, 1, 2):
            raise BadInput(f"rank is {self.rank}, allowed are 0, 1 and 2", "Quantity")
        if self.parity not in (1, -1):
            raise BadInput(f"parity is {self.parity}, allowed are 1 and -1", "Quantity")


STANDARD: dict[str, Quantity] = {
    "energy": Quantity(0, 1, True, "eV"),
    "energy_per_atom": Quantity(0, 1, False, "eV/atom"),
    "formation_energy_per_atom": Quantity(0, 1, False, "eV/atom"),
    "energy_above_hull": Quantity(0, 1, False, "eV/atom"),
    "band_gap": Quantity(0, 1, False, "eV"),
    "forces": Quantity(1, 1, False, "eV/Å"),
    "velocities": Quantity(1, 1, False, "Å/fs"),
    "stress": Quantity(2, 1, False, "eV/Å^3"),
    "dielectric": Quantity(2, 1, False, ""),
    "born_charges": Quantity(2, 1, False, "e"),
    "magmom": Quantity(0, 1, False, "muB"),
    "charge": Quantity(0, 1, False, "e"),
    "site_energy": Quantity(0, 1, False, "eV"),
}


def quantity_of(name: str, extra: dict[str, Quantity] | None = None) -> Quantity:
    """The `Quantity` of the field `name`; BadInput if neither standard nor given in `extra`."""
    if extra and name in extra:
        return extra[name]
    if name in STANDARD:
        return STANDARD[name]
    raise BadInput(f"the field {name!r} has no Quantity; pass quantities={{{name!r}: Quantity(rank, parity, extensive, unit)}}")
