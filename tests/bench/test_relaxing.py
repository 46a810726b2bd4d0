"""Claims of bench/relaxing.py: what the starts are, how the record is made from what the sides wrote, what a killed side leaves."""

import json
import math

import numpy as np
import pytest
import torch

from matterloop.archive.sources import NotHere
from matterloop.base.errors import BadInput
from matterloop.bench import relaxing, relaxing_sides
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse

RUTILE = Crystals.of(
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [0.695, 0.695, 0], [0.805, 0.195, 0.5], [0.195, 0.805, 0.5]], [22, 22, 8, 8, 8, 8], np.diag([4.6, 4.6, 2.96]))
SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], 2.82 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))


def test_set_a_strains_and_rattles_by_the_amounts_named():
    many = Crystals.join([SALT] * 300)
    start = relaxing.disturbed(many, "a", 0)
    strain = torch.linalg.inv(many.cell) @ start.cell - torch.eye(3)
    push = ((start.frac - many.frac)[:, None] @ start.cell[start.owner])[:, 0]
    assert float(push.std()) == pytest.approx(0.05, rel=0.05)
    assert float(strain.diagonal(dim1=1, dim2=2).std()) == pytest.approx(0.03 / 3**0.5, rel=0.1)
    assert torch.allclose(strain, strain.mT, atol=1e-12)
    assert torch.equal(relaxing.disturbed(many[:2], "a", 0).frac, start[:2].frac)  # no crystal depends on the others


def test_set_b_moves_everything_that_may_move_and_keeps_the_group():
    before = Crystals.join([RUTILE, SALT])
    start = relaxing.disturbed(before, "b", 1)
    assert [s.number for s in analyse(start, 1e-4)] == [136, 225]
    assert abs(float(start.cell[0, 0, 0] / RUTILE.cell[0, 0, 0]) - 1) > 1e-3 and abs(float(start.frac[2, 0]) - 0.305) > 1e-3
    assert abs(float(start[1].volume / SALT.volume) - 1) > 1e-3


def test_kept_symmetry_is_judged_by_the_operations_of_the_start():
    wider = RUTILE.put(cell=RUTILE.cell * torch.tensor([1.02, 1.02, 0.99])[None, :, None])
    assert relaxing_sides.symmetry_kept(RUTILE, wider) == (True, 136, 136)
    broken = RUTILE.put(cell=RUTILE.cell * torch.tensor([1.02, 1.0, 1.0])[None, :, None])
    assert relaxing_sides.symmetry_kept(RUTILE, broken)[:2] == (False, 136)
    frac = RUTILE.frac.clone()
    frac[3, 2] += 0.03
    assert relaxing_sides.symmetry_kept(RUTILE, RUTILE.put(frac=frac))[0] is False


def wrote(seconds, evaluations, crystals, **more):
    return [{"seconds": s, "evaluations": e, "status": "converged", "reason": "", "frac": c.frac.tolist(), "cell": c.cell[0].tolist()} | more
            for s, e, c in zip(seconds, evaluations, crystals, strict=True)]


def record(ours_ok=(1, 1, 1), theirs_ok=(1, 1, 1), gap=(0.0, 0.0, 0.0)):
    starts = Crystals.join([SALT, RUTILE, RUTILE.repeated(2, 2, 1)])
    mine = wrote([0.1, 0.2, 0.3], [4, 5, 6], starts)
    shipped = [x | {"seconds": x["seconds"] / 2} for x in wrote([2.0, 4.0, 6.0], [10, 20, 30], starts)]
    peer = [x | {"loaded_mib": 400.0, "peak_mib": 500.0 + k, "as_shipped": shipped[k]} for k, x in enumerate(wrote([2.0, 4.0, 6.0], [20, 40, 60], starts))]
    runs = [{"batch_atoms": b, "seconds": 0.6, "evaluations": 15, "loaded_mib": 200.0, "peak_mib": 300.0, "crystals": mine} for b in (512, 64)]
    judge = [{"side": side, "crystal": k, "fmax": 0.04 if good else 0.06, "smax_gpa": 0.09, "energy_per_atom": -5.0 + (gap[k] if side == "ours" else 0.0)}
             for side, ok in (("ours", ours_ok), ("theirs", theirs_ok)) for k, good in enumerate(ok)]
    judge += [{"side": "as_shipped", "crystal": k, "fmax": 0.04, "smax_gpa": 0.3, "energy_per_atom": -5.0} for k in range(3)]
    return relaxing.summary("b", starts, ["salt", "rutile", "big"], 2, runs, peer, judge)


