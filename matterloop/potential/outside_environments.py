"""Environments of their own for packages whose pins clash with ours: one folder each, made with venv and pip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..archive.sources import cache_dir
from ..base.errors import BadInput, MatterloopError

MARK = "matterloop.json"  # written last: an environment without it was never finished


class SetupFailed(MatterloopError, RuntimeError):
    """An environment could not be made; the text holds what pip said."""


def folder() -> Path:
    """Where the environments lie: $MATTERLOOP_ENVS, else a folder of the cache."""
    given = os.environ.get("MATTERLOOP_ENVS")
    return Path(given).expanduser() if given else cache_dir() / "envs"


def interpreter(place: Path) -> Path:
    """The Python of an environment in the folder `place`."""
    return place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def python_of(name: str) -> Path | None:
    """The Python of the finished environment called `name`, None if there is none."""
    place = folder() / name
    return interpreter(place) if (place / MARK).is_file() and interpreter(place).exists() else None


def facts(name: str) -> dict:
    """What was written when the environment was finished: versions of its packages, when; empty if there is none."""
    try:
        return json.loads((folder() / name / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def setup(name: str, packages: Sequence[str], *, torch: str, without: Sequence[str] = (), fresh: bool = False, say: Callable[[str], None] = lambda text: None) -> Path:
    """Make the environment `name` and install `packages` into it; returns its Python. One that is finished is left as it is unless `fresh`.

    torch    the version that is asked for first, so that pip takes the same build as here; where the packages' own pins refuse it, theirs counts
    without  what is taken out again, see Door

    Raises SetupFailed with the end of what pip said. What is interrupted is made anew by the next call.
    """
    place = folder() / name
    if (ready := python_of(name)) and not fresh:
        return ready
    if place.exists():
        if not (place / "pyvenv.cfg").is_file() and any(place.iterdir()):
            raise BadInput("the folder holds something else than an environment; move it away", str(place))
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    say(f"{name}: a new environment in {place}")
    _run([sys.executable, "-m", "venv", str(place)], "venv")
    python = interpreter(place)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = f"torch=={torch.partition('+')[0]}"
    say(f"{name}: installing {pinned}, then {' '.join(packages)}; this takes minutes")
    try:
        _run([*pip, pinned], "pip")
        _run([*pip, pinned, *packages], "pip")
    except SetupFailed as error:
        say(f"{name}: not with {pinned} ({str(error).splitlines()[-1][:200]}); trying the version that the package asks for")
        _run([*pip, *packages], "pip")
    if without:
        _run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *without], "pip")
    listed = json.loads(_run([str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"], "pip"))
    found = {"name": name, "packages": list(packages), "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": {p["name"]: p["version"] for p in listed}}
    waiting = place / (MARK + ".part")
    waiting.write_text(json.dumps(found, indent=1), encoding="utf-8")
    waiting.replace(place / MARK)
    return python


def remove(name: str) -> bool:
    """Delete an environment; False if there was none. BadInput if the folder is something else."""
    place = folder() / name
    if not place.exists():
        return False
    if not (place / "pyvenv.cfg").is_file():
        raise BadInput("the folder holds something else than an environment; move it away", str(place))
    shutil.rmtree(place)
    return True


def _run(command: list[str], what: str) -> str:
    """Standard output of a program; SetupFailed with the end of its standard error."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip() and not line.startswith("WARNING")]
        raise SetupFailed(f"{what} failed:\n" + "\n".join(lines[-12:]))
    return done.stdout
