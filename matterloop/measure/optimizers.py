"""Minimisers of many independent functions at once, as pairs of pure functions (init, step) over a frozen state.

A system is a run of consecutive rows of 3 numbers (atoms, then the cell); `owner` (rows,) names the system of each row. No number of one system
ever enters another, so a system walks the same path whatever else is in the batch.

FIRE: E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201, in the form "FIRE 2.0" of J. Guénolé et al.,
Comput. Mater. Sci. 175, 109584 (2020), doi:10.1016/j.commatsci.2020.109584.
L-BFGS: D. C. Liu, J. Nocedal, Math. Program. 45, 503 (1989), doi:10.1007/BF01589116, with trial steps that are judged by the next evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..crystal.segments import segment_max, segment_sum

MAX_MOVE = 0.2  # Å, longest move of a row in one step


@dataclass(frozen=True)
class State:
    """Memory of a minimiser: `row` {name: (rows, ...)} and `whole` {name: (systems, ...)}."""

    row: Mapping[str, Tensor]
    whole: Mapping[str, Tensor]

    def pick(self, rows: Tensor, systems: Tensor) -> State:
        """Memory of some of the systems: their row numbers and their own."""
        return State({k: v[rows] for k, v in self.row.items()}, {k: v[systems] for k, v in self.whole.items()})

    @staticmethod
    def join(parts: Sequence[State]) -> State:
        """Memory of the systems of all `parts`, in order."""
        cat = lambda kind, name: torch.cat([getattr(p, kind)[name] for p in parts])
        return State({k: cat("row", k) for k in parts[0].row}, {k: cat("whole", k) for k in parts[0].whole})


class Optimizer(NamedTuple):
    """`init(x, owner, size) -> State` and `step(state, x, value, force, owner) -> (State, next x)`; x, force (rows, 3), value (systems,)."""

    init: Callable[[Tensor, Tensor, int], State]
    step: Callable[[State, Tensor, Tensor, Tensor, Tensor], tuple[State, Tensor]]


def dot(a: Tensor, b: Tensor, owner: Tensor, size: int) -> Tensor:
    """(systems,) inner products of (rows, 3) with (rows, 3)."""
    return segment_sum((a * b).sum(-1), owner, size)


def shortened(move: Tensor, owner: Tensor, size: int, longest: Tensor | float) -> Tensor:
    """`move` (rows, 3), each system's scaled down so that none of its rows is longer than `longest` (systems,) or a number."""
    length = segment_max(move.norm(dim=-1), owner, size, 0.0).clamp(min=1e-300)
    return move * (longest / length).clamp(max=1.0)[owner, None]


DT_START, DT_MIN, DT_MAX = 0.2, 0.002, 1.0
PATIENCE, GROW, SHRINK, ALPHA, ALPHA_SHRINK = 5, 1.1, 0.5, 0.1, 0.99


def fire_init(x: Tensor, owner: Tensor, size: int) -> State:
    """At rest: velocities 0, dt = DT_START, alpha = ALPHA."""
    full = lambda value: x.new_full((size,), value)
    return State({"velocity": torch.zeros_like(x)}, {"dt": full(DT_START), "alpha": full(ALPHA), "downhill": full(0.0)})


def fire_step(state: State, x: Tensor, value: Tensor, force: Tensor, owner: Tensor) -> tuple[State, Tensor]:
    """One step of FIRE 2.0 for every system, unit masses, semi-implicit Euler.

    P = F·v
    P > 0:  n <- n + 1;  if n > N_min: dt <- min(f_inc dt, dt_max), alpha <- f_alpha alpha
    P <= 0: x <- x - dt v / 2; v <- 0; n <- 0; dt <- max(f_dec dt, dt_min); alpha <- alpha_0
    v <- v + dt F;  v <- (1 - alpha) v + alpha |v| F/|F|;  x <- x + dt v

    symbol   variable            symbol            variable
    F, v     force, velocity     N_min             PATIENCE
    n        downhill            f_inc, f_dec      GROW, SHRINK
    dt       dt                  alpha_0, f_alpha  ALPHA, ALPHA_SHRINK

    No row moves farther than MAX_MOVE; a shortened move shortens the velocity with it. `value` is not read.
    """
    size = len(state.whole["dt"])
    velocity = state.row["velocity"]
    good = dot(force, velocity, owner, size) > 0
    downhill = torch.where(good, state.whole["downhill"] + 1, torch.zeros_like(state.whole["downhill"]))
    dt, alpha = state.whole["dt"], state.whole["alpha"]
    fresh = (velocity == 0).all(-1).to(x)
    resting = segment_sum(fresh, owner, size) == segment_sum(torch.ones_like(fresh), owner, size)  # first step: nothing went wrong yet
    faster = good & (downhill > PATIENCE)
    back = torch.where(good, torch.zeros_like(dt), dt / 2)
    x = x - back[owner, None] * velocity
    dt = torch.where(faster, (dt * GROW).clamp(max=DT_MAX), torch.where(good | resting, dt, (dt * SHRINK).clamp(min=DT_MIN)))
    alpha = torch.where(faster, alpha * ALPHA_SHRINK, torch.where(good, alpha, torch.full_like(alpha, ALPHA)))
    velocity = velocity * good.to(x)[owner, None]
    velocity = velocity + dt[owner, None] * force
    speed = dot(velocity, velocity, owner, size).sqrt() / dot(force, force, owner, size).sqrt().clamp(min=1e-300)
    velocity = (1 - alpha)[owner, None] * velocity + (alpha * speed)[owner, None] * force
    move = shortened(dt[owner, None] * velocity, owner, size, MAX_MOVE)
    return State({"velocity": move / dt[owner, None]}, {"dt": dt, "alpha": alpha, "downhill": downhill}), x + move


