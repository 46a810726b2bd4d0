"""What a classical model must keep: a planted rule is learnt, whatever the order of the rows, and what was learnt can be kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..crystal.state import Crystals
from ..learn.regressors import Regressor, load_regressor
from ..learn.tables import Table
from . import examples as ex
from .comparing import Check, Part, near, own_randomness, require, untouched
from .contract_encoder import reference

CAPABILITIES = {
    "classes": "the option `classes` makes it a classifier whose answers are (rows, classes) probabilities",
    "spread": "offers spread(inputs), the standard deviation it gives its answers"}
LEARNT = 0.6  # R2 on rows that were not trained on, at least; of classes the share called right less that of the commonest class, over what it lacks
ROWS = (90, 40)  # crystals to learn from, and to test on
ELEMENTS = (3, 8, 9, 11, 12, 13, 14, 16, 17, 19, 20, 22, 26, 29, 30, 38, 47, 56)


def invariances(card: Card) -> tuple[str, ...]:
    """All of them, as its descriptors keep them."""
    return ex.INVARIANCES


def checks(part: Part) -> Iterator[Check]:
    """Checks of one classical model."""
    subject = Subject(part)
    for name in ex.INVARIANCES:
        yield Check(name, "fast", lambda name=name: subject.invariant(name))
    names = ["batching", "order", "inputs_untouched", "repeatable", "learns", "tables", "missing_labels", "save_load", "refuses", "reference"]
    names += [word for word in ("classes", "spread") if part.can(word)]
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


def planted(rows: int, seed: int) -> tuple[Crystals, np.ndarray]:
    """Rock salts of two elements at random whose label follows from both atomic numbers, the heavier counting twice, with some noise."""
    rng = numpy_stream(seed, "planted regression")
    pairs = np.stack([rng.choice(ELEMENTS, 2, replace=False) for _ in range(rows)])
    crystals = Crystals.join([ex.rock_salt(tuple(int(z) for z in pair)) for pair in pairs])
    heavy, light = pairs.max(1), pairs.min(1)
    return crystals, (2 * heavy + light) / 10 + 0.05 * rng.standard_normal(rows)


class Subject:
    """One classical model under test, fitted once to the planted rule."""

    def __init__(self, part: Part):
        self.part, self.tolerance = part, part.card.tolerance

    @cached_property
    def data(self) -> tuple[Crystals, np.ndarray, Crystals, np.ndarray]:
        return (*planted(ROWS[0], 0), *planted(ROWS[1], 1))

    def fitted(self, crystals=None, labels=None, **options) -> Regressor:
        """A new model fitted to the planted rule, or to other rows."""
        if crystals is None:
            crystals, labels = self.data[:2]
        return self.part.build(**options).fit(crystals, labels, numpy_stream(0, "contract"))

    @cached_property
    def model(self) -> Regressor:
        return self.fitted()

    def invariant(self, name: str) -> None:
        crystals = ex.periodic()
        near(self.model.predict(crystals), self.model.predict(ex.RETELLINGS[name](crystals)), f"an answer under {name}", self.tolerance)

    def batching(self) -> None:
        crystals = self.data[2]
        near(self.model.predict(crystals), np.concatenate([self.model.predict(c) for c in crystals]), "a batch against one by one", self.tolerance)

    def order(self) -> None:
        """Rows learnt in another order make the same model."""
        crystals, labels, others, _ = self.data
        turned = np.random.default_rng(1).permutation(len(labels))
        near(self.model.predict(others), self.fitted(crystals[torch.as_tensor(turned)], labels[turned]).predict(others), "the same rows in another order", self.tolerance)

    def inputs_untouched(self) -> None:
        crystals, labels, others, _ = self.data
        before = labels.copy()
        with untouched(crystals), untouched(others):
            self.fitted().predict(others)
        require(bool((labels == before).all()), "the labels were changed")

    def repeatable(self) -> None:
        with own_randomness():
            one = self.fitted().predict(self.data[2])
        near(one, self.fitted().predict(self.data[2]), "the same seed twice", 0)

    def learns(self) -> None:
        truth, guess = self.data[3], self.model.predict(self.data[2])
        require(guess.shape == truth.shape, f"{len(truth)} crystals get answers of shape {guess.shape}")
        score = 1 - np.square(guess - truth).sum() / np.square(truth - truth.mean()).sum()
        require(score >= LEARNT, f"a planted rule is not learnt: R2 {score:.2f} on other crystals, wanted at least {LEARNT}")

    def tables(self) -> None:
        """A bare table of numbers is learnt from, one column of which matters."""
        rng = np.random.default_rng(2)
        table, names = rng.standard_normal((120, 4)), ("a", "b", "c", "d")
        model = self.fitted(Table(table[:80], names), 3 * table[:80, 2])
        guess, truth = model.predict(Table(table[80:], names)), 3 * table[80:, 2]
        score = 1 - np.square(guess - truth).sum() / np.square(truth - truth.mean()).sum()
        require(score >= LEARNT, f"a label that is a column of the table is not learnt: R2 {score:.2f}, wanted at least {LEARNT}")
        try:
            model.predict(Table(table, ("a", "b", "d", "c")))
        except BadInput:
            return
        require(False, "a table of other columns is answered without a word")

    def missing_labels(self) -> None:
        """Rows without a label are as good as absent."""
        crystals, labels, others, _ = self.data
        gaps = labels.copy()
        gaps[::3] = np.nan
        kept = np.isfinite(gaps)
        one, two = self.fitted(crystals, gaps), self.fitted(crystals[torch.as_tensor(kept)], gaps[kept])
        near(one.predict(others), two.predict(others), "with rows without label against without them", 0)

    def save_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            other = load_regressor(self.model.save(Path(folder) / "model.safetensors"))
        require(type(other).__name__ == type(self.model).__name__, f"saved was a {type(self.model).__name__}, loaded is a {type(other).__name__}")
        near(self.model.predict(self.data[2]), other.predict(self.data[2]), "an answer after save and load", 0)

    def refuses(self) -> None:
        """No answer before learning; no learning from nothing."""
        crystals, labels = self.data[:2]
        for what, do in (("an answer before anything is learnt", lambda: self.part.build().predict(crystals)),
                         ("learning without any label", lambda: self.fitted(crystals, np.full(len(labels), np.nan))),
                         ("labels of another length", lambda: self.fitted(crystals, labels[:-1]))):
            try:
                do()
            except BadInput:
                continue
            require(False, f"{what} is not refused")

    def reference(self) -> None:
        """Mean answer for the crystals that were not learnt from."""
        reference(self.part.card, float(self.model.predict(self.data[2]).mean()))

    def classes(self) -> None:
        crystals, labels, others, truth = self.data
        limits = np.quantile(labels, (1 / 3, 2 / 3))
        guess = self.fitted(crystals, np.digitize(labels, limits).astype(float), classes=3).predict(others)
        require(guess.shape == (len(truth), 3), f"{len(truth)} crystals of 3 classes get answers of shape {guess.shape}")
        require(bool((guess >= 0).all()), "a probability is below 0")
        near(np.ones(len(truth)), guess.sum(1), "the sum of the probabilities", 1e-6)
        classes = np.digitize(truth, limits)
        common = np.bincount(classes).max() / len(classes)
        score = ((guess.argmax(1) == classes).mean() - common) / (1 - common)
        require(score >= LEARNT / 2, f"planted classes are not learnt: score {score:.2f}, wanted at least {LEARNT / 2}")
        with tempfile.TemporaryDirectory() as folder:
            model = self.fitted(crystals, np.digitize(labels, limits).astype(float), classes=3)
            near(guess, load_regressor(model.save(Path(folder) / "model.safetensors")).predict(others), "probabilities after save and load", 0)

    def spread(self) -> None:
        found = self.model.spread(self.data[2])
        require(found.shape == self.data[3].shape and bool((np.isfinite(found) & (found >= 0)).all()), "spreads must be finite, not negative, one for each row")
        require(float(found.max()) > 0, "every spread is 0")
