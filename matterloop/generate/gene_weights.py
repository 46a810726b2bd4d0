"""The trained gene network that ships, in half precision."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..archive.shipped import SHIPPED, read_arrays, write_card
from ..base.errors import BadInput
from .gene_network import GeneNetwork

NAME = "wyckoff_transformer"


def write_weights(network: GeneNetwork, summary: dict[str, Any], name: str = NAME, folder: Path = SHIPPED) -> Path:
    """Write <name>.npz and its card with the summary of the training; returns the file."""
    file = folder / f"{name}.npz"
    arrays = {k: v.numpy().astype(np.float16) for k, v in network.state_dict().items()}
    np.savez_compressed(file, options=np.frombuffer(json.dumps(network.options).encode(), dtype=np.uint8), **arrays)
    write_card(
        file, what=f"weights of the gene network (half precision), {sum(p.numel() for p in network.parameters()):,} parameters",
        made_by="python recipes/train_wyckoff_transformer.py train; ... write", protocol="labels: relaxed by CHGNet 0.3.0 with our engine, hull of the same potential",
        scheme="chgnet", **{k: v for k, v in summary.items() if k != "log"}, log=summary.get("log", [])[-1:],
        cannot=["elements beyond plutonium and those that hardly occur in the data", "more than 32 sites or 100 atoms in the primitive cell", "disorder, magnetism, pressure",
                "know whether a gene exists: energies of the labels are CHGNet's"],
        credit="structures of the Materials Project (CC-BY 4.0), WBM (CC-BY 4.0), Alexandria (CC-BY 4.0), OQMD (CC-BY 4.0) and AFLOW, relaxed here")
    return file


def network_of(arrays: dict[str, np.ndarray], where: str) -> GeneNetwork:
    """The network of stored arrays; BadInput where they do not belong together."""
    try:
        options = json.loads(bytes(arrays["options"]).decode())
        network = GeneNetwork(**options)
        network.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items() if k != "options"})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise BadInput(f"holds no gene network: {str(error)[:200]}", where) from None
    return network.eval().requires_grad_(False)


@cache
def shipped_network(name: str = NAME) -> GeneNetwork:
    """The network of the package, read once."""
    return network_of(read_arrays(name), f"{name}.npz")
