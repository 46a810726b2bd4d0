"""An explanation with one bug at a time, for the tests that show that every check of explanations can fail."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from matterloop.crystal.segments import segment_mean
from matterloop.predict.explain import CARD, Explain

from .planted import SHIFTS, part


@dataclass(frozen=True)
class Planted(Explain):
    """`bug(found, crystals, self)` gives the contributions (atoms,) that come out, `columns_bug(values, rows)` those of columns."""

    def of_sites(self, reading, state, background=None):
        found = super().of_sites(reading, state, background)
        return replace(found, site=self.bug(found.site, state, reading))

    def of_table(self, function, x, background, names, **more):
        found = super().of_table(function, x, background, names, **more)
        return replace(found, values=self.columns_bug(found.values, x))

    bug = staticmethod(lambda site, crystals, reading: site)
    columns_bug = staticmethod(lambda values, x: values)


def explain(**methods):
    kind = type("Planted", (Planted,), {k: staticmethod(f) if k in ("bug", "columns_bug") else f for k, f in methods.items()})
    return part("explanation", lambda **o: kind(**{**CARD.small, **o}), CARD.capabilities, reference=CARD.reference)


def shifted(shift):
    """The sums stay as they are: what is added to the first atom is taken from all."""
    def bug(site, crystals, reading):
        more = shift(crystals)[crystals.owner] * torch.sin(crystals.species.to(site))
        return site + more - segment_mean(more, crystals.owner, len(crystals))[crystals.owner]
    return explain(bug=bug)


def in_place(site, crystals, reading):
    crystals.frac.add_(1.0)
    return site


def by_number(site, crystals, reading):
    """Shares by atomic number, which no network has a say in."""
    z = crystals.species.to(site)
    return z - segment_mean(z, crystals.owner, len(crystals))[crystals.owner]


def spread_out(values, x):
    """A little of everything for everyone."""
    return values + 0.2 * np.abs(values).max() - 0.2 * np.abs(values).max() * np.eye(values.shape[1])[0] * values.shape[1]


def first_takes_all(values, x):
    out = values.copy()
    out[:, 0], out[:, 1] = values[:, 0] + values[:, 1], 0
    return out


class Believer(Planted):
    """Importance in the rows that were trained on, as it were: everything matters a little."""

    def importance(self, function, x, truth, names, **more):
        found = super().importance(function, x, truth, names, **more)
        return replace(found, mean=found.mean + 0.1 * found.error, low=found.low + 0.1 * found.error)


SOUND = explain()
BUGS = {name: shifted(lambda c, f=f: f(c) * c.counts) for name, f in SHIFTS.items()} | {
    "batching": explain(bug=lambda s, c, r: s - s.mean()),
    "inputs_untouched": explain(bug=in_place),
    "repeatable": explain(bug=lambda s, c, r: s + 1e-9 * torch.rand(len(s), dtype=s.dtype)),
    "complete": explain(bug=lambda s, c, r: 1.01 * s),
    "planted_element": explain(bug=lambda s, c, r: segment_mean(s, c.owner, len(c))[c.owner]),
    "weights_matter": explain(bug=by_number),
    "reference": explain(bug=lambda s, c, r: 2 * s),
    "planted_columns": explain(columns_bug=spread_out),
    "equal_columns": explain(columns_bug=first_takes_all),
    "shuffled_labels": part("explanation", lambda **o: Believer(**{**CARD.small, **o}), CARD.capabilities, reference=CARD.reference),
}
