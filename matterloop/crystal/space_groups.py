"""The 230 space groups by number and name, and the shipped table of their Wyckoff positions, readable without moyopy.

Source: International Tables for Crystallography, volume A; the table is made by recipes/build_wyckoff_table.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..base.errors import BadInput, Missing

TABLE = Path(__file__).parents[1] / "shipped" / "wyckoff.npz"
LETTERS = "abcdefghijklmnopqrstuvwxyzA"
GRID = 24  # translations of the table are counted in 24ths
SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
_LAST = (2, 15, 74, 142, 167, 194, 230)
ENANTIOMORPHS = {78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212}
CENTRING_POINTS = {"P": 1, "A": 2, "B": 2, "C": 2, "I": 2, "R": 3, "F": 4}


@dataclass(frozen=True, eq=False)
class Table:
    """Arrays of the shipped table; `start` (231,) and `map_start` (1732,) bound the positions of a group and the maps of a position."""

    group: np.ndarray
    multiplicity: np.ndarray
    site_symmetry: tuple[str, ...]
    linear: np.ndarray
    shift: np.ndarray
    start: np.ndarray
    map_start: np.ndarray
    relabel: np.ndarray
    relabel_start: np.ndarray
    mirror: dict[int, tuple[int, tuple[int, ...]]]
    symbol: tuple[str, ...]
    symbol_full: tuple[str, ...]
    point_group: tuple[str, ...]
    setting_symbol: tuple[str, ...]
    setting_group: np.ndarray


@cache
def table() -> Table:
    """The shipped table, read once."""
    with np.load(TABLE, allow_pickle=False) as file:
        raw = {name: file[name] for name in file.files}
    for array in raw.values():
        array.setflags(write=False)
    text = lambda name: tuple(raw[name].astype(str).tolist())
    bounds = lambda groups: np.searchsorted(groups, np.arange(1, 232))
    return Table(
        group=raw["group"], multiplicity=raw["multiplicity"], site_symmetry=text("site_symmetry"), linear=raw["linear"], shift=raw["shift"],
        start=bounds(raw["group"]), map_start=np.concatenate([[0], np.cumsum(raw["multiplicity"], dtype=np.int64)]),
        relabel=raw["relabel"], relabel_start=bounds(raw["relabel_group"]),
        mirror={int(row[0]): (int(row[1]), tuple(int(i) for i in row[2:] if i >= 0)) for row in raw["mirror"]},
        symbol=text("symbol"), symbol_full=text("symbol_full"), point_group=text("point_group"),
        setting_symbol=text("setting_symbol"), setting_group=raw["setting_group"])


def checked(space_group: int) -> int:
    """The number as an int; BadInput unless it is a whole number in 1..230."""
    if isinstance(space_group, bool) or int(space_group) != space_group or not 1 <= space_group <= 230:
        raise BadInput(f"got the space group {space_group!r}; allowed are the numbers 1 to 230 (use `number` for symbols)", "space_group")
    return int(space_group)


def crystal_system(space_group: int) -> str:
    """One of SYSTEMS."""
    return SYSTEMS[int(np.searchsorted(_LAST, checked(space_group)))]


def groups_of(system: str) -> range:
    """Space-group numbers of a crystal system; Missing with the nearest names otherwise."""
    if system.lower() not in SYSTEMS:
        raise Missing("crystal system", system, SYSTEMS)
    i = SYSTEMS.index(system.lower())
    return range((0, *_LAST)[i] + 1, _LAST[i] + 1)


def symbol(space_group: int) -> str:
    """Short Hermann-Mauguin symbol of the standard setting without blanks: 'Fm-3m', 'P2_1/c'."""
    return table().symbol[checked(space_group) - 1].replace(" ", "")


def symbol_full(space_group: int) -> str:
    """Full Hermann-Mauguin symbol of the standard setting with blanks: 'P 1 2_1/c 1'."""
    return table().symbol_full[checked(space_group) - 1]


def point_group(space_group: int) -> str:
    """Geometric crystal class: 'm-3m'."""
    return table().point_group[checked(space_group) - 1]


def lattice_points(space_group: int) -> int:
    """Lattice points of the conventional cell: 1 (P), 2 (A, C, I), 3 (R, hexagonal axes) or 4 (F)."""
    return CENTRING_POINTS[symbol(space_group)[0]]


def _plain(name: str) -> str:
    name = re.sub(r"[\s_:]", "", name.strip())
    return name[:1].upper() + name[1:].lower()


@cache
def _names() -> dict[str, int]:
    found: dict[str, int] = {}
    for setting, group in zip(table().setting_symbol, table().setting_group.tolist()):
        found.setdefault(_plain(setting.split("=")[0]), group)
    for group in range(230, 0, -1):
        found[_plain(symbol_full(group))] = group
        found[_plain(symbol(group))] = group
    for group in range(195, 231):  # the older spelling of cubic classes: Fm3m for Fm-3m
        old = _plain(symbol(group)).replace("-3", "3")
        found.setdefault(old, group)
    return found


def number(name: str | int) -> int:
    """Space-group number of a Hermann-Mauguin symbol in any of the 530 usual settings, or of a number.

    Blanks, underscores and case of letters after the first do not matter. Missing with the nearest symbols otherwise.
    """
    text = str(name).strip()
    if text.isdigit():
        return checked(int(text))
    found = _names().get(_plain(text))
    if found is None:
        raise Missing("space group", text, {symbol(g) for g in range(1, 231)})
    return found
