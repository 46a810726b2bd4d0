"""The suite of CDVAE: validity of structure and composition, coverage of a test set, earth mover's distances of properties, success of optimisation.

T. Xie, X. Fu, O.-E. Ganea, R. Barzilay, T. Jaakkola, ICLR 2022, arXiv:2110.06197, as its scripts/compute_metrics.py and eval_utils.py compute it (DiffCSP's are the
same). Validity of compositions by SMACT with ICSD24FilterConfig(consensus=1, commonality="low"), the setting that gives today the figures published then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from ..archive.records import Reason
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import numpy_stream
from ..crystal.composition import composition_matrix, compositions, density, reduced
from ..crystal.graph import Within
from ..crystal.segments import segment_min
from ..crystal.state import Crystals
from ..learn.intervals import bootstrap, share_interval
from ..represent.crystal_nn import fingerprints
from ..represent.magpie import of_counts
from ..represent.wyckoff_gene import Gene
from .chemistry_sense import MOST_IMAGES, charge_balanced

CARD = Card(
    name="cdvae_metrics",
    build="CdvaeSuite",
    role="judge",
    paper="2110.06197",
    year=2022,
    capabilities=("structure", "composition"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell"),
    waives={"supercell": "the paper leaves an atom's own images out; in a supercell they are other atoms, and the two checks change places"},
    tolerance=1e-6,
    tolerance_reason="the fingerprint's, see crystal_nn",
    summary="validity of structure and composition, COV-R and COV-P, earth mover's distances, success rates of optimisation, as published generators report them",
    differs=(
        "an atom's own images are checked too, as a reason of their own that no published figure holds",
        "compositions are judged by SMACT's function with pinned oxidation states, where an element without electronegativity fails; the script of the paper lets it pass",
        "energies come from our potential, not from the network of the paper; composition fingerprints are standardised by constants computed on MP-20 val",
        "fewer than 1,000 valid crystals are compared as they are, and the number is told; the script stops",
    ),
)
CLOSEST = 0.5  # Å
FARTHEST = 2.0  # Å: distances are looked for up to here, which is enough to know that they are not too short
SMALLEST = 0.1  # Å^3 of a cell
SAMPLE = 1000  # valid crystals whose properties are compared
CUTOFFS = {"mp20": (0.4, 10.0), "carbon24": (0.2, 4.0), "perov5": (0.2, 4.0)}  # of structure and composition distances
PERCENTILES = {"mp20": (-3.17562208, -2.82196882, -2.52814761), "carbon24": (-154.527093, -154.45865733, -154.44206825),
               "perov5": (0.43924842, 0.61202443, 0.7364607)}  # 5, 10 and 15 %, of the networks of the paper
SUBSTITUTES = {
    "energy": "CHGNet of our engine at the geometry as it stands, eV/atom, instead of the energy network of the paper",
    "scaler": "means and standard deviations of the composition fingerprints of MP-20 val (bi- and ternary file) instead of the constants of the paper",
    "test_set": "the bi- and ternary structures of MP-20 test instead of all of MP-20 test",
}


def smact_version() -> str:
    """Version of the SMACT whose oxidation states and electronegativities decide."""
    return version("smact")


# validity


def shortest(crystals: Crystals) -> tuple[np.ndarray, np.ndarray]:
    """(between different atoms, to an own image), (crystals,) each, Å, at most `FARTHEST`; NaN where the cell is too flat to be looked at."""
    crystals = crystals.bare().to(torch.float64)
    out = torch.full((2, len(crystals)), FARTHEST, dtype=torch.float64)
    heights = 1 / torch.linalg.inv(crystals.cell).norm(dim=-2)
    images = torch.where(crystals.periodic, torch.floor(2 * FARTHEST / heights) + 1, 1.0).prod(-1)
    good = (images <= MOST_IMAGES).nonzero()[:, 0]
    out[:, images > MOST_IMAGES] = torch.nan
    if len(good):
        part = crystals[good]
        graph = Within(FARTHEST)(part)
        length, owner, own = graph.vectors(part).norm(dim=-1), graph.owner(part), graph.senders == graph.receivers
        for row, which in ((0, ~own), (1, own)):
            out[row, good] = segment_min(length[which], owner[which], len(part), FARTHEST)
    return out[0].numpy(), out[1].numpy()


class CdvaeSuite:
    """Judge of structure and composition by the criteria of the paper, with own images beside."""

    name = "cdvae_metrics"

    def judge(self, crystals: Crystals) -> list[tuple[Reason, ...]]:
        """Reasons of every crystal: distance between atoms and to own images (Å, at most 2), cell volume (Å^3), SMACT validity, whether it has a fingerprint."""
        if not len(crystals):
            return []
        found = Features.of(crystals)
        flat = "not measured: the cell is too flat"
        rows = []
        for i in range(len(crystals)):
            apart, own, volume = float(found.apart[i]), float(found.own_image[i]), float(found.volume[i])
            rows.append((
                Reason("distance", apart, CLOSEST, "Å", apart >= CLOSEST, note="" if apart == apart else flat),
                Reason("own_image", own, CLOSEST, "Å", own >= CLOSEST, note="" if own == own else flat),
                Reason("cell_volume", volume, SMALLEST, "Å^3", volume >= SMALLEST),
                Reason("composition", float(found.composition_valid[i]), 1.0, "", bool(found.composition_valid[i]),
                       note="" if found.composition_valid[i] else "no neutral assignment of oxidation states"),
                Reason("fingerprint", float(i not in found.failed), 1.0, "", i not in found.failed, note=found.failed.get(i, ""))))
        return rows


# what is compared


@dataclass(frozen=True, eq=False)
class Features:
    """What the suite looks at in a set of n readable crystals.

    given              structures that were given, unreadable ones included: what shares are of
    apart, own_image   (n,) shortest distances, see `shortest`;  volume (n,) Å^3
    composition_valid  (n,) bool
    structure          (n, 61) CrystalNN fingerprints, NaN where there is none; failed {crystal: why}
    composition        (n, 132) Magpie fingerprints
    density            (n,) g/cm^3;  elements (n,) how many;  energy (n,) eV/atom, NaN = not known
    """

    given: int
    apart: np.ndarray
    own_image: np.ndarray
    volume: np.ndarray
    composition_valid: np.ndarray
    structure: np.ndarray
    composition: np.ndarray
    density: np.ndarray
    elements: np.ndarray
    energy: np.ndarray
    failed: Mapping[int, str]

    @staticmethod
    def of(crystals: Crystals, *, given: int | None = None, energies: Sequence[float] | None = None) -> Features:
        """Features of a batch; `energies` in eV/atom. BadInput where fewer structures were given than there are, or energies are of another number."""
        given = len(crystals) if given is None else given
        energy = np.full(len(crystals), np.nan) if energies is None else np.asarray(energies, dtype=np.float64)
        if given < len(crystals) or energy.shape != (len(crystals),):
            raise BadInput(f"{len(crystals)} crystals of {given} given, with {len(energy)} energies", "cdvae suite")
        counts = composition_matrix(crystals).cpu().numpy()
        apart, own = shortest(crystals)
        structure, failed = fingerprints(crystals)
        valid = np.array([charge_balanced(reduced(c)) for c in compositions(crystals)], dtype=bool)
        return Features(given, apart, own, crystals.volume.double().cpu().numpy(), valid, structure.numpy(), of_counts(counts), density(crystals).cpu().numpy(),
                        (counts > 0).sum(1), energy, failed)

    def __len__(self) -> int:
        return len(self.apart)

    @property
    def structure_valid(self) -> np.ndarray:
        """(n,) the criterion of the paper: no two atoms within 0.5 Å, own images left out."""
        return (self.apart >= CLOSEST) & (self.volume >= SMALLEST)

    @property
    def own_images_apart(self) -> np.ndarray:
        """(n,) no atom within 0.5 Å of its own image."""
        return self.own_image >= CLOSEST

    @property
    def described(self) -> np.ndarray:
        """(n,) whether there is a fingerprint."""
        return np.isfinite(self.structure).all(1)

    @property
    def valid(self) -> np.ndarray:
        """(n,) valid structure and composition, and a fingerprint."""
        return self.structure_valid & self.composition_valid & self.described


@dataclass(frozen=True, eq=False)
class Scaler:
    """What composition fingerprints are standardised by, (132,) each; a property that does not vary counts with its own unit."""

    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(fingerprints: np.ndarray) -> Scaler:
        """Mean and standard deviation over the rows."""
        deviation = fingerprints.std(0)
        return Scaler(fingerprints.mean(0), np.where(deviation > 1e-12, deviation, 1.0))

    def __call__(self, fingerprints: np.ndarray) -> np.ndarray:
        return (fingerprints - self.mean) / self.deviation


# the figures


def validity(found: Features) -> dict[str, Any]:
    """Shares of all given with 95 % intervals; `valid_with_own_images` is what the paper does not ask."""
    columns = {"structure_valid": found.structure_valid, "composition_valid": found.composition_valid, "valid": found.valid,
               "structure_valid_with_own_images": found.structure_valid & found.own_images_apart, "valid_with_own_images": found.valid & found.own_images_apart}
    out: dict[str, Any] = {"given": found.given, "readable": len(found), "without_fingerprint": int((~found.described).sum()), "smact": smact_version()}
    for name, column in columns.items():
        hits = int(column.sum())
        out[name] = hits / found.given if found.given else float("nan")
        out[f"{name}_interval"] = list(share_interval(hits, found.given))
    return out


def nearest(a: np.ndarray, b: np.ndarray, rows: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """(distance of each row of a from the nearest of b, the same of b from a), Euclidean; inf where the other side is empty."""
    from scipy.spatial.distance import cdist

    from_a, from_b = np.full(len(a), np.inf), np.full(len(b), np.inf)
    for start in range(0, len(a) if len(b) else 0, rows):
        block = cdist(a[start : start + rows], b)
        from_a[start : start + rows] = block.min(1)
        from_b = np.minimum(from_b, block.min(0))
    return from_a, from_b


def coverage(generated: Features, reference: Features, scaler: Scaler, cutoffs: tuple[float, float] = CUTOFFS["mp20"]) -> dict[str, Any]:
    """COV-R, COV-P and the mean distances AMSD and AMCD of both sides.

    COV-R is the share of reference crystals that have a generated one within the structure cut-off and a generated one, maybe another, within that of
    compositions; COV-P the same from the generated side, of all given. Crystals without a fingerprint cover nothing.
    """
    side = lambda f: (f.structure[f.described], scaler(f.composition[f.described]))
    (structure, composition), (wanted_structure, wanted_composition) = side(generated), side(reference)
    out: dict[str, Any] = {"structure_cutoff": cutoffs[0], "composition_cutoff": cutoffs[1]}
    structure_p, structure_r = nearest(structure, wanted_structure)
    composition_p, composition_r = nearest(composition, wanted_composition)
    recalled = (structure_r <= cutoffs[0]) & (composition_r <= cutoffs[1])
    precise = int(((structure_p <= cutoffs[0]) & (composition_p <= cutoffs[1])).sum())
    mean = lambda x: float(x.mean()) if len(x) else float("nan")
    return out | {
        "cov_recall": mean(recalled), "cov_recall_interval": list(share_interval(int(recalled.sum()), len(recalled))),
        "cov_precision": precise / generated.given if generated.given else float("nan"), "cov_precision_interval": list(share_interval(precise, generated.given)),
        "amsd_recall": mean(structure_r), "amsd_precision": mean(structure_p), "amcd_recall": mean(composition_r), "amcd_precision": mean(composition_p)}


def earth_movers(generated: Features, reference: Features, *, sample: int = SAMPLE, seed: int = 0) -> dict[str, Any]:
    """Wasserstein distances of density (g/cm^3), number of elements and energy (eV/atom): `sample` valid generated crystals against all of the reference.

    NaN where a side has no value. `emd_sample` says how many crystals were compared.
    """
    from scipy.stats import wasserstein_distance

    chosen = np.flatnonzero(generated.valid)
    if len(chosen) > sample:
        chosen = np.sort(numpy_stream(seed, "earth mover").choice(chosen, sample, replace=False))
    out: dict[str, Any] = {"emd_sample": len(chosen)}
    for name in ("density", "elements", "energy"):
        a, b = getattr(generated, name)[chosen], getattr(reference, name)
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        out[f"emd_{name}"] = float(wasserstein_distance(a, b)) if len(a) and len(b) else float("nan")
    return out


def success_rates(values: np.ndarray, valid: np.ndarray, limits: Sequence[float] = PERCENTILES["mp20"], *, names: Sequence[str] = ("sr5", "sr10", "sr15"),
                  seed: int = 0) -> dict[str, Any]:
    """SR5, SR10, SR15 of property optimisation: the share of starts whose best valid crystal reaches the percentile, with 95 % intervals.

    values  (steps, starts) the property to be lowered of the crystals kept from every start;  valid (steps, starts) bool;  limits: one for each name
    """
    values, valid = np.asarray(values, dtype=np.float64), np.asarray(valid, dtype=bool)
    if values.ndim != 2 or values.shape != valid.shape or not values.size:
        raise BadInput(f"values have shape {values.shape}, valid {valid.shape}; wanted are two of (steps, starts)", "success rates")
    best = np.where(valid & ~np.isnan(values), values, np.inf).min(0)
    out: dict[str, Any] = {"starts": len(best)}
    for name, limit in zip(names, limits, strict=True):
        out[name], out[f"{name}_interval"] = float((best <= limit).mean()), list(bootstrap(best <= limit, seed=seed))
    return out


def compare(generated: Features, reference: Features, scaler: Scaler, *, cutoffs: tuple[float, float] = CUTOFFS["mp20"], seed: int = 0) -> dict[str, Any]:
    """Everything that the suite says of a generated set beside a test set, with what stands in for the parts of the paper that are not at hand."""
    return {**validity(generated), **coverage(generated, reference, scaler, cutoffs), **earth_movers(generated, reference, seed=seed),
            "reference": len(reference), "substitutes": dict(SUBSTITUTES)}


# the shipped test set


@cache
def mp20_test() -> tuple[Features, Scaler]:
    """Features of the bi- and ternary structures of MP-20 test and the scaler of MP-20 val, as recipes/cdvae_reference.py computed them."""
    from ..archive import shipped

    held = shipped.read_arrays("cdvae_mp20")
    counts = np.zeros((len(held["density"]), 119), dtype=np.int64)
    counts[held["rows"], held["species"]] = held["counts"]
    ones = np.ones(len(counts))
    test = Features(len(counts), ones * FARTHEST, ones * FARTHEST, ones * np.inf, held["composition_valid"], held["structure"].astype(np.float64), of_counts(counts),
                    held["density"].astype(np.float64), (counts > 0).sum(1), held["energy"].astype(np.float64), {})
    return test, Scaler(held["scaler_mean"], held["scaler_deviation"])


@cache
def mp20_test_genes() -> tuple[Gene | None, ...]:
    """Wyckoff genes, within 0.1 Å, of the structures of `mp20_test`."""
    from ..archive import shipped

    lines = shipped.read_arrays("cdvae_mp20")["genes"].tobytes().decode().split("\n")
    return tuple(Gene.parse(line) if line else None for line in lines)
