"""The verb `pretrain`: structures without labels to an encoder in a folder, which starts or teaches later trainings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.errors import BadInput
from ..base.registry import find
from ..campaign.watch import Watch
from ..crystal.state import Crystals
from ..learn.pretrained import WEIGHTS, WORDS, Pretrained
from ..learn.pretraining import pretrain as pretrain_network
from ..learn.splits import digest
from ..learn.targets import Target, labelled
from .folder import made, write_atomic
from .predict_verbs import read_structures
from .train_table import frame_of

STATE, SETTINGS = "state.safetensors", "pretrain.json"
TASK = "task:"  # a source that is the training rows of a task of the board


def pretrain(method: str, model: str, sources: Sequence[str | Path], *, out: str | Path | None = None, epochs: int | None = None, minutes: float | None = None,
             targets: Sequence[str] = (), start: str | Path = "", options: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None, overwrite: bool = False,
             skip_bad: bool = False, structure: str = "", identity: str = "", seed: int = 0, max_atoms: int = 500, watch: Watch = Watch()) -> dict[str, Any]:
    """Train the encoder `model` by `method` on the structures of `sources`; everything lands in the folder `out`.

    sources  structure files, folders of them, tables with a column of CIF texts, or "task:NAME" alone: the training rows of a task of the board
    epochs, minutes  of training, at most; targets: columns of one table that are learnt from, where the method learns from labels
    start    folder of an earlier pre-training to begin with; options of the encoder, settings of the method
    A folder that holds a stopped pre-training of the same settings goes on with it; one that holds a finished one is an error without `overwrite`.
    Returns a dict: folder, finished, method, model, crystals, epochs, losses, parts, seconds, errors.
    """
    folder = Path(out) if out is not None else Path("runs") / re.sub(r"[^A-Za-z0-9]+", "-", f"pretrain-{method}-{model}").strip("-").lower()
    for name, role in ((method, "pretraining"), (model, "encoder")):
        find(name.partition(":")[0], role)
    begun = Pretrained.load(start) if start else None
    _free(folder, overwrite)
    watch.stage("read", 0)
    inputs, names, errors, data = _read(sources, targets, structure, identity, max_atoms)
    for e in errors[:10]:
        watch.note(f"{'skipped' if skip_bad else 'wrong'}: {e}")
    if errors and not skip_bad:
        raise BadInput(f"{len(errors)} structures cannot be read, the first: {errors[0]}. Mend them, or leave them out with --skip-bad", str(sources[0]))
    if inputs is None:
        raise BadInput("holds no structure that can be read", str(sources[0]))
    watch.note(f"{len(inputs):,} structures; {model} by {method}")
    given = dict(settings or {}) | ({"targets": list(targets)} if targets else {})
    plan = {"method": method, "model": model, "settings": given, "options": dict(options or {}), "epochs": epochs, "minutes": minutes, "start": str(start), "seed": seed,
            "structures": digest(names, [float(x) for x in inputs.volume])}
    _settled(folder, plan)
    state = {"told": False, "epochs": 0}

    def told(event: Mapping[str, Any]) -> None:
        if event["event"] == "graphs":
            if not state["told"]:
                state["told"] = True
                watch.stage("graphs", event["of"])
            watch.advance("graphs", event["done"])
        elif event["event"] == "plan":
            state["epochs"] = event["epochs"]
            watch.note(f"{event['parameters']:,} parameters, {event['epochs']} epochs, {event['training_per_second']:.0f} structures/s: about {event['seconds'] / 60:.1f} min")
            watch.stage("pretrain", event["epochs"])
        elif event["event"] == "resumed":
            watch.note(f"goes on in epoch {event['epoch']}")
        elif event["event"] == "epoch":
            watch.advance("pretrain", event["epoch"])
            if event["epoch"] == 1 or 10 * event["epoch"] // state["epochs"] != 10 * (event["epoch"] - 1) // state["epochs"]:
                watch.note(f"epoch {event['epoch']} of {state['epochs']}: loss {event['loss']:.4g} ({', '.join(f'{k} {v:.3g}' for k, v in event['parts'].items())})")

    found = pretrain_network(method, model, inputs, settings=given, options=options, recipe={"epochs": epochs} if epochs else None, start=begun, budget=minutes * 60 if minutes else None,
                             seed=seed, names=names, data=data, checkpoint=folder / STATE, log=told, should_stop=watch.stop)
    history = found.history
    result = {"folder": str(folder), "finished": found.complete, "method": method, "model": model, "crystals": len(inputs), "epochs": history["epochs"], "losses": history["losses"],
              "parts": history["parts"], "seconds": history["seconds"], "errors": errors}
    if found.complete:
        found.save(folder)
        (folder / STATE).unlink(missing_ok=True)
    return result


def _read(sources: Sequence[str | Path], targets: Sequence[str], structure: str, identity: str, max_atoms: int) -> tuple[Crystals | None, list[str], list[str], dict[str, Any]]:
    """(crystals with the targets as fields, names, errors, what the data are)."""
    if str(sources[0]).startswith(TASK):
        from ..bench.property_tasks import load_task

        if len(sources) > 1 or targets:
            raise BadInput("stands alone, without targets", str(sources[0]))
        held = load_task(str(sources[0]).removeprefix(TASK))
        rows = held.part(0)["train"]
        if not isinstance(held.inputs, Crystals):
            raise BadInput("holds compositions, and structures are needed", str(sources[0]))
        return held.inputs[rows].bare(), [held.keys[i] for i in rows], [], {"source": str(sources[0]), "training_rows_of": held.split.data, "labels": []}
    crystals, known, wrong = read_structures(sources, structure, identity, max_atoms)
    errors = [", ".join(str(x) for x in (e["file"], e["row"]) if x not in (None, "")) + f": {e['error']}" for e in wrong]
    data = {"source": [Path(s).name for s in map(str, sources)], "labels": list(targets)}
    if crystals is not None and targets:
        if len(sources) > 1 or not known or known[0]["row"] is None:
            raise BadInput("labels are columns of one table of structures", "--target")
        frame, at = frame_of(Path(sources[0])), [k["row"] for k in known]
        fields = {}
        for name in targets:
            if name not in frame:
                from ..base.errors import Missing

                raise Missing("column", name, [str(c) for c in frame.columns])
            try:
                fields[Target(name)] = torch.tensor(frame[name].to_numpy(dtype=float)[at])
            except (TypeError, ValueError) as error:
                raise BadInput(f"the labels are no numbers: {error}", file=str(sources[0]), field=name) from None
            if not np.isfinite(fields[Target(name)]).any():
                raise BadInput("has no label", file=str(sources[0]), field=name)
        crystals = labelled(crystals, fields)
    return crystals, [str(k["name"] or k["file"]) for k in known], errors, data


def _free(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput("is a file, not a folder; choose another --out", str(folder))
    if overwrite:
        for name in (WORDS, WEIGHTS, STATE, SETTINGS):
            (folder / name).unlink(missing_ok=True)
    elif (folder / WORDS).exists():
        raise BadInput("holds a finished pre-training; choose another --out or pass --overwrite", str(folder))


def _settled(folder: Path, plan: dict[str, Any]) -> None:
    """Write the settings down; of a pre-training that goes on they must be those of before."""
    made(folder)
    path = folder / SETTINGS
    plan = json.loads(json.dumps(plan))
    if path.exists() and (folder / STATE).exists():
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"is not JSON: {error}", str(path)) from None
        if differing := [k for k, v in plan.items() if held.get(k) != v]:
            k = differing[0]
            raise BadInput(f"{k} was {held.get(k)!r}, is {plan[k]!r}; it goes on with the settings it began with, or anew with --overwrite", str(folder))
    write_atomic(path, json.dumps(plan, indent=1, ensure_ascii=False) + "\n")
