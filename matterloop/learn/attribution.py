"""What atoms and elements add to a network's answer, for any encoder; crystals keep their symmetry, supercells tell the same as cells.

    local terms     y = sum_i e_i, or for the mean over sites y - h(p0) = sum_i (x_i - p0)/n . int_0^1 grad h(p0 + a (p - p0)) da,  p = mean x
    gradients       (x_i - x0) . grad_i f (gradient times input), or averaged on the way: int_0^1 grad_i f(x0 + a (x - x0)) da
    occlusion       f(all) - f(all without a group), the group's atoms entering as x0
    Shapley         the group's average part over all orders in which groups enter
with x_i the features of a site, h the head after pooling, x0 what enters for "no atom". Groups are elements, or atoms that are alike.
Path integrals: M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML 2017, arXiv:1703.01365, eq. 1 (by Gauss and Legendre, which is exact
for polynomials, where they take Riemann sums); for a sum of players the values of R. J. Aumann, L. S. Shapley, Values of non-atomic games (1974).
Occlusion: M. D. Zeiler, R. Fergus, ECCV 2014, arXiv:1311.2901. Crystals as sums of local terms: T. Xie, J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018).
Randomised weights: J. Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, arXiv:1810.03292.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..base.elements import MAX_Z
from ..base.errors import BadInput, Missing
from ..base.seeds import numpy_stream
from ..crystal.alike import Alike
from ..crystal.compositions import Compositions, atom_mean
from ..crystal.graph import Graph, Within
from ..crystal.segments import offsets_of, runs, segment_count, segment_mean, segment_sum
from .data import Samples
from .entrances import entering
from .explanation import Reading, SiteContributions, State
from .shapley import shapley_values

STEPS = 24  # points of a path integral
TOGETHER = 4000  # atoms looked at together
REACH = 5.0  # Å, of the surroundings by which atoms are alike where the encoder does not say


def local_terms(reading: Reading, state: State, steps: int = STEPS) -> SiteContributions:
    """The answer divided among sites by the network's own structure: exact, and as cheap as a prediction.

    An extensive target is a sum over sites already; of an intensive one the head's answer is divided along the straight path from a mean feature of 0.
    What a network puts on which site is its own choice: only sums are ever fitted. BadInput for encoders that speak of whole crystals.
    """
    site, base, prediction = [], [], []
    for _, piece, graph in pieces(reading, state):
        found = reading.encoder(piece, graph)
        target = reading.target
        if found.site is None or not target.extensive and found.whole is not None:
            raise BadInput("this encoder speaks of whole crystals; choose another method, such as integrated_gradients", "local terms")
        head, scale = reading.predictor.heads[target.name], replace(reading.scale, log=False)
        if target.extensive:
            y = scale.inverse(head(found.site)[:, 0], replace(target, extensive=False, per="site"), piece)
            y = y * piece.amount if isinstance(piece, Compositions) else y
            start = torch.zeros(len(piece), dtype=torch.float64)
        else:
            pooled, slope = atom_mean(found.site, piece), torch.zeros(len(piece), found.site.shape[1], dtype=torch.float64)
            for a, weight in _path(steps):
                p = (a * pooled).detach().requires_grad_(True)
                slope += weight * torch.autograd.grad(_headed(reading, head(p), piece).sum(), p)[0]
            y = (found.site * slope[piece.owner]).sum(-1) * _share(piece)
            start = _headed(reading, head(torch.zeros_like(pooled)), piece)
            if reading.scale.references is not None:  # energies of the elements belong to their atoms
                own = replace(scale, mean=0.0, spread=1.0).inverse(torch.zeros(len(piece.species)), replace(target, per="site"), piece)
                y, start = y + own * _share(piece), start - atom_mean(own, piece)
        site.append(y.detach())
        base.append(start.detach())
        prediction.append(reading(piece, graph).detach())
    return _made("local terms", reading, state, torch.cat(site), torch.cat(base), torch.cat(prediction))


def gradients(reading: Reading, state: State, steps: int = STEPS, background: State | None = None) -> SiteContributions:
    """Integrated gradients with regard to what enters for each atom; with `steps` = 1 the gradient at the crystal itself times its input, which is not complete.

    background  crystals whose average atom is the start of the path; zeros if absent
    """
    start, site, base, prediction = typical(reading, background), [], [], []
    path = _path(steps) if steps > 1 else [(1.0, 1.0)]
    for _, piece, graph in pieces(reading, state):
        total = torch.zeros(len(piece.species), dtype=torch.float64)
        for a, weight in path:
            held: list = []

            def change(x, rows, i, a=a, held=held):
                far = x.detach() - start(x, i)
                point = (start(x, i) + a * far).requires_grad_(True)
                held.append((point, far, rows))
                return point

            with torch.enable_grad(), entering(reading.encoder, piece, graph, change):
                y = reading(piece, graph)
            slopes = torch.autograd.grad(y.sum(), [point for point, _, _ in held])
            for (_, far, rows), slope in zip(held, slopes, strict=True):
                total += weight * rows.shared_out((far * slope).sum(-1))
        with torch.no_grad(), entering(reading.encoder, piece, graph, lambda x, rows, i: start(x, i).expand_as(x)):
            base.append(reading(piece, graph))
        site.append(_evened(total, piece))
        prediction.append(reading(piece, graph).detach())
    return _made("integrated gradients" if steps > 1 else "gradient times input", reading, state, torch.cat(site), torch.cat(base), torch.cat(prediction))


def _evened(values: Tensor, state: State) -> Tensor:
    """(atoms,) with the mean over atoms that are alike for each of them: encoders may let one copy stand for all, and slopes then flow to that one."""
    if isinstance(state, Compositions):
        return values
    alike = Alike(Within(REACH))(state).alike
    return segment_mean(values, alike, len(values))[alike]


def integrated_gradients(reading: Reading, state: State, steps: int = STEPS, background: State | None = None) -> SiteContributions:
    """See `gradients`."""
    return gradients(reading, state, max(steps, 2), background)


def gradient_times_input(reading: Reading, state: State, background: State | None = None) -> SiteContributions:
    """See `gradients`."""
    return gradients(reading, state, 1, background)


@torch.no_grad()
def occlusion(reading: Reading, state: State, by: str = "element", background: State | None = None) -> SiteContributions:
    """By how much the answer would change if the atoms of a group were none; shared evenly among them. Not complete: see the gap."""
    players = players_of(reading, state, by)
    masks = [np.vstack([np.ones(k, dtype=bool), ~np.eye(k, dtype=bool), np.zeros((1, k), dtype=bool)]) for k in players.counts.tolist()]
    found = _coalitions(reading, state, players, masks, background)
    values = [y[0] - y[1:-1] for y in found]
    return _of_players("occlusion", reading, state, players, values, [y[-1] for y in found], [y[0] for y in found])


@torch.no_grad()
def shapley_sites(reading: Reading, state: State, by: str = "element", background: State | None = None, samples: int = 2048, seed: int = 0) -> SiteContributions:
    """Shapley values of groups of atoms, shared evenly within a group: complete. Exact up to EXACT groups, of more by weighted least squares on `samples` choices."""
    players, parts, start = players_of(reading, state, by), [], typical(reading, background)
    for i, k in enumerate(players.counts.tolist()):
        value = lambda masks, i=i: _coalitions(reading, state[i], players.only(i, state), [masks], start)[0]
        parts.append(shapley_values(value, k, samples, numpy_stream(seed, "shapley", k)))
    return _of_players("Shapley values", reading, state, players, [p.values for p in parts], [p.base for p in parts], [p.full for p in parts])


METHODS: dict[str, Callable[..., SiteContributions]] = {
    "local_terms": local_terms, "integrated_gradients": integrated_gradients, "gradient_times_input": gradient_times_input, "occlusion": occlusion,
    "shapley": shapley_sites}


# groups of atoms


@dataclass(frozen=True)
class Players:
    """Groups of atoms that enter or stay away together, numbered within each crystal.

    number  (atoms,) group of each atom within its crystal
    counts  (crystals,) groups of each crystal
    """

    number: Tensor
    counts: Tensor

    def only(self, i: int, state: State) -> Players:
        first, last = state.offsets[i : i + 2].tolist()
        return Players(self.number[first:last], self.counts[i : i + 1])


def players_of(reading: Reading, state: State, by: str = "element") -> Players:
    """by "element", or "orbit": atoms that are alike in element and surroundings (crystals only)."""
    if by == "element":
        group = state.owner * (MAX_Z + 1) + state.species
    elif by == "orbit":
        if isinstance(state, Compositions):
            raise BadInput("compositions have no sites; group them by element", "players_of")
        graph = reading.graph(state)
        group = graph.alike if graph.alike is not None else Alike(Within(REACH))(state).alike
    else:
        raise Missing("group of atoms", by, ("element", "orbit"))
    kinds, number = torch.unique(group, return_inverse=True)
    owner = torch.zeros(len(kinds), dtype=torch.long).index_copy(0, number, state.owner)
    counts = segment_count(owner, len(state))
    return Players(number - offsets_of(counts)[:-1][state.owner], counts)


def _coalitions(reading: Reading, state: State, players: Players, masks: list[np.ndarray], background: State | Start | None) -> list[np.ndarray]:
    """Of each crystal the answers for its `masks` (choices, groups), True where the group is there."""
    samples, start = Samples(state, reading.graph(state)), typical(reading, background)
    rows = torch.arange(len(state)).repeat_interleave(torch.tensor([len(m) for m in masks]))
    many = state.counts[rows]
    atom = runs(state.offsets[:-1][rows], many)
    width = max(m.shape[1] for m in masks)
    table = torch.from_numpy(np.concatenate([np.pad(m, ((0, 0), (0, width - m.shape[1]))) for m in masks]))
    present = table[torch.arange(len(rows)).repeat_interleave(many), players.number[atom]].to(torch.float64)
    ends, found = offsets_of(many), []
    for begin, end in parts_of(many):
        batch, here = samples.batch(rows[begin:end]), present[ends[begin] : ends[end]]

        def change(x, of, i, here=here):
            return start(x, i) + of.taken(here)[:, None] * (x - start(x, i))

        with entering(reading.encoder, batch.crystals, batch.graph, change):
            found.append(reading(batch.crystals, batch.graph))
    return np.split(torch.cat(found).numpy(), np.cumsum([len(m) for m in masks])[:-1])


def _of_players(method: str, reading: Reading, state: State, players: Players, values: list[np.ndarray], base: list, prediction: list) -> SiteContributions:
    flat = offsets_of(players.counts)[:-1][state.owner] + players.number
    many = segment_count(flat, int(players.counts.sum()))
    site = torch.from_numpy(np.concatenate(values))[flat] / many[flat]
    number = lambda x: torch.tensor([float(v) for v in x], dtype=torch.float64)
    return _made(method, reading, state, site, number(base), number(prediction))


# checks


def randomised(reading: Reading, seed: int = 0) -> Reading:
    """The same network with the entries of every weight in another order: what explains it must not explain the original."""
    rng, other = numpy_stream(seed, "randomised"), copy.deepcopy(reading)
    with torch.no_grad():
        for p in other.predictor.parameters():
            p.copy_(p.flatten()[torch.from_numpy(rng.permutation(p.numel()))].view_as(p))
    return other


def likeness(one: SiteContributions, other: SiteContributions) -> float:
    """Rank correlation of what two explanations say of the same atoms, each as far as it differs from the mean of its crystal; NaN where nothing differs.

    C. Spearman, American Journal of Psychology 15, 72 (1904).
    """
    from scipy.stats import spearmanr

    many = segment_count(one.owner, len(one.base))
    left, right = ((x.site * many[x.owner] - segment_sum(x.site, x.owner, len(many))[x.owner]).numpy().round(10) for x in (one, other))
    return float(spearmanr(left, right)[0]) if np.ptp(left) and np.ptp(right) else float("nan")


Start = Callable[[Tensor, int], Tensor]
"""(what enters, number of the entrance) -> (width,), what enters for "no atom"."""


def typical(reading: Reading, background: State | Start | None) -> Start:
    """Zeros, or the average over the atoms of the background; a start passes as it is."""
    if callable(background):
        return background
    if background is None:
        return lambda x, i: torch.zeros_like(x[0])
    sums: dict[int, Tensor] = {}

    def watch(x, rows, i):
        weight = segment_sum(_share(piece), rows.of_atom, rows.size) / segment_count(rows.of_row, rows.size)
        sums[i] = sums.get(i, 0) + (weight[rows.of_row, None] * x).sum(0)
        return x

    with torch.no_grad():
        for _, piece, graph in pieces(reading, background):
            with entering(reading.encoder, piece, graph, watch):
                reading(piece, graph)
    return lambda x, i: sums[i] / len(background)


# parts


def pieces(reading: Reading, state: State) -> Iterator[tuple[int, State, Graph]]:
    """(first crystal, crystals, their graph) of at most TOGETHER atoms; errors of the graph name the crystal's place in the whole."""
    done = 0
    for piece in state.bare().split(TOGETHER):
        try:
            graph = reading.graph(piece)
        except BadInput as error:
            raise error.renumbered(lambda i: i + done) from None
        yield done, piece, graph
        done += len(piece)


def parts_of(atoms: Tensor) -> list[tuple[int, int]]:
    """(begin, end) of runs of crystals with at most TOGETHER atoms, or one crystal."""
    which = (torch.cumsum(atoms, 0) - 1) // TOGETHER
    ends = [0, *(which.diff().nonzero()[:, 0] + 1).tolist(), len(atoms)]
    return list(zip(ends, ends[1:], strict=False))


def _path(steps: int) -> list[tuple[float, float]]:
    """Points and weights on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return [((p + 1) / 2, w / 2) for p, w in zip(points.tolist(), weights.tolist(), strict=True)]


def _share(state: State) -> Tensor:
    """(atoms,) share of each row in its crystal."""
    return state.share if isinstance(state, Compositions) else 1.0 / state.counts.to(torch.float64)[state.owner]


def _headed(reading: Reading, y: Tensor, state: State) -> Tensor:
    """What the head gave for whole crystals, (crystals,) in the unit of the reading."""
    return reading.read(y if reading.target.classes else y[:, 0], state)


def _made(method: str, reading: Reading, state: State, site: Tensor, base: Tensor, prediction: Tensor) -> SiteContributions:
    return SiteContributions(method, site, base, prediction, state.owner, state.species, reading.unit)
