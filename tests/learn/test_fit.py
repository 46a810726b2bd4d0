"""The training loop: it learns, keeps what was best, stops when told, and goes on to the bit."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from matterloop.base.errors import BadInput, Missing, NotConverged
from matterloop.base.seeds import torch_stream
from matterloop.bench import examples as ex
from matterloop.learn.averaging import Average
from matterloop.learn.checkpoints import read_checkpoint
from matterloop.learn.data import Batches, Samples
from matterloop.learn.fit import Phase, Recipe, fit
from matterloop.learn.schedules import Schedule
from matterloop.learn.targets import Predictor, Target
from matterloop.predict.schnet import SchNet

SMALL = {"width": 8, "blocks": 1, "radius": 3.5, "spacing": 0.5, "gamma": 4.0}
CRYSTALS = ex.displaced(12).with_fields(whole={"band_gap": torch.randn(12, generator=torch_stream(0, "labels"), dtype=torch.float64)})
SHORT = Recipe(epochs=3, size=3, rate=0.01, schedule="cosine", averaging="ema", clip=1.0)


def model(seed=0):
    return Predictor(SchNet(**SMALL, seed=seed), [Target("band_gap", "eV")], hidden=8, seed=seed)


def batches(rows, crystals=CRYSTALS):
    return Batches(Samples.of(crystals, model().encoder.graph), torch.as_tensor(rows))


TRAIN, CHECK = batches(range(8)), batches(range(8, 12))


def weights(m):
    return {k: v.clone() for k, v in m.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def bare(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "per_second")} for row in history]


def stop_after(steps):
    left = [steps]

    def ask():
        left[0] -= 1
        return left[0] <= 0

    return ask


def test_training_lowers_the_error_and_tells_it_in_the_units_of_the_target():
    m, rows = model(), []
    course = fit(m, TRAIN, CHECK, replace(SHORT, epochs=40, averaging="none", keep="last"), log=rows.append)
    assert course.history[-1]["loss"] < 0.8 * course.history[0]["loss"] and course.stopped == "done" and course.complete and not m.training
    with torch.no_grad():
        off = (m(CRYSTALS[8:12])["band_gap"] - CRYSTALS[8:12].whole["band_gap"]).abs().mean()
    assert course.history[-1]["errors"]["band_gap"] == pytest.approx(float(off), rel=1e-5)
    assert [r["epoch"] for r in rows if r["event"] == "epoch"] == list(range(1, 41)) and course.steps == 120


@pytest.mark.parametrize("recipe", [
    SHORT, replace(SHORT, optimizer="sgd", schedule="plateau", averaging="swa", start=0.3, wait=0), replace(SHORT, optimizer="adam", averaging="none", loss="huber")])
@pytest.mark.parametrize("steps", [(1,), (3,), (2, 3), (8,)])
def test_a_training_that_was_stopped_goes_on_to_the_bit(tmp_path, recipe, steps):
    whole = model()
    course = fit(whole, TRAIN, CHECK, recipe)
    for k in steps:
        part = fit(model(), TRAIN, CHECK, recipe, checkpoint=tmp_path / "c", should_stop=stop_after(k))
        assert part.stopped == "asked" and not part.complete and str(tmp_path / "c") in part.advice
    m, told = model(seed=5), []  # its own weights do not matter: those of the checkpoint do
    again = fit(m, TRAIN, CHECK, recipe, checkpoint=tmp_path / "c", log=told.append)
    assert told[0]["event"] == "resumed" and same(weights(m), weights(whole)) and bare(again.history) == bare(course.history) and again.best == course.best


def test_a_finished_training_is_not_trained_further(tmp_path):
    m = model()
    fit(m, TRAIN, CHECK, SHORT, checkpoint=tmp_path / "c")
    n = model(seed=3)
    again = fit(n, TRAIN, CHECK, SHORT, checkpoint=tmp_path / "c")
    assert same(weights(m), weights(n)) and again.steps == 9 and again.stopped == "done"


class Dropping(nn.Module):
    """A model with randomness of both kinds: from the generator it is given, and from the global one."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(6))
        self.drop = nn.Dropout(0.5)

    def loss(self, batch, rng):
        value = (self.drop(self.w) - torch.rand(6, generator=rng)).square().sum()
        return value, {"all": value}


