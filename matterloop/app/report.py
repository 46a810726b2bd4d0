"""The report of a campaign: one HTML page that needs nothing else, made from an `Outcome`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from ..campaign.outcome import Outcome, Row, heat
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from .figures.agreement import agreement
from .figures.funnel import funnel
from .figures.hull_plot import hull_plot
from .figures.periodic_table import periodic_table
from .figures.stage_cost import duration, stage_cost
from .figures.structure import structure

PICTURES = 12  # structures drawn
TABLE = 400  # rows of the table; the rest stands in candidates.csv

STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1c2733;margin:0;background:#f6f8f9}
main{max-width:1120px;margin:0 auto;padding:28px 24px 80px}h1{font-size:26px;line-height:1.25;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px}
p{margin:6px 0}.faint{color:#6b7885}.card{background:#fff;border:1px solid #e3e8ed;border-radius:8px;padding:16px 18px;margin:12px 0}.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:14px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(244px,1fr));gap:12px}.grid .card{margin:0;padding:12px}.big{font-size:17px;font-weight:600}svg{max-width:100%;height:auto;display:block}
ul{margin:6px 0;padding-left:20px}.warn{border-left:4px solid #c4622d}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px}th,td{padding:5px 8px;text-align:left;vertical-align:top;border-bottom:1px solid #edf0f3}
th{font-weight:600;color:#6b7885;white-space:nowrap;position:sticky;top:0;background:#fff}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.wide{width:48%;overflow-wrap:anywhere}tr.kept td:first-child{box-shadow:inset 3px 0 #0b7a75}
.no{color:#a04a1d}.yes{color:#0b7a75}details summary{cursor:pointer}code{background:#eef2f4;border-radius:3px;padding:0 4px}sub{line-height:0}input{font:inherit;padding:5px 8px;border:1px solid #cfd6dc;border-radius:5px;width:260px}
@media print{body{background:#fff}.card{break-inside:avoid}}
"""

FILTER = """
const box=document.getElementById('filter'),rows=[...document.querySelectorAll('#table tbody tr')];
box&&box.addEventListener('input',()=>{const q=box.value.toLowerCase();rows.forEach(r=>r.hidden=!r.textContent.toLowerCase().includes(q))});
"""


def report(outcome: Outcome) -> str:
    """The whole page as text."""
    title = outcome.settings.get("sentence") or "matterloop report"
    parts = [
        _head(outcome, title), _wish(outcome), _section("From proposed to kept", f'<div class="card">{funnel(outcome.funnel, 1000.0)}</div>'),
        _best(outcome), second_section(outcome), _hulls(outcome),
        _section("Elements", f'<div class="card scroll">{periodic_table(heat(outcome.rows), outcome.mask)}<p class="faint">Colour: proposals that hold the element. '
                 f'Struck out: left out by the wish or by the default element mask ({escape(", ".join(outcome.mask)) or "none"}); change it with <code>--include</code> and <code>--exclude</code>.</p></div>'),
        _table(outcome), _cost(outcome), _not_checked(outcome), _run(outcome),
    ]
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(parts)}</main><script>{FILTER}</script></body></html>")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def pretty(formula: str) -> str:
    """A formula with its numbers set low."""
    out, digits = "", ""
    for c in formula + " ":
        if c.isdigit() or (c == "." and digits):
            digits += c
        else:
            out += (f"<sub>{digits}</sub>" if digits else "") + escape(c)
            digits = ""
    return out.rstrip()


def number(value: float, digits: int = 3, unit: str = "") -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}{unit}"


def _head(o: Outcome, title: str) -> str:
    kept = len(o.kept)
    state = "" if o.finished else '<p class="no">This run is not finished; what follows is its state so far.</p>'
    seconds = o.run.get("seconds", {}).get("all_sessions")
    took = f" in {seconds / 60:.1f} minutes" if seconds else ""
    best = f"; the best is {pretty(o.kept[0].formula)} at {number(o.kept[0].energy_above_hull)} eV/atom from the hull" if kept else ""
    return (f"<header><h1>{escape(title)}</h1><p>{o.funnel[0][1] if o.funnel else 0} candidates proposed, <b>{kept} kept</b>{took}{best}.</p>{state}</header>")


def _wish(o: Outcome) -> str:
    said = [x for x in o.wish if x.startswith(("understood '", "without a meaning"))]
    lines = "".join(f"<li>{escape(x)}</li>" for x in o.wish if x not in said and not x.startswith(("not understood", "note:")))
    how = f'<details><summary>how the sentence was read</summary><ul>{"".join(f"<li>{escape(x)}</li>" for x in said)}</ul></details>' if said else ""
    unknown = "".join(f"<li>{escape(x)}</li>" for x in o.not_understood)
    warn = f'<div class="card warn"><p><b>Not understood, and not used:</b></p><ul>{unknown}</ul></div>' if unknown else ""
    return _section("The wish as understood", f'<div class="card"><ul>{lines}</ul>{how}</div>{warn}')


