"""What a method of pre-training must keep: it teaches the encoder something, from the structures alone unless it says otherwise, and the same each time."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.state import Crystals
from ..learn.data import Batch
from ..learn.pretrained import Pretrained
from ..learn.targets import Target, labelled
from ..predict.cgcnn import CARD as CGCNN_CARD
from ..predict.crystalformer import CARD as CRYSTALFORMER_CARD
from ..predict.egnn import CARD as EGNN_CARD
from ..predict.equivariant_transformer import CARD as VECTORS_CARD
from ..predict.schnet import CARD as SCHNET_CARD
from . import examples as ex
from .comparing import Check, Part, near, own_randomness, require, untouched
from .contract_encoder import dead_parameters, reference

CAPABILITIES = {
    "supervised": "learns from labels instead where the setting `targets` names fields of the crystals", "labels_only": "cannot do without `targets`",
    "directions": "needs an encoder that offers vectors",
    "transfer": "offers transfer(start, encoder, model, options) to start encoders other than the one that was trained"}
LEARNT = (150, 0.85)  # steps of Adam, and the share of the first loss that must not be left
DRAWS = 8  # losses of which the mean is compared
LABEL = "planted_label"


def invariances(card: Card) -> tuple[str, ...]:
    """All of them: with the same draws a crystal told otherwise has the same loss."""
    return ex.INVARIANCES


def checks(part: Part) -> Iterator[Check]:
    """Checks of one method."""
    subject = Subject(part)
    for name in ex.INVARIANCES:
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    labels = (["labels_read"] if part.can("supervised") else []) + ([] if part.can("labels_only") else ["labels_unread"])
    names = ["learns", "moves", *labels, "one_atom", "inputs_untouched", "repeatable", "other_encoders", "reference", *(["transfer"] if part.can("transfer") else [])]
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


def crystals_of(species: tuple[int, int] = ex.SALT) -> Crystals:
    """Structures of several kinds and elements that there is something to learn from."""
    return Crystals.join([make(pair) for make in ex.PERIODIC.values() for pair in (species, (12, 8), (31, 33))])


class Subject:
    """One method under test, with a small encoder in double precision."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance
        self.model, small = ("equivariant_transformer", VECTORS_CARD.small) if part.can("directions") else ("schnet", SCHNET_CARD.small)
        self.options = dict(small)

    @cached_property
    def method(self):
        return self.part.build(**({"targets": (LABEL,)} if self.part.can("labels_only") else {}))

    @cached_property
    def crystals(self) -> Crystals:
        return self.told(crystals_of())

    def told(self, crystals: Crystals) -> Crystals:
        """With a label per crystal where the method needs labels: the mean atomic number."""
        return _labelled(crystals) if self.part.can("labels_only") else crystals

    def encoder(self, model: str = "", options: dict | None = None, seed: int = 0) -> nn.Module:
        from ..base.registry import load

        options = self.options if options is None else options
        return load(model or self.model, "encoder", **options, seed=seed).to(torch.float64)

    def task(self, crystals: Crystals, seed: int = 0, encoder: nn.Module | None = None, method=None) -> nn.Module:
        return (method or self.method).task(encoder or self.encoder(), crystals, seed).to(torch.float64)

    def loss(self, task: nn.Module, crystals: Crystals, draw: int = 0) -> Tensor:
        """The loss of all crystals, which are those the task was made for."""
        builder = getattr(task, "graph", task.encoder.graph)
        batch = Batch(crystals, None if builder is None else builder(crystals), torch.arange(len(crystals)))
        return task.loss(batch, torch_stream(0, "contract", draw))[0]

    @torch.no_grad()
    def mean(self, task: nn.Module, crystals: Crystals) -> float:
        return float(torch.stack([self.loss(task, crystals, k) for k in range(DRAWS)]).mean())

    def invariant(self, name: str) -> None:
        other = ex.RETELLINGS[name](self.crystals)
        one, two = (self.loss(self.task(c), c).detach() for c in (self.crystals, other))
        near(one, two, f"the loss under {name}, with the same draws", self.tolerance)

    def learns(self) -> None:
        """The mean loss over draws falls."""
        steps, share = LEARNT
        task = self.task(self.crystals).train()
        first = self.mean(task, self.crystals)
        optimizer = torch.optim.Adam(task.parameters(), 5e-3)
        for k in range(steps):
            optimizer.zero_grad(set_to_none=True)
            self.loss(task, self.crystals, 1000 + k).backward()
            optimizer.step()
            if k % 25 == 24 and self.mean(task, self.crystals) <= share * first:
                return
        last = self.mean(task, self.crystals)
        require(last <= share * first, f"after {steps} steps the loss is {last:.3g}, it was {first:.3g}: at most {share:.0%} of it may be left")

    def moves(self) -> None:
        """Every weight of the task that trains gets a gradient, and those of the encoder are in it."""
        encoder = self.encoder()
        task = self.task(self.crystals, encoder=encoder).train()
        require(task.encoder is encoder, "the task trains another encoder than the one it was given")
        for k in range(DRAWS):
            self.loss(task, self.crystals, k).backward()
        dead = dead_parameters(task)
        require(not dead, f"no gradient reaches {', '.join(dead[:6])}{' ...' if len(dead) > 6 else ''} ({len(dead)} of {len(list(task.parameters()))})")

    def labels_unread(self) -> None:
        """Fields of the crystals make no difference."""
        bare = self.crystals
        with_label = _labelled(bare)
        near(self.loss(self.task(bare), bare).detach(), self.loss(self.task(with_label), with_label).detach(), "the loss of crystals with labels", 0)

    def labels_read(self) -> None:
        """Other labels make another loss; a crystal without a label is no failure."""
        method, crystals = self.part.build(targets=(LABEL,)), _labelled(self.crystals)
        found = lambda c: self.loss(self.task(c, method=method), c).detach()
        require(float(found(crystals)) != float(found(crystals.put(**{LABEL: crystals.get(LABEL).flip(0)}))), "other labels give the same loss")
        gap = crystals.get(LABEL).clone()
        gap[0] = torch.nan
        require(bool(found(crystals.put(**{LABEL: gap})).isfinite()), "a crystal without a label makes the loss infinite")

    def one_atom(self) -> None:
        crystals = self.told(Crystals.join([ex.one_atom(), ex.one_atom((29, 29))]))
        for k in range(DRAWS):
            value = self.loss(self.task(crystals), crystals, k)
            require(bool(value.isfinite()), f"the loss of crystals of one atom is {float(value.detach())}")

    def inputs_untouched(self) -> None:
        crystals = self.told(crystals_of())
        with untouched(crystals):
            self.loss(self.task(crystals), crystals).backward()

    def repeatable(self) -> None:
        with own_randomness():
            one = self.loss(self.task(self.crystals), self.crystals).detach()
        near(one, self.loss(self.task(self.crystals), self.crystals).detach(), "the loss of the same seed twice", 0)
        other = self.loss(self.task(self.crystals, seed=1), self.crystals).detach()
        require(float(one) != float(other), "another seed gives the same first loss")

    def other_encoders(self) -> None:
        """Encoders with batch normalisation, with coordinates instead of lengths, and with attention are trained too."""
        if self.part.can("directions"):
            return
        for model, card in (("cgcnn", CGCNN_CARD), ("egnn", EGNN_CARD), ("crystalformer", CRYSTALFORMER_CARD)):
            task = self.task(self.crystals, encoder=self.encoder(model, dict(card.small))).train()
            for k in range(DRAWS):
                value = self.loss(task, self.crystals, k)
                require(bool(value.isfinite()), f"the loss with the encoder {model} is {float(value.detach())}")
            value.backward()
            moved = [p.grad is not None and bool((p.grad != 0).any()) for p in task.encoder.parameters()]
            require(any(moved), f"no weight of the encoder {model} gets a gradient")

    def transfer(self) -> None:
        """What was learnt changes the encoder that it is given to, also after being kept in files."""
        trained = self.encoder(seed=1)
        start = Pretrained(self.model, trained.state_dict(), self.part.card.name, self.options)
        with tempfile.TemporaryDirectory() as folder:
            kept = Pretrained.load(start.save(folder))
        fresh = self.encoder()
        before = copy.deepcopy(fresh.state_dict())
        self.method.transfer(kept, fresh, self.model, self.options)
        require(any(not torch.equal(v, before[k]) for k, v in fresh.state_dict().items()), "the encoder is as it was before")

    def reference(self) -> None:
        """Loss of the first weights."""
        reference(self.part.card, float(self.loss(self.task(self.crystals), self.crystals).detach()))


def _labelled(crystals: Crystals) -> Crystals:
    z = torch.zeros(len(crystals), dtype=torch.float64).index_add(0, crystals.owner, crystals.species.to(torch.float64)) / crystals.counts
    return labelled(crystals, {Target(LABEL): z})
