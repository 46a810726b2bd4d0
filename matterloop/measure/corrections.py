"""The Materials Project's energy corrections of 2020, which put raw GGA and GGA+U energies on one scale, for batches of crystals.

A. Wang, R. Kingsbury, M. McDermott, M. Horton, A. Jain, S. P. Ong, S. Dwaraknath, K. A. Persson, "A framework for quantifying uncertainty in DFT energy
corrections", Sci. Rep. 11, 15496 (2021), doi:10.1038/s41598-021-94550-5; mixing of GGA and GGA+U: A. Jain, G. Hautier, S. P. Ong and others, Phys. Rev. B
84, 045115 (2011). The rules are those of pymatgen's MaterialsProject2020Compatibility (with `strict_anions="require_bound"`), written for batches and held
equal to it by the tests. Which anions are corrected depends on guessed oxidation states and has changed between pymatgen's releases; the rules stand here,
and the guesses are those of the installed pymatgen: TESTED names the one that they were compared with.

A raw energy may share no hull with a corrected one, and corrected energies of two potentials share none either: see `hull_scheme` and `refuse_other`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..base.elements import number, symbol
from ..base.errors import BadInput
from ..crystal.composition import ELECTRONEGATIVITY, Composition, compositions, reduced
from ..crystal.graph import Within
from ..crystal.state import Crystals
from ..potential.oracle import Labels, Oracle

if TYPE_CHECKING:
    from .hull import Hull

RAW, CORRECTED = "mp-raw", "mp-raw+mp2020"  # schemes: mixed GGA and GGA+U as computed; the same with the corrections
TESTED = {"pymatgen": "2026.10.24", "pymatgen-core": "2026.10.16"}
MIXING = {"V": -1.7, "Cr": -1.999, "Mn": -1.668, "Fe": -2.256, "Co": -1.638, "Ni": -2.541, "W": -4.438, "Mo": -3.202}  # eV/atom, computed with +U in oxides and fluorides
OXYGEN = {"oxide": -0.687, "peroxide": -0.465, "superoxide": -0.161, "ozonide": 0.0}  # eV/atom of O
ANIONS = {"Br": -0.534, "I": -0.379, "Se": -0.472, "Si": 0.071, "Sb": -0.192, "Te": -0.422, "H": -0.179, "N": -0.361, "F": -0.462, "Cl": -0.614}  # eV/atom
SULFUR = -0.503  # eV/atom of S where it is an anion
HYDROXYL, SUPEROXIDE, PEROXIDE = 1.05 * 0.93, 1.05 * 1.35, 1.05 * 1.49  # Å: shorter O-H and O-O distances make an oxide one of these
NEIGHBOURS, SHELL, NEAREST = 4.0, 0.4, 4  # Å, Å, atoms: who decides whether sulfur is an anion
LARGEST = 20  # atoms in the reduced formula; of a larger one no oxidation states are guessed


@dataclass(frozen=True, eq=False)
class Corrections:
    """What is to be added to raw energies.

    total      (crystals,) eV per crystal
    parts      per crystal {what: eV}: "oxide", "peroxide", "superoxide", "ozonide", the symbol of a corrected anion, "+U" with the symbol of a metal
    run_types  per crystal "GGA" or "GGA+U": how the Materials Project computes that composition
    """

    total: Tensor
    parts: tuple[dict[str, float], ...]
    run_types: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.parts)


def mp2020(crystals: Crystals) -> Corrections:
    """MP2020 corrections of a batch; zero for elements. BadInput for an undecided species, naming the crystal."""
    if bool((crystals.species == 0).any()):
        atom = int((crystals.species == 0).nonzero()[0, 0])
        raise BadInput("an atom is of an undecided element (0); corrections need every element", f"crystal {int(crystals.owner[atom])}")
    listed = compositions(crystals)
    oxygen, sulfur = oxide_types(crystals), sulfur_is_anion(crystals)
    parts = tuple(parts_of(c, o, s) for c, o, s in zip(listed, oxygen, sulfur, strict=True))
    total = torch.tensor([math.fsum(p.values()) for p in parts], dtype=torch.float64, device=crystals.cell.device)
    return Corrections(total, parts, tuple(map(run_type, listed)))


def parts_of(composition: Composition, oxygen: str = "oxide", sulfur: bool = True) -> dict[str, float]:
    """{what: eV} of one composition {atomic number: count}, for as many atoms as it counts.

    oxygen  what the oxygen in it is, see `oxide_types`; sulfur: whether its sulfur is an anion. Both follow from the structure.
    """
    counts = {symbol(z): n for z, n in composition.items() if n > 0}
    if len(counts) < 2:
        return {}
    parts: dict[str, float] = {}
    if "S" in counts and sulfur:
        parts["S"] = SULFUR * counts["S"]
    if "O" in counts:
        parts[oxygen] = OXYGEN[oxygen] * counts["O"]
    last = most_electronegative(counts)
    if found := [a for a in ANIONS if a in counts]:
        states = dict(guessed_states(reduced(composition)))
        for anion in found:
            state = states.get(anion, 0.0)
            if state <= -1 or (state >= 0 and anion == last):
                parts[anion] = ANIONS[anion] * counts[anion]
    if last in ("O", "F"):
        parts |= {f"+U {metal}": MIXING[metal] * n for metal, n in counts.items() if metal in MIXING}
    return parts


def run_type(composition: Composition) -> str:
    """"GGA+U" for a composition that the Materials Project computes with it: V, Cr, Mn, Fe, Co, Ni, W or Mo where O or F is the most electronegative element."""
    counts = {symbol(z): n for z, n in composition.items() if n > 0}
    return "GGA+U" if len(counts) > 1 and counts.keys() & MIXING.keys() and most_electronegative(counts) in ("O", "F") else "GGA"


def most_electronegative(symbols: Iterable[str]) -> str:
    """The element of highest electronegativity; one that has none counts as lowest, of equal ones the last in the alphabet.

    pymatgen takes of equal ones (H and Pd; Si, Cu, Re and Tc) what stands last in the structure, which in the Materials Project's files is the same.
    """
    value = lambda s: -1.0 if math.isnan(x := ELECTRONEGATIVITY[number(s)]) else x
    return max(sorted(symbols, reverse=True), key=value)


@cache
def guessed_states(composition: tuple[tuple[int, int], ...]) -> tuple[tuple[str, float], ...]:
    """((symbol, mean oxidation state), ...) of a reduced composition, pymatgen's most probable guess; empty where there is none or it has more than LARGEST atoms."""
    from pymatgen.core import Composition as PymatgenComposition

    if sum(n for _, n in composition) > LARGEST:
        return ()
    guesses = PymatgenComposition({symbol(z): n for z, n in composition}).oxi_state_guesses(max_sites=-LARGEST)
    return tuple((str(s), float(v)) for s, v in guesses[0].items()) if guesses else ()


