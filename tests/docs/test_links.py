"""Links of the documentation lead somewhere, and commands it names exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = [m for m in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()) if "://" not in m]
    missing = [m for m in links if not (page.parent / m).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_commands_exist(page):
    from matterloop.app.cli import app

    known = {c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands} | {group.name for group in app.registered_groups}
    named = {m for m in re.findall(r"(?:^|`)matterloop ([a-z]+)", page.read_text(), re.M)}
    assert named <= known, named - known
