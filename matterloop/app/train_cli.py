"""The commands `train` and `predict`, and those of the board below `bench`: thin over their functions."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .input_options import Files, Formula, Identity, MaxAtoms, SkipBad, Structure, usable
from .pretrain_cli import EncoderRate, Freeze, Share, Start, Teacher, pretrain

RECORDS = "benchmarks/records/board"
Options = Annotated[list[str] | None, typer.Option("--set", help="option of the model, NAME=VALUE; may be repeated")]
Data = Annotated[str | None, typer.Option(help="folder of data sets, else $MATTERLOOP_DATA")]


def options_of(given: list[str] | None, where: str = "--set") -> dict[str, Any]:
    """{name: value} of NAME=VALUE words; values are numbers, true, false, lists in brackets, or text. BadInput where there is no equals sign."""
    from ..base.errors import BadInput

    out: dict[str, Any] = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"{word!r} is not NAME=VALUE", where)
        try:
            held = json.loads(value)
        except ValueError:
            held = value
        out[name.strip()] = tuple(held) if isinstance(held, list) else held
    return out


def train(
    source: Annotated[str, typer.Argument(help="table (csv, tsv, parquet) with CIF texts or formulas, or a folder of structure files with one table")],
    target: Annotated[str, typer.Option(help="column of what is to be predicted")],
    model: Annotated[str, typer.Option(help="encoder or classical model by name, see `matterloop models`; chosen by the data if absent")] = "",
    out: Annotated[str | None, typer.Option(help="folder of the predictor; runs/train-TABLE-TARGET by default")] = None,
    split: Annotated[str, typer.Option(help="formula, random, prototype, cluster, time:COLUMN, element:SYMBOL, or a split.json")] = "formula",
    unit: Annotated[str, typer.Option(help="unit of the target, for people")] = "",
    epochs: Annotated[int | None, typer.Option(min=1, help="of training; chosen by the number of rows if absent")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="of training, at most: epochs are cut to fit")] = None,
    uncertainty: Annotated[str, typer.Option(help="of a network: conformal (one width, or wider far from what was trained on), ensemble (by how far networks differ), width (a standard deviation learnt "
                                                  "with each value) or evidential; all are set on rows that were held back")] = "",
    members: Annotated[int, typer.Option(min=1, help="networks of an ensemble, each trained on its own; 4 for --uncertainty ensemble")] = 1,
    references: Annotated[bool, typer.Option("--references", help="a network learns what remains after energies of the elements: for energies")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave out rows that cannot be used")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a training that was stopped")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what the folder holds")] = False,
    structure: Structure = "",
    formula: Formula = "",
    identity: Identity = "",
    kind: Annotated[str, typer.Option(help="of the target: number, class, auto")] = "auto",
    log: Annotated[bool, typer.Option("--log", help="learn the logarithm: for positive values over decades")] = False,
    distance: Annotated[str, typer.Option(help="by what kinds of crystal are told apart: magpie, magpie+crystal_nn, or features (the network's own); chosen by the model if absent")] = "",
    fidelity: Annotated[str, typer.Option(help="column that names the fidelity of each label, or COLUMN:low,...,high; all are learnt at once, the highest is tested")] = "",
    minus: Annotated[str, typer.Option(help="column with values of a lower fidelity: the difference to it is learnt")] = "",
    given: Annotated[str, typer.Option("--input", help="column with values of a lower fidelity that the network is given as an input")] = "",
    start: Start = "",
    teacher: Teacher = "",
    share: Share = 0.5,
    freeze: Freeze = 0,
    encoder_rate: EncoderRate = 1.0,
    set_: Options = None,
    seed: int = 0,
    max_atoms: MaxAtoms = 500,
    json_: Annotated[bool, typer.Option("--json", help="the summary as one JSON object on standard output")] = False,
) -> None:
    """Train a model on a table of one's own; test it, say how far it can be trusted, keep it."""
    from .cli import plain, say
    from .progress import watching
    from .train_report import score_lines
    from .train_verbs import train as run

    with watching() as watch:
        found = run(source, target, model=model, out=out, split=split, unit=unit, structure=structure, formula=formula, identity=identity, kind=kind, skip_bad=skip_bad,
                    epochs=epochs, minutes=minutes, uncertainty=uncertainty, members=members, references=references, log_scale=log, distance=distance, options=options_of(set_), seed=seed, resume=resume, overwrite=overwrite, max_atoms=max_atoms,
                    fidelity=fidelity, minus=minus, given=given, start=start, teacher=teacher, share=share, freeze=freeze, encoder_rate=encoder_rate, watch=watch)
    if not found["finished"]:
        say(f"stopped after {found['epochs']} epochs; nothing is lost, go on with: {_again(found['folder'])}")
        raise typer.Exit(130)
    if json_:
        typer.echo(json.dumps(plain(found), ensure_ascii=False))
        return
    rows = found["rows"]
    typer.echo(f"{found['model']}: trained on {rows['train']:,} rows, tested on {rows['test']:,} others")
    for line in [*score_lines(found), *found["leaks"]]:
        typer.echo(f"  {line}")
    if found["errors"]:
        typer.echo(f"  {len(found['errors'])} rows were left out, see report.md")
    typer.echo(f"kept in {found['folder']}: report.md says more; predict with: matterloop predict {shlex.quote(found['folder'])} FILES...")


