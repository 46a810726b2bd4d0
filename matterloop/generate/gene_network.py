"""The network of the Wyckoff transformer: a causal transformer without positions over [conditions, space group, site, site, ...].

Each token but the last answers what comes next: the conditions the space group, the space group and each site the next Wyckoff position (or the end) and,
with that position known, its element. Sites carry no order, so that a gene is a set; training presents them in random order and in random equivalent
settings. After N. Kazeev et al., Wyckoff Transformer, ICML 2025, arXiv:2503.02407, and Z. Cao et al., CrystalFormer, Science Bulletin 70, 3522 (2025); the
factorisation into position and element, the scoring of positions by what they are (site symmetry, multiplicity, freedom), and the remaining composition as
an input of each step are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.elements import MAX_Z
from ..base.errors import BadInput
from ..base.seeds import torch_stream
from ..crystal.space_groups import SYSTEMS
from ..layers.parts import embedding, linear
from ..represent.gene_vocabulary import GROUPS, SLOTS, vocabulary

WIDTH = MAX_Z + 1
MOST_ELEMENTS, MOST_ATOMS = 8, 200  # larger numbers share the last embedding
NEVER = -1e9
ENERGIES = ("above_hull", "formation_energy", "band_gap")
RANGES = {"above_hull": (0.0, 3.9), "formation_energy": (-4.5, 1.5), "band_gap": (0.0, 8.0)}  # after `squashed`
CENTRES = 16


def squashed(name: str, value: Tensor) -> Tensor:
    """The scale on which an energy is expanded: ln(1 + e / 0.02 eV) above the hull, where small differences matter, eV otherwise."""
    return torch.log1p(value.clamp(min=0) / 0.02) if name == "above_hull" else value


@dataclass(frozen=True, eq=False)
class Conditions:
    """What is wanted of a batch of genes; everything may be left open.

    above_hull, formation_energy, band_gap (batch,)  eV per atom, eV per atom, eV; NaN: open
    n_elements, atoms (batch,)  distinct elements, atoms in the primitive cell; 0: open
    system (batch,)             crystal system, 1 + its index in SYSTEMS; 0: open
    elements (batch, 119)       1 for each element of the chemical system; all 0: open
    composition (batch, 119)    atoms of each element in the primitive cell; all 0: open
    """

    above_hull: Tensor
    formation_energy: Tensor
    band_gap: Tensor
    n_elements: Tensor
    atoms: Tensor
    system: Tensor
    elements: Tensor
    composition: Tensor

    @staticmethod
    def none(batch: int) -> Conditions:
        """Everything open."""
        nan, zero = torch.full((batch,), float("nan")), torch.zeros(batch, dtype=torch.long)
        return Conditions(nan, nan.clone(), nan.clone(), zero, zero.clone(), zero.clone(), torch.zeros(batch, WIDTH), torch.zeros(batch, WIDTH))

    def __len__(self) -> int:
        return len(self.above_hull)

    def take(self, rows) -> Conditions:
        """Some rows."""
        return Conditions(*(getattr(self, f.name)[rows] for f in fields(self)))

    def kept(self, keep: dict[str, Tensor]) -> Conditions:
        """Left open where `keep[name]` (batch,) is False; names that are absent stay."""
        out = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in keep:
                mask = keep[f.name] if value.ndim == 1 else keep[f.name][:, None]
                value = torch.where(mask, value, torch.full_like(value, float("nan")) if f.name in ENERGIES else torch.zeros_like(value))
            out[f.name] = value
        return Conditions(**out)


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded genes: `group` (batch,), `place` and `element` (batch, sites) with 0 behind the last of `counts` (batch,) sites."""

    group: Tensor
    place: Tensor
    element: Tensor
    counts: Tensor


