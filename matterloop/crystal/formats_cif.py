"""The structure in a CIF data block, and a CIF from a structure.

The reader is strict, expands explicit symmetry operations itself and evaluates nothing. What it does not understand (a space group without
operations) it says, so that the caller can try another reader. Syntax: formats_cif_syntax.py; elements and operations: formats_cif_sites.py.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ..base.elements import symbol
from ..base.errors import BadInput
from .composition import parse_formula, reduced, reduced_formula
from .formats_cif_sites import MAX_OPERATIONS, element, expanded, operation, snapped
from .formats_cif_syntax import Block, blocks, plain, real, reals  # noqa: F401  (blocks: for the readers of files)
from .formats_frame import Frame


class NotUnderstood(BadInput):
    """Valid CIF that needs more knowledge than this reader has; `lengths` and `angles` let the caller check the cell first."""

    def __init__(self, message: str, lengths=(), angles=(), field: str = ""):
        super().__init__(message, field=field)
        self.lengths, self.angles = lengths, angles


LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
FRACT = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
IDENTITY = operation("x,y,z")


def cell_of(lengths, angles) -> tuple[tuple[float, float, float], ...]:
    """Rows a, b, c in Å with a along x and b in the plane of x and y (Int. Tables B, 3.3); BadInput when the angles close no cell."""
    a, b, c = lengths
    cos_a, cos_b, cos_g = (0.0 if x == 90.0 else math.cos(math.radians(x)) for x in angles)
    sin_g = 1.0 if angles[2] == 90.0 else math.sin(math.radians(angles[2]))
    if sin_g <= 1e-9:
        raise BadInput(f"gamma = {angles[2]:g}° makes no cell", field=ANGLES[2])
    cy = (cos_a - cos_b * cos_g) / sin_g
    square = 1.0 - cos_b * cos_b - cy * cy
    if square <= 1e-12:
        raise BadInput(f"the angles {', '.join(f'{x:g}' for x in angles)} close no cell: it has no volume", field=ANGLES[0])
    return (a, 0.0, 0.0), (b * cos_g, b * sin_g, 0.0), (c * cos_b, c * cy, c * math.sqrt(square))


def frame_of(block: Block, most_atoms: int = 500) -> Frame:
    """The structure of a data block; BadInput naming the field, NotUnderstood when only the name of a space group is given."""
    items, columns = block.items, block.columns
    for tag in (*LENGTHS, *ANGLES):
        if tag not in items:
            raise BadInput("it is missing", field=tag)
    lengths = [real(items[t], t) for t in LENGTHS]
    angles = [real(items[t], t) for t in ANGLES]
    for tag, value in zip((*LENGTHS, *ANGLES), (*lengths, *angles), strict=True):
        if value <= 0 or (tag in ANGLES and value >= 180):
            raise BadInput(f"{value:g} is not possible", field=tag)
    if any(t.startswith(("_atom_site_moment", "_space_group_magn", "_space_group_symop_magn")) for t in (*columns, *items)):
        raise BadInput("it is a magnetic CIF, which is not read here; write the structure without moments", field="_atom_site_moment")
    tokens = [block.column(t) for t in FRACT]
    if any(t is None for t in tokens):
        reason = "only Cartesian coordinates are given; fractional ones are wanted" if "_atom_site_cartn_x" in columns else "it is missing: no atoms"
        raise BadInput(reason, field=FRACT[[t is None for t in tokens].index(True)])
    n = len(tokens[0])
    if n > most_atoms:
        raise BadInput(f"{n} sites, allowed are {most_atoms}; raise Limits(atoms=...)", field=FRACT[0])
    if any(len(t) != n for t in tokens):
        raise BadInput("the coordinates stand in loops of different lengths", field=FRACT[0])
    frac = [reals(t, f) for t, f in zip(tokens, FRACT, strict=True)]
    labels = block.column("_atom_site_label")
    types = block.column("_atom_site_type_symbol")
    names = types or labels
    if names is None or len(names) != n:
        raise BadInput("neither type symbols nor labels are given for the sites", field="_atom_site_type_symbol")
    notes = list(block.notes)
    try:
        species = [element(t, types is None) for t in names]
    except BadInput:
        species = [_element_at(plain(t), types is None, i) for i, t in enumerate(names)]
    if types is not None and any(t[-1] in "+-'\"" for t in types):
        notes.append("charges in _atom_site_type_symbol are not kept")
    occupancy = block.column("_atom_site_occupancy")
    if occupancy is not None:
        _refuse_disorder(occupancy, names)
    cell = cell_of(lengths, angles)
    operations = _operations(block, lengths, angles, notes)
    points = np.array(frac).T
    if len(operations) > 1:
        points, species, more = expanded(snapped(points, tokens), species, [plain(x) for x in (labels or names)], operations, np.array(cell), most_atoms)
        notes += more
    _compare_formula(items, species, notes)
    return Frame(cell, species, points, notes=notes, name=block.name)


def _element_at(text: str, is_label: bool, i: int) -> int:
    try:
        return element(text, is_label)
    except BadInput as error:
        raise BadInput(f"site {i}: {error.message}", field="_atom_site_label" if is_label else "_atom_site_type_symbol") from None


def _refuse_disorder(occupancy: list[str], names: list[str]) -> None:
    for name, token in zip(names, occupancy, strict=True):
        if token in ("1", "1.0", ".", "?"):
            continue
        value = real(token, "_atom_site_occupancy")
        if not 0 <= value <= 1.001:
            raise BadInput(f"the occupancy {value:g} of site {plain(name)!r} is not between 0 and 1", field="_atom_site_occupancy")
        if value < 0.999:
            raise BadInput(f"site {plain(name)!r} is occupied by {value:g}: the crystal is disordered; make an ordered model of it first", field="_atom_site_occupancy")


def _operations(block: Block, lengths, angles, notes: list[str]) -> list:
    texts = block.column("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
    if texts is not None:
        if len(texts) > MAX_OPERATIONS:
            raise BadInput(f"{len(texts)} symmetry operations, no space group has more than 192", field="_symmetry_equiv_pos_as_xyz")
        operations = list(dict.fromkeys(operation(plain(t)) for t in texts))
        if IDENTITY not in operations:
            raise BadInput("the identity x,y,z is not among the symmetry operations", field="_symmetry_equiv_pos_as_xyz")
        return operations
    number = block.column("_symmetry_int_tables_number", "_space_group_it_number")
    name = block.column("_symmetry_space_group_name_h-m", "_space_group_name_h-m_alt", "_symmetry_space_group_name_hall", "_space_group_name_hall")
    said = [plain(x[0]).replace(" ", "").replace("_", "") for x in (number, name) if x is not None and plain(x[0]) not in ("?", ".", "")]
    if not said:
        notes.append("no symmetry is given; the listed sites are taken as all atoms (P 1)")
    elif any(x.lower() not in ("1", "p1") for x in said):
        raise NotUnderstood(f"the space group {' / '.join(said)} is named without its operations", lengths, angles, "_symmetry_equiv_pos_as_xyz")
    return [IDENTITY]


def _compare_formula(items: dict[str, str], species, notes: list[str]) -> None:
    token = items.get("_chemical_formula_sum")
    if token is None or token in "?.":
        return
    try:
        stated = reduced(parse_formula(plain(token)))
    except BadInput:
        return
    if stated != reduced(species):
        notes.append(f"the sites make {reduced_formula(species)}, but _chemical_formula_sum says {plain(token)}")


def _safe_name(text: str) -> str:
    return re.sub(r"[^\w.+\-()]", "_", text, flags=re.ASCII)[:60] or "structure"


def block_text(name: str, formula: str, lengths, angles, volume: float, species, frac, operations=("x, y, z",), group=("P 1", 1), multiplicity=None) -> str:
    """One data block. `operations` as text; `multiplicity` (sites,) how many images each listed site has."""
    lines = ["# written by matterloop", f"data_{_safe_name(name)}", f"_symmetry_space_group_name_H-M   '{group[0]}'", f"_symmetry_Int_Tables_number   {group[1]}",
             f"_chemical_formula_sum   '{formula}'"]
    lines += [f"{tag}   {value:.10f}" for tag, value in zip((*LENGTHS, *ANGLES), (*lengths, *angles), strict=True)]
    lines += [f"_cell_volume   {volume:.8f}", "loop_", " _symmetry_equiv_pos_site_id", " _symmetry_equiv_pos_as_xyz"]
    lines += [f"  {i}  '{op}'" for i, op in enumerate(operations, 1)]
    lines += ["loop_", " _atom_site_type_symbol", " _atom_site_label", " _atom_site_symmetry_multiplicity", " _atom_site_fract_x", " _atom_site_fract_y",
              " _atom_site_fract_z", " _atom_site_occupancy"]
    multiplicity = [1] * len(species) if multiplicity is None else multiplicity
    for i, (z, (x, y, w), m) in enumerate(zip(species, frac, multiplicity, strict=True)):
        lines.append(f"  {symbol(z)}  {symbol(z)}{i}  {m}  {x:.12f}  {y:.12f}  {w:.12f}  1")
    return "\n".join(lines) + "\n"
