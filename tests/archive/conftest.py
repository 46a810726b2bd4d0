"""Archives to test on: a new SQLite file or a new schema on a real PostgreSQL server that the tests start themselves."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch

from matterloop.archive.database import open_archive
from matterloop.crystal.state import Crystals

HOMES = "/usr/lib/postgresql"


def server_programs() -> Path | None:
    """The folder with initdb and postgres, the newest of Debian's if none is in PATH."""
    if (found := shutil.which("initdb")) and shutil.which("postgres"):
        return Path(found).resolve().parent
    numbered = [p for p in Path(HOMES).glob("*/bin") if (p / "postgres").exists() and (p / "initdb").exists()]
    return max(numbered, key=lambda p: float(p.parent.name), default=None)


def unprivileged() -> dict:
    """Arguments of subprocess that leave root, under which the server refuses to run."""
    if os.geteuid() != 0:
        return {}
    import pwd

    names = {p.pw_name: p for p in pwd.getpwall()}
    account = names.get("postgres") or names["nobody"]
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres_server():
    """URL of a server: $MATTERLOOP_TEST_POSTGRES, or one started for this session on a socket of its own."""
    if url := os.environ.get("MATTERLOOP_TEST_POSTGRES"):
        yield url
        return
    programs = server_programs()
    if programs is None:
        reason = "no PostgreSQL server program found; run .ci/postgres.sh or set MATTERLOOP_TEST_POSTGRES"
        if os.environ.get("MATTERLOOP_NEED_POSTGRES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    account, folder = unprivileged(), Path(tempfile.mkdtemp(prefix="mlpg"))
    if account:
        os.chown(folder, account["user"], account["group"])
    options = {"cwd": folder, "env": {**os.environ, "LC_ALL": "C"}, **account}
    with (folder / "log").open("wb") as log:
        subprocess.run([programs / "initdb", "-D", folder / "data", "-U", "matterloop", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"],
                       check=True, stdout=log, stderr=log, **options)
        # On a socket only: no port to collide on. fsync off: the tests kill clients, not the machine.
        server = subprocess.Popen([programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off",
                                   "-c", "unix_socket_permissions=0700", "-c", "max_connections=50"], stdout=log, stderr=log, **options)
    url = f"postgresql+psycopg://matterloop@/postgres?host={folder}"
    try:
        engine = sa.create_engine(url)
        for attempt in range(300):
            assert server.poll() is None, (folder / "log").read_text()
            try:
                engine.connect().close()
                break
            except sa.exc.OperationalError:
                time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        engine.dispose()
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # the server's "fast" stop: it does not wait for clients
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_where(postgres_server, tmp_path):
    """URL of an empty schema of its own on the server."""
    schema = "t" + "".join(c if c.isalnum() else "_" for c in f"{tmp_path.name}_{os.getpid()}".lower())[-50:]
    engine = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    yield sa.make_url(postgres_server).update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def where(request, tmp_path):
    """Where a new archive may be made: a file's path, then a PostgreSQL URL."""
    return str(tmp_path / "campaign.db") if request.param == "sqlite" else request.getfixturevalue("postgres_where")


@pytest.fixture
def archive(where):
    with open_archive(where) as opened:
        yield opened


def some_crystals(count: int, seed: int = 0, **fields) -> Crystals:
    """`count` crystals of 1 to 5 atoms with numbers that differ from each other."""
    g = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 6, (count,), generator=g)
    n = int(counts.sum())
    cell = torch.eye(3, dtype=torch.float64) * 4 + torch.rand(count, 3, 3, generator=g, dtype=torch.float64)
    return Crystals.of(torch.rand(n, 3, generator=g, dtype=torch.float64), torch.randint(1, 90, (n,), generator=g), cell, counts, **fields)


def run_python(script: str, *arguments: str) -> str:
    """What a fresh interpreter prints while running `script`; its failure is the test's."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def make_crystals():
    return some_crystals


@pytest.fixture
def python():
    return run_python
