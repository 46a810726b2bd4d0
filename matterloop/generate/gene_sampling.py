"""Drawing genes from the network under hard rules, with temperature and classifier-free guidance.

Guidance mixes the logits with and without the wanted energies, base + guidance (wanted - base): 1 is plain conditioning, more exaggerates it
(J. Ho and T. Salimans, arXiv:2207.12598). Everything else that is asked stands on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..represent.gene_vocabulary import decode, vocabulary
from ..represent.wyckoff_gene import Gene
from .gene_constraints import END, Rules, Writing
from .gene_network import ENERGIES, NEVER, Conditions, GeneNetwork

LONGEST = 64  # sites


@dataclass(frozen=True, eq=False)
class Drawn:
    """Genes in the order of their rows, None where the rules left no way to go on; `rows` counts all that were begun."""

    genes: tuple[Gene | None, ...]

    @property
    def rows(self) -> int:
        return len(self.genes)

    @property
    def finished(self) -> list[Gene]:
        """Those that came to an end."""
        return [g for g in self.genes if g is not None]


@dataclass(frozen=True)
class Outline:
    """A gene whose positions are settled and whose elements are not: sites with equal labels get one element, other labels another.

    sites   (place, label) pairs, places of the vocabulary
    roles   elements that may stand for each label; empty: all
    """

    group: int
    sites: tuple[tuple[int, int], ...]
    roles: tuple[frozenset[int], ...] = ()

    def role(self, label: int) -> frozenset[int]:
        """Elements that a label may be, empty: any."""
        return self.roles[label] if self.roles else frozenset()


class _Guided:
    """The network's answers for rows with conditions, beside those without the energies where guidance asks for them."""

    def __init__(self, network: GeneNetwork, conditions: Conditions, guidance: float):
        self.network, self.guidance = network, guidance
        asked = torch.stack([~torch.isnan(getattr(conditions, n)) for n in ENERGIES]).any()
        self.double = guidance != 1.0 and bool(asked)
        no = torch.zeros(len(conditions), dtype=torch.bool)
        base = conditions.kept({n: no for n in ENERGIES})
        self.sides = [conditions, base] if self.double else [conditions]
        self.places = network.places()
        self.offers = network.offers(self.places)
        self.past: list[list | None] = [None] * len(self.sides)
        self.h: list[Tensor] = []

    def start(self) -> Tensor:
        """Logits (rows, 231) of the space group."""
        self.h = []
        for i, side in enumerate(self.sides):
            token = self.network.condition_token(side)
            one, back = _distinct(token)
            h, past = self.network.run(token[one][:, None])
            self.past[i] = [(k[back], v[back]) for k, v in past]
            self.h.append(h[back])
        return self._mixed([self.network.group_logits(h[:, -1]) for h in self.h])

    def group(self, token: Tensor, used: Tensor) -> None:
        """Read the token (rows, width) of the space group; rows that agree in it and in all before are answered once."""
        x = token + self.network.progress(used, self.sides[0])  # energies have no part in it: the same for both sides
        for i in range(len(self.sides)):
            one, back = _distinct(torch.cat([x, self.h[i][:, 0]], 1))
            h, past = self.network.run(x[one][:, None], [(k[one], v[one]) for k, v in self.past[i]])
            self.h[i], self.past[i] = h[back], [(k[back], v[back]) for k, v in past]

    def forward(self, token: Tensor, used: Tensor) -> None:
        """Read one more token (rows, width)."""
        x = (token + self.network.progress(used, self.sides[0]))[:, None]
        for i in range(len(self.sides)):
            self.h[i], self.past[i] = self.network.run(x, self.past[i])

    def place(self, group: Tensor) -> Tensor:
        """(rows, 28)."""
        return self._mixed([self.network.place_logits(h, group, self.offers)[:, 0] for h in self.h])

    def element(self, place: Tensor) -> Tensor:
        """(rows, 119)."""
        return self._mixed([self.network.element_logits(h[:, 0], self.places[place]) for h in self.h])

    def keep(self, rows: Tensor) -> None:
        """Forget all but some rows."""
        self.sides = [s.take(rows) for s in self.sides]
        self.past = [[(k[rows], v[rows]) for k, v in past] for past in self.past]
        self.h = [h[rows] for h in self.h]

    def _mixed(self, sides: list[Tensor]) -> Tensor:
        return sides[0] if not self.double else sides[1] + self.guidance * (sides[0] - sides[1])


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(distinct,) one place for each different row of (rows, width), and for each row which of them it equals."""
    held: dict[bytes, int] = {}
    back = torch.tensor([held.setdefault(row.tobytes(), len(held)) for row in rows.contiguous().numpy()])
    one = torch.zeros(len(held), dtype=torch.long)
    one[back] = torch.arange(len(back))  # which of equal rows stands for them does not matter
    return one, back


def _draw(logits: Tensor, legal: np.ndarray, temperature: float, rng: torch.Generator) -> np.ndarray:
    """An answer for each row among the legal ones, -1 where there is none."""
    mask = torch.tensor(legal)
    logits = logits.masked_fill(~mask, NEVER) / temperature
    chance = torch.softmax(logits.double(), -1) * mask
    some = chance.sum(-1) > 0
    chance[~some, 0] = 1.0
    return torch.where(some, torch.multinomial(chance, 1, generator=rng)[:, 0], -1).numpy()


@torch.no_grad()
def sample(network: GeneNetwork, rules: Rules, conditions: Conditions, rng: torch.Generator, *, temperature: float = 1.0, guidance: float = 1.0,
           outlines: Sequence[Outline] | None = None, insist: bool = False) -> Drawn:
    """One gene for each row of `conditions`, canonical; BadInput for a temperature or guidance that means nothing.

    insist    where charges must balance and do not at the end: True goes on until they do, which bends the distribution; False drops the row, so that what
              is left is distributed as the network's genes that balance
    outlines  one for each row: positions settled beforehand, only elements are drawn
    """
    if not temperature > 0 or not 0 <= guidance <= 50:
        raise BadInput(f"temperature {temperature} must be positive, guidance {guidance} from 0 to 50", "sample")
    rows = len(conditions)
    answers = _Guided(network, conditions, guidance)
    first = answers.start()
    if outlines is None:
        group = _draw(first, np.broadcast_to(rules.groups, first.shape), temperature, rng)
    else:
        group = np.array([o.group for o in outlines])
    alive = np.flatnonzero(group >= 0)
    if len(alive) < rows:
        answers.keep(torch.from_numpy(alive))
    writing = Writing(rules, group[alive], alive)
    genes: list[Gene | None] = [None] * rows
    token = network.group_token(torch.from_numpy(writing.group))
    for step in range(LONGEST + 1):
        if not len(alive):
            break
        (answers.forward if step else answers.group)(token, torch.from_numpy(writing.used).float())
        if outlines is None:
            legal = writing.places()
            logits = answers.place(torch.from_numpy(writing.group))
            slot = _draw(logits, legal, temperature, rng)
            wrong = np.flatnonzero(slot == END)
            wrong = wrong[~writing.balanced(wrong)]
            slot[wrong] = -1
            if len(wrong) and insist:
                legal[wrong, END] = False
                slot[wrong] = _draw(logits[wrong], legal[wrong], temperature, rng)
        else:
            slot = np.array([_outlined(writing, outlines[i], k, step) for k, i in enumerate(alive.tolist())])
            ended = np.flatnonzero(slot == END)
            slot[ended[~writing.balanced(ended)]] = -1
        for k in np.flatnonzero(slot == END).tolist():
            genes[alive[k]] = decode(int(writing.group[k]), writing.sites[k])
        going = np.flatnonzero((slot >= 0) & (slot != END))
        if len(going) < len(alive):
            alive, slot = alive[going], slot[going]
            writing.keep(going)
            answers.keep(torch.from_numpy(going))
            if not len(alive):
                break
        place = torch.from_numpy(writing.slots[np.arange(len(slot)), slot])
        legal = writing.can_balance(slot, writing.elements(slot)) if outlines is None else _roles(writing, outlines, alive, step)
        element = _draw(answers.element(place), legal, temperature, rng)
        going = np.flatnonzero(element > 0)
        if len(going) < len(alive):
            alive, slot, element, place = alive[going], slot[going], element[going], place[torch.from_numpy(going)]
            writing.keep(going)
            answers.keep(torch.from_numpy(going))
            if not len(alive):
                break
        writing.add(slot, element)
        token = answers.places[place] + network.element(torch.from_numpy(element))
    return Drawn(tuple(genes))


def _outlined(writing: Writing, outline: Outline, row: int, step: int) -> int:
    """Letter of the next site of an outline, the end behind its last; -1 where the elements chosen do not meet the rules."""
    if step < len(outline.sites):
        return int(vocabulary().letter[outline.sites[step][0]])
    species = set(np.flatnonzero(writing.used[row]).tolist())
    rules = writing.rules
    met = rules.required <= species and all(species & g for g in rules.any_of) and rules.n_elements[0] <= len(species) <= rules.n_elements[1]
    return END if met else -1


def _roles(writing: Writing, outlines: Sequence[Outline], alive: np.ndarray, step: int) -> np.ndarray:
    """(rows, 119) elements for the next site of each outline, such that those still required find a label."""
    rules, width = writing.rules, len(writing.rules.allowed)
    legal = np.zeros((len(alive), width), bool)
    for k, i in enumerate(alive.tolist()):
        outline, label = outlines[i], outlines[i].sites[step][1]
        known = {lab: z for (_, lab), (_, z) in zip(outline.sites, writing.sites[k])}
        if label in known:
            legal[k, known[label]] = True
            continue
        legal[k] = rules.allowed
        legal[k, list(known.values())] = False
        role = outline.role(label)
        if role:
            legal[k] &= np.isin(np.arange(width), sorted(role))
        missing = rules.required - set(known.values())
        others = [outline.role(lab) for lab in {lab for _, lab in outline.sites} - {*known, label}]
        if missing and not _matched(missing, others):
            legal[k] &= np.isin(np.arange(width), sorted(missing))
        for z in missing:
            legal[k, z] &= _matched(missing - {z}, others)
    return legal


def _matched(elements: frozenset[int], roles: Sequence[frozenset[int]]) -> bool:
    """Whether each element can have a label of its own; an empty role takes any."""
    if not elements:
        return True
    z = min(elements)
    return any((not role or z in role) and _matched(elements - {z}, [*roles[:k], *roles[k + 1 :]]) for k, role in enumerate(roles))
