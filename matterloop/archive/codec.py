"""Crystals as compact bytes and back, to the bit: the form in which the archive keeps structures.

One crystal is one blob, little-endian throughout, version 1:

    4s  magic b"MLXC"      H version        B periodic bits (1 a, 2 b, 4 c)     B number of fields     I atoms
    cell 9 f8 (rows, Å)    frac 3*atoms f8  species atoms u1
    each field, by name:   B kind (0 site, 1 whole)   B dtype   B axes after the first   B length of name   name (UTF-8)   axes * I
                           B own quantity (0, 1) and, if 1: B rank, b parity, B extensive, B length of unit, unit (UTF-8)
                           the numbers, in C order
    I   CRC-32 of everything before it

Equal crystals with equal fields give equal bytes (fields are sorted by name), so the SHA-256 of a blob is the name of its
content. Nothing in a blob is executed when it is read.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.quantities import Quantity
from ..crystal.segments import offsets_of
from ..crystal.state import Crystals

MAGIC, VERSION = b"MLXC", 1
_HEAD = struct.Struct("<4sHBBI")
_FIELD = struct.Struct("<BBBB")
_QUANTITY = struct.Struct("<BbBB")
_CRC = struct.Struct("<I")
_DTYPES = tuple(np.dtype(x) for x in ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "?"))
_CODE = {d: i for i, d in enumerate(_DTYPES)}
_AXES = 8


def content_key(blob: bytes) -> str:
    """SHA-256 of the bytes of one crystal, 64 hexadecimal digits."""
    return hashlib.sha256(blob).hexdigest()


def crystal_keys(crystals: Crystals) -> list[str]:
    """The archive's name of each crystal of the batch: equal for equal numbers and fields, whatever else is in the batch."""
    return [content_key(b) for b in encode(crystals)]


def encode(crystals: Crystals) -> list[bytes]:
    """One blob for each crystal of the batch.

    frac and cell are kept in float64, site and whole fields in their own dtype, each with its `Quantity` where it is not a
    standard one. BadInput for numbers that are no structure (see `Crystals.checked`) and for field dtypes other than
    float16 to float64, int8 to int64, uint8 and bool.
    """
    crystals.checked()
    array = lambda x: np.ascontiguousarray(x.detach().cpu().numpy())
    frac, cell = (array(x).astype("<f8", copy=False) for x in (crystals.frac, crystals.cell))
    species, bits = array(crystals.species).astype("u1"), (array(crystals.periodic) @ np.array([1, 2, 4])).tolist()
    fields = [_field(crystals, name, array) for name in sorted([*crystals.site, *crystals.whole])]
    if len(fields) > 255:
        raise BadInput(f"{len(fields)} fields, at most 255 can be kept", "Crystals")
    ends, out = crystals.offsets.tolist(), []
    for i in range(len(crystals)):
        a, b = ends[i], ends[i + 1]
        parts = [_HEAD.pack(MAGIC, VERSION, bits[i], len(fields), b - a), cell[i].tobytes(), frac[a:b].tobytes(), species[a:b].tobytes()]
        for is_site, head, values in fields:
            parts += (head, (values[a:b] if is_site else values[i : i + 1]).tobytes())
        body = b"".join(parts)
        out.append(body + _CRC.pack(zlib.crc32(body)))
    return out


def _field(crystals: Crystals, name: str, array) -> tuple[bool, bytes, np.ndarray]:
    is_site = name in crystals.site
    tensor = crystals.get(name)
    if tensor.dtype == torch.bfloat16 or (dtype := np.dtype(array(tensor).dtype).newbyteorder("<")) not in _CODE:
        raise BadInput(f"the field {name!r} has dtype {tensor.dtype}, which cannot be kept; convert it to a float, int or bool tensor", "Crystals")
    values = array(tensor).astype(dtype, copy=False)
    label = name.encode()
    if not 1 <= len(label) <= 255 or values.ndim - 1 > _AXES:
        raise BadInput(f"the field {name!r} has a name of {len(label)} bytes and {values.ndim} axes; allowed are 1 to 255 and {_AXES + 1}", "Crystals")
    head = _FIELD.pack(0 if is_site else 1, _CODE[dtype], values.ndim - 1, len(label)) + label + struct.pack(f"<{values.ndim - 1}I", *values.shape[1:])
    quantity = crystals.quantities.get(name)
    if quantity is None:
        return is_site, head + b"\0", values
    unit = quantity.unit.encode()
    if len(unit) > 255:
        raise BadInput(f"the unit of {name!r} has {len(unit)} bytes, at most 255 can be kept", "Crystals")
    return is_site, head + b"\1" + _QUANTITY.pack(quantity.rank, quantity.parity, quantity.extensive, len(unit)) + unit, values


