"""What happens to an archive when its process is killed, its disk fills, its folder cannot be written or its file is damaged."""

import os
import sqlite3

import pytest

from matterloop.archive.database import open_archive
from matterloop.archive.failures import ArchiveError, Conflict
from matterloop.base.errors import BadInput, MatterloopError, Missing

KILLED = """
import os, random, signal, sys, time
import torch
from matterloop.archive.database import open_archive
from matterloop.archive.failures import Conflict
from matterloop.archive.records import Candidate
from matterloop.crystal.state import Crystals

def write(where, out):
    with open_archive(where, wait=30) as archive:
        for attempt in range(100):  # a server needs a moment to notice that a client died
            try:
                lock = archive.lock("a")
                lock.__enter__()
                break
            except Conflict:
                time.sleep(0.05)
        while True:
            number = len(archive.events("a")) if attempt is not None else number + 1
            attempt = None
            crystals = Crystals.of(torch.rand(8, 3), [number % 100 + 1] * 8, torch.eye(3).expand(4, 3, 3) * 3, [2] * 4)
            event = archive.append("a", "proposed", {"i": number}, crystals=crystals[:2], candidates=[Candidate(f"k-{number}-{i}", crystals[i], "s") for i in (2, 3)])
            assert event.number == number
            os.write(out, b"%d\\n" % number)  # said only after the commit

where, kills = sys.argv[1], int(sys.argv[2])
open_archive(where).close()
moments, said = random.Random(0), []
for _ in range(kills):
    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(into)
        try:
            write(where, out)
        finally:
            os._exit(1)
    os.close(out)
    heard = os.read(into, 1 << 20)
    time.sleep(moments.uniform(0, 0.08))
    os.kill(child, signal.SIGKILL)
    while part := os.read(into, 1 << 20):
        heard += part
    os.close(into)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    said += [int(x) for x in heard.split()]
print(*said)
"""


def test_kill_9_leaves_whole_events_without_gaps(where, python):
    said = [int(x) for x in python(KILLED, where, "8").split()]
    with open_archive(where, create=False) as archive:
        log = archive.events("a")
        assert [e.number for e in log] == list(range(len(log))) and len(log) >= 8
        assert said == sorted(set(said)) and set(said) <= {e.number for e in log}  # all that was acknowledged is there
        assert len(log) - len(said) <= 8  # and at most one unacknowledged event for each kill
        named = [k for e in log for k in e.content["crystals"]]
        assert len(archive.get_crystals(named)) == 2 * len(log)
        assert [c.key for c in archive.candidates("a")] == [k for e in log for k in e.content["candidates"]]
        assert archive.verify() == []
        assert archive.append("a", "resumed").number == len(log)


