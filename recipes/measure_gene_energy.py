"""Measure the gene-energy predictor on chemical systems that it has not seen, beside what it has to beat; writes WORK/report.json and prints it.

    python recipes/measure_gene_energy.py WORK

Needs `table`, `train` and `calibrate` of recipes/train_gene_energy.py. Ranking figures are of the rows outside of the reference hull (WBM, random and substituted
candidates), whose distance to the hull is what a generator's proposal has; until such rows are in the table, of all test rows. Intervals: 95 %, chemical
systems drawn again with replacement.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from train_gene_energy import Rows, calibration_rows, genes_of, read

from matterloop.base.seeds import numpy_stream
from matterloop.generate.similarity import similarity
from matterloop.predict.gene_energy import NAME, GeneEnergy
from matterloop.predict.gene_energy_baselines import CompositionEnergy, Neighbours, TypeMean, fractions
from matterloop.predict.gene_energy_network import sites_of

LIMITS = (0.1, 0.0)
SHARES = (0.5, 0.2, 0.1)
DRAWS = 300


def features(columns: dict[str, np.ndarray]) -> np.ndarray:
    """What the stacked combination is made of: each as its difference to the network, and what tells how far to trust it."""
    mu = columns["network"]
    return np.column_stack([columns["composition"] - mu, columns["neighbour"] - mu, columns["score"], np.log(columns["sigma"]), columns["floor"] - mu, mu])


def baselines(rows: Rows, work: Path) -> dict[str, np.ndarray]:
    """Predictions of the baselines for all rows, which know the training rows only, and `ms` of the two that cost any; kept in WORK/baselines.npz."""
    file = work / "baselines.npz"
    if not file.exists():
        genes, known = genes_of(rows.keys), np.flatnonzero(rows.part == "train")
        x = fractions(sites_of(genes))
        model = CompositionEnergy().fit(x[known], rows.energy[known])
        begun = time.process_time()
        composition = model.predict(x)
        between = time.process_time()
        neighbours = Neighbours([genes[i] for i in known], rows.energy[known], similarity())
        near, score = neighbours.predict(genes, composition, composition[known])
        ms = 1e3 * np.array([between - begun, time.process_time() - between]) / len(genes)
        types = [g.anonymous for g in genes]
        np.savez(file, composition=composition, neighbour=np.where(np.isnan(near), composition, near), score=np.where(np.isfinite(score), score, -99.0), ms=ms,
                 type_mean=TypeMean([types[i] for i in known], rows.energy[known]).predict(types))
    with np.load(file, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def predictions(rows: Rows, work: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """({model: formation energies of all rows, eV/atom, and sigma, score, floor}, {model: ms per gene})."""
    genes, other = genes_of(rows.keys), baselines(rows, work)
    predictor = GeneEnergy.load(work / f"{NAME}.safetensors")
    begun = time.process_time()
    found = predictor.predict(genes)
    seconds = time.process_time() - begun
    columns = {
        "network": found.formation_energy, "one network": predictor.members(sites_of(genes))[0][-1], "composition": other["composition"],
        "neighbour": other["neighbour"], "type mean": other["type_mean"], "sigma": found.sigma, "score": other["score"], "floor": rows.floor}
    chosen = calibration_rows(rows)
    stack = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=80, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=40, l2_regularization=5.0, random_state=0)
    stack.fit(features(columns)[chosen], (rows.energy - found.formation_energy)[chosen])
    columns["stack"] = found.formation_energy + stack.predict(features(columns))
    return columns, {"network": 1e3 * seconds / len(genes), "composition": float(other["ms"][0]), "neighbour": float(other["ms"][1])}


def errors(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Mean and median absolute error, root of the mean square and bias, eV/atom."""
    d = found - truth
    return {"mae": float(np.abs(d).mean()), "median": float(np.median(np.abs(d))), "rmse": float(np.sqrt((d**2).mean())), "bias": float(d.mean())}


def ranking(above: np.ndarray, score: np.ndarray, limit: float) -> dict[str, float]:
    """ROC-AUC of `score` (higher: likelier near the hull) for above <= limit, and the share of such rows among all and among the best shares."""
    near = above <= limit
    order = np.argsort(-score, kind="stable")
    out = {"auc": float(roc_auc_score(near, score)) if 0 < near.sum() < len(near) else float("nan"), "all": float(near.mean())}
    for share in SHARES:
        out[f"best {share:.0%}"] = float(near[order[: max(1, round(share * len(near)))]].mean())
    return out


def with_intervals(above: np.ndarray, score: np.ndarray, system: np.ndarray, limit: float) -> dict[str, list[float]]:
    """{figure: [value, low, high]}."""
    rng, value = numpy_stream(0, "gene_energy", "bootstrap"), ranking(above, score, limit)
    names, of = np.unique(system, return_inverse=True)
    held = np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of))[:-1])
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([held[i] for i in rng.integers(len(names), size=len(names))])
        draws.append(ranking(above[rows], score[rows], limit))
    return {k: [v, *(float(q) for q in np.nanquantile([d[k] for d in draws], (0.025, 0.975)))] for k, v in value.items()}


