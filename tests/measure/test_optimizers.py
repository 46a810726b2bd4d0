"""Claims of measure/optimizers.py on quadratic bowls and on functions that overshoot."""

import numpy as np
import pytest

from matterloop.measure.optimizers import FIRE, LBFGS, MAX_MOVE, OPTIMIZERS, SCALES, SOFTEST


def reach(step):
    """Rows of three, as atoms have."""
    return float(np.linalg.norm(step.reshape(-1, 3), axis=1).max())


def bowl(seed=0, low=0.2, high=3.0, rows=5):
    """Stiffness of each coordinate between `low` and `high`, as a model Hessian leaves it; minimum at a random place."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3 * rows, 3 * rows)))[0]
    hessian = (turn * rng.uniform(low, high, 3 * rows)) @ turn.T
    bottom = rng.normal(size=3 * rows)
    return bottom, lambda x: (float((x - bottom) @ hessian @ (x - bottom)) / 2, -hessian @ (x - bottom))


def walk(optimizer, evaluate, x, steps):
    path = [x]
    for _ in range(steps):
        x = optimizer.step(x, *evaluate(x), reach)
        path.append(x)
    return path


@pytest.mark.parametrize("name, steps", [("fire", 250), ("lbfgs", 45)])
def test_bowls_are_descended(name, steps):
    bottom, evaluate = bowl()
    path = walk(OPTIMIZERS[name](15, 0.0), evaluate, np.zeros(15), steps)
    assert np.abs(path[-1] - bottom).max() < 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_row_moves_farther_than_allowed(name):
    _, evaluate = bowl(1, 1.0, 50.0)
    path = walk(OPTIMIZERS[name](15, 0.0), evaluate, np.full(15, 5.0), 12)
    moves = [reach(b - a) for a, b in zip(path, path[1:], strict=False)]
    limit = MAX_MOVE if name == "lbfgs" else 1.6 * MAX_MOVE  # FIRE first takes half of a bad move back
    assert max(moves) <= limit + 1e-12 and max(moves) > 0.9 * MAX_MOVE


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_orthogonal_basis_gives_the_same_path(name):
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(15, 15)))[0]
    _, evaluate = bowl(2)

    def turned(x):
        value, force = evaluate(turn.T @ x)
        return value, turn @ force

    near = lambda step: 0.0  # no cap, which knows the axes
    one, two = OPTIMIZERS[name](15, 0.0), OPTIMIZERS[name](15, 0.0)
    a, b = np.zeros(15), np.zeros(15)
    for _ in range(12):
        a, b = one.step(a, *evaluate(a), near), two.step(b, *turned(b), near)
        assert np.allclose(turn @ a, b, atol=1e-9)


def test_the_first_step_is_that_of_the_model():
    first = LBFGS(3).step(np.zeros(3), 0.0, np.array([0.04, 0.0, 0.03]), reach)
    assert first == pytest.approx([0.04, 0.0, 0.03])  # unit stiffness, below the cap


def test_a_worse_trial_is_rejected_and_costs_no_evaluation():
    point = lambda v: np.array([v, 0.0, 0.0])
    o = LBFGS(3)
    x1 = o.step(point(0.0), 0.0, point(0.1), reach)
    assert x1[0] == pytest.approx(0.1)
    x2 = o.step(x1, 0.5, point(-0.3), reach)  # uphill, and the force has turned: the parabola has its minimum at a quarter of the move
    assert o.best[0] == 0.0 and o.value == 0.0  # still the accepted point
    assert x2[0] == pytest.approx(0.025, rel=1e-9)
    o.step(x2, -0.05, point(0.01), reach)
    assert np.array_equal(o.best, x2)


def test_a_rise_within_the_noise_is_accepted():
    point = lambda v: np.array([v, 0.0, 0.0])
    o = LBFGS(3, slack=1e-3)
    x1 = o.step(point(0.0), 0.0, point(0.1), reach)
    o.step(x1, 9e-4, point(0.01), reach)
    assert np.array_equal(o.best, x1)


def test_negative_curvature_counts_as_soft():
    point = lambda v: np.array([v, 0.0, 0.0])
    o = LBFGS(3)
    x1 = o.step(point(0.0), 0.0, point(0.01), reach)
    x2 = o.step(x1, -0.001, point(0.02), reach)  # the force grew along the move
    s, y, _, _ = o.pairs[-1]
    assert float(s @ y) == pytest.approx(SOFTEST * float(s @ s))
    assert x2[0] - x1[0] == pytest.approx(0.02 / SOFTEST)  # far, and downhill


def test_the_scale_of_the_model_is_learnt_halfway_and_bounded():
    force = np.array([0.02, 0.0, 0.0])
    for stiff, factor in ((2.0, 0.5**0.5), (100.0, SCALES[0] ** 0.5)):
        o = LBFGS(3)
        x = o.step(np.zeros(3), 0.0, force, reach)
        o.step(x, -1e-9, force - stiff * x, reach)
        o.pull = np.array([0.0, 0.01, 0.0])  # across what was learnt, only the scale acts
        assert o._direction() == pytest.approx([0.0, 0.01 * factor, 0.0])


def test_expected_drop_is_that_of_the_parabola():
    bottom, evaluate = bowl(4, 0.5, 2.0, rows=2)
    o, x = LBFGS(6), np.zeros(6)
    for _ in range(60):
        value, force = evaluate(x)
        x = o.step(x, value, force, reach)
    value, _ = evaluate(bottom + 0.01)
    o.step(bottom + 0.01, value, evaluate(bottom + 0.01)[1], reach)
    assert o.drop == pytest.approx(o.value, rel=0.3)


def test_fire_takes_half_a_step_back_when_going_uphill():
    point = lambda v: np.array([v, 0.0, 0.0])
    o = FIRE(3)
    x1 = o.step(point(0.0), 0.0, point(0.1), reach)
    dt, v = o.dt, float(o.velocity[0])
    x2 = o.step(x1, 0.0, point(-0.1), reach)
    assert o.dt == pytest.approx(dt / 2) and o.downhill == 0
    assert x2[0] == pytest.approx(x1[0] - dt * v / 2 - (dt / 2) ** 2 * 0.1)