def test_randomness_goes_on_to_the_bit_and_the_global_generator_is_left_alone(tmp_path):
    plain = Batches(Samples(CRYSTALS), torch.arange(8))
    before, whole = torch.get_rng_state(), Dropping()
    fit(whole, plain, None, SHORT)
    assert torch.equal(before, torch.get_rng_state())
    fit(Dropping(), plain, None, SHORT, checkpoint=tmp_path / "c", should_stop=stop_after(4))
    torch.rand(3)
    m = Dropping()
    fit(m, plain, None, SHORT, checkpoint=tmp_path / "c")
    assert torch.equal(m.w, whole.w) and not torch.equal(m.w, torch.ones(6))


def test_a_checkpoint_is_written_inside_an_epoch_and_holds_no_pickle(tmp_path):
    seen = []
    fit(model(), TRAIN, None, SHORT, checkpoint=tmp_path / "c", save_seconds=0.0, should_stop=lambda: bool(seen.append((tmp_path / "c").exists())))
    assert seen[0] is False and seen[1] is True and b"pickle" not in (tmp_path / "c").read_bytes()
    tensors, words = read_checkpoint(tmp_path / "c")
    assert words["step"] == 9 and json.dumps(words) and "model/encoder.embed.weight" in tensors


def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(tmp_path):
    told, before = [], signal.getsignal(signal.SIGINT)

    def press():
        os.kill(os.getpid(), signal.SIGINT)
        return False

    course = fit(model(), TRAIN, CHECK, SHORT, checkpoint=tmp_path / "c", log=told.append, should_stop=press)
    assert course.stopped == "interrupted" and course.steps == 1 and "go on" in course.advice and signal.getsignal(signal.SIGINT) is before
    assert read_checkpoint(tmp_path / "c")[1]["step"] == 1 and told[-1]["why"] == "interrupted"


@pytest.mark.parametrize("other, message", [
    (lambda: fit_to("c", recipe=replace(SHORT, rate=0.5)), "rate was 0.01, is 0.5"),
    (lambda: fit_to("c", rows=range(7)), "other rows"),
    (lambda: fit_to("c", m=Predictor(SchNet(**{**SMALL, "width": 4}), [Target("band_gap")], hidden=8)), "other weights")])
def test_the_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch, other, message):
    monkeypatch.chdir(tmp_path)
    fit_to("c")
    with pytest.raises(BadInput, match=message):
        other()


def fit_to(path, recipe=SHORT, rows=range(8), m=None):
    return fit(m or model(), batches(rows), None, recipe, checkpoint=path)


def test_a_loss_that_is_not_finite_names_epoch_step_and_parts():
    with pytest.raises(NotConverged, match=r"the loss is (inf|nan) in epoch 1, step [12] \(parts: band_gap (inf|nan)\) at the rate"):
        fit(model(), batches([0, 1, 2], CRYSTALS.put(band_gap=torch.full((12,), float("inf"), dtype=torch.float64))), None, SHORT)


def test_patience_ends_a_training_that_no_longer_improves():
    scores = iter([3.0, 2.0, 2.5, 2.5, 1.0])
    m, at_best = model(), {}

    def measure(model, _):
        score = next(scores)
        if score == 2.0:
            at_best.update(weights(model))
        return score, {}

    course = fit(m, TRAIN, CHECK, replace(SHORT, epochs=9, patience=2), measure=measure)
    assert course.stopped == "patience" and course.best == 2 and len(course.history) == 4 and same(weights(m), at_best)


def test_the_averaged_weights_are_what_is_kept():
    m, n = model(), model()
    fit(m, TRAIN, None, SHORT)
    fit(n, TRAIN, None, replace(SHORT, averaging="none"))
    assert not same(weights(m), weights(n))


