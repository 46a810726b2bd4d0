"""An archive as a long campaign leaves it: write rates, size, and the time and memory of resuming from it, on SQLite and PostgreSQL.

    python benchmarks/archive_scale.py [--rows 1000000] [--round 1000] [--where PATH_OR_URL | --postgres] [--together 1]

A round proposes --round candidates in one event, screens them in one, relaxes 93 % of them with one event and one crystal each, and judges them in one: the events, reasons and
sizes of a real campaign. Rounds go on until the four tables hold --rows rows (four to a candidate). Each relaxed event is its own transaction, flushed to disk, unless
--together puts several into one, as a fan-out does that takes results in by the spool. --postgres starts a server of its own on a socket in a temporary folder, with fsync on.
Prints JSON: rows, events and megabytes written per second, bytes per row and candidate, seconds and peak memory of reading the log, of folding it, and of what
resuming reads besides.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import torch

from matterloop.archive.database import Archive, open_archive
from matterloop.archive.records import Candidate, Reason
from matterloop.base.seeds import numpy_stream, torch_stream
from matterloop.campaign.loop import CAMPAIGN
from matterloop.campaign.state import reason_to_json, replay
from matterloop.crystal.state import Crystals

RELAXED = 0.93  # of the proposals, as in the demo
TABLES = ("events", "candidates", "crystals", "meta")


def crystals_of(count: int, *names: str | int) -> Crystals:
    """`count` crystals of 2 to 18 atoms and 2 to 4 elements, no two alike."""
    rng = torch_stream(0, "archive scale", *names)
    counts = torch.randint(2, 19, (count,), generator=rng)
    atoms = int(counts.sum())
    cell = 6 * torch.eye(3, dtype=torch.float64) + torch.rand(count, 3, 3, generator=rng, dtype=torch.float64)
    palette = torch.randint(1, 84, (count, 4), generator=rng)
    owner = torch.repeat_interleave(torch.arange(count), counts)
    species = palette[owner, torch.randint(0, 4, (atoms,), generator=rng)]
    return Crystals.of(torch.rand(atoms, 3, generator=rng, dtype=torch.float64), species, cell, counts)


def reasons(values, relaxed: bool) -> list[dict]:
    """The reasons of a verdict as a campaign writes them: five before a relaxation, twelve after it."""
    v = iter(values)
    made = [Reason("volume_per_atom", 20 * next(v), 5.0, "Å^3", True), Reason("shortest_distance", 2 * next(v), 0.7, "ratio", True),
            Reason("charge_balance", 0.0, 0.0, "unmet", True, note="Li+ Mn3+ O2-"), Reason("ask", 0.0, 0.0, "unmet", True), Reason("has_hull", 0.0, 0.0, "elements", True)]
    if not relaxed:
        made += [Reason("repeated", 0.0, 0.0, "matches", True), Reason("novel", 0.0, 0.0, "matches", True, note="no phase of the reference shares its gene")]
    else:
        above = next(v)
        made += [Reason("relaxation", 0.05 * next(v), 0.05, "eV/Å", True),
                 Reason("energy_above_hull", above, 0.05, "eV/atom", above < 0.05, 0.83, f"against {next(v):.2f} Li2O (mp-1960), {next(v):.2f} MnO (mp-19006); the reference lacks Li2MnO3"),
                 Reason("coverage", next(v), 0.0, "share", True, note="missing: Li2MnO3 (12)"), Reason("formation_energy", -next(v), float("inf"), "eV/atom", True),
                 Reason("unique", 0.0, 0.0, "matches", True), Reason("novel", 0.0, 0.0, "matches", True)]
    return [reason_to_json(r) for r in made]


def write(archive: Archive, rows: int, size: int, together: int) -> dict[str, float]:
    """Fill the archive round by round; seconds of each kind of event and how many rows there are."""
    seconds = {"proposed": 0.0, "screened": 0.0, "relaxed": 0.0, "judged": 0.0}
    numbers = {"rows": 2, "events": 2, "candidates": 0, "crystals": 0}
    archive.append(CAMPAIGN, "asked", {"settings": {"count": rows}, "wish": "[wish]"})
    archive.append(CAMPAIGN, "started", {})
    turn, begun = 0, time.perf_counter()
    while numbers["rows"] < rows:
        start, end = (list(crystals_of(size, turn, which)) for which in ("proposed", "relaxed"))
        keys = [f"substitution-{turn}-{i}" for i in range(size)]
        values = numpy_stream(0, "values", turn).random((size, 12))
        passed = keys[: int(RELAXED * size)]
        meter = lambda: {"elapsed": round(time.perf_counter() - begun, 3), "cpu": round(time.process_time(), 3), "peak_mib": 900}
        candidates = [Candidate(k, c, "substitution", ("mp-1234567",), turn, {"prototype": "mp-1234567", "gene": "225:Li_a.O_b.Mn_c", "probability": float(v[0])})
                      for k, c, v in zip(keys, start, values, strict=True)]

        def timed(kind: str, step) -> None:
            since = time.perf_counter()
            step()
            seconds[kind] += time.perf_counter() - since

        timed("proposed", lambda: archive.append(CAMPAIGN, "proposed", {"round": turn, "short": [], "exhausted": False, **meter()}, candidates=candidates))
        timed("screened", lambda: archive.append(CAMPAIGN, "screened", {"round": turn, "reasons": {k: reasons(v, False) for k, v in zip(keys, values, strict=True)}, **meter()}))
        records = [("relaxed", {"key": k, "energy": -7.5 * float(v[0]), "fmax": 0.05 * float(v[1]), "smax": 0.003 * float(v[2]), "steps": 14, "evaluations": 15, "atoms": c.atoms,
                                "converged": True, "reason": "", "moment": float(v[3]), **meter()}, c) for k, v, c in zip(passed, values, end, strict=False)]

        def relaxed() -> None:
            for i in range(0, len(records), together):
                if together == 1:
                    kind, content, crystal = records[i]
                    archive.append(CAMPAIGN, kind, content, crystals=crystal)
                else:
                    archive.append_many(CAMPAIGN, records[i : i + together])

        timed("relaxed", relaxed)
        timed("judged", lambda: archive.append(CAMPAIGN, "judged", {"round": turn, "verdicts": {
            k: {"reasons": reasons(v, True), "score": repr(float(v[4]))} for k, v in zip(passed, values, strict=False)}, **meter()}))
        archive.append(CAMPAIGN, "observed", {"round": turn, **meter()})
        turn += 1
        numbers["events"] += 4 + len(passed)
        numbers["candidates"] += size
        numbers["crystals"] += size + len(passed)
        numbers["rows"] = numbers["events"] + numbers["candidates"] + numbers["crystals"]
    return {**numbers, "rounds": turn, "relaxations": turn * int(RELAXED * size), **{f"seconds_{k}": round(v, 1) for k, v in seconds.items()}, "seconds": round(sum(seconds.values()), 1)}


def peak() -> float:
    """Largest memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(where: str) -> dict[str, float]:
    """Resume as a campaign does: fold the log, then read the candidates and relaxed crystals of the last round. In a process of its own for the memory."""
    before = peak()
    with open_archive(where, create=False) as archive:
        begun = time.perf_counter()
        state = replay(archive.stream(CAMPAIGN))
        folded = time.perf_counter() - begun
        last = state.rounds[max(state.rounds)]
        begun = time.perf_counter()
        archive.candidates(CAMPAIGN, last)
        archive.get_crystals([state.relaxed[k]["crystals"][0] for k in last if k in state.relaxed], bare=True)
        return {"fold_seconds": round(folded, 2), "peak_mib": round(peak()), "mib_before": round(before), "judged": len(state.judged), "last_round_seconds": round(time.perf_counter() - begun, 3)}


