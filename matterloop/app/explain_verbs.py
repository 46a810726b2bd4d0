"""Explain the predictions of a kept model: what elements, sites and bonds, or columns, add to them; as plain dicts, and as a report with figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.elements import symbol
from ..base.errors import BadInput, Missing
from ..base.seeds import numpy_stream
from ..campaign.watch import Watch
from ..crystal.composition import compositions, reduced_formula
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from ..learn.attending import attention, attention_between
from ..learn.attribution import likeness, occlusion, randomised, shapley_sites
from ..learn.bond_attribution import bonds
from ..learn.calibrated import CalibratedPredictor
from ..learn.dependence import accumulated_effects, interaction, partial_dependence, permutation_importance
from ..learn.explanation import Reading, SiteContributions, TableReading
from ..learn.surrogates import FEWEST, sum_surrogate, tree_surrogate
from ..learn.tables import Table, read_table
from ..learn.trained_regressor import TrainedRegressor
from ..predict.explain import Explain
from .explain_report import network_figures, report, table_figures
from .folder import made, write_atomic
from .predict_verbs import predicted, read_formulas, read_structures, told_of

TOGETHER = 8  # crystals or rows between two looks at whether to stop
TOP = 12  # columns of a table that are shown
CURVED = 200  # rows whose curves are followed, at most
CURVES = 4  # columns whose dependence is drawn
CHECKED, FEWEST_CHECKED = 32, 8  # crystals on which the checks are run, at most and at least
SUMMED = 1000  # rows to which stand-ins are fitted, at most
PREFIX = "MagpieData "  # of the names of columns; readers do without it
FIGURES = 6  # crystals that get a figure of their own
METHODS = ("local_terms", "shapley", "integrated_gradients", "gradient_times_input", "occlusion", "interventional", "path_dependent", "kernel")


def explain(folder: str | Path, sources: Sequence[str | Path], *, method: str = "", by: str = "element", label: int | None = None, background: Sequence[str | Path] = (),
            out: str | Path | None = None, structure: str = "", formula: str = "", identity: str = "", max_atoms: int = 500, seed: int = 0,
            watch: Watch = Watch()) -> dict[str, Any]:
    """{"rows": one dict per input, in order, an error or an explanation; "summary": what they have in common; "figures": {name: SVG}; "finished": bool}.

    folder      of a predictor that `train` wrote; sources as in `predict`
    method      one of METHODS that suits the model; chosen by the model if empty
    by          groups of atoms in Shapley values and occlusion: "element" or "orbit"
    label       class that is explained; background: files of crystals against which is explained (tables: else the training rows or the inputs themselves)
    out         folder for explain.md, explanation.json and figures
    A stop ends after the crystals at hand; what was explained is kept.
    """
    model = CalibratedPredictor.load(folder)
    watch.note(told_of(model, folder))
    read = lambda paths: read_formulas(paths, formula, identity) if model.takes_compositions else read_structures(paths, structure, identity, max_atoms)
    inputs, names, errors = read(sources)
    other = None
    if background:
        other, _, wrong = read(background)
        for e in wrong:
            watch.note(f"background: {e['file']}, {e.get('row')}: {e['error']}")
        if other is None:
            raise BadInput("none of the background can be read", "background")
    found: dict[str, Any] = {"rows": [], "summary": {}, "figures": {}, "finished": True}
    if inputs is not None and len(inputs):
        keep, said, refused = predicted(model, inputs, 0.9, Watch())
        errors += [{**names[i], "error": why} for i, why in refused.items()]
        if keep:
            known = {"known": said.known, "percentile": said.percentile}
            classical = isinstance(model.members[0], TrainedRegressor)
            make = _of_table if classical else _of_network
            found = make(model, inputs[keep], other, Explain(**_options(method, classical), by=by, seed=seed), label, watch)
            found["rows"] = [{**names[i], "formula": names[i].get("formula") or _formula(inputs[i]), **row, **{k: v[j] for k, v in known.items()}} for j, (i, row) in enumerate(zip(keep, found["rows"], strict=False))]
    found["rows"] = sorted([*found["rows"], *errors], key=lambda r: r.pop("_at"))
    first = model.members[0]
    found["summary"] = {"folder": str(folder), "model": getattr(first, "encoder", getattr(first, "name", "?")), "target": str(first.data.get("column", model.target.name)),
                        "rows": sum("error" not in r for r in found["rows"]), "seed": seed, **found["summary"]}
    if out is not None:
        found["files"] = write(Path(out), found)
    return found


def _options(method: str, classical: bool) -> dict[str, str]:
    if not method:
        return {}
    if method not in METHODS:
        raise Missing("method", method, METHODS)
    if (method in METHODS[5:]) != classical:
        allowed = METHODS[5:] if classical else METHODS[:5]
        raise BadInput(f"{method!r} does not suit {'a classical model' if classical else 'a network'}; choose among {', '.join(allowed)}", "--method")
    return {"columns" if classical else "sites": method}


def _formula(one) -> str:
    return reduced_formula(compositions(one)[0]) if isinstance(one, Crystals) else one.formula()


# networks


def _of_network(model: CalibratedPredictor, state, background, how: Explain, label: int | None, watch: Watch) -> dict[str, Any]:
    """Sites, elements and bonds of every crystal; elements and bonds over all, attention and checks."""
    readings = [Reading(m.predictor, model.target.name, label) for m in model.members]
    watch.stage("explain", len(state))
    rows, elements, shells, finished, done = [], [], [], True, 0
    with_bonds = isinstance(state, Crystals)
    while done < len(state):
        if watch.stop():
            finished = False
            break
        part = state[done : done + TOGETHER].bare()
        sites = mean_of([how.of_sites(r, part, background) for r in readings])
        whole = sites if sites.method == "Shapley values" and how.by == "element" else mean_of([shapley_sites(r, part, "element", background, seed=how.seed) for r in readings])
        lost = mean_of([occlusion(r, part, "element", background) for r in readings])
        stems: list[list[dict]] = [[] for _ in part]
        if with_bonds:
            try:
                for s in bonds(readings[0], part):
                    stems[s.crystal].append({k: v for k, v in asdict(s).items() if k != "crystal"} | {"pair": "-".join(s.pair)})
            except BadInput:
                with_bonds = False
        for i in range(len(part)):
            rows.append(_told(sites, whole, lost, i) | ({"bonds": stems[i]} if with_bonds else {}))
            elements += [(e, v, rows[-1]["shares"][e], done + i) for e, v in rows[-1]["elements"].items()]
            shells += [(s["pair"], s["length"], s["value"], done + i) for s in stems[i]]
        done += len(part)
        watch.advance("explain", done)
    summary: dict[str, Any] = {"kind": "network", "unit": readings[0].unit, "members": len(readings), "background": "the average atom of the background" if background is not None else "no atom: what enters is zero"}
    if rows:
        summary |= {"method": rows[0]["method"], "elements": _over(elements), "bonds": _over([(p, v, n, i) for p, n, v, i in shells])}
        summary |= _checks(readings[0], state[: min(done, CHECKED)].bare(), how, rows, watch)
    return {"rows": rows, "summary": summary, "figures": network_figures(rows, summary, state, FIGURES), "finished": finished}


def mean_of(found: Sequence[SiteContributions]) -> SiteContributions:
    """The mean of several networks' explanations: that of their mean."""
    mean = lambda name: torch.stack([getattr(f, name) for f in found]).mean(0)
    return replace(found[0], site=mean("site"), base=mean("base"), prediction=mean("prediction"))


