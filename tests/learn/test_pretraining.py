"""Pre-training leaves an encoder that can be kept, starts other trainings, and teaches."""

import json
from dataclasses import replace

import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import built_in
from matterloop.bench import examples as ex
from matterloop.learn.data import Batches, Samples
from matterloop.learn.fit import Recipe, fit
from matterloop.learn.pretrained import TEACHER, WEIGHTS, WORDS, Distilled, Pretrained, looked_at
from matterloop.learn.pretraining import pretrain
from matterloop.learn.targets import Predictor, Target, labelled
from matterloop.learn.training import train
from matterloop.predict.schnet import SchNet

SMALL = {"width": 8, "blocks": 1, "radius": 4.5, "spacing": 0.3}
GOAL = Target("volume")


def crystals(count=24):
    return ex.Crystals.join([ex.displaced(8, pair, seed=k) for k, pair in enumerate(((11, 17), (12, 8), (19, 35)))])[:count]


def with_volume(count=24):
    c = crystals(count)
    return labelled(c, {GOAL: c.volume / c.counts})


def made(**more):
    return pretrain("pretrain_gnn", "schnet", crystals(), **{"options": SMALL, "recipe": {"epochs": 6, "size": 8}, "settings": {"what": "masking"}, **more})


@pytest.fixture(scope="module")
def kept():
    return made()


def test_the_loss_falls_and_the_words_say_what_was_done(kept):
    assert kept.complete and kept.history["losses"][-1] < kept.history["losses"][0]
    assert kept.method == "pretrain_gnn" and kept.data == {"crystals": 24} and kept.history["epochs"] == 6
    assert json.loads(json.dumps(kept.origin))["settings"] == {"what": "masking"}


def test_kept_in_a_folder_and_read_again_it_is_the_same(kept, tmp_path):
    again = Pretrained.load(kept.save(tmp_path / "start"))
    assert again.origin == kept.origin and again.weights.keys() == kept.weights.keys()
    assert all(torch.equal(v, again.weights[k]) for k, v in kept.weights.items())
    graph = again.build().graph(crystals())
    assert torch.equal(again.build()(crystals(), graph).site, kept.build()(crystals(), graph).site)


def test_a_folder_that_was_tampered_with_is_refused(kept, tmp_path):
    folder = kept.save(tmp_path / "start")
    with pytest.raises(BadInput, match="as `matterloop pretrain` writes it"):
        Pretrained.load(tmp_path / "nothing")
    words = json.loads((folder / WORDS).read_text())
    (folder / WORDS).write_text(json.dumps(words | {"sead": 1}))
    with pytest.raises(BadInput, match="did you mean seed"):
        Pretrained.load(folder)
    (folder / WORDS).write_text(json.dumps(words))
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-4])
    with pytest.raises(BadInput, match="SHA-256"):
        Pretrained.load(folder)


def test_one_that_was_stopped_goes_on_to_the_same_weights(kept, tmp_path):
    steps = []
    path = tmp_path / "state.safetensors"
    first = made(checkpoint=path, should_stop=lambda: steps.append(1) or len(steps) >= 5)
    assert not first.complete and first.history["stopped"] == "asked"
    second = made(checkpoint=path)
    assert second.complete and all(torch.equal(v, kept.weights[k]) for k, v in second.weights.items())


def test_a_start_must_be_the_same_encoder_with_the_same_options(kept):
    goal = {"train": range(16), "val": range(16, 24)}
    with pytest.raises(BadInput, match="the start is a 'schnet', asked for is 'cgcnn'"):
        train("cgcnn", with_volume(), GOAL, goal, start=kept)
    with pytest.raises(BadInput, match="option 'width' is 8 in the start and 16 here"):
        train("schnet", with_volume(), GOAL, goal, start=kept, options={**SMALL, "width": 16})
    with pytest.raises(Missing, match="pretrain_gnn"):
        pretrain("pretrain_gn", "schnet", crystals(), options=SMALL)


