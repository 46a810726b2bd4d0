"""Make matterloop/shipped/wyckoff.npz: the Wyckoff positions of the 230 space groups and their relabellings under the normaliser.

The facts are those of International Tables for Crystallography, volume A (standard settings: unique axis b and cell choice 1,
hexagonal axes, origin choice 2). Lists of coordinates are read from pyxtal's table, operations, site-symmetry symbols and
Hermann-Mauguin symbols from moyopy; every position is checked against both. Relabellings are worked out here: a motion
(M, t) normalises the group G with point group P when M maps the lattice on itself, M P M^-1 = P, and for every (R, v) of G
M v + t - M R M^-1 t is the translation of an operation of G with rotation M R M^-1. Letters of a position and its image change places.

Run: python recipes/build_wyckoff_table.py   (about two minutes; needs pyxtal and moyopy)
"""

from __future__ import annotations

import ast
import csv
import hashlib
import itertools
import json
import re
from functools import cache
from pathlib import Path

import moyopy
import numpy as np

from matterloop.crystal.space_groups import ENANTIOMORPHS, GRID, LETTERS
from matterloop.crystal.wyckoff import pivot_solver

ROOT = Path(__file__).parents[1] / "matterloop" / "shipped"
TERM = re.compile(r"([+-]?)(\d+(?:/\d+)?)?\*?([xyz])?")


def parse_coordinate(text: str) -> tuple[list[int], int]:
    """'-x+3/4' -> ([-1, 0, 0], 18): coefficients of x, y, z and the constant in units of 1/24."""
    row, constant = [0, 0, 0], 0
    for sign, number, variable in TERM.findall(text.replace(" ", "")):
        if not number and not variable:
            continue
        top, _, bottom = (number or "1").partition("/")
        value = (-1 if sign == "-" else 1) * int(top)
        if variable:
            if bottom:
                raise ValueError(f"a fractional coefficient in {text!r}")
            row["xyz".index(variable)] += value
        else:
            constant += value * GRID // int(bottom or 1)
    return row, constant % GRID


