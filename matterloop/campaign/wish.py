"""A wish: what a sentence or a TOML file asks of a crystal, with what was understood, ignored and not understood; and back into words."""

from __future__ import annotations

import difflib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from ..archive.records import Ask, Limit
from ..base.elements import DEFAULT_MASK, MAX_Z, NUMBER, symbol
from ..base.errors import BadInput
from . import lexicon as words
from .grammar import Parser
from .lexicon import checkable as computed, lexicon
from .meaning import Adder, completed, formula_text, names_of, prototype_zh, settle, span_text, span_text_zh
from .wish_tokens import Token, anonymous_of, parse_formula, reduced_counts, tokenise

LONGEST = 100_000  # characters of a sentence
MOST_SUGGESTIONS = 20  # unknown words that get a did-you-mean


@dataclass(frozen=True)
class Phrase:
    """A stretch of the sentence, characters span[0] to span[1], and what it means (or why it was not understood)."""

    span: tuple[int, int]
    text: str
    meaning: str = ""
    meaning_zh: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Wish:
    """What is wanted, how many, in what time, and how the sentence was read.

    Every character that is not blank lies in exactly one of `phrases` (understood), `ignored` (words without a meaning of their own)
    and `not_understood`; a wish from a file has none of them.

    count           number of candidates wanted, None if not said
    seconds         time limit, None if not said
    novel_required  whether known phases are unwanted
    unchecked       names of limits that are kept but that nothing can check yet
    notes           what was assumed: English, Chinese
    """

    ask: Ask = field(default_factory=Ask)
    count: int | None = None
    seconds: float | None = None
    novel_required: bool = False
    phrases: tuple[Phrase, ...] = ()
    ignored: tuple[Phrase, ...] = ()
    not_understood: tuple[Phrase, ...] = ()
    unchecked: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    sentence: str = ""

    def describe(self, language: str = "en") -> list[str]:
        """The wish as lines for a report, in English ("en") or Chinese ("zh")."""
        if language not in ("en", "zh"):
            raise BadInput(f"language is {language!r}, allowed are 'en' and 'zh'", "describe")
        zh = language == "zh"
        lines = _ask_lines(self.ask, zh)
        if self.novel_required:
            lines.append("新颖: 不在参考相中" if zh else "novel: not among the reference phases")
        if self.count is not None:
            lines.append(f"候选数: {self.count}" if zh else f"candidates: {self.count}")
        if self.seconds is not None:
            lines.append(f"时间: {self.seconds:g} 秒" if zh else f"time: {self.seconds:g} s")
        for p in self.phrases:
            lines.append(f"理解 “{p.text}”: {p.meaning_zh or p.meaning}" if zh else f"understood '{p.text}': {p.meaning}")
        if self.ignored:
            lines.append(("无独立含义: " if zh else "without a meaning of their own: ") + " ".join(p.text for p in self.ignored))
        for p in self.not_understood:
            lines.append(f"未能理解 “{p.text}”: {p.meaning_zh or p.meaning}" if zh else f"not understood '{p.text}': {p.meaning}")
        for name in self.unchecked:
            lines.append(f"已理解, 目前无法检验: {words.PROPERTIES[name].words_zh[0]}" if zh else f"understood, cannot be checked yet: {name}")
        lines += [(f"说明: {n[1]}" if zh else f"note: {n[0]}") for n in self.notes]
        return lines

    def to_toml(self) -> str:
        """The wish as a strict TOML spec; `from_toml` gives back an equal wish."""
        return _to_toml(self)


