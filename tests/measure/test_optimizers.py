"""Claims of measure/optimizers.py on quadratic bowls and on functions that overshoot."""

import pytest
import torch

from matterloop.measure.optimizers import FIRST_STIFFNESS, MAX_MOVE, OPTIMIZERS, State


def bowls(seed=0, stiff=20.0):
    """Three systems of 2, 5 and 3 rows; stiffness of each coordinate between 1 and `stiff` eV/Å^2; minima at random places."""
    rng = torch.Generator().manual_seed(seed)
    owner = torch.tensor([0] * 2 + [1] * 5 + [2] * 3)
    stiffness = 1 + (stiff - 1) * torch.rand(10, 3, dtype=torch.float64, generator=rng)
    bottom = torch.randn(10, 3, dtype=torch.float64, generator=rng)

    def evaluate(x, rows=slice(None)):
        gap = x - bottom[rows]
        per_row = (stiffness[rows] * gap**2).sum(-1) / 2
        return per_row, -stiffness[rows] * gap

    return owner, bottom, evaluate


def walk(name, owner, evaluate, x, steps):
    size = int(owner.max()) + 1
    init, step = OPTIMIZERS[name]
    state, path = init(x, owner, size), [x]
    for _ in range(steps):
        energy, force = evaluate(x)
        state, x = step(state, x, torch.zeros(size, dtype=x.dtype).index_add(0, owner, energy), force, owner)
        path.append(x)
    return path, state


@pytest.mark.parametrize("name, steps", [("fire", 200), ("lbfgs", 45)])
def test_bowls_are_descended(name, steps):
    owner, bottom, evaluate = bowls()
    path, _ = walk(name, owner, evaluate, torch.zeros(10, 3, dtype=torch.float64), steps)
    assert float((path[-1] - bottom).abs().max()) < 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_row_moves_farther_than_allowed(name):
    owner, _, evaluate = bowls(1, 500.0)
    path, _ = walk(name, owner, evaluate, torch.full((10, 3), 5.0, dtype=torch.float64), 12)
    moves = [float((b - a).norm(dim=-1).max()) for a, b in zip(path, path[1:], strict=False)]
    limit = MAX_MOVE if name == "lbfgs" else 1.5 * MAX_MOVE  # FIRE first takes half of a bad move back
    assert max(moves) <= limit + 1e-12 and max(moves) > 0.9 * MAX_MOVE


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_systems_do_not_see_each_other(name):
    owner, _, evaluate = bowls(2)
    start = torch.zeros(10, 3, dtype=torch.float64)
    together, _ = walk(name, owner, evaluate, start, 25)
    rows = slice(2, 7)
    alone, _ = walk(name, owner[rows] - 1, lambda x: evaluate(x, rows), start[rows], 25)
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a[rows], b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_memory_can_be_cut_and_joined(name):
    owner, _, evaluate = bowls(3)
    path, state = walk(name, owner, evaluate, torch.zeros(10, 3, dtype=torch.float64), 6)
    first, rest = state.pick(torch.arange(2), torch.tensor([0])), state.pick(torch.arange(2, 10), torch.tensor([1, 2]))
    again = State.join([first, rest])
    for kind in ("row", "whole"):
        for key, value in getattr(state, kind).items():
            assert torch.equal(getattr(again, kind)[key], value), key
    with pytest.raises(AttributeError):
        state.row = {}


def test_a_worse_trial_is_rejected_and_costs_no_evaluation():
    owner = torch.zeros(1, dtype=torch.long)
    init, step = OPTIMIZERS["lbfgs"]
    point = lambda v: torch.tensor([[v, 0.0, 0.0]], dtype=torch.float64)
    value = lambda v: torch.tensor([v], dtype=torch.float64)
    state, x1 = step(init(point(0.0), owner, 1), point(0.0), value(0.0), point(4.0), owner)
    assert x1[0, 0] == pytest.approx(4.0 / FIRST_STIFFNESS)  # steepest descent with the guessed stiffness
    state, x2 = step(state, x1, value(0.5), point(-12.0), owner)  # uphill, and the force has turned: minimum of the parabola is at a quarter of the move
    assert state.row["x"][0, 0] == 0.0 and float(state.whole["value"]) == 0.0  # still the accepted point
    assert x2[0, 0] == pytest.approx(0.25 * float(x1[0, 0]), rel=1e-9)
    state, _ = step(state, x2, value(-0.05), point(0.1), owner)
    assert torch.equal(state.row["x"], x2)


def test_negative_curvature_is_not_learnt():
    owner = torch.zeros(1, dtype=torch.long)
    init, step = OPTIMIZERS["lbfgs"]
    point = lambda v: torch.tensor([[v, 0.0, 0.0]], dtype=torch.float64)
    state, x1 = step(init(point(0.0), owner, 1), point(0.0), torch.tensor([0.0], dtype=torch.float64), point(1.0), owner)
    state, x2 = step(state, x1, torch.tensor([-0.1], dtype=torch.float64), point(2.0), owner)  # the force grew along the move
    assert float(state.whole["rho"].abs().max()) == 0.0
    assert x2[0, 0] > x1[0, 0]  # and still goes downhill


def test_fire_takes_half_a_step_back_when_going_uphill():
    owner = torch.zeros(1, dtype=torch.long)
    init, step = OPTIMIZERS["fire"]
    point = lambda v: torch.tensor([[v, 0.0, 0.0]], dtype=torch.float64)
    nothing = torch.zeros(1, dtype=torch.float64)
    state, x1 = step(init(point(0.0), owner, 1), point(0.0), nothing, point(1.0), owner)
    dt, v = float(state.whole["dt"]), float(state.row["velocity"][0, 0])
    state, x2 = step(state, x1, nothing, point(-1.0), owner)
    assert float(state.whole["dt"]) == pytest.approx(dt / 2) and float(state.whole["downhill"]) == 0
    assert x2[0, 0] == pytest.approx(float(x1[0, 0]) - dt * v / 2 - (dt / 2) ** 2)
