"""Train matterloop/shipped/placement.npz, the network that places genes without prototype (generate/placement_network.py). Resumes where it was stopped.

    MATTERLOOP_DATA=DIR python recipes/train_placement.py decoys            # random placements without overlap, beside which closeness learns: minutes
    MATTERLOOP_DATA=DIR python recipes/train_placement.py train --minutes 35
    python recipes/train_placement.py write

--data known (default): the relaxed crystals of the shipped reference table without any formula of the MP-20 test file, so that benchmarks/placement.py measures
on unseen compositions. --data val: MP-20 val alone, for structure prediction (not shipped under this name: `write` makes placement_val.npz).
Nothing of an energy enters. One thread; state in runs/placement_DATA/ every three minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.shipped import SHIPPED, read_table, write_card
from matterloop.archive.sources import data_path, load_frame
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.composition import reduced
from matterloop.crystal.formats import read_table as read_crystals
from matterloop.crystal.lattice import free_parameters as lattice_values
from matterloop.crystal.space_groups import crystal_system
from matterloop.crystal.symmetry import analyse
from matterloop.crystal.wyckoff import Parameters, free_parameters, position
from matterloop.generate.declash import Moving, declash, neighbours
from matterloop.generate.placement_network import REACH, PlacementNetwork, batch_of, retold, save, shape_of
from matterloop.generate.random_search import random_cell
from matterloop.generate.retrieval import atoms_of, gene_of, parameters_of_rows, volume_of
from matterloop.generate.volume import MAX_Z, volume_per_atom

ROOT = Path(__file__).parents[1]
BATCH = 96
CLOSE = 24  # crystals of a batch that closeness learns from
LARGEST = 64  # atoms of a conventional cell for those
EVERY = 5  # steps between two of closeness, which costs ten times the rest
DECOYS = 2
SITES = 24
RETOLD = 0.1  # share told with another origin; the rest as in the table, smallest parameters of each orbit
RATE = 1.5e-3


def test_formulas() -> set:
    frame = load_frame("mp20_biternary_val_test", "test.csv.gz", usecols=["pretty_formula"])
    return {reduced(f) for f in frame.pretty_formula}


def of_file(name: str) -> list[Parameters]:
    """Free parameters of the crystals of a file of MP-20, symmetry within 0.1 Å."""
    crystals = read_crystals(data_path("mp20_biternary_val_test", name)).crystals.bare()
    return [p for s in analyse(crystals, 0.1, on_error="keep") if not isinstance(s, Exception) for p in free_parameters(s)]


def crystals_of(data: str) -> list[Parameters]:
    if data == "val":
        found = of_file("val.csv.gz")
    else:
        frame = read_table("compounds_chgnet", columns=["relaxed_space_group", "sites", "lattice", "parameters"])
        frame = frame[frame.lattice.notna() & (frame.relaxed_space_group > 0)]
        unseen = test_formulas()
        found = [p for p in parameters_of_rows(frame.relaxed_space_group, frame.sites, frame.lattice, frame.parameters)
                 if reduced(gene_of(p).composition) not in unseen]
    return [p for p in found if len(p.sites) <= SITES and max(z for _, z, _ in p.sites) <= MAX_Z and 4 < volume_of(p) < 150]


def redrawn(p: Parameters, rng: np.random.Generator) -> Parameters:
    """Random coordinates in a random cell of nearly the right volume."""
    cell = torch.from_numpy(random_cell(p.space_group, volume_of(p) * atoms_of(p) * math.exp(0.06 * rng.normal()), rng))
    same = rng.random() < 0.4  # a third keep the lattice: coordinates alone must be told apart
    lattice = p.lattice if same else tuple(lattice_values(cell, crystal_system(p.space_group)).tolist())
    return Parameters(p.space_group, lattice, tuple((letter, z, tuple(rng.random(len(v)))) for letter, z, v in p.sites))


def flat(parameters: list[Parameters]) -> np.ndarray:
    return np.array([v for p in parameters for v in (*p.lattice, *(x for s in p.sites for x in s[2]))])


def unflat(p: Parameters, row: np.ndarray) -> Parameters:
    n, sites = len(p.lattice), []
    for letter, z, v in p.sites:
        sites.append((letter, z, tuple(row[n : n + len(v)].tolist())))
        n += len(v)
    return Parameters(p.space_group, tuple(row[: len(p.lattice)].tolist()), tuple(sites))


def decoys(folder: Path, known: list[Parameters]) -> None:
    """decoys.npz: DECOYS random placements without overlap of every crystal of at most LARGEST atoms, free parameters one after the other."""
    target = folder / "decoys.npz"
    if target.exists():
        return
    rng, rows, parts, begun = numpy_stream(0, "decoys"), [], [], time.time()
    usable = [i for i, p in enumerate(known) if atoms_of(p) <= LARGEST and p.dof > len(p.lattice)]
    for start in range(0, len(usable), 96):
        chunk = usable[start : start + 96]
        drawn = [redrawn(known[i], rng) for i in chunk for _ in range(DECOYS)]
        for i, d in zip(np.repeat(chunk, DECOYS).tolist(), declash(drawn, steps=40, growths=0), strict=True):
            if d.tightness > 0.7:
                rows.append(i)
                parts.append(flat([d.parameters]))
        if start % 1920 == 0:
            print("decoys", start, "of", len(usable), round(time.time() - begun), "s", flush=True)
    np.savez(target, rows=np.array(rows), ends=np.cumsum([len(x) for x in parts]), values=np.concatenate(parts))


class Data:
    """Crystals with what is computed once of each."""

    def __init__(self, known: list[Parameters], folder: Path):
        self.known = known
        self.prior = np.array([math.log(volume_per_atom(gene_of(p).composition)) for p in known])
        self.log_volume = np.array([math.log(volume_of(p)) for p in known])
        self.shape, self.free = map(np.array, zip(*(shape_of(p) for p in known), strict=True))
        self.small = np.array([atoms_of(p) <= LARGEST and p.dof > 1 for p in known])
        held = np.load(folder / "decoys.npz")
        self.decoys: dict[int, list[np.ndarray]] = {}
        for i, row in zip(held["rows"].tolist(), np.split(held["values"], held["ends"][:-1]), strict=True):
            self.decoys.setdefault(i, []).append(row)

    def heads_loss(self, network: PlacementNetwork, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(lattice, coordinates) minus ln probability per crystal."""
        told = []
        for i in rows.tolist():
            p = self.known[i] if rng.random() > RETOLD else retold(self.known[i], rng)
            told.append(Parameters(p.space_group, p.lattice, tuple(p.sites[k] for k in rng.permutation(len(p.sites)))))
        batch = batch_of([p.space_group for p in told], [p.sites for p in told], self.prior[rows].tolist())
        values = torch.zeros(*batch.place.shape, 3)
        for b, p in enumerate(told):
            for s, (letter, _, v) in enumerate(p.sites):
                values[b, s, list(position(p.space_group, letter).free)] = torch.tensor(v, dtype=torch.float32)
        seen = network.sites(batch)
        log_volume = torch.from_numpy(self.log_volume[rows]).float()
        shape, free = torch.from_numpy(self.shape[rows]).float(), torch.from_numpy(self.free[rows]).float()
        geometry = torch.cat([log_volume[:, None], shape], 1)
        return network.lattice_loss(batch, seen, log_volume, shape, free).mean(), network.coordinate_loss(batch, seen.detach(), geometry, values).mean()

    def close_loss(self, network: PlacementNetwork, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
        """Minus ln probability of the known crystal among altered ones of the same gene, and how often it comes first."""
        listed: list[Parameters] = []
        kinds: list[str] = []
        for i in rows.tolist():
            p = self.known[i]
            near = ["rattled"] * 4 if p.dof > len(p.lattice) else []
            own = [unflat(p, d) for d in self.decoys.get(i, ())]
            listed += [p] * (1 + len(near) + 2) + own
            kinds += ["known", *near, "strained", "strained", *["decoy"] * len(own)]
        moving = Moving.of(listed)
        kind = np.array(kinds)
        _, cell = moving.geometry(moving.values, torch.zeros_like(moving.lattice))
        length = torch.linalg.det(cell).numpy() ** (1 / 3)
        size = np.where(kind == "rattled", np.exp(rng.uniform(np.log(0.05), np.log(1.0), len(kind))), 0.0)
        values = moving.values + torch.from_numpy(rng.normal(size=len(moving.values)) * (size / length)[moving.value_owner.numpy()])
        strain = np.where(kind == "strained", np.exp(rng.uniform(np.log(0.02), np.log(0.3), len(kind))), np.where(kind == "rattled", 0.02, 0.0))
        q = torch.from_numpy(rng.normal(size=len(moving.lattice)) * strain[moving.lattice_owner.numpy()]).clamp(-0.6, 0.6)
        with torch.no_grad():
            frac, cell = moving.geometry(values, q)
            pairs = neighbours(moving.orbits, frac, cell, REACH)
            distance = pairs.distances(moving.orbits, frac, cell)
        energy = network.closeness(moving.orbits, pairs, distance, cell).float()
        first = np.flatnonzero(kind == "known")
        owner = np.cumsum(kind == "known") - 1
        logits = torch.full((len(first), int(np.bincount(owner).max())), -torch.inf)
        logits[torch.from_numpy(owner), torch.from_numpy(np.arange(len(kind)) - first[owner])] = -energy
        return (torch.logsumexp(logits, 1) - logits[:, 0]).mean(), float((logits.argmax(1) == 0).float().mean())


def train(folder: Path, known: list[Parameters], minutes: float) -> None:
    torch.set_num_threads(1)
    data, network = Data(known, folder), PlacementNetwork()
    print(len(known), "crystals;", sum(p.numel() for p in network.parameters()), "weights", flush=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.02)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    close, first = torch.zeros(()), 0.0
    step, spent, state = 0, 0.0, folder / "state.pt"
    if state.exists():
        held = torch.load(state, weights_only=True)
        network.load_state_dict(held["network"])
        optimizer.load_state_dict(held["optimizer"])
        average, step, spent = held["average"], held["step"], held["spent"]
    order = numpy_stream(1, "split").permutation(len(known))
    held_out, rows = order[:600], order[600:]
    begun, saved, sums = time.time(), time.time(), []

    def keep() -> None:
        new = state.with_suffix(".new")
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step, "spent": spent + time.time() - begun}, new)
        os.replace(new, state)

    def checked() -> str:
        back = {k: v.clone() for k, v in network.state_dict().items()}
        network.load_state_dict(average)
        rng = numpy_stream(2, "check")
        with torch.no_grad():
            lattice, coordinates = map(float, data.heads_loss(network, held_out, rng))
            close, first = data.close_loss(network, held_out[data.small[held_out]][:150], rng)
        network.load_state_dict(back)
        return f"held out: lattice {lattice:.3f} coordinates {coordinates:.3f} closeness {float(close):.3f}, first {first:.3f}"

    limit = minutes * 60
    while (used := spent + time.time() - begun) < limit:
        rng = numpy_stream(3, step)
        part = rng.choice(rows, BATCH, replace=False)
        small = part[data.small[part]][:CLOSE]
        done = used / limit
        for g in optimizer.param_groups:
            g["lr"] = RATE * min(1.0, (step + 1) / 100) * (1.0 if done < 0.4 else max(0.02, (1 - done) / 0.6))
        lattice, coordinates = data.heads_loss(network, part, rng)
        loss = lattice + coordinates
        if step % EVERY == 0:
            close, first = data.close_loss(network, small, rng)
            loss = loss + close
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        step += 1
        share = min(0.995, step / (step + 50))
        with torch.no_grad():
            for k, v in network.state_dict().items():
                average[k].lerp_(v, 1 - share) if v.dtype.is_floating_point else average[k].copy_(v)
        sums.append([lattice.item(), coordinates.item(), close.item(), first])
        if step % 50 == 0:
            print(step, f"{step * BATCH / len(rows):.2f} epochs", f"{(spent + time.time() - begun) / 60:.1f} min", np.round(np.mean(sums[-50:], 0), 3).tolist(), flush=True)
        if time.time() - saved > 180:
            keep()
            saved = time.time()
            print(checked(), flush=True)
    keep()
    text = checked()
    print(text, flush=True)
    (folder / "told.json").write_text(json.dumps({"steps": step, "epochs": round(step * BATCH / len(rows), 2), "minutes": round(limit / 60, 1), "held_out": text}))


