"""Crystallographic Information Files: a strict, fast reader and a writer.

Grammar: S. R. Hall, F. H. Allen, I. D. Brown, Acta Cryst. A47, 655 (1991) and the CIF 1.1 syntax of the IUCr (International Tables G, ch. 2.2).
The reader takes time linear in the text, expands explicit symmetry operations itself, and evaluates nothing. What it does not understand
(a space group without operations) it says, so that the caller can try another reader.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..base.elements import NUMBER, symbol
from ..base.errors import BadInput
from .formats_frame import Frame

TOKEN = re.compile(
    r"""^;[^\n]*(?:\n(?!;)[^\n]*)*\n;|\#[^\n]*|'[^'\n]*(?:'(?=\S)[^'\n]*)*'(?!\S)|"[^"\n]*(?:"(?=\S)[^"\n]*)*"(?!\S)|['"][^\n]*|\S+""", re.MULTILINE)
SITE_TOLERANCE = 0.1  # Å; images of a site nearer than this are one atom
MAX_OPERATIONS = 400
MAX_BLOCKS = 1000


class NotUnderstood(BadInput):
    """Valid CIF that needs more knowledge than this reader has; `lengths` and `angles` let the caller check the cell first."""

    def __init__(self, message: str, lengths=(), angles=(), field: str = ""):
        super().__init__(message, field=field)
        self.lengths, self.angles = lengths, angles


@dataclass
class Block:
    """A data block: single values and loop columns by lower-case tag (dots read as underscores), values still as written."""

    name: str
    items: dict[str, str]
    columns: dict[str, list[str]]
    text: str = ""

    def column(self, *tags: str) -> list[str] | None:
        for tag in tags:
            if tag in self.columns:
                return self.columns[tag]
            if tag in self.items:
                return [self.items[tag]]
        return None


# syntax


def blocks(text: str) -> list[Block]:
    """The data blocks of a CIF; BadInput for text that is not CIF."""
    tokens = [t for t in TOKEN.findall(text) if t[0] != "#"]
    if not tokens:
        raise BadInput("it holds no data block, only comments or blanks")
    found: list[Block] = []
    starts = [i for i, t in enumerate(tokens) if t[0] in "dD" and t[:5].lower() == "data_"]
    if not starts or starts[0] != 0:
        raise BadInput(f"a CIF starts with data_<name>, this one with {tokens[0][:40]!r}")
    if len(starts) > MAX_BLOCKS:
        raise BadInput(f"{len(starts)} data blocks, allowed are {MAX_BLOCKS}; split the file")
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        items, columns = _walk(tokens, start + 1, stop)
        found.append(Block(tokens[start][5:], items, columns))
    if len(found) == 1:
        found[0].text = text
    else:
        cuts = [m.start() for m in re.finditer(r"^data_\S", text, re.MULTILINE | re.IGNORECASE)]
        if len(cuts) == len(found):
            for block, a, b in zip(found, cuts, [*cuts[1:], len(text)], strict=True):
                block.text = text[a:b]
    return found


def _ends_loop(token: str) -> bool:
    return token[0] == "_" or (token[0] in "lLsSgG" and token[:5].lower() in ("loop_", "save_", "stop_", "globa"))


def _walk(tokens: list[str], i: int, stop: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    items: dict[str, str] = {}
    columns: dict[str, list[str]] = {}
    while i < stop:
        token = tokens[i]
        if token[0] == "_":
            tag = token.lower().replace(".", "_")
            if i + 1 >= stop or _ends_loop(tokens[i + 1]):
                raise BadInput("the tag has no value", field=token[:60])
            if tag in items or tag in columns:
                raise BadInput("the tag stands twice in one data block", field=token[:60])
            items[tag] = tokens[i + 1]
            i += 2
        elif token.lower() == "loop_":
            i += 1
            tags = []
            while i < stop and tokens[i][0] == "_":
                tags.append(tokens[i].lower().replace(".", "_"))
                i += 1
            begin = i
            while i < stop and not _ends_loop(tokens[i]):
                i += 1
            if not tags or begin == i:
                raise BadInput("a loop_ has no tags" if not tags else "a loop has no values", field=tags[0] if tags else "loop_")
            if (i - begin) % len(tags):
                raise BadInput(f"the loop holds {i - begin} values for {len(tags)} columns: its last row is cut off or a value is missing", field=tags[0])
            for k, tag in enumerate(tags):
                if tag in items or tag in columns:
                    raise BadInput("the tag stands twice in one data block", field=tag[:60])
                columns[tag] = tokens[begin + k : i : len(tags)]
        elif token[:5].lower() in ("save_", "globa", "stop_"):
            raise BadInput(f"{token[:20]!r} belongs to dictionaries, not to structures")
        else:
            raise BadInput(f"the value {token[:40]!r} follows no tag")
    return items, columns


def plain(token: str) -> str:
    """A value without its quotes or semicolons; BadInput when they do not close."""
    first = token[0]
    if first in "'\"":
        if len(token) < 2 or token[-1] != first:
            raise BadInput(f"the quote in {token[:40]!r} is not closed")
        return token[1:-1]
    if first == ";":
        if "\n" not in token:
            raise BadInput(f"the text field starting {token[:40]!r} is not closed")
        return token[1:-2].strip()
    return token


_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:\(\d+\))?")


