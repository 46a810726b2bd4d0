"""Find the data sets of `source_table.py`: named, versioned, every file known by its SHA-256.

A file is looked for in this order: the folder given (`data_dir`), $MATTERLOOP_DATA, the cache ($MATTERLOOP_CACHE or the
platform's). `data_get` downloads what is missing into the cache where the same bytes lie in public. Nothing whose hash is not
the known one is ever handed out.
"""

from __future__ import annotations

import os
import sys
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..base.errors import BadInput, MatterloopError, Missing
from .failures import ArchiveError
from .files import replacing, sha256_of
from .source_table import SOURCES, DataSource

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 64_000_000  # bytes of one download; the largest file of the table has 14 million
BLOCK = 1 << 20


class NotHere(MatterloopError, FileNotFoundError):
    """A known data file that is on none of the places looked at; the text says where to get it and where to put it."""


def source(name: str) -> DataSource:
    """The data set called `name`; Missing with the nearest names otherwise."""
    known = {s.name: s for s in SOURCES}
    if name not in known:
        raise Missing("data set", name, known)
    return known[name]


def cache_dir() -> Path:
    """$MATTERLOOP_CACHE, else the folder for caches of this platform."""
    if given := os.environ.get("MATTERLOOP_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "matterloop"


def places(data_dir: str | Path | None = None) -> list[Path]:
    """The folders that are looked in, in order; BadInput if `data_dir` or $MATTERLOOP_DATA is set but no folder."""
    found = []
    for what, given in (("data_dir", data_dir), ("MATTERLOOP_DATA", os.environ.get("MATTERLOOP_DATA"))):
        if given:
            folder = Path(given).expanduser()
            if not folder.is_dir():
                raise BadInput(f"{folder} is no folder", what)
            found.append(folder)
    return [*found, cache_dir() / "data"]


def data_list(data_dir: str | Path | None = None, *, verify: bool = True) -> list[dict[str, Any]]:
    """One dict for each known data set.

    name, version, licence, description, credit, home; rows (of its tables), files; present: the first folder that holds all of it,
    "" if none does; verified: whether every file there has the known hash (None if not looked at); damaged: files that have not;
    download: whether all files can be downloaded.
    """
    looked, out = places(data_dir), []
    for s in SOURCES:
        folder = next((p / s.name for p in looked if all((p / s.name / f).is_file() for f in s.files)), None)
        damaged = [f for f, digest in s.files.items() if sha256_of(folder / f) != digest] if folder and verify else []
        out.append({
            "name": s.name, "version": s.version, "rows": sum(s.rows.values()), "licence": s.licence, "present": str(folder or ""),
            "verified": not damaged if folder and verify else None, "damaged": damaged, "files": len(s.files),
            "download": all(s.url(f) for f in s.files), "description": s.description, "credit": s.credit, "changes": s.changes, "home": s.home})
    return out


def data_path(name: str, file: str | None = None, *, data_dir: str | Path | None = None) -> Path:
    """Path of the data set `name`, or of one of its files, hashes verified.

    Missing for an unknown name or file; NotHere where it is on no place; BadInput where a file is not the known one.
    """
    s, looked = source(name), places(data_dir)
    wanted = list(s.files) if file is None else [_known(s, file)]
    lost: list[str] = []
    for place in looked:
        folder = place / s.name
        absent = [f for f in wanted if not (folder / f).is_file()]
        if not absent:
            for f in wanted:
                _verify(s, f, folder / f)
            return folder if file is None else folder / wanted[0]
        lost = absent if not lost or len(absent) < len(lost) else lost
    raise NotHere(_how_to_get(s, lost, looked))


def data_get(name: str, file: str | None = None, *, data_dir: str | Path | None = None, on_progress: Callable[[str, int], None] | None = None,
             open_url: Callable[[str], BinaryIO] | None = None) -> Path:
    """Like `data_path`, after downloading into the cache what is on no place; a damaged file in the cache is fetched again.

    on_progress  called with the file's name and the bytes so far
    open_url     opens a URL for reading, urllib by default
    """
    s, cache = source(name), cache_dir() / "data" / name
    wanted = list(s.files) if file is None else [_known(s, file)]
    try:
        return data_path(name, file, data_dir=data_dir)
    except NotHere:
        pass
    except BadInput:
        if not any((cache / f).is_file() and sha256_of(cache / f) != s.files[f] for f in wanted):
            raise
    needed = [f for f in wanted if not (cache / f).is_file() or sha256_of(cache / f) != s.files[f]]
    if homeless := [f for f in needed if not s.url(f)]:
        raise NotHere(_how_to_get(s, homeless, places(data_dir)))
    for f in needed:
        _download(s.url(f), cache / f, s.files[f], on_progress, open_url or _open)
    return data_path(name, file, data_dir=data_dir) if file else cache


def load_frame(name: str, file: str, *, data_dir: str | Path | None = None, **options) -> pd.DataFrame:
    """A table of the data set as pandas.DataFrame: .csv, .json, .jsonl (also .gz and .bz2) and .parquet; `options` go to the pandas reader."""
    import pandas as pd

    s = source(name)
    path = data_path(name, file, data_dir=data_dir)
    bare = file.removesuffix(".gz").removesuffix(".bz2")
    readers = {".csv": pd.read_csv, ".json": pd.read_json, ".jsonl": lambda p, **o: pd.read_json(p, lines=True, **o), ".parquet": pd.read_parquet}
    suffix = Path(bare).suffix
    if suffix not in readers:
        raise BadInput(f"is no table; tables end in {', '.join(readers)}, .gz or .bz2 after it", f"{name}/{file}")
    try:
        return readers[suffix](path, **{**s.read.get(file, {}), **options})
    except ValueError as error:
        raise BadInput(f"cannot be read as a table: {error}", f"{name}/{file}") from None


def members(name: str, file: str, *, data_dir: str | Path | None = None) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file in a .tar.gz or .tar.zst archive of the data set, in order; nothing is unpacked to disk."""
    path = data_path(name, file, data_dir=data_dir)
    if file.endswith(".tar.zst"):
        import pyarrow as pa

        stream = pa.input_stream(str(path), compression="zstd")
    elif file.endswith(".tar.gz"):
        import gzip

        stream = gzip.open(path)
    else:
        raise BadInput("is no archive; archives end in .tar.gz or .tar.zst", f"{name}/{file}")
    with stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for entry in tar:
            if entry.isfile() and (content := tar.extractfile(entry)) is not None:
                yield entry.name, content.read()


def _known(s: DataSource, file: str) -> str:
    if file not in s.files:  # only names of the table are ever joined to a folder: no path leads out of it
        raise Missing(f"file of {s.name}", file, s.files)
    return file


def _verify(s: DataSource, file: str, path: Path) -> None:
    if (found := sha256_of(path)) != s.files[file]:
        raise BadInput(f"is not the file of version {s.version} (SHA-256 {found[:12]}..., wanted {s.files[file][:12]}...); replace it or move it away, "
                       f"then `matterloop data get {s.name}`", str(path))


def _how_to_get(s: DataSource, lost: list[str], looked: list[Path]) -> str:
    where = ", ".join(str(p) for p in looked)
    what = f"{s.name}: {', '.join(lost[:3])}{f' and {len(lost) - 3} more' if len(lost) > 3 else ''} not found in {where}"
    if all(s.url(f) for f in lost):
        return f"{what}; run `matterloop data get {s.name}`, or set MATTERLOOP_DATA to the folder that holds {s.name}/"
    return (f"{what}; version {s.version} ({s.changes}) has no public home. The original is at {s.home}; put the files of this version into "
            f"{looked[-1] / s.name} or set MATTERLOOP_DATA to the folder that holds {s.name}/")


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, file, code, message, headers, url):
        if not url.startswith("https://"):
            raise BadInput("the server sends us to an address that is not https; nothing was downloaded", url)
        return super().redirect_request(request, file, code, message, headers, url)


def _open(url: str) -> BinaryIO:
    return urllib.request.build_opener(_OnlyHttps).open(urllib.request.Request(url, headers={"User-Agent": "matterloop"}), timeout=60)


def _download(url: str, target: Path, digest: str, on_progress: Callable[[str, int], None] | None, open_url: Callable[[str], BinaryIO]) -> None:
    """Put the bytes of `url` at `target` if, and only if, they have the SHA-256 `digest`."""
    if not url.startswith("https://"):
        raise BadInput("only https addresses are downloaded", url)
    with replacing(target) as new:
        size = 0
        try:
            with open_url(url) as answer, new.open("wb") as file:
                while block := answer.read(BLOCK):
                    size += len(block)
                    if size > LARGEST:
                        raise BadInput(f"is larger than {LARGEST:,} bytes; the download was stopped", url)
                    file.write(block)
                    if on_progress is not None:
                        on_progress(target.name, size)
        except OSError as error:  # urllib's errors and time-outs are OSErrors
            raise ArchiveError(f"{url}: the download failed ({error}); check the connection, or fetch it by other means and put it at {target}") from error
        if (found := sha256_of(new)) != digest:
            raise BadInput(f"the server gave other bytes than the known ones (SHA-256 {found[:12]}..., wanted {digest[:12]}...); nothing was kept", url)
