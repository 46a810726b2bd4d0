"""Unique and novel: the ladder formula, sites, gene, fingerprint, StructureMatcher, in which a rung decides only where it cannot differ from the last.

Gated rates as in Zeni et al., Nature 639, 624 (2025); the ladder's order after Kazeev et al., arXiv:2503.02407. Rungs:

formula      different reduced compositions: not the same (StructureMatcher says no by its composition hash)
sites        different numbers of sites after StructureMatcher's own reduction: not the same (it says no before it looks at them)
gene         equal Wyckoff genes without any free parameter (cubic, every site fixed): the same up to scale
fingerprint  equal genes whose free parameters agree within 0.02 Å and 0.1 % in the standard setting: the same
matcher      everything else is left to StructureMatcher(0.2, 0.3, 5, primitive, scale)

The rungs that say yes ask first that StructureMatcher's reduction left exactly the primitive cell that the gene describes. Then both reduced
structures have one lattice up to scale and strain below 0.1 %, atoms within 0.1 Å of each other, and the matcher, which accepts 0.3 (V/N)^(1/3), finds
that mapping. Without the condition they could differ: the reduction's tolerance of 0.25 Å sees cells that the symmetry search does not, and fails on some supercells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..archive.records import Reason
from ..base.errors import BadInput
from ..base.registry import Card
from ..crystal.matching import Prepared, fit, prepare
from ..crystal.state import Crystals
from ..crystal.symmetry import Symmetry, analyse
from ..crystal.wyckoff import Parameters, free_parameters
from ..represent.wyckoff_gene import Gene, from_symmetry

CARD = Card(
    name="sun", build="Sun", role="judge", paper="10.1038/s41586-025-08628-5", year=2025,
    capabilities=("unique", "novel"), keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    summary="Duplicates and novelty by a ladder that gives StructureMatcher's answers.",
    differs=(
        "novelty is decided against the reference at hand; phases whose geometry is not shipped are compared by gene only and marked so",
        "StructureMatcher itself depends on the order of its arguments and of atoms for pairs near its tolerances; the older crystal comes first",
    ),
)
ROUGH = 10.0  # a phase known by gene only is looked for at this many times the symmetry tolerance too: relaxed crystals are a little off


@dataclass(frozen=True, eq=False)
class Described:
    """A crystal with what the rungs of the ladder look at, each found when first asked for."""

    key: str
    prepared: Prepared
    symprec: float = 0.01

    @cached_property
    def symmetry(self) -> Symmetry | None:
        """None where no space group was found."""
        found = analyse(self.prepared.crystal, self.symprec, on_error="keep")[0]
        return None if isinstance(found, BadInput) else found

    @cached_property
    def gene(self) -> Gene | None:
        """The canonical Wyckoff gene, None without a space group."""
        return None if self.symmetry is None else from_symmetry(self.symmetry)

    @cached_property
    def gene_key(self) -> str:
        """Canonical text of the gene, "" without one."""
        return self.gene.key if self.gene is not None else ""

    @cached_property
    def rough_gene_key(self) -> str:
        """The gene at a looser tolerance (`ROUGH`), "" without one."""
        found = analyse(self.prepared.crystal, self.symprec * ROUGH, on_error="keep")[0]
        return "" if isinstance(found, BadInput) else from_symmetry(found).key

    @cached_property
    def parameters(self) -> Parameters | None:
        """Free parameters in the standard setting, None where there are none to be read."""
        try:
            return None if self.symmetry is None else free_parameters(self.symmetry)[0]
        except BadInput:
            return None  # an atom off its position: the matcher decides

    @cached_property
    def trouble(self) -> str:
        """Why it cannot be compared (not periodic, atoms on top of each other), "" where it can."""
        try:
            self.prepared.given  # noqa: B018  (checked once, kept)
        except BadInput as error:
            return error.message
        return ""

    @property
    def whole(self) -> bool:
        """Whether StructureMatcher's reduced structure is the primitive cell of the gene."""
        return self.gene is not None and self.gene.atoms == self.prepared.sites


@dataclass(frozen=True)
class Answer:
    """Whether two crystals are the same, and which rung said so."""

    same: bool
    rung: str


def describe(crystals: Crystals, keys: Sequence[str], symprec: float = 0.01) -> list[Described]:
    """A `Described` for each crystal; nothing but the composition is found yet."""
    return [Described(key, prepared, symprec) for key, prepared in zip(keys, prepare(crystals), strict=True)]


def rigid(gene: Gene) -> bool:
    """Whether a gene leaves nothing free but the scale: a cubic group and every site fixed by symmetry."""
    return gene.space_group >= 195 and gene.dof == 0


