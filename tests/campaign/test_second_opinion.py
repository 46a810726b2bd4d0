"""A second potential's opinion, with toys for both potentials, and with SevenNet where it is installed."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from matterloop.archive.records import Reason, Verdict
from matterloop.base.errors import BadInput, Missing, NeedsPackage
from matterloop.campaign.outcome import funnel_of
from matterloop.campaign.second_opinion import CHECK, Asked, SecondOpinion, agreed, columns_of, compared, reason_of
from matterloop.campaign.tasks import Protocol
from matterloop.crystal.state import Crystals
from matterloop.measure.corrections import CORRECTED, RAW
from matterloop.measure.hull import Hull
from matterloop.measure.reference import ELSEWHERE, phases
from matterloop.potential.lennard_jones import LennardJones

LJ = "formula,energy_per_atom,scheme,potential\nLi,-0.3,lj,lennard_jones\nO2,-0.3,lj,lennard_jones\nNa,-0.3,lj,lennard_jones\n"
QUICK = Protocol(potential="chgnet", fmax=0.05, steps=200, keep_symmetry=False)


def salt(metal=3, anion=8, side=3.0, off=0.02):
    return Crystals.of([[0, 0, 0], [0.5 + off, 0.5, 0.5]], [metal, anion], side * torch.eye(3))


class Raw:
    """The toy potential with energies that are called raw ones of the Materials Project."""

    name, energy_scheme = "raw_toy", RAW

    def label(self, crystals):
        if 9 in crystals.species.tolist():
            raise BadInput("fluorine is not known here")
        return LennardJones(sigma=2.3, epsilon=0.1, cutoff=6.0).label(crystals)


def raw_second(energies=(-0.3, -0.3), **more):
    hull = Hull([{3: 1}, {8: 1}], energies, ["Li", "O"], CORRECTED, "raw_toy")
    return SecondOpinion(Asked("raw_toy"), Raw(), hull, **more)


@pytest.fixture
def own(tmp_path):
    (tmp_path / "lj.csv").write_text(LJ)
    return str(tmp_path / "lj.csv")


def opinions(second, crystals, keys, limit=0.1, **more):
    found, ends = {}, {}
    second.relax(keys, crystals, QUICK, limit, lambda content, crystal: (found.update({content["key"]: content}), ends.update({content["key"]: crystal})), **more)
    return found, ends


def test_every_crystal_is_relaxed_and_judged_on_the_second_hull(own):
    second = replace(SecondOpinion.of(Asked("lennard_jones", own), "chgnet"), oracle=LennardJones(sigma=2.3, epsilon=0.1, cutoff=6.0))
    crystals = Crystals.join([salt(), salt(11, 8, 3.4)])
    found, ends = opinions(second, crystals, ["a", "b"])
    labels = second.oracle.label(Crystals.join([ends["a"], ends["b"]]))
    for k, (key, energy) in enumerate(zip("ab", labels.energy.tolist(), strict=True)):
        one = found[key]
        assert one["converged"] and one["energy"] == pytest.approx(energy, abs=1e-9) and one["correction"] == 0 and one["within"] is (one["energy_above_hull"] <= 0.1)
        assert one["energy_above_hull"] == pytest.approx(energy / 2 + 0.3, abs=1e-9) and one["energy_per_atom"] == one["uncorrected_energy_per_atom"]
        assert {name.split(" ")[0] for name, _ in one["decomposition"]} == {["Li", "Na"][k], "O"}
    assert second.about()["scheme"] == "lj" and second.about()["oracle"] == "lennard_jones" and second.about()["phases"] == 3


def test_raw_energies_are_corrected_and_kept_beside():
    found, ends = opinions(raw_second(single=frozenset({"Li"})), salt(), ["a"])
    one, raw = found["a"], float(Raw().label(ends["a"]).energy)
    assert one["energy"] == pytest.approx(raw) and one["correction"] == pytest.approx(-0.687) and one["parts"] == {"oxide": pytest.approx(-0.687)} and one["run_type"] == "GGA"
    assert one["energy_per_atom"] == pytest.approx((raw - 0.687) / 2) and one["uncorrected_energy_per_atom"] == pytest.approx(raw / 2)
    assert one["energy_above_hull"] == pytest.approx((raw - 0.687) / 2 + 0.3) and one["single_points"] == ["Li"]


def test_no_opinion_has_a_reason():
    second = raw_second()
    found, ends = opinions(second, Crystals.join([salt(3, 9), salt(11, 8, 3.4), salt()]), ["fluoride", "sodium", "fine"])
    assert found["fluoride"]["within"] is None and "fluorine" in found["fluoride"]["reason"] and ends["fluoride"] is None
    assert found["sodium"]["within"] is None and "no elemental reference for Na" in found["sodium"]["reason"] and ends["sodium"] is not None
    assert found["fine"]["within"] is not None
    second.relax(["hasty"], salt(off=0.1), Protocol(steps=1, keep_symmetry=False, fmax=1e-6), 0.1, lambda content, crystal: found.update({"hasty": content}))
    assert found["hasty"]["within"] is None and not found["hasty"]["converged"] and found["hasty"]["energy_above_hull"] < 1


def test_a_stop_writes_nothing_unfinished():
    found, _ = opinions(raw_second(), Crystals.join([salt(), salt(off=0.05)]), ["a", "b"], should_stop=lambda: True)
    assert found == {}


def test_who_may_be_asked(own, tmp_path):
    with pytest.raises(Missing, match="did you mean sevennet-0"):
        SecondOpinion.of(Asked("sevenet-0"))
    with pytest.raises(Missing, match="hull of its own.*chgnet"):
        SecondOpinion.of(Asked("lennard_jones"))
    with pytest.raises(BadInput, match="already"):
        SecondOpinion.of(Asked("lennard_jones", own), "lennard_jones")
    (tmp_path / "other.csv").write_text(LJ.replace("lennard_jones", "mace"))
    with pytest.raises(BadInput, match="hull is of 'lennard_jones'"):
        SecondOpinion.of(Asked("lennard_jones", str(tmp_path / "other.csv")))


def verdict(key, above, passed=True):
    return Verdict(key, (Reason("unique", 0.0, 0.0, "matches", passed), Reason("energy_above_hull", above, 0.1, "eV/atom", above <= 0.1)), above)


SAID = {"near": {"within": True, "energy_above_hull": 0.03, "limit": 0.1, "reason": "", "coverage": 1.0}, "far": {"within": False, "energy_above_hull": 0.3, "limit": 0.1, "reason": "", "coverage": 0.5},
        "odd": {"within": None, "limit": 0.1, "reason": "fell apart"}}


def test_both_must_agree_turns_away_what_the_second_does_not_put_within_the_limit():
    before = {k: verdict(k, 0.02) for k in ("near", "far", "odd", "new")} | {"out": verdict("out", 0.5), "twin": verdict("twin", 0.0, False)}
    after = agreed(before, SAID, "toy")
    assert {k for k, v in after.items() if v.passed} == {"near"} and all(before[k].passed for k in ("near", "far", "odd", "new"))
    assert after["out"] is before["out"] and after["twin"] is before["twin"]
    assert after["far"].reason(CHECK).value == 0.3 and "fell apart" in after["odd"].reason(CHECK).note and "not asked yet" in after["new"].reason(CHECK).note
    assert dict(funnel_of(after, 6))["by both potentials"] == 1 and "by both potentials" not in dict(funnel_of(before, 6))
    assert reason_of(SAID["near"], "toy").passed


def test_agreement_is_counted_and_nothing_averaged():
    answer = compared({"near": 0.02, "far": 0.0, "odd": 0.0, "new": 0.1}, SAID)
    assert answer["agree"] == ["near"] and answer["disagree"] == ["far"] and answer["none"] == {"odd": "fell apart"} and answer["waiting"] == ["new"] and answer["partial"] == ["far"]
    assert answer["share"] == 0.5 and answer["difference"] == {"median": pytest.approx(0.155), "mean_absolute": pytest.approx(0.155)}
    assert answer["interval"] == [pytest.approx(0.0126, abs=1e-4), pytest.approx(0.9874, abs=1e-4)]  # Clopper-Pearson of 1 in 2
    empty = compared({}, {})
    assert empty["judged"] == 0 and empty["interval"] == [0.0, 1.0] and empty["difference"] == {}
    assert columns_of(SAID["far"])["second_within_limit"] == "no" and columns_of({})["second_within_limit"] == ""


@pytest.mark.skipif(find_spec("sevenn") is not None, reason="SevenNet is installed")
def test_without_its_package_the_error_says_what_to_install():
    with pytest.raises(NeedsPackage, match="sevenn"):
        SecondOpinion.of(Asked("sevennet-0"))


@pytest.mark.skipif(find_spec("sevenn") is None, reason="needs the package sevenn (pip install matterloop[sevennet])")
def test_sevennet_finds_known_salts_on_its_hull():
    second = SecondOpinion.of(Asked("sevennet-0"), "chgnet")
    cells = [Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [z, a], side / 2 * (1 - torch.eye(3))) for z, a, side in ((11, 17, 5.6), (12, 8, 4.2), (19, 35, 6.6))]
    found, _ = opinions(second, Crystals.join(cells), ["NaCl", "MgO", "KBr"])
    for key, added in (("NaCl", -0.614), ("MgO", -0.687), ("KBr", -0.534)):
        one = found[key]
        assert one["within"] and abs(one["energy_above_hull"]) < 5e-3 and one["correction"] == pytest.approx(added) and one["coverage"] == 1
    assert second.single == {n for n, p in zip(phases("sevennet-0").labels, phases("sevennet-0").protocols, strict=True) if p == ELSEWHERE or "single" in p}


def test_a_raw_potential_that_judges_first_is_corrected_too():
    from matterloop.archive.records import Ask
    from matterloop.campaign.judging import Judges

    hull = Hull([{3: 1}, {8: 1}], [-0.3, -0.3], ["Li", "O"], CORRECTED, "raw_toy")
    record = {"energy": -1.0, "fmax": 0.01, "smax": 0.0, "converged": True, "reason": "", "moment": None}
    reasons = Judges(hull, scheme=RAW).judge(["a"], salt(), [record], Ask(), False, 0.05, [], None)["a"]
    above = next(r for r in reasons if r.check == "energy_above_hull")
    assert above.value == pytest.approx((-1.0 - 0.687) / 2 + 0.3) and "-0.344 eV/atom of corrections" in above.note
    plain = Judges(Hull([{3: 1}, {8: 1}], [-0.3, -0.3], ["Li", "O"], "lj", "toy"), scheme="lj").judge(["a"], salt(), [record], Ask(), False, 0.05, [], None)["a"]
    assert next(r for r in plain if r.check == "energy_above_hull").value == pytest.approx(-0.2)
