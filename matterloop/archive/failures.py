"""What can go wrong between the archive and its disk or server, each as one plain sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ..base.errors import BadInput, MatterloopError

APPEND_ONLY, OUT_OF_ORDER = "matterloop: append-only", "matterloop: event out of order"
KEPT = "Nothing of this step was written; everything committed before is kept."


class ArchiveError(MatterloopError, OSError):
    """The disk or server of an archive refused: full, read-only, out of reach. What was committed before is kept."""


class Conflict(ArchiveError):
    """Another process holds or writes what this one wants."""


@contextmanager
def plain_errors(where: str, what: str = "") -> Iterator[None]:
    """Turn the engines' errors into ArchiveError, Conflict or BadInput that begin with `where`."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        raise _explained(error, where, what) from error


def _explained(error: Exception, where: str, what: str) -> MatterloopError:
    orig = getattr(error, "orig", None) or error
    text = " ".join(str(orig).split()) or type(orig).__name__
    code = getattr(orig, "sqlite_errorname", None) or getattr(orig, "sqlstate", None) or ""
    if OUT_OF_ORDER in text or (code in ("SQLITE_CONSTRAINT_PRIMARYKEY", "23505") and "events" in text):
        return Conflict(f"{where}: another process is writing this campaign ({what}); stop one of the two, then resume. {KEPT}")
    if APPEND_ONLY in text:
        return BadInput("the archive only grows: events, candidates and crystals are never changed or removed", where)
    if code == "SQLITE_FULL" or code == "53100" or code.startswith("SQLITE_IOERR"):
        return ArchiveError(f"{where}: the disk is full, over its quota or faulty ({text}); free some space, then resume. {KEPT}")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or code in ("55P03", "40P01"):
        return Conflict(f"{where}: the database is locked by another process ({text}); wait for it or stop it, then resume. {KEPT}")
    if code.startswith("SQLITE_READONLY") or code in ("25006", "42501"):
        return ArchiveError(f"{where}: the database is read-only here ({text}); allow writing to the file and its folder, or work on a copy. {KEPT}")
    if code.startswith("SQLITE_CANTOPEN"):
        return ArchiveError(f"{where}: the database cannot be opened ({text}); the folder must exist and allow writing (WAL keeps two files beside it)")
    if code in ("SQLITE_NOTADB",) or code.startswith("SQLITE_CORRUPT"):
        return BadInput(f"the file is damaged or no database ({text}); nothing was changed. Restore a copy, or save what is readable with "
                        "`sqlite3 FILE .recover`", where)
    if isinstance(error, sa.exc.OperationalError):
        return ArchiveError(f"{where}: the database cannot be reached ({text}); is the server running, and are host, user and password right?")
    return ArchiveError(f"{where}: the database refused ({text}). {KEPT}")
