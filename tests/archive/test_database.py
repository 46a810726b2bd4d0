import itertools

import pytest
import sqlalchemy as sa
import torch

from matterloop.archive.codec import crystal_keys
from matterloop.archive.database import fold, open_archive
from matterloop.archive.failures import ArchiveError, Conflict
from matterloop.archive.records import Candidate, Event
from matterloop.base.errors import BadInput, Missing
from matterloop.crystal.state import Crystals


def raw(archive, statement):
    with archive.engine.connect().execution_options(writes=True) as connection, connection.begin():
        return connection.exec_driver_sql(statement)


def candidates_of(crystals, start=0):
    return [Candidate(f"random-0-{start + i}", c, "random", ("mp-1",), 2**62, {"gene": "225:a:Na", "p": 0.5}) for i, c in enumerate(crystals)]


def test_crystals_come_back_in_the_order_asked(archive, make_crystals):
    crystals = make_crystals(20)
    keys = archive.put_crystals(crystals)
    assert keys == crystal_keys(crystals)
    order = [7, 3, 3, 19, 0]
    back, wanted = archive.get_crystals([keys[i] for i in order]), crystals[order]
    assert torch.equal(back.frac, wanted.frac) and torch.equal(back.cell, wanted.cell) and torch.equal(back.species, wanted.species)


def test_the_same_crystal_is_kept_once(archive, make_crystals):
    crystals = make_crystals(5)
    archive.put_crystals(crystals)
    archive.put_crystals(crystals[[0, 0, 1]])
    assert len(archive.find_crystals()) == 5


def test_crystals_are_found_by_composition(archive):
    cell = torch.eye(3) * 4
    salt, rust = Crystals.of([[0, 0, 0], [0.5] * 3], [11, 17], cell), Crystals.of([[0, 0, 0], [0.5] * 3, [0.2] * 3], [26, 8, 8], cell)
    (a,), (b,) = archive.put_crystals(salt), archive.put_crystals(rust)
    assert archive.find_crystals(elements=[17, 11]) == [a]
    assert archive.find_crystals(formula="Fe1 O2") == [b]
    assert archive.find_crystals(n_atoms=3) == [b]
    assert archive.find_crystals(elements=[11]) == []


def test_fields_travel_with_their_crystal(archive, make_crystals):
    crystals = make_crystals(3).with_fields(whole={"energy": torch.tensor([1.0, float("nan"), -2.0])})
    back = archive.get_crystals(archive.put_crystals(crystals))
    assert back.whole["energy"].tolist()[::2] == [1.0, -2.0] and bool(back.whole["energy"][1].isnan())


def test_unknown_crystal_is_missing(archive):
    with pytest.raises(Missing, match="no crystal called 'ab'"):
        archive.get_crystals(["ab"])


def test_events_are_numbered_from_zero_within_each_campaign(archive):
    archive.append("a", "started", {"wish": "稳定的锂氧化物", "limit": float("inf")})
    archive.append("b", "started")
    second = archive.append("a", "asked", {"n": (1, 2)})
    assert second == Event(1, "asked", {"n": [1, 2]}, second.time)
    assert [(e.number, e.kind, e.content) for e in archive.events("a")] == [
        (0, "started", {"wish": "稳定的锂氧化物", "limit": float("inf")}), (1, "asked", {"n": [1, 2]})]
    assert [e.number for e in archive.events("a", since=1)] == [1]
    assert archive.campaigns() == ["a", "b"] and archive.events("c") == []


def test_the_log_outlives_the_process_that_wrote_it(where):
    with open_archive(where) as first:
        written = [first.append("a", "judged", {"i": i}) for i in range(3)]
    with open_archive(where, create=False) as second:
        assert second.events("a") == written
        assert second.append("a", "stopped").number == 3


def test_an_event_commits_the_crystals_it_names(archive, make_crystals):
    crystals = make_crystals(4)
    event = archive.append("a", "relaxed", {"energies": [1.0] * 4}, crystals=crystals)
    assert event.content["crystals"] == crystal_keys(crystals)
    assert torch.equal(archive.get_crystals(event.content["crystals"]).frac, crystals.frac)
    assert archive.append("a", "judged", {"crystals": event.content["crystals"][:1]}).number == 1


