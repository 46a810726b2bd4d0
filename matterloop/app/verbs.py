"""Every verb of the house as one function: the command line, pages and servers are thin over these.

Each takes files (or a `Crystals`) and returns one plain dict per crystal, in input order; a bad one carries its error and the others go on.
"""

from __future__ import annotations

import math
from importlib import import_module
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import BadInput, MatterloopError, Missing
from ..base.registry import entries, load
from ..base.units import gpa_to_stress, stress_to_gpa
from ..campaign.watch import Watch

if TYPE_CHECKING:  # torch is for the verbs that compute
    from ..campaign.second_opinion import Asked, SecondOpinion
    from ..crystal.state import Crystals

    Source = str | Path | Iterable[str | Path] | Crystals
MAX_ATOMS = 500  # of one structure; a larger one may need more memory than there is
STRUCTURE_FILES = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz")


def read_source(source: Source, watch: Watch, max_atoms: int = MAX_ATOMS) -> tuple[Crystals | None, list[str], list[dict]]:
    """Crystals, their names, and one dict for every input that could not be read; what a reader changed is told to `watch.note`."""
    from ..crystal.state import Crystals

    if isinstance(source, Crystals):
        return source, [str(i) for i in range(len(source))], []
    from ..crystal.formats import read
    from ..crystal.gate import Limits

    paths = [source] if isinstance(source, (str, Path)) else list(source)
    found = read(paths, limits=Limits(atoms=max_atoms, bytes=max(Limits.bytes, 400 * max_atoms)))
    errors = [{"file": e.file or e.where, "row": e.row, "field": e.field, "error": e.message} for e in found.errors]
    for text in found.notes:
        watch.note(text)
    names = [file if row < 0 else f"{file}#{row}" for file, row in found.sources]
    return (found.crystals if names else None), names, errors


def _in_order(source: Source, rows: list[dict]) -> list[dict]:
    """Answers and errors in the order in which their files were given."""
    given = [source] if isinstance(source, (str, Path)) else [] if not isinstance(source, (list, tuple)) else source
    place = {str(p): i for i, p in enumerate(given)}
    return sorted(rows, key=lambda row: place.get(str(row["file"]).rpartition("#")[0], place.get(str(row["file"]), len(place))))


def _labelled(crystals: Crystals, oracle) -> list[tuple[dict | None, str]]:
    """(labels of one crystal, "") or (None, error) for each, by halving the batch where the oracle refuses."""
    try:
        labels = oracle.label(crystals)
    except MatterloopError as error:
        if len(crystals) == 1:
            return [(None, str(error))]
        middle = len(crystals) // 2
        return _labelled(crystals[:middle], oracle) + _labelled(crystals[middle:], oracle)
    out = []
    ends = crystals.offsets.tolist()
    for i in range(len(crystals)):
        part = slice(ends[i], ends[i + 1])
        forces = labels.forces[part] if labels.forces is not None else None
        out.append(({
            "energy": float(labels.energy[i]), "energy_per_atom": float(labels.energy[i]) / max(ends[i + 1] - ends[i], 1),
            "max_force": None if forces is None else float(forces.norm(dim=-1).max()), "forces": None if forces is None else forces.tolist(),
            "stress_gpa": None if labels.stress is None else stress_to_gpa(labels.stress[i]).tolist(),
            "magmoms": None if labels.magmoms is None else labels.magmoms[part].tolist()}, ""))
    return out


def _formula(crystal: Crystals) -> str:
    from ..crystal.composition import compositions, reduced_formula

    return reduced_formula(compositions(crystal)[0])


def energy(source: Source, *, potential: str = "chgnet", max_atoms: int = MAX_ATOMS, watch: Watch = Watch()) -> list[dict[str, Any]]:
    """Energy (eV), forces (eV/Å), stress (GPa, tension positive) and magnetic moments (muB) of structures as they stand."""
    crystals, names, errors = read_source(source, watch, max_atoms)
    if crystals is None:
        return errors
    oracle = load(potential, role="potential")
    rows = []
    for name, one, (labels, error) in zip(names, crystals, _labelled(crystals.bare(), oracle), strict=True):
        head = {"file": name, "formula": _formula(one), "atoms": one.atoms, "potential": oracle.name, "energy_scheme": oracle.energy_scheme}
        rows.append(head | labels if labels is not None else head | {"error": error})
    return _in_order(source, rows + errors)