def reliability(above: np.ndarray, chance: np.ndarray, limit: float) -> dict:
    """Predicted chance and observed share in tenths of the chance, and their mean distance weighted by rows; Brier score."""
    near, bins, rows = above <= limit, np.minimum((chance * 10).astype(int), 9), []
    for b in range(10):
        inside = bins == b
        if inside.any():
            rows.append([int(inside.sum()), float(chance[inside].mean()), float(near[inside].mean())])
    table = np.array(rows)
    return {"rows, predicted, observed": rows, "mean_distance": float((table[:, 0] * np.abs(table[:, 1] - table[:, 2])).sum() / table[:, 0].sum()),
            "brier": float(((chance - near) ** 2).mean())}


def report(work: Path) -> dict:
    """All figures."""
    rows = read(work)
    columns, cost = predictions(rows, work)
    test = rows.part == "test"
    models = ("type mean", "composition", "neighbour", "one network", "network", "stack")
    out = {"errors_eV_per_atom": {}, "ms_per_gene": cost}
    sets = {"all": test, "in the hull": test & rows.held, "outside": test & ~rows.held, **{str(s): test & (rows.source == s) for s in np.unique(rows.source)}}
    for name, chosen in sets.items():
        if chosen.sum() >= 20:
            out["errors_eV_per_atom"][name] = {"rows": int(chosen.sum()), **{m: errors(rows.energy[chosen], columns[m][chosen]) for m in models}}
    ranked = test & ~rows.held & np.isfinite(rows.floor)
    out["ranked_rows"] = "outside of the hull" if ranked.sum() >= 200 else "all test rows: none or few are outside of the hull"
    if ranked.sum() < 200:
        ranked = test & np.isfinite(rows.floor)
    above, sigma, system = (rows.energy - rows.floor)[ranked], columns["sigma"][ranked], rows.system[ranked]
    calibration = GeneEnergy.load(work / f"{NAME}.safetensors").calibration
    out["rows_ranked"] = int(ranked.sum())
    out["ranking"], out["reliability"] = {}, {}
    for limit in LIMITS:
        scores = {m: rows.floor[ranked] - columns[m][ranked] for m in models}
        chance = calibration.probability((limit - (columns["network"] - rows.floor)[ranked]) / sigma)
        scores |= {"network, by chance": chance, "floor alone": rows.floor[ranked]}
        out["ranking"][f"<= {limit}"] = {m: with_intervals(above, s, system, limit) for m, s in scores.items()}
        out["reliability"][f"<= {limit}"] = reliability(above, chance, limit)
    source, out["by_source"] = rows.source[ranked], {}
    chance = calibration.probability((LIMITS[0] - (columns["network"] - rows.floor)[ranked]) / sigma)
    for name in np.unique(source):
        of = source == name
        out["by_source"][str(name)] = {"rows": int(of.sum()), "predicted": float(chance[of].mean()), "observed": float((above[of] <= LIMITS[0]).mean()),
                                       "bias_eV_per_atom": errors(rows.energy[ranked][of], columns["network"][ranked][of])["bias"]}
        if of.sum() >= 90:
            out["ranking"][f"<= {LIMITS[0]}"][f"network, by chance, {name} ({of.sum()})"] = with_intervals(above[of], chance[of], system[of], LIMITS[0])
    z = (rows.energy - columns["network"])[ranked] / sigma
    out["coverage"] = {f"{level:g}": float((np.abs(z) <= width).mean()) for level, width in ((0.683, 1.0), (0.954, 2.0), (0.997, 3.0))}
    out["sigma_eV_per_atom"] = [float(q) for q in np.quantile(sigma, (0.1, 0.5, 0.9))]
    out["spearman_of_sigma_and_error"] = float(np.corrcoef(np.argsort(np.argsort(sigma)), np.argsort(np.argsort(np.abs(z * sigma))))[0, 1])
    return out


def rounded(value, digits: int = 4):
    """The same with floats rounded, for cards."""
    if isinstance(value, dict):
        return {k: rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v, digits) for v in value]
    return round(value, digits) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    found = rounded(report(options.work))
    (options.work / "report.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, row in found["errors_eV_per_atom"].items():
        print(f"{name:14s}{row['rows']:7d}  " + "  ".join(f"{m} {e['mae']:.3f}/{e['median']:.3f}" for m, e in row.items() if m != "rows"))
    print(found["ranked_rows"], found["rows_ranked"])
    for limit, rows in found["ranking"].items():
        for model, row in rows.items():
            print(f"{limit:8s}{model:40s}" + "  ".join(f"{k} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for k, v in row.items()))
    print(json.dumps({k: found[k] for k in ("ms_per_gene", "by_source", "reliability", "coverage", "sigma_eV_per_atom", "spearman_of_sigma_and_error")}, indent=1))


if __name__ == "__main__":
    main()
