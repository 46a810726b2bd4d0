"""Structure prediction from a few known crystals: what is learnt from, how guesses are ranked and counted, and a run that goes on where it was stopped."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from matterloop.archive import shipped
from matterloop.base.element_scales import MENDELEEV, RADIUS
from matterloop.base.errors import BadInput
from matterloop.bench import structure_prediction as bench
from matterloop.bench.structure_prediction_files import crystal_of, rows_of
from matterloop.bench.structure_prediction_genes import GeneSource, read_genes
from matterloop.bench.structure_prediction_relaxed import _both, relaxed
from matterloop.crystal.matching import Tolerance, prepare, rms
from matterloop.crystal.matching_distance import reduced_rms
from matterloop.crystal.state import Crystals
from matterloop.generate import random_search, similarity, volume
from matterloop.generate.analogue_fitting import Fitted, element_swaps, match_chance
from matterloop.generate.analogue_ranking import Ranker, Settings, rank_by_swaps
from matterloop.generate.analogues import analogues, by_pattern, load, member, orders_of, recoloured, save, slot_distances, slots
from matterloop.generate.swap_metric import MatchChance, SwapMetric, element_scales, fit, lessons, log_likelihood
from matterloop.represent.wyckoff_gene import gene

SYMBOL = {3: "Li", 9: "F", 11: "Na", 12: "Mg", 16: "S", 17: "Cl", 19: "K", 20: "Ca", 35: "Br", 37: "Rb", 38: "Sr", 53: "I", 55: "Cs", 8: "O", 34: "Se", 52: "Te", 28: "Ni", 13: "Al", 49: "In"}
ALKALI, HALOGEN = (3, 11, 19, 37), (9, 17, 35, 53)
EARTH, CHALCOGEN = (12, 20, 38), (16, 34, 52)
FCC = np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2


def salt(a=11, b=17, length=5.6):
    return Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * FCC)


def cube(a=55, b=17, length=4.1):
    return Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * np.eye(3))


def cif(crystal):
    lengths = np.linalg.norm(crystal.cell[0].numpy(), axis=1)
    u = crystal.cell[0].numpy() / lengths[:, None]
    angles = [math.degrees(math.acos(u[i] @ u[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
    atoms = "\n".join(f"{SYMBOL[int(z)]} {SYMBOL[int(z)]}{i} 1 {x:.8f} {y:.8f} {w:.8f} 1" for i, (z, (x, y, w)) in enumerate(zip(crystal.species, crystal.frac.tolist(), strict=True)))
    keys = "\n".join(f"_cell_length_{n} {v:.8f}" for n, v in zip("abc", lengths, strict=True)) + "\n" + "\n".join(
        f"_cell_angle_{n} {v:.8f}" for n, v in zip(("alpha", "beta", "gamma"), angles, strict=True))
    columns = "\n".join(f"_atom_site_{n}" for n in ("type_symbol", "label", "symmetry_multiplicity", "fract_x", "fract_y", "fract_z", "occupancy"))
    return f"data_x\n_symmetry_space_group_name_H-M 'P 1'\n{keys}\nloop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n1 'x, y, z'\nloop_\n{columns}\n{atoms}\n"


def known():
    """Alkali halides are rock salt, alkaline-earth chalcogenides are made cubic like CsCl: two families that the elements tell apart."""
    out = [(f"v-{a}-{b}", salt(a, b, 4.0 + 0.02 * (a + b))) for a, b in itertools.product(ALKALI, HALOGEN) if (a, b) not in ((11, 17), (19, 35))]
    return out + [(f"v-{a}-{b}", cube(a, b, 3.0 + 0.01 * (a + b))) for a, b in itertools.product(EARTH, CHALCOGEN) if (a, b) != (20, 34)]


TEST = [("t-1", salt(11, 17)), ("t-2", salt(19, 35, 6.6)), ("t-3", cube(20, 34, 3.6))]


@pytest.fixture(scope="module")
def held():
    return [member(name, one) for name, one in known()]


@pytest.fixture(scope="module")
def fitted(held):
    return Fitted.to(held, epochs=8, pairs=60)


@pytest.fixture
def no_shipped_table(monkeypatch):
    """Every shipped table refuses to be read, and none is remembered."""
    def refuse(*words, **more):
        raise AssertionError(f"a shipped table was read: {words}")

    for name in ("_find", "_files"):
        monkeypatch.setattr(shipped, name, refuse)
    remembered = (volume._tables, volume._types, similarity.similarity, random_search._priors)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


@pytest.fixture
def tiny(monkeypatch):
    """The data set is the hand-made one; what was read, in order."""
    order = []

    def read(file, data_dir=None):
        order.append(file)
        return [(name, cif(one)) for name, one in (known() if file == bench.KNOWN else TEST)]

    monkeypatch.setattr(bench, "read", read)
    return order


# geometry


def test_distances_between_slots_of_cesium_chloride_by_hand():
    found = slot_distances(np.eye(3) * 4.0, np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.array([0, 1]), 2)
    unit = (4.0**3 / 2) ** (1 / 3)
    assert found[0, 1] == pytest.approx(np.full(8, 4 * math.sqrt(3) / 2 / unit))
    assert found[0, 0] == pytest.approx([4 / unit] * 6 + [4 * math.sqrt(2) / unit] * 2)


def test_distances_between_slots_do_not_see_cell_origin_or_scale():
    rng = np.random.default_rng(0)
    cell, frac, slot = np.array([[4.0, 0, 0], [0.5, 5.0, 0], [1.0, 0.3, 6.0]]), rng.random((4, 3)), np.array([0, 0, 1, 1])
    change = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    other = slot_distances(1.7 * change @ cell @ turn, (frac + 0.3) @ np.linalg.inv(change), slot, 2)
    assert other == pytest.approx(slot_distances(cell, frac, slot, 2), abs=1e-9)


def test_elements_stand_by_rising_count_and_equal_counts_may_be_exchanged():
    assert slots({17: 3, 55: 1, 20: 1}) == ((20, 55, 17), (1, 1, 3))
    assert orders_of((1, 1, 3)) == [(0, 1, 2), (1, 0, 2)]
    assert len(orders_of((2, 2, 2))) == 6


def test_members_survive_the_file(tmp_path, held):
    save(tmp_path / "m.npz", held)
    again = load(tmp_path / "m.npz")
    assert [(m.name, m.species, m.gene, m.counts) for m in again] == [(m.name, m.species, m.gene, m.counts) for m in held]
    assert all(np.allclose(a.distances, b.distances, atol=1e-6) and np.array_equal(a.frac, b.frac) for a, b in zip(again, held, strict=True))
    np.savez(tmp_path / "other.npz", text=np.zeros(1))
    with pytest.raises(BadInput, match="not written by this benchmark"):
        load(tmp_path / "other.npz")


def test_merging_two_slots_makes_a_binary_of_a_ternary():
    ternary = member("half", Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0.25] * 3, [0.75] * 3], [12, 13, 28, 28], 6.0 * FCC))
    (one,) = [m for m in recoloured((1, 3), [ternary]) if m.species[0] == 12]
    assert (one.counts, one.species, bool(one.change)) == ((1, 3), (12, 28), True)
    assert [m.counts for m in recoloured((2, 2), [ternary])] == [(2, 2)]
    assert recoloured((1, 4), [ternary]) == []


def test_splitting_takes_whole_orbits():
    binary = member("AuCu3-like", Crystals.of([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [49, 28, 28, 28], 3.8 * np.eye(3)))
    assert recoloured((1, 1, 2), [binary]) == []  # the three nickel atoms are one orbit
    d0 = member("D0_3-like", Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5], [0.25] * 3, [0.75] * 3], [13, 28, 28, 28], 6.0 * FCC))
    assert {m.counts for m in recoloured((1, 1, 2), [d0])} == {(1, 1, 2)}


# the matcher


@pytest.mark.parametrize(("a", "b"), [(salt(), salt(length=9.0)), (salt(), cube(11, 17)), (cube(), cube(length=5.0))])
def test_distance_of_reduced_cells_is_that_of_get_rms_dist(a, b):
    one, other = (prepare(x, Tolerance(0.3, 0.5, 10.0))[0] for x in (a, b))
    whole, reduced = rms(one, other), reduced_rms(one, other)
    assert (whole is None) == (reduced is None) and (whole is None or reduced == pytest.approx(whole[0], abs=1e-6))


def test_atoms_nearer_than_half_an_angstrom_never_match():
    wanted = prepare(salt(), bench.TOLERANCE)[0]
    assert bench.distance(salt(length=8.0), wanted) == pytest.approx(0.0, abs=1e-6)
    assert bench.distance(salt(length=0.9), wanted) is None


# fitting and ranking


def test_scales_are_those_of_pymatgen():
    from pymatgen.core import Element

    assert [Element.from_Z(z).mendeleev_no for z in range(1, 95)] == list(MENDELEEV[1:])
    assert RADIUS[11] == Element("Na").atomic_radius and len(RADIUS) == 95
    assert np.allclose(element_scales()[1:].std(0), 1)


def test_swaps_are_counted_in_genes_and_roles(held):
    counts = element_swaps([analogues(p, m) for p, m in by_pattern(held).items()])
    assert counts[9, 17] > 0 and counts[16, 34] > 0 and counts[9, 16] == 0 and np.array_equal(counts, counts.T)


def test_a_match_is_less_likely_the_further_apart_geometries_are(held):
    chance = match_chance([analogues(p, m) for p, m in by_pattern(held).items()], pairs=60)
    at = lambda x: chance(np.zeros((1, 1)), np.zeros(1), np.array([[x]]), np.ones(1))[0, 0]
    assert at(0.0) > at(0.1) > at(0.4)
    assert MatchChance()(np.zeros((1, 1)), np.zeros(1), np.zeros((1, 1)), np.zeros(1))[0, 0] > 0.95


def test_likelihood_of_a_lesson_by_hand(held):
    metric = SwapMetric(torch.zeros(95, 4), torch.zeros(3), torch.tensor(0.0), torch.tensor(0.0))
    (a,) = [analogues(p, m) for p, m in by_pattern(held).items()]
    chance = MatchChance(-30.0, 0.0, 60.0)  # equal genes match, others do not
    lesson = lessons([a], chance, chunk=1000)[0]
    value, reachable = log_likelihood(metric, lesson)
    salts = 14  # with no metric every analogue is as likely: 13 other salts of 14 and 8 cubes, both orders of each
    assert reachable.all() and value[0].exp().item() == pytest.approx((salts - 1) / (len(held) - 1), rel=1e-3)


def test_the_fitted_metric_draws_likelier_matches_than_none(held, fitted):
    (a,) = [analogues(p, m) for p, m in by_pattern(held).items()]
    (lesson,) = lessons([a], fitted.chance, chunk=1000)
    none = SwapMetric(torch.zeros(95, 4), torch.zeros(3), torch.tensor(0.0), torch.tensor(0.0))
    before, after = (log_likelihood(m, lesson)[0].exp().mean().item() for m in (none, fitted.metric))
    assert after > before + 0.05


def test_the_same_seed_fits_the_same_metric(held):
    found = [analogues(p, m) for p, m in by_pattern(held).items()]
    one, two, other = (fit(found, MatchChance(), seed=s, epochs=1) for s in (0, 0, 1))
    assert torch.equal(one.embedding, two.embedding) and not torch.equal(one.embedding, other.embedding)


def test_guesses_take_after_the_family_and_then_differ(fitted):
    ranker = Ranker(fitted.members, fitted.metric, fitted.chance)
    first, second = ranker.rank({11: 1, 17: 1}, 2)
    assert first.member.gene.startswith("225:") and second.member.gene.startswith("221:")  # the second adds what the first leaves open
    assert ranker.rank({20: 1, 34: 1}, 1)[0].member.gene.startswith("221:")
    gains = [g.gain for g in ranker.rank({11: 1, 17: 1}, 6)]
    assert gains == sorted(gains, reverse=True) and sum(gains) <= 1 + 1e-9
    assert ranker.rank({11: 7, 17: 13}) == []
    with pytest.raises(BadInput, match="at least one atom"):
        ranker.rank({})


def test_elements_land_on_the_slots_they_were_meant_for(fitted):
    guess = Ranker(fitted.members, fitted.metric, fitted.chance).rank({11: 1, 17: 1}, 1)[0]
    crystal = guess.crystal(fitted.volume(guess))
    assert sorted(crystal.species.tolist()) == [11, 17]
    assert float(crystal.volume[0]) / 2 == pytest.approx(fitted.volume(guess))
    assert prepare(crystal)[0].composition == ((11, 1), (17, 1))


def test_the_geometry_of_a_known_polymorph_is_set_back(held, fitted):
    known_salt = [*held, member("v-nacl", salt())]
    first = {k: Ranker(known_salt, fitted.metric, fitted.chance, Settings(known=k)).rank({11: 1, 17: 1}, 1)[0] for k in (0.0, 1.0)}
    assert first[0.0].member.gene.startswith("225:") and first[1.0].member.gene.startswith("221:")
    assert Ranker(known_salt, fitted.metric, fitted.chance, Settings(known=1.0)).rank({11: 1, 17: 1}, 1, without={"v-nacl"})[0].member.gene.startswith("225:")


def test_the_baseline_sums_likelihoods_over_members_of_a_gene():
    held = [member("a", salt(3, 9)), member("b", salt(19, 35)), member("c", cube(55, 53))]
    (a,) = [analogues(p, m) for p, m in by_pattern(held).items()]
    table = np.full((95, 95), -20.0)
    for x, y, value in ((3, 11, 0.0), (9, 17, 0.0), (19, 11, 0.0), (35, 17, 0.0), (55, 11, 0.25), (53, 17, 0.25)):
        table[x, y] = value
    salt_first, cube_second = rank_by_swaps(a, (11, 17), table)
    assert (salt_first.member.gene[:3], cube_second.member.gene[:3]) == ("225", "221")  # 2 e^0 > e^0.5
    assert salt_first.gain == pytest.approx(2 / (2 + math.exp(0.5)), abs=1e-6)


# genes of another source


def genes_file(path, *rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def test_genes_are_read_best_first_and_bad_rows_are_named(tmp_path):
    one = lambda gene, score, composition: {"composition": composition, "gene": gene, "score": score}
    path = genes_file(tmp_path / "g.jsonl", one("221:Na_a.Cl_b", 0.1, {"11": 1, "17": 1}), one("225:Na_a.Cl_b", 0.4, {"17": 1, "11": 1}))
    assert [(g.space_group, s) for g, s in read_genes(path)[(11, 1), (17, 1)]] == [(225, 0.4), (221, 0.1)]
    with pytest.raises(BadInput, match="row 1.*holds"):
        read_genes(genes_file(tmp_path / "b.jsonl", one("225:Na_a.Cl_b", 0.4, {"11": 2, "17": 2})))
    with pytest.raises(BadInput, match="row 2"):
        read_genes(genes_file(tmp_path / "c.jsonl", one("225:Na_a.Cl_b", 0.4, {"11": 1, "17": 1}), {"gene": "225:Na_a.Cl_b"}))


def test_genes_of_another_source_are_placed_without_shipped_tables_and_joined_by_score(tmp_path, fitted, no_shipped_table):
    zinc_blende, salt_gene, cube_gene = "216:Na_a.Cl_c", "225:Na_a.Cl_b", "221:Na_a.Cl_b"
    rows = [{"composition": {"11": 1, "17": 1}, "gene": g, "score": s} for g, s in ((zinc_blende, 0.999), (salt_gene, 0.998), (cube_gene, 0.997))]
    source = GeneSource(genes_file(tmp_path / "genes.jsonl", *rows), fitted, tmp_path)
    assert [type(g).__name__ for g in bench.Predictor(fitted, 2, more=source).rankings({11: 1, 17: 1})["ours"]] == ["Guess", "Guess"]  # both are analogues already
    predictor = bench.Predictor(fitted, 1, more=source)
    (ours,) = predictor.rankings({11: 1, 17: 1})["ours"]  # rock salt is the first analogue, nothing known resembles zinc blende, CsCl scores more
    made = ours.crystal(20.0)
    assert float(made.volume[0]) == pytest.approx(40.0) and gene(made, 0.01)[0].key == ours.gene.key == cube_gene
    assert predictor.score("t", made)["ours"]["distances"] == [pytest.approx(0.0, abs=1e-6)]


# counting


def row(name, distances, z=11, known=False, balanced=True, atoms=2):
    one = {"guesses": 3, "distances": distances, "first_gain": 0.5, "gene_rank": 0 if distances and distances[0] is not None else -1, "recoloured": []}
    return {"id": name, "composition": {str(z): 1, "17": 1}, "atoms": atoms, "dof": 0, "formula_known": known, "gene_known": True, "charge_balanced": balanced, "ours": one,
            "template": one | {"distances": []}, "seconds": 0.0}


def test_rates_by_hand():
    found = bench.summary([row("a", [0.1]), row("b", [None, 0.3]), row("c", [None, None, None], z=3), row("d", [None, None, 0.2], z=19, known=True, balanced=False)], guesses=3)
    everyone = found["parts"]["all"]["ours"]
    assert (everyone["at_1"]["match_rate"], everyone["at_3"]["match_rate"]) == (0.25, 0.75)
    assert everyone["at_3"]["rmse"] == pytest.approx(0.2) and everyone["at_3"]["crmse"] == pytest.approx((0.1 + 0.3 + 0.5 + 0.2) / 4)
    assert found["parts"]["formula in val"]["targets"] == 1 and found["parts"]["formula not in val"]["ours"]["at_3"]["match_rate"] == pytest.approx(2 / 3)
    assert found["metre"]["ours"]["metre"] == 0.5  # a and b have one input: of two guesses the second matches b
    assert found["charge_balanced_only"]["ours"]["at_3"]["match_rate"] == 0.5
    assert found["limits"]["ours"]["matched_by_rank"] == [0.25, 0.5, 0.75]
    assert found["parts"]["all"]["template"]["at_1"]["match_rate"] == 0.0
    with pytest.raises(BadInput, match="no targets"):
        bench.summary([])


# a whole run


def test_nothing_but_val_is_learnt_from(tmp_path, tiny, no_shipped_table, monkeypatch):
    made = Fitted.to

    def fit_first(held, **more):
        assert tiny == [bench.KNOWN], "the test file was read before the fit"
        assert {m.name for m in held} == {name for name, _ in known()} and not {m.name for m in held} & {name for name, _ in TEST}
        return made(held, **{**more, "epochs": 4, "pairs": 40})

    monkeypatch.setattr(bench.Fitted, "to", staticmethod(fit_first))
    found = bench.measure(folder=tmp_path, processes=1, guesses=4)
    assert found["targets"] == 3 and found["parts"]["all"]["ours"]["at_4"]["match_rate"] == 1.0
    assert found["learnt_from"]["crystals"] == len(known()) and {m.name for m in load(tmp_path / "members.npz")} == {name for name, _ in known()}
    with pytest.raises(AssertionError, match="shipped table"):
        volume.volume_per_atom({11: 1, 17: 1})  # the guard itself guards


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path, tiny, monkeypatch):
    made = Fitted.to
    monkeypatch.setattr(bench.Fitted, "to", staticmethod(lambda held, **more: made(held, **{**more, "epochs": 4, "pairs": 40})))
    whole = bench.measure(folder=tmp_path / "whole", processes=1, guesses=4)
    bench.measure(folder=tmp_path / "parts", processes=1, guesses=4, targets=1)
    path = tmp_path / "parts" / "targets.jsonl"
    path.write_text(path.read_text() + '{"id": "t-', encoding="utf-8")  # killed while writing
    scored = []
    score = bench.Predictor.score
    monkeypatch.setattr(bench.Predictor, "score", lambda self, name, target: scored.append(name) or score(self, name, target))
    parts = bench.measure(folder=tmp_path / "parts", processes=1, guesses=4)
    assert len(scored) == 2 and parts["parts"] == whole["parts"]
    strip = lambda rows: sorted(({k: v for k, v in r.items() if k != "seconds"} for r in rows), key=lambda r: r["id"])
    assert strip(rows_of(path)) == strip(rows_of(tmp_path / "whole" / "targets.jsonl"))
    with pytest.raises(BadInput, match="other settings"):
        bench.measure(folder=tmp_path / "parts", processes=1, guesses=5)


def test_gain_and_energy_are_weighed_by_a_temperature():
    row = {"energies": [-1.0, -1.05, None], "gains": [0.6, 0.3, 0.1], "relaxed": [0.1, 0.2, 0.3]}  # ln(0.6 / 0.3) = 0.69: 0.05 eV/atom outweigh it below 0.072
    assert _both(row, 0.05) == [0.2, 0.1] and _both(row, 0.1) == [0.1, 0.2]
    assert _both({"energies": [], "gains": [], "relaxed": []}, 0.1) == []


def test_relaxed_guesses_stand_in_the_order_of_energy_and_carry_the_warning(tmp_path, fitted, monkeypatch):
    monkeypatch.setattr("matterloop.bench.structure_prediction_relaxed.STEPS", 3)
    fitted.save(tmp_path)
    targets = [(name, cif(one)) for name, one in TEST[:2]]
    found = relaxed(targets, tmp_path, potential="lennard_jones", first=2)
    rows = {r["id"]: r for r in rows_of(tmp_path / "relaxed-lennard_jones.jsonl")}
    assert found["warning"] == "potential trained on MP" and set(rows) == {"t-1", "t-2"}
    for r in rows.values():
        order = sorted(range(len(r["energies"])), key=lambda i: r["energies"][i])
        assert r["by_energy"] == [r["relaxed"][i] for i in order] and len(r["as_guessed"]) == len(r["gains"]) == 2
    before = (tmp_path / "relaxed-lennard_jones.jsonl").read_text()
    again = relaxed(targets, tmp_path, potential="lennard_jones", first=2)
    assert json.dumps(again) == json.dumps(found) and (tmp_path / "relaxed-lennard_jones.jsonl").read_text() == before
    with pytest.raises(BadInput, match="no targets"):
        relaxed([], tmp_path)


def test_bad_settings_and_bad_rows_are_named(tmp_path):
    with pytest.raises(BadInput, match="0 guesses"):
        bench.measure(folder=tmp_path, guesses=0)
    with pytest.raises(BadInput):
        crystal_of("mp-1", "data_x\n")


def test_the_verb_prints_the_protocol_and_writes_the_record(tmp_path, tiny, fitted):
    from matterloop.app.cli import app

    fitted.save(tmp_path)
    result = CliRunner().invoke(app, ["bench", "predict-structure", "--work", str(tmp_path), "--processes", "1", "--guesses", "3", "--record", str(tmp_path / "out" / "r.json")], env={"COLUMNS": "240"})
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "nothing else" in words and "template baseline" in words
    assert json.loads((tmp_path / "out" / "r.json").read_text())["targets"] == 3