def decode(blobs: Sequence[bytes], *, bare: bool = False) -> Crystals:
    """The batch of the crystals in `blobs`, in their order; `bare` leaves site and whole fields out.

    BadInput naming the blob if one is damaged, of another version, or carries other fields than the first.
    """
    if not blobs:
        raise BadInput("no crystal to read", "decode")
    read = [_Reader(blob, i).crystal(bare) for i, blob in enumerate(blobs)]
    shapes = [[(k, n, d, s, q) for k, n, d, s, q, _ in r[4]] for r in read]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            names = [sorted(f[1] for f in s) for s in (shape, shapes[0])]
            why = f"it carries the fields {names[0]}, the first carries {names[1]}" if names[0] != names[1] else "a field differs in dtype, shape or quantity"
            raise BadInput(f"{why}; read them in separate batches or with bare=True", f"crystal {i}")
    tensor = lambda parts: torch.from_numpy(np.concatenate(parts))
    values = {f[1]: tensor([r[4][j][5] for r in read]) for j, f in enumerate(shapes[0])}
    part = lambda kind: {f[1]: values[f[1]] for f in shapes[0] if f[0] == kind}
    return Crystals(
        tensor([r[2] for r in read]), tensor([r[3] for r in read]).long(), tensor([r[1] for r in read]),
        offsets_of(torch.tensor([len(r[3]) for r in read])), torch.tensor([[bool(r[0] & bit) for bit in (1, 2, 4)] for r in read]),
        part(0), part(1), {f[1]: f[4] for f in shapes[0] if f[4] is not None}).checked()


class _Reader:
    """Walks through one blob and refuses to step beyond its end."""

    def __init__(self, blob: bytes, number: int):
        self.blob, self.at, self.where = memoryview(blob).toreadonly(), 0, f"crystal {number}"
        if len(blob) < _HEAD.size + _CRC.size:
            raise BadInput(f"{len(blob)} bytes are too few to hold a crystal", self.where)
        magic, version, *_ = _HEAD.unpack_from(self.blob)
        if magic != MAGIC:
            raise BadInput(f"the bytes begin with {magic!r}, those of a crystal with {MAGIC!r}", self.where)
        if version != VERSION:
            raise BadInput(f"written in format version {version}, this matterloop reads version {VERSION}; use the matterloop that wrote it", self.where)
        self.end = len(blob) - _CRC.size
        if zlib.crc32(self.blob[: self.end]) != _CRC.unpack_from(self.blob, self.end)[0]:
            raise BadInput("the bytes are damaged: their checksum does not agree", self.where)

    def take(self, size: int) -> memoryview:
        if self.at + size > self.end:
            raise BadInput(f"the bytes end at {self.end}, {self.at + size} are needed", self.where)
        self.at += size
        return self.blob[self.at - size : self.at]

    def unpack(self, form: struct.Struct) -> tuple:
        return form.unpack(self.take(form.size))

    def text(self, size: int) -> str:
        try:
            return bytes(self.take(size)).decode()
        except UnicodeDecodeError:
            raise BadInput("a name or unit is not UTF-8", self.where) from None

    def numbers(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        size = dtype.itemsize
        for n in shape:  # in Python integers: numpy's would overflow on hostile shapes
            size *= n
        return np.frombuffer(self.take(size), dtype).reshape(shape)

    def crystal(self, bare: bool):
        """(periodic bits, cell, frac, species, [(kind, name, dtype, shape, quantity, values)])."""
        _, _, bits, count, atoms = self.unpack(_HEAD)
        cell, frac, species = self.numbers(_DTYPES[0], (1, 3, 3)), self.numbers(_DTYPES[0], (atoms, 3)), self.numbers(np.dtype("u1"), (atoms,))
        fields = [self.field(atoms) for _ in range(count)]
        if self.at != self.end or bits > 7:
            raise BadInput(f"{self.end - self.at} bytes follow the last field, periodic bits {bits}; not written by this format", self.where)
        return bits, cell, frac, species, [] if bare else fields

    def field(self, atoms: int):
        kind, code, axes, size = self.unpack(_FIELD)
        if kind > 1 or code >= len(_DTYPES) or axes > _AXES:
            raise BadInput(f"a field of kind {kind}, dtype {code} and {axes} axes is not known", self.where)
        name = self.text(size)
        shape = struct.unpack(f"<{axes}I", self.take(4 * axes))
        quantity = None
        if self.take(1)[0]:
            rank, parity, extensive, size = self.unpack(_QUANTITY)
            quantity = Quantity(rank, parity, bool(extensive), self.text(size))
        return kind, name, _DTYPES[code], shape, quantity, self.numbers(_DTYPES[code], (atoms if kind == 0 else 1, *shape))
