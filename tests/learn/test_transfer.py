"""A network that was trained on labels is a start for another."""

import torch

from matterloop.bench.examples import displaced
from matterloop.learn.pretrained import Pretrained
from matterloop.learn.targets import Target, labelled
from matterloop.learn.training import train

SMALL = {"width": 8, "blocks": 1}


def test_a_kept_predictor_gives_its_encoder_to_a_training_of_another_target(tmp_path):
    low, high = Target("low"), Target("high")
    crystals = labelled(displaced(12), {low: torch.linspace(0, 1, 12, dtype=torch.float64), high: torch.linspace(1, 0, 12, dtype=torch.float64)})
    rows, brief = {"train": range(12)}, {"epochs": 1, "rate": 1e-12, "averaging": "none", "weight_decay": 0.0}
    first = train("schnet", crystals, low, rows, options=SMALL, recipe={"epochs": 2}, calibrate=False)
    first.predictor.save(tmp_path)
    start = Pretrained.load(tmp_path)
    assert start.origin["settings"] == {"targets": ["low"]}
    second = train("schnet", crystals, high, rows, options=SMALL, recipe=brief, start=start, calibrate=False)
    one, two = (t.predictor.members[0].predictor.encoder.state_dict() for t in (first, second))
    assert all(torch.allclose(one[k], two[k], atol=1e-6) for k in one)
