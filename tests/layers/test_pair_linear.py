"""The pair's linear map against the concatenation it avoids."""

import torch

from matterloop.base.seeds import torch_stream
from matterloop.crystal.segments import Bins
from matterloop.layers.pair_linear import PairLinear


def test_it_is_the_linear_map_of_the_concatenation():
    rng = torch_stream(0, "test")
    layer = PairLinear(rng, 3, 2, 5)
    x, edge, here, there = torch.randn(4, 3, generator=rng), torch.randn(6, 2, generator=rng), torch.tensor([0, 0, 1, 2, 2, 3]), torch.tensor([1, 3, 2, 0, 2, 3])
    found = layer(x, edge, Bins(here, 4), Bins(there, 4))
    torch.testing.assert_close(found, layer.joint(torch.cat([x[here], x[there], edge], -1)))
