"""From a wish to a folder of ranked, checked crystals; and a stopped or killed run from its folder onwards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

from ..archive.database import Archive, open_archive
from ..archive.optimade import Offline, look_up
from ..archive.records import Ask, Verdict
from ..base.config import from_mapping
from ..base.elements import number, symbol
from ..base.errors import BadInput
from ..base.machine import hardware, versions
from ..base.registry import load
from ..campaign.cost import Meter, budget
from ..campaign.executors import Executor, ready_executor
from ..campaign.fan_out import FanOut
from ..campaign.judging import SAID_AS, Judges
from ..campaign.lexicon import checkable
from ..campaign.loop import CAMPAIGN, Campaign, Settings
from ..campaign.outcome import Outcome, Row, funnel_of, rows_of
from ..campaign.second_opinion import CHECK, Asked, SecondOpinion, agreed, compared
from ..campaign.state import State, replay
from ..campaign.watch import Watch
from ..campaign.wish import Wish, from_toml, read_wish
from ..crystal.state import Crystals
from ..generate.proposal import load_generator
from ..measure.hull import Hull
from ..potential.oracle import steady
from .asking import understood_at_all
from .folder import DATABASE, SPOOL, archive_of, free, new_folder, sweep, write_results, write_run_toml

NOT_CHECKED = (
    "Dynamical stability: no phonons were computed.",
    "First principles: energies are those of a machine-learned potential, no DFT verified them.",
    "Temperature: the hull is at 0 K without zero-point motion.",
    "Disorder, defects and surfaces: every candidate is an ordered bulk crystal.",
    "Whether and how a candidate can be made.",
)


def default_folder(wish: str) -> Path:
    """runs/<the wish in plain words>, for a run without a folder of its own."""
    return Path("runs") / (re.sub(r"[^a-z0-9]+", "-", wish.lower()).strip("-")[:40] or "wish")


def discover(
    wish: str | Path | Wish, *, count: int | None = None, rounds: int = 1, seconds: float | None = None, seed: int = 0, out: str | Path | None = None,
    potential: str = "chgnet", reference: str | Path = "", exclude: Iterable[str] = (), include: Iterable[str] = (),
    generators: Mapping[str, float] | None = None, known_too: bool = False, overwrite: bool = False, settings: Mapping | None = None,
    lookup: bool = False, anyway: bool = False, second_opinion: Asked | str | None = None, executor: Executor | str | Path = "", watch: Watch = Watch(),
) -> Outcome:
    """Propose, relax, judge and rank crystals for a wish; everything lands in the folder `out`.

    wish        sentence, path of a TOML spec, or a `Wish`
    count       proposals in all (default: 100, or 10 for each candidate that the wish names; None with `seconds`: as many as fit)
    exclude     symbols never used; `include` symbols taken off the default mask
    reference   file of own phases, energies and scheme instead of the shipped hull
    generators  name, or name:preset, -> share of the proposals (default: `usual_generators`)
    known_too   keep phases that are already known
    settings    further fields of campaign.loop.Settings (fmax, steps, keep_symmetry, ...)
    lookup      ask public OPTIMADE databases for the formulas of the best kept candidates; without a network that is said and skipped
    anyway      go on with a sentence of which nothing was understood
    second_opinion  a second potential, by name or as `Asked`, that judges every kept candidate on its own hull
    executor    where relaxations run, see campaign.executors.read_executor: a name, a TOML file, or nothing for here
    Raises BadInput for an impossible wish and one of which nothing is understood, FolderError where the folder cannot be written. What cannot
    run leaves no folder behind.
    """
    if not isinstance(wish, Wish):
        wish = read_wish(str(wish))
    if not anyway:
        understood_at_all(wish)
    ask = wish.ask
    if include:
        ask = replace(ask, excluded=ask.excluded - {number(s) for s in include})
    if exclude:
        ask = replace(ask, excluded=ask.excluded | {number(s) for s in exclude})
    wish = replace(wish, ask=ask)
    seconds = seconds if seconds is not None else wish.seconds
    if count is None and seconds is None:
        count = max(100, 10 * (wish.count or 0))
    chosen = from_mapping(Settings, {
        "count": count, "rounds": rounds, "seconds": seconds, "seed": seed, "potential": potential, "reference": str(Path(reference).resolve()) if reference else "",
        "novel": not known_too, **settings_of(second_opinion), "generators": dict(generators or usual_generators(rounds, known_too)),
        **dict(settings or {})}, "settings")
    folder = Path(out) if out is not None else default_folder(wish.sentence)
    if ".." in folder.parts:
        folder = folder.resolve()  # a/../b is b even where there is no a
    free(folder, overwrite)
    begun, where = Meter(), ready_executor(executor)
    parts = parts_of(chosen) | {"second": second_of(chosen)}
    for text in left_out(parts["judges"].hull, parts["second"] and parts["second"].hull):
        watch.note(text)
    if reference:
        wish = replace(wish, ask=within(wish.ask, parts["judges"].hull, str(reference)))
    new_folder(folder, overwrite)
    archive = open_archive(folder / DATABASE)
    try:
        with archive.lock(CAMPAIGN):
            if archive.events(CAMPAIGN):
                raise BadInput("another process began a run here a moment ago; choose another --out", str(folder))
            return _go(folder, archive, wish, chosen, parts, where, begun, watch, lookup)
    finally:
        archive.close()


def resume(folder: str | Path, *, seconds: float | None = None, lookup: bool = False, second_opinion: Asked | str | None = None, executor: Executor | str | Path = "",
           watch: Watch = Watch()) -> Outcome:
    """Go on with a stopped or killed run; a finished one is only written out anew. Missing if the folder holds no run.

    seconds         further wall seconds to spend; without it a run with a time limit goes on until its own is used up
    second_opinion  as in `discover`; without it the run keeps the one it began with
    executor        as in `discover`, whatever the run began with; what workers had finished before is taken in first
    """
    folder, begun, where = Path(folder), Meter(), ready_executor(executor)
    archive = archive_of(folder)
    try:
        state = replay(archive.stream(CAMPAIGN))
        if not state.settings:
            raise BadInput(f"the run was killed before its wish was written down; start it again with `matterloop discover WISH --out {folder}`", str(folder))
        settings = from_mapping(Settings, state.settings, "settings of the run")
        if seconds is not None:
            settings = replace(settings, seconds=state.seconds + seconds)
        with archive.lock(CAMPAIGN):
            sweep(folder)
            if state.second_asked and not second_opinion:
                second_opinion = Asked(*(state.second_asked[name] for name in ("potential", "reference", "both")))
            settings = replace(settings, **settings_of(second_opinion))
            parts = parts_of(settings) | {"second": second_of(settings)}
            return _go(folder, archive, from_toml(state.wish), settings, parts, where, begun, watch, lookup)
    finally:
        archive.close()


def show(folder: str | Path) -> Outcome:
    """The outcome of a run as its log tells it, without computing anything."""
    archive = archive_of(Path(folder), readonly=True)
    try:
        state = replay(archive.stream(CAMPAIGN))
        wish = from_toml(state.wish)
        return _outcome(archive, state, wish, final(state.judged, state), {})
    finally:
        archive.close()


def usual_generators(rounds: int = 1, known_too: bool = False) -> dict[str, float]:
    """The mix of a campaign that names none: the default generator, which learns between rounds, and substitution beside it."""
    preset = "_".join(word for word, wanted in (("known", known_too), ("learning", rounds > 1)) if wanted)
    return {"wyckoff_transformer" + (f":{preset}" if preset else ""): 0.8, "substitution": 0.2}


def parts_of(settings: Settings) -> dict:
    """Potential, judges and generators of a campaign, built before anything is written."""
    oracle = steady(load(settings.potential, role="potential"))
    return {"oracle": oracle, "judges": Judges.of(settings.potential, settings.reference, oracle), "generators": {n: load_generator(n) for n in settings.generators}}


def settings_of(asked: Asked | str | None) -> dict:
    """The settings that ask for a second opinion; none where it is not asked for."""
    if not asked:
        return {}
    asked = Asked(asked) if isinstance(asked, str) else asked
    return {"second_opinion": asked.potential, "second_reference": str(Path(asked.reference).resolve()) if asked.reference else "", "both_must_agree": asked.both}


def second_of(settings: Settings) -> SecondOpinion | None:
    """The second potential with its hull, None where none is asked for; BadInput for a setting that makes no sense without one."""
    if settings.second_opinion:
        return SecondOpinion.of(Asked(settings.second_opinion, settings.second_reference, settings.both_must_agree), settings.potential)
    if settings.second_reference or settings.both_must_agree:
        raise BadInput("name the second potential too, for example --second-opinion sevennet-0", "second opinion")
    return None


def ask_second(campaign: Campaign, second: SecondOpinion, verdicts: Mapping[str, Verdict], watch: Watch) -> None:
    """Let a second potential judge every kept candidate that it has not judged yet; each opinion is in the log as soon as it is there."""
    kept = [k for k, v in verdicts.items() if v.passed and v.reason("energy_above_hull") is not None]
    todo, done = [k for k in kept if k not in campaign.state.second], len([k for k in kept if k in campaign.state.second])
    watch.stage("second opinion", len(kept))
    watch.advance("second opinion", done)
    if not todo:
        return

    def write(content: dict, crystal: Crystals | None) -> None:
        nonlocal done
        campaign.log("second_opinion", content, crystal)
        done += 1
        watch.advance("second opinion", done)

    second.relax(todo, campaign.relaxed(todo), campaign.settings.protocol, campaign.judges.limit(campaign.ask), write, watch.stop)


def final(verdicts: Mapping[str, Verdict], state: State) -> Mapping[str, Verdict]:
    """The verdicts, with the second potential's among their checks where both must agree."""
    return agreed(verdicts, state.second, state.second_asked["oracle"]) if state.second_asked.get("both") else verdicts