def _told(sites: SiteContributions, whole: SiteContributions, lost: SiteContributions, i: int) -> dict[str, Any]:
    """One crystal's explanation as plain words and numbers."""
    mine = sites.owner == i
    species = sites.species[mine]
    kinds, of = species.unique(return_inverse=True)
    by_element = lambda x: dict(zip(map(symbol, kinds.tolist()), segment_sum(x.site[mine], of, len(kinds)).tolist(), strict=True))
    return {"method": sites.method, "unit": sites.unit, "answer": float(sites.prediction[i]), "base": float(sites.base[i]), "gap": float(sites.gap[i]),
            "sites": [{"element": symbol(z), "contribution": v} for z, v in zip(species.tolist(), sites.site[mine].tolist(), strict=True)],
            "elements": by_element(whole), "elements_base": float(whole.base[i]), "without": by_element(lost),
            "shares": {symbol(z): float((species == z).double().mean()) for z in kinds.tolist()}}


def _over(parts: list[tuple[str, float, float, int]]) -> list[dict[str, Any]]:
    """Mean contribution and the crystals it comes from, by name, largest mean size first."""
    names = sorted({p[0] for p in parts})
    out = []
    for name in names:
        values = np.array([p[1] for p in parts if p[0] == name])
        out.append({"name": name, "crystals": len({p[3] for p in parts if p[0] == name}), "mean": float(values.mean()), "size": float(np.abs(values).mean())})
    return sorted(out, key=lambda r: (-r["size"] * min(r["crystals"], 3), r["name"]))


