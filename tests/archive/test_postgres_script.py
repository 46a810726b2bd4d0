"""The script that makes a PostgreSQL server available, run against a machine made of stand-ins."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "postgres.sh"
TOOLS = ("ls", "sort", "tail", "grep", "mktemp", "rm", "mkdir", "chmod", "cat")


@pytest.fixture
def machine(tmp_path):
    """Run the script where only a few programs exist; `apt` is the body of apt-get, None leaves it out."""
    tools, home = tmp_path / "bin", tmp_path / "postgresql"
    tools.mkdir()
    home.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists()))

    def program(name: str, body: str, folder: Path = tools) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)

    def run(apt: str | None, user: int = 0, **environment: str):
        program("id", f"echo {user}")
        if apt is not None:
            program("apt-get", f'echo "$@" >> {tmp_path}/asked\n{apt}')
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MATTERLOOP_", "POSTGRES_"))}
        return subprocess.run(["/bin/sh", SCRIPT], env={**kept, "PATH": str(tools), "POSTGRES_HOME": str(home), **environment}, capture_output=True, text=True)

    run.home, run.program, run.asked = home, program, lambda: (tmp_path / "asked").read_text().splitlines()
    return run


def test_an_installed_server_is_found_and_nothing_installed(machine):
    for version in ("9", "15", "13"):
        machine.program("postgres", "", machine.home / version / "bin")
    done = machine("exit 1")
    assert done.returncode == 0 and done.stdout.strip().endswith("15/bin/postgres")


def test_the_package_is_installed_where_there_is_none(machine):
    server = machine.home / "17" / "bin"
    done = machine(f'case "$1" in install) mkdir -p {server}; echo > {server}/postgres; chmod 755 {server}/postgres;; esac')
    assert done.returncode == 0 and "17/bin/postgres (installed now)" in done.stdout, done.stderr
    assert machine.asked() == ["update -q", "install -q -y --no-install-recommends postgresql"]


@pytest.mark.parametrize("apt, user, why", [(None, 0, "no apt-get"), ("", 1000, "only root may install"), ("echo no network; exit 100", 0, "could not install")])
def test_where_it_cannot_be_installed_only_ci_fails(machine, apt, user, why):
    done = machine(apt, user)
    assert done.returncode == 0 and why in done.stderr and "skipped" in done.stderr
    assert machine(apt, user, MATTERLOOP_NEED_POSTGRES="1").returncode == 1