def parse_point(text: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [parse_coordinate(part) for part in text.split(",")]
    return np.array([r for r, _ in rows]), np.array([c for _, c in rows])


def read_positions() -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """{group: [(linear (m, 3, 3), shift (m, 3) in 24ths) of a, b, c, ...]} from pyxtal's table."""
    import pyxtal

    csv.field_size_limit(10**9)
    found = {}
    with open(Path(pyxtal.__file__).parent / "database" / "wyckoff_list.csv", newline="") as file:
        for row in list(csv.reader(file))[1:]:
            number = int(row[0])
            if number == 0:
                continue
            listed = []
            for texts in reversed(ast.literal_eval(row[1])):
                maps = [parse_point(t) for t in texts]
                listed.append((np.array([m for m, _ in maps]), np.array([s for _, s in maps])))
            found[number] = listed
    return found


def operations(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (n, 3, 3) and translations (n, 3) in 24ths of the group in the standard setting."""
    got = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
    shift = np.array(got.translations) * GRID
    assert np.allclose(shift, shift.round(), atol=1e-6)
    return np.array(got.rotations), shift.round().astype(int) % GRID


def locate(point: np.ndarray, positions) -> int:
    """Index of the position of lowest freedom that the point (3,) in fractions lies on."""
    found = []
    for index, (linear, shift) in enumerate(positions):
        freedom = int(linear[0].any(0).sum())
        if not found or freedom < found[0]:
            offset = point - shift / GRID
            gap = np.einsum("mij,mj->mi", _leftover(linear.tobytes(), linear.dtype.str), offset)
            if (np.abs(gap - gap.round()).max(-1) < 1e-6).any():
                found = [freedom, index]
    return found[1]


@cache
def _leftover(data: bytes, kind: str) -> np.ndarray:
    """(m, 3, 3) matrices K with K @ offset = linear @ parameters - offset for the parameters that solve the pivot rows."""
    maps = np.frombuffer(data, kind).reshape(-1, 3, 3)
    return np.array([m @ pivot_solver(m) for m in maps]) - np.eye(3)


def candidates(number: int) -> np.ndarray:
    """Integer matrices (n, 3, 3) of determinant +-1 that generate the linear parts of every normaliser of the crystal system."""
    if number <= 2:
        grid = np.array(list(itertools.product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    elif number <= 15:
        planes = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=4)))
        grid = np.zeros((2 * len(planes), 3, 3), int)
        for half, sign in enumerate((1, -1)):
            rows = slice(half * len(planes), (half + 1) * len(planes))
            grid[rows, 1, 1] = sign
            grid[rows, 0, 0], grid[rows, 0, 2], grid[rows, 2, 0], grid[rows, 2, 2] = planes.T
    else:
        grid = np.array(list(itertools.product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    determinant = np.rint(np.linalg.det(grid)).astype(int)
    return grid[np.abs(determinant) == 1]


def motions(rotations, shifts, to_rotations, to_shifts, tried) -> list[tuple[np.ndarray, np.ndarray]]:
    """Motions (M, t) that carry one group into the other: for each M one t, and for M = 1 every t of the grid."""
    key = lambda r: tuple(r.reshape(-1))
    target: dict[tuple, list[np.ndarray]] = {}
    for r, v in zip(to_rotations, to_shifts):
        target.setdefault(key(r), []).append(v)
    centring = np.array(target[key(np.eye(3, dtype=int))])
    lattice = {tuple(c) for c in centring}
    first = {}
    for r, v in zip(rotations, shifts):
        first.setdefault(key(r), (r, v))
    grid = np.stack(np.meshgrid(*[np.arange(GRID)] * 3, indexing="ij"), -1).reshape(-1, 3)
    in_lattice = np.zeros((GRID,) * 3, bool)
    in_lattice[tuple(centring.T)] = True
    found = []
    for m in tried:
        inverse = np.rint(np.linalg.inv(m)).astype(int)
        if any(tuple((m @ c) % GRID) not in lattice for c in centring):
            continue
        images = [(m @ r @ inverse, (m @ v) % GRID) for r, v in first.values()]
        if any(key(r) not in target for r, _ in images):
            continue
        good = grid
        for r, v in images:
            gap = (v + good - good @ r.T - target[key(r)][0]) % GRID
            good = good[in_lattice[tuple(gap.T)]]
            if not len(good):
                break
        if len(good):
            found += [(m, t) for t in (good if (m == np.eye(3)).all() else good[:1])]
    return found


def permutation(motion, from_positions, to_positions, rng) -> tuple[int, ...]:
    """Letter index that each letter index becomes under the motion."""
    m, t = motion
    out = []
    for linear, shift in from_positions:
        point = linear[0] @ rng.uniform(0.05, 0.45, 3) + shift[0] / GRID
        out.append(locate((m @ point + t / GRID) % 1, to_positions))
    return tuple(out)


def generated(generators: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """All products of permutations."""
    size = len(next(iter(generators)))
    identity = tuple(range(size))
    group, border = {identity}, [identity]
    while border:
        border = list({tuple(g[i] for i in h) for h in border for g in generators} - group)
        group.update(border)
    return sorted(group)


def generic_cell(number: int, rng) -> np.ndarray:
    """A cell (3, 3) of the group's lattice with no accidental symmetry."""
    a, b, c = 7.0 + rng.uniform(0, 1), 9.1 + rng.uniform(0, 1), 11.3 + rng.uniform(0, 1)
    angles = [90.0, 90.0, 90.0]
    if number <= 2:
        angles = [81.0, 97.0, 104.0]
    elif number <= 15:
        angles[1] = 101.7
    elif number >= 195:
        b = c = a
    elif number >= 75:
        b = a
        if 143 <= number:
            angles[2] = 120.0
    al, be, ga = np.radians(angles)
    cx = np.cos(be)
    cy = (np.cos(al) - np.cos(be) * np.cos(ga)) / np.sin(ga)
    return np.array([[a, 0, 0], [b * np.cos(ga), b * np.sin(ga), 0], [c * cx, c * cy, c * np.sqrt(1 - cx**2 - cy**2)]])


def symbols_of(number: int, positions, rng) -> list[str]:
    """Site-symmetry symbol of every position, from moyopy, whose letters must agree with ours."""
    found: dict[int, str] = {}
    general = positions[-1]
    for index in range(len(positions)):
        for _ in range(20):
            if index in found:
                break
            parts, numbers = [], []
            for z, (linear, shift) in ((1, positions[index]), (2, general), (3, general)):
                xyz = rng.uniform(0, 1, 3)
                parts.append(linear @ xyz + shift / GRID)
                numbers += [z] * len(linear)
            frac = np.concatenate(parts) % 1
            data = moyopy.MoyoDataset(moyopy.Cell(generic_cell(number, rng).tolist(), frac.tolist(), numbers), symprec=1e-6,
                                      setting=moyopy.Setting.standard())
            if data.number != number:
                continue
            inverse = np.linalg.inv(np.array(data.std_linear))
            standard = inverse @ (frac[0] - np.array(data.std_origin_shift))
            here = locate(standard % 1, positions)
            assert LETTERS[here] == data.wyckoffs[0], (number, LETTERS[here], data.wyckoffs[0])
            found[here] = data.site_symmetry_symbols[0]
            for _, images in data.normalizer_wyckoff_positions().coset_representatives:  # equivalent choices that moyopy never picks
                for image in images:
                    linear, shift = parse_point(image.coordinates)
                    there = locate(linear @ np.array([0.137, 0.291, 0.411]) + shift / GRID, positions)
                    assert LETTERS[there] == image.letter and len(positions[there][0]) == image.multiplicity, (number, image.letter)
                    assert found.setdefault(there, image.site_symmetry) == image.site_symmetry, (number, image.letter)
    return [found.get(i, "") for i in range(len(positions))]


def main() -> None:
    rng = np.random.default_rng(0)
    table = read_positions()
    rows: dict[str, list] = {k: [] for k in ("group", "multiplicity", "site_symmetry", "linear", "shift")}
    relabel, relabel_group, mirror = [], [], []
    for number in range(1, 231):
        positions, (rotations, shifts) = table[number], operations(number)
        general = positions[-1]
        ours = {(tuple(r.reshape(-1)), tuple(s)) for r, s in zip(*general)}
        theirs = {(tuple(r.reshape(-1)), tuple(s)) for r, s in zip(rotations, shifts)}
        assert ours == theirs, f"group {number}: the general position is not moyopy's list of operations"
        for linear, shift in positions:
            made = {(tuple((r @ linear[0]).reshape(-1)), tuple((r @ shift[0] + v) % GRID)) for r, v in zip(rotations, shifts)}
            assert len(rotations) % len(linear) == 0
            point = rng.uniform(0.05, 0.45, 3)
            orbit = {tuple(np.round(np.array(m).reshape(3, 3) @ point + np.array(s) / GRID, 9) % 1) for m, s in made}
            listed = {tuple(np.round(m @ point + s / GRID, 9) % 1) for m, s in zip(linear, shift)}
            assert len(orbit) == len(listed) == len(linear) and np.allclose(sorted(orbit), sorted(listed), atol=1e-7), number
        names = symbols_of(number, positions, rng)
        assert all(names), (number, names)
        tried = candidates(number)
        found = {permutation(m, positions, positions, rng) for m in motions(rotations, shifts, rotations, shifts, tried)}
        group = generated(found)
        if number in ENANTIOMORPHS:
            other = ENANTIOMORPHS[number]
            flips = motions(rotations, shifts, *operations(other), tried)
            mirror.append([number, other, *permutation(flips[0], positions, table[other], rng)])
        print(number, len(positions), "positions,", len(group), "relabellings", flush=True)
        for index, (linear, shift) in enumerate(positions):
            rows["group"].append(number)
            rows["multiplicity"].append(len(linear))
            rows["site_symmetry"].append(names[index])
            rows["linear"].append(linear)
            rows["shift"].append(shift)
        relabel += [list(p) + [-1] * (27 - len(p)) for p in group]
        relabel_group += [number] * len(group)
    assert len(rows["group"]) == 1731
    entries = [moyopy.HallSymbolEntry(h) for h in range(1, 531)]
    types = [moyopy.SpaceGroupType(n) for n in range(1, 231)]
    arrays = {
        "group": np.array(rows["group"], np.uint8),
        "multiplicity": np.array(rows["multiplicity"], np.uint8),
        "site_symmetry": np.array(rows["site_symmetry"], "S8"),
        "linear": np.concatenate(rows["linear"]).astype(np.int8),
        "shift": np.concatenate(rows["shift"]).astype(np.int8),
        "relabel": np.array(relabel, np.int8),
        "relabel_group": np.array(relabel_group, np.uint8),
        "mirror": np.array([m + [-1] * (29 - len(m)) for m in mirror], np.int16),
        "symbol": np.array([t.hm_short for t in types], "S16"),
        "symbol_full": np.array([t.hm_full for t in types], "S24"),
        "point_group": np.array([t.geometric_crystal_class for t in types], "S8"),
        "setting_symbol": np.array([e.hm_short for e in entries], "S24"),
        "setting_group": np.array([e.number for e in entries], np.uint8),
    }
    path = ROOT / "wyckoff.npz"
    np.savez_compressed(path, **arrays)
    card = {
        "name": "wyckoff",
        "file": path.name,
        "what": "the 1731 Wyckoff positions of the 230 space groups (letter order, multiplicity, site symmetry, all coordinate maps in 24ths), the "
                "permutations of letters under the affine normaliser, the letter maps of the 11 enantiomorphic pairs, Hermann-Mauguin symbols",
        "setting": "International Tables A standard: unique axis b, cell choice 1, hexagonal axes, origin choice 2",
        "made_by": "recipes/build_wyckoff_table.py",
        "credit": "facts of International Tables for Crystallography A; coordinate lists as listed by pyxtal (MIT, Q. Zhu and others), "
                  "operations and symbols as listed by moyopy (MIT or Apache-2.0, K. Shinohara)",
        "made_with": {"moyopy": moyopy.__version__},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (ROOT / "wyckoff.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
