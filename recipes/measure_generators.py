"""Measure the structure generators on real data: structure types found for test formulas, speed, and random structures against pyxtal.

    MATTERLOOP_DATA=DIR python recipes/measure_generators.py [types] [speed] [pyxtal] [--count 200] [--seed 0]

types   share of MP-20 test crystals whose anonymous Wyckoff gene is among the first 1, 5, 20 templates of their formula; no template comes from a test
        material. Once with what ships, once with the crystals of the val file as templates.
speed   candidates per second of each generator after the first call
pyxtal  formula and space-group pairs of test crystals: placed or not, seconds, with pyxtal stopped after 20 s
Writes one JSON object per part to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
from build_element_tables import read

from matterloop.archive.records import Ask
from matterloop.base.elements import NUMBER, symbol
from matterloop.base.registry import load
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.composition import composition_of, reduced
from matterloop.crystal.prototypes import from_crystals
from matterloop.crystal.space_groups import lattice_points
from matterloop.generate.library import shipped, template_of
from matterloop.generate.random_search import filling, place
from matterloop.generate.template import TemplateSearch

BT = "mp20_biternary_val_test/"


def drawn(root: Path, count: int, seed: int) -> tuple[list, set[str]]:
    """Templates of `count` test crystals, and the ids of all test crystals."""
    test = read(root, (BT + "test",))
    names = sorted(test)
    chosen = numpy_stream(seed, "measure").choice(len(names), size=min(count, len(names)), replace=False)
    made = [p for i in chosen for p in from_crystals(test[names[i]], [names[i]], "test", symprec=0.1)]
    return [template_of(p) for p in made if max(p.parents) <= 94], set(names) | set(read(root, ("mp20_pilot_3x1000/test",)))


def types(root: Path, count: int, seed: int) -> dict:
    targets, banned = drawn(root, count, seed)
    val = [template_of(p) for name, c in read(root, (BT + "val",)).items() if name not in banned for p in from_crystals(c, [name], "val", symprec=0.1)]
    out = {}
    for what, templates in (("shipped", [t for t in shipped() if t.prototype.name not in banned]), ("val", val)):
        search, ranks, known = TemplateSearch(templates=templates), [], {t.anonymous for t in templates}
        began = time.perf_counter()
        for target in targets:
            ask = Ask(formula=reduced(target.composition(target.parents)), excluded=frozenset(), atoms=(1, 20))
            seen: list[str] = []
            for draft, _ in search.ranked(ask):
                if draft.template.anonymous not in seen:
                    seen.append(draft.template.anonymous)
            ranks.append(seen.index(target.anonymous) if target.anonymous in seen else 10**6)
        ranks = np.array(ranks)
        out[what] = {"templates": len(templates), "test_crystals": len(targets), "type_is_in_the_library": sum(t.anonymous in known for t in targets),
                     **{f"within_first_{k}": int((ranks < k).sum()) for k in (1, 5, 20)}, "seconds": round(time.perf_counter() - began, 1)}
    return out


def speed(count: int, seed: int) -> dict:
    elements = lambda text: frozenset(NUMBER[s] for s in text.split())
    asks = {"open": Ask(), "ternary lithium oxides": Ask(required=elements("Li O"), n_elements=(3, 3), atoms=(1, 11)),
            "perovskites": Ask(prototypes=("perovskite",))}
    out = {}
    for name in ("substitution", "template", "random_search"):
        generator = load(name, role="generator")
        generator.propose(Ask(), 2, seed)
        for what, ask in asks.items():
            began, busy = time.perf_counter(), time.process_time()
            made = len(generator.propose(ask, count, seed))
            out[f"{name}, {what}"] = {"made": made, "per_second": round(made / (time.perf_counter() - began), 1),
                                      "per_cpu_second": round(made / (time.process_time() - busy), 1)}
    return out


class _Late(Exception):
    pass


def _alarm(*_):
    raise _Late


def against_pyxtal(root: Path, count: int, seed: int, limit: int = 20) -> dict:
    from pyxtal import pyxtal

    signal.signal(signal.SIGALRM, _alarm)
    targets, _ = drawn(root, count, seed)
    ours, theirs, stalled = [], [], 0
    for t in targets:
        group, counts = t.prototype.space_group, composition_of(t.composition(t.parents))
        elements = sorted(counts)
        began = time.process_time()
        rng, placed = numpy_stream(seed, t.prototype.name), None
        fill = filling(group, tuple(counts[z] for z in elements))
        for _ in range(5):
            placed = placed or place(group, [(p, elements[e]) for p, e in fill.sample(rng)], rng)
        ours.append((placed is not None, time.process_time() - began))
        busy, valid = time.process_time(), False
        signal.alarm(limit)
        try:
            crystal = pyxtal()
            crystal.from_random(3, group, [symbol(z) for z in elements], [counts[z] * lattice_points(group) for z in elements], random_state=seed)
            valid = bool(crystal.valid)
        except _Late:
            stalled += 1
        except Exception as error:  # pyxtal raises its own and many others; counted as not made
            print(json.dumps({"pyxtal": t.prototype.name, "group": group, "error": f"{type(error).__name__}: {error}"[:120]}))
        finally:
            signal.alarm(0)
        theirs.append((valid, time.process_time() - busy))
    tell = lambda rows: {"made": sum(ok for ok, _ in rows), "cpu_seconds": round(sum(s for _, s in rows), 1),
                         "median_cpu_seconds": round(float(np.median([s for _, s in rows])), 3), "longest": round(max(s for _, s in rows), 1)}
    return {"pairs": len(targets), "ours": tell(ours), "pyxtal": tell(theirs), f"pyxtal_stopped_after_{limit}_s": stalled,
            "cpu_time_ratio": round(sum(s for _, s in theirs) / sum(s for _, s in ours), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["types", "speed"], choices=["types", "speed", "pyxtal"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    root = Path(os.environ["MATTERLOOP_DATA"])
    for part in options.parts:
        found = {"types": lambda: types(root, options.count, options.seed), "speed": lambda: speed(options.count, options.seed),
                 "pyxtal": lambda: against_pyxtal(root, min(options.count, 50), options.seed)}[part]()
        print(json.dumps({part: found}))


if __name__ == "__main__":
    main()