KILLED_AT_START = """
import os, random, signal, sys, time
from matterloop.archive.database import open_archive
folder, moments = sys.argv[1], random.Random(1)
for kill in range(6):
    child = os.fork()
    if child == 0:
        i = 0
        while True:
            open_archive(f"{folder}/{kill}-{i}.db").close()
            i += 1
    time.sleep(moments.uniform(0.05, 0.15))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_kill_9_while_an_archive_is_made_leaves_it_usable(tmp_path, python):
    python(KILLED_AT_START, str(tmp_path))
    made = sorted(tmp_path.glob("*.db"))
    assert len(made) >= 6
    for path in made:
        with open_archive(path) as archive:
            assert archive.append("a", "started").number == 0 and archive.verify() == []


def test_a_full_disk_keeps_what_was_committed(tmp_path, make_crystals):
    where = tmp_path / "a.db"
    with open_archive(where) as archive:
        with archive.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {connection.exec_driver_sql('PRAGMA page_count').scalar() + 40}")
        with pytest.raises(ArchiveError, match="the disk is full.*Nothing of this step was written; everything committed before is kept"):
            for i in range(1000):
                archive.append("a", "proposed", {"i": i}, crystals=make_crystals(20, seed=i))
        log = archive.events("a")
        assert 0 < len(log) < 1000
    with open_archive(where) as archive:  # space again: the same archive goes on
        assert archive.verify() == []
        assert archive.events("a") == log
        assert len(archive.find_crystals()) == 20 * len(log)
        assert archive.append("a", "resumed").number == len(log)


FILE_LIMIT = """
import resource, sys
from matterloop.archive.database import open_archive
from matterloop.archive.failures import ArchiveError
with open_archive(sys.argv[1]) as archive:
    archive.append("a", "started")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    written = 1
    try:
        for _ in range(1000):
            archive.append("a", "judged", {"text": "x" * 3000})
            written += 1
    except ArchiveError as error:
        print(written, error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert archive.append("a", "resumed").number == written
"""


def test_a_file_size_limit_keeps_what_was_committed(tmp_path, python):
    written, _, message = python(FILE_LIMIT, str(tmp_path / "a.db")).partition(" ")
    assert "the disk is full, over its quota or faulty" in message
    with open_archive(tmp_path / "a.db") as archive:
        assert [e.kind for e in archive.events("a")] == ["started", *["judged"] * (int(written) - 1), "resumed"] and int(written) > 5
        assert archive.verify() == []


UNWRITABLE = """
import os, sys
from pathlib import Path
from matterloop.archive.database import open_archive
from matterloop.base.errors import MatterloopError
folder = Path(sys.argv[1])
with open_archive(folder / "warm.db") as archive:  # imports all that is needed while the interpreter's own files can be read
    archive.append("a", "started")
    with archive.lock("a"):
        pass
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
closed = folder / "closed"
def attempt(what):
    try:
        what()
    except MatterloopError as error:
        print(type(error).__name__, error)
    else:
        print("done")
attempt(lambda: open_archive(closed / "new.db"))
attempt(lambda: open_archive(closed / "old.db").append("a", "judged"))
with open_archive(closed / "old.db", readonly=True) as archive:
    print([e.kind for e in archive.events("a")])
    attempt(lambda: archive.append("a", "judged"))
    attempt(lambda: archive.lock("a").__enter__())
"""


def test_a_folder_that_cannot_be_written(tmp_path, python):
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder.stat().st_uid == os.geteuid() and str(folder) != "/tmp":
            folder.chmod(0o755)
    closed = tmp_path / "closed"
    closed.mkdir()
    with open_archive(closed / "old.db") as archive:
        archive.append("a", "started")
    (closed / "old.db").chmod(0o444)
    closed.chmod(0o555)
    try:
        new, old, events, append, lock = python(UNWRITABLE, str(tmp_path)).splitlines()
    finally:
        closed.chmod(0o755)
    assert new.startswith("ArchiveError") and "cannot be opened" in new
    assert old.startswith("ArchiveError") and ("read-only" in old or "cannot be opened" in old)
    assert events == "['started']"
    assert append.startswith("ArchiveError") and "read-only" in append
    assert lock.startswith("ArchiveError") and "allow writing to the folder" in lock


def test_a_locked_database_is_said_and_left_alone(tmp_path):
    with open_archive(tmp_path / "a.db", wait=0.1) as archive:
        archive.append("a", "started")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Conflict, match="locked by another process"):
            archive.append("a", "asked")
        other.execute("COMMIT")
        other.close()
        assert archive.append("a", "asked").number == 1


@pytest.mark.postgres
def test_a_locked_table_is_said_and_left_alone(postgres_where):
    with open_archive(postgres_where, wait=0.2) as archive, open_archive(postgres_where) as other:
        archive.append("a", "started")
        with other.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Conflict, match="locked by another process"):
                archive.append("a", "asked")
        assert archive.append("a", "asked").number == 1


@pytest.mark.postgres
def test_a_lost_connection_is_said_and_the_next_step_connects_again(postgres_where):
    with open_archive(postgres_where) as archive, open_archive(postgres_where) as other:
        archive.append("a", "started")
        with archive.engine.connect() as connection:
            mine = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with other.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({mine})")
        assert archive.append("a", "asked").number == 1


@pytest.mark.parametrize("content", [b"not a database, but long enough to hold a header" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_unchanged(tmp_path, content):
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="damaged or no database"):
        open_archive(path)
    assert path.read_bytes() == content


def test_damage_inside_is_an_error_never_a_wrong_answer(tmp_path, make_crystals):
    path = tmp_path / "a.db"
    crystals = make_crystals(300)
    with open_archive(path) as archive:
        keys = archive.append("a", "proposed", crystals=crystals).content["crystals"]
    whole = bytearray(path.read_bytes())
    seen = 0
    for page in range(1, len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + bytes(b ^ 0x5A for b in whole[page * 4096 : page * 4096 + 4096]) + whole[page * 4096 + 4096 :])
        try:
            with open_archive(path) as archive:
                assert archive.get_crystals(keys).frac.equal(crystals.frac)
                assert archive.events("a")[0].content["crystals"] == keys
                wrong = archive.verify()
        except (BadInput, ArchiveError, Missing):
            seen += 1
        else:
            seen += bool(wrong)
    assert seen == len(whole) // 4096 - 1


def test_half_a_file_is_an_error(tmp_path, make_crystals):
    path = tmp_path / "a.db"
    with open_archive(path) as archive:
        archive.append("a", "proposed", crystals=make_crystals(300))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MatterloopError), open_archive(path) as archive:
        archive.get_crystals(archive.events("a")[0].content["crystals"])


def test_another_programs_database_is_refused_unchanged(tmp_path):
    other = sqlite3.connect(tmp_path / "a.db")
    other.execute("CREATE TABLE recipes (name)")
    other.commit()
    other.close()
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(BadInput, match="not an archive of matterloop: it holds recipes"):
        open_archive(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == before


def test_readers_go_on_while_one_writes(where):
    with open_archive(where, wait=1) as archive, open_archive(where) as reader:
        archive.append("a", "started")
        with reader.engine.connect() as connection, connection.begin():
            assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 1
            assert archive.append("a", "asked").number == 1  # a reader in the middle of its reading does not hold the writer up
        assert len(reader.events("a")) == 2


def test_sqlite_flushes_every_commit(tmp_path):
    with open_archive(tmp_path / "a.db") as archive, archive.engine.connect() as connection:
        asked = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")}
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}


def test_a_folder_is_no_database(tmp_path):
    with pytest.raises(BadInput, match="a folder, not a database file"):
        open_archive(tmp_path)
    with pytest.raises(ArchiveError, match="the folder must exist"):
        open_archive(tmp_path / "none" / "a.db")


def test_an_empty_file_left_by_a_killed_start_is_made_good(tmp_path):
    (tmp_path / "a.db").touch()
    with open_archive(tmp_path / "a.db") as archive:
        assert archive.append("a", "started").number == 0