def test_rates_count_only_what_passes():
    found = record(ours_ok=(1, 0, 1))
    assert found["ours_per_second"] == pytest.approx(1 / 0.3) and found["theirs_per_second"] == pytest.approx(2 / 6.0)  # of the two drawn
    assert found["ratio"] == pytest.approx(10.0) and found["interval"][0] <= 10.0 <= found["interval"][1]
    assert [b["atoms"] for b in found["bins"]] == [[2, 4], [5, 8], [21, 40]] and found["bins"][2]["crystals"] == 1
    assert found["bins"][1]["ratio"] == 0.0
    assert [x["name"] for x in found["listed"]] == ["rutile"] and "0.060 eV/Å" in found["listed"][0]["reason"]
    assert found["sides"]["ours"]["too_much_force"] == 1 and found["sides"]["theirs"]["passed"] == 3


def test_their_own_criterion_is_told_apart():
    shipped = record()["as_shipped"]
    assert shipped["too_much_stress"] == 3 and shipped["passed"] == 0
    assert shipped["ratio_of_seconds"] == pytest.approx((1.0 + 2.0) / 0.3)


def test_no_end_of_theirs_that_passes_is_an_infinite_ratio():
    found = record(theirs_ok=(0, 0, 0))
    assert math.isinf(found["ratio"]) and found["energy"]["compared"] == 0


def test_higher_ends_are_listed():
    found = record(gap=(0.001, 0.003, -0.5))
    assert found["energy"] == {"compared": 3, "not_above": 2, "share_not_above": pytest.approx(2 / 3), "median_gap": pytest.approx(0.001)}
    assert [(x["name"], x["passed"]) for x in found["listed"]] == [("rutile", True)]


def test_symmetry_is_counted_for_both_sides():
    assert record()["symmetry"]["ours"] == {"kept": 3, "of": 3, "same_number": 3, "lost": []}


def test_a_killed_side_goes_on_after_its_last_whole_line(tmp_path):
    path = tmp_path / "theirs.jsonl"
    path.write_text(json.dumps({"k": 0}) + "\n" + '{"k": 1, "sec')
    book = relaxing_sides.Book(path)
    assert book.held == [{"k": 0}]
    book.add({"k": 1})
    assert list(relaxing_sides.lines(path)) == [{"k": 0}, {"k": 1}]


def test_starts_survive_the_way_to_the_sides(tmp_path):
    batch = Crystals.join([SALT, RUTILE])
    relaxing_sides.write_starts(tmp_path / "starts.npz", batch)
    again = relaxing_sides.read_starts(tmp_path / "starts.npz")
    assert torch.equal(again.frac, batch.frac) and torch.equal(again.cell, batch.cell) and again.counts.tolist() == [2, 6]


@pytest.mark.parametrize("wrong", [{"crystals": 0}, {"threads": 0}, {"batch_sizes": ()}, {"atoms": (9, 4)}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(BadInput, match="bench relax"):
        relaxing.compare("a", **wrong)
    with pytest.raises(BadInput, match="start set"):
        relaxing.compare("c")


def test_missing_data_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MATTERLOOP_DATA", str(tmp_path))
    monkeypatch.setenv("MATTERLOOP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(NotHere, match="MATTERLOOP_DATA"):
        relaxing.compare("a", crystals=1)


@pytest.mark.data
def test_drawn_crystals_come_first_and_bins_are_filled():
    found, names, drawn = relaxing.published(6, 0, (2, 40), enough=2)
    counts = found.counts.tolist()
    assert drawn == 6 and all(2 <= n <= 20 for n in counts[:6]) and len(names) == len(found)
    for low, high in ((2, 4), (5, 8), (9, 12), (13, 20), (21, 40)):
        assert sum(low <= n <= high for n in counts) >= 2
    again, names_again, _ = relaxing.published(6, 0, (2, 40), enough=2)
    assert names == names_again and torch.equal(found.frac, again.frac)


@pytest.mark.data
def test_a_run_of_other_settings_is_not_mixed_in(tmp_path):
    (tmp_path / "task.json").write_text(json.dumps({"set": "a", "seed": 7}))
    with pytest.raises(BadInput, match="other settings"):
        relaxing.compare("a", crystals=1, atoms=(2, 4), folder=tmp_path)
