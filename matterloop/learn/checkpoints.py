"""The state of a training in one file: tensors as safetensors, everything else as JSON in its header; and files of tensors that words beside them describe by
their SHA-256. Nothing is executed when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..archive.files import replacing, sha256_of
from ..base.errors import BadInput, Missing

FORMAT = "matterloop-checkpoint-1"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], words: Mapping[str, Any]) -> None:
    """Write the file whole or not at all; `words` are plain JSON (numbers come back to the bit, NaN and infinity too). ArchiveError where it cannot be written."""
    from safetensors.torch import save_file

    held = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with replacing(Path(path)) as new:
        save_file(held, new, metadata={"format": FORMAT, "words": json.dumps(words)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, words); BadInput for a file that is no checkpoint, or of another version."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as held:
            notes = held.metadata() or {}
            if notes.get("format") != FORMAT:
                raise BadInput(f"is no checkpoint of this version ({notes.get('format')!r}, wanted {FORMAT!r}); remove it to begin anew", str(path))
            return {k: held.get_tensor(k) for k in held.keys()}, json.loads(notes["words"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"is no checkpoint or is damaged ({error}); remove it to begin anew", str(path)) from None


def prefixed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names below `name`."""
    return {f"{name}/{k}": v for k, v in tensors.items()}


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `prefixed`."""
    return {k.removeprefix(name + "/"): v for k, v in tensors.items() if k.startswith(name + "/")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimizer by number of the parameter and name, "3/exp_avg"; plain numbers become tensors."""
    return {f"{i}/{k}": torch.as_tensor(v, dtype=None if isinstance(v, Tensor) else torch.float64)
            for i, state in optimizer.state_dict()["state"].items() for k, v in state.items() if v is not None}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The reverse of `optimizer_tensors`; rates and other settings stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


# files of tensors in a folder, described by words beside them


def write_tensors(folder: Path, files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """{file name: SHA-256} of the files written into the folder, each {name: tensor}. ArchiveError where they cannot be written."""
    from safetensors.torch import save_file

    hashes = {}
    for name, tensors in files.items():
        with replacing(folder / name) as new:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, new)
        hashes[name] = sha256_of(folder / name)
    return hashes


def read_tensors(folder: Path, name: str, digest: str, words: str) -> dict[str, Tensor]:
    """{name: tensor} of a file whose SHA-256 the file `words` gives; BadInput where it is another, a link, or no such file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / name
    try:
        if path.is_symlink():
            raise BadInput("is a link; only files within the folder are read", str(path))
        if (found := sha256_of(path)) != digest:
            raise BadInput(f"is not the file that {words} describes (SHA-256 {found[:12]}..., wanted {str(digest)[:12]}...)", str(path))
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"cannot be read: {error}", str(path)) from None


def read_words(path: Path, version: int, kinds: Mapping[str, type], what: str) -> dict[str, Any]:
    """The JSON object of a file, with "version" `version` and every word of `kinds` in its kind; BadInput for another version, unknown and missing words, and, saying
    `what` is wanted, where it cannot be read."""
    where = str(path)
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror}); {what}", where) from None
    except ValueError as error:
        raise BadInput(f"is not JSON: {error}", where) from None
    if not isinstance(words, dict) or words.get("version") != version:
        raise BadInput(f"is of version {words.get('version') if isinstance(words, dict) else None!r}, this program reads {version}", where)
    if unknown := [k for k in words if k not in kinds]:
        raise BadInput(str(Missing("word", unknown[0], kinds)), where)
    if wrong := [k for k, kind in kinds.items() if not isinstance(words.get(k), kind)]:
        raise BadInput(f"{wrong[0]!r} is missing or no {kinds[wrong[0]].__name__}", where)
    return words
