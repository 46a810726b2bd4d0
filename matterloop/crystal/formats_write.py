"""Writing structures: CIF in P 1 or with symmetry, POSCAR, extended XYZ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..base.errors import BadInput
from . import formats_cif as cif
from .composition import compositions, formula, reduced_formula
from .formats_extxyz import frame_text
from .formats_frame import pieces, refuse_undecided
from .formats_poscar import poscar_text
from .state import Crystals


def _named(crystals: Crystals, names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [reduced_formula(c) if c else f"crystal-{i}" for i, c in enumerate(compositions(crystals))]
    if len(names) != len(crystals):
        raise BadInput(f"{len(names)} names for {len(crystals)} crystals", "names")
    return [str(n) for n in names]


def cif_texts(crystals: Crystals, names: Sequence[str] | None = None, *, symprec: float | None = None) -> list[str]:
    """CIF of each crystal: all atoms in P 1, coordinates to 1e-12; or with `symprec` (Å) the conventional cell, its operations and one site per orbit.

    The orientation of the cell and further fields are not part of a CIF. Raises BadInput for structures that do not repeat along all axes.
    """
    refuse_undecided(crystals, "a CIF")
    if not bool(crystals.periodic.all()):
        raise BadInput("a CIF describes structures that repeat along all three axes; write extxyz instead", f"crystal {int((~crystals.periodic.all(1)).nonzero()[0, 0])}")
    names = _named(crystals, names)
    if symprec is not None:
        return _symmetric_texts(crystals, names, symprec)
    lengths, angles, volumes = crystals.lengths.tolist(), crystals.angles.tolist(), crystals.volume.tolist()
    return [
        cif.block_text(name, formula(composition), lengths[i], angles[i], volumes[i], species.tolist(), frac.tolist())
        for i, (name, composition, (species, frac)) in enumerate(zip(names, compositions(crystals), pieces(crystals, crystals.species, crystals.frac), strict=True))]


def write_cif(crystals: Crystals, path: str | Path, names: Sequence[str] | None = None, *, symprec: float | None = None) -> Path:
    """Write all crystals into one CIF file, a data block each; see `cif_texts`."""
    return _written(path, "\n".join(cif_texts(crystals, names, symprec=symprec)))


def poscar_texts(crystals: Crystals, names: Sequence[str] | None = None) -> list[str]:
    """POSCAR (VASP 5) of each crystal, atoms in their order; VASP takes every structure as periodic, so others are refused."""
    refuse_undecided(crystals, "a POSCAR")
    if not bool(crystals.periodic.all()):
        raise BadInput("a POSCAR is periodic along all axes; write extxyz instead", f"crystal {int((~crystals.periodic.all(1)).nonzero()[0, 0])}")
    names = _named(crystals, names)
    cells = crystals.cell.detach().cpu().numpy()
    return [poscar_text(name, cell, species, frac) for name, cell, (species, frac) in zip(names, cells, pieces(crystals, crystals.species, crystals.frac), strict=True)]


def write_poscar(crystals: Crystals, path: str | Path, names: Sequence[str] | None = None) -> list[Path]:
    """Write one crystal to the file `path`, or several to `path`/POSCAR-0, POSCAR-1, ..."""
    texts = poscar_texts(crystals, names)
    if len(texts) == 1:
        return [_written(path, texts[0])]
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"several crystals need a folder: {error.strerror}", file=path) from None
    return [_written(Path(path) / f"POSCAR-{i}", text) for i, text in enumerate(texts)]


def extxyz_text(crystals: Crystals, names: Sequence[str] | None = None) -> str:
    """Extended XYZ of the whole batch, a frame each, with every site and whole field under its own name (units at rest)."""
    names = _named(crystals, names)
    whole = {k: v.detach().cpu().numpy() for k, v in crystals.whole.items()}
    cells, periodic = crystals.cell.detach().cpu().numpy(), crystals.periodic.tolist()
    frames = []
    for i, (species, cart, *fields) in enumerate(pieces(crystals, crystals.species, crystals.cart, *crystals.site.values())):
        frames.append(frame_text(
            cells[i], species, cart, periodic[i], dict(zip(crystals.site, fields, strict=True)), {k: v[i] for k, v in whole.items()},
            crystals.quantities, names[i]))
    return "".join(frames)


def write_extxyz(crystals: Crystals, path: str | Path, names: Sequence[str] | None = None) -> Path:
    """Write all crystals into one extended XYZ file; see `extxyz_text`."""
    return _written(path, extxyz_text(crystals, names))


def _written(path: str | Path, text: str) -> Path:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"it cannot be written: {error.strerror}", file=path) from None
    return Path(path)


def _symmetric_texts(crystals: Crystals, names: Sequence[str], symprec: float) -> list[str]:
    """The standard conventional cell with the operations that it has and one site per orbit."""
    from .symmetry import analyse

    texts = []
    for name, found in zip(names, analyse(crystals, symprec), strict=True):
        standard = found.standard.wrapped()
        own = analyse(standard, found.symprec)[0]
        twelfths = (own.translations % 1) * 24
        if own.number != found.number or float((twelfths - twelfths.round()).abs().max()) > 0.01:
            raise BadInput(f"the operations of space group {found.number} cannot be told in fractions; write it in P 1 (symprec=None)", name)
        shifts = (twelfths.round().long() % 24).tolist()
        operations = [_operation_text(r, t) for r, t in zip(own.rotations.tolist(), shifts, strict=True)]
        first, multiplicity = own.orbits.unique(return_counts=True)
        composition = compositions(standard)[0]
        texts.append(cif.block_text(
            name, formula(composition), standard.lengths[0].tolist(), standard.angles[0].tolist(), float(standard.volume[0]), standard.species[first].tolist(),
            standard.frac[first].tolist(), sorted(operations, key=lambda x: x != "x, y, z"), (found.symbol, found.number), multiplicity.tolist()))
    return texts


def _operation_text(rotation: list[list[int]], shift: list[int]) -> str:
    parts = []
    for row, t in zip(rotation, shift, strict=True):
        text = "".join(("+" if c > 0 else "-") + axis for c, axis in zip(row, "xyz", strict=True) if c)
        text = text.removeprefix("+")
        if t:
            divisor = np.gcd(t, 24)
            text += f"+{t // divisor}/{24 // divisor}"
        parts.append(text)
    return ", ".join(parts)
