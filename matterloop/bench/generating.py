"""Generators compared by what they yield: unique, novel crystals near or on a hull, of all that they proposed and per CPU-hour.

The field's quantity is the gated share of proposals that are stable, unique and novel: C. Zeni et al., Nature 639, 624 (2025), doi:10.1038/s41586-025-08628-5;
rankings invert with the protocol, so this one is printed above every table (`words`). Each generator proposes and relaxes in a process of its own, so that none
pays or spares what another has loaded; what it does is written down as it goes, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from ..archive.files import replacing
from ..archive.records import Ask, Limit
from ..base.errors import BadInput, MatterloopError
from ..base.machine import hardware, versions
from ..base.registry import find
from ..campaign.cost import cpu_seconds
from ..campaign.second_opinion import Asked, SecondOpinion
from ..campaign.tasks import Protocol
from ..crystal.state import Crystals
from ..generate.proposal import Generator, load_generator
from ..generate.screened import ScreenedGenerator
from ..measure.flight import RelaxedOne
from .discovering import calibration, revision
from .generating_figures import METASTABLE, PUBLISHED, figures, ratios
from .generating_judged import Yardsticks, judged, relaxed_crystals
from .relaxing_sides import Book, environment, lines, read_starts, write_starts

FORMAT = 1
BASES = ("random_search", "substitution")  # base cases, where they take part
CONTENDERS = ("random_search", "substitution", "template")
COUNT, ATOMS = 1000, 20
PIECE = re.compile(r"(?P<name>[^,+]+)(?P<options>(,[^,+=]+=[^,+]*)*)(?P<more>(\+[^+]+)*)")


@dataclass(frozen=True)
class Contender:
    """A generator as it takes part; as text NAME[:PRESET][,option=value]...[+above_hull=X][+screens].

    options     keyword arguments of the generator
    above_hull  largest energy above hull in eV/atom that the ask names; None: the ask leaves it open
    screened    whether the gene screens and the gene-energy predictor stand between it and the relaxation
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    above_hull: float | None = None
    screened: bool = False

    @staticmethod
    def parse(text: str) -> Contender:
        """From its text; BadInput for what is none, Missing for an unknown generator."""
        match = PIECE.fullmatch(text.strip())
        if match is None:
            raise BadInput(f"{text!r} is not NAME[:PRESET][,option=value]...[+above_hull=X][+screens]", "generator")
        options = dict(_option(part) for part in match["options"].split(",") if part)
        above, screened = None, False
        for word in (w for w in match["more"].split("+") if w):
            name, _, value = word.partition("=")
            if word == "screens":
                screened = True
            elif name == "above_hull":
                above = float(_number(value, text))
            else:
                raise BadInput(f"{word!r} after the generator's name; allowed are above_hull=X and screens", f"generator {text!r}")
        find(match["name"].partition(":")[0], role=("generator", "search"))
        return Contender(match["name"], options, above, screened)

    @property
    def text(self) -> str:
        """The text that `parse` reads."""
        options = "".join(f",{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in self.options.items())
        return self.name + options + ("" if self.above_hull is None else f"+above_hull={self.above_hull:g}") + ("+screens" if self.screened else "")

    def ask(self, atoms: int) -> Ask:
        """What is asked of it: at most `atoms` atoms in the primitive cell, low energy where wanted, nothing else."""
        return Ask(atoms=(1, atoms), limits=() if self.above_hull is None else (Limit("energy_above_hull", None, self.above_hull, "eV/atom"),))

    def make(self) -> Generator:
        """The generator, behind the screens where wanted."""
        base = load_generator(self.name, **self.options)
        return ScreenedGenerator(base) if self.screened else base


def _option(part: str) -> tuple[str, Any]:
    name, _, value = part.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"above_hull is {text!r}, a number of eV/atom is wanted", f"generator {where!r}") from None


