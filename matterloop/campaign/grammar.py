"""The grammar of a wish: text to tokens with spans, tokens to typed clauses by recursive descent, longest clause first.

    wish     = { clause | filler | unknown }
    clause   = require | exclude | only | system | class | prototype | arity | atoms | limit | stability | symmetry | space_group | formula
             | count | budget | novel | allow
    require  = [contain] list            exclude = without list | list "-free" | "not" (class | symmetry)     only = only list
    list     = item { joiner item }      item = element | group      joiner = "," | "and" | "or" | "/"
    system   = element "-" element { "-" element } ["system"] | list "system" | "system" list
    limit    = property range | range property | number "<" property "<" number
    range    = comparator quantity | "between" quantity "and" quantity | quantity "to" quantity | quantity "±" quantity | ["about"] quantity
    quantity = number [unit]

Every rule is a method `rule(i) -> (end, value) | None` over token positions; at each position the longest clause wins, the earlier rule on a
tie. A token belongs to one clause, or is a filler word, or is reported. Commas take the conjunction that follows them ("Li, Fe or Co": any of
three); "and" binds looser than "or" ("Li and Fe or Co": Li, and one of Fe and Co).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm

from ..base.elements import DEFAULT_MASK, NUMBER
from . import lexicon as words
from .lexicon import lexicon

LONGEST_LIST = 130
_SIGNS = ("+/-", "+-", "<=", ">=", "=<", "=>", "==")
# Symbols that are English words as well: an element only where an element must stand.
_AMBIGUOUS = frozenset("In As At I No He Be Am Es Os".split())
_NEVER_LOOSE = frozenset({"No", "At"})


@dataclass(frozen=True)
class Token:
    """A piece of the text: `kind` is word, number, unit, cjk, group (a space-group symbol), formula (with brackets) or sign."""

    text: str
    start: int
    end: int
    kind: str
    norm: str
    number: float | None = None


@dataclass(frozen=True)
class Item:
    """An element or group of elements as named."""

    numbers: frozenset[int]
    name: str  # symbol or name of the group
    is_group: bool


@dataclass(frozen=True)
class Bound:
    """One side of a range; `strict` for fewer than and more than."""

    value: float
    unit: str | None
    strict: bool = False


@dataclass(frozen=True)
class Range:
    """A range as said; `bare` is a number alone, `about` a relative half width or None."""

    low: Bound | None = None
    high: Bound | None = None
    bare: bool = False
    about: float | None = None

    def whole(self) -> tuple[int | None, int | None] | None:
        """The range in whole numbers, None where it has a unit or a fraction."""
        found: list[int | None] = []
        for side, bound in ((1, self.low), (-1, self.high)):
            if bound is None:
                found.append(None)
                continue
            if bound.unit is not None or bound.value != int(bound.value) or not 0 <= bound.value < 10**6:
                return None
            found.append(int(bound.value) + (side if bound.strict else 0))
        return found[0], found[1]


@dataclass(frozen=True)
class Clause:
    """One understood (or recognised but unusable, kind "problem") stretch of tokens."""

    kind: str
    value: object
    start: int = 0
    end: int = 0
    about: dict = field(default_factory=dict, compare=False)


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


# ---- formulas ------------------------------------------------------------------------------------------------------------------------------


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


# ---- the parser ----------------------------------------------------------------------------------------------------------------------------


class Parser:
    """Tokens to clauses; each rule is memoised per position by the parse driver, which visits every position once."""

    def __init__(self, tokens: list[Token]):
        self.tokens, self.n, self.L = tokens, len(tokens), lexicon()
        self._entries: dict[int, list[tuple[int, str, object]]] = {}
        letters = [t.text for t in tokens if t.kind == "word"]
        self.shouted = not any(c.islower() for w in letters for c in w)

    # -- words

    def entries(self, i: int) -> list[tuple[int, str, object]]:
        """All lexicon readings at `i`, longest first: (end, kind, value)."""
        if i in self._entries:
            return self._entries[i]
        found = []
        if i < self.n and self.tokens[i].kind != "unit":
            for parts, kind, value in self.L.entries.get(self.tokens[i].norm, ()):
                j = i
                for k, part in enumerate(parts):
                    if k and j < self.n and self.tokens[j].norm == "-" and part != "-":
                        j += 1
                    if j >= self.n or self.tokens[j].norm != part:
                        break
                    j += 1
                else:
                    found.append((j, kind, value))
            found.sort(key=lambda e: -e[0])
        self._entries[i] = found
        return found

    def word(self, i: int, *kinds: str) -> tuple[int, str, object] | None:
        """The longest reading of one of these kinds at `i`."""
        return next((e for e in self.entries(i) if e[1] in kinds), None)

    def sign(self, i: int, *norms: str) -> bool:
        return i < self.n and self.tokens[i].norm in norms

    def after_hyphen(self, i: int) -> int:
        return i + 1 if self.sign(i, "-") else i

    def skip(self, i: int, *norms: str, most: int = 4) -> int:
        """Past up to `most` tokens with these texts."""
        while most and i < self.n and self.tokens[i].norm in norms:
            i, most = i + 1, most - 1
        return i

    # -- numbers and ranges

    def number(self, i: int) -> tuple[int, float] | None:
        if i >= self.n:
            return None
        t = self.tokens[i]
        if t.kind == "number":
            return i + 1, t.number
        if t.norm == "-" and i + 1 < self.n and self.tokens[i + 1].kind == "number" and self.tokens[i + 1].start == t.end and not (i and self.tokens[i - 1].end == t.start and self.tokens[i - 1].kind == "number"):
            return i + 2, -self.tokens[i + 1].number
        if t.kind == "cjk":
            return self._number_zh(i)
        return self._number_words(i)

    def _number_words(self, i: int) -> tuple[int, float] | None:
        total, j, last = 0, i, None
        if self.sign(i, "a") and i + 1 < self.n and self.tokens[i + 1].norm in ("dozen", "hundred"):
            j = i + 1
        while j < self.n and j - i < 8:
            e = next((e for e in self.entries(j) if e[1] == "number_word"), None)
            if e is None:
                if self.sign(j, "-", "and") and last is not None and last >= 20 and j + 1 < self.n and (f := self.word(j + 1, "number_word")) and f[2] < min(last, 100):
                    j += 1
                    continue
                break
            value = e[2]
            if value in (100, 1000, 12) and last is not None and value != 12:
                total = total * value
            elif value == 12 and self.sign(j, "dozen"):
                total = max(total, 1) * 12
            elif last is not None and not (last >= 20 and value < 10 or last >= 100 and value < 100):
                break
            else:
                total += value
            last, j = value, e[0]
        return (j, float(total)) if last is not None else None

    def _number_zh(self, i: int) -> tuple[int, float] | None:
        total = digit = 0
        j, seen = i, False
        while j < self.n and self.tokens[j].kind == "cjk" and j - i < 8:
            c = self.tokens[j].norm
            if c in words.NUMBER_CHARS:
                if seen and digit:
                    break
                digit, seen = words.NUMBER_CHARS[c], True
            elif c in words.NUMBER_POWERS:
                total, digit, seen = total + max(digit, 1) * words.NUMBER_POWERS[c], 0, True
            else:
                break
            j += 1
        return (j, float(total + digit)) if seen else None

    def quantity(self, i: int) -> tuple[int, Bound] | None:
        found = self.number(i)
        if found is None:
            return None
        j, value = found
        if j < self.n and self.tokens[j].kind == "unit":
            return j + 1, Bound(value, self.tokens[j].norm)
        return j, Bound(value, None)

    def range(self, i: int, counting: bool = False) -> tuple[int, Range] | None:
        """A range at `i`; a second bound ("and below 2 eV") joins a one-sided one, unless it counts something and the first does not."""
        found = self._range(i)
        if found is None:
            return None
        j, r = found
        if (r.low is None) != (r.high is None):
            k = j
            if e := self.word(k, "and"):
                k = e[0]
            k = self.skip(k, ",", "but", "and", "且", "而", most=2)
            if (e := self.word(k, "lt", "le", "gt", "ge")) and (q := self.quantity(e[0])):
                upper = e[1] in ("lt", "le")
                bound = Bound(q[1].value, q[1].unit, e[1] in ("lt", "gt"))
                if upper and r.high is None and (counting or not self._counts(q[0])):
                    return q[0], Range(r.low, bound)
                if not upper and r.low is None and (counting or not self._counts(q[0])):
                    return q[0], Range(bound, r.high)
        return j, r

    def _counts(self, i: int) -> bool:
        """Whether a counted noun follows, so that the number before belongs to it."""
        return self.word(self.after_hyphen(i), "atoms", "elements", "noun", "measure") is not None

    def _range(self, i: int) -> tuple[int, Range] | None:
        if e := self.word(i, "lt", "le", "gt", "ge"):
            j = self.skip(e[0], "of", "the", "a", "about", most=2)
            if (e[1] in ("le",)) and (pair := self._pair(j)):
                return pair
            if q := self.quantity(j):
                bound = Bound(q[1].value, q[1].unit, e[1] in ("lt", "gt"))
                return q[0], Range(high=bound) if e[1] in ("lt", "le") else Range(low=bound)
        if e := self.word(i, "between"):
            j = self.skip(e[0], "about", most=1)
            if pair := self._pair(j, also_and=True):
                return pair
        if e := self.word(i, "about"):
            if q := self._centre(e[0], about=True):
                return q
        if e := self.word(i, "exactly"):
            if q := self._centre(e[0], about=False):
                return q
        return self._pair(i) or self._centre(i, about=False)

    def _pair(self, i: int, also_and: bool = False) -> tuple[int, Range] | None:
        a = self.quantity(i)
        if a is None:
            return None
        j = a[0]
        if e := self.word(j, "to", *(("and",) if also_and else ())):
            k = e[0]
        else:
            return None
        b = self.quantity(k)
        if b is None:
            return None
        low, high, j = a[1], b[1], b[0]
        if low.unit is None and high.unit is not None:
            low = Bound(low.value, high.unit)
        elif high.unit is None and low.unit is not None:
            high = Bound(high.value, low.unit)
        if e := self.word(j, "in_between"):
            j = e[0]
        return j, Range(low, high)

    def _centre(self, i: int, about: bool) -> tuple[int, Range] | None:
        q = self.quantity(i)
        if q is None:
            return None
        j, centre = q
        if e := self.word(j, "plus_minus"):
            if w := self.quantity(e[0]):
                width = w[1]
                if width.unit in ("%", "percent") and centre.unit not in ("%", "percent"):
                    half, unit = abs(centre.value) * width.value / 100, centre.unit
                else:
                    unit = width.unit or centre.unit
                    centre = Bound(centre.value, centre.unit or unit)
                    half = width.value
                    if unit != centre.unit and unit in self.L.units and centre.unit in self.L.units:
                        u, c = self.L.units[unit], self.L.units[centre.unit]
                        if u[0] != c[0]:
                            return j, Range(centre, centre, bare=True)
                        half = half * u[1] / c[1]
                return w[0], Range(Bound(_clean(centre.value - half), centre.unit), Bound(_clean(centre.value + half), centre.unit))
        if e := self.word(j, "or_more"):
            return e[0], Range(low=centre)
        if e := self.word(j, "or_less"):
            return e[0], Range(high=centre)
        if e := self.word(j, "around"):
            return e[0], Range(centre, centre, about=words.ABOUT)
        return j, Range(centre, centre, bare=not about, about=words.ABOUT if about else None)

    # -- elements

    def element(self, i: int, sure: bool = False) -> tuple[int, Item] | None:
        if e := self.word(i, "element"):
            if not self._longer(i, e[0]):
                return e[0], _element(e[2])
        if i < self.n and self.tokens[i].kind in ("word", "unit"):
            text = self.tokens[i].text
            if text in NUMBER and text != "No":
                if self.shouted and len(text) > 1 and text.isupper():
                    return None
                if not sure and text in _AMBIGUOUS and not self._noun_follows(i + 1):
                    return None
                return i + 1, _element(NUMBER[text])
            loose = text.capitalize()
            if sure and len(text) <= 2 and loose in NUMBER and loose not in _NEVER_LOOSE and text.lower() not in self.L.words:
                return i + 1, _element(NUMBER[loose])
        return None

    def _longer(self, i: int, end: int) -> bool:
        """Whether another kind of word at `i` reaches further than `end` (氢 of 氢化物, lead of no such case)."""
        best = self.entries(i)[0]
        return best[0] > end and best[1] not in ("element", "filler")

    def _noun_follows(self, i: int) -> bool:
        j = self.after_hyphen(i)
        if self.word(j, "class", "prototype", "free", "bearing"):
            return True
        join, k = self._joiner(i)
        return join is not None and k < self.n and self.tokens[k].text in NUMBER and self.tokens[k].text != "No"

    def item(self, i: int, sure: bool = False) -> tuple[int, Item] | None:
        if e := self.word(i, "group"):
            if not self._longer(i, e[0]) and not (self.tokens[i].text in NUMBER and e[0] == i + 1):
                return e[0], Item(words.GROUPS[e[2]].numbers, e[2], True)
        return self.element(i, sure)

    def _articles(self, i: int) -> int:
        return self.skip(i, "a", "an", "the", "some", "any", "also", "both", "either", "element", "elements", most=3) if i < self.n and self.tokens[i].kind == "word" else i

    def _suffixed(self, i: int) -> bool:
        """Whether "-free", "-containing" or a suffix no rule knows follows at `i`."""
        if e := self.word(i, "bad_suffix"):
            return self.tokens[i].kind == "cjk" and self.tokens[i].norm != "型"
        j = self.after_hyphen(i)
        if self.word(j, "free"):
            return True
        if j > i:
            return self.word(j, "bearing", "bad_suffix") is not None
        return self.word(j, "bad_suffix") is not None and self.sign(j, "rich", "poor", "deficient", "doped", "ion")

    def items(self, i: int, sure: bool = False, suffix: bool = False, adjacent: bool = True) -> tuple[int, list[list[Item]]] | None:
        """A list of items as and-ed groups of or-ed ones. `suffix`: members may carry "-" before a shared suffix."""
        i = self._articles(i) if sure else i
        forced = None
        if e := self.word(i, "any_of"):
            forced, i = "or", self._articles(e[0])
            sure = True
        first = self.item(i, sure)
        if first is None or (not suffix and self._suffixed(first[0]) and not forced):
            return None
        found, joins, j = [first[1]], [], first[0]
        or_from = 0 if forced else None
        while len(found) < LONGEST_LIST:
            k = self.after_hyphen(j) if suffix and self.sign(j, "-") and j + 1 < self.n and (self.sign(j + 1, ",") or self.word(j + 1, "and", "or")) else j
            join, k2 = self._joiner(k)
            if join is None:
                cjk = adjacent and j < self.n and self.tokens[j].kind == "cjk" and self.tokens[j - 1].kind == "cjk"
                nxt = self.item(j, sure) if cjk else None
                if nxt is None or (not suffix and self._suffixed(nxt[0])):
                    break
                found.append(nxt[1])
                joins.append("and")
                j = nxt[0]
                continue
            k2 = self._articles(k2) if k2 < self.n and self.tokens[k2].norm in ("a", "an", "the", "some", "any", "both", "either") else k2
            if (e := self.word(k2, "any_of")) and or_from is None and join != "or":
                inner = self.item(self._articles(e[0]), True)
                if inner is None:
                    break
                or_from = len(found)
                found.append(inner[1])
                joins.append("and!")
                j = inner[0]
                continue
            nxt = self.item(k2, True)
            if nxt is None or (self.tokens[k2].text == "I" and self.sign(k2 + 1, "want", "need", "would", "am", "look")):
                break
            if not suffix and self._suffixed(nxt[0]):
                break
            if join == "," and self.word(self.after_hyphen(nxt[0]), "class", "prototype"):
                break
            if self.word(k2, "allowed", "allow"):
                break
            found.append(nxt[1])
            joins.append(join)
            j = nxt[0]
        tail = self.word(j, "any_of_tail")
        if tail:
            j, or_from = tail[0], 0 if or_from is None else or_from
        groups = [[found[0]]]
        for k, item in enumerate(found[1:], 1):
            join = joins[k - 1]
            if join == ",":
                join = next((x for x in joins[k:] if x != ","), "and")
            if join == "and!" or (join != "or" and not (or_from is not None and k > or_from)):
                groups.append([item])
            else:
                groups[-1].append(item)
        return j, groups

    def _joiner(self, i: int) -> tuple[str | None, int]:
        join, j = None, i
        if self.sign(j, ",", "、", "，"):
            join, j = ",", j + 1
        elif self.sign(j, "/", "+"):
            return ",", j + 1
        if e := self.word(j, "or"):
            return "or", e[0]
        if e := self.word(j, "and"):
            return "and", e[0]
        return join, j

    # -- clauses; each returns (end, Clause) or None

    def require(self, i: int):
        e = self.word(i, "contain")
        j = e[0] if e else i
        if e and (m := self.word(j, "contain")):
            j = m[0]
        if e and (q := self.number(j)) and self.word(j, "any_of") is None:
            k = q[0]
            measure = self.word(k, "measure")
            named = self.item(measure[0] if measure else k, True)
            if named and not self.word(k, "elements"):
                return named[0], Clause("problem", "how many elements of a group cannot be asked for; name them or say how many elements in all")
        either = self.word(j, "either")
        found = self.items(either[0] if either else j, sure=e is not None or either is not None)
        if found is None:
            return None
        j, groups = found
        if k := self._bearing(j):
            j = k
        if (a := self.word(j, "allowed")) is not None:
            return None
        if not e and i and len(groups) == 1 and self.word(j, "atoms") and self.tokens[i - 1].kind == "number":
            return None
        return j, Clause("require", groups)

    def _bearing(self, i: int) -> int | None:
        j = self.after_hyphen(i)
        e = self.word(j, "bearing")
        if e and (j > i or self.tokens[j].kind == "cjk" or self.sign(j, "containing", "based", "bearing")):
            if self.sign(j, "containing", "including") and j == i and self.item(e[0], True):
                return None  # "oxides of Fe containing Li"
            return e[0]
        return None

    def bearing(self, i: int):
        found = self.items(i, suffix=True)
        if found and (j := self._bearing(found[0])):
            return j, Clause("require", found[1])
        return None

    def unknown_suffix(self, i: int):
        if (e := self.word(i, "bad_prefix")) and self.tokens[i].kind == "cjk" and (found := self.item(e[0], True)):
            return found[0], Clause("problem", "an amount relative to others cannot be asked for; say which elements or a formula")
        found = self.item(i, sure=False)
        if found is None and i < self.n and self.tokens[i].text.capitalize() in NUMBER and self.sign(i + 1, "-"):
            found = self.element(i, True)
        if found and self._suffixed(found[0]):
            j = self.after_hyphen(found[0])
            if e := self.word(j, "bad_suffix"):
                if not (e[2] == "type"):
                    return e[0], Clause("problem", f"{e[2]!r} after an element cannot be asked for; say which elements or a formula")
        return None

    def free(self, i: int):
        found = self.items(i, sure=i < self.n and self.tokens[i].text not in _AMBIGUOUS, suffix=True, adjacent=False)
        if found is None:
            return None
        if e := self.word(self.after_hyphen(found[0]), "free"):
            if self.word(self.after_hyphen(found[0]), "without"):  # "lead free of cadmium"
                return None
            return e[0], Clause("exclude", [x for g in found[1] for x in g])
        return None

    def only(self, i: int):
        if e := self.word(i, "only"):
            if found := self.items(self.skip(e[0], "of", "the", "elements", "from", "由", ":", most=3), sure=True):
                j = found[0]
                if t := self.word(j, "made_of_tail"):
                    j = t[0]
                return j, Clause("only", [x for g in found[1] for x in g])
        if e := self.word(i, "made_of"):
            if found := self.items(self.skip(e[0], "the", "elements", most=2), sure=True):
                j, groups = found
                if t := self.word(j, "made_of_tail"):
                    j = t[0]
                elif self.tokens[i].kind == "cjk":
                    return None
                only = self.skip(j, "only")
                if only > j or any(len(g) > 1 or g[0].is_group for g in groups):
                    return only, Clause("only", [x for g in groups for x in g])
                return j, Clause("system", [g[0] for g in groups])
        return None

    def system(self, i: int):
        first = self.element(i, sure=True) if i < self.n and (self.sign(i + 1, "-") or self.tokens[i].kind == "cjk") else None
        if first and self.sign(first[0], "-"):
            found, j = [first[1]], first[0]
            while self.sign(j, "-") and len(found) < 12:
                nxt = self.element(j + 1, sure=True)
                if nxt is None:
                    break
                found.append(nxt[1])
                j = nxt[0]
            if len(found) > 1 and not self._suffixed(j):
                if e := self.word(j, "system"):
                    return e[0], Clause("system", found)
                if k := self._bearing(j):
                    return k, Clause("require", [[x] for x in found])
                if self.word(j, "class"):
                    return j, Clause("require", [[x] for x in found])
                if all(t.text[:1].isupper() or t.kind == "cjk" or t.norm == "-" or len(t.text) > 2 for t in self.tokens[i:j]):
                    return j, Clause("system", found)
        if e := self.word(i, "system"):
            if self.tokens[i].norm not in ("system", "chemical", "composition", "phase", "体", "化"):
                return None
            j = self.skip(e[0], "of", ":", "is", "为", "the", "elements", most=3)
            if self.sign(j, "-") is False and (found := self.items(j, sure=True)):
                hyphened = self.system(j)
                if hyphened and hyphened[0] > found[0] and hyphened[1].kind == "system":
                    return hyphened
                if all(len(g) == 1 and not g[0].is_group for g in found[1]) and not self.word(found[0], "class"):
                    return found[0], Clause("system", [g[0] for g in found[1]])
        found = self.items(i)
        if found and len(found[1]) > 1 and (e := self.word(found[0], "system")) and all(len(g) == 1 and not g[0].is_group for g in found[1]):
            return e[0], Clause("system", [g[0] for g in found[1]])
        return None

    def exclude(self, i: int):
        readings = [e for e in self.entries(i) if e[1] in ("without", "not")]
        if not readings:
            return None
        if any(end > readings[0][0] for end, kind, _ in self.entries(i) if kind != "filler"):
            return None  # "no more than", "non-toxic", "not in the reference"
        for k in range(i + 1, readings[0][0]):
            if (c := self.word(k, "lt", "le", "gt", "ge")) and c[0] > readings[0][0]:
                return None  # "with no more than"
        for e in readings:  # 不含有 | 毒, but 不含 | 有毒元素
            if found := self._exclude(i, e):
                return found
        return self._unknown_exclusion(i, readings[0])

    def _exclude(self, i: int, e: tuple):
        """What the negation `e` at `i` excludes, None if nothing that can be excluded follows."""
        j, items, classes, sets = self.after_hyphen(e[0]), [], [], []
        first = True
        while len(items) + len(classes) + len(sets) < LONGEST_LIST:
            k = self._articles(j)
            step = self._excluded(k, items, classes, sets)
            if step is None:
                break
            j, first = step, False
            join, k = self._joiner(j)
            if join is None:
                nxt = self.item(j) if j < self.n and self.tokens[j].kind == "cjk" and self.tokens[j - 1].kind == "cjk" and not sets and not classes else None
                if nxt is None or self.word(nxt[0], "class", "prototype"):
                    break
                k = j
            k = self._articles(k)
            following = self.item(k, True)
            if self.word(k, "without", "not", "contain", "only") or (following and (self._suffixed(following[0]) or join == "," and self.word(self.after_hyphen(following[0]), "class", "prototype"))):
                break
            if sets and not self.word(k, "symmetry") or (items or classes) and self.word(k, "symmetry"):
                break
            if join == "," and self.word(k, "class") and not classes:
                break
            if self._excluded(k, [], [], []) is None:
                break
            j = k
        if first:
            return None
        if t := self.word(j, "except_tail"):
            j = t[0]
        if items and (s := self.word(self.after_hyphen(j), "bad_suffix")) and self._suffixed(j):
            return s[0], Clause("problem", "this exclusion cannot be expressed")
        if sets:
            return j, Clause("symmetry", words.ALL_GROUPS - frozenset().union(*(words.SYMMETRY[s] for s in sets)), about={"not": sets})
        if classes and any(len(words.CLASSES[c].need) != 1 for c in classes):
            return j, Clause("problem", "a class that several elements make up together cannot be excluded; name the elements")
        for c in classes:
            items.append(Item(words.CLASSES[c].need[0], c, True))
        return j, Clause("exclude", items)

    def _excluded(self, i: int, items: list, classes: list, sets: list) -> int | None:
        e = self.word(i, "class")
        named = self.item(i, True)
        if e and (named is None or e[0] >= named[0]):
            classes.append(e[2])
            return e[0]
        if named:
            end = named[0]
            if self.word(self.after_hyphen(end), "class", "prototype") and self.tokens[i].kind != "cjk":
                pass  # "no lead halides" excludes lead and reads halides as a class of its own only if nothing negates it
            items.append(named[1])
            return end
        if (e := self.word(i, "symmetry")):
            sets.append(e[2])
            return e[0]
        return None

    def _unknown_exclusion(self, i: int, e):
        """"Not" before something that cannot be negated: all of it is reported, so that it is not read as wanted."""
        j = self._articles(self.after_hyphen(e[0]))
        if self.word(j, "stable"):
            return self.word(j, "stable")[0], Clause("stability", "unstable")
        if self.tokens[i].norm in ("no", "无") and self.word(i, "number_sign") and self.number(self.skip(j, ".")):
            return None
        inner = self.clause(j, negated=True)
        if inner:
            return inner[0], Clause("problem", "this exclusion cannot be expressed")
        k = j
        while k < self.n and k - j < 6 and not self.sign(k, ",", ".", ";", "、", "。", "，") and not self.word(k, "and", "or", "without", "contain", "lt", "le", "gt", "ge"):
            k += 1
            if self.tokens[k - 1].kind == "cjk" and k - j >= 2:
                break
        if k > j or e[1] == "not" or self.tokens[i].norm not in ("minus", "除"):
            return max(k, e[0]), Clause("problem", "this exclusion cannot be expressed")
        return None

    def non_toxic(self, i: int):
        if e := self.word(i, "non_toxic"):
            return e[0], Clause("exclude", [Item(words.GROUPS["toxic_elements"].numbers, "toxic_elements", True)])
        return None

    def allow(self, i: int):
        if e := self.word(i, "everything"):
            j = e[0]
            if a := self.word(j, "allowed"):
                j = a[0]
            return j, Clause("allow_all", None)
        if e := self.word(i, "allow"):
            if a := self.word(e[0], "everything"):
                return a[0], Clause("allow_all", None)
            found = self.items(e[0], sure=True)
            if found:
                items = [x for g in found[1] for x in g]
                if self.tokens[i].norm in ("including", "include", "包", "even") and not all(x.numbers <= DEFAULT_MASK for x in items):
                    return None
                j = found[0]
                if a := self.word(j, "allowed"):
                    j = a[0]
                return j, Clause("allow", items)
        if (found := self.items(i)) and (a := self.word(found[0], "allowed")):
            return a[0], Clause("allow", [x for g in found[1] for x in g])
        return None

    def classes(self, i: int):
        e = self.word(i, "class")
        if e is None:
            return None
        names, j = [e[2]], e[0]
        while len(names) < LONGEST_LIST:
            join, k = self._joiner(j)
            if join is None or not (f := self.word(k, "class")) or self.word(k, "prototype") and self.word(k, "prototype")[0] > f[0]:
                break
            names.append(f[2])
            j = f[0]
        return j, Clause("class", names)

    def prototypes(self, i: int):
        e = self.word(i, "prototype")
        if e is None:
            return self._type_of_formula(i)
        names, j, extra = list(e[2]), e[0], []
        if e[2] == ("layered_oxide",):
            extra = ["oxide"]
        while len(names) < LONGEST_LIST:
            k0 = self._type_tail(j)
            join, k = self._joiner(k0)
            if join is None or not (f := self.word(k, "prototype")):
                break
            names += f[2]
            j = f[0]
        return self._type_tail(j), Clause("prototype", names, about={"class": extra if len(names) == 1 else []})

    def _type_tail(self, j: int) -> int:
        t = self.word(self.after_hyphen(j), "type_word")
        return t[0] if t else j

    def _type_of_formula(self, i: int):
        if i < self.n and self.tokens[i].kind in ("word", "formula"):
            t = self.word(self.after_hyphen(i + 1), "type_word")
            formula = self._formula_at(i)
            if formula and formula[1]:
                return None
            if t and (self.sign(i + 1, "-", "type", "型") or self.sign(i + 1, "structure", "structures")) and self._formula_at(i):
                name = self.L.type_formulas.get(normalised(self.tokens[i].text))
                if name:
                    return t[0], Clause("prototype", [name], about={"class": []})
                if self.sign(i + 1, "structure", "structures"):
                    return None
                return t[0], Clause("problem", "no structure type is known under this formula; use its name")
        return None

    def arity(self, i: int):
        cmp = self.word(i, "le", "ge", "lt", "gt")
        e = self.word(cmp[0] if cmp else i, "arity")
        if e is None:
            return None
        numbers, j = [e[2]], e[0]
        if cmp:
            n = numbers[0]
            low, high = {"le": (None, n), "lt": (None, n - 1), "ge": (n, None), "gt": (n + 1, None)}[cmp[1]]
            return j, Clause("n_elements", (low, high))
        while len(numbers) < 7:
            join, k = self._joiner(j)
            if join is None and self.word(j, "to"):
                k = self.word(j, "to")[0]
                if f := self.word(k, "arity"):
                    return f[0], Clause("n_elements", (numbers[0], f[2]))
            if f := self.word(k, "arity"):
                numbers.append(f[2])
                j = f[0]
                continue
            if join == "or" and self.sign(k, "higher", "more", "above", "larger"):
                return k + 1, Clause("n_elements", (min(numbers), None))
            break
        if e2 := self.word(j, "or_more"):
            return e2[0], Clause("n_elements", (min(numbers), None))
        if self.word(j, "or_less") and self.tokens[j].norm != "内":
            return self.word(j, "or_less")[0], Clause("n_elements", (None, max(numbers)))
        if sorted(set(numbers)) != list(range(min(numbers), max(numbers) + 1)):
            return j, Clause("problem", "numbers of elements with a gap between them need two wishes")
        return j, Clause("n_elements", (min(numbers), max(numbers)))

    def counted(self, i: int):
        """atoms and elements: range noun, or "number of atoms" range."""
        if e := self.word(i, "per_cell"):
            i = e[0]
        for kind, words_ in (("atoms", "atom_number"), ("n_elements", "element_number")):
            if e := self.word(i, words_):
                j = self._link(e[0])
                if r := self.range(j, counting=True):
                    whole = r[1].whole()
                    if whole is not None:
                        j = r[0]
                        if m := self.word(j, "measure"):
                            j = m[0]
                        if a := self.word(j, "atoms" if kind == "atoms" else "elements"):
                            j = a[0]
                        j = self._tail(j)
                        return j, Clause(kind, whole)
                return e[0], Clause("problem", "say how many")
        r = self.range(self.skip(i, "have", "has", "of", "有", most=2), counting=True)
        if r is None:
            return None
        j, found = r
        if found.bare and (o := self.word(j, "or")) and (q := self.quantity(o[0])) and q[1] == Bound(found.low.value + 1, None):
            j, found = q[0], Range(found.low, q[1])  # two or three
        if m := self.word(j, "measure"):
            j = m[0]
            if found.bare and (x := self.word(j, "or_less", "or_more")):
                found = Range(high=found.high) if x[1] == "or_less" else Range(low=found.low)
                j = x[0]
        j = self.skip(self.after_hyphen(j), "的", "different", "distinct", "或", most=1)
        for kind, noun in (("atoms", "atoms"), ("n_elements", "elements")):
            if a := self.word(j, noun):
                whole = found.whole()
                if whole is None:
                    return a[0], Clause("problem", "a whole number without a unit is wanted")
                if found.about:
                    whole = (max(1, round(whole[0] * (1 - found.about))), round(whole[1] * (1 + found.about)))
                j = a[0]
                if found.bare and (x := self.word(j, "or_less", "or_more")):
                    whole = (None, whole[1]) if x[1] == "or_less" else (whole[0], None)
                    j = x[0]
                if kind == "atoms" and self.sign(j, "per") and self.sign(j + 1, "formula"):
                    return self.skip(j, "per", "formula", "unit"), Clause("problem", "atoms are counted in the primitive cell, not per formula unit; give a formula")
                return self._tail(j), Clause(kind, whole)
        return None

    def _tail(self, j: int) -> int:
        if e := self.word(j, "in_between"):
            j = e[0]
        if e := self.word(j, "per_cell"):
            j = e[0]
        return j

    def _link(self, i: int) -> int:
        return self.skip(i, "of", "is", "are", "be", "the", "a", "at", "in", "with", "should", "must", "has", "have", "value", "values", "that", "which", "lies", "being", ":", "(", "为", "是", "应", "的", "值", "需", "要", "range", "reaching", "by", "lie", "per", "cell", most=5)

    def limit(self, i: int):
        e = self.word(i, "property")
        if e is None:
            return self._limit_by_range(i)
        name, j = e[2], e[0]
        for k in (j, self._link(j)):
            if r := self.range(k):
                end = r[0]
                if self._counts(end) and r[1].bare and r[1].low.unit is None:
                    break
                return self._closed(end, k), Clause("limit", (name, r[1]))
        return j, Clause("problem", "say which range: a number with a unit", about={"property": name})

    def _closed(self, end: int, start: int) -> int:
        if self.sign(start - 1, "(") and self.sign(end, ")"):
            end += 1
        e = self.word(end, "in_between")
        return e[0] if e else end

    def _limit_by_range(self, i: int):
        a = self.quantity(i)
        if a:  # 1 < gap < 2 eV
            lower = self.word(a[0], "lt", "le", "gt", "ge")
            p = self.word(lower[0], "property") if lower else None
            if p and (upper := self.word(p[0], "lt", "le", "gt", "ge")) and (upper[1][0] == lower[1][0]) and (b := self.quantity(upper[0])):
                one, two = a[1], b[1]
                one = Bound(one.value, one.unit or two.unit)
                two = Bound(two.value, two.unit or one.unit)
                return b[0], Clause("limit", (p[2], Range(one, two) if lower[1][0] == "l" else Range(two, one)))
        r = self.range(i)
        if r is None:
            return None
        j, found = r
        link = self.word(j, "hull_link")
        if link and (h := self.word(self.skip(link[0], "the"), "hull")):
            if found.bare:
                found = Range(high=found.high)
            return h[0], Clause("limit", ("energy_above_hull", found))
        for k in (j, self.skip(self.after_hyphen(j), "of", "的", "for", "in", "the", "as", most=3)):
            if (p := self.word(k, "property")) and (found.low or found.high) and any(b is not None and b.unit is not None for b in (found.low, found.high)):
                later = self.range(self._link(p[0]))
                if later and not self._counts(later[0]) and not (later[1].bare and later[1].low.unit is None):
                    continue  # the range behind the property is its own
                if p[2] == "energy_above_hull" and found.bare:
                    found = Range(high=found.high)
                return p[0], Clause("limit", (p[2], found))
        units = [b.unit for b in (found.low, found.high) if b is not None and b.unit is not None]
        if units and self.L.units[units[0]][0] != "time":
            return j, Clause("problem", "say which property this range is for")
        return None

    def preset(self, i: int):
        if e := self.word(i, "preset"):
            return e[0], Clause("preset", e[2])
        return None

    def stability(self, i: int):
        for kind in ("metastable", "unstable", "stable"):
            e = self.word(i, kind)
            if e and e[0] >= self.entries(i)[0][0] - 0:
                j, k = e[0], e[0]
                if (join := self._joiner(k))[0] == "or" and (f := self.word(join[1], "metastable", "stable")):
                    return f[0], Clause("stability", "metastable" if "metastable" in (kind, f[1]) else "stable")
                return j, Clause("stability", kind)
        return None

    def symmetry(self, i: int):
        e = self.word(i, "symmetry")
        if e is None:
            return None
        names, joins, j = [e[2]], [], e[0]
        while len(names) < 20:
            join, k = self._joiner(j)
            f = self.word(k, "symmetry") if join else None
            if f is None or (join == "," and not {f[2], *names} <= words.ONE_OF_A_KIND):
                break
            names.append(f[2])
            joins.append(join)
            j = f[0]
        sets = [words.SYMMETRY[n] for n in names]
        either = "or" in joins or set(names) <= words.ONE_OF_A_KIND
        value = frozenset.union(*sets) if either else frozenset.intersection(*sets)
        return j, Clause("symmetry", value, about={"names": names, "either": either})

    def _group_number(self, i: int) -> tuple[int, int] | None:
        if i >= self.n:
            return None
        t = self.tokens[i]
        text = normalised(t.text)
        if t.kind == "number" and t.number == int(t.number):
            return i + 1, int(t.number)
        if t.kind in ("group", "word", "formula"):
            if text in self.L.space_groups:
                return i + 1, self.L.space_groups[text]
            if text.lower() in self.L.space_groups_lower:
                return i + 1, self.L.space_groups_lower[text.lower()]
            if self.sign(i + 1, "-") and i + 2 < self.n:
                text = f"{text}-{self.tokens[i + 2].text}".lower()
                if text in self.L.space_groups_lower:
                    return i + 3, self.L.space_groups_lower[text]
        return None

    def space_group(self, i: int):
        e = self.word(i, "space_group")
        if e is None:
            if i < self.n and self.tokens[i].kind == "group" or (i < self.n and self.tokens[i].kind == "word" and self._plain_symbol(i)):
                return self._group_list(i, False)
            if (q := self.number(i)) and (k := self.word(self.skip(q[0], "号"), "space_group")) and self.tokens[i].kind == "number":
                return k[0], self._groups([int(q[1])])
            return None
        j = e[0]
        while (s := self.word(j, "number_sign")) or self.sign(j, ".", "("):
            j = s[0] if s else j + 1
            if j - e[0] > 4:
                break
        found = self._group_list(j, True)
        if found:
            return self.skip(found[0], "号", ")", most=1) if self.tokens[j - 1].norm == "(" or self.sign(found[0], "号") else found[0], found[1]
        return e[0], Clause("problem", "say which space group: a number from 1 to 230 or a symbol such as Fm-3m")

    def _plain_symbol(self, i: int) -> bool:
        """A space-group symbol of letters and digits only that is neither an element nor a formula nor a word."""
        text = normalised(self.tokens[i].text)
        known = text in self.L.space_groups or len(text) > 3 and text in self.L.space_groups_lower
        return known and len(text) > 2 and text not in NUMBER and parse_formula(text) is None and text.lower() not in self.L.words

    def _group_list(self, i: int, named: bool):
        found, j = [], i
        while len(found) < 300:
            g = self._group_number(j)
            if g is None or (not named and self.tokens[j].kind == "number"):
                break
            if self.tokens[j].kind == "number" and (self._counts(g[0]) or (g[0] < self.n and self.tokens[g[0]].kind == "unit")):
                break
            t = self.word(g[0], "to")
            if t and self.tokens[j].kind == "number" and (h := self._group_number(t[0])) and self.tokens[t[0]].kind == "number":
                found += list(range(g[1], min(h[1], 100000) + 1))[:1000] or [h[1], g[1]]
                end = h[0]
            else:
                found.append(g[1])
                end = g[0]
            join, k = self._joiner(end)
            last = end
            if join is None:
                return last, self._groups(found)
            j = k
        return (last, self._groups(found)) if found else None

    @staticmethod
    def _groups(found: list[int]) -> Clause:
        bad = [g for g in found if not 1 <= g <= 230]
        if bad:
            return Clause("bad", f"space groups are 1 to 230, got {bad[0]}")
        return Clause("symmetry", frozenset(found), about={"numbers": sorted(set(found))})

    def point_group(self, i: int):
        e = self.word(i, "point_group")
        if e is None:
            return None
        j = self.skip(e[0], "is", ":", "=", "为", "是", most=1)
        best = None
        for k in range(j + 1, min(j + 5, self.n) + 1):
            text = "".join(normalised(t.text) for t in self.tokens[j:k])
            if text.lower() in words.POINT_GROUPS:
                best = (k, Clause("symmetry", frozenset(words.POINT_GROUPS[text.lower()]), about={"point": text.lower()}))
        return best or (e[0], Clause("problem", "say which point group, such as m-3m"))

    def _formula_at(self, i: int, sure: bool = False):
        """(counts, is anonymous) of the formula at token `i`, None if it is none; `sure` after the word formula."""
        if i >= self.n or self.tokens[i].kind not in ("word", "formula"):
            return None
        text = normalised(self.tokens[i].text)
        if len(text) < 2 or not text[0].isupper() or text in NUMBER or not sure and text.lower() in self.L.words and not any(c.isdigit() for c in text):
            return None
        letters_only = text.isalpha() and text.isupper()
        if letters_only and not sure and self.shouted and len(self.tokens) > 1:
            return None
        if found := parse_formula(text):
            counts = reduced_counts(found)
            return (counts, False) if counts else None
        if text[0] not in "AMR" or len(text) > 30 or not text.isascii():
            return None
        found = parse_formula(text, placeholders=True)
        names = [k for k in found or () if k.startswith("?")]
        if not names or (letters_only and len(text) > 3 and not set(text) <= set("ABCDEX")):
            return None
        counts = reduced_counts(found)
        return (counts, True) if counts and len(counts) <= 10 and len(counts) > 1 else None

    def formula(self, i: int):
        e = self.word(i, "formula_word")
        j = self.skip(e[0], "of", "is", ":", "=", "为", "是", "the", most=2) if e else i
        found = self._formula_at(j, sure=e is not None)
        if found is None:
            return None
        end = j + 1
        if k := self._bearing(end):
            return k, Clause("problem", "only elements can be contained; name them")
        join, k = self._joiner(end)
        if join in ("or", ",", "and") and self._formula_at(k):
            while join in ("or", ",", "and") and self._formula_at(k):
                end = k + 1
                join, k = self._joiner(end)
            return end, Clause("problem", "one formula per wish; ask once for each")
        counts, anonymous = found
        if t := self.word(self.after_hyphen(end), "formula_word"):
            if self.tokens[self.after_hyphen(end)].norm in ("formula", "composition", "stoichiometry", "type"):
                end = t[0]
        if anonymous:
            fixed = tuple(sorted((NUMBER[s], c) for s, c in counts.items() if not s.startswith("?")))
            return end, Clause("anonymous", (anonymous_of(list(counts.values())), fixed))
        return end, Clause("formula", tuple(sorted((NUMBER[s], c) for s, c in counts.items())))

    def count(self, i: int):
        e = self.word(i, "ask_for")
        cmp = self.word(i, "ge", "le", "about", "exactly", "lt", "gt") if not e else None
        j = e[0] if e else cmp[0] if cmp else i
        if e:
            while (f := self.word(j, "ask_for")) and j - i < 8:
                j = f[0]
            j = self.skip(j, "the", "a", "me", "us", "best", "top", "about", ":", "=", "to", "up", "at", "least", "most", "around", "前", "最好的", most=3)
        q = self.number(j)
        if q is None or q[1] != int(q[1]) or q[1] < 0 or self.sign(j, "-"):
            return None
        k, n = q[0], int(q[1])
        if k < self.n and self.tokens[k].kind == "unit" and self.tokens[k].text not in NUMBER:
            return None
        word_one = self.sign(j, "one", "一")
        measure = self.word(k, "measure")
        if measure:
            k = measure[0]
        if self.word(self.after_hyphen(k), "atoms", "elements"):
            return None
        k = self.skip(k, "different", "of", "the", "best", "good", "or", "so", "top", "most", "possible", "不同", "的", most=3)
        following = self._counts_what(k)
        if following == "noun":
            end = self.word(k, "noun")[0]
            return end, Clause("count", n)
        if (following == "phrase" and not (word_one and not (e or measure))) or (following is None and (e or measure)):
            return k, Clause("count", n)
        if following == "group" and not word_one:
            named = self.item(k, True)
            if named is None:
                return None
            atoms = self.word(named[0], "atoms")
            return (atoms or named)[0], Clause("problem", "how many of one element or group cannot be asked for; give a formula or the number of elements")
        return None

    def _counts_what(self, k: int) -> str | None:
        """What a number before `k` counts: noun, phrase (a description of candidates), group (elements alone), None."""
        if self.word(k, "noun"):
            return "noun"
        j, seen_item = k, False
        for _ in range(14):
            if self.word(j, "noun", "class", "prototype"):
                return "phrase"
            e = self.word(j, "novel", "stable", "metastable", "symmetry", "arity", "preset", "free", "bearing", "beyond", "non_toxic", "contain", "without")
            if self.word(j, "atoms"):
                return "group" if seen_item else None
            if e:
                if e[1] not in ("free", "bearing") and not seen_item:
                    return "phrase"
                if e[1] in ("free", "bearing") and seen_item:
                    return "phrase"
                j = e[0]
                continue
            named = self.item(j, True) if j < self.n and self.tokens[j].kind != "number" else None
            if named:
                j, seen_item = named[0], True
                continue
            if self._formula_at(j) or (j < self.n and self.tokens[j].kind == "group"):
                return "phrase"
            join, m = self._joiner(j)
            if join is not None:
                j = m
            elif self.sign(j, "-"):
                j += 1
            else:
                break
        return "group" if seen_item else None

    def budget(self, i: int):
        e = self.word(i, "budget")
        j = e[0] if e else i
        if e and (f := self.word(j, "budget")):
            j = f[0]
        j = self.skip(j, "about", "the", "next", most=2)
        half = 1.0
        if self.sign(j, "half"):
            half, j = 0.5, self.skip(j + 1, "a", "an", most=1)
            q = (j, Range(high=Bound(1.0, None)))
        elif self.sign(j, "半"):
            half, q = 0.5, (self.skip(j + 1, "个", most=1), Range(high=Bound(1.0, None)))
        elif self.sign(j, "a", "an"):
            q = (j + 1, Range(high=Bound(1.0, None)))
        else:
            q = self.range(j)
        if q is None:
            return None
        k, r = q
        if r.high is None or (r.low is not None and r.low.unit is None and r.high.unit is not None and False):
            return None
        unit = r.high.unit
        if unit is None:
            k = self.skip(self.after_hyphen(k), "个", most=1)
            unit = self._time_word(k)
            if unit is None:
                return None
            k = unit[1]
            unit = unit[0]
        if self.L.units[unit][0] != "time":
            return None
        seconds = half * r.high.value * self.L.units[unit][1]
        if t := self.word(k, "budget_tail"):
            k = t[0]
            if t := self.word(k, "budget_tail"):
                k = t[0]
        if seconds <= 0:
            return k, Clause("problem", "a time above zero is wanted")
        return k, Clause("seconds", seconds)

    def _time_word(self, i: int) -> tuple[str, int] | None:
        if i >= self.n:
            return None
        for k in (2, 1):
            text = "".join(t.norm for t in self.tokens[i:i + k])
            if text in self.L.units and self.L.units[text][0] == "time" and (self.tokens[i].kind == "cjk" or k == 1):
                return text, i + k
        return None

    def novel(self, i: int):
        e = self.word(i, "novel")
        return (e[0], Clause("novel", True)) if e else None

    def beyond(self, i: int):
        e = self.word(i, "beyond")
        return (e[0], Clause("problem", e[2])) if e else None

    RULES = ("system", "free", "bearing", "allow", "require", "only", "exclude", "non_toxic", "unknown_suffix", "classes", "prototypes", "counted", "arity", "limit", "preset",
             "stability", "symmetry", "space_group", "point_group", "formula", "budget", "count", "novel", "beyond")

    def clause(self, i: int, negated: bool = False):
        """The longest clause at `i`; inside a negation, exclusions are not tried again (no recursion without end)."""
        best = None
        for rule in self.RULES:
            if negated and rule == "exclude":
                continue
            found = getattr(self, rule)(i)
            if found is None or found[0] <= i:
                continue
            if best is None or found[0] > best[0]:
                best = found
        return best

    def parse(self) -> tuple[list[Clause], list[int], list[int]]:
        """Clauses in order, positions of filler tokens, positions of unknown tokens."""
        clauses, filler, unknown, i = [], [], [], 0
        while i < self.n:
            found = self.clause(i)
            empty = self.word(i, "filler")
            if found is not None:
                c = found[1]
                clauses.append(Clause(c.kind, c.value, i, found[0], c.about))
                i = found[0]
            elif empty is not None:
                filler += range(i, empty[0])
                i = empty[0]
            else:
                unknown.append(i)
                i += 1
        return clauses, filler, unknown


def _element(z: int) -> Item:
    from ..base.elements import symbol

    return Item(frozenset([z]), symbol(z), False)


def _clean(value: float) -> float:
    return float(f"{value:.12g}")
