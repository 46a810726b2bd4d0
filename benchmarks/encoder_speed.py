"""How fast encoders are: structures per second forward and backward, on crystals of MP-20.

    python benchmarks/encoder_speed.py schnet megnet alignn [--crystals 64] [--repeats 5] [--threads 1] [--small] [--data-dir DIR]

One line per encoder as JSON: its paper's settings (its test-sized ones with --small), a predictor of one intensive target around it, float32. The graph is
timed apart, for training searches it once. Medians of `repeats`; the backward pass is the step from the loss to the gradients of all weights. With one thread,
seconds are those of the processor, so that other work on the machine disturbs less.
"""

import argparse
import json
import resource
import statistics
import time

import torch

from matterloop.archive.sources import data_path
from matterloop.base.registry import find, load
from matterloop.base.seeds import torch_stream
from matterloop.crystal.formats import read_table
from matterloop.learn.targets import Predictor, Target

DATA, FILE = "mp20_biternary_val_test", "val.csv.gz"


def measured(name, crystals, repeats, small, clock):
    """Medians of the seconds of one encoder."""
    options = find(name.partition(":")[0], "encoder").card.small if small else {}
    model = Predictor(load(name, "encoder", **options), [Target("y")]).to(torch.float32).train()
    seconds = {"graph": [], "forward": [], "backward": []}
    for _ in range(repeats + 1):
        begun = clock()
        graph = model.encoder.graph(crystals)
        searched = clock()
        loss = model(crystals, graph)["y"].abs().mean()
        seen = clock()
        loss.backward()
        done = clock()
        model.zero_grad(set_to_none=True)
        for part, spent in zip(seconds, (searched - begun, seen - searched, done - seen), strict=True):
            seconds[part].append(spent)
    spent = {part: statistics.median(values[1:]) for part, values in seconds.items()}
    n = len(crystals)
    return {
        "encoder": name, "parameters": sum(p.numel() for p in model.parameters()), "edges": len(graph) if hasattr(graph, "senders") else None,
        "graph_per_s": round(n / spent["graph"], 1), "forward_per_s": round(n / spent["forward"], 1), "backward_per_s": round(n / spent["backward"], 1),
        "training_per_s": round(n / (spent["forward"] + spent["backward"]), 1), "peak_mb_so_far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", metavar="NAME", help="cards of the role encoder, NAME:PRESET too")
    parser.add_argument("--crystals", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="the test-sized settings of the card")
    parser.add_argument("--data-dir")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of crystals")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    table = read_table(data_path(DATA, FILE, data_dir=given.data_dir), rows=slice(0, 20 * given.crystals))
    rows = torch.randperm(len(table.crystals), generator=torch_stream(given.seed, "encoder_speed"))[: given.crystals]
    crystals = table.crystals.bare()[rows]
    clock = time.process_time if given.threads == 1 else time.perf_counter
    print(json.dumps({"crystals": len(crystals), "atoms": crystals.atoms, "threads": given.threads, "torch": torch.__version__}), flush=True)
    for name in given.encoders:
        print(json.dumps(measured(name, crystals, given.repeats, given.small, clock)), flush=True)


if __name__ == "__main__":
    main()