@dataclass(frozen=True)
class Task:
    """What a contender's work folder is for; the same for all contenders of a comparison but for the name."""

    generator: str
    count: int = COUNT
    seed: int = 0
    atoms: int = ATOMS
    protocol: Protocol = field(default_factory=Protocol)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "protocol": asdict(self.protocol)}

    @staticmethod
    def read(folder: Path) -> Task:
        """From the folder's task.json."""
        held = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        return Task(**{**held, "protocol": Protocol(**held["protocol"])})

    def claim(self, folder: Path) -> None:
        """Write it into the folder; BadInput if that holds another task."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "task.json"
        if file.exists():
            if (held := json.loads(file.read_text(encoding="utf-8"))) != self.plain():
                differs = sorted(k for k in {*held, *self.plain()} if held.get(k) != self.plain().get(k))
                raise BadInput(f"holds a run with another {', '.join(differs)}; give another folder or the same settings", str(folder))
        else:
            _write(file, self.plain())


def _write(file: Path, content: Any) -> None:
    with replacing(file) as new:
        new.write_text(json.dumps(content, default=str) + "\n", encoding="utf-8")


# propose and relax: what a contender's CPU time is counted for


def propose(task: Task, folder: Path, generator: Generator | None = None) -> None:
    """Write proposals.npz and proposals.json: keys, what the generator says of itself and of each crystal, CPU seconds with what it had to load."""
    begun = cpu_seconds()
    contender = Contender.parse(task.generator) if generator is None else None
    ask = contender.ask(task.atoms) if contender is not None else Ask(atoms=(1, task.atoms))
    generator = generator or contender.make()
    found = generator.propose(ask, task.count, task.seed)
    spent = cpu_seconds() - begun
    if not found:
        raise BadInput("proposes no crystal", f"generator {task.generator!r}")
    write_starts(folder / "proposals.npz", Crystals.join([c.crystal.bare() for c in found]))
    _write(folder / "proposals.json", {
        "keys": [c.key for c in found], "about": [{"parents": c.parents, **c.about} for c in found], "report": getattr(generator, "report", {}), "cpu": spent})


def relax(task: Task, folder: Path, should_stop: Callable[[], bool] | None = None) -> None:
    """Relax what has no line in relaxed.jsonl yet; each line holds the CPU seconds since the one before, loading the potential among them."""
    clock, book = cpu_seconds(), Book(folder / "relaxed.jsonl")
    starts, done = read_starts(folder / "proposals.npz"), {x["index"] for x in book.held}
    rest = [i for i in range(len(starts)) if i not in done]
    if not rest:
        return

    def write(place: int, one: RelaxedOne) -> None:
        nonlocal clock
        if one.status == "stopped":
            return
        now = cpu_seconds()
        book.add({
            "index": rest[place], "status": one.status, "reason": one.reason, "energy": one.energy, "fmax": one.fmax, "smax": one.smax, "steps": one.steps,
            "evaluations": len(one.energies), "seconds": one.seconds, "frac": one.crystal.frac.tolist(), "cell": one.crystal.cell[0].tolist(), "cpu": now - clock})
        clock = now

    task.protocol.relax(starts[rest], task.protocol.oracle(), on_done=write, **({} if should_stop is None else {"should_stop": should_stop}))


def carry_out(folder: Path, generator: Generator | None = None, should_stop: Callable[[], bool] | None = None) -> None:
    """Propose and relax what the folder's task asks for, from where an earlier run of it ended."""
    task = Task.read(folder)
    if not (folder / "proposals.json").exists():
        propose(task, folder, generator)
    relax(task, folder, should_stop)


def in_own_process(folder: Path, threads: int = 1) -> None:
    """`carry_out` in a new process with `threads` threads; MatterloopError with its last words where it dies."""
    done = subprocess.run([sys.executable, "-m", "matterloop.bench.generating", str(folder)], env=environment(threads), stderr=subprocess.PIPE, text=True)
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or [f"signal or status {done.returncode}"]
        raise MatterloopError(f"{folder.name} ended early: {tail[0]}")


@dataclass(frozen=True)
class Carried:
    """What a contender's folder holds once `carry_out` is through."""

    keys: tuple[str, ...]
    proposed: Crystals
    ends: tuple[dict[str, Any], ...]
    report: Mapping[str, Any]
    stages: Mapping[str, float]

    @staticmethod
    def read(folder: Path) -> Carried:
        """From the folder; BadInput where relaxations are missing."""
        held = json.loads((folder / "proposals.json").read_text(encoding="utf-8"))
        ends = sorted(lines(folder / "relaxed.jsonl"), key=lambda x: x["index"])
        if [x["index"] for x in ends] != list(range(len(held["keys"]))):
            raise BadInput(f"holds {len(ends)} relaxations of {len(held['keys'])} proposals; run it again to go on", str(folder))
        return Carried(tuple(held["keys"]), read_starts(folder / "proposals.npz"), tuple(ends), held["report"], {"propose": held["cpu"], "relax": sum(x["cpu"] for x in ends)})


