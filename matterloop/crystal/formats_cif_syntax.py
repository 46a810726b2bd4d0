"""The syntax of Crystallographic Information Files: tokens, data blocks, loops and numbers, in time linear in the text.

Grammar: S. R. Hall, F. H. Allen, I. D. Brown, Acta Cryst. A47, 655 (1991) and the CIF 1.1 syntax of the IUCr (International Tables G, ch. 2.2).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..base.errors import BadInput

TOKEN = re.compile(
    r"""^;[^\n]*(?:\n(?!;)[^\n]*)*\n;|\#[^\n]*|'[^'\n]*(?:'(?=\S)[^'\n]*)*'(?!\S)|"[^"\n]*(?:"(?=\S)[^"\n]*)*"(?!\S)|['"][^\n]*|\S+""", re.MULTILINE)
MAX_BLOCKS = 1000


@dataclass
class Block:
    """A data block: single values and loop columns by lower-case tag (dots read as underscores), values still as written."""

    name: str
    items: dict[str, str]
    columns: dict[str, list[str]]
    notes: list[str]
    text: str = ""

    def column(self, *tags: str) -> list[str] | None:
        for tag in tags:
            if tag in self.columns:
                return self.columns[tag]
            if tag in self.items:
                return [self.items[tag]]
        return None


def blocks(text: str) -> list[Block]:
    """The data blocks of a CIF; BadInput for text that is not CIF."""
    tokens = [t for t in TOKEN.findall(text) if t[0] != "#"]
    if not tokens:
        raise BadInput("it holds no data block, only comments or blanks")
    found: list[Block] = []
    starts = [i for i, t in enumerate(tokens) if t[0] in "dD" and t[:5].lower() == "data_"]
    if not starts or starts[0] != 0:
        raise BadInput(f"a CIF starts with data_<name>, this one with {tokens[0][:40]!r}")
    if len(starts) > MAX_BLOCKS:
        raise BadInput(f"{len(starts)} data blocks, allowed are {MAX_BLOCKS}; split the file")
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        found.append(_block(tokens[start][5:], tokens, start + 1, stop))
    if len(found) == 1:
        found[0].text = text
    else:
        cuts = [m.start() for m in re.finditer(r"^data_\S", text, re.MULTILINE | re.IGNORECASE)]
        if len(cuts) == len(found):
            for block, a, b in zip(found, cuts, [*cuts[1:], len(text)], strict=True):
                block.text = text[a:b]
    return found


def _ends_loop(token: str) -> bool:
    return token[0] == "_" or (token[0] in "lLsSgG" and token[:5].lower() in ("loop_", "save_", "stop_", "globa"))


_NEEDED = ("_atom_site_", "_symmetry_", "_space_group_", "_cell_")


def _block(name: str, tokens: list[str], i: int, stop: int) -> Block:
    """A loop with a missing value is an error where the structure depends on it; other loops (authors, bonds) are left out with a note."""
    items: dict[str, str] = {}
    columns: dict[str, list[str]] = {}
    notes: list[str] = []
    while i < stop:
        token = tokens[i]
        if token[0] == "_":
            tag = token.lower().replace(".", "_")
            if i + 1 >= stop or _ends_loop(tokens[i + 1]):
                raise BadInput("the tag has no value", field=token[:60])
            if tag in items or tag in columns:
                raise BadInput("the tag stands twice in one data block", field=token[:60])
            items[tag] = tokens[i + 1]
            i += 2
        elif token.lower() == "loop_":
            i += 1
            tags = []
            while i < stop and tokens[i][0] == "_":
                tags.append(tokens[i].lower().replace(".", "_"))
                i += 1
            begin = i
            while i < stop and not _ends_loop(tokens[i]):
                i += 1
            if not tags or begin == i:
                raise BadInput("a loop_ has no tags" if not tags else "a loop has no values", field=tags[0] if tags else "loop_")
            if (i - begin) % len(tags):
                what = f"the loop holds {i - begin} values for {len(tags)} columns: its last row is cut off or a value is missing"
                if any(tag.startswith(_NEEDED) for tag in tags):
                    raise BadInput(what, field=tags[0])
                notes.append(f"the loop of {tags[0]} was left out: {what}")
                continue
            for k, tag in enumerate(tags):
                if tag in items or tag in columns:
                    raise BadInput("the tag stands twice in one data block", field=tag[:60])
                columns[tag] = tokens[begin + k : i : len(tags)]
        elif token[:5].lower() in ("save_", "globa", "stop_"):
            raise BadInput(f"{token[:20]!r} belongs to dictionaries, not to structures")
        else:
            raise BadInput(f"the value {token[:40]!r} follows no tag")
    return Block(name, items, columns, notes)


def plain(token: str) -> str:
    """A value without its quotes or semicolons; BadInput when they do not close."""
    first = token[0]
    if first in "'\"":
        if len(token) < 2 or token[-1] != first:
            raise BadInput(f"the quote in {token[:40]!r} is not closed")
        return token[1:-1]
    if first == ";":
        if "\n" not in token:
            raise BadInput(f"the text field starting {token[:40]!r} is not closed")
        return token[1:-2].strip()
    return token


_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:\(\d+\))?", re.ASCII)


def real(token: str, field: str) -> float:
    text = plain(token)
    if text in ".?":
        raise BadInput("it is not given", field=field)
    if not _NUMBER.fullmatch(text):
        raise BadInput(f"{text[:40]!r} is not a number", field=field)
    value = float(text.split("(")[0])
    if not math.isfinite(value):
        raise BadInput(f"{text[:40]!r} is not finite", field=field)
    return value


def reals(tokens: list[str], field: str) -> list[float]:
    try:
        values = list(map(float, tokens))  # the fast way; anything unusual goes the careful way
    except ValueError:
        return [real(t, field) for t in tokens]
    joined = "".join(tokens)
    if not all(map(math.isfinite, values)) or "_" in joined or not joined.isascii():  # Python reads 1_0 and foreign digits too
        return [real(t, field) for t in tokens]
    return values
