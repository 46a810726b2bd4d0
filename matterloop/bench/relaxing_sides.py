"""The two sides of the relaxation benchmark and its judge, each run as a process of its own: python -m matterloop.bench.relaxing_sides SIDE FOLDER.

FOLDER holds task.json and starts.npz; a side appends one JSON line for each crystal (or batch size) to SIDE.jsonl as soon as it has it, and goes on
after the last whole line when it is started again. The peer is StructOptimizer of the chgnet package (B. Deng et al., Nature Machine Intelligence 5,
1031 (2023), doi:10.1038/s42256-023-00716-3) with its defaults: FIRE on a Fréchet cell filter, one crystal after another. Its own criterion divides the
virial by the number of atoms and so leaves a few tenths of a GPa; here it goes on until the judge's limits are met, the earliest moment at which its
end counts, and what it had when its own criterion was met is written down as well ("as_shipped").
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..base.units import gpa_to_stress
from ..crystal.state import Crystals

FMAX, SMAX = 0.05, 0.1  # eV/Å and GPa, as the judge asks
MARGIN = 0.98  # of both limits, for our run: the judge's engine rounds otherwise
STEPS = 500


def write_starts(path: Path, starts: Crystals) -> None:
    """Crystals as plain arrays."""
    np.savez(path, frac=starts.frac.numpy(), species=starts.species.numpy(), cell=starts.cell.numpy(), counts=starts.counts.numpy())


def read_starts(path: Path) -> Crystals:
    """What `write_starts` wrote."""
    with np.load(path, allow_pickle=False) as held:
        return Crystals.of(held["frac"], held["species"], held["cell"], held["counts"])


def lines(path: Path) -> Iterator[dict]:
    """Whole lines of a file that a kill may have cut."""
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if text.endswith("\n"):
                yield json.loads(text)


class Book:
    """A file of JSON lines that grows; a half line at its end is cut off first."""

    def __init__(self, path: Path):
        self.path, self.held = path, list(lines(path))
        path.write_text("".join(json.dumps(x) + "\n" for x in self.held), encoding="utf-8")

    def add(self, record: dict) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def peak_mib() -> float:
    """Most memory this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def geometry(crystal: Crystals) -> dict:
    return {"frac": crystal.frac.tolist(), "cell": crystal.cell[0].tolist()}


def ours(task: dict, starts: Crystals, book: Book) -> None:
    """matterloop: one line for each batch size, with all crystals; those drawn from the set run together, those added for the bins after them."""
    from ..base.registry import load
    from ..measure.relax import relax

    oracle = load("chgnet", role="potential")
    relax(starts, oracle, steps=1, keep_symmetry=task["symmetric"])  # imports, tables and scratch space are not what is measured
    loaded = peak_mib()
    for batch_atoms in task["batch_sizes"]:
        if any(x["batch_atoms"] == batch_atoms for x in book.held):
            continue
        settings = {"fmax": MARGIN * FMAX, "smax": gpa_to_stress(MARGIN * SMAX), "steps": STEPS, "batch_atoms": batch_atoms, "keep_symmetry": task["symmetric"]}
        found = relax(starts[: task["drawn"]], oracle, **settings)
        peak = peak_mib()
        added = relax(starts[task["drawn"] :], oracle, **settings)
        book.add({
            "batch_atoms": batch_atoms, "seconds": found.seconds, "evaluations": found.evaluations, "loaded_mib": loaded, "peak_mib": peak,
            "crystals": [{"seconds": r.seconds, "evaluations": len(r.energies), "status": r.status, "reason": r.reason, **geometry(r.crystal)} for r in (*found, *added)]})


