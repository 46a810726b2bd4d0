"""A campaign's state: a fold over its log of events and nothing else, so that reading the log is resuming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from sys import intern
from typing import Any

from ..archive.database import fold
from ..archive.records import Event, Reason, Verdict
from ..base.errors import BadInput
from .cost import STAGE_OF, Spent


def reason_to_json(reason: Reason) -> dict[str, Any]:
    """A reason as plain values; numbers that are not finite become text, since JSON has none."""
    return {k: (repr(v) if isinstance(v, float) and not (abs(v) < float("inf")) else v) for k, v in asdict(reason).items()}


def reason_from_json(content: Mapping[str, Any]) -> Reason:
    """Inverse of `reason_to_json`."""
    return Reason(**{**content, "check": intern(content["check"]), "value": float(content["value"]), "limit": float(content["limit"]), "unit": intern(content["unit"])})


def _kept(content: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a candidate without the clock, names shared: there may be millions."""
    return {intern(k): v for k, v in content.items() if k not in ("elapsed", "cpu", "peak_mib")}


@dataclass
class State:
    """What the log says has happened.

    wish       the wish as a TOML spec
    rounds     round -> keys of the candidates proposed in it, in order (the candidates themselves stand in the archive)
    screened   key -> reasons found before relaxation
    relaxed    key -> {crystals: [name of the relaxed structure], energy, fmax, pressure, steps, converged, reason, ...}
    failed     key -> {stage, reason}
    judged     key -> verdict
    observed   rounds whose verdicts the generators have heard
    seconds    wall seconds of all sessions that closed in order, plus what the open one had logged
    second     key -> opinion of a second potential, see campaign.second_opinion; `second_asked` whose, {} where none was asked for
    spent      stage -> wall and CPU seconds and memory of all sessions, as far as they are logged
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    wish: str = ""
    rounds: dict[int, list[str]] = field(default_factory=dict)
    screened: dict[str, tuple[Reason, ...]] = field(default_factory=dict)
    relaxed: dict[str, dict] = field(default_factory=dict)
    failed: dict[str, dict] = field(default_factory=dict)
    judged: dict[str, Verdict] = field(default_factory=dict)
    observed: set[int] = field(default_factory=set)
    sessions: list[dict] = field(default_factory=list)
    second_asked: Mapping[str, Any] = field(default_factory=dict)
    second: dict[str, dict] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)
    exhausted: bool = False
    finished: bool = False
    shared: dict[Reason, Reason] = field(default_factory=dict, compare=False, repr=False)
    stopped: str = ""  # why the last session ended before the end, empty if it did not or was killed

    @property
    def seconds(self) -> float:
        """Wall seconds used so far by all sessions."""
        return sum(s.get("seconds", 0.0) for s in self.sessions)

    def sensible(self, turn: int) -> list[str]:
        """Candidates of a round that passed the screen, in order: those that are to be relaxed."""
        return [k for k in self.rounds[turn] if all(r.passed for r in self.screened[k])]

    def waiting(self, turn: int) -> list[str]:
        """Those of them whose relaxation has neither ended nor failed."""
        return [k for k in self.sensible(turn) if k not in self.relaxed and k not in self.failed]

    def apply(self, event: Event) -> State:
        """Take in one event; unknown kinds are an error, since a log must not be read half."""
        c = event.content
        if self.sessions and "elapsed" in c and event.kind not in ("started", "reported"):
            self._clock(event.kind, c)
        match event.kind:
            case "asked":
                self.settings, self.wish = c["settings"], c["wish"]
            case "started":
                self.sessions.append(dict(c))
                self.finished, self.stopped = False, ""
                if second := c.get("second_opinion"):
                    if any(self.second_asked.get(name) != second[name] for name in ("potential", "reference", "hull")):
                        self.second = {}  # another potential or another hull: what was said before is no answer to this question
                    self.second_asked = dict(second)
                if "loading" in c:
                    self._spend("load", **c["loading"])
            case "proposed":
                self.rounds[c["round"]] = list(c.get("candidates", ()))
                self.exhausted = self.exhausted or bool(c.get("exhausted"))
            case "screened":
                self.screened.update({k: self._reasons(v) for k, v in c["reasons"].items()})
            case "relaxed":
                self.relaxed[c["key"]] = _kept(c)
            case "failed":
                self.failed[c["key"]] = _kept(c)
            case "judged":
                self.judged.update({k: Verdict(k, self._reasons(v["reasons"]), float(v["score"])) for k, v in c["verdicts"].items()})
            case "observed":
                self.observed.add(c["round"])
            case "stopped":
                self.stopped = str(c.get("reason", ""))
            case "finished":
                self.finished = True
            case "second_opinion":
                self.second[c["key"]] = _kept(c)
            case "reported":
                self._spend("report", **c["report"])
            case _:
                raise BadInput(f"event {event.number} is of the unknown kind {event.kind!r}: the log was written by a newer version", "campaign")
        return self

    def _reasons(self, contents: Sequence[Mapping[str, Any]]) -> tuple[Reason, ...]:
        """Reasons of one candidate; those that many candidates have word for word are one object."""
        reasons = map(reason_from_json, contents)
        return tuple(self.shared.setdefault(r, r) if r.value == 0 else r for r in reasons)

    def _clock(self, kind: str, content: Mapping[str, Any]) -> None:
        """Add what passed since the event before to the session and to the stage at work; `elapsed` and `cpu` count from the session's start."""
        session, stage = self.sessions[-1], content.get("stage") or STAGE_OF.get(kind)
        before, cpu_before = session.get("seconds", 0.0), session.get("cpu_seconds", 0.0)
        session["seconds"] = max(before, float(content["elapsed"]))
        if "cpu" in content:
            session["cpu_seconds"] = max(cpu_before, float(content["cpu"]))
            if stage:
                self._spend(stage, session["seconds"] - before, session["cpu_seconds"] - cpu_before, float(content.get("peak_mib", 0.0)))

    def _spend(self, stage: str, wall: float = 0.0, cpu: float = 0.0, peak_mib: float = 0.0) -> None:
        self.spent.setdefault(stage, Spent()).add(wall, cpu, peak_mib)


def replay(events: Iterable[Event]) -> State:
    """The state that a log of events leads to."""
    return fold(events, lambda state, event: state.apply(event), State())
