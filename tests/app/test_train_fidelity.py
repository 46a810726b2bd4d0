"""Fidelities in a user's table: learnt at once, subtracted, or given as inputs."""

import json

import numpy as np
import pandas as pd
import pytest

from matterloop.app.predict_verbs import predict
from matterloop.app.train_verbs import train
from matterloop.base.errors import BadInput, Missing

TINY = {"features": 16, "blocks": 1, "heads": 2, "inner": 16, "out": (12,)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """60 formulas whose high value is their low one plus 1; a third of the low ones are empty."""
    folder = tmp_path_factory.mktemp("fidelity")
    formulas = [f"{a}{n}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "Br", "I") for n in (1, 2, 3)]
    low = np.linspace(0.5, 6.0, len(formulas))[np.random.default_rng(0).permutation(len(formulas))]
    gaps = np.where(np.arange(len(formulas)) % 3 == 0, np.nan, low)
    pd.DataFrame({"formula": formulas, "gap": low + 1, "pbe": gaps}).to_csv(folder / "wide.csv", index=False)
    long = pd.DataFrame({"formula": formulas * 2, "gap": [*low, *(low + 1)], "method": ["pbe"] * 60 + ["expt"] * 60})
    long.drop(index=range(60, 70)).to_csv(folder / "long.csv", index=False)
    return folder


def test_a_difference_that_is_always_the_same_is_learnt_to_the_digit_where_the_low_value_is_known(tables):
    found = train(tables / "wide.csv", "gap", minus="pbe", out=tables / "minus")
    rows = {r["formula"]: r["value"] for r in predict(found["folder"], [tables / "wide.csv"])}
    wide = pd.read_csv(tables / "wide.csv")
    known = wide[wide.pbe.notna()]
    off = np.array([rows[f] - y for f, y in zip(known.formula, known.gap)])
    assert np.median(np.abs(off)) < 0.3  # the low value itself spreads by 1.6
    lost = wide[wide.pbe.isna()]
    assert np.abs([rows[f] - y for f, y in zip(lost.formula, lost.gap)]).max() > 1.0  # where it is not known it is a guess
    assert abs(predict(found["folder"], ["Na2Cl"])[0]["value"] - rows["Na2Cl"]) > 1e-6  # without its table the low value is predicted


def test_rows_of_lower_fidelity_train_and_the_highest_alone_is_tested(tables):
    found = train(tables / "long.csv", "gap", fidelity="method:pbe,expt", model="crabnet", options=TINY, epochs=2, out=tables / "levels")
    long = pd.read_csv(tables / "long.csv")
    parts = json.loads((tables / "levels" / "split.json").read_text())["parts"]
    assert {long.method[int(k)] for k in parts["test"]} == {long.method[int(k)] for k in parts["val"]} == {"expt"}
    tested = {long.formula[int(k)] for k in parts["test"]}
    trained = long.iloc[[int(k) for k in parts["train"]]]
    assert not tested & set(trained.formula[trained.method == "expt"])
    assert tested <= set(trained.formula[trained.method == "pbe"])
    assert found["leaks"] == ["no tested row shares its formula with a training row"]  # cheap numbers of tested formulas are no leak
    high = trained[trained.method == "expt"].gap.mean()
    off = np.abs(long.gap[[int(k) for k in parts["test"]]] - high).mean()
    assert found["baseline"]["score"]["value"] == pytest.approx(off)
    value = lambda **more: predict(found["folder"], ["NaCl"], **more)[0]["value"]
    assert value() == value(fidelity="expt") != value(fidelity="pbe")
    with pytest.raises(Missing, match="known: expt, pbe"):
        value(fidelity="hse")


def test_without_an_order_more_rows_are_lower(tables):
    found = train(tables / "long.csv", "gap", fidelity="method", model="crabnet", options=TINY, epochs=1, out=tables / "order")
    assert json.loads((tables / "order" / "trained.json").read_text())["options"]["levels"] == ["pbe", "expt"]
    assert found["rows"]["test"] > 0


def test_a_low_value_is_an_input(tables):
    found = train(tables / "wide.csv", "gap", given="pbe", model="crabnet", options=TINY, epochs=2, out=tables / "input")
    from_table = {r["formula"]: r["value"] for r in predict(found["folder"], [tables / "wide.csv"])}
    alone = predict(found["folder"], ["Na2Cl", "Na1Cl"])  # known in the table, and empty there
    assert alone[0]["value"] != from_table["Na2Cl"]
    assert alone[1]["value"] == pytest.approx(from_table["Na1Cl"], abs=1e-5)


def test_what_does_not_go_together_is_refused(tables):
    go = lambda **more: train(tables / "wide.csv", "gap", out=tables / "refused", **more)
    with pytest.raises(BadInput, match="exclude each other"):
        go(minus="pbe", given="pbe")
    with pytest.raises(BadInput, match="no logarithm"):
        go(minus="pbe", log_scale=True)
    with pytest.raises(BadInput, match="classical model"):
        go(given="pbe", model="random_forest")
    with pytest.raises(Missing, match="pbe"):
        go(minus="pbee")
    with pytest.raises(BadInput, match="none of pbe, hse"):
        train(tables / "long.csv", "gap", fidelity="method:pbe,hse", out=tables / "refused")