def drawn(crystal: Crystals, most: int = 60) -> Crystals:
    """The conventional cell where it is found and not too full, since that is how crystals are drawn; else the cell as it is."""
    symmetry = analyse(crystal, 0.01, on_error="keep")[0]
    return symmetry.standard if isinstance(symmetry, Symmetry) and symmetry.standard.atoms <= most else crystal


def _card(row: Row) -> str:
    chance = f", {row.probability:.0%} likely within the limit" if row.probability == row.probability else ""
    known = " · stable as far as known" if row.coverage < 1 else ""
    note = next((r.note for r in row.reasons if r.check == "coverage"), "")
    lacks = f"the reference lacks {note.removeprefix('missing: ')}" if note else ""
    origin = row.parents[0] if row.parents else str(row.about.get("prototype", ""))
    made = " · ".join(x for x in (row.source.replace("_", " "), origin) if x)
    return (f'<div class="card">{structure(drawn(row.crystal))}<p class="big">{pretty(row.formula)}</p><p>{escape(row.space_group_symbol)} ({row.space_group}), {row.atoms} atoms</p>'
            f'<p><b>{number(row.energy_above_hull)}</b> eV/atom from the hull{chance}{known}{" · borderline" if row.borderline else ""}</p>'
            f'<p class="faint">{escape(made)}</p>{f"<p class=faint>{escape(lacks)}</p>" if lacks else ""}<p class="faint">#{row.rank} <a href="structures/{escape(row.key)}.cif">{escape(row.key)}</a></p></div>')


def _best(o: Outcome) -> str:
    rows = o.kept[:PICTURES]
    if rows:
        order = "<p class=faint>Ranked by the distance to the hull; candidates at whose composition the reference holds every known phase come first.</p>"
        return _section(f"The best {len(rows)} of {len(o.kept)} kept candidates" if len(o.kept) > len(rows) else "Kept candidates", order + f'<div class="grid">{"".join(map(_card, rows))}</div>')
    near = [r for r in o.rows if r.relaxed and r.energy_above_hull == r.energy_above_hull][:4]
    text = '<div class="card warn"><p><b>No candidate passed every check.</b> The table says why for each.</p></div>'
    return _section("Kept candidates", text + (f'<p>The nearest:</p><div class="grid">{"".join(map(_card, near))}</div>' if near else ""))


def _hulls(o: Outcome) -> str:
    if not o.hulls:
        return ""
    plots = "".join(f'<div class="card"><p class="big">{escape(name)}</p>{hull_plot(data)}</div>' for name, data in o.hulls.items())
    return _section("On the convex hull", f'<div class="two">{plots}</div><p class="faint">Stars are candidates of this run, dots phases of the reference; rest the pointer on one to read it. '
                    "All energies come from one potential.</p>")


