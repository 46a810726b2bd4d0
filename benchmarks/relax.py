"""Relax the same strained and rattled MP-20 crystals with matterloop and with chgnet's StructOptimizer, in one process on the same threads.

    python benchmarks/relax.py --crystals 32 --threads 2 --data FOLDER

Both start from the published crystal strained by 3 % and rattled by 0.05 Å (normal, per component), fmax 0.05 eV/Å, at most 500 steps, FIRE and L-BFGS of ours
against FIRE of theirs (their default). Prints seconds (of the wall clock, and of the CPU for machines that are not idle), evaluations,
ratios, and how the relaxed energies differ.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy and scipy load: ASE's cell filter solves 3 x 3 systems, which BLAS threads make five times slower

import numpy as np  # noqa: E402


def crystals(data: Path, count: int, seed: int):
    """`count` random crystals of the MP-20 validation set, disturbed: (Crystals, names)."""
    import pandas as pd
    import torch

    from matterloop.crystal.formats import from_pymatgen
    from pymatgen.core import Structure

    table = pd.read_csv(data / "mp20_biternary_val_test" / "val.csv.gz")
    rows = table.sample(count, random_state=seed)
    found = from_pymatgen([Structure.from_str(text, fmt="cif") for text in rows["cif"]])
    start = getattr(found, "crystals", found).bare()
    rng = np.random.default_rng(seed)
    bend = rng.normal(size=(count, 3, 3)) * 0.03 / 3**0.5
    cell = start.cell @ torch.from_numpy(np.eye(3) + (bend + bend.swapaxes(1, 2)) / 2)
    push = torch.from_numpy(rng.normal(size=(start.atoms, 3)) * 0.05)
    frac = start.frac + torch.bmm(push[:, None], torch.linalg.inv(cell)[start.owner])[:, 0]
    return start.put(cell=cell, frac=frac), rows["material_id"].tolist()


def ours(start, optimizer: str, batch_atoms: int, oracle):
    from matterloop.measure.relax import relax

    begin = time.process_time()
    result = relax(start, oracle, optimizer=optimizer, fmax=0.05, steps=500, batch_atoms=batch_atoms)
    return {
        "seconds": result.seconds, "cpu_seconds": time.process_time() - begin, "evaluations": result.evaluations, "converged": int(result.converged.sum()),
        "per_crystal": {q: float(np.quantile([r.steps + 1 for r in result], q)) for q in (0.5, 0.9, 1.0)}}, result.energies_per_atom.numpy()


def theirs(start):
    """chgnet's own optimiser, one crystal after another; its wrapper does not return the model's load time, which is not counted."""
    from chgnet.model.dynamics import StructOptimizer
    from pymatgen.core import Structure

    optimizer = StructOptimizer(use_device="cpu")
    energies, evaluations, converged, seconds, cpu = [], 0, 0, 0.0, 0.0
    for one in start:
        structure = Structure(one.cell[0].numpy(), one.species.tolist(), one.frac.numpy())
        begin, cpu_begin = time.perf_counter(), time.process_time()
        answer = optimizer.relax(structure, fmax=0.05, steps=500, verbose=False)
        seconds, cpu = seconds + time.perf_counter() - begin, cpu + time.process_time() - cpu_begin
        trajectory = answer["trajectory"]
        evaluations += len(trajectory.energies) - 1  # its observer writes the last frame twice
        converged += len(trajectory.energies) - 2 < 500
        energies.append(trajectory.energies[-1] / one.atoms)
    return {"seconds": seconds, "cpu_seconds": cpu, "evaluations": evaluations, "converged": converged}, np.array(energies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-atoms", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=os.environ.get("MATTERLOOP_DATA"), required="MATTERLOOP_DATA" not in os.environ)
    parser.add_argument("--without-chgnet", action="store_true", help="time matterloop only")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of data sets with --data or MATTERLOOP_DATA")
    warnings.simplefilter("ignore")
    import torch

    from matterloop.base.registry import load

    torch.set_num_threads(options.threads)
    start, _ = crystals(options.data, options.crystals, options.seed)
    oracle = load("chgnet", role="potential")
    oracle.label(start[:2])
    report, energies = {"crystals": len(start), "atoms": start.atoms, "threads": options.threads}, {}
    for name in ("fire", "lbfgs"):
        report[name], energies[name] = ours(start, name, options.batch_atoms, oracle)
        print(name, report[name], file=sys.stderr)
    if not options.without_chgnet:
        report["chgnet"], reference = theirs(start)
        for name, e in energies.items():
            gap = e - reference
            report[name]["ratio"] = report["chgnet"]["seconds"] / report[name]["seconds"]
            report[name]["ratio_of_cpu_seconds"] = report["chgnet"]["cpu_seconds"] / report[name]["cpu_seconds"]
            report[name]["energy_gap_ev_per_atom"] = {
                "median": float(np.nanmedian(gap)), "lowest": float(np.nanmin(gap)), "highest": float(np.nanmax(gap)),
                "within_1e-3": int((np.abs(gap) < 1e-3).sum())}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