# judge


def second_opinion(folder: Path, name: str, rows: list[dict[str, Any]], carried: Carried, protocol: Protocol, opinion: SecondOpinion | None = None) -> float:
    """Relax on with the potential `name` what is valid, unique and novel, and write its distance to that potential's own hull into `rows`; returns CPU seconds.

    A relaxation that did not converge gives no distance.
    """
    book, chosen = Book(folder / f"{name}.jsonl"), {r["key"]: i for i, r in enumerate(rows) if r["valid"] and r["unique"] and r["novel"]}
    known = {x["key"] for x in book.held}
    rest, clock = [k for k in chosen if k not in known], cpu_seconds()
    if rest:
        opinion = opinion or SecondOpinion.of(Asked(name), first=protocol.oracle().name)
        ends = relaxed_crystals(carried.proposed, carried.ends)

        def write(content: dict[str, Any], crystal: Crystals | None) -> None:
            nonlocal clock
            now = cpu_seconds()
            book.add({**content, "cpu": now - clock})
            clock = now

        opinion.relax(rest, Crystals.join([ends[chosen[k]] for k in rest]), protocol, METASTABLE, write)
    for one in lines(folder / f"{name}.jsonl"):
        if one["key"] in chosen:
            rows[chosen[one["key"]]]["above"][name] = one["energy_above_hull"] if one["converged"] and one.get("energy_above_hull") is not None else float("nan")
    return sum(x["cpu"] for x in lines(folder / f"{name}.jsonl"))