def within(ask: Ask, hull: Hull, name: str) -> Ask:
    """The ask with only the elements that a hull has a reference for; BadInput where that leaves nothing that it wants."""
    held = frozenset(hull.elements)
    if lacking := ask.required - held:
        raise BadInput(f"holds no phase of {', '.join(symbol(z) for z in sorted(lacking))}, which the wish requires; add the elements to it", name)
    return replace(ask, allowed=held if ask.allowed is None else ask.allowed & held)


def left_out(*hulls: Hull | None) -> tuple[str, ...]:
    """A sentence for every row of the user's own references that could not be used."""
    return tuple(f"row of the reference left out: {error}" for hull in hulls if hull is not None for error in hull.about.get("errors", ()))


def _go(folder: Path, archive: Archive, wish: Wish, settings: Settings, parts: dict, where: Executor | None, begun: Meter, watch: Watch,
        lookup: bool) -> Outcome:
    run = {"began": datetime.now(timezone.utc).isoformat(timespec="seconds"), "versions": versions(), "hardware": hardware()}
    spec = wish.to_toml()
    second: SecondOpinion | None = parts.pop("second")
    if second is not None:
        run["second_opinion"] = second.about()
    write_run_toml(folder, asdict(settings), run, spec)
    fan_out = FanOut(folder / SPOOL, where, watch.note)
    if where is not None:
        run["executor"] = asdict(where)
    campaign = Campaign(archive, wish.ask, settings, watch=watch, fan_out=fan_out, **parts)
    loading = begun.read()
    with fan_out:
        state = campaign.run(session={"versions": run["versions"], "hardware": run["hardware"], "loading": spent(loading),
                                      **{k: run[k] for k in ("second_opinion", "executor") if k in run}}, wish=spec)
        if state.finished:
            fan_out.finished()
    campaign.meter.add(-fan_out.reaped)
    verdicts = campaign.all_verdicts()
    if second is not None and not watch.stop():
        ask_second(campaign, second, verdicts, watch)
    tables, state = Meter(), campaign.state
    verdicts = final(verdicts, state)
    run["seconds"] = {"loading": round(loading["elapsed"], 2), "this_session": round(begun.read()["elapsed"], 2), "all_sessions": round(state.seconds, 2),
                      "sessions": len(state.sessions)}
    run["stages"] = {k: round(v, 2) for k, v in campaign.seconds.items()}
    outcome = _outcome(archive, state, wish, verdicts, run)
    outcome = replace(outcome, hulls=hull_plots(campaign.judges.hull, outcome.rows), notes=(*outcome.notes, *left_out(campaign.judges.hull, second and second.hull)))
    campaign.log("reported", {"report": spent(tables.read())})
    if lookup:
        watch.stage("look-up", 1)
        outcome = replace(outcome, looked_up=looked_up(outcome))
        watch.advance("look-up", 1)
    write_run_toml(folder, asdict(settings), run, spec)
    watch.stage("report", 1)
    pages = Meter()
    outcome = replace(outcome, cost=budget(campaign.state, verdicts))
    write_results(folder, outcome)
    campaign.log("reported", {"report": spent(pages.read())})  # the page itself cannot hold what drawing it took
    outcome = replace(outcome, cost=budget(campaign.state, verdicts), run=run | {"cost": budget(campaign.state, verdicts)})
    write_run_toml(folder, asdict(settings), dict(outcome.run), spec)
    watch.advance("report", 1)
    return outcome


