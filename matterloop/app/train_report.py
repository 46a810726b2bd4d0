"""The report of a training in words and one figure, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..learn.training import Training
from .train_table import UserTable

WORDS = {"mae": "mean absolute error", "rmse": "root of the mean squared error", "mad_mae": "MAD:MAE (how many times better than the mean)", "r2": "R2", "median_error": "median absolute error",
         "auc": "AUC", "auc_of_labels": "AUC of hard labels", "f1": "F1", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "precision": "precision", "recall": "recall"}
UNCERTAINTIES = {"conformal": "the distance to the training rows", "ensemble": "how far networks that were trained apart differ",
                 "width": "a standard deviation that the network learnt with each value", "evidential": "the evidence that the network learnt with each value"}


def score_lines(result: Mapping[str, Any]) -> list[str]:
    """One line per metric with its interval, then base case, calibration, nearness and leaks, as they are printed and reported."""
    lines = []
    for s in result.get("scores", []):
        unit = f" {s['unit']}" if s["unit"] else ""
        lines.append(f"{WORDS.get(s['name'], s['name'])}: {s['value']:.4g}{unit} ({s['low']:.4g} to {s['high']:.4g})")
    if base := result.get("baseline"):
        b = base["score"]
        lines.append(f"base case, {base['name']}: {WORDS.get(b['name'], b['name'])} {b['value']:.4g} {b['unit']}".rstrip())
    held = result.get("calibration", {})
    if "coverage_interval_90%" in held:
        lines.append(f"90 % intervals hold {100 * held['coverage_interval_90%']:.0f} % of the tested rows; miscalibration area {held['miscalibration_area']:.3f}")
    elif "ece" in held:
        lines.append(f"expected calibration error of probabilities: {held['ece']:.3f}")
    for word, one in result.get("known", {}).items():
        name, value = next((k, v) for k, v in one.items() if k != "rows")
        lines.append(f"{word} kinds of crystal: {one['rows']} tested rows, {WORDS.get(name, name)} {value:.4g}")
    return lines


def _by_what(found: Training) -> str:
    """By what intervals differ from row to row."""
    conformal, target = found.predictor.conformal, found.predictor.target
    if conformal is None or conformal.kind == "plain":
        return ""
    kind = "conformal" if conformal.kind == "distance" else "width" if target.width else "evidential" if target.evidential else "ensemble"
    return f" They grow with {UNCERTAINTIES[kind] if found.courses or kind == 'conformal' else 'how far the parts of the model differ'}."


def _begun_with(data: Mapping[str, Any]) -> list[str]:
    """What was pre-trained, and that tested rows may have been among what it saw."""
    lines = []
    for kind, told in (("start", "The encoder began with weights from"), ("teacher", "Beside the labels was learnt what is seen by")):
        if origin := data.get(kind):
            seen, labels = origin["data"], origin["data"].get("labels")
            lines += [f"{told} `{origin['method']}` with `{origin['encoder']}`: {seen.get('crystals', 0):,} structures of {seen.get('source', 'unnamed data')}, "
                      f"{'their ' + ', '.join(labels) if labels else 'no labels'}. Whether tested rows are among them is not known here.", ""]
    return lines


def report(result: Mapping[str, Any], settings: Mapping[str, Any], found: Training, table: UserTable) -> str:
    """The page."""
    rows = result["rows"]
    first = found.predictor.members[0]
    lines = [f"# {settings['target']} from {'formulas' if found.predictor.takes_compositions else 'structures'}", "",
             f"Model `{settings['model']}`{' x ' + str(settings['members']) if settings['members'] > 1 else ''}, {found.parameters:,} {'parameters' if found.recipe else 'numbers in its state'}, trained on "
             f"{rows['train']:,} rows of `{settings['source']}`, {rows.get('val', 0):,} rows for early stopping and calibration, tested on {rows['test']:,} rows that it never saw. "
             f"Split: {settings['split']}, in `split.json`.", "", *_begun_with(first.data)]
    lines += ["## On the tested rows", "", *(f"- {x}" for x in score_lines(result)), "", "In brackets: 95 % bootstrap intervals over tested rows.", ""]
    if not table.classes:
        lines += ["![prediction against label](parity.svg)", ""]
    lines += ["## Can it be trusted?", "",
              "A crystal is *known* if it lies no farther from its five nearest training rows than 90 % of these lie from each other, at the *edge* up to 99 %, and *unknown* beyond or with an element that was never trained on; errors tend to be "
              "larger there. Stated deviations are conformal: they were set on rows that were held back" + (", which also stopped the training." if found.courses else ".") + _by_what(found), "",
              "Tested materials that were trained on too:", "", *(f"- {x}" for x in result.get("leaks", [])), ""]
    if result["errors"]:
        lines += [f"## {len(result['errors'])} rows were left out", "", *(f"- {e}" for e in result["errors"][:50]), ""]
    if found.courses:
        c = found.courses[0]
        lines += ["## Training", "", f"{len(c.history)} epochs, the best was {c.best}; {c.seconds:.0f} s, {found.speed.training:.0f} structures per second in training.", "",
                  *(f"- {k}: {v}" for k, v in first.recipe.items()), ""]
    lines += ["## Use it", "", "```", f"matterloop predict {result['folder']} FILES...", "```", ""]
    return "\n".join(lines)
