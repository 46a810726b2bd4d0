"""Clauses to an Ask: what each clause means in words, how they add up, and which of them contradict each other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf

from ..archive.records import Ask, Limit
from ..base.elements import DEFAULT_MASK, MAX_Z, NUMBER, symbol
from ..base.errors import BadInput
from . import lexicon as words
from .wish_phrases import Bound, Clause, Item, Range, clean
from .wish_tokens import anonymous_of


def names_of(numbers) -> str:
    """Symbols in order of atomic number."""
    return " ".join(symbol(z) for z in sorted(numbers))


def _said(item: Item) -> str:
    if not item.is_group:
        return item.name
    if item.name in words.GROUPS:
        return words.GROUPS[item.name].words[0]
    return f"{item.name}s ({names_of(item.numbers)})"


def _said_zh(item: Item) -> str:
    if not item.is_group:
        return item.name
    if item.name in words.GROUPS:
        return words.GROUPS[item.name].words_zh[0]
    return words.CLASSES[item.name].words_zh[0] + f" ({names_of(item.numbers)})"


def span_text(low, high, unit: str = "") -> str:
    """A range in words: "1 to 2 eV", "at most 3"."""
    u = f" {unit}" if unit else ""
    if low is not None and high is not None:
        return f"{low:g}{u}" if low == high else f"{low:g} to {high:g}{u}"
    return f"at most {high:g}{u}" if low is None else f"at least {low:g}{u}"


def span_text_zh(low, high, unit: str = "") -> str:
    u = f" {unit}" if unit else ""
    if low is not None and high is not None:
        return f"{low:g}{u}" if low == high else f"{low:g} 到 {high:g}{u}"
    return f"不超过 {high:g}{u}" if low is None else f"不低于 {low:g}{u}"


_ANIONS = [NUMBER[s] for s in "B Ge Si C Sb As P H Te Se S I Br Cl N O F".split()]


def formula_text(counts) -> str:
    """Amounts as a formula: metals by atomic number, then the rest from the least to the most electronegative."""
    order = sorted(counts, key=lambda p: (_ANIONS.index(p[0]) + 1 if p[0] in _ANIONS else 0, p[0]))
    return "".join(symbol(z) + (str(n) if n > 1 else "") for z, n in order)


def prototype_zh(name: str) -> str:
    """The Chinese name of a structure type, its English one where there is none."""
    chinese = words.PROTOTYPES[name][1].split() if name in words.PROTOTYPES else []
    return chinese[0] if chinese else name.replace("_", " ")


def convert(name: str, bound: Bound | None) -> tuple[float | None, str]:
    """The bound in the unit at rest of property `name`, and a problem ("" if none)."""
    if bound is None:
        return None, ""
    p = words.PROPERTIES[name]
    if bound.unit is None:
        return bound.value, ""
    dimension, factor, offset, per = words.lexicon().units[bound.unit]
    if dimension != p.dimension:
        return None, f"{name} is given in {words.DIMENSION_UNITS[p.dimension]}, got {bound.unit}"
    if per == words.FORMULA_UNIT:
        return None, f"{name} is counted per atom, got {bound.unit}"
    if per == words.ATOM and not (p.unit.endswith("/atom") or name.endswith("_per_atom")):
        return None, f"{name} is not counted per atom, got {bound.unit}"
    return clean(bound.value * factor + offset), ""


def limit_of(name: str, r: Range) -> tuple[Limit | None, str, list[tuple[str, str]]]:
    """The limit a range sets, a problem ("" if none) and notes on what was assumed."""
    notes = []
    if name == "magnetic_moment" and any(b is not None and b.unit and words.lexicon().units[b.unit][3] == words.ATOM for b in (r.low, r.high)):
        name = "magnetic_moment_per_atom"
    low, problem = convert(name, r.low)
    high, problem2 = convert(name, r.high)
    if problem or problem2:
        return None, problem or problem2, notes
    unit = words.PROPERTIES[name].unit
    if name == "energy_above_hull" and (r.bare or r.about):
        low = None
        notes.append((f"{name}: the number alone is taken as the most", f"{name}: 单独的数值作为上限"))
    elif r.bare or r.about:
        width = abs(high) * words.ABOUT
        low, high = clean(low - width), clean(high + width)
        notes.append((f"{name}: a single value is taken as ± {words.ABOUT:.0%}", f"{name}: 单个数值按 ± {words.ABOUT:.0%} 处理"))
    if unit and all(b is None or b.unit is None for b in (r.low, r.high)):
        notes.append((f"{name}: no unit was given, {unit} is taken", f"{name}: 未给单位, 按 {unit} 处理"))
    if low is not None and high is not None and low > high:
        low, high = high, low
        notes.append((f"{name}: the ends of the range were exchanged", f"{name}: 区间两端已互换"))
    if (low is not None and not abs(low) < inf) or (high is not None and not abs(high) < inf):
        return None, "the number is too large", notes
    return Limit(name, low, high, unit), "", notes


@dataclass
class _Sum:
    """What the clauses add up to, each part with the clause it came from."""

    required: dict[int, Clause] = field(default_factory=dict)
    any_of: list[tuple[frozenset[int], Clause]] = field(default_factory=list)
    excluded: dict[int, Clause] = field(default_factory=dict)
    avoided: dict[int, Clause] = field(default_factory=dict)
    only: list[tuple[frozenset[int], Clause]] = field(default_factory=list)
    metals_only: Clause | None = None
    named: set[int] = field(default_factory=set)
    lifted: set[int] = field(default_factory=set)
    from_class: set[int] = field(default_factory=set)
    n_elements: list[tuple[int | None, int | None, Clause]] = field(default_factory=list)
    atoms: list[tuple[int | None, int | None, Clause]] = field(default_factory=list)
    groups: list[tuple[frozenset[int], Clause]] = field(default_factory=list)
    prototypes: list[tuple[tuple[str, ...], Clause]] = field(default_factory=list)
    formula: tuple[tuple, Clause] | None = None
    anonymous: tuple[str, Clause] | None = None
    amounts: dict[int, int] = field(default_factory=dict)
    limits: dict[str, list[tuple[Limit, Clause]]] = field(default_factory=dict)
    words_for: dict[str, list[tuple[Limit, Clause]]] = field(default_factory=dict)  # limits that adjectives stand for
    count: tuple[int, Clause] | None = None
    seconds: tuple[float, Clause] | None = None
    novel: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)


class Adder:
    """Adds clauses one by one; `quote` gives the words of a clause for errors."""

    def __init__(self, quote):
        self.sum, self.quote = _Sum(), quote

    def clash(self, what: str, *clauses: Clause):
        quoted = " and ".join(dict.fromkeys(f"'{self.quote(c)}'" for c in clauses))
        raise BadInput(f"{quoted}: {what}", "wish")

    def add(self, c: Clause) -> tuple[str, str] | str:
        """The meaning in English and Chinese; a plain string is a problem."""
        return getattr(self, f"_{c.kind}")(c)

    def _problem(self, c):
        return c.value

    def _bad(self, c):
        raise BadInput(f"'{self.quote(c)}': {c.value}", "wish")

    def _name(self, items: list[Item]):
        for x in items:
            if not x.is_group:
                self.sum.named |= x.numbers
                self.sum.lifted |= x.numbers
            elif x.numbers <= DEFAULT_MASK:
                self.sum.lifted |= x.numbers

    def _need(self, numbers: frozenset[int], c: Clause):
        if len(numbers) == 1:
            self.sum.required.setdefault(next(iter(numbers)), c)
        else:
            self.sum.any_of.append((numbers, c))

    def _require(self, c):
        en, zh = [], []
        for group in c.value:
            self._name(group)
            self._need(frozenset().union(*(x.numbers for x in group)), c)
            one = len(group) == 1 and not group[0].is_group
            en.append(f"contains {_said(group[0])}" if one else "contains at least one of " + ", ".join(map(_said, group)))
            zh.append(f"含 {_said_zh(group[0])}" if one else "至少含其一: " + ", ".join(map(_said_zh, group)))
        return "; ".join(en), "; ".join(zh)

    def _exclude(self, c):
        for x in c.value:
            for z in x.numbers:
                self.sum.excluded.setdefault(z, c)
        return "contains no " + ", ".join(map(_said, c.value)), "不含 " + ", ".join(map(_said_zh, c.value))

    def _only(self, c):
        self._name(c.value)
        self.sum.only.append((frozenset().union(*(x.numbers for x in c.value)), c))
        return "no elements but " + ", ".join(map(_said, c.value)), "只含 " + ", ".join(map(_said_zh, c.value)) + " 中的元素"

    def _system(self, c):
        numbers = frozenset().union(*(x.numbers for x in c.value))
        self._name(c.value)
        self.sum.only.append((numbers, c))
        for z in numbers:
            self.sum.required.setdefault(z, c)
        self.sum.n_elements.append((len(numbers), len(numbers), c))
        return f"exactly the elements {names_of(numbers)}", f"恰好由 {names_of(numbers)} 组成"

    def _class(self, c):
        classes = [words.CLASSES[n] for n in dict.fromkeys(c.value)]
        shown, shown_zh = " or ".join(dict.fromkeys(c.value)), " 或 ".join(k.words_zh[0] if k.words_zh else n for n, k in zip(dict.fromkeys(c.value), classes, strict=True))
        if len(classes) > 1 and any(k.only for k in classes):
            return "metals and other classes as alternatives need two wishes"
        common = frozenset.intersection(*(frozenset(k.need) for k in classes))
        rest = [[s for s in k.need if s not in common] for k in classes]
        if any(len(r) > 1 for r in rest) and any(r for r in rest) and len(classes) > 1:
            return "these classes as alternatives need a wish each"
        needs = list(common)
        if all(rest) and rest:
            needs.append(frozenset().union(*(r[0] for r in rest)))
        for s in sorted(needs, key=sorted):
            self._need(s, c)
            self.sum.from_class |= s
        for z in frozenset.intersection(*(k.avoid for k in classes)):
            self.sum.avoided.setdefault(z, c)
        if classes[0].only is not None:
            self.sum.metals_only = c
            self.sum.n_elements.append((classes[0].fewest, None, c))
            return f"{shown}: metals only, two at least", f"{shown_zh}: 仅含金属, 至少两种"
        need = " and ".join(names_of(s) if len(s) == 1 else "one of " + names_of(s) for s in sorted(needs, key=sorted))
        need_zh = " 和 ".join(names_of(s) if len(s) == 1 else names_of(s) + " 之一" for s in sorted(needs, key=sorted))
        avoid = frozenset.intersection(*(k.avoid for k in classes)) - frozenset().union(*needs) if needs else frozenset()
        return (f"{shown}: holds {need}" + (f", no {names_of(avoid)}" if avoid else ""), f"{shown_zh}: 含 {need_zh}" + (f", 不含 {names_of(avoid)}" if avoid else ""))

    def _prototype(self, c):
        names = tuple(sorted(set(c.value)))
        self.sum.prototypes.append((names, c))
        for name in c.about.get("class", []):
            self._class(Clause("class", [name], c.start, c.end))
        shown = " or ".join(n.replace("_", " ") for n in names)
        zh = " 或 ".join(prototype_zh(n) for n in names)
        return f"structure type {shown}", f"结构类型 {zh}"

    def _number_range(self, c, kind, noun, noun_zh):
        low, high = c.value
        if low is not None and high is not None and low > high:
            low, high = high, low
        if (high is not None and high < 1) or (low is not None and low > (MAX_Z if kind == "n_elements" else 10**5)):
            raise BadInput(f"'{self.quote(c)}': a crystal cannot have {span_text(low, high)} {noun}", "wish")
        low = None if low is not None and low < 1 else low
        getattr(self.sum, kind).append((low, high, c))
        return f"{span_text(low if low is not None or high is not None else 1, high)} {noun}", f"{noun_zh} {span_text_zh(low if low is not None or high is not None else 1, high)}"

    def _n_elements(self, c):
        return self._number_range(c, "n_elements", "elements", "元素种数")

    def _atoms(self, c):
        return self._number_range(c, "atoms", "atoms in the primitive cell", "原胞原子数")

    def _limit(self, c):
        name, r = c.value
        limit, problem, notes = limit_of(name, r)
        if problem:
            return problem
        self.sum.limits.setdefault(limit.name, []).append((limit, c))
        self.sum.notes += notes
        return self._limit_words(limit)

    def _limit_words(self, limit: Limit):
        zh = words.PROPERTIES[limit.name].words_zh[0]
        return f"{limit.name} {span_text(limit.low, limit.high, limit.unit)}", f"{zh} {span_text_zh(limit.low, limit.high, limit.unit)}"

    def _preset(self, c):
        name, low, high, en, zh = words.PRESETS[c.value]
        limit = Limit(name, low, high, words.PROPERTIES[name].unit)
        self.sum.words_for.setdefault(name, []).append((limit, c))
        said, said_zh = self._limit_words(limit)
        return f"{en.split(', ')[0]}: {said}", f"{zh.split()[0]}: {said_zh}"

    def _stability(self, c):
        low, high = {"stable": (None, words.STABLE_LIMIT), "metastable": (None, words.METASTABLE_LIMIT), "unstable": (words.METASTABLE_LIMIT, None)}[c.value]
        limit = Limit("energy_above_hull", low, high, "eV/atom")
        self.sum.words_for.setdefault(limit.name, []).append((limit, c))
        said, said_zh = self._limit_words(limit)
        zh = {"stable": "稳定", "metastable": "亚稳", "unstable": "不稳定"}[c.value]
        return f"{c.value}: {said}", f"{zh}: {said_zh}"

    def _symmetry(self, c):
        self.sum.groups.append((c.value, c))
        if not c.value:
            raise BadInput(f"'{self.quote(c)}': no space group is all of these at once", "wish")
        n = len(c.value)
        about = c.about
        if "numbers" in about:
            label = ", ".join(f"{g} ({words.SPACE_GROUPS[g - 1]})" for g in about["numbers"][:6]) + (", ..." if len(about["numbers"]) > 6 else "")
            return f"space group {label}", f"空间群 {label}"
        if "point" in about:
            return f"point group {about['point']}: {n} space groups", f"点群 {about['point']}: {n} 个空间群"
        names = about.get("names") or about.get("not", [])
        zh = [words.SYMMETRY_WORDS[x][1].split()[0] for x in names]
        if "not" in about:
            return f"not {' or '.join(names)}: {n} space groups", f"非{'、'.join(zh)}: {n} 个空间群"
        return f"{(' or ' if about['either'] else ' and ').join(names)}: {n} space groups", f"{('或' if about['either'] else '且').join(zh)}: {n} 个空间群"

    def _formula(self, c):
        if self.sum.formula and self.sum.formula[0] != c.value:
            self.clash("two formulas cannot hold at once", self.sum.formula[1], c)
        self.sum.formula = (c.value, c)
        self._name([Item(frozenset([z]), symbol(z), False) for z, _ in c.value])
        text = formula_text(c.value)
        return f"composition {text}", f"组成 {text}"

    def _anonymous(self, c):
        anonymous, fixed = c.value
        if self.sum.anonymous and (self.sum.anonymous[0] != anonymous or self.sum.amounts != dict(fixed)):
            self.clash("two formulas cannot hold at once", self.sum.anonymous[1], c)
        self.sum.anonymous, self.sum.amounts = (anonymous, c), dict(fixed)
        for z, _ in fixed:
            self.sum.required.setdefault(z, c)
        self._name([Item(frozenset([z]), symbol(z), False) for z, _ in fixed])
        amounts = ", ".join(f"{n} {symbol(z)}" for z, n in fixed)
        return f"formula of the kind {anonymous}" + (f" with {amounts}" if fixed else ""), f"化学式类型 {anonymous}" + (f", 其中 {amounts}" if fixed else "")

    def _count(self, c):
        if self.sum.count and self.sum.count[0] != c.value:
            self.clash("two numbers of candidates", self.sum.count[1], c)
        if not 1 <= c.value <= 10**6:
            raise BadInput(f"'{self.quote(c)}': the number of candidates is 1 to 1000000", "wish")
        self.sum.count = (c.value, c)
        return f"{c.value} candidates", f"{c.value} 个候选"

    def _seconds(self, c):
        if self.sum.seconds and self.sum.seconds[0] != c.value:
            self.clash("two time limits", self.sum.seconds[1], c)
        if not c.value < 1e9:
            raise BadInput(f"'{self.quote(c)}': the time limit is below 1e9 s", "wish")
        self.sum.seconds = (clean(c.value), c)
        return f"at most {c.value:g} s of computing", f"计算时间不超过 {c.value:g} 秒"

    def _novel(self, c):
        self.sum.novel = True
        return "not among the reference phases", "不在参考相中"

    def _allow(self, c):
        for x in c.value:
            self.sum.lifted |= x.numbers
        return "may contain " + ", ".join(map(_said, c.value)), "允许 " + ", ".join(map(_said_zh, c.value))

    def _allow_all(self, c):
        self.sum.lifted |= set(range(1, MAX_Z + 1))
        return "no element is masked", "不屏蔽任何元素"


def _meet(parts, start, clash, what):
    """The intersection of ranges with open ends; `clash` names the two that do not meet."""
    low, high, low_from, high_from = start[0], start[1], None, None
    for a, b, c in parts:
        if a is not None and (low_from is None or a > low):
            low, low_from = a, c
        if b is not None and (high_from is None or b < high):
            high, high_from = b, c
    if low_from is not None and high_from is not None and low > high:
        clash(f"no crystal has both ({what})", low_from, high_from)
    return low, high, low_from, high_from


def settle(adder: Adder) -> Ask:
    """The Ask of all clauses; BadInput naming the phrases that contradict each other."""
    s, clash, notes = adder.sum, adder.clash, adder.sum.notes

    # formula closes the palette
    if s.formula:
        counts, c = s.formula
        numbers = frozenset(z for z, _ in counts)
        s.only.append((numbers, c))
        for z in numbers:
            s.required.setdefault(z, c)
        s.n_elements.append((len(numbers), len(numbers), c))
    if s.anonymous:
        kinds = sum(ch.isalpha() for ch in s.anonymous[0])
        s.n_elements.append((kinds, kinds, s.anonymous[1]))
        if s.formula:
            if anonymous_of([n for _, n in s.formula[0]]) != s.anonymous[0] or any(dict(s.formula[0]).get(z) != n for z, n in s.amounts.items()):
                clash("the formula is of another kind", s.formula[1], s.anonymous[1])
            s.anonymous, s.amounts = None, {}

    # palette
    for z in sorted(set(s.required) & set(s.excluded)):
        clash(f"{symbol(z)} is wanted and excluded", s.required[z], s.excluded[z])
    allowed = None
    for numbers, c in s.only:
        extended = numbers if s.formula and c is s.formula[1] or c.kind == "system" else numbers | s.from_class
        if allowed is not None and not allowed & extended:
            clash("no element is left", s.only[0][1], c)
        allowed = extended if allowed is None else allowed & extended
    if allowed is not None:
        for z, c in sorted(s.required.items()):
            if z not in allowed:
                closed = next(k for numbers, k in s.only if z not in numbers)
                clash(f"{symbol(z)} is wanted but outside the elements allowed", c, closed)
    if s.metals_only is not None:
        base = words.CLASSES["intermetallic"].only | s.named
        allowed = base if allowed is None else allowed & base
        for z, c in s.required.items():
            if z not in base:
                clash(f"{symbol(z)} is no metal", c, s.metals_only)
    named = s.named | s.from_class
    avoided = {z: c for z, c in s.avoided.items() if z not in named}
    if kept := {z for z in s.avoided if z in s.named}:
        notes.append((f"{names_of(kept)} named, so allowed although the class alone would leave it out", f"已指明 {names_of(kept)}, 因此不按类别排除"))
    masked = DEFAULT_MASK - (s.lifted - set(s.excluded))
    excluded = frozenset(masked | set(s.excluded) | set(avoided))
    every = frozenset(range(1, MAX_Z + 1)) if allowed is None else allowed
    palette = every - excluded

    any_of = []
    for numbers, c in s.any_of:
        if not numbers & palette:
            other = next((s.excluded[z] for z in sorted(numbers) if z in s.excluded), None) or next((k for n, k in s.only if not n & numbers), None) or s.metals_only
            other = other or next((avoided[z] for z in sorted(numbers) if z in avoided), c)
            clash(f"none of {names_of(numbers)} is left", c, other)
        any_of.append(numbers)
    any_of = tuple(sorted(set(any_of), key=sorted))

    # numbers of elements
    low, high, low_from, high_from = _meet(s.n_elements, Ask().n_elements, clash, "number of elements")
    if high_from is None and low > high:
        high = low
        notes.append((f"at most {high} elements, since {low} are wanted", f"最多 {high} 种元素"))
    taken, least = set(s.required), len(s.required)
    for numbers, _ in sorted(s.any_of, key=lambda p: len(p[0])):
        if not numbers & taken:
            taken |= numbers
            least += 1
    if least > high:
        if high_from is not None:
            wanted = next((c for c in [*s.required.values(), *(c for _, c in s.any_of)] if c is not high_from), high_from)
            others = [c for c in [*s.required.values(), *(c for _, c in s.any_of)] if c is not high_from]
            clash(f"{least} elements are wanted, at most {high} allowed", high_from, *(others or [wanted]))
        high = least
        notes.append((f"at most {high} elements, as many as are named", f"最多 {high} 种元素"))
    if len(palette) < low:
        blame = s.only[0][1] if s.only else next(iter(s.excluded.values()), low_from)
        if low_from is None:
            raise BadInput("no element is left: everything is excluded", "wish")
        clash(f"{low} elements wanted, {len(palette)} left", low_from, blame or low_from)
    # atoms
    atoms_low, atoms_high, atoms_low_from, atoms_high_from = _meet(s.atoms, Ask().atoms, clash, "number of atoms")
    if atoms_high_from is None and atoms_low > atoms_high:
        atoms_high = 2 * atoms_low
        notes.append((f"at most {atoms_high} atoms (twice the fewest)", f"最多 {atoms_high} 个原子 (下限的两倍)"))
    fewest, fewest_from = low, low_from
    if s.formula:
        fewest, fewest_from = sum(n for _, n in s.formula[0]), s.formula[1]
    elif s.anonymous:
        fewest, fewest_from = _anonymous_atoms(s.anonymous[0]), s.anonymous[1]
    elif len(s.required) > fewest:
        fewest, fewest_from = len(s.required), next(iter(s.required.values()))
    if fewest > atoms_high:
        if atoms_high_from is not None:
            clash(f"at least {fewest} atoms are needed, at most {atoms_high} allowed", atoms_high_from, fewest_from or atoms_high_from)
        atoms_high = 2 * fewest
        notes.append((f"at most {atoms_high} atoms (two formula units)", f"最多 {atoms_high} 个原子 (两个化学式单元)"))

    # symmetry, structure types
    space_groups, last = None, None
    for numbers, c in s.groups:
        met = numbers if space_groups is None else space_groups & numbers
        if not met:
            other = next((k for n, k in s.groups if k is not c and not n & numbers), last)
            clash("no space group is both", other, c)
        space_groups, last = met, c
    space_groups = frozenset() if space_groups is None or space_groups == words.ALL_GROUPS else space_groups
    prototypes: tuple[str, ...] = ()
    for names, c in s.prototypes:
        met = tuple(n for n in names if not prototypes or n in prototypes)
        if not met:
            clash("no structure is both", s.prototypes[0][1], c)
        prototypes = met

    # limits: a number beats an adjective
    limits = []
    for name in sorted(set(s.limits) | set(s.words_for)):
        parts = s.limits.get(name) or s.words_for[name]
        if name in s.limits and name in s.words_for:
            adjective, number = s.words_for[name], s.limits[name]
            if name != "energy_above_hull":
                parts = adjective + number
            else:
                notes.append((f"'{adder.quote(adjective[0][1])}' is read as the limit given in '{adder.quote(number[0][1])}'", f"“{adder.quote(adjective[0][1])}”按“{adder.quote(number[0][1])}”处理"))
        low_, high_, *_ = _meet([(x.low, x.high, c) for x, c in parts], (None, None), clash, name)
        limits.append(Limit(name, low_, high_, words.PROPERTIES[name].unit))

    return Ask(required=frozenset(s.required), any_of=any_of, allowed=None if allowed is None else frozenset(allowed), excluded=excluded, n_elements=(low, high), atoms=(atoms_low, atoms_high),
               formula=s.formula[0] if s.formula else None, anonymous=s.anonymous[0] if s.anonymous else "", amounts=tuple(sorted(s.amounts.items())) if s.anonymous else (),
               space_groups=space_groups, prototypes=prototypes, limits=tuple(limits))


def _anonymous_atoms(text: str) -> int:
    total, digits = 0, ""
    for ch in text + "A":
        if ch.isdigit():
            digits += ch
        else:
            total += int(digits or 1)
            digits = ""
    return total - 1


def completed(ask: Ask) -> Ask:
    """The Ask with what its formula implies filled in (elements, their number, amounts), as `understand` writes it."""
    if ask.formula is not None:
        numbers = frozenset(z for z, _ in ask.formula)
        return replace(ask, formula=tuple(sorted(ask.formula)), required=numbers, allowed=numbers, excluded=ask.excluded - numbers, n_elements=(len(numbers),) * 2, anonymous="", amounts=())
    if ask.anonymous:
        kinds = sum(ch.isalpha() for ch in ask.anonymous)
        fixed = frozenset(z for z, _ in ask.amounts)
        return replace(ask, required=ask.required | fixed, excluded=ask.excluded - fixed, n_elements=(kinds, kinds), amounts=tuple(sorted(ask.amounts)))
    return ask
