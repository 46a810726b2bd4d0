"""Sites of a CIF: element names, symmetry operations read without evaluating anything, and the atoms that they make."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from ..base.elements import NUMBER, symbol
from ..base.errors import BadInput

SITE_TOLERANCE = 0.1  # Å; images of a site nearer than this are one atom
MAX_OPERATIONS = 400

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


def snapped(frac: np.ndarray, tokens: list[list[str]]) -> np.ndarray:
    """Thirds and sixths written with few digits ("0.3333", "0.667") put on their exact values, so that special positions stay special."""
    digits = np.array([[len(t.split("(")[0].partition(".")[2]) for t in column] for column in tokens]).T
    sixths = np.round(frac * 6) / 6
    near = (np.abs(frac - sixths) <= 0.51 * 10.0 ** -digits) & (digits >= 3) & (digits < 12)
    return np.where(near, sixths, frac)


def expanded(frac, species, labels, operations, cell, most) -> tuple[np.ndarray, np.ndarray, list[str]]:
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
