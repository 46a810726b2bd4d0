"""Options that several commands on models and data share, `--set NAME=VALUE` as a dict, and what `--skip-bad` does with rows that could not be used."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Kept = Annotated[str, typer.Argument(help="folder of a predictor that `matterloop train` wrote")]
Files = Annotated[list[str], typer.Argument(help="structure files, folders of them, or tables; formulas where the model learnt from formulas")]
Structure = Annotated[str, typer.Option(help="column of CIF texts, found by its name if absent")]
Formula = Annotated[str, typer.Option(help="column of formulas, found by its name if absent")]
Identity = Annotated[str, typer.Option("--id", help="column that names the rows (in a folder with a table: the files)")]
MaxAtoms = Annotated[int, typer.Option("--max-atoms", min=1, help="most atoms of one structure")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="inputs that cannot be used are told but are no failure")]
Options = Annotated[list[str] | None, typer.Option("--set", help="option of the model, NAME=VALUE; may be repeated")]


def options_of(given: list[str] | None, where: str = "--set") -> dict[str, Any]:
    """{name: value} of NAME=VALUE words; values are numbers, true, false, lists in brackets, or text. BadInput where there is no equals sign."""
    from ..base.errors import BadInput

    out: dict[str, Any] = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"{word!r} is not NAME=VALUE", where)
        try:
            held = json.loads(value)
        except ValueError:
            held = value
        out[name.strip()] = tuple(held) if isinstance(held, list) else held
    return out


def usable(rows: list[dict[str, Any]], skip_bad: bool) -> list[dict[str, Any]]:
    """All rows, or with `skip_bad` those without an error, after the others were told."""
    from .cli import say

    if not skip_bad:
        return rows
    for r in (r for r in rows if "error" in r):
        say(f"skipped: {place(r)}: {r['error']}")
    return [r for r in rows if "error" not in r]


def place(row: dict[str, Any]) -> str:
    """Where an input stands, in words."""
    number = f"row {row['row']}" if isinstance(row.get("row"), int) else row.get("row")
    words = (row.get("formula"), row.get("file"), number, row.get("name"), row.get("field") and f"field {row['field']!r}")
    return ", ".join(dict.fromkeys(str(x) for x in words if x not in (None, "")))
