"""What an encoder must keep, read through a predictor with an intensive and an extensive head."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from ..base.registry import Card
from ..base.seeds import torch_stream
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from ..learn.targets import Predictor, Target
from . import examples as ex
from .comparing import FLOAT32, Broken, Check, Part, near, own_randomness, require, smooth, strained, untouched

CAPABILITIES = {
    "seed": "the first weights follow from the option `seed`", "whole": "features of crystals are not the mean of their sites",
    "composition": "sees which elements there are and how much of each, nothing else; takes Compositions as well as Crystals",
    "symmetry": "sees space groups and occupied Wyckoff positions, no coordinates; takes fully periodic crystals alone"}
NO_GEOMETRY = ("composition", "symmetry")
TARGETS = (Target("mean"), Target("total", extensive=True))
OVERFIT = (400, 0.15)  # steps of Adam, and the share of the error of a constant that must not be left


def invariances(card: Card) -> tuple[str, ...]:
    """All of them."""
    return ex.INVARIANCES


def checks(part: Part) -> Iterator[Check]:
    """Checks of one encoder."""
    subject = Subject(part)
    for name in ex.INVARIANCES:
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    sees = next((w for w in NO_GEOMETRY if part.can(w)), None)
    looks = {None: ["geometry"], "composition": ["composition_decides", "compositions"], "symmetry": ["symmetry_decides"]}[sees]
    for name in ("batching", "one_atom", "inputs_untouched", "every_parameter", *looks, "save_load", "repeatable", "float32", "reference", "far_atoms"):
        yield Check(name, "fast", getattr(subject, name))
    for name in ("overfits",) if sees else ("smooth", "overfits"):
        yield Check(name, "full", getattr(subject, name))


def save(module: nn.Module, path: Path) -> None:
    """Weights and buffers as safetensors."""
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path)


def load_into(module: nn.Module, path: Path) -> nn.Module:
    """The module with the weights of a file; every name must agree."""
    from safetensors.torch import load_file

    module.load_state_dict(load_file(path))
    return module


def scrambled(module: nn.Module) -> nn.Module:
    """The module with every floating weight and buffer changed, as a model of other weights would have them."""
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.7).add_(0.3)
    return module


def dead_parameters(module: nn.Module) -> list[str]:
    """Names of trainable parameters whose gradient is missing or exactly zero."""
    return [n for n, p in module.named_parameters() if p.requires_grad and (p.grad is None or not bool((p.grad != 0).any()))]


class Subject:
    """One encoder under test."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance
        self.examples = ex.periodic if part.can("symmetry") else ex.every

    def fresh(self, **options) -> Predictor:
        """A new predictor around a new encoder, in double precision."""
        return Predictor(self.part.build(**options), TARGETS, hidden=16).to(torch.float64).eval()

    @cached_property
    def model(self) -> Predictor:
        return self.fresh()

    def answer(self, crystals: Crystals, model: Predictor | None = None) -> dict[str, Tensor]:
        with torch.no_grad():
            return (model or self.model)(crystals)

    def invariant(self, name: str) -> None:
        crystals = ex.periodic() if name in ex.ONLY_PERIODIC else self.examples()
        before, after = self.answer(crystals), self.answer(ex.RETELLINGS[name](crystals))
        copies = torch.tensor(ex.COPIES).prod() if name == "supercell" else 1
        near(before["mean"], after["mean"], f"an intensive prediction under {name}", self.tolerance)
        near(before["total"] * copies, after["total"], f"an extensive prediction under {name}", self.tolerance)

    def batching(self) -> None:
        crystals = self.examples()
        together, alone = self.answer(crystals), [self.answer(c) for c in crystals]
        for name, value in together.items():
            near(value, torch.cat([a[name] for a in alone]), f"{name} of a batch against one by one", self.tolerance)

    def one_atom(self) -> None:
        for name, value in self.answer(ex.one_atom()).items():
            require(value.shape == (1,), f"{name} of one crystal of one atom has shape {tuple(value.shape)}, wanted (1,)")
            require(bool(value.isfinite().all()), f"{name} of a crystal of one atom is {float(value[0])}")

    def inputs_untouched(self) -> None:
        crystals = self.examples()
        with untouched(crystals):
            self.answer(crystals)

    def every_parameter(self) -> None:
        model = self.fresh().train()
        crystals = self.examples()
        out = model(crystals)
        sum((v * v).sum() for v in out.values()).backward()
        dead = dead_parameters(model)
        require(not dead, f"no gradient reaches {', '.join(dead[:6])}{' ...' if len(dead) > 6 else ''} ({len(dead)} of {len(list(model.parameters()))})")

    def geometry(self) -> None:
        base = ex.low_symmetry()
        bent = base.put(cell=base.cell @ torch.diag(torch.tensor([1.05, 1.0, 1 / 1.05], dtype=torch.float64)))
        moved = base.put(frac=base.frac + torch.tensor([[0.03, 0, 0]] + [[0.0, 0, 0]] * 4, dtype=torch.float64))
        here = self.answer(base)["total"]
        for what, other in (("a strain of 5 % at constant volume", bent), ("moving an atom by 0.15 Å", moved)):
            change = float((self.answer(other)["total"] - here).abs().max())
            require(change > 1e-8, f"{what} changes the prediction by {change:.1e}: geometry is not looked at")

    def composition_decides(self) -> None:
        """The same fractions give the same answer per atom, whatever the structure; other fractions and other elements do not."""
        salt = ex.rock_salt()
        pairs = {"rock salt and its skewed primitive cell": (salt, ex.skewed()), "a crystal and one whose atoms are elsewhere": (ex.low_symmetry(), _scattered())}
        for what, (a, b) in pairs.items():
            one, two = self.answer(a), self.answer(b)
            near(one["mean"], two["mean"], f"an intensive prediction of {what}", self.tolerance)
            near(one["total"] / a.atoms, two["total"] / b.atoms, f"an extensive prediction per atom of {what}", self.tolerance)
        for what, other in (("other fractions of the same elements", ex.ordered_rock_salt()), ("another element", ex.rock_salt((11, 35)))):
            change = float((self.answer(other)["mean"] - self.answer(salt)["mean"]).abs().max())
            require(change > 1e-8, f"{what} change the prediction by {change:.1e}: composition is not looked at")

    def compositions(self) -> None:
        """Compositions of crystals, and formulas in any order and of any amounts, give what the crystals give."""
        crystals = self.examples()
        alone, found = Compositions.of_crystals(crystals), self.answer(crystals)
        for name, value in self.answer(alone).items():
            near(found[name], value, f"{name} of compositions against that of their crystals", self.tolerance)
        texts = ("NaCl3", "Cl0.75Na0.25", "Na2Cl6")  # 4, 1 and 8 atoms
        found = self.answer(Compositions.of(texts))
        near(found["mean"][:1].expand(3), found["mean"], f"an intensive prediction of {', '.join(texts)}", self.tolerance)
        near(found["total"][:1] * torch.tensor([1.0, 0.25, 2.0]), found["total"], f"an extensive prediction of {', '.join(texts)}", self.tolerance)

    def symmetry_decides(self) -> None:
        """Rock salt and the caesium-chloride structure of the same formula differ; stretched rock salt is the same."""
        cesium = Crystals.of([[0.0, 0, 0], [0.5, 0.5, 0.5]], ex.SALT, 3.4 * torch.eye(3))
        salt, other, wide = (self.answer(c)["mean"] for c in (ex.rock_salt(), cesium, ex.rock_salt(side=1.1 * ex.SIDE)))
        near(salt, wide, "an intensive prediction of rock salt and of the same stretched by a tenth", self.tolerance)
        change = float((salt - other).abs().max())
        require(change > 1e-8, f"two polymorphs of the same formula differ by {change:.1e}: symmetry is not looked at")

    def save_load(self) -> None:
        crystals, before = self.examples(), self.answer(self.examples())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            save(self.model, path)
            other = load_into(scrambled(self.fresh(**({"seed": 1} if self.part.can("seed") else {}))), path)
        for name, value in self.answer(crystals, other).items():
            near(before[name], value, f"{name} after save and load", 0)

    def repeatable(self) -> None:
        with own_randomness():
            one = self.answer(self.examples(), self.fresh())
        for name, value in self.answer(self.examples(), self.fresh()).items():
            near(one[name], value, f"{name} of the same seed twice", 0)
        if self.part.can("seed"):
            other = self.answer(self.examples(), self.fresh(seed=1))
            require(not torch.equal(one["total"], other["total"]), "another seed gives the same weights")

    def float32(self) -> None:
        model = self.fresh().to(torch.float32)
        for name, value in self.answer(self.examples(), model).items():
            near(self.answer(self.examples())[name], value, f"{name} in float32 against float64", FLOAT32)

    def reference(self) -> None:
        """Extensive prediction of the first weights for the crystal without symmetry."""
        reference(self.part.card, float(self.answer(ex.low_symmetry())["total"][0]))

    def far_atoms(self) -> None:
        apart, together = clusters()
        near(self.answer(apart)["total"].sum(), self.answer(together)["total"][0], "two clusters 60 Å apart against their sum", self.tolerance)

    def smooth(self) -> None:
        for start in ex.paths():
            smooth(torch.cat([self.answer(c)["total"] for c in strained(start).split(400)]), "the prediction")

    def overfits(self) -> None:
        """Eight crystals with energies of a pair potential are learnt by heart."""
        from ..potential.lennard_jones import LennardJones

        crystals = _halides(8) if any(map(self.part.can, NO_GEOMETRY)) else ex.displaced(8)
        energy = LennardJones(epsilon=2.0, sigma=2.4, cutoff=6.0, ending="smooth").label(crystals).energy / crystals.counts
        spread = float(energy.std())
        model = Predictor(self.part.build(), [Target("energy_per_atom")], hidden=16, scale={"energy_per_atom": (float(energy.mean()), spread)}).to(torch.float64)
        batch = crystals.with_fields(whole={"energy_per_atom": energy})
        learn(model, lambda: model.loss(batch)[0], float((energy - energy.median()).abs().mean()) / spread, "eight crystals")