def oxide_types(crystals: Crystals) -> list[str]:
    """What the oxygen of each crystal is by its shortest distances: "oxide" (also hydroxides and where there is none), "peroxide", "superoxide" or "ozonide"."""
    kinds = ["oxide"] * len(crystals)
    oxygen = crystals.species == number("O")
    rows = _holding(crystals, oxygen)
    if not rows:
        return kinds
    some = crystals.bare()[rows]
    graph = Within(PEROXIDE + 1e-3)(some)
    length, owner = graph.vectors(some).norm(dim=-1), graph.owner(some)
    centre, other = some.species[graph.receivers] == number("O"), some.species[graph.senders]
    own = graph.senders == graph.receivers
    hydroxyl = set(owner[centre & (other == number("H")) & (length < HYDROXYL)].tolist())
    pairs = centre & (other == number("O")) & ~own
    near, nearer = pairs & (length < PEROXIDE), pairs & (length < SUPEROXIDE)
    peroxide, superoxide = set(owner[near].tolist()), set(owner[nearer].tolist())
    bonds = torch.unique(torch.stack([graph.receivers[nearer], graph.senders[nearer]], 1), dim=0)  # images of one neighbour count once
    twice = torch.bincount(bonds[:, 0], minlength=some.atoms) > 1
    ozonide = set(some.owner[twice].tolist())
    for k, row in enumerate(rows):
        if k not in hydroxyl:
            kinds[row] = "ozonide" if k in ozonide else "superoxide" if k in superoxide else "peroxide" if k in peroxide else "oxide"
    return kinds


