"""The one reader of matterloop/shipped: tables and weights that come with the package, each with a JSON card.

The card of `x.parquet` is `x.card.json` (or `x.json` where no other data file is called so). It says what the file holds, which
recipe made it under which protocol, energy scheme and code version, whom to credit, and its SHA-256, which is compared on
the first read of every process. What needs several files is a folder `x` with its card beside it; its SHA-256 is that of the list of its files with theirs.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import BadInput, Missing
from .files import replacing, sha256_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SHIPPED = Path(__file__).parents[1] / "shipped"
CARD_SUFFIX = ".card.json"
REQUIRED = ("name", "file", "what", "made_by", "credit", "sha256")


def list_shipped(*, folder: Path = SHIPPED) -> list[str]:
    """Names of everything shipped: file names without their suffix, sorted."""
    return sorted(_files(folder))


def card(name: str, *, folder: Path = SHIPPED) -> dict[str, Any]:
    """The card of `name`; Missing if nothing is called so, BadInput if it has no card or the card lacks a required word."""
    file = _find(name, folder)
    found = next((p for p in (file.with_name(file.stem + CARD_SUFFIX), file.with_suffix(".json")) if p != file and p.exists()), None)
    if found is None:
        raise BadInput(f"has no card {file.stem}{CARD_SUFFIX}; the recipe that makes it must call write_card", file.name)
    try:
        words = json.loads(found.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"is not JSON: {error}", found.name) from None
    if not isinstance(words, dict) or (lost := [w for w in REQUIRED if not isinstance(words.get(w), str) or not words[w]]):
        raise BadInput(f"lacks {', '.join(lost) if isinstance(words, dict) else 'everything'}", found.name)
    if words["file"] != file.name:
        raise BadInput(f"is the card of {words['file']!r}, not of {file.name!r}", found.name)
    return words


def path(name: str, *, folder: Path = SHIPPED) -> Path:
    """Path of the data file (or folder) of `name`, its SHA-256 equal to the one on its card; BadInput if not, Missing if there is none."""
    file = _find(name, folder)
    wanted, found = card(name, folder=folder)["sha256"], _digest(file)
    if found != wanted:
        raise BadInput(f"the file is not the one its card describes (SHA-256 {found[:12]}..., card {wanted[:12]}...); install matterloop again", file.name)
    return file


def read_table(name: str, *, columns: list[str] | None = None, folder: Path = SHIPPED) -> pd.DataFrame:
    """The Parquet table `name`, all columns or those named."""
    import pandas as pd

    return pd.read_parquet(_of_kind(name, ".parquet", folder), columns=columns)


def read_json(name: str, *, folder: Path = SHIPPED) -> Any:
    """The content of the JSON file `name`."""
    return json.loads(_of_kind(name, ".json", folder).read_text(encoding="utf-8"))


def read_arrays(name: str, *, folder: Path = SHIPPED) -> dict[str, np.ndarray]:
    """The arrays of the .npz file `name`; nothing pickled is read."""
    import numpy as np

    with np.load(_of_kind(name, ".npz", folder), allow_pickle=False) as held:
        return {k: held[k] for k in held.files}


def write_card(file: Path, *, what: str, made_by: str, credit: str, protocol: str = "", scheme: str = "", **facts: Any) -> Path:
    """Write the card beside `file` and return its path; called by the recipe that made the file, after the file.

    what      one sentence: rows, columns, units
    made_by   the recipe and its command
    credit    whose work is in it, with licence
    protocol  how the numbers were computed; scheme: their energy scheme (both empty for what holds no energies)
    facts     anything else worth knowing, as plain JSON
    """
    words = {"name": file.name.removesuffix(file.suffix), "file": file.name, "what": what, "made_by": made_by, "protocol": protocol, "scheme": scheme,
             "code_version": version("matterloop"), **facts, "credit": credit, "sha256": _digest(file)}
    if empty := [w for w in REQUIRED if not words[w]]:
        raise BadInput(f"the card needs {', '.join(empty)}", file.name)
    target = file.with_name(file.stem + CARD_SUFFIX)
    with replacing(target) as new:
        new.write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def _digest(file: Path) -> str:
    """SHA-256 of a file, or of the lines "SHA-256  name" of all files of a folder, by name."""
    if not file.is_dir():
        return sha256_of(file)
    lines = [f"{sha256_of(p)}  {p.relative_to(file).as_posix()}\n" for p in sorted(file.rglob("*")) if p.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    held = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__")) and not p.name.endswith(CARD_SUFFIX))
    described = {p.stem for p in held if p.suffix != ".json"}
    return {p.stem: p for p in held if p.suffix != ".json" or p.stem not in described}


def _find(name: str, folder: Path) -> Path:
    files = _files(folder)
    by_name = {**{p.name: p for p in files.values()}, **files}
    if name not in by_name:
        raise Missing("shipped file", name, files)
    return by_name[name]


def _of_kind(name: str, suffix: str, folder: Path) -> Path:
    file = path(name, folder=folder)
    if file.suffix != suffix:
        raise BadInput(f"is a {file.suffix} file, not {suffix}", file.name)
    return file
