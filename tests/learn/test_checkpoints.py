"""Checkpoints: all of a state in one file, written whole, read without running anything."""

import pytest
import torch

from matterloop.base.errors import BadInput
from matterloop.learn.checkpoints import FORMAT, optimizer_tensors, read_checkpoint, restore_optimizer, write_checkpoint


def test_tensors_and_words_come_back_to_the_bit(tmp_path):
    tensors = {"a/b": torch.randn(3, 2, dtype=torch.float64), "n": torch.tensor(7), "empty": torch.zeros(0, 4)}
    words = {"loss": 0.1 + 0.2, "never": float("inf"), "list": [1, {"x": None}], "text": "Å"}
    write_checkpoint(tmp_path / "c", tensors, words)
    found, said = read_checkpoint(tmp_path / "c")
    assert said == words and found.keys() == tensors.keys() and all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_checkpoint(tmp_path / "c", {"x": torch.ones(1)}, {"step": 1})
    with pytest.raises(TypeError):
        write_checkpoint(tmp_path / "c", {"x": torch.zeros(1)}, {"step": object()})
    assert read_checkpoint(tmp_path / "c")[1] == {"step": 1} and [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)])
def test_an_optimizer_goes_on_as_if_nothing_had_happened(kind):
    def steps(w, optimizer, count):
        for k in range(count):
            optimizer.zero_grad()
            ((w - k) ** 2).sum().backward()
            optimizer.step()

    w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = kind([w], lr=0.1)
    steps(w, optimizer, 3)
    v = torch.nn.Parameter(w.detach().clone())
    other = kind([v], lr=0.1)
    restore_optimizer(other, {k: t.clone() for k, t in optimizer_tensors(optimizer).items()})
    steps(w, optimizer, 3)
    steps(v, other, 3)
    assert torch.equal(v, w)


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    for name, content in (("empty", b""), ("text", b"hello"), ("pickle", b"\x80\x04N.")):
        (tmp_path / name).write_bytes(content)
    save_file({"x": torch.ones(1)}, tmp_path / "bare")
    save_file({"x": torch.ones(1)}, tmp_path / "wordless", metadata={"format": FORMAT})
    for name in ("empty", "text", "pickle", "bare", "wordless", "absent"):
        with pytest.raises(BadInput, match="no checkpoint"):
            read_checkpoint(tmp_path / name)
