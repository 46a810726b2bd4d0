"""Does a candidate make chemical sense: distances with self-images, volume, charge neutrality, electronegativity balance.

Structural validity as in CDVAE (Xie et al., arXiv:2110.06197) with the self-images it leaves out; composition validity by SMACT
(Davies et al., Chem 1, 617 (2016)) with the settings that reproduce published figures: ICSD24 oxidation states, consensus 1, commonality low.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from ..archive.records import Reason
from ..base.elements import symbol
from ..base.errors import BadInput
from ..base.registry import Card
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
    ),
)


@lru_cache(maxsize=50_000)
def charge_balanced(composition: tuple[tuple[int, int], ...]) -> bool:
    """SMACT validity of a reduced composition ((atomic number, count), ...): single elements and alloys pass."""
    from smact.screening import ICSD24FilterConfig, smact_validity

    if len(composition) == 1:
        return True
    formula = "".join(f"{symbol(z)}{n}" for z, n in composition)
    return bool(smact_validity(formula, use_pauling_test=True, include_alloys=True, icsd_filter=ICSD24FilterConfig(consensus=1, commonality="low")))


def shortest_distances(crystals: Crystals, radius: float = 3.0) -> torch.Tensor:
    """(crystals,) shortest interatomic distance in Å, own images included; `radius` where nothing is nearer."""
    graph = Within(radius)(crystals)
    length = graph.vectors(crystals.bare().to(torch.float64)).norm(dim=-1)
    return segment_min(length, graph.owner(crystals), len(crystals), radius)


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
        """Reasons of every crystal: shortest distance (Å), volume per atom (Å^3), charge balance (1 or 0)."""
        from ..crystal.matching import prepare

        volume = (crystals.volume / crystals.counts).tolist()
        compact = torch.tensor([self.volume[0] <= v <= self.volume[1] for v in volume])
        nearest = [float("nan")] * len(crystals)
        if bool(compact.any()):
            index = compact.nonzero()[:, 0].tolist()
            for i, d in zip(index, shortest_distances(crystals[index]).tolist(), strict=True):
                nearest[i] = d
        found = []
        for v, d, one in zip(volume, nearest, prepare(crystals), strict=True):
            room = Reason("volume_per_atom", v, self.volume[0] if v < self.volume[0] else self.volume[1], "Å^3", self.volume[0] <= v <= self.volume[1])
            apart = Reason("shortest_distance", d, self.closest, "Å", d > self.closest, note="" if d == d else "not computed: the volume is out of range")
            neutral = charge_balanced(one.composition)
            charge = Reason("charge_balance", float(neutral), 1.0, "", neutral, note="" if neutral else "no neutral assignment of oxidation states")
            found.append((room, apart, charge))
        return found
