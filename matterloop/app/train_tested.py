"""The test of a training: errors, calibration, kinds of crystal and leaks on the rows that were set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..campaign.watch import Watch
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from ..learn.calibrated import LEVEL, Prediction
from ..learn.calibration import calibration, coverage, ece
from ..learn.distance import counts_of
from ..learn.leaks import composition_leaks, crystal_leaks
from ..learn.metrics import CLASSES, scores
from ..learn.targets import Target
from ..learn.training import Training
from .folder import write_atomic
from .train_folder import PARITY, TABLE
from .train_table import UserTable

SHOWN = ("mae", "rmse", "mad_mae", "r2", "median_error")


def tested(found: Training, table: UserTable, inputs, rows: Mapping[str, np.ndarray], target: Target, folder: Path, watch: Watch) -> dict[str, Any]:
    test = rows["test"]
    watch.stage("test", len(test))
    said = found.predictor.predict(inputs[test], on_progress=lambda done, of: watch.advance("test", done))
    truth = table.labels[test]
    has = ~np.isnan(truth)
    _write_predictions(folder / TABLE, [table.keys[i] for i in test], truth, said)
    out: dict[str, Any] = {"scores": [], "known": {}, "calibration": {}, "leaks": leaks_of(table.inputs, rows)}
    if not has.any():
        return out
    if target.classes and len(set(truth[has])) < 2:
        watch.note("the test rows hold one class only; no score can be given")
        return out
    names = CLASSES if target.classes else SHOWN
    out["scores"] = [asdict(s) for s in scores(truth, said.value, names, unit=target.unit)]
    level = float(np.nanmean(table.labels[rows["train"]]))
    base = np.full(len(truth), float(level >= 0.5) if target.classes else level)
    out["baseline"] = {"name": "more frequent class" if target.classes else "mean of the training rows",
                       "score": asdict(scores(truth, base, ["accuracy" if target.classes else "mae"], unit=target.unit)[0])}
    if target.classes:
        out["calibration"] = {"ece": ece(truth, said.value)}
    elif np.isfinite(said.deviation).all() and np.isfinite(said.low).all():
        out["calibration"] = calibration(truth, said.value, said.deviation) | {f"coverage_interval_{LEVEL:.0%}": coverage(truth, said.low, said.high)}
    words, metric = np.array(said.known), "accuracy" if target.classes else "mae"
    for w in ("known", "edge", "unknown"):
        pick = has & (words == w)
        if pick.any():
            out["known"][w] = {"rows": int(pick.sum()), metric: scores(truth[pick], said.value[pick], [metric], resamples=1)[0].value}
    from .figures.parity import parity

    if not target.classes:
        write_atomic(folder / PARITY, parity(truth[has], said.value[has], said.deviation[has], np.array(said.known)[has], f"{table.target}{f', {target.unit}' if target.unit else ''}") + "\n")
    return out


def leaks_of(inputs: Crystals | Compositions, rows: Mapping[str, np.ndarray]) -> list[str]:
    """Lines on tested materials that were trained on."""
    if not len(rows["test"]):
        return []
    if isinstance(inputs, Compositions):
        found = [composition_leaks(counts_of(inputs[rows["train"]]), counts_of(inputs[rows["test"]]))]
    else:
        found = list(crystal_leaks(inputs[rows["train"]], inputs[rows["test"]], match=False).values())
    return [f"{x} were trained on too" for x in found if x.count] or ["no tested row shares its formula with a training row"]


def _write_predictions(path: Path, keys: Sequence[str], truth: np.ndarray, said: Prediction) -> None:
    import pandas as pd

    frame = pd.DataFrame({"key": keys, "label": truth, "prediction": said.value, "deviation": said.deviation, "low": said.low, "high": said.high, "percentile": said.percentile,
                          "known": said.known, "nearest": said.nearest})
    write_atomic(path, frame.to_csv(index=False))
