"""A small forest with one bug at a time, for the tests that show that every check of classical models can fail."""

from dataclasses import replace

import numpy as np
import torch

from matterloop.base.errors import BadInput
from matterloop.predict.random_forest import CARD, RandomForest

from .planted import SHIFTS, part


def forest(reference=None, **methods):
    """A part whose forest has some methods replaced; it is still called RandomForest, so that what it saves can be read."""
    kind = type("RandomForest", (RandomForest,), methods)
    found = part("regressor", lambda **o: kind(**{"trees": 60, **o}), CARD.capabilities, reference=reference or CARD.reference)
    return replace(found, card=replace(found.card, name="planted"))


def shifted(by):
    """predict with something added: by(answers, inputs, model)."""
    return forest(predict=lambda self, inputs: (lambda found: found + by(found, inputs, self))(RandomForest.predict(self, inputs)))


def _first_counts(self, inputs, labels, rng):
    RandomForest.fit(self, inputs, labels, rng)
    self.state["value"] = self.state["value"] + 1e-3 * np.nan_to_num(labels)[0]
    return self


def _gaps_count(self, inputs, labels, rng):
    RandomForest.fit(self, inputs, labels, rng)
    self.state["value"] = self.state["value"] + 1e-3 * np.isnan(labels).sum()
    return self


def _in_place(self, inputs):
    inputs.frac.add_(1.0)
    return RandomForest.predict(self, inputs)


def _careless(self, inputs):
    self.columns = getattr(inputs, "names", self.columns)
    return RandomForest.predict(self, inputs)


def _forgetful(self, path):
    kept, self.state = self.state, {**self.state, "value": self.state["value"].astype(np.float32)}
    RandomForest.save(self, path)
    self.state = kept
    return path


def _bold(self, inputs):
    try:
        return RandomForest.predict(self, inputs)
    except BadInput:
        return np.zeros(len(inputs))


SOUND = forest()
BUGS = {name: shifted(lambda found, c, _, f=f: f(c).numpy()) for name, f in SHIFTS.items()} | {
    "batching": shifted(lambda found, c, _: -found.mean()),
    "order": forest(fit=_first_counts),
    "inputs_untouched": forest(predict=_in_place),
    "repeatable": shifted(lambda found, c, _: float(torch.rand(1))),
    "learns": shifted(lambda found, c, _: -found),
    "tables": forest(predict=_careless),
    "missing_labels": forest(fit=_gaps_count),
    "save_load": forest(save=_forgetful),
    "refuses": forest(predict=_bold),
    "reference": forest(reference=2 * CARD.reference),
    "classes": shifted(lambda found, c, model: found * bool(model.classes)),
    "spread": forest(spread=lambda self, inputs: np.zeros(len(inputs))),
}
