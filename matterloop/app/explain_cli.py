"""The command `explain`: thin over its function."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .input_options import Files, Formula, Identity, Kept, MaxAtoms, SkipBad, Structure, usable


def explain(
    folder: Kept,
    files: Files,
    method: Annotated[str, typer.Option(help="networks: local_terms, shapley, integrated_gradients, gradient_times_input, occlusion; classical models: interventional, "
                                             "path_dependent, kernel; chosen by the model if absent")] = "",
    by: Annotated[str, typer.Option(help="groups of atoms in shapley and occlusion: element, orbit (sites that are alike)")] = "element",
    label: Annotated[int | None, typer.Option(help="class that is explained, counted from 0")] = None,
    background: Annotated[list[str] | None, typer.Option(help="file of crystals against which is explained; may be repeated")] = None,
    out: Annotated[str | None, typer.Option(help="folder for explain.md, explanation.json and figures")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object per input and a last one with the summary, on standard output")] = False,
    skip_bad: SkipBad = False,
    structure: Structure = "",
    formula: Formula = "",
    identity: Identity = "",
    max_atoms: MaxAtoms = 500,
    seed: int = 0,
) -> None:
    """Say what elements, sites and bonds, or columns, add to the predictions of a kept model."""
    from .cli import emit, finish, plain, say
    from .explain_verbs import explain as run
    from .progress import watching

    with watching() as watch:
        found = run(folder, files, method=method, by=by, label=label, background=background or (), out=out, structure=structure, formula=formula, identity=identity,
                    max_atoms=max_atoms, seed=seed, watch=watch)
    rows = usable(found["rows"], skip_bad)
    if json_:
        emit([*rows, {"summary": plain(found["summary"]), "finished": found["finished"]}], True)
    else:
        emit([short(r) for r in rows], False, ("file", "row", "formula", "answer", "unit", "known", "why"))
        for line in told(found["summary"]):
            say(line)
    if out is not None:
        say(f"written to {out}: {', '.join(found['files'][:2])} and {len(found['files']) - 2} figures")
    if not found["finished"]:
        raise typer.Exit(130)
    finish(rows)


def short(row: dict[str, Any]) -> dict[str, Any]:
    """A row for people."""
    if "error" in row:
        return {k: row.get(k) for k in ("file", "row", "formula", "error")}
    parts = row.get("elements") or {k: v["contribution"] for k, v in row["columns"].items()}
    base = row.get("elements_base", row["base"])
    best = sorted(parts.items(), key=lambda kv: -abs(kv[1]))[:4]
    return {**{k: row.get(k) for k in ("file", "row", "formula", "answer", "unit", "known")}, "why": f"{base:.3g} " + ", ".join(f"{n} {v:+.3g}" for n, v in best)}


def told(summary: dict[str, Any]) -> list[str]:
    """The summary in a few lines."""
    if "method" not in summary:
        return []
    lines = [f"{summary['method']}; counted from {summary['background']}"]
    if summary["kind"] == "network":
        lines.append("elements that matter most: " + ", ".join(f"{r['name']} {r['mean']:+.3g}" for r in summary["elements"][:5]))
        if (likeness := summary["likeness_to_shuffled_weights"]) == likeness:
            lines.append(f"with shuffled weights the contributions correlate by {likeness:.2f} (should be far from 1)")
    else:
        lines.append("columns that matter most: " + ", ".join(f"{r['name']} {r['mean_size']:.3g}" for r in summary["importance"][:5]))
        lines += [f"as a {s['kind']}, R2 {s['fidelity']:.2f}: {s['text'] if s['kind'] == 'sum' else ', '.join(s['columns'])}" for s in summary.get("surrogates", [])]
    return lines


def register(app: typer.Typer) -> None:
    """Hang the command into the command line."""
    app.command("explain")(explain)
