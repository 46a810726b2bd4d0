"""What `bench predict-structure` measured, as tables for people, the protocol in words above them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cli import emit, say

NAMES = {"ours": "learnt ranking", "template": "template baseline"}


def rate(found: Mapping[str, Any], name: str = "match_rate") -> str:
    """A share with its interval: 61.3 % (60.1 to 62.4)."""
    low, high = found[f"{name}_interval"]
    return f"{100 * found[name]:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def distance(value: float | None) -> str:
    """A normalised distance; a dash where nothing matched."""
    return "–" if value is None or value != value else f"{value:.4f}"


def predicted(found: Mapping[str, Any]) -> None:
    """A record of `bench predict-structure`."""
    many = f"at_{found['guesses']}"
    for sentence in found["protocol"]:
        say(sentence)
    if found["best_of_many_is_first_match"]:
        say(f"Rankings end at their first match: RMSE and cRMSE at {found['guesses']} are upper bounds.")
    say()
    rows = []
    for part, held in found["parts"].items():
        for label, name in NAMES.items():
            one, best = held[label]["at_1"], held[label][many]
            rows.append({"targets": f"{part}, {held['targets']}", "ranking": name, "first rank": rate(one), "RMSE": distance(one["rmse"]), "cRMSE": distance(one["crmse"]),
                         f"best of {found['guesses']}": rate(best), "RMSE there": distance(best["rmse"]), "cRMSE there": distance(best["crmse"])})
    emit(rows, False, ("targets", "ranking", "first rank", "RMSE", "cRMSE", f"best of {found['guesses']}", "RMSE there", "cRMSE there"))
    gated = found["charge_balanced_only"]
    emit([{"ranking": name, "METRe": rate(found["metre"][label], "metre"), "first rank, only charge-balanced can match": rate(gated[label]["at_1"]),
           f"best of {found['guesses']}, likewise": rate(gated[label][many]), "gene in val": f"{found['limits'][label]['gene_in_val']:.1%}",
           "right gene first": f"{found['limits'][label]['gene_at_first_rank']:.1%}", "match, given that": f"{found['limits'][label]['match_given_gene_at_first_rank']:.1%}",
           "right gene among guesses": f"{found['limits'][label]['gene_among_guesses']:.1%}"} for label, name in NAMES.items()], False,
         ("ranking", "METRe", "first rank, only charge-balanced can match", f"best of {found['guesses']}, likewise", "gene in val", "right gene first", "match, given that", "right gene among guesses"))
    if after := found.get("relaxed"):
        say(f"{after['potential']}, {after['warning']}: {after['targets']} targets, the first {after['first']} guesses")
        emit([{"": name, "first rank": rate(after[key]["at_1"]), f"best of {after['first']}": rate(after[key][f"at_{after['first']}"]), "RMSE, first rank": distance(after[key]["at_1"]["rmse"])}
              for key, name in (("as_guessed", "as guessed"), ("by_energy", "relaxed, ranked by energy"), ("by_both", "relaxed, ranked by gain and energy"))], False, ("", "first rank", f"best of {after['first']}", "RMSE, first rank"))
    say(f"{found['cpu_seconds_per_target']:.2f} CPU seconds per target, matching included; learnt from {found['learnt_from']['crystals']} crystals")
