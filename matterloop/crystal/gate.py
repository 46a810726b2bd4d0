"""What a structure from outside must satisfy before any library sees it, and a child process with limits for the libraries.

A cell of 0.01 x 0.01 x 1000 Å with 24 atoms makes neighbour searches ask for gigabytes; so text is bounded before it is parsed, numbers are
checked before distances are computed, and distances are computed with a bounded number of lattice images.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.elements import MAX_Z
from ..base.errors import BadInput

if TYPE_CHECKING:
    from .state import Crystals


@dataclass(frozen=True)
class Limits:
    """Bounds for structures from outside; those on geometry apply along periodic axes only.

    bytes            text of one structure
    file_bytes       a table or a file of many structures
    atoms            atoms of one structure
    lengths          Å, lattice vectors
    angles           degrees, between lattice vectors
    volume_per_atom  Å^3, of structures periodic along all axes
    min_distance     Å, any two atoms (images included) are at least this far apart
    memory, cpu, wall  bytes and seconds that a child process running a library may use for one structure
    """

    bytes: int = 1_000_000
    file_bytes: int = 2_000_000_000
    atoms: int = 500
    lengths: tuple[float, float] = (1.5, 200.0)
    angles: tuple[float, float] = (4.0, 176.0)
    volume_per_atom: tuple[float, float] = (2.0, 250.0)
    min_distance: float = 0.5
    memory: int = 2 << 30
    cpu: int = 10
    wall: int = 30


# text


def read_text(path: str | Path, limits: Limits, *, many: bool = False) -> str:
    """Text of a regular file (UTF-8, `.gz` unpacked) within the limits; BadInput with a sentence for every other case.

    `many` allows `file_bytes` instead of `bytes`.
    """
    path = Path(path)
    most = limits.file_bytes if many else limits.bytes
    raise_with = "file_bytes" if many else "bytes"
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadInput("it is a folder, a file is wanted; name the files, for example folder/*.cif", file=path)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput("it is a device, pipe or socket, a regular file is wanted", file=path)
        if status.st_size > most:
            raise BadInput(f"{status.st_size} bytes, allowed are {most}; raise Limits({raise_with}=...)", file=path)
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise BadInput("there is no such file", file=path) from None
    except PermissionError:
        raise BadInput("it may not be read: permission denied", file=path) from None
    except (OSError, ValueError) as error:  # a loop of links, a name with a NUL character, ...
        raise BadInput(f"it cannot be read: {getattr(error, 'strerror', None) or error}", file=path) from None
    if path.suffix == ".gz":
        data = _unpacked(data, most, path)
    if len(data) > most:
        raise BadInput(f"more than {most} bytes; raise Limits({raise_with}=...)", file=path)
    return decoded(data, str(path))


def _unpacked(data: bytes, most: int, path: Path) -> bytes:
    """gzip without ever holding more than the limit: members one after the other."""
    out, left = b"", data
    try:
        while left and len(out) <= most:
            member = zlib.decompressobj(wbits=31)
            out += member.decompress(left, most + 1 - len(out))
            if not member.eof and len(out) <= most:
                raise BadInput("the gzip file ends too early", file=path)
            left = member.unused_data
    except zlib.error as error:
        raise BadInput(f"it is not a gzip file: {error}", file=path) from None
    return out


def decoded(data: bytes, file: str = "") -> str:
    """UTF-8 text of `data`, line ends made \\n; BadInput that names the encoding it seems to be in."""
    if not data.strip():
        raise BadInput("it is empty", file=file)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadInput("it is UTF-16 text; save it as UTF-8", file=file)
    if (at := data.find(0)) >= 0:
        raise BadInput(f"it is not text: byte {at} is zero (a binary file, or UTF-16 without a mark)", file=file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"line {line} holds the byte 0x{data[error.start]:02x}, which is not UTF-8 (Latin-1, perhaps); save it as UTF-8", file=file) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


# geometry


def cell_problem(lengths: Sequence[float], angles: Sequence[float], limits: Limits) -> str:
    """A sentence about cell parameters (Å, degrees) outside the limits, or nothing; needs no lattice vectors, so it can run first."""
    for name, value, (low, high) in [*((n, x, limits.lengths) for n, x in zip("abc", lengths)),
                                     *((n, x, limits.angles) for n, x in zip(("alpha", "beta", "gamma"), angles))]:
        if not low <= value <= high:
            unit, option = ("Å", "lengths") if name in "abc" else ("°", "angles")
            return f"{name} = {value:.6g} {unit}, allowed are {low:g} to {high:g} {unit}; widen Limits({option}=...) if it is meant"
    return ""


def problems(crystals: Crystals, limits: Limits | None = None) -> dict[int, str]:
    """{index: sentence} of the crystals that must not go on, the first trouble of each; nothing is computed that a bad cell could blow up.

    Order: finite numbers, species, atoms, volume, lengths and angles, volume per atom, shortest distance. Without `limits` only what no
    structure can be (the conditions of `Crystals.checked`). Cost: pairs of atoms, times lattice images only for very thin cells.
    """
    import torch

    found: dict[int, str] = {}
    alive = torch.ones(len(crystals), dtype=torch.bool)

    def refuse(bad, sentence):
        for i in (bad.cpu() & alive).nonzero()[:, 0].tolist():
            found[i] = sentence(i)
            alive[i] = False

    def any_site(bad):
        return torch.zeros(len(crystals), dtype=torch.bool, device=bad.device).index_put((crystals.owner[bad],), torch.tensor(True, device=bad.device))

    crystals = crystals.bare().to(torch.float64)
    refuse(~torch.isfinite(crystals.cell).flatten(1).all(1), lambda i: "the cell holds a number that is not finite")
    refuse(any_site(~torch.isfinite(crystals.frac).all(1)), lambda i: "a coordinate is not finite")
    refuse(any_site((crystals.species < 0) | (crystals.species > MAX_Z)), lambda i: f"an atomic number is outside 0..{MAX_Z}")
    refuse(crystals.counts == 0, lambda i: "it has no atoms")
    safe = torch.where(alive[:, None, None].to(crystals.cell.device), crystals.cell, torch.eye(3, dtype=torch.float64, device=crystals.cell.device))
    det = torch.linalg.det(safe)
    flat = det.abs() <= 1e-9 * safe.norm(dim=-1).prod(-1).clamp(min=1e-12)
    refuse(flat, lambda i: "the cell has no volume: its vectors lie in one plane")
    if limits is None:
        return found
    refuse(crystals.counts > limits.atoms, lambda i: f"{int(crystals.counts[i])} atoms, allowed are {limits.atoms}; raise Limits(atoms=...)")
    lengths, angles = crystals.lengths, crystals.angles
    low, high = limits.lengths
    refuse((((lengths < low) | (lengths > high)) & crystals.periodic).any(1), lambda i, low=low: cell_problem(_shown(lengths[i], crystals.periodic[i], low), (), limits))
    both = torch.stack([crystals.periodic[:, j] & crystals.periodic[:, k] for j, k in ((1, 2), (0, 2), (0, 1))], -1)
    low, high = limits.angles
    refuse((((angles < low) | (angles > high)) & both).any(1), lambda i: cell_problem((), _shown(angles[i], both[i], low), limits))
    per_atom = crystals.volume / crystals.counts.clamp(min=1)
    low, high = limits.volume_per_atom
    refuse(((per_atom < low) | (per_atom > high)) & crystals.periodic.all(1),
           lambda i: f"{float(per_atom[i]):.6g} Å^3 per atom, allowed are {low:g} to {high:g}; widen Limits(volume_per_atom=...) if it is meant")
    kept = alive.nonzero()[:, 0]
    for i, sentence in _too_close(crystals[kept], limits).items():
        found[int(kept[i])] = sentence
    return found


def _shown(values, counts, allowed: float) -> list[float]:
    """Values along periodic axes; those that do not count replaced by an allowed one."""
    return [x if c else allowed for x, c in zip(values.tolist(), counts.tolist(), strict=True)]


CHUNK = 2_000_000  # pairs of atoms looked at together


def _too_close(crystals: Crystals, limits: Limits) -> dict[int, str]:
    """Crystals with two atoms nearer than `min_distance`.

    When the lattice planes of all periodic axes are at least 2 d apart, two points nearer than d differ by less than half a cell along every
    axis, so the image found by rounding is the only one to look at; thinner cells go through the general search.
    """
    import torch

    from .graph import Within
    from .segments import runs

    if not len(crystals):
        return {}
    found: dict[int, str] = {}
    least = limits.min_distance
    spacing = 1 / torch.linalg.inv(crystals.cell).norm(dim=-2)
    thin = ((spacing < 2 * least) & crystals.periodic).any(1)
    for i in thin.nonzero()[:, 0].tolist():
        one = crystals[i].wrapped()
        images = float(torch.where(one.periodic, torch.floor(2 * least / spacing[i]) + 1, torch.ones_like(spacing[i])).prod())
        if images * int(one.counts[0]) ** 2 > CHUNK:
            found[i] = f"lattice planes are {float(spacing[i].min()):.3g} Å apart, too near for {int(one.counts[0])} atoms to be told apart"
            continue
        graph = Within(least)(one)
        if len(graph):
            found[i] = _pair_sentence(one, 0, int(graph.senders[0]), int(graph.receivers[0]), float(graph.vectors(one)[0].norm()), least)
    pairs = torch.where(thin, torch.zeros_like(crystals.counts), crystals.counts**2)
    ends = pairs.cumsum(0)
    start = 0
    while start < len(crystals):
        base = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(ends, base + CHUNK, right=True)))
        sub = torch.arange(start, min(stop, len(crystals)))
        owner = sub.repeat_interleave(pairs[sub])
        k = runs(torch.zeros_like(sub), pairs[sub])
        first, n = crystals.offsets[:-1][owner], crystals.counts[owner]
        left, right = first + k // n, first + k % n
        keep = left < right
        owner, left, right = owner[keep], left[keep], right[keep]
        step = crystals.frac[right] - crystals.frac[left]
        step = torch.where(crystals.periodic[owner], step - step.round(), step)
        length = torch.bmm(step[:, None], crystals.cell[owner])[:, 0].norm(dim=-1)
        for j in (length < least).nonzero()[:, 0].tolist():
            i = int(owner[j])
            if i not in found:
                found[i] = _pair_sentence(crystals, i, int(left[j]), int(right[j]), float(length[j]), least)
        start = int(sub[-1]) + 1
    return found


def _pair_sentence(crystals: Crystals, i: int, left: int, right: int, length: float, least: float) -> str:
    from ..base.elements import symbol

    begin = int(crystals.offsets[i])
    names = [f"{symbol(int(crystals.species[a]))} (atom {a - begin})" for a in (left, right)]
    return f"{names[0]} and {names[1]} are {length:.3g} Å apart, at least {least:g} Å is wanted; they overlap"


# a child process with limits


def run_limited(script: Path, tasks: Sequence[str], limits: Limits) -> list[dict]:
    """Run `script` over `tasks` in a child of its own session; {"error": ...} for each task that broke a limit, the others go on.

    The script reads a JSON list on standard input and answers one JSON line per task. It limits its own memory, CPU seconds and wall time
    per task before it loads a library; the child has no shell, no environment but a few variables, and is killed with its whole group when
    it does not end. A task after which the child died is reported as such and a new child takes the rest.
    """
    answers: list[dict] = []
    while len(answers) < len(tasks):
        rest = list(tasks[len(answers):])
        argv = [sys.executable, "-I", str(script), str(limits.memory), str(limits.cpu), str(limits.wall)]
        environment = {"PATH": os.defpath, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"}
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, env=environment)
        late = False
        try:
            out, _ = child.communicate(json.dumps(rest).encode(), timeout=limits.wall * (len(rest) + 1))
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
        lines = [line for line in out.split(b"\n") if line.endswith(b"}")]
        if not lines and child.returncode == 3:
            raise BadInput("the child process for outside libraries could not start", "gate")
        answers += [json.loads(line) for line in lines[: len(rest)]]
        if len(answers) < len(tasks):
            answers.append({"error": _ended(child.returncode, late, limits)})
    return answers


def _ended(code: int, late: bool, limits: Limits) -> str:
    if late or code == -signal.SIGALRM:
        return f"the library took more than {limits.wall} s; stopped"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"the library used more than {limits.cpu} s of CPU or was killed for memory; stopped"
    return f"the library crashed (exit status {code}), perhaps at the memory limit of {limits.memory >> 20} MiB"
