"""A calibrated predictor: kept whole, honest about what it was not shown, cut to its budget, resumable."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.crystal.compositions import Compositions
from matterloop.crystal.state import Crystals
from matterloop.learn.calibrated import CalibratedPredictor, pooled
from matterloop.learn.regressors import Regressor
from matterloop.learn.tables import Table, read_table
from matterloop.learn.targets import Target, labelled
from matterloop.learn.training import recipe_for, train, train_regressor

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
TARGET = Target("hardness", "GPa")
SMALL = {"width": 8, "blocks": 1, "radius": 4.5, "spacing": 0.5, "gamma": 4.0}
ROWS = {"train": range(40), "val": range(40, 64)}


def salts() -> Crystals:
    """Sixty-four rock salts labelled by their cell length."""
    made, labels = [], []
    for i, a in enumerate((3, 11, 19, 37, 12, 20, 38, 56)):
        for k, b in enumerate((8, 16, 34, 9, 17, 35, 53, 7)):
            length = 4.2 + 0.12 * i + 0.1 * k
            made.append(Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [a, b], length * FCC))
            labels.append(length)
    order = np.random.default_rng(0).permutation(64)
    return labelled(Crystals.join([made[i] for i in order]), {TARGET: torch.tensor([labels[i] for i in order], dtype=torch.float64)})


NAMES = [f"salt{i}" for i in range(64)]


@pytest.mark.parametrize("members", [1, 2])
def test_a_predictor_comes_back_from_its_folder_to_the_bit(members, tmp_path):
    crystals = salts()
    found = train("schnet", crystals, TARGET, ROWS, options=SMALL, recipe={"epochs": 4, "rate": 0.01}, members=members, names=NAMES)
    said = found.predictor.predict(crystals)
    assert found.complete and len(found.predictor.members) == members and found.predictor.conformal.kind == ("spread" if members > 1 else "plain")
    again = CalibratedPredictor.load(found.predictor.save(tmp_path)).predict(crystals)
    for name in ("value", "low", "high", "deviation", "percentile"):
        assert (getattr(again, name) == getattr(said, name)).all(), name
    assert again.nearest == said.nearest and again.nearest[0] == "salt0" and again.known == said.known
    covered = (said.low[40:] <= crystals.get("hardness")[40:].numpy()) & (crystals.get("hardness")[40:].numpy() <= said.high[40:])
    assert covered.mean() >= 0.85 and (said.high > said.low).all()


def test_a_kind_that_was_not_trained_on_is_unknown():
    found = train("schnet", salts(), TARGET, ROWS, options=SMALL, recipe={"epochs": 1})
    alloy = Crystals.of([[0, 0, 0]], [92], 3.0 * np.eye(3))
    assert found.predictor.predict(alloy).known == ("unknown",)
    assert found.predictor.predict(salts()[:8]).known.count("unknown") == 0


def test_distances_by_the_networks_own_features(tmp_path):
    crystals = salts()
    found = train("schnet", crystals, TARGET, ROWS, options=SMALL, recipe={"epochs": 2}, names=NAMES)
    encoder = found.predictor.members[0].predictor.encoder
    with torch.no_grad():
        site = encoder(crystals, encoder.graph(crystals)).site.double().numpy()
    assert pooled(found.predictor.members[0], crystals) == pytest.approx(site.reshape(64, 2, -1).mean(1), rel=1e-5, abs=1e-7)
    alloy = Crystals.of([[0, 0, 0]], [92], 3.0 * np.eye(3))
    again = CalibratedPredictor.load(found.predictor.save(tmp_path))
    assert again.predict(alloy).known == ("unknown",) and again.predict(crystals[:3]).nearest == ("salt0", "salt1", "salt2")
    with pytest.raises(BadInput, match="has no features of its own"):
        train_regressor("random_forest", crystals, TARGET, ROWS, options={"trees": 5}, descriptor="features")


def test_epochs_are_cut_to_the_budget():
    found = train("schnet", salts(), TARGET, ROWS, options=SMALL, budget=0.3, calibrate=False)
    assert 1 <= found.recipe.epochs < recipe_for(40).epochs == 300
    assert recipe_for(6400).epochs == 60 and recipe_for(6400).size == 64 and recipe_for(10**6).epochs == 30 and recipe_for(6400, epochs=5).epochs == 5


def test_a_stopped_training_goes_on_and_ends_where_it_would_have(tmp_path):
    crystals, plan = salts(), {"options": SMALL, "recipe": {"epochs": 4}, "calibrate": False}
    whole = train("schnet", crystals, TARGET, ROWS, **plan)
    asked = []
    part = train("schnet", crystals, TARGET, ROWS, checkpoint=tmp_path, should_stop=lambda: asked.append(1) or len(asked) > 5, **plan)
    assert not part.complete and part.courses[0].stopped == "asked"
    rest = train("schnet", crystals, TARGET, ROWS, checkpoint=tmp_path, **plan)
    assert rest.complete and (rest.predictor.raw(crystals) == whole.predictor.raw(crystals)).all()


def test_a_classical_model_is_kept_likewise(tmp_path):
    crystals = salts()
    found = train_regressor("random_forest", crystals, TARGET, ROWS, options={"trees": 20}, names=NAMES, refit=True)
    said = found.predictor.predict(crystals)
    again = CalibratedPredictor.load(found.predictor.save(tmp_path)).predict(crystals)
    assert (again.value == said.value).all() and (again.high == said.high).all() and found.predictor.conformal.kind == "spread"
    (tmp_path / "regressor.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput, match="is not the file that classical.json describes"):
        CalibratedPredictor.load(tmp_path)


@pytest.mark.parametrize(("model", "options", "fits"), [("random_forest", {"trees": 30}, 1), ("random_forest:elements", {"trees": 5}, 6)])
def test_descriptors_of_a_classical_model_are_computed_once(model, options, fits, monkeypatch):
    """A forest of drawn rows is calibrated by its own trees, others of few rows by five more models; either way each row is read once."""
    read, learnt = [], []
    monkeypatch.setattr("matterloop.learn.training.read_table", lambda inputs, features: read.append(len(inputs)) or read_table(inputs, features))
    monkeypatch.setattr("matterloop.learn.regressors.read_table", lambda inputs, features: read_table(inputs, features) if isinstance(inputs, Table) else pytest.fail("read again"))
    fit = Regressor.fit
    monkeypatch.setattr(Regressor, "fit", lambda self, *given: learnt.append(1) or fit(self, *given))
    crystals = salts()
    found = train_regressor(model, crystals, TARGET, ROWS, options=options, refit=True)
    assert read == [64] and len(learnt) == fits and found.predictor.conformal.rows == 64
    said = found.predictor.predict(crystals)
    assert np.mean((said.low <= crystals.get("hardness").numpy()) & (crystals.get("hardness").numpy() <= said.high)) >= 0.9


def test_what_is_learnt_as_a_logarithm_has_positive_intervals():
    crystals = salts()
    for found in (train("schnet", crystals, TARGET, ROWS, options=SMALL, recipe={"epochs": 2}, log_scale=True),
                  train_regressor("random_forest", crystals, TARGET, ROWS, options={"trees": 10}, log_scale=True)):
        said = found.predictor.predict(crystals)
        assert found.predictor.conformal.logarithm and (said.low > 0).all() and (said.low < said.value).all() and said.low * said.high == pytest.approx(said.value**2)


def test_classes_give_probabilities():
    target = Target("oxide", classes=2)
    crystals = salts()
    oxide = torch.zeros(64, dtype=torch.long).index_put((crystals.owner[crystals.species == 8],), torch.tensor(1))
    crystals = labelled(crystals.bare(), {target: oxide})
    found = train("schnet", crystals, target, ROWS, options=SMALL, recipe={"epochs": 25, "rate": 0.02})
    said = found.predictor.predict(crystals)
    assert said.probabilities.sum(1) == pytest.approx(np.ones(64)) and (said.value == said.probabilities[:, 1]).all() and np.isnan(said.low).all()
    assert ((said.value > 0.5) == oxide.numpy().astype(bool)).mean() > 0.9
    forest = train_regressor("random_forest", crystals, target, ROWS, options={"trees": 20})
    assert ((forest.predictor.predict(crystals).value > 0.5) == oxide.numpy().astype(bool)).mean() > 0.9


def test_errors_name_the_row_and_what_is_needed():
    crystals = salts()
    bomb = Crystals.of(crystals[0].frac, crystals[0].species, 0.02 * np.eye(3), whole={"hardness": [5.0]}, quantities={"hardness": TARGET.quantity})
    with pytest.raises(BadInput, match="needs structures"):
        train("schnet", Compositions.of_crystals(crystals), TARGET, ROWS)
    with pytest.raises(BadInput, match="^bomb: "):
        train("schnet", Crystals.join([crystals[:63], bomb]), TARGET, ROWS, options=SMALL, names=[*NAMES[:63], "bomb"])
