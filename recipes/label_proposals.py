"""Our own candidates for recipes/label_structures.py: random structures, substitutions far from what is known, and templates of formulas drawn at random.

Called as `python recipes/label_structures.py propose`. What is known lies near the hull; a model that is told energies above it must have seen what lies far up.
Every batch has its own seed and file, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from matterloop.archive.files import replacing
from matterloop.archive.records import Ask, Candidate
from matterloop.base.elements import DEFAULT_MASK, MAX_Z
from matterloop.base.errors import BadInput
from matterloop.base.seeds import numpy_stream
from matterloop.crystal.composition import reduced
from matterloop.generate.random_search import RandomSearch
from matterloop.generate.substitution import Substitution
from matterloop.generate.template import TemplateSearch

SOURCES = ("own_random", "own_substituted", "own_template")
ATOMS = (1, 20)
BATCH = 100
RANDOM = {1: 1, 2: 7, 3: 11, 4: 7, 5: 4}  # batches of random structures by number of elements
SUBSTITUTED = {2.0: 8, 4.0: 12}  # batches by temperature: at 4 the likelihood of a swap hardly counts
TEMPLATE = 10  # batches of templates of random formulas
AMOUNTS = (1, 1, 1, 2, 2, 3, 3, 4, 5, 6)  # of an element in a random formula
TRIES = 400  # random formulas of a batch; most fit no template


def batches() -> list[tuple[str, float, int]]:
    """(source, setting, seed) of every batch, sources taking turns so that a stopped run has some of each."""
    listed = {
        "own_random": [("own_random", float(k), seed) for k, n in RANDOM.items() for seed in range(n)],
        "own_substituted": [("own_substituted", t, seed) for t, n in SUBSTITUTED.items() for seed in range(n)],
        "own_template": [("own_template", 0.0, seed) for seed in range(TEMPLATE)]}
    place = lambda item: (listed[item[0]].index(item) + 0.5) / len(listed[item[0]])
    return sorted((x for part in listed.values() for x in part), key=lambda x: (place(x), x))


def random_formulas(seed: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Reduced formulas of 2 to 4 elements and small amounts, all elements alike."""
    rng = numpy_stream(seed, "random formulas")
    palette = sorted(set(range(1, MAX_Z + 1)) - DEFAULT_MASK)
    while True:
        elements = rng.choice(palette, size=int(rng.choice([2, 3, 3, 4])), replace=False).tolist()
        formula = reduced({z: int(rng.choice(AMOUNTS)) for z in elements})
        if sum(n for _, n in formula) <= ATOMS[1]:
            yield formula


def candidates(source: str, setting: float, seed: int, makers: dict) -> list[Candidate]:
    """One batch; `makers` keeps generators, whose templates take seconds to build."""
    if source == "own_random":
        maker = makers.setdefault(source, RandomSearch())
        return maker.propose(Ask(n_elements=(int(setting), int(setting)), atoms=ATOMS), BATCH, seed + 1000 * int(setting))
    if source == "own_substituted":
        maker = makers.setdefault((source, setting), Substitution(temperature=setting))
        return maker.propose(Ask(atoms=ATOMS), BATCH, seed + 1000 * int(setting))
    maker, found = makers.setdefault(source, TemplateSearch()), []
    for _, formula in zip(range(TRIES), random_formulas(seed)):
        try:
            found += maker.propose(Ask(formula=formula, atoms=ATOMS), 1, seed)
        except BadInput:
            continue
        if len(found) >= BATCH:
            break
    return found


def propose(work: Path, until: float, part: tuple[int, int]) -> None:
    """Write the batches that the work folder lacks, each whole or not at all."""
    import pandas as pd

    makers: dict = {}
    for source, setting, seed in batches()[part[0] :: part[1]]:
        path = work / "proposals" / f"{source}-{setting:g}-{seed}.parquet"
        if path.exists() or time.monotonic() > until:
            continue
        begin = time.monotonic()
        made = candidates(source, setting, seed, makers)
        rows = [{"material_id": f"{source}-{setting:g}-{seed}-{k}", "source": source, "species": c.crystal.species.numpy().astype(np.int16),
                 "cell": c.crystal.cell.flatten().numpy(), "frac": c.crystal.frac.flatten().numpy(), "atoms": c.crystal.atoms} for k, c in enumerate(made)]
        with replacing(path) as new:
            pd.DataFrame(rows, columns=["material_id", "source", "species", "cell", "frac", "atoms"]).to_parquet(new, index=False)
        print(f"{path.stem}: {len(made)} candidates in {time.monotonic() - begin:.0f} s", flush=True)


def proposals(work: Path):
    """All batches that are there as a frame of the structure file's columns."""
    import pandas as pd

    held = [pd.read_parquet(p) for p in sorted((work / "proposals").glob("*.parquet"))]
    return pd.concat([f for f in held if len(f)], ignore_index=True) if any(map(len, held)) else pd.DataFrame(columns=["material_id", "source", "species", "cell", "frac", "atoms"])
