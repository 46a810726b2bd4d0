"""What the recipes of the reference tables share: a work file of JSON lines, the data folder, and a table written with its card."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from matterloop.archive.files import replacing
from matterloop.archive.shipped import SHIPPED, write_card
from matterloop.base.errors import BadInput

PROTOCOL = {"optimizer": "lbfgs", "fmax": 0.03, "smax": 0.001, "steps": 300, "keep_symmetry": True}  # eV/Å, eV/Å^3 (0.16 GPa)
LADDER = (  # what is tried with a structure in turn until a relaxation ends well; one that ran out of steps is gone on with from where it stands
    PROTOCOL, {**PROTOCOL, "steps": 1000}, {**PROTOCOL, "optimizer": "fire", "steps": 1500}, {**PROTOCOL, "keep_symmetry": False, "steps": 1000},
    {**PROTOCOL, "optimizer": "fire", "keep_symmetry": False, "steps": 3000})
SYMPREC = 0.01  # Å
RELAXED, PUBLISHED, BUILT = "relaxed", "published geometry, single point", "built by substitution, relaxed"


def read_lines(path: Path) -> Iterator[dict]:
    """Records of a file of JSON lines; a last line cut short by a kill is skipped."""
    if not path.exists():
        return
    with path.open() as file:
        for row, text in enumerate(file, 1):
            if not text.endswith("\n"):
                return
            try:
                yield json.loads(text)
            except json.JSONDecodeError as error:
                raise BadInput(f"not JSON ({error}); delete the line to compute it again", f"{path}:{row}") from None


def append_many(path: Path, records: Iterable[dict]) -> None:
    """Add lines and hand them to the system at once; a half-written last line, left by a kill, is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.truncate(path.read_bytes().rfind(b"\n") + 1)
    with path.open("a") as file:
        file.write("".join(json.dumps(r) + "\n" for r in records))


def append(path: Path, record: dict) -> None:
    """Add one line, as `append_many`."""
    append_many(path, [record])


def find_folder(given: Path | None) -> Path | None:
    """The folder of data sets: the one given, or $MATTERLOOP_DATA; None where there is none."""
    places = [given] if given else [Path(os.environ["MATTERLOOP_DATA"])] if "MATTERLOOP_DATA" in os.environ else []
    return next((p for p in places if p.is_dir()), None)


def potential_facts() -> dict:
    """Which potential, weights and packages made the energies; part of a card."""
    from importlib.metadata import version

    from matterloop.potential.chgnet import WEIGHTS

    return {"potential": "chgnet", "potential_version": "0.3.0", "weights_sha256": WEIGHTS["0.3.0"][1], "scheme": "mp2020", "packages": {name: version(name) for name in ("torch", "chgnet", "moyopy")}}


def write_table(name: str, frame, facts: dict) -> Path:
    """Write shipped/<name>.parquet (zstd) and its card of `facts`."""
    path = SHIPPED / f"{name}.parquet"
    with replacing(path) as new:
        frame.to_parquet(new, compression="zstd", compression_level=19, index=False)
    write_card(path, **facts, rows=len(frame), made=date.today().isoformat())
    return path
