"""The ladder of judge/sun.py beside StructureMatcher: the same answers on real pairs of one reduced formula, groups too, and the ratio of times.

    python benchmarks/novelty.py [--data-dir DIR] [--found 900] [--made 60] [--crystals 1000] [--seed 0]

Pairs found: two entries of one reduced formula from MP-20, MPTS-52, WBM, Carbon-24, Perov-5 and the LeMat files of MP, AFLOW, Alexandria and OQMD, so duplicates
across databases and polymorphs. Pairs made: a real crystal beside a re-telling of itself (supercell, other cell, shift, order, mirror image, scaled),
a rattled or strained copy at tolerances from certain to hopeless, a supercell rattled around the 0.25 Å at which pymatgen's reduction gives up, and a
cell doubled with a small wave. Exits with 1 when an answer differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

TABLES = {  # name -> (file, rows read)
    "mp20": ("mp20_biternary_val_test/val.csv.gz", 7140), "pilot": ("mp20_pilot_3x1000/train.csv.gz", 1000), "mpts52": ("mpts52_val_test/val.csv.gz", 3000),
    "wbm": ("wbm_10k/val.csv.gz", 10_000), "carbon24": ("cdvae_carbon24/val.csv.gz", 120), "perov5": ("cdvae_perov5/val.csv.gz", 3787),
}
LEMAT = "gen_baseline_cifs_lemat/cifs_all.tar.zst"
LARGEST = 40  # atoms of a crystal that enters


def real_crystals(data_dir, lemat=True):
    """(crystals, names) of every source, at most LARGEST atoms each."""
    from matterloop.crystal.formats import read, read_table
    from matterloop.crystal.state import Crystals

    parts, names = [], []
    for source, (file, count) in TABLES.items():
        found = read_table(Path(data_dir) / file, rows=slice(0, count))
        parts.append(found.crystals.bare())
        names += [f"{source}:{n}" for n in found.names]
    if lemat:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["tar", "--zstd", "-xf", str(Path(data_dir) / LEMAT), "-C", folder], check=True)
            found = read(sorted(Path(folder).rglob("*.cif")))
            parts.append(found.crystals.bare())
            names += [f"{Path(n).parent.name}:{Path(n).stem}" for n in found.names]
    crystals = Crystals.join(parts)
    keep = (crystals.counts <= LARGEST).nonzero()[:, 0].tolist()
    return crystals[keep], [names[i] for i in keep]


def found_pairs(crystals, names, count, rng):
    """(index, index) of two entries with one reduced composition, at most two pairs of each, mono-elemental ones included."""
    from matterloop.crystal.composition import compositions, reduced

    by_formula = {}
    for i, c in enumerate(compositions(crystals)):
        by_formula.setdefault(reduced(c), []).append(i)
    pairs = []
    for formula, rows in sorted(by_formula.items()):
        if len(rows) < 2:
            continue
        most = 40 if formula == ((6, 1),) else 3
        for _ in range(min(most, len(rows) * (len(rows) - 1) // 2)):
            i, j = rng.choice(rows, 2, replace=False).tolist()
            if (i, j) not in pairs:
                pairs.append((i, j))
    return [pairs[k] for k in sorted(rng.permutation(len(pairs))[:count].tolist())]


def retold(one, rng):
    """The same crystal in other words: cell, origin, order, orientation."""
    import torch

    shear = torch.eye(3, dtype=torch.long)
    for _ in range(2):
        a, b = rng.choice(3, 2, replace=False)
        step = torch.eye(3, dtype=torch.long)
        step[a, b] = int(rng.integers(-1, 2))
        shear = shear @ step
    one = one.recelled(shear).shifted(torch.tensor(rng.random((1, 3)))).shuffled(torch.tensor(rng.permutation(one.atoms)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return one.rotated(torch.tensor(turn * np.sign(np.linalg.det(turn)))).wrapped()


def repeated(one, rng, most=64):
    """A supercell of at most `most` atoms."""
    options = [n for n in ((2, 1, 1), (1, 1, 2), (1, 3, 1), (2, 2, 1), (2, 2, 2), (3, 1, 2)) if int(np.prod(n)) * one.atoms <= most]
    return one.repeated(*options[rng.integers(len(options))]) if options else one


def rattled(one, sigma, rng):
    """Atoms moved by Gaussian steps of `sigma` Å."""
    import torch

    step = torch.tensor(rng.normal(0, sigma, (one.atoms, 3)))
    return one.put(frac=one.frac + torch.bmm(step[:, None], torch.linalg.inv(one.cell)[one.owner])[:, 0]).wrapped()


def strained(one, size, rng):
    """Cell under a random symmetric strain with entries of about `size`."""
    import torch

    e = rng.normal(0, size, (3, 3))
    return one.put(cell=one.cell @ torch.tensor(np.eye(3) + (e + e.T) / 2))


def mirrored(one):
    """The mirror image: Cartesian z changes sign (and the cell its vectors, to stay right-handed)."""
    import torch

    return one.put(cell=-(one.cell @ torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))), frac=(-one.frac) % 1)


def waved(one, size, rng):
    """A doubled cell whose atoms move by `size` Å, up in one half and down in the other."""
    import torch

    two = one.repeated(2, 1, 1)
    sign = torch.where(two.frac[:, :1] % 1 < 0.5, 1.0, -1.0)
    axis = torch.tensor(rng.normal(size=3))
    step = sign * size * axis / axis.norm()
    return two.put(frac=two.frac + torch.bmm(step[:, None], torch.linalg.inv(two.cell)[two.owner])[:, 0]).wrapped()


def free_length(one):
    """(V/N)^(1/3) in Å, the unit of StructureMatcher's site tolerance."""
    return float(one.volume[0] / one.atoms) ** (1 / 3)


