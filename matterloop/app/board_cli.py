"""The commands of the board of property prediction, below `bench`: thin over their functions."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .input_options import Options, options_of
from .pretrain_cli import Share, Start, Teacher

RECORDS = "benchmarks/records/board"
Data = Annotated[str | None, typer.Option(help="folder of data sets, else $MATTERLOOP_DATA")]


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


def register(bench: typer.Typer) -> None:
    """Hang the commands below `bench`."""
    bench.command("tasks")(bench_tasks)
    bench.command("leaks")(bench_leaks)
    bench.command("run")(bench_run)
    bench.command("board")(bench_board)
