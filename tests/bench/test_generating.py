"""The protocol of `bench generate`: gates and their order, greedy uniqueness, both novelties, signed distances, intervals, ratios, and a run that is killed."""

import json
import math

import numpy as np
import pytest
import torch

from matterloop.archive.records import Candidate
from matterloop.base.errors import BadInput, Missing
from matterloop.bench import generating, generating_figures as figures
from matterloop.bench.generating import Carried, Contender, Task, carry_out, measure
from matterloop.bench.generating_judged import Yardsticks, judged, moved, with_structures
from matterloop.campaign.tasks import Protocol
from matterloop.crystal.state import Crystals
from matterloop.crystal.wyckoff import free_parameters
from matterloop.judge.sun import Reference, describe
from matterloop.measure.hull import Hull
from matterloop.measure.published_hull import PublishedTable

NA, CL, CS = 11, 17, 55


def salt(a=NA, b=CL, length=5.6):
    return Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length / 2 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))


def chloride(a=CS, b=CL, length=4.1):
    return Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * torch.eye(3, dtype=torch.float64))


def end(crystal, per_atom, status="converged", seconds=1.0):
    return {"status": status, "reason": "", "energy": per_atom * crystal.atoms, "seconds": seconds, "frac": crystal.frac.tolist(), "cell": crystal.cell[0].tolist()}


def yardsticks(known=(), published=(), names=("ours",)):
    """Elements at 0, NaCl at -2 and CsCl at -1 eV/atom."""
    hull = Hull([{NA: 1}, {CL: 1}, {CS: 1}, {NA: 1, CL: 1}, {CS: 1, CL: 1}], [0, 0, 0, -2.0, -1.0], ["Na", "Cl", "Cs", "NaCl", "CsCl"], "test", "test")
    crystals = list(known)
    described = describe(Crystals.join(crystals), [f"known-{i}" for i in range(len(crystals))]) if crystals else []
    reference = Reference({}, lambda composition: [d for d in described if d.prepared.composition == composition], True, "test")
    table = PublishedTable(tuple(k for k, _ in published), np.zeros(len(published)), np.array([g for _, g in published], dtype=int)) if published else None
    return Yardsticks(reference, {name: (hull, lambda compositions, energies: energies) for name in names}, table)


def verdicts(crystals, energies, statuses=None, **more):
    statuses = statuses or ["converged"] * len(crystals)
    ends = [end(c, e, s) for c, e, s in zip(crystals, energies, statuses, strict=True)]
    return judged([f"k{i}" for i in range(len(crystals))], Crystals.join(crystals), ends, yardsticks(**more))


# gates


def test_the_distance_is_signed_and_the_hull_holds_no_candidate():
    rows = verdicts([salt(), salt(length=5.7), chloride()], [-2.25, -1.95, -1.0])
    assert [r["above"]["ours"] for r in rows] == pytest.approx([-0.25, 0.05, 0.0])  # the first does not lower the hull for the second


def test_uniqueness_is_greedy_in_the_order_of_proposal_and_asked_of_valid_ones_only():
    rows = verdicts([salt(), salt(length=5.7), chloride(), salt(length=5.5)], [-1.0, -2.2, -1.0, -1.0], ["failed", "converged", "converged", "converged"])
    assert [r["valid"] for r in rows] == [False, True, True, True]
    assert [r["unique"] for r in rows] == [False, True, True, False] and "k1" in rows[3]["repeats"]  # the failed one does not stand in the way
    worse_first = verdicts([salt(), salt(length=5.7)], [-1.0, -2.2])
    assert [r["unique"] for r in worse_first] == [True, False]  # the better one comes later and is lost: order decides, not energy


def test_what_does_not_converge_is_not_valid_and_its_structure_still_counted():
    rows = verdicts([salt()], [-2.0], ["steps"])
    assert not rows[0]["valid"] and not rows[0]["novel"] and rows[0]["structural"] and rows[0]["space_group"] == 225


def test_atoms_on_top_of_each_other_are_not_valid():
    squeezed = salt(length=0.9)
    row = judged(["k"], salt(), [end(squeezed, -3.0)], yardsticks())[0]
    assert not row["valid"] and not row["structural"] and row["structural_as_proposed"]


def test_novelty_is_asked_of_the_relaxed_structure_and_of_unique_ones_only():
    rows = verdicts([salt(length=5.7), chloride(), chloride(length=4.2)], [-2.0, -1.0, -1.0], known=[salt()])
    assert [r["novel"] for r in rows] == [False, True, False] and "known-0" in rows[0]["known_as"] and not rows[2]["unique"]


