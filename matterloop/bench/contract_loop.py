"""What a closed loop must keep: its log is the only truth, and a killed run goes on as if nothing had happened."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch

from ..archive.database import open_archive
from ..archive.records import Ask, Candidate
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..campaign.judging import Judges
from ..campaign.loop import Settings
from ..crystal.state import Crystals
from ..judge.sun import Reference
from ..measure.hull import Hull
from ..potential.lennard_jones import LennardJones
from .comparing import Check, Part, near, own_randomness, require

CAPABILITIES = {
    "log": "all of its state follows from the log of events in its archive", "resumes": "a new one on the archive of a killed one goes on with it",
    "count": "stops after as many proposals as its settings say"}
METALS, ANIONS = (3, 11, 19, 12, 20), (8, 16, 9, 17)
ENERGY = 1e-4  # eV/atom: what a resumed run may differ by
KILLED_AT = (2, 5, 9)  # events after which the process dies


def invariances(card: Card) -> tuple[str, ...]:
    """None: a loop is given an ask, not a crystal."""
    return ()


def checks(part: Part) -> Iterator[Check]:
    """Checks of one loop; it is built as (archive, ask, settings, oracle=, judges=, generators=) and offers run() and state."""
    subject = Subject(part)
    names = ["repeatable"] + [name for word, name in (("log", "replay"), ("resumes", "resumed"), ("count", "counts")) if part.can(word)]
    yield from (Check(name, "fast", getattr(subject, name)) for name in names)


class Salts:
    """A generator of slightly distorted caesium-chloride cells that forgets nothing it hears."""

    name = "salts"

    def __init__(self):
        self.heard: list[list[str]] = []

    def propose(self, ask: Ask, count: int, seed: int) -> list[Candidate]:
        found = []
        for place in range(count):
            rng = numpy_stream(seed, self.name, place)
            metal, anion = (int(rng.choice([z for z in group if z in ask.palette])) for group in (METALS, ANIONS))
            frac = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5]], dtype=torch.float64) + 0.02 * torch.tensor(rng.standard_normal((2, 3)))
            cell = float(rng.uniform(2.7, 3.1)) * torch.eye(3, dtype=torch.float64)
            found.append(Candidate(f"{self.name}-{seed}-{place}", Crystals.of(frac, [metal, anion], cell), self.name, (), seed))
        return found

    def observe(self, verdicts) -> None:
        self.heard.append([v.key for v in verdicts])


class Killed(BaseException):
    """The process dies here."""


class Dying:
    """An archive whose process is killed after a number of events: the last one is still written."""

    def __init__(self, archive, events: int):
        self.archive, self.left = archive, events

    def __getattr__(self, name):
        return getattr(self.archive, name)

    def append(self, *args, **kwargs):
        event = self.archive.append(*args, **kwargs)
        self.left -= 1
        if self.left <= 0:
            raise Killed
        return event


class Subject:
    """One loop under test, with a toy generator, a pair potential and a hull of its elements."""

    SETTINGS = Settings(count=6, rounds=2, generators={"salts": 1.0}, steps=40, novel=False, keep_symmetry=False)

    def __init__(self, part: Part):
        self.part = part

    def built(self, archive):
        oracle = LennardJones(sigma=2.3, epsilon=0.1, cutoff=6.0, ending="smooth")
        elements = [*METALS, *ANIONS]
        hull = Hull([{z: 1} for z in elements], [-0.3] * len(elements), [str(z) for z in elements], oracle.energy_scheme, "toy")
        return self.part.build(archive=archive, ask=Ask(n_elements=(2, 2), atoms=(1, 4)), settings=self.SETTINGS, oracle=oracle,
                               judges=Judges(hull, Reference()), generators={"salts": Salts()})

    def finished(self, folder: str, kill: int = 0):
        """The state of a whole run in `folder`; with `kill` its process dies after so many events, and another one goes on."""
        path = Path(folder) / "campaign.db"
        if kill:
            with open_archive(path) as archive:
                try:
                    self.built(Dying(archive, kill)).run()
                except Killed:
                    pass
        with open_archive(path) as archive:
            return self.built(archive).run()

    @cached_property
    def unbroken(self):
        with tempfile.TemporaryDirectory() as folder:
            return self.finished(folder)

    def same(self, a, b, what: str) -> None:
        require(a.rounds == b.rounds, f"{what}: candidates {b.rounds}, were {a.rounds}")
        require(a.judged.keys() == b.judged.keys() and len(a.judged) > 0, f"{what}: verdicts of {sorted(b.judged)}, were of {sorted(a.judged)}")
        require([v.passed for v in a.judged.values()] == [v.passed for v in b.judged.values()], f"{what}: other verdicts")
        for key, mine in a.judged.items():
            for r, s in zip(mine.reasons, b.judged[key].reasons, strict=True):
                require(r.check == s.check, f"{what}: {key} is checked for {s.check}, was for {r.check}")
                if math.isfinite(r.value):
                    near(r.value, s.value, f"{what}: {r.check} of {key}", ENERGY, scale=1.0)

    def repeatable(self) -> None:
        with own_randomness(), tempfile.TemporaryDirectory() as folder:
            again = self.finished(folder)
        self.same(self.unbroken, again, "the same seed twice")

    def replay(self) -> None:
        """A new loop on the same archive, before it runs, is in the state that the first one ended in."""
        with tempfile.TemporaryDirectory() as folder:
            state = self.finished(folder)
            with open_archive(Path(folder) / "campaign.db") as archive:
                again = self.built(archive).state
        require(repr(state) == repr(again), "the state that the log gives is not the state that the loop ended in")

    def resumed(self) -> None:
        """Killed after a few, some and many events and gone on with: keys, order and verdicts of the unbroken run, energies within 1e-4 eV/atom."""
        for kill in KILLED_AT:
            with tempfile.TemporaryDirectory() as folder:
                self.same(self.unbroken, self.finished(folder, kill), f"killed after {kill} events and resumed")

    def counts(self) -> None:
        proposed = sum(len(keys) for keys in self.unbroken.rounds.values())
        require(proposed == self.SETTINGS.count, f"{proposed} proposals, {self.SETTINGS.count} were asked for")
        require(self.unbroken.finished and len(self.unbroken.rounds) == self.SETTINGS.rounds, f"{len(self.unbroken.rounds)} rounds, wanted {self.SETTINGS.rounds}")
