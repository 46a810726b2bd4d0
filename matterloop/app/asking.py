"""What is asked of a search: options that narrow a wish, and whether the wish says anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..archive.records import Ask
from ..base.elements import number
from ..base.errors import BadInput
from ..campaign.wish import Wish
from ..crystal.composition import parse_formula, reduced
from ..crystal.space_groups import groups_of

if TYPE_CHECKING:
    from ..campaign.second_opinion import Asked


def narrowed(ask: Ask, *, elements: str = "", formula: str = "", atoms: str = "", space_group: int | None = None, crystal_system: str = "",
             exclude: Sequence[str] = ()) -> Ask:
    """The ask with further demands; BadInput where two of them cannot hold together."""
    if elements:
        chosen = frozenset(number(s.strip()) for s in elements.replace(",", " ").replace("-", " ").split())
        ask = replace(ask, required=chosen, allowed=chosen, excluded=ask.excluded - chosen, n_elements=(len(chosen), len(chosen)), any_of=())
    if exclude:
        ask = replace(ask, excluded=ask.excluded | {number(s) for s in exclude})
    if formula:
        wanted = reduced(parse_formula(formula))
        chosen = frozenset(z for z, _ in wanted)
        ask = replace(ask, formula=wanted, required=chosen, allowed=chosen, excluded=ask.excluded - chosen, n_elements=(len(chosen), len(chosen)), any_of=())
    if atoms:
        low, _, high = atoms.partition("-")
        try:
            ask = replace(ask, atoms=(int(low), int(high or low)))
        except ValueError:
            raise BadInput(f"got {atoms!r}; write a number or a range such as 4-12", "--atoms") from None
    groups = ask.space_groups
    if crystal_system:
        found = frozenset(groups_of(crystal_system))
        groups = groups & found if groups else found
    if space_group is not None:
        if groups and space_group not in groups:
            raise BadInput(f"space group {space_group} is not among those asked for otherwise", "--space-group")
        groups = frozenset({space_group})
    return replace(ask, space_groups=groups)


def understood_at_all(wish: Wish) -> None:
    """BadInput for a sentence of which nothing was understood: its search would be one of everything."""
    if wish.not_understood and not wish.phrases:
        raise BadInput(f"nothing was understood of {wish.sentence!r}; say for instance \"stable ternary lithium oxides with fewer than 12 atoms\", look at "
                       "`matterloop understand`, or pass --anyway to search among all crystals", "wish")


def second_asked(potential: str, reference: str = "", both: bool = False) -> Asked | None:
    """The second opinion that three options ask for, None for none; BadInput for a reference or a demand without a potential."""
    from ..campaign.second_opinion import Asked

    if not potential and (reference or both):
        raise BadInput("name the potential too, for example --second-opinion sevennet-0", "--second-reference" if reference else "--both-must-agree")
    return Asked(potential, reference, both) if potential else None
