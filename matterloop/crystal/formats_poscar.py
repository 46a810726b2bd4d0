"""VASP's POSCAR (version 5 and later, with a line of symbols): reader and writer. Format: the VASP manual, page POSCAR."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from ..base.elements import NUMBER, symbol
from ..base.errors import BadInput, Missing
from .formats_frame import Frame


def _floats(line: str, least: int, field: str) -> list[float]:
    values = []
    for word in line.split()[: max(least, 3)]:
        try:
            values.append(float(word))
        except ValueError:
            break
    if len(values) < least or not all(map(math.isfinite, values)):
        raise BadInput(f"{line.strip()[:60]!r} does not hold {least} finite number{'s' * (least > 1)}", field=field)
    return values


def _symbol_number(word: str) -> int:
    name = re.split(r"[_/.]", word)[0]  # Li_sv, Fe/hash
    if name in ("D", "T"):
        raise BadInput(f"isotopes are not told apart here: write H for {name}", field="line 6 (symbols)")
    if name not in NUMBER:
        raise BadInput(str(Missing("element", name, NUMBER)), field="line 6 (symbols)")
    return NUMBER[name]


def parse_poscar(text: str, most_atoms: int = 500) -> Frame:
    """The structure of a POSCAR or CONTCAR; BadInput naming the line. Velocities and selective dynamics are not kept, which is noted."""
    lines = text.split("\n")
    if len(lines) < 8:
        raise BadInput(f"{len(lines)} lines, a POSCAR has at least 8")
    scale = _floats(lines[1], 1, "line 2 (scale)")
    given = lines[1].split()
    if len(given) >= 3 and len(scale) == 3:
        factors = scale
        if min(factors) <= 0:
            raise BadInput("three scale factors must all be positive", field="line 2 (scale)")
    else:
        factors = [scale[0]] * 3
    cell = np.array([_floats(lines[i], 3, f"line {i + 1} (lattice)") for i in (2, 3, 4)])
    if factors[0] == 0:
        raise BadInput("the scale factor is zero", field="line 2 (scale)")
    if factors[0] < 0:  # the wanted volume
        volume = abs(float(np.linalg.det(cell)))
        if volume == 0:
            raise BadInput("the cell has no volume", field="line 3 (lattice)")
        factors = [(-factors[0] / volume) ** (1 / 3)] * 3
    cell = cell * factors  # a column per Cartesian direction
    symbols = lines[5].split()
    if symbols and symbols[0].isdigit():
        raise BadInput("there is no line of element symbols (VASP 4); add one above the counts", field="line 6 (symbols)")
    numbers = [_symbol_number(w) for w in symbols]
    words = lines[6].split()
    if len(words) < len(numbers) or not numbers or not all(w.isdigit() and len(w) < 8 and w.isascii() for w in words[: len(numbers)]):
        raise BadInput(f"{lines[6].strip()[:60]!r} does not give one count for each of {len(numbers)} symbols", field="line 7 (counts)")
    counts = [int(w) for w in words[: len(numbers)]]
    n = sum(counts)
    if not 0 < n <= most_atoms:
        raise BadInput(f"{n} atoms, allowed are 1 to {most_atoms}; raise Limits(atoms=...)", field="line 7 (counts)")
    notes, at = [], 7
    if lines[at].strip()[:1] in ("s", "S"):
        notes.append("selective dynamics are not kept")
        at += 1
    mode = lines[at].strip()[:1].lower() if at < len(lines) else ""
    if mode not in ("d", "c", "k"):
        raise BadInput(f"{lines[at].strip()[:40] if at < len(lines) else ''!r} is neither Direct nor Cartesian", field=f"line {at + 1} (mode)")
    rows = lines[at + 1 : at + 1 + n]
    if len(rows) < n:
        raise BadInput(f"{len(rows)} coordinate lines for {n} atoms: the file is cut off", field="coordinates")
    points = np.array([_floats(row, 3, f"line {at + 2 + i}") for i, row in enumerate(rows)])
    if mode != "d":
        with np.errstate(all="ignore"):
            try:
                points = (points * factors) @ np.linalg.inv(cell)
            except np.linalg.LinAlgError:
                raise BadInput("the cell has no volume", field="line 3 (lattice)") from None
    if any(line.strip() for line in lines[at + 1 + n :]):
        notes.append("what follows the coordinates (velocities, predictor) is not kept")
    species = np.repeat(numbers, counts)
    return Frame(cell, species, points, notes=notes, name=lines[0].strip()[:80])


def poscar_text(comment: str, cell: np.ndarray, species: Sequence[int], frac: np.ndarray) -> str:
    """POSCAR with direct coordinates; atoms keep their order, runs of equal species share a symbol."""
    species = np.asarray(species)
    starts = np.nonzero(np.r_[True, species[1:] != species[:-1]])[0]
    counts = np.diff([*starts, len(species)])
    lines = [" ".join(comment.split())[:80] or "structure", "1.0"]
    lines += ["  ".join(f"{x: .16f}" for x in row) for row in cell]
    lines += [" ".join(symbol(int(species[i])) for i in starts), " ".join(str(c) for c in counts), "Direct"]
    lines += ["  ".join(f"{x: .16f}" for x in row) for row in frac]
    return "\n".join(lines) + "\n"
