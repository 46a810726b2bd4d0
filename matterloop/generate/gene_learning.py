"""The gene network learns from what became of its genes: imitation of the good ones, or a policy that is kept near the network it began as.

policy     loss (ln p0 + reward / stiffness - ln p)^2 over new and remembered genes, in one random order and setting each: its minimum is the distribution
           p0 exp(reward / stiffness), the best one whose mean reward is paid for with its divergence from p0 (M. Olivecrona et al., J. Cheminform. 9, 48
           (2017), for molecules; KL-regularised, with replay and a filter for diversity, as in MatInvent, arXiv:2511.03112)
imitation  negative ln likelihood of genes whose reward is at least `good` (rejection fine-tuning)

A structure type or a chemical system that comes again and again earns less each time (`Diversity`), so that the policy does not settle on one good thing.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from ..represent.gene_vocabulary import encode
from ..represent.wyckoff_gene import Gene
from .gene_network import Conditions, GeneNetwork
from .gene_training import Settings

HALF, WIDTH = 0.06, 0.03  # eV/atom: where a reward is one half, and how steeply it falls


def reward_of(above_hull: np.ndarray) -> np.ndarray:
    """0 to 1 from energies above the hull in eV/atom: 0.88 on the hull, 0.21 at 0.1; 0 where there is none (nan)."""
    value = np.asarray(above_hull, dtype=np.float64)
    return np.where(np.isnan(value), 0.0, 1 / (1 + np.exp(np.clip((np.nan_to_num(value) - HALF) / WIDTH, -30, 30))))


@dataclass
class Diversity:
    """Less reward for what has been rewarded often: full for the first `free` of a structure type or chemical system, none from `most` on, linear between."""

    free: int = 4
    most: int = 40
    seen: Counter = field(default_factory=Counter)

    def __call__(self, genes: Sequence[Gene], rewards: np.ndarray) -> np.ndarray:
        """(genes,) rewards left; remembers those that earned at least a half."""
        out = np.array(rewards, dtype=np.float64)
        for i, gene in enumerate(genes):
            names = (gene.anonymous, tuple(gene.composition))
            often = max(self.seen[n] for n in names)
            out[i] *= min(1.0, max(0.0, (self.most - often) / (self.most - self.free)))
            if rewards[i] >= 0.5:
                self.seen.update(names)
        return out


@dataclass(frozen=True)
class Lesson:
    """What one round taught: genes heard, mean reward before and after the filter, steps, mean loss, and the mean of ln p - ln p0 (the divergence paid)."""

    heard: int
    reward: float
    filtered: float
    steps: int
    loss: float
    divergence: float


class Learner:
    """Holds the network that learns and the one it began as.

    way        "policy" or "imitation"
    stiffness  of the policy: reward per nat of divergence; smaller moves further
    rate       learning rate; steps and batch of each round
    replay     genes remembered, the best first
    good       reward from which a gene is imitated
    """

    def __init__(self, network: GeneNetwork, way: Literal["policy", "imitation"] = "policy", *, stiffness: float = 0.15, rate: float = 2e-4, steps: int = 24,
                 batch: int = 96, replay: int = 600, good: float = 0.5, diversity: Diversity | None = None, seed: int = 0):
        if way not in ("policy", "imitation"):
            raise BadInput(f"way is {way!r}; allowed are policy and imitation", "learner")
        if not stiffness > 0 or not rate > 0 or steps < 1 or batch < 1:
            raise BadInput(f"stiffness {stiffness}, rate {rate}, steps {steps} and batch {batch} must be positive", "learner")
        self.way, self.stiffness, self.steps, self.batch, self.replay, self.good, self.seed = way, stiffness, steps, batch, replay, good, seed
        self.network = copy.deepcopy(network).requires_grad_(True).eval()
        self.start = copy.deepcopy(network).requires_grad_(False).eval()
        self.diversity = Diversity() if diversity is None else diversity
        self.memory: dict[str, tuple[Gene, float]] = {}
        self.rounds = 0
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
        self._settings = Settings()

    def hear(self, genes: Sequence[Gene], rewards: Sequence[float], conditions: Conditions | None = None) -> Lesson:
        """Learn from one round: genes with rewards from 0 to 1 (failures and repetitions 0).

        conditions  under which all genes are drawn, one row; everything open if absent
        """
        rewards = np.asarray(rewards, dtype=np.float64)
        if len(rewards) != len(genes) or not np.isfinite(rewards).all():
            raise BadInput(f"{len(genes)} genes and {len(rewards)} rewards, {int(np.isfinite(rewards).sum())} of them finite", "learner")
        left = self.diversity(genes, rewards)
        for gene, value in zip(genes, left.tolist(), strict=True):
            held = self.memory.get(gene.key)
            self.memory[gene.key] = (gene, value if held is None else max(value, held[1]))
        pool = [(g, r) for g, r in self.memory.values() if self.way == "policy" or r >= self.good]
        losses, apart = [], 0.0
        rng = numpy_stream(self.seed, "lesson", self.rounds)
        new = {g.key for g in genes}
        weight = np.array([(2.0 if g.key in new else 1.0) * (0.3 + r) for g, r in pool])
        for _ in range(self.steps if pool else 0):
            rows = rng.choice(len(pool), size=min(self.batch, len(pool)), replace=False, p=weight / weight.sum())
            loss, apart = self._step([pool[i] for i in rows.tolist()], conditions, rng)
            losses.append(loss)
        self.memory = dict(sorted(self.memory.items(), key=lambda kv: -kv[1][1])[: self.replay])
        self.rounds += 1
        return Lesson(len(genes), float(rewards.mean()) if len(rewards) else 0.0, float(left.mean()) if len(left) else 0.0, len(losses),
                      float(np.mean(losses)) if losses else 0.0, apart)

    def _step(self, rows: list[tuple[Gene, float]], conditions: Conditions | None, rng: np.random.Generator) -> tuple[float, float]:
        batch = self._settings.shuffled(encode([g for g, _ in rows]), rng)
        asked = Conditions.none(len(rows)) if conditions is None else conditions.take(torch.zeros(len(rows), dtype=torch.long))
        now = -sum(self.network.nll(batch, asked))
        with torch.no_grad():
            before = -sum(self.start.nll(batch, asked))
        if self.way == "policy":
            wanted = before + torch.tensor([r for _, r in rows], dtype=now.dtype) / self.stiffness
            gap = wanted - now
            loss = ((gap - gap.mean().detach()) ** 2).mean() * self.stiffness**2  # the mean is ln of the normalising constant
        else:
            loss = -(now / torch.tensor([len(g.sites) for g, _ in rows])).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        return float(loss.detach()), float((now.detach() - before).mean())