def test_training_begins_with_the_start_and_says_so(kept):
    seen = {}

    def stop():
        return True

    found = train("schnet", with_volume(), GOAL, {"train": range(16), "val": range(16, 24)}, options=SMALL, start=kept, recipe={"epochs": 3, "size": 16, "freeze": 3},
                  calibrate=False, log=lambda e: seen.setdefault(e["event"], e))
    weights = found.predictor.members[0].predictor.encoder.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in kept.weights.items())  # frozen for all three epochs
    assert found.predictor.members[0].data["start"]["method"] == "pretrain_gnn"
    moved = train("schnet", with_volume(), GOAL, {"train": range(16), "val": range(16, 24)}, options=SMALL, start=kept, recipe={"epochs": 3, "size": 16}, calibrate=False)
    assert any(not torch.equal(v, kept.weights[k]) for k, v in moved.predictor.members[0].predictor.encoder.state_dict().items())


def test_a_chain_of_starts_is_remembered(kept):
    second = pretrain("pretrain_gnn", "schnet", with_volume(), options=SMALL, settings={"targets": ["volume"]}, start=kept, recipe={"epochs": 2, "size": 8})
    assert second.before["settings"] == {"what": "masking"} and second.settings == {"targets": ["volume"]}
    assert second.history["parts"].keys() == {"volume"}
    with pytest.raises(Missing, match="volume"):
        pretrain("pretrain_gnn", "schnet", with_volume(), options=SMALL, settings={"targets": ["volum"]})


def predictor(seed=0):
    return Predictor(SchNet(**SMALL, seed=seed), [GOAL], hidden=8)


def test_the_rate_of_the_encoder_is_its_own():
    samples = Samples.of(with_volume(), SchNet(**SMALL).graph)
    batches, recipe = Batches(samples, torch.arange(24), 24), Recipe(epochs=1, size=24, schedule="constant", optimizer="sgd", weight_decay=0.0, momentum=0.0, rate=0.05)
    first, moves = predictor().state_dict(), {}
    for factor in (1.0, 0.5):
        model = predictor()
        fit(model, batches, None, replace(recipe, encoder_rate=factor))
        moves[factor] = {k: v - first[k] for k, v in model.state_dict().items()}
    for k, v in moves[1.0].items():
        assert torch.allclose(moves[0.5][k], v * (0.5 if k.startswith("encoder.") else 1.0), atol=1e-6), k
    with pytest.raises(BadInput, match="encoder_rate -1"):
        Recipe(encoder_rate=-1)


def test_a_student_comes_nearer_to_its_teacher(kept):
    teacher = kept.build()
    taught = looked_at(with_volume(), teacher)
    assert taught.get(TEACHER).shape == (taught.atoms, 8)
    assert torch.allclose(taught.get(TEACHER).norm(dim=1), torch.ones(taught.atoms))
    assert TEACHER not in with_volume().site
    student = Distilled(predictor(1), 8, 0.5)
    batches = Batches(Samples.of(taught, student.predictor.encoder.graph), torch.arange(24), 24)
    course = fit(student, batches, None, Recipe(epochs=30, size=24, rate=0.01))
    assert course.history[-1]["parts"]["teacher"] < 0.6 * course.history[0]["parts"]["teacher"]
    row = course.history[0]
    assert row["loss"] == pytest.approx(0.5 * row["parts"]["volume"] + 0.5 * row["parts"]["teacher"], rel=1e-5)
    with pytest.raises(BadInput, match="share of the teacher is 1.5"):
        Distilled(predictor(), 8, 1.5)


@pytest.mark.parametrize("student", ["egnn", "cgcnn", "alignn", "matformer"])
def test_a_teacher_may_be_another_encoder_than_the_student(student, kept):
    small = dict(built_in()[student].card.small)
    found = train(student, with_volume(), GOAL, {"train": range(16), "val": range(16, 24)}, options=small, teacher=kept, share=0.3, recipe={"epochs": 2, "size": 16}, calibrate=False)
    data = found.predictor.members[0].data
    assert data["teacher"]["encoder"] == "schnet" and data["share_of_teacher"] == 0.3
    assert "teacher" in found.courses[0].history[0]["parts"]
