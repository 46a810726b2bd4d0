"""Structures per second in training, ours against public originals, in one run: the sides take turns, so that what else the machine does falls on all of them.

    python benchmarks/training_speed.py cgcnn --original /path/to/a/copy/of/txie-93/cgcnn [--crystals 2048] [--size 256] [--rounds 5] [--threads 1]
    python benchmarks/training_speed.py schnet --original schnetpack --python /path/to/venv/bin/python
    python benchmarks/training_speed.py megnet --original matgl --python /path/to/venv/bin/python
    python benchmarks/training_speed.py m3gnet --original matgl --python /path/to/venv/bin/python --crystals 512 --size 64 --clock cpu

A round is one epoch over crystals of the MP-20 binary/ternary validation file in batches of `size`: cutting the batch, forward, backward, step of the optimizer, timed
apart; graphs are made before, as all sides do. Each side runs in a process of its own, the originals in the Python that has them; nothing of theirs is part of
the project. Prints one JSON line per side (medians over the rounds) and the ratio ours / original: median over the rounds, smallest and largest.
Seconds are those of the processor (all threads) with --clock cpu, for a machine that does other things too, and of the wall with --clock wall.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

PARTS = ("cut", "forward", "backward", "step")


def ours(options, data):
    """A round of matterloop's encoder with one intensive target."""
    import torch

    from matterloop.base.registry import load
    from matterloop.crystal.state import Crystals
    from matterloop.learn.data import Batches, Samples
    from matterloop.learn.scaling import fit_scaling
    from matterloop.learn.targets import Predictor, Target

    target = Target("formation_energy_per_atom", "eV/atom")
    crystals = Crystals.of(data["frac"], data["species"], data["cell"], data["counts"], whole={target.name: data["y"]})
    model = Predictor(load(options.model, "encoder"), [target], scale={target.name: fit_scaling(target, crystals)}).to(torch.float32).train()
    samples = Samples.of(crystals, model.encoder.graph)
    batches = Batches(samples, torch.arange(len(samples)), options.size)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    return model, (lambda number: batches.epoch(number)), (lambda batch: model.loss(batch, error="l2")[0]), optimizer


def original_cgcnn(options, data):
    """A round of the authors' code: its network and collate function, its data format, Adam."""
    import numpy as np
    import torch

    sys.path.insert(0, str(Path(options.original).resolve()))
    from cgcnn.data import AtomCustomJSONInitializer, GaussianDistance, collate_pool
    from cgcnn.model import CrystalGraphConvNet
    from pymatgen.core import Lattice, Structure

    features = AtomCustomJSONInitializer(next(Path(options.original).rglob("atom_init.json")))
    expand, rows, begin = GaussianDistance(dmin=0, dmax=8, step=0.2), [], 0
    for n, cell, y in zip(data["counts"], data["cell"], data["y"], strict=True):
        species, frac = data["species"][begin : begin + n], data["frac"][begin : begin + n]
        begin += n
        found = Structure(Lattice(cell), [int(z) for z in species], frac).get_all_neighbors(8.0)
        near = [sorted(neighbours, key=lambda x: x.nn_distance)[:12] for neighbours in found]
        pad = lambda values, fill: values + [fill] * (12 - len(values))
        index = np.array([pad([x.index for x in v], 0) for v in near])
        distance = np.array([pad([x.nn_distance for x in v], 9.0) for v in near])
        atoms = np.vstack([features.get_atom_fea(int(z)) for z in species])
        rows.append(((torch.Tensor(atoms), torch.Tensor(expand.expand(distance)), torch.LongTensor(index)), torch.Tensor([float(y)]), ""))
    model = CrystalGraphConvNet(92, 41).train()
    loader = torch.utils.data.DataLoader(rows, batch_size=options.size, shuffle=True, collate_fn=collate_pool)
    mean, spread = float(data["y"].mean()), float(data["y"].std())
    loss = lambda batch: torch.nn.functional.mse_loss(model(*batch[0]), (batch[1] - mean) / spread)
    return model, (lambda number: loader), loss, torch.optim.Adam(model.parameters(), 1e-3)