def test_the_second_novelty_turns_away_a_formula_in_the_same_space_group():
    key = ((CL, 1), (CS, 1))
    for group, passed in ((221, False), (225, True)):
        row = verdicts([chloride()], [-1.0], published=[(key, group)])[0]
        assert row["novel"] and row["second_novel"] is passed and row["space_group"] == 221


def test_structures_that_were_trained_on_are_known_even_where_another_setting_wrote_them():
    known = with_structures(Reference({"x": ("held",)}), ["held", "own-1"], free_parameters(Crystals.join([chloride(), salt(length=5.4)])))
    found = describe(Crystals.join([salt(), chloride()]), ["a", "b"])
    assert [len(known.crystals(d.prepared.composition)) for d in found] == [1, 0]  # `held` is in the reference already
    rows = judged(["a"], salt(), [end(salt(), -2.0)], Yardsticks(known, {}))
    assert rows[0]["unique"] and not rows[0]["novel"] and "own-1" in rows[0]["known_as"]


def test_moves_of_atoms_are_measured_without_the_shift_of_all_and_without_strain():
    rutile = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.3, 0], [0.7, 0.7, 0]], [22, 22, 8, 8], np.diag([4.0, 4.0, 3.0]))
    assert moved(rutile, rutile.put(frac=rutile.frac + 0.9, cell=1.1 * rutile.cell)) == pytest.approx(0, abs=1e-12)
    frac = rutile.frac.clone()
    frac[2, 0] += 0.1
    frac[3, 0] -= 0.1
    assert moved(rutile, rutile.put(frac=frac % 1)) == pytest.approx(math.sqrt(2 * 0.4**2 / 4))


# figures


def row(valid=True, unique=True, novel=True, second=True, seconds=1.0, **above):
    return {"valid": valid, "unique": unique, "novel": novel, "second_novel": second, "seconds": seconds, "above": above, "system": "Cl-Na", "space_group": 225, "covered": True, "rmsd": 0.1,
            "volume_ratio": 1.0, "structural": True, "structural_as_proposed": True, "charge_balanced": True, "converged": True, "kept_space_group": True, "atoms": 2}


def test_a_hit_passes_every_gate_and_limits_are_included():
    rows = [row(a=0.1), row(a=0.0), row(a=0.1000001), row(a=-1, valid=False), row(a=-1, unique=False), row(a=-1, novel=False), row(a=math.nan), row(), row(a=-1, second=False)]
    assert figures.hits(rows, "a", 0.1).tolist() == [True, True, False, False, False, False, False, False, True]
    assert figures.hits(rows, "a", 0.0).tolist() == [False, True, False, False, False, False, False, False, True]
    assert not figures.hits(rows, "a", 0.1, second=True)[-1]
    published = [row(published=-1.0, second=False), row(published=-1.0)]
    assert figures.hits(published, figures.PUBLISHED, 0.1).tolist() == [False, True]  # there the second novelty is always asked


def test_shares_are_of_all_proposed_and_the_lowest_hull_leads():
    rows = [row(a=-0.1, b=0.05), row(a=0.05, b=0.3), row(a=0.05, valid=False), row(a=0.5, b=0.5)]
    found = figures.figures(rows, {"propose": 4.0, "relax": 8.0, "judge": 100.0}, ("a", "b"))
    assert found["hulls"]["a"]["metasun"]["value"] == 0.5 and found["hulls"]["a"]["sun"]["value"] == 0.25
    assert found["hulls"]["b"]["metasun"]["value"] == 0.25 and found["lowest"] == {"metasun": "b", "sun": "b"} and found["valid"]["value"] == 0.75
    assert found["hulls"]["a"]["metasun_per_cpu_hour"]["value"] == pytest.approx(2 * 3600 / 12)  # the judges' seconds do not count


def test_a_bootstrap_interval_is_that_of_a_binomial_share():
    held = np.arange(1000) < 300
    found = figures.share(held, np.random.default_rng(0), 4000)
    assert found["count"] == 300 and found["value"] == 0.3
    assert (found["low"], found["high"]) == (pytest.approx(0.3 - 1.96 * math.sqrt(0.21 / 1000), abs=0.003), pytest.approx(0.3 + 1.96 * math.sqrt(0.21 / 1000), abs=0.003))
    none = figures.share(np.zeros(1000, bool), np.random.default_rng(0))
    assert none["value"] == 0 and none["low"] == 0 and none["high"] == pytest.approx(1 - 0.025 ** (1 / 1000))  # exact where a bootstrap has no width


