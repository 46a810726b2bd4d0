"""Unique and novel: the ladder formula, gene, fingerprint, StructureMatcher, in which a rung decides only where it cannot differ from the last.

Gated rates as in Zeni et al., Nature 639, 624 (2025); the ladder's order after Kazeev et al., arXiv:2503.02407. Rungs:

formula      different reduced compositions: not the same (StructureMatcher says no by its composition hash)
gene         equal Wyckoff genes without any free parameter (cubic, every site fixed): the same up to scale
fingerprint  equal genes whose free parameters agree within 0.02 Å and 0.1 % in the standard setting: the same
matcher      everything else is left to StructureMatcher(0.2, 0.3, 5, primitive, scale)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..archive.records import Reason
from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.matching import Prepared, prepare, same
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from ..crystal.wyckoff import Parameters, free_parameters
from ..represent.wyckoff_gene import Gene, from_symmetry

CARD = Card(
    name="sun", build="Sun", role="judge", paper="10.1038/s41586-025-08628-5", year=2025,
    capabilities=("unique", "novel"), keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    summary="Duplicates and novelty by a ladder that gives StructureMatcher's answers.",
    differs=("novelty is decided against the reference at hand; phases whose geometry is not shipped are compared by gene only and marked so",),
)


@dataclass(frozen=True, eq=False)
class Described:
    """A crystal with what the rungs of the ladder look at; gene and parameters are None where the symmetry search failed."""

    key: str
    prepared: Prepared
    gene: Gene | None = None
    parameters: Parameters | None = None

    @property
    def gene_key(self) -> str:
        """Canonical text of the gene, "" without one."""
        return self.gene.key if self.gene is not None else ""


@dataclass(frozen=True)
class Answer:
    """Whether two crystals are the same, and which rung said so."""

    same: bool
    rung: str


def describe(crystals: Crystals, keys: Sequence[str], symprec: float = 0.01) -> list[Described]:
    """A `Described` for each crystal; one whose symmetry cannot be found is described without a gene."""
    found = []
    for key, prepared, symmetry in zip(keys, prepare(crystals), analyse(crystals, symprec, on_error="keep"), strict=True):
        known = not isinstance(symmetry, BadInput)
        found.append(Described(key, prepared, from_symmetry(symmetry) if known else None, _parameters(symmetry) if known else None))
    return found


def _parameters(symmetry: Symmetry) -> Parameters | None:
    try:
        return free_parameters(symmetry)[0]
    except BadInput:
        return None  # an atom off its position: the matcher decides


def rigid(gene: Gene) -> bool:
    """Whether a gene leaves nothing free but the scale: a cubic group and every site fixed by symmetry."""
    return gene.space_group >= 195 and gene.dof == 0


def compare(a: Described, b: Described) -> Answer:
    """Climb the ladder until a rung can answer."""
    if a.prepared.composition != b.prepared.composition:
        return Answer(False, "formula")
    if a.gene is not None and b.gene is not None and a.gene.key == b.gene.key and rigid(a.gene):
        return Answer(True, "gene")
    if a.parameters is not None and b.parameters is not None and same_parameters(a.parameters, b.parameters):
        return Answer(True, "fingerprint")
    return Answer(same(a.prepared, b.prepared), "matcher")


def same_parameters(a: Parameters, b: Parameters, length: float = 1e-3, angle: float = 0.1, site: float = 0.02) -> bool:
    """Whether two crystals are written alike in the standard setting: the same sites, lengths within `length` (relative, one common scale),
    angles within `angle` degrees and free coordinates within `site` Å."""
    if a.space_group != b.space_group or [s[:2] for s in a.sites] != [s[:2] for s in b.sites]:
        return False
    lengths = np.array([a.lattice[:3], b.lattice[:3]])
    ratio = lengths[0] / lengths[1]
    if ratio.max() / ratio.min() > 1 + length or any(abs(x - y) > angle for x, y in zip(a.lattice[3:], b.lattice[3:], strict=True)):
        return False
    steps = [abs((x - y + 0.5) % 1 - 0.5) for s, t in zip(a.sites, b.sites, strict=True) for x, y in zip(s[2], t[2], strict=True)]
    return max(steps, default=0.0) * float(lengths.max()) < site


@dataclass(frozen=True, eq=False)
class Reference:
    """Phases that are known: genes with their ids, and the crystals at hand by reduced composition.

    crystals  function: reduced composition -> described crystals of the reference (empty where no geometry is at hand)
    genes     gene key -> ids
    complete  whether the geometry of every known phase is at hand
    """

    genes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    crystals: Callable[[tuple[tuple[int, int], ...]], Sequence[Described]] = lambda composition: ()
    complete: bool = False
    name: str = ""


class Sun:
    """Judge of uniqueness and novelty."""

    name = "sun"

    def __init__(self, symprec: float = 0.01):
        self.symprec = symprec

    def unique(self, one: Described, earlier: Sequence[Described]) -> Reason:
        """Reason `unique`: value is the number of earlier crystals it repeats (the first found stops the search)."""
        for other in earlier:
            answer = compare(one, other)
            if answer.same:
                return Reason("unique", 1.0, 0.0, "matches", False, note=f"repeats {other.key} (by {answer.rung})")
        return Reason("unique", 0.0, 0.0, "matches", True)

    def novel(self, one: Described, reference: Reference, required: bool = True) -> Reason:
        """Reason `novel`: value is the number of known phases it matches. Without `required` a known phase passes too, and is named."""
        at_hand = list(reference.crystals(one.prepared.composition))
        hits, how = [], ""
        for other in at_hand:
            answer = compare(one, other)
            if answer.same:
                hits, how = [other.key], f"by {answer.rung}"
                break
        if not hits and one.gene_key:  # phases whose geometry is not at hand
            compared = {other.key for other in at_hand}
            hits = [i for i in reference.genes.get(one.gene_key, ()) if i not in compared]
            how = "by gene only"
        if hits:
            note = f"known: {', '.join(hits[:3])}{' ...' if len(hits) > 3 else ''} ({how})"
        else:
            note = f"not in {reference.name or 'the reference'}" + ("" if reference.complete else "; phases without shipped geometry compared by gene only")
        return Reason("novel", float(len(hits)), 0.0, "matches", not hits or not required, note=note)

    def judge(self, crystals: Crystals, keys: Sequence[str], reference: Reference | None = None) -> list[tuple[Reason, ...]]:
        """Reasons `unique` (greedy in the given order) and, with a reference, `novel` of every crystal."""
        described = describe(crystals, keys, self.symprec)
        found = []
        for i, one in enumerate(described):
            reasons = (self.unique(one, described[:i]),)
            found.append(reasons + ((self.novel(one, reference),) if reference is not None else ()))
        return found
