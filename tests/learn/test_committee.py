"""Committees of different networks: how they are named, trained, calibrated and kept."""

import numpy as np
import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.state import Crystals
from matterloop.learn.calibrated import CalibratedPredictor
from matterloop.learn.committee import is_committee, parts_of, train_committee
from matterloop.learn.targets import Target, labelled
from matterloop.learn.training import train

TARGET = Target("y", "eV/atom")
RECIPE = {"epochs": 2, "size": 8}


def salts(count=30):
    side = 3.4 + torch.arange(count, dtype=torch.float64) / count
    one = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5]], dtype=torch.float64)
    cells = [s * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64) for s in side]
    return labelled(Crystals.join([Crystals.of(one, [11, 17], c) for c in cells]), {TARGET: side})


def test_names():
    assert parts_of("crystalformer:light*3,cgcnn") == [("crystalformer:light", 3), ("cgcnn", 1)]
    assert is_committee("cgcnn*2") and is_committee("cgcnn,schnet") and not is_committee("crystalformer:light")
    for wrong in ("cgcnn*0", "cgcnn*x", "cgcnn,,schnet", "cgcnn,cgcnn", "cgcnn*65"):
        with pytest.raises(BadInput, match="committee"):
            parts_of(wrong)
    with pytest.raises(Missing, match="schnet"):
        parts_of("cgcnn,shnet")


def test_mean_of_networks_trained_alone(tmp_path):
    crystals, rows, heard = salts(), {"train": range(20), "val": range(20, 30)}, []
    found = train_committee("cgcnn*2,schnet", crystals, TARGET, rows, recipe=RECIPE, seed=3, log=heard.append)
    alone = [train(name, crystals, TARGET, rows, recipe=RECIPE, seed=seed, calibrate=False) for name, seed in (("cgcnn", 3), ("cgcnn", 4), ("schnet", 3))]
    raw = np.stack([a.predictor.raw(crystals)[0] for a in alone])
    assert np.allclose(found.predictor.raw(crystals), raw)
    assert np.allclose(found.predictor.predict(crystals).value, raw.mean(0))
    assert found.parameters == sum(a.parameters for a in alone) and len(found.courses) == 3 and found.complete
    assert found.predictor.conformal is not None and np.isfinite(found.predictor.predict(crystals).low).all()
    assert sorted({(e["model"], e["member"]) for e in heard if e["event"] == "epoch"}) == [("cgcnn", 0), ("cgcnn", 1), ("schnet", 2)]
    kept = CalibratedPredictor.load(found.predictor.save(tmp_path / "kept"))
    assert [m.encoder for m in kept.members] == ["cgcnn", "cgcnn", "schnet"]
    assert np.allclose(kept.predict(crystals).low, found.predictor.predict(crystals).low, atol=1e-4)


def test_stopped_committee_goes_on(tmp_path):
    crystals, rows = salts(), {"train": range(20), "val": range(20, 30)}
    seen = []
    first = train_committee("cgcnn,schnet", crystals, TARGET, rows, recipe=RECIPE, checkpoint=tmp_path, log=lambda e: seen.append(e["event"]) if e["event"] == "epoch" else None,
                            should_stop=lambda: len(seen) >= 1)
    assert not first.complete and first.predictor.conformal is None
    again = train_committee("cgcnn,schnet", crystals, TARGET, rows, recipe=RECIPE, checkpoint=tmp_path)
    whole = train_committee("cgcnn,schnet", crystals, TARGET, rows, recipe=RECIPE)
    assert np.allclose(again.predictor.raw(crystals), whole.predictor.raw(crystals), atol=1e-12)


def test_options_are_refused():
    with pytest.raises(BadInput, match="presets"):
        train_committee("cgcnn,schnet", salts(), TARGET, {"train": range(30)}, options={"width": 8})
