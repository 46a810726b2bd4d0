"""Neighbours of a batch in one call beside a loop over crystals with vesin: same edges, ratio of times.

    python benchmarks/neighbours.py [--crystals 64] [--radius 6.0] [--threads 1] [--repeats 30]
"""

import argparse
import os
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=64)
    parser.add_argument("--radius", type=float, default=6.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()

    import numpy as np
    import torch
    import vesin

    from matterloop.crystal.graph import Within
    from matterloop.crystal.state import Crystals

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 21, args.crystals)
    cells = [np.eye(3) * (16.0 * n) ** (1 / 3) + rng.normal(0, 0.25, (3, 3)) * (16.0 * n) ** (1 / 3) for n in counts]
    cells = [c if np.linalg.det(c) > 0 else -c for c in cells]
    crystals = Crystals.of(rng.random((counts.sum(), 3)), rng.integers(1, 90, counts.sum()), np.stack(cells), counts)
    offsets, cart, cell = crystals.offsets.tolist(), crystals.cart.numpy(), crystals.cell.numpy()
    within, search = Within(args.radius), vesin.NeighborList(cutoff=args.radius, full_list=True)

    def loop():
        return sum(len(search.compute(points=cart[a:b], box=c, periodic=True, quantities="ijS")[0])
                   for a, b, c in zip(offsets[:-1], offsets[1:], cell, strict=True))

    def best(call):
        seconds = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    assert loop() == len(within(crystals))
    ours, theirs = best(lambda: within(crystals)), best(loop)
    print(f"{args.crystals} crystals, {crystals.atoms} atoms, {loop()} edges within {args.radius} Å, {args.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"one call {ours * 1e3:.2f} ms, loop of vesin {theirs * 1e3:.2f} ms, best of {args.repeats}; ratio {theirs / ours:.2f}")
    big = Crystals.of(rng.random((10_000, 3)), [26] * 10_000, np.eye(3) * 120_000 ** (1 / 3))
    start = time.perf_counter()
    edges = len(within(big))
    print(f"10000 atoms in one cell: {edges} edges in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
