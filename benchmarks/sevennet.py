"""Our evaluation of SevenNet beside the sevenn package's ASE calculator on MP-20 structures: largest differences and the ratio of speeds.

    python benchmarks/sevennet.py [--structures 50] [--threads 1] [--repeats 3] [--batch-atoms 1 32 128 512] [--model 7net-0] [--data-dir ...]

Both sides run in this process by the same number of threads, from parsed structures to energies, forces and stresses; building the graphs counts on
both sides. Rattled: every atom moved by up to 0.05 Å, so that no two bonds are equally long.
"""

import argparse
import os
import time
import warnings
from pathlib import Path


def timed(call):
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-atoms", type=int, nargs="+", default=[1, 32, 128, 512])
    parser.add_argument("--model", default="7net-0")
    parser.add_argument("--data-dir", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    import numpy as np
    import torch
    from sevenn.calculator import SevenNetCalculator

    from matterloop.base.units import stress_to_gpa
    from matterloop.bench.parity import mp20_crystals
    from matterloop.crystal.formats import to_ase
    from matterloop.potential.sevennet import SevenNetOracle

    torch.set_num_threads(args.threads)
    crystals = mp20_crystals(args.structures, data_dir=args.data_dir).bare()
    shake = torch.rand(crystals.atoms, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    rattled = crystals.put(frac=crystals.frac + 0.1 * torch.bmm(shake[:, None], torch.linalg.inv(crystals.cell)[crystals.owner])[:, 0])
    calculator = SevenNetCalculator(args.model, device="cpu")

    def package(batch):
        found = []
        for atoms in to_ase(batch):
            calculator.calculate(atoms)
            found.append(dict(calculator.results))
        return found

    package(crystals[:3])
    print(f"{args.model}: {len(crystals)} MP-20 structures, {crystals.atoms} atoms; torch {torch.__version__}, {args.threads} threads, load {os.getloadavg()[0]:.1f}")
    for name, batch in (("as they are", crystals), ("rattled", rattled)):
        theirs = [timed(lambda batch=batch: package(batch)) for _ in range(args.repeats)]
        wall, cpu = (min(run[k] for run in theirs) for k in (0, 1))
        print(f"{name}: package {len(batch) / wall:.1f} structures/s by the wall clock, {len(batch) / cpu:.1f} by CPU time ({batch.atoms / cpu:.0f} atoms/s)")
        for size in args.batch_atoms:
            oracle = SevenNetOracle(args.model, device="cpu", batch_atoms=size)
            oracle.label(batch[:4])
            ours = [timed(lambda oracle=oracle, batch=batch: oracle.label(batch)) for _ in range(args.repeats)]
            mine = [min(run[k] for run in ours) for k in (0, 1)]
            labels, expected = ours[0][2], theirs[0][2]
            energy = np.abs((labels.energy / batch.counts).numpy() - np.array([e["energy"] for e in expected]) / batch.counts.numpy()).max()
            forces = np.abs(labels.forces.numpy() - np.concatenate([e["forces"] for e in expected])).max()
            stress = stress_to_gpa(labels.stress.flatten(1)[:, [0, 4, 8, 5, 2, 1]]).numpy() - stress_to_gpa(np.stack([e["stress"] for e in expected]))
            print(f"  batches of {size:4d} atoms: {len(batch) / mine[0]:.1f} structures/s by the wall clock, {len(batch) / mine[1]:.1f} by CPU time "
                  f"({batch.atoms / mine[1]:.0f} atoms/s), {wall / mine[0]:.1f} and {cpu / mine[1]:.1f} times the package; "
                  f"largest differences {energy:.1e} eV/atom, {forces:.1e} eV/Å, {np.abs(stress).max():.1e} GPa")


if __name__ == "__main__":
    main()