def compare(a: Described, b: Described) -> Answer:
    """Climb the ladder until a rung can answer: as StructureMatcher.fit(a, b), the older or known crystal first.

    BadInput where a crystal cannot be compared (not periodic, atoms on top of each other).
    """
    if a.prepared.composition != b.prepared.composition:
        return Answer(False, "formula")
    if a.prepared.sites != b.prepared.sites:
        return Answer(False, "sites")
    if a.gene_key == b.gene_key and a.whole and b.whole:
        if rigid(a.gene):
            return Answer(True, "gene")
        if a.parameters is not None and b.parameters is not None and same_parameters(a.parameters, b.parameters):
            return Answer(True, "fingerprint")
    return Answer(fit(a.prepared, b.prepared), "matcher")


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
        if not symprec > 0:
            raise BadInput(f"symprec is {symprec}, it must be positive (Å)", self.name)
        self.symprec = symprec

    def unique(self, one: Described, earlier: Sequence[Described]) -> Reason:
        """Reason `unique`: value is 1 where it repeats an earlier crystal (the first found stops the search), else 0; NaN, not passed, where it cannot
        be compared. Earlier crystals that cannot be compared are passed over."""
        for other in earlier:
            if other.prepared.composition != one.prepared.composition or other.trouble:
                continue
            if one.trouble:
                return Reason("unique", float("nan"), 0.0, "matches", False, note=one.trouble)
            answer = compare(other, one)
            if answer.same:
                return Reason("unique", 1.0, 0.0, "matches", False, note=f"repeats {other.key} (by {answer.rung})")
        return Reason("unique", 0.0, 0.0, "matches", True)

    def uniques(self, described: Sequence[Described], counts: Sequence[bool] | None = None, fixed: int = 0) -> list[Reason]:
        """Reason `unique` of each, greedy in the given order: each is compared with the earlier ones that are unique themselves, which gives the groups
        of StructureMatcher.group_structures.

        counts  whether a crystal may stand in the way of later ones (one that failed before does not); all by default
        fixed   the first so many are answered for the sake of the others only and left out of the list
        """
        kept: dict[tuple, list[Described]] = {}
        wanted = {one.prepared.composition for one in described[fixed:]}
        found = []
        for i, one in enumerate(described):
            if i < fixed and one.prepared.composition not in wanted:
                continue
            rivals = kept.setdefault(one.prepared.composition, [])
            reason = self.unique(one, rivals)
            if reason.passed and (counts is None or counts[i]):
                rivals.append(one)
            if i >= fixed:
                found.append(reason)
        return found

    def novel(self, one: Described, reference: Reference, required: bool = True) -> Reason:
        """Reason `novel`: value is the number of known phases it matches. Without `required` a known phase passes too, and is named.

        Phases at hand are compared by the ladder, the first match stops; the others by gene, the crystal's own and the one at a looser tolerance.
        """
        at_hand, hits, how = [x for x in reference.crystals(one.prepared.composition) if not x.trouble], [], ""
        if at_hand and one.trouble:
            return Reason("novel", float("nan"), 0.0, "matches", not required, note=one.trouble)
        for other in at_hand:
            answer = compare(other, one)
            if answer.same:
                hits, how = [other.key], f"by {answer.rung}"
                break
        if not hits and reference.genes:  # phases whose geometry is not at hand
            compared = {other.key for other in at_hand}
            for key, words in ((one.gene_key, "by gene only"), (one.rough_gene_key, f"by gene only, symmetry within {self.symprec * ROUGH:g} Å")):
                hits = [i for i in reference.genes.get(key, ()) if i not in compared] if key else []
                how = words
                if hits:
                    break
        if hits:
            note = f"known: {', '.join(hits[:3])}{' ...' if len(hits) > 3 else ''} ({how})"
        else:
            note = f"not in {reference.name or 'the reference'}" + ("" if reference.complete else "; phases without shipped geometry compared by gene only")
        return Reason("novel", float(len(hits)), 0.0, "matches", not hits or not required, note=note)

    def judge(self, crystals: Crystals, keys: Sequence[str] | None = None, reference: Reference | None = None) -> list[tuple[Reason, ...]]:
        """Reasons `unique` (greedy in the given order) and, with a reference, `novel` of every crystal; without `keys` they are called 0, 1, ..."""
        described = describe(crystals, [str(i) for i in range(len(crystals))] if keys is None else keys, self.symprec)
        return [(unique, *((self.novel(one, reference),) if reference is not None else ())) for one, unique in
                zip(described, self.uniques(described), strict=True)]
