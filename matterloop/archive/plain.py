"""Plain content to strict JSON text and back: what may stand in an event or beside a candidate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ..base.errors import BadInput

# Strict JSON has no infinities; other readers of the database (PostgreSQL's json, DuckDB) refuse Python's bare `Infinity`.
_TAG = "$float"
_DEEPEST = 64


def to_json(value: Any, where: str = "content") -> str:
    """JSON text of dicts with text keys, lists, tuples, text, numbers, booleans and None; numpy and torch numbers and arrays become plain.

    Tuples come back as lists. Infinite and undefined numbers are written {"$float": "inf"} and come back as numbers. BadInput, naming the
    place, for anything else.
    """
    return json.dumps(_plain(value, where, 0), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Any:
    """What `to_json` was given, tuples as lists; BadInput if the text is no JSON."""
    try:
        return json.loads(text, object_hook=_number if _TAG in text else None)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the stored text is not JSON: {error}", "archive") from None


def _number(found: dict) -> Any:
    return float(found[_TAG]) if found.keys() == {_TAG} else found


def _plain(value: Any, where: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise BadInput(f"nested more than {_DEEPEST} deep", where)
    if value is None or isinstance(value, (bool, int)):
        return value if value is None or isinstance(value, bool) else int(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadInput("the text holds half a surrogate pair, which is no valid Unicode", where) from None
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_TAG: repr(float(value))}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _TAG:
                raise BadInput(f"the key {key!r} is not allowed; keys are text, and {_TAG!r} is reserved", where)
            _plain(key, where, depth)
        return {str(k): _plain(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    if hasattr(value, "tolist") and type(value).__module__.partition(".")[0] in ("numpy", "torch"):
        return _plain(value.tolist(), where, depth)
    raise BadInput(f"{type(value).__name__} cannot be kept as JSON; pass dicts, lists, text, numbers, booleans or None", where)