def original_schnetpack(options, data):
    """A round of schnetpack's SchNet with the settings of ours (64 features, 6 blocks, 5 Å, 51 Gaussians), its collate function."""
    import torch
    import torch.utils.data.dataloader as loading
    from ase import Atoms

    if not hasattr(loading, "T_co"):  # a name that schnetpack imports and newer torch no longer has
        loading.T_co = None
    from schnetpack.atomistic import Atomwise, PairwiseDistances
    from schnetpack.data.loader import _atoms_collate_fn
    from schnetpack.interfaces import AtomsConverter
    from schnetpack.model import NeuralNetworkPotential
    from schnetpack.nn import CosineCutoff, GaussianRBF
    from schnetpack.representation import SchNet
    from schnetpack.transform import ASENeighborList

    convert, rows, begin = AtomsConverter(ASENeighborList(5.0), dtype=torch.float32), [], 0
    for n, cell, y in zip(data["counts"], data["cell"], data["y"], strict=True):
        atoms = Atoms(numbers=data["species"][begin : begin + n], scaled_positions=data["frac"][begin : begin + n], cell=cell, pbc=True)
        begin += n
        row = {k: v for k, v in convert(atoms).items() if k != "_idx_m"}
        rows.append({**row, "_idx": torch.tensor([len(rows)]), "y": torch.tensor([float(y)])})
    network = SchNet(n_atom_basis=64, n_interactions=6, radial_basis=GaussianRBF(51, 5.0), cutoff_fn=CosineCutoff(5.0))
    model = NeuralNetworkPotential(network, [PairwiseDistances()], [Atomwise(64, output_key="y", aggregation_mode="avg")]).train()
    loader = torch.utils.data.DataLoader(rows, batch_size=options.size, shuffle=True, collate_fn=_atoms_collate_fn)
    loss = lambda batch: torch.nn.functional.mse_loss(model(dict(batch))["y"].reshape(-1), batch["y"].reshape(-1))
    return model, (lambda number: loader), loss, torch.optim.AdamW(model.parameters(), 1e-3)


def original_matgl(options, data):
    """A round of matgl's MEGNet or M3GNet (by the name of our model), its graphs and its collate function; positions are set as its training does.

    Its M3GNet has gated perceptrons of three layers where the paper's code and ours have two: 283,997 weights to 233,245 (embeddings of all elements among them).
    """
    import torch
    from matgl.config import DEFAULT_ELEMENTS
    from matgl.ext.pymatgen import Structure2Graph
    from matgl.graph.data import MGLDataset, collate_fn_graph
    from matgl.models import M3GNet, MEGNet
    from pymatgen.core import Lattice, Structure

    structures, begin = [], 0
    for n, cell in zip(data["counts"], data["cell"], strict=True):
        structures.append(Structure(Lattice(cell), [int(z) for z in data["species"][begin : begin + n]], data["frac"][begin : begin + n]))
        begin += n
    model = M3GNet(element_types=DEFAULT_ELEMENTS, is_intensive=True) if options.model == "m3gnet" else MEGNet(element_types=DEFAULT_ELEMENTS)
    cutoff = 5.0 if options.model == "m3gnet" else 4.0  # Å, as in ours and in the papers
    converter = Structure2Graph(element_types=DEFAULT_ELEMENTS, cutoff=cutoff)
    labels, root = {"y": [float(y) for y in data["y"]]}, str(Path(options.data).with_name("matgl"))
    dataset = MGLDataset(structures=structures, labels=labels, converter=converter, save_cache=False, root=root)
    loader = torch.utils.data.DataLoader(dataset, batch_size=options.size, shuffle=True, collate_fn=collate_fn_graph)

    def loss(batch):
        graph, lattice, state, labels = batch
        graph.pos = (graph.frac_coords.unsqueeze(-1) * lattice[graph.batch]).sum(1)
        graph.pbc_offshift = (graph.pbc_offset.unsqueeze(-1) * lattice[graph.batch[graph.edge_index[0]]]).sum(1)
        return torch.nn.functional.mse_loss(model(graph, state_attr=state).reshape(-1), labels.reshape(-1))

    return model.train(), (lambda number: loader), loss, torch.optim.AdamW(model.parameters(), 1e-3)