def test_an_event_cannot_name_a_crystal_that_is_not_there(archive):
    with pytest.raises(Missing):
        archive.append("a", "judged", {"crystals": ["0" * 64]})
    with pytest.raises(BadInput, match="list of the keys"):
        archive.append("a", "judged", {"crystals": 3})
    assert archive.events("a") == []


def test_candidates_come_back_as_proposed(archive, make_crystals):
    first, second = candidates_of(make_crystals(6)), candidates_of(make_crystals(3, seed=1), start=6)
    archive.append("a", "asked")
    assert archive.append("a", "proposed", candidates=first).content["candidates"] == [c.key for c in first]
    archive.append("a", "proposed", candidates=second)
    back = archive.candidates("a")
    assert [c.key for c in back] == [c.key for c in first + second]
    one = archive.candidates("a", ["random-0-7"])[0]
    assert (one.source, one.parents, one.seed, one.about) == ("random", ("mp-1",), 2**62, {"gene": "225:a:Na", "p": 0.5})
    assert torch.equal(one.crystal.frac, second[1].crystal.frac)
    with pytest.raises(Missing, match="did you mean random-0-7"):
        archive.candidates("a", ["randon-0-7"])


def test_candidates_with_different_fields_share_an_event(archive, make_crystals):
    plain, labelled = make_crystals(1), make_crystals(1, seed=1).with_fields(whole={"energy": torch.tensor([2.5])})
    archive.append("a", "proposed", candidates=candidates_of([plain, labelled]))
    back = archive.candidates("a")
    assert not back[0].crystal.whole and back[1].crystal.whole["energy"].tolist() == [2.5]


def test_a_candidate_key_stands_for_one_candidate(archive, make_crystals):
    both = candidates_of(make_crystals(2))
    archive.append("a", "proposed", candidates=both[:1])
    with pytest.raises(BadInput, match="already there"):
        archive.append("a", "proposed", candidates=both)
    with pytest.raises(BadInput, match="already there"):
        archive.append("a", "proposed", candidates=[both[1], both[1]])
    assert len(archive.events("a")) == 1 and len(archive.candidates("a")) == 1 and len(archive.find_crystals()) == 1
    archive.append("b", "proposed", candidates=both)


def test_a_seed_that_the_database_cannot_hold_is_refused(archive, make_crystals):
    with pytest.raises(BadInput, match="more than 64 bits"):
        archive.append("a", "proposed", candidates=[Candidate("k", make_crystals(1), "random", seed=2**63)])
    assert archive.events("a") == []


@pytest.mark.parametrize("statement", [
    "UPDATE events SET kind = 'other'", "DELETE FROM events", "DELETE FROM events WHERE number = 1", "UPDATE candidates SET source = 'x'", "DELETE FROM candidates",
    "UPDATE crystals SET formula = 'x'", "DELETE FROM crystals"])
def test_nothing_written_is_changed_or_removed(archive, make_crystals, statement):
    archive.append("a", "proposed", candidates=candidates_of(make_crystals(2)))
    archive.append("a", "judged")
    with pytest.raises(sa.exc.DatabaseError, match="matterloop: append-only"):
        raw(archive, statement)
    assert len(archive.events("a")) == 2 and len(archive.candidates("a")) == 2


@pytest.mark.parametrize("number", [0, 1, 3, -1])
def test_the_database_refuses_gaps_and_repeats(archive, number):
    archive.append("a", "started")
    archive.append("a", "asked")
    with pytest.raises(sa.exc.DatabaseError, match="out of order"):
        raw(archive, f"INSERT INTO events VALUES ('a', {number}, 'x', '{{}}', '')")
    raw(archive, "INSERT INTO events VALUES ('a', 2, 'x', '{}', '')")


def test_replacing_an_event_is_refused_even_to_other_programs(tmp_path):
    import sqlite3

    with open_archive(tmp_path / "a.db") as archive:
        archive.append("a", "started")
    other = sqlite3.connect(tmp_path / "a.db")
    with pytest.raises(sqlite3.IntegrityError, match="out of order"):
        other.execute("INSERT OR REPLACE INTO events VALUES ('a', 0, 'x', '{}', '')")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute("DELETE FROM events")
    other.close()