def second_section(o: Outcome) -> str:
    """What a second potential says of the kept candidates: how many agree, each distance by both, and every disagreement; empty where none was asked."""
    if not (second := o.second):
        return ""
    asked, first, name = second["asked"], o.settings.get("potential", "the first"), second["asked"]["potential"]
    asked_about = {r.key: r for r in o.rows if r.second}
    judged = [r for r in o.rows if r.second and r.second["within"] is not None]
    low, high = second["interval"]
    words = [f'<p><b>{len(second["agree"])} of {second["judged"]}</b> candidates that {escape(first)} puts within the limit are within it by {escape(name)} too'
             f'{f" ({low:.0%} to {high:.0%} with 95 % confidence)" if second["judged"] else ""}. '
             f'{"Only these are kept." if asked["both"] else f"The verdicts stay those of {escape(first)}; nothing is averaged."}</p>']
    if second["difference"]:
        d = second["difference"]
        words.append(f'<p>Distance by {escape(name)} minus that by {escape(first)}: median {d["median"]:+.3f}, mean absolute {d["mean_absolute"]:.3f} eV/atom.</p>')
    if second["partial"]:
        words.append(f'<p>{len(second["partial"])} of the {second["judged"]} as far as known: at their composition the hull of {escape(name)} lacks known phases, so that its distance may be too small.</p>')
    if second["waiting"]:
        words.append(f'<p class="no">{len(second["waiting"])} candidates were not asked about yet; resume the run.</p>')
    protocols = "; ".join(f"{n} {escape(k)}" for k, n in asked["hull"].get("protocols", {}).items())
    corrected = f", raw energies ({escape(asked['raw_scheme'])}) with their corrections" if asked["raw_scheme"] != asked["scheme"] else ""
    words.append(f'<p class="faint">Its own hull: {asked["phases"]} phases, scheme {escape(asked["scheme"])}{corrected}{f" ({protocols})" if protocols else ""}. '
                 'A phase that is a single point lies a little too high, which flatters the candidate.</p>')
    points = [(f"{r.formula} ({r.key}): {r.energy_above_hull:+.3f} by {first}, {r.second['energy_above_hull']:+.3f} by {name}{' as far as known' if r.second['coverage'] < 1 else ''}", r.energy_above_hull, r.second["energy_above_hull"],
               bool(r.second["within"]), r.second["coverage"] >= 1 and not r.coverage < 1) for r in judged]
    plot = (f'<div class="card">{agreement(points, judged[0].second["limit"], first, name)}<p class="faint">Green: both within the limit. Hollow: as far as known, a hull lacks phases there.</p></div>'
            if judged else "")
    apart = [asked_about[k] for k in second["disagree"]]
    rows = "".join(
        f'<tr><td>{pretty(r.formula)}</td><td>{escape(r.space_group_symbol)}</td><td class="n">{number(r.energy_above_hull)}</td><td class="n">{number(r.second["energy_above_hull"])}</td>'
        f'<td class="n">{number(r.second["limit"])}</td><td>{escape(against(r.second))}</td></tr>' for r in sorted(apart, key=lambda r: -r.second["energy_above_hull"]))
    table = (f'<div class="card scroll"><p><b>Where they disagree</b>, eV/atom above the hull:</p><table><thead><tr><th>formula</th><th>group</th><th class="n">{escape(first)}</th><th class="n">{escape(name)}</th>'
             f'<th class="n">limit</th><th>what it would decay into by {escape(name)}</th></tr></thead><tbody>{rows}</tbody></table></div>') if rows else ""
    none = "".join(f"<li>{pretty(asked_about[k].formula)} ({escape(k)}): {escape(why)}</li>" for k, why in second["none"].items())
    silent = f'<div class="card warn"><p><b>Without an opinion:</b></p><ul>{none}</ul></div>' if none else ""
    return _section(f"Second opinion: {name}", f'<div class="two"><div class="card">{"".join(words)}</div>{plot}</div>{table}{silent}')


def against(opinion: Mapping[str, Any]) -> str:
    """Decay products with their shares; those that are single points say so."""
    return ", ".join(f"{share:.2f} {name}{' [single point]' if name in opinion['single_points'] else ''}" for name, share in opinion["decomposition"])


def _reasons(row: Row) -> str:
    items = "".join(
        f'<li class="{"yes" if r.passed else "no"}">{"✓" if r.passed else "✗"} {escape(r.check.replace("_", " "))}: {number(r.value, 4)}'
        f'{"" if r.limit in (float("inf"), float("-inf")) else f" (limit {number(r.limit, 4)})"} {escape(r.unit)}{f", {r.confidence:.0%} sure" if r.confidence is not None else ""}'
        f'{" · borderline" if r.borderline else ""}{f" <span class=faint>{escape(r.note)}</span>" if r.note else ""}</li>' for r in row.reasons)
    return f"<details><summary>{escape(row.why)}</summary><ul>{items}</ul></details>"


def _table(o: Outcome) -> str:
    head = "".join(f'<th class="{c}">{t}</th>' for t, c in (
        ("#", "n"), ("formula", ""), ("group", ""), ("atoms", "n"), ("above hull<br>eV/atom", "n"), *((f"by {escape(o.second['asked']['potential'])}<br>eV/atom", "n") for _ in (1,) if o.second),
        ("formation<br>eV/atom", "n"), ("within<br>limit", "n"),
        ("coverage", "n"), ("verdict and its reasons", "wide")))
    made = lambda r: " · ".join(x for x in (r.key, str(r.about.get("prototype", ""))) if x)
    body = "".join(
        f'<tr class="{"kept" if r.kept else ""}"><td class="n">{r.rank}</td><td>{pretty(r.formula)}</td><td>{escape(r.space_group_symbol)}</td><td class="n">{r.atoms}</td>'
        f'<td class="n">{number(r.energy_above_hull)}</td>{_second_cell(r) if o.second else ""}<td class="n">{number(r.formation_energy)}</td><td class="n">{number(r.probability * 100, 0, " %")}{"*" if r.coverage < 1 else ""}</td>'
        f'<td class="n">{number(r.coverage * 100, 0, " %")}</td><td class="wide">{_reasons(r)}<span class="faint">{escape(made(r))}</span></td></tr>' for r in o.rows[:TABLE])
    star = any(r.coverage < 1 for r in o.rows[:TABLE])
    foot = '<p class="faint">* as far as known: the reference lacks phases at that composition, so the true distance may be larger.</p>' if star else ""
    more = f'<p class="faint">{len(o.rows) - TABLE} more rows stand in candidates.csv.</p>' if len(o.rows) > TABLE else ""
    return _section("Every candidate and the reasons of its verdict", f'<div class="card"><p><input id="filter" placeholder="filter: formula, group, reason" aria-label="filter the table"></p>'
                    f'<div class="scroll"><table id="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{foot}{more}</div>')


