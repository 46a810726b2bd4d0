"""How to train: the fields of a recipe, and for each model what differs from the common one (`training.recipe_for`) where nothing else is said, found by trial at equal seconds.

Papers train for hundreds of epochs on graphics cards; here budgets are minutes on a few cores, so these are not the papers' settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..base.errors import BadInput, Missing

OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class Recipe:
    """How to train; plain numbers and words only.

    epochs, size   passes through the data, crystals of a step
    rate           learning rate at its highest
    weight_decay   of matrices; of no bias or scale ("adamw": decoupled; I. Loshchilov, F. Hutter, arXiv:1711.05101)
    momentum       of sgd
    schedule       one of schedules.SCHEDULES; `warmup` in epochs, `milestones` as shares of the training, `factor` of steps and plateau, `wait` epochs of plateau
    clip           largest norm of the gradient, 0: any
    averaging      one of averaging.AVERAGES; `decay` of ema, `start` of swa as a share of the training
    patience       epochs without a better validation after which training ends, 0: never
    keep           "best": the weights of the epoch with the best validation, "last": those of the last
    loss           error of numbers: "l1", "l2", "huber"; None: the model's own
    strain         standard deviation of the factors by which crystals are scaled at random in every step, 0: none; strain_share: weight of telling it (learn/strained.py)
    encoder_rate   factor on the rate for the weights of the encoder; freeze: first epochs in which they stay as they are
    seed           of the order of crystals and all that is drawn in training
    """

    epochs: int = 60
    size: int = 64
    rate: float = 2e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: float = 0.01
    momentum: float = 0.9
    schedule: str = "one_cycle"
    warmup: float = 0.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    wait: int = 10
    clip: float = 0.0
    averaging: str = "none"
    decay: float = 0.999
    start: float = 0.75
    patience: int = 0
    keep: Literal["best", "last"] = "best"
    loss: Literal["l1", "l2", "huber"] | None = None
    strain: float = 0.0
    strain_share: float = 0.1
    encoder_rate: float = 1.0
    freeze: int = 0
    seed: int = 0

    def __post_init__(self):
        if self.strain < 0 or self.strain_share < 0:
            raise BadInput(f"strain {self.strain}, strain_share {self.strain_share}: neither may be negative", "Recipe")
        if self.encoder_rate < 0 or self.freeze < 0:
            raise BadInput(f"encoder_rate {self.encoder_rate}, freeze {self.freeze}: neither may be negative", "Recipe")
        if self.epochs < 1 or self.size < 1 or not self.rate > 0:
            raise BadInput(f"epochs {self.epochs}, size {self.size}, rate {self.rate}: all must be positive", "Recipe")
        if self.optimizer not in OPTIMIZERS:
            raise Missing("optimizer", self.optimizer, OPTIMIZERS)
        if self.keep not in ("best", "last"):
            raise Missing("choice of weights", self.keep, ("best", "last"))


ATTENTION = {"rate": 5e-4, "clip": 1.0}  # attention without normalisation of edges diverges at the rates that convolutions like
LIGHT = {"rate": 3e-3, "weight_decay": 1e-5, "schedule": "cosine", "warmup": 1.0, "clip": 1.0, "averaging": "ema", "decay": 0.995, "loss": "l1", "epochs": 30}

RECIPES: dict[str, dict[str, Any]] = {
    "crystalformer": ATTENTION, "matformer": ATTENTION, "comformer": ATTENTION, "ecomformer": ATTENTION, "conformal_transformer": ATTENTION, "crabnet": ATTENTION,
    "equivariant_transformer": ATTENTION,
    "crystalformer:light": {**LIGHT, "rate": 4e-3, "decay": 0.998, "strain": 0.04, "epochs": 100},
    "matformer:light": LIGHT, "ecomformer:light": LIGHT, "potnet:light": {**LIGHT, "rate": 6e-3}, "comformer:light": {**LIGHT, "rate": 6e-3},
    "gemnet:light": LIGHT,
    "cgcnn": {"rate": 0.01, "averaging": "ema", "decay": 0.995},
}


def recipe_changes(model: str) -> dict[str, Any]:
    """Fields of Recipe for the model "name" or "name:preset"; the preset's own come first where there are any."""
    return dict(RECIPES.get(model, RECIPES.get(model.partition(":")[0], {})))
