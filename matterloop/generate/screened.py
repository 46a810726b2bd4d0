"""Any generator behind the gene screens: of what it draws only crystals whose genes are new and likely to lie near the hull leave.

Screening generated Wyckoff genes before placement and relaxation: N. Kazeev et al., ICML 2025, arXiv:2503.02407. No energy of a crystal is computed here. With
this wrapper a baseline has the same screens as the default generator, so that the two differ in what they draw alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ..archive.records import Ask, Candidate, Verdict
from ..base.errors import BadInput
from ..base.registry import Card
from ..base.seeds import derive
from ..represent.wyckoff_gene import Gene, gene
from .proposal import Generator, check_ask, load_generator

if TYPE_CHECKING:
    from ..predict.gene_energy import GeneEnergy
    from .gene_screens import Screen

CARD = Card(
    name="screened",
    build="ScreenedGenerator",
    role="generator",
    paper="arXiv:2503.02407",
    year=2025,
    capabilities=("elements", "formula", "anonymous", "atoms", "space_group", "prototype"),
    small={"base": "substitution", "options": {"templates": "built_in"}, "novel": False, "share": 1.0, "block": 24},
    differs=("screens the genes of any generator's finished crystals; the paper screens its own genes before they are placed",),
    summary="another generator with gene screens and the gene-energy predictor between it and the relaxation",
)
PATIENCE = 3  # blocks in a row without a new gene before the base counts as exhausted


class ScreenedGenerator:
    """Generator that draws from another one in blocks and passes on what the screens of gene_screens.py let through.

    base       name of a generator, made with `options`, or a generator
    share      of each block's genes that passed the other screens, the likeliest to lie within `limit` eV/atom of the hull; 1 asks no predictor
    novel      whether genes of the reference and of the training set, and known formulas in their space group, are turned away; sense: whether those that SMACT calls not valid are
    predictor  instead of the shipped one
    block      draws that are screened and ranked together, each block with a seed of its own, so that a longer proposal begins with the shorter one

    `report` tells of the last proposal: drawn, passed, and {screen: genes it turned away}, {screen: CPU seconds}.
    """

    name = "screened"

    def __init__(self, base: str | Generator = "substitution", options: Mapping[str, Any] | None = None, share: float = 0.3, limit: float = 0.1,
                 novel: bool = True, sense: bool = False, predictor: GeneEnergy | None = None, block: int = 256):
        if not 0 < share <= 1 or block < 1:
            raise BadInput(f"share is {share} and block {block}; allowed are a share above 0 and at most 1, and a block of at least 1", self.name)
        self.base = load_generator(base, **(options or {})) if isinstance(base, str) else base
        self.share, self.limit, self.novel, self.sense, self.block, self._predictor = share, limit, novel, sense, block, predictor
        self._keys: dict[str, str] = {}
        self.report: dict[str, Any] = {}

    def observe(self, verdicts: list[Verdict]) -> None:
        """The base hears the verdicts under the keys that it gave."""
        self.base.observe([replace(v, key=self._keys.get(v.key, v.key)) for v in verdicts])

    def propose(self, ask: Ask, count: int, seed: int) -> list[Candidate]:
        """At most `count` candidates that pass every screen, in the order in which they were drawn; errors as those of the base."""
        from .gene_screens import screened

        check_ask(ask)
        found: list[Candidate] = []
        out: dict[str, int] = {}
        seconds: dict[str, float] = {}
        drawn, passed, idle, number, screens = 0, 0, 0, 0, self._screens() if count > 0 else []
        while len(found) < count and idle < PATIENCE:
            block = self.base.propose(ask, self.block, derive(seed, self.name, number) % 1_000_000)
            if not block:
                break
            answer = screened([gene_of(c) for c in block], screens)
            for one in answer.removed:
                out[one.name] = out.get(one.name, 0) + one.removed
                seconds[one.name] = seconds.get(one.name, 0.0) + one.seconds
            repeated = answer.removed[0]
            idle = idle + 1 if repeated.removed == repeated.given else 0
            drawn, passed, number = drawn + len(block), passed + len(answer.kept), number + 1
            found += [self._named(block[i], seed, len(found) + k) for k, i in enumerate(answer.kept[: count - len(found)])]
        self.report = {"drawn": drawn, "passed": passed, "screened_out": {k: n for k, n in out.items() if n}, "screen_seconds": {k: round(s, 3) for k, s in seconds.items()}}
        return found

    def _screens(self) -> list[Screen]:
        """Screens of one proposal, the one against duplicates first."""
        from .gene_screens import gene_energy, known_formulas, usual

        if self.share < 1 and self._predictor is None:
            self._predictor = gene_energy()
        return usual(known_gene_keys() if self.novel else (), known_formulas() if self.novel else None, self._predictor if self.share < 1 else None, limit=self.limit, share=self.share, sense=self.sense)

    def _named(self, one: Candidate, seed: int, place: int) -> Candidate:
        key = f"{self.name}-{seed}-{place}"
        self._keys[key] = one.key
        return Candidate(key, one.crystal, self.name, one.parents, seed, {**one.about, "base": one.key})


@cache
def known_gene_keys() -> frozenset[str]:
    """Keys of the genes of the reference and of every shipped structure that generators and predictors learn from, as the tables hold them."""
    from ..measure.labelled_genes import shipped_keys
    from ..measure.reference import known_genes

    return frozenset(known_genes()) | shipped_keys()


def gene_of(candidate: Candidate) -> Gene:
    """The canonical gene of a candidate: the one its generator wrote down, else of its crystal."""
    text = candidate.about.get("gene")
    return Gene.parse(text) if text else gene(candidate.crystal)[0]
