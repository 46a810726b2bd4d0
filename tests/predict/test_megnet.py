"""MEGNet against its equations, written out bond by bond, its state inputs and its element embeddings."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.base.quantities import Quantity
from matterloop.bench import examples as ex
from matterloop.predict.megnet import MEGNet

sys.path.insert(0, str(Path(__file__).parent))
from plain import lively, linear, pairs, sigmoid, softmax, ssp, stack, weights  # noqa: E402

SMALL = {"wide": 6, "width": 5, "hidden": 3, "blocks": 2, "bins": 7}


def set_to_vector(w, name, rows, hidden):
    m = np.array([linear(w, f"{name}.rows", r) for r in rows]).reshape(-1, hidden)
    cell, asked = np.zeros(hidden), np.zeros(2 * hidden)
    for _ in range(3):
        write, keep, new, show = np.split(linear(w, f"{name}.gates", asked), 4)
        cell = sigmoid(keep) * cell + sigmoid(write) * np.tanh(new)
        question = sigmoid(show) * np.tanh(cell)
        asked = np.concatenate([question, softmax(m @ question) @ m])
    return asked


def by_hand(model, crystal, state):
    w, bonds = weights(model), pairs(crystal, 4.0)
    v = [w["embed.weight"][z] for z in crystal.species.tolist()]
    e = [np.exp(-4 * (np.linalg.norm(step) - np.linspace(0, 5, 7)) ** 2) for _, _, step in bonds]
    u = state
    for b in range(2):
        begin = v, e, u
        v, e, u = [stack(w, f"atom.{b}", x, ssp) for x in v], [stack(w, f"bond.{b}", x, ssp) for x in e], stack(w, f"state.{b}", u, ssp)
        if not b:
            begin = v, e, u
        p = f"blocks.{b}"
        inner = [linear(w, f"{p}.ends", np.concatenate([v[i], v[j], x, u])) for (i, j, _), x in zip(bonds, e, strict=True)]
        e2 = [stack(w, f"{p}.bond.1", ssp(x), ssp) for x in inner]
        mean = [np.mean([x for (i, _, _), x in zip(bonds, e2, strict=True) if i == k], axis=0) for k in range(len(v))]
        v2 = [stack(w, f"{p}.atom", np.concatenate([mean[k], v[k], u]), ssp) for k in range(len(v))]
        u2 = stack(w, f"{p}.state", np.concatenate([np.mean(e2, axis=0), np.mean(v2, axis=0), u]), ssp)
        v, e, u = [a + c for a, c in zip(begin[0], v2, strict=True)], [a + c for a, c in zip(begin[1], e2, strict=True)], begin[2] + u2
    whole = np.concatenate([set_to_vector(w, "atoms_read", v, 3), set_to_vector(w, "bonds_read", e, 3), u])
    return np.array(v), stack(w, "read", whole, ssp)


def with_state(crystal, **values):
    return crystal.with_fields(whole={k: torch.tensor([v], dtype=torch.float64) for k, v in values.items()}, quantities={k: Quantity() for k in values})


def test_features_are_those_of_the_equations():
    model = lively(MEGNet(**SMALL, state=("warmth", "fidelity")))
    for make in (ex.low_symmetry, ex.ordered_rock_salt, ex.molecule):
        crystal = with_state(make(), warmth=0.7, fidelity=-1.2)
        with torch.no_grad():
            found = model(crystal, model.graph(crystal))
        site, whole = by_hand(model, crystal, np.array([0.7, -1.2]))
        np.testing.assert_allclose(found.site, site, rtol=1e-6)
        np.testing.assert_allclose(found.whole[0], whole, rtol=1e-6)


def test_the_state_decides_and_must_be_there():
    model = MEGNet(**SMALL, state=("warmth",)).to(torch.float64)
    read = lambda crystal: model(crystal, model.graph(crystal)).whole
    assert not torch.allclose(read(with_state(ex.low_symmetry(), warmth=0.0)), read(with_state(ex.low_symmetry(), warmth=1.0)))
    with pytest.raises(Missing, match="warmth"):
        read(ex.low_symmetry())


def test_a_label_of_the_data_is_a_state_of_its_own():
    model = MEGNet(**SMALL, state=("fidelity",), levels=3).to(torch.float64)
    read = lambda level: model(with_state(ex.low_symmetry(), fidelity=level), model.graph(ex.low_symmetry())).whole[0]
    assert len({tuple(read(float(level)).tolist()) for level in (0, 1, 2, 1)}) == 3
    for wrong in (3.0, -1.0, 0.5):
        with pytest.raises(BadInput, match="0 .. 2"):
            read(wrong)
    with pytest.raises(BadInput, match="one field"):
        MEGNet(**SMALL, levels=3)


def test_element_embeddings_go_from_model_to_model_and_may_be_frozen():
    one, two = MEGNet(**SMALL, seed=0), MEGNet(**SMALL, seed=1)
    two.set_element_embeddings(one.element_embeddings())
    assert torch.equal(two.embed.weight, one.embed.weight) and not two.embed.weight.requires_grad
    two.set_element_embeddings(one.element_embeddings() + 1, frozen=False)
    assert two.embed.weight.requires_grad and not torch.equal(two.embed.weight, one.embed.weight)
    with pytest.raises(BadInput, match="elements=8"):
        two.set_element_embeddings(torch.zeros(119, 8))


def test_the_default_has_the_settings_of_the_paper():
    model = MEGNet()
    assert len(model.blocks) == 3 and model.width == 32 and model.embed.weight.shape == (119, 16) and model.graph.builder.radius == 4.0
    assert len(model.expand.centres) == 100 and model.expand.gamma == 4.0 and model.atoms_read.hidden == 16 and model.atoms_read.steps == 3
