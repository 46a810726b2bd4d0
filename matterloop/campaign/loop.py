"""The loop: propose, screen, relax, judge, learn, again; every step is an event, and a killed run goes on from its log.

The goal is that of T2MAT (text to material), Z. Song, S. Lu, Q. Zhou, J. Wang, arXiv:2407.06489: from one sentence to structures, without a human step
in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..archive.database import Archive
from ..archive.records import Ask, Candidate, Reason, Verdict
from ..base.errors import BadInput
from ..base.registry import Card, load
from ..base.seeds import derive
from ..crystal.state import Crystals
from ..generate.proposal import Generator, Recalls, load_generator
from ..measure.flight import RelaxedOne
from ..potential.oracle import Oracle, steady
from .cost import Meter
from .fan_out import FanOut, Landing
from .judging import Judges
from .state import State, reason_to_json, replay
from .tasks import Protocol, content_of
from .watch import Watch

CARD = Card(
    name="t2mat",
    build="Campaign",
    role="loop",
    paper="2407.06489",
    year=2024,
    summary="from a wish to ranked crystals: propose, screen, relax, judge, learn, over a log that a killed run goes on from",
    capabilities=("log", "resumes", "count"),
    differs=(
        "goals are read from the sentence by an offline grammar, not by a language model",
        "candidates come from substitution and random search, not from a conditional generative model",
        "stability is judged by the distance to the convex hull of one universal potential; nothing is computed from first principles",
    ),
)
CAMPAIGN = "discover"
CHUNK = 50  # proposals per round when only the time is limited


@dataclass(frozen=True)
class Settings:
    """What a campaign does besides its ask; everything here and the ask are written to its log before the first step.

    count       proposals wanted in all; None: as many as `seconds` allow
    rounds      over how many rounds they are spread; generators that learn hear the verdicts between rounds
    seconds     wall seconds, None: no limit
    generators  name -> share of the proposals
    potential   oracle by name; `reference` holds its own phases (empty: the shipped hull of that potential)
    fmax, smax  convergence: largest force in eV/Å, largest stress component in eV/Å^3
    steps       most optimiser steps per crystal
    novel       whether known phases are turned away
    second_opinion, second_reference, both_must_agree  of a second potential, see campaign.second_opinion.Asked
    """

    count: int | None = 100
    rounds: int = 1
    seconds: float | None = None
    seed: int = 0
    generators: Mapping[str, float] = field(default_factory=lambda: {"wyckoff_transformer": 0.8, "substitution": 0.2})
    potential: str = "chgnet"
    reference: str = ""
    fmax: float = 0.05
    smax: float = 0.003
    steps: int = 300
    optimizer: str = "lbfgs"
    keep_symmetry: bool = True
    batch_atoms: int = 256
    novel: bool = True
    second_opinion: str = ""
    second_reference: str = ""
    both_must_agree: bool = False

    def __post_init__(self):
        if self.count is None and self.seconds is None:
            raise BadInput("neither count nor seconds is given; give one of them", "campaign")
        for name in ("count", "rounds", "seconds", "fmax", "smax", "steps", "batch_atoms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"{name} is {value}; it must be above 0", "campaign")
        if self.count is not None and self.rounds > self.count:
            raise BadInput(f"{self.rounds} rounds for {self.count} proposals; every round needs at least one", "campaign")
        if not self.generators or any(not share > 0 for share in self.generators.values()):
            raise BadInput("generators need shares above 0", "campaign")

    @property
    def protocol(self) -> Protocol:
        """How each crystal is relaxed."""
        return Protocol(**{f.name: getattr(self, f.name) for f in fields(Protocol)})


class Campaign:
    """One campaign over one archive. All state is in the archive's log; this object only holds the parts it works with."""

    def __init__(self, archive: Archive, ask: Ask, settings: Settings, *, oracle: Oracle | None = None, judges: Judges | None = None,
                 generators: Mapping[str, Generator] | None = None, watch: Watch = Watch(), fan_out: FanOut | None = None):
        self.archive, self.ask, self.settings, self.watch, self.fan_out = archive, ask, settings, watch, fan_out
        self.oracle = oracle if oracle is not None else steady(load(settings.potential, role="potential"))
        self.judges = judges if judges is not None else Judges.of(settings.potential, settings.reference, self.oracle)
        self.generators = dict(generators) if generators is not None else {n: load_generator(n) for n in settings.generators}
        self.state = replay(archive.stream(CAMPAIGN))
        self.clock, self.meter = time.monotonic(), Meter()
        self.used = self.state.seconds
        self.seconds: dict[str, float] = {}  # wall seconds of this session by stage

    # writing down

    def log(self, kind: str, content: Mapping[str, Any], crystals: Crystals | None = None, candidates: Sequence[Candidate] = ()) -> None:
        """Append one event with the crystals and candidates it brings, then take it into the state."""
        content = {**content, **self.meter.read()}
        event = self.archive.append(CAMPAIGN, kind, content, crystals=crystals, candidates=candidates)
        self.state = self.state.apply(event)

    def log_relaxations(self, landings: Sequence[Landing]) -> None:
        """Append the event of each relaxation that ended, all in one transaction; count what workers elsewhere spent on them."""
        if len(landings) == 1:
            self.meter.add(landings[0].cpu, landings[0].peak_mib)
            return self.log("failed" if landings[0].crystal is None else "relaxed", landings[0].content, landings[0].crystal)
        records = []
        for one in landings:
            self.meter.add(one.cpu, one.peak_mib)
            records.append(("failed" if one.crystal is None else "relaxed", {**one.content, **self.meter.read()}, one.crystal))
        for event in self.archive.append_many(CAMPAIGN, records):
            self.state = self.state.apply(event)

    def out_of_time(self) -> bool:
        """Whether the wall seconds of all sessions together have passed `settings.seconds`."""
        limit = self.settings.seconds
        return limit is not None and self.used + time.monotonic() - self.clock >= limit

    def halted(self) -> bool:
        """Whether to end after the step at hand."""
        return self.watch.stop() or self.out_of_time()

    # stages

    def shares(self, turn: int) -> dict[str, int]:
        """Proposals of each generator in round `turn`: whole numbers that add up over the rounds."""
        if self.settings.count is None:
            total = CHUNK
        else:
            total = (turn + 1) * self.settings.count // self.settings.rounds - turn * self.settings.count // self.settings.rounds
        weights, out, left = self.settings.generators, {}, total
        whole = sum(weights.values())
        for i, (name, share) in enumerate(weights.items()):
            out[name] = left if i == len(weights) - 1 else min(left, round(total * share / whole))
            left -= out[name]
        return out

    def propose(self, turn: int) -> None:
        """Ask every generator for its share; what one cannot fill the others are asked for."""
        if turn in self.state.rounds:
            return
        shares = self.shares(turn)
        total = sum(shares.values())
        self.watch.stage("propose", total)
        seed = derive(self.settings.seed, "round", turn) % 1_000_000
        found: list[Candidate] = []
        short: list[str] = []
        for name, count in shares.items():
            if not count:
                continue
            got = self.generators[name].propose(self.ask, count, seed)
            if len(got) < count:
                short.append(f"{name} made {len(got)} of {count}")
            found += got
            self.watch.advance("propose", len(found))
        for name in self.settings.generators:  # fill up from those that can
            if len(found) >= total:
                break
            had = {c.key for c in found}
            wanted = total - len(found)
            more = self.generators[name].propose(self.ask, wanted + shares[name], seed)
            found += [c for c in more if c.key not in had][:wanted]
            self.watch.advance("propose", len(found))
        for text in short:
            self.watch.note(text)
        self.log("proposed", {"round": turn, "short": short, "exhausted": not found}, candidates=found)

    def proposed(self, keys: Sequence[str]) -> list[Candidate]:
        """Candidates by their keys, from the archive."""
        return self.archive.candidates(CAMPAIGN, keys)

    def relaxed(self, keys: Sequence[str]) -> Crystals | None:
        """Relaxed structures of candidates as one batch, None for no keys."""
        return self.archive.get_crystals([self.state.relaxed[k]["crystals"][0] for k in keys], bare=True) if keys else None

    def screen(self, turn: int) -> None:
        """Milliseconds per crystal: distances, volume, charge, whether the ask is met, whether the gene was seen before or is known."""
        keys = [k for k in self.state.rounds[turn] if k not in self.state.screened]
        if not keys:
            return
        self.watch.stage("screen", len(keys))
        candidates = self.proposed(keys)
        alike = self.archive.candidates_like(CAMPAIGN, Crystals.join([c.crystal.bare() for c in candidates])) if self.state.screened else set()
        reasons = self.judges.screen(candidates, self.ask, self.settings.novel, self.proposed([k for k in self.state.screened if k in alike]))
        self.log("screened", {"round": turn, "reasons": {k: [reason_to_json(r) for r in reasons[k]] for k in keys}})
        self.watch.advance("screen", len(keys))

    def relax(self, turn: int) -> None:
        """Relax what passed the screen and is not relaxed yet; each crystal is written down as it leaves."""
        keys, total = self.state.waiting(turn), len(self.state.sensible(turn))
        self.watch.stage("relax", total)
        finished = total - len(keys)
        self.watch.advance("relax", finished)
        if not keys:
            return
        candidates = self.proposed(keys)
        protocol = self.settings.protocol

        def land(landings: Sequence[Landing]) -> None:
            nonlocal finished
            self.log_relaxations(landings)
            finished += len(landings)
            self.watch.advance("relax", finished)

        if self.fan_out is not None:
            self.fan_out.relax(candidates, protocol, self.oracle, land, self.halted)
            if self.fan_out.executor is not None:
                return
            candidates = [c for c in candidates if c.key not in self.state.relaxed and c.key not in self.state.failed]
            if not candidates:
                return

        def write(index: int, one: RelaxedOne) -> None:
            if one.status != "stopped":  # a stopped one starts again when the campaign is resumed
                land([Landing(*content_of(candidates[index].key, one))])

        protocol.relax(Crystals.join([c.crystal.bare() for c in candidates]), self.oracle, on_done=write, should_stop=self.halted)

    def verdicts(self, turn: int) -> dict[str, Verdict]:
        """Verdicts of a round as they follow from the state; unique and novel are decided greedily in the order of proposal."""
        keys = [k for k in self.state.rounds[turn] if k in self.state.screened]
        relaxed = [k for k in keys if k in self.state.relaxed]
        crystals = self.relaxed(relaxed)
        alike = self.archive.candidates_like(CAMPAIGN, crystals) if relaxed and turn else set()  # what has other elements cannot stand in the way
        before = [k for r in sorted(self.state.rounds) if r < turn for k in self.state.rounds[r] if k in alike and self.state.relaxed.get(k, {}).get("converged")]
        measured = self.judges.judge(
            relaxed, crystals, [self.state.relaxed[k] for k in relaxed], self.ask, self.settings.novel, self.settings.fmax,
            before, self.relaxed(before)) if relaxed else {}
        found = {}
        for key in keys:
            reasons = list(self.state.screened[key])
            if key in measured:
                replaced = {r.check for r in measured[key]}
                reasons = [r for r in reasons if r.check not in replaced] + list(measured[key])
            elif key in self.state.failed:
                f = self.state.failed[key]
                reasons.append(Reason("relaxation", float("nan"), self.settings.fmax, "eV/Å", False, note=f["reason"]))
            elif all(r.passed for r in reasons):
                continue  # not relaxed yet
            above = next((r.value for r in reasons if r.check == "energy_above_hull"), float("inf"))
            found[key] = Verdict(key, tuple(reasons), above if above == above else float("inf"))
        return found

    def judge(self, turn: int) -> None:
        """Write the verdicts of a whole round down."""
        keys = [k for k in self.state.rounds[turn] if k not in self.state.judged]
        if not keys:
            return
        self.watch.stage("judge", len(keys))
        found = self.verdicts(turn)
        self.log("judged", {"round": turn, "verdicts": {
            k: {"reasons": [reason_to_json(r) for r in v.reasons], "score": repr(v.score)} for k, v in found.items()}})
        self.watch.advance("judge", len(keys))

    def observe(self, turn: int) -> None:
        """Let the generators hear the verdicts of a round; after a restart they hear the rounds before it again."""
        mine = set(self.state.rounds[turn])
        verdicts = [v for k, v in self.state.judged.items() if k in mine]
        for generator in self.generators.values():
            if isinstance(generator, Recalls):
                generator.recall(self.proposed(self.state.rounds[turn]))
            generator.observe(verdicts)
        if turn not in self.state.observed:
            self.log("observed", {"round": turn})

    # running

    def run(self, session: Mapping[str, Any] | None = None, wish: str = "") -> State:
        """Go on until the count is reached, the time is over, or `watch.stop()`; returns the state.

        session  what the log is to remember of this machine; `wish` the spec that a resumed run reads its ask from
        """
        if not self.state.settings:
            self.log("asked", {"settings": asdict(self.settings) | {"generators": dict(self.settings.generators)}, "wish": wish})
        self.log("started", dict(session or {}))
        self.clock, self.meter, self.used = time.monotonic(), Meter(), self.state.seconds
        for turn in sorted(self.state.observed):
            self.observe(turn)
        turn, halted_in = 0, ""
        while (self.settings.count is None or turn < self.settings.rounds) and not self.state.exhausted:
            if turn not in self.state.observed:
                if self.halted():
                    break
                self.timed(self.propose, turn)
                if not self.state.rounds[turn]:
                    break
                self.timed(self.screen, turn)
                self.timed(self.relax, turn)
                if self.state.waiting(turn):
                    halted_in = "relax"
                    break  # halted inside the relaxation: verdicts wait until the round is whole
                self.timed(self.judge, turn)
                self.timed(self.observe, turn)
            turn += 1
        complete = self.state.exhausted or (self.settings.count is not None and turn >= self.settings.rounds)
        self.log("finished" if complete else "stopped", {"reason": "" if complete else "time" if self.out_of_time() else "asked to stop", "stage": halted_in})
        return self.state

    def timed(self, stage: Callable[[int], None], turn: int) -> None:
        """Run one stage of a round and add its wall seconds to `seconds`."""
        begun = time.monotonic()
        try:
            stage(turn)
        finally:
            name = stage.__name__
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def all_verdicts(self) -> dict[str, Verdict]:
        """Verdicts of the log, and of what is relaxed but not yet judged as they would be now."""
        found = dict(self.state.judged)
        for turn, keys in self.state.rounds.items():
            if turn not in self.state.observed and any(k not in found for k in keys):
                found |= {k: v for k, v in self.verdicts(turn).items() if k not in found}
        return found
