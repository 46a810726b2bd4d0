"""The archive: crystals by content, candidates, and the append-only log of events that is a campaign's only truth.

One schema on two engines: a SQLite file (the default) or a PostgreSQL database by URL. An event, the crystals it names and
the candidates it brings are committed in one transaction, so a process that dies leaves whole events or none. Events are
numbered 0, 1, 2, ... within a campaign; triggers in the database itself refuse gaps, changes and removals.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ..base.elements import symbol
from ..base.errors import BadInput, Missing
from ..crystal.state import Crystals
from . import schema
from .codec import content_key, decode, encode
from .failures import plain_errors
from .locks import file_lock, server_lock
from .plain import from_json, to_json
from .records import Candidate, Event

CHUNK = 5000  # keys of one query: below the parameter limits of both engines
State = TypeVar("State")


def open_archive(where: str | Path, *, create: bool = True, readonly: bool = False, wait: float = 10.0) -> Archive:
    """Open the archive at a path (SQLite) or a URL "postgresql+psycopg://user@host/name".

    create    make the file and its tables if they are not there; without it Missing
    readonly  refuse to write; a finished archive can then be read in a folder that cannot be written
    wait      seconds to wait for another process's transaction before Conflict
    BadInput for a database of another version, of another program, or damaged; ArchiveError where disk or server refuse.
    """
    create = create and not readonly
    if "://" in str(where):
        try:
            url = sa.make_url(str(where))
        except (sa.exc.ArgumentError, ValueError):
            raise BadInput("not a database URL; write postgresql+psycopg://user@host/name or the path of a file", "archive") from None
        if url.get_backend_name() != "postgresql":
            raise BadInput(f"a {url.get_backend_name()} database cannot hold an archive; give the path of a SQLite file or a postgresql+psycopg:// URL", "archive")
        engine, path, name = schema.postgres_engine(url, readonly=readonly, wait=wait), None, url.render_as_string(hide_password=True)
    else:
        path = Path(where).expanduser()
        name = str(path)
        if path.is_dir():
            raise BadInput("a folder, not a database file", name)
        if not create and not path.exists():
            raise Missing("archive", name)
        engine = schema.sqlite_engine(path, mode="rwc" if create else "ro" if readonly else "rw", wait=wait)
    try:
        schema.prepare(engine, name, create=create)
        if path is not None and not readonly:
            schema.use_wal(engine, name)
    except BaseException:
        engine.dispose()
        raise
    return Archive(engine, name, path)


class Archive:
    """An open archive; made by `open_archive`, usable as a context manager, safe to share between threads.

    It remembers for each campaign the last event it has read or written and appends only after that one: where another process
    has appended meanwhile, `append` raises Conflict instead of mixing two histories. Reading the log again adopts them.
    """

    def __init__(self, engine: sa.Engine, name: str, path: Path | None):
        self.engine, self.name, self.path = engine, name, path
        self._next: dict[str, int] = {}
        self._turn = threading.RLock()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; SQLite then folds its WAL file into the database."""
        self.engine.dispose()

    # the log

    def campaigns(self) -> list[str]:
        """Names of all campaigns with at least one event."""
        return [r.campaign for r in self._read(sa.select(schema.events.c.campaign).distinct().order_by("campaign"))]

    def events(self, campaign: str, *, since: int = 0) -> list[Event]:
        """The events of `campaign` from number `since` on, in order; empty for a campaign that has none."""
        e = schema.events.c
        with self._turn:
            rows = self._read(sa.select(e.number, e.kind, e.content, e.time).where(e.campaign == _named(campaign), e.number >= since).order_by(e.number))
            if rows or since == 0:
                self._next[campaign] = rows[-1].number + 1 if rows else 0
        return [Event(r.number, r.kind, from_json(r.content), r.time) for r in rows]

    def stream(self, campaign: str) -> Iterator[Event]:
        """The events of `campaign` in order, a few thousand at a time: a long log need not fit into memory."""
        e, number = schema.events.c, 0
        while True:
            rows = self._read(sa.select(e.number, e.kind, e.content, e.time).where(e.campaign == _named(campaign), e.number >= number).order_by(e.number).limit(CHUNK))
            with self._turn:
                self._next[campaign] = number = rows[-1].number + 1 if rows else number
            if not rows:
                return
            yield from (Event(r.number, r.kind, from_json(r.content), r.time) for r in rows)

    def append(self, campaign: str, kind: str, content: Mapping[str, Any] | None = None, *,
               crystals: Crystals | Iterable[Crystals] | None = None, candidates: Sequence[Candidate] = ()) -> Event:
        """Write the next event, with the crystals it names and the candidates it brings, in one transaction; return it.

        Given `crystals`, their keys are put into content["crystals"], in order; given `candidates`, their keys into
        content["candidates"]. A content["crystals"] of the caller's own must name crystals already in the archive (Missing).
        Conflict if another process has appended to the campaign since this archive last read or wrote it. BadInput for content
        that is not JSON and for a candidate key that stands for something else already.
        """
        content = dict(content or {})
        rows = _crystal_rows([crystals] if isinstance(crystals, Crystals) else list(crystals or ()))
        if crystals is not None:
            _fill(content, "crystals", [r["key"] for r in rows])
        brought = _crystal_rows([c.crystal for c in candidates])
        if len(brought) != len(candidates):
            raise BadInput("a candidate holds exactly one crystal", "event")
        if candidates:
            _fill(content, "candidates", [c.key for c in candidates])
        if wide := [c for c in candidates if not -(2**63) <= c.seed < 2**63]:
            raise BadInput(f"the seed {wide[0].seed} of candidate {wide[0].key!r} needs more than 64 bits", "event")
        return self._write(campaign, [(kind, content)], rows, candidates, brought)[0]

    def append_many(self, campaign: str, records: Sequence[tuple[str, Mapping[str, Any], Crystals | None]]) -> list[Event]:
        """Write several events in one transaction, all or none: (kind, content, crystals it names or None) each; return them.

        As one `append` after another, at a fraction of the time: the disk is waited for once.
        """
        contents = [(kind, dict(content or {})) for kind, content, _ in records]
        named = [(content, crystals) for (_, content), (_, _, crystals) in zip(contents, records, strict=True) if crystals is not None]
        rows = _crystal_rows([crystals for _, crystals in named])
        start = 0
        for content, crystals in named:
            _fill(content, "crystals", [r["key"] for r in rows[start : start + len(crystals)]])
            start += len(crystals)
        return self._write(campaign, contents, rows, (), []) if contents else []

    def lock(self, campaign: str) -> AbstractContextManager[None]:
        """Be the only writer of `campaign` while the context lasts; Conflict at once if another is. Freed when the process dies."""
        return server_lock(self.engine, _named(campaign)) if self.path is None else file_lock(self.path, _named(campaign))

    # crystals

    def put_crystals(self, crystals: Crystals) -> list[str]:
        """Keep every crystal of the batch, fields included; return their keys in order. One already there is kept once."""
        rows = _crystal_rows([crystals])
        with plain_errors(self.name), self._writing() as connection:
            self._insert_crystals(connection, rows)
            connection.commit()
        return [r["key"] for r in rows]

    def get_crystals(self, keys: Sequence[str], *, bare: bool = False) -> Crystals:
        """The crystals called `keys`, in that order, as one batch; `bare` leaves site and whole fields out.

        Missing for an unknown key; BadInput if stored bytes no longer agree with their key, or if the crystals carry different
        fields and `bare` is not set.
        """
        c, found = schema.crystals.c, {}
        for part in _chunks(sorted(set(keys))):
            for row in self._read(sa.select(c.key, c.blob).where(c.key.in_(part))):
                if content_key(row.blob) != row.key:
                    raise BadInput(f"the bytes of crystal {row.key[:12]} are damaged: they no longer agree with their key", self.name)
                found[row.key] = row.blob
        if lost := [k for k in keys if k not in found]:
            raise Missing("crystal", lost[0])
        return decode([found[k] for k in keys], bare=bare)

    def find_crystals(self, *, elements: Iterable[int] | None = None, formula: str | None = None, n_atoms: int | None = None) -> list[str]:
        """Keys of the crystals of exactly these `elements` (atomic numbers), this `formula` ("Cl4 Na4") and `n_atoms`; sorted."""
        c, wanted = schema.crystals.c, []
        if elements is not None:
            wanted.append(c.elements == _system(elements))
        if formula is not None:
            wanted.append(c.formula == formula)
        if n_atoms is not None:
            wanted.append(c.n_atoms == n_atoms)
        return [r.key for r in self._read(sa.select(c.key).where(*wanted).order_by(c.key))]

    # candidates

    def candidates(self, campaign: str, keys: Sequence[str] | None = None) -> list[Candidate]:
        """The candidates of `campaign` in the order they were brought, or those called `keys` in that order; Missing for an unknown key."""
        k, c = schema.candidates.c, schema.crystals.c
        wanted = sa.select(schema.candidates, c.blob).join(schema.crystals, c.key == k.crystal).where(k.campaign == _named(campaign))
        if keys is None:
            rows = self._read(wanted.order_by(k.event, k.place))
        else:
            found = {r.key: r for part in _chunks(sorted(set(keys))) for r in self._read(wanted.where(k.key.in_(part)))}
            if lost := [key for key in keys if key not in found]:
                known = self._read(sa.select(k.key).where(k.campaign == campaign).limit(CHUNK))
                raise Missing("candidate", lost[0], [r.key for r in known])
            rows = [found[key] for key in keys]
        return [Candidate(r.key, crystal, r.source, tuple(from_json(r.parents)), r.seed, from_json(r.about))
                for r, crystal in zip(rows, _decode_each([r.blob for r in rows]), strict=True)]

    def candidates_like(self, campaign: str, crystals: Crystals) -> set[str]:
        """Keys of the candidates of `campaign` that consist of the same elements as one of `crystals`: all that could be the same crystal."""
        k, c, found = schema.candidates.c, schema.crystals.c, set()
        ends, species = crystals.offsets.tolist(), crystals.species.tolist()
        systems = sorted({_system(species[a:b]) for a, b in zip(ends, ends[1:], strict=False)})
        wanted = sa.select(k.key).join(schema.crystals, c.key == k.crystal).where(k.campaign == _named(campaign))
        for part in _chunks(systems):
            found.update(r.key for r in self._read(wanted.where(c.elements.in_(part))))
        return found

    # health

    def verify(self) -> list[str]:
        """Everything that is wrong with the archive, one sentence each; empty if it is whole. Reads all of it."""
        with plain_errors(self.name), self.engine.connect() as connection, connection.begin():
            wrong = []
            if self.path is not None:
                wrong += [f"SQLite: {r[0]}" for r in connection.exec_driver_sql("PRAGMA integrity_check") if r[0] != "ok"]
            known, c, e = set(), schema.crystals.c, schema.events.c
            for key, blob in connection.execution_options(yield_per=CHUNK).execute(sa.select(c.key, c.blob)):
                known.add(key)
                if content_key(blob) != key:
                    wrong.append(f"crystal {key[:12]}: its bytes do not agree with its key")
            expected: dict[str, int] = {}
            for campaign, number, text in connection.execution_options(yield_per=CHUNK).execute(
                    sa.select(e.campaign, e.number, e.content).order_by(e.campaign, e.number)):
                if number != expected.get(campaign, 0):
                    wrong.append(f"campaign {campaign!r}: event {number} follows, {expected.get(campaign, 0)} is missing")
                expected[campaign] = number + 1
                wrong += [f"campaign {campaign!r}, event {number}: crystal {k[:12]} is missing" for k in _keys_in(from_json(text)) if k not in known]
        return wrong

    # inside

    def _read(self, query: sa.Select) -> list[sa.Row]:
        with plain_errors(self.name), self.engine.connect() as connection, connection.begin():
            return list(connection.execute(query))

    def _writing(self) -> sa.Connection:
        return self.engine.connect().execution_options(writes=True)

    def _write(self, campaign: str, contents: list[tuple[str, dict]], rows: list[dict], candidates: Sequence[Candidate], brought: list[dict]) -> list[Event]:
        """The next events with new crystals (`rows`), and candidates of the last of them with theirs (`brought`), in one transaction."""
        _named(campaign)
        if wrong := [kind for kind, _ in contents if not isinstance(kind, str) or not kind]:
            raise BadInput(f"the kind of an event is a word, got {wrong[0]!r}", "event")
        elsewhere = {key for _, content in contents for key in _keys_in(content)} - {r["key"] for r in rows}
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        texts = [to_json(content) for _, content in contents]
        with self._turn, plain_errors(self.name, f"campaign {campaign!r}"), self._writing() as connection:
            number = self._next.get(campaign)
            if number is None:
                e = schema.events.c
                number = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(e.number) + 1, 0)).where(e.campaign == campaign))
            connection.execute(sa.insert(schema.events), [
                {"campaign": campaign, "number": number + i, "kind": kind, "content": text, "time": time} for i, ((kind, _), text) in enumerate(zip(contents, texts, strict=True))])
            self._insert_crystals(connection, rows + brought)
            self._require(connection, elsewhere)
            self._insert_candidates(connection, campaign, number + len(contents) - 1, candidates, [r["key"] for r in brought])
            connection.commit()
            self._next[campaign] = number + len(contents)
        return [Event(number + i, kind, from_json(text), time) for i, ((kind, _), text) in enumerate(zip(contents, texts, strict=True))]

    def _insert_crystals(self, connection: sa.Connection, rows: list[dict]) -> None:
        if rows:
            insert = (sqlite if self.path is not None else postgresql).insert(schema.crystals).on_conflict_do_nothing()
            connection.execute(insert, list({r["key"]: r for r in rows}.values()))

    def _require(self, connection: sa.Connection, keys: set[str]) -> None:
        c, found = schema.crystals.c, set()
        for part in _chunks(sorted(keys)):
            found.update(connection.scalars(sa.select(c.key).where(c.key.in_(part))))
        if lost := sorted(keys - found):
            raise Missing("crystal", lost[0])

    def _insert_candidates(self, connection: sa.Connection, campaign: str, number: int, candidates: Sequence[Candidate], crystals: list[str]) -> None:
        k = schema.candidates.c
        for part in _chunks([c.key for c in candidates]):
            taken = connection.scalar(sa.select(k.key).where(k.campaign == campaign, k.key.in_(part)).limit(1))
            if taken is not None or len(set(part)) < len(part):
                twice = taken or next(key for key in part if part.count(key) > 1)
                raise BadInput(f"the candidate {twice!r} is already there; every candidate of a campaign has a key of its own", self.name)
        if candidates:
            connection.execute(sa.insert(schema.candidates), [
                {"campaign": campaign, "key": c.key, "event": number, "place": i, "crystal": key, "source": c.source, "seed": c.seed,
                 "parents": to_json(list(c.parents), "parents"), "about": to_json(c.about, "about")}
                for i, (c, key) in enumerate(zip(candidates, crystals, strict=True))])


