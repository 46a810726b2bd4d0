"""The judges of judge/cdvae_suite.py beside matminer and SMACT: MP-20 val as if it were generated, equality on real crystals, and the ratio of times.

    python benchmarks/judges.py [--data-dir DIR] [--count 1000] [--crystals 300] [--compositions 1000] [--seed 0] [--record FILE]

Both sides run in this process, one after the other, CPU seconds are compared. The column "body-centered cubic" of the CrystalNN fingerprint depends on the order of neighbours by weights
that are often equal but for rounding; it is told apart: how many crystals differ in it, by how much, and for how many of these matminer's own answer changes when the crystal is
turned and its atoms are put into another order. Exits with 1 when any other answer differs by more than 1e-6.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.sources import data_path
from matterloop.base.elements import symbol
from matterloop.base.machine import hardware, versions
from matterloop.base.registry import load
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.composition import composition_matrix, compositions, reduced
from matterloop.crystal.formats import read_table, to_pymatgen
from matterloop.crystal.state import Crystals
from matterloop.judge.cdvae_suite import Features, compare, mp20_test
from matterloop.judge.chemistry_sense import charge_balanced
from matterloop.judge.statistics import Symmetries
from matterloop.represent.crystal_nn import LABELS, CrystalNN, fingerprints
from matterloop.represent.magpie import of_counts

SOURCES = (("mp20_biternary_val_test", "test.csv.gz"), ("mpts52_val_test", "val.csv.gz"))
MP20_ITSELF = {"structure_valid": 1.0, "composition_valid": 0.906}  # as published, all of MP-20
LARGEST = 24  # atoms of a crystal that is compared with matminer
CLOSE = 1e-6
ORDERED = "body-centered cubic CN_8"


def timed(work):
    """(answer, CPU seconds)."""
    begun = time.process_time()
    answer = work()
    return answer, time.process_time() - begun


def as_generated(count, data_dir, seed):
    """MP-20 val as a generated set against MP-20 test, with and without energies."""
    held = read_table(data_path("mp20_biternary_val_test", "val.csv.gz", data_dir=data_dir)).crystals.bare()
    crystals = held[np.sort(numpy_stream(seed, "judges").choice(len(held), min(count, len(held)), replace=False)).tolist()]
    reference = mp20_test()
    oracle = load("chgnet", role="potential")
    energies, labelling = timed(lambda: torch.cat([oracle.label(p).energy / p.counts for p in crystals.split(512)]).tolist())
    found, describing = timed(lambda: Features.of(crystals, energies=energies))
    figures, comparing = timed(lambda: compare(found, *reference, seed=seed))
    symmetries, searching = timed(lambda: Symmetries.of(crystals))
    return {"structures": len(crystals), "atoms": crystals.atoms, "figures": figures, "published": MP20_ITSELF, "p1_share": symmetries.p1() / len(crystals),
            "cpu_seconds": {"energies": labelling, "features": describing, "comparison": comparing, "symmetry": searching}}


def chosen(count, data_dir, seed):
    """Random crystals of at most LARGEST atoms, half from each source."""
    parts = []
    for k, (name, file) in enumerate(SOURCES):
        crystals = read_table(data_path(name, file, data_dir=data_dir), rows=slice(0, 3000)).crystals.bare()
        rows = (crystals.counts <= LARGEST).nonzero()[:, 0].numpy()
        parts.append(crystals[np.sort(numpy_stream(seed, "judges", k).choice(rows, count // len(SOURCES), replace=False)).tolist()])
    return Crystals.join(parts)


def crystal_nn(crystals, seed):
    """Ours against matminer's fingerprint."""
    from matminer.featurizers.site.fingerprint import CrystalNNFingerprint

    made = CrystalNNFingerprint.from_preset("ops")
    assert tuple(made.feature_labels()) == LABELS
    theirs = lambda batch: np.array([np.mean([made.featurize(s, i) for i in range(len(s))], axis=0) for s in to_pymatgen(batch)])
    CrystalNN()(crystals[:2]), theirs(crystals[:1])
    (ours, failed), mine = timed(lambda: fingerprints(crystals))
    wanted, other = timed(lambda: theirs(crystals))
    off = np.abs(ours.numpy() - wanted)
    ordered = LABELS.index(ORDERED)
    others, suspects = np.delete(off, ordered, axis=1), np.flatnonzero(~(off[:, ordered] <= CLOSE))
    rng, undecided = numpy_stream(seed, "retold"), 0
    for i in suspects.tolist():
        one, again = crystals[i], [wanted[i, ordered]]
        for _ in range(3):
            turn = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3)))).Q
            again.append(theirs(one.rotated(turn * torch.linalg.det(turn)).shuffled(torch.from_numpy(rng.permutation(one.atoms))))[0, ordered])
        undecided += bool(np.ptp(again) > CLOSE)
    return {"crystals": len(crystals), "sites": crystals.atoms, "without_fingerprint": len(failed), "largest_difference": float(others.max()), "differ": int((~(others.max(1) <= CLOSE)).sum()),
            "ordered_column": {"differ": len(suspects), "largest_difference": float(off[:, ordered].max()), "undecided_by_matminer": undecided},
            "cpu_seconds": [mine, other], "ratio": other / mine}


