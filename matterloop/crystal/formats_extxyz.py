"""Extended XYZ: many frames with cell, per-atom columns and per-structure values; reader and writer.

Format: the specification of the libAtoms project (github.com/libAtoms/extxyz). Units as ASE writes them: eV, Å, eV/Å, stress eV/Å^3 positive
under tension; `virial` (eV) is read as stress = -virial / volume. Fields keep their names. Fields that are not standard ones carry their
Quantity in the key `quantities` ("name:rank:parity:extensive:unit ..."), so that files written here come back whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from ..base.elements import NUMBER, symbol
from ..base.errors import BadInput, Missing
from ..base.quantities import STANDARD, Quantity
from .formats_frame import Frame

_PAIR = re.compile(r"""([^\s=]+)\s*=\s*("(?:[^"\\]|\\.)*"|\{[^}]*\}|\[[^\]]*\]|[^\s"]+)|(\S+)""")
_UNSAFE = re.compile(r"""[^ -~]|["\\=]""")
_CONVERT = {
    "R": lambda column: list(map(float, column)), "I": lambda column: list(map(int, column)), "S": list,
    "L": lambda column: [word in ("T", "True", "true", "1") for word in column]}
ALIASES = {"force": "forces", "magmoms": "magmom", "charges": "charge", "free_energy": ""}  # "" = known and left out
MAX_COLUMNS = 100


def _comment(line: str) -> dict[str, str]:
    if len(line) > 100_000:
        raise BadInput(f"the comment line has {len(line)} characters, allowed are 100000")
    found = {}
    for key, value, _ in _PAIR.findall(line):
        if key:
            found[key] = value[1:-1] if value[0] in "\"{[" else value
    return found


def _columns(spec: str) -> list[tuple[str, str, int]]:
    parts = spec.split(":")
    if len(parts) % 3 or not all(w.isdigit() and 0 < int(w) <= MAX_COLUMNS for w in parts[2::3]) or not all(k in _CONVERT for k in parts[1::3]):
        raise BadInput(f"{spec[:80]!r} is not name:kind:count triples with kinds R, I, L, S", field="Properties")
    columns = list(zip(parts[0::3], parts[1::3], map(int, parts[2::3]), strict=True))
    names = [n for n, _, _ in columns]
    if len(set(names)) != len(names) or sum(w for *_, w in columns) > MAX_COLUMNS:
        raise BadInput(f"a name stands twice or there are more than {MAX_COLUMNS} columns", field="Properties")
    return columns


def _numbers(text: str, count: int, field: str) -> np.ndarray:
    try:
        values = np.array([float(w) for w in text.replace(",", " ").replace("[", " ").replace("]", " ").split()])
    except ValueError:
        raise BadInput(f"{text[:60]!r} is not {count} numbers", field=field) from None
    if len(values) != count or not np.isfinite(values).all():
        raise BadInput(f"{text[:60]!r} is not {count} finite numbers", field=field)
    return values


def _truths(text: str) -> tuple[bool, ...]:
    words = text.replace(",", " ").split()
    if len(words) != 3 or any(w.lower() not in ("t", "f", "true", "false", "1", "0") for w in words):
        raise BadInput(f"{text[:40]!r} is not three of T and F", field="pbc")
    return tuple(w.lower() in ("t", "true", "1") for w in words)


def _species(words: np.ndarray) -> np.ndarray:
    words = words.tolist()
    numbers = {}
    for name in dict.fromkeys(words):
        if name in ("D", "T"):
            raise BadInput(f"isotopes are not told apart here: write H for {name}", field="species")
        if name != "X" and name not in NUMBER:
            raise BadInput(str(Missing("element", name, NUMBER)), field="species")
        numbers[name] = NUMBER.get(name, 0)
    return np.array([numbers[w] for w in words], dtype=np.int64)


def frames(text: str, most_atoms: int = 500) -> Iterator[tuple[int, Frame | BadInput]]:
    """(number, frame or error) one by one; an error inside a frame skips that frame, a wrong atom count ends the file."""
    lines = text.split("\n")
    at, number = 0, 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        head = lines[at].strip()
        if not (head.isdigit() and head.isascii() and len(head) < 12):
            yield number, BadInput(f"line {at + 1} should be a number of atoms, got {head[:40]!r}; nothing behind it can be read")
            return
        n = int(head)
        if at + 2 + n > len(lines):
            yield number, BadInput(f"the frame at line {at + 1} announces {n} atoms, but only {max(len(lines) - at - 2, 0)} lines follow: cut off")
            return
        try:
            if not 0 < n <= most_atoms:
                raise BadInput(f"{n} atoms, allowed are 1 to {most_atoms}; raise Limits(atoms=...)")
            yield number, _frame(lines[at + 1], lines[at + 2 : at + 2 + n], at + 3)
        except BadInput as error:
            yield number, error
        at += 2 + n
        number += 1


