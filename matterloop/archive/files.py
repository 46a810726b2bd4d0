"""Files that appear whole or not at all, and their SHA-256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from .failures import ArchiveError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it takes the place of `path` when the context ends well and is removed when not.

    ArchiveError where the folder cannot be written or the disk is full; an old file at `path` is then untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=path.suffix)
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be written ({error.strerror}); allow writing to the folder or choose another") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # mkstemp keeps others out; results are for everyone to read
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"{path}: cannot be written ({error.strerror or error}); free some space or choose another folder. An earlier file is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; read once for each state of the file (modification time and size)."""
    state = path.stat()
    return _sha256(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _sha256(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

