"""A learnt metric of chemical closeness: which known crystals of a pattern does a composition take after?

Neighbourhood components analysis, J. Goldberger, S. Roweis, G. Hinton, R. Salakhutdinov, NIPS 17 (2004), on crystals instead of classes: an analogue e of a
composition t is drawn with probability p(e|t) ~ exp(-d(t, e)), and the metric is fitted so that the drawn analogue has the geometry of t,

    loss = -ln sum_e p(e|t) M(t, e),    d = sum_i w_i |D_i| + c sum_(i<j) |D_i - D_j|,    D_i = E[z_i(t)] - E[z_i(e)]

E embeds the elements (a linear map of known scales and a free part), w_i weighs a slot by its share of the atoms, |x| = sqrt(x.x + s) - sqrt(s); the term with c
lets two slots move together. M is the chance that two geometries match (`MatchChance`). Analogues of the composition itself are other polymorphs: they carry
a bias of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..base.element_scales import MAX_Z, MENDELEEV, RADIUS
from ..base.elements import ACTINOIDS, LANTHANOIDS
from ..base.seeds import numpy_stream, torch_stream
from ..crystal.composition import ELECTRONEGATIVITY
from .analogues import Analogues

WIDTH = 16
SOFT = 0.05  # s of |x|
_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)


@cache
def element_scales() -> np.ndarray:
    """(95, features) of the elements, each of mean 0 and deviation 1: Mendeleev number, radius, electronegativity, period, valence electrons, blocks."""
    rows = []
    for z in range(1, MAX_Z + 1):
        below = max(n for n in _NOBLE if n < z)
        valence, period = z - below, _NOBLE.index(below) + 1
        f_block = z in LANTHANOIDS or z in ACTINOIDS
        if period >= 6 and not f_block and valence > 16:
            valence -= 14
        p_block = not f_block and valence > (12 if period > 3 else 2) and z > 2
        d_block = not f_block and not p_block and valence > 2 and period > 3
        chi = ELECTRONEGATIVITY[z]
        rows.append([MENDELEEV[z] / 10, RADIUS[z] * 3, (0.0 if np.isnan(chi) else chi) * 2, period, 3.0 if f_block else valence, f_block, p_block, d_block,
                     (18 - valence if period > 3 else 8 - valence) if p_block else 0.0, z == 1, period == 2, np.log(RADIUS[z]) * 3])
    table = np.array(rows, dtype=float)
    return np.vstack([np.zeros(table.shape[1]), (table - table.mean(0)) / table.std(0)])


@dataclass(frozen=True, eq=False)
class MatchChance:
    """Chance that two crystals of one pattern, elements slot by slot alike, match: logistic in ln of the distance x of their geometries.

    logit = intercept + slope ln(x + 0.01) + same_gene [genes are equal]
    """

    intercept: float = -6.5
    slope: float = -2.6
    same_gene: float = 0.5

    def __call__(self, a: np.ndarray, kind_a: np.ndarray, b: np.ndarray, kind_b: np.ndarray) -> np.ndarray:
        """(n, m) chances between geometries a (n, D) and b (m, D) of kinds (n,) and (m,)."""
        square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
        x = np.sqrt(np.maximum(square, 0.0))
        logit = self.intercept + self.slope * np.log(x + 0.01) + self.same_gene * (kind_a[:, None] == kind_b)
        return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))


@dataclass(frozen=True, eq=False)
class SwapMetric:
    """The fitted metric; `embedding` (95, WIDTH), `slot` (3,) logits of slot weights: constant, share of the atoms, number of slots."""

    embedding: Tensor
    slot: Tensor
    together: Tensor
    own_formula: Tensor

    def closeness(self, target: Tensor, pattern: Tensor, species: Tensor) -> Tensor:
        """-d (targets, analogues) of targets (targets, k) and analogues (analogues, k) with k slots of `pattern` (k,) atoms."""
        target, species = target.clamp(max=MAX_Z), species.clamp(max=MAX_Z)
        k, share = len(pattern), pattern / pattern.sum()
        weight = softplus(self.slot[0] + self.slot[1] * share + self.slot[2] * (k - 2))
        gram = self.embedding @ self.embedding.T
        norm = gram.diagonal()
        square = norm[:, None] + norm - 2 * gram
        squares = [square[target[:, i, None], species[:, i]] for i in range(k)]
        out = sum(-weight[i] * _soft(squares[i]) for i in range(k))
        for i, j in itertools.combinations(range(k), 2):
            cross = gram[target[:, i], target[:, j]][:, None] - gram[target[:, i, None], species[:, j]] - gram[target[:, j, None], species[:, i]] + gram[species[:, i], species[:, j]]
            out = out - softplus(self.together) * _soft(squares[i] + squares[j] - 2 * cross)
        return out

    def save(self, path: Path) -> None:
        """Write to a .npz file."""
        np.savez(path, **{f.name: getattr(self, f.name).detach().numpy() for f in fields(self)})

    @staticmethod
    def load(path: Path) -> SwapMetric:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return SwapMetric(**{f.name: torch.from_numpy(file[f.name]) for f in fields(SwapMetric)})


def _soft(square: Tensor) -> Tensor:
    return (square.clamp(min=0) + SOFT).sqrt() - SOFT**0.5


@dataclass(frozen=True, eq=False)
class Lesson:
    """Targets of one pattern: rows of `analogues` that are the targets (T,), M (T, E), which analogues are of the target's formula or the target itself (T, E)."""

    analogues: Analogues
    rows: np.ndarray
    match: Tensor
    alike: Tensor
    own: Tensor


