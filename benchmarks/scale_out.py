"""What it costs to hand relaxations to workers, and how it scales on one machine.

    python benchmarks/scale_out.py start   [--executors processes local]   seconds until the first result, and until everything is closed
    python benchmarks/scale_out.py tasks   [--executors processes local]   seconds of the driver and of the wall for each task of almost no work
    python benchmarks/scale_out.py spool                                   results written a second by a worker, taken in a second by a driver
    python benchmarks/scale_out.py scaling [--crystals 1500] [--repeats 3]   the same CHGNet relaxations here, on one worker, on two

Every number is of this machine; the load beside it says how far it was its own. `scaling` alternates its arms and prints all repeats; the work of a
worker's start is outside (each executor has done a task before its clock runs), since it is counted by `start`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load() -> list[float]:
    """Load of the machine over 1 and 5 minutes."""
    return [round(x, 2) for x in os.getloadavg()[:2]]


def candidates(count: int, seed: int = 0):
    """Candidates of the substitution generator: lithium compounds of up to 16 atoms."""
    from matterloop.archive.records import Ask
    from matterloop.generate.proposal import load_generator

    return load_generator("substitution").propose(Ask(required=frozenset({3}), n_elements=(2, 3), atoms=(2, 16)), count, seed)


def atoms_of_argon(count: int):
    """Cells of one atom for the cheapest potential there is: their relaxation takes milliseconds."""
    import torch

    from matterloop.archive.records import Candidate
    from matterloop.crystal.state import Crystals

    return [Candidate(f"argon-{i}", Crystals.of([[0.0, 0, 0]], [18], (3.6 + 1e-4 * i) * torch.eye(3)), "benchmark") for i in range(count)]


@contextmanager
def fan_out(executor: str, **more):
    """A fan-out in a temporary folder."""
    from matterloop.campaign.executors import read_executor
    from matterloop.campaign.fan_out import FanOut

    with tempfile.TemporaryDirectory() as folder, FanOut(Path(folder) / "spool", replace(read_executor(executor), **more)) as fan:
        yield fan
        fan.finished()


def relaxed(fan, found, protocol, oracle) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds of the driver, results) of relaxing candidates."""
    landed = []
    wall, cpu = time.perf_counter(), time.process_time()
    fan.relax(found, protocol, oracle, landed.extend, lambda: False)
    return time.perf_counter() - wall, time.process_time() - cpu, len(landed)


def start(executors: list[str]) -> list[dict]:
    from matterloop.campaign.tasks import Protocol

    protocol = Protocol(potential="chgnet")
    oracle, rows = protocol.oracle(), []
    for executor in executors:
        begun = time.perf_counter()
        with fan_out(f"{executor}:1") as fan:
            seconds, _, _ = relaxed(fan, candidates(1), protocol, oracle)
            ended = time.perf_counter()
        rows.append({"executor": executor, "first_result_seconds": round(seconds, 2), "close_seconds": round(time.perf_counter() - ended, 2),
                     "all_seconds": round(time.perf_counter() - begun, 2), "load": load()})
    return rows


def tasks(executors: list[str], count: int) -> list[dict]:
    from matterloop.campaign.tasks import Protocol

    protocol = Protocol(potential="lennard_jones:argon", steps=2, keep_symmetry=False)
    oracle, rows = protocol.oracle(), []
    begun = time.perf_counter()
    for one in atoms_of_argon(count):
        protocol.relax(one.crystal, oracle)
    here = time.perf_counter() - begun
    for executor in executors:
        with fan_out(f"{executor}:1", task_seconds=1e-9) as fan:
            relaxed(fan, atoms_of_argon(count + 1)[-1:], protocol, oracle)
            wall, cpu, landed = relaxed(fan, atoms_of_argon(count), protocol, oracle)
            rows.append({"executor": executor, "tasks": fan.counts["tasks"] - 1, "landed": landed, "wall_ms_per_task": round(1e3 * (wall - here) / count, 2),
                         "driver_cpu_ms_per_task": round(1e3 * cpu / count, 2), "work_ms_per_task": round(1e3 * here / count, 2), "load": load()})
    return rows