MEMORY = 12
FIRST_STIFFNESS = 40.0  # eV/Å^2, guessed curvature of the first step
SLACK = 2e-5  # eV per row, rise of the value that counts as noise
SMALLEST = 2e-3  # Å, below this a rise is noise or a jump of the function: accept and forget the past


def lbfgs_init(x: Tensor, owner: Tensor, size: int) -> State:
    """No pairs yet (rho = 0), no accepted point yet (value = inf)."""
    pairs = x.new_zeros(len(x), MEMORY, 3)
    full = lambda value: x.new_full((size,), value)
    return State(
        {"s": pairs, "y": pairs, "x": x, "force": torch.zeros_like(x)},
        {"rho": x.new_zeros(size, MEMORY), "gamma": full(1 / FIRST_STIFFNESS), "value": full(torch.inf), "radius": full(MAX_MOVE)})


def lbfgs_step(state: State, x: Tensor, value: Tensor, force: Tensor, owner: Tensor) -> tuple[State, Tensor]:
    """One L-BFGS step for every system; `x` was a trial, and is first judged against the last accepted point x_a.

    pair:      s = x - x_a,  y = F_a - F,  rho = 1/(y·s), kept only if y·s > 1e-6 |y||s| (curvature guard), then gamma = y·s / y·y
    judgement: accepted if E <= E_a + slack: x_a <- x and the radius doubles up to MAX_MOVE. Otherwise the next trial starts from x_a again with the pair
               just learnt and at most half the length; a rejection costs no evaluation besides the trial itself.
    direction: q <- F_a;  newest to oldest: a_j = rho_j s_j·q, q <- q - a_j y_j;  q <- gamma q;  oldest to newest: q <- q + s_j (a_j - rho_j y_j·q)
    move:      x <- x_a + q, shortened to `radius`; where q·F <= 0 the past is forgotten and q = F / FIRST_STIFFNESS

    symbol   variable          symbol      variable
    x_a, F_a row["x","force"]  E_a         whole["value"]
    s_j, y_j row["s","y"]      rho_j       whole["rho"], 0 = empty; the newest is last
    """
    size = len(value)
    row, whole = state.row, state.whole
    first = torch.isinf(whole["value"])
    s, y = x - row["x"], row["force"] - force
    curvature, yy, ss = dot(s, y, owner, size), dot(y, y, owner, size), dot(s, s, owner, size)
    learn = ~first & (curvature > 1e-6 * (yy * ss).sqrt()) & (ss > 0)
    push = lambda old, new, when: torch.where(when.view(-1, *[1] * (old.dim() - 1)), torch.cat([old[:, 1:], new[:, None]], 1), old)
    s_all, y_all = push(row["s"], s, learn[owner]), push(row["y"], y, learn[owner])
    rho = push(whole["rho"], 1 / torch.where(learn, curvature, torch.ones_like(curvature)), learn)
    gamma = torch.where(learn, curvature / yy.clamp(min=1e-300), whole["gamma"])

    rows = segment_sum(torch.ones_like(x[:, 0]), owner, size)
    length = segment_max(s.norm(dim=-1), owner, size, 0.0)
    worse = ~first & (value > whole["value"] + SLACK * rows)
    forget = worse & (length < SMALLEST)
    reject = worse & ~forget
    radius = torch.where(reject, length / 2, (2 * whole["radius"]).clamp(max=MAX_MOVE))
    keep = ~reject[owner, None]
    x, force, value = torch.where(keep, x, row["x"]), torch.where(keep, force, row["force"]), torch.where(reject, whole["value"], value)
    rho = torch.where(forget[:, None], torch.zeros_like(rho), rho)

    q, a = force, [None] * MEMORY
    for j in range(MEMORY - 1, -1, -1):
        a[j] = rho[:, j] * dot(s_all[:, j], q, owner, size)
        q = q - a[j][owner, None] * y_all[:, j]
    q = gamma[owner, None] * q
    for j in range(MEMORY):
        b = rho[:, j] * dot(y_all[:, j], q, owner, size)
        q = q + (a[j] - b)[owner, None] * s_all[:, j]
    uphill = dot(q, force, owner, size) <= 0
    rho = torch.where(uphill[:, None], torch.zeros_like(rho), rho)
    gamma = torch.where(uphill | forget, torch.full_like(gamma, 1 / FIRST_STIFFNESS), gamma)
    q = torch.where(uphill[owner, None], force / FIRST_STIFFNESS, q)
    move = shortened(q, owner, size, radius)
    return State({"s": s_all, "y": y_all, "x": x, "force": force}, {"rho": rho, "gamma": gamma, "value": value, "radius": radius}), x + move


OPTIMIZERS: dict[str, Optimizer] = {"fire": Optimizer(fire_init, fire_step), "lbfgs": Optimizer(lbfgs_init, lbfgs_step)}
