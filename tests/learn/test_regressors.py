import numpy as np
import pytest

from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import load
from matterloop.base.seeds import numpy_stream
from matterloop.bench import examples
from matterloop.crystal.compositions import Compositions
from matterloop.crystal.state import Crystals
from matterloop.learn.regressors import load_regressor
from matterloop.learn.tables import Table, read_table, rows_of
from matterloop.represent import magpie

FORMULAS = ["NaCl", "MgO", "TiO2", "Fe2O3", "SrTiO3", "GaAs", "ZnS", "KBr"]
LABELS = np.arange(8.0)


def test_formulas_compositions_and_crystals_give_the_same_table():
    salt = examples.rock_salt((11, 17))
    tables = [read_table(x, "magpie") for x in (["NaCl"], [{"Na": 2, "Cl": 2}], Compositions.of(["Na0.5Cl0.5"]), salt)]
    for table in tables[1:]:
        np.testing.assert_allclose(table.values, tables[0].values, rtol=1e-12)
    assert tables[0].names == magpie.LABELS


def test_families_stand_side_by_side():
    table = read_table(["NaCl", "MgO"], "magpie+elements")
    assert table.values.shape == (2, 132 + 103) and table.columns(["share of Na"]).values.ravel().tolist() == [0.5, 0]


@pytest.mark.parametrize("inputs, features, error, why", [
    (["NaCl"], "magpi", Missing, "did you mean magpie"), ("NaCl", "magpie", BadInput, "list of formulas"), (["NaCl"], "cell", BadInput, "Crystals"),
    (["NaCl", "Xx2"], "magpie", BadInput, "composition 1")])
def test_what_cannot_be_read_is_refused(inputs, features, error, why):
    with pytest.raises(error, match=why):
        read_table(inputs, features)


def test_a_gap_in_a_table_is_named():
    with pytest.raises(BadInput, match="row 1, column 'b'"):
        Table(np.array([[1, 2], [3, np.nan]]), ("a", "b"))
    with pytest.raises(Missing, match="column"):
        Table(np.ones((2, 2)), ("a", "b")).columns(["c"])


def test_rows_of_every_kind_of_inputs():
    assert rows_of(FORMULAS, [2, 0]) == ["TiO2", "NaCl"]
    assert rows_of(Compositions.of(FORMULAS), np.array([2, 0])).formula(0) == Compositions.of(["TiO2"]).formula()
    assert rows_of(Crystals.join([examples.rock_salt(), examples.one_atom()]), [1]).atoms == 1
    assert rows_of(Table(np.eye(3), ("a", "b", "c")), [1]).values.tolist() == [[0, 1, 0]]


def forest(**options):
    return load("random_forest", "regressor", trees=20, **options).fit(FORMULAS, LABELS, numpy_stream(0))


def test_another_stream_gives_another_forest():
    other = load("random_forest", "regressor", trees=20).fit(FORMULAS, LABELS, numpy_stream(1))
    assert not np.array_equal(forest().predict(FORMULAS), other.predict(FORMULAS))


def test_a_fitted_model_is_left_alone_by_its_fresh_twin():
    one = forest()
    before = one.predict(FORMULAS)
    one.fresh(trees=5).fit(FORMULAS[:3], LABELS[:3], numpy_stream(2))
    np.testing.assert_array_equal(one.predict(FORMULAS), before)


def test_files_that_hold_no_model_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    for name in ("other", "text", "absent"):
        with pytest.raises(BadInput, match="holds no classical model"):
            load_regressor(tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInput, match="nothing to save"):
        load("random_forest", "regressor").save(tmp_path / "x.safetensors")


def test_classes_must_be_whole_numbers_within_their_number():
    for labels in ([0, 1, 2] * 2 + [0, 0], [0, 0.5] * 4):
        with pytest.raises(BadInput, match="whole numbers from 0 to 1"):
            load("random_forest", "regressor", classes=2).fit(FORMULAS, labels, numpy_stream(0))


def test_a_class_that_no_row_has_gets_no_probability():
    model = load("random_forest", "regressor", classes=3, trees=20).fit(FORMULAS, [0, 2] * 4, numpy_stream(0))
    assert model.predict(FORMULAS).shape == (8, 3) and not model.predict(FORMULAS)[:, 1].any()