def _real(token: str, field: str) -> float:
    text = plain(token)
    if not _NUMBER.fullmatch(text):
        raise BadInput(f"{text[:40]!r} is not a number" + (" (not given)" if text in ".?" else ""), field=field)
    value = float(text.split("(")[0])
    if not math.isfinite(value):
        raise BadInput(f"{text[:40]!r} is not finite", field=field)
    return value


def _reals(tokens: list[str], field: str) -> list[float]:
    try:
        values = list(map(float, tokens))  # the fast way; anything unusual goes the careful way
    except ValueError:
        return [_real(t, field) for t in tokens]
    if not all(map(math.isfinite, values)) or "_" in "".join(tokens):
        return [_real(t, field) for t in tokens]
    return values


# elements

_TYPE = re.compile(r"([A-Za-z]{1,2})(?:\d*[+-]\d*|\d*)")
_LABEL = re.compile(r"[A-Za-z]+")
_ISOTOPES = {"D": "deuterium", "T": "tritium"}


@lru_cache(maxsize=4096)
def element(text: str, is_label: bool = False) -> int:
    """Atomic number of an `_atom_site_type_symbol` ("Fe", "FE", "Fe3+", "O2-") or a label ("Fe1", "O2A", "OW1"); BadInput otherwise.

    A label in capitals that could mean two elements ("FE1": Fe or F) is refused.
    """
    match = (_LABEL.match if is_label else _TYPE.fullmatch)(text)
    letters = match[0 if is_label else 1] if match else ""
    pair, single = letters[:2].capitalize(), letters[:1].upper()
    isotope = {letters, letters if is_label else letters.capitalize()} & _ISOTOPES.keys()
    if isotope:
        raise BadInput(f"{text!r} is {_ISOTOPES[isotope.pop()]}; isotopes are not told apart here, write H if that is meant")
    if not is_label:
        if letters.capitalize() in NUMBER:
            return NUMBER[letters.capitalize()]
    elif letters[:2] in NUMBER:
        return NUMBER[letters[:2]]
    elif pair in NUMBER and single in NUMBER:
        raise BadInput(f"the label {text[:40]!r} may mean {pair} or {single}; give _atom_site_type_symbol")
    elif pair in NUMBER or (single in NUMBER and len(letters) <= 2):
        return NUMBER[pair if pair in NUMBER else single]
    raise BadInput(f"{text[:40]!r} names no element")


# symmetry operations

_TERM = re.compile(r"([+-]?)(?:(\d+(?:\.\d*)?|\.\d+)(?:/(\d+(?:\.\d*)?))?)?(\*?)([xyz]?)")


@lru_cache(maxsize=4096)
def operation(text: str) -> tuple[tuple[tuple[int, int, int], float], ...]:
    """Rows ((x, y, z coefficients), shift) of an operation such as "-y, x-y, z+1/3"; BadInput otherwise."""
    parts = text.lower().replace(" ", "").replace("\t", "").split(",")
    if len(parts) != 3 or len(text) > 120:
        raise BadInput(f"the symmetry operation {text[:40]!r} does not have three parts")
    rows = []
    for part in parts:
        row, shift, at = [0, 0, 0], 0.0, 0
        while at < len(part):
            match = _TERM.match(part, at)
            sign, number, below, times, axis = match.groups()
            if match.end() == at or not (number or axis) or (at and not sign) or (times and not (number and axis)) or (below and not float(below)):
                raise BadInput(f"the symmetry operation {text[:40]!r} cannot be read at {part[at:at + 10]!r}")
            value = (float(number) if number else 1.0) / (float(below) if below else 1.0) * (-1 if sign == "-" else 1)
            if axis:
                if value not in (1.0, -1.0):
                    raise BadInput(f"the symmetry operation {text[:40]!r} is not one of a crystal: coefficient {value:g}")
                row["xyz".index(axis)] += int(value)
            else:
                shift += value
            at = match.end()
        rows.append((tuple(row), shift))
    if abs(round(float(np.linalg.det([r for r, _ in rows])))) != 1:
        raise BadInput(f"the symmetry operation {text[:40]!r} is singular or changes the volume")
    return tuple(rows)


