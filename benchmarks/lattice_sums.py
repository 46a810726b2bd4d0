"""How long the infinite sums of pair potentials take per structure of MP-20, beside pymatgen's Ewald sum of the Coulomb part alone.

    python benchmarks/lattice_sums.py [--crystals 256] [--theirs 32] [--repeats 3] [--data-dir DIR]

One JSON line: milliseconds of processor time per structure, medians of `repeats`: `translations` finds primitive cells, `sums` gives all three sums of every
pair of atoms, `potnet_graph` is both and the neighbours; `pymatgen` is its Ewald matrix for charges +1 and -1, and `error` the largest relative difference
between its energy and ours over the crystals that both had.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from matterloop.archive.sources import data_path
from matterloop.base.elements import symbol
from matterloop.base.registry import load
from matterloop.base.seeds import torch_stream
from matterloop.crystal.formats import read_table
from matterloop.crystal.lattice_sums import pair_sums
from matterloop.crystal.translations import translations

DATA, FILE = "mp20_biternary_val_test", "val.csv.gz"


def spent(repeats, act):
    """Median processor seconds of `act`, and what it gave last."""
    seconds = []
    for _ in range(repeats):
        begun = time.process_time()
        found = act()
        seconds.append(time.process_time() - begun)
    return statistics.median(seconds), found


def charges(count):
    """(count,) +1 and -1 in turn, and 0 for the last of an odd number: neutral."""
    q = np.where(np.arange(count) % 2, -1.0, 1.0)
    q[count - count % 2 :] = 0
    return q


def theirs(crystals):
    """Ewald energies of pymatgen, e^2 / Å."""
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Lattice, Structure

    out = []
    for c in crystals:
        structure = Structure(Lattice(c.cell[0].numpy()), [symbol(z) for z in c.species.tolist()], c.frac.numpy())
        structure.add_oxidation_state_by_site(charges(c.atoms).tolist())
        out.append(EwaldSummation(structure).total_energy / EwaldSummation.CONV_FACT)
    return np.array(out)


def ours(crystals):
    """The same energies from our sums."""
    receivers, senders, sums = pair_sums(crystals)
    q = torch.from_numpy(np.concatenate([charges(n) for n in crystals.counts.tolist()]))
    owner = crystals.owner[receivers]
    return torch.zeros(len(crystals), dtype=torch.float64).index_add(0, owner, q[receivers] * q[senders] * sums[:, 0] / 2).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=256)
    parser.add_argument("--theirs", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data-dir")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = read_table(data_path(DATA, FILE, data_dir=given.data_dir), rows=slice(0, 10 * given.crystals))
    crystals = table.crystals.bare()[torch.randperm(len(table.crystals), generator=torch_stream(0, "lattice_sums"))[: given.crystals]]
    encoder, few = load("potnet", "encoder"), crystals[: given.theirs]
    find, _ = spent(given.repeats, lambda: translations(crystals))
    add, _ = spent(given.repeats, lambda: pair_sums(crystals))
    graph, _ = spent(given.repeats, lambda: encoder.graph(crystals))
    other, energy = spent(1, lambda: theirs(few))
    mine = ours(few)
    known = np.abs(energy) > 1e-6
    ms = lambda seconds, count: round(1e3 * seconds / count, 3)
    print(json.dumps({
        "crystals": len(crystals), "atoms": crystals.atoms, "pairs": int((crystals.counts**2).sum()), "threads": 1, "torch": torch.__version__,
        "ms_per_structure": {"translations": ms(find, len(crystals)), "sums": ms(add, len(crystals)), "potnet_graph": ms(graph, len(crystals)),
                             "pymatgen": ms(other, len(few))},
        "pymatgen_over_sums": round(other / len(few) / (add / len(crystals)), 1), "error": float(np.abs(mine / np.where(known, energy, 1) - 1)[known].max())}))


if __name__ == "__main__":
    main()
