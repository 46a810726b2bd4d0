"""The command `pretrain`, and the options by which other commands take up what it left: thin over their functions."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated

import typer

from .input_options import Identity, MaxAtoms, SkipBad, Structure

Start = Annotated[str, typer.Option(help="folder that `matterloop pretrain` wrote: the encoder begins with its weights")]
Teacher = Annotated[str, typer.Option(help="folder that `matterloop pretrain` wrote: what its encoder sees of every atom is learnt beside the labels")]
Share = Annotated[float, typer.Option(min=0.0, max=1.0, help="of the teacher in the loss")]
Freeze = Annotated[int, typer.Option(min=0, help="first epochs in which the weights of the encoder stay as they are")]
EncoderRate = Annotated[float, typer.Option("--encoder-rate", min=0.0, help="factor on the learning rate of the encoder")]


def pretrain(
    method: Annotated[str, typer.Argument(help="way of pre-training, with :PRESET where wanted, see `matterloop models --role pretraining`")],
    model: Annotated[str, typer.Argument(help="encoder by name, with :PRESET where wanted, see `matterloop models --role encoder`")],
    sources: Annotated[list[str], typer.Argument(help="structure files, folders of them, tables with a column of CIF texts, or task:NAME for the training rows of a task")],
    out: Annotated[str | None, typer.Option(help="folder of what is learnt; runs/pretrain-METHOD-MODEL by default. A stopped one goes on by the same command")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="passes through the structures")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="of training, at most: epochs are cut to fit")] = None,
    target: Annotated[list[str] | None, typer.Option(help="column with labels of one table, for methods that learn from labels; may be repeated")] = None,
    start: Start = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="option of the encoder, NAME=VALUE; may be repeated")] = None,
    method_set: Annotated[list[str] | None, typer.Option("--method-set", help="option of the method, NAME=VALUE; may be repeated")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what the folder holds")] = False,
    skip_bad: SkipBad = False,
    structure: Structure = "",
    identity: Identity = "",
    seed: int = 0,
    max_atoms: MaxAtoms = 500,
    json_: Annotated[bool, typer.Option("--json", help="the summary as one JSON object on standard output")] = False,
) -> None:
    """Train an encoder on structures without the labels that are wanted of it later, and keep it as a start or a teacher."""
    from .cli import plain, say
    from .pretrain_verbs import pretrain as run
    from .progress import watching
    from .input_options import options_of

    with watching() as watch:
        found = run(method, model, sources, out=out, epochs=epochs, minutes=minutes, targets=target or (), start=start, options=options_of(set_), settings=options_of(method_set, "--method-set"),
                    overwrite=overwrite, skip_bad=skip_bad, structure=structure, identity=identity, seed=seed, max_atoms=max_atoms, watch=watch)
    if not found["finished"]:
        words = [w for w in sys.argv[1:] if w != "--overwrite"]
        say(f"stopped after {found['epochs']} epochs; nothing is lost, go on with: {shlex.join(['matterloop', *words])}")
        raise typer.Exit(130)
    if json_:
        typer.echo(json.dumps(plain(found), ensure_ascii=False))
        return
    first, last = found["losses"][0], found["losses"][-1]
    typer.echo(f"{found['model']} by {found['method']}: {found['crystals']:,} structures, {found['epochs']} epochs, loss {first:.4g} at first, {last:.4g} at last, {found['seconds']:.0f} s")
    if found["errors"]:
        typer.echo(f"  {len(found['errors'])} structures were left out")
    typer.echo(f"kept in {found['folder']}; begin with it: matterloop train TABLE --target COLUMN --model {shlex.quote(found['model'])} --start {shlex.quote(found['folder'])}")
