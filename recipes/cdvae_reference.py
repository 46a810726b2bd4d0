"""What the CDVAE suite compares generated crystals with: shipped/cdvae_mp20.npz.

    python recipes/cdvae_reference.py [--data-dir DIR] [--work runs/cdvae_reference]

Of every bi- and ternary structure of MP-20 test: CrystalNN fingerprint, elements with their counts, density, validity of the composition, CHGNet energy at the
published geometry and Wyckoff gene within 0.1 Å; of MP-20 val the means and standard deviations of the composition fingerprints. About 3 minutes on one core; what is
done is kept in --work, and a killed run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from matterloop.archive.files import replacing
from matterloop.archive.shipped import SHIPPED, write_card
from matterloop.archive.sources import data_path, source
from matterloop.base.registry import load
from matterloop.crystal.composition import composition_matrix, compositions, density, reduced
from matterloop.crystal.formats import read_table
from matterloop.crystal.state import Crystals
from matterloop.judge.cdvae_suite import Scaler
from matterloop.judge.chemistry_sense import charge_balanced
from matterloop.judge.statistics import Symmetries
from matterloop.represent.crystal_nn import CrystalNN
from matterloop.represent.magpie import of_counts

DATA = "mp20_biternary_val_test"
ATOMS = 512  # labelled together
PART = 500  # crystals of which the answers are kept together
CREDIT = ("MP-20 (Xie et al., arXiv:2110.06197; structures of the Materials Project, CC BY 4.0) as kept by the WyckoffTransformer project (Apache-2.0); CHGNet 0.3.0 weights "
          "(Deng et al., 2023); fingerprints, energies and genes computed by matterloop; published geometries are not shipped")


def by_parts(work: Path, name: str, crystals: Crystals, make: Callable[[Crystals], np.ndarray]) -> np.ndarray:
    """`make` of every part of the crystals, read from `work` where it is there."""
    found = []
    for start in range(0, len(crystals), PART):
        path = work / f"{name}-{start:05d}.npy"
        if not path.exists():
            with replacing(path) as new, new.open("wb") as file:
                np.save(file, make(crystals[start : start + PART]))
        found.append(np.load(path))
    return np.concatenate(found)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", default=None)
    options.add_argument("--work", default="runs/cdvae_reference", type=Path)
    given = options.parse_args()
    crystals = {part: read_table(data_path(DATA, f"{part}.csv.gz", data_dir=given.data_dir)).crystals.bare() for part in ("test", "val")}
    test, scaler = crystals["test"], Scaler.of(of_counts(composition_matrix(crystals["val"]).numpy()))
    oracle, kept = load("chgnet", role="potential"), lambda name, make: by_parts(given.work, name, test, make)
    energy = kept("energy", lambda part: np.concatenate([(oracle.label(p).energy / p.counts).numpy() for p in part.split(ATOMS)]))
    structure = kept("structure", lambda part: CrystalNN()(part).numpy())
    genes = kept("genes", lambda part: np.array(["" if g is None else g.text for g in Symmetries.of(part).genes]))
    valid = np.array([charge_balanced(reduced(c)) for c in compositions(test)])
    counts = composition_matrix(test).numpy()
    rows, species = counts.nonzero()
    target = SHIPPED / "cdvae_mp20.npz"
    with replacing(target) as new, new.open("wb") as file:
        np.savez_compressed(
            file, structure=structure.astype(np.float32), rows=rows.astype(np.int32), species=species.astype(np.uint8), counts=counts[rows, species].astype(np.uint8),
            density=density(test).numpy(), composition_valid=valid, energy=energy, genes=np.frombuffer("\n".join(genes).encode(), dtype=np.uint8),
            scaler_mean=scaler.mean, scaler_deviation=scaler.deviation)
    card = write_card(
        target, what=f"{len(test)} bi- and ternary structures of MP-20 test: structure fingerprints (61 numbers), atoms by element (rows, species, counts), density g/cm^3, whether the "
        f"composition is valid, energy eV/atom, Wyckoff gene within 0.1 Å (lines of text); mean and standard deviation of {len(crystals['val'])} composition fingerprints of MP-20 val",
        made_by="python recipes/cdvae_reference.py", credit=CREDIT, protocol="CHGNet at the published geometry, not relaxed", scheme=oracle.energy_scheme, potential=oracle.name,
        data=f"{DATA} {source(DATA).version}")
    print(f"{target.name}: {len(test)} structures, {target.stat().st_size / 1e6:.1f} MB; {Path(card).name}")


if __name__ == "__main__":
    main()
