"""Minimisers of one function of a few coordinates, asked for one trial after another: no evaluation is ever spent on a line search alone.

The coordinates are those of coordinates.py, in which a model Hessian is the unit matrix; every crystal has a minimiser of its own, so that it walks
the same path whatever else is in the batch.

L-BFGS: D. C. Liu, J. Nocedal, Math. Program. 45, 503 (1989), doi:10.1007/BF01589116, with trial steps that are judged by the next evaluation.
FIRE: E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201, in the form "FIRE 2.0" of J. Guénolé et al.,
Comput. Mater. Sci. 175, 109584 (2020), doi:10.1016/j.commatsci.2020.109584.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

Reach = Callable[[np.ndarray], float]  # step (free,) to the longest move in Å that it makes


class Optimizer(Protocol):
    """`step(x, value, force, reach)` takes the trial `x` (free,), its value in eV and minus its gradient, and returns the next trial.

    drop  eV, by how much the value is expected to fall from the best point so far
    """

    drop: float

    def step(self, x: np.ndarray, value: float, force: np.ndarray, reach: Reach) -> np.ndarray: ...


MAX_MOVE = 0.15  # Å, longest move of an atom in one step
MEMORY = 20
SOFTEST = 0.2  # of the model's stiffness; a smaller or negative curvature of a pair is raised to this
SCALES = (0.3, 3.0)  # least and largest factor on the model Hessian
SMALLEST = 2e-3  # Å, below this a rise is noise or a jump of the function: accept and forget the past


class LBFGS:
    """L-BFGS from a multiple of the unit matrix; `slack` eV is the rise of the value that counts as noise.

    pair:      s = x - x_a,  y = F_a - F + θ s,  the least θ >= 0 with y·s >= SOFTEST s·s: soft ways and saddles are walked, not forgotten
    judgement: accepted if E <= E_a + slack: x_a <- x and the radius doubles up to MAX_MOVE. Otherwise the next trial starts from x_a again with the
               pair just learnt and at most half the length; a rejection costs no evaluation besides the trial itself.
    direction: q <- F_a;  newest to oldest: a_j = s_j·q / y_j·s_j, q <- q - a_j y_j;  q <- γ q;  oldest to newest: q <- q + s_j (a_j - y_j·q / y_j·s_j)
    scale:     γ^2 = median of |s_j|/|y_j|, within SCALES: halfway, in the logarithm, between the model's stiffness and what the pairs have seen
    move:      x <- x_a + q, shortened to `radius`; where q·F <= 0 the past is forgotten and q = F

    symbol    variable          symbol     variable
    x_a, F_a  best, pull        E_a        value
    s_j, y_j  pairs[j][:2]      1/y_j·s_j  pairs[j][2];  |s_j|/|y_j|: pairs[j][3]
    """

    def __init__(self, free: int, slack: float = 0.0):
        self.slack, self.radius, self.drop = slack, MAX_MOVE, np.inf
        self.best = self.pull = None
        self.value = np.inf
        self.pairs: list[tuple[np.ndarray, np.ndarray, float, float]] = []

    def step(self, x: np.ndarray, value: float, force: np.ndarray, reach: Reach) -> np.ndarray:
        """The next trial (free,)."""
        if self.best is None:
            self.best, self.pull, self.value = x, force, value
        else:
            self._judge(x, value, force, reach)
        direction = self._direction()
        self.drop = float(direction @ self.pull) / 2
        if self.drop <= 0:
            self.pairs.clear()
            direction = self.pull
            self.drop = float(direction @ direction) / 2
        length = reach(direction)
        return self.best + (direction * (self.radius / length) if length > self.radius else direction)

    def _judge(self, x: np.ndarray, value: float, force: np.ndarray, reach: Reach) -> None:
        s, y = x - self.best, self.pull - force
        square = float(s @ s)
        if square > 0:
            lack = SOFTEST - float(s @ y) / square
            if lack > 0:
                y = y + lack * s
            self.pairs = [*self.pairs[1 - MEMORY :], (s, y, 1 / float(s @ y), (square / float(y @ y)) ** 0.5)]
        if value > self.value + self.slack:
            length = reach(s)
            if length >= SMALLEST:
                self.radius = length / 2
                return
            self.pairs.clear()
        self.radius = min(2 * self.radius, MAX_MOVE)
        self.best, self.pull, self.value = x, force, value

    def _direction(self) -> np.ndarray:
        q, weights = self.pull, []
        for s, y, rho, _ in reversed(self.pairs):
            weights.append(rho * float(s @ q))
            q = q - weights[-1] * y
        if self.pairs:
            ratio = sorted(p[3] for p in self.pairs)
            n = len(ratio)
            q = q * min(max((ratio[n // 2] + ratio[(n - 1) // 2]) / 2, SCALES[0]), SCALES[1]) ** 0.5
        for (s, y, rho, _), a in zip(self.pairs, reversed(weights), strict=True):
            q = q + (a - rho * float(y @ q)) * s
        return q


DT_START, DT_MIN, DT_MAX = 0.5, 0.02, 1.2
PATIENCE, GROW, SHRINK, ALPHA, ALPHA_SHRINK = 5, 1.1, 0.5, 0.1, 0.99


class FIRE:
    """FIRE 2.0, unit masses, semi-implicit Euler; values are not read.

    P = F·v
    P > 0:  n <- n + 1;  if n > N_min: dt <- min(f_inc dt, dt_max), alpha <- f_alpha alpha
    P <= 0: x <- x - dt v / 2; v <- 0; n <- 0; dt <- max(f_dec dt, dt_min); alpha <- alpha_0
    v <- v + dt F;  v <- (1 - alpha) v + alpha |v| F/|F|;  x <- x + dt v

    symbol   variable            symbol            variable
    F, v     force, velocity     N_min             PATIENCE
    n        downhill            f_inc, f_dec      GROW, SHRINK
    dt       dt                  alpha_0, f_alpha  ALPHA, ALPHA_SHRINK

    No step is longer than MAX_MOVE; a shortened step shortens the velocity with it.
    """

    def __init__(self, free: int, slack: float = 0.0):
        self.velocity: np.ndarray | None = None
        self.dt, self.alpha, self.downhill, self.drop = DT_START, ALPHA, 0, np.inf

    def step(self, x: np.ndarray, value: float, force: np.ndarray, reach: Reach) -> np.ndarray:
        """The next trial (free,)."""
        v = self.velocity
        if v is None:
            v = np.zeros_like(x)
        elif float(force @ v) > 0:
            self.downhill += 1
            if self.downhill > PATIENCE:
                self.dt, self.alpha = min(self.dt * GROW, DT_MAX), self.alpha * ALPHA_SHRINK
        else:
            x, v = x - self.dt / 2 * v, np.zeros_like(x)
            self.dt, self.alpha, self.downhill = max(self.dt * SHRINK, DT_MIN), ALPHA, 0
        square = float(force @ force)
        self.drop = square / 2
        v = v + self.dt * force
        v = (1 - self.alpha) * v + self.alpha * np.sqrt(float(v @ v) / max(square, 1e-300)) * force
        move = self.dt * v
        length = reach(move)
        if length > MAX_MOVE:
            move = move * (MAX_MOVE / length)
        self.velocity = move / self.dt
        return x + move


OPTIMIZERS: dict[str, Callable[[int, float], Optimizer]] = {"fire": FIRE, "lbfgs": LBFGS}
