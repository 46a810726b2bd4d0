"""Which distance to the training data knows where a network errs: its own features, the composition, or composition and coordination.

    python benchmarks/distance.py [--train 1200] [--test 800] [--epochs 12]

A CGCNN is trained on random rows of the task mp20bt_formation_energy and tested on random rows of its test file. Printed: the rank correlation of distance and
absolute error, and rows and mean absolute error of known, edge and unknown crystals.
"""

import argparse

import numpy as np

from matterloop.base.seeds import numpy_stream
from matterloop.bench.property_tasks import load_task
from matterloop.learn.calibrated import pooled
from matterloop.learn.calibration import error_rank
from matterloop.learn.distance import Reference, describe
from matterloop.learn.training import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("train", 1200), ("test", 800), ("epochs", 12), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    held = load_task("mp20bt_formation_energy")
    part, rng = held.part(), numpy_stream(given.seed, "distance")
    rows, test = (np.sort(rng.choice(part[k], n, replace=False)) for k, n in (("train", given.train), ("test", given.test)))
    found = train("cgcnn", held.inputs, held.target, {"train": rows, "val": part["val"][:100]}, recipe={"epochs": given.epochs}, seed=given.seed, calibrate=False)
    network, learnt, new = found.predictor.members[0], held.inputs[rows].bare(), held.inputs[test].bare()
    truth, guess = held.labels[test], found.predictor.raw(new)[0]
    error = np.abs(guess - truth)
    print(f"mean absolute error {error.mean():.4f} eV/atom of {len(test)} rows, {len(rows)} trained on, {given.epochs} epochs, {sum(c.seconds for c in found.courses):.0f} s")
    for name in ("features", "magpie", "magpie+crystal_nn"):
        blocks = [[pooled(network, x)] if name == "features" else describe(x, name) for x in (learnt, new)]
        near = Reference.of(blocks[0], name).with_elements(learnt).nearness(new, blocks[1])
        words = np.array(near.words)
        said = "; ".join(f"{w} {error[words == w].mean():.3f} ({(words == w).sum()} rows)" for w in ("known", "edge", "unknown") if (words == w).any())
        print(f"{name:18s} rank correlation {error_rank(truth, guess, near.distance):.2f}; {said}")


if __name__ == "__main__":
    main()
