"""A calculator in a process of its own: same numbers, every failure named, no crystal lost, nothing left running."""

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT

from matterloop.base.errors import BadInput, NeedsPackage
from matterloop.crystal.state import Crystals
from matterloop.potential import outside_worker as wire
from matterloop.potential.oracle import Oracle
from matterloop.potential.outside import AseOracle
from matterloop.potential.outside_remote import RemoteOracle

MAKERS = Path(__file__).parent / "outside_makers.py"
COPPER = Crystals.of([[0, 0, 0], [0.52, 0.49, 0], [0.5, 0, 0.5], [0.01, 0.5, 0.5]], [29] * 4, [[3.7, 0, 0], [0.2, 3.6, 0], [0, 0.1, 3.5]])
GOLD = Crystals.of([[0, 0, 0]], [79], 2.05 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))
URANIUM = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [92, 92], np.eye(3) * 3.4)
MOLECULE = Crystals.of([[0, 0, 0], [0.25, 0, 0]], [29, 29], np.eye(3) * 10, periodic=[False] * 3)


@pytest.fixture
def remote():
    made = []

    def make(maker, **more):
        made.append(RemoteOracle(sys.executable, f"{MAKERS}:{maker}", maker, "test", **more))
        return made[-1]

    yield make
    for oracle in made:
        oracle.close()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, within: float = 20.0) -> bool:
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_it_gives_what_the_same_calculator_gives_here_to_the_bit(remote):
    batch = Crystals.join([COPPER, GOLD, MOLECULE, COPPER])
    oracle = remote("emt")
    theirs, ours = oracle.label(batch), AseOracle(EMT, "emt", "test").label(batch)
    assert isinstance(oracle, Oracle)
    for a, b in zip(theirs[:3], ours[:3], strict=True):
        assert a.dtype == torch.float64 and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) and torch.equal(a.isnan(), b.isnan())
    assert theirs.magmoms is None and theirs.spread is None and oracle.versions["ase"]


def test_moments_free_energies_and_chatter_come_through_or_not_as_they_should(remote):
    labels = remote("moody").label(COPPER)
    assert labels.energy.tolist() == [4.0] and labels.magmoms.tolist() == [2.0] * 4
    assert labels.stress[0].tolist() == [[0.0, 5.0, 4.0], [5.0, 1.0, 3.0], [4.0, 3.0, 2.0]]
    assert remote("moody", free_energy=True).label(COPPER).energy.tolist() == [3.5]


def test_more_crystals_than_go_at_once_come_back_in_order(remote):
    batch = Crystals.join([COPPER, GOLD] * 70)
    assert remote("moody").label(batch).energy.tolist() == [4.0, 1.0] * 70


def test_an_empty_batch_gives_empty_labels_and_starts_nothing(remote):
    oracle = remote("emt")
    labels = oracle.label(COPPER[:0])
    assert labels.energy.shape == (0,) and labels.forces.shape == (0, 3) and labels.stress.shape == (0, 3, 3) and oracle._worker is None


def test_a_missing_property_is_a_clear_error(remote):
    with pytest.raises(BadInput, match="crystal 0: the calculator of 'bare' gives no forces; make the oracle with forces=False to do without"):
        remote("bare").label(COPPER)
    labels = remote("bare", forces=False, stress=False).label(COPPER)
    assert labels.energy.tolist() == [1.0] and labels.forces is None and labels.stress is None


@pytest.mark.parametrize("death, why", [("raise", "failed: RuntimeError: no uranium please"), ("shape", r"gave forces of shape \[1, 2\], wanted \(2, 3\)")])
def test_the_crystal_on_which_the_calculator_fails_is_named_and_the_rest_is_not_asked_again(remote, tmp_path, death, why):
    log = tmp_path / "calls"
    oracle = remote("moody", options={"log": str(log), "death": death})
    with pytest.raises(BadInput, match=f"crystal 1: the calculator of 'moody' {why}"):
        oracle.label(Crystals.join([COPPER, URANIUM, GOLD]))
    assert oracle.label(Crystals.join([COPPER, GOLD])).energy.tolist() == [4.0, 1.0]
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["29", "92", "79"]
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 1  # one worker did it all


