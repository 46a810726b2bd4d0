"""Does the default generator give what it is asked for: chemical systems, space groups before and after relaxation, energies.

    python benchmarks/conditioning.py [--count 60] [--guidance 1 2 4] [--figure docs/conditioning.svg]

Chemical systems and space groups are drawn from the gene table's formulas with a fixed seed. Energies: genes are drawn for a target, placed and relaxed, and the mean
of what was measured is set beside the target, with a 95 % bootstrap interval; no predictor and no novelty screen acts, so that the network alone answers.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np

from matterloop.app.figures.curves import curves
from matterloop.archive.records import Ask, Limit
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.composition import composition_of, compositions
from matterloop.crystal.space_groups import lattice_points
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import Symmetry, analyse
from matterloop.generate.wyckoff_transformer import WyckoffTransformer
from matterloop.measure.labelled_genes import shipped_genes
from matterloop.measure.reference import reference_hull
from matterloop.measure.relax import relax
from matterloop.potential.chgnet import CHGNetOracle

TARGETS = {"energy_above_hull": (0.0, 0.05, 0.1, 0.2, 0.4, 0.8), "formation_energy": (-3.0, -2.0, -1.0, -0.5, 0.0)}


def relaxed(candidates, oracle):
    """(energies in eV/atom, nan where it failed; relaxed crystals)"""
    done = relax(Crystals.join([c.crystal.bare() for c in candidates]), oracle)
    return np.array([float("nan") if one.failed else one.energy_per_atom for one in done]), done.crystals


def interval(values, seed=0):
    """Mean and 95 % bootstrap interval."""
    rng = numpy_stream(seed, "interval")
    means = np.mean(rng.choice(values, (2000, len(values))), axis=1)
    return [float(np.mean(values)), *map(float, np.quantile(means, [0.025, 0.975]))]


def denser(after: Symmetry, before: Symmetry) -> bool:
    """Whether the operations of one crystal, per atom, are a whole multiple of the other's, as those of a supergroup are."""
    import moyopy

    def order(s: Symmetry) -> float:
        operations = moyopy.operations_from_number(s.number, setting=moyopy.Setting.standard()).rotations
        return len(operations) / lattice_points(s.number) / s.primitive.atoms

    ratio = order(after) / order(before)
    return ratio > 0.99 and abs(ratio - round(ratio)) < 1e-6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="candidates for each energy target")
    parser.add_argument("--each", type=int, default=5, help="candidates for each chemical system and space group")
    parser.add_argument("--asks", type=int, default=40, help="chemical systems, and space groups")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    table, rng, oracle, hull = shipped_genes(), numpy_stream(args.seed, "conditioning"), CHGNetOracle(), reference_hull("chgnet")
    report = {}

    systems = [sorted(table.genes()[i].composition) for i in rng.choice(len(table), args.asks, replace=False)]
    made, right = 0, 0
    for k, system in enumerate(systems):
        wanted = frozenset(system)
        ask = Ask(required=wanted, allowed=wanted, excluded=frozenset(), n_elements=(len(wanted), len(wanted)), atoms=(1, 20))
        found = WyckoffTransformer(share=1.0, novel=False, neutral=False, block=64).propose(ask, args.each, args.seed + k)
        made += len(found)
        right += sum(set(composition_of(c.crystal.species)) == wanted for c in found)
    report["chemical systems"] = {"asked": len(systems), "proposed": made, "honoured": right}
    print(report, flush=True)

    groups = sorted({table.parameters[i].space_group for i in rng.choice(len(table), 4 * args.asks, replace=False)})
    groups = [int(g) for g in rng.permutation(groups)[: args.asks]]
    candidates, asked = [], []
    for k, group in enumerate(groups):
        found = WyckoffTransformer(share=1.0, novel=False, block=64).propose(Ask(space_groups=frozenset({group}), atoms=(1, 20)), args.each, args.seed + k)
        candidates += found
        asked += [group] * len(found)
    before = analyse(Crystals.join([c.crystal for c in candidates]), 0.01)
    energies, ends = relaxed(candidates, oracle)
    after = analyse(ends, 0.1, on_error="keep")
    whole = np.isfinite(energies) & np.array([isinstance(s, Symmetry) for s in after])
    report["space groups"] = {
        "asked": len(groups), "proposed": len(asked), "as proposed": sum(a == b.number for a, b in zip(asked, before)), "relaxed": int(whole.sum()),
        "asked group after": sum(a == b.number for a, b, ok in zip(asked, after, whole) if ok),
        "supergroup after": sum(a != b.number and denser(b, c) for a, b, c, ok in zip(asked, after, before, whole) if ok)}
    print(report["space groups"], flush=True)

    lines = {name: [] for name in TARGETS}
    for guidance in args.guidance:
        for name, targets in TARGETS.items():
            points = []
            for target in targets:
                limits = () if name == "energy_above_hull" else (Limit(name, target - 1e-6, target + 1e-6, "eV/atom"),)
                generator = WyckoffTransformer(above_hull=target if name == "energy_above_hull" else None, guidance=guidance, share=1.0, novel=False)
                found = generator.propose(Ask(atoms=(1, 20), limits=limits), args.count, args.seed)
                energies, _ = relaxed(found, oracle)
                listed = compositions(Crystals.join([c.crystal for c in found]))
                value = hull.energy_above(listed, np.nan_to_num(energies), missing="report").above if name == "energy_above_hull" else hull.formation_energy(listed, energies)
                value = np.asarray(value)[np.isfinite(energies)]
                value = value[np.isfinite(value) & (value > -1 if name == "energy_above_hull" else True)]
                points.append((target, *interval(value)))
                print(name, guidance, points[-1], f"median {np.median(value):.3f}", flush=True)
            lines[name].append((f"guidance {guidance:g}", points))
    report["energies"] = lines
    print(json.dumps(report))
    if args.figure:
        for name, series in lines.items():
            place = args.figure.with_stem(f"{args.figure.stem}_{name}")
            place.write_text(curves(series, f"asked: {name.replace('_', ' ')}, eV/atom", "measured mean, eV/atom", diagonal=True), encoding="utf-8")


if __name__ == "__main__":
    main()
