"""Our evaluation of CHGNet beside the chgnet package on MP-20 structures: largest differences and the ratio of speeds.

    python benchmarks/chgnet_parity.py [--structures 200] [--threads 2] [--repeats 3] [--data-dir ...]

Both sides run in this process with the same number of threads, in turns, from parsed structures to energies, forces, stresses and magnetic
moments; building the graphs counts on both sides. The package gets its fastest batch size of those tried.
"""

import argparse
import csv
import gzip
import os
import platform
import resource
import time
import warnings
from pathlib import Path


def read_structures(data_dir: Path, count: int) -> list:
    from pymatgen.core import Structure

    csv.field_size_limit(10**8)
    with gzip.open(data_dir / "mp20_biternary_val_test" / "test.csv.gz", "rt") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [Structure.from_str(row["cif"], fmt="cif") for row, _ in zip(csv.DictReader(file), range(count), strict=False)]


def timed(call):
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--package-batches", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MATTERLOOP_DATA"), required="MATTERLOOP_DATA" not in os.environ)
    args = parser.parse_args()

    import numpy as np
    import torch
    from chgnet.model import CHGNet

    from matterloop.base.units import stress_to_gpa
    from matterloop.crystal.state import Crystals
    from matterloop.potential.chgnet import CHGNetOracle

    torch.set_num_threads(args.threads)
    structures = read_structures(args.data_dir, args.structures)
    crystals = Crystals.of(
        np.concatenate([s.frac_coords for s in structures]), [z for s in structures for z in s.atomic_numbers],
        np.stack([s.lattice.matrix for s in structures]), [len(s) for s in structures])
    ours = CHGNetOracle(device="cpu")
    package = CHGNet.load(use_device="cpu", verbose=False)
    ours.label(crystals[:8])
    package.predict_structure(structures[:8])

    few = structures[: max(32, len(structures) // 4)]
    batch = min(args.package_batches, key=lambda size: min(timed(lambda: package.predict_structure(few, batch_size=size))[0] for _ in range(2)))
    mine, theirs = [], []
    for _ in range(args.repeats):
        mine.append(timed(lambda: ours.label(crystals)))
        theirs.append(timed(lambda: package.predict_structure(structures, batch_size=batch)))
    labels, expected = mine[0][2], theirs[0][2]
    column = lambda key: np.concatenate([np.atleast_1d(e[key]) for e in expected])
    worst = {
        "energy (eV/atom)": (np.abs((labels.energy / crystals.counts).numpy() - column("e")), 1e-4),
        "forces (eV/Å)": (np.abs(labels.forces.numpy() - column("f")), 1e-3),
        "stress (GPa)": (np.abs(stress_to_gpa(labels.stress).numpy() - np.stack([e["s"] for e in expected])), 1e-2),
        "magnetic moments (muB)": (np.abs(labels.magmoms.numpy() - column("m")), 1e-3),
    }
    print(f"{len(crystals)} MP-20 structures, {crystals.atoms} atoms; torch {torch.__version__}, {args.threads} threads, {platform.processor() or platform.machine()}, "
          f"load {os.getloadavg()[0]:.1f}")
    for name, (difference, limit) in worst.items():
        print(f"largest difference, {name:24s} {difference.max():.2e}   limit {limit:.0e}   {'met' if difference.max() <= limit else 'NOT MET'}")
    for clock, k in (("wall", 0), ("CPU", 1)):
        a, b = min(m[k] for m in mine), min(t[k] for t in theirs)
        print(f"{clock:4s} seconds, best of {args.repeats}: ours {a:.2f} ({len(crystals) / a:.1f} structures/s), package {b:.2f} "
              f"({len(crystals) / b:.1f} structures/s, batches of {batch}); ratio {b / a:.1f}")
    print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    if any(difference.max() > limit for difference, limit in worst.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
