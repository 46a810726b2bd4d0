"""The command line: one command per verb, thin over the functions of the package. JSON on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..base.errors import MatterloopError
from .bench_verbs import bench_app
from .board_cli import register as register_board
from .explain_cli import register as register_explain
from .potential_verbs import potential_app
from .train_cli import register

app = typer.Typer(name="matterloop", help="From a wish to ranked, checked crystals.", no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False, rich_markup_mode=None)
data_app = typer.Typer(help="Data sets: which are known, where they lie, how to get them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(potential_app, name="potentials")
register(app)
register_board(bench_app)
register_explain(app)

Json = Annotated[bool, typer.Option("--json", help="one JSON object per result on standard output")]
Files = Annotated[list[str], typer.Argument(help="structure files: CIF, POSCAR, extxyz, or tables with a cif column")]
Potential = Annotated[str, typer.Option(help="potential by name, see `matterloop models --role potential`")]
MaxAtoms = Annotated[int, typer.Option("--max-atoms", min=1, help="most atoms of one structure; more need more memory")]
Second = Annotated[str, typer.Option("--second-opinion", help="another potential that judges on a hull of its own, e.g. sevennet-0")]
SecondReference = Annotated[str, typer.Option("--second-reference", help="file of phases of that potential instead of its shipped hull")]
Where = Annotated[str, typer.Option("--executor", help="where relaxations run: local, slurm, submitit, processes, each with :WORKERS if wanted, or a TOML file; without it in this process")]
Both = Annotated[bool, typer.Option("--both-must-agree", help="keep only what both potentials put within the limit")]
Reference = Annotated[str, typer.Option(help="file of own phases: formula, energy_per_atom, scheme")]


def plain(value: Any) -> Any:
    """JSON has no NaN: numbers that are not finite become null, sets and tuples lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def say(text: str = "") -> None:
    """A line for people."""
    typer.echo(text, err=True)


