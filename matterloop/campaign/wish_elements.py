"""Clauses of the wish grammar about elements, classes, structure types and formulas."""

from __future__ import annotations

from ..base.elements import DEFAULT_MASK, NUMBER
from . import lexicon as words
from .wish_phrases import AMBIGUOUS, LONGEST_LIST, Clause, Item, Phrases
from .wish_tokens import anonymous_of, normalised


class ElementRules(Phrases):
    """Abstract: what a crystal is made of. Each rule returns (end, Clause) or None."""

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
        if self.word(j, "allowed") is not None:
            return None
        if (x := self.word(self.skip(j, ",", most=1), "nothing_else")) and all(len(g) == 1 and not g[0].is_group for g in groups):
            return x[0], Clause("system", [g[0] for g in groups])
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
        if self._is_ion(i):
            return i + 2, Clause("problem", "an oxidation state cannot be asked for; say which elements or a formula")
        cmp = self.word(i, "lt", "le", "gt", "ge", "exactly")
        q = self.number(cmp[0] if cmp else i)
        if q and self.sign(q[0], "of") and (found := self.items(q[0] + 1, sure=True)) and (cmp or q[1] != 1):
            return found[0], Clause("problem", "how many of a list cannot be asked for; at least one of it, or all, can")
        found = self.item(i, sure=False)
        if found is None and i < self.n and self.tokens[i].text.capitalize() in NUMBER and self.sign(i + 1, "-"):
            found = self.element(i, True)
        if found and self._suffixed(found[0]):
            j = self.after_hyphen(found[0])
            if e := self.word(j, "bad_suffix"):
                if not (e[2] == "type"):
                    return e[0], Clause("problem", f"{e[2]!r} after an element cannot be asked for; say which elements or a formula")
        return None

    def _is_ion(self, i: int) -> bool:
        """Fe3+, O2-: a symbol with a number and a sign that nothing follows."""
        if i + 1 >= self.n or self.tokens[i].kind != "word" or not self.sign(i + 1, "+", "-") or self.tokens[i + 1].start != self.tokens[i].end:
            return False
        text = normalised(self.tokens[i].text)
        bare = text.rstrip("0123456789")
        return bare != text and bare in NUMBER and not (i + 2 < self.n and self.tokens[i + 2].start == self.tokens[i + 1].end and self.tokens[i + 2].kind != "sign")

    def free(self, i: int):
        found = self.items(i, sure=i < self.n and self.tokens[i].text not in AMBIGUOUS, suffix=True, adjacent=False)
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
            some = self.word(j, "any_of")
            k = self._articles(some[0] if some else j)
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
            if self.tokens[i].kind != "cjk" and self.word(end, "class", "prototype") and not self.word(end, "free"):
                return None  # "no lead halides" excludes a combination, not lead
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
        named = self.item(j, True)
        if named and (whole := self.word(named[0], "class", "prototype")):
            return whole[0], Clause("problem", "excluding a combination cannot be expressed; exclude elements or one class")
        inner = self.clause(j, negated=True)
        if inner:
            return inner[0], Clause("problem", "this exclusion cannot be expressed")
        k = j
        while k < self.n and k - j < 6 and not self.sign(k, ",", ".", ";", "、", "。", "，") and not self.word(k, "and", "or", "without", "contain", "lt", "le", "gt", "ge"):
            k += 1
            if self.tokens[k - 1].kind == "cjk" and k - j >= 2:
                break
        while k < self.n and k - j < LONGEST_LIST:  # the rest of a list is not wanted either
            join, m = self._joiner(k)
            named = self.item(m, True) if join is not None else None
            if named is None or self._suffixed(named[0]) or self.word(self.after_hyphen(named[0]), "class", "prototype"):
                break
            k = named[0]
        if k > j or e[1] == "not" or self.tokens[i].norm not in ("minus", "除"):
            return max(k, e[0]), Clause("problem", "this exclusion cannot be expressed")
        return None

    def absent(self, i: int):
        """"Fe is absent", "铅除外"."""
        found = self.items(i)
        if found and (a := self.word(self.skip(found[0], "is", "are", "being", "must", "should", "be", most=2), "absent")):
            return a[0], Clause("exclude", [x for g in found[1] for x in g])
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
