"""The verb `train`: from a table of one's own to a predictor in a folder, tested and calibrated."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import BadInput, Missing
from ..base.machine import hardware, versions
from ..base.registry import find
from ..campaign.watch import Watch
from ..crystal.compositions import Compositions
from ..crystal.state import Crystals
from ..learn.calibrated import FEATURES
from ..learn.distance import DESCRIPTORS
from ..learn.low_fidelity import FOLDER as LOW
from ..learn.pretrained import Pretrained
from ..learn.splits import digest
from ..learn.targets import Target, labelled
from ..learn.training import Training, train as train_network, train_regressor
from .folder import write_atomic
from .train_fidelity import Fidelities, default_fidelity_model, low_first
from .train_folder import REPORT, SETTINGS, SPLIT, STATE, draw_split, free, settled
from .train_report import UNCERTAINTIES, report
from .train_table import UserTable, as_field, read_user_table
from .train_tested import tested

FEW = 1000  # rows below which a classical model is the default for structures
FEWEST = 10  # rows below which nothing is trained
ENSEMBLE = 4  # networks, where their number is not given


def default_model(inputs: Crystals | Compositions) -> tuple[str, str]:
    """(model, why): a network for many structures, trees for few and for formulas."""
    if isinstance(inputs, Compositions):
        return "random_forest", "fast and hard to beat on formulas; try --model roost or crabnet"
    if len(inputs) < FEW:
        return "random_forest:structure", f"fewer than {FEW} structures; a network such as --model cgcnn wants more"
    return "cgcnn", "fast and good on structures; `matterloop models --role encoder` lists others"


def default_folder(source: str, target: str) -> Path:
    """runs/train-TABLE-TARGET."""
    plain = lambda text: re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()
    return Path("runs") / f"train-{plain(Path(source).name.split('.')[0])[:30]}-{plain(target)[:30]}"


def train(source: str | Path, target: str, *, model: str = "", out: str | Path | None = None, split: str = "formula", unit: str = "", structure: str = "", formula: str = "",
          identity: str = "", kind: str = "auto", skip_bad: bool = False, epochs: int | None = None, minutes: float | None = None, members: int = 1, log_scale: bool = False,
          uncertainty: str = "", references: bool = False, distance: str = "", options: Mapping[str, Any] | None = None, seed: int = 0, resume: bool = False, overwrite: bool = False, max_atoms: int = 500,
          fidelity: str = "", minus: str = "", given: str = "", start: str | Path = "", teacher: str | Path = "", share: float = 0.5, freeze: int = 0, encoder_rate: float = 1.0, watch: Watch = Watch()) -> dict[str, Any]:
    """Train a model on a table or folder of one's own and test it on rows that were set aside; everything lands in the folder `out`.

    source   table (csv, tsv, parquet) with a column of CIF texts or of formulas, or a folder of structure files with one table
    target   column of the labels; `unit` of it, for people
    model    an encoder or a classical model by name, see `default_model`
    split    formula, random, prototype, cluster, time:COLUMN, element:SYMBOL, or a file that an earlier training wrote
    skip_bad leave out rows that cannot be used, else they are an error
    epochs, minutes  of training, at most; members of an ensemble; log_scale: learn the logarithm; references: a network learns what remains after energies of the elements
    uncertainty  of a network, one of UNCERTAINTIES: by what intervals differ from row to row; all are conformal, set on rows that were held back
    distance  by what kinds of crystal are told apart: magpie, magpie+crystal_nn, or features (the network's own); chosen by the model if empty
    fidelity  column that names the fidelity of each label, "COLUMN" (the more rows the lower) or "COLUMN:low,...,high": all are learnt at once, the highest is tested
    minus, given  column with values of a lower fidelity: its difference to the labels is learnt, or it is an input; where it is empty a model of it speaks
    start, teacher  folders that `pretrain` wrote: the encoder begins with one, the other is looked at beside the labels with `share` of the loss
    freeze, encoder_rate  first epochs in which the encoder stays as it is, and a factor on its learning rate
    Returns a dict: folder, finished, model, rows, scores, calibration, known, leaks, errors, command to go on where it was stopped.
    """
    folder = Path(out) if out is not None else default_folder(str(source), target)
    taught = {k: str(v) for k, v in (("start", start), ("teacher", teacher)) if v}
    if start and not model:
        begun = Pretrained.load(start)
        model, options = begun.encoder, {**begun.options, **(options or {})}
    free(folder, resume, overwrite)
    watch.stage("read", 0)
    table = read_user_table(source, target, structure=structure, formula=formula, identity=identity, kind=kind, max_atoms=max_atoms)
    _refuse(table, skip_bad, watch)
    levels = Fidelities.of(table, fidelity, minus, given)
    if levels.use == "minus" and log_scale:
        raise BadInput("a difference has no logarithm; leave --log or --minus out", str(source))
    chosen, why = (model, "") if model else (default_fidelity_model if levels.levels or levels.use == "input" else default_model)(table.inputs)
    bare_model, (chosen, options) = chosen, levels.model(chosen, options or {})
    role = find(chosen.partition(":")[0], ("encoder", "regressor")).card.role
    if len(table.keys) < FEWEST:
        raise BadInput(f"{len(table.keys)} rows, at least {FEWEST} are needed", str(source))
    if distance and distance not in (*DESCRIPTORS, FEATURES):
        raise Missing("kind of distance", distance, (*DESCRIPTORS, FEATURES))
    _refuse_options(role, chosen, bool(table.classes), {"epochs": epochs, "minutes": minutes, "members": members > 1, "uncertainty": uncertainty, "references": references, **taught, "freeze": freeze, "encoder-rate": encoder_rate != 1})
    uncertainty, members = _uncertainty(uncertainty, members)
    watch.note(f"{len(table.keys):,} rows of {'formulas' if isinstance(table.inputs, Compositions) else 'structures'}, {_told_labels(table)}; model {chosen}{f' ({why})' if why else ''}")
    settings = {"source": str(source), "target": target, "model": chosen, "split": split, "unit": unit, "kind": kind, "epochs": epochs, "minutes": minutes, "members": members,
                "uncertainty": uncertainty, "references": references, "log_scale": log_scale, "distance": distance, "options": dict(options or {}), "seed": seed, "rows": digest(table.keys, table.labels.tolist()),
                **({**taught, "share": share, "recipe": {"freeze": freeze, "encoder_rate": encoder_rate}} if taught or freeze or encoder_rate != 1 else {}),
                **({"fidelity": fidelity, "minus": minus, "input": given} if levels.levels or levels.use else {})}
    settings = settled(folder, settings, resume)
    goal = Target(_name(target), unit, classes=2 if table.classes else 0, width=uncertainty == "width", evidential=uncertainty == "evidential")
    while True:
        part = draw_split(folder, table, split, seed, resume, levels)
        rows = part.rows(table.keys)
        inputs = labelled(table.inputs, {goal: as_field(table)}) if isinstance(table.inputs, Crystals) else table.inputs.with_fields({goal.name: as_field(table)}, {goal.name: goal.quantity})
        inputs = levels.fields(inputs)
        about = {"source": Path(str(source)).name, "column": target, "classes": list(table.classes), "split": part.kind, "digest": part.data}
        try:
            learnt, low = inputs, None
            if levels.use:
                watch.note(f"first a model of {levels.column!r}, for rows where it is empty")
                learnt, low = low_first(levels, inputs, goal, rows, lambda i, t, r: _trained(
                    role, bare_model, i, t, r, settings | ({"options": dict(settings["options"].get("options", {}))} if chosen != bare_model else {}), table.keys,
                    about | {"column": levels.column}, folder / STATE / LOW, watch))
            found = _trained(role, chosen, learnt, goal, rows, settings, table.keys, about, folder, watch)
            found = found if low is None else replace(found, predictor=replace(found.predictor, low=low))
            break
        except BadInput as error:  # a structure that this model cannot read
            if error.row not in table.keys:
                raise
            place = table.keys.index(error.row)
            bad = BadInput(error.message, file=table.source, row=table.places[place], field=structure or "structure")
            if not skip_bad:
                raise bad from None
            watch.note(f"skipped: {bad}")
            table, levels = table.without([place], [bad]), levels.without(place)
            settings["rows"] = digest(table.keys, table.labels.tolist())
            (folder / SPLIT).unlink(missing_ok=True)
    result = {"folder": str(folder), "finished": found.complete, "model": chosen, "target": target, "unit": unit, "rows": {k: len(v) for k, v in rows.items()},
              "errors": [str(e) for e in table.errors], "seconds": dict(found.seconds), "parameters": found.parameters}
    if not found.complete:
        return result | {"stopped": found.courses[-1].stopped, "epochs": sum(len(c.history) for c in found.courses)}
    watch.advance("calibrate", 1)
    found.predictor.save(folder)
    result |= tested(found, table, inputs, levels.highest(rows), goal, folder, watch)
    write_atomic(folder / SETTINGS, json.dumps(settings | {"finished": True, "versions": versions(), "hardware": hardware(), "result": _plain(result)}, indent=1, ensure_ascii=False) + "\n")
    write_atomic(folder / REPORT, report(result, settings, found, table))
    shutil.rmtree(folder / STATE, ignore_errors=True)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _name(target: str) -> str:
    """A name for the head, free of what PyTorch does not take."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", target).strip("_") or "target"