def _again(folder: str) -> str:
    """The command that goes on with a training."""
    words = [w for w in sys.argv[1:] if w not in ("--overwrite", "--resume")]
    if "--out" not in words and not any(w.startswith("--out=") for w in words):
        words += ["--out", folder]
    return shlex.join(["matterloop", *words, "--resume"])


def predict(
    folder: Annotated[str, typer.Argument(help="folder of a predictor that `matterloop train` wrote, or the name of one that ships: band_gap, formation_energy, energy_above_hull, bulk_modulus, ...")],
    files: Files,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object per row on standard output")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="a table as CSV on standard output")] = False,
    skip_bad: SkipBad = False,
    structure: Structure = "",
    formula: Formula = "",
    identity: Identity = "",
    fidelity: Annotated[str, typer.Option(help="of several that were learnt at once, the one to be predicted; the highest if absent")] = "",
    max_atoms: MaxAtoms = 500,
) -> None:
    """Predict with a kept model: value, uncertainty, and whether it knows this kind of crystal."""
    from ..base.errors import BadInput
    from .cli import emit, finish, plain, say
    from .progress import watching
    from .predict_verbs import predict as run

    if json_ and csv:
        raise BadInput("--json and --csv exclude each other", "predict")
    with watching() as watch:
        rows = run(folder, files, structure=structure, formula=formula, identity=identity, max_atoms=max_atoms, fidelity=fidelity, watch=watch)
    rows = usable(rows, skip_bad)
    if csv:
        import pandas as pd

        held = io.StringIO()
        pd.DataFrame([plain(r) for r in rows]).to_csv(held, index=False)
        typer.echo(held.getvalue(), nl=False)
    elif json_:
        emit(rows, True)
    else:
        shown = [_short(r) for r in rows]
        emit(shown, False, ("file", "row", "formula", "target", "value", "plus_minus", "interval_90", "probability", "unit", "known", "percentile", "nearest"))
        if any(r.get("known") == "unknown" for r in rows):
            say("unknown: nothing like it was trained on; do not rely on these values")
    finish(rows)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A row for people."""
    if "error" in row:
        return {**{k: row.get(k) for k in ("file", "row")}, "error": f"field {row['field']!r}: {row['error']}" if row.get("field") else row["error"]}
    out = {k: v for k, v in row.items() if k not in ("deviation", "low", "high", "name")}
    if "deviation" in row and row["deviation"] == row["deviation"]:
        out["plus_minus"] = row["deviation"]
        out["interval_90"] = f"{row['low']:.4g} to {row['high']:.4g}"
    out["percentile"] = None if row["percentile"] != row["percentile"] else round(row["percentile"])
    return out


# the board


def predictors(json_: Annotated[bool, typer.Option("--json", help="one JSON object per predictor on standard output")] = False) -> None:
    """The predictors that ship: what each gives, what it learnt from, and its error on rows that neither trained nor calibrated it."""
    from ..learn.shipped_predictors import described_predictors
    from .cli import emit

    emit(described_predictors(), json_, ("name", "unit", "model", "members", "train_rows", "metric", "value", "low", "high", "inside", "task"))


def bench_tasks(json_: Annotated[bool, typer.Option("--json", help="one JSON object per task on standard output")] = False) -> None:
    """The tasks of property prediction: data, target, split, metric, budget, and what overlaps with what."""
    from dataclasses import asdict

    from ..bench.property_task_table import PROPERTY_TASKS
    from .cli import emit

    emit([asdict(t) | {"seconds": t.budget} for t in PROPERTY_TASKS], json_, ("name", "title", "unit", "metric", "inputs", "split", "seconds"))


def bench_leaks(task: Annotated[str, typer.Argument(help="see `matterloop bench tasks`")], fold: int = 0, data_dir: Data = None,
                json_: Annotated[bool, typer.Option("--json", help="one JSON object per rung on standard output")] = False) -> None:
    """Tested materials that were trained on: same formula, space group, Wyckoff gene, same crystal for StructureMatcher; counts and which."""
    from ..bench.property_tasks import load_task
    from ..crystal.state import Crystals
    from ..learn.distance import counts_of
    from ..learn.leaks import composition_leaks, crystal_leaks, told
    from .cli import emit

    held = load_task(task, data_dir)
    part = held.part(fold)
    train, test = held.inputs[part["train"]].bare(), held.inputs[part["test"]].bare()
    found = crystal_leaks(train, test) if isinstance(train, Crystals) else {"formula": composition_leaks(counts_of(train), counts_of(test))}
    names = [[held.keys[i] for i in part[k]] for k in ("train", "test")]
    if json_:
        emit([{"rung": k, "rows": x.count, "of": x.whole, "share": x.share, "pairs": [(names[1][i], names[0][j]) for i, j in x.pairs]} for k, x in found.items()], True)
    else:
        typer.echo("\n".join(told(found, *names)))


def bench_run(
    task: Annotated[str, typer.Argument(help="see `matterloop bench tasks`")],
    model: Annotated[str, typer.Argument(help="mean, or an encoder or a classical model by name, with :PRESET where wanted")],
    budget: Annotated[float | None, typer.Option(min=0.1, help="seconds of training of each fold; that of the task if absent")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="at most; the budget may cut them")] = None,
    seed: int = 0,
    folds: Annotated[str, typer.Option(help="which folds, as 0,1,2; all if absent")] = "",
    members: Annotated[int, typer.Option(min=1, help="networks of an ensemble")] = 1,
    set_: Options = None,
    recipe: Annotated[list[str] | None, typer.Option("--recipe", help="field of the recipe, NAME=VALUE, as rate=0.001; may be repeated")] = None,
    references: Annotated[bool, typer.Option("--references", help="a network learns what remains after energies of the elements")] = False,
    more_data: Annotated[str, typer.Option("--more-data", help="what the model learnt from besides the training rows and how it overlaps with the test: it is then shown apart")] = "",
    start: Start = "",
    teacher: Teacher = "",
    share: Share = 0.5,
    train_rows: Annotated[int | None, typer.Option("--train-rows", min=1, help="so many of the training rows, drawn by seed, and a quarter as many for early stopping; such records stay off the board")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="of torch; as the machine has them if absent")] = None,
    data_dir: Data = None,
    work: Annotated[str | None, typer.Option(help="folder for states of training; a run that was stopped goes on from there")] = None,
    records: Annotated[str, typer.Option(help="folder the record is written to")] = RECORDS,
    json_: Annotated[bool, typer.Option("--json", help="the record as JSON on standard output")] = False,
) -> None:
    """Train and test one model on one task and write the record for the board; a failure is recorded too."""
    from ..base.errors import BadInput
    from ..bench.property_running import Stopped, run, write_record
    from ..learn.pretrained import Pretrained
    from .cli import plain, say
    from .folder import made
    from .progress import watching

    try:
        chosen = [int(x) for x in folds.replace(",", " ").split()] or None
    except ValueError:
        raise BadInput(f"{folds!r}, wanted are numbers such as 0,1,2", "--folds") from None
    made(Path(records))
    if threads:
        import torch

        torch.set_num_threads(threads)
    changes = options_of(recipe, "--recipe") | ({"epochs": epochs} if epochs else {})
    try:
        with watching() as watch:
            found = run(task, model, budget=budget, seed=seed, folds=chosen, options=options_of(set_), recipe=changes, references=references, members=members, more_data=more_data, data_dir=data_dir, work=work,
                        start=Pretrained.load(start) if start else None, teacher=Pretrained.load(teacher) if teacher else None, share=share, train_rows=train_rows,
                        command=shlex.join(["matterloop", *sys.argv[1:]]), note=say, should_stop=watch.stop)
    except Stopped as error:
        say(str(error))
        raise typer.Exit(130) from None
    path = write_record(found, records)
    if json_:
        typer.echo(json.dumps(plain(found), ensure_ascii=False))
    elif found["failed"]:
        typer.echo(f"{task}, {model}: failed: {found['failed']}")
    else:
        typer.echo(f"{task}, {model}: {found['metric']} {found['value']:.4g} {found['unit']} ({found['low']:.4g} to {found['high']:.4g}) on {found['count']:,} rows")
    say(f"written to {path}")
    if found["failed"]:
        raise typer.Exit(1)


def bench_board(
    out: Annotated[str | None, typer.Option(help="folder for board.md, board.html, board.json and figures")] = None,
    page: Annotated[str | None, typer.Option(help="Markdown file to write, its figures in a folder beside it")] = None,
    records: Annotated[str, typer.Option(help="folder of the records")] = RECORDS,
    task: Annotated[list[str] | None, typer.Option("--task", help="only these tasks")] = None,
    json_: Annotated[bool, typer.Option("--json", help="every entry as a JSON object on standard output")] = False,
) -> None:
    """One board out of all records: per task a table of values with intervals, costs, base cases and failures."""
    from ..bench.board import board, entries, read_records
    from ..bench.property_tasks import property_task
    from .board_page import markdown, write_board, write_page
    from .cli import emit, say

    found, odd = read_records(records)
    for name in task or ():
        property_task(name)
    made = [b for b in board(found) if not task or b.task.name in task]
    for line in odd:
        say(f"no record: {line}")
    for path in [*(write_board(made, out, odd) if out else ()), *(write_page(made, page, odd) if page else ())]:
        say(f"written: {path}")
    if json_:
        emit(entries(made), True)
    elif not out and not page:
        typer.echo(markdown(made, odd))


def register(app: typer.Typer, bench: typer.Typer) -> None:
    """Hang the commands into the command line."""
    app.command("train")(train)
    app.command("pretrain")(pretrain)
    app.command("predict")(predict)
    app.command("predictors")(predictors)
    bench.command("tasks")(bench_tasks)
    bench.command("leaks")(bench_leaks)
    bench.command("run")(bench_run)
    bench.command("board")(bench_board)
