"""The report of an explanation: figures and a page of Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..learn.dependence import Accumulated, Dependence
from ..learn.explanation import Contributions
from .figures.attribution import bars, bonds, steps, swarm
from .figures.dependence import dependence
from .input_options import place

SHOWN = 12  # elements, columns and rows of tables and swarms


def file_name(text: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:60] or "x"


def with_unit(words: str, unit: str) -> str:
    return f"{words}, {unit}" if unit else words


# figures


def network_figures(rows: Sequence[dict[str, Any]], summary: dict[str, Any], state, most: int) -> dict[str, str]:
    """Elements and bonds over all crystals, and the first few crystals one by one: {name: SVG}."""
    figures: dict[str, str] = {}
    if not rows:
        return figures
    unit = summary["unit"]
    names = [r["name"] for r in summary["elements"][:SHOWN]]
    figures["elements"] = swarm([(n, [(r["elements"][n], r["shares"][n], f"{r['elements'][n]:+.3g}, {r['shares'][n]:.0%} of the atoms") for r in rows if n in r["elements"]]) for n in names],
                                with_unit("contribution of the element to the answer for a crystal", unit), "share of the atoms")
    stems = [(b["pair"], b["length"], b["value"], f"{b['pair']} at {b['length']:.2f} Å: {b['value']:+.3g}") for r in rows for b in r.get("bonds", ())]
    if stems:
        figures["bonds"] = bonds(stems[:400], with_unit("what the answer owes the bonds", unit))
    for i, r in enumerate(rows[:most]):
        parts = sorted(r["elements"].items(), key=lambda kv: -abs(kv[1]))
        figures[f"row_{i + 1}"] = steps(r["elements_base"], r["elements_base"] + sum(v for _, v in parts), [(f"{e}, {r['shares'][e]:.0%} of the atoms", v) for e, v in parts], unit)
    return figures


def table_figures(found: Contributions, summary: dict[str, Any], curves: Sequence[tuple[Dependence, Accumulated | None]]) -> dict[str, str]:
    """Contributions of the largest columns over all rows, importance, dependence, the first rows: {name: SVG}."""
    top = found.top(SHOWN)
    ranks = {c: _ranks(found.inputs[:, c]) for c in top}
    figures = {"columns": swarm([(found.names[c], [(float(v), float(s), f"{v:+.3g} at {x:.4g}") for v, s, x in zip(found.values[:, c], ranks[c], found.inputs[:, c], strict=True)]) for c in top],
                                with_unit("contribution of the column to the answer for a row", found.unit), "value of the column")}
    if leans := summary.get("leans_on"):
        figures["importance"] = bars([(r["name"], r["mean"], r["low"], r["high"]) for r in sorted(leans, key=lambda r: -r["mean"])],
                                     with_unit("how far answers move when the column is shuffled", found.unit))
    for line, steps_of in curves:
        figures[f"along_{file_name(line.name)}"] = dependence(line.grid.tolist(), line.lines.tolist(), line.rows.tolist(), line.name, with_unit("answer", found.unit),
                                                              accumulated=None if steps_of is None else (steps_of.grid.tolist(), steps_of.effect.tolist()))
    for i in range(min(len(found.values), 3)):
        order = np.argsort(-np.abs(found.values[i]), kind="stable")
        parts = [(f"{found.names[c]} = {found.inputs[i, c]:.4g}", float(found.values[i, c])) for c in order[:9]]
        parts.append((f"{len(order) - 9} others", float(found.values[i, order[9:]].sum()))) if len(order) > 9 else None
        figures[f"row_{i + 1}"] = steps(float(found.base[i]), float(found.prediction[i]), parts, found.unit)
    return figures


def _ranks(values: np.ndarray) -> np.ndarray:
    """(rows,) places in the order of values, from 0 to 1; NaN where all are equal."""
    kinds, of = np.unique(values, return_inverse=True)
    return of / (len(kinds) - 1) if len(kinds) > 1 else np.full(len(values), np.nan)


# the page


def report(found: dict[str, Any]) -> str:
    """Markdown."""
    s, rows = found["summary"], [r for r in found["rows"] if "error" not in r]
    errors = [r for r in found["rows"] if "error" in r]
    lines = [f"# Why {s['target']}", "", f"Model `{s.get('model', '?')}` of `{s.get('folder', '?')}`, {len(rows)} of {len(found['rows'])} inputs explained"
             + (f"; numbers in {s['unit']}." if s.get("unit") else "."), ""]
    if not found["finished"]:
        lines += ["Stopped before the end: what follows is of the inputs that were explained until then.", ""]
    if rows:
        lines += (_network if s["kind"] == "network" else _table)(s, rows, found["figures"])
    if errors:
        lines += [f"## {len(errors)} inputs could not be used", "", *(f"- {place(e)}: {e['error']}" for e in errors[:50]), ""]
    return "\n".join(lines)


def _network(s: dict[str, Any], rows: Sequence[dict[str, Any]], figures: dict[str, str]) -> list[str]:
    unit = f" {s['unit']}" if s["unit"] else ""
    lines = ["## Elements", "", "What each element adds, by Shapley values: its average part over all orders in which elements enter, at the places they have. "
             f"Counted from {s['background']}.", "", "![contributions of elements](figures/elements.svg)", "",
             "| element | crystals | mean contribution | mean size |", "|---|---|---|---|",
             *(f"| {r['name']} | {r['crystals']} | {r['mean']:+.4g}{unit} | {r['size']:.4g}{unit} |" for r in s["elements"][:SHOWN]), ""]
    if s.get("bonds"):
        lines += ["## Bonds", "", "What the answer would lose without all bonds of one pair of elements and about one length.", "", "![contributions of bonds](figures/bonds.svg)", "",
                  "| pair | crystals | mean contribution |", "|---|---|---|", *(f"| {r['name']} | {r['crystals']} | {r['mean']:+.4g}{unit} |" for r in s["bonds"][:SHOWN]), ""]
    lines += ["## Crystals", ""]
    for i, r in enumerate(rows[:SHOWN]):
        lines += [f"**{place(r)}**: answer {r['answer']:.4g}{unit}, {r['known'] or 'distance not known'}. By element: "
                  + ", ".join(f"{e} {v:+.3g}" for e, v in sorted(r["elements"].items(), key=lambda kv: -abs(kv[1]))) + f" from {r['elements_base']:.4g}.", ""]
        lines += [f"![from start to answer](figures/row_{i + 1}.svg)", ""] if f"row_{i + 1}" in figures else []
        kinds: dict[tuple[str, float], int] = {}
        for site in r["sites"]:
            key = (site["element"], round(site["contribution"], 6))
            kinds[key] = kinds.get(key, 0) + 1
        lines += [f"By site ({r['method']}, from {r['base']:.4g}): " + ", ".join(f"{n} x {e} {v:+.3g}" for (e, v), n in list(kinds.items())[:16])
                  + (" ..." if len(kinds) > 16 else "") + (f"; {r['gap']:+.2g} not accounted for" if abs(r["gap"]) > 1e-3 * max(abs(r["answer"] - r["base"]), 1e-9) else "") + ".", ""]
    if len(rows) > SHOWN:
        lines += [f"{len(rows) - SHOWN} more in `explanation.json`.", ""]
    if s.get("attention"):
        lines += ["## Where layers look", "", "A weight says where a layer looks, not what follows from it.", ""]
        for a in s["attention"]:
            if "between" in a:
                lines.append(f"- layer {a['layer']}, {a['kind']}: " + "; ".join(f"{b['centre']} to {b['neighbour']} {b['share']:.0%}" for b in a["between"][:8]))
            else:
                lines.append(f"- layer {a['layer']}, sites, against an even share: " + ", ".join(f"{e} x {v:.2f}" for e, v in sorted(a["times_even"].items(), key=lambda kv: -kv[1])[:8]))
        lines.append("")
    likeness = s.get("likeness_to_shuffled_weights", float("nan"))
    lines += ["## Checks", "", f"- By site at most {s['gap']:.1%} of the way from start to answer is not accounted for.",
              f"- With the weights of the network shuffled, the rank correlation of the sites' contributions with those above is {likeness:.2f} over {s['checked']} crystals: "
              + ("far from 1, as it should be." if likeness <= 0.7 else "**close to 1: this explanation hardly depends on what was learnt**.") if likeness == likeness else
              f"- Whether the explanation depends on the weights was not checked: {s['checked']} crystals are too few, or all sites say the same.", "",
              "Contributions explain the model, not nature: of two elements that always come together it may credit either. Only sums over sites were ever fitted; how they are divided is the model's own.", ""]
    return lines


def _table(s: dict[str, Any], rows: Sequence[dict[str, Any]], figures: dict[str, str]) -> list[str]:
    unit = f" {s['unit']}" if s["unit"] else ""
    lines = ["## Columns", "", f"{s['method']}; not knowing a column means taking it from {s['background']}. {s['columns']} columns.", "", "![contributions of columns](figures/columns.svg)", "",
             "| column | mean size of the contribution |", "|---|---|", *(f"| {r['name']} | {r['mean_size']:.4g}{unit} |" for r in s["importance"]), ""]
    if "importance" in figures:
        lines += ["How far the answers move when one column is shuffled among the rows (95 % intervals over rows):", "", "![importance](figures/importance.svg)", ""]
    along = [k for k in figures if k.startswith("along_")]
    if along:
        lines += ["## Along a column", "", "Thin: single rows. Thick: their mean. Dashed: accumulated local effects, which ask only of rows that are there; where it parts from the mean, the column hangs "
                  "together with others.", "", *(f"![{k}](figures/{k}.svg)" for k in along), ""]
        lines += [f"- {d['name']}: spread of the single curves {d['heterogeneity']:.2f} of the span of their mean" for d in s.get("dependence", [])]
        lines += [f"- {' and '.join(i['columns'])}: H = {i['h']:.2f} (0: they add, 1: only together)" for i in s.get("interaction", [])] + [""]
    if s.get("surrogates"):
        lines += ["## In short", ""]
        for one in s["surrogates"]:
            worth = "a fair summary" if one["fidelity"] > 0.8 else "a rough one" if one["fidelity"] > 0.5 else "**not to be relied on**"
            lines += [f"As a {'tree of steps' if one['kind'] == 'tree' else 'sum of a few columns'}, R2 {one['fidelity']:.2f} against the model on rows left out ({worth}):", "", "```", one["text"], "```", ""]
    lines += ["## Rows", ""]
    for i, r in enumerate(rows[:SHOWN]):
        best = list(r["columns"].items())[:5]
        lines += [f"**{place(r)}**: answer {r['answer']:.4g}{unit}, {r['known'] or 'distance not known'}; from {r['base']:.4g} by " + ", ".join(f"{n} = {c['value']:.4g} {c['contribution']:+.3g}" for n, c in best) + ".", ""]
        lines += [f"![from start to answer](figures/row_{i + 1}.svg)", ""] if f"row_{i + 1}" in figures else []
    if len(rows) > SHOWN:
        lines += [f"{len(rows) - SHOWN} more in `explanation.json`.", ""]
    lines += ["## Checks", "", f"- At most {s['gap']:.1e} of the way from start to answer is not accounted for.", "",
              "Contributions explain the model, not nature: of columns that go together it may credit either.", ""]
    return lines