def _refuse_options(role: str, model: str, classes: bool, given: Mapping[str, Any]) -> None:
    """BadInput for an option that the model has no use for."""
    asked = [k for k, v in given.items() if v]
    if role == "regressor" and asked:
        raise BadInput(f"is for networks, and {model} is a classical model; leave it out or name an encoder with --model", f"--{asked[0]}")
    if classes and (wrong := [k for k in asked if k == "references" or k == "uncertainty" and given[k] in ("width", "evidential")]):
        raise BadInput("is for numbers, and the target holds classes", f"--{wrong[0]}{' ' + given['uncertainty'] if wrong[0] == 'uncertainty' else ''}")


def _uncertainty(word: str, members: int) -> tuple[str, int]:
    """(how a network says how sure it is, number of networks)."""
    if word and word not in UNCERTAINTIES:
        raise Missing("kind of uncertainty", word, UNCERTAINTIES)
    if word == "conformal" and members > 1:
        raise BadInput(f"{members} networks say by their differences how sure they are; that is --uncertainty ensemble", "--uncertainty conformal")
    return word or ("ensemble" if members > 1 else "conformal"), ENSEMBLE if word == "ensemble" and members == 1 else members


def _told_labels(table: UserTable) -> str:
    known = ~np.isnan(table.labels)
    missing = f", {int((~known).sum()):,} without a label" if not known.all() else ""
    if table.classes:
        return f"classes {table.classes[0]!r} and {table.classes[1]!r} ({table.labels[known].mean():.0%} of the second){missing}"
    y = table.labels[known]
    return f"{table.target} from {y.min():.4g} to {y.max():.4g}, mean {y.mean():.4g}{missing}" if len(y) else "no row has a label"