def fold(events: Iterable[Event], reducer: Callable[[State, Event], State], start: State) -> State:
    """The state after all `events`: reducer(...reducer(reducer(start, e0), e1)..., en). BadInput at a gap in their numbers."""
    state, last = start, None
    for event in events:
        if last is not None and event.number != last + 1:
            raise BadInput(f"event {event.number} follows event {last}", "log")
        state, last = reducer(state, event), event.number
    return state


def _crystal_rows(batches: Iterable[Crystals]) -> list[dict]:
    batches = list(batches)
    if len(batches) > 1 and not any(b.site or b.whole or b.quantities for b in batches):
        batches = [Crystals.join([b.to(batches[0].frac.dtype) for b in batches])]  # one pass instead of one for each
    rows = []
    for batch in batches:
        ends, species = batch.offsets.tolist(), batch.species.tolist()
        for i, blob in enumerate(encode(batch)):
            atoms = species[ends[i] : ends[i + 1]]
            rows.append({"key": content_key(blob), "blob": blob, "formula": batch.formula(i), "n_atoms": len(atoms), "elements": _system(atoms)})
    return rows


def _decode_each(blobs: list[bytes]) -> list[Crystals]:
    try:
        return list(decode(blobs)) if blobs else []
    except BadInput:  # they carry different fields (or one is damaged, which is then said of that one)
        return [decode([b]) for b in blobs]


def _system(numbers: Iterable[int]) -> str:
    return "-".join(sorted(symbol(z) for z in set(numbers)))


def _keys_in(content: Mapping[str, Any]) -> list[str]:
    named = content.get("crystals", [])
    if not isinstance(named, (list, tuple)) or not all(isinstance(k, str) for k in named):
        raise BadInput('"crystals" is the list of the keys of the crystals it names; use another word for anything else', "event")
    return list(named)


def _fill(content: dict, name: str, keys: list[str]) -> None:
    if name in content and (not isinstance(content[name], (list, tuple)) or list(content[name]) != keys):
        raise BadInput(f"content[{name!r}] does not agree with the {name} given; leave it out, it is filled in", "event")
    content[name] = keys


def _named(campaign: str) -> str:
    if not isinstance(campaign, str) or not 1 <= len(campaign) <= 200 or not campaign.isprintable():
        raise BadInput(f"the name of a campaign is 1 to 200 printable characters, got {str(campaign)[:50]!r}", "campaign")
    return campaign


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[i : i + CHUNK] for i in range(0, len(keys), CHUNK))
