"""Does a candidate make chemical sense: distances with self-images, volume, charge neutrality, electronegativity balance.

Structural validity as in CDVAE (Xie et al., arXiv:2110.06197) with the self-images it leaves out; composition validity by SMACT
(Davies et al., Chem 1, 617 (2016)) with the settings that reproduce published figures: ICSD24 oxidation states, consensus 1, commonality low.
"""

from __future__ import annotations

from functools import cache, lru_cache

import torch

from ..archive.records import Reason
from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.composition import compositions, oxidation_states, reduced
from ..crystal.graph import Within
from ..crystal.segments import segment_min
from ..crystal.state import Crystals

CARD = Card(
    name="chemistry_sense", build="ChemistrySense", role="judge", paper="10.21105/joss.01361", year=2019,
    capabilities=("structure", "composition"), keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    summary="Distances with self-images, volume per atom, charge neutrality and electronegativity balance.",
    differs=(
        "an atom's own images count as neighbours; the original distance matrix pads its diagonal",
        "volume per atom is bounded on both sides, not only the cell volume below",
        "the product over oxidation states is not enumerated; the answers are SMACT's",
    ),
)
REACH = 12.0  # Å: farther than any atom of a crystal stands from its nearest neighbour
MOST_IMAGES = 20_000  # lattice images within a search radius before a cell counts as too flat to be looked at


# composition


@cache
def _smact() -> tuple[frozenset[str], dict[str, float | None]]:
    """SMACT's metals, and its electronegativities (Pauling) by symbol, None where it has none."""
    from smact import Element, metals

    return frozenset(metals), {symbol(z): Element(symbol(z)).pauling_eneg for z in range(1, 104)}


@lru_cache(maxsize=50_000)
def charge_balanced(composition: tuple[tuple[int, int], ...]) -> bool:
    """SMACT validity of a reduced composition ((atomic number, count), ...): smact_validity(formula, use_pauling_test=True, include_alloys=True,
    icsd_filter=ICSD24FilterConfig(consensus=1, commonality="low")).

    Single elements and metals among themselves pass. Otherwise every atom of an element takes one oxidation state that ICSD 2024 knows, the charges
    must add up to zero, and every positive element must be less electronegative than every negative one. So the signs follow from
    where a cut falls in the order of electronegativities, and for each cut the reachable charges are summed element by element: the cost is a sum
    over elements where SMACT's enumeration is a product.
    """
    if len(composition) == 1:
        return True
    metals, pauling = _smact()
    names = [symbol(z) for z, _ in composition]
    if all(name in metals for name in names):
        return True
    if any(pauling.get(name) is None for name in names):
        return False  # SMACT's test fails where an electronegativity is missing
    order = sorted((pauling[name], z, n) for name, (z, n) in zip(names, composition, strict=True))
    states = [[n * q for q in oxidation_states(z, 0.0)] for _, z, n in order]
    for cut in range(1, len(order)):
        if order[cut - 1][0] == order[cut][0]:
            continue  # neither may be negative while the other is positive
        reached = {0}
        for i, charges in enumerate(states):
            steps = [q for q in charges if (q > 0) == (i < cut)]
            reached = {a + q for a in reached for q in steps}
        if 0 in reached:
            return True
    return False


# structure


def shortest_distances(crystals: Crystals, reach: float = REACH) -> torch.Tensor:
    """(crystals,) shortest interatomic distance in Å, own images included; inf where nothing is nearer than `reach`, NaN where the cell is so flat that
    more than `MOST_IMAGES` of its images would have to be looked at."""
    out = torch.full((len(crystals),), float("inf"), dtype=torch.float64)
    open_ = torch.arange(len(crystals))
    heights = 1 / torch.linalg.inv(crystals.cell.to(torch.float64)).norm(dim=-2)
    radius = 3.0
    while len(open_):
        images = torch.where(crystals.periodic[open_], torch.floor(2 * radius / heights[open_]) + 1, 1.0).prod(-1)
        out[open_[images > MOST_IMAGES]] = float("nan")
        open_ = open_[images <= MOST_IMAGES]
        if not len(open_):
            break
        part = crystals[open_.tolist()].bare().to(torch.float64)
        graph = Within(radius)(part)
        nearest = segment_min(graph.vectors(part).norm(dim=-1), graph.owner(part), len(part), float("inf"))
        out[open_] = nearest
        open_ = open_[torch.isinf(nearest)]
        if radius >= reach:
            break
        radius = min(2 * radius, reach)
    return out


class ChemistrySense:
    """Judge of structure and composition; limits are arguments, answers are reasons.

    closest  shortest distance allowed in Å; 0.5 is the CDVAE criterion
    volume   smallest and largest volume per atom in Å^3
    """

    name = "chemistry_sense"

    def __init__(self, closest: float = 0.5, volume: tuple[float, float] = (2.0, 200.0)):
        if closest <= 0 or not 0 < volume[0] < volume[1]:
            raise BadInput(f"closest {closest} and volume {volume} must be positive and ascending", self.name)
        self.closest, self.volume = closest, volume

    def judge(self, crystals: Crystals) -> list[tuple[Reason, ...]]:
        """Reasons of every crystal: volume per atom (Å^3, where it repeats along three axes), shortest distance (Å), charge balance (1 or 0)."""
        if not len(crystals):
            return []
        found = []
        volume, crystal = (crystals.volume / crystals.counts).tolist(), crystals.periodic.all(1).tolist()
        for v, repeats, d, c in zip(volume, crystal, shortest_distances(crystals).tolist(), compositions(crystals), strict=True):
            low, high = self.volume
            room = Reason("volume_per_atom", v, low if v < low else high, "Å^3", not repeats or low <= v <= high, note="" if repeats else "not a crystal: no volume")
            apart = Reason("shortest_distance", d, self.closest, "Å", d >= self.closest, note="" if d == d else "not measured: the cell is too flat")
            neutral = charge_balanced(reduced(c))
            charge = Reason("charge_balance", float(neutral), 1.0, "", neutral, note="" if neutral else "no neutral assignment of oxidation states")
            found.append((room, apart, charge))
        return found
