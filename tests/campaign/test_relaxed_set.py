"""Relaxations of a set that outlive their process: found again by content and protocol, each done once."""

from dataclasses import replace

import pytest
import torch

from matterloop.bench import examples
from matterloop.campaign.judged_set import GATES, judge_set, shares
from matterloop.campaign.judging import Judges
from matterloop.campaign.relaxed_set import relax_set
from matterloop.campaign.tasks import Protocol
from matterloop.campaign.watch import Watch
from matterloop.crystal.state import Crystals
from matterloop.judge.sun import Reference
from matterloop.measure.hull import Hull

ARGON = (18,)
PROTOCOL = Protocol(potential="lennard_jones", keep_symmetry=False)
SET = Crystals.join([examples.one_atom(ARGON, 5.0), examples.rock_salt(ARGON, 7.0), examples.one_atom(ARGON, 5.0)])


class Counting:
    """The oracle, counting the crystals that it labels."""

    def __init__(self, oracle):
        self.oracle, self.labelled = oracle, 0

    def __getattr__(self, name):
        return getattr(self.oracle, name)

    def label(self, crystals):
        self.labelled += len(crystals)
        return self.oracle.label(crystals)


@pytest.fixture
def oracle():
    return Counting(PROTOCOL.oracle())


def test_equal_crystals_are_relaxed_once_and_a_second_call_relaxes_nothing(oracle, tmp_path):
    first = relax_set(SET, PROTOCOL, oracle, work=tmp_path)
    assert first.finished and first.contents[0] == first.contents[2] and first.contents[0] != first.contents[1]
    spent = oracle.labelled
    again = relax_set(SET[[1, 0]], PROTOCOL, oracle, work=tmp_path)
    assert oracle.labelled == spent and again.contents == (first.contents[1], first.contents[0])
    assert torch.equal(again.crystals[0].cell, first.crystals[1].cell)


def test_other_settings_find_nothing_of_an_earlier_run(oracle, tmp_path):
    relax_set(SET, PROTOCOL, oracle, work=tmp_path)
    spent = oracle.labelled
    as_given = relax_set(SET, replace(PROTOCOL, steps=0), oracle, work=tmp_path)
    assert oracle.labelled == spent + 2 and [c["steps"] for c in as_given.contents] == [0, 0, 0]
    assert torch.allclose(as_given.crystals[0].cell, SET[0].cell)


def test_a_stopped_run_says_what_was_not_reached_and_goes_on(oracle, tmp_path):
    landed = []
    watch = Watch(advance=lambda name, done: landed.append(done), stop=lambda: max(landed, default=0) >= 1)
    stopped = relax_set(SET, replace(PROTOCOL, batch_atoms=1), oracle, work=tmp_path, watch=watch)
    assert not stopped.finished and stopped.contents[1] is None and stopped.crystals[1] is None and stopped.contents[0] is not None
    assert relax_set(SET, replace(PROTOCOL, batch_atoms=1), oracle, work=tmp_path).finished


def test_what_cannot_be_relaxed_is_not_valid_and_does_not_stand_in_the_way(oracle):
    """Two atoms on one place; the same crystal given twice counts once; one hull phase 1 eV/atom below all."""
    broken = Crystals.of([[0, 0, 0], [0, 0, 0]], [18, 18], 5 * torch.eye(3))
    crystals = Crystals.join([broken, SET])
    ends = relax_set(crystals, PROTOCOL, oracle)
    hull = Hull([{18: 1}], [min(c["energy"] / e.atoms for c, e in zip(ends.contents[1:], ends.crystals[1:], strict=True)) - 1.0], ["deep"], oracle.energy_scheme, oracle.name)
    found = judge_set(crystals, list("abcd"), Judges(hull, Reference(name="nothing"), scheme=oracle.energy_scheme), ends=ends)
    assert [one.valid for one in found] == [False, True, True, True] and found[0].unique is None and found[0].energy_above_hull is None
    assert found[3].unique is False and found[3].novel is None and found[1].novel
    assert found[1].energy_above_hull >= 1.0 - 1e-9 and found[1].metasun is False
    told = shares(found, 5)
    assert told["valid"] == 3 / 5 and told["metasun"] == 0 and set(told["intervals"]) == {*GATES, "p1_share"}
    near = Hull([{18: 1}], [found[1].energy_per_atom - 0.05], ["near"], oracle.energy_scheme, oracle.name)
    one = judge_set(SET[0], ["x"], Judges(near, Reference(name="nothing"), scheme=oracle.energy_scheme), ends=relax_set(SET[0], PROTOCOL, oracle))[0]
    assert one.metasun is True and one.sun is False and one.energy_above_hull == pytest.approx(0.05)
