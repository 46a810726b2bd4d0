"""One writer for each campaign: advisory locks that the operating system or the server frees when their holder dies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from ..base.seeds import derive
from .failures import ArchiveError, Conflict, plain_errors


@contextmanager
def file_lock(database: Path, campaign: str) -> Iterator[None]:
    """Hold the lock of `campaign` beside the SQLite file `database`; Conflict if another process or caller holds it."""
    mark = hashlib.sha256(campaign.encode()).hexdigest()[:12]
    path = database.with_name(f"{database.name}.{mark}.lock")
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ArchiveError(f"{path}: the lock of the campaign cannot be written ({error.strerror}); allow writing to the folder") from None
        try:
            if not _try_lock(handle):
                raise Conflict(f"{database}: another process is writing this campaign ({campaign!r}); stop it first, or open the archive for reading")
            if _is_still(handle, path):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder removed the file between our open and our lock: take the new one
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps an open file; what stays behind locks nobody out
            path.unlink()
        os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _try_lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def server_lock(engine: sa.Engine, campaign: str) -> Iterator[None]:
    """Hold PostgreSQL's advisory lock of `campaign` in a session of its own; Conflict if another session holds it."""
    with plain_errors(str(engine.url), f"campaign {campaign!r}"), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        place = session.scalar(sa.text("select current_database() || '/' || current_schema()"))
        number = derive(0, "campaign lock", str(place), campaign)
        if not session.scalar(sa.text("select pg_try_advisory_lock(:n)"), {"n": number}):
            raise Conflict(f"{engine.url}: another process is writing this campaign ({campaign!r}); stop it first")
        try:
            yield
        finally:
            session.execute(sa.text("select pg_advisory_unlock(:n)"), {"n": number})
