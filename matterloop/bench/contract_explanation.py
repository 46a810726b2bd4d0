"""What an explanation must keep: it adds up, equal sites get equal shares, a planted rule is found, and where there is nothing to find nothing is found."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import nn

from ..base.quantities import Quantity
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..crystal.graph import Within
from ..crystal.state import Crystals
from ..layers.parts import linear
from ..learn.attribution import randomised
from ..learn.explanation import Reading
from ..learn.targets import Features, Predictor, Target
from ..predict.schnet import SchNet
from . import examples as ex
from .comparing import Check, Part, near, own_randomness, require, untouched
from .contract_encoder import reference

CAPABILITIES = {
    "sites": "offers of_sites(reading, crystals) -> SiteContributions", "columns": "offers of_table(function, rows, background, names) -> Contributions and importance(...)",
    "complete": "contributions and base add up to the answer"}
FOUND = 0.05  # of a planted effect: shares beside it must stay below
COLUMNS = ("a", "b", "c", "d", "e", "f")
OXYGEN = 8


def invariances(card: Card) -> tuple[str, ...]:
    """All of them where sites are explained."""
    return ex.INVARIANCES if "sites" in card.capabilities else ()


def checks(part: Part) -> Iterator[Check]:
    """Checks of one explanation."""
    subject, names = Subject(part), ["repeatable"]
    for name in invariances(part.card):
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    names += ["batching", "inputs_untouched", "planted_element", "weights_matter", "reference"] if part.can("sites") else []
    names += ["planted_columns", "equal_columns", "shuffled_labels"] if part.can("columns") else []
    names += ["complete"] if part.can("complete") else []
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


class Counting(nn.Module):
    """An encoder whose one feature is 1 on oxygen and 0 elsewhere."""

    width = 1

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(119, 1, _weight=(torch.arange(119) == OXYGEN).float()[:, None])
        self.graph = unseen_graph

    def forward(self, crystals, graph):
        return Features(self.embed(crystals.species))

    def head(self, rng, outputs):
        layer = linear(rng, 1, outputs)
        with torch.no_grad():
            layer.weight.fill_(2.0)
        return layer


def unseen_graph(crystals: Crystals):
    """Neighbours that nobody looks at."""
    return Within(3.0)(crystals)


class Subject:
    """One explanation under test, of a small network and of functions of a table."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance

    @cached_property
    def explain(self):
        return self.part.build()

    @cached_property
    def reading(self) -> Reading:
        """An intensive number by a network with its first weights."""
        return Reading(Predictor(SchNet(width=16, blocks=2, radius=4.5, spacing=0.3, gamma=5.0), [Target("gap", "eV")], hidden=16, scale={"gap": (0.5, 2.0)}))

    @cached_property
    def crystals(self) -> Crystals:
        return ex.periodic()

    @cached_property
    def sites(self):
        return self.explain.of_sites(self.reading, self.crystals)

    @cached_property
    def table(self) -> np.ndarray:
        return numpy_stream(0, "explained").standard_normal((40, len(COLUMNS)))

    def invariant(self, name: str) -> None:
        """Contributions are fields of the atoms: they go with them, and copies of a cell share what one had."""
        told = ex.RETELLINGS[name](self.crystals.with_fields(site={"share": self.sites.site}, quantities={"share": Quantity()}))
        wanted = told.site["share"] * (self.crystals.atoms / told.atoms)
        near(wanted, self.explain.of_sites(self.reading, told.bare()).site, f"contributions under {name}", self.tolerance)

    def batching(self) -> None:
        alone = torch.cat([self.explain.of_sites(self.reading, c).site for c in self.crystals])
        near(self.sites.site, alone, "a batch against one by one", self.tolerance)

    def inputs_untouched(self) -> None:
        crystals = ex.periodic()
        with untouched(crystals):
            self.explain.of_sites(self.reading, crystals)

    def repeatable(self) -> None:
        with own_randomness():
            if self.part.can("sites"):
                near(self.sites.site, self.explain.of_sites(self.reading, self.crystals).site, "contributions of sites twice", 0)
            if self.part.can("columns"):
                near(self._rule().values, self._rule().values, "contributions of columns twice", 0)

    def complete(self) -> None:
        """base + sum = answer."""
        if self.part.can("sites"):
            near(self.reading(self.crystals), self.sites.prediction, "the answer that is explained", self.tolerance)
            near(self.sites.prediction, self.sites.prediction - self.sites.gap, "base and contributions of sites against the answer", self.tolerance)
        if self.part.can("columns"):
            found = self._rule()
            near(_rule(self.table[:5]), found.base + found.values.sum(1), "base and contributions of columns against the answer", self.tolerance)

    def planted_element(self) -> None:
        """Where the answer is twice the share of oxygen, oxygen has all of it."""
        reading = Reading(Predictor(Counting(), [Target("share")]))
        crystals = ex.rock_salt((12, OXYGEN))
        found = self.explain.of_sites(reading, crystals).site
        near(torch.where(crystals.species == OXYGEN, 2.0 / crystals.atoms, 0.0), found, "twice the share of oxygen, by sites", 1e-6)

    def weights_matter(self) -> None:
        """A network with its weights shuffled is explained otherwise (J. Adebayo et al., arXiv:1810.03292)."""
        other = self.explain.of_sites(randomised(self.reading), self.crystals).site
        centred = lambda x: x - x.mean()
        a, b = centred(self.sites.site), centred(other)
        require(float((a - b).norm()) > FOUND * float(a.norm()), "the contributions do not depend on the weights of the network")

    def planted_columns(self) -> None:
        """3 a + b c: these three and nothing else; and `a` has all of its own part."""
        found = self._rule()
        size = found.importance
        require(set(np.argsort(-size)[:3].tolist()) == {0, 1, 2}, f"of the rule 3 a + b c the columns {[COLUMNS[i] for i in np.argsort(-size)[:3]]} are found")
        require(float(size[3:].max()) <= FOUND * float(size.max()), f"a column that does nothing gets {float(size[3:].max()):.2g}, the largest {float(size.max()):.2g}")
        near(3 * (self.table[:5, 0] - self.table[:, 0].mean()), found.values[:, 0], "what `a` adds to 3 a + b c", 1e-6)

    def equal_columns(self) -> None:
        """Columns that do the same with the same numbers get the same."""
        x = self.table.copy()
        x[:, 1] = x[:, 0]
        values = self.explain.of_table(lambda t: (t[:, 0] + t[:, 1]) ** 2, x[:5], x, COLUMNS).values
        near(values[:, 0], values[:, 1], "two columns of equal numbers and roles", 1e-6)

    def shuffled_labels(self) -> None:
        """Labels that follow from `a` make `a` important on other rows, the same labels in another order make nothing important."""
        rng = numpy_stream(0, "shuffled")
        x = rng.standard_normal((300, len(COLUMNS)))
        y = 3 * x[:, 0] + 0.1 * rng.standard_normal(len(x))
        for labels, wanted in ((y, {"a"}), (rng.permutation(y), set())):
            factors = np.linalg.lstsq(x[:150], labels[:150], rcond=None)[0]
            found = self.explain.importance(lambda t, f=factors: t @ f, x[150:], labels[150:], COLUMNS)
            large = {n for n, m, low in zip(found.names, found.mean, found.low, strict=True) if low > 0 and m > FOUND * found.error}
            require(large == wanted, f"important is {sorted(large)}, wanted is {sorted(wanted)}")

    def reference(self) -> None:
        """Sum of the squares of the contributions for the crystal without symmetry."""
        reference(self.part.card, float(self.explain.of_sites(self.reading, ex.low_symmetry()).site.square().sum()))

    def _rule(self):
        return self.explain.of_table(_rule, self.table[:5], self.table, COLUMNS)


def _rule(t: np.ndarray) -> np.ndarray:
    return 3 * t[:, 0] + t[:, 1] * t[:, 2]