def _ask_lines(ask: Ask, zh: bool) -> list[str]:
    lines = []

    def say(en, chinese):
        lines.append(chinese if zh else en)

    if ask.formula:
        text = formula_text(ask.formula)
        say(f"composition: {text}", f"组成: {text}")
    if ask.anonymous:
        fixed = ", ".join(f"{n} {symbol(z)}" for z, n in ask.amounts)
        say(f"formula type: {ask.anonymous}" + (f" with {fixed}" if fixed else ""), f"化学式类型: {ask.anonymous}" + (f", 其中 {fixed}" if fixed else ""))
    if ask.required:
        say(f"contains: {names_of(ask.required)}", f"必须含: {names_of(ask.required)}")
    for group in ask.any_of:
        say(f"contains at least one of: {names_of(group)}", f"至少含其一: {names_of(group)}")
    if ask.allowed is not None:
        say(f"only: {names_of(ask.allowed)}", f"仅允许: {names_of(ask.allowed)}")
    if extra := ask.excluded - DEFAULT_MASK:
        say(f"contains no: {names_of(extra)}", f"不含: {names_of(extra)}")
    if lifted := DEFAULT_MASK - ask.excluded:
        say(f"allowed although masked by default: {names_of(lifted)}", f"解除默认屏蔽: {names_of(lifted)}")
    if rest := DEFAULT_MASK & ask.excluded:
        say(f"default element mask: {names_of(rest)}", f"默认元素屏蔽: {names_of(rest)}")
    say(f"elements: {span_text(*ask.n_elements)}", f"元素种数: {span_text_zh(*ask.n_elements)}")
    say(f"atoms in the primitive cell: {span_text(*ask.atoms)}", f"原胞原子数: {span_text_zh(*ask.atoms)}")
    if ask.space_groups:
        text = _ranges(ask.space_groups)
        say(f"space groups: {text}", f"空间群: {text}")
    if ask.prototypes:
        say("structure type: " + " or ".join(p.replace("_", " ") for p in ask.prototypes),
            "结构类型: " + " 或 ".join(map(prototype_zh, ask.prototypes)))
    for x in ask.limits:
        label = words.PROPERTIES[x.name].words_zh[0] if x.name in words.PROPERTIES else x.name
        say(f"{x.name}: {span_text(x.low, x.high, x.unit)}", f"{label}: {span_text_zh(x.low, x.high, x.unit)}")
    return lines


