"""SevenNet, an equivariant universal potential, evaluated by our own batched engine on the weights in the sevenn wheel.

Yutack Park, Jaesun Kim, Seungwoo Hwang, Seungwu Han, "Scalable parallel algorithm for graph neural network interatomic potentials in molecular
dynamics simulations", Journal of Chemical Theory and Computation 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190; the network is in
sevennet_network.py. The released models were trained on the uncorrected energies of MPtrj.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution

import torch
from torch import Tensor

from ..base.elements import MAX_Z, symbol
from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.registry import Card
from ..base.units import stress_to_gpa
from ..crystal.graph import Graph, Within
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from .oracle import Labels
from .sevennet_network import Edges, Network

CARD = Card(
    name="sevennet",
    build="SevenNetOracle",
    role="potential",
    paper="10.1021/acs.jctc.4c00190",
    year=2024,
    summary="SevenNet-0, pretrained on uncorrected energies of the relaxation trajectories of the Materials Project; energy, forces and stress",
    capabilities=("energy", "forces", "stress", "pretrained", "dtype", "parity", "needs_package"),
    keeps=("rotation", "translation", "permutation", "cell", "supercell"),
    waives={
        "reflection": "the released networks keep SO(3) only: the tensor product of two vectors is added to vectors, so mirror images differ by 1e-5",
        "short_distances": "the released weights bind some pairs at 0.6 Å (Na-Na: -140 eV, 4 eV at 0.9 Å): MPtrj holds no such pairs",
    },
    reference=-2.44131417925583,
    dtype="float32",
    tolerance=1e-4,
    tolerance_reason="the weights were trained and released in single precision; with dtype=torch.float64 the network is evaluated in double",
    aliases=("sevennet-0",),
    presets={"l3i5": {"model": "7net-l3i5"}},
)

# model -> (file in the wheel, its sha256)
WEIGHTS = {
    "7net-0": ("SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth", "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36"),
    "7net-l3i5": ("SevenNet_l3i5/checkpoint_l3i5.pth", "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d"),
}
COINCIDENT = 1e-3  # Å; nearer atoms have no direction to each other
BLOCK = 5000  # atoms whose neighbours are searched together


def read_checkpoint(model: str) -> dict:
    """Weights and settings of a released model; the file is checked by sha256 and read without running code from it."""
    import numpy as np

    if model not in WEIGHTS:
        raise Missing("model of SevenNet", model, WEIGHTS)
    name, digest = WEIGHTS[model]
    try:
        path = distribution("sevenn").locate_file("sevenn/pretrained_potentials/" + name)
    except PackageNotFoundError:
        raise NeedsPackage("sevenn", "SevenNet (its wheel holds the weights)") from None
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise BadInput(f"sha256 is {found}, expected {digest}; reinstall the package sevenn", str(path))
    # element shifts lie there as numpy arrays, pickled by numpy 1
    arrays = [(np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType]
    with torch.serialization.safe_globals(arrays), path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


class SevenNetOracle:
    """SevenNet as an oracle: uncorrected energies of the Materials Project's settings (scheme "mp-raw"), forces and stresses.

    model        "7net-0" or "7net-l3i5" (larger, more accurate, about three times slower)
    dtype        precision of the network; geometry and sums over atoms are float64 always
    batch_atoms  atoms evaluated together, 128 on a CPU and 1000 elsewhere if absent
    device       "cpu", "cuda", ...; labels come back where the crystals are
    compiled     take the compiled convolution on a CPU where it was built
    """

    energy_scheme = "mp-raw"

    def __init__(self, model: str = "7net-0", dtype: torch.dtype = torch.float32, batch_atoms: int | None = None,
                 device: str | torch.device | None = None, compiled: bool = True):
        checkpoint = read_checkpoint(model)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model, self.dtype, self.compiled = model, dtype, compiled
        self.batch_atoms = batch_atoms or (128 if self.device.type == "cpu" else 1000)
        self.name = "sevennet" if model == "7net-0" else f"sevennet:{model}"
        self.network = Network(checkpoint["config"], checkpoint["model_state_dict"], dtype, self.device, compiled)
        self.radius = float(checkpoint["config"]["cutoff"])
        self._row = torch.full((MAX_Z + 1,), -1)
        for z, row in checkpoint["config"]["_type_map"].items():
            self._row[z] = row

    def steady(self) -> SevenNetOracle:
        """The same oracle with answers that do not depend on what else is in the batch: on a CPU each crystal alone, elsewhere in double precision."""
        if self.device.type == "cpu":
            return SevenNetOracle(self.model, self.dtype, 1, self.device, self.compiled)
        return SevenNetOracle(self.model, torch.float64, self.batch_atoms, self.device)

    def parity(self) -> list[tuple[str, Tensor, Tensor, float]]:
        """What the package's calculator gives for a distorted perovskite beside our own numbers: [(what, ours, theirs, allowed difference)]."""
        from sevenn.calculator import SevenNetCalculator

        from ..crystal.formats import to_ase

        sites = [[0.0, 0.0, 0.0], [0.5, 0.52, 0.5], [0.5, 0.5, 0.02], [0.5, 0.0, 0.5], [0.0, 0.47, 0.5]]
        crystal = Crystals.of(sites, [22, 56, 8, 8, 8], [[4.0, 0, 0], [0.3, 4.1, 0], [0, 0.2, 3.9]])
        atoms, ours = to_ase(crystal)[0], self.label(crystal)
        with torch.random.fork_rng(devices=[]):
            atoms.calc = SevenNetCalculator(self.model, device="cpu")
        theirs = [torch.as_tensor(x) for x in (atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False))]
        return [("energy, eV/atom", ours.energy[0] / 5, theirs[0] / 5, 1e-4), ("forces, eV/Å", ours.forces, theirs[1], 1e-3),
                ("stress, GPa", stress_to_gpa(ours.stress[0]), stress_to_gpa(theirs[2]), 1e-2)]

    def label(self, crystals: Crystals, forces: bool = True) -> Labels:
        """Energies (crystals,) eV, forces (atoms, 3) eV/Å and stresses (crystals, 3, 3) eV/Å^3; energies alone, in about half the time, without `forces`.

        Raises BadInput for elements that the model does not know, for cells too flat to list their neighbours and for atoms on one another.
        """
        self.check(crystals)
        home = crystals.cell.device
        crystals = crystals.bare().to(torch.float64).to(self.device)
        pieces, before = [], 0
        for block in crystals.split(BLOCK):
            graph = Within(self.radius)(block)
            vectors = graph.vectors(block)
            self._refuse(block, graph, vectors, before)
            first, start = torch.searchsorted(graph.receivers, block.offsets), 0
            while start < len(block):
                stop = max(start + 1, int(torch.searchsorted(block.offsets, block.offsets[start] + self.batch_atoms, right=True)) - 1)
                edges, atoms = slice(int(first[start]), int(first[stop])), int(block.offsets[start])
                pieces.append((block[start:stop], graph.senders[edges] - atoms, graph.receivers[edges] - atoms, vectors[edges], forces))
                start = stop
            before += len(block)
        parts = self._side_by_side(pieces)
        if not parts:
            empty = torch.zeros(0, dtype=torch.float64, device=home)
            return Labels(empty, empty.new_zeros(0, 3), empty.new_zeros(0, 3, 3)) if forces else Labels(empty)
        return Labels(*(torch.cat(column).to(home) for column in zip(*parts, strict=True)))

    def _side_by_side(self, pieces: list[tuple]) -> list[tuple[Tensor, ...]]:
        """Labels of the pieces, each by one thread on a CPU: answers do not depend on how many there are."""
        if self.device.type != "cpu":
            return [self._label(*piece) for piece in pieces]
        count = torch.get_num_threads()
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                return list(pool.map(lambda piece: self._label(*piece), pieces))
            finally:
                pool.shutdown(cancel_futures=True)
                torch.set_num_threads(count)  # some libraries count threads for all of the process

    def check(self, crystals: Crystals) -> None:
        """BadInput naming the first atom whose element the model has never seen."""
        bad = self._row.to(crystals.species.device)[crystals.species] < 0
        if bool(bad.any()):
            atom = int(bad.nonzero()[0, 0])
            crystal, z = int(crystals.owner[atom]), int(crystals.species[atom])
            what = "an undecided element (0)" if z == 0 else f"the element {symbol(z)}"
            raise BadInput(f"an atom is of {what}; SevenNet knows H to Bi without Po to Ra, and Ac to Pu", f"crystal {crystal}, atom {atom - int(crystals.offsets[crystal])}")

    @staticmethod
    def _refuse(crystals: Crystals, graph: Graph, vectors: Tensor, before: int) -> None:
        length = vectors.norm(dim=-1)
        if len(length) and float(length.min()) < COINCIDENT:
            raise BadInput(f"two atoms are {float(length.min()):.1e} Å apart, allowed is {COINCIDENT:g} Å or more",
                           f"crystal {before + int(crystals.owner[graph.receivers[length.argmin()]])}")

    def _label(self, crystals: Crystals, senders: Tensor, receivers: Tensor, vectors: Tensor, forces: bool) -> tuple[Tensor, ...]:
        edges = Edges.of(vectors, senders, receivers, crystals.atoms, self.dtype)
        with torch.set_grad_enabled(forces):
            leaf = vectors.to(self.dtype, copy=True).requires_grad_(forces)
            site = self.network(self._row.to(self.device)[crystals.species], leaf, edges)
            energy = segment_sum(site.detach(), crystals.owner, len(crystals))
            if not forces:
                return (energy,)
            (slope,) = torch.autograd.grad(site.sum(), [leaf], materialize_grads=True)
        slope = slope.to(torch.float64)
        force = segment_sum(slope, receivers, crystals.atoms) - segment_sum(slope, senders, crystals.atoms)
        virial = segment_sum(vectors[:, :, None] * slope[:, None, :], crystals.owner[receivers], len(crystals))
        stress = (virial + virial.mT) / (2 * crystals.volume[:, None, None])
        return energy, force, stress
