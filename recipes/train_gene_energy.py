"""Train the gene-energy predictor of matterloop/predict/gene_energy.py on the shipped tables of relaxed structures.

    python recipes/train_gene_energy.py table WORK                                  genes, lowest energies and hull floors: WORK/table.npz
    python recipes/train_gene_energy.py train WORK [--members 4] [--epochs 20] [--cycle 6] [--minutes 15] [--start OLD]
                                                                                    checkpoints after every epoch; starts again where it was stopped
    python recipes/train_gene_energy.py calibrate WORK [--last 4]                   WORK/gene_energy_chgnet.safetensors
    python recipes/measure_gene_energy.py WORK                                      WORK/report.json
    python recipes/train_gene_energy.py write WORK                                  weights and their card into matterloop/shipped

A row is a gene; where several structures share one, the lowest energy counts (several starts find several minima). Chemical systems are dealt by a hash of
their elements: 10 % test, 6 % calibration, the rest training, whatever else is in the table. The first member is trained for `epochs`, each further one goes on
from the one before for a `cycle` of its own rate (G. Huang et al., "Snapshot ensembles", arXiv:1704.00109): cheaper than fresh members, and less diverse. When the
table has grown, `--start` lets the first member go on from the last one of an earlier work folder; systems stay on their side. One thread.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.shipped import SHIPPED, card, list_shipped, write_card
from matterloop.base.elements import symbol
from matterloop.base.seeds import derive, numpy_stream
from matterloop.generate.gene_screens import hull_floor
from matterloop.measure.labelled_genes import shipped_genes
from matterloop.measure.reference import reference_hull
from matterloop.predict.gene_energy import NAME, Calibration, GeneEnergy
from matterloop.predict.gene_energy_network import MAX_Z, GeneNetwork, batch_of, sites_of
from matterloop.represent.wyckoff_gene import Gene

TEST, HELD = 10, 16  # per cent of the chemical systems: test below the first, calibration below the second
CHUNK = 8  # batches among which genes are sorted by size
IN_HULL = ("mp", "built")  # sources whose rows are phases of the reference hull
LOWEST, HIGHEST = -8.0, 4.0  # eV/atom of formation that is believed
SHAPE = {"width": 64, "heads": 4, "blocks": 3}


# data


@dataclass(frozen=True, eq=False)
class Rows:
    """One row per gene: `keys`, `energy` of formation and `floor` of the hull (eV/atom), `source` of the lowest energy, `held` in the hull or not, `part`."""

    keys: np.ndarray
    energy: np.ndarray
    floor: np.ndarray
    source: np.ndarray
    held: np.ndarray
    system: np.ndarray

    @property
    def part(self) -> np.ndarray:
        """(rows,) "test", "calibration" or "train"."""
        systems, of = np.unique(self.system, return_inverse=True)
        deal = np.array([derive(0, "gene_energy", s) % 100 for s in systems])[of]
        return np.where(deal < TEST, "test", np.where(deal < HELD, "calibration", "train"))


def labelled() -> tuple[list[Gene], np.ndarray, np.ndarray]:
    """(genes, formation energies in eV/atom, sources) of every shipped structure that our engine has relaxed."""
    found = shipped_genes()
    return found.genes(), found.formation_energy, found.source.astype(str)


def table(work: Path) -> None:
    """Lowest energy per gene."""
    work.mkdir(parents=True, exist_ok=True)
    genes, energy, source = labelled()
    lowest: dict[str, int] = {}
    held: dict[str, bool] = {}
    lost = 0
    for i, gene in enumerate(genes):
        if max(z for _, z in gene.sites) > MAX_Z or not LOWEST < energy[i] < HIGHEST:
            lost += 1
            continue
        key = gene.key
        held[key] = held.get(key, False) or source[i] in IN_HULL
        if key not in lowest or energy[i] < energy[lowest[key]]:
            lowest[key] = i
    rows = list(lowest.values())
    floor = hull_floor(reference_hull("chgnet"))([genes[i].composition for i in rows])
    np.savez_compressed(
        work / "table.npz", keys=np.frombuffer("\n".join(lowest).encode(), dtype=np.uint8), energy=energy[rows], floor=floor, source=source[rows].astype(str),
        held=np.array([held[k] for k in lowest]), system=np.array(["-".join(symbol(z) for z in genes[i].composition) for i in rows]))
    found = read(work)
    print(f"{len(genes)} structures, {lost} left out, {len(rows)} genes, {len(set(found.system))} chemical systems")
    for name in np.unique(found.source):
        print(name, {p: int(((found.source == name) & (found.part == p)).sum()) for p in ("train", "calibration", "test")})


def read(work: Path) -> Rows:
    """The table that `table` wrote."""
    with np.load(work / "table.npz", allow_pickle=False) as held:
        keys = np.array(held["keys"].tobytes().decode().split("\n"), dtype=object)
        return Rows(keys, *(held[name] for name in ("energy", "floor", "source", "held", "system")))


def genes_of(keys) -> list[Gene]:
    """Genes of keys."""
    return [Gene.parse(str(k)) for k in keys]


# training


def train(work: Path, members: int, epochs: int, cycle: int, minutes: float, start: Path | None = None, batch: int = 384) -> None:
    """Member after member until all are trained or the minutes are over."""
    torch.set_num_threads(1)
    rows = read(work)
    part = rows.part
    sites, watched = sites_of(genes_of(rows.keys[part == "train"])), sites_of(genes_of(rows.keys[part == "calibration"]))
    labels, truth = rows.energy[part == "train"], rows.energy[part == "calibration"]
    scale = json.loads((start / "scale.json").read_text()) if start else [float(labels.mean()), float(labels.std())]
    (work / "scale.json").write_text(json.dumps(scale))
    first = trained(start)[-1] if start else None
    until = time.monotonic() + 60 * minutes
    for member in range(members):
        if not Member(work, member, sites, labels, scale, epochs if member == 0 else cycle, batch, first).run(until, watched, truth):
            print("stopped by the clock; call again to go on")
            return


class Member:
    """One network with its optimiser and the running average of its weights, on disk after every epoch."""

    def __init__(self, work: Path, number: int, sites, labels: np.ndarray, scale: Sequence[float], epochs: int, batch: int, first: dict | None):
        self.file, self.number, self.sites, self.epochs, self.batch, self.scale = work / f"member_{number}.pt", number, sites, epochs, batch, scale
        self.labels = torch.from_numpy((labels - self.scale[0]) / self.scale[1]).float()
        self.rate = 1e-3 if number or first else 2e-3
        self.network, self.average = GeneNetwork(**SHAPE), GeneNetwork(**SHAPE)
        if number:
            first = torch.load(work / f"member_{number - 1}.pt", weights_only=True)
        self.before = first["lineage"] if first else []
        if first:
            self.network.load_state_dict(first["average"])
            self.average.load_state_dict(first["average"])
        tables = [p for n, p in self.network.named_parameters() if n.startswith("own_")]
        rest = [p for n, p in self.network.named_parameters() if not n.startswith("own_")]
        self.optimizer = torch.optim.AdamW([{"params": rest, "weight_decay": 0.02}, {"params": tables, "weight_decay": 0.2}], lr=0.0, betas=(0.9, 0.98), fused=True)
        self.epoch, self.seconds = 0, 0.0
        if self.file.exists():
            held = torch.load(self.file, weights_only=True)
            self.network.load_state_dict(held["network"])
            self.average.load_state_dict(held["average"])
            self.optimizer.load_state_dict(held["optimizer"])
            self.epoch, self.epochs, self.seconds = held["epoch"], held["epochs"], held["seconds"]

    def run(self, until: float, watched, truth: np.ndarray) -> bool:
        """Whether the member is trained; False where the clock ended it first."""
        while self.epoch < self.epochs:
            if time.monotonic() > until:
                return False
            begun = time.process_time()
            loss = self.one_epoch()
            self.epoch += 1
            self.seconds += time.process_time() - begun
            self.save()
            if self.epoch % 4 == 0 or self.epoch == self.epochs:
                error = self.error(watched, truth)
                print(f"member {self.number} epoch {self.epoch} loss {loss:.4f} calibration MAE {error:.4f} eV/atom, {self.seconds:.0f} s of CPU", flush=True)
        return True

    def one_epoch(self) -> float:
        rng = numpy_stream(0, "gene_energy", self.number, self.epoch)
        order, size = rng.permutation(len(self.sites)), CHUNK * self.batch
        batches = []
        for begin in range(0, len(order), size):
            chunk = order[begin : begin + size]
            chunk = chunk[np.argsort(self.sites.counts[chunk], kind="stable")]
            batches += [chunk[i : i + self.batch] for i in range(0, len(chunk), self.batch)]
        total, steps = 0.0, self.epochs * len(batches)
        for n, k in enumerate(rng.permutation(len(batches))):
            step = self.epoch * len(batches) + n
            rate = self.rate * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-6
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            part = self.sites.take(batches[k])
            out = self.network(batch_of(part, rng.integers(part.settings())))
            wide = out[:, 1].clamp(-5, 2)
            loss = ((out[:, 0] - self.labels[batches[k]]).abs() * torch.exp(-wide) + wide).mean()
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            with torch.no_grad():
                keep = min(0.998, (1 + step) / (10 + step))
                torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - keep)
            total += float(loss.detach()) * len(batches[k])
        return total / len(order)

    def error(self, sites, truth: np.ndarray) -> float:
        """Mean absolute error of the averaged weights, eV/atom."""
        one = GeneEnergy([self.average], self.scale, Calibration(1.0, np.zeros(1)))
        return float(np.abs(one.of_sites(sites).formation_energy - truth).mean())

    def save(self) -> None:
        new = self.file.with_suffix(".part")
        torch.save({"network": self.network.state_dict(), "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch,
                    "seconds": self.seconds, "epochs": self.epochs, "lineage": [*self.before, [len(self.sites), self.epoch, round(self.seconds)]]}, new)
        new.rename(self.file)


# shipping


def calibration_rows(rows: Rows) -> np.ndarray:
    """Numbers of the calibration rows: those outside of the hull, as proposals are, where there are enough of them."""
    held_out = rows.part == "calibration"
    outside = held_out & ~rows.held
    return np.flatnonzero(outside if outside.sum() >= 400 else held_out)


def trained(work: Path) -> list[dict]:
    """Checkpoints of the members that are trained to their end, in order."""
    held = [torch.load(work / f"member_{k}.pt", weights_only=True) for k in range(len(list(work.glob("member_*.pt"))))]
    return [m for m in held if m["epoch"] == m["epochs"]]


def calibrate(work: Path, last: int) -> None:
    """The `last` trained members as one predictor, calibrated."""
    rows, networks = read(work), []
    for member in trained(work)[-last:]:
        network = GeneNetwork(**SHAPE)
        network.load_state_dict(member["average"])
        networks.append(network)
    chosen = calibration_rows(rows)
    scale = tuple(json.loads((work / "scale.json").read_text()))
    plain = GeneEnergy(networks, scale, Calibration(1.0, np.zeros(1))).of_sites(sites_of(genes_of(rows.keys[chosen])))
    found = Calibration.of(rows.energy[chosen] - plain.formation_energy, plain.sigma)
    GeneEnergy(networks, scale, found).save(work / f"{NAME}.safetensors")
    print(f"{len(networks)} members, {len(chosen)} genes to calibrate on, factor {found.factor:.3f}")


def write(work: Path) -> None:
    """Weights and card into the package."""
    rows, report = read(work), json.loads((work / "report.json").read_text())
    part, file = rows.part, SHIPPED / f"{NAME}.safetensors"
    lineage, tables = trained(work)[-1]["lineage"], [n for n in ("compounds_chgnet", "genes_chgnet") if n in list_shipped()]
    shutil.copyfile(work / f"{NAME}.safetensors", file)
    write_card(
        file, what="ensemble of networks over Wyckoff genes: relaxed formation energy (eV/atom, CHGNet on the elements of its reference hull) with calibrated width",
        made_by="recipes/train_gene_energy.py table train calibrate; recipes/measure_gene_energy.py; recipes/train_gene_energy.py write",
        credit="; ".join([
            *(card(n)["credit"] for n in tables), "energies and geometries by matterloop with CHGNet 0.3.0 (Deng et al., 2023)"]),
        protocol="lowest relaxed energy of each gene; chemical systems dealt by a hash: 10 % test, 6 % calibration, the rest training", scheme="mp2020", potential="chgnet",
        data={"genes": len(rows.keys), "train": int((part == "train").sum()), "calibration": int((part == "calibration").sum()), "test": int((part == "test").sum()),
              "by_source": {str(s): int((rows.source == s).sum()) for s in np.unique(rows.source)},
              "tables": {n: card(n)["sha256"] for n in tables}},
        training={"members": len(GeneEnergy.load(file).networks), **SHAPE, "genes, epochs, CPU seconds of all members one after the other": lineage,
                  "cpu_hours": round(sum(seconds for _, _, seconds in lineage) / 3600, 2), "loss": "negative log-likelihood of a Laplace distribution", "threads": 1},
        report=report,
        cannot=["take elements beyond plutonium; elements seen in few compounds it knows badly", "tell apart minima of one gene: it predicts the lowest that a few starts found",
                "rank random genes as well as substituted ones; its chances are too high for our own candidates and too low for WBM, see the report by source",
                "bound errors: widths have heavy tails, so use the calibrated chance, not two sigma",
                "see magnetic order, pressure or temperature", "replace a relaxation: a screen, wrong by the stated error",
                "be trusted on genes unlike its sources, such as molecular crystals; the calibration is of the held-out rows named in the report"])
    print(file, file.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("table", "train", "calibrate", "write"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--cycle", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--start", type=Path, help="work folder of an earlier table")
    parser.add_argument("--last", type=int, default=4, help="members that calibrate takes")
    options = parser.parse_args()
    if options.step == "train":
        train(options.work, options.members, options.epochs, options.cycle, options.minutes, options.start)
    else:
        {"table": table, "calibrate": lambda work: calibrate(work, options.last), "write": write}[options.step](options.work)


if __name__ == "__main__":
    main()
