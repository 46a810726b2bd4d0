"""The real thing killed and resumed: CHGNet, the shipped hull, every file of the folder."""

import csv
import os
import signal
import subprocess
import sys

import pytest

from matterloop.app.discover import discover, resume
from matterloop.archive.database import open_archive
from matterloop.campaign.loop import CAMPAIGN

WISH = "stable ternary oxides of lithium with fewer than 10 atoms"
TOLERANCE = 1e-4  # eV/atom, the promise for energies of a resumed run

# Kills itself with signal 9 at the nth call of a function of the package, then runs what it was told to.
KILLED = """
import os, signal, sys
from importlib import import_module
module, path, nth, wish, count, folder, generators = sys.argv[1:]
owner = import_module("matterloop." + module)
*classes, name = path.split(".")
for part in classes:
    owner = getattr(owner, part)
original, left = getattr(owner, name), int(nth)
def dying(*given, **named):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*given, **named)
setattr(owner, name, dying)
from matterloop.app.discover import discover
discover(wish, count=int(count), out=folder, generators=eval(generators) or None)
"""
PLACES = {  # (module, function, which call of it)
    "propose": ("generate.random_search", "RandomSearch.propose", 1),
    "screen": ("campaign.judging", "Judges.screen", 1),
    "relax, first evaluation": ("potential.chgnet", "CHGNetOracle.label", 1),
    "relax, some crystals done": ("potential.chgnet", "CHGNetOracle.label", 14),
    "relax, between two crystals": ("campaign.loop", "Campaign.log", 7),
    "judge": ("campaign.judging", "Judges.judge", 1),
    "a file half written": ("archive.files", "os.fsync", 5),
    "writing the table": ("archive.export", "candidates_table", 1),
    "writing the structures": ("app.folder", "write_atomic", 4),
    "writing the report": ("app.report", "report", 1),
}


def kill(place, folder, wish, count, generators=None):
    module, path, nth = PLACES[place] if isinstance(place, str) else place
    done = subprocess.run([sys.executable, "-c", KILLED, module, path, str(nth), wish, str(count), str(folder), repr(generators or {})],
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def same(resumed, whole):
    """Keys, order, verdicts and notes equal, numbers within the tolerance, the files of the folder complete; returns the largest difference of energies."""
    assert [r.key for r in resumed.rows] == [r.key for r in whole.rows] and resumed.finished
    assert [r.kept for r in resumed.rows] == [r.kept for r in whole.rows] and resumed.funnel == whole.funnel
    checks = lambda r: [(x.check, x.passed, x.borderline) for x in r.reasons]
    assert [checks(r) for r in resumed.rows] == [checks(r) for r in whole.rows]
    gaps = [abs(a.energy - b.energy) for a, b in zip(resumed.rows, whole.rows, strict=True) if a.relaxed or b.relaxed]
    assert gaps and max(gaps) < TOLERANCE, gaps
    return max(gaps)


def complete(folder, outcome):
    table = list(csv.DictReader((folder / "candidates.csv").open()))
    assert [r["key"] for r in table] == [r.key for r in outcome.rows]
    assert {p.name for p in (folder / "structures").iterdir()} == {f"{r.key}.cif" for r in outcome.rows if r.relaxed}
    assert (folder / "report.html").stat().st_size > 10_000 and (folder / "run.toml").stat().st_size and (folder / "candidates.parquet").stat().st_size
    assert not list(folder.rglob(".*")), "left over from a write that was cut short"
    archive = open_archive(folder / "campaign.db", create=False, readonly=True)
    assert archive.verify() == [] and [e.number for e in archive.events(CAMPAIGN)] == list(range(len(archive.events(CAMPAIGN))))
    archive.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return discover(WISH, count=8, out=tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_kill_9_in_every_stage_then_resume_is_the_unbroken_run(place, tmp_path, whole, record_property):
    folder = tmp_path / "run"
    kill(place, folder, WISH, 8)
    outcome = resume(folder)
    record_property("largest_energy_difference_ev_per_atom", same(outcome, whole))
    complete(folder, outcome)


def test_a_kill_in_the_middle_of_a_relaxation_then_resume_is_the_unbroken_run(tmp_path):
    wish, few = "binary lithium oxides", {"substitution": 1.0}
    kill(("campaign.loop", "Campaign.log", 6), tmp_path / "run", wish, 3, few)  # asked, started, proposed, screened, one relaxed, then the end
    outcome = resume(tmp_path / "run")
    assert same(outcome, discover(wish, count=3, out=tmp_path / "whole", generators=few)) == 0
    complete(tmp_path / "run", outcome)


def test_a_relaxation_does_not_depend_on_what_shares_its_batch():
    """Without `steady` single precision leads these to other end points; with it they agree to the bit."""
    import torch

    from matterloop.crystal.state import Crystals
    from matterloop.measure.relax import relax
    from matterloop.potential.chgnet import CHGNetOracle

    rng = torch.Generator().manual_seed(0)
    salts = [Crystals.of(torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0]]) + 0.03 * torch.randn(3, 3, generator=rng), [z, 8, 8], 3.4 * torch.eye(3)) for z in (12, 20, 22, 30)]
    oracle, batch = CHGNetOracle(device="cpu").steady(), Crystals.join(salts)
    together = relax(batch, oracle, steps=40)
    alone = [relax(one, oracle, steps=40)[0] for one in salts]
    assert [r.energy for r in together] == [r.energy for r in alone] and [r.steps for r in together] == [r.steps for r in alone]
    assert max(r.steps for r in alone) > 3