def _second_cell(row: Row) -> str:
    said = (row.second or {}).get("within")
    return f'<td class="n{"" if said is None else " yes" if said else " no"}">{number((row.second or {}).get("energy_above_hull", float("nan")))}{"*" if said is not None and row.second["coverage"] < 1 else ""}</td>'


def _cost(o: Outcome) -> str:
    cost = o.cost
    if not cost or not cost["total"]["cpu_seconds"]:
        return ""
    total, counts, per, each = cost["total"], cost["counts"], cost["per_candidate"], cost["cpu_seconds_per"]
    rows = [(name.replace("_", " "), counts[name], f"{duration(each[name])}" if counts.get(name) and name in each else "–",
             f"{r['value']:.3g} ({r['low']:.3g} to {r['high']:.3g})" if (r := cost["per_cpu_hour"].get(name)) else "") for name in counts]
    body = "".join(f'<tr><td>{a}</td><td class="n">{b}</td><td class="n">{c}</td><td class="n">{d}</td></tr>' for a, b, c, d in rows)
    spread = "".join(f'<tr><td>{words}</td>' + "".join(f'<td class="n">{number(per[name].get(k), digits)}</td>' for k in ("mean", "median", "largest")) + "</tr>"
                     for name, words, digits in (("relax_cpu_seconds", "CPU seconds of its relaxation", 2), ("evaluations", "evaluations of the potential", 1), ("atoms", "atoms", 1)))
    times = f" in {total['sessions']} sessions" if total["sessions"] > 1 else ""
    return _section("What it cost", (
        f'<div class="card"><p>{duration(total["cpu_seconds"])} of CPU, {duration(total["wall_seconds"])} of wall time{times}, at most {total["peak_mib"]:.0f} MiB; '
        f'{total["evaluations"]} evaluations of the potential.</p>{stage_cost(cost["stages"], 1000.0)}'
        f'<p class="faint">Bars: CPU seconds of all threads and of children that ended; lines: wall seconds. Drawing this page is in run.toml only.</p></div>'
        f'<div class="two"><div class="card scroll"><table><thead><tr><th>candidates</th><th class="n">number</th><th class="n">CPU each</th><th class="n">per CPU-hour (95 %)</th></tr></thead>'
        f'<tbody>{body}</tbody></table><p class="faint">Stable: on or below the hull of the known phases, whatever distance the wish allows.</p></div>'
        f'<div class="card scroll"><table><thead><tr><th>per relaxed candidate</th><th class="n">mean</th><th class="n">median</th><th class="n">largest</th></tr></thead><tbody>{spread}</tbody></table>'
        f'<p class="faint">Crystals relax together; the seconds of the stage are shared out by what the evaluations of each took.</p></div></div>'))


def _not_checked(o: Outcome) -> str:
    covered = [r for r in o.kept if r.coverage == r.coverage]
    partial = [r for r in covered if r.coverage < 1]
    lines = [f"{len(partial)} of {len(covered)} kept candidates compete on a hull that lacks phases known to lie at their composition: they are stable as far as known."] if partial else []
    items = "".join(f"<li>{escape(x)}</li>" for x in (*lines, *o.not_checked))
    notes = "".join(f"<li>{escape(x)}</li>" for x in o.notes)
    found = "".join(f"<li>{escape(x)}</li>" for x in o.looked_up)
    public = _section("In public databases, by formula", f'<div class="card"><ul>{found}</ul></div>') if found else ""
    return public + _section("What was not checked", f'<div class="card"><ul>{items}</ul></div>' + (f'<div class="card"><p><b>Assumed:</b></p><ul>{notes}</ul></div>' if notes else ""))


def _pairs(values: Mapping[str, Any]) -> str:
    return "".join(f"<tr><td>{escape(str(k))}</td><td>{_pairs_or_text(v)}</td></tr>" for k, v in values.items())


def _pairs_or_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"<table>{_pairs(value)}</table>"
    return escape(json.dumps(value, ensure_ascii=False) if isinstance(value, (list, tuple)) else str(value))


def _run(o: Outcome) -> str:
    return _section("How this was made", f'<div class="card"><details><summary>settings, versions, hardware and timings (also in run.toml)</summary><table>{_pairs(o.run)}{_pairs(o.settings)}</table></details></div>')

