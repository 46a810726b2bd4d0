"""Long-range blocks on several encoders."""

import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import load
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.predict.ewald_mp import EwaldMP

SMALL = {"schnet": {"width": 8, "blocks": 2, "radius": 4.5, "spacing": 0.5}, "egnn": {"width": 8, "layers": 2}, "equivariant_transformer": {"width": 8, "layers": 2, "heads": 2}}


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_blocks_go_on_other_encoders(name):
    model = EwaldMP(name, SMALL[name], bins=8, hidden=1, blocks=2).double()
    crystals = ex.every()
    found = model(crystals, model.graph(crystals))
    assert found.site.shape == (crystals.atoms, 8) and bool(found.site.isfinite().all()) and len(model.blocks) == 2
    assert (found.vector is not None) == (name == "equivariant_transformer") == (model.offers == ("vector",))
    for p in model.blocks.parameters():
        p.zero_()
    short = load(name, "encoder", **SMALL[name]).double()
    if name == "schnet":
        assert not torch.equal(model(crystals, model.graph(crystals)).site, found.site)
    else:  # two blocks that say nothing leave x / sqrt(2) twice
        torch.testing.assert_close(2 * model(crystals, model.graph(crystals)).site, short(crystals, short.graph(crystals)).site)


def test_long_range_reaches_where_the_encoder_does_not():
    """An atom 12 Å away changes the features; without the blocks it does not."""
    apart = Crystals.of([[0.0, 0, 0], [0.12, 0, 0]], [11, 17], 100 * torch.eye(3), periodic=[False] * 3)
    alone = Crystals.of([[0.0, 0, 0]], [11], 100 * torch.eye(3), periodic=[False] * 3)
    short, far = load("schnet", "encoder", **SMALL["schnet"]).double(), EwaldMP("schnet", SMALL["schnet"]).double()
    first = lambda m, c: m(c, m.graph(c)).site[0]
    assert torch.equal(first(short, apart), first(short, alone))
    assert float((first(far, apart) - first(far, alone)).abs().max()) > 1e-4


def test_what_cannot_be_is_refused():
    wire = Crystals.of([[0.0, 0, 0]], [6], 8 * torch.eye(3), periodic=[True, False, False])
    with pytest.raises(BadInput, match="one axis"):
        EwaldMP("schnet", SMALL["schnet"]).graph(wire)
    with pytest.raises(Missing):
        EwaldMP("schnit")
