"""Text to tokens with spans, and formulas: the scanner of the wish grammar."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from ..base.elements import NUMBER
from . import lexicon as words
from .lexicon import lexicon

_SIGNS = ("+/-", "+-", "<=", ">=", "=<", "=>", "==")


@dataclass(frozen=True)
class Token:
    """A piece of the text: `kind` is word, number, unit, cjk, group (a space-group symbol), formula (with brackets) or sign."""

    text: str
    start: int
    end: int
    kind: str
    norm: str
    number: float | None = None


def normalised(text: str) -> str:
    """The text with full-width signs, subscripts and the many dashes made plain, character by character (spans stay valid)."""
    plain = []
    for c in text:
        n = unicodedata.normalize("NFKC", c)
        c = n if len(n) == 1 else c
        plain.append({"–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "‒": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "µ": "μ", "∼": "~", "～": "~", "⩽": "≤", "⩾": "≥", "·": "·"}.get(c, c))
    return "".join(plain)


def _latin(c: str) -> bool:
    return (c.isalpha() or c == "_") and not words.is_cjk(c)


def _ascii_digit(c: str) -> bool:
    return "0" <= c <= "9"


def _scan_number(s: str, i: int) -> int:
    """End of the number that starts at `i`: digits, thousands commas, a decimal point (or comma after a single 0), an exponent."""
    n, j = len(s), i
    while j < n and _ascii_digit(s[j]):
        j += 1
    if j < n and s[j] == ",":
        k = j
        while k + 3 < n + 0 and s[k] == "," and s[k + 1:k + 4].isdigit() and s[k + 1:k + 4].isascii() and not (k + 4 < n and _ascii_digit(s[k + 4])) and j - i <= 3 and s[i] != "0":
            k += 4
            if k >= n:
                break
        if k > j:
            j = k
        elif s[i:j] == "0" and j + 1 < n and _ascii_digit(s[j + 1]):
            j += 1
            while j < n and _ascii_digit(s[j]):
                j += 1
            return j
    if j + 1 < n and s[j] == "." and _ascii_digit(s[j + 1]):
        j += 1
        while j < n and _ascii_digit(s[j]):
            j += 1
    if j < n and s[j] in "eE":
        k = j + 1
        if k < n and s[k] in "+-":
            k += 1
        if k < n and _ascii_digit(s[k]):
            while k < n and _ascii_digit(s[k]):
                k += 1
            if not (k < n and _latin(s[k])):
                j = k
    return j


def _number(text: str) -> float:
    text = text.replace(",", ".") if text.startswith("0,") else text.replace(",", "")
    return float(text)


def _unit_at(s: str, i: int) -> str | None:
    """The longest unit spelling at `i` that ends there as a word does."""
    for spelling in lexicon().unit_starts.get(s[i:i + 1], ()):
        if s.startswith(spelling, i):
            j = i + len(spelling)
            last = spelling[-1]
            if j < len(s) and not words.is_cjk(last) and (_latin(s[j]) or (_ascii_digit(s[j]) and (last.isalnum()))):
                continue
            return spelling
    return None


def _group_symbol_at(s: str, i: int) -> str | None:
    """The longest space-group symbol at `i` that holds a sign or underscore, so that it cannot be a word or formula."""
    L = lexicon()
    for j in range(min(len(s), i + L.longest_symbol), i + 1, -1):
        piece = s[i:j]
        if (piece in L.space_groups or len(piece) > 3 and piece in L.space_groups_lower) and not piece.isalnum() and not (j < len(s) and (_latin(s[j]) or _ascii_digit(s[j]) or s[j] == "/")):
            return piece
    return None


def tokenise(text: str) -> list[Token]:
    """The tokens of a text, blanks left out; `start` and `end` count characters of the text given."""
    s, L = normalised(text), lexicon()
    out: list[Token] = []
    i, n = 0, len(s)

    def add(j: int, kind: str, norm: str | None = None, number: float | None = None):
        nonlocal i
        out.append(Token(text[i:j], i, j, kind, s[i:j].lower() if norm is None else norm, number))
        i = j

    while i < n:
        c = s[i]
        if c.isspace():
            i += 1
        elif words.is_cjk(c):
            add(i + 1, "cjk")
        elif _ascii_digit(c) or (c == "." and i + 1 < n and _ascii_digit(s[i + 1]) and not (out and out[-1].end == i)):
            j = _scan_number(s, i)
            run = j
            while run < n and (_latin(s[run]) or _ascii_digit(s[run])):
                run += 1
            if run > j and s[i:run].lower() in L.words:
                add(run, "word")
                continue
            k = j
            while k < n and s[k] == " ":
                k += 1
            unit = _unit_at(s, k) if k < n else None
            if unit is None and k == j and j < n and (s[j] == "-" or _latin(s[j])) and run > j and s[j:run].lower() not in L.words:
                add(run, "word")  # 2D, 5xyz
                continue
            value = _number(s[i:j])
            if value == float("inf"):
                add(j, "word")
                continue
            add(j, "number", number=value)
            if unit is not None:
                i = k
                add(k + len(unit), "unit", norm=unit)
        elif _latin(c):
            symbol = _group_symbol_at(s, i)
            if symbol is not None:
                add(i + len(symbol), "group")
                continue
            j = i
            while j < n and (_latin(s[j]) or _ascii_digit(s[j]) or (s[j] == "'" and j + 1 < n and s[j + 1].isalpha() and s[j - 1].isalpha())
                             or (s[j] == "." and _ascii_digit(s[j - 1]) and j + 1 < n and _ascii_digit(s[j + 1]))):
                j += 1
            k = j
            while k < n and k - i < 80 and (s[k] in "()" or (s[k].isascii() and s[k].isalnum())):
                k += 1
            if k > j and s[i:k].endswith("(") is False and parse_formula(s[i:k]) is not None:
                add(k, "formula")
            else:
                add(j, "word")
        else:
            sign = next((x for x in _SIGNS if s.startswith(x, i)), None)
            add(i + len(sign or c), "sign", norm="±" if sign in ("+-", "+/-") else sign or c)
    return out


def parse_formula(text: str, placeholders: bool = False) -> dict[str, Fraction] | None:
    """Symbol -> amount of a formula with brackets and fractions, None if it is none.

    With `placeholders`, A D E M R X stand for any element, and so do B (after A), C (after B) and F (after E).
    """
    stack: list[dict[str, Fraction]] = [{}]
    i, n, seen = 0, len(text), set()
    if n > 200:
        return None

    def amount(i: int) -> tuple[int, Fraction]:
        j = i
        while j < n and (_ascii_digit(text[j]) or (text[j] == "." and j > i)):
            j += 1
        if j == i:
            return i, Fraction(1)
        try:
            return j, Fraction(text[i:j])
        except ValueError:
            return i, Fraction(0)

    while i < n:
        c = text[i]
        if c == "(":
            if len(stack) > 5:
                return None
            stack.append({})
            i += 1
        elif c == ")":
            if len(stack) == 1 or not stack[-1]:
                return None
            i, factor = amount(i + 1)
            for name, count in stack.pop().items():
                stack[-1][name] = stack[-1].get(name, Fraction(0)) + count * factor
            if factor == 0:
                return None
        elif "A" <= c <= "Z":
            if placeholders and (c in "ADEMRX" or (c == "B" and "?A" in seen) or (c == "C" and "?B" in seen) or (c == "F" and "?E" in seen)) and not (text[i:i + 2] in NUMBER and text[i + 1:i + 2].islower()):
                name, i = "?" + c, i + 1
            elif text[i:i + 2] in NUMBER and i + 1 < n:
                name, i = text[i:i + 2], i + 2
            elif c in NUMBER:
                name, i = c, i + 1
            else:
                return None
            seen.add(name)
            i, factor = amount(i)
            if factor == 0:
                return None
            stack[-1][name] = stack[-1].get(name, Fraction(0)) + factor
        else:
            return None
    return stack[0] if len(stack) == 1 and stack[0] else None


def reduced_counts(found: dict[str, Fraction]) -> dict[str, int] | None:
    """Whole amounts without a common factor; None beyond 400 atoms."""
    scale = lcm(*(f.denominator for f in found.values()))
    counts = {name: int(f * scale) for name, f in found.items()}
    divisor = gcd(*counts.values())
    counts = {name: c // divisor for name, c in counts.items()}
    return counts if sum(counts.values()) <= 400 else None


def anonymous_of(counts: list[int]) -> str:
    """Amounts as an anonymous formula: rising amounts, letters from A, "ABC3"."""
    return "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i] + (str(c) if c > 1 else "") for i, c in enumerate(sorted(counts)))
