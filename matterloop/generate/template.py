"""Structures for a composition from the structure types of similar compounds: which known compound would turn into it by likely swaps?

Wei et al., Inorg. Chem. 61, 8431 (2022), 10.1021/acs.inorgchem.1c03879 (template-based crystal structure prediction); the likelihood of swaps after
Glawe et al., New J. Phys. 18, 093011 (2016).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..archive.records import Ask, Candidate, Verdict
from ..base.registry import Card
from ..base.seeds import numpy_stream
from .library import Template
from .proposal import check_ask
from .random_search import formula_stream
from .substitution import Draft, Substitution

CARD = Card(
    name="template",
    build="TemplateSearch",
    role="generator",
    paper="10.1021/acs.inorgchem.1c03879",
    year=2022,
    capabilities=("elements", "formula", "anonymous", "atoms", "space_group", "prototype"),
    small={"per_formula": 2},
    differs=(
        "ranks structure types by the summed likelihood of swaps from all their members; the paper takes the distance of compositions and of oxidation states",
        "no machine-learnt choice of the space group",
    ),
    summary="for each composition the structure types of the most similar known compounds",
)


class TemplateSearch:
    """Generator that looks up structure types for compositions; see the card.

    per_formula  structures proposed for each composition of an open ask (a wanted formula gets all there are, best first)
    templates    "shipped" (built-in types and the reference), "built_in", or own templates
    """

    name = "template"

    def __init__(self, per_formula: int = 2, templates: str | Sequence[Template] = "shipped"):
        self.per_formula = per_formula
        self._maker = Substitution(partial=False, templates=templates)

    def observe(self, verdicts: list[Verdict]) -> None:
        """Verdicts change nothing: templates do not learn."""

    def propose(self, ask: Ask, count: int, seed: int) -> list[Candidate]:
        """At most `count` candidates of distinct genes, for each composition its likeliest structure types first; BadInput for an impossible ask."""
        check_ask(ask)
        found: list[Candidate] = []
        each = count if ask.formula is not None else self.per_formula
        for formula in formula_stream(ask, numpy_stream(seed, self.name)):
            if len(found) >= count:
                break
            fixed = replace(ask, formula=formula, anonymous="")
            for draft, chance in self.ranked(fixed):
                if (made := self._maker.candidate(draft, seed, len(found), self.name, {"probability": round(chance, 4)})) is not None:
                    found.append(made)
                    each -= 1
                if not each or len(found) >= count:
                    break
            each = count if ask.formula is not None else self.per_formula
        return found

    def ranked(self, ask: Ask) -> list[tuple[Draft, float]]:
        """Drafts for the formula of `ask`, one for each gene, with their shares of the summed likelihoods, best first."""
        drafts = self._maker.mapped(ask)
        if not drafts:
            return []
        groups: dict[str, list[Draft]] = defaultdict(list)
        for draft in drafts:
            groups[draft.gene].append(draft)
        score = np.array([np.logaddexp.reduce([d.score for d in held]) for held in groups.values()])
        chance = np.exp(score - np.logaddexp.reduce(score))
        best = [max(held, key=lambda d: d.score) for held in groups.values()]
        return [(best[i], float(chance[i])) for i in np.argsort(-chance, kind="stable")]
