"""Formulas and what follows from them alone: reading, reducing, naming, masses and oxidation states.

A composition is a dict {atomic number: count} of whole numbers. Electronegativities: L. Pauling's scale as in Allred, J. Inorg. Nucl.
Chem. 17, 215 (1961) with later additions. Masses: Meija et al., Pure Appl. Chem. 88, 265 (2016), the most stable isotope where an
element has no standard mass. Frequencies of oxidation states: counts over ICSD 2024 as distributed by SMACT (Davies et al., J. Open Source
Softw. 4, 1361 (2019)).
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..base.elements import MAX_Z, NUMBER, symbol
from ..base.errors import BadInput, Missing
from ..base.units import AMU_A3_TO_G_CM3

if TYPE_CHECKING:
    from torch import Tensor

    from .state import Crystals

Composition = dict[int, int]

_PAULING = (
    "2.2 - 0.98 1.57 2.04 2.55 3.04 3.44 3.98 - 0.93 1.31 1.61 1.9 2.19 2.58 3.16 - 0.82 1 1.36 1.54 1.63 1.66 1.55 1.83 1.88 1.91 1.9 1.65 1.81 2.01 "
    "2.18 2.55 2.96 3 0.82 0.95 1.22 1.33 1.6 2.16 1.9 2.2 2.28 2.2 1.93 1.69 1.78 1.96 2.05 2.1 2.66 2.6 0.79 0.89 1.1 1.12 1.13 1.14 1.13 1.17 1.2 1.2 "
    "1.1 1.22 1.23 1.24 1.25 1.1 1.27 1.3 1.5 2.36 1.9 2.2 2.2 2.28 2.54 2 1.62 2.33 2.02 2 2.2 2.2 0.7 0.9 1.1 1.3 1.5 1.38 1.36 1.28 1.3 1.3 1.3 1.3 "
    "1.3 1.3 1.3 1.3 1.3 - - - - - - - - - - - - - - -")
ELECTRONEGATIVITY = (math.nan, *(math.nan if x == "-" else float(x) for x in _PAULING.split()))  # Pauling, by atomic number; nan = none
_MASSES = (
    "1.008 4.002602 6.94 9.0121831 10.81 12.011 14.007 15.999 18.998403163 20.1797 22.98976928 24.305 26.9815385 28.085 30.973761998 32.06 35.45 39.948 "
    "39.0983 40.078 44.955908 47.867 50.9415 51.9961 54.938044 55.845 58.933194 58.6934 63.546 65.38 69.723 72.63 74.921595 78.971 79.904 83.798 85.4678 "
    "87.62 88.90584 91.224 92.90637 95.95 97.90721 101.07 102.9055 106.42 107.8682 112.414 114.818 118.71 121.76 127.6 126.90447 131.293 132.90545196 "
    "137.327 138.90547 140.116 140.90766 144.242 144.91276 150.36 151.964 157.25 158.92535 162.5 164.93033 167.259 168.93422 173.054 174.9668 178.49 "
    "180.94788 183.84 186.207 190.23 192.217 195.084 196.966569 200.592 204.38 207.2 208.9804 208.98243 209.98715 222.01758 223.01974 226.02541 227.02775 "
    "232.0377 231.03588 238.02891 237.04817 244.06421 243.06138 247.07035 247.07031 251.07959 252.083 257.09511 258.09843 259.101 262.11 267.122 268.126 "
    "271.134 270.133 269.1338 278.156 281.165 281.166 285.177 286.182 289.19 289.194 293.204 293.208 294.214")
MASS = (0.0, *(float(x) for x in _MASSES.split()))  # amu, by atomic number; 0 for an undecided species

# reading

_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉．", "0123456789.")
_TOKEN = re.compile(r"([A-Z][a-z]?)|([(\[{])|([)\]}])|(\d+(?:\.\d*)?|\.\d+)")
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_CHARGE = re.compile(r"[+\-−⁺⁻]|\^")
MAX_FORMULA = 500  # characters
MAX_COUNT = 1_000_000  # atoms of one element in a formula unit
MAX_MULTIPLIER = 100  # decimals must become whole when multiplied by at most this


def parse_formula(text: str) -> Composition:
    """{atomic number: count} of a chemical formula, in order of appearance; counts stand as written ("Na2Cl2" keeps both twos).

    Understands nested brackets ( ) [ ] { }, subscripts (₂), hydrates ("CuSO4·5H2O", also with `.` or `*`), and decimals that become whole
    numbers when the formula is multiplied by at most 100 ("Li0.5CoO2" gives Li1 Co2 O4; "0.333" is taken as a third). Raises BadInput that shows the place.
    """
    return _whole(parse_amounts(text), f"formula {text!r}")


def parse_amounts(text: str) -> dict[int, float]:
    """{atomic number: amount} of a chemical formula, fractions as they stand ("Fe0.6204C0.0009" keeps both); otherwise as `parse_formula`."""
    if not isinstance(text, str):
        raise BadInput(f"a formula is text, got {type(text).__name__}", "formula")
    if len(text) > MAX_FORMULA:
        raise BadInput(f"{len(text)} characters, allowed are {MAX_FORMULA}", "formula")
    where = f"formula {text!r}"
    clean = "".join(text.translate(_SUBSCRIPTS).split())
    if not clean:
        raise BadInput("it is empty; write for example 'LiFePO4'", where)
    if _CHARGE.search(clean):
        raise BadInput("charges are not part of a composition here; leave the charge out", where)
    amounts: dict[int, float] = {}
    for part in _parts(clean):
        factor, rest = _leading_number(part)
        if not rest:
            raise BadInput(f"{part!r} holds no element" if part else "a part between two dots is empty", where)
        for z, n in _bracketed(rest, where).items():
            amounts[z] = amounts.get(z, 0.0) + factor * n
    return amounts


def _parts(text: str) -> list[str]:
    """Split a hydrate at its dots; a plain '.' is one when a bracket or number follows that starts a new formula ('CuSO4.5H2O')."""
    pieces = re.split(r"[·•⋅∙*]", text)
    out = []
    for piece in pieces:
        out += _split_plain_dot(piece)
    return out


def _split_plain_dot(text: str) -> list[str]:
    """'CuSO4.5H2O' -> ['CuSO4', '5H2O'], but 'Li0.5H2O', 'Fe0.947O' stay whole.

    A '.' with digits on both sides reads as a decimal, unless the digits before it are a whole count of at least 1 and what follows is a
    count of water; '.' not followed by a digit or not preceded by one always separates ('CaSO4.2H2O', 'MgCl2.H2O', 'Na2S.9H2O').
    """
    if "." not in text:
        return [text]
    match = re.fullmatch(r"(.*?[A-Za-z)\]}0-9])\.((?:\d+(?:\.\d+)?)?\(?H2O\)?\d*)", text)
    if match and not re.search(r"(?<![\d.])0$", match[1]):
        return [match[1], match[2]]
    if (cut := re.search(r"\.(?=[A-Z(\[{])", text)) is not None and cut.start() > 0:
        return [text[: cut.start()], *_split_plain_dot(text[cut.end() :])]
    return [text]


def _leading_number(text: str) -> tuple[float, str]:
    match = re.match(r"\d+(?:\.\d+)?", text)
    return (float(match[0]), text[match.end() :]) if match else (1.0, text)


def _bracketed(text: str, where: str) -> dict[int, float]:
    stack: list[tuple[str, dict[int, float]]] = [("", {})]
    group: dict[int, float] = {}  # what a number behind it would multiply; already added to the level above with factor 1
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadInput(f"{text[at:at + 10]!r} is neither an element, a number nor a bracket", where)
        name, opens, closes, amount = match.groups()
        at = match.end()
        if name:
            if name in ("D", "T"):
                raise BadInput(f"isotopes have no symbol of their own here: write H for {name}", where)
            if name not in NUMBER:
                raise BadInput(str(Missing("element", name, NUMBER)), where)
            group = {NUMBER[name]: 1.0}
        elif opens:
            if len(stack) > 20:
                raise BadInput("brackets are nested deeper than 20", where)
            stack.append((opens, {}))
            continue
        elif closes:
            opened, group = stack.pop() if len(stack) > 1 else ("", {})
            if _CLOSES.get(opened) != closes:
                raise BadInput(f"{closes!r} closes no bracket", where)
            if not group:
                raise BadInput("a bracket is empty", where)
        else:
            raise BadInput(f"the number {amount} follows neither an element nor a bracket", where)
        number = _NUMBER.match(text, at)
        factor = 1.0
        if number:
            factor, at = float(number[0]), number.end()
            if factor == 0:
                raise BadInput("a count is zero", where)
        level = stack[-1][1]
        for z, n in group.items():
            level[z] = level.get(z, 0.0) + n * factor
    if len(stack) > 1:
        raise BadInput(f"the bracket {stack[-1][0]!r} is not closed", where)
    return stack[0][1]


def _whole(amounts: dict[int, float], where: str) -> Composition:
    if any(not math.isfinite(n) or n > MAX_COUNT for n in amounts.values()):
        raise BadInput(f"a count is above {MAX_COUNT}", where)
    exact = [(k, 1e-6) for k in range(1, MAX_MULTIPLIER + 1)]
    rounded = [(k, 0.0005 * k) for k in range(2, 13)]  # 0.333 and 0.667 stand for thirds, 0.143 for a seventh
    for k, slack in exact + rounded:
        scaled = {z: k * n for z, n in amounts.items()}
        if all(round(n) >= 1 and abs(n - round(n)) <= slack for n in scaled.values()):
            return {z: round(n) for z, n in scaled.items()}
    raise BadInput(f"the counts do not become whole numbers when multiplied by up to {MAX_MULTIPLIER}", where)


# reducing and naming


def composition_of(source: Composition | str | Iterable[int]) -> Composition:
    """{atomic number: count} of a formula, a composition, or the species (atoms,) of a crystal."""
    if isinstance(source, str):
        return parse_formula(source)
    if isinstance(source, Mapping):
        counts = {int(z): int(n) for z, n in source.items() if n}
    else:
        counts = {}
        for z in source.tolist() if hasattr(source, "tolist") else source:
            counts[int(z)] = counts.get(int(z), 0) + 1
    if not counts or any(not 0 <= z <= MAX_Z or n < 0 for z, n in counts.items()):
        raise BadInput(f"a composition needs atomic numbers 0..{MAX_Z} with positive counts, got {dict(list(counts.items())[:8])}", "composition")
    return counts


def reduced(source: Composition | str | Iterable[int]) -> tuple[tuple[int, int], ...]:
    """((atomic number, count), ...) by ascending atomic number with the greatest common divisor removed."""
    counts = composition_of(source)
    factor = math.gcd(*counts.values())
    return tuple((z, n // factor) for z, n in sorted(counts.items()))


def _by_electronegativity(counts: Mapping[int, int]) -> list[int]:
    return sorted(counts, key=lambda z: (math.inf if math.isnan(ELECTRONEGATIVITY[z]) else ELECTRONEGATIVITY[z], symbol(z)))


def _written(counts: Mapping[int, int], order: list[int]) -> str:
    return "".join(symbol(z) + (str(counts[z]) if counts[z] != 1 else "") for z in order)


# Compounds and elements whose smallest formula is never written: peroxides and diatomic gases.
_KEPT = {"LiO": "Li2O2", "NaO": "Na2O2", "KO": "K2O2", "HO": "H2O2", "CsO": "Cs2O2", "RbO": "Rb2O2", "O": "O2", "N": "N2", "F": "F2", "Cl": "Cl2", "H": "H2"}


def reduced_formula(source: Composition | str | Iterable[int]) -> str:
    """Formula of the smallest unit, elements by rising electronegativity, an anion group in brackets: 'LiFePO4', 'Ca3(PO4)2'.

    The same text as pymatgen's `Composition.reduced_formula`: with three or more elements, the last two form a group when their Pauling
    electronegativities differ by less than 1.65 and their counts share a divisor; peroxides and diatomic gases are not halved.
    """
    counts = dict(reduced(source))
    order = _by_electronegativity(counts)
    group = ""
    if len(order) >= 3 and ELECTRONEGATIVITY[order[-1]] - ELECTRONEGATIVITY[order[-2]] < 1.65:
        shared = math.gcd(counts[order[-1]], counts[order[-2]])
        if shared > 1:
            group = f"({_written({z: counts[z] // shared for z in order[-2:]}, order[-2:])}){shared}"
            order = order[:-2]
    text = _written(counts, order) + group
    return _KEPT.get(text, text)


def anonymous_formula(source: Composition | str | Iterable[int]) -> str:
    """Reduced counts in ascending order with letters for elements: 'NaCl' and 'MgO' give 'AB', 'SrTiO3' gives 'ABC3'.

    More than 26 elements continue with AA, AB, ...
    """
    counts = sorted(n for _, n in reduced(source))
    letters = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    letters += [a + b for a in letters for b in letters]
    return "".join(letter + (str(n) if n != 1 else "") for letter, n in zip(letters, counts))


def mass(source: Composition | str | Iterable[int]) -> float:
    """Mass in amu of the atoms as they stand."""
    return sum(MASS[z] * n for z, n in composition_of(source).items())


# batches


def composition_matrix(crystals: Crystals) -> Tensor:
    """(crystals, 119) number of atoms of each atomic number, column 0 for undecided species; int64."""
    import torch

    width = MAX_Z + 1
    return torch.bincount(crystals.owner * width + crystals.species, minlength=len(crystals) * width).reshape(len(crystals), width)


def compositions(crystals: Crystals) -> list[Composition]:
    """{atomic number: count} of every crystal, ascending atomic numbers."""
    matrix = composition_matrix(crystals)
    found: list[Composition] = [{} for _ in range(len(crystals))]
    where = matrix.nonzero()
    for (i, z), n in zip(where.tolist(), matrix[where[:, 0], where[:, 1]].tolist(), strict=True):
        found[i][z] = n
    return found


def density(crystals: Crystals) -> Tensor:
    """(crystals,) mass density in g/cm^3 of the cell, in float64."""
    import torch

    return composition_matrix(crystals).double() @ torch.tensor(MASS, dtype=torch.float64) * AMU_A3_TO_G_CM3 / crystals.volume.double()


# oxidation states

COMMON_SHARE = 0.05  # an oxidation state is common when it makes up this share of an element's non-zero states in ICSD 2024
RARE_SHARE = 0.002
MIXED_COST = math.log(10)  # two states of one element in one compound are that much less likely


@cache
def _state_counts() -> dict[int, dict[int, int]]:
    import json
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("smact")  # its data file alone; importing the package costs 0.3 s
    if spec is None or spec.origin is None:
        from ..base.errors import NeedsPackage

        raise NeedsPackage("smact", "the table of oxidation states")
    rows = json.loads((Path(spec.origin).parent / "data" / "oxidation_states_icsd24_counts.json").read_text(encoding="utf-8"))
    found: dict[int, dict[int, int]] = {}
    for row in rows:
        if row["results_count"] and row["oxidation_state"]:  # zero is for metals and elements, where the idea says nothing
            found.setdefault(NUMBER[row["element"]], {})[row["oxidation_state"]] = row["results_count"]
    return found


@cache
def oxidation_states(z: int, share: float = COMMON_SHARE) -> Mapping[int, float]:
    """{oxidation state: share among the non-zero states of ICSD 2024} of element `z`, states rarer than `share` left out.

    Empty for elements without any known compound.
    """
    counts = _state_counts().get(z, {})
    total = sum(counts.values())
    return MappingProxyType({state: n / total for state, n in sorted(counts.items()) if n / total >= share})


@dataclass(frozen=True)
class OxidationGuess:
    """A charge-balanced assignment.

    mean         {atomic number: mean oxidation state}
    sites        {atomic number: {oxidation state: number of atoms}}
    probability  relative to the other guesses of the same call; they add up to 1
    """

    mean: dict[int, float]
    sites: dict[int, dict[int, int]]
    probability: float


def _element_sums(states: Mapping[int, float], atoms: int) -> dict[int, tuple[float, dict[int, int]]]:
    """{sum of the oxidation states of `atoms` atoms: (best score, {state: how many})} with at most two different states.

    score = mean over atoms of ln share, less ln 10 when two states are mixed.
    """
    log = {s: math.log(p) for s, p in states.items()}
    best: dict[int, tuple[float, dict[int, int]]] = {atoms * s: (log[s], {s: atoms}) for s in log}
    for s, t in itertools.combinations(log, 2):
        for k in range(1, atoms):
            q, score = k * s + (atoms - k) * t, (k * log[s] + (atoms - k) * log[t]) / atoms - MIXED_COST
            if q not in best or score > best[q][0]:
                best[q] = (score, {s: k, t: atoms - k})
    return best


def oxidation_guesses(source: Composition | str | Iterable[int], *, charge: int = 0, share: float = RARE_SHARE, most: int = 10,
                      max_atoms: int = 200) -> list[OxidationGuess]:
    """Charge-balanced oxidation states of the reduced formula (of the formula as it stands with a `charge`), most probable first; may be empty.

    An assignment scores the sum over elements of the mean ln(share of the state) over its atoms; the atoms of one element may have two states
    (Fe3O4), which costs ln 10. One guess per set of element sums; the best `most` of them, exactly: of all partial assignments with the same
    sum only the best `most` can be part of the answer (dynamic programming over elements instead of their product). `share` leaves out rarer
    states. A pure element gets 0. Raises BadInput when there are more than `max_atoms` atoms.
    """
    counts = composition_of(source) if charge else dict(reduced(source))
    if len(counts) == 1 and charge == 0:
        z, n = next(iter(counts.items()))
        return [OxidationGuess({z: 0.0}, {z: {0: n}}, 1.0)]
    if sum(counts.values()) > max_atoms:
        raise BadInput(f"the formula has {sum(counts.values())} atoms, allowed are {max_atoms}; raise `max_atoms`", reduced_formula(counts))
    sums = {z: _element_sums(oxidation_states(z, share), n) for z, n in counts.items()}
    if not all(sums.values()):
        return []
    order = sorted(sums, key=lambda z: len(sums[z]))
    least, largest = ([sum(f(sums[z]) for z in order[i:]) for i in range(len(order) + 1)] for f in (min, max))
    partial: dict[int, list[tuple[float, tuple[int, ...]]]] = {0: [(0.0, ())]}
    for i, z in enumerate(order):
        following: dict[int, list[tuple[float, tuple[int, ...]]]] = {}
        last = i == len(order) - 1
        for q, held in partial.items():
            steps = ((charge - q,) if charge - q in sums[z] else ()) if last else sums[z]
            for e in steps:
                if least[i + 1] <= charge - q - e <= largest[i + 1]:
                    score = sums[z][e][0]
                    following.setdefault(q + e, []).extend((s + score, (*chosen, e)) for s, chosen in held)
        partial = {q: heapq.nlargest(most, held) for q, held in following.items()}
    found = partial.get(charge, [])
    total = sum(math.exp(score) for score, _ in found)
    return [
        OxidationGuess({z: e / counts[z] for z, e in zip(order, chosen)}, {z: dict(sums[z][e][1]) for z, e in zip(order, chosen)}, math.exp(score) / total)
        for score, chosen in found]


def is_charge_neutral(source: Composition | str | Iterable[int], *, share: float = COMMON_SHARE, mixed_valence: bool = False) -> bool:
    """Whether common oxidation states can balance; one state per element unless `mixed_valence`.

    Metals and alloys have no oxidation states that say anything: every composition of metals only counts as neutral, as does an element.
    """
    from ..base.elements import METALS

    counts = dict(reduced(source))
    if len(counts) == 1 or all(z in METALS for z in counts):
        return True
    reachable = {0}
    for z, n in counts.items():
        states = oxidation_states(z, share)
        sums = _element_sums(states, n) if mixed_valence else [n * s for s in states]
        reachable = {q + e for q in reachable for e in sums}
    return 0 in reachable


def formula(source: Composition | str | Iterable[int]) -> str:
    """Formula with the counts as they stand, elements by rising electronegativity: 'Na4Cl4'."""
    counts = composition_of(source)
    return _written(counts, _by_electronegativity(counts))