def relax(source: Source, *, out: str | Path | None = None, fmax: float = 0.05, pressure: float = 0.0, keep_symmetry: bool = False, steps: int = 500,
          optimizer: str = "lbfgs", potential: str = "chgnet", max_atoms: int = MAX_ATOMS, ends: dict[int, Crystals] | None = None,
          watch: Watch = Watch()) -> list[dict[str, Any]]:
    """Relax atoms and cells; with `out` a CIF of each relaxed crystal is written there as soon as it is done.

    fmax in eV/Å, pressure in GPa. Each answer: energy, steps, converged, largest force and stress, space group before and after, file written.
    ends is filled with the relaxed crystal of every answer by its number.
    """
    from ..crystal.formats import cif_texts
    from ..crystal.symmetry import analyse
    from ..measure.relax import relax as relax_
    from .folder import made, write_atomic

    if not math.isfinite(pressure):
        raise BadInput(f"the pressure is {pressure}; a number in GPa is wanted", "relax")
    crystals, names, errors = read_source(source, watch, max_atoms)
    if crystals is None:
        return errors
    oracle = load(potential, role="potential")
    folder = made(Path(out)) if out is not None else None
    files = _file_names(names)
    watch.stage("relax", len(crystals))
    done, unwritten = 0, {}

    def group(one: Crystals) -> str:
        try:
            return analyse(one, 0.01)[0].symbol
        except MatterloopError:
            return "?"

    def write(i: int, one) -> None:
        nonlocal done
        if folder is not None and not one.failed:
            try:
                write_atomic(folder / files[i], cif_texts(one.crystal.bare(), [Path(files[i]).stem])[0])
            except MatterloopError as error:  # a full disk: the numbers are still told, and the others go on
                unwritten[i] = str(error)
        done += 1
        watch.advance("relax", done)

    found = relax_(crystals, oracle, fmax=fmax, pressure=gpa_to_stress(pressure), keep_symmetry=keep_symmetry, steps=steps, optimizer=optimizer,
                   on_done=write, should_stop=watch.stop)
    rows = []
    for i, (name, before, one) in enumerate(zip(names, crystals, found, strict=True)):
        row = {"file": name, "formula": _formula(before), "atoms": before.atoms, "potential": found.oracle, "energy_scheme": found.energy_scheme,
               "converged": one.converged, "status": one.status, "steps": one.steps}
        if one.failed:
            rows.append(row | {"error": one.reason})
            continue
        if ends is not None:
            ends[i] = one.crystal.bare()
        rows.append(row | {
            "energy": one.energy, "energy_per_atom": one.energy_per_atom, "max_force": one.fmax, "max_stress_gpa": stress_to_gpa(one.smax),
            "volume_before": float(before.volume[0]), "volume": float(one.crystal.volume[0]), "space_group_before": group(before),
            "space_group": group(one.crystal), "reason": one.reason, "out": str(folder / files[i]) if folder is not None and i not in unwritten else None}
            | ({"error": unwritten[i]} if i in unwritten else {}))
    return _in_order(source, rows + errors)


def _file_names(names: list[str]) -> list[str]:
    """A file name of its own for every crystal, free of separators."""
    taken: set[str] = set()
    out = []
    for name in names:
        stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(name.split("#")[0]).stem + (f"_{name.split('#', 1)[1]}" if "#" in name else "")) or "crystal"
        new, k = f"{stem}.cif", 1
        while new in taken:
            new, k = f"{stem}_{k}.cif", k + 1
        taken.add(new)
        out.append(new)
    return out