@pytest.mark.postgres
def test_postgres_refuses_to_truncate_the_log(postgres_where):
    with open_archive(postgres_where) as archive:
        archive.append("a", "started")
        with pytest.raises(sa.exc.DatabaseError, match="append-only"):
            raw(archive, "TRUNCATE events CASCADE")
        assert len(archive.events("a")) == 1


def test_two_writers_cannot_mix_their_histories(where):
    with open_archive(where) as mine, open_archive(where) as theirs:
        mine.append("a", "started")
        theirs.append("a", "asked")
        with pytest.raises(Conflict, match="another process is writing this campaign"):
            mine.append("a", "judged")
        with pytest.raises(Conflict):
            mine.append("a", "judged")
        assert mine.append("b", "started").number == 0
        assert [e.kind for e in mine.events("a")] == ["started", "asked"]
        assert mine.append("a", "judged").number == 2


def test_writers_at_once_leave_one_history(where):
    """Eight threads with an archive each race for the same number: one wins, the others hear of it."""
    from concurrent.futures import ThreadPoolExecutor

    opened = [open_archive(where) for _ in range(8)]
    for archive in opened:
        archive.events("a")

    def race(i):
        try:
            return opened[i].append("a", "judged", {"writer": i}).number
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(race, range(8)))
    assert [n for n in numbers if n is not None] == [0]
    assert [e.content["writer"] for e in opened[0].events("a")] == [numbers.index(0)]
    for archive in opened:
        archive.close()


def test_writers_of_different_campaigns_wait_for_each_other(where):
    from concurrent.futures import ThreadPoolExecutor

    def write(i):
        with open_archive(where) as archive:
            return [archive.append(f"{i}-{j}", "started").number for j in range(15)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [[0] * 15] * 4


def test_a_lock_has_one_holder_at_a_time(where):
    with open_archive(where) as mine, open_archive(where) as theirs:
        with mine.lock("a"):
            with pytest.raises(Conflict, match="another process is writing this campaign"), theirs.lock("a"):
                pass
            with theirs.lock("b"):
                pass
        with theirs.lock("a"):
            pass


def test_state_is_a_fold_and_replay_gives_it_again(where):
    count = lambda state, event: {**state, event.kind: state.get(event.kind, 0) + event.content.get("n", 1)}
    state = {}
    with open_archive(where) as archive:
        for kind, n in itertools.product(("proposed", "judged"), (1, 2, 3)):
            state = count(state, archive.append("a", kind, {"n": n}))
    with open_archive(where) as archive:
        log = archive.events("a")
    assert fold(log, count, {}) == state == {"proposed": 6, "judged": 6}
    assert fold(log[3:], count, fold(log[:3], count, {})) == state
    with pytest.raises(BadInput, match="event 4 follows event 2"):
        fold([*log[:3], *log[4:]], count, {})


def test_verify_finds_nothing_in_a_whole_archive_and_names_what_is_wrong(archive, make_crystals):
    event = archive.append("a", "proposed", candidates=candidates_of(make_crystals(3)), crystals=make_crystals(2, seed=5))
    archive.append("a", "judged")
    assert archive.verify() == []
    postgres = archive.path is None
    key = event.content["crystals"][0]
    for table in ("crystals", "events"):  # damage it as a disk or an intruder would: past the triggers
        raw(archive, f"ALTER TABLE {table} DISABLE TRIGGER USER" if postgres else f"DROP TRIGGER {table}_no_{'UPDATE' if table == 'crystals' else 'DELETE'}")
    raw(archive, f"UPDATE crystals SET blob = {'decode' if postgres else 'cast'}({chr(39)}4d4c{chr(39)}{', ' + repr('hex') if postgres else ' AS BLOB'}) WHERE key = '{key}'")
    with pytest.raises(BadInput, match="no longer agree with their key"):
        archive.get_crystals([key])
    assert archive.verify() == [f"crystal {key[:12]}: its bytes do not agree with its key"]


def test_another_version_is_refused_with_both_versions(where):
    with open_archive(where) as archive:
        archive.append("a", "started")
        raw(archive, "UPDATE meta SET value = '2'")
    with pytest.raises(BadInput, match="schema version 2, this matterloop reads version 1; open it with the matterloop that wrote it"):
        open_archive(where)


def test_without_create_nothing_is_made(where):
    with pytest.raises(Missing, match="no archive called"):
        open_archive(where, create=False)
    with pytest.raises(Missing, match="no archive called"):
        open_archive(where, create=False)


def test_readonly_reads_and_refuses_to_write(where):
    with open_archive(where) as archive:
        archive.append("a", "started")
        with open_archive(where, readonly=True) as reader:
            assert len(reader.events("a")) == 1
            with pytest.raises(ArchiveError, match="read-only"):
                reader.append("a", "asked")


@pytest.mark.parametrize("bad", ["mysql://host/name", "postgresql+psycopg://u@h:port/x", "://"])
def test_a_bad_url_is_bad_input(bad):
    with pytest.raises(BadInput):
        open_archive(bad)


def test_a_server_that_is_not_there_is_said_without_the_password():
    with pytest.raises(ArchiveError, match="cannot be reached") as caught:
        open_archive("postgresql://me:secret@127.0.0.1:1/none", wait=1)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a\n", "x" * 201, 3])
def test_campaign_names_are_printable(archive, name):
    with pytest.raises(BadInput, match="name of a campaign"):
        archive.append(name, "started")


def test_bulk_of_thousands(archive, make_crystals):
    crystals = make_crystals(6000)  # more than one query's worth of keys
    keys = archive.put_crystals(crystals)
    assert torch.equal(archive.get_crystals(keys).frac, crystals.frac)


def test_a_long_log_is_read_in_pieces_and_can_be_gone_on_with(archive, monkeypatch):
    monkeypatch.setattr("matterloop.archive.database.CHUNK", 3)
    for i in range(8):
        archive.append("a", "judged", {"place": i})
    archive.append("b", "judged", {})
    assert list(archive.stream("a")) == archive.events("a") and list(archive.stream("nothing")) == []
    assert archive.append("a", "judged", {"place": 8}).number == 8 and len(list(archive.stream("a"))) == 9


def test_many_events_at_once_are_the_same_as_one_by_one(archive):
    first = archive.append("a", "started", {})
    salt, oxide = (Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], z, 4 * torch.eye(3, dtype=torch.float64)) for z in ([11, 17], [12, 8]))
    many = archive.append_many("a", [("relaxed", {"key": "x"}, salt), ("failed", {"key": "y"}, None), ("relaxed", {"key": "z"}, oxide)])
    single = [archive.append("b", kind, content, crystals=crystals) for kind, content, crystals in (("relaxed", {"key": "x"}, salt), ("failed", {"key": "y"}, None), ("relaxed", {"key": "z"}, oxide))]
    assert [(e.kind, e.content) for e in many] == [(e.kind, e.content) for e in single] and [e.number for e in many] == [1, 2, 3]
    assert archive.events("a") == [first, *many] and archive.verify() == []
    assert archive.append("a", "stopped", {}).number == 4 and archive.append_many("a", []) == []