MADE = {
    "supercell, re-told": lambda c, rng: retold(repeated(c, rng), rng),
    "re-told": retold,
    "mirrored, re-told": lambda c, rng: retold(mirrored(c), rng),
    "scaled": lambda c, rng: c.put(cell=c.cell * rng.uniform(0.8, 1.3)),
    "rattled within symmetry tolerance": lambda c, rng: retold(rattled(repeated(c, rng), 0.003, rng), rng),
    "rattled around symmetry tolerance": lambda c, rng: retold(rattled(c, rng.uniform(0.005, 0.05), rng), rng),
    "rattled around site tolerance": lambda c, rng: retold(rattled(c, rng.uniform(0.08, 0.25) * free_length(c), rng), rng),
    "rattled beyond": lambda c, rng: rattled(c, rng.uniform(0.25, 0.5) * free_length(c), rng),
    "strained around length tolerance": lambda c, rng: retold(strained(c, rng.uniform(0.05, 0.25), rng), rng),
    "strained a little": lambda c, rng: strained(c, rng.uniform(1e-4, 2e-2), rng),
    "supercell rattled around 0.25 Å": lambda c, rng: rattled(repeated(c, rng), rng.uniform(0.03, 0.2), rng),
    "doubled with a wave": lambda c, rng: waved(c, rng.uniform(0.005, 0.4), rng),
}


