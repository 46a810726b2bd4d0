"""The pass of tensors of eComFormer against e3nn's tensor products."""

import torch
from e3nn import o3

from matterloop.bench import examples as ex
from matterloop.crystal.alike import nodes_of
from matterloop.layers.gated_convolution import Messages
from matterloop.predict.comformer_equivariant import EComFormer, harmonics


def of_e3nn(layer, s, e, unit, graph):
    """Scalars of the two tensor products as the public code writes them: weights per edge, means over the edges of an atom, the input added to the first."""
    n, scalars, vectors = len(s), layer.scalars, layer.vectors
    sh = o3.Irreps("1x0e + 1x1o + 1x2e")
    plain, full = o3.Irreps(f"{scalars}x0e"), o3.Irreps(f"{scalars}x0e + {vectors}x1o + {vectors}x2e")
    one = o3.FullyConnectedTensorProduct(plain, sh, full, shared_weights=False).to(torch.float64)
    two = o3.FullyConnectedTensorProduct(full, sh, plain, shared_weights=False).to(torch.float64)
    y = o3.spherical_harmonics(sh, unit, normalize=True, normalization="component")
    weights = lambda step: step.weights(torch.nn.functional.softplus(step.hidden(e))).unflatten(1, (step.fan_in, -1))
    first = torch.cat([p.flatten(1) for p in weights(layer.first).split([scalars, vectors, vectors], 2)], 1)

    def mean(messages):
        total = torch.zeros(n, messages.shape[1], dtype=messages.dtype).index_add(0, graph.receivers, messages)
        return total / torch.bincount(graph.receivers, minlength=n)[:, None]

    u = mean(one(s[graph.senders], y, first))
    u = torch.cat([u[:, :scalars] + s, u[:, scalars:]], 1)
    return mean(two(u[graph.senders], y, weights(layer.second).flatten(1)))


def test_closed_forms_are_the_tensor_products_of_e3nn():
    model = EComFormer(width=10, blocks=2, scalars=6, vectors=3, neighbours=12, bins=16).to(torch.float64)
    crystal = ex.low_symmetry()
    graph = model.graph(crystal)
    vector = graph.vectors(crystal)
    unit = vector / vector.norm(dim=1, keepdim=True)
    rng = torch.Generator().manual_seed(0)
    s, e = torch.randn(5, 6, generator=rng, dtype=torch.float64), torch.randn(len(graph), 10, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        for p in model.tensors.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=p.dtype))
        messages = Messages(nodes_of(graph, 5), torch.ones_like(graph.senders), torch.float64)
        ours = model.tensors.scalars_of(s, e, harmonics(unit), harmonics(unit), messages)
        torch.testing.assert_close(ours, of_e3nn(model.tensors, s, e, unit, graph), rtol=1e-6, atol=1e-6)


def test_the_pass_of_tensors_sees_angles():
    """Of two crystals whose distances agree, see test_comformer.py."""
    from .test_comformer import bent_and_straight

    model = EComFormer(width=8, blocks=2, scalars=6, vectors=3, neighbours=1, bins=20).to(torch.float64).eval()
    with torch.no_grad():
        one, two = (model(c, model.graph(c)).site for c in bent_and_straight())
    assert float((one - two).abs().max()) > 1e-5


def test_the_default_has_the_size_of_the_half_model_of_the_paper():
    assert 5.4e6 < sum(p.numel() for p in EComFormer().parameters()) < 5.7e6