def spent(reading: Mapping[str, float]) -> dict[str, float]:
    """A reading of a meter as the log keeps it."""
    return {"wall": reading["elapsed"], "cpu": reading["cpu"], "peak_mib": reading["peak_mib"]}


def looked_up(outcome: Outcome, most: int = 10) -> tuple[str, ...]:
    """What public databases hold of the formulas of the best kept candidates, one sentence each; one that says why where none answers."""
    best = {r.formula: r for r in reversed(outcome.kept)}
    rows = sorted(best.values(), key=lambda r: r.rank)[:most]
    if not rows:
        return ("Nothing was kept, so nothing was looked up in public databases.",)
    try:
        answers = look_up([Counter(r.crystal.species.tolist()) for r in rows])
    except Offline as error:
        return (f"Public databases were not asked: {error}.",)
    return tuple(
        f"{r.formula}: " + ("; ".join(f"{f.count} in {f.provider} ({', '.join(f.ids)})" for f in found if f.count) or "in none of " + ", ".join(f.provider for f in found))
        for r, found in zip(rows, answers, strict=True))


def second_answer(state: State, rows: Sequence[Row]) -> dict:
    """What the second potential says of the candidates that the first put within the limit; {} where none was asked."""
    if not state.second_asked:
        return {}
    first = {r.key: r.energy_above_hull for r in rows if all(x.passed for x in r.reasons if x.check != CHECK) and any(x.check == "energy_above_hull" for x in r.reasons)}
    return {"asked": dict(state.second_asked), **compared(first, state.second)}


