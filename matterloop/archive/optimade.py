"""Are the best candidates in public databases? A look-up by formula over OPTIMADE (Evans et al., Digital Discovery 3, 1509 (2024)); no network is no error."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import Any

from ..base.elements import symbol
from ..base.errors import MatterloopError

PROVIDERS = {
    "Materials Project": "https://optimade.materialsproject.org",
    "Alexandria (PBE)": "https://alexandria.icams.rub.de/pbe",
    "OQMD": "https://oqmd.org/optimade",
    "COD": "https://www.crystallography.net/cod/optimade",
}
LARGEST = 2_000_000  # bytes read of one answer


class Offline(MatterloopError, OSError):
    """No database could be reached; the text says which was tried and why it failed."""


@dataclass(frozen=True)
class Found:
    """Entries of one database with a formula: `count` of them, the first few by id."""

    provider: str
    count: int
    ids: tuple[str, ...]


def reduced_name(composition: Mapping[int, int]) -> str:
    """`chemical_formula_reduced` as OPTIMADE spells it: alphabetical, no ones. {8: 3, 3: 1, 73: 1} gives LiO3Ta."""
    whole = reduce(gcd, composition.values())
    names = sorted((symbol(z), n // whole) for z, n in composition.items())
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in names)


def look_up(compositions: Sequence[Mapping[int, int]], *, providers: Mapping[str, str] | None = None, seconds: float = 5.0, ids: int = 3) -> list[tuple[Found, ...]]:
    """For every composition what each database holds of it; a database that fails is left out after its first failure.

    Raises Offline if none of them answers.
    """
    alive = dict(PROVIDERS if providers is None else providers)
    out: list[list[Found]] = [[] for _ in compositions]
    failures: dict[str, str] = {}
    for i, composition in enumerate(compositions):
        for name, base in list(alive.items()):
            try:
                out[i].append(_ask(name, base, reduced_name(composition), seconds, ids))
            except (OSError, ValueError) as error:
                failures[name] = f"{name}: {error}"
                del alive[name]
        if not alive:
            raise Offline("no public database could be reached (" + "; ".join(failures.values()) + ")")
    return [tuple(found) for found in out]


def _ask(name: str, base: str, formula: str, seconds: float, ids: int) -> Found:
    query = urllib.parse.urlencode({"filter": f'chemical_formula_reduced="{formula}"', "page_limit": 10, "response_fields": "chemical_formula_reduced"})
    request = urllib.request.Request(f"{base.rstrip('/')}/v1/structures?{query}", headers={"User-Agent": "matterloop", "Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        text = answer.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError(f"the answer is longer than {LARGEST} bytes")
    content: Any = json.loads(text)
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, list):
        raise ValueError("the answer holds no list of structures")
    meta = content.get("meta") if isinstance(content.get("meta"), dict) else {}
    total = meta.get("data_returned")
    names = tuple(str(d.get("id", "?"))[:60] for d in data[:ids] if isinstance(d, dict))
    return Found(name, total if isinstance(total, int) and not isinstance(total, bool) and total >= len(data) else len(data), names)
