"""The command line in this process, and one small real run that tests copy."""

import os
import shutil

import pytest
from typer.testing import CliRunner

OWN = """formula,energy_per_atom,scheme,potential
Li,-1.9,mp2020,chgnet
O2,-4.9,mp2020,chgnet
Li2O,-4.8,mp2020,chgnet
Xq,-1,mp2020,chgnet
LiO2,abc,mp2020,chgnet
Li2O2,nan,mp2020,chgnet
"""
WISH = "binary lithium oxides that smell"


@pytest.fixture(scope="session")
def cli():
    """(exit code, standard output, standard error) of a command line, with errors raised on purpose turned into words as `main` does."""
    from matterloop.app.cli import app
    from matterloop.base.errors import MatterloopError

    def run(*args):
        result = CliRunner().invoke(app, [str(a) for a in args])
        if isinstance(result.exception, MatterloopError):
            return 2, result.stdout, f"{result.stderr}error: {result.exception}"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture(scope="session")
def finished(cli, tmp_path_factory):
    """(folder, standard output, standard error) of a run of two proposals against a reference of one's own."""
    place = tmp_path_factory.mktemp("finished")
    (place / "own.csv").write_text(OWN)
    before = os.environ.get("COLUMNS")
    code, out, err = cli("discover", WISH, "--count", 2, "--reference", place / "own.csv", "--out", place / "run", "--no-lookup", "--json")
    assert code == 0 and os.environ.get("COLUMNS") == before, err
    return place / "run", out, err


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of that run's folder."""
    return shutil.copytree(finished[0], tmp_path / "run")