def hull_plots(hull: Hull, rows: Sequence[Row]) -> dict:
    """Data of the hull plots of the chemical systems of the best candidates: at most six systems of two or three elements."""
    found: dict = {}
    for row in rows:
        elements = tuple(sorted(set(row.crystal.species.tolist())))
        name = "-".join(symbol(z) for z in elements)
        if not row.relaxed or row.energy_above_hull != row.energy_above_hull or not 2 <= len(elements) <= 3:
            continue
        if name not in found:
            if len(found) == 6:
                continue
            found[name] = {"elements": [symbol(z) for z in elements], "candidates": [],
                           **(hull.binary_curve(*elements) if len(elements) == 2 else hull.ternary(*elements))}
        counts = [row.crystal.species.tolist().count(z) / row.atoms for z in elements]
        found[name]["candidates"].append({"key": row.key, "formula": row.formula, "fractions": counts, "formation_energy": row.formation_energy,
                                          "energy_above_hull": row.energy_above_hull, "kept": row.kept})
    return found


def _outcome(archive: Archive, state: State, wish: Wish, verdicts: Mapping[str, Verdict], run: dict) -> Outcome:
    rows = rows_of(archive, CAMPAIGN, state, verdicts)
    second = second_answer(state, rows)
    ask: Ask = wish.ask
    screened = {k: Verdict(k, reasons) for k, reasons in state.screened.items()}
    mask = tuple(symbol(z) for z in sorted(ask.excluded))
    seen = {reason.check for v in verdicts.values() for reason in v.reasons}
    unmeasured = sorted({x.name for x in ask.limits if SAID_AS.get(x.name, x.name) not in seen})
    can = checkable()
    why = {True: "no candidate passed all that is looked at before it.", False: "nothing computes or predicts it yet."}
    not_checked = tuple(f"The wish's {name.replace('_', ' ')}: {why[name in can]}" for name in unmeasured) + NOT_CHECKED
    return Outcome(
        wish=tuple(wish.describe()), not_understood=tuple(p.text for p in wish.not_understood), settings={"sentence": wish.sentence, **state.settings}, run=run,
        funnel=funnel_of(screened | dict(verdicts), sum(len(k) for k in state.rounds.values())), rows=rows, mask=mask, not_checked=not_checked,
        notes=tuple(english for english, _ in wish.notes), finished=state.finished and not second.get("waiting"), stopped=state.stopped,
        cost=budget(state, verdicts), second=second)