def write(folder: Path, data: str, count: int) -> None:
    held = torch.load(folder / "state.pt", weights_only=True)
    network = PlacementNetwork()
    network.load_state_dict(held["average"])
    file = SHIPPED / ("placement.npz" if data == "known" else "placement_val.npz")
    np.savez_compressed(file, **save(network))
    told = json.loads((folder / "told.json").read_text()) if (folder / "told.json").exists() else {"steps": held["step"], "minutes": round(held["spent"] / 60, 1)}
    what = ("relaxed crystals of compounds_chgnet without the formulas of the MP-20 test file" if data == "known" else "crystals of the MP-20 val file")
    write_card(
        file, what="weights of generate/placement_network.py: lattice, free coordinates and closeness of crystals of a Wyckoff gene; half precision",
        made_by=f"python recipes/train_placement.py decoys train write --data {data}", trained_on=what, crystals=count, **told,
        cannot="it knows geometries, not energies; more than 24 sites, elements beyond plutonium and genes of more than 10 free coordinates are far from what it does well",
        credit="Materials Project (CC BY 4.0), as split in MP-20 (Xie et al., ICLR 2022), MPTS-52 (Baird et al., JOSS 2024) and WyckoffTransformer's repository")
    print(file.stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=["decoys", "train", "write"])
    parser.add_argument("--data", choices=["known", "val"], default="known")
    parser.add_argument("--minutes", type=float, default=35)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = ROOT / "runs" / f"placement_{options.data}"
    folder.mkdir(parents=True, exist_ok=True)
    known = crystals_of(options.data)
    for part in options.parts:
        if part == "decoys":
            decoys(folder, known)
        elif part == "train":
            train(folder, known, options.minutes)
        else:
            write(folder, options.data, len(known))


if __name__ == "__main__":
    main()