def sulfur_is_anion(crystals: Crystals) -> list[bool]:
    """Whether each crystal's sulfur is an anion: no sulfur atom has nearest neighbours that are more electronegative than it in the mean. False without sulfur.

    The nearest neighbours are at most NEAREST atoms within SHELL Å of the closest one.
    """
    answer = [False] * len(crystals)
    sulfur = crystals.species == number("S")
    rows = _holding(crystals, sulfur)
    if not rows:
        return answer
    some = crystals.bare()[rows]
    table = torch.tensor(ELECTRONEGATIVITY, dtype=torch.float64)
    limit = ELECTRONEGATIVITY[number("S")]
    for row, one in zip(rows, some, strict=True):
        centres, reach = (one.species == number("S")).nonzero()[:, 0], NEIGHBOURS
        answer[row] = True
        while len(centres):
            graph = Within(reach)(one)
            length = graph.vectors(one).norm(dim=-1)
            lonely = []
            for centre in centres.tolist():
                mine = (graph.receivers == centre).nonzero()[:, 0]
                if not len(mine):
                    lonely.append(centre)
                    continue
                order = mine[length[mine].argsort(stable=True)]
                shell = order[length[order] < length[order[0]] + SHELL][:NEAREST]
                if float(table[one.species[graph.senders[shell]]].mean()) > limit:
                    answer[row] = False
            reach *= 2
            centres = torch.tensor(lonely, dtype=torch.long) if answer[row] and reach <= 4 * float(one.lengths.max()) else centres[:0]
    return answer


def _holding(crystals: Crystals, chosen: Tensor) -> list[int]:
    """Rows of the crystals of two elements or more that hold a chosen atom."""
    held = torch.zeros(len(crystals), dtype=torch.bool, device=crystals.owner.device).index_fill(0, crystals.owner[chosen], True)
    return [i for i in held.nonzero()[:, 0].tolist() if len(set(crystals.species[crystals.offsets[i] : crystals.offsets[i + 1]].tolist())) > 1]


# energies and hulls


def hull_scheme(scheme: str) -> str:
    """The scheme in which energies of `scheme` come onto a hull: raw ones of the Materials Project with their corrections, all others as they are."""
    return CORRECTED if scheme == RAW else scheme


def for_hull(scheme: str, crystals: Crystals, energies: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """((crystals,) eV as they come onto a hull, (crystals,) eV that were added): total energies of one scheme with what `hull_scheme` asks for."""
    energies = torch.as_tensor(energies, dtype=torch.float64)
    if len(energies) != len(crystals):
        raise BadInput(f"{len(crystals)} crystals and {len(energies)} energies; one of each", "corrections")
    added = mp2020(crystals).total.to(energies) if scheme == RAW else torch.zeros_like(energies)
    return energies + added, added


def refuse_other(hull: Hull, oracle: Oracle) -> None:
    """BadInput unless a hull is of the oracle's own potential and of the scheme that its energies have on a hull."""
    if hull.potential != oracle.name:
        raise BadInput(f"the hull is of the potential {hull.potential!r}, the energies are of {oracle.name!r}; every potential has a hull of its own", "hull")
    if hull.scheme != hull_scheme(oracle.energy_scheme):
        raise BadInput(f"the hull is of scheme {hull.scheme!r}, energies of {oracle.name!r} come onto one of {hull_scheme(oracle.energy_scheme)!r}", "hull")


class CorrectedOracle:
    """A raw potential with the corrections: energies on the corrected scale, forces and stresses as they are.

    The correction is constant but jumps where two oxygen atoms begin or cease to be bonded: relax with the raw potential, then label with this one.
    """

    def __init__(self, raw: Oracle):
        if raw.energy_scheme != RAW:
            raise BadInput(f"{raw.name!r} has energies of scheme {raw.energy_scheme!r}; only {RAW!r} takes these corrections", "CorrectedOracle")
        self.raw, self.name, self.energy_scheme = raw, raw.name, CORRECTED

    def label(self, crystals: Crystals) -> Labels:
        """Labels of the raw potential with corrected energies (crystals,) eV."""
        labels = self.raw.label(crystals)
        return labels._replace(energy=labels.energy + mp2020(crystals).total.to(labels.energy))


def corrected_composition(composition: Mapping[int, int]) -> float | None:
    """eV/atom to be added where only the composition is known; None where the structure decides, that is for compounds of O or S."""
    counts = dict(reduced(composition))
    if len(counts) > 1 and counts.keys() & {number("O"), number("S")}:
        return None
    return math.fsum(parts_of(counts).values()) / sum(counts.values())
