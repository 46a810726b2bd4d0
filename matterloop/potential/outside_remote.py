"""An oracle in an environment and process of its own, reached over the pipes of outside_worker.py."""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ..base.errors import BadInput, NeedsPackage
from ..crystal.state import Crystals
from . import outside_worker as wire
from .oracle import Labels

WORKER = Path(wire.__file__)
AT_ONCE = 64  # crystals sent together
DEATHS = 3  # of the worker over one crystal, before the crystal is set aside


class NotReady(NeedsPackage):
    """The environment, the package or the weights of a remote oracle are not there."""

    def __init__(self, text: str):
        ImportError.__init__(self, text)


class Died(Exception):
    """The worker ended, or does not answer; the text says how."""


class Worker:
    """One running outside_worker.py; it ends with `close`, with the last reference to this object, or with this process."""

    def __init__(self, python: Path):
        self.process = subprocess.Popen([str(python), "-I", str(WORKER), str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, start_new_session=True)
        self.said: deque[bytes] = deque(maxlen=40)  # last lines of its standard error
        self.frames: queue.Queue = queue.Queue()
        self.listeners = [threading.Thread(target=_read, args=(self.process.stdout, self.frames), daemon=True),
                          threading.Thread(target=_read_errors, args=(self.process.stderr, self.said), daemon=True)]
        for thread in self.listeners:
            thread.start()
        self.close = weakref.finalize(self, _end, self.process, self.listeners, os.getpid())  # before the interpreter takes the threads away

    def send(self, header: dict, *arrays) -> None:
        """Raises Died if nobody reads."""
        try:
            wire.write_frame(self.process.stdin, header, *arrays)
        except OSError:
            raise Died(self.epitaph()) from None

    def receive(self, seconds: float) -> tuple[dict, bytes]:
        """The next frame; Died if none comes within `seconds` or the worker is gone."""
        try:
            frame = self.frames.get(timeout=seconds)
        except queue.Empty:
            raise Died(f"it gave no answer within {seconds:g} s") from None
        if frame is None:
            raise Died(self.epitaph())
        return frame

    def epitaph(self) -> str:
        """How it ended, with the last line it said."""
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "it spoke out of turn"
        self.listeners[1].join(1)
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 and -code in list(signal.Signals) else f"ended with code {code}"
        last = [line for raw in self.said if (line := raw.decode(errors="replace").strip())][-1:]
        return f"it {end}" + (f" ({last[0][-300:]})" if last else "")


def _read(pipe, frames: queue.Queue) -> None:
    with suppress(wire.Broken, OSError, ValueError):
        while (frame := wire.read_frame(pipe)) is not None:
            frames.put(frame)
    frames.put(None)


def _read_errors(pipe, said: deque[bytes]) -> None:
    with suppress(OSError, ValueError):
        for line in pipe:
            said.append(line[-500:])


def _end(process: subprocess.Popen, listeners: list[threading.Thread], owner: int) -> None:
    """End a worker and what it started, at once; a fork of this process leaves it to the process that started it."""
    if owner != os.getpid():
        return
    if process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    process.wait()
    with suppress(OSError, ValueError):
        process.stdin.close()
    for thread, pipe in zip(listeners, (process.stdout, process.stderr), strict=True):
        thread.join(5)
        if not thread.is_alive():  # closing what a thread reads would wait for ever
            pipe.close()


class RemoteOracle:
    """An ASE calculator of another environment as an oracle; its process starts with the first label and ends with this one.

    python          the interpreter of that environment; it needs numpy, ase and the package
    maker           a name of outside_worker.MAKERS, or FILE.py:FUNCTION; called there as function(device, **options) it returns the calculator
    name            stored beside every number
    energy_scheme   what its energies mean ("mp-raw", "pbe-raw", ...); hulls refuse to mix schemes
    options         plain values for the maker
    forces, stress, free_energy  as for AseOracle
    seconds         longest wait for one crystal, and `start_seconds` for the calculator (it may download weights)

    A worker that dies is started again. A crystal on which it died, or was silent for too long, DEATHS times is set aside: BadInput names it, as
    it does a crystal on which the calculator fails. Answers for the others are kept for the next call.
    """

    def __init__(self, python: str | Path, maker: str, name: str, energy_scheme: str, *, device: str = "cpu", options: Mapping | None = None,
                 forces: bool = True, stress: bool = True, free_energy: bool = False, seconds: float = 300.0, start_seconds: float = 900.0):
        self.python, self.maker, self.name, self.energy_scheme = Path(python), maker, name, energy_scheme
        self.device, self.options = device, dict(options or {})
        self.want = {"forces": forces, "stress": stress, "free_energy": free_energy}
        self.seconds, self.start_seconds = seconds, start_seconds
        self.versions: dict[str, str] = {}  # of the packages there, once the worker runs
        self._fresh()

    def _fresh(self) -> None:
        self._lock, self._owner, self._worker = threading.Lock(), os.getpid(), None
        self._deaths: dict[bytes, list[str]] = {}  # digest of a crystal -> how the worker died on it
        self._kept: dict[bytes, dict | str] = {}  # digest -> answer or error, of the last call that failed

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._fresh()

    def __enter__(self) -> RemoteOracle:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; the next label starts another."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def label(self, crystals: Crystals) -> Labels:
        """Energies (crystals,) eV, forces (atoms, 3) eV/Å, stresses (crystals, 3, 3) eV/Å^3 positive under tension, and moments if it has them.

        The stress of a structure that is not periodic is NaN. Raises BadInput naming the crystal, NeedsPackage if the calculator cannot be made.
        """
        if bool((crystals.species == 0).any()):
            raise BadInput("an atom is of an undecided element (0)", f"crystal {int(crystals.owner[(crystals.species == 0).nonzero()[0, 0]])}")
        if self._owner != os.getpid():
            self._fresh()  # forked: the worker belongs to the other process
        home = crystals.cell.device
        bare = crystals.bare().to(torch.float64).to("cpu")
        frames = [(c.species.numpy(), c.cart.numpy(), c.cell[0].numpy(), c.periodic[0].numpy()) for c in (bare[k] for k in range(len(bare)))]
        with self._lock:
            try:
                answers = self._answers(frames)
            except BaseException:  # Ctrl-C too: what the worker still sends would answer the next question
                self.close()
                raise
        return self._labels(answers, bare.atoms, home)

    def _labels(self, answers: list[dict], atoms: int, home: torch.device) -> Labels:
        def joined(name: str, shape: tuple) -> torch.Tensor | None:
            if not all(name in a for a in answers):
                return None
            parts = [torch.as_tensor(a[name]) for a in answers]
            return torch.cat([torch.zeros(shape, dtype=torch.float64), *parts]).to(home)

        forces = joined("forces", (0, 3)) if self.want["forces"] else None
        stress = joined("stress", (0, 3, 3)) if self.want["stress"] else None
        return Labels(joined("energy", (0,)), forces, stress, None, joined("magmoms", (0,)) if answers else None)

    def _answers(self, frames: list[tuple]) -> list[dict]:
        keys = [hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in f)).digest() for f in frames]
        found = {k: self._kept[k] for k in keys if k in self._kept}
        todo = [k for k, key in enumerate(keys) if key not in found]
        try:
            while todo:
                self._ask(frames, keys, todo[:AT_ONCE], found)
                todo = [k for k in todo if keys[k] not in found]
        finally:
            self._kept = found
        for k, key in enumerate(keys):
            if isinstance(found[key], str):
                raise BadInput(found[key], f"crystal {k}")
        self._kept = {}
        return [found[key] for key in keys]

    def _ask(self, frames: list[tuple], keys: list[bytes], which: list[int], found: dict) -> None:
        """Put answers and errors of some crystals into `found`, all of them or those before the worker's death."""
        for k in which:
            if len(self._deaths.get(keys[k], ())) >= DEATHS:
                found[keys[k]] = f"the worker of {self.name!r} died on it {DEATHS} times, it is set aside: {self._deaths[keys[k]][-1]}"
        which = [k for k in which if keys[k] not in found]
        if not which:
            return
        self._start()
        current = which[0]
        try:
            self._worker.send({"op": "label", "crystals": len(which), "seconds": self.seconds, "want": self.want}, *wire.pack([frames[k] for k in which]))
            for current in which:
                found[keys[current]] = self._read(*self._worker.receive(self.seconds), len(frames[current][0]))
        except Died as death:
            self.close()
            self._deaths.setdefault(keys[current], []).append(str(death))

    def _start(self) -> None:
        if self._worker is not None and self._worker.process.poll() is None:
            return
        self.close()
        try:
            self._worker = Worker(self.python)
        except OSError as error:
            raise NotReady(f"{self.python} cannot be started ({error.strerror}); set the environment of {self.name!r} up again") from None
        try:
            self._worker.send({"op": "make", "maker": self.maker, "device": self.device, "options": self.options})
            answer, _ = self._worker.receive(self.start_seconds)
        except Died as death:
            raise NotReady(f"the worker of {self.name!r} did not come up: {death}") from None
        if "error" in answer:
            text = f"the calculator of {self.name!r} cannot be made: {answer['error']}"
            if answer["kind"] == "weights":
                raise NotReady(f"{text}; its weights may need a download: let the package fetch them where there is a network, or pass path=FILE")
            if answer["kind"] == "package":
                raise NotReady(text)
            raise BadInput(answer["error"], f"the calculator of {self.name!r}")
        self.versions = answer["versions"]

    def _read(self, header: dict, body: bytes, atoms: int) -> dict | str:
        """Arrays by name with a leading axis of crystals where Labels have one, or what went wrong."""
        if "lacks" in header:
            return f"the calculator of {self.name!r} gives no {header['lacks']}; make the oracle with {header['lacks']}=False to do without"
        if "error" in header:
            return f"the calculator of {self.name!r} failed: {header['error']}"
        wanted = {"energy": (1,), "forces": (atoms, 3), "stress": (3, 3), "magmoms": (atoms,)}
        answer, at = {}, 0
        for name, shape in header["found"].items():
            if tuple(shape) != wanted.get(name):
                return f"the calculator of {self.name!r} gave {name} of shape {shape}, wanted {wanted.get(name)}"
            size = int(np.prod(shape))
            values = np.frombuffer(body, wire.REAL, size, at).reshape(shape).copy()
            answer[name], at = (values[None] if name == "stress" else values), at + 8 * size
        return answer
