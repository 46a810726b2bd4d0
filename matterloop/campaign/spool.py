"""The spool: a folder through which the driver of a campaign and its workers pass tasks and results, and which outlives both.

    beat.json             the driver's heartbeat: session, count, stop; a worker that sees it stand still ends by itself
    protocol.json         how crystals are relaxed, with the digests of code and weights
    tasks/KEY.json        candidates and crystals of one task
    attempts/KEY.NAME.log what one worker did of it: one line for each crystal, written as it ends, synced to the disk once a second and at the end
    deaths.log            which crystal was in hand when a worker died

Small files are written beside their place, synced and renamed. An attempt has one writer and only grows; each line begins with the CRC-32 of its
JSON, so that a line cut short by a crash is known and left out. A worker that is killed loses no line; a machine that loses its power at most a second
of them. One file for each attempt instead of one for each crystal keeps the number of files at the number of tasks. Nothing here is a pickle; crystals
are in the archive's own format.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..archive.codec import content_key, decode, encode
from ..archive.failures import ArchiveError
from ..archive.files import replacing
from ..archive.plain import from_json, to_json
from ..base.errors import BadInput
from ..crystal.state import Crystals


SYNC = 1.0  # seconds between syncs of an attempt to the disk, which take as long as relaxing a small crystal


def _line(content: Mapping[str, Any]) -> bytes:
    text = to_json(content, "spool").encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read_line(line: bytes) -> dict[str, Any] | None:
    """The content of one line, None if it is damaged."""
    head, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        return from_json(text.decode()) if line.endswith(b"\n") and int(head, 16) == zlib.crc32(text) else None
    except (ValueError, BadInput):
        return None


def pack(crystal: Crystals) -> str:
    """One crystal as text: the archive's bytes in base 64."""
    return base64.b64encode(encode(crystal)[0]).decode()


def unpack(texts: Sequence[str]) -> list[Crystals]:
    """Inverse of `pack` for many, to the bit; BadInput for damaged text."""
    try:
        return list(decode([base64.b64decode(text, validate=True) for text in texts])) if texts else []
    except ValueError as error:
        raise BadInput(f"holds no crystal: {error}", "spool") from None


@dataclass(frozen=True)
class Item:
    """One crystal of a task: the candidate's key, the crystal's key in the archive, the crystal."""

    key: str
    content: str
    crystal: Crystals


@dataclass
class Attempt:
    """What one worker did of one task, read from its log as far as that goes; `more()` reads what has come since.

    begun     key of the crystal in hand, only known where crystals go one by one
    finished  keys of the crystals that ended
    end       why the worker stopped ("done", "wall time", ...), empty while it runs or if it died; reason says more
    seconds   from its beginning to its last line; evaluations, work: of finished crystals, and the sum of their atoms x evaluations
    """

    path: Path
    task: str
    about: dict[str, Any] = field(default_factory=dict)
    begun: str = ""
    finished: set[str] = field(default_factory=set)
    end: str = ""
    reason: str = ""
    seconds: float = 0.0
    evaluations: int = 0
    work: int = 0
    place: int = 0
    touched: int = 0
    seen: float = 0.0

    def more(self) -> list[dict[str, Any]]:
        """Results that were written since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.place)
                data = file.read()
        except FileNotFoundError:
            return []
        found = []
        for line in data.splitlines(keepends=True):
            content = _read_line(line)
            if content is None:
                break  # still being written, or cut short: whatever follows is not ours
            self.place += len(line)
            match content.get("line"):
                case "head":
                    self.about = content
                case "begin":
                    self.begun = content["key"]
                case "result":
                    self.finished.add(content["key"])
                    self.begun, self.seconds = "", content["elapsed"]
                    evaluations = content["content"]["evaluations"]
                    self.evaluations, self.work = self.evaluations + evaluations, self.work + evaluations * content["content"]["atoms"]
                    found.append(content)
                case "end":
                    self.end, self.reason, self.seconds = content["end"], content.get("reason", ""), content["elapsed"]
        return found

    def silent(self) -> float:
        """Seconds, by our own clock, in which calls of this have seen no sign of work; 0 if it has not begun."""
        try:
            touched = self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0.0
        if touched != self.touched:
            self.touched, self.seen = touched, time.monotonic()
        return time.monotonic() - self.seen

    def gone(self) -> bool:
        """Whether its process is known to have ended: it ran on this machine and is no more."""
        return bool(self.about) and self.about["host"] == socket.gethostname() and birth(self.about["pid"]) != self.about["birth"]


def birth(pid: int) -> str:
    """When a process of this machine began, as text that tells it from a later one of the same number; empty for none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if words[0] == "Z" else words[19]
    except (OSError, IndexError):
        if Path("/proc/self").exists():
            return ""
    try:
        os.kill(pid, 0)
        return "?"
    except OSError:
        return ""