def _ranges(numbers) -> str:
    """Whole numbers with runs shortened: "1, 195-230"."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


# ---- from a sentence -----------------------------------------------------------------------------------------------------------------------


def understand(sentence: str, checkable: frozenset[str] | None = None) -> Wish:
    """Read a sentence, English or Chinese, into a Wish.

    sentence   up to 100,000 characters
    checkable  names of the properties that something can compute (those measured or predicted by what ships, if absent); limits on others are kept and listed
               in `unchecked`

    BadInput if it is empty, no text, or if two of its phrases contradict each other (both are quoted).
    """
    if not isinstance(sentence, str):
        raise BadInput(f"a sentence is text, got {type(sentence).__name__}", "wish")
    if len(sentence) > LONGEST:
        raise BadInput(f"the sentence has {len(sentence)} characters, at most {LONGEST} are read; use a TOML file", "wish")
    if any("\ud800" <= c <= "\udfff" or c == "\x00" for c in sentence):
        raise BadInput("the sentence holds characters that are no text (broken encoding)", "wish")
    tokens = tokenise(sentence)
    if not any(t.kind != "sign" for t in tokens):
        raise BadInput('the wish is empty; say for instance "stable ternary lithium oxides with fewer than 12 atoms"', "wish")
    clauses, filler, unknown = Parser(tokens).parse()

    def stretch(start, end):
        return tokens[start].start, tokens[end - 1].end

    def quote(c):
        a, b = stretch(c.start, c.end)
        return _short(sentence[a:b])

    adder, phrases, missed = Adder(quote), [], []
    for c in clauses:
        span = stretch(c.start, c.end)
        meaning = adder.add(c)
        if isinstance(meaning, str):
            missed.append(Phrase(span, sentence[span[0]:span[1]], meaning, words.REASONS_ZH.get(meaning, "")))
        else:
            phrases.append(Phrase(span, sentence[span[0]:span[1]], *meaning))
    missed += _unknown_phrases(sentence, tokens, unknown)
    ask = settle(adder)
    s = adder.sum
    return Wish(
        ask, s.count[0] if s.count else None, s.seconds[0] if s.seconds else None, s.novel, tuple(phrases),
        tuple(Phrase((tokens[i].start, tokens[i].end), tokens[i].text) for i in filler), tuple(sorted(missed, key=lambda p: p.span)),
        tuple(x.name for x in ask.limits if x.name not in (computed() if checkable is None else checkable)), tuple(dict.fromkeys(s.notes)), sentence)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:60] + " ... " + text[-15:]


def _unknown_phrases(sentence: str, tokens: list[Token], unknown: list[int]) -> list[Phrase]:
    """Unknown tokens as phrases, with the nearest known words; neighbouring Chinese characters and signs are one phrase."""
    groups: list[list[int]] = []
    for i in unknown:
        if groups and i == groups[-1][-1] + 1 and tokens[i].start == tokens[i - 1].end and tokens[i].kind == tokens[i - 1].kind and tokens[i].kind in ("cjk", "sign"):
            groups[-1].append(i)
        else:
            groups.append([i])
    found, asked = [], 0
    known: dict[str, str] = {}
    for g in groups:
        t = tokens[g[0]]
        span = (t.start, tokens[g[-1]].end)
        if t.kind == "number":
            why = "a number that belongs to nothing"
        elif t.kind == "unit":
            why = "a unit without a number"
        elif t.norm in ("or", "either", "或"):
            why = "alternatives between different kinds of words cannot be expressed; both sides are taken as wanted"
        elif t.norm in known:
            why = known[t.norm]
        else:
            why = "unknown word" if t.kind != "sign" else "unknown sign"
            if t.kind == "word" and 3 < len(t.norm) < 30 and asked < MOST_SUGGESTIONS:
                asked += 1
                close = difflib.get_close_matches(t.norm, lexicon().suggestions, n=2, cutoff=0.75)
                if close:
                    why = "did you mean " + " or ".join(f"'{w}'" for w in close) + "?"
            elif t.kind == "word" and t.text.capitalize() in NUMBER:
                why = f"did you mean {t.text.capitalize()}?"
            known[t.norm] = why
        found.append(Phrase(span, sentence[span[0]:span[1]], why, words.REASONS_ZH.get(why, why.replace("did you mean", "是否指"))))
    return found


# ---- into a sentence -----------------------------------------------------------------------------------------------------------------------

_PLACEHOLDERS = "MXRDEA"


def _word(z: int) -> str:
    """The symbol of an element; nobelium by its name, since No is a word."""
    return "nobelium" if z == 102 else symbol(z)


def sentence(ask: Ask) -> str:
    """The Ask in English words that `understand` reads back as the same Ask (completed by `meaning.completed`).

    BadInput where words fail: an unknown property or unit, amounts that do not fit the anonymous formula.
    """
    ask = completed(ask)
    parts: list[str] = []
    if ask.prototypes:
        parts.append(" or ".join(ask.prototypes))
    if ask.formula:
        parts.append("formula " + formula_text(ask.formula))
    else:
        if ask.anonymous:
            parts.append("formula " + _anonymous_text(ask))
        if ask.required:
            parts.append("containing " + " and ".join(_word(z) for z in sorted(ask.required)))
        if ask.allowed is not None:
            parts.append("with only " + ", ".join(_word(z) for z in sorted(ask.allowed)))
        if ask.n_elements != Ask().n_elements:
            low, high = ask.n_elements
            parts.append(f"{low} elements" if low == high else f"{low} to {high} elements")
    for group in ask.any_of:
        parts.append("containing at least one of " + ", ".join(_word(z) for z in sorted(group)))
    if ask.atoms != Ask().atoms:
        low, high = ask.atoms
        parts.append(f"{low} atoms" if low == high else f"{low} to {high} atoms")
    mentioned = frozenset().union(ask.required, ask.allowed or (), *ask.any_of)
    if gone := (ask.excluded - DEFAULT_MASK) | (ask.excluded & DEFAULT_MASK & mentioned):
        parts.append("without " + ", ".join(_word(z) for z in sorted(gone)))
    if lifted := DEFAULT_MASK - ask.excluded - ask.required:
        parts.append("allowing " + ", ".join(_word(z) for z in sorted(lifted)))
    if ask.space_groups:
        parts.append("space groups " + _ranges(ask.space_groups))
    for x in ask.limits:
        if x.name not in words.PROPERTIES or x.unit != words.PROPERTIES[x.name].unit:
            raise BadInput(f"the limit on {x.name!r} in {x.unit!r} cannot be said in words", "sentence")
        unit = f" {x.unit}" if x.unit else ""
        if x.low is not None and x.high is not None:
            parts.append(f"{x.name} between {x.low!r} and {x.high!r}{unit}")
        elif x.low is not None or x.high is not None:
            parts.append(f"{x.name} at least {x.low!r}{unit}" if x.high is None else f"{x.name} at most {x.high!r}{unit}")
    return "; ".join(parts) if parts else "any crystal"


def _anonymous_text(ask: Ask) -> str:
    """The anonymous formula with the fixed amounts written as elements."""
    letters, digits, counts = "", "", []
    for ch in ask.anonymous + "A":
        if ch.isdigit():
            digits += ch
        else:
            if letters:
                counts.append(int(digits or 1))
            letters, digits = ch, ""
    if not ask.amounts:
        return ask.anonymous
    for _, n in ask.amounts:
        if n not in counts:
            raise BadInput(f"an amount of {n} is not in {ask.anonymous}", "sentence")
        counts.remove(n)
    if len(counts) > 5 or not counts:
        raise BadInput(f"{ask.anonymous} with {len(ask.amounts)} amounts cannot be said in words", "sentence")
    text = "".join(_PLACEHOLDERS[i] + (str(n) if n > 1 else "") for i, n in enumerate(counts))
    text += "".join(symbol(z) + (str(n) if n > 1 else "") for z, n in ask.amounts)
    return text


# ---- TOML ----------------------------------------------------------------------------------------------------------------------------------

_FIELDS = ("required", "any_of", "allowed", "excluded", "unmasked", "n_elements", "atoms", "formula", "anonymous", "amounts", "space_groups", "prototypes", "limits", "count", "seconds", "novel",
           "unchecked", "sentence", "understood", "ignored", "not_understood", "notes")


def _text(s: str) -> str:
    return json.dumps(s, ensure_ascii=False).replace("\x7f", "\\u007f")


def _symbols(numbers) -> str:
    return "[" + ", ".join(_text(symbol(z)) for z in sorted(numbers)) + "]"


def _to_toml(wish: Wish) -> str:
    a, lines = wish.ask, []
    if wish.sentence:
        lines.append(f"sentence = {_text(wish.sentence)}")
    if a.required:
        lines.append(f"required = {_symbols(a.required)}")
    if a.any_of:
        lines.append("any_of = [" + ", ".join(_symbols(g) for g in a.any_of) + "]")
    if a.allowed is not None:
        lines.append(f"allowed = {_symbols(a.allowed)}")
    if a.excluded - DEFAULT_MASK:
        lines.append(f"excluded = {_symbols(a.excluded - DEFAULT_MASK)}")
    if DEFAULT_MASK - a.excluded:
        lines.append(f"unmasked = {_symbols(DEFAULT_MASK - a.excluded)}")
    lines.append(f"n_elements = [{a.n_elements[0]}, {a.n_elements[1]}]")
    lines.append(f"atoms = [{a.atoms[0]}, {a.atoms[1]}]")
    if a.formula is not None:
        lines.append("formula = " + _text(formula_text(a.formula)))
    if a.anonymous:
        lines.append(f"anonymous = {_text(a.anonymous)}")
    if a.amounts:
        lines.append("amounts = {" + ", ".join(f"{symbol(z)} = {n}" for z, n in a.amounts) + "}")
    if a.space_groups:
        lines.append("space_groups = [" + ", ".join(map(str, sorted(a.space_groups))) + "]")
    if a.prototypes:
        lines.append("prototypes = [" + ", ".join(map(_text, a.prototypes)) + "]")
    if wish.count is not None:
        lines.append(f"count = {wish.count}")
    if wish.seconds is not None:
        lines.append(f"seconds = {float(wish.seconds)!r}")
    if wish.novel_required:
        lines.append("novel = true")
    if wish.unchecked:
        lines.append("unchecked = [" + ", ".join(map(_text, wish.unchecked)) + "]")
    if wish.notes:
        lines.append("notes = [" + ", ".join(f"[{_text(n[0])}, {_text(n[1])}]" for n in wish.notes) + "]")
    for name, found in (("understood", wish.phrases), ("ignored", wish.ignored), ("not_understood", wish.not_understood)):
        if found:
            lines.append(f"{name} = [")
            for p in found:
                more = (f", meaning = {_text(p.meaning)}" if p.meaning else "") + (f", meaning_zh = {_text(p.meaning_zh)}" if p.meaning_zh else "")
                lines.append(f"  {{span = [{p.span[0]}, {p.span[1]}], text = {_text(p.text)}{more}}},")
            lines.append("]")
    for x in a.limits:
        lines.append(f"\n[limits.{_text(x.name)}]")
        lines += [f"{side} = {float(v)!r}" for side, v in (("low", x.low), ("high", x.high)) if v is not None]
        lines.append(f"unit = {_text(x.unit)}")
    return "\n".join(lines) + "\n"


class _Reader:
    """Checked access to the fields of a spec; every error names file and field."""

    def __init__(self, where: str):
        self.where = where

    def bad(self, name: str, message: str):
        raise BadInput(message, f"{self.where}, field {name}")

    def known(self, name: str, table: dict, allowed):
        if not isinstance(table, dict):
            self.bad(name, f"a table is wanted, got {type(table).__name__}")
        for key in table:
            if key not in allowed:
                close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
                hint = f"; did you mean {close[0]!r}?" if close else f"; allowed are {', '.join(allowed)}"
                self.bad(f"{name}.{key}" if name else key, f"unknown key{hint}")

    def list(self, name, value) -> list:
        if not isinstance(value, list):
            self.bad(name, f"a list is wanted, got {value!r}")
        return value

    def text(self, name, value) -> str:
        if not isinstance(value, str):
            self.bad(name, f"text is wanted, got {value!r}")
        return value

    def whole(self, name, value, low, high) -> int:
        if type(value) is not int or not low <= value <= high:
            self.bad(name, f"a whole number from {low} to {high} is wanted, got {value!r}")
        return value

    def real(self, name, value) -> float:
        if type(value) not in (int, float) or not abs(value) < 1e300:
            self.bad(name, f"a number is wanted, got {value!r}")
        return float(value)

    def elements(self, name, value) -> frozenset[int]:
        """Symbols, names of elements or names of groups."""
        found: set[int] = set()
        for x in self.list(name, [value] if isinstance(value, str) else value):
            text = self.text(name, x)
            if text in NUMBER:
                found.add(NUMBER[text])
                continue
            key = text.strip().lower().replace(" ", "_").replace("-", "_")
            group = words.GROUPS.get(key) or words.GROUPS.get(key + "s")
            if group:
                found |= group.numbers
            elif key in words.ELEMENT_NAMES or key in words.OTHER_NAMES:
                found.add(words.OTHER_NAMES.get(key) or words.ELEMENT_NAMES.index(key) + 1)
            else:
                close = difflib.get_close_matches(text, [*NUMBER, *words.ELEMENT_NAMES, *words.GROUPS], n=1, cutoff=0.6)
                self.bad(name, f"no element or group called {text!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return frozenset(found)

    def pair(self, name, value, highest) -> tuple[int, int]:
        if type(value) is int:
            value = [value, value]
        value = self.list(name, value)
        if len(value) != 2:
            self.bad(name, f"two numbers, fewest and most, are wanted, got {value!r}")
        low, high = (self.whole(name, v, 1, highest) for v in value)
        if low > high:
            self.bad(name, f"the fewest, {low}, is above the most, {high}")
        return low, high


def from_toml(source: str | Path) -> Wish:
    """A wish from a TOML spec: a path, or the text itself.

    Keys: required, any_of (lists of lists), allowed, excluded, unmasked (elements by symbol, name or group), n_elements, atoms (number or
    [fewest, most]), formula, anonymous ("ABC3" or "ABO3"), amounts, space_groups (numbers, symbols, crystal systems), prototypes,
    [limits.NAME] low, high, unit; count, seconds, novel. BadInput names file and field; unknown keys get a did-you-mean.
    """
    where, text = "spec", source
    if isinstance(source, Path) or ("\n" not in source and source.strip().lower().endswith(".toml")):
        where = str(source)
        try:
            text = Path(source).read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"not UTF-8 text: {error}", where) from None
        except (OSError, ValueError) as error:
            raise BadInput(f"cannot be read: {error}", where) from None
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise BadInput(f"not valid TOML: {error}", where) from None
    return _from_table(table, _Reader(where))


def _from_table(t: dict, r: _Reader) -> Wish:
    r.known("", t, _FIELDS)
    ask = {}
    if "required" in t:
        ask["required"] = r.elements("required", t["required"])
    if "any_of" in t:
        ask["any_of"] = tuple(sorted({r.elements("any_of", g) for g in r.list("any_of", t["any_of"])}, key=sorted))
    if "allowed" in t:
        ask["allowed"] = r.elements("allowed", t["allowed"])
    unmasked = r.elements("unmasked", t["unmasked"]) if "unmasked" in t else frozenset()
    ask["excluded"] = (DEFAULT_MASK - unmasked) | (r.elements("excluded", t["excluded"]) if "excluded" in t else frozenset())
    if "n_elements" in t:
        ask["n_elements"] = r.pair("n_elements", t["n_elements"], MAX_Z)
    if "atoms" in t:
        ask["atoms"] = r.pair("atoms", t["atoms"], 10**6)
    if "formula" in t:
        found = parse_formula(r.text("formula", t["formula"]))
        counts = reduced_counts(found) if found else None
        if not counts:
            r.bad("formula", f"no formula: {t['formula']!r}")
        ask["formula"] = tuple(sorted((NUMBER[s], n) for s, n in counts.items()))
    amounts: dict[int, int] = {}
    if "anonymous" in t:
        found = parse_formula(r.text("anonymous", t["anonymous"]), placeholders=True)
        counts = reduced_counts(found) if found else None
        if not counts or not any(s.startswith("?") for s in counts) or len(counts) > 26:
            r.bad("anonymous", f"no anonymous formula: {t['anonymous']!r}; ABC3, ABO3 and the like are")
        ask["anonymous"] = anonymous_of(list(counts.values()))
        amounts = {NUMBER[s]: n for s, n in counts.items() if not s.startswith("?")}
    if "amounts" in t:
        r.known("amounts", t["amounts"], tuple(NUMBER))
        amounts |= {NUMBER[s]: r.whole(f"amounts.{s}", n, 1, 400) for s, n in t["amounts"].items()}
    ask["amounts"] = tuple(sorted(amounts.items()))
    if "space_groups" in t:
        ask["space_groups"] = _space_groups(t["space_groups"], r)
    if "prototypes" in t:
        ask["prototypes"] = tuple(sorted({_prototype(p, r) for p in r.list("prototypes", t["prototypes"])}))
    limits = t.get("limits", {})
    r.known("limits", limits, tuple(words.PROPERTIES))
    ask["limits"] = tuple(_limit(name, limits[name], r) for name in sorted(limits))
    try:
        ask = completed(Ask(**ask))
    except BadInput as error:
        raise BadInput(str(error), r.where) from None
    seconds = r.real("seconds", t["seconds"]) if "seconds" in t else None
    if seconds is not None and seconds <= 0:
        r.bad("seconds", f"a time above zero is wanted, got {seconds}")
    if type(t.get("novel", False)) is not bool:
        r.bad("novel", f"true or false is wanted, got {t['novel']!r}")
    notes = tuple((r.text("notes", n[0]), r.text("notes", n[1])) if isinstance(n, list) and len(n) == 2 else r.bad("notes", "pairs of texts are wanted") for n in r.list("notes", t.get("notes", [])))
    unchecked = r.list("unchecked", t["unchecked"]) if "unchecked" in t else [x.name for x in ask.limits if x.name not in computed()]
    return Wish(ask, r.whole("count", t["count"], 1, 10**6) if "count" in t else None, seconds, t.get("novel", False), _phrases("understood", t, r), _phrases("ignored", t, r),
                _phrases("not_understood", t, r), tuple(r.text("unchecked", n) for n in unchecked), notes, r.text("sentence", t.get("sentence", "")))


def _phrases(name: str, t: dict, r: _Reader) -> tuple[Phrase, ...]:
    found = []
    for p in r.list(name, t.get(name, [])):
        r.known(name, p, ("span", "text", "meaning", "meaning_zh"))
        span = r.list(f"{name}.span", p.get("span"))
        if len(span) != 2:
            r.bad(f"{name}.span", f"two numbers are wanted, got {span!r}")
        found.append(Phrase(tuple(r.whole(f"{name}.span", v, 0, LONGEST) for v in span), r.text(f"{name}.text", p.get("text")), r.text(f"{name}.meaning", p.get("meaning", "")),
                            r.text(f"{name}.meaning_zh", p.get("meaning_zh", ""))))
    return tuple(found)


def _space_groups(value, r: _Reader) -> frozenset[int]:
    found: set[int] = set()
    for x in r.list("space_groups", value):
        if isinstance(x, str):
            if x in words.SYMMETRY:
                found |= words.SYMMETRY[x]
            elif x in lexicon().space_groups:
                found.add(lexicon().space_groups[x])
            else:
                close = difflib.get_close_matches(x, [*lexicon().space_groups, *words.SYMMETRY], n=1, cutoff=0.5)
                r.bad("space_groups", f"no space group or crystal system called {x!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        else:
            found.add(r.whole("space_groups", x, 1, 230))
    return frozenset() if found == words.ALL_GROUPS else frozenset(found)


def _prototype(value, r: _Reader) -> str:
    name = r.text("prototypes", value).strip().lower().replace(" ", "_").replace("-", "_")
    known = {*words.PROTOTYPES, *lexicon().type_formulas.values()}
    if name not in known:
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
        r.bad("prototypes", f"no structure type called {value!r}" + (f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"))
    return name


def _limit(name: str, t, r: _Reader) -> Limit:
    where, p = f"limits.{name}", words.PROPERTIES[name]
    r.known(where, t, ("low", "high", "unit"))
    unit = r.text(f"{where}.unit", t.get("unit", p.unit))
    low, high = (r.real(f"{where}.{side}", t[side]) if side in t else None for side in ("low", "high"))
    if unit != p.unit:
        known = lexicon().units.get(unit)
        if known is None or known[0] != p.dimension or known[3] == words.FORMULA_UNIT:
            r.bad(f"{where}.unit", f"{unit!r} does not measure {name}; allowed are {words.DIMENSION_UNITS[p.dimension]}")
        low, high = (None if v is None else float(f"{v * known[1] + known[2]:.12g}") for v in (low, high))
    if low is None and high is None:
        r.bad(where, "give low, high or both")
    if low is not None and high is not None and low > high:
        r.bad(where, f"low, {low}, is above high, {high}")
    return Limit(name, low, high, p.unit)


def read_wish(text: str, checkable: frozenset[str] | None = None) -> Wish:
    """A wish from what a user types: a sentence, or the path of a TOML file."""
    stripped = text.strip() if isinstance(text, str) else text
    if isinstance(stripped, str) and stripped.lower().endswith(".toml") and "\n" not in stripped:
        return from_toml(Path(stripped))
    return understand(text, checkable)
