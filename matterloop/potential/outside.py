"""Any ASE calculator as an oracle, and doors by name to universal potentials that live in packages of their own.

The catalogue's entry stands for MatterSim (Han Yang, Chenxi Hu, Yichi Zhou and others, "MatterSim: a deep learning atomistic model across
elements, temperatures and pressures", arXiv:2405.04967) and its relatives MACE (arXiv:2401.00096), ORB (arXiv:2504.06231), SevenNet and models
in the metatomic format, which are reached the same way.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch

from ..base.errors import BadInput, Missing
from ..base.registry import Card
from ..crystal.state import Crystals
from .oracle import Labels, Oracle
from .outside_environments import python_of
from .outside_remote import NotReady, RemoteOracle
from .outside_worker import Lacks, describe, evaluate
from .sevennet import WEIGHTS, SevenNetOracle

CARD = Card(
    name="mattersim",
    build="outside",
    role="potential",
    paper="2405.04967",
    year=2024,
    summary="universal potentials of other packages: MatterSim, MACE, ORB, SevenNet, metatomic models, each in an environment and process of its own",
    capabilities=("energy", "forces", "stress", "pretrained", "needs_package"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"reference": "the number depends on the release of a package that is not installed where the suite runs"},
    dtype="float32",
    tolerance=1e-4,
    tolerance_reason="the packages evaluate in single precision by default",
    presets={"mace": {"model": "mace"}, "orb": {"model": "orb"}, "sevennet": {"model": "sevennet"}},
    differs=("crystals are evaluated one by one: an ASE calculator knows no batches",),
)


class AseOracle:
    """An ASE calculator as an oracle; crystals are handed to it one by one.

    factory        makes the calculator; called once, at the first label
    name           stored beside every number
    energy_scheme  what its energies mean ("mp-raw", "pbe-raw", ...); hulls refuse to mix schemes
    free_energy    take the energy whose gradient the forces are (with electronic entropy) instead of the one extrapolated to zero smearing
    forces, stress whether to ask for them; a calculator that has none is an error that says so
    """

    def __init__(self, factory: Callable[[], object], name: str, energy_scheme: str, *, free_energy: bool = False, forces: bool = True, stress: bool = True):
        self.factory, self.name, self.energy_scheme = factory, name, energy_scheme
        self.want = {"forces": forces, "stress": stress, "free_energy": free_energy}
        self._calculator = None

    def label(self, crystals: Crystals) -> Labels:
        """Energies (crystals,) eV, forces (atoms, 3) eV/Å, stresses (crystals, 3, 3) eV/Å^3 positive under tension, and moments if it has them.

        The stress of a structure that is not periodic is NaN: it has no volume. Raises BadInput naming the crystal when the calculator fails
        on it or lacks a property.
        """
        rows = [self._one(crystals[k], k) for k in range(len(crystals))]
        home = crystals.cell.device

        def joined(name: str, shape: tuple) -> torch.Tensor:
            return torch.cat([torch.zeros(shape, dtype=torch.float64), *(torch.as_tensor(r[name]).reshape(-1, *shape[1:]) for r in rows)]).to(home)

        moments = joined("magmoms", (0,)) if rows and all("magmoms" in r for r in rows) else None
        return Labels(joined("energy", (0,)), joined("forces", (0, 3)) if self.want["forces"] else None,
                      joined("stress", (0, 3, 3)) if self.want["stress"] else None, None, moments)

    def _one(self, crystal: Crystals, index: int) -> dict:
        if bool((crystal.species == 0).any()):
            raise BadInput("an atom is of an undecided element (0)", f"crystal {index}")
        if self._calculator is None:
            self._calculator = self.factory()
        arrays = (x.detach().cpu().numpy() for x in (crystal.species, crystal.cart, crystal.cell[0], crystal.periodic[0]))
        try:
            return evaluate(self._calculator, *arrays, **self.want)
        except Lacks as lack:
            raise BadInput(f"the calculator of {self.name!r} gives no {lack}; make the oracle with {lack}=False to do without", f"crystal {index}") from None
        except Exception as error:  # foreign code may raise anything; the crystal that caused it must be named
            raise BadInput(f"the calculator of {self.name!r} failed: {describe(error)}", f"crystal {index}") from error


@dataclass(frozen=True)
class Door:
    """How to reach a potential.

    package        what is imported
    install        what pip installs
    energy_scheme  what the energies of its default weights mean
    schemes        (part of the name of other weights, their scheme), the first that fits counts
    choice         the option that names the weights
    file           "needed": there are no default weights, a model file must be given
    without        packages that it asks for and never imports, taken out again: their usual builds fail beside torch's build for CPUs
    """

    package: str
    install: tuple[str, ...]
    energy_scheme: str
    schemes: tuple[tuple[str, str], ...] = ()
    choice: str = "model"
    file: str = ""
    without: tuple[str, ...] = ()

    def scheme_of(self, weights: str) -> str:
        """The energy scheme of weights by their name."""
        return next((scheme for part, scheme in self.schemes if part in weights), self.energy_scheme)


DOORS = {
    "mattersim": Door("mattersim", ("mattersim",), "mp-raw", choice="load_path", without=("torchvision", "torchaudio")),
    "mace": Door("mace", ("mace-torch",), "mp-raw", (("matpes-r2scan", "matpes-r2scan-raw"), ("matpes", "matpes-pbe-raw"), ("omat", "omat24-raw"), ("mh-", "mace-mh-raw"))),
    "orb": Door("orb_models", ("orb-models",), "mp-raw", (("omat", "omat24-raw"), ("omol", "omol-raw"), ("d3", "mp-raw-d3")), choice="weights"),
    "sevennet": Door("sevenn", ("sevenn",), "mp-raw", (("omat", "omat24-raw"), ("omni", "sevennet-omni-raw"))),
    "metatomic": Door("metatomic", ("metatomic-torch", "metatomic-ase", "ase"), "metatomic-raw", file="needed"),
}


def outside(model: str = "mattersim", device: str | None = None, energy_scheme: str | None = None, path: str | Path | None = None, *,
            weights: str = "", python: str | Path | None = None, seconds: float = 300.0, **options) -> Oracle:
    """The oracle behind a door of DOORS.

    weights        name of other released weights, as the package calls them ("medium-omat-0", "7net-l3i5", "orb_v2", ...)
    path           a model file of the user's own instead of released weights; some packages unpickle it, which runs code from it: open only files
                   that you trust
    energy_scheme  what the energies mean; if absent that of the released weights, and for a file of the user's own one that nothing else shares
    python         interpreter of an environment that holds the package, if it is none that `matterloop potentials setup` made
    seconds        longest wait for one crystal
    options        plain values for the package's calculator

    SevenNet's models of the wheel are evaluated in this process and in batches where the package is installed here. Everything else runs in a
    process of its own: in the environment set up for it, else in this one if the package is here and its pins are met. Raises Missing for an unknown
    model, BadInput for a file that is not there, and NeedsPackage, before anything is computed, when the package is nowhere.
    """
    if model not in DOORS:
        raise Missing("outside potential", model, DOORS)
    door = DOORS[model]
    if path is not None and weights:
        raise BadInput("both weights= and path= are given; give one of them", model)
    if path is not None and not Path(path).is_file():
        raise BadInput("there is no such file", str(path))
    if door.file and path is None:
        raise BadInput(f"{model!r} has no weights of its own; pass path=, an exported model file", "path")
    if model == "sevennet" and path is None and python is None and not options and (weights or "7net-0") in WEIGHTS and agrees(door.package):
        return SevenNetOracle(weights or "7net-0", device=device)
    interpreter = python or python_of(model) or (sys.executable if agrees(door.package) else None)
    if interpreter is None:
        raise NotReady(f"the potential {model!r} needs the package {door.package!r}; run: matterloop potentials setup {model}")
    name = f"{model}:{weights}" if weights else model
    if weights:
        options[door.choice] = weights
    if path is not None:
        path = Path(path).resolve()
        mark = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        name, energy_scheme = f"{model}:{path.stem}-{mark}", energy_scheme or f"{model}-{mark}"
        options["path"] = str(path)
    return RemoteOracle(interpreter, model, name, energy_scheme or door.scheme_of(weights), device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
                        options=options, seconds=seconds)


def agrees(package: str) -> bool:
    """Whether a package is installed here beside what it pins: the distributions it requires are there in versions that it allows."""
    from packaging.requirements import Requirement

    if importlib.util.find_spec(package) is None:
        return False
    door = next(d for d in DOORS.values() if d.package == package)
    try:
        wanted = [Requirement(text) for text in requires(door.install[0]) or ()]
        return all(r.specifier.contains(version(r.name), prereleases=True) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""}))
    except PackageNotFoundError:
        return False