def size_of(archive: Archive) -> int:
    """Bytes on disk, indices included."""
    if archive.path is not None:
        with archive.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return archive.path.stat().st_size
    with archive.engine.connect() as connection:
        return sum(int(connection.scalar(sa.text(f"SELECT pg_total_relation_size('{t}')"))) for t in TABLES)


@contextmanager
def own_server() -> Iterator[str]:
    """URL of a PostgreSQL server that lives as long as the context, with Debian's settings: every commit is flushed to disk."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    if not homes:
        sys.exit("no PostgreSQL server is installed; run `sh .ci/postgres.sh`, or name one with --where")
    folder, account = Path(tempfile.mkdtemp(prefix="mlpg")), {}
    if os.geteuid() == 0:
        import pwd

        user = next(p for p in pwd.getpwall() if p.pw_name in ("postgres", "nobody"))
        account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)
    options = {"cwd": folder, "env": {**os.environ, "LC_ALL": "C"}, **account}
    with (folder / "log").open("wb") as log:
        subprocess.run([homes[-1] / "initdb", "-D", folder / "data", "-U", "matterloop", "-A", "trust", "-E", "UTF8", "--no-locale"], check=True, stdout=log, stderr=log, **options)
        server = subprocess.Popen([homes[-1] / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"], stdout=log, stderr=log, **options)
    try:
        for _ in range(100):
            if (folder / ".s.PGSQL.5432").exists():
                break
            time.sleep(0.1)
        time.sleep(0.5)
        yield f"postgresql+psycopg://matterloop@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def measure(where: str, options: argparse.Namespace) -> dict:
    with open_archive(where) as archive:
        found = write(archive, options.rows, options.round, options.together)
        size = size_of(archive)
    again = subprocess.run([sys.executable, __file__, "--read", where], capture_output=True, text=True)
    if again.returncode:
        sys.exit(again.stderr)
    return {"engine": "postgresql" if "://" in where else "sqlite", **found, "rows_per_second": round(found["rows"] / found["seconds"]),
            "relaxed_events_per_second": round(found["relaxations"] / found["seconds_relaxed"]), "together": options.together, "megabytes": round(size / 1e6, 1),
            "bytes_per_row": round(size / found["rows"]), "bytes_per_candidate": round(size / found["candidates"]), "resume": json.loads(again.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--round", type=int, default=1000, help="candidates of a round")
    parser.add_argument("--together", type=int, default=1, help="relaxed events of one transaction")
    parser.add_argument("--where", default="", help="path or URL of an empty archive; a file in a temporary folder by default")
    parser.add_argument("--postgres", action="store_true", help="start a PostgreSQL server for it")
    parser.add_argument("--read", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
    elif options.postgres:
        with own_server() as url:
            print(json.dumps(measure(url, options), indent=1))
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(options.where or str(Path(folder) / "scale.db"), options), indent=1))


if __name__ == "__main__":
    main()