def made_pairs(crystals, per_kind, rng, most_atoms=20):
    """[(kind, crystal, changed crystal)]: `per_kind` of each, a third of them cubic with every site fixed where the sources have such."""
    from matterloop.judge.sun import describe, rigid

    small = [i for i in rng.permutation(len(crystals)).tolist() if int(crystals.counts[i]) <= most_atoms][: 40 * per_kind]
    described = describe(crystals[small], [str(i) for i in small])
    stiff = [i for i, d in zip(small, described, strict=True) if d.gene is not None and rigid(d.gene)][: 4 * per_kind]
    chiral = [i for i, d in zip(small, described, strict=True) if d.gene is not None and d.symmetry.point_group in ("1", "2", "222", "3", "32", "4", "422", "6", "622", "23", "432")]
    out = []
    for kind, change in MADE.items():
        source = chiral if "mirror" in kind and chiral else small
        for k in range(per_kind):
            pool = stiff if stiff and k % 3 == 0 else source
            one = crystals[pool[int(rng.integers(len(pool)))]]
            out.append((kind, one, change(one, rng)))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MATTERLOOP_DATA"), required="MATTERLOOP_DATA" not in os.environ)
    parser.add_argument("--found", type=int, default=900)
    parser.add_argument("--made", type=int, default=60, help="pairs of each kind")
    parser.add_argument("--crystals", type=int, default=1000, help="for the groups")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    from pymatgen.core.structure_matcher import StructureMatcher

    from matterloop.crystal.composition import compositions, reduced
    from matterloop.crystal.formats import to_pymatgen
    from matterloop.crystal.matching import groups, prepare
    from matterloop.crystal.state import Crystals
    from matterloop.judge.sun import Sun, compare, describe

    rng = np.random.default_rng(args.seed)
    crystals, names = real_crystals(args.data_dir)
    pairs = [(f"{names[i]} | {names[j]}", "found", crystals[i], crystals[j]) for i, j in found_pairs(crystals, names, args.found, rng)]
    pairs += [(kind, kind, a, b) for kind, a, b in made_pairs(crystals, args.made, rng)]
    pairs = [p for p in pairs if all(reduced(compositions(x)[0]) == reduced(compositions(p[2])[0]) for x in p[2:])]
    print(f"{len(crystals)} real crystals; {len(pairs)} pairs of one reduced formula")

    matcher = StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=True, scale=True)
    theirs, ours, seconds = [], [], [0.0, 0.0]
    asymmetric = refused = 0
    for _, _, a, b in pairs:
        s, t = to_pymatgen(a)[0], to_pymatgen(b)[0]
        begun = time.perf_counter()
        theirs.append(bool(matcher.fit(s, t)))
        seconds[0] += time.perf_counter() - begun
        begun = time.perf_counter()
        one, other = describe(Crystals.join([a.bare(), b.bare()]), ["a", "b"])
        if one.trouble or other.trouble:
            refused += 1
            ours.append(None)
        else:
            ours.append(compare(one, other))
        seconds[1] += time.perf_counter() - begun
        asymmetric += bool(matcher.fit(t, s)) != theirs[-1]
    kinds = Counter((p[1], t) for p, t in zip(pairs, theirs, strict=True))
    for kind in dict.fromkeys(p[1] for p in pairs):
        print(f"  {kind:36s} {kinds[kind, True]:5d} match {kinds[kind, False]:5d} do not")
    print(f"StructureMatcher: {sum(theirs)} match, {len(theirs) - sum(theirs)} do not; {asymmetric} pairs change with the order of the two")
    rungs = Counter((o.rung, o.same) for o in ours if o is not None)
    print("decided by: " + ", ".join(f"{rung} ({'same' if same else 'different'}) {n}" for (rung, same), n in sorted(rungs.items())))
    wrong = [(p[0], t, o) for p, t, o in zip(pairs, theirs, ours, strict=True) if o is not None and o.same != t]
    print(f"{len(wrong)} of {len(pairs) - refused} answers differ ({refused} refused: atoms too near)")
    for label, t, o in wrong:
        print(f"  {label}: StructureMatcher {t}, ladder {o}")
    print(f"single pairs, nothing cached: fit {seconds[0]:.2f} s, ladder {seconds[1]:.2f} s, ratio {seconds[0] / seconds[1]:.2f}")

    by_formula = {}
    for i, c in enumerate(compositions(crystals)):
        by_formula.setdefault(reduced(c), []).append(i)
    rich = [i for _, held in sorted(by_formula.items(), key=lambda x: -len(x[1])) if 2 <= len(held) <= 60 for i in held][: args.crystals // 2]
    rows = sorted({*rich, *rng.permutation(len(crystals))[: args.crystals // 2].tolist()})  # half of them polymorphs, half at random
    several = crystals[rows]
    begun = time.perf_counter()
    structures = to_pymatgen(several)
    known = {id(s): k for k, s in enumerate(structures)}
    plain = sorted(sorted(known[id(s)] for s in g) for g in matcher.group_structures(structures))
    grouping = time.perf_counter() - begun
    begun = time.perf_counter()
    grouped = sorted(sorted(g) for g in groups(prepare(several)))
    cached = time.perf_counter() - begun
    begun = time.perf_counter()
    unique = [r.passed for r in Sun().uniques(describe(several, [str(i) for i in rows]))]
    laddered = time.perf_counter() - begun
    equal = grouped == plain and [i for i, u in enumerate(unique) if u] == sorted(g[0] for g in plain)
    print(f"groups of {len(rows)} crystals with {len({reduced(c) for c in compositions(several)})} formulas: {len(plain)}; "
          f"{'equal' if equal else 'DIFFERENT'}; group_structures {grouping:.1f} s, groups {cached:.1f} s (ratio {grouping / cached:.1f}), "
          f"ladder {laddered:.1f} s (ratio {grouping / laddered:.1f})")
    together = {}
    for k, i in enumerate(rows):
        together.setdefault(reduced(compositions(crystals[i])[0]), []).append(k)
    every = [(a, b) for held in together.values() for n, a in enumerate(held) for b in held[n + 1:]]
    few = [every[k] for k in rng.permutation(len(every))[:200]]
    begun = time.perf_counter()
    for a, b in few:
        matcher.fit(to_pymatgen(several[a])[0], to_pymatgen(several[b])[0])
    pairwise = (time.perf_counter() - begun) / max(len(few), 1) * len(every)
    print(f"StructureMatcher.fit on each of the {len(every)} pairs of one formula: about {pairwise:.0f} s (from {len(few)} pairs), ratio {pairwise / laddered:.1f}")
    return 1 if wrong or not equal else 0


if __name__ == "__main__":
    sys.exit(main())
