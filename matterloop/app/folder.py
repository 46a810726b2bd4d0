"""The folder of a run: what lies in it, and how it is written so that a crash never leaves half a file."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from ..archive.files import replacing
from ..archive.database import Archive, open_archive
from ..archive.locks import file_lock
from ..base.config import to_toml
from ..base.errors import BadInput, MatterloopError, Missing
from ..campaign.loop import CAMPAIGN
from ..campaign.outcome import Outcome, flat

DATABASE = "campaign.db"
SPOOL = "spool"  # tasks and results of an executor's workers, gone when the run is finished
OURS = (DATABASE, DATABASE + "-wal", DATABASE + "-shm", "run.toml", "candidates.csv", "candidates.parquet", "report.html", "structures", SPOOL)

UNITS = {"volume_per_atom": "Å^3", "density": "g/cm^3", "moment": "muB", "fmax": "eV/Å", "formation_energy": "eV/atom", "energy_above_hull": "eV/atom",
         "energy_per_atom": "eV/atom", "second_energy_above_hull": "eV/atom", "second_energy_per_atom": "eV/atom", "second_uncorrected_energy_per_atom": "eV/atom",
         "second_formation_energy": "eV/atom"}  # of the columns of candidates.parquet


class FolderError(MatterloopError, OSError):
    """The folder of a run cannot be used: read-only, full, or not ours."""


def write_atomic(path: Path, data: str) -> None:
    """Write a text file whole or not at all; ArchiveError says what the disk refused."""
    with replacing(path) as new:
        new.write_text(data, encoding="utf-8")


def made(folder: Path) -> Path:
    """The folder, made with its parents if it is not there; FolderError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made or written ({error.strerror}); choose another --out") from None
    return folder


def free(folder: Path, overwrite: bool) -> None:
    """BadInput if the folder is a file, or holds a run and may not be overwritten; Conflict if that run is still being written."""
    if folder.exists() and not folder.is_dir():
        raise BadInput("is a file, not a folder; choose another --out", str(folder))
    database = folder / DATABASE
    if not database.exists():
        return
    if overwrite:
        with file_lock(database, CAMPAIGN):
            return
    with open_archive(database, create=False) as archive:
        if archive.events(CAMPAIGN):
            raise BadInput(f"holds a run already; go on with `matterloop resume {folder}`, choose another --out, or pass --overwrite", str(folder))


def new_folder(folder: Path, overwrite: bool) -> None:
    """Make an empty run folder, see `free`. Files of others are never touched."""
    free(folder, overwrite)
    try:
        if overwrite:
            sweep(folder)
            for name in OURS:
                path = folder / name
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be emptied ({error.strerror}); choose another --out") from None
    made(folder / "structures")


def sweep(folder: Path) -> None:
    """Remove what writes that were cut short left of our files."""
    for place, pattern in ((folder, ".run.toml.*.toml"), (folder, ".candidates.*.*"), (folder, ".report.html.*.html"), (folder / "structures", ".*.cif.*.cif")):
        for path in place.glob(pattern):
            path.unlink(missing_ok=True)


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
    candidates_table(rows, folder, units=UNITS)
    for row in outcome.rows:
        if row.relaxed:
            write_atomic(folder / "structures" / f"{row.key}.cif", cif_texts(row.crystal, [row.key])[0])
    write_atomic(folder / "report.html", report(outcome))

