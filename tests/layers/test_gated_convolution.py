"""The fused convolution against the same layer in plain torch: values, gradients and running figures."""

import pytest
import torch
from torch.nn import functional as F

from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.crystal.alike import Alike, nodes_of
from matterloop.crystal.graph import Nearest
from matterloop.layers.gated_convolution import GatedConvolution, Messages
from matterloop.layers.parts import Gaussians

WIDTH, BINS = 5, 7


def layer():
    rng = torch_stream(1, "layer")
    found = GatedConvolution(rng, WIDTH, BINS).to(torch.float64)
    with torch.no_grad():
        for norm in (found.inner, found.outer):
            norm.weight.uniform_(0.5, 1.5, generator=rng)
            for value in (norm.bias, norm.running_mean):
                value.uniform_(-0.5, 0.5, generator=rng)
            norm.running_var.uniform_(0.5, 1.5, generator=rng)
    return found


def plain(conv, x, e, senders, receivers, figures):
    """softplus(v + BN(sum of gated messages)) with torch's own batch normalisation on every edge."""
    norm = lambda values, name: F.batch_norm(values, *figures[name], getattr(conv, name).weight, getattr(conv, name).bias, conv.training, 0.1, 1e-5)
    z = norm(torch.cat([x[receivers], x[senders], e], -1) @ conv.weight.T, "inner")
    message = torch.sigmoid(z[:, :WIDTH]) * F.softplus(z[:, WIDTH:])
    return F.softplus(x + norm(torch.zeros_like(x).index_add(0, receivers, message), "outer"))


@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_layer_of_the_paper_on_every_atom_and_edge(training):
    crystals, expand = ex.every(), Gaussians(0.0, 8.0, BINS).to(torch.float64)
    graph, short = Nearest(12, 8.0, fewer=True)(crystals), Alike(Nearest(12, 8.0, fewer=True))(crystals)
    nodes = nodes_of(short, crystals.atoms)
    table = torch.randn(100, WIDTH, generator=torch_stream(0, "table"), dtype=torch.float64)
    weight = torch.randn(crystals.atoms, WIDTH, generator=torch_stream(2, "w"), dtype=torch.float64)[nodes.first][nodes.of_atom]
    found = []
    for fused in (True, False):
        conv = layer().train(training)
        start = table.clone().requires_grad_()
        if fused:
            messages = Messages(nodes, short.edge["count"], torch.float64)
            out = conv(start[crystals.species[nodes.first]], expand(short.edge["length"]), messages)[nodes.of_atom]
            figures = {n: (getattr(conv, n).running_mean, getattr(conv, n).running_var) for n in ("inner", "outer")}
        else:
            figures = {n: (getattr(conv, n).running_mean, getattr(conv, n).running_var) for n in ("inner", "outer")}
            out = plain(conv, start[crystals.species], expand(graph.vectors(crystals).norm(dim=-1)), graph.senders, graph.receivers, figures)
        (out * weight).sum().backward()
        found.append([out.detach(), start.grad, *(p.grad for p in conv.parameters()), *(v for pair in figures.values() for v in pair)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_an_atom_alone_is_normalised_by_running_figures_while_training():
    conv, lonely = layer().train(), Alike(Nearest(12, 0.5, fewer=True))(ex.one_atom())
    nodes = nodes_of(lonely, 1)
    x = torch.ones(1, WIDTH, dtype=torch.float64)
    out = conv(x, torch.zeros(0, BINS, dtype=torch.float64), Messages(nodes, lonely.edge["count"], torch.float64))
    norm = conv.outer
    wanted = F.softplus(x + norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt())
    torch.testing.assert_close(out, wanted)
