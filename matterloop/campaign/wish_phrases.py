"""Phrases of the wish grammar that clauses are made of: lexicon readings, numbers, quantities, ranges, lists of elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import wraps

from ..base.elements import NUMBER, symbol
from . import lexicon as words
from .lexicon import lexicon
from .wish_tokens import Token, normalised, parse_formula, reduced_counts

LONGEST_LIST = 130
# Symbols that are English words as well: an element only where an element must stand.
AMBIGUOUS = frozenset("In As At I No He Be Am Es Os".split())
_NEVER_LOOSE = frozenset({"No", "At"})


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


def _element(z: int) -> Item:
    return Item(frozenset([z]), symbol(z), False)


def clean(value: float) -> float:
    return float(f"{value:.12g}")


def _remembered(rule):
    """Keeps what a rule found at each position: the parser asks again from several clauses."""

    @wraps(rule)
    def once(self, *place, **how):
        key = (rule.__name__, place, tuple(how.items()))
        if key not in self._found:
            self._found[key] = rule(self, *place, **how)
        return self._found[key]

    return once


class Phrases:
    """Abstract: the readings at each position of a token list. A rule is a method `rule(i) -> (end, value) | None` over positions."""

    def __init__(self, tokens: list[Token]):
        self.tokens, self.n, self.L = tokens, len(tokens), lexicon()
        self._found: dict[tuple, object] = {}
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
        for e in self.entries(i):
            if e[1] in kinds:
                return e
        return None

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

    @_remembered
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

    @_remembered
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

    @_remembered
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
                return w[0], Range(Bound(clean(centre.value - half), centre.unit), Bound(clean(centre.value + half), centre.unit))
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
                if not sure and text in AMBIGUOUS and not self._noun_follows(i + 1):
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

    @_remembered
    def item(self, i: int, sure: bool = False) -> tuple[int, Item] | None:
        if e := self.word(i, "group"):
            if not self._longer(i, e[0]) and not (self.tokens[i].text in NUMBER and e[0] == i + 1):
                return e[0], Item(words.GROUPS[e[2]].numbers, e[2], True)
        return self.element(i, sure)

    def _articles(self, i: int) -> int:
        return self.skip(i, "a", "an", "the", "some", "any", "also", "both", "either", "element", "elements", most=3) if i < self.n and self.tokens[i].kind == "word" else i

    def _suffixed(self, i: int) -> bool:
        """Whether "-free", "-containing" or a suffix no rule knows follows at `i`."""
        if self.word(i, "bad_suffix"):
            return self.tokens[i].kind == "cjk" and self.tokens[i].norm != "型"
        j = self.after_hyphen(i)
        if self.word(j, "free"):
            return True
        if j > i:
            return self.word(j, "bearing", "bad_suffix") is not None
        return self.word(j, "bad_suffix") is not None and self.sign(j, "rich", "poor", "deficient", "doped", "ion")

    @_remembered
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

    def _formula_at(self, i: int, sure: bool = False):
        """(counts, is anonymous) of the formula at token `i`, None if it is none; `sure` after the word formula."""
        if i >= self.n or self.tokens[i].kind not in ("word", "formula") or self._is_ion(i):
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

    def clause(self, i: int, negated: bool = False):
        """The longest clause at `i`; `Parser` gathers the rules."""
        raise TypeError(f"{type(self).__name__} gathers no rules; use grammar.Parser")