def lessons(found: Sequence[Analogues], chance: MatchChance, chunk: int = 128) -> list[Lesson]:
    """Every member of every pattern as a target, in chunks, where the pattern has at least two members."""
    out = []
    for a in found:
        if len(a.members) < 2:
            continue
        number: dict[tuple, int] = {}
        formula = np.array([number.setdefault(f, len(number)) for f in a.formulas])
        for part in np.array_split(a.identity, -(-len(a.identity) // chunk)):
            match = chance(a.geometry[part], a.kind[part], a.geometry, a.kind)
            own = a.member[part][:, None] == a.member
            alike = (formula[a.member[part]][:, None] == formula[a.member]) & ~own
            out.append(Lesson(a, part, torch.from_numpy(match.astype(np.float32)), torch.from_numpy(alike), torch.from_numpy(own)))
    return out


def log_likelihood(metric: SwapMetric, lesson: Lesson, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(T,) ln of the expected match of an analogue drawn for each target (the target itself left out), and which targets have an analogue that can match."""
    species = torch.from_numpy(lesson.analogues.species)
    logits = metric.closeness(species[lesson.rows], torch.tensor(lesson.analogues.pattern, dtype=torch.float32), species)
    logits = logits + metric.own_formula * lesson.alike
    logits = logits.masked_fill(lesson.own, -torch.inf)
    chance = lesson.match.clamp(min=1e-6).log()
    reachable = (lesson.match.masked_fill(lesson.own, 0.0).amax(1) > 0.3)
    value = torch.logsumexp(logits + chance, 1) - torch.logsumexp(logits, 1)
    return value, reachable


def fit(found: Sequence[Analogues], chance: MatchChance, *, seed: int = 0, epochs: int = 40, held_out: float = 0.1, rate: float = 0.03, decay: float = 3e-3,
        note: Callable[[str], None] = lambda text: None) -> SwapMetric:
    """Fit the metric on members as targets; a share `held_out` of the formulas is no target and says when to stop (the best epoch is kept)."""
    scales = torch.from_numpy(element_scales()).float()
    stream = torch_stream(seed, "swap metric")
    linear = (torch.randn(scales.shape[1], WIDTH, generator=stream) * 0.3 / scales.shape[1] ** 0.5 * 2).requires_grad_()
    free = (torch.randn(MAX_Z + 1, WIDTH, generator=stream) * 0.05).requires_grad_()
    slot, together, own = (torch.tensor(v, requires_grad=True) for v in ([1.0, 0.0, 0.0], -1.0, -1.0))
    optimizer = torch.optim.AdamW([{"params": [free], "weight_decay": 0.0}, {"params": [linear, slot, together, own], "weight_decay": 0.0}], lr=rate, betas=(0.9, 0.98))
    rng = numpy_stream(seed, "swap metric", "order")
    given = lessons(found, chance)
    formulas = sorted({f for a in found for f in a.formulas})
    spared = {formulas[i] for i in rng.permutation(len(formulas))[: int(held_out * len(formulas))]}
    test = [torch.tensor([part.analogues.formulas[part.analogues.member[r]] in spared for r in part.rows]) for part in given]
    build = lambda: SwapMetric(scales @ linear + free, slot, together, own)
    best, kept, total = -np.inf, build(), sum(len(part.rows) for part in given)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * (total // 512 + 1), pct_start=0.2)
    for epoch in range(epochs):
        waiting, count = 0.0, 0
        for i in rng.permutation(len(given)).tolist():
            value, reachable = log_likelihood(build(), given[i])
            use = reachable & ~test[i]
            (-(value[use].sum()) / 512).backward()
            count += len(value)
            waiting += len(value)
            if waiting >= 512:
                (decay * (free**2).sum() + decay / 10 * (linear**2).sum()).backward()
                optimizer.step()
                schedule.step() if schedule.last_epoch < schedule.total_steps - 1 else None
                optimizer.zero_grad()
                waiting = 0
        if epoch % 4 == 3 or epoch == epochs - 1:
            with torch.no_grad():
                metric, values, trained = build(), [], []
                for part, mask in zip(given, test, strict=True):
                    value, reachable = log_likelihood(metric, part)
                    values.append(value[reachable & mask].exp())
                    trained.append(value[reachable & ~mask].exp())
            score, seen = float(torch.cat(values).mean()), float(torch.cat(trained).mean())
            note(f"metric, epoch {epoch + 1}: expected match of a drawn analogue {score:.4f} on held-out formulas, {seen:.4f} on the others")
            if score > best:
                best, kept = score, SwapMetric(*(getattr(metric, f.name).detach().clone() for f in fields(SwapMetric)))
    return kept
