"""Reading files and tables of structures: one result of good ones, errors and notes.

Text goes through our own strict readers, which take time linear in the text; only a CIF that names a space group without its operations is
handed to pymatgen, in a child process with limits (gate.py). A bad file, row or frame becomes an error that names it, the others go on.
"""

from __future__ import annotations

import glob
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..base.errors import BadInput, Missing
from ..base.quantities import STANDARD, Quantity
from . import formats_cif as cif
from .formats_extxyz import frames as extxyz_frames
from .formats_frame import Frame, assemble, no_crystals, unknown_fields
from .formats_poscar import parse_poscar
from .gate import Limits, cell_problem, decoded, problems, read_text, run_limited
from .state import Crystals

KINDS = ("cif", "poscar", "extxyz", "table")


@dataclass(frozen=True)
class ReadResult:
    """What came through the gate.

    crystals  the good ones, in order of reading
    names     of each good one: its row's id, the data block's or frame's name, or the file's stem
    errors    one BadInput per structure that was refused, with .file, .row and .field
    notes     sentences about what was changed or not kept, each starting with the structure's name
    sources   (file, row) of each good one, row -1 where a file holds one structure
    """

    crystals: Crystals
    names: list[str]
    errors: list[BadInput] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: list[tuple[str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class _Item:
    """A structure on its way: where it came from, and the frame or the error (or the block that needs another reader)."""

    file: str
    row: int
    row_name: str
    name: str
    content: Frame | BadInput | tuple[cif.NotUnderstood, str]


def kind_of(path: str | Path) -> str:
    """Format by the name of a file; BadInput when it tells none."""
    name = Path(path).name.lower().removesuffix(".gz")
    if name.endswith((".cif", ".mcif")):
        return "cif"
    if name.endswith((".xyz", ".extxyz")):
        return "extxyz"
    if name.endswith((".csv", ".tsv", ".parquet")):
        return "table"
    if "poscar" in name or "contcar" in name or name.endswith((".vasp", ".poscar")):
        return "poscar"
    raise BadInput("its name does not tell the format; pass kind= one of " + ", ".join(KINDS), file=path)


def read(paths: str | Path | Iterable[str | Path], *, kind: str | None = None, limits: Limits | None = None, fallback: bool = True,
         quantities: Mapping[str, Quantity] | None = None, **table_options) -> ReadResult:
    """Structures of one file, several files, or patterns such as "folder/*.cif"; see `ReadResult`.

    A CIF gives one structure per data block that has a cell; extended XYZ one per frame; a table (csv, parquet) one per row, see `read_table`
    for its options. `limits` (default `Limits()`) bound text and geometry. `fallback` lets pymatgen read, in a child process, what our CIF
    reader does not understand. `quantities` names further fields of extended XYZ files to keep. Errors in the call itself (an unknown kind)
    are raised, errors in the data are listed.
    """
    limits = limits or Limits()
    if kind is not None and kind not in KINDS:
        raise Missing("kind of structure file", kind, KINDS)
    items: list[_Item] = []
    for path in _files(paths, items):
        try:
            items += _items_of_file(path, kind or kind_of(path), limits, table_options)
        except BadInput as error:
            items.append(_Item(path, -1, "", "", error))
    return _finished(items, limits, fallback, quantities)


def read_text_of(text: str | bytes, kind: str = "cif", *, name: str = "text", limits: Limits | None = None, fallback: bool = True,
                 quantities: Mapping[str, Quantity] | None = None) -> ReadResult:
    """Like `read`, for text that is already in memory (an upload, a column of a table, the answer of a service)."""
    limits = limits or Limits()
    try:
        items = _items_of_text(_bounded(text, limits), name, kind, limits)
    except BadInput as error:
        items = [_Item(name, -1, "", "", error)]
    return _finished(items, limits, fallback, quantities)


def read_table(path: str | Path, *, cif_column: str = "cif", id_column: str | None = "material_id", columns: Mapping[str, str] | None = None,
               rows: Sequence[int] | slice | None = None, limits: Limits | None = None, fallback: bool = True) -> ReadResult:
    """Structures of a CSV or Parquet table with a column of CIF text, one per row.

    `columns` {column: field} adds columns of numbers as whole fields (empty cells become NaN, "not measured"); the field needs a Quantity in
    base/quantities.py. `rows` picks some of the rows by position.
    """
    return read(path, kind="table", limits=limits, fallback=fallback, cif_column=cif_column, id_column=id_column, columns=columns, rows=rows)


def _bounded(text: str | bytes, limits: Limits) -> str:
    size = len(text)
    if size > limits.bytes:
        raise BadInput(f"{size} bytes, allowed are {limits.bytes}; raise Limits(bytes=...)")
    return decoded(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


def _files(paths, items: list[_Item]) -> list[str]:
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    found = []
    for path in map(str, given):
        if any(c in path for c in "*?[") and "\0" not in path and not Path(path).exists():
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                items.append(_Item(path, -1, "", "", BadInput("no file fits this pattern", file=path)))
            found += matches
        else:
            found.append(path)
    return found


def _items_of_file(path: str, kind: str, limits: Limits, table_options: dict) -> list[_Item]:
    if kind == "table":
        return _items_of_table(path, limits, **table_options)
    return _items_of_text(read_text(path, limits, many=kind == "extxyz"), path, kind, limits)


def _items_of_text(text: str, file: str, kind: str, limits: Limits) -> list[_Item]:
    stem = Path(file).name.removesuffix(".gz").rsplit(".", 1)[0] or file
    if kind == "poscar":
        return [_Item(file, -1, "", stem, _tried(parse_poscar, text, limits.atoms))]
    if kind == "extxyz":
        found = []
        for number, content in extxyz_frames(text, limits.atoms):
            name = content.name if isinstance(content, Frame) and content.name else f"{stem}-{number}"
            found.append(_Item(file, number, f"frame {number}", name, content))
        return found
    blocks = cif.blocks(text)
    with_atoms = [b for b in blocks if cif.LENGTHS[0] in b.items] or blocks[:1]
    several = len(with_atoms) > 1
    return [
        _Item(file, i if several else -1, f"data_{b.name}" if several else "", b.name or stem, _cif_content(b, limits))
        for i, b in enumerate(with_atoms)]


def _tried(parse, *args):
    try:
        return parse(*args)
    except BadInput as error:
        return error


def _cif_content(block: cif.Block, limits: Limits):
    try:
        return cif.frame_of(block, limits.atoms)
    except cif.NotUnderstood as error:
        if block.text and not (problem := cell_problem(error.lengths, error.angles, limits)):
            return error, block.text
        return BadInput(problem, field=cif.LENGTHS[0]) if block.text else error
    except BadInput as error:
        return error


def _items_of_table(path: str, limits: Limits, cif_column: str = "cif", id_column: str | None = "material_id",
                    columns: Mapping[str, str] | None = None, rows=None) -> list[_Item]:
    table = _table(path, limits, {cif_column, id_column, *(columns or {})})
    if cif_column not in table:
        raise BadInput(f"there is no column {cif_column!r}; pass cif_column=", file=path, field=cif_column)
    for column, name in (columns or {}).items():
        if column not in table:
            raise BadInput(f"there is no column {column!r}", file=path, field=column)
        if name not in STANDARD:
            raise BadInput(f"{name!r} is not a standard field (base/quantities.py)", file=path, field=column)
    wanted = np.arange(len(table)) if rows is None else np.arange(len(table))[rows]
    texts = table[cif_column].to_numpy(dtype=object)[wanted]
    ids = table[id_column].astype(str).to_numpy(dtype=object)[wanted] if id_column in table else wanted
    values = {}
    for column, name in (columns or {}).items():
        import pandas

        values[name] = pandas.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)[wanted]
    items = []
    for k, (row, text, row_id) in enumerate(zip(wanted.tolist(), texts.tolist(), ids.tolist(), strict=True)):
        content = _row_content(text, limits)
        if isinstance(content, Frame):
            content.whole = {name: column[k] for name, column in values.items()}
            content.name = ""
        items.append(_Item(path, row, f"row {row} ({row_id})", str(row_id), content))
    return items


def _row_content(text, limits: Limits):
    try:
        if not isinstance(text, str):
            raise BadInput("the cell is empty", field="cif")
        if len(text) > limits.bytes:
            raise BadInput(f"{len(text)} characters, allowed are {limits.bytes}; raise Limits(bytes=...)", field="cif")
        blocks = cif.blocks(text.replace("\r\n", "\n").replace("\r", "\n"))
        if len(blocks) != 1:
            raise BadInput(f"{len(blocks)} data blocks, one is wanted", field="cif")
        return _cif_content(blocks[0], limits)
    except BadInput as error:
        return error


def _table(path: str, limits: Limits, wanted: set):
    """The wanted columns that are there."""
    import pandas

    try:
        if ".parquet" in Path(path).name:
            from pyarrow import parquet

            if not Path(path).is_file() or Path(path).stat().st_size > limits.file_bytes:
                raise BadInput(f"it is no file of at most {limits.file_bytes} bytes; see Limits(file_bytes=...)", file=path)
            names = parquet.read_schema(path).names
            return pandas.read_parquet(path, columns=[n for n in names if n in wanted])
        return pandas.read_csv(
            io.StringIO(read_text(path, limits, many=True)), usecols=lambda c: c in wanted, sep="\t" if ".tsv" in Path(path).name else ",", low_memory=False)
    except (OSError, ValueError, EOFError) as error:  # pandas' and pyarrow's parsing errors are ValueErrors
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"it cannot be read as a table: {str(error)[:200]}", file=path) from None


def _finished(items: list[_Item], limits: Limits, fallback: bool, quantities: Mapping[str, Quantity] | None) -> ReadResult:
    quantities = dict(quantities or {})
    waiting = [item for item in items if isinstance(item.content, tuple)]
    if waiting and fallback:
        _read_outside(waiting, limits)
    for item in waiting:
        if isinstance(item.content, tuple):
            item.content = item.content[0]
    good = [item for item in items if isinstance(item.content, Frame)]
    for item in good:
        if unknown := unknown_fields(item.content, quantities):
            item.content.notes.append(f"fields without a Quantity were left out: {', '.join(unknown)}; pass quantities={{...}} to keep them")
    crystals, notes = assemble([item.content for item in good], quantities) if good else (no_crystals(), [])
    refused = problems(crystals, limits)
    for i, why in refused.items():
        good[i].content = BadInput(why)
    if refused:
        kept = [i for i in range(len(good)) if i not in refused]
        crystals, notes, good = crystals[torch.tensor(kept, dtype=torch.long)], [notes[i] for i in kept], [good[i] for i in kept]
    errors = [_placed(item) for item in items if isinstance(item.content, BadInput)]
    return ReadResult(
        crystals.checked(), [item.name for item in good], errors,
        [f"{item.name}: {note}" for item, own in zip(good, notes, strict=True) for note in own], [(item.file, item.row) for item in good])


def _placed(item: _Item) -> BadInput:
    error = item.content
    return BadInput(error.message, file=error.file or item.file, row=error.row or item.row_name, field=error.field)


def _read_outside(items: list[_Item], limits: Limits) -> None:
    answers = run_limited(Path(__file__).with_name("formats_sandbox.py"), [item.content[1] for item in items], limits)
    for item, answer in zip(items, answers, strict=True):
        if "error" in answer:
            item.content = BadInput(f"{item.content[0].message}; {answer['error']}", field=item.content[0].field)
        elif len(answer["species"]) > limits.atoms:
            item.content = BadInput(f"{len(answer['species'])} atoms, allowed are {limits.atoms}; raise Limits(atoms=...)")
        else:
            item.content = Frame(answer["cell"], answer["species"], answer["frac"], notes=["read by pymatgen: the CIF names a space group without operations"])