def magpie(counts):
    """Ours against matminer's ElementProperty."""
    from matminer.featurizers.composition.composite import ElementProperty
    from pymatgen.core import Composition

    made = ElementProperty.from_preset("magpie")
    formulas = [Composition({symbol(z): int(row[z]) for z in np.flatnonzero(row)}) for row in counts]
    of_counts(counts[:2])
    ours, mine = timed(lambda: of_counts(counts))
    wanted, other = timed(lambda: np.array([made.featurize(f) for f in formulas]))
    off = float(np.abs(ours - wanted).max())
    return {"compositions": len(counts), "largest_difference": off, "differ": int(off > CLOSE), "cpu_seconds": [mine, other], "ratio": other / mine}


def smact(crystals):
    """Ours against SMACT's function with the pinned oxidation states."""
    from smact.screening import ICSD24FilterConfig, smact_validity

    setting = ICSD24FilterConfig(consensus=1, commonality="low")
    listed = [reduced(c) for c in compositions(crystals)]
    text = lambda c: "".join(f"{symbol(z)}{n}" for z, n in c)
    charge_balanced.cache_clear()
    ours, mine = timed(lambda: [charge_balanced(c) for c in listed])
    wanted, other = timed(lambda: [bool(smact_validity(text(c), use_pauling_test=True, include_alloys=True, icsd_filter=setting)) for c in listed])
    return {"compositions": len(listed), "valid": float(np.mean(ours)), "differ": sum(a != b for a, b in zip(ours, wanted, strict=True)), "cpu_seconds": [mine, other], "ratio": other / mine}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", default=None)
    for name, count in (("count", 1000), ("crystals", 300), ("compositions", 1000), ("seed", 0)):
        options.add_argument(f"--{name}", type=int, default=count)
    options.add_argument("--record", type=Path)
    given = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    val = read_table(data_path("mp20_biternary_val_test", "val.csv.gz", data_dir=given.data_dir), rows=slice(0, given.compositions)).crystals.bare()
    record = {"as_generated": as_generated(given.count, given.data_dir, given.seed), "magpie": magpie(composition_matrix(val).numpy()), "smact": smact(val),
              "crystal_nn": crystal_nn(chosen(given.crystals, given.data_dir, given.seed), given.seed), "hardware": hardware(), "versions": versions()}
    print(json.dumps(record, indent=1))
    if given.record:
        given.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.exit(int(any(record[part]["differ"] for part in ("magpie", "smact", "crystal_nn"))))


if __name__ == "__main__":
    main()