def test_seconds_are_shared_out_by_work_and_add_up():
    rows = [row(seconds=1.0), row(seconds=3.0)]
    assert figures.seconds_of(rows, {"propose": 2.0, "relax": 8.0, "judge": 9.0}).tolist() == [1 + 2, 1 + 6]


def test_a_ratio_is_one_of_totals_with_an_interval_that_holds_it():
    rng = np.random.default_rng(1)
    one, base = (rng.random(800) < 0.4, rng.exponential(1.0, 800)), (rng.random(800) < 0.1, rng.exponential(2.0, 800))
    found = figures.ratio(one, base, np.random.default_rng(0))
    assert found["value"] == pytest.approx((one[0].sum() / one[1].sum()) / (base[0].sum() / base[1].sum())) and found["low"] < found["value"] < found["high"]
    assert found["low"] > 5 and found["high"] < 12
    nothing = (np.zeros(10, bool), np.ones(10))
    assert figures.ratio(one, nothing, np.random.default_rng(0))["value"] == math.inf and math.isnan(figures.ratio(nothing, nothing, np.random.default_rng(0))["value"])


# contenders


def test_a_contender_is_read_from_its_text_and_written_back():
    found = Contender.parse("substitution,temperature=0.5,partial=false+above_hull=0.02+screens")
    assert (found.name, dict(found.options), found.above_hull, found.screened) == ("substitution", {"temperature": 0.5, "partial": False}, 0.02, True)
    assert Contender.parse(found.text) == found
    ask = found.ask(12)
    assert ask.atoms == (1, 12) and ask.limit("energy_above_hull").high == 0.02 and not ask.required and ask.formula is None
    plain = Contender.parse("template")
    assert plain.text == "template" and not plain.screened and not plain.ask(20).limits


@pytest.mark.parametrize("text, error", [("substitution+screen", BadInput), ("substitution+above_hull=low", BadInput), ("substitution,temperature", BadInput), ("substitutoin", Missing), ("", BadInput)])
def test_a_text_that_is_none_is_refused(text, error):
    with pytest.raises(error):
        Contender.parse(text)


# a whole run, and one that is killed

ARGON = Protocol(potential="lennard_jones:argon", fmax=0.01, smax=1e-4, steps=200, batch_atoms=8)


class Stretched:
    """Twelve argon crystals in three structures, stretched more and more."""

    name = "stretched"

    def propose(self, ask, count, seed):
        kinds = [
            Crystals.of([[0, 0, 0]], [18], torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.6), Crystals.of([[0, 0, 0]], [18], torch.tensor([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]]) * 2.1),
            Crystals.of([[0, 0, 0], [1 / 3, 2 / 3, 0.5]], [18, 18], torch.tensor([[3.7, 0, 0], [-1.85, 3.2042939, 0], [0, 0, 6.0]]))]
        return [Candidate(f"stretched-{seed}-{i}", kinds[i % 3].put(cell=kinds[i % 3].cell * (1 + 0.01 * i)), self.name, (), seed) for i in range(min(count, 12))]


def argon():
    return Yardsticks(Reference({}, complete=True, name="nothing"), {ARGON.potential: (Hull([{18: 1}], [-0.05], ["Ar"], "none", "lennard_jones"), lambda compositions, energies: energies)})


def run(folder, should_stop=None):
    """`carry_out` in this process with the stretched crystals instead of the generator that the task names."""
    carry_out(folder, Stretched(), should_stop)


def figures_of(work, runner=run):
    found = measure(["substitution"], count=12, atoms=4, hulls=(ARGON.potential,), work=work, protocol=ARGON, yardsticks=argon(), run=runner)
    return found["generators"]["substitution"]


def without_clock(found):
    drop = {"cpu_seconds", "cpu_seconds_per_proposal"}
    return {k: ({h: {n: x for n, x in v.items() if "hour" not in n} for h, v in value.items()} if k == "hulls" else value) for k, value in found.items() if k not in drop}