def hull(source: Source, *, potential: str = "chgnet", reference: str | Path = "", relaxed: bool = True, max_atoms: int = MAX_ATOMS, second_opinion: Asked | str | None = None,
         limit: float = 0.1, watch: Watch = Watch()) -> list[dict[str, Any]]:
    """Energy above the convex hull (eV/atom) and decay products of structures, relaxed first unless told otherwise.

    Raw energies get their corrections before the hull; `energy` stays as the potential gave it.

    second_opinion  another potential, by name or as `Asked`, that relaxes and judges each structure from there on its own hull: `second`, see
                    campaign.second_opinion.SecondOpinion.opinion; `limit` (eV/atom) is what both distances are compared with
    """
    from ..campaign.second_opinion import Asked, SecondOpinion
    from ..crystal.composition import compositions
    from ..measure import reference as phases
    from ..measure.corrections import for_hull, hull_scheme, refuse_other
    from ..measure.own_reference import user_reference

    crystals, names, errors = read_source(source, watch, max_atoms)
    if crystals is None:
        return errors
    oracle = load(potential, role="potential")
    table = user_reference(reference, scheme=hull_scheme(oracle.energy_scheme), potential=oracle.name) if reference else phases.reference_hull(potential)
    refuse_other(table, oracle)
    second = SecondOpinion.of(second_opinion if isinstance(second_opinion, Asked) else Asked(second_opinion), oracle.name) if second_opinion else None
    ends: dict[int, Crystals] = {}
    if relaxed:
        rows = relax(crystals, potential=potential, ends=ends, watch=watch)
    else:
        rows, ends = energy(crystals, potential=potential), dict(enumerate(crystals.bare()))
    out = []
    for i, (name, row, composition) in enumerate(zip(names, rows, compositions(crystals), strict=True)):
        row = {"file": name, **{k: v for k, v in row.items() if k not in ("file", "forces", "magmoms", "stress_gpa", "out")}}
        if "error" not in row:
            try:
                whole, added = (float(x[0]) for x in for_hull(oracle.energy_scheme, ends[i], [row["energy"]]))
                per_atom = whole / row["atoms"]
                answer = table.energy_above([composition], [per_atom], scheme=table.scheme)
                row |= {"energy_above_hull": float(answer.above[0]), "decomposition": dict_of(answer.decompositions[0]),
                        "formation_energy": float(table.formation_energy([composition], [per_atom])[0])}
                if table.scheme != oracle.energy_scheme:
                    row |= {"correction_per_atom": added / row["atoms"], "corrected_energy_per_atom": per_atom}
                if not reference:
                    share, missing = phases.coverage(composition, potential=potential)
                    row |= {"coverage": share, "missing_phases": list(missing)}
            except MatterloopError as error:
                row["error"] = str(error)
        out.append(row)
    if second is not None:
        _second(out, ends, second, relaxed, limit, watch)
    return _in_order(source, out + errors)


def _second(rows: list[dict], ends: Mapping[int, Crystals], second: SecondOpinion, relaxed: bool, limit: float, watch: Watch) -> None:
    """Put `second`, the opinion of another potential, and its columns into every row that the first could judge."""
    from ..campaign.second_opinion import columns_of
    from ..campaign.tasks import Protocol
    from ..crystal.state import Crystals

    places = [i for i, row in enumerate(rows) if "error" not in row]
    watch.stage("second opinion", len(places))
    if not places:
        return
    done = 0

    def write(content: dict, crystal: Crystals | None) -> None:
        nonlocal done
        row = rows[int(content.pop("key"))]
        row |= {"second": content, **columns_of(content)}
        done += 1
        watch.advance("second opinion", done)

    second.relax(list(map(str, places)), Crystals.join([ends[i] for i in places]), Protocol(steps=500 if relaxed else 0, keep_symmetry=False), limit, write, watch.stop)


def dict_of(decomposition) -> dict[str, float]:
    """Decay products as name -> share of atoms."""
    return {name: round(float(share), 6) for name, share in decomposition}


