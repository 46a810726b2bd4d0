"""The commands `train` and `predict`, and the list of predictors that ship: thin over their functions."""

from __future__ import annotations

import io
import json
import shlex
import sys
from typing import Annotated, Any

import typer

from .input_options import Files, Formula, Identity, MaxAtoms, Options, SkipBad, Structure, options_of, usable
from .pretrain_cli import EncoderRate, Freeze, Share, Start, Teacher, pretrain



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


def predictors(json_: Annotated[bool, typer.Option("--json", help="one JSON object per predictor on standard output")] = False) -> None:
    """The predictors that ship: what each gives, what it learnt from, and its error on rows that neither trained nor calibrated it."""
    from ..learn.shipped_predictors import described_predictors
    from .cli import emit

    emit(described_predictors(), json_, ("name", "unit", "model", "members", "train_rows", "metric", "value", "low", "high", "inside", "task"))


def register(app: typer.Typer) -> None:
    """Hang the commands into the command line."""
    app.command("train")(train)
    app.command("pretrain")(pretrain)
    app.command("predict")(predict)
    app.command("predictors")(predictors)