@pytest.mark.parametrize("death, how", [("kill", "it was ended by SIGKILL"), ("exit", r"it ended with code 7 \(the last words\)")])
def test_a_crystal_that_kills_its_worker_three_times_is_set_aside(remote, tmp_path, death, how):
    log = tmp_path / "calls"
    oracle = remote("moody", options={"log": str(log), "death": death})
    batch = Crystals.join([COPPER, URANIUM, GOLD])
    with pytest.raises(BadInput, match=f"crystal 1: the worker of 'moody' died on it 3 times, it is set aside: {how}"):
        oracle.label(batch)
    calls = [line.split()[1] for line in log.read_text().splitlines()]
    assert calls == ["29", "92", "92", "92", "79"]
    with pytest.raises(BadInput, match="crystal 0: .*set aside"):
        oracle.label(URANIUM)
    assert oracle.label(COPPER).energy.tolist() == [4.0]
    assert [line.split()[1] for line in log.read_text().splitlines()] == [*calls, "29"]


def test_a_worker_that_died_once_is_started_again_and_nobody_notices(remote, tmp_path):
    oracle = remote("moody", options={"log": str(tmp_path / "calls"), "death": "once"})
    assert oracle.label(Crystals.join([COPPER, URANIUM, GOLD])).energy.tolist() == [4.0, 2.0, 1.0]
    os.kill(oracle._worker.process.pid, signal.SIGKILL)  # between two questions
    oracle._worker.process.wait()
    assert oracle.label(GOLD).energy.tolist() == [1.0]


def test_a_crystal_without_an_answer_in_time_is_named(remote, tmp_path):
    oracle = remote("moody", options={"log": str(tmp_path / "calls"), "death": "hang"}, seconds=0.5)
    with pytest.raises(BadInput, match="crystal 1: .*it gave no answer within 0.5 s"):
        oracle.label(Crystals.join([COPPER, URANIUM]))
    pids = {int(line.split()[0]) for line in (tmp_path / "calls").read_text().splitlines()}
    assert len(pids) == 3 and all(gone(pid) for pid in pids)


def test_undecided_atoms_are_refused(remote):
    with pytest.raises(BadInput, match="crystal 1: an atom is of an undecided element"):
        remote("emt").label(Crystals.join([GOLD, COPPER.put(species=torch.zeros(4, dtype=torch.long))]))


