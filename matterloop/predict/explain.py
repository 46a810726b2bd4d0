"""Explanations of predictions: what each site adds to the answer of a network, and what each column adds to that of a classical model.

S. M. Lundberg, S.-I. Lee, "A unified approach to interpreting model predictions", Advances in Neural Information Processing Systems 30 (2017), arXiv:1705.07874: additive
contributions with base + sum = answer (local accuracy), nothing for what is missing, and Shapley's weights as the one choice that is consistent. The methods stand
in learn/{attribution,shapley,tree_shapley,dependence,surrogates}.py, each with its source.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..base.errors import BadInput, Missing
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..learn.attribution import METHODS, pieces
from ..learn.dependence import Importance, permutation_importance
from ..learn.explanation import Contributions, Function, Reading, SiteContributions, State
from ..learn.shapley import shapley_of_table
from ..learn.tree_shapley import shapley_of_trees, trees_of

CARD = Card(
    name="explain",
    build="Explain",
    role="explanation",
    paper="1705.07874",
    year=2017,
    summary="what sites, elements and columns add to a prediction: Shapley values, local terms, integrated gradients, occlusion",
    capabilities=("sites", "columns", "complete"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    reference=0.11360182735147913,
    small={"samples": 256},
    presets={
        "integrated_gradients": {"sites": "integrated_gradients"},
        "occlusion": {"sites": "occlusion"},
        "path_dependent": {"columns": "path_dependent"},
        "kernel": {"columns": "kernel"},
    },
    differs=(
        "up to 8 players all choices are tried, which is exact; KernelSHAP answers for more, with opposite choices in pairs",
        "players are never regularised away: the paper's code selects features by a lasso where there are many",
        "an atom is left out by what enters the network in its place; crystals have no rows of a background to take it from",
    ),
)
COLUMNS = ("interventional", "path_dependent", "kernel")


@dataclass(frozen=True)
class Explain:
    """The choice of methods, by the model where none is named.

    sites     local_terms, shapley, integrated_gradients, gradient_times_input or occlusion; if empty local terms where the network has them, else Shapley values
    by        groups that play in Shapley values and occlusion: "element", or "orbit" for atoms that are alike
    columns   interventional, path_dependent (trees) or kernel; if empty interventional, by the trees where a model is a sum of trees
    rows      of the background, at most; a sample of more
    samples   choices of least squares, where there are too many players to try all
    """

    sites: str = ""
    by: str = "element"
    columns: str = ""
    rows: int = 100
    samples: int = 2048
    seed: int = 0

    def __post_init__(self):
        if self.sites and self.sites not in METHODS:
            raise Missing("method for sites", self.sites, METHODS)
        if self.columns and self.columns not in COLUMNS:
            raise Missing("method for columns", self.columns, COLUMNS)

    def of_sites(self, reading: Reading, state: State, background: State | None = None) -> SiteContributions:
        """(atoms,) contributions; of compositions one per element. Errors as the methods."""
        name = self.sites or ("local_terms" if has_local_terms(reading, state) else "shapley")
        known = inspect.signature(METHODS[name]).parameters
        options = {"by": self.by, "background": background, "samples": self.samples, "seed": self.seed}
        return METHODS[name](reading, state, **{k: v for k, v in options.items() if k in known})

    def of_table(self, function: Function, x: np.ndarray, background: np.ndarray, names: Sequence[str], *, state: Mapping[str, np.ndarray] | None = None, output: int = 0,
                 unit: str = "", should_stop: Callable[[], bool] = lambda: False) -> Contributions:
        """(rows, columns) contributions to function(x) against the background.

        state  arrays of the model: where trees are among them whose sum the function is, they are used; BadInput for path_dependent without
        """
        background = np.asarray(background, dtype=np.float64)
        if len(background) > self.rows:
            background = background[np.sort(numpy_stream(self.seed, "background").choice(len(background), self.rows, replace=False))]
        found = None if self.columns == "kernel" else trees_of(dict(state or {}), function, np.concatenate([x, background]), output)
        if found is None:
            if self.columns == "path_dependent":
                raise BadInput("this model is no sum of trees; choose interventional or kernel", "explain")
            return shapley_of_table(function, x, background, tuple(names), samples=self.samples, seed=self.seed, unit=unit, should_stop=should_stop)
        trees, base = found
        return shapley_of_trees(trees, x, background, tuple(names), kind=self.columns or "interventional", output=output, base=base, unit=unit, should_stop=should_stop)

    def importance(self, function: Function, x: np.ndarray, truth: np.ndarray, names: Sequence[str], **more) -> Importance:
        """Permutation importance on rows that were not trained on; see learn/dependence.py."""
        return permutation_importance(function, x, truth, names, seed=self.seed, **more)


@torch.no_grad()
def has_local_terms(reading: Reading, state: State) -> bool:
    """Whether the answer is a sum over sites, or the head's answer to a mean over sites."""
    _, piece, graph = next(pieces(reading, state[:1]))
    found = reading.encoder(piece, graph)
    return found.site is not None and (reading.target.extensive or found.whole is None)