def _checks(reading: Reading, state, how: Explain, rows: list[dict], watch: Watch) -> dict[str, Any]:
    """What is not accounted for, whether the weights matter, and what layers look at."""
    reach = max(max(abs(r["answer"] - r["base"]) for r in rows), 1e-12)
    out: dict[str, Any] = {"gap": max(abs(r["gap"]) for r in rows) / reach, "likeness_to_shuffled_weights": float("nan"), "checked": len(state)}
    if len(state) >= FEWEST_CHECKED:
        one, other = how.of_sites(reading, state), how.of_sites(randomised(reading, how.seed), state)
        out["likeness_to_shuffled_weights"] = likeness(one, other)
    graph, maps = reading.graph(state), []
    for a in attention(reading, state, graph):
        if a.kind in ("neighbours", "elements"):
            top = sorted(attention_between(state, graph, a).items(), key=lambda kv: (kv[0][0], -kv[1]))
            maps.append({"layer": a.layer, "kind": a.kind, "between": [{"centre": c, "neighbour": n, "share": v} for (c, n), v in top]})
        elif a.kind == "sites":
            kinds, of = state.species.unique(return_inverse=True)
            even = a.weight.mean(1) * state.counts[state.owner]
            weight = segment_sum(even, of, len(kinds)) / torch.bincount(of)
            maps.append({"layer": a.layer, "kind": a.kind, "times_even": dict(zip(map(symbol, kinds.tolist()), weight.tolist(), strict=True))})
    if maps:
        out["attention"] = maps
    return out


# classical models


