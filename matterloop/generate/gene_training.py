"""Training of the gene network: genes in random settings and orders, conditions left open at random, batches of similar length; stops and goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..archive.files import replacing
from ..base.errors import BadInput
from ..base.seeds import derive, numpy_stream, torch_stream
from ..represent.gene_vocabulary import GROUPS, Encoded, relabelled, vocabulary
from .gene_network import ENERGIES, WIDTH, Batch, Conditions, GeneNetwork

CHUNK = 32  # batches whose genes are sorted by length together


@dataclass(frozen=True, eq=False)
class Examples:
    """Genes with what is known of them; NaN where an energy is not known.

    genes       one row each
    above_hull, formation_energy, band_gap (genes,)  eV/atom, eV/atom, eV
    shy (genes,)  never shown with everything left open: candidates of our own, which no data set holds and which must not pass for what is usual
    """

    genes: Encoded
    above_hull: np.ndarray
    formation_energy: np.ndarray
    band_gap: np.ndarray
    shy: np.ndarray

    def __len__(self) -> int:
        return len(self.genes)

    def take(self, rows) -> Examples:
        """Some rows."""
        return Examples(self.genes.take(rows), *(getattr(self, n)[rows] for n in (*ENERGIES, "shy")))

    def conditions(self, rows) -> Conditions:
        """All that is known of some rows."""
        part, v = self.genes.take(rows), vocabulary()
        amounts = torch.from_numpy(part.composition(WIDTH)).float()
        energy = lambda name: torch.from_numpy(getattr(self, name)[rows]).float()
        return Conditions(*(energy(n) for n in ENERGIES), (amounts > 0).sum(-1), amounts.sum(-1).long(), torch.from_numpy(v.system[part.group] + 1),
                          (amounts > 0).float(), amounts)


class Settings:
    """Every equivalent setting of every space group, so that places are relabelled in bulk."""

    def __init__(self):
        tables = [relabelled(g) for g in range(1, GROUPS + 1)]
        self.table = torch.from_numpy(np.concatenate(tables))
        self.count = np.array([0, *map(len, tables)])
        self.start = np.concatenate([[0], np.cumsum(self.count)[:-1]])

    def shuffled(self, genes: Encoded, rng: np.random.Generator, *, plain: bool = False) -> Batch:
        """Each gene in a random setting and a random order of its sites (`plain`: as it stands)."""
        counts, rows = genes.counts, len(genes)
        owner = np.repeat(np.arange(rows), counts)
        place, element = genes.place, genes.element
        if not plain:
            setting = self.start[genes.group] + (rng.random(rows) * self.count[genes.group]).astype(int)
            place = self.table.numpy()[setting[owner], vocabulary().letter[place]]
            order = np.lexsort((rng.random(len(owner)), owner))
            place, element = place[order], element[order]
        column = np.arange(len(owner)) - np.repeat(genes.offsets[:-1], counts)
        width = int(counts.max(initial=1))
        out = np.zeros((2, rows, width), dtype=np.int64)
        out[0, owner, column], out[1, owner, column] = place, element
        return Batch(torch.from_numpy(genes.group.astype(np.int64)), torch.from_numpy(out[0]), torch.from_numpy(out[1]), torch.from_numpy(counts))


def kept_conditions(rows: int, shy: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
    """Which conditions stand, drawn anew for each row from what will be asked one day.

    a quarter nothing at all; a quarter energies; a quarter a composition with the number of atoms, half of them with an energy; the rest each one or not.
    """
    kind = rng.integers(0, 4, rows)
    kind[shy & (kind == 0)] = 1
    free = lambda share: rng.random(rows) < share
    composition = (kind == 2) | ((kind == 3) & free(0.2))
    elements = (kind == 3) & free(0.4)
    keep = {
        "above_hull": ((kind == 1) & free(0.85)) | ((kind == 2) & free(0.4)) | ((kind == 3) & free(0.5)) | shy,
        "formation_energy": ((kind == 1) & free(0.25)) | ((kind == 3) & free(0.3)),
        "band_gap": ((kind == 1) & free(0.25)) | ((kind == 3) & free(0.3)),
        "n_elements": (kind == 3) & free(0.4),
        "atoms": (kind == 2) | ((kind == 3) & free(0.3)),
        "system": (kind == 3) & free(0.3),
        "elements": elements | composition,
        "composition": composition,
    }
    return {name: torch.from_numpy(mask) for name, mask in keep.items()}


def nll_of(network: GeneNetwork, genes: Encoded, conditions: Conditions | None = None, *, orders: int = 1, seed: int = 0, batch: int = 512) -> np.ndarray:
    """(genes,) estimated negative ln of the probability of each gene: -ln mean of exp over `orders` random orders and settings, less ln of their number.

    With one order it is an upper bound on average. Conditions: one row each, or None for everything open.
    """
    settings, rng = Settings(), numpy_stream(seed, "nll")
    found = np.zeros((orders, len(genes)))
    with torch.no_grad():
        by_length = np.argsort(genes.counts, kind="stable")
        for at in range(0, len(genes), batch):
            rows = by_length[at : at + batch]
            part = genes.take(rows)
            asked = Conditions.none(len(rows)) if conditions is None else conditions.take(torch.from_numpy(rows))
            for k in range(orders):
                found[k, rows] = sum(x.double() for x in network.nll(settings.shuffled(part, rng), asked)).numpy()
    low = found.min(0)
    best = low - np.log(np.exp(low - found).mean(0))
    return best - np.array([math.lgamma(n + 1) for n in genes.counts.tolist()]) - np.log(settings.count[genes.group])


@dataclass(frozen=True)
class Course:
    """How to train.

    hours         of wall time, over all starts together
    batch         genes of a step
    rate          learning rate, reached after `warm` steps and held; it falls to a fiftieth in the last `fall` share of the hours
    decay         weight decay
    average       decay of the running average of the weights, which is what is kept
    save_minutes  between checkpoints
    """

    hours: float = 1.0
    batch: int = 256
    rate: float = 1.5e-3
    warm: int = 300
    fall: float = 0.3
    decay: float = 0.05
    average: float = 0.999
    save_minutes: float = 3.0


def fit(network: GeneNetwork, train: Examples, valid: Examples, course: Course, folder: Path, *, seed: int = 0, say: Callable[[str], None] = print) -> dict:
    """Train until the hours are spent, going on from a checkpoint in `folder`; returns the log's summary and leaves the averaged weights in the network.

    The validation figure is nats per gene with everything open and with energies known, in one fixed random order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "checkpoint.pt"
    groups = [{"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": course.decay},
              {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=course.rate, betas=(0.9, 0.95))
    mean = {k: p.detach().clone() for k, p in network.named_parameters()}
    step, spent, log = 0, 0.0, []
    if place.exists():
        held = torch.load(place, weights_only=True)
        if held["options"] != network.options:
            raise BadInput(f"the checkpoint is of another network: {held['options']}, this is {network.options}", str(place.name))
        network.load_state_dict(held["network"])
        optimizer.load_state_dict(held["optimizer"])
        mean, step, spent, log = held["mean"], held["step"], held["spent"], held["log"]
        say(f"goes on at step {step} after {spent / 3600:.2f} h")
    settings, begun, saved = Settings(), time.monotonic(), time.monotonic()
    running = None
    for rows in _batches(train.genes.counts, course.batch, seed, step):
        now = spent + time.monotonic() - begun
        share = now / (3600 * course.hours)
        if share >= 1:
            break
        rng = numpy_stream(seed, "batch", step)
        left = min(1.0, (1 - share) / course.fall)
        rate = course.rate * min(1.0, (step + 1) / course.warm) * (0.02 + 0.98 * left)
        for group in optimizer.param_groups:
            group["lr"] = rate
        asked = train.conditions(rows).kept(kept_conditions(len(rows), train.shy[rows], rng))
        group, sites, elements = network.nll(settings.shuffled(train.genes.take(rows), rng), asked, torch_stream(seed, "dropout", step))
        loss = (group + sites + elements).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(course.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in network.named_parameters():
                mean[name].lerp_(p, 1 - keep)
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if time.monotonic() - saved > 60 * course.save_minutes:
            saved = time.monotonic()
            now = spent + saved - begun
            log.append({"step": step, "hours": round(now / 3600, 4), "genes": step * course.batch, "train": round(running, 4), **_checked(network, mean, valid)})
            say(str(log[-1]))
            _save(place, network, optimizer, mean, step, now, log)
    now = spent + time.monotonic() - begun
    final = _checked(network, mean, valid)
    _save(place, network, optimizer, mean, step, now, log)
    network.load_state_dict(mean, strict=False)
    network.eval()
    return {"steps": step, "hours": round(now / 3600, 3), "epochs": round(step * course.batch / max(len(train), 1), 1), "train": running, **final, "log": log}


def _save(place: Path, network, optimizer, mean, step, spent, log) -> None:
    with replacing(place) as new:
        torch.save({"options": network.options, "network": network.state_dict(), "optimizer": optimizer.state_dict(), "mean": mean, "step": step,
                    "spent": spent, "log": log}, new)


def _checked(network: GeneNetwork, mean: dict[str, Tensor], valid: Examples) -> dict[str, float]:
    """Validation with the averaged weights, in nats per gene."""
    now = {k: p.detach().clone() for k, p in network.named_parameters()}
    network.load_state_dict(mean, strict=False)
    rows = np.arange(len(valid))
    known = valid.conditions(rows)
    no = torch.zeros(len(valid), dtype=torch.bool)
    energies = known.kept({n: no for n in ("n_elements", "atoms", "system", "elements", "composition")})
    formula = known.kept({n: no for n in ("n_elements", "system", *ENERGIES)})
    found = {name: round(float(nll_of(network, valid.genes, asked, seed=7).mean()), 4) for name, asked in
             (("open", None), ("energies", energies), ("composition", formula))}
    network.load_state_dict(now, strict=False)
    return found


def _batches(counts: np.ndarray, size: int, seed: int, step: int) -> Iterator[np.ndarray]:
    """Rows of one batch after the other without end, from batch `step` on; genes of similar length share a batch."""
    per_epoch = max(len(counts) // size, 1)
    epoch, at = divmod(step, per_epoch)
    while True:
        rng = numpy_stream(seed, "epoch", epoch)
        order = rng.permutation(len(counts))
        parts = []
        for begin in range(0, len(order), CHUNK * size):
            part = order[begin : begin + CHUNK * size]
            part = part[np.argsort(counts[part], kind="stable")]
            parts += [part[k : k + size] for k in range(0, len(part), size)]
        parts = [p for p in parts if len(p) == size] or [order]
        chosen = [parts[k] for k in rng.permutation(len(parts))]
        yield from chosen[at:]
        epoch, at = epoch + 1, 0


def split(systems: Sequence[frozenset[int]], share: float = 0.02, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows for training and for validation, chemical systems kept together."""
    held = np.array([derive(seed, *sorted(s)) % 10_000 < share * 10_000 for s in systems])
    return np.flatnonzero(~held), np.flatnonzero(held)
