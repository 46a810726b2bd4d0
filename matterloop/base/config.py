"""Settings: frozen dataclasses inside, checked at the border, TOML on disk."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import BadInput, Missing

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Build the dataclass `cls` from plain values; BadInput names an unknown key (with did-you-mean) or a wrong field."""
    from pydantic import TypeAdapter, ValidationError

    known = {f.name for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise BadInput(str(Missing("setting", str(key), known)), where)
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(x) for x in first["loc"]) or "?"
        raise BadInput(f"field {field}: {first['msg']}, got {first['input']!r}", where) from None


def read_toml(path: Path | str) -> dict[str, Any]:
    """The content of a TOML file; BadInput naming file and line otherwise."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read: {error}", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"is not valid TOML: {error}", str(path)) from None


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf") if math.isinf(value) else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_scalar(x) for x in value) + "]"
    if isinstance(value, (set, frozenset)):
        return _scalar(sorted(value))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_scalar(v)}" for k, v in value.items() if v is not None) + " }"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else json.dumps(key, ensure_ascii=False)


def to_toml(values: Mapping[str, Any]) -> str:
    """TOML text of nested mappings of plain values; None is left out."""

    def table(mapping: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
        plain = [f"{_key(k)} = {_scalar(v)}" for k, v in mapping.items() if v is not None and not isinstance(v, Mapping)]
        lines = ([f"[{'.'.join(map(_key, path))}]"] if path else []) + plain + [""] if plain or (path and not mapping) else []
        for key, value in mapping.items():
            if isinstance(value, Mapping):
                lines += table(value, (*path, key))
        return lines

    return "\n".join(table(values, ())).rstrip() + "\n"
