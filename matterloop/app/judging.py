"""The verb `judge`: a folder of structures from any generator, relaxed, judged, and compared with a test set."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import BadInput, MatterloopError
from ..campaign.watch import Watch
from .verbs import MAX_ATOMS, STRUCTURE_FILES, hull, read_source

if TYPE_CHECKING:
    from ..campaign.executors import Executor
    from ..campaign.judged_set import Judged
    from ..campaign.second_opinion import Asked
    from ..campaign.tasks import Protocol
    from ..crystal.state import Crystals
    from ..judge.sun import Reference
    from ..potential.oracle import Oracle
    from .verbs import Source

MANY = 40  # crystals from which on relaxations run in processes of their own, where there are several cores


def judge(source: Source, *, reference: bool = True, relaxed: bool = True, suite: bool = True, potential: str = "chgnet", work: str | Path | None = None,
          known: Source | None = None, executor: Executor | str | Path | None = None, second_opinion: Asked | str | None = None, limit: float = 0.1, max_atoms: int = MAX_ATOMS,
          watch: Watch = Watch()) -> dict[str, Any]:
    """Gated shares of a folder or files from any generator, in the order of their names: valid, unique, novel, metasun, sun, and p1_share.

    Shares are of all inputs given; unreadable ones count as not valid, and `crystals` names them with file, row and field. Each share has its 95 % bootstrap
    interval, `valid_interval` and so on. Energies are those of `potential` on its own hull: metasun at most 0.1 eV/atom above it, sun at most 0.

    reference       whether known phases count as not novel; without it nothing is said of novel, metasun and sun
    relaxed         relax with our engine first; otherwise everything is judged as submitted
    suite           add `cdvae` (the CDVAE suite of the structures as submitted, against MP-20 test) and `statistics` (symmetry and diversity of what was judged)
    known           further structures that are not novel: files or a table with a cif column, such as the training set of the generator
    work            folder that keeps every relaxation as it ends, so that a killed run goes on; None: nothing is kept
    executor        where relaxations run; None: processes of this machine for many crystals, "": this process
    second_opinion  another potential: what passed is measured on both hulls as `hull` does, and `second_opinion` of the answer says how far they agree at `limit` (eV/atom)

    Asked to stop before every crystal was reached, it answers without shares, `finished` false. BadInput for a folder without structure files.
    """
    from ..campaign.judged_set import GATES, judge_set, shares
    from ..campaign.judging import Judges
    from ..campaign.relaxed_set import relax_set
    from ..campaign.tasks import Protocol

    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        source = sorted(p for p in Path(source).iterdir() if p.suffix.lower() in STRUCTURE_FILES)
        if not source:
            raise BadInput(f"holds no structure files ({', '.join(STRUCTURE_FILES)})", "judge")
    watch.stage("read", 0)
    crystals, names, errors = read_source(source, watch, max_atoms)
    clock.lap("read")
    protocol = Protocol(potential=potential) if relaxed else Protocol(potential=potential, steps=0, keep_symmetry=False)
    gates = GATES if reference else GATES[:2]
    given = len(names) + len(errors)
    out: dict[str, Any] = {"total": given, "unreadable": len(errors), "finished": True}
    if crystals is None:
        return out | shares([], given, gates) | {"crystals": errors}
    crystals, oracle = crystals.bare(), protocol.oracle()
    judges = Judges.of(potential, "", oracle)
    if known is not None:
        judges = replace(judges, reference=_with(judges.reference, known, watch))
    ends = relax_set(crystals, protocol, oracle, work=None if work is None else Path(work), executor=_executor(executor, len(crystals)), watch=watch)
    clock.lap("relax")
    if not ends.finished:
        return out | {"finished": False, "relaxed": sum(c is not None for c in ends.contents), "crystals": errors}
    watch.stage("judge", len(crystals))
    found = judge_set(crystals, names, judges, ends=ends, relaxed=relaxed, fmax=protocol.fmax, novelty=reference, advance=lambda done: watch.advance("judge", done))
    watch.advance("judge", len(crystals))
    clock.lap("judge")
    rows = [one.row() for one in found]
    out |= shares(found, given, gates) | {"protocol": _protocol(protocol, oracle, judges, relaxed)}
    if suite:
        watch.stage("suite", 2)
        out["cdvae"] = _cdvae(crystals, given, oracle)
        watch.advance("suite", 1)
        out["statistics"] = _statistics(found)
        watch.advance("suite", 2)
        clock.lap("suite")
    if second_opinion:
        out["second_opinion"] = _both(rows, found, potential, second_opinion, limit, watch)
        clock.lap("second opinion")
    return out | {"seconds": seconds, "crystals": rows + errors}


class _Clock:
    """Wall seconds by stage."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds, self.last = seconds, time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.last = round(now - self.last, 2), now


def default_work(files: Sequence[str]) -> Path:
    """runs/judge-NAME after the folder that is judged, or the one that the first file lies in."""
    first = Path(files[0]).resolve()
    folder = first if first.is_dir() else first.parent
    return Path("runs") / ("judge-" + (re.sub(r"[^A-Za-z0-9._]+", "-", folder.name).strip("-")[:40] or "structures"))


