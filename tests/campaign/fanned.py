"""Campaigns of toys with their relaxations handed to an executor: parts for the tests, and the script of a driver that can be killed.

    python fanned.py FOLDER EXECUTOR POTENTIAL
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETTINGS = dict(count=16, rounds=2, generators={"salts": 1.0}, steps=60, keep_symmetry=False, batch_atoms=6)


def plug_in(place: Path) -> Path:
    """A folder that, on the module path, makes the potentials of toy_potentials.py a plug-in, as an installed distribution would."""
    about = place / "toy_potentials-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-potentials\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[matterloop.cards]\ntoy_salts = toy_potentials\n")
    (place / "toy_potentials.py").write_text((HERE / "toy_potentials.py").read_text())
    return place


def campaign(folder, executor, potential="toy_salts", notes=None, watch=None, **more):
    """(campaign, fan-out, archive); the fan-out must be entered before the campaign runs."""
    import toy

    from matterloop.archive.database import open_archive
    from matterloop.archive.records import Ask
    from matterloop.base.registry import load
    from matterloop.campaign.executors import read_executor
    from matterloop.campaign.fan_out import FanOut
    from matterloop.campaign.loop import Campaign, Settings
    from matterloop.campaign.watch import Watch

    Path(folder).mkdir(exist_ok=True)
    archive = open_archive(Path(folder) / "campaign.db")
    fan_out = FanOut(Path(folder) / "spool", read_executor(executor), (notes if notes is not None else []).append)
    oracle = load(potential, role="potential")
    settings = Settings(**{**SETTINGS, **more}, potential=potential)
    return Campaign(archive, Ask(), settings, oracle=oracle, judges=toy.judges(), generators={"salts": toy.Salts()}, watch=watch or Watch(),
                    fan_out=fan_out), fan_out, archive


def run(folder, executor, potential="toy_salts", **more):
    """The state of such a campaign after its run."""
    c, fan_out, _ = campaign(folder, executor, potential, **more)
    with fan_out:
        state = c.run()
        if state.finished:
            fan_out.finished()
    return state


def told(state):
    """What must not depend on the executor: rounds, order, checks and their outcome, what failed."""
    verdicts = {k: [(r.check, r.passed, r.borderline, r.note) for r in v.reasons] for k, v in state.judged.items()}
    return state.rounds, list(state.judged), verdicts, sorted(state.failed)


def same(one, other):
    """Whether two states tell the same, energies within 1e-6 eV (the promise is 1e-4 eV/atom)."""
    near = one.relaxed.keys() == other.relaxed.keys() and all(abs(r["energy"] - other.relaxed[k]["energy"]) < 1e-6 for k, r in one.relaxed.items())
    return told(one) == told(other) and near


def landed_once(archive):
    """Whether every candidate that passed the screen has exactly one event of its relaxation."""
    from collections import Counter

    from matterloop.campaign.loop import CAMPAIGN
    from matterloop.campaign.state import replay

    events = archive.events(CAMPAIGN)
    count = Counter(e.content["key"] for e in events if e.kind in ("relaxed", "failed"))
    state = replay(events)
    sensible = {k for turn in state.rounds for k in state.sensible(turn)}
    return set(count) == sensible and set(count.values()) == {1} and archive.verify() == []


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    folder, executor, potential = sys.argv[1:]
    run(folder, executor, potential, count=int(os.environ.get("TOY_COUNT", 16)))
