"""--second-opinion from the command line: a finished run asks for one, is killed in the middle of it, and goes on."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest

from matterloop.app.discover import resume, show
from matterloop.archive.database import open_archive
from matterloop.campaign.loop import CAMPAIGN
from matterloop.campaign.second_opinion import Asked
from matterloop.campaign.state import replay

OWN = "formula,energy_per_atom,scheme,potential\nLi,-1.9,mp2020,chgnet\nO2,-4.9,mp2020,chgnet\n"
NEAR = "formula,energy_per_atom,scheme,potential\nLi,0.5,lj,lennard_jones\nO2,0.5,lj,lennard_jones\nXq,0.5,lj,lennard_jones\n"  # all lie below these
FAR = NEAR.replace("0.5", "-90")  # and far above these
KILLED = """
import os, signal, sys
from matterloop.app.discover import resume
from matterloop.campaign.loop import Campaign
from matterloop.campaign.second_opinion import Asked
original, left = Campaign.log, [int(sys.argv[3])]
def dying(self, kind, *given, **named):
    original(self, kind, *given, **named)
    if kind == "second_opinion":
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
Campaign.log = dying
resume(sys.argv[1], second_opinion=Asked("lennard_jones", sys.argv[2]))
"""


def rows(out):
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def kept(cli, tmp_path_factory):
    """(folder of a run that keeps several lithium oxides, folder of references)."""
    place = tmp_path_factory.mktemp("kept")
    for name, text in (("own.csv", OWN), ("near.csv", NEAR), ("far.csv", FAR)):
        (place / name).write_text(text)
    code, _, err = cli("discover", "binary lithium oxides", "--count", 4, "--reference", place / "own.csv", "--out", place / "run", "--no-lookup", "--quiet", "--json")
    assert code == 0, err
    assert len(show(place / "run").kept) >= 3
    return place / "run", place


@pytest.fixture
def run(kept, tmp_path):
    import shutil

    return shutil.copytree(kept[0], tmp_path / "run"), kept[1]


def test_a_finished_run_asks_for_a_second_opinion_and_shows_it(cli, run):
    folder, place = run
    before = {r.key: (r.kept, r.energy_above_hull) for r in show(folder).rows}
    code, out, err = cli("resume", folder, "--second-opinion", "lennard_jones", "--second-reference", place / "near.csv", "--no-lookup", "--quiet", "--json")
    assert code == 0, err
    answer = next(x["second_opinion"] for x in rows(out) if "second_opinion" in x)
    candidates = [x for x in rows(out) if "key" in x]
    assert {r["key"]: (r["kept"], r["energy_above_hull"]) for r in candidates} == before, "the first potential's verdicts stay"
    for r in candidates:
        if r["key"] in answer["agree"]:
            assert r["second_within_limit"] == "yes" and r["second_energy_above_hull"] <= 0.1 and r["second_energy_per_atom"] == r["second_uncorrected_energy_per_atom"]
    assert answer["judged"] + len(answer["none"]) == answer["candidates"] == sum(k for k, _ in before.values()) and not answer["waiting"] and not answer["disagree"]
    assert answer["asked"]["scheme"] == "lj" and answer["asked"]["phases"] == 2
    page, table = (folder / "report.html").read_text(), list(csv.DictReader((folder / "candidates.csv").open()))
    assert "Second opinion: lennard_jones" in page and "above the hull by lennard_jones" in page and "nothing is averaged" in page and "near.csv, row 3" in page
    assert [t["second_within_limit"] for t in table] == [r["second_within_limit"] for r in candidates]
    assert "second_opinion" in (folder / "run.toml").read_text()
    assert cli("show", folder, "--json")[1].splitlines()[:-1] == out.splitlines()[:-1], "show tells the same without computing; the last line is what it cost"


def test_disagreements_are_listed_and_both_must_agree_turns_them_away(run, cli):
    folder, place = run
    outcome = resume(folder, second_opinion=Asked("lennard_jones", str(place / "far.csv")))
    apart = outcome.second["disagree"]
    assert apart and {r.key for r in outcome.kept} >= set(apart)
    page = (folder / "report.html").read_text()
    assert "Where they disagree" in page and all(k in page for k in apart)
    strict = resume(folder, second_opinion=Asked("lennard_jones", str(place / "far.csv"), True))
    assert not strict.kept and dict(strict.funnel)["by both potentials"] == 0 and [r.second for r in strict.rows] == [r.second for r in outcome.rows]
    assert "Only these are kept" in (folder / "report.html").read_text() and not show(folder).kept
    assert "disagrees on" in cli("show", folder)[2] and resume(folder).second["asked"]["both"], "a resumed run keeps asking what it asked"


def test_killed_in_the_middle_then_resumed_it_is_the_unbroken_opinion(run, tmp_path):
    import shutil

    folder, place = run
    whole = resume(shutil.copytree(folder, tmp_path / "whole"), second_opinion=Asked("lennard_jones", str(place / "near.csv")))
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(place / "near.csv"), "2"], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    archive = open_archive(folder / "campaign.db", create=False, readonly=True)
    assert len(replay(archive.events(CAMPAIGN)).second) == 2
    archive.close()
    halfway = show(folder)
    assert len(halfway.second["waiting"]) == len(halfway.kept) - 2 and not halfway.finished
    outcome = resume(folder)
    assert outcome.finished and [r.key for r in outcome.rows] == [r.key for r in whole.rows]
    for mine, theirs in zip(outcome.rows, whole.rows, strict=True):
        assert bool(mine.second) == bool(theirs.second) == mine.kept
        if mine.second:
            assert mine.second["within"] == theirs.second["within"] and mine.second["reason"] == theirs.second["reason"] and mine.second["steps"] == theirs.second["steps"]
            assert mine.second.get("energy_above_hull") == pytest.approx(theirs.second.get("energy_above_hull"), abs=1e-6)
    archive = open_archive(folder / "campaign.db", create=False, readonly=True)
    keys = [e.content["key"] for e in archive.events(CAMPAIGN) if e.kind == "second_opinion"]
    archive.close()
    assert len(keys) == len(set(keys)) == len(outcome.kept), "nothing is judged twice"


def test_another_hull_is_another_question(run):
    folder, place = run
    near = resume(folder, second_opinion=Asked("lennard_jones", str(place / "near.csv")))
    far = resume(folder, second_opinion=Asked("lennard_jones", str(place / "far.csv")))
    assert near.second["agree"] and not far.second["agree"] and far.second["judged"] == near.second["judged"]


@pytest.mark.parametrize("options, why", [
    (("--second-opinion", "sevenet-0"), "did you mean sevennet-0"), (("--second-opinion", "chgnet"), "judged by 'chgnet' already"),
    (("--second-opinion", "lennard_jones"), "hull of its own"), (("--both-must-agree",), "name the potential too"), (("--second-reference", "x.csv"), "name the potential too")])
def test_wrong_use_is_told_before_anything_is_made(cli, tmp_path, options, why):
    code, _, err = cli("discover", "binary lithium oxides", "--count", 2, "--out", tmp_path / "run", "--no-lookup", "--quiet", *options)
    assert code == 2 and why in err and not (tmp_path / "run").exists()


def test_hull_takes_a_second_opinion(cli, run):
    folder, place = run
    file = sorted((folder / "structures").iterdir())[0]
    code, out, err = cli("hull", file, "--as-is", "--second-opinion", "lennard_jones", "--second-reference", place / "near.csv", "--json", "--quiet")
    one = rows(out)[0]
    assert code == 0 and one["potential"] == "chgnet" and one["energy_above_hull"] < 2, err
    assert one["second_energy_above_hull"] == pytest.approx(one["second"]["energy_per_atom"] - 0.5) and one["second"]["steps"] == 0 and one["second"]["within"] is None
    relaxed = rows(cli("hull", file, "--second-opinion", "lennard_jones", "--second-reference", place / "near.csv", "--json", "--quiet")[1])[0]
    assert relaxed["converged"] and (relaxed["second"]["converged"] or relaxed["second_reason"])