def theirs(task: dict, starts: Crystals, book: Book) -> None:
    """chgnet: one line for each crystal."""
    from chgnet.model.dynamics import FIRE, StructOptimizer

    from ..crystal.formats import to_pymatgen

    class Judged(FIRE):
        """FIRE that ends where the judge's limits are met, and remembers where its own criterion was."""

        shipped: dict | None = None

        def gradient_converged(self, gradient) -> bool:
            atoms = self.atoms.atoms  # behind the cell filter
            if Judged.shipped is None and super().gradient_converged(gradient):
                Judged.shipped = {"seconds": time.perf_counter() - Judged.begin, "evaluations": self.nsteps + 1, "frac": atoms.get_scaled_positions(wrap=False).tolist(),
                                  "cell": atoms.cell.array.tolist()}
            force, stress = np.linalg.norm(atoms.get_forces(), axis=1).max(), np.abs(atoms.get_stress()).max()
            return bool(force <= FMAX and stress <= gpa_to_stress(SMAX))

    optimizer = StructOptimizer(use_device="cpu", optimizer_class=Judged)
    structures, Judged.begin = to_pymatgen(starts), time.perf_counter()
    optimizer.relax(structures[0].copy(), fmax=FMAX, steps=2, verbose=False)
    loaded = peak_mib()
    for k, structure in enumerate(structures):
        if k < len(book.held):
            continue
        Judged.shipped, Judged.begin = None, time.perf_counter()
        record = {"evaluations": 0, "loaded_mib": loaded, "as_shipped": None, **geometry(starts[k])}
        try:
            answer = optimizer.relax(structure, fmax=FMAX, steps=STEPS, verbose=False)
            made, final = len(answer["trajectory"].energies) - 1, answer["final_structure"]  # its observer writes the last frame twice
            record |= {"evaluations": made, "status": "converged" if made <= STEPS else "steps", "reason": "", "frac": final.frac_coords.tolist(), "cell": final.lattice.matrix.tolist()}
        except Exception as error:  # a fault of the peer is a result, not ours
            record |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        seconds = time.perf_counter() - Judged.begin
        book.add(record | {"seconds": seconds, "peak_mib": peak_mib(), "as_shipped": Judged.shipped})


def judge(task: dict, starts: Crystals, book: Book) -> None:
    """The original chgnet on the end of every relaxation: energy, largest force, largest stress component; one line for each of a side's crystals."""
    from chgnet.model import CHGNet

    from ..crystal.formats import to_pymatgen

    folder = Path(task["folder"])
    ends = [("ours", k, x) for k, x in enumerate(next(iter(lines(folder / "ours.jsonl")))["crystals"])]
    peer = list(lines(folder / "theirs.jsonl"))
    ends += [("theirs", k, x) for k, x in enumerate(peer)] + [("as_shipped", k, x["as_shipped"] | {"status": ""}) for k, x in enumerate(peer) if x["as_shipped"]]
    model = CHGNet.load(use_device="cpu", verbose=False)
    for place, (side, k, end) in enumerate(ends):
        if place < len(book.held):
            continue
        record = {"side": side, "crystal": k, "fmax": float("nan"), "smax_gpa": float("nan"), "energy_per_atom": float("nan")}
        if end["status"] != "failed":
            crystal = starts[k].put(frac=torch.tensor(end["frac"], dtype=torch.float64), cell=torch.tensor([end["cell"]], dtype=torch.float64))
            found = model.predict_structure(to_pymatgen(crystal)[0])
            record |= {"fmax": float(np.linalg.norm(found["f"], axis=1).max()), "smax_gpa": float(np.abs(found["s"]).max()), "energy_per_atom": float(found["e"])}
        book.add(record)


def symmetry_kept(start: Crystals, end: Crystals, symprec: float = 0.01) -> tuple[bool, int, int]:
    """Whether every operation of `start` is one of `end` too (within `symprec` Å), and both space-group numbers (0: none found)."""
    from ..base.errors import BadInput
    from ..crystal.symmetry import Symmetrizer, analyse

    before = Symmetrizer.of(start, symprec)
    bent = float((before.cell(end.cell) - end.cell).abs().max())
    holds = float(before.broken(end).max()) <= symprec and bent <= symprec
    try:
        after = analyse(end, symprec)[0].number
    except BadInput:
        after = 0
    return holds, before.number[0], after


SIDES = {"ours": ours, "theirs": theirs, "judge": judge}


def main(side: str, folder: str) -> None:
    """Run one side in `folder`."""
    import warnings

    warnings.simplefilter("ignore")  # of the peer's dependencies
    task = json.loads((Path(folder) / "task.json").read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    SIDES[side](task | {"folder": folder}, read_starts(Path(folder) / "starts.npz"), Book(Path(folder) / f"{side}.jsonl"))


def environment(threads: int) -> dict[str, str]:
    """Environment of a side: `threads` for torch, one for BLAS (ASE's cell filter solves 3 x 3 systems, which BLAS threads make five times slower)."""
    words = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **words}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
