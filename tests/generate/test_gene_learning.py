"""Learning from verdicts: what is rewarded becomes likelier, by as much as its reward pays for."""

import numpy as np
import pytest
import torch

from matterloop.archive.records import Reason, Verdict
from matterloop.base.errors import BadInput
from matterloop.generate.gene_learning import Diversity, Learner, reward_of
from matterloop.generate.gene_network import Conditions, GeneNetwork
from matterloop.generate.gene_training import nll_of
from matterloop.represent.gene_vocabulary import encode
from matterloop.represent.wyckoff_gene import Gene

GOOD = [Gene.parse(t).canonical for t in ("225:Na_a.Cl_b", "221:Sr_a.Ti_b.O_c", "227:Si_a")]
POOR = [Gene.parse(t).canonical for t in ("225:Xe_a.F_b", "2:Cu_a.S_i", "166:Bi_c.Te_a.Te_c")]


def likelihood(network, genes):
    return -nll_of(network, encode(genes), orders=6, seed=3)


def test_rewards_fall_with_the_energy():
    found = reward_of(np.array([-0.1, 0.0, 0.06, 0.1, 0.5, np.nan]))
    assert found[2] == pytest.approx(0.5) and found[1] == pytest.approx(1 / (1 + np.exp(-2))) and found[-1] == 0
    assert (np.diff(found) < 0).all()


@pytest.mark.parametrize("way", ["policy", "imitation"])
def test_what_is_rewarded_becomes_likelier(way):
    learner = Learner(GeneNetwork(24, 1, 2, dropout=0.0), way, rate=2e-3, steps=40, batch=6, stiffness=0.2)
    before = likelihood(learner.network, GOOD + POOR)
    lesson = learner.hear(GOOD + POOR, [1.0] * 3 + [0.0] * 3)
    gain = likelihood(learner.network, GOOD + POOR) - before
    assert lesson.steps == 40 and lesson.reward == pytest.approx(0.5)
    assert gain[:3].mean() > gain[3:].mean() + 0.5
    assert torch.equal(next(learner.start.parameters()), next(GeneNetwork(24, 1, 2, dropout=0.0).parameters()))  # what it began as stays


def test_the_policy_goes_as_far_as_the_reward_pays():
    """At the minimum of the loss ln p - ln p0 differs by reward / stiffness between genes."""
    learner = Learner(GeneNetwork(24, 1, 2, dropout=0.0), rate=3e-3, steps=250, batch=6, stiffness=0.5, diversity=Diversity(free=1000, most=2000))
    before = likelihood(learner.network, GOOD + POOR)
    for _ in range(2):
        learner.hear(GOOD + POOR, [1.0] * 3 + [0.0] * 3)
    gain = likelihood(learner.network, GOOD + POOR) - before
    assert gain[:3].mean() - gain[3:].mean() == pytest.approx(2.0, abs=0.5)


def test_repetition_earns_less():
    filter_ = Diversity(free=2, most=4)
    assert [float(filter_(GOOD[:1], np.ones(1))[0]) for _ in range(6)] == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert float(filter_(GOOD[2:], np.ones(1))[0]) == 1.0


def test_the_same_lessons_teach_the_same():
    def taught():
        learner = Learner(GeneNetwork(24, 1, 2, dropout=0.0), steps=5, batch=4)
        learner.hear(GOOD, [1.0, 0.2, 0.4], Conditions.none(1))
        learner.hear(POOR, [0.0, 0.1, 0.0])
        return torch.cat([p.detach().reshape(-1) for p in learner.network.parameters()])

    assert torch.equal(taught(), taught())


def test_memory_keeps_the_best():
    learner = Learner(GeneNetwork(24, 1, 2, dropout=0.0), steps=1, replay=2)
    learner.hear(GOOD + POOR, [0.9, 0.1, 0.8, 0.0, 0.0, 0.0])
    assert list(learner.memory) == [GOOD[0].key, GOOD[2].key]


def test_nothing_to_imitate_changes_nothing():
    learner = Learner(GeneNetwork(24, 1, 2, dropout=0.0), "imitation")
    before = torch.cat([p.detach().reshape(-1).clone() for p in learner.network.parameters()])
    assert learner.hear(POOR, [0.0] * 3).steps == 0
    assert torch.equal(before, torch.cat([p.detach().reshape(-1) for p in learner.network.parameters()]))


def test_wrong_lessons_are_refused():
    with pytest.raises(BadInput, match="allowed are policy and imitation"):
        Learner(GeneNetwork(24, 1, 2), "luck")
    with pytest.raises(BadInput, match="3 genes and 2 rewards"):
        Learner(GeneNetwork(24, 1, 2)).hear(GOOD, [1.0, float("nan")])


def test_verdicts_become_rewards():
    from matterloop.generate.wyckoff_transformer import _reward

    energy = Reason("energy_above_hull", 0.2, 0.1, "eV/atom", False)
    assert _reward(Verdict("a", (energy,))) == pytest.approx(float(reward_of(np.array([0.2]))[0]))
    assert _reward(Verdict("a", (energy, Reason("unique", 1, 0, "matches", False)))) == 0.0
    assert _reward(Verdict("a", ())) == 0.0
