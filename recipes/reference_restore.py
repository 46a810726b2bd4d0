"""Refill the work folder of the reference recipes from the tables that ship, so that nothing computed is computed again.

Called as `python recipes/reference_compounds.py restore`. Energies come back to the last digit, geometries as they ship (single precision); what a table
does not hold comes back empty: the steps and largest force of each relaxation, the parent of each built phase. Built phases that were tried and not kept are
known by their number only, which stands in restored.json with the other figures that the lines of work no longer tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from reference_common import BUILT, PROTOCOL, RELAXED, append_many, potential_facts, read_lines
from reference_elements import PROTOCOL as ELEMENT_PROTOCOL

from matterloop.archive import shipped
from matterloop.archive.files import replacing
from matterloop.base.elements import number
from matterloop.base.errors import BadInput
from matterloop.crystal.wyckoff import position

FACTS = ("relaxed", "built", "relaxation_steps", "built_by_substitution", "ladder", "not_relaxed")  # of the card, kept in restored.json


def agree(name: str, settings: dict, folder: Path) -> dict:
    """The card of a table; BadInput unless the same weights made it under the same settings as today's recipe would."""
    card, here = shipped.card(name, folder=folder), potential_facts()
    for word in ("potential", "potential_version", "scheme", "weights_sha256"):
        if card.get(word) != here[word]:
            raise BadInput(f"{word} is {card.get(word)!r}, the recipe's is {here[word]!r}; its energies cannot be gone on with: start in an empty work folder", f"{name}.card.json")
    if str(settings) not in card["protocol"]:
        raise BadInput(f"the protocol does not name the recipe's settings {settings}; its energies cannot be gone on with: start in an empty work folder", f"{name}.card.json")
    return card


def geometry(row) -> dict:
    """The relaxed crystal of a row as reference_compounds.finished writes it."""
    group, values, sites, start = int(row.relaxed_space_group), row.parameters.tolist(), [], 0
    for part in row.sites.split("."):
        element, letter = part.split("_")
        stop = start + position(group, letter).dof
        sites.append([letter, number(element), values[start:stop]])
        start = stop
    if start != len(values):
        raise BadInput(f"has {len(values)} site parameters, its sites need {start}", f"compounds_chgnet, row {row.material_id}, parameters")
    return {"energy_per_atom": row.relaxed_energy_per_atom, "fmax": None, "smax": None, "space_group": group, "lattice": row.lattice.tolist(), "sites": sites}


def refill(path: Path, records: Iterable[dict], key: tuple[str, ...]) -> int:
    """Append those records whose key the work file lacks; how many there were."""
    held = {tuple(x[k] for k in key) for x in read_lines(path)}
    new = [r for r in records if tuple(r[k] for k in key) not in held]
    append_many(path, new)
    return len(new)


def element_lines(table) -> list[dict]:
    """Relaxed elements as reference_elements.line writes them; starts that ended in one structure share its numbers."""
    return [{"element": r.element, "prototype": name, "status": "converged" if r.converged else "steps", "reason": "", "steps": None, "n_atoms": int(r.n_atoms),
             "energy_per_atom": r.energy_per_atom, "fmax": float(r.fmax), "smax": None, "shortest": None, "cell": r.cell.tolist(), "frac": r.frac.tolist()}
            for r in table.itertuples() for name in (r.prototype, *r.also_from)]


def restore(work: Path, folder: Path = shipped.SHIPPED) -> None:
    """Write the lines that the shipped tables hold and the work files lack. BadInput where other weights or settings made the tables."""
    card = agree("compounds_chgnet", PROTOCOL, folder)
    agree("elements_chgnet", ELEMENT_PROTOCOL, folder)
    table = shipped.read_table("compounds_chgnet", folder=folder)
    published, built = table[table.protocol != BUILT], table[table.protocol == BUILT]
    facts = {k: card["facts"][k] for k in FACTS if k in card["facts"]}
    rung = {m: k for k, names in enumerate(facts.get("ladder", {}).get("structures", []), 1) for m in names}
    reasons = {m: why for m, why in facts.get("not_relaxed", {}).items() if m in set(published.material_id)}
    counts = {
        "elements.jsonl": refill(work / "elements.jsonl", element_lines(shipped.read_table("elements_chgnet", folder=folder)), ("element", "prototype")),
        "singles.jsonl": refill(work / "singles.jsonl", (
            {"material_id": r.material_id, "energy_per_atom": r.energy_per_atom, "fmax": float(r.fmax), "pressure": float(r.pressure)} for r in published.itertuples()), ("material_id",)),
        "genes.jsonl": refill(work / "genes.jsonl", (
            {"material_id": r.material_id, "space_group": int(r.space_group), "gene": r.gene, "anonymous": r.anonymous} for r in published.itertuples() if r.gene), ("material_id",)),
        "relaxed.jsonl": refill(work / "relaxed.jsonl", (
            {"material_id": r.material_id, "status": "converged", "reason": "", "steps": None, "rung": rung.get(r.material_id, 0), **geometry(r), "gene": r.relaxed_gene or r.gene}
            for r in published[published.protocol == RELAXED].itertuples()), ("material_id",)),
        "built.jsonl": refill(work / "built.jsonl", (
            {"formula": r.material_id.split("-")[1], "wanted_group": int(r.space_group), "parent": None, "score": None, "status": "converged", "reason": "", "steps": None,
             **geometry(r), "gene": r.gene, "anonymous": r.anonymous} for r in built.itertuples()), ("formula", "wanted_group"))}
    counts["relaxed.jsonl"] += refill(work / "relaxed.jsonl", (
        {"material_id": m, "status": "not used", "reason": why, "steps": None, "rung": facts["ladder"]["rungs"]} for m, why in reasons.items()), ("material_id",))
    if not restored(work):
        with replacing(work / "restored.json") as new:
            new.write_text(json.dumps({"rows": len(table), "sha256": card["sha256"], **facts}, indent=1))
    print(", ".join(f"{n} lines of {name}" for name, n in counts.items()), flush=True)


def restored(work: Path) -> dict:
    """Figures of the card that a work folder was refilled from, {} where it was not."""
    path = work / "restored.json"
    return json.loads(path.read_text()) if path.exists() else {}


def steps_of(lines: Iterable[dict], before: dict) -> dict:
    """Mean and largest number of steps of relaxations, those of a table restored without its steps included by its card's figures."""
    known = [x["steps"] for x in lines if x["steps"] is not None]
    old, count = before.get("relaxation_steps", {"mean": 0.0, "largest": 0}), before.get("relaxed", 0)
    return {"mean": float((sum(known) + old["mean"] * count) / max(len(known) + count, 1)), "largest": int(np.max([*known, old["largest"]]))}