def test_a_killed_run_goes_on_to_the_same_figures(tmp_path):
    whole = figures_of(tmp_path / "whole")
    assert whole["proposed"] == 12 and whole["valid"]["count"] == 12
    assert whole["unique"]["count"] == 3 and whole["hulls"][ARGON.potential]["sun"]["count"] == 3  # fcc, bcc and hcp, each once
    calls = 0

    def stop():
        nonlocal calls
        calls += 1
        return calls > 15

    with pytest.raises(BadInput, match="run it again to go on"):
        figures_of(tmp_path / "killed", lambda folder: run(folder, stop))
    folder = tmp_path / "killed" / "substitution"
    lines = (folder / "relaxed.jsonl").read_text().splitlines(keepends=True)
    assert 0 < len(lines) < 12
    (folder / "relaxed.jsonl").write_text("".join(lines) + '{"index": 11, "sta')  # killed while writing
    again = figures_of(tmp_path / "killed")
    assert json.dumps(without_clock(again)) == json.dumps(without_clock(whole))
    before = (folder / "relaxed.jsonl").read_text()
    assert figures_of(tmp_path / "killed")["cpu_seconds"]["relax"] == again["cpu_seconds"]["relax"] and (folder / "relaxed.jsonl").read_text() == before


def test_a_folder_of_another_task_is_refused(tmp_path):
    Task("substitution", 12).claim(tmp_path)
    Task("substitution", 12).claim(tmp_path)
    with pytest.raises(BadInput, match="another count, seed"):
        Task("substitution", 13, seed=1).claim(tmp_path)
    assert Task.read(tmp_path) == Task("substitution", 12)


def test_the_cpu_time_of_every_session_is_kept(tmp_path):
    Task("substitution", 12, protocol=ARGON).claim(tmp_path)
    run(tmp_path)
    held = Carried.read(tmp_path)
    assert held.stages["relax"] > 0 and held.stages["propose"] >= 0 and len(held.ends) == 12 and held.ends[3]["index"] == 3


class Other:
    """A second potential that puts the k-th crystal it is asked about k tenths of an eV/atom above its hull and does not converge on the last."""

    def __init__(self):
        self.asked = []

    def relax(self, keys, crystals, protocol, limit, write):
        assert len(keys) == len(crystals)
        for k, key in enumerate(keys):
            self.asked.append(key)
            write({"key": key, "energy_above_hull": 0.1 * k, "converged": k < len(keys) - 1}, crystals[k])


def test_another_potential_is_asked_only_about_what_is_valid_unique_and_novel_and_only_once(tmp_path):
    Task("substitution", 12, protocol=ARGON).claim(tmp_path)
    run(tmp_path)
    held = Carried.read(tmp_path)
    rows = judged(held.keys, held.proposed, held.ends, argon())
    other = Other()
    generating.second_opinion(tmp_path, "other", rows, held, ARGON, other)
    assert other.asked == [r["key"] for r in rows if r["valid"] and r["unique"] and r["novel"]] == ["stretched-0-0", "stretched-0-1", "stretched-0-2"]
    assert [r["above"].get("other") for r in rows[:2]] == [0.0, 0.1] and math.isnan(rows[2]["above"]["other"]) and "other" not in rows[3]["above"]
    again = judged(held.keys, held.proposed, held.ends, argon())
    generating.second_opinion(tmp_path, "other", again, held, ARGON, other)
    assert len(other.asked) == 3 and again[1]["above"]["other"] == 0.1


@pytest.mark.parametrize("change, words", [({"generators": ["substitution", "substitution"]}, "generators that differ"), ({"count": 0}, "above 0"), ({"hulls": ("published",)}, "the first must be"),
                                           ({"hulls": ("chgnet", "chgnet")}, "none may come twice"), ({"base": ("template",)}, "base case template")])
def test_impossible_settings_are_refused_before_anything_runs(change, words):
    with pytest.raises(BadInput, match=words):
        measure(**{"generators": ["substitution"], "hulls": ("chgnet",), "protocol": Protocol(), **change})


@pytest.mark.slow
@pytest.mark.data
def test_the_command_prints_the_protocol_above_its_tables(tmp_path, data_dir):
    from typer.testing import CliRunner

    from matterloop.app.cli import app

    record = tmp_path / "record.json"
    found = CliRunner().invoke(app, ["bench", "generate", "substitution", "template", "--count", "6", "--atoms", "6", "--work", str(tmp_path / "work"), "--record", str(record)])
    assert found.exit_code == 0, found.output
    assert found.output.index("A proposal is what leaves the generator") < found.output.index("MetaSUN, lowest hull")
    held = json.loads(record.read_text())
    assert held["ratios"]["substitution"]["template"].keys() == {"chgnet", "published"} and held["generators"]["template"]["proposed"] == 6