@pytest.mark.parametrize("maker, why", [
    ("needs_a_package", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"), ("needs_a_download", "no network; its weights may need a download"),
    ("dies_at_once", r"did not come up: it ended with code 1 \(not in the mood\)")])
def test_what_keeps_a_worker_from_starting_is_said(remote, maker, why):
    with pytest.raises(NeedsPackage, match=why):
        remote(maker).label(GOLD)


def test_wrong_options_and_a_wrong_interpreter_are_said(remote, tmp_path):
    with pytest.raises(BadInput, match="unexpected keyword argument 'colour'"):
        remote("moody", options={"colour": "red"}).label(GOLD)
    with pytest.raises(NeedsPackage, match="cannot be started"):
        RemoteOracle(tmp_path / "python", "emt", "emt", "test").label(GOLD)


def test_closing_ends_the_worker_and_a_label_starts_another(remote):
    oracle = remote("emt")
    energy = oracle.label(GOLD).energy
    pid = oracle._worker.process.pid
    oracle.close()
    assert not alive(pid)
    assert torch.equal(oracle.label(GOLD).energy, energy) and oracle._worker.process.pid != pid


def test_an_oracle_travels_without_its_worker(remote):
    oracle = remote("moody")
    oracle.label(GOLD)
    with pickle.loads(pickle.dumps(oracle)) as other:
        assert other._worker is None and other.label(GOLD).energy.tolist() == [1.0] and other._worker.process.pid != oracle._worker.process.pid


PARENT = """
import sys
from matterloop.crystal.state import Crystals
from matterloop.potential.outside_remote import RemoteOracle
gold = Crystals.of([[0, 0, 0]], [79], [[0, 2, 2], [2, 0, 2], [2, 2, 0]])
oracle = RemoteOracle(sys.executable, sys.argv[1] + ":moody", "moody", "test", options={"death": "hang", "log": sys.argv[2]})
oracle.label(gold)
print(oracle._worker.process.pid, flush=True)
try:
    oracle.label(gold.put(species=gold.species * 0 + 92))
except KeyboardInterrupt:
    oracle.label(gold)
    print("again", oracle._worker.process.pid, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(how, tmp_path):
    log = tmp_path / "calls"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(MAKERS), str(log)], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    while " 92" not in log.read_text():  # now it hangs in the calculator
        time.sleep(0.05)
    assert alive(worker)
    parent.send_signal(how)
    if how == signal.SIGINT:  # the computation stops, the program goes on with a new worker
        word, second = parent.stdout.readline().split()
        assert word == "again" and int(second) != worker
    parent.wait(20)
    parent.stdout.close()
    assert gone(worker) and (how != signal.SIGINT or gone(int(second)))


def test_a_program_that_leaves_its_oracle_open_ends_in_peace(tmp_path):
    code = PARENT.partition("try:")[0] + "keep = oracle\n"
    done = subprocess.run([sys.executable, "-c", code, str(MAKERS), str(tmp_path / "calls")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and gone(int(done.stdout))


def test_an_oracle_that_nobody_holds_any_more_takes_its_worker_along(remote):
    oracle = RemoteOracle(sys.executable, f"{MAKERS}:emt", "emt", "test")
    oracle.label(GOLD)
    pid = oracle._worker.process.pid
    del oracle
    assert gone(pid)


# the frames


def test_frames_come_back_as_they_were():
    file = io.BytesIO()
    wire.write_frame(file, {"op": "x"}, np.arange(3.0), np.arange(2))
    file.seek(0)
    header, body = wire.read_frame(file)
    assert header == {"op": "x", "bytes": 40} and np.frombuffer(body, wire.REAL, 3).tolist() == [0, 1, 2] and wire.read_frame(file) is None


@pytest.mark.parametrize("raw, why", [
    (b"{" * (wire.LONGEST_HEADER + 5), "without an end"), (b"hello\n", "no JSON"), (b"[1]\n", "without a size"), (b'{"bytes": -1}\n', "without a size"),
    (b'{"bytes": 1e3}\n', "without a size"), (b'{"bytes": 9000000000}\n', "without a size")])
def test_what_is_no_frame_is_refused(raw, why):
    with pytest.raises(wire.Broken, match=why):
        wire.read_frame(io.BytesIO(raw))


def test_a_frame_cut_short_is_an_end():
    assert wire.read_frame(io.BytesIO(b'{"bytes": 10}\n123')) is None


def test_crystals_come_back_as_they_were_packed():
    given = [([29, 8], [[0.0, 0, 0], [1.5, 0, 2]], np.eye(3) * 4, [True, True, False]), ([1], [[0.5, 0.5, 0.5]], np.eye(3), [False] * 3)]
    body = b"".join(np.ascontiguousarray(a).tobytes() for a in wire.pack(given))
    for one, other in zip(given, wire.unpack(2, body), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    for count, wrong in ((2, body[:-8]), (3, body), (0, body), (10**9, body), (2, b"")):
        with pytest.raises(wire.Broken):
            wire.unpack(count, wrong)


def test_the_worker_is_one_file_that_imports_nothing_of_matterloop():
    code = f"import sys; sys.argv = ['x']; import runpy; runpy.run_path({str(wire.__file__)!r}, run_name='worker'); print([m for m in sys.modules if m.startswith(('matterloop', 'torch', 'ase'))])"
    assert subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