def measure(generators: Sequence[str] = CONTENDERS, *, count: int = COUNT, seed: int = 0, atoms: int = ATOMS, hulls: Sequence[str] = ("chgnet", PUBLISHED), base: Sequence[str] = (),
            work: str | Path | None = None, threads: int = 1, protocol: Protocol | None = None, data_dir: str | Path | None = None, yardsticks: Yardsticks | None = None,
            run: Callable[[Path], None] | None = None, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Let every generator propose `count` crystals, relax and judge them; returns the record, plain data.

    generators  texts of contenders, see `Contender`
    hulls       the first is the relaxing potential's own; "published" the converted formation energies with the second novelty; others potentials that relax on
    base        base cases of the ratios; those of BASES that take part by default
    work        folder to write to as it goes, and to go on from; a temporary one if absent
    yardsticks  instead of the shipped ones; run: instead of a process for each contender

    BadInput for impossible settings or a folder of another task, Missing for unknown generators and potentials, NotHere where data are missing.
    """
    contenders = [Contender.parse(text) for text in generators]
    names, protocol = [c.text for c in contenders], protocol or Protocol(potential=hulls[0] if hulls else "chgnet")
    if not contenders or len(set(names)) < len(names) or count < 1 or atoms < 1:
        raise BadInput(f"{len(names)} generators ({', '.join(names)}), {count} proposals of at most {atoms} atoms; generators that differ and numbers above 0 are wanted", "bench generate")
    if not hulls or hulls[0] != protocol.potential or len(set(hulls)) < len(hulls):
        raise BadInput(f"hulls are {', '.join(hulls) or 'none'}; the first must be that of the potential that relaxes, {protocol.potential}, and none may come twice", "bench generate")
    bases = list(base) or [b for b in BASES if b in names]
    if lost := [b for b in bases if b not in names]:
        raise BadInput(f"the base case {lost[0]} is none of the generators {', '.join(names)}", "bench generate")
    if work is None:
        with tempfile.TemporaryDirectory(prefix="matterloop-bench-generate-") as made:
            return measure(generators, count=count, seed=seed, atoms=atoms, hulls=hulls, base=bases, work=made, threads=threads, protocol=protocol, data_dir=data_dir, yardsticks=yardsticks,
                           run=run, note=note)
    before, work = calibration(), Path(work)
    folders = {text: work / re.sub(r"[^A-Za-z0-9.=_-]+", "_", text) for text in names}
    for text, folder in folders.items():
        Task(text, count, seed, atoms, protocol).claim(folder)
    yardsticks = yardsticks or Yardsticks.of(protocol.potential, published=PUBLISHED in hulls, data_dir=data_dir)
    sides, single = {}, {}
    for contender, (text, folder) in zip(contenders, folders.items(), strict=True):
        note(f"{text}: proposing and relaxing")
        (run or (lambda place: in_own_process(place, threads)))(folder)
        carried, clock = Carried.read(folder), cpu_seconds()
        rows = judged(carried.keys, carried.proposed, carried.ends, yardsticks)
        stages = {**carried.stages, "judge": cpu_seconds() - clock}
        for name in [h for h in hulls if h not in yardsticks.hulls]:
            note(f"{text}: relaxing on with {name}")
            stages[f"relax with {name}"] = second_opinion(folder, name, rows, carried, protocol)
        _write(folder / "rows.json", rows)
        sides[text] = rows, stages
        single[text] = {"asked": count, "above_hull_asked": contender.above_hull, "screens": contender.screened, "report": carried.report,
                        **figures(rows, stages, hulls, seed, text)}
        best = single[text]["hulls"][single[text]["lowest"]["metasun"]]["metasun"]
        note(f"{text}: MetaSUN {best['value']:.1%} on the hull of {single[text]['lowest']['metasun']}")
    return {
        "record": "matterloop bench generate", "format": FORMAT, "made": datetime.now(timezone.utc).isoformat(timespec="seconds"), "seed": seed, "count": count, "atoms": atoms,
        "hulls": list(hulls), "relaxation": asdict(protocol), "threads": threads, "judged_against": yardsticks.about(), "protocol": words(protocol, hulls, count, seed, atoms), "generators": single,
        "base_cases": bases, "ratios": {b: ratios(sides, b, hulls, seed) for b in bases}, "calibration": [before, calibration()],
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [], "hardware": hardware(), "versions": versions(), "revision": revision()}


def words(protocol: Protocol, hulls: Sequence[str], count: int, seed: int, atoms: int) -> list[str]:
    """The protocol in sentences, printed above every table."""
    others = [h for h in hulls[1:] if h != PUBLISHED]
    return [
        f"A proposal is what leaves the generator: {count} wanted of each, at most {atoms} atoms in the primitive cell, seed {seed}, fixed before the run. Learnt predictors and gene screens may act "
        "before it, no oracle call does; what they turn away and all CPU time is reported.",
        f"All proposals are relaxed with {protocol.potential} ({'symmetry kept, ' if protocol.keep_symmetry else ''}fmax {protocol.fmax:g} eV/Å, smax {protocol.smax:g} eV/Å^3, at most {protocol.steps} steps); "
        "failures and what does not converge count as not valid. All shares are of all proposed.",
        "Valid (distances, volume, gate), unique (greedy in the order of proposal) and novel are decided on relaxed structures with StructureMatcher(0.2, 0.3, 5, primitive, scale), novel against the "
        "reference and the structures trained on; known phases whose geometry is not at hand reject by Wyckoff gene.",
        "Energy above hull is the signed distance to a frozen hull that holds no candidate. MetaSUN: valid, unique, novel and at most 0.1 eV/atom above; SUN: at most 0.",
        *(["published: the Materials Project's 132,752 formation energies converted to MP2020 by fitted constants; CHGNet energies come onto it by the Materials Project's elements; there a second "
           "novelty rejects any formula that the table has in the same space group."] if PUBLISHED in hulls else []),
        *([f"{', '.join(others)}: valid, unique and novel crystals relaxed on by that potential and judged on its own hull."] if others else []),
        "No chemical systems are given: they come from the generator. Runs with above_hull ask for low energy only. 95 % intervals: bootstrap over proposals. CPU seconds: proposing and relaxing, "
        "loading of models and tables among them; judging is reported, not counted.",
    ]


def main(folder: str) -> None:
    """Carry out the task of one folder."""
    import warnings

    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    carry_out(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