def _with(reference: Reference, known: Source, watch: Watch) -> Reference:
    """The reference and further known structures; those that cannot be read are told to `watch.note`."""
    from ..judge.sun import Described, describe

    crystals, names, errors = read_source(known, watch)
    for error in errors:
        watch.note(f"not read, so not known: {error['file']}: {error['error']}")
    extra: dict[tuple, list[Described]] = {}
    for one in describe(crystals, names) if crystals is not None else ():
        extra.setdefault(one.prepared.composition, []).append(one)
    held = reference.crystals
    return replace(reference, crystals=lambda composition: [*held(composition), *extra.get(composition, ())], name=f"{reference.name} and {len(names)} structures of yours")


def _executor(asked: Executor | str | Path | None, crystals: int) -> Executor | None:
    from ..base.machine import hardware
    from ..campaign.executors import ready_executor

    if asked is None:
        asked = "processes" if crystals >= MANY and int(hardware()["cores"]) > 1 else ""
    return ready_executor(asked)


def _protocol(protocol: Protocol, oracle: Oracle, judges, relaxed: bool) -> dict[str, Any]:
    """What the shares mean, to stand beside them."""
    from ..campaign.judged_set import METASTABLE, STABLE
    from ..judge.statistics import SYMPREC

    how = {"fmax": protocol.fmax, "smax": protocol.smax, "steps": protocol.steps, "keep_symmetry": protocol.keep_symmetry} if relaxed else {}
    return {"relaxed": relaxed, **how, "potential": oracle.name, "energy_scheme": oracle.energy_scheme, "hull_scheme": judges.hull.scheme, "hull_phases": len(judges.hull),
            "metasun_limit": METASTABLE, "sun_limit": STABLE, "matcher": "StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell, scale)",
            "order": "unique is decided greedily in the order of names", "novelty": judges.reference.name, "p1_symprec": SYMPREC,
            "intervals": "95 %, bootstrap over structures, seed 0"}


def _cdvae(crystals: Crystals, given: int, oracle: Oracle) -> dict[str, Any]:
    """The CDVAE suite of the structures as submitted."""
    from ..judge.cdvae_suite import Features, compare, mp20_test

    return compare(Features.of(crystals, given=given, energies=_energies(crystals, oracle)), *mp20_test())


def _energies(crystals: Crystals, oracle: Oracle) -> list[float]:
    """eV/atom of the structures as they stand; NaN where the potential refuses one."""
    found = []
    for part in crystals.split(512):
        try:
            found += (oracle.label(part).energy / part.counts).tolist()
        except MatterloopError:
            for one in part:
                try:
                    found.append(float(oracle.label(one).energy[0]) / one.atoms)
                except MatterloopError:
                    found.append(math.nan)
    return found


def _statistics(found: list[Judged]) -> dict[str, Any]:
    """Symmetry and diversity of what was judged, beside MP-20 test."""
    from ..crystal.state import Crystals
    from ..judge.cdvae_suite import CUTOFFS, mp20_test, mp20_test_genes
    from ..judge.statistics import Symmetries, composition_diversity, fingerprint_diversity, symmetry_statistics
    from ..represent.crystal_nn import fingerprints
    from ..represent.magpie import Magpie

    crystals = Crystals.join([one.crystal for one in found])
    scaler, (structure, composition) = mp20_test()[1], CUTOFFS["mp20"]
    return {**symmetry_statistics(Symmetries.of(crystals), Symmetries(mp20_test_genes())), "reference": "bi- and ternary structures of MP-20 test",
            **fingerprint_diversity([(fingerprints(crystals)[0].numpy(), structure), (scaler(Magpie()(crystals).numpy()), composition)]), **composition_diversity(crystals)}


def _both(rows: list[dict], found: list[Judged], potential: str, second_opinion: Asked | str, limit: float, watch: Watch) -> dict[str, Any]:
    """Measure what passed on two hulls, put the numbers into its rows, and compare: see campaign.second_opinion.compared."""
    from ..campaign.second_opinion import compared
    from ..crystal.state import Crystals

    chosen = [i for i, row in enumerate(rows) if row["valid"] and row["unique"] and row["novel"] is not False]
    measured = hull(Crystals.join([found[i].crystal for i in chosen]), potential=potential, second_opinion=second_opinion, limit=limit, watch=watch) if chosen else []
    for i, one in zip(chosen, measured, strict=True):
        rows[i] |= {k: v for k, v in one.items() if k not in ("file", "formula")}
    above = lambda i: math.inf if rows[i].get("energy_above_hull") is None else rows[i]["energy_above_hull"]
    first = {rows[i]["file"]: above(i) for i in chosen if above(i) <= limit}
    return compared(first, {rows[i]["file"]: rows[i]["second"] for i in chosen if "second" in rows[i]})


def rate(results: Mapping[str, Any]) -> str:
    """One line of the shares of a `judge` answer."""
    return ", ".join(f"{k} {results[k]:.1%} [{a:.1%}, {b:.1%}]" for k, (a, b) in results["intervals"].items())
