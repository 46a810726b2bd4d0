"""A batch of compositions as a few tensors: which elements, how much of each, and labels; for what is known of a formula alone, whole numbers or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..base.elements import MAX_Z, number, symbol
from ..base.errors import BadInput, MatterloopError, Missing
from ..base.quantities import Quantity
from .composition import parse_amounts
from .graph import Graph
from .segments import offsets_of, runs, segment_mean, segment_min, segment_sum
from .state import Crystals

MAIN = ("species", "amount")


@dataclass(frozen=True, eq=False)
class Compositions:
    """Elements of all compositions of a batch, one row each, by ascending atomic number; nothing in it is ever changed in place.

    species   (rows,)              atomic numbers, each once per composition
    amount    (rows,)              atoms of the element as they stand, above 0, whole or not
    offsets   (compositions + 1,)  first row of each composition, the number of rows last
    whole     {name: (compositions, ...)}  labels
    quantities {name: Quantity}    as in Crystals
    """

    species: Tensor
    amount: Tensor
    offsets: Tensor
    whole: Mapping[str, Tensor] = field(default_factory=dict)
    quantities: Mapping[str, Quantity] = field(default_factory=dict)

    def __post_init__(self):
        if self.species.dim() != 1 or self.amount.shape != self.species.shape or self.offsets.dim() != 1:
            raise BadInput(f"shapes disagree: species {tuple(self.species.shape)}, amount {tuple(self.amount.shape)}; expected (rows,) each", "Compositions")
        for name, value in self.whole.items():
            if not value.dim() or len(value) != len(self):
                raise BadInput(f"whole field {name!r} has {len(value) if value.dim() else 'no'} rows, expected {len(self)}", "Compositions")

    # making

    @staticmethod
    def of(sources: Iterable[str | Mapping[int | str, float]], whole: Mapping[str, Sequence] | None = None,
           quantities: Mapping[str, Quantity] | None = None) -> Compositions:
        """From formulas or {atomic number or symbol: amount}; amounts of zero are left out.

        BadInput naming the composition by its place, from 0, for what cannot be read, unknown elements, negative amounts and nothing at all.
        """
        species, amount, counts = [], [], []
        for i, source in enumerate(sources):
            rows = sorted(_amounts(source, f"composition {i}").items())
            species += [z for z, _ in rows]
            amount += [n for _, n in rows]
            counts.append(len(rows))
        return Compositions(
            torch.tensor(species, dtype=torch.long), torch.tensor(amount, dtype=torch.float64), offsets_of(torch.tensor(counts, dtype=torch.long)),
            {k: _label(v) for k, v in (whole or {}).items()}, dict(quantities or {}))

    @staticmethod
    def of_crystals(crystals: Crystals) -> Compositions:
        """Atoms of each element in each crystal; the crystals' own labels are kept, those of atoms are not."""
        kind, count = torch.unique(crystals.owner * (MAX_Z + 1) + crystals.species, return_counts=True)
        many = torch.bincount(kind // (MAX_Z + 1), minlength=len(crystals))
        kept = {k: v for k, v in crystals.quantities.items() if k in crystals.whole}
        return Compositions(kind % (MAX_Z + 1), count.to(torch.float64), offsets_of(many), dict(crystals.whole), kept)

    # measures

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def counts(self) -> Tensor:
        """(compositions,) elements of each composition."""
        return self.offsets.diff()

    @cached_property
    def owner(self) -> Tensor:
        """(rows,) composition of each row, ascending."""
        return torch.arange(len(self), device=self.species.device).repeat_interleave(self.counts, output_size=len(self.species))

    @cached_property
    def sizes(self) -> Tensor:
        """(compositions,) atoms of each composition as it stands."""
        return segment_sum(self.amount, self.owner, len(self))

    @cached_property
    def share(self) -> Tensor:
        """(rows,) fraction of the composition's atoms; they add up to 1."""
        return self.amount / self.sizes[self.owner]

    def formula(self, i: int = 0) -> str:
        """Composition `i` with amounts as they stand, by rising atomic number: 'C0.1 Fe0.9'."""
        one = self[int(i)]
        return " ".join(f"{symbol(z)}{n:g}" for z, n in zip(one.species.tolist(), one.amount.tolist(), strict=True))

    # fields by name, as in Crystals

    def get(self, name: str) -> Tensor:
        """The main or whole field called `name`; Missing otherwise."""
        if name in MAIN:
            return getattr(self, name)
        if name in self.whole:
            return self.whole[name]
        raise Missing("field", name, [*MAIN, *self.whole])

    def with_fields(self, whole: Mapping[str, Tensor] | None = None, quantities: Mapping[str, Quantity] | None = None) -> Compositions:
        """Copy with fields added (or replaced)."""
        return replace(self, whole={**self.whole, **(whole or {})}, quantities={**self.quantities, **(quantities or {})})

    def bare(self) -> Compositions:
        """Copy without labels."""
        return replace(self, whole={}, quantities={})

    def to(self, where) -> Compositions:
        """Copy on a device, or with floating fields in another floating dtype."""
        is_dtype = isinstance(where, torch.dtype)
        move = lambda x: x.to(where) if not is_dtype or x.is_floating_point() else x
        return replace(self, species=move(self.species), amount=move(self.amount), offsets=move(self.offsets), whole={k: move(v) for k, v in self.whole.items()})

    # parts

    def __getitem__(self, which) -> Compositions:
        """Compositions chosen by an int, a slice, a list or tensor of indices, or a boolean mask: always a batch."""
        b = len(self)
        if isinstance(which, int):
            if not -b <= which < b:
                raise IndexError(f"composition {which} of a batch of {b}")
            which = slice(which % b, which % b + 1)
        if isinstance(which, slice):
            which = range(*which.indices(b))
        index = torch.as_tensor(which, device=self.species.device)
        if index.dtype == torch.bool:
            if len(index) != b:
                raise BadInput(f"the mask has {len(index)} entries for {b} compositions", "Compositions")
            index = index.nonzero()[:, 0]
        if index.is_floating_point() and len(index):
            raise BadInput("compositions are chosen by whole numbers or a boolean mask, got fractions", "Compositions")
        index = index.to(torch.long).reshape(-1)
        if len(index) and (int(index.min()) < -b or int(index.max()) >= b):
            raise IndexError(f"composition {int(index[(index < -b) | (index >= b)][0])} of a batch of {b}")
        index = index % max(b, 1)
        counts = self.counts[index]
        rows = runs(self.offsets[:-1][index], counts)
        return replace(self, species=self.species[rows], amount=self.amount[rows], offsets=offsets_of(counts), whole={k: v[index] for k, v in self.whole.items()})

    def __iter__(self) -> Iterator[Compositions]:
        return (self[i] for i in range(len(self)))

    def split(self, largest: int) -> list[Compositions]:
        """Consecutive batches of at most `largest` rows each (a larger composition stands alone)."""
        parts, start, ends = [], 0, self.offsets.tolist()
        for i in range(1, len(self) + 1):
            if i == len(self) or ends[i + 1] - ends[start] > largest:
                parts.append(self[start:i])
                start = i
        return parts

    @staticmethod
    def join(parts: Sequence[Compositions]) -> Compositions:
        """One batch of all compositions of `parts`; BadInput unless they carry equal fields."""
        if not parts:
            raise BadInput("nothing to join", "Compositions.join")
        first = parts[0]
        for i, part in enumerate(parts):
            if part.whole.keys() != first.whole.keys():
                raise BadInput(f"part {i} has the fields {sorted(part.whole)}, the first has {sorted(first.whole)}; use bare() or with_fields() to make them equal",
                               "Compositions.join")
        cat = lambda get: torch.cat([get(p) for p in parts])
        return Compositions(cat(lambda p: p.species), cat(lambda p: p.amount), offsets_of(cat(lambda p: p.counts)),
                            {k: cat(lambda p: p.whole[k]) for k in first.whole}, {k: v for p in parts for k, v in p.quantities.items()})


def sizes(state: Crystals | Compositions) -> Tensor:
    """(crystals,) number of atoms of each crystal or composition."""
    return state.sizes if isinstance(state, Compositions) else state.counts


def atom_sum(values: Tensor, state: Crystals | Compositions) -> Tensor:
    """(crystals, ...) sum over atoms of what each row (atoms or elements, ...) says of an atom; an element counts with its amount."""
    if isinstance(state, Compositions):
        values = values * state.amount.to(values).view(-1, *[1] * (values.dim() - 1))
    return segment_sum(values, state.owner, len(state))


def atom_mean(values: Tensor, state: Crystals | Compositions) -> Tensor:
    """(crystals, ...) mean over atoms of what each row (atoms or elements, ...) says of an atom; an element counts with its share."""
    if isinstance(state, Compositions):
        return segment_sum(values * state.share.to(values).view(-1, *[1] * (values.dim() - 1)), state.owner, len(state))
    return segment_mean(values, state.owner, len(state))


@dataclass(frozen=True)
class Elements:
    """Graph of what sees compositions alone: one loop per element of each crystal or composition, with its `share` of the atoms.

    In crystals an element stands at its first atom, in compositions at its row; loops are sorted by crystal, then by atomic number.
    """

    @torch.no_grad()
    def __call__(self, state: Crystals | Compositions) -> Graph:
        if isinstance(state, Compositions):
            row, share = torch.arange(len(state.species), device=state.species.device), state.share
        else:
            kind, of, count = torch.unique(state.owner * (MAX_Z + 1) + state.species, return_inverse=True, return_counts=True)
            place = torch.arange(len(of), device=of.device, dtype=torch.float64)
            row = segment_min(place, of, len(kind)).long()
            share = count.to(torch.float64) / state.counts[kind // (MAX_Z + 1)]
        return Graph(row, row, row.new_zeros(len(row), 3), {"share": share})


def _amounts(source: str | Mapping[int | str, float], where: str) -> dict[int, float]:
    try:
        found = parse_amounts(source) if isinstance(source, str) else _read(source)
    except (MatterloopError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(str(error), where) from None
    found = {z: n for z, n in found.items() if n}
    if not found:
        raise BadInput("there is nothing in it", where)
    if bad := [z for z, n in found.items() if not (1 <= z <= MAX_Z and 0 < n < float("inf"))]:
        raise BadInput(f"the amount of element {bad[0]} is {found[bad[0]]}; allowed are elements 1 to {MAX_Z} with positive finite amounts", where)
    return found


def _read(source: Mapping[int | str, float]) -> dict[int, float]:
    found: dict[int, float] = {}
    for name, n in source.items():
        z = number(name) if isinstance(name, str) else int(name)
        found[z] = found.get(z, 0.0) + float(n)
    return found


def _label(values) -> Tensor:
    tensor = torch.as_tensor(values)
    return torch.as_tensor(values, dtype=torch.float64) if tensor.is_floating_point() and not hasattr(values, "dtype") else tensor
