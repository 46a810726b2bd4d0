"""What `bench predict-structure` reads and writes: crystals of CIF texts, rows of JSON lines that survive an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..base.errors import BadInput
from ..crystal.formats import read_text_of
from ..crystal.state import Crystals


def crystal_of(name: str, text: str) -> Crystals:
    """The crystal of a CIF text. BadInput naming the row where it holds none."""
    found = read_text_of(text, name=name)
    if len(found.crystals) != 1:
        raise BadInput(f"holds {len(found.crystals)} crystals, wanted one", name)
    return found.crystals.bare()


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows that a run has written so far; a last line that was cut off is left out."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            out.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return out
