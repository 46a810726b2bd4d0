"""Vectors and tensors of heads turn with the crystal and stay put under what changes nothing."""

import pytest
import torch
from torch import nn

from matterloop.base.errors import BadInput
from matterloop.base.quantities import Quantity
from matterloop.bench import examples as ex
from matterloop.bench.contract_encoder import dead_parameters
from matterloop.crystal.graph import Within
from matterloop.crystal.segments import segment_sum
from matterloop.layers.parts import Gaussians, cosine_cutoff
from matterloop.learn.targets import Features, Predictor, Target, labelled

TARGETS = [Target("dipole", rank=1), Target("forces", per="site", rank=1), Target("dielectric", rank=2), Target("moment", rank=2, extensive=True)]


class Directed(nn.Module):
    """Sums over neighbours of Gaussians, with directions and their products; `offers` says which of them it hands out."""

    width = 6

    def __init__(self, offers=("edge", "vector", "tensor")):
        super().__init__()
        self.offers, self.graph = offers, Within(4.0)
        self.expand = Gaussians(0.0, 4.0, 6)

    def forward(self, crystals, graph):
        step = graph.vectors(crystals)
        length = step.norm(dim=-1)
        e = self.expand(length) * cosine_cutoff(length, 4.0)[:, None] * crystals.species[graph.senders, None] / 10
        unit = step / length[:, None]
        total = lambda x: segment_sum(x, graph.receivers, crystals.atoms)
        vector = total(e[:, :, None] * unit[:, None, :])
        tensor = total(e[:, :, None, None] * unit[:, None, :, None] * unit[:, None, None, :])
        return Features(total(e), e if "edge" in self.offers else None, None, vector if "vector" in self.offers else None, tensor if "tensor" in self.offers else None)


def predictor(*offers, targets=TARGETS):
    return Predictor(Directed(offers), targets, hidden=5, scale={"dielectric": (2.0, 3.0), "dipole": (0.0, 2.0)}).to(torch.float64)


OFFERS = [("edge",), ("vector",), ("edge", "vector", "tensor")]


@pytest.mark.parametrize("offers", OFFERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_vectors_and_tensors_turn_and_mirror_with_the_crystal(offers, sign):
    crystals, r = ex.every(), sign * ex.rotation()
    model = predictor(*offers)
    with torch.no_grad():
        here, there = model(crystals), model(crystals.rotated(r))
    for t in TARGETS:
        wanted = here[t.name] @ r.T if t.rank == 1 else r @ here[t.name] @ r.T
        torch.testing.assert_close(there[t.name], wanted, rtol=1e-9, atol=1e-9)
        assert float(here[t.name].abs().max()) > 1e-3


@pytest.mark.parametrize("offers", OFFERS)
def test_shapes_symmetry_and_supercells(offers):
    crystals = ex.periodic()
    model = predictor(*offers)
    with torch.no_grad():
        out, large = model(crystals), model(crystals.repeated(2, 1, 2))
    assert {k: tuple(v.shape) for k, v in out.items()} == {"dipole": (6, 3), "forces": (crystals.atoms, 3), "dielectric": (6, 3, 3), "moment": (6, 3, 3)}
    for name, times in (("dipole", 1), ("dielectric", 1), ("moment", 4)):
        torch.testing.assert_close(large[name], times * out[name], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out["dielectric"], out["dielectric"].mT)


def test_a_cubic_crystal_has_no_dipole_and_a_round_tensor():
    with torch.no_grad():
        out = predictor("edge", "vector", "tensor")(ex.rock_salt())
    assert float(out["dipole"].abs().max()) < 1e-12
    round_one = out["dielectric"][0, 0, 0] * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(out["dielectric"][0], round_one, rtol=1e-9, atol=1e-9)


def test_edges_see_the_anisotropy_of_a_site_with_an_inversion_centre():
    tall = ex.one_atom()
    tall = tall.put(cell=torch.diag(torch.tensor([3.0, 3.0, 3.6], dtype=torch.float64))[None])
    target = [Target("dielectric", rank=2)]
    for offers, sees in ((("edge",), True), (("tensor",), True), (("vector",), False)):
        with torch.no_grad():
            found = Predictor(Directed(offers), target).to(torch.float64)(tall)["dielectric"][0]
        assert (float((found[2, 2] - found[0, 0]).abs()) > 1e-6) is sees


@pytest.mark.parametrize("offers", OFFERS)
def test_every_weight_of_the_heads_gets_a_gradient(offers):
    model = predictor(*offers)
    sum(v.square().sum() for v in model(ex.every()).values()).backward()
    assert not dead_parameters(model)


def test_the_loss_is_the_mean_over_components_of_what_was_measured():
    crystals, target = ex.every(), Target("dielectric", rank=2)
    model = Predictor(Directed(("edge",)), [target], scale={"dielectric": (2.0, 4.0)}).to(torch.float64)
    truth = model(crystals)["dielectric"].detach()
    truth = truth + torch.eye(3, dtype=torch.float64)  # off by 1 in 3 of 9 components
    truth[2, 0, 1] = float("nan")
    total, _ = model.loss(labelled(crystals, {target: truth}))
    total.backward()
    assert float(total.detach()) == pytest.approx(3 / 9 / 4.0) and all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_labels_carry_their_quantity():
    target = Target("piezo", unit="C/m^2", rank=2)
    crystals = labelled(ex.displaced(2), {target: torch.ones(2, 3, 3)})
    assert crystals.quantities["piezo"] == Quantity(2, 1, False, "C/m^2")


@pytest.mark.parametrize("offers, rank", [((), 1), (("tensor",), 1), ((), 2)])
def test_an_encoder_without_directions_is_refused(offers, rank):
    with pytest.raises(BadInput, match="rank above 0"):
        Predictor(Directed(offers), [Target("x", rank=rank)])
