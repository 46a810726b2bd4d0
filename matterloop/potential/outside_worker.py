"""The far end of a remote oracle: one file that runs in the environment of another package and knows nothing of matterloop.

It reads crystals from standard input, evaluates them one by one with an ASE calculator and writes the answers to standard output. A frame is
one line of JSON, whose entry `bytes` says how many bytes of plain numbers follow (float64 and int64, little endian); both are limited. Nothing
is ever unpickled from it. The program ends when its standard input closes or its parent is gone.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import os
import queue
import signal
import sys
import threading
import time

import numpy as np

LONGEST_HEADER = 1 << 20  # bytes
LARGEST_BODY = 1 << 30  # bytes
MOST_CRYSTALS = 100_000  # of one frame
REAL, INTEGER = "<f8", "<i8"


class Lacks(Exception):
    """The calculator has no such property."""


class Broken(Exception):
    """What came over the pipe is no frame."""


def write_frame(file, header: dict, *arrays) -> None:
    """One frame: the header and the bytes of the arrays, one after the other."""
    body = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    line = json.dumps({**header, "bytes": len(body)}).encode()
    if len(line) >= LONGEST_HEADER or len(body) > LARGEST_BODY:
        raise Broken(f"a frame of {len(line)} + {len(body)} bytes is too large, allowed are {LONGEST_HEADER} + {LARGEST_BODY}")
    file.write(line + b"\n" + body)
    file.flush()


def read_frame(file) -> tuple[dict, bytes] | None:
    """(header, body) of the next frame, None at the end; Broken for anything else."""
    line = file.readline(LONGEST_HEADER + 1)
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise Broken("a header without an end")
    try:
        header = json.loads(line)
    except ValueError:
        raise Broken("a header that is no JSON") from None
    size = header.get("bytes") if isinstance(header, dict) else None
    if not isinstance(size, int) or not 0 <= size <= LARGEST_BODY:
        raise Broken("a header without a size")
    body = file.read(size)
    if len(body) < size:
        return None
    return header, body


def pack(crystals: list[tuple]) -> tuple:
    """Crystals (numbers, positions, cell, periodic) as arrays of a frame, in the order that `unpack` reads."""
    column = lambda k, kind, width: np.concatenate([np.asarray(c[k], kind).reshape(-1, *width) for c in crystals])
    counts = np.array([len(c[0]) for c in crystals], INTEGER)
    return counts, column(0, INTEGER, ()), column(3, INTEGER, ()), column(1, REAL, (3,)), column(2, REAL, (3, 3))


def unpack(count: int, body: bytes) -> list[tuple]:
    """The crystals of a frame: (numbers (n,), positions (n, 3), cell (3, 3), periodic (3,))."""
    if not isinstance(count, int) or not 0 < count <= MOST_CRYSTALS or len(body) < 8 * count:
        raise Broken("a frame without a number of crystals")
    counts = np.frombuffer(body, INTEGER, count)
    atoms = int(counts.sum())
    if (counts < 0).any() or len(body) != 8 * (count + atoms + 3 * count + 3 * atoms + 9 * count):
        raise Broken("a frame whose size does not fit its crystals")
    integers = np.frombuffer(body, INTEGER, count + atoms + 3 * count)
    reals = np.frombuffer(body, REAL, offset=integers.nbytes)
    numbers, periodic = integers[count : count + atoms], integers[count + atoms :].reshape(count, 3)
    positions, cells = reals[: 3 * atoms].reshape(atoms, 3), reals[3 * atoms :].reshape(count, 3, 3)
    ends = counts.cumsum()
    return [(numbers[e - n : e], positions[e - n : e], cells[k], periodic[k].astype(bool)) for k, (e, n) in enumerate(zip(ends, counts, strict=True))]


def evaluate(calculator, numbers, positions, cell, periodic, forces: bool = True, stress: bool = True, free_energy: bool = False) -> dict:
    """{"energy": (1,) eV, "forces": (n, 3) eV/Å, "stress": (3, 3) eV/Å^3 positive under tension, "magmoms": (n,)} of one crystal; Lacks what it has not.

    The stress of what does not repeat along all axes is NaN: it has no volume.
    """
    from ase import Atoms
    from ase.calculators.calculator import PropertyNotImplementedError

    atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=periodic, calculator=calculator)
    found, asked = {}, "energy"
    try:
        found["energy"] = np.array([atoms.get_potential_energy(force_consistent=free_energy)], float)
        if forces:
            asked = "forces"
            found["forces"] = np.array(atoms.get_forces(), float)
        if stress:
            asked = "stress"
            found["stress"] = np.array(atoms.get_stress(voigt=False), float) if all(periodic) else np.full((3, 3), np.nan)
    except PropertyNotImplementedError:
        raise Lacks(asked) from None
    moments = getattr(calculator, "results", {}).get("magmoms")
    if moments is not None:
        found["magmoms"] = np.asarray(moments, float).reshape(-1)
    return found


# how each package makes its calculator; `path` is a model file of the user's own


def sevennet(device: str, path: str | None = None, **options):
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(device=device, **{"model": path or "7net-0", **options})


def mace(device: str, path: str | None = None, **options):
    from mace.calculators import MACECalculator, mace_mp

    options = {"default_dtype": "float64", **options}
    return MACECalculator(model_paths=path, device=device, **options) if path else mace_mp(device=device, **options)


def mattersim(device: str, path: str | None = None, **options):
    from mattersim.forcefield import MatterSimCalculator

    return MatterSimCalculator(device=device, **options, **({"load_path": path} if path else {}))


def orb(device: str, path: str | None = None, weights: str = "orb_v3_conservative_inf_mpa", precision: str = "float32-highest", **options):
    from orb_models.forcefield import pretrained

    given = {"weights_path": path} if path else {}
    made = getattr(pretrained, weights)(device=device, compile=device != "cpu", precision=precision, **given)
    return orb_calculator(made, device, **options)


def metatomic(device: str, path: str | None = None, **options):
    try:
        from metatomic_ase import MetatomicCalculator
    except ImportError:
        from metatomic.torch.ase_calculator import MetatomicCalculator
    if not path:
        raise ValueError("a metatomic model has no default; pass path=, an exported model file")
    return MetatomicCalculator(path, device=device, **options)


def orb_calculator(made, device: str, **options):
    """The calculator of an ORB network, by the names of older and newer releases."""
    try:
        from orb_models.forcefield.inference.calculator import ORBCalculator
    except ImportError:
        from orb_models.forcefield.calculator import ORBCalculator
    model, *adapter = made if isinstance(made, tuple) else (made,)  # newer releases return the graph adapter too
    return ORBCalculator(model, *adapter, device=device, **options)


MAKERS = {f.__name__: f for f in (sevennet, mace, mattersim, orb, metatomic)}


def serve(source, sink, parent: int) -> None:
    """Answer frames until there are no more."""
    waiting: queue.Queue = queue.Queue()
    threading.Thread(target=_listen, args=(source, waiting), daemon=True).start()
    threading.Thread(target=_outlived, args=(parent,), daemon=True).start()
    calculator = None
    while True:
        header, body = waiting.get()
        if header["op"] == "make":
            calculator = _make(header, sink)
            continue
        for k, crystal in enumerate(unpack(header["crystals"], body)):
            faulthandler.dump_traceback_later(header["seconds"] * 2 + 60, exit=True)  # should nobody be there any more to end this process
            try:
                found = evaluate(calculator, *crystal, **header["want"])
            except Lacks as error:
                write_frame(sink, {"crystal": k, "lacks": str(error)})
            except Exception as error:  # foreign code may raise anything; the next crystal may be sound
                getattr(calculator, "reset", lambda: None)()
                write_frame(sink, {"crystal": k, "error": describe(error)})
            else:
                write_frame(sink, {"crystal": k, "found": {name: list(a.shape) for name, a in found.items()}}, *(a.astype(REAL) for a in found.values()))
            faulthandler.cancel_dump_traceback_later()


def maker(name: str):
    """What makes a calculator: one of MAKERS, or FILE.py:FUNCTION."""
    if name in MAKERS:
        return MAKERS[name]
    path, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location("outside_maker", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


def describe(error: Exception) -> str:
    """One line of text, not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000]


