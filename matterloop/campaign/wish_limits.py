"""Clauses of the wish grammar about numbers: elements, atoms, property ranges, stability and symmetry."""

from __future__ import annotations

from ..base.elements import NUMBER
from . import lexicon as words
from .wish_elements import ElementRules
from .wish_phrases import Bound, Clause, Range
from .wish_tokens import normalised, parse_formula


class LimitRules(ElementRules):
    """Abstract: how many, how much, how symmetric. Each rule returns (end, Clause) or None."""

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
            if e and e[0] >= self.entries(i)[0][0]:
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
