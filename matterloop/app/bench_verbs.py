"""The verbs below `matterloop bench`: each runs a comparison of the package against a peer or against time and prints what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(help="Measure: speed, cost and accuracy, with what they were measured on.", no_args_is_help=True)


@bench_app.command("discover")
def bench_discover(
    wish: Annotated[list[str] | None, typer.Argument(help="wishes instead of the standard set")] = None,
    count: Annotated[int, typer.Option(min=1, help="proposals per wish")] = 50,
    seed: int = 0,
    potential: Annotated[str, typer.Option(help="potential by name")] = "chgnet",
    record: Annotated[str | None, typer.Option(help="file to write the record to")] = None,
    compare: Annotated[str | None, typer.Option(help="record of an earlier run of the same: prints what changed")] = None,
    json_: Annotated[bool, typer.Option("--json", help="the record as JSON on standard output")] = False,
) -> None:
    """Stable candidates per CPU-hour of the whole loop, stage by stage, on a standard set of wishes."""
    from ..bench import discovering
    from .bench_tables import discovered, since
    from .cli import plain, say
    from .discover import discover
    from .folder import made, write_atomic

    earlier = discovering.read_record(compare) if compare else None  # before the minutes are spent
    if record:
        made(Path(record).parent)
    wishes = tuple(wish) if wish else discovering.WISHES
    found = plain(discovering.measure(lambda text, **more: discover(text, potential=potential, **more), wishes, count, seed, note=say) | {"potential": potential})
    if record:
        write_atomic(Path(record), json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    changed = plain(discovering.compare(found, earlier)) if earlier else None
    if json_:
        typer.echo(json.dumps(found | ({"compared": changed} if changed else {}), ensure_ascii=False))
        return
    discovered(found)
    if changed:
        since(changed, str(compare))


@bench_app.command("hull")
def bench_hull(
    potential: Annotated[str, typer.Option(help="potential with a shipped reference")] = "chgnet",
    beside: Annotated[str, typer.Option(help="another potential: also the structures that are fully covered for both")] = "",
    data_dir: Annotated[str | None, typer.Option(help="folder of data sets, else $MATTERLOOP_DATA")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="bootstrap resamples of chemical systems")] = 1000,
    seed: int = 0,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Energy above a potential's own hull against the Materials Project's, on fully covered chemical systems."""
    from ..bench.hull_accuracy import hull_accuracy
    from .bench_tables import hulls_compared
    from .cli import plain

    found = plain(hull_accuracy(potential, beside=beside, data_dir=data_dir, seed=seed, resamples=resamples))
    if json_:
        typer.echo(json.dumps(found))
    else:
        hulls_compared(found)


