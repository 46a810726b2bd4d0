"""The board as Markdown and as one HTML page that needs nothing else, light or dark, with a figure for every task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..bench.board import Entry, TaskBoard, entries
from .cli import plain
from .figures.cost import COLOURS, against_cost, learning
from .figures.ranking import ranking
from .folder import made, write_atomic

LONGEST = 5.0  # an entry this many times worse than the best is left out of figures, and that is said

STYLE = """
:root{color-scheme:light dark;--ink:#1c2733;--faint:#5d6b78;--line:#dfe5ea;--page:#f6f8f9;--card:#fff;--best:#0b7a75;--bad:#a04a1d}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--faint:#9aa8b5;--line:#33404c;--page:#131a20;--card:#1b242c;--best:#4fc3b8;--bad:#e59a6f}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);margin:0;background:var(--page)}
main{max-width:1180px;margin:0 auto;padding:28px 20px 80px}h1{font-size:26px;margin:0 0 4px}h2{font-size:20px;margin:44px 0 4px}h3{font-size:15px;margin:18px 0 6px}
p{margin:6px 0}.faint{color:var(--faint)}.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin:12px 0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px}th,td{padding:5px 9px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;color:var(--faint)}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}tr.best td:first-child{box-shadow:inset 3px 0 var(--best)}tr.base{font-style:italic}
.no{color:var(--bad);white-space:normal}svg{max-width:100%;height:auto;display:block;border-radius:6px}code{font-size:12px;overflow-wrap:anywhere}details summary{cursor:pointer}a{color:inherit}
"""
RULES = (
    "Base case: the entry in italics; differences from it are of mean absolute errors on the same test rows, both resampled together. Intervals are 95 % percentile bootstraps over test rows; "
    "with several seeds the value is the median and the interval is widened by the range of the seeds. Tasks are not averaged. Rates were measured on the machine named below "
    "the table, which other work may have shared: CPU seconds of training stand beside those of the clock, and `pace` is how many CPU seconds a fixed calculation took at the end of the run. Forward, backward and training rates are of batches whose graphs were searched before, inference includes the search. "
    "Seconds to the goal: training until the early-stopping rows first met it. Parameters of a classical model: the numbers of its state.")


def write_page(boards: Sequence[TaskBoard], path: str | Path, odd: Sequence[str] = ()) -> list[Path]:
    """The Markdown at `path`, and its figures in a folder beside it that is called like the page."""
    path = Path(path)
    folder = made(path.with_suffix(""))
    drawn = {f"{b.task.name}_{kind}.svg": picture for b in boards for kind, picture in figures(b).items()}
    write_atomic(path, markdown(boards, odd, folder.name, f" --page {path.as_posix()}"))
    for name, picture in drawn.items():
        write_atomic(folder / name, picture + "\n")
    return [path, *(folder / name for name in drawn)]


def write_board(boards: Sequence[TaskBoard], folder: str | Path, odd: Sequence[str] = ()) -> list[Path]:
    """board.md, board.html, board.json and figures/*.svg below `folder`."""
    folder = made(Path(folder))
    made(folder / "figures")
    files = {"board.md": markdown(boards, odd), "board.html": page(boards, odd), "board.json": json.dumps(plain(entries(boards)), indent=1, ensure_ascii=False) + "\n"}
    for b in boards:
        for kind, picture in figures(b).items():
            files[f"figures/{b.task.name}_{kind}.svg"] = picture + "\n"
    for name, content in files.items():
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def figures(b: TaskBoard) -> dict[str, str]:
    """{"ranking": all entries with their intervals, "cost": accuracy against seconds of training, "course": on the way}; what is far worse than the best is left out."""
    shown = [e for e in _drawn(b) if e.interval and all(v is not None for v in e.interval)]
    if len(shown) < 2:
        return {}
    out = {"ranking": ranking([(e.name, e.value, *e.interval, _kind(b, e)) for e in shown], _axis(b))}
    paid = [(e.name, spent, e.value, *e.interval, _kind(b, e)) for e in shown if (spent := e.costs.get("training_cpu_seconds") or e.costs.get("training_seconds", 0)) > 0]
    if len(paid) > 1:
        out["cost"] = against_cost(paid, "seconds of training, all folds (of the processor where they were counted, else of the clock)", _axis(b), larger=b.task.metric not in ("mae", "rmse"))
    trained = [(e.name, [p for p in e.course if min(p) > 0]) for e in shown]
    trained = [(name, course) for name, course in trained if len(course) > 1][: len(COLOURS)]
    if trained:
        out["course"] = learning(trained, f"error of the early-stopping rows{f', {b.task.unit}' if b.task.unit else ''}", b.task.goal)
    return out


def _drawn(b: TaskBoard) -> list[Entry]:
    found = [e for e in (*b.entries, *b.more) if e.value is not None and e.whole]
    if b.task.metric in ("mae", "rmse") and found:
        best = min(e.value for e in found)
        found = [e for e in found if e.value <= LONGEST * best]
    return sorted(found, key=lambda e: e.value, reverse=b.task.metric not in ("mae", "rmse"))


def _kind(b: TaskBoard, e: Entry) -> str:
    return "more" if e.more_data else "base" if b.base is not None and e is b.base else ""


def _axis(b: TaskBoard) -> str:
    unit = next((e.unit for e in (*b.entries, *b.more)), "")
    return f"{_word(b.task.metric)}{f', {unit}' if unit else ''}"


def _word(metric: str) -> str:
    return {"mae": "mean absolute error", "auc_of_labels": "AUC of hard labels", "auc": "AUC", "mad_mae": "MAD:MAE", "r2": "R2", "rmse": "RMSE", "median_error": "median error",
            "balanced_accuracy": "balanced accuracy", "f1": "F1"}.get(metric, f"share within {metric[4:]}" if metric.startswith("ewt_") else metric)


# cells


def number(value: Any, digits: int = 4) -> str:
    """A number to so many digits, a dash where there is none."""
    if value is None or value != value:
        return "–"
    if isinstance(value, int) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def _interval(e: Entry) -> str:
    return "" if e.interval is None else f"{number(e.interval[0], 3)} to {number(e.interval[1], 3)}"


def _accuracy_row(b: TaskBoard, e: Entry) -> list[str]:
    gap = "" if e.difference is None else f"{e.difference[0]:+.3g} ({e.difference[1]:+.2g} to {e.difference[2]:+.2g})"
    if b.base is not None and e is b.base:
        gap = "base"
    folds = "" if e.whole else f" [{e.folds} fold{'s' if e.folds > 1 else ''} only]"
    cover = e.calibration.get("coverage_interval_90%")
    return [e.name + folds, number(e.value), _interval(e), gap, *(number((e.scores.get(m) or {}).get("value"), 3) for m in b.task.also), "" if cover is None else f"{100 * cover:.0f} %",
            ", ".join(map(str, e.seed_numbers))]


def _cost_row(e: Entry) -> list[str]:
    c = e.costs
    rate = lambda key: number(round(c[key]) if c.get(key, 0) >= 100 else c.get(key), 3)
    return [e.name, number(int(c["parameters"])) if "parameters" in c else "–", number(e.epochs), number(c.get("seconds_per_epoch"), 3), rate("forward_per_second"), rate("backward_per_second"),
            rate("training_per_second"), rate("inference_per_second"), number(1000 * c["latency_seconds"], 3) if "latency_seconds" in c else "–", number(c.get("training_seconds"), 3),
            number(c.get("training_cpu_seconds"), 3),
            number(c.get("time_to_goal"), 3), number(c.get("peak_memory_mib"), 4), number(e.budget_seconds), number(c.get("pace_seconds"), 2)]


def _accuracy_head(b: TaskBoard) -> list[str]:
    return ["model", _axis(b), "95 % interval", "against base", *(_word(m) for m in b.task.also), "90 % intervals hold", "seed"]


COST_HEAD = ["model", "parameters", "epochs", "s per epoch", "forward/s", "backward/s", "training/s", "inference/s", "ms for one", "training s", "CPU s", "s to goal", "peak MiB", "budget s per fold", "pace"]


def _split(word: str) -> str:
    """How rows are split, in words."""
    kind, _, value = word.partition(":")
    return {"tail": f"the last {value} rows of the training file stop the training", "share": f"{value} of the training file, drawn at random, stops the training",
            "matbench": "official five folds, a tenth of whose training rows stops the training", "time": f"split by {value}: oldest rows train, newest are tested"}.get(kind, f"split {word}")


def _facts(b: TaskBoard) -> list[str]:
    """Sentences below the title of a task."""
    t, some = b.task, (*b.entries, *b.more)
    out = [f"{t.title}. Target `{t.column}` of `{t.data}`, {max((e.count for e in some), default=0):,} test rows; {_split(t.split)}" + (f", goal {t.goal:g} {t.unit}." if t.goal else ".")]
    out.append(t.note)
    out.append(f"Base case: {b.base.name}, {number(b.base.value)} {b.base.unit}." if b.base else f"The base cases ({', '.join(t.baselines)}) have not been run.")
    far = [e.name for e in some if e.value is not None and e.whole and e not in _drawn(b)]
    if far:
        out.append(f"Not drawn, for more than {LONGEST:g} times worse than the best: {', '.join(far)}.")
    return out


# markdown


ALT = {"ranking": "values with intervals, best first", "cost": "accuracy against seconds of training", "course": "error on the way of training, of the eight best at most"}
OVERVIEW_HEAD = ["task", "best model", "metric", "value", "95 % interval", "base case", "its value", "models", "failed"]


def _overview(boards: Sequence[TaskBoard]) -> list[list[str]]:
    """One row per task: the best entry that was trained on the task's rows alone, and the base case."""
    rows = []
    for b in boards:
        best = next((e for e in b.entries if e.value is not None and e.whole), None)
        unit = f" {best.unit}" if best and best.unit else ""
        rows.append([b.task.name, best.name if best else "–", _word(b.task.metric), f"{number(best.value)}{unit}" if best else "–", _interval(best) if best else "", b.base.name if b.base else "–",
                     number(b.base.value) if b.base else "–", str(sum(e.value is not None for e in (*b.entries, *b.more))), str(len(b.failed))])
    return rows


def markdown(boards: Sequence[TaskBoard], odd: Sequence[str] = (), folder: str = "figures", how: str = "") -> str:
    """The board as text with tables; figures are linked from their folder; `how`: words of the command that wrote it."""
    lines = ["# Board of property prediction", "", f"Written by `matterloop bench board{how}`; every number comes from a record in `benchmarks/records/board`.", "", RULES, ""]
    lines += [*_rows(OVERVIEW_HEAD, [[f"[{r[0]}](#{r[0]})", *r[1:]] for r in _overview(boards)]), ""]
    for b in boards:
        lines += [f"## {b.task.name}", "", *(f"{x}\n" for x in _facts(b))]
        lines += [f"![{ALT[kind]}]({folder}/{b.task.name}_{kind}.svg)\n" for kind in figures(b)]
        for title, some in (("Trained on the task's rows alone", b.entries), ("Learnt from more data", b.more)):
            good = [e for e in some if e.value is not None]
            if good:
                paid = [e for e in good if e.role != "baseline"]
                lines += [f"### {title}", "", *_rows(_accuracy_head(b), [_slanted(_accuracy_row(b, e), b, e) for e in good]), ""]
                lines += [*_rows(COST_HEAD, [_slanted(_cost_row(e), b, e) for e in paid]), ""] if paid else []
            lines += [f"{e.name} ships: {e.shipped}.\n" for e in good if e.shipped]
            if title.startswith("Learnt"):
                lines += [f"- {e.name}: {e.more_data}" for e in good] + ([""] if good else [])
        lines += _notes(b)
    if odd:
        lines += ["## Files that are no records", "", *(f"- {x}" for x in odd), ""]
    return "\n".join(lines)


def _slanted(row: list[str], b: TaskBoard, e: Entry) -> list[str]:
    """The row with the name of the base case in italics."""
    return [f"*{row[0]}*", *row[1:]] if b.base is not None and e is b.base else row


def measured_on(b: TaskBoard) -> list[str]:
    """Machines with their software, each once."""
    return list(dict.fromkeys(f"{e.hardware}; {e.software}" for e in (*b.entries, *b.more)))


def _notes(b: TaskBoard) -> list[str]:
    some = (*b.entries, *b.more)
    lines = []
    if b.failed:
        lines += ["### Failed", "", *(f"- {e.name}: {why}" for e in b.failed for why in dict.fromkeys(e.failures)), ""]
    lines += ["Measured on:", "", *(f"- {x}" for x in measured_on(b)), ""]
    commands = [f"    {c}" for e in some for c in e.commands]
    return lines + (["Commands:", "", *dict.fromkeys(commands), ""] if commands else [])


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    line = lambda cells: "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"
    return [line(head), "|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|", *map(line, rows)]


# html


def page(boards: Sequence[TaskBoard], odd: Sequence[str] = ()) -> str:
    """The board as one page."""
    parts = [f'<h1>Board of property prediction</h1><p class="faint">{escape(RULES)}</p>',
             f'<div class="card scroll">{_table(OVERVIEW_HEAD, _overview(boards), [""] * len(boards), link=True)}</div>']
    for b in boards:
        parts.append(f'<section id="{b.task.name}"><h2>{escape(b.task.name)}</h2>' + "".join(f'<p class="faint">{escape(x)}</p>' for x in _facts(b)))
        parts += [f'<div class="card">{picture}</div>' for picture in figures(b).values()]
        for title, some in (("Trained on the task's rows alone", b.entries), ("Learnt from more data", b.more)):
            good = [e for e in some if e.value is not None]
            if good:
                classes = ["base" if b.base is not None and e is b.base else "best" if i == 0 else "" for i, e in enumerate(good)]
                parts.append(f'<h3>{escape(title)}</h3><div class="card scroll">{_table(_accuracy_head(b), [_accuracy_row(b, e) for e in good], classes)}</div>')
                if paid := [(e, kind) for e, kind in zip(good, classes, strict=True) if e.role != "baseline"]:
                    parts.append(f'<div class="card scroll">{_table(COST_HEAD, [_cost_row(e) for e, _ in paid], [kind for _, kind in paid])}</div>')
            parts += [f"<p>{escape(e.name)} ships: {escape(e.shipped)}.</p>" for e in good if e.shipped]
            if title.startswith("Learnt"):
                parts += [f'<p><b>{escape(e.name)}</b>: {escape(e.more_data)}</p>' for e in good]
        if b.failed:
            parts.append("<h3>Failed</h3><ul>" + "".join(f'<li>{escape(e.name)}: <span class="no">{escape(why)}</span></li>' for e in b.failed for why in dict.fromkeys(e.failures)) + "</ul>")
        some = (*b.entries, *b.more)
        parts += [f'<p class="faint">Measured on: {escape(x)}.</p>' for x in measured_on(b)]
        commands = list(dict.fromkeys(c for e in some for c in e.commands))
        if commands:
            parts.append("<details><summary>Commands</summary>" + "".join(f"<p><code>{escape(c)}</code></p>" for c in commands) + "</details>")
        parts.append("</section>")
    if odd:
        parts.append("<h2>Files that are no records</h2><ul>" + "".join(f"<li>{escape(x)}</li>" for x in odd) + "</ul>")
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Board of property prediction</title>'
            f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str], link: bool = False) -> str:
    def cell(i: int, tag: str, words: str) -> str:
        inside = escape(str(words))
        inside = f'<a href="#{inside}">{inside}</a>' if link and not i and tag == "td" else inside
        return f'<{tag} class="{"n" if i else ""}">{inside}</{tag}>'

    body = "".join(f'<tr class="{kind}">' + "".join(cell(i, "td", c) for i, c in enumerate(row)) + "</tr>" for row, kind in zip(rows, classes, strict=True))
    return f"<table><thead><tr>{''.join(cell(i, 'th', h) for i, h in enumerate(head))}</tr></thead><tbody>{body}</tbody></table>"