def _refuse(table: UserTable, skip_bad: bool, watch: Watch, most: int = 10) -> None:
    """Say what cannot be used; BadInput unless such rows may be skipped."""
    if not table.errors:
        return
    for e in table.errors[:most]:
        watch.note(f"{'skipped' if skip_bad else 'wrong'}: {e}")
    if len(table.errors) > most:
        watch.note(f"and {len(table.errors) - most} more")
    if not skip_bad:
        raise BadInput(f"{len(table.errors)} rows cannot be used, the first: {table.errors[0]}. Mend them, or leave them out with --skip-bad", table.source)


def _trained(role: str, model: str, inputs, target: Target, rows, settings, names, about, folder: Path, watch: Watch) -> Training:
    if role == "regressor":
        watch.stage("train", 1)
        found = train_regressor(model, inputs, target, rows, options=settings["options"], log_scale=settings["log_scale"], seed=settings["seed"], names=names, data=about,
                                descriptor=settings["distance"], refit=True)
        watch.advance("train", 1)
        return found
    state = {"epochs": 0, "done": 0, "told": -1}

    def told(event: Mapping[str, Any]) -> None:
        if event["event"] == "graphs":
            if not state.get("graphs"):
                state["graphs"] = True
                watch.stage("graphs", event["of"])
            watch.advance("graphs", event["done"])
        elif event["event"] == "plan":
            state["epochs"] = event["epochs"]
            each = settings["members"]
            watch.note(f"{event['parameters']:,} parameters, {event['epochs']} epochs{f' of {each} networks' if each > 1 else ''}, {event['training_per_second']:.0f} structures/s: about {_clock(event['seconds'])}")
            watch.stage("train", event["epochs"] * each)
        elif event["event"] == "resumed":
            watch.note(f"goes on in epoch {event['epoch']}")
            watch.advance("train", event["member"] * state["epochs"] + event["epoch"] - 1)
        elif event["event"] == "epoch":
            done = event["member"] * state["epochs"] + event["epoch"]
            watch.advance("train", done)
            if (tenth := 10 * event["epoch"] // state["epochs"]) != state["told"] or event["epoch"] == 1:
                state["told"] = tenth
                error = next(iter(event.get("errors", {}).values()), None)
                what = "share of wrong ones" if target.classes else f"mean absolute error{f' in {target.unit}' if target.unit else ''}"
                watch.note(f"epoch {event['epoch']} of {state['epochs']}: loss {event['loss']:.4g}" + (f", validation rows {error:.4g} ({what})" if error is not None else ""))
        elif event["event"] == "calibrate":
            watch.stage("calibrate", 1)

    budget = settings["minutes"] * 60 if settings["minutes"] else None
    return train_network(model, inputs, target, rows, options=settings["options"], recipe={**settings.get("recipe", {}), **({"epochs": settings["epochs"]} if settings["epochs"] else {})},
                         log_scale=settings["log_scale"], references=settings["references"], members=settings["members"], budget=budget, seed=settings["seed"], names=names, data=about,
                         checkpoint=folder / STATE, descriptor=settings["distance"], log=told, should_stop=watch.stop, share=settings.get("share", 0.5),
                         **{k: Pretrained.load(settings[k]) for k in ("start", "teacher") if k in settings})


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
