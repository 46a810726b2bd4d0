"""What measurements of crystals at rest begin with: crystals that repeat along three axes are relaxed, and those that fail have a reason."""

from __future__ import annotations

from ..base.errors import BadInput
from ..crystal.state import Crystals
from ..potential.oracle import Oracle
from .relax import relax


def check_periodic(crystals: Crystals) -> None:
    """BadInput naming the first crystal that does not repeat along three axes."""
    if not bool(crystals.periodic.all()):
        raise BadInput("does not repeat along three axes", f"crystal {int((~crystals.periodic.all(-1)).nonzero()[0])}")


def brought_to_rest(crystals: Crystals, oracle: Oracle, **options) -> tuple[Crystals, list[str], int]:
    """(the crystals relaxed, without fields, "" or why each is not at rest, evaluations of the oracle); options and errors as `relax`."""
    rest = relax(crystals, oracle, **options)
    return Crystals.join([r.crystal.bare() for r in rest]) if len(rest) else crystals, ["" if r.converged else f"at rest: {r.status}, {r.reason}" for r in rest], rest.evaluations