class AttemptLog:
    """The writing end of an attempt, one process only."""

    def __init__(self, path: Path, task: str):
        self.path, self.clock, self.synced = path, time.monotonic(), 0.0
        self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        _sync_folder(path.parent)
        self._write({"line": "head", "task": task, "host": socket.gethostname(), "pid": os.getpid(), "birth": birth(os.getpid()), "time": time.time()})

    def _write(self, content: Mapping[str, Any], sync: bool = True) -> None:
        data = _line(content)
        try:
            if os.write(self.handle, data) != len(data):
                raise OSError(28, "the disk is full")
            if sync or time.monotonic() - self.synced >= SYNC:
                os.fsync(self.handle)
                self.synced = time.monotonic()
        except OSError as error:
            raise ArchiveError(f"{self.path}: cannot be written ({error.strerror or error}); free some space, then resume") from error

    def elapsed(self) -> float:
        return round(time.monotonic() - self.clock, 4)

    def begin(self, key: str) -> None:
        """Note that the crystal of the candidate `key` is the one in hand."""
        self._write({"line": "begin", "key": key})

    def result(self, item: Item, protocol: str, content: Mapping[str, Any], crystal: Crystals | None, cpu: float = 0.0, peak_mib: float = 0.0) -> None:
        """One crystal has ended under a protocol; written when this returns, on the disk within a second of work. cpu: seconds since the last one; peak_mib: memory of the worker."""
        self._write({"line": "result", "key": item.key, "of": item.content, "under": protocol, "content": dict(content),
                     "crystal": None if crystal is None else pack(crystal), "cpu": round(cpu, 4), "peak_mib": round(peak_mib), "elapsed": self.elapsed()}, sync=False)

    def alive(self) -> None:
        """Show that the worker is at work, without writing."""
        os.utime(self.handle if os.utime in os.supports_fd else self.path)

    def end(self, why: str, reason: str = "") -> None:
        """The last line: the worker stops by itself."""
        self._write({"line": "end", "end": why, "reason": reason, "elapsed": self.elapsed()})

    def close(self) -> None:
        os.close(self.handle)


class Spool:
    """The folder; made by the driver (`make`), opened by workers."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).absolute()
        self.beat_path, self.protocol_path = self.folder / "beat.json", self.folder / "protocol.json"
        self.tasks, self.attempts, self.deaths_path = self.folder / "tasks", self.folder / "attempts", self.folder / "deaths.log"

    def make(self) -> Spool:
        """Make the folder, for its owner alone; ArchiveError where that cannot be."""
        try:
            for path in (self.folder, self.tasks, self.attempts):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ArchiveError(f"{self.folder}: cannot be made ({error.strerror}); the folder of the run must allow writing") from None
        return self

    def remove(self) -> None:
        """Take the folder away with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # the driver's heartbeat

    def write_beat(self, session: str, count: int, stop: bool) -> None:
        """Show that the driver lives; not synced, since it means nothing after a crash of the machine."""
        new = self.beat_path.with_name(f".beat.{os.getpid()}")
        new.write_text(json.dumps({"session": session, "count": count, "stop": stop}))
        new.replace(self.beat_path)

    def beat(self) -> dict[str, Any]:
        """The driver's last heartbeat, empty if there is none."""
        try:
            return json.loads(self.beat_path.read_text())
        except (OSError, ValueError):
            return {}

    # protocol and tasks

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        with replacing(path) as new:
            new.write_text(to_json(content, path.name), encoding="utf-8")

    def read_json(self, path: Path) -> dict[str, Any]:
        try:
            return from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"cannot be read ({error.strerror}); is the folder of the run on a file system that every node sees?", str(path)) from None

    def write_task(self, key: str, protocol: str, items: Sequence[Item], careful: bool) -> None:
        """Put a task where workers find it."""
        blobs = encode(Crystals.join([i.crystal for i in items]))
        self.write_json(self.tasks / f"{key}.json", {
            "task": key, "protocol": protocol, "careful": careful,
            "crystals": [{"key": i.key, "content": i.content, "crystal": base64.b64encode(blob).decode()} for i, blob in zip(items, blobs, strict=True)]})

    def read_task(self, key: str) -> tuple[str, list[Item], bool]:
        """(protocol, crystals, whether they go one by one); BadInput for a crystal that is not the one its key names."""
        content = self.read_json(self.tasks / f"{key}.json")
        crystals = unpack([c["crystal"] for c in content["crystals"]])
        items = [Item(c["key"], c["content"], crystal) for c, crystal in zip(content["crystals"], crystals, strict=True)]
        for item, packed in zip(items, content["crystals"], strict=True):
            if content_key(base64.b64decode(packed["crystal"])) != item.content:
                raise BadInput(f"the crystal of {item.key} is damaged", key)
        return content["protocol"], items, bool(content["careful"])

    # attempts

    def attempt_path(self, task: str, name: str) -> Path:
        return self.attempts / f"{task}.{name}.log"

    def attempts_here(self) -> Iterator[Attempt]:
        """Every attempt in the folder, oldest name first, not yet read."""
        for path in sorted(self.attempts.glob("*.log")):
            yield Attempt(path, path.name.partition(".")[0])

    def forget(self, attempt: Attempt, task_too: bool) -> None:
        """Remove an attempt whose results all stand in the archive or never will, and its task."""
        attempt.path.unlink(missing_ok=True)
        if task_too:
            (self.tasks / f"{attempt.task}.json").unlink(missing_ok=True)

    # deaths

    def deaths(self) -> list[dict[str, Any]]:
        """Every death written down: {"key", "of", "under", "alone", "how"}."""
        try:
            lines = self.deaths_path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [c for c in map(_read_line, lines) if c is not None]

    def add_deaths(self, deaths: Sequence[Mapping[str, Any]]) -> None:
        """Write deaths down for good."""
        with self.deaths_path.open("ab") as file:
            file.write(b"\n")  # ends a line that a crash has cut short
            for death in deaths:
                file.write(_line(death))
            file.flush()
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
