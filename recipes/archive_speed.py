"""How fast an archive takes and gives crystals, candidates and events, in rows per second, beside one row at a time.

    python recipes/archive_speed.py [--count 5000] [--where PATH_OR_URL]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from matterloop.archive.database import Archive, open_archive
from matterloop.archive.records import Candidate
from matterloop.base.seeds import torch_stream
from matterloop.crystal.state import Crystals


def crystals_of(count: int, seed: int) -> Crystals:
    """`count` crystals of 1 to 40 atoms, no two alike."""
    rng = torch_stream(seed, "archive speed")
    counts = torch.randint(1, 41, (count,), generator=rng)
    atoms = int(counts.sum())
    cell = 8 * torch.eye(3, dtype=torch.float64) + torch.rand(count, 3, 3, generator=rng, dtype=torch.float64)
    return Crystals.of(torch.rand(atoms, 3, generator=rng, dtype=torch.float64), torch.randint(1, 90, (atoms,), generator=rng), cell, counts)


def measure(archive: Archive, count: int) -> dict[str, float]:
    """Rows per second of each way in and out."""
    campaign, few = f"speed {time.time_ns()}", max(1, count // 20)
    bulk, single = crystals_of(count, time.time_ns()), crystals_of(few, time.time_ns() + 1)
    candidates = [Candidate(f"speed-{i}", c, "speed", ("parent",), 0, {"place": i}) for i, c in enumerate(bulk)]
    keys: list[str] = []
    steps = {
        "put crystals, bulk": (count, lambda: keys.extend(archive.put_crystals(bulk))),
        "get crystals, bulk": (count, lambda: archive.get_crystals(keys)),
        "put crystals, one by one": (few, lambda: [archive.put_crystals(c) for c in single]),
        "get crystals, one by one": (few, lambda: [archive.get_crystals([k]) for k in keys[:few]]),
        "append candidates, one event": (count, lambda: archive.append(campaign, "proposed", candidates=candidates)),
        "read candidates": (count, lambda: archive.candidates(campaign)),
        "append events, one by one": (few, lambda: [archive.append(campaign, "judged", {"scores": [0.1] * 20}) for _ in range(few)]),
        "read events": (few + 1, lambda: archive.events(campaign)),
    }
    rates = {}
    for name, (rows, step) in steps.items():
        start = time.perf_counter()
        step()
        rates[name] = rows / (time.perf_counter() - start)
    rates["ratio put, bulk to single"] = rates["put crystals, bulk"] / rates["put crystals, one by one"]
    rates["ratio get, bulk to single"] = rates["get crystals, bulk"] / rates["get crystals, one by one"]
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--where", default="", help="path or URL of the archive, a new file in a temporary folder by default")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_archive(chosen.where or Path(folder) / "speed.db") as archive:
        print(json.dumps({k: round(v, 1) for k, v in measure(archive, chosen.count).items()}, indent=1))


if __name__ == "__main__":
    main()