def spool(count: int, together: int) -> list[dict]:
    from matterloop.archive.codec import crystal_keys
    from matterloop.archive.database import open_archive
    from matterloop.campaign.spool import Attempt, AttemptLog, Item, Spool, unpack

    found = candidates(count)
    items = [Item(c.key, crystal_keys(c.crystal.bare())[0], c.crystal.bare()) for c in found]
    content = {"steps": 14, "evaluations": 15, "atoms": 8, "reason": "", "energy": -50.1, "fmax": 0.04, "smax": 0.002, "converged": True, "moment": 0.0}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        place = Spool(Path(folder) / "spool").make()
        log = AttemptLog(place.attempt_path("task", "1"), "task")
        begun = time.perf_counter()
        for item in items:
            log.result(item, "0" * 64, {**content, "key": item.key}, item.crystal, 1.0, 500.0)
        written = time.perf_counter() - begun
        log.end("done")
        log.close()
        size = log.path.stat().st_size
        attempt = Attempt(log.path, "task")
        begun = time.perf_counter()
        lines = attempt.more()
        records = [("relaxed", line["content"], crystal) for line, crystal in zip(lines, unpack([line["crystal"] for line in lines]), strict=True)]
        read = time.perf_counter() - begun
        archive = open_archive(Path(folder) / "campaign.db")
        begun = time.perf_counter()
        for i in range(0, len(records), together):
            archive.append_many("benchmark", records[i : i + together])
        folded = time.perf_counter() - begun
        archive.close()
    rate = lambda seconds: round(len(items) / seconds)
    return [{"results": len(items), "bytes_per_result": round(size / len(items)), "written_per_second": rate(written), "read_per_second": rate(read),
             "archived_per_second": rate(folded), "together": together, "load": load()}]


def scaling(executors: list[str], count: int, repeats: int) -> list[dict]:
    from matterloop.campaign.tasks import Protocol
    from matterloop.crystal.state import Crystals

    protocol = Protocol(potential="chgnet")
    oracle, found = protocol.oracle(), candidates(count + 8)
    warm, found = found[:8], found[8:]
    arms: dict[str, list[tuple[float, float, float]]] = {"here": []}  # (wall, CPU seconds of the relaxations, CPU seconds of the driver besides)
    batch = Crystals.join([c.crystal.bare() for c in found])
    protocol.relax(Crystals.join([c.crystal.bare() for c in warm]), oracle)
    worst, loads = 0.0, []
    for _ in range(repeats):
        loads.append(load()[0])
        wall, cpu = time.perf_counter(), time.process_time()
        answer = protocol.relax(batch, oracle).energies_per_atom
        arms["here"].append((time.perf_counter() - wall, time.process_time() - cpu, 0.0))
        energies = {c.key: float(e) for c, e in zip(found, answer, strict=True)}
        for executor in executors:
            for workers in (1, 2):
                with fan_out(f"{executor}:{workers}", task_seconds=5.0) as fan:
                    fan.executor = replace(fan.executor, task_seconds=1e-9)
                    relaxed(fan, warm, protocol, oracle)  # crystal by crystal, so that every worker has begun
                    fan.executor, landed = replace(fan.executor, task_seconds=5.0), []
                    wall, cpu = time.perf_counter(), time.process_time()
                    fan.relax(found, protocol, oracle, landed.extend, lambda: False)
                    arms.setdefault(f"{executor}:{workers}", []).append((time.perf_counter() - wall, sum(x.cpu for x in landed), time.process_time() - cpu))
                    for one in landed:
                        if "energy" in one.content:
                            worst = max(worst, abs(one.content["energy"] / one.content["atoms"] - energies[one.content["key"]]))
    best = {arm: min(times) for arm, times in arms.items()}
    rows = [{"arm": arm, "crystals": count, "seconds": [round(t[0], 2) for t in times], "best_per_second": round(count / best[arm][0], 2),
             "speed_against_here": round(best["here"][0] / best[arm][0], 2), "cpu_seconds": round(best[arm][1], 2), "driver_cpu_seconds": round(best[arm][2], 2)}
            for arm, times in arms.items()]
    return [*rows, {"largest_energy_difference_ev_per_atom": worst, "load_before_each_repeat": loads}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "tasks", "spool", "scaling"))
    parser.add_argument("--executors", nargs="+", default=["processes", "local"])
    parser.add_argument("--crystals", type=int, default=1500)
    parser.add_argument("--count", type=int, default=200, help="tasks, or results of the spool")
    parser.add_argument("--together", type=int, default=100, help="results in one transaction of the archive")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows = {"start": lambda: start(given.executors), "tasks": lambda: tasks(given.executors, given.count), "spool": lambda: spool(given.count, given.together),
            "scaling": lambda: scaling(given.executors, given.crystals, given.repeats)}[given.what]()
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