def emit(rows: Iterable[Mapping[str, Any]], as_json: bool, columns: tuple[str, ...] = ()) -> None:
    """Rows as JSON lines, or as a table of the given columns."""
    rows = list(rows)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(plain(row), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    show = [c for c in columns if any(c in r for r in rows)] or sorted({k for r in rows for k in r})
    if any("error" in r for r in rows) and "error" not in show:
        show.append("error")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = 200  # a file or a pipe has room
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in show:
        numbers = all(isinstance(r.get(column), (int, float, type(None))) for r in rows)
        table.add_column(column.replace("_", " "), overflow="fold", justify="right" if numbers else "left", no_wrap=column in ("key", "name"))
    for row in rows:
        table.add_row(*[Text(cell(row.get(c))) for c in show])
    console.print(table)


def cell(value: Any) -> str:
    """One value of a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {cell(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    return str(value)


def finish(rows: Iterable[Mapping[str, Any]]) -> None:
    """Exit 1 if some results are errors."""
    if any("error" in r for r in rows):
        raise typer.Exit(1)


def warn(wish) -> None:
    """What a sentence said and the search will not heed, loud enough not to be missed."""
    if wish.not_understood:
        say(f"WARNING: not understood, and not used: {'; '.join(repr(p.text) for p in wish.not_understood)}")


SHORT = {"energy_above_hull": "hull", "volume_per_atom": "volume", "shortest_distance": "distance", "charge_balance": "charge"}  # names of checks in a narrow table


def summary(outcome, folder: str | None, as_json: bool, stopped: bool = False) -> None:
    """The outcome of a campaign: as JSON one object per candidate and last ones that hold the second opinion and the cost, else the funnel and the best of the table. Exit code 130 if it was stopped."""
    if as_json:
        from ..campaign.outcome import flat

        seconds = {r.key: r.relax_cpu_seconds for r in outcome.rows if r.evaluations}
        emit([*(flat(r) for r in outcome.rows), *([{"second_opinion": outcome.second}] if outcome.second else []), {"cost": {**outcome.cost, "relax_cpu_seconds": seconds}}], True)
    else:
        tell(outcome, folder)
    if not outcome.finished:
        if outcome.stopped == "time":
            say(f"the time is used up; spend more with: matterloop resume {folder} --seconds {outcome.settings['seconds']:g}")
        else:
            say(f"not finished; go on with: matterloop resume {folder}")
    if stopped and not outcome.finished:
        raise typer.Exit(130)


def tell(outcome, folder: str | None) -> None:
    """Funnel and best candidates for people."""
    say("  ".join(f"{name} {count}" for name, count in outcome.funnel))
    best = [r for r in outcome.rows if r.relaxed][:15]
    if best:
        emit([{"rank": r.rank, "formula": r.formula, "group": r.space_group_symbol, "atoms": r.atoms, "eV/atom": r.energy_above_hull,
               **({"second": r.second.get("energy_above_hull")} if r.second is not None else {}),
               "likely": f"{r.probability:.0%}{'*' if r.coverage < 1 else ''}" if r.probability == r.probability else "*" if r.coverage < 1 else "",
               "verdict": "kept" if r.kept else "not: " + ", ".join(
                   SHORT.get(x.check, x.check.replace("_", " ")) for x in r.reasons if not x.passed), "key": r.key} for r in best], False,
             ("rank", "formula", "group", "atoms", "eV/atom", "second", "likely", "verdict", "key"))
        say("eV/atom: above the hull" + ("; * as far as known: the reference lacks phases there" if any(r.coverage < 1 for r in best) else "") + (f"; {len(outcome.rows) - len(best)} more in candidates.csv" if len(outcome.rows) > len(best) else ""))
    elif not outcome.rows:
        say("no generator found a crystal for this wish")
    if second := outcome.second:
        silent = "".join(f"; {n} {what}" for n, what in ((len(second["partial"]), "as far as known, for its hull lacks phases there"), (len(second["none"]), "without an opinion"), (len(second["waiting"]), "not asked about yet")) if n)
        say(f"second opinion, {second['asked']['potential']} on its own hull: {len(second['agree'])} of {second['judged']} agree{silent}")
        for r in [r for r in outcome.rows if r.key in set(second["disagree"])][:10]:
            say(f"  disagrees on {r.formula} {r.space_group_symbol}: {r.energy_above_hull:.3f} eV/atom, by {second['asked']['potential']} {r.second['energy_above_hull']:.3f}, limit {r.second['limit']:.3f}")
    if outcome.not_understood:
        say(f"WARNING: not understood, and not used: {'; '.join(map(repr, outcome.not_understood))}")
    if (cost := outcome.cost) and cost["total"]["cpu_seconds"]:
        found = cost["per_cpu_hour"]["stable"]
        say(f"{cost['total']['cpu_seconds']:.0f} CPU seconds, {cost['total']['peak_mib']:.0f} MiB at most; stable candidates per CPU-hour: "
            f"{found['value']:.3g} (95 %: {found['low']:.3g} to {found['high']:.3g})")
    if folder:
        say(f"report: {Path(folder) / 'report.html'}")


@app.command()
def discover(
    wish: Annotated[str, typer.Argument(help='a sentence such as "stable ternary lithium oxides with fewer than 12 atoms", or a .toml spec')],
    count: Annotated[int | None, typer.Option(min=1, help="proposals in all")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds; generators that learn hear the verdicts in between")] = 1,
    seconds: Annotated[float | None, typer.Option(min=1, help="wall seconds to spend")] = None,
    seed: int = 0,
    out: Annotated[str | None, typer.Option(help="folder of the run, made if needed")] = None,
    potential: Potential = "chgnet",
    reference: Reference = "",
    exclude: Annotated[list[str] | None, typer.Option(help="elements never to use, e.g. --exclude Co,Pb")] = None,
    include: Annotated[list[str] | None, typer.Option(help="elements to take off the default mask, e.g. --include U")] = None,
    known: Annotated[bool, typer.Option("--known", help="keep known phases too")] = False,
    generator: Annotated[list[str] | None, typer.Option(help="NAME or NAME:PRESET, with =SHARE of the proposals; may be given several times")] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a run that is already in the folder")] = False,
    lookup: Annotated[bool, typer.Option(help="ask public OPTIMADE databases for the best formulas; skipped with a word when offline")] = True,
    anyway: Annotated[bool, typer.Option("--anyway", help="search among all crystals if nothing of the sentence is understood")] = False,
    second_opinion: Second = "", second_reference: SecondReference = "", both: Both = False,
    executor: Where = "",
    quiet: bool = False,
    json_: Json = False,
) -> None:
    """Propose, relax, judge and rank crystals for a wish."""
    from ..campaign.wish import read_wish
    from .asking import second_asked, understood_at_all
    from .discover import default_folder
    from .discover import discover as run
    from .progress import watching

    understood = read_wish(wish)
    folder = out or str(default_folder(understood.sentence or wish))
    if not anyway:
        understood_at_all(understood)
    if not quiet:
        for line in understood.describe():
            say(line)
    warn(understood)
    with watching(quiet) as watch:
        outcome = run(understood, count=count, rounds=rounds, seconds=seconds, seed=seed, out=folder, potential=potential, reference=reference,
                      exclude=symbols(exclude), include=symbols(include), generators=shares(generator), known_too=known, overwrite=overwrite, lookup=lookup, anyway=anyway,
                      second_opinion=second_asked(second_opinion, second_reference, both), executor=executor, watch=watch)
    summary(outcome, folder, json_, watch.stop())


def shares(given: list[str] | None) -> dict[str, float] | None:
    """{generator: share} of repeated NAME[=SHARE], None for none; BadInput for a share that is no number above 0."""
    from ..base.errors import BadInput

    found: dict[str, float] = {}
    for text in given or ():
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value or 1.0)
        except ValueError:
            raise BadInput(f"the share of {name} is {value!r}; a number above 0 is wanted", "--generator") from None
    return found or None


def settings_of(given: list[str] | None) -> dict[str, Any]:
    """{name: value} of repeated NAME=VALUE; numbers, true and false are read as such. BadInput where there is no =."""
    from ..base.errors import BadInput

    found: dict[str, Any] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise BadInput(f"{text!r} is not NAME=VALUE", "--set")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def symbols(given: list[str] | None) -> list[str]:
    """Symbols from repeated or comma-separated options."""
    return [s.strip() for text in given or () for s in text.replace(",", " ").split()]


@app.command()
def resume(folder: Annotated[str, typer.Argument(help="folder of a stopped or killed run")],
           seconds: Annotated[float | None, typer.Option(min=1, help="further wall seconds to spend")] = None,
           lookup: Annotated[bool, typer.Option(help="ask public OPTIMADE databases for the best formulas")] = True,
           second_opinion: Second = "", second_reference: SecondReference = "", both: Both = False, executor: Where = "",
           quiet: bool = False, json_: Json = False) -> None:
    """Go on with a stopped or killed run."""
    from .asking import second_asked
    from .discover import resume as run
    from .progress import watching

    with watching(quiet) as watch:
        outcome = run(folder, seconds=seconds, lookup=lookup, second_opinion=second_asked(second_opinion, second_reference, both), executor=executor, watch=watch)
    summary(outcome, folder, json_, watch.stop())


@app.command()
def show(folder: str, json_: Json = False) -> None:
    """Print what a run found, from its log."""
    from .discover import show as read

    outcome = read(folder)
    if not json_:
        for line in outcome.wish:
            say(line)
    summary(outcome, folder, json_)


@app.command()
def understand(wish: str, json_: Json = False) -> None:
    """Show what a wish is understood to mean, and what of it is not."""
    from ..campaign.wish import read_wish

    understood = read_wish(wish)
    if json_:
        emit([{"wish": wish, "understood": list(understood.describe()), "spec": understood.to_toml(), "not_understood": [p.text for p in understood.not_understood]}], True)
    else:
        for line in understood.describe():
            say(line)
        typer.echo(understood.to_toml())
    if understood.not_understood:
        raise typer.Exit(1)


@app.command()
def energy(files: Files, potential: Potential = "chgnet", max_atoms: MaxAtoms = 500, json_: Json = False) -> None:
    """Energy, forces, stress and magnetic moments of structures as they stand."""
    from ..campaign.watch import Watch
    from .verbs import energy as run

    rows = run(files, potential=potential, max_atoms=max_atoms, watch=Watch(note=say))
    emit(rows, json_, ("file", "formula", "atoms", "energy", "energy_per_atom", "max_force"))
    finish(rows)


@app.command()
def relax(
    files: Files, out: Annotated[str | None, typer.Option(help="folder for the relaxed CIFs")] = None,
    fmax: Annotated[float, typer.Option(help="largest force at the end, eV/Å")] = 0.05,
    pressure: Annotated[float, typer.Option(help="GPa")] = 0.0,
    keep_symmetry: Annotated[bool, typer.Option("--keep-symmetry", help="relax within the space group")] = False,
    steps: Annotated[int, typer.Option(min=0, help="most moves per crystal")] = 500,
    optimizer: str = "lbfgs", potential: Potential = "chgnet", max_atoms: MaxAtoms = 500, quiet: bool = False, json_: Json = False,
) -> None:
    """Relax atoms and cells."""
    from .progress import watching
    from .verbs import relax as run

    with watching(quiet) as watch:
        rows = run(files, out=out, fmax=fmax, pressure=pressure, keep_symmetry=keep_symmetry, steps=steps, optimizer=optimizer, potential=potential,
                   max_atoms=max_atoms, watch=watch)
    emit(rows, json_, ("file", "formula", "atoms", "converged", "steps", "energy_per_atom", "max_force", "space_group_before", "space_group", "out"))
    finish(rows)


@app.command()
def hull(files: Files, potential: Potential = "chgnet", reference: Reference = "",
         as_is: Annotated[bool, typer.Option("--as-is", help="do not relax first")] = False, max_atoms: MaxAtoms = 500,
         second_opinion: Second = "", second_reference: SecondReference = "", quiet: bool = False, json_: Json = False) -> None:
    """Energy above the convex hull and decay products."""
    from .asking import second_asked
    from .progress import watching
    from .verbs import hull as run

    with watching(quiet) as watch:
        rows = run(files, potential=potential, reference=reference, relaxed=not as_is, max_atoms=max_atoms, second_opinion=second_asked(second_opinion, second_reference), watch=watch)
    emit(rows, json_, ("file", "formula", "energy_per_atom", "formation_energy", "energy_above_hull", *(("second_energy_above_hull",) if second_opinion else ()), "decomposition", "coverage"))
    finish(rows)


@app.command()
def generate(
    wish: Annotated[str, typer.Argument(help="what to propose: a sentence or a .toml spec")] = "any crystals",
    count: Annotated[int, typer.Option(min=1)] = 10, seed: int = 0, out: Annotated[str | None, typer.Option(help="folder for the CIFs")] = None,
    generator: Annotated[str, typer.Option(help="NAME or NAME:PRESET, see `matterloop models`, roles generator and search; wyckoff_transformer without it")] = "",
    option: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the generator, e.g. temperature=0.8, guidance=4; may be given several times")] = None,
    elements: Annotated[str, typer.Option(help="only these elements, all of them, e.g. Li,Fe,P,O")] = "",
    formula: Annotated[str, typer.Option(help="reduced formula")] = "",
    atoms: Annotated[str, typer.Option(help="atoms in the primitive cell, e.g. 4-12")] = "",
    space_group: Annotated[int | None, typer.Option(min=1, max=230)] = None,
    crystal_system: str = "",
    exclude: Annotated[list[str] | None, typer.Option(help="elements never to use")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="go on if nothing of the sentence is understood")] = False,
    json_: Json = False,
) -> None:
    """Propose crystals without judging them."""
    from ..campaign.wish import read_wish
    from .asking import narrowed, understood_at_all
    from .verbs import generate as run

    understood = read_wish(wish)
    if not anyway:
        understood_at_all(understood)
    warn(understood)
    ask = narrowed(understood.ask, elements=elements, formula=formula, atoms=atoms, space_group=space_group, crystal_system=crystal_system, exclude=symbols(exclude))
    rows = run(ask, count=count, seed=seed, generator=generator, options=settings_of(option), out=out)
    emit(rows, json_, ("key", "formula", "atoms", "parents", "out"))
    if len(rows) < count:
        say(f"{len(rows)} of {count}: no more exist for this ask")


@app.command()
def judge(
    files: Annotated[list[str], typer.Argument(help="a folder or structure files")],
    no_relax: Annotated[bool, typer.Option("--no-relax", help="judge the structures as submitted")] = False,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="skip novelty, and stability, which is gated by it")] = False,
    no_suite: Annotated[bool, typer.Option("--no-suite", help="skip the CDVAE suite and the statistics")] = False,
    known: Annotated[list[str] | None, typer.Option(help="file of further structures that are not novel, such as the training set: CIF, extxyz or a table with a cif column; may be repeated")] = None,
    work: Annotated[str | None, typer.Option(help="folder that keeps the relaxations, so that a stopped or killed run goes on; runs/judge-NAME by default")] = None,
    potential: Potential = "chgnet", executor: Annotated[str | None, typer.Option("--executor", help="where relaxations run, as for discover; processes of this machine for many structures by default")] = None,
    max_atoms: MaxAtoms = 500, second_opinion: Second = "", second_reference: SecondReference = "", quiet: bool = False, json_: Json = False,
) -> None:
    """Valid, unique, novel and (meta)stable shares of structures from any generator, with intervals, and the CDVAE suite."""
    from .asking import second_asked
    from .judging import judge as run
    from .judging import default_work, rate
    from .progress import watching

    folder = work or (None if no_relax else str(default_work(files)))
    with watching(quiet) as watch:
        result = run(files[0] if len(files) == 1 else files, reference=not no_reference, relaxed=not no_relax, suite=not no_suite, work=folder, known=known, potential=potential,
                     executor=executor, max_atoms=max_atoms, second_opinion=second_asked(second_opinion, second_reference), watch=watch)
    if json_:
        emit([result], True)
    elif result["finished"]:
        emit([{k: v for k, v in r.items() if k != "reasons"} | ({"why": "; ".join(f"{x['check']}: {x['note'] or x['value']}" for x in r["reasons"] if not x["passed"])}
                                                                if "reasons" in r else {}) for r in result["crystals"]],
             False, ("file", "formula", "space_group", "valid", "unique", "novel", "metasun", "sun", "energy_above_hull", *(("second_energy_above_hull",) if second_opinion else ()), "why"))
        say(f"{result['total']} given: {rate(result)}")
        if suite := result.get("cdvae"):
            say(f"CDVAE suite, as submitted: structures valid {suite['structure_valid']:.1%}, compositions {suite['composition_valid']:.1%}, COV-R {suite['cov_recall']:.1%}, "
                f"COV-P {suite['cov_precision']:.1%}; --json says more, and what stands in for parts of the original")
        if second := result.get("second_opinion"):
            say(f"second opinion, {second_opinion} on its own hull: {len(second['agree'])} of {second['judged']} that the first puts within 0.1 eV/atom agree")
    for error in (r for r in result["crystals"] if "error" in r):
        say(f"not read: {error['file']}: {error['error']}")
    if not result["finished"]:
        say(f"not finished: {result['relaxed']} of {result['total'] - result['unreadable']} relaxed and kept in {folder}; the same command goes on")
        raise typer.Exit(130)
    finish(result["crystals"])


@app.command()
def models(role: Annotated[str | None, typer.Option(help="descriptor, encoder, regressor, explanation, potential, generator, search, measure, judge, loop, task")] = None,
           json_: Json = False) -> None:
    """Every part of the house, plug-ins included."""
    from .verbs import models as run

    rows = run(role)
    emit([{**r, "waived": len(r["waives"])} for r in rows], json_, ("role", "name", "summary", "paper", "year", "waived", "plugin"))
    if not json_:
        waived = [(r["name"], k, v) for r in rows for k, v in r["waives"].items()]
        say(f"{len(rows)} parts; {len(waived)} waivers:")
        for name, check, why in waived:
            say(f"  {name}: {check}: {why}")


@app.command()
def check(module: Annotated[str, typer.Argument(help="a plug-in's module or file with a CARD, or the name of a built-in part")],
          full: Annotated[bool, typer.Option("--full", help="the slow checks too")] = False, json_: Json = False) -> None:
    """Run the contract on a plug-in."""
    from .verbs import check as run

    rows = run(module, full=full)
    emit(rows, json_, ("part", "check", "passed", "seconds", "note"))
    if any(r["passed"] is False for r in rows):  # None: not run, for want of a package
        raise typer.Exit(1)


@app.command()
def doctor(json_: Json = False) -> None:
    """What works on this machine."""
    from .verbs import doctor as run

    rows = run()
    emit(rows, json_, ("check", "ok", "answer", "seconds"))
    if not all(r["ok"] for r in rows):
        raise typer.Exit(1)


@data_app.command("list")
def data_list(data_dir: str | None = None, json_: Json = False) -> None:
    """Known data sets, and where they were found."""
    from ..archive.sources import data_list as run

    emit(run(data_dir=data_dir), json_, ("name", "version", "rows", "licence", "present", "description"))


@data_app.command("get")
def data_get(name: str, data_dir: str | None = None, json_: Json = False) -> None:
    """Find a data set, download it where that is possible, and verify it."""
    from ..archive.sources import data_get as run

    emit([{"name": name, "path": str(run(name, data_dir=data_dir))}], json_)


@data_app.command("path")
def data_path(name: str, file: Annotated[str | None, typer.Argument()] = None, data_dir: str | None = None) -> None:
    """Print the path of a data set or of one of its files."""
    from ..archive.sources import data_path as run

    typer.echo(str(run(name, file, data_dir=data_dir)))


def main() -> None:
    """Entry point. Exit codes: 0 all that was asked for is done (a time limit that was reached included), 1 some inputs failed, 2 wrong use or a folder
    that refuses, said in one line, 130 stopped by Ctrl-C or SIGTERM before the end.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"  # read when torch loads: threads that spin long while they wait cost severalfold on a busy machine
    if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of numpy and scipy: their matrices here are tiny, and threads that wait for each other cost random search four times its CPU seconds
    try:
        app(standalone_mode=True)
    except MatterloopError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped at once; nothing written down is lost, a run goes on with `matterloop resume FOLDER`", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
