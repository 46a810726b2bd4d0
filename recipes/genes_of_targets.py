"""Genes for the compositions of a structure prediction, drawn from a gene network that learnt from MP-20 val alone.

    python recipes/train_wyckoff_transformer.py train --only mp20_val --width 128 --blocks 4 --heads 4 --folder runs/wyckoff_mp20_val
    python recipes/genes_of_targets.py runs/wyckoff_mp20_val/weights.pt runs/genes_of_targets.jsonl [--targets 1000] [--draws 96]
    matterloop bench predict-structure --work runs/csp_genes --targets 1000 --genes runs/genes_of_targets.jsonl

The score of a gene is its share among the draws of its composition, times WEIGHT: how much of it is chance of a match (chosen on compositions of val).
A composition that is in the file is not asked again.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.records import Ask
from matterloop.base.errors import BadInput
from matterloop.base.seeds import numpy_stream, torch_stream
from matterloop.bench.structure_prediction import TARGETS, read
from matterloop.bench.structure_prediction_files import crystal_of
from matterloop.crystal.composition import reduced
from matterloop.generate.gene_constraints import Rules
from matterloop.generate.gene_network import WIDTH, Conditions, GeneNetwork
from matterloop.generate.gene_sampling import sample

WEIGHT = 0.9
MOST = 20  # genes of a composition


def genes_of(network: GeneNetwork, composition: dict[int, int], draws: int, seed: int) -> list[tuple[str, float]]:
    """(key, share of the draws), most frequent first, for {atomic number: atoms in the primitive cell}; empty where no space group holds them."""
    atoms = sum(composition.values())
    ask = Ask(formula=reduced(composition), atoms=(atoms, atoms), n_elements=(len(composition), len(composition)), excluded=frozenset())
    try:
        rules = Rules.of(ask, composition, neutral=False)
    except BadInput:
        return []
    amounts = torch.zeros(WIDTH)
    for z, n in composition.items():
        amounts[z] = n
    open_ = Conditions.none(draws)
    asked = Conditions(torch.zeros(draws), open_.formation_energy, open_.band_gap, open_.n_elements, torch.full((draws,), atoms), open_.system,
                       (amounts > 0).float().expand(draws, -1), amounts.expand(draws, -1))
    drawn = sample(network, rules, asked, torch_stream(seed, "genes of targets", json.dumps(sorted(composition.items()))))
    return [(key, n / draws) for key, n in Counter(g.key for g in drawn.finished).most_common(MOST)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--targets", type=int, default=0, help="random targets of the test file, the same as `predict-structure` takes; 0: all")
    parser.add_argument("--draws", type=int, default=96)
    for name, size in (("width", 128), ("blocks", 4), ("heads", 4)):
        parser.add_argument(f"--{name}", type=int, default=size, help="as trained")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = GeneNetwork(args.width, args.blocks, args.heads)
    network.load_state_dict(torch.load(args.weights, weights_only=True))
    network.eval().requires_grad_(False)
    targets = read(TARGETS)
    order = numpy_stream(args.seed, "predict structure", "targets").permutation(len(targets))
    rows = args.out.read_text(encoding="utf-8").splitlines() if args.out.exists() else []
    done = {json.dumps(json.loads(row)["composition"], sort_keys=True) for row in rows}
    right = Counter()
    with args.out.open("a", encoding="utf-8") as stream:
        for number, i in enumerate(order[: args.targets or len(order)].tolist(), 1):
            species = crystal_of(*targets[i]).species.numpy()
            composition = {int(z): int(n) for z, n in zip(*np.unique(species, return_counts=True), strict=True)}
            text = json.dumps(composition, sort_keys=True)
            if text in done:
                continue
            done.add(text)
            for key, share in genes_of(network, composition, args.draws, args.seed):
                stream.write(json.dumps({"composition": composition, "gene": key, "score": round(WEIGHT * share, 4)}) + "\n")
                right["genes"] += 1
            stream.flush()
            if number % 100 == 0:
                print(number, "targets,", right["genes"], "genes", flush=True)


if __name__ == "__main__":
    main()