def _frame(comment: str, rows: list[str], first_line: int) -> Frame:
    keys = _comment(comment)
    columns = _columns(keys.pop("Properties", "species:S:1:pos:R:3"))
    width = sum(w for *_, w in columns)
    words = [row.split() for row in rows]
    for i, row in enumerate(words):
        if len(row) != width:
            raise BadInput(f"line {first_line + i} has {len(row)} columns, {width} announced", field="Properties")
    table, data, begin = list(zip(*words, strict=True)), {}, 0  # by column
    for name, kind, count in columns:
        part = table[begin : begin + count]
        begin += count
        try:
            data[name] = np.array([_CONVERT[kind](column) for column in part]).T if count > 1 else np.array(_CONVERT[kind](part[0]))
        except (ValueError, OverflowError):
            raise BadInput("a value is not a number", field=name) from None
    cart = data.pop("pos", data.pop("positions", None))
    if cart is None or cart.shape != (len(rows), 3) or cart.dtype != np.float64:
        raise BadInput("there is no column pos:R:3", field="Properties")
    if "species" in data:
        species = _species(data.pop("species"))
        data.pop("Z", None), data.pop("numbers", None)
    elif (z := data.pop("Z", data.pop("numbers", None))) is not None and z.dtype == np.int64:
        species = z
    else:
        raise BadInput("there is no column species:S:1 or Z:I:1", field="Properties")
    return _filled(keys, cart, species, data)


def _filled(keys: dict[str, str], cart: np.ndarray, species: np.ndarray, data: dict[str, np.ndarray]) -> Frame:
    lattice = keys.pop("Lattice", None)
    cell = np.eye(3) if lattice is None else _numbers(lattice, 9, "Lattice").reshape(3, 3)
    periodic = _truths(keys.pop("pbc")) if "pbc" in keys else (lattice is not None,) * 3
    if lattice is None and any(periodic):
        raise BadInput("it is periodic (pbc) but has no Lattice", field="Lattice")
    if not np.isfinite(cart).all():
        raise BadInput("a coordinate is not finite", field="pos")
    with np.errstate(all="ignore"):
        volume = abs(float(np.linalg.det(cell)))
        if not volume > 1e-12 * float(np.prod(np.linalg.norm(cell, axis=1))):
            raise BadInput("the cell has no volume", field="Lattice")
        frame = Frame(cell, species, cart @ np.linalg.inv(cell), periodic)
    for item in keys.pop("quantities", "").split():
        parts = item.split(":", 4)
        if len(parts) != 5 or parts[1] not in "012" or parts[2] not in ("1", "-1") or parts[3] not in "TF":
            raise BadInput(f"{item[:40]!r} is not name:rank:parity:extensive:unit", field="quantities")
        frame.quantities[parts[0]] = Quantity(int(parts[1]), int(parts[2]), parts[3] == "T", parts[4].replace("_", " ").strip())
    for name, value in data.items():
        name = ALIASES.get(name, name)
        if name and value.dtype.kind in "fib":
            rank = (frame.quantities.get(name) or STANDARD.get(name) or Quantity()).rank
            frame.site[name] = value.reshape(len(value), *value.shape[1:][: max(value.ndim - 2, 0)], 3, 3) if rank == 2 and value.shape[-1] == 9 else value
    if "virial" in keys:
        frame.whole["stress"] = -_numbers(keys.pop("virial"), 9, "virial").reshape(3, 3) / volume
        keys.pop("stress", None)
        frame.notes.append("stress was computed as -virial / volume")
    for name, text in keys.items():
        name = ALIASES.get(name, name)
        try:
            value = np.array([float(w) for w in text.replace(",", " ").split()])
        except ValueError:
            continue  # words such as config_type=... are not fields
        if name and len(value):
            rank = (frame.quantities.get(name) or STANDARD.get(name) or Quantity()).rank
            if name == "stress" and len(value) == 6:
                value = value[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
            frame.whole[name] = value.reshape(3, 3) if rank == 2 and len(value) == 9 else value if len(value) > 1 else value[0]
    frame.name = keys.get("name", "")
    return frame


def frame_text(cell: np.ndarray, species: np.ndarray, cart: np.ndarray, periodic, site: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray],
               quantities: Mapping[str, Quantity], name: str = "") -> str:
    """One frame; fields that are not finite throughout (NaN = not measured) are left out of it."""
    show = lambda values: " ".join(repr(float(x)) for x in np.ravel(values))
    spec, columns = "species:S:1:pos:R:3", [np.array([symbol(int(z)) for z in species])[:, None], cart]
    for key, value in site.items():
        flat = value.reshape(len(value), -1)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            continue
        spec += f":{key}:{'R' if value.dtype.kind == 'f' else 'L' if value.dtype.kind == 'b' else 'I'}:{flat.shape[1]}"
        columns.append(flat)
    head = f'Lattice="{show(cell)}" Properties={spec} pbc="{" ".join("FT"[bool(p)] for p in periodic)}"'
    for key, value in whole.items():
        if np.isfinite(value).all():
            head += f' {key}="{show(value)}"' if np.ndim(value) else f" {key}={show(value)}"
    extra = [f"{k}:{q.rank}:{q.parity}:{'T' if q.extensive else 'F'}:{q.unit.replace(' ', '_')}" for k, q in quantities.items() if k in site or k in whole]
    if extra:
        head += f' quantities="{" ".join(extra)}"'
    if name:
        clean = _UNSAFE.sub("_", name)
        head += f' name="{clean}"'
    written = [[repr(float(x)) if c.dtype.kind == "f" else "FT"[bool(x)] if c.dtype.kind == "b" else str(x) for c in columns for x in c[i]] for i in range(len(species))]
    return f"{len(species)}\n{head}\n" + "\n".join(" ".join(row) for row in written) + "\n"