def generate(ask, *, count: int = 10, seed: int = 0, generator: str = "", options: Mapping[str, Any] | None = None, out: str | Path | None = None) -> list[dict[str, Any]]:
    """Candidates for an `Ask` from one generator, made with `options`; with `out` a CIF of each is written there.

    Without a name it is the default generator, known crystals included where a formula or a structure type is asked for.
    """
    from ..crystal.formats import cif_texts
    from ..generate.proposal import load_generator
    from .folder import made, write_atomic

    named = generator or ("wyckoff_transformer:known" if ask.formula or ask.prototypes else "wyckoff_transformer")
    found = load_generator(named, **(options or {})).propose(ask, count, seed)
    folder = made(Path(out)) if out is not None else None
    rows = []
    for c in found:
        if folder is not None:
            write_atomic(folder / f"{c.key}.cif", cif_texts(c.crystal.bare(), [c.key])[0])
        rows.append({"key": c.key, "formula": _formula(c.crystal), "atoms": c.crystal.atoms, "source": c.source, "parents": list(c.parents),
                     "about": {k: v for k, v in c.about.items()}, "out": str(folder / f"{c.key}.cif") if folder is not None else None})
    return rows


def models(role: str | None = None) -> list[dict[str, Any]]:
    """Every part of the house with its card, built-in and plug-in, sorted by role and name."""
    rows = []
    for entry in sorted(entries().values(), key=lambda e: (e.card.role, e.card.name)):
        card = entry.card
        if role is None or card.role == role:
            rows.append({
                "name": card.name, "role": card.role, "module": entry.module, "plugin": entry.plugin, "paper": card.paper, "year": card.year,
                "summary": card.summary, "capabilities": list(card.capabilities), "keeps": list(card.keeps), "waives": dict(card.waives),
                "dtype": card.dtype, "tolerance": card.tolerance, "presets": sorted(card.presets), "differs": list(card.differs)})
    if role is not None and not rows:
        from ..base.registry import ROLES

        if role not in ROLES:
            raise Missing("role", role, ROLES)
    return rows


def check(module: str, *, full: bool = False) -> list[dict[str, Any]]:
    """Run the contract on a plug-in (a module name or a .py file with a CARD) or on a built-in part by name: one dict per check."""
    from ..bench.contract import run_contract

    return run_contract(module, full=full)


def doctor() -> list[dict[str, Any]]:
    """What works on this machine: packages, weights, shipped tables, data sets, disk, threads."""
    import shutil
    import tempfile
    import time

    rows: list[dict[str, Any]] = []

    def probe(what: str, test) -> None:
        begun = time.perf_counter()
        try:
            answer, good = str(test()), True
        except (MatterloopError, ImportError, OSError, RuntimeError, ValueError) as error:
            answer, good = f"{type(error).__name__}: {error}", False
        rows.append({"check": what, "ok": good, "answer": answer, "seconds": round(time.perf_counter() - begun, 3)})

    for name in ("torch", "numpy", "pandas", "pymatgen.core", "moyopy", "smact", "chgnet", "sqlalchemy", "ase", "plotly"):
        probe(f"import {name}", lambda n=name: getattr(import_module(n), "__version__", "yes"))

    def weights() -> str:
        from ..crystal.state import Crystals

        salt = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]])
        value = energy(salt)[0]
        if "error" in value:
            raise BadInput(value["error"], "chgnet")
        return f"rock salt NaCl: {value['energy_per_atom']:.4f} eV/atom"

    def tables() -> str:
        from ..archive.shipped import list_shipped

        return ", ".join(map(str, list_shipped()))

    def data() -> str:
        from ..archive.sources import data_list

        listed = data_list()
        return f"{sum(bool(d['present']) for d in listed)} of {len(listed)} data sets found"

    def disk() -> str:
        with tempfile.NamedTemporaryFile(dir=".") as file:
            file.write(b"x")
        return f"{shutil.disk_usage('.').free / 2**30:.1f} GiB free here"

    def threads() -> str:
        import torch

        return f"{torch.get_num_threads()} threads, GPU: {torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'none'}"

    for what, test in (("universal potential", weights), ("shipped tables", tables), ("data sets", data), ("working folder", disk), ("compute", threads)):
        probe(what, test)
    return rows
