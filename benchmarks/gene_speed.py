"""Genes per CPU second of the default generator, and what the screens and the placement cost beside it, one thread.

    python benchmarks/gene_speed.py [--count 4096]
"""

import argparse
import json
import os
import time

import torch

from matterloop.archive.records import Ask
from matterloop.base.seeds import torch_stream
from matterloop.generate.gene_constraints import Rules
from matterloop.generate.gene_network import Conditions
from matterloop.generate.gene_sampling import sample
from matterloop.generate.gene_screens import gene_energy, known_formulas, screened, usual
from matterloop.generate.gene_weights import shipped_network
from matterloop.generate.placement import Placer
from matterloop.generate.screened import known_gene_keys
from matterloop.generate.wyckoff_transformer import WyckoffTransformer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--block", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = shipped_network()
    report, genes = {"load": os.getloadavg()[0], "count": args.count}, []
    composition = {8: 6, 22: 2, 56: 2}
    cases = {
        "open": (Ask(atoms=(1, 20)), None, None, False), "charges balanced": (Ask(atoms=(1, 20)), None, None, True),
        "guided, balanced": (Ask(atoms=(1, 20)), 0.0, None, True), "exact composition of 10 atoms": (Ask(formula=((8, 3), (22, 1), (56, 1)), atoms=(10, 10)), 0.0, composition, False)}
    for name, (ask, above, amounts, neutral) in cases.items():
        plain = WyckoffTransformer(above_hull=above)
        rules = Rules.of(ask, amounts, neutral)
        asked = Conditions.none(args.block) if above is None and amounts is None else plain._conditions(ask, args.block, amounts)
        draw = lambda k: sample(network, rules, asked, torch_stream(0, name, k), guidance=3.0 if above is not None else 1.0)
        draw(-1)
        begun, finished, rows = time.process_time(), 0, 0
        for k in range(args.count // args.block):
            drawn = draw(k)
            finished, rows = finished + len(drawn.finished), rows + drawn.rows
            if name == "guided, balanced":
                genes += drawn.finished
        spent = time.process_time() - begun
        report[name] = {"drawn per CPU second": round(rows / spent), "finished per CPU second": round(finished / spent), "dead ends": rows - finished}
        print(name, report[name], flush=True)
    screens = usual(known_gene_keys(), known_formulas(), gene_energy(), share=0.25)
    answer = screened(genes, screens)
    report["screens"] = {r.name: {"given": r.given, "removed": r.removed, "genes per CPU second": round(r.given / max(r.seconds, 1e-9))} for r in answer.removed}
    print(report["screens"])
    kept, placer = [genes[i] for i in answer.kept][:200], Placer()
    placer.place(kept[:1], 0)
    known = [g for g in kept if placer.library.knows(g)]
    for name, some in (("with a known pattern", known), ("without", [g for g in kept if g not in set(known)])):
        begun = time.process_time()
        placed = placer.place(some, 0, lambda gene: 1)
        report[f"placement {name}"] = {"genes": len(some), "placed": sum(map(bool, placed)), "CPU ms each": round(1000 * (time.process_time() - begun) / max(len(some), 1), 2)}
        print(name, report[f"placement {name}"], flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
