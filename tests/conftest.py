"""Fixtures shared by the rooms' tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)  # a slow machine is no failure, and a failure can be repeated
settings.load_profile("steady")


def find_data() -> Path | None:
    """The folder of real data sets, or None on a machine without it."""
    place = os.environ.get("MATTERLOOP_DATA")
    return Path(place) if place and Path(place).is_dir() else None


def pytest_collection_modifyitems(items):
    if find_data() is None:
        skip = pytest.mark.skip(reason="the real data sets are not on this machine; set MATTERLOOP_DATA")
        for item in items:
            if "data" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    found = find_data()
    assert found is not None, "mark tests that use data_dir with @pytest.mark.data"
    return found