def _snapped(frac: np.ndarray, tokens: list[list[str]]) -> np.ndarray:
    """Thirds and sixths written with few digits ("0.3333", "0.667") put on their exact values, so that special positions stay special."""
    digits = np.array([[len(t.split("(")[0].partition(".")[2]) for t in column] for column in tokens]).T
    sixths = np.round(frac * 6) / 6
    near = (np.abs(frac - sixths) <= 0.51 * 10.0 ** -digits) & (digits >= 3) & (digits < 12)
    return np.where(near, sixths, frac)


def _expanded(frac, species, labels, operations, cell, most) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All images of every site: coincident images of one site count once, sites that coincide with earlier ones are refused or merged."""
    rotations = np.array([[r for r, _ in op] for op in operations], dtype=np.float64)
    shifts = np.array([[t for _, t in op] for op in operations])
    out, numbers, notes = np.zeros((0, 3)), [], []
    for x, z, label in zip(frac, species, labels, strict=True):
        images = (rotations @ x + shifts) % 1.0
        # greedy: an image stays when no earlier image is the same point
        delta = images[:, None] - images[None]
        delta -= np.round(delta)
        same = ((delta @ cell) ** 2).sum(-1) < SITE_TOLERANCE**2
        kept = images[~np.tril(same, -1).any(1)]
        if len(out):
            delta = kept[:, None] - out[None]
            delta -= np.round(delta)
            hit = ((delta @ cell) ** 2).sum(-1) < SITE_TOLERANCE**2
            if hit.any():
                other = numbers[int(hit.any(0).nonzero()[0][0])]
                if other != z or not hit.any(1).all():
                    raise BadInput(f"site {label!r} falls on a site of {symbol(other)}: disorder, or an operation is wrong", field="_atom_site_label")
                notes.append(f"site {label!r} is an image of an earlier site and was counted once")
                continue
        out = np.concatenate([out, kept])
        numbers += [z] * len(kept)
        if len(out) > most:
            raise BadInput(f"more than {most} atoms after the symmetry operations; raise Limits(atoms=...)", field="_atom_site_fract_x")
    return out, np.array(numbers, dtype=np.int64), notes


# meaning

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
    lengths = [_real(items[t], t) for t in LENGTHS]
    angles = [_real(items[t], t) for t in ANGLES]
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
    frac = [_reals(t, f) for t, f in zip(tokens, FRACT, strict=True)]
    labels = block.column("_atom_site_label")
    types = block.column("_atom_site_type_symbol")
    names = types or labels
    if names is None or len(names) != n:
        raise BadInput("neither type symbols nor labels are given for the sites", field="_atom_site_type_symbol")
    notes: list[str] = []
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
    points: object = list(zip(*frac, strict=True))
    if len(operations) > 1:
        points, species, more = _expanded(_snapped(np.array(frac).T, tokens), species, [plain(x) for x in (labels or names)], operations, np.array(cell), most_atoms)
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
        value = _real(token, "_atom_site_occupancy")
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
    number = block.column("_symmetry_int_tables_number", "_space_group_it_number", "_space_group_it_number")
    name = block.column("_symmetry_space_group_name_h-m", "_space_group_name_h-m_alt", "_symmetry_space_group_name_hall", "_space_group_name_hall")
    said = [plain(x[0]).replace(" ", "").replace("_", "") for x in (number, name) if x is not None and plain(x[0]) not in ("?", ".", "")]
    if not said:
        notes.append("no symmetry is given; the listed sites are taken as all atoms (P 1)")
    elif any(x.lower() not in ("1", "p1") for x in said):
        raise NotUnderstood(f"the space group {' / '.join(said)} is named without its operations", lengths, angles, "_symmetry_equiv_pos_as_xyz")
    return [IDENTITY]


def _compare_formula(items: dict[str, str], species, notes: list[str]) -> None:
    from .composition import parse_formula, reduced, reduced_formula

    token = items.get("_chemical_formula_sum")
    if token is None or token in "?.":
        return
    try:
        stated = reduced(parse_formula(plain(token)))
    except BadInput:
        return
    if stated != reduced(species):
        notes.append(f"the sites make {reduced_formula(species)}, but _chemical_formula_sum says {plain(token)}")


# writing


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
