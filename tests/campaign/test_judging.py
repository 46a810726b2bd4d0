"""All judges together: what is turned away before relaxation, what stands in the way of later candidates, the shipped phases."""

import numpy as np
import pytest

from matterloop.archive.records import Ask, Candidate, Limit
from matterloop.campaign.lexicon import CHECKABLE, PROPERTIES
from matterloop.campaign.judging import Judges, known_phases
from matterloop.crystal.state import Crystals
from matterloop.crystal.wyckoff import build
from matterloop.judge.stability import HullError
from matterloop.judge.sun import Reference, Sun, describe
from matterloop.measure.hull import Hull

PYRITE = build(205, [5.42], [("a", "Fe"), ("c", "S", [0.385])])
OTHER = build(205, [5.42], [("a", "Fe"), ("c", "S", [0.118])])  # the same gene, another structure
FCC = [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]
SALT = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17], FCC)
CLASH = Crystals.of([[0, 0, 0], [0.05, 0, 0]], [11, 17], 4.0 * np.eye(3))


def judges(reference=Reference(), error=None):
    hull = Hull([{11: 1}, {17: 1}, {26: 1}, {16: 1}, {11: 1, 17: 1}], [0.0, 0.0, 0.0, 0.0, -1.0], ["Na", "Cl", "Fe", "S", "NaCl"], "lj", "lennard_jones")
    return Judges(hull, reference, None, error)


def screened(crystals, earlier=(), reference=Reference(), novel=True):
    wrap = lambda xs, name: [Candidate(f"{name}{i}", x.bare(), name) for i, x in enumerate(xs)]
    return judges(reference).screen(wrap(crystals, "new"), Ask(), novel, wrap(earlier, "old"))


def judged(crystals, energies, *, converged=None, before=(), error=None, ask=Ask(), reference=Reference(), novel=True, moment=None):
    keys = [f"k{i}" for i in range(len(crystals))]
    fine = [True] * len(crystals) if converged is None else converged
    records = [{"energy": e * x.atoms, "fmax": 0.01, "converged": c, "moment": moment} for e, x, c in zip(energies, crystals, fine, strict=True)]
    former = Crystals.join([x.bare() for x in before]) if before else None
    found = judges(reference, error).judge(keys, Crystals.join([x.bare() for x in crystals]), records, ask, novel, 0.05, [f"b{i}" for i in range(len(before))], former)
    return [{r.check: r for r in found[k]} for k in keys]


def test_the_screen_turns_away_repeats_of_this_round_and_of_earlier_ones():
    found = screened([SALT, SALT.repeated(1, 2, 1), PYRITE], earlier=[PYRITE.repeated(1, 1, 1), OTHER])
    repeated = {k: {r.check: r for r in v}["repeated"] for k, v in found.items()}
    assert [repeated[f"new{i}"].passed for i in range(3)] == [True, False, False]
    assert "repeats new0" in repeated["new1"].note and "repeats old0" in repeated["new2"].note


def test_the_screen_lets_another_start_of_one_gene_through():
    assert describe(PYRITE, ["a"])[0].gene_key == describe(OTHER, ["b"])[0].gene_key
    found = screened([OTHER], earlier=[PYRITE])
    assert {r.check: r.passed for r in found["new0"]}["repeated"]


def test_the_screen_asks_for_novelty_only_where_it_is_wanted_and_all_else_passed():
    known = Reference({describe(SALT, ["x"])[0].gene_key: ("mp-22862",)})
    names = lambda found: {k: [r.check for r in v] for k, v in found.items()}
    wanted = screened([SALT, CLASH], reference=known)
    assert "novel" in names(wanted)["new0"] and "novel" not in names(wanted)["new1"]
    assert not {r.check: r for r in wanted["new0"]}["novel"].passed
    assert "novel" not in names(screened([SALT], reference=known, novel=False))["new0"]


