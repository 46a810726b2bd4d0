"""The folder of a run: what lies in it, and how it is written so that a crash never leaves half a file."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from ..archive.files import replacing
from ..archive.database import Archive, open_archive
from ..base.config import to_toml
from ..base.errors import BadInput, MatterloopError, Missing
from ..campaign.outcome import Outcome, flat

DATABASE = "campaign.db"
OURS = (DATABASE, DATABASE + "-wal", DATABASE + "-shm", "run.toml", "candidates.csv", "candidates.parquet", "report.html", "structures")


class FolderError(MatterloopError, OSError):
    """The folder of a run cannot be used: read-only, full, or not ours."""


def write_atomic(path: Path, data: str) -> None:
    """Write a text file whole or not at all; ArchiveError says what the disk refused."""
    with replacing(path) as new:
        new.write_text(data, encoding="utf-8")


def new_folder(folder: Path, overwrite: bool) -> None:
    """Make an empty run folder; BadInput if a run is already there and may not be overwritten. Files of others are never touched."""
    if folder.exists() and not folder.is_dir():
        raise BadInput("is a file, not a folder", str(folder))
    if (folder / DATABASE).exists():
        if not overwrite:
            raise BadInput(f"holds a run already; go on with `matterloop resume {folder}`, choose another --out, or pass --overwrite", str(folder))
        for name in OURS:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "structures").mkdir(exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made ({error.strerror}); choose another --out") from None


def archive_of(folder: Path, readonly: bool = False) -> Archive:
    """The archive of an existing run folder; Missing if it is not one."""
    if not (folder / DATABASE).exists():
        raise Missing("run folder", str(folder), [str(p.parent) for p in sorted(folder.parent.glob(f"*/{DATABASE}"))] if folder.parent.is_dir() else [])
    return open_archive(folder / DATABASE, create=False, readonly=readonly)


def write_run_toml(folder: Path, settings: dict, run: dict, spec: str) -> None:
    """run.toml: the wish as a spec, every setting, versions, hardware and timings."""
    write_atomic(folder / "run.toml", to_toml({"wish": tomllib.loads(spec), "settings": settings, "run": run}))


def write_results(folder: Path, outcome: Outcome) -> None:
    """candidates.csv, candidates.parquet, structures/*.cif and report.html from an outcome."""
    from ..archive.export import candidates_table
    from ..crystal.formats import cif_texts
    from .report import report

    rows = [flat(row) for row in outcome.rows]
    candidates_table(rows, folder)
    for row in outcome.rows:
        if row.relaxed:
            write_atomic(folder / "structures" / f"{row.key}.cif", cif_texts(row.crystal, [row.key])[0])
    write_atomic(folder / "report.html", report(outcome))

