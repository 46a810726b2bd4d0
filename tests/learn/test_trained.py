"""Trained predictors in folders: what was saved is what is loaded, and nothing else is."""

import hashlib
import json

import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.learn.scaling import Scaling
from matterloop.learn.targets import Predictor, Target
from matterloop.learn.trained import WEIGHTS, WORDS, Trained
from matterloop.predict.schnet import SchNet

OPTIONS = {"width": 8, "blocks": 1, "radius": 3.5, "spacing": 0.5, "gamma": 4.0}
TARGETS = [Target("e", "eV/atom"), Target("energy", "eV", extensive=True), Target("metal", classes=2), Target("q", "e", per="site")]


def trained(**notes):
    scale = {"e": Scaling(-1.0, 0.1 + 0.2, references={11: 0.5, 17: -0.25}), "energy": (-2.0, 3.0)}
    predictor = Predictor(SchNet(**OPTIONS), TARGETS, hidden=8, seed=3, scale=scale, weights={"q": 0.5})
    return Trained(predictor.eval(), "schnet", OPTIONS, seed=3, **notes)


def test_what_is_loaded_predicts_the_same(tmp_path):
    notes = {"recipe": {"epochs": 3}, "history": {"best": 2, "errors": {"e": 0.05}}, "data": {"name": "mp20", "rows": 6400, "splits": "ab12"}, "uncertainty": {"kind": "conformal"},
             "distance": {"scale": 0.3}, "arrays": {"distance": {"centres": torch.randn(4, 8)}}}
    one = trained(**notes)
    two = Trained.load(one.save(tmp_path / "model"))
    crystals = ex.every()
    for name, value in one.predict(crystals).items():
        assert torch.equal(two.predict(crystals)[name], value), name
    assert two.targets == tuple(TARGETS) and two.predictor.scale == one.predictor.scale and two.predictor.weights["q"] == 0.5
    assert {k: dict(getattr(two, k)) for k in ("recipe", "history", "data", "uncertainty", "distance")} == {k: v for k, v in notes.items() if k != "arrays"}
    assert torch.equal(two.arrays["distance"]["centres"], notes["arrays"]["distance"]["centres"])
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["distance.safetensors", WORDS, WEIGHTS]


def test_predictions_do_not_depend_on_how_much_is_done_at_once():
    model, told = trained(), []
    model.predictor.to(torch.float64)
    crystals = Crystals.join([ex.every(), ex.every()])
    parts = model.predict(crystals, together=10, on_progress=lambda done, of: told.append((done, of)))
    for name, value in model.predict(crystals).items():
        torch.testing.assert_close(parts[name], value, rtol=1e-10, atol=1e-12)
    assert told[-1] == (16, 16) and len(told) > 5
    torch.testing.assert_close(parts["metal"].sum(-1), torch.ones(16, dtype=torch.float64))


def test_no_crystals_have_no_predictions():
    assert {k: tuple(v.shape) for k, v in trained().predict(ex.every()[[]]).items()} == {"e": (0,), "energy": (0,), "metal": (0, 2), "q": (0,)}


def test_an_error_names_the_crystal_in_the_whole():
    wrong = ex.rock_salt().put(cell=torch.full((1, 3, 3), float("nan"), dtype=torch.float64))
    with pytest.raises(BadInput, match="crystal 2: the cell or a coordinate is not finite"):
        trained().predict(Crystals.join([ex.rock_salt(), ex.rock_salt(), wrong]), together=8)


def test_weights_are_kept_in_single_precision(tmp_path):
    from safetensors.torch import load_file

    one = trained()
    one.predictor.to(torch.float64)
    found = load_file(one.save(tmp_path) / WEIGHTS)
    assert {v.dtype for v in found.values()} == {torch.float32}


def spoil(change):
    def with_words(folder):
        words = json.loads((folder / WORDS).read_text())
        change(words)
        (folder / WORDS).write_text(json.dumps(words))

    return with_words


def named(name):
    """A folder whose words name another file than weights and arrays, with its true hash."""
    def change(folder):
        (folder.parent / "outside.safetensors").write_bytes((folder / WEIGHTS).read_bytes())
        spoil(lambda w: w["files"].update({name: hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()}))(folder)

    return change


def link(folder):
    (folder.parent / "outside.safetensors").write_bytes((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder.parent / "outside.safetensors")


@pytest.mark.parametrize("change, message", [
    (lambda f: (f / WORDS).unlink(), "is a folder with"),
    (lambda f: (f / WORDS).write_text("{"), "is not JSON"),
    (lambda f: (f / WORDS).write_text("[]"), "version None"),
    (spoil(lambda w: w.update(version=2)), "version 2"),
    (spoil(lambda w: w.update(optons={})), "did you mean options"),
    (spoil(lambda w: w.pop("targets")), "'targets' is missing"),
    (spoil(lambda w: w["targets"][0].update(unti="x")), "did you mean unit"),
    (spoil(lambda w: w["scaling"]["e"].update(meen=1)), "did you mean mean"),
    (spoil(lambda w: w["options"].update(widht=1)), "did you mean width"),
    (spoil(lambda w: w["options"].update(width=4)), "do not fit the encoder"),
    (spoil(lambda w: w.update(encoder="schnett")), "did you mean schnet"),
    (spoil(lambda w: w["files"].update({WEIGHTS: "0" * 64})), "is not the file that"),
    (spoil(lambda w: w["files"].pop(WEIGHTS)), "names no weights"),
    (lambda f: (f / WEIGHTS).write_bytes(b"x" + (f / WEIGHTS).read_bytes()[1:]), "is not the file that"),
    (lambda f: (f / WEIGHTS).unlink(), "cannot be read"),
    (link, "is a link"),
    (named("../outside.safetensors"), "only plain names"),
    (named("/tmp/outside.safetensors"), "only plain names"),
    (named("weights.pkl"), "only plain names")])
def test_folders_that_are_not_what_they_say_are_refused(tmp_path, change, message):
    folder = trained().save(tmp_path / "model")
    change(folder)
    with pytest.raises((BadInput, Missing), match=message):
        Trained.load(folder)


def test_arrays_of_odd_names_are_refused(tmp_path):
    with pytest.raises(BadInput, match="names are lower case"):
        trained(arrays={"../x": {"a": torch.ones(1)}}).save(tmp_path)