def test_a_crystal_that_failed_does_not_stand_in_the_way_of_later_ones():
    rows = judged([SALT, SALT.repeated(1, 1, 2), SALT], [-1, -1, -1], converged=[False, True, True])
    assert not rows[0]["relaxation"].passed
    assert [r["unique"].passed for r in rows] == [True, True, False]
    assert "repeats k1" in rows[2]["unique"].note
    assert judged([SALT], [-1], before=[CLASH])[0]["unique"].passed
    assert "repeats b0" in judged([SALT], [-1], before=[SALT, CLASH])[0]["unique"].note


def test_stability_carries_its_probability_and_marks_what_lies_at_the_limit():
    error = HullError((-0.04, -0.02, 0.0, 0.02, 0.04))
    ask = Ask(limits=(Limit("energy_above_hull", high=0.05),))
    low, at, high = judged([SALT, SALT, SALT], [-0.97, -0.95 + 5e-5, -0.93], error=error, ask=ask)
    assert low["energy_above_hull"].value == pytest.approx(0.03) and low["energy_above_hull"].passed and not low["energy_above_hull"].borderline
    assert low["energy_above_hull"].confidence == pytest.approx(4 / 6, abs=1e-6)
    assert at["energy_above_hull"].borderline and not at["energy_above_hull"].passed
    assert not high["energy_above_hull"].passed and high["energy_above_hull"].confidence == pytest.approx(4 / 6, abs=1e-6)
    assert "NaCl" in low["energy_above_hull"].note


def test_every_property_that_counts_as_checkable_is_checked():
    for name in sorted(CHECKABLE):
        ask = Ask(limits=(Limit(name, None, -1e6, PROPERTIES[name].unit),))
        (row,) = judged([SALT], [-1], ask=ask, moment=1.0)
        wanted = "formation_energy" if name == "formation_energy_per_atom" else name
        assert row[wanted].limit == -1e6 and not row[wanted].passed, name


def test_a_moment_is_that_of_the_cell_or_of_an_atom():
    ask = Ask(limits=(Limit("magnetic_moment", 1.5, None, "muB"), Limit("magnetic_moment_per_atom", 1.5, None, "muB")))
    (row,) = judged([SALT], [-1], ask=ask, moment=2.0)
    assert (row["magnetic_moment"].value, row["magnetic_moment"].passed) == (2.0, True)
    assert (row["magnetic_moment_per_atom"].value, row["magnetic_moment_per_atom"].passed) == (1.0, False)


def test_a_known_phase_is_named_though_novelty_was_not_asked():
    reference = Reference({describe(SALT, ["x"])[0].gene_key: ("mp-22862",)})
    assert judged([SALT], [-1], reference=reference, novel=False)[0]["novel"].passed
    reason = judged([SALT], [-1], reference=reference, novel=True)[0]["novel"]
    assert not reason.passed and "mp-22862" in reason.note


# the shipped phases


def test_shipped_phases_are_known_and_a_made_up_crystal_is_not():
    known = known_phases()
    rocksalt = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [12, 8], [[0, 2.13, 2.13], [2.13, 0, 2.13], [2.13, 2.13, 0]])
    reason = Sun().novel(describe(rocksalt.repeated(2, 1, 1), ["MgO"])[0], known)
    assert not reason.passed and "known: " in reason.note and "gene only" not in reason.note
    strange = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]], [55, 72, 9], 4.4 * np.eye(3))
    assert Sun().novel(describe(strange, ["CsHfF"])[0], known).passed


def test_shipped_geometries_are_compared_by_the_ladder_not_only_by_gene():
    from matterloop.measure.reference import reference_crystals

    known, tried = known_phases(), 0
    for formula in ("NaCl", "MgO", "TiO2", "Fe2O3", "Si", "GaAs", "ZnS", "SrTiO3"):
        crystals, names = reference_crystals(formula)
        for one, name in zip(crystals, names, strict=True):
            reason = Sun().novel(describe(one.repeated(1, 1, 2), [name])[0], known)
            assert not reason.passed and "gene only" not in reason.note, (name, reason.note)
            tried += 1
    assert tried >= 8