class Block(nn.Module):
    """Causal self-attention and a perceptron, each after a normalisation and added to its input."""

    def __init__(self, rng: torch.Generator, width: int, heads: int, factor: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.outward = linear(rng, width, 3 * width, bias=False), linear(rng, width, width, bias=False)
        self.up, self.down = linear(rng, width, factor * width), linear(rng, factor * width, width)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None, rng: torch.Generator | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (batch, tokens, width) and what earlier tokens left, (batch, heads, earlier, width / heads) twice; with a past there is one token.

        rng  of the features that training leaves out; without it none is
        """
        batch, tokens, width = x.shape
        q, k, v = self.inward(self.before(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self._thinned(self.outward(mixed.transpose(1, 2).reshape(batch, tokens, width)), rng)
        return x + self._thinned(self.down(F.gelu(self.up(self.between(x)))), rng), (k, v)

    def _thinned(self, x: Tensor, rng: torch.Generator | None) -> Tensor:
        if rng is None or not self.dropout:
            return x
        return x * (torch.rand(x.shape, generator=rng) >= self.dropout) / (1 - self.dropout)


def _scaled(part: nn.Module, factor: float) -> nn.Module:
    part.weight.data *= factor
    return part


class GeneNetwork(nn.Module):
    """Logits of the next space group, position and element.

    width, blocks, heads, factor  size of the transformer; `factor` times `width` inner features of its perceptrons
    dropout  share of features left out in training
    seed     of the first weights
    """

    def __init__(self, width: int = 160, blocks: int = 5, heads: int = 5, factor: int = 3, dropout: float = 0.1, seed: int = 0):
        super().__init__()
        if width % heads:
            raise BadInput(f"width {width} is not a multiple of {heads} heads", "gene network")
        self.options = {"width": width, "blocks": blocks, "heads": heads, "factor": factor, "dropout": dropout}
        rng, v = torch_stream(seed, "gene network"), vocabulary()
        small = lambda count: _scaled(embedding(rng, count, width), 0.3)
        # conditions
        self.energy = nn.ModuleDict({name: linear(rng, CENTRES, width) for name in ENERGIES})
        self.n_elements, self.atoms, self.wanted_system = small(MOST_ELEMENTS + 1), small(MOST_ATOMS + 1), small(len(SYSTEMS) + 1)
        self.wanted_elements = linear(rng, WIDTH, width, bias=False)
        self.wanted_amounts = linear(rng, 2 * WIDTH, width, bias=False)
        self.condition = nn.Sequential(linear(rng, width, 2 * width), nn.GELU(), linear(rng, 2 * width, width))
        # space group and positions
        self.group, self.group_system = small(GROUPS + 1), small(len(SYSTEMS))
        self.place, self.symmetry, self.dof, self.multiplicity = small(len(v)), small(len(v.symmetries)), small(4), small(MOST_ATOMS + 1)
        for name, array in (("place_symmetry", v.symmetry), ("place_dof", v.dof), ("place_atoms", v.atoms), ("system_of", v.system), ("slots", v.slots)):
            self.register_buffer(name, torch.tensor(array), persistent=False)
        self.register_buffer("place_once", torch.tensor(v.once), persistent=False)
        # sites
        self.element = small(WIDTH)
        self.used, self.rest, self.atoms_left = linear(rng, WIDTH, width, bias=False), linear(rng, 2 * WIDTH, width, bias=False), linear(rng, 3, width)
        self.blocks = nn.ModuleList(Block(rng, width, heads, factor, dropout) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        # answers
        self.to_group = linear(rng, width, GROUPS + 1)
        self.asks_place, self.offers_place, self.ends = linear(rng, width, width), linear(rng, width, width, bias=False), linear(rng, width, 1)
        self.place_bias = linear(rng, width, 1)
        self.chosen = linear(rng, width, width)
        self.to_element = nn.Sequential(nn.LayerNorm(width), linear(rng, width, 2 * width), nn.GELU(), linear(rng, 2 * width, width))
        self.element_bias = nn.Parameter(torch.zeros(WIDTH))
        for block in self.blocks:
            for part in (block.outward, block.down):
                _scaled(part, (2 * blocks) ** -0.5)
        for part in (self.used, self.rest, self.wanted_elements, self.wanted_amounts):
            _scaled(part, 0.3)

    # tokens

    def condition_token(self, c: Conditions) -> Tensor:
        """(batch, width)."""
        x = self.n_elements(c.n_elements.clamp(max=MOST_ELEMENTS)) + self.atoms(c.atoms.clamp(max=MOST_ATOMS)) + self.wanted_system(c.system)
        for name in ENERGIES:
            value = squashed(name, getattr(c, name).to(x.dtype))
            low, high = RANGES[name]
            centres = torch.linspace(low, high, CENTRES, dtype=x.dtype)
            wide = (high - low) / (CENTRES - 1)
            bins = torch.exp(-(((value.clamp(low, high)[:, None] - centres) / wide) ** 2))
            known = ~torch.isnan(value)[:, None]
            x = x + torch.where(known, self.energy[name](torch.nan_to_num(bins)), 0.0)
        amounts = c.composition.to(x.dtype)
        x = x + self.wanted_elements(c.elements.to(x.dtype)) + self.wanted_amounts(torch.cat([torch.log1p(amounts), (amounts > 0).to(x.dtype)], -1))
        return x + self.condition(x)

    def group_token(self, group: Tensor) -> Tensor:
        """(batch, width)."""
        return self.group(group) + self.group_system(self.system_of[group])

    def places(self) -> Tensor:
        """(places, width) what each Wyckoff position is."""
        return (self.place.weight + self.symmetry(self.place_symmetry) + self.dof(self.place_dof)
                + self.multiplicity(self.place_atoms.clamp(max=MOST_ATOMS)))

    def offers(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """(places, width) what each position has to say when the next one is asked for, and (places,) how often it is wanted anyhow."""
        return self.offers_place(places), self.place_bias(places)[:, 0]

    def progress(self, used: Tensor, c: Conditions) -> Tensor:
        """(batch, [tokens,] width) from the atoms placed so far, used (batch, [tokens,] 119): how many, and what is left of what was asked."""
        wanted, atoms = c.composition.to(used.dtype), c.atoms.to(used.dtype)
        if used.ndim == 3:
            wanted, atoms = wanted[:, None], atoms[:, None]
        rest = (wanted - used).clamp(min=0)
        total = used.sum(-1)
        left = torch.where(atoms > 0, (atoms - total).clamp(min=0), torch.zeros_like(total))
        numbers = torch.stack([torch.log1p(total), torch.log1p(left), (atoms > 0).to(used.dtype).expand_as(total)], -1)
        return self.used(torch.log1p(used)) + self.rest(torch.cat([torch.log1p(rest), (rest > 0).to(used.dtype)], -1)) + self.atoms_left(numbers)

    def run(self, x: Tensor, past: Sequence | None = None, rng: torch.Generator | None = None) -> tuple[Tensor, list]:
        """Features after the last block, and what the next token needs of this one."""
        held = []
        for i, block in enumerate(self.blocks):
            x, kept = block(x, None if past is None else past[i], rng)
            held.append(kept)
        return self.last(x), held

    # answers

    def group_logits(self, h: Tensor) -> Tensor:
        """(batch, 231); number 0 never."""
        logits = self.to_group(h)
        return logits.masked_fill(torch.arange(GROUPS + 1) == 0, NEVER)

    def place_logits(self, h: Tensor, group: Tensor, offers: tuple[Tensor, Tensor]) -> Tensor:
        """(batch, tokens, 28) for the letters of the group, the last for the end; letters that the group lacks never."""
        slots = self.slots[group]
        offered, bias = (x[slots.clamp(min=0)] for x in offers)
        score = self.asks_place(h) @ offered.transpose(1, 2) / h.shape[-1] ** 0.5 + bias[:, None]
        score = score.masked_fill((slots < 0)[:, None], NEVER)
        return torch.cat([score, self.ends(h)], -1)

    def element_logits(self, h: Tensor, chosen: Tensor) -> Tensor:
        """(..., 119) with the position `chosen` (..., width) known; number 0 never."""
        logits = F.linear(self.to_element(h + self.chosen(chosen)), self.element.weight) / h.shape[-1] ** 0.5 * 3.0 + self.element_bias
        return logits.masked_fill(torch.arange(WIDTH) == 0, NEVER)

    # training

    def nll(self, batch: Batch, c: Conditions, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Negative log likelihoods in nats (batch,) of space group, positions (the end among them) and elements, in the order that the sites have.

        A position without free parameters that is taken already is no answer. With `rng` features are left out as in training.
        """
        rows, sites = batch.place.shape
        at = torch.arange(sites + 1)
        real = at[None, :-1] < batch.counts[:, None]
        places = self.places()
        chosen = places[batch.place]
        atoms = torch.where(real, self.place_atoms[batch.place], 0)
        step = F.one_hot(batch.element, WIDTH).to(chosen.dtype) * atoms[..., None]
        used = torch.cat([step.new_zeros(rows, 1, WIDTH), step.cumsum(1)], 1)
        first = torch.stack([self.condition_token(c), self.group_token(batch.group)], 1)
        tokens = torch.cat([first, chosen + self.element(batch.element)], 1)
        tokens = tokens + F.pad(self.progress(used, c), (0, 0, 1, 0))
        h, _ = self.run(tokens, rng=rng)
        group = F.cross_entropy(self.group_logits(h[:, 0]), batch.group, reduction="none")
        logits = self.place_logits(h[:, 1:], batch.group, self.offers(places))
        slot = batch.place - self.slots[batch.group][:, :1]
        taken = F.one_hot(torch.where(real & self.place_once[batch.place], slot, SLOTS), SLOTS + 1).cumsum(1)[..., :SLOTS]
        taken = torch.cat([taken.new_zeros(rows, 1, SLOTS), taken], 1) > 0
        logits = logits.masked_fill(F.pad(taken, (0, 1)), NEVER)
        answer = torch.where(at[None] < batch.counts[:, None], F.pad(slot, (0, 1)), SLOTS)
        place = F.cross_entropy(logits.flatten(0, 1), answer.flatten(), reduction="none").view(rows, sites + 1)
        place = (place * (at[None] <= batch.counts[:, None])).sum(1)
        which = F.cross_entropy(self.element_logits(h[:, 1:-1], chosen).flatten(0, 1), batch.element.flatten(), reduction="none").view(rows, sites)
        return group, place, (which * real).sum(1)
