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

from ..base.elements import NUMBER
from .wish_limits import LimitRules
from .wish_phrases import Bound, Clause, Range


class Parser(LimitRules):
    """Tokens to clauses; the driver `parse` goes from left to right and never back."""

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
        if r.high is None:
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

    RULES = ("system", "free", "bearing", "allow", "require", "only", "exclude", "absent", "non_toxic", "unknown_suffix", "classes", "prototypes", "counted", "arity", "limit", "preset",
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
