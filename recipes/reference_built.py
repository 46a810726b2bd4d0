"""Build phases that the Materials Project's hull names and the data sets lack, from a structure of the same kind, and relax them: work file built.jsonl.

    python recipes/reference_built.py [--seconds S] [--work runs/reference]

For a formula on the hull (shipped/hull_formulas.parquet) whose space group is not in the reference: structures with the same ratio of elements and
the same space group give up their elements to it, the most similar ones first (measured swaps of elements, generate/similarity.py), at a predicted volume.
The relaxed crystals join the table by `python recipes/reference_compounds.py write`, which keeps the lowest of each formula if it lies near the hull.
"""

from __future__ import annotations

import argparse
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from reference_common import PROTOCOL, SYMPREC, append_many, read_lines
from reference_compounds import finished, remembered
from reference_structures import crystals_of, structures

from matterloop.archive.shipped import read_table
from matterloop.base import elements as periodic_table
from matterloop.base import registry
from matterloop.base.errors import BadInput
from matterloop.crystal.composition import reduced
from matterloop.crystal.segments import offsets_of
from matterloop.crystal.state import Crystals
from matterloop.crystal.symmetry import analyse
from matterloop.generate.similarity import similarity
from matterloop.generate.volume import volume_from_parent
from matterloop.measure.relax import relax

PARENTS = 2  # structures tried for a formula
LEAST = -1.5  # mean ln(swaps seen / expected) below which a parent says nothing
MOST_ELEMENTS, MOST_ATOMS = 4, 32


def slots(composition: tuple) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(amounts, atomic numbers) of ((z, n), ...), sorted by amount, then by number."""
    ordered = sorted((n, z) for z, n in composition)
    return tuple(n for n, _ in ordered), tuple(z for _, z in ordered)


def orders(amounts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every order of slots that leaves the amounts where they are."""
    return [p for p in permutations(range(len(amounts))) if all(amounts[i] == amounts[k] for i, k in enumerate(p))]


def drafts(work: Path) -> list[dict]:
    """What is to be built, cheapest and most similar first: formula, wanted space group, parent (row of the structure file) and the swap of elements."""
    frame, table, like = structures(work), read_table("hull_formulas"), similarity()
    gene = {x["material_id"]: x for x in read_lines(work / "genes.jsonl") if "failed" not in x}
    held, kinds = set(), {}
    for row, (material, species, atoms) in enumerate(zip(frame.material_id, frame.species, frame.atoms, strict=True)):
        if (g := gene.get(material)) is None:
            continue
        amounts, numbers = slots(reduced(species.tolist()))
        held.add((amounts, numbers, g["space_group"]))
        if atoms <= MOST_ATOMS:
            kinds.setdefault((amounts, g["space_group"]), []).append((row, numbers, g["anonymous"]))
    parents = {k: ([r for r, _, _ in v], np.array([z for _, z, _ in v]), [a for _, _, a in v]) for k, v in kinds.items()}
    out = []
    for r in table.itertuples():
        amounts, numbers = slots(tuple(zip(r.elements.tolist(), r.counts.tolist(), strict=True)))
        if not 2 <= len(amounts) <= MOST_ELEMENTS or (amounts, numbers, r.space_group) in held or (amounts, r.space_group) not in parents:
            continue
        rows, olds, anonymous = parents[amounts, r.space_group]
        share = np.array(amounts) / sum(amounts)
        choices = orders(amounts)
        scores = np.stack([like[olds, np.array(numbers)[list(order)]] @ share for order in choices])  # (orders, parents)
        best: dict[str, int] = {}
        for k in np.argsort(-scores.max(0), kind="stable").tolist():  # the most similar parent of each anonymous gene
            if scores[:, k].max() <= LEAST or len(best) == PARENTS:
                break
            best.setdefault(anonymous[k], k)
        unusual = bool(set(numbers) & (periodic_table.LANTHANOIDS | periodic_table.DEFAULT_MASK))
        for rank, k in enumerate(best.values()):
            order = choices[int(scores[:, k].argmax())]
            out.append({"formula": r.formula, "wanted_group": int(r.space_group), "row": rows[k], "parent": frame.material_id.iat[rows[k]],
                        "swap": {str(old): numbers[i] for old, i in zip(olds[k], order, strict=True)}, "score": float(scores[:, k].max()),
                        "cost": int(frame.atoms.iat[rows[k]]) * (1 + rank) * 2.0 ** (2 * unusual + len(amounts) / 2)})
    return sorted(out, key=lambda d: (d["cost"], d["formula"]))


def built(parents: Crystals, chosen: list[dict]) -> tuple[list[int], Crystals | None]:
    """(places, primitive cells) of the drafts that could be built; the space group is found again with the new elements."""
    cells, places = [], []
    for k, draft in enumerate(chosen):
        parent = parents[k]
        species = torch.tensor([draft["swap"][str(z)] for z in parent.species.tolist()])
        old, new = parent.species.bincount(minlength=119), species.bincount(minlength=119)
        counts = lambda c: {z: int(c[z]) for z in c.nonzero()[:, 0].tolist()}
        volume = volume_from_parent(counts(new), counts(old), float(parent.volume[0]) / parent.atoms)
        scale = (volume * parent.atoms / float(parent.volume[0])) ** (1 / 3)
        child = Crystals(parent.frac, species, parent.cell * scale, offsets_of(torch.tensor([len(species)])))
        symmetry = analyse(child, SYMPREC, on_error="keep")[0]
        if not isinstance(symmetry, BadInput):
            cells.append(symmetry.primitive)
            places.append(k)
    return places, Crystals.join(cells) if cells else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/reference"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    path, until = args.work / "built.jsonl", time.monotonic() + args.seconds
    todo = remembered(args.work, "drafts.json", lambda: drafts(args.work))
    done = {(x["formula"], x["wanted_group"], x["parent"]) for x in read_lines(path)}
    rest = [d for d in todo if not done & {(d["formula"], d["wanted_group"], parent) for parent in (d["parent"], None)}]  # None: restored, its parent is not known
    print(f"built.jsonl: {len(todo)} drafts for {len({d['formula'] for d in todo})} formulas, {len(done)} done before", flush=True)
    frame, oracle = structures(args.work), registry.load("chgnet", role="potential")

    def finish(draft: dict, one) -> None:
        if one.status != "stopped":
            append_many(path, [{**{k: draft[k] for k in ("formula", "wanted_group", "parent", "score")}, **finished(one)}])

    for start in range(0, len(rest), 300):
        if time.monotonic() > until:
            break
        chosen = rest[start : start + 300]
        places, cells = built(crystals_of(frame.iloc[[d["row"] for d in chosen]]), chosen)
        lost = set(range(len(chosen))) - set(places)
        append_many(path, [{**{n: chosen[k][n] for n in ("formula", "wanted_group", "parent", "score")}, "status": "failed", "reason": "no symmetry found"} for k in sorted(lost)])
        if cells is not None:
            relax(cells, oracle, **PROTOCOL, batch_atoms=400, on_done=lambda i, one, c=[chosen[k] for k in places]: finish(c[i], one),
                  should_stop=lambda: time.monotonic() > until)
    print(f"built.jsonl: {sum(1 for _ in read_lines(path))} lines", flush=True)


if __name__ == "__main__":
    main()