def _of_table(model: CalibratedPredictor, state, background, how: Explain, label: int | None, watch: Watch) -> dict[str, Any]:
    """Contributions of columns to every row; over all: importance, dependence, interaction, stand-ins."""
    trained = model.members[0]
    reading = TableReading.of(trained, label)
    table = read_table(state.bare(), trained.model.features)
    if table.names != trained.model.columns:
        raise BadInput(f"was trained on {len(trained.model.columns)} columns, and its features give {len(table.names)}", "explain")
    against, words = _against(model, table, background)
    if how.columns == "kernel" and how.rows > 30:
        how = replace(how, rows=30)
    watch.stage("explain", len(table))
    parts, finished = [], True
    for begin in range(0, len(table), TOGETHER):
        if watch.stop():
            finished = False
            break
        parts.append(how.of_table(reading, table.values[begin : begin + TOGETHER], against, table.names, state=trained.model.state, output=reading.label or 0, unit=reading.unit,
                                  should_stop=watch.stop))
        watch.advance("explain", min(begin + TOGETHER, len(table)))
    names = tuple(name.removeprefix(PREFIX) for name in table.names)
    parts = [replace(p, names=names) for p in parts if len(p.values)]
    finished = finished and sum(len(p.values) for p in parts) == len(table)
    summary: dict[str, Any] = {"kind": "table", "unit": reading.unit, "background": words, "columns": len(table.names)}
    if not parts:
        return {"rows": [], "summary": summary, "figures": {}, "finished": False}
    found = replace(parts[0], **{k: np.concatenate([getattr(p, k) for p in parts]) for k in ("values", "base", "prediction", "inputs")})
    top = found.top(TOP)
    rows = [{"method": found.method, "unit": found.unit, "answer": float(found.prediction[i]), "base": float(found.base[i]), "gap": float(found.gap[i]),
             "columns": {found.names[c]: {"contribution": float(found.values[i, c]), "value": float(found.inputs[i, c])} for c in np.argsort(-np.abs(found.values[i]), kind="stable")[:TOP]}}
            for i in range(len(found.values))]
    reach = max(float(np.abs(found.prediction - found.base).max()), 1e-12)
    summary |= {"method": found.method, "gap": float(np.abs(found.gap).max()) / reach, "importance": [{"name": found.names[c], "mean_size": float(found.importance[c])} for c in top]}
    seen = np.unique(np.concatenate([table.values, against]), axis=0)
    seen = seen[numpy_stream(how.seed, "dependence").permutation(len(seen))[:SUMMED]]
    some = seen[:CURVED]
    figures: dict[str, str] = {}
    if finished and not watch.stop():
        watch.stage("dependence", 3)
        answers = reading(some)
        shuffled = permutation_importance(reading, some, answers, found.names, groups={found.names[c]: [c] for c in top}, repeats=5, seed=how.seed)
        summary["leans_on"] = [{"name": n, "mean": float(m), "low": float(a), "high": float(b)} for n, m, a, b in zip(shuffled.names, shuffled.mean, shuffled.low, shuffled.high, strict=True)]
        watch.advance("dependence", 1)
        curves = []
        for c in top[:CURVES]:
            line = partial_dependence(reading, some, c, found.names[c])
            steps = accumulated_effects(reading, some, c, found.names[c]) if np.ptp(some[:, c]) else None
            curves.append((line, steps))
        few = some[:30]
        summary["dependence"] = [{"name": d.name, "grid": d.grid.tolist(), "mean": d.mean.tolist(), "heterogeneity": d.heterogeneity, **({} if a is None else {"accumulated": {"grid": a.grid.tolist(), "effect": a.effect.tolist()}})} for d, a in curves]
        summary["interaction"] = [{"columns": [found.names[a], found.names[b]], "h": interaction(reading, few, a, b)} for k, a in enumerate(top[:3]) for b in top[k + 1 : 3]]
        watch.advance("dependence", 2)
        if len(seen) >= FEWEST:
            answers = reading(seen)
            summary["surrogates"] = [{"kind": s.kind, "fidelity": s.fidelity, "text": s.text, "columns": list(s.columns)} for s in
                                     (tree_surrogate(seen, answers, found.names, seed=how.seed), sum_surrogate(seen, answers, found.names, seed=how.seed))]
        watch.advance("dependence", 3)
    else:
        curves, finished = [], False
    figures = table_figures(found, summary, curves)
    return {"rows": rows, "summary": summary, "figures": figures, "finished": finished}


def _against(model: CalibratedPredictor, table: Table, background) -> tuple[np.ndarray, str]:
    """(rows, columns) that stand for "not known", and words for them."""
    trained = model.members[0]
    if background is not None:
        other = read_table(background.bare(), trained.model.features)
        return other.values, f"{len(other)} rows of the background"
    reference = model.reference
    if reference is not None and reference.kind.startswith("magpie") and trained.model.features == "magpie":
        points = reference.points.astype(np.float64) * reference.spread + reference.middle
        return points[:, : len(table.names)], f"{len(points)} rows that were trained on"
    if len(np.unique(table.values, axis=0)) < 2:
        raise BadInput("one row has nothing to be compared with, and this model did not keep the rows it learnt from; give others with --background", "explain")
    return table.values, "the rows that are explained themselves"


# files


def write(folder: Path, found: dict[str, Any]) -> list[str]:
    """explain.md, explanation.json and the figures; names of what was written."""
    from .cli import plain

    made(folder)
    if found["figures"]:
        made(folder / "figures")
    for name, svg in found["figures"].items():
        write_atomic(folder / "figures" / f"{name}.svg", svg)
    write_atomic(folder / "explanation.json", json.dumps(plain({"summary": found["summary"], "rows": found["rows"], "finished": found["finished"]}), ensure_ascii=False, indent=1) + "\n")
    write_atomic(folder / "explain.md", report(found))
    return ["explain.md", "explanation.json", *(f"figures/{n}.svg" for n in found["figures"])]
