"""`--executor` at the command line: wrong ones are refused before anything is made, right ones change nothing but where the work is done."""

import os

import pytest

from matterloop.app.discover import discover, resume
from matterloop.archive.database import open_archive
from matterloop.campaign.loop import CAMPAIGN
from matterloop.campaign.watch import Watch

WISH = "stable ternary oxides of lithium with fewer than 10 atoms"
TOLERANCE = 1e-4  # eV/atom


@pytest.mark.parametrize("executor, told", [("locl", "did you mean local"), ("local:none", "number of workers"), ("nowhere.toml", "cannot be read")])
def test_a_wrong_executor_is_refused_and_leaves_no_folder(executor, told, cli, tmp_path):
    code, _, err = cli("discover", WISH, "--count", 2, "--out", tmp_path / "run", "--executor", executor)
    assert code == 2 and told in err and not (tmp_path / "run").exists()


def test_slurm_without_slurm_is_refused(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = cli("discover", WISH, "--count", 2, "--out", tmp_path / "run", "--executor", "slurm")
    assert code == 2 and "there is no sbatch" in err and not (tmp_path / "run").exists()


def same(one, other):
    assert [r.key for r in one.rows] == [r.key for r in other.rows] and [r.kept for r in one.rows] == [r.kept for r in other.rows] and one.funnel == other.funnel
    assert [[(x.check, x.passed, x.borderline) for x in r.reasons] for r in one.rows] == [[(x.check, x.passed, x.borderline) for x in r.reasons] for r in other.rows]
    gaps = [abs(a.energy - b.energy) for a, b in zip(one.rows, other.rows, strict=True) if a.relaxed]
    assert gaps and max(gaps) < TOLERANCE
    return max(gaps)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes:2", "local:2", "local:1"])
def test_chgnet_gives_the_same_crystals_on_workers_as_here(executor, tmp_path, record_property):
    if executor.startswith("local"):
        pytest.importorskip("parsl")
    here = discover(WISH, count=8, out=tmp_path / "here")
    there = discover(WISH, count=8, out=tmp_path / "a run", executor=executor)
    record_property("largest_energy_difference_ev_per_atom", same(there, here))
    assert there.finished and not (tmp_path / "a run" / "spool").exists() and there.run["executor"]["workers_per_node"] == int(executor[-1])
    assert "cpu" in str(there.cost) and there.cost["stages"]["relax"]["cpu_seconds"] > 0


@pytest.mark.slow
def test_a_run_begun_on_workers_is_resumed_here_and_the_other_way_round(tmp_path):
    whole = discover(WISH, count=8, out=tmp_path / "whole")
    for first, then in (("processes:2", ""), ("", "processes:2")):
        folder = tmp_path / f"from {first or 'here'}"
        polls = iter(range(10**9))
        done = discover(WISH, count=8, out=folder, executor=first, watch=Watch(stop=lambda: next(polls) > (20 if not first else 200)))
        if not done.finished:
            done = resume(folder, executor=then)
        same(done, whole)
        with open_archive(folder / "campaign.db", create=False, readonly=True) as archive:
            ended = [e.content["key"] for e in archive.events(CAMPAIGN) if e.kind in ("relaxed", "failed")]
        assert len(ended) == len(set(ended)) and os.listdir(folder).count("spool") == 0
