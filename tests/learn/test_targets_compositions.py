"""Targets, scaling and loss on compositions: intensive, extensive, with references of the elements."""

import pytest
import torch
from torch import nn

from matterloop.base.errors import BadInput
from matterloop.bench import examples as ex
from matterloop.crystal.compositions import Compositions, Elements, atom_mean, atom_sum
from matterloop.crystal.segments import segment_sum
from matterloop.learn.scaling import Scaling, fit_scaling
from matterloop.learn.targets import Features, Predictor, Target


class Mean(nn.Module):
    """The average atomic number, as a feature of width 1."""

    width = 1
    graph = Elements()

    def forward(self, state, graph):
        z = state.species[graph.receivers].double() * graph.edge["share"]
        return Features(None, whole=segment_sum(z, state.owner[graph.receivers], len(state))[:, None])

    def head(self, rng, outputs):
        return nn.Identity()


def test_an_extensive_number_is_that_of_an_average_atom_times_the_atoms():
    model = Predictor(Mean(), [Target("mean"), Target("total", extensive=True)])
    found = model(Compositions.of(["NaCl", "Na2Cl2", "Fe0.5Ni0.25"]))
    assert found["mean"].tolist() == pytest.approx([14, 14, 80 / 3])
    assert found["total"].tolist() == pytest.approx([28, 56, 20])
    crystals = model(ex.every())
    assert crystals["total"].tolist() == model(Compositions.of_crystals(ex.every()))["total"].tolist() == pytest.approx([112, 124, 73, 11, 28, 73, 56, 45])


def test_the_loss_of_an_extensive_number_is_per_atom():
    model = Predictor(Mean(), [Target("total", extensive=True)])
    data = Compositions.of(["NaCl", "Fe0.5Ni0.25"], {"total": [30.0, 20.75]})
    assert float(model.loss(data)[0]) == pytest.approx((1 + 1) / 2)


def test_atoms_that_are_not_told_apart_have_no_targets_of_their_own():
    with pytest.raises(BadInput, match="every atom"):
        Predictor(Mean(), [Target("magmom", per="site")])(Compositions.of(["NaCl"]))


def test_sums_and_means_over_atoms_count_amounts():
    state = Compositions.of(["Na2Cl6", "Fe0.5"])
    values = torch.tensor([[1.0], [3.0], [7.0]])
    assert atom_sum(values, state).tolist() == [[20], [3.5]] and atom_mean(values, state).tolist() == [[2.5], [7]]


@pytest.mark.parametrize("extensive", [False, True])
def test_references_of_the_elements_are_found_from_compositions(extensive):
    target = Target("e", extensive=extensive)
    data = Compositions.of(["Na", "Cl2", "NaCl", "NaCl3", "Na0.5Cl0.25"])
    energy = atom_mean(torch.where(data.species == 11, -1.0, 3.0).double(), data)
    data = data.with_fields({"e": energy * data.sizes if extensive else energy})
    scaling = fit_scaling(target, data, references=True)
    raw = torch.zeros(len(data.species) if extensive else len(data))
    assert scaling.inverse(raw, target, data).tolist() == pytest.approx(data.get("e").tolist())
    assert scaling.apply(data.get("e"), target, data).abs().max() < 1e-9
    assert isinstance(scaling, Scaling)


def test_a_width_is_learnt_with_the_number():
    """The likelihood of Laplace: at the true numbers it is best where the width is sqrt(2) times the mean absolute error."""
    data = Compositions.of(["Na", "Na", "Na", "Na"], {"gap": [11.0, 12.0, 13.0, 14.0]})
    model = Predictor(Width(0.0), [Target("gap", width=True)])  # the head gives 11 and a width of 1
    off = [0, 1, 2, 3]
    assert float(model.loss(data)[0].detach()) == pytest.approx(2**0.5 * sum(off) / 4)
    assert float(model.loss(data, error="l2")[0].detach()) == pytest.approx(sum(x * x for x in off) / 8)
    assert model(data)["gap"].tolist() == [11.0] * 4 and model.deviations(data)["gap"].tolist() == [1.0] * 4
    wide = {w: Predictor(Width(w), [Target("gap", width=True)]).loss(data)[0].item() for w in (0.6, 0.7520, 0.9)}  # ln(1.5 sqrt 2) = 0.752
    assert min(wide, key=wide.get) == 0.7520
    with pytest.raises(BadInput, match="intensive"):
        Target("e", extensive=True, width=True)


class Width(Mean):
    def __init__(self, log_width):
        super().__init__()
        self.log_width = log_width

    def head(self, rng, outputs):
        assert outputs == 2
        return Two(self.log_width)


class Two(nn.Module):
    def __init__(self, log_width):
        super().__init__()
        self.log_width = nn.Parameter(torch.tensor(log_width, dtype=torch.float64))

    def forward(self, x):
        return torch.cat([x, self.log_width.expand_as(x)], -1)