class Pair(nn.Module):
    """Two players with an optimizer each: a goes down on (a - b)^2, b goes up."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fixed = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.ones(1))

    def phases(self):
        gap = lambda a, b: ((a - b) ** 2).sum()
        return [Phase("a", [self.a], lambda batch, rng: (gap(self.a, self.b.detach()), {"gap": gap(self.a, self.b).detach()})),
                Phase("b", [self.b], lambda batch, rng: (-gap(self.a.detach(), self.b), {}), rate=0.5)]


def test_phases_have_optimizers_of_their_own(tmp_path):
    m, plain = Pair(), Batches(Samples(CRYSTALS), torch.arange(2))
    recipe = Recipe(epochs=2, size=2, rate=0.1, optimizer="sgd", momentum=0.0, schedule="constant")
    course = fit(m, plain, None, recipe, checkpoint=tmp_path / "c")
    # step 1: a = 1 - 0.1 * 2 (1 - 2) = 1.2; b = 2 + 0.05 * 2 (2 - 1.2) = 2.08; step 2: a = 1.2 + 0.2 * 0.88, b = 2.08 + 0.1 * (2.08 - a)
    assert float(m.a) == pytest.approx(1.376) and float(m.b) == pytest.approx(2.08 + 0.1 * (2.08 - 1.376)) and float(m.fixed) == 1.0
    assert course.history[0]["parts"] == {"a.gap": pytest.approx(1.0)}


# schedules and averages


@pytest.mark.parametrize("kind, options, wanted", [
    ("constant", {}, {0: 1.0, 99: 1.0}),
    ("constant", {"warmup": 10}, {0: 0.1, 9: 1.0, 50: 1.0}),
    ("cosine", {"steps": 101}, {0: 1.0, 50: 0.5, 100: 0.0}),
    ("one_cycle", {"steps": 101}, {0: 0.04, 30: 1.0, 65: 0.50005, 100: 1e-4}),
    ("steps", {"steps": 101, "milestones": (0.5, 0.75), "factor": 0.2}, {49: 1.0, 50: 0.2, 75: 0.04}),
    ("inverse_sqrt", {"warmup": 10}, {9: 1.0, 40: 0.5})])
def test_schedules_have_the_values_of_their_formulas(kind, options, wanted):
    schedule = Schedule(kind, **{"steps": 100, **options})
    assert {step: schedule(step) for step in wanted} == pytest.approx(wanted, abs=1e-9)


def test_a_plateau_lowers_the_rate_after_waiting():
    schedule = Schedule("plateau", 100, factor=0.5, patience=1)
    levels = []
    for score in (1.0, 0.9, 0.95, 0.95, 0.8):
        schedule.observe(score)
        levels.append(schedule(0))
    assert levels == [1.0, 1.0, 1.0, 0.5, 0.5]
    again = Schedule("plateau", 100, factor=0.5, patience=1)
    again.restore(json.loads(json.dumps(schedule.state())))
    assert again.state() == schedule.state()


def test_averages_are_means_of_weights():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 3.0)
    swa, ema = Average(layer, "swa", start=0.5), Average(layer, "ema", decay=0.9)
    for k, share in ((1.0, 0.25), (2.0, 0.5), (6.0, 0.75)):
        nn.init.constant_(layer.weight, k)
        swa.after_epoch(layer, share)
        ema.after_step(layer)
    assert float(swa.mean["weight"]) == pytest.approx(4.0)  # of 2 and 6
    mean = 3.0
    for n, k in enumerate((1.0, 2.0, 6.0)):
        mean += (1 - (1 + n) / (10 + n)) * (k - mean)
    assert float(ema.mean["weight"]) == pytest.approx(mean)
    with swa.used(layer):
        assert float(layer.weight.detach()) == pytest.approx(4.0)
    assert float(layer.weight.detach()) == 6.0


@pytest.mark.parametrize("make, message", [
    (lambda: Recipe(epochs=0), "must be positive"), (lambda: Recipe(optimizer="adamx"), "did you mean adam"), (lambda: Recipe(keep="worst"), "choice of weights"),
    (lambda: fit(model(), TRAIN, None, replace(SHORT, schedule="cosinus")), "did you mean cosine"), (lambda: fit(model(), TRAIN, None, replace(SHORT, averaging="emma")), "ema"),
    (lambda: fit(nn.Identity(), TRAIN, None, SHORT), "no parameter to train|loss")])
def test_impossible_recipes_are_refused(make, message):
    with pytest.raises((BadInput, Missing, AttributeError), match=message):
        make()
