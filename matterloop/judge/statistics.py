"""Statistics of a set of crystals beside a reference set: space groups, Wyckoff positions, templates, diversity.

Space-group and template statistics as in N. Kazeev and others, arXiv:2503.02407; Vendi score: D. Friedman, A. B. Dieng, arXiv:2210.02410, eq. 3; Jensen-Shannon
divergence: J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.seeds import numpy_stream
from ..crystal.composition import composition_matrix
from ..crystal.state import Crystals
from ..crystal.symmetry import analyse
from ..crystal.wyckoff import position
from ..represent.wyckoff_gene import Gene, from_symmetry

SYMPREC = 0.1  # Å: the tolerance at which the literature counts P1
LARGEST = 2000  # crystals whose similarity matrix is diagonalised; of more a fixed sample is taken


# distributions


def jensen_shannon(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> float:
    """Jensen-Shannon divergence of two histograms in bits, 0 (equal) to 1 (nothing in common); NaN if one is empty."""
    p, q = _shares(a, b)
    middle = (p + q) / 2
    entropy = lambda x: -float((x[x > 0] * np.log2(x[x > 0])).sum())
    return float("nan") if np.isnan(middle).any() else max(0.0, entropy(middle) - (entropy(p) + entropy(q)) / 2)


def chi_square(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> float:
    """Symmetric chi-square distance of two histograms, sum (p - q)^2 / (p + q), 0 (equal) to 2 (nothing in common); NaN if one is empty."""
    p, q = _shares(a, b)
    return float(((p - q) ** 2 / (p + q)).sum())


def _shares(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> tuple[np.ndarray, np.ndarray]:
    keys = sorted({k for k in (*a, *b) if a.get(k, 0) or b.get(k, 0)}, key=repr)
    p, q = (np.array([x.get(k, 0) for k in keys], dtype=np.float64) for x in (a, b))
    with np.errstate(invalid="ignore"):
        return p / p.sum(), q / q.sum()


# symmetry


@dataclass(frozen=True, eq=False)
class Symmetries:
    """Genes of a set of crystals, None where no space group was found."""

    genes: tuple[Gene | None, ...]

    @staticmethod
    def of(crystals: Crystals, symprec: float = SYMPREC) -> Symmetries:
        """Found within `symprec` Å."""
        return Symmetries(tuple(None if isinstance(s, Exception) else from_symmetry(s) for s in analyse(crystals, symprec, on_error="keep")))

    @property
    def known(self) -> list[Gene]:
        """Those that were found."""
        return [g for g in self.genes if g is not None]

    @property
    def groups(self) -> list[int | None]:
        """Space-group number of every crystal."""
        return [None if g is None else g.space_group for g in self.genes]

    def group_counts(self) -> Counter[int]:
        """How many crystals have each space group."""
        return Counter(g.space_group for g in self.known)

    def p1(self) -> int:
        """How many crystals have no symmetry but translations."""
        return self.group_counts()[1]

    def templates(self) -> Counter[str]:
        """How many crystals have each anonymous gene (space group and occupied positions, elements exchanged one for one)."""
        return Counter(g.anonymous for g in self.known)

    def wyckoff(self) -> dict[str, float]:
        """Means over crystals: occupied positions, free site parameters, share of atoms on positions with free parameters, share of crystals without any."""
        if not self.known:
            return dict.fromkeys(("positions", "free_parameters", "free_atoms", "rigid"), float("nan"))
        free = [sum(position(g.space_group, letter).multiplicity for letter, _ in g.sites if position(g.space_group, letter).dof) for g in self.known]
        atoms = [sum(position(g.space_group, letter).multiplicity for letter, _ in g.sites) for g in self.known]
        mean = lambda values: float(np.mean(list(values)))
        return {"positions": mean(len(g.sites) for g in self.known), "free_parameters": mean(g.dof for g in self.known),
                "free_atoms": mean(np.divide(free, atoms)), "rigid": mean(g.dof == 0 for g in self.known)}


def symmetry_statistics(found: Symmetries, reference: Symmetries | None = None, known_templates: Iterable[str] = ()) -> dict[str, Any]:
    """Space groups, Wyckoff positions and templates of a set, and their distances from a reference set if there is one.

    known_templates  anonymous genes that are no news besides those of the reference; `novel_templates` counts the distinct ones that are
    """
    templates = found.templates()
    out: dict[str, Any] = {
        "symprec": SYMPREC, "without_space_group": len(found.genes) - len(found.known), "space_groups": len(found.group_counts()),
        "p1": found.p1(), "templates": len(templates), "wyckoff": found.wyckoff()}
    if reference is not None:
        known = set(known_templates) | set(reference.templates())
        sizes = lambda s, what: Counter(what(g) for g in s.known)
        out |= {
            "novel_templates": len(set(templates) - known),
            "space_group_chi2": chi_square(found.group_counts(), reference.group_counts()), "space_group_jsd": jensen_shannon(found.group_counts(), reference.group_counts()),
            "positions_jsd": jensen_shannon(sizes(found, lambda g: len(g.sites)), sizes(reference, lambda g: len(g.sites))),
            "free_parameters_jsd": jensen_shannon(sizes(found, lambda g: g.dof), sizes(reference, lambda g: g.dof)),
            "reference_p1_share": reference.p1() / len(reference.genes) if reference.genes else float("nan"), "reference_wyckoff": reference.wyckoff()}
    return out


# diversity


def vendi_score(distances: np.ndarray) -> float:
    """Effective number of different crystals: exp of the entropy of the eigenvalues of K / n with K = exp(-d^2 / 2).

    distances  (n, n) in units of the distance at which two crystals count as different; n equal crystals score 1, n unrelated ones n
    """
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or not len(distances):
        raise BadInput(f"distances have shape {distances.shape}; wanted is a square of at least one crystal", "vendi score")
    values = np.linalg.eigvalsh(np.exp(-(distances**2) / 2) / len(distances))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def fingerprint_diversity(features: Sequence[tuple[np.ndarray, float]], seed: int = 0) -> dict[str, Any]:
    """Vendi score on fingerprints, each given as ((n, width), cut-off): squared distances in units of the cut-offs are added.

    Of more than `LARGEST` crystals a sample of that size is scored, chosen by `seed`; `of` says how many.
    """
    from scipy.spatial.distance import cdist

    whole = np.concatenate([np.asarray(x, dtype=np.float64) / cut for x, cut in features], axis=1)
    whole = whole[np.isfinite(whole).all(1)]
    if not len(whole):
        return {"vendi": float("nan"), "of": 0}
    if len(whole) > LARGEST:
        whole = whole[np.sort(numpy_stream(seed, "vendi").choice(len(whole), LARGEST, replace=False))]
    return {"vendi": vendi_score(cdist(whole, whole)), "of": len(whole)}


def composition_diversity(crystals: Crystals) -> dict[str, Any]:
    """Distinct chemical systems and reduced formulas, and the Herfindahl-Hirschman index of elements: sum of squared shares, each crystal counted once.

    1 / `element_hhi` is the effective number of elements; `elements` names the five most frequent ones with their shares.
    """
    counts = composition_matrix(crystals).cpu().numpy()
    if not len(counts):
        return {"systems": 0, "formulas": 0, "element_hhi": float("nan"), "elements": {}}
    shares = (counts / counts.sum(1, keepdims=True)).mean(0)
    reduced = counts // np.gcd.reduce(counts, axis=1)[:, None]
    top = np.argsort(-shares, kind="stable")[:5]
    return {"systems": len(np.unique(counts > 0, axis=0)), "formulas": len(np.unique(reduced, axis=0)), "element_hhi": float((shares**2).sum()),
            "elements": {symbol(int(z)): float(shares[z]) for z in top if shares[z] > 0}}
