"""Relaxation of a set of crystals that outlives its process: every result is an event of an archive, and a later call with the same crystals goes on.

Results are found by what they are of: the crystal's content and the protocol with the digests of code and weights. So a folder whose files were renamed,
added to or changed costs only what is new in it, and nothing is taken from a run with other settings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..archive.codec import crystal_keys
from ..archive.database import Archive, open_archive
from ..archive.records import Candidate
from ..crystal.state import Crystals
from ..measure.flight import RelaxedOne
from ..potential.oracle import Oracle
from .executors import Executor
from .fan_out import FanOut, Landing
from .tasks import Protocol, content_of
from .watch import Watch

DATABASE, SPOOL, LOG = "relaxed.db", "spool", "relaxed set"


@dataclass(frozen=True, eq=False)
class Ends:
    """What became of each crystal of a set.

    crystals  relaxed, one each; None where the relaxation failed or was not reached
    contents  of the events: energy (eV), fmax, converged, steps, reason, ...; None where it was not reached
    """

    crystals: tuple[Crystals | None, ...]
    contents: tuple[Mapping[str, Any] | None, ...]

    @property
    def finished(self) -> bool:
        """Whether every crystal was reached."""
        return all(c is not None for c in self.contents)


def relax_set(crystals: Crystals, protocol: Protocol, oracle: Oracle, *, work: Path | None = None, executor: Executor | None = None, watch: Watch = Watch()) -> Ends:
    """Relax every crystal; equal ones once.

    work      folder of the archive, made if needed; None: a temporary one, nothing is kept
    executor  where the relaxations run; None: in this process
    `watch.stop()` ends after the step at hand; what is done is kept. Raises Conflict if another process writes to `work`, WorkersFailed as FanOut.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="matterloop-"))) if work is None else work
        folder.mkdir(parents=True, exist_ok=True)
        archive = stack.enter_context(open_archive(folder / DATABASE))
        stack.enter_context(archive.lock(LOG))
        return _relaxed(archive, folder, crystals.bare(), protocol, oracle, executor, watch)


def _relaxed(archive: Archive, folder: Path, crystals: Crystals, protocol: Protocol, oracle: Oracle, executor: Executor | None, watch: Watch) -> Ends:
    under, keys = protocol.key(oracle), crystal_keys(crystals)
    wanted = set(keys)
    done = {e.content["key"]: e.content for e in archive.stream(LOG) if e.content["under"] == under and e.content["key"] in wanted}
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    left = [Candidate(key, crystals[i], "given") for key, i in sorted(first.items(), key=lambda x: x[1]) if key not in done]
    watch.stage("relax", len(first))
    watch.advance("relax", len(done))

    def land(landings: list[Landing]) -> None:
        records = [("failed" if x.crystal is None else "relaxed", {**x.content, "under": under}, x.crystal) for x in landings]
        done.update((e.content["key"], e.content) for e in archive.append_many(LOG, records))
        watch.advance("relax", len(done))

    def write(index: int, one: RelaxedOne) -> None:
        if one.status != "stopped":
            land([Landing(*content_of(left[index].key, one))])

    if left and executor is None:
        protocol.relax(Crystals.join([c.crystal for c in left]), oracle, on_done=write, should_stop=watch.stop)
    elif left:
        with FanOut(folder / SPOOL, executor, watch.note) as fan_out:
            fan_out.relax(left, protocol, oracle, land, watch.stop)
            if len(done) == len(first):
                fan_out.finished()
    names = sorted({c["crystals"][0] for c in done.values() if c.get("crystals")})
    held = dict(zip(names, archive.get_crystals(names, bare=True), strict=True)) if names else {}
    contents = tuple(done.get(key) for key in keys)
    return Ends(tuple(held[c["crystals"][0]] if c is not None and c.get("crystals") else None for c in contents), contents)
