"""Join what the work files of the reference recipes hold into shipped/compounds_chgnet.parquet and its card.

Called as `python recipes/reference_compounds.py write`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from hull_formulas import SOURCE as MP_FORMATION
from hull_formulas import lowest_of
from reference_common import BUILT, LADDER, PROTOCOL, PUBLISHED, RELAXED, SYMPREC, potential_facts, read_lines, write_table
from reference_restore import restored, steps_of
from reference_structures import CREDIT, crystals_of, structures

from matterloop.base import elements as periodic_table
from matterloop.crystal.composition import composition_of, compositions, reduced, reduced_formula
from matterloop.measure.hull import Hull
from matterloop.represent.wyckoff_gene import Gene

BUILT_NEAR = 0.1  # eV/atom above the hull of all other phases: farther up a built phase has the wrong structure
BELIEVED = 0.25  # eV/atom by which its formation energy may differ from the published one (of older corrections): farther off it is not that phase
DEEPEST = 0.5  # eV/atom a relaxation may gain; beyond that it ended in another structure
HOLE = 0.2  # eV/atom below the hull of all other phases: what fell so far and ends there is a hole of the potential


def element_energies(work: Path) -> dict[int, float]:
    """{atomic number: lowest eV/atom} of the relaxed elements."""
    out: dict[int, float] = {}
    for x in read_lines(work / "elements.jsonl"):
        if x["status"] != "failed":
            z = periodic_table.number(x["element"])
            out[z] = min(out.get(z, np.inf), x["energy_per_atom"])
    return out


def ended(x: dict, published: float) -> str:
    """"" if a relaxation came to a good end, else why not; "not used" is the status of a line restored from the card."""
    if x["status"] == "not used":
        return x["reason"]
    if x["status"] == "failed":
        return f"failed: {x['reason']}"
    if x["status"] == "steps":
        return "not converged"
    return "ended above the published geometry" if x["energy_per_atom"] > published + 0.002 else ""


def good(x: dict, published: float) -> str:
    """"" if a relaxation came to a good end near the published geometry, else why not."""
    if why := ended(x, published):
        return why
    fall = published - x["energy_per_atom"]
    return "" if fall < DEEPEST else f"fell by more than {DEEPEST} eV/atom: a hole of the potential, not a relaxation"


def kind_of(reason: str) -> str:
    """A reason without its numbers, to count by."""
    return re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", reason)[:100]


def built_rows(work: Path, rows: list[dict], published: dict[tuple, float]) -> tuple[list[dict], dict]:
    """(rows, facts) of phases built by recipes/reference_built.py: the lowest of each formula and wanted space group, if its formation energy is near the
    published one {reduced composition: eV/atom} and it lies near the hull of everything."""
    found: dict[tuple[str, int], dict] = {}
    for x in read_lines(work / "built.jsonl"):
        key = (x["formula"], x["wanted_group"])
        if x["status"] == "converged" and x["energy_per_atom"] < found.get(key, {"energy_per_atom": np.inf})["energy_per_atom"]:
            found[key] = x
    listed = list(found.values())
    shares = [composition_of(x["formula"]) for x in listed]
    held = [np.nanmin([r["energy_per_atom"], r["relaxed_energy_per_atom"]]) for r in rows]
    elements = element_energies(work)
    known = Hull([*(dict(zip(r["elements"].tolist(), r["counts"].tolist(), strict=True)) for r in rows), *({z: 1} for z in elements)], [*held, *elements.values()],
                 list(map(str, range(len(rows) + len(elements)))), "mp2020", "chgnet")
    energies = [x["energy_per_atom"] for x in listed]
    formation = known.formation_energy(shares, energies)
    off = formation - np.array([published[reduced(c)] for c in shares])
    believed = np.abs(off) < BELIEVED
    grown = known.with_entries([c for c, b in zip(shares, believed, strict=True) if b], [e for e, b in zip(energies, believed, strict=True) if b],
                               [f"built {k}" for k in range(int(believed.sum()))])
    keep = believed & (grown.energy_above(shares, energies, missing="report").above < BUILT_NEAR)
    before = restored(work).get("built_by_substitution", {})  # what was tried and not kept before the work folder was refilled has no line
    count = lambda name, now: int(now) + before.get(name, 0)
    spread = {f"percentile_{p}": float(np.percentile(off, p)) for p in (5, 25, 50, 75, 95)} if listed else {}
    name = "formation_energy_minus_published_eV_per_atom"
    facts = {"formulas_tried": len(listed) + before.get("formulas_tried", 0) - before.get("kept", 0), "kept": int(keep.sum()),
             "formation_energy_too_far_from_published": count("formation_energy_too_far_from_published", (~believed).sum()),
             "too_far_above_the_hull": count("too_far_above_the_hull", (believed & ~keep).sum()), name: before[name] if before.get("kept") == len(listed) else spread}
    out = []
    for x, composition, good_one in zip(listed, shares, keep, strict=True):
        if good_one:
            counts = reduced(composition)
            out.append({
                "material_id": f"built-{x['formula']}-{x['wanted_group']}", "formula": reduced_formula(composition), "elements": np.array([z for z, _ in counts], dtype=np.uint8),
                "counts": np.array([n for _, n in counts], dtype=np.uint16), "n_atoms": Gene.parse(x["gene"]).atoms, "source": "built", "space_group": x["wanted_group"],
                "gene": x["gene"], "anonymous": x["anonymous"], "energy_per_atom": np.nan, "fmax": np.nan, "pressure": np.nan, "protocol": BUILT} | relaxed_columns(x))
    return out, facts


def relaxed_columns(x: dict) -> dict:
    """The columns of a relaxed crystal."""
    return {"relaxed_energy_per_atom": x["energy_per_atom"], "relaxed_space_group": x["space_group"], "relaxed_gene": "",
            "sites": ".".join(f"{periodic_table.symbol(z)}_{letter}" for letter, z, _ in x["sites"]), "lattice": np.array(x["lattice"], dtype=np.float32),
            "parameters": np.array([v for site in x["sites"] for v in site[2]], dtype=np.float32)}


def endings(work: Path, single: dict[str, dict]) -> dict[str, dict]:
    """{material id: its first relaxation that ended well, or the last that did not}."""
    out: dict[str, dict] = {}
    for x in read_lines(work / "relaxed.jsonl"):
        name = x["material_id"]
        if name not in out or ended(out[name], single[name]["energy_per_atom"]):
            out[name] = x
    return out


def far_falls(work: Path, names: Iterable[str], listed: list[dict], published: list[float], relaxed: dict[str, dict]) -> dict[str, float]:
    """{material id: distance in eV/atom to the hull of all other phases} of the relaxations that fell by more than DEEPEST.

    Most of them started from a geometry far from any minimum and ended above the hull, as a relaxation should; one that ends below it found a hole.
    """
    sound = {m: x["energy_per_atom"] for m, x in relaxed.items() if not ended(x, np.inf)}
    falls = [e - sound.get(m, e) for m, e in zip(names, published, strict=True)]
    elements = element_energies(work)
    held = [e - fall * (0 < fall < DEEPEST) for e, fall in zip(published, falls, strict=True)]
    hull = Hull([*listed, *({z: 1} for z in elements)], [*held, *elements.values()], [*names, *map(str, elements)], "mp2020", "chgnet")
    rows = [i for i, fall in enumerate(falls) if fall >= DEEPEST]
    above = hull.energy_above([listed[i] for i in rows], [held[i] - falls[i] for i in rows], missing="report").above if rows else []
    return {list(names)[i]: float(a) for i, a in zip(rows, above, strict=True)}


def write(work: Path, data_dir: Path) -> None:
    """Join what the work files hold into the shipped table."""
    import pandas as pd

    frame = structures(work)
    single = {x["material_id"]: x for x in read_lines(work / "singles.jsonl")}
    known = {x["material_id"]: x for x in read_lines(work / "genes.jsonl")}
    relaxed = endings(work, single)
    left_out = {m: single[m]["failed"] for m in frame.material_id if "failed" in single.get(m, {})}
    frame = frame[[m in single and m not in left_out for m in frame.material_id]].reset_index(drop=True)
    rows, unfit, tried, listed = [], {}, 0, compositions(crystals_of(frame))
    far = far_falls(work, frame.material_id, listed, [single[m]["energy_per_atom"] for m in frame.material_id], relaxed)
    for r, composition in zip(frame.itertuples(), listed, strict=True):
        one, g, x = single[r.material_id], known.get(r.material_id, {}), relaxed.get(r.material_id)
        counts = reduced(composition)
        row = {
            "material_id": r.material_id, "formula": reduced_formula(composition), "elements": np.array([z for z, _ in counts], dtype=np.uint8),
            "counts": np.array([n for _, n in counts], dtype=np.uint16), "n_atoms": r.atoms, "source": r.source, "space_group": g.get("space_group", 0),
            "gene": g.get("gene", ""), "anonymous": g.get("anonymous", ""), "energy_per_atom": one["energy_per_atom"], "fmax": one["fmax"],
            "pressure": one["pressure"], "protocol": PUBLISHED, "relaxed_energy_per_atom": np.nan, "relaxed_space_group": 0,
            "relaxed_gene": "", "sites": "", "lattice": None, "parameters": None}
        if x is not None:
            tried += 1
            if why := ended(x, one["energy_per_atom"]):
                unfit[r.material_id] = why
            elif (above := far.get(r.material_id, 0.0)) < -HOLE:
                unfit[r.material_id] = f"fell by more than {DEEPEST} eV/atom, to {-above:.2f} below the hull of all other phases: a hole of the potential"
            else:
                row |= {"protocol": RELAXED, **relaxed_columns(x), "relaxed_gene": "" if x["gene"] == row["gene"] else x["gene"]}
        rows.append(row)
    more, built = built_rows(work, rows, lowest_of(data_dir / MP_FORMATION)[0])
    rows += more
    table = pd.DataFrame(rows).astype({"n_atoms": np.int16, "space_group": np.int16, "relaxed_space_group": np.int16, "fmax": np.float32, "pressure": np.float32,
                                       "source": "category", "protocol": "category"})
    done = table.protocol == RELAXED
    fall = (table.energy_per_atom - table.relaxed_energy_per_atom)[done]
    before, used = restored(work), [relaxed[m] for m in table.material_id[done]]
    facts = {
        "structures": len(table), "relaxed": int(done.sum()), "built": int((table.protocol == BUILT).sum()), "without_gene": int((table.gene == "").sum()), "formulas": int(table.formula.nunique()),
        "published_minus_relaxed_eV_per_atom": {
            "structures": int(done.sum()), "mean": float(fall.mean()), **{f"percentile_{p}": float(np.percentile(fall, p)) for p in (5, 25, 50, 75, 90, 95, 99)}},
        "relaxation_steps": steps_of(used, before), "gene_changed_by_relaxation": int((table.relaxed_gene != "").sum()),
        "sources": {k: int(v) for k, v in table.source.value_counts().items()}, "left_out": left_out, "built_by_substitution": built,
        "ladder": {"rungs": len(LADDER), "settings": [str(s) for s in LADDER[1:]],
                   "structures": [[x["material_id"] for x in used if x.get("rung", 0) == k] for k in range(1, len(LADDER))]},
        "relaxations_not_used": {"tried": tried, "not_used": len(unfit), **pd.Series([kind_of(w) for w in unfit.values()], dtype=str).value_counts().to_dict()},
        "not_relaxed": dict(sorted(unfit.items())),
        f"relaxed_and_fell_by_more_than_{DEEPEST}_eV_per_atom": {m: f"ended {above:.3f} eV/atom above the hull of all other phases" for m, above in sorted(far.items()) if m not in unfit}}
    write_table("compounds_chgnet", table, {
        "what": "CHGNet energies of Materials Project structures, their geometry where our engine has relaxed it, and phases built where the data have a formula only",
        "protocol": f"energy_per_atom: published geometry, single point; relaxed_energy_per_atom: symmetry kept, cell free, {PROTOCOL}, and up the ladder in facts where that did not end well; built: elements put into a "
                    "structure of the same space group and ratio for formulas on the hull of matbench_mp_e_form, relaxed likewise, kept where the "
                    f"formation energy is within {BELIEVED} eV/atom of the published one and at most {BUILT_NEAR} eV/atom above the hull",
        "made_by": "recipes/reference_compounds.py read singles genes relax retry write; recipes/reference_built.py", "credit": "; ".join(CREDIT.values()), "licence": "CC-BY 4.0", **potential_facts(),
        "columns": {
            "elements": "atomic numbers", "counts": "atoms of each in the reduced formula", "n_atoms": "atoms in the published cell", "space_group": f"within {SYMPREC} Å, 0: not found; of built phases the one aimed at",
            "gene": "Wyckoff gene of the published geometry", "anonymous": "the same without elements", "energy_per_atom": "eV/atom at the published geometry, which is not CHGNet's minimum; empty for built phases",
            "fmax": "largest force there, eV/Å", "pressure": "pressure there, GPa", "relaxed_energy_per_atom": "eV/atom, empty where not relaxed",
            "relaxed_gene": "empty where unchanged", "sites": "element and Wyckoff letter of the relaxed crystal in the standard setting",
            "lattice": "free lattice parameters in the order of crystal/lattice.FREE, Å and degrees", "parameters": "free site parameters, all sites in order"},
        "facts": facts})
    print(json.dumps({k: v for k, v in facts.items() if k != "left_out"}, indent=1), len(left_out), "left out")
