"""Calculators for the tests of the remote door; this file is read by the worker's process, which has numpy and ase."""

import os
import sys
import time

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

URANIUM = 92


def emt(device, **options):
    return EMT(**options)


class Moody(Calculator):
    """What it does depends on the elements it sees; `log` counts its calls in a file."""

    implemented_properties = ("energy", "free_energy", "forces", "stress", "magmoms")

    def __init__(self, log="", death="kill"):
        super().__init__()
        self.log, self.death = log, death

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        print("chatter on standard output\n" * 3)
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{os.getpid()} {atoms.numbers[0]}\n")
        if URANIUM in atoms.numbers:
            print("the last words", file=sys.stderr, flush=True)
            if self.death == "kill":
                os.kill(os.getpid(), 9)
            if self.death == "exit":
                os._exit(7)
            if self.death == "once" and sum(line.endswith(" 92\n") for line in open(self.log)) < 2:
                os._exit(1)
            if self.death == "hang":
                time.sleep(1000)
            if self.death == "raise":
                raise RuntimeError("no uranium\nplease")
            if self.death == "shape":
                self.results = {"energy": 0.0, "forces": np.zeros((1, 2)), "stress": np.zeros(6)}
                return
        n = len(atoms)
        self.results = {"energy": float(n), "free_energy": n - 0.5, "forces": np.full((n, 3), 0.25), "stress": np.arange(6.0), "magmoms": np.full(n, 2.0)}


def moody(device, **options):
    return Moody(**options)


class Bare(Calculator):
    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 1.0}


def bare(device):
    return Bare()


def needs_a_package(device):
    import a_package_that_nobody_has  # noqa: F401


def needs_a_download(device):
    raise ConnectionError("no network")


def dies_at_once(device):
    sys.exit("not in the mood")