def _make(header: dict, sink):
    try:
        calculator = maker(header["maker"])(header["device"], **header["options"])
    except Exception as error:
        chain, e = [], error
        while e is not None:
            chain.append(e)
            e = e.__cause__ or e.__context__
        fetching = any(isinstance(e, OSError) or "download" in str(e).lower() for e in chain)
        kind = "package" if any(isinstance(e, ModuleNotFoundError) for e in chain) else "weights" if fetching else "other"
        write_frame(sink, {"error": describe(error), "kind": kind})
        return None
    write_frame(sink, {"ready": True, "versions": versions()})
    return calculator


def versions() -> dict:
    """{distribution: version} of what matters for the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "numpy", "ase", "e3nn", "sevenn", "mace-torch", "mattersim", "orb-models", "metatomic-torch", "metatomic-ase", "metatrain"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _listen(source, waiting: queue.Queue) -> None:
    """Keep the pipe empty, and end the process, whatever it is computing, when the other end closes."""
    try:
        while (frame := read_frame(source)) is not None:
            waiting.put(frame)
    finally:
        os._exit(0)


def _outlived(parent: int) -> None:
    """End the process when its parent is gone though a brother of the parent holds the pipe open."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main() -> None:
    """`python -I outside_worker.py PARENT`: frames on standard input and output; what packages print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    serve(source, sink, int(sys.argv[1]))


if __name__ == "__main__":
    main()