def test_many_events_at_once_are_written_all_or_none(archive):
    archive.append("a", "started", {})
    with pytest.raises(BadInput, match="JSON"):
        archive.append_many("a", [("relaxed", {"key": "x"}, None), ("relaxed", {"key": object()}, None)])
    with pytest.raises(Missing, match="crystal"):
        archive.append_many("a", [("relaxed", {"key": "x"}, None), ("relaxed", {"crystals": ["0" * 64]}, None)])
    assert len(archive.events("a")) == 1 and archive.append("a", "judged", {}).number == 1


def test_candidates_of_the_same_elements_are_found_whatever_their_formula(archive):
    cell = 6 * torch.eye(3, dtype=torch.float64)
    made = {"NaCl": [11, 17], "Na3Cl": [11, 11, 11, 17], "KCl": [19, 17], "NaKCl": [11, 19, 17]}
    crystals = {k: Crystals.of(torch.linspace(0, 0.7, len(z))[:, None].repeat(1, 3), z, cell) for k, z in made.items()}
    archive.append("a", "proposed", {}, candidates=[Candidate(k, c, "test") for k, c in crystals.items()])
    archive.append("b", "proposed", {}, candidates=[Candidate("other", crystals["NaCl"], "test")])
    assert archive.candidates_like("a", crystals["NaCl"]) == {"NaCl", "Na3Cl"}
    assert archive.candidates_like("a", Crystals.join([crystals["KCl"], crystals["NaKCl"]])) == {"KCl", "NaKCl"}
    assert archive.candidates_like("b", crystals["KCl"]) == set()
