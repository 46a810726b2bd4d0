"""Structure prediction from a composition and the atoms of its primitive cell, learnt from one file: every target of MP-20's bi- and ternary test file.

What is known: the val file, nothing else. Element similarity, swap metric, match chance, volumes and the library of known crystals are fitted to it; no shipped
table, no other prototype and no potential is read. A guess matches as StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).get_rms_dist says, and only
if no two atoms come nearer than 0.5 Å. Measures: judge/structure_prediction.py. Targets whose formula occurs in val are also counted apart; the others make
the split in which polymorphs stay together (arXiv:2509.12178). Baseline: genes ranked by the likelihood of swaps, as generate/template.py does.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ..archive.sources import load_frame, source
from ..base.errors import BadInput
from ..base.machine import hardware, versions
from ..base.seeds import numpy_stream
from ..crystal.composition import reduced
from ..crystal.matching import Prepared, prepare
from ..crystal.matching_distance import reduced_rms
from ..crystal.state import Crystals
from ..generate.analogue_fitting import Fitted
from ..generate.analogue_ranking import Guess, Ranker, rank_by_swaps
from ..generate.analogues import member, members, orders_of, slots
from ..judge.chemistry_sense import charge_balanced, shortest_distances
from ..judge.structure_prediction import TOLERANCE, rates_of
from ..represent.wyckoff_gene import Gene
from .structure_prediction_files import crystal_of, rows_of
from .structure_prediction_genes import GeneSource, PlacedGene, joined, read_genes
from .structure_prediction_relaxed import relaxed

DATA, KNOWN, TARGETS = "mp20_biternary_val_test", "val.csv.gz", "test.csv.gz"
GUESSES = 20
NEAREST_ALLOWED = 0.5  # Å
CHUNK = 8  # targets handed to a process at a time
DOF_CLASSES = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 1000))
ATOM_CLASSES = ((1, 4), (5, 8), (9, 12), (13, 16), (17, 20))
RANKINGS = ("ours", "template")
PROTOCOL = (
    "Input: composition and number of atoms in the primitive cell. Known: MP-20 bi- and ternary val, nothing else; no shipped table, no AFLOW prototype, no potential.",
    "Match: StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).get_rms_dist of the reduced primitive cells, no two atoms of the guess nearer than 0.5 Å; shares of all targets.",
    "Targets whose formula occurs in val stand apart; the others are the split in which polymorphs stay together.",
)
FURTHER = "Further genes joined by score; what their source learnt from has to be told beside these figures."


def read(file: str, data_dir: str | Path | None = None) -> list[tuple[str, str]]:
    """(material id, CIF text) of every row of a file of the data set. NotHere where it is missing."""
    frame = load_frame(DATA, file, data_dir=data_dir, usecols=["material_id", "cif"])
    return [(str(name), str(text)) for name, text in zip(frame.material_id, frame.cif, strict=True)]


class Predictor:
    """Ranked guesses for a composition, and how far each is from a target; `more` gives placed genes of another source."""

    def __init__(self, fitted: Fitted, guesses: int = GUESSES, thorough: bool = False, more: GeneSource | None = None):
        self.fitted, self.guesses, self.thorough, self.more = fitted, guesses, thorough, more
        self.ranker = Ranker(fitted.members, fitted.metric, fitted.chance)
        self.formulas = {m.formula for m in fitted.members}
        self._genes: dict[tuple[int, ...], set[str]] = defaultdict(set)
        for m in fitted.members:
            self._genes[m.counts].add(m.gene)

    def rankings(self, composition: Mapping[int, int]) -> dict[str, list[Guess | PlacedGene]]:
        """{"ours": best first, "template": the baseline} for {atomic number: atoms in the primitive cell}."""
        elements, pattern = slots(dict(composition))
        ours = self.ranker.rank(composition, self.guesses)
        if self.more is not None:
            ours = joined(ours, self.more(composition, [key for g in ours if (key := _gene_key(g))], self.guesses), self.guesses)
        return {"ours": ours, "template": rank_by_swaps(self.ranker.analogues(pattern), elements, self.fitted.similarity, self.guesses)}

    def score(self, name: str, target: Crystals) -> dict[str, Any]:
        """The row of one target: what was asked, what is known of it, and for each ranking the distances of its guesses (None: no match).

        Unless `thorough`, a ranking ends at its first match. gene_rank: rank of the first guess with the target's gene, -1 without.
        """
        begin = time.process_time()
        composition = {int(z): int(n) for z, n in zip(*np.unique(target.species.numpy(), return_counts=True), strict=True)}
        rankings = self.rankings(composition)
        truth = member(name, target)
        genes = {_key(truth.gene, o) for o in orders_of(truth.counts)}
        key_of_truth = Gene.parse(truth.gene).substituted(dict(enumerate(truth.species, 1))).key
        (wanted,) = prepare(target, TOLERANCE)
        row: dict[str, Any] = {
            "id": name, "composition": composition, "atoms": target.atoms, "dof": Gene.parse(truth.gene).dof, "formula_known": reduced(composition) in self.formulas,
            "gene_known": bool(genes & self._genes[truth.counts]), "charge_balanced": charge_balanced(reduced(composition))}
        seen: dict[tuple, float | None] = {}
        for label in RANKINGS:
            guesses = rankings[label]
            distances: list[float | None] = []
            for guess in guesses:
                key = (guess.gene.text,) if isinstance(guess, PlacedGene) else (guess.member.name, guess.member.change, guess.member.slot.tobytes(), guess.order)
                if key not in seen:
                    volume = self.fitted.modelled(composition) if isinstance(guess, PlacedGene) else self.fitted.volume(guess)
                    seen[key] = distance(guess.crystal(volume), wanted)
                distances.append(seen[key])
                if distances[-1] is not None and not self.thorough:
                    break
            row[label] = {"guesses": len(guesses), "distances": distances, "first_gain": round(guesses[0].gain, 4) if guesses else 0.0,
                          "gene_rank": next((i for i, g in enumerate(guesses) if _gene_key(g) == key_of_truth), -1),
                          "recoloured": sum(isinstance(g, Guess) and bool(g.member.change) for g in guesses), "genes": sum(isinstance(g, PlacedGene) for g in guesses)}
        return row | {"seconds": round(time.process_time() - begin, 3)}


def _key(gene: str, order: Sequence[int]) -> str:
    return Gene.parse(gene).substituted({s + 1: role + 1 for role, s in enumerate(order)}).key


def _gene_key(guess: Guess | PlacedGene) -> str:
    """Key of the gene with its elements; "" for a recoloured crystal, whose gene is not known."""
    if isinstance(guess, PlacedGene):
        return guess.gene.key
    change = {s + 1: guess.elements[role] for role, s in enumerate(guess.order)}
    return Gene.parse(guess.member.gene).substituted(change).key if guess.member.gene else ""


def distance(guess: Crystals, target: Prepared) -> float | None:
    """Normalised root mean square distance of a guess from its target; None without a match, for atoms too near, or for what cannot be compared."""
    if float(shortest_distances(guess).min()) < NEAREST_ALLOWED:
        return None
    try:
        return reduced_rms(prepare(guess, TOLERANCE)[0], target)
    except BadInput:
        return None


# many targets

_worker: Predictor


def predictor_of(folder: Path, guesses: int = GUESSES, thorough: bool = False) -> Predictor:
    """The predictor of a work folder: what was fitted there and, where it holds `genes.jsonl`, those genes."""
    fitted, genes = Fitted.load(folder), folder / "genes.jsonl"
    return Predictor(fitted, guesses, thorough, GeneSource(genes, fitted, folder) if genes.exists() else None)


def _start(folder: str, guesses: int, thorough: bool) -> None:
    global _worker
    import torch

    torch.set_num_threads(1)
    _worker = predictor_of(Path(folder), guesses, thorough)


def _work(chunk: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [_worker.score(name, crystal_of(name, text)) for name, text in chunk]


def predict(targets: Iterable[tuple[str, str]], folder: Path, *, guesses: int = GUESSES, thorough: bool = False, processes: int = 2,
            note: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """Rows of all targets (id, CIF text), written to `targets.jsonl` of the folder as they come; targets already there are not done again."""
    path = folder / "targets.jsonl"
    have = rows_of(path)
    path.write_text("".join(json.dumps(r) + "\n" for r in have), encoding="utf-8")
    done = {r["id"] for r in have}
    waiting = [t for t in targets if t[0] not in done]
    chunks = [waiting[i : i + CHUNK] for i in range(0, len(waiting), CHUNK)]
    note(f"{len(waiting)} targets to do, {len(done)} done")
    with path.open("a", encoding="utf-8") as stream:
        for rows in _rows(chunks, folder, guesses, thorough, processes):
            have += rows
            stream.write("".join(json.dumps(r) + "\n" for r in rows))
            stream.flush()
            if len(have) % 200 < CHUNK:
                first, any_ = (np.mean([_best(r["ours"], k) < np.inf for r in have]) for k in (1, guesses))
                note(f"{len(have)} targets, first rank {first:.3f}, best of {guesses} {any_:.3f}")
    return have


def _rows(chunks: list, folder: Path, guesses: int, thorough: bool, processes: int) -> Iterator[list[dict[str, Any]]]:
    if processes == 1:
        predictor = predictor_of(folder, guesses, thorough)
        yield from ([predictor.score(name, crystal_of(name, text)) for name, text in chunk] for chunk in chunks)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(str(folder), guesses, thorough)) as pool:
        yield from pool.map(_work, chunks)


# the record


def _best(ranking: Mapping[str, Any], k: int) -> float:
    return min((d for d in ranking["distances"][:k] if d is not None), default=np.inf)


def _parts(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    parts = {"all": list(rows), "formula not in val": [r for r in rows if not r["formula_known"]], "formula in val": [r for r in rows if r["formula_known"]],
             "gene in val": [r for r in rows if r["gene_known"]], "gene not in val": [r for r in rows if not r["gene_known"]]}
    parts |= {f"{low} to {high} atoms": [r for r in rows if low <= r["atoms"] <= high] for low, high in ATOM_CLASSES}
    parts |= {f"{low} to {high} free coordinates" if high < 1000 else f"{low} and more free coordinates": [r for r in rows if low <= r["dof"] <= high] for low, high in DOF_CLASSES}
    return {name: part for name, part in parts.items() if part}


def summary(rows: Sequence[Mapping[str, Any]], guesses: int = GUESSES, thorough: bool = False, seed: int = 0) -> dict[str, Any]:
    """Match rate, RMSE, cRMSE at 1 and at `guesses` of every part and ranking, METRe, and what limits them.

    Without `thorough` the distance of a target is that of the first guess that matches: RMSE at more than one guess is then an upper bound.
    METRe: targets of equal input get the same ranking, so m of them are asked together and any of the first m guesses may match each. `charge_balanced_only`: all
    targets, where those that SMACT finds without balance count as not matched, as CDVAE's and DiffCSP's scripts do.
    """
    if not rows:
        raise BadInput("there are no targets to count", "structure prediction")
    found: dict[str, Any] = {"targets": len(rows), "guesses": guesses, "best_of_many_is_first_match": not thorough, "parts": {}}
    for name, part in _parts(rows).items():
        found["parts"][name] = {"targets": len(part)} | {label: {
            f"at_{k}": rates_of(np.array([_best(r[label], k) for r in part]), TOLERANCE.site, "match_rate", seed) for k in sorted({1, guesses})} for label in RANKINGS}
    asked: dict[str, int] = defaultdict(int)
    for r in rows:
        asked[json.dumps(r["composition"], sort_keys=True)] += 1
    several = [asked[json.dumps(r["composition"], sort_keys=True)] for r in rows]
    found["metre"] = {label: rates_of(np.array([_best(r[label], m) for r, m in zip(rows, several, strict=True)]), TOLERANCE.site, "metre", seed) for label in RANKINGS}
    balanced = lambda label, k: np.array([_best(r[label], k) if r["charge_balanced"] else np.inf for r in rows])
    found["charge_balanced_only"] = {label: {f"at_{k}": rates_of(balanced(label, k), TOLERANCE.site, "match_rate", seed) for k in sorted({1, guesses})} for label in RANKINGS}
    for label in RANKINGS:
        first = np.array([next((i + 1 for i, d in enumerate(r[label]["distances"]) if d is not None), 0) for r in rows])
        right = [r for r in rows if r[label]["gene_rank"] == 0]
        found.setdefault("limits", {})[label] = {
            "gene_in_val": float(np.mean([r["gene_known"] for r in rows])), "no_guess": float(np.mean([r[label]["guesses"] == 0 for r in rows])),
            "gene_at_first_rank": len(right) / len(rows), "match_given_gene_at_first_rank": float(np.mean([_best(r[label], 1) < np.inf for r in right])) if right else float("nan"),
            "gene_among_guesses": float(np.mean([r[label]["gene_rank"] >= 0 for r in rows])),
            "matched_by_rank": [float(np.mean((first > 0) & (first <= k))) for k in range(1, guesses + 1)]}
    return found


def measure(*, targets: int = 0, guesses: int = GUESSES, thorough: bool = False, seed: int = 0, processes: int = 2, relax: int = 0, potential: str = "chgnet",
            genes: str | Path | None = None, data_dir: str | Path | None = None, folder: str | Path, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Fit to val, predict `targets` random targets of test (0: all) and count; returns the record, plain data.

    relax   of how many targets the first guesses are relaxed and ranked by energy too (structure_prediction_relaxed.py)
    genes   file of further genes with scores (structure_prediction_genes.py); their source has to be told beside the figures
    folder  work folder: what was fitted and the rows; a run that was stopped goes on from there. BadInput for a folder of other settings.
    """
    if targets < 0 or guesses < 1 or processes < 1 or relax < 0:
        raise BadInput(f"{targets} targets, {guesses} guesses, {processes} processes, {relax} to relax; none may be negative, guesses and processes at least 1", "predict-structure")
    folder, begin = Path(folder), time.time()
    folder.mkdir(parents=True, exist_ok=True)
    given = Path(genes).read_text(encoding="utf-8") if genes else ""
    task = {"guesses": guesses, "thorough": thorough, "seed": seed} | ({"genes": hashlib.sha256(given.encode()).hexdigest()} if genes else {})
    held = folder / "task.json"
    if held.exists() and json.loads(held.read_text(encoding="utf-8")) != task:
        raise BadInput("holds a run of other settings; give another folder or the same settings", str(folder))
    if genes:
        read_genes(Path(genes))  # a bad row is told before the minutes are spent
        (folder / "genes.jsonl").write_text(given, encoding="utf-8")
    held.write_text(json.dumps(task), encoding="utf-8")
    if not Fitted.stands_in(folder):
        note("reading val")
        known = read(KNOWN, data_dir)
        Fitted.to(members([name for name, _ in known], (crystal_of(*row) for row in known)), seed=seed, note=note).save(folder)
    wanted = read(TARGETS, data_dir)
    order = numpy_stream(seed, "predict structure", "targets").permutation(len(wanted))
    wanted = [wanted[i] for i in order[: targets or len(order)].tolist()]
    rows = predict(wanted, folder, guesses=guesses, thorough=thorough, processes=processes, note=note)
    names = {name for name, _ in wanted}
    rows = [r for r in rows if r["id"] in names]
    data = source(DATA)
    after = relaxed(wanted[:relax], folder, potential=potential, seed=seed, note=note) if relax else {}
    learnt = {"file": KNOWN, **json.loads((folder / "fitted.json").read_text(encoding="utf-8"))}
    return summary(rows, guesses, thorough, seed) | ({"relaxed": after} if after else {}) | {
        "protocol": [*PROTOCOL, FURTHER] if genes else list(PROTOCOL), "task": task, "learnt_from": learnt,
        "data": {"name": DATA, "files": [KNOWN, TARGETS], "version": data.version}, "matcher": {"ltol": TOLERANCE.length, "stol": TOLERANCE.site, "angle_tol": TOLERANCE.angle},
        "cpu_seconds_per_target": float(np.mean([r["seconds"] for r in rows])), "hardware": hardware(), "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "seconds": round(time.time() - begin, 1)}