@bench_app.command("relax")
def bench_relax(
    set_: Annotated[str, typer.Option("--set", help="start set: a (strain and rattle), b (symmetric) or both")] = "both",
    crystals: Annotated[int, typer.Option(min=1, help="random crystals of MP-20")] = 48,
    atoms: Annotated[str, typer.Option(help="atoms per cell, least-most; beyond 20 supercells")] = "2-60",
    batch_sizes: Annotated[str, typer.Option(help="atoms in flight on our side; the first is the one that is compared")] = "512,64,2048",
    threads: Annotated[int, typer.Option(min=1, help="of both sides")] = 2,
    seed: int = 0,
    data_dir: Annotated[str | None, typer.Option(help="folder of data sets, else $MATTERLOOP_DATA")] = None,
    work: Annotated[str | None, typer.Option(help="folder for what the sides write as they go; a run that was stopped goes on from there")] = None,
    record: Annotated[str | None, typer.Option(help="file to write the record to")] = None,
    json_: Annotated[bool, typer.Option("--json", help="the record as JSON on standard output")] = False,
) -> None:
    """Our relaxation against chgnet's StructOptimizer on the same starts, ends judged by the original chgnet."""
    from ..base.errors import BadInput
    from ..bench.relaxing import compare
    from .cli import plain, say
    from .folder import made, write_atomic
    from .relax_tables import relaxations

    if set_ not in ("a", "b", "both"):
        raise BadInput(f"{set_!r}, allowed are a, b and both", "--set")
    try:
        low, high = (int(x) for x in atoms.split("-"))
        sizes = [int(x) for x in batch_sizes.replace(",", " ").split()]
    except ValueError:
        raise BadInput(f"atoms {atoms!r} and batch sizes {batch_sizes!r}; numbers like 2-60 and 512,64 are wanted", "bench relax") from None
    if record:
        made(Path(record).parent)
    found = []
    for kind in ("a", "b") if set_ == "both" else (set_,):
        found.append(plain(compare(kind, crystals=crystals, atoms=(low, high), batch_sizes=sizes, seed=seed, threads=threads, data_dir=data_dir,
                                   folder=Path(work) / kind if work else None, note=say)))
        if record:
            write_atomic(Path(record), json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        if not json_:
            relaxations(found[-1])
    if json_:
        typer.echo(json.dumps(found, ensure_ascii=False))


@bench_app.command("generate")
def bench_generate(
    generator: Annotated[list[str] | None, typer.Argument(help="NAME[:PRESET][,option=value]...[+above_hull=X][+screens]; random_search, substitution and template without any")] = None,
    count: Annotated[int, typer.Option(min=1, help="proposals of each")] = 1000,
    seed: int = 0,
    atoms: Annotated[int, typer.Option(min=1, help="most atoms in the primitive cell")] = 20,
    hulls: Annotated[str, typer.Option(help="potential that relaxes, then further hulls: published, or potentials that relax on")] = "chgnet,published",
    screens: Annotated[str, typer.Option(help="named: as each generator says; both: each without and with the gene screens")] = "named",
    base: Annotated[list[str] | None, typer.Option(help="base case of the ratios; random_search and substitution if they take part")] = None,
    threads: Annotated[int, typer.Option(min=1, help="of each generator's process")] = 1,
    data_dir: Annotated[str | None, typer.Option(help="folder of data sets, else $MATTERLOOP_DATA")] = None,
    work: Annotated[str | None, typer.Option(help="folder for what is written as it goes; a run that was stopped goes on from there")] = None,
    record: Annotated[str | None, typer.Option(help="file to write the record to")] = None,
    json_: Annotated[bool, typer.Option("--json", help="the record as JSON on standard output")] = False,
) -> None:
    """Stable, unique, novel crystals of all proposed and per CPU-hour, generator against generator, on several hulls."""
    from ..base.errors import BadInput
    from ..bench.generating import CONTENDERS, measure
    from .cli import plain, say
    from .folder import made, write_atomic
    from .generate_tables import generators_compared

    if screens not in ("named", "both"):
        raise BadInput(f"{screens!r}, allowed are named and both", "--screens")
    names = list(generator or CONTENDERS)
    if screens == "both":
        names = list(dict.fromkeys(x for n in names for x in (n.removesuffix("+screens"), n.removesuffix("+screens") + "+screens")))
    if record:
        made(Path(record).parent)
    if work:
        made(Path(work))
    found = plain(measure(names, count=count, seed=seed, atoms=atoms, hulls=hulls.replace(",", " ").split(), base=base or (), threads=threads, data_dir=data_dir, work=work, note=say))
    if record:
        write_atomic(Path(record), json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if json_:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        generators_compared(found)


@bench_app.command("predict-structure")
def bench_predict_structure(
    work: Annotated[str, typer.Option(help="folder for what is fitted and found; a run that was stopped goes on from there")],
    targets: Annotated[int, typer.Option(min=0, help="random targets of the test file; 0: all")] = 0,
    guesses: Annotated[int, typer.Option(min=1, help="ranked guesses per target")] = 20,
    thorough: Annotated[bool, typer.Option("--thorough", help="match every guess, not only up to the first that does: the true RMSE of the best of many")] = False,
    relax: Annotated[int, typer.Option(min=0, help="targets whose first guesses are also relaxed and ranked by energy")] = 0,
    potential: Annotated[str, typer.Option(help="potential for --relax")] = "chgnet",
    genes: Annotated[str | None, typer.Option(help="JSON lines of further genes with composition and score, joined by score")] = None,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    seed: int = 0,
    data_dir: Annotated[str | None, typer.Option(help="folder of data sets, else $MATTERLOOP_DATA")] = None,
    record: Annotated[str | None, typer.Option(help="file to write the record to")] = None,
    json_: Annotated[bool, typer.Option("--json", help="the record as JSON on standard output")] = False,
) -> None:
    """Structures from composition and number of atoms, learnt from MP-20 val alone, against MP-20 test."""
    from ..bench.structure_prediction import measure
    from .cli import plain, say
    from .folder import made, write_atomic
    from .structure_prediction_tables import predicted

    if record:
        made(Path(record).parent)
    found = plain(measure(targets=targets, guesses=guesses, thorough=thorough, seed=seed, processes=processes, relax=relax, potential=potential, genes=genes, data_dir=data_dir, folder=work, note=say))
    if record:
        write_atomic(Path(record), json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if json_:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        predicted(found)
