"""Train the gene network that ships: all relaxed structures of the gene table, published ones and our own candidates, with their labels.

    python recipes/train_wyckoff_transformer.py train [--hours 2] [--folder runs/wyckoff_transformer]     goes on from the folder's checkpoint
    python recipes/train_wyckoff_transformer.py write                                                    the weights and their card into the package

    python recipes/train_wyckoff_transformer.py train --only mp20_val --folder runs/wyckoff_mp20_val     from that file alone, as published: structure prediction

What a table gains between two starts is learnt from then on.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.sources import load_frame
from matterloop.bench.parity import read_cifs
from matterloop.crystal.symmetry import Symmetry, analyse
from matterloop.generate.gene_network import GeneNetwork
from matterloop.generate.gene_training import Course, Examples, fit, split
from matterloop.represent.gene_vocabulary import encode
from matterloop.generate.gene_weights import write_weights
from matterloop.learn.gene_table import GeneTable
from matterloop.measure.labelled_genes import shipped_genes
from matterloop.represent.wyckoff_gene import from_symmetry

MOST_SITES, MOST_ATOMS = 32, 100
FILES = {"mp20_val": ("mp20_biternary_val_test", "val.csv.gz")}
VALID = 0.02


def examples(table: GeneTable) -> tuple[Examples, Examples]:
    """What is trained on and what is held out: 2 % of the chemical systems, published structures only."""
    genes = table.genes()
    usable = np.array([len(g.sites) <= MOST_SITES and g.atoms <= MOST_ATOMS for g in genes])
    table = table.take(usable)
    encoded = encode(table.genes())
    own = np.array([s.startswith("own") for s in table.source])
    every = Examples(encoded, table.above_hull, table.formation_energy, table.band_gap, own)
    train, valid = split([frozenset(g.composition) for g in table.genes()], VALID)
    return every.take(train), every.take(valid[~own[valid]])


def published(split_name: str) -> tuple[Examples, Examples]:
    """The same of one data file alone, structures and labels as published."""
    table = load_frame(*FILES[split_name])
    symmetry = analyse(read_cifs(table.cif.tolist()), 0.01, on_error="keep")
    rows = [i for i, s in enumerate(symmetry) if isinstance(s, Symmetry)]
    genes = [from_symmetry(symmetry[i]) for i in rows]
    labels = [table[c].to_numpy(dtype=float)[rows] for c in ("e_above_hull", "formation_energy_per_atom", "band_gap")]
    every = Examples(encode(genes), *labels, np.zeros(len(genes), bool))
    train, valid = split([frozenset(g.composition) for g in genes], 0.03)
    return every.take(train), every.take(valid)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["train", "write"])
    parser.add_argument("--folder", type=Path, default=Path("runs/wyckoff_transformer"))
    parser.add_argument("--only", choices=sorted(FILES))
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    summary = args.folder / "summary.json"
    network = GeneNetwork(args.width, args.blocks, args.heads, seed=args.seed)
    if args.verb == "train":
        if args.only:
            train, valid = published(args.only)
            sources = {args.only: len(train) + len(valid)}
        else:
            table = shipped_genes()
            train, valid = examples(table)
            sources = {str(s): int((table.source == s).sum()) for s in np.unique(table.source)}
        print(f"{len(train)} genes to learn from, {len(valid)} held out; {sources}", flush=True)
        log = fit(network, train, valid, Course(hours=args.hours), args.folder, seed=args.seed, say=lambda text: print(text, flush=True))
        torch.save(network.state_dict(), args.folder / "weights.pt")
        summary.write_text(json.dumps({"genes": len(train), "held_out": len(valid), "sources": sources, **log}, indent=1))
        print({k: v for k, v in log.items() if k != "log"})
        return
    network.load_state_dict(torch.load(args.folder / "weights.pt", weights_only=True))
    print(write_weights(network, json.loads(summary.read_text())))


if __name__ == "__main__":
    main()
