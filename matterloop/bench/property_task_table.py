"""The tasks of property prediction as literals: data, target, split, metric, budget, baselines, and what overlaps with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MP20, MATBENCH, AFLOW, PEROV, MPTS = "mp20_biternary_val_test", "matbench_v01_official_tables", "aflow_props_cif", "cdvae_perov5", "mpts52_val_test"
PHONONS, ENGINE = "phonon_dfpt_petretto1521", "genes_chgnet"


@dataclass(frozen=True)
class PropertyTask:
    """One question with its data and its rules.

    data, column   data set and column of the labels; factor: labels are multiplied by it, so that they stand in `unit`
    train, test    files; `split` says what is done with them:
                   "tail:N" the last N rows of the training file are for early stopping; "share:X" a random share of them is;
                   "matbench" the official five folds of the training file, of whose training rows a tenth is for early stopping;
                   "time:COLUMN" oldest, next and newest of the training file;
                   "formula" and "system": a tenth is for early stopping, a tenth is tested, and no reduced formula or chemical system is in two parts
    reader         name of a reader of property_readers.py where rows stand in no table of CIFs or formulas; `data` may then be a table that ships
    inputs         "crystals" (a column of CIF) or "compositions" (a column of formulas)
    classes        0: a number; 2: yes or no
    log            learnt as its logarithm, measured as it stands
    metric         by which models are ranked; `also` is measured beside it
    goal           value of the metric to which the time is taken: early-stopping rows, during training
    budget         seconds of training for each fold
    baselines      cheap models that the board names beside all others
    note           what stands in other data too, and what published figures this may be held against
    """

    name: str
    title: str
    data: str
    column: str
    unit: str
    train: str
    split: str
    test: str = ""
    inputs: Literal["crystals", "compositions"] = "crystals"
    key: str = ""
    classes: int = 0
    factor: float = 1.0
    log: bool = False
    metric: str = "mae"
    also: tuple[str, ...] = ("rmse", "mad_mae", "r2", "median_error")
    goal: float | None = None
    budget: float = 600.0
    baselines: tuple[str, ...] = ("mean", "random_forest")
    reader: str = ""
    note: str = ""


_MP20_NOTE = ("Trained on these rows alone. Models that saw Materials Project elsewhere stand apart: the Matbench tables hold 98 % of formula and space-group pairs of these files, the "
              "table of potential energies 79 % of the test ids, and CHGNet and other potentials were trained on most of the test crystals. Of the 7,103 test rows 701 share their formula "
              "with a training row, 94 are the same crystal for StructureMatcher.")
_MATBENCH_NOTE = "Official folds of Matbench v0.1; published figures are the mean over the five folds."
_NO_STRUCTURES = _MATBENCH_NOTE + " The tables at hold no structures, so this is the task from composition alone: compare with composition models only."
_AFLOW_NOTE = ("Training and validation files of the published split; the latter is tested, for the test file is not at hand, so published figures are near but not the same rows. Structures are "
               "AFLOW's, and many stand in Materials Project too.")

_MP20_KNOWN_NOTE = "Binary and ternary validation and test files of MP-20 and the three pilot files, each material once; no reduced formula is in two parts."
_PHONON_NOTE = "Phonons from density-functional perturbation theory (PBEsol), Petretto et al. 2018: the part of the database that is at hand. Not the rows of Matbench's task of the same source."
_ENGINE_NOTE = ("Labels are CHGNet's after relaxation by our engine: shipped structures of the Materials Project, WBM, Alexandria, OQMD, JARVIS and our own far from the hull, half of them above the "
                "hull, at most 40 atoms; and our own candidates as they were proposed, with the energy after relaxation. No chemical system is in two parts. CHGNet itself would be right to rounding.")


def _mp20(what: str, column: str, unit: str, title: str, goal: float | None) -> PropertyTask:
    return PropertyTask(f"mp20bt_{what}", title, MP20, column, unit, "val.csv.gz", "tail:716", "test.csv.gz", key="material_id", goal=goal,
                        also=("rmse", "mad_mae", "r2", "median_error", "ewt_0.02") if unit == "eV/atom" else ("rmse", "mad_mae", "r2", "median_error", "ewt_0.1"), note=_MP20_NOTE)


def _matbench(what: str, column: str, unit: str, title: str, classes: int = 0, note: str = _NO_STRUCTURES, **more) -> PropertyTask:
    metric = {"metric": "auc_of_labels", "also": ("auc", "f1", "balanced_accuracy", "accuracy")} if classes else {}
    return PropertyTask(f"matbench_{what}", title, MATBENCH, column, unit, f"matbench_{what}.json.bz2", "matbench", inputs="compositions", key="mbid", classes=classes, note=note,
                        **{"budget": 120.0, **metric, **more})


def _aflow(what: str, unit: str, title: str, **more) -> PropertyTask:
    return PropertyTask(f"aflow_{what}", title, AFLOW, what, unit, f"{what}/train.csv.gz", "share:0.1", f"{what}/val.csv.gz", note=_AFLOW_NOTE, budget=300.0, **more)


def _phonons(what: str, unit: str, title: str, **more) -> PropertyTask:
    return PropertyTask(f"petretto_{what}", title, PHONONS, what, unit, "petretto_visible.jsonl.gz", "formula", key="material_id", reader="phonons", note=_PHONON_NOTE, budget=300.0, **more)


_NEAR_HULL = ("rmse", "mad_mae", "r2", "f1_up_to_0.001", "auc_up_to_0.001", "f1_up_to_0.1", "auc_up_to_0.1")

PROPERTY_TASKS: tuple[PropertyTask, ...] = (
    _mp20("formation_energy", "formation_energy_per_atom", "eV/atom", "Formation energy of binary and ternary MP-20 crystals", 0.06),
    _mp20("band_gap", "band_gap", "eV", "PBE band gap of binary and ternary MP-20 crystals", 0.4),
    _mp20("energy_above_hull", "e_above_hull", "eV/atom", "Energy above the hull of binary and ternary MP-20 crystals (below 0.08 eV/atom by construction)", None),
    PropertyTask("mpts52_energy_by_year", "Formation energy of crystals first published after those trained on", MPTS, "formation_energy_per_atom", "eV/atom", "val.csv.gz", "time:year",
                 key="material_id", note="Materials Project, up to 52 atoms: 1997 to 2002 train, 2003 stops, 2004 is tested. The file is the validation part of a longer series, so figures are "
                 "not those of MPTS-52."),
    _matbench("expt_gap", "gap expt", "eV", "Measured band gap from composition", note=_MATBENCH_NOTE),
    _matbench("steels", "yield strength", "MPa", "Yield strength of steels from composition", note=_MATBENCH_NOTE),
    _matbench("expt_is_metal", "is_metal", "", "Metal or not, measured, from composition", 2, note=_MATBENCH_NOTE),
    _matbench("glass", "gfa", "", "Metallic glass or not from composition", 2, note=_MATBENCH_NOTE),
    _matbench("jdft2d", "exfoliation_en", "meV/atom", "Exfoliation energy of layered crystals"),
    _matbench("phonons", "last phdos peak", "1/cm", "Last peak of the phonon density of states", log=True),
    _matbench("dielectric", "n", "", "Refractive index"),
    _matbench("log_gvrh", "log10(G_VRH)", "log10(GPa)", "Shear modulus"),
    _matbench("log_kvrh", "log10(K_VRH)", "log10(GPa)", "Bulk modulus"),
    _matbench("perovskites", "e_form", "eV/cell", "Formation energy of perovskites"),
    _matbench("mp_gap", "gap pbe", "eV", "PBE band gap, 106,113 rows", budget=600.0),
    _matbench("mp_is_metal", "is_metal", "", "Metal or not by PBE, 106,113 rows", 2, budget=600.0),
    _matbench("mp_e_form", "e_form", "eV/atom", "Formation energy, 132,752 rows", budget=600.0),
    _aflow("bulk_modulus", "GPa", "Bulk modulus"),
    _aflow("shear_modulus", "GPa", "Shear modulus"),
    _aflow("debye_temperature", "K", "Debye temperature"),
    _aflow("thermal_conductivity", "W/(m K)", "Thermal conductivity at 300 K", log=True),
    _aflow("thermal_expansion", "1e-6/K", "Thermal expansion at 300 K", factor=1e6),
    PropertyTask("perov5_heat", "Heat of formation of cubic perovskites", PEROV, "heat_all", "eV/cell", "val.csv.gz", "share:0.1", "test.csv.gz", key="material_id", budget=300.0,
                 note="The official training file is not at hand: the official validation file trains, so figures are not those of Perov-5's own split."),
    PropertyTask("mp20known_band_gap", "PBE band gap of MP-20 crystals as far as they are at hand", MP20, "band_gap", "eV", "val.csv.gz", "formula", key="material_id", reader="mp20",
                 note=_MP20_KNOWN_NOTE),
    PropertyTask("mp20known_is_metal", "Metal or not by PBE of MP-20 crystals as far as they are at hand", MP20, "is_metal", "", "val.csv.gz", "formula", key="material_id", classes=2,
                 metric="auc", also=("balanced_accuracy", "f1", "accuracy"), reader="mp20", note=_MP20_KNOWN_NOTE),
    _phonons("dielectric_constant", "", "Static dielectric constant", log=True),
    _phonons("refractive_index", "", "Refractive index"),
    _phonons("last_phonon_peak", "1/cm", "Last peak of the phonon density of states", log=True),
    PropertyTask("engine_formation_energy", "Formation energy after relaxation by CHGNet, unstable crystals among them", ENGINE, "formation_energy", "eV/atom", "", "system", reader="engine",
                 note=_ENGINE_NOTE, budget=900.0),
    PropertyTask("engine_energy_above_hull", "Distance to CHGNet's hull after relaxation, the hull being known", ENGINE, "energy_above_hull", "eV/atom", "", "system", reader="engine",
                 also=_NEAR_HULL, budget=900.0, note=_ENGINE_NOTE + " Models learn formation energies and the hull at the composition is subtracted, so errors are those of the formation "
                 "energy; the hull holds the tested phases that are stable, whose distance is 0 (below 0 where a crystal is lower than the hull)."),
)