def _scattered() -> Crystals:
    """The elements and fractions of `low_symmetry`, twice as many atoms, all elsewhere."""
    base = ex.low_symmetry().repeated(1, 1, 2)
    noise = torch.rand(base.frac.shape, generator=torch_stream(0, "scattered"), dtype=torch.float64)
    return base.put(frac=noise, cell=1.3 * base.cell)


def _halides(count: int) -> Crystals:
    """Rock salt of `count` pairs of elements, the cells of different size."""
    pairs = [(a, b) for a in (3, 11, 19, 37) for b in (9, 17, 35)][:count]
    return Crystals.join([ex.rock_salt(pair, side=5.0 + 0.15 * (5 * i % 7)) for i, pair in enumerate(pairs)])


def learn(model: nn.Module, loss, constant: float, what: str) -> None:
    """Broken unless Adam brings `loss()` down to the share OVERFIT[1] of `constant`, the best that one number for all can do, within OVERFIT[0] steps."""
    steps, share = OVERFIT
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best = float("inf")
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        schedule.step()
        best = min(best, float(value.detach()))
        if best <= share * constant:
            return
    raise Broken(f"{what} are not learnt by heart: after {steps} steps the error is {best / constant:.0%} of that of a constant, allowed {share:.0%}")


def reference(card: Card, found: float) -> None:
    """Broken unless the card's reference number is what the part gives."""
    if card.reference is None:
        raise Broken(f"the card has no reference number; here it is {found!r}: check it against the paper or its code, then write reference={found!r}")
    near(card.reference, found, f"reference number ({found!r} against {card.reference!r})", max(1e-6, card.tolerance))


def clusters() -> tuple[Crystals, Crystals]:
    """Two molecules as a batch of two, and both in one frame, 60 Å apart."""
    one = ex.molecule()
    two = Crystals.of(one.cart[:2] @ torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64) / 10, [17, 17], one.cell[0], periodic=[False] * 3)
    cart = torch.cat([one.cart, two.cart + torch.tensor([60.0, 0, 0], dtype=torch.float64)])
    both = Crystals.of(cart / 100, torch.cat([one.species, two.species]), 100 * torch.eye(3, dtype=torch.float64), periodic=[False] * 3)
    return Crystals.join([one, two]), both
