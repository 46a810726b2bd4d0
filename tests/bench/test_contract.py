"""Every part of the house, plug-ins included, keeps the contract of its role."""

import pytest

from matterloop.base.errors import NeedsPackage
from matterloop.base.registry import ROLES, entries
from matterloop.bench import contract
from matterloop.bench.contract import OUTSIDE, checks, part_of, run_contract

PARTS = {name: part_of(name) for name in entries()}
EVERY = [pytest.param(part, check, id=f"{name}-{check.name}", marks=[pytest.mark.slow] if check.tier == "full" else [])
         for name, part in PARTS.items() for check in checks(part)]


@pytest.mark.parametrize("part, check", EVERY)
def test_contract(part, check):
    try:
        check.run()
    except NeedsPackage as error:
        if not part.can(OUTSIDE):
            raise
        pytest.skip(str(error))


def test_every_role_has_a_contract():
    assert set(contract.ROLES) == set(ROLES)


def test_a_run_reports_every_check_with_its_seconds_and_every_waiver_with_its_reason():
    rows = run_contract("lennard_jones")
    assert [r["check"] for r in rows][:2] == ["card", "rotation"] and all(r["passed"] for r in rows) and all(r["seconds"] >= 0 for r in rows)
    assert "smooth" not in {r["check"] for r in rows} and "smooth" in {r["check"] for r in run_contract("lennard_jones", full=True, names=["smooth"])}
    waived = [r for r in run_contract("chgnet", names=["short_distances"]) if r["note"].startswith("waived: ")]
    assert [r["check"] for r in waived] == ["short_distances"]


def test_no_check_is_chosen_by_name():
    from dataclasses import replace

    for part in PARTS.values():
        other = contract.Part(replace(part.card, name="called_otherwise"), part.make)
        assert [c.name for c in checks(other)] == [c.name for c in checks(part)]


def test_no_waiver_is_idle():
    """A waived check that passes is a waiver to be taken back."""
    for name, part in PARTS.items():
        if part.card.waives and not part.can(OUTSIDE):
            notes = [r["note"] for r in run_contract(name, full=True, names=list(part.card.waives))]
            assert not [n for n in notes if n.endswith("yet it passes here")], name
