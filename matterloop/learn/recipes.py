"""How each model is trained where nothing else is said: what differs from the common recipe (`Recipe` and `training.recipe_for`), found by trial at equal seconds.

Papers train for hundreds of epochs on graphics cards; here budgets are minutes on a few cores, so these are not the papers' settings.
"""

from __future__ import annotations

from typing import Any

ATTENTION = {"rate": 5e-4, "clip": 1.0}  # attention without normalisation of edges diverges at the rates that convolutions like

RECIPES: dict[str, dict[str, Any]] = {
    "crystalformer": ATTENTION, "matformer": ATTENTION, "comformer": ATTENTION, "ecomformer": ATTENTION, "conformal_transformer": ATTENTION, "crabnet": ATTENTION,
    "equivariant_transformer": ATTENTION,
    "crystalformer:light": {"rate": 3e-3, "weight_decay": 1e-5, "schedule": "cosine", "warmup": 1.0, "clip": 1.0, "averaging": "ema", "decay": 0.998, "loss": "l1", "epochs": 300},
    "cgcnn": {"rate": 0.01, "averaging": "ema", "decay": 0.995},
}


def recipe_changes(model: str) -> dict[str, Any]:
    """Fields of Recipe for the model "name" or "name:preset"; the preset's own come first where there are any."""
    return dict(RECIPES.get(model, RECIPES.get(model.partition(":")[0], {})))