SIDES = {"ours": ours, "cgcnn": original_cgcnn, "schnetpack": original_schnetpack, "matgl": original_matgl}


def serve(options):
    """Answer every line on standard input with the seconds of one round."""
    import numpy as np
    import torch

    torch.set_num_threads(options.threads)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    data = dict(np.load(options.data))
    model, epoch, loss_of, optimizer = SIDES[options.serve](options, data)
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}), flush=True)
    for number, _ in enumerate(sys.stdin):
        spent, batches = dict.fromkeys(PARTS, 0.0), iter(epoch(number))
        while True:
            times = [clock()]
            if (batch := next(batches, None)) is None:
                break
            times.append(clock())
            loss = loss_of(batch)
            times.append(clock())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            times.append(clock())
            optimizer.step()
            times.append(clock())
            for part, a, b in zip(PARTS, times, times[1:], strict=False):
                spent[part] += b - a
        print(json.dumps(spent), flush=True)


def sample(count, path, data_dir):
    """Write the first `count` crystals as arrays."""
    import numpy as np

    from matterloop.archive.sources import data_path
    from matterloop.crystal.formats import read_table

    read = read_table(data_path("mp20_biternary_val_test", "val.csv.gz", data_dir=data_dir), columns={"formation_energy_per_atom": "formation_energy_per_atom"},
                      rows=slice(0, count))
    c = read.crystals
    np.savez(path, frac=c.frac.numpy(), species=c.species.numpy(), cell=c.cell.numpy(), counts=c.counts.numpy(), y=c.whole["formation_energy_per_atom"].numpy())
    return len(c), int(c.atoms)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="our encoder")
    parser.add_argument("--original", help="folder of a copy of the authors' CGCNN, or schnetpack, or matgl; nothing: ours alone")
    parser.add_argument("--python", default=sys.executable, help="the Python that has the original's package")
    parser.add_argument("--crystals", type=int, default=2048)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--data-dir")
    parser.add_argument("--serve", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crystals.npz"
        crystals, atoms = sample(options.crystals, path, options.data_dir)
        sides = {"ours": sys.executable}
        if options.original:
            sides[options.original if options.original in SIDES else "cgcnn"] = options.python
        command = [str(Path(__file__).resolve()), options.model, "--data", str(path), *(x for k in ("size", "threads", "clock") for x in (f"--{k}", str(getattr(options, k)))),
                   *(["--original", options.original] if options.original else [])]
        running = {name: subprocess.Popen([python, *command, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name, python in sides.items()}
        facts = {name: json.loads(process.stdout.readline()) for name, process in running.items()}
        rounds = {name: [] for name in running}
        for number in range(options.rounds + 1):
            for name, process in running.items():
                process.stdin.write("\n")
                process.stdin.flush()
                spent = json.loads(process.stdout.readline())
                if number:  # the first warms up
                    rounds[name].append(spent)
        for process in running.values():
            process.stdin.close()
            process.wait()
    total = {name: [sum(r.values()) for r in found] for name, found in rounds.items()}
    for name, found in rounds.items():
        rate = lambda seconds: round(crystals / max(seconds, 1e-9), 1)
        print(json.dumps({"side": name, "model": options.model, **facts[name], "crystals": crystals, "atoms": atoms, "size": options.size, "threads": options.threads,
                          "clock": options.clock, "training_per_s": rate(statistics.median(total[name])),
                          **{f"{part}_per_s": rate(statistics.median(r[part] for r in found)) for part in PARTS}}))
    if len(total) == 2:
        mine, theirs = total.values()
        ratios = sorted(b / a for a, b in zip(mine, theirs, strict=True))
        print(json.dumps({"ratio": round(statistics.median(ratios), 2), "smallest": round(ratios[0], 2), "largest": round(ratios[-1], 2)}))


if __name__ == "__main__":
    main()
