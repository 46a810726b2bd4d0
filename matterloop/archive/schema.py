"""The tables of an archive, the triggers that keep its log append-only, and the two engines they stand on."""

from __future__ import annotations

import os
import sqlite3
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.seeds import derive
from .failures import APPEND_ONLY, OUT_OF_ORDER, plain_errors

SCHEMA_VERSION = 1

metadata = sa.MetaData()
meta = sa.Table("meta", metadata, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False))
crystals = sa.Table(
    "crystals", metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # SHA-256 of `blob`
    sa.Column("blob", sa.LargeBinary, nullable=False),
    sa.Column("formula", sa.Text, nullable=False, index=True),  # "Cl4 Na4"
    sa.Column("n_atoms", sa.Integer, nullable=False),
    sa.Column("elements", sa.Text, nullable=False, index=True),  # "Cl-Na"
)
events = sa.Table(
    "events", metadata,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),  # JSON
    sa.Column("time", sa.Text, nullable=False),  # UTC, ISO 8601
)
candidates = sa.Table(
    "candidates", metadata,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("event", sa.BigInteger, nullable=False),  # that brought it
    sa.Column("place", sa.Integer, nullable=False),  # within that event
    sa.Column("crystal", sa.String(64), sa.ForeignKey("crystals.key"), nullable=False, index=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("parents", sa.Text, nullable=False),  # JSON
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("about", sa.Text, nullable=False),  # JSON
    sa.ForeignKeyConstraint(["campaign", "event"], ["events.campaign", "events.number"]),
)
KEPT_FOREVER = ("events", "candidates", "crystals")

_NEXT = "(SELECT coalesce(max(number) + 1, 0) FROM events WHERE campaign = NEW.campaign)"
# The check before INSERT also stops `INSERT OR REPLACE`, which otherwise removes the old row without firing a delete trigger.
_SQLITE_TRIGGERS = [
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END"
    for table in KEPT_FOREVER for verb in ("UPDATE", "DELETE")
] + [f"CREATE TRIGGER events_in_order BEFORE INSERT ON events WHEN NEW.number IS NOT {_NEXT} BEGIN SELECT RAISE(ABORT, '{OUT_OF_ORDER}'); END"]
_POSTGRES_TRIGGERS = [
    f"CREATE FUNCTION matterloop_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{APPEND_ONLY}'; END $$",
    f"CREATE FUNCTION matterloop_in_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"IF NEW.number <> {_NEXT} THEN RAISE EXCEPTION '{OUT_OF_ORDER}'; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER events_in_order BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION matterloop_in_order()",
] + [
    f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION matterloop_append_only()"
    for table in KEPT_FOREVER
]


def sqlite_engine(path: Path, *, mode: str, wait: float) -> sa.Engine:
    """Engine on a SQLite file; `mode` is SQLite's ro, rw or rwc, `wait` the seconds to wait for another writer."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    if mode == "ro" and not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists():
        uri += "&immutable=1"  # WAL wants two files beside the database even to read; nobody can write here, so it can do without

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA recursive_triggers = ON")  # REPLACE then fires the delete triggers too
            if mode != "ro":
                # FULL: one flush for each commit, so that a committed event outlives a power cut; NORMAL outlives only a killed process.
                connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A writer takes the write lock at once: a transaction that first reads and then writes could fail half-way without waiting.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

    return engine


def postgres_engine(url: sa.URL, *, readonly: bool, wait: float) -> sa.Engine:
    """Engine on a PostgreSQL server through psycopg."""
    if find_spec("psycopg") is None:
        raise NeedsPackage("psycopg", "an archive on PostgreSQL", "'matterloop[postgres]'")
    settings = f"-c lock_timeout={int(wait * 1000)} -c default_transaction_read_only={'on' if readonly else 'off'}"
    given = url.query.get("options", "")
    url = url.set(drivername="postgresql+psycopg").update_query_dict({"options": f"{given} {settings}".strip(), "connect_timeout": str(max(2, int(wait)))})
    return sa.create_engine(url, pool_pre_ping=True)


def use_wal(engine: sa.Engine, where: str) -> None:
    """Let readers go on while one process writes; the file remembers it, so this comes only after it is known to be ours."""
    with plain_errors(where):
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


def prepare(engine: sa.Engine, where: str, *, create: bool) -> None:
    """Make the tables of a new database (`create`), or see that those found are of our version; BadInput otherwise."""
    with plain_errors(where), engine.connect().execution_options(writes=create) as connection, connection.begin():
        if create and engine.dialect.name == "postgresql":  # two processes may open a new database at once
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(derive(0, "matterloop schema"))))
        tables = set(sa.inspect(connection).get_table_names())
        if "meta" in tables and {c["name"] for c in sa.inspect(connection).get_columns("meta")} == {"name", "value"}:
            found = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "schema_version"))
            if found != str(SCHEMA_VERSION):
                raise BadInput(f"the database has schema version {found or 'unknown'}, this matterloop reads version {SCHEMA_VERSION}; open it with the "
                               "matterloop that wrote it (its version stands in run.toml), or start in a new folder. Nothing was changed", where)
        elif taken := tables & set(metadata.tables) if engine.dialect.name == "postgresql" else tables:
            raise BadInput(f"a database, but not an archive of matterloop: it holds {', '.join(sorted(taken)[:5])}. Nothing was changed", where)
        elif not create:
            raise Missing("archive", where)
        else:
            metadata.create_all(connection)
            for statement in _SQLITE_TRIGGERS if engine.dialect.name == "sqlite" else _POSTGRES_TRIGGERS:
                connection.exec_driver_sql(statement)
            connection.execute(sa.insert(meta), [{"name": "schema_version", "value": str(SCHEMA_VERSION)}])
