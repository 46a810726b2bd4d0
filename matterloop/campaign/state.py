"""A campaign's state: a fold over its log of events and nothing else, so that reading the log is resuming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..archive.database import fold
from ..archive.records import Event, Reason, Verdict
from ..base.errors import BadInput


def reason_to_json(reason: Reason) -> dict[str, Any]:
    """A reason as plain values; numbers that are not finite become text, since JSON has none."""
    return {k: (repr(v) if isinstance(v, float) and not (abs(v) < float("inf")) else v) for k, v in asdict(reason).items()}


def reason_from_json(content: Mapping[str, Any]) -> Reason:
    """Inverse of `reason_to_json`."""
    return Reason(**{k: (float(v) if k in ("value", "limit") else v) for k, v in content.items()})


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
    exhausted: bool = False
    finished: bool = False
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
        if self.sessions and "elapsed" in c and event.kind != "started":
            self.sessions[-1]["seconds"] = max(self.sessions[-1].get("seconds", 0.0), float(c["elapsed"]))
        match event.kind:
            case "asked":
                self.settings, self.wish = c["settings"], c["wish"]
            case "started":
                self.sessions.append(dict(c))
                self.finished, self.stopped = False, ""
            case "proposed":
                self.rounds[c["round"]] = list(c.get("candidates", ()))
                self.exhausted = self.exhausted or bool(c.get("exhausted"))
            case "screened":
                self.screened.update({k: tuple(map(reason_from_json, v)) for k, v in c["reasons"].items()})
            case "relaxed":
                self.relaxed[c["key"]] = dict(c)
            case "failed":
                self.failed[c["key"]] = dict(c)
            case "judged":
                self.judged.update({
                    k: Verdict(k, tuple(map(reason_from_json, v["reasons"])), float(v["score"])) for k, v in c["verdicts"].items()})
            case "observed":
                self.observed.add(c["round"])
            case "stopped":
                self.stopped = str(c.get("reason", ""))
            case "finished":
                self.finished = True
            case _:
                raise BadInput(f"event {event.number} is of the unknown kind {event.kind!r}: the log was written by a newer version", "campaign")
        return self


def replay(events: Iterable[Event]) -> State:
    """The state that a log of events leads to."""
    return fold(events, lambda state, event: state.apply(event), State())
