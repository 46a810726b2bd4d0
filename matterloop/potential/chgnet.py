"""CHGNet, a universal potential with magnetic moments, evaluated by our own engine on the weights in the chgnet wheel.

Bowen Deng, Peichen Zhong, KyuJung Jun, Janosh Riebesell, Kevin Han, Christopher J. Bartel, Gerbrand Ceder, "CHGNet as a pretrained universal
neural network potential for charge-informed atomistic modelling", Nature Machine Intelligence 5, 1031 (2023), doi:10.1038/s42256-023-00716-3.

Atoms v, bonds b and angles a carry 64 features each. A gated layer of an input x is phi(x) = silu(LN(L x)) * sigmoid(LN(G x)). One block is
    v_i  += W sum_j  phi(v_i, b_ij, v_j) * w_ij                    over neighbours within 6 Å
    b_ij += W sum_k  phi(b_ij, b_ik, a_jik, v_i) * w_ij * w_ik     over neighbours within 3 Å, from both ends of the bond
    a_jik +=         phi(b_ij, b_ik, a_jik, v_i)
and the energy is a sum of site energies and of one reference energy per element. What follows from these equations is used to do less:
the first linear map of phi acts on every atom and bond before it is copied to pairs and angles; both directions of a bond and both orders of
an angle share what does not depend on direction; a bond longer than 3 Å keeps its first features; the last angle update changes nothing.

On a CPU the compiled evaluation does the work (chgnet_kernel.py): whole crystals on each thread, what is equal by symmetry only once. Elsewhere, and
where no compiler was at hand when the package was installed, torch does it in batches (chgnet_network.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution

import torch
from torch import Tensor

from ..base.elements import MAX_Z, symbol
from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.registry import Card
from ..base.units import stress_to_gpa
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from . import chgnet_kernel
from .chgnet_network import COINCIDENT, CROWDED, Bonds, Network
from .oracle import Labels

CARD = Card(
    name="chgnet",
    build="CHGNetOracle",
    role="potential",
    paper="10.1038/s42256-023-00716-3",
    year=2023,
    summary="pretrained on the relaxation trajectories of the Materials Project; energy, forces, stress and magnetic moments",
    capabilities=("energy", "forces", "stress", "magmoms", "pretrained", "dtype", "parity"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    waives={"short_distances": "the released weights bind some pairs again below 0.9 Å (Na-Na: 27 eV at 0.9 Å, 8 eV at 0.6 Å): MPtrj holds no such pairs"},
    reference=-2.8845610992453965,
    dtype="float32",
    tolerance=1e-4,
    tolerance_reason="the weights were trained and released in single precision; with dtype=torch.float64 the network is evaluated in double",
    presets={"r2scan": {"version": "r2scan"}},
    differs=(
        "atoms without neighbours keep their embedding and get an energy; the package raises",
        "Po, At, Rn, Fr and Ra are refused: their embeddings were never trained",
    ),
)

# version -> (file in the wheel, its sha256, what its energies mean)
WEIGHTS = {
    "0.3.0": ("0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar", "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1", "mp2020"),
    "r2scan": ("r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar", "8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad", "mp-r2scan"),
}
BLOCK = 5000  # atoms whose neighbours are searched together; a few seconds of work
PAIRS = 40_000  # bonds and angles evaluated together on a CPU, about 16 KiB each
SUPPORTED = (*range(1, 84), *range(89, 95))  # elements of MPtrj: H to Bi and Ac to Pu


def read_weights(version: str) -> tuple[dict[str, Tensor], dict]:
    """(weights by name, settings) of a released version; the file is checked by sha256 and read without running code from it."""
    if version not in WEIGHTS:
        raise Missing("version of CHGNet", version, WEIGHTS)
    name, digest, _ = WEIGHTS[version]
    try:
        path = distribution("chgnet").locate_file("chgnet/pretrained/" + name)
    except PackageNotFoundError:
        raise NeedsPackage("chgnet", "CHGNet (its wheel holds the weights)") from None
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise BadInput(f"sha256 is {found}, expected {digest}; reinstall the package chgnet", str(path))
    with path.open("rb") as file:
        model = torch.load(file, map_location="cpu", weights_only=True)["model"]
    return model["state_dict"], model["model_args"]


class CHGNetOracle:
    """CHGNet as an oracle: energies with MP2020 corrections inside (scheme "mp2020"), forces, stresses and magnetic moments.

    version      "0.3.0" or "r2scan" (scheme "mp-r2scan")
    dtype        precision of the network; geometry and sums over atoms are float64 always
    batch_atoms  where torch evaluates: atoms evaluated together (fewer where they have very many bonds and angles), 100 on a CPU and 3000 elsewhere
                 if absent; answers do not depend on it
    device       "cpu", "cuda", ...; labels come back where the crystals are
    engine       "compiled" (CPU only; every crystal by itself, equal to the bit in any batch and on any number of threads) or "torch";
                 if absent, compiled where it can be
    merge        compiled engine: evaluate atoms, bonds and angles that are equal within single precision (2e-6 Å; 1e-10 Å in double) only once
    """

    name = "chgnet"
    elements = SUPPORTED

    def __init__(self, version: str = "0.3.0", dtype: torch.dtype = torch.float32, batch_atoms: int | None = None,
                 device: str | torch.device | None = None, engine: str | None = None, merge: bool = True):
        if engine not in (None, "compiled", "torch"):
            raise Missing("engine of CHGNet", str(engine), ("compiled", "torch"))
        weights, settings = read_weights(version)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_cpu = self.device.type == "cpu"  # small batches stay in its cache, a GPU wants large ones
        self.version, self.dtype, self.batch_atoms = version, dtype, batch_atoms or (100 if on_cpu else 3000)
        self.pairs = PAIRS if on_cpu else 10 * PAIRS
        if version != "0.3.0":
            self.name = f"chgnet:{version}"
        self.energy_scheme = WEIGHTS[version][2]
        self.radius, self.near_radius = float(settings["atom_graph_cutoff"]), float(settings["bond_graph_cutoff"])
        self.reference = weights["composition_model.fc.weight"][0].to(self.device, torch.float64)
        self.net = Network({k: v.to(self.device, dtype) for k, v in weights.items()}, settings)
        self._known = torch.zeros(MAX_Z + 1, dtype=torch.bool)
        self._known[list(SUPPORTED)] = True
        lib = chgnet_kernel.load() if on_cpu and engine != "torch" else None
        if engine == "compiled" and lib is None:
            raise BadInput("the compiled engine runs on a CPU only" if not on_cpu else "no compiled engine was built when the package was installed; "
                           "install a C compiler and the package again, or use engine='torch'", "CHGNetOracle")
        self.kernel = chgnet_kernel.Kernel(lib, self.net, dtype, merge=merge, crowded=CROWDED, coincident=COINCIDENT) if lib else None

    def parity(self) -> list[tuple[str, Tensor, Tensor, float]]:
        """What the chgnet package gives for a distorted perovskite beside our own numbers: [(what, ours, theirs, allowed difference)]."""
        from chgnet.model import CHGNet

        from ..crystal.formats import to_pymatgen

        sites = [[0.0, 0.0, 0.0], [0.5, 0.52, 0.5], [0.5, 0.5, 0.02], [0.5, 0.0, 0.5], [0.0, 0.47, 0.5]]
        crystal = Crystals.of(sites, [22, 56, 8, 8, 8], [[4.0, 0, 0], [0.3, 4.1, 0], [0, 0.2, 3.9]])
        package = CHGNet.load(model_name=self.version, use_device="cpu", verbose=False)
        theirs = package.predict_structure(to_pymatgen(crystal)[0])
        ours = self.label(crystal)
        mine = {"e": ours.energy[0] / crystal.atoms, "f": ours.forces, "s": stress_to_gpa(ours.stress[0]), "m": ours.magmoms}
        limits = {"e": ("energy, eV/atom", 1e-4), "f": ("forces, eV/Å", 1e-3), "s": ("stress, GPa", 1e-2), "m": ("magnetic moments, muB", 1e-3)}
        return [(what, mine[key], torch.as_tensor(theirs[key]), allowed) for key, (what, allowed) in limits.items()]

    def check(self, crystals: Crystals) -> None:
        """BadInput naming the first atom whose element CHGNet has never seen."""
        bad = ~self._known.to(crystals.species.device)[crystals.species]
        if bool(bad.any()):
            atom = int(bad.nonzero()[0, 0])
            crystal, z = int(crystals.owner[atom]), int(crystals.species[atom])
            what = "an undecided element (0)" if z == 0 else f"the element {symbol(z)}"
            raise BadInput(f"an atom is of {what}; CHGNet knows H to Bi and Ac to Pu", f"crystal {crystal}, atom {atom - int(crystals.offsets[crystal])}")

    def steady(self) -> CHGNetOracle:
        """The same oracle with answers that do not depend on what else is in the batch, for runs that must be repeatable: the compiled engine as it is.

        With torch single precision rounds differently in batches of different sizes, and a relaxation carries that on to 4e-4 eV/atom at fmax 0.05:
        on a CPU every crystal is then evaluated alone and by one thread, elsewhere in double precision (1e-13 apart).
        """
        if self.kernel is not None:
            return self
        if self.device.type == "cpu":
            return CHGNetOracle(self.version, self.dtype, 1, self.device, "torch")
        return CHGNetOracle(self.version, torch.float64, self.batch_atoms, self.device)

    def label(self, crystals: Crystals) -> Labels:
        """Energies (crystals,) eV, forces (atoms, 3) eV/Å, stresses (crystals, 3, 3) eV/Å^3 and magnetic moments (atoms,) in Bohr magnetons.

        Raises BadInput for elements outside SUPPORTED, for cells too flat to list their neighbours and for crushed crystals.
        """
        self.check(crystals)
        home = crystals.cell.device
        crystals = crystals.bare().to(torch.float64).to(self.device)
        if self.kernel is not None:
            energy, forces, stress, magmoms = self._compiled(crystals)
            return Labels(energy, forces, stress, None, magmoms)
        with threads(1 if self.batch_atoms == 1 else torch.get_num_threads()):
            parts = self._parts(crystals)
        if not parts:
            empty = torch.zeros(0, dtype=torch.float64, device=home)
            return Labels(empty, empty.new_zeros(0, 3), empty.new_zeros(0, 3, 3), None, empty)
        energy, forces, stress, magmoms = (torch.cat(column).to(home) for column in zip(*parts, strict=True))
        return Labels(energy, forces, stress, None, magmoms)

    def _compiled(self, crystals: Crystals) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Energies, forces, stresses and moments by the compiled engine, a block at a time: between blocks Python hears Ctrl-C."""
        parts, before = [], 0
        for block in crystals.split(BLOCK) if crystals.atoms > BLOCK else [crystals]:
            *part, status, _ = self.kernel(block, torch.get_num_threads())
            if bool((status != chgnet_kernel.FINE).any()):
                self._refuse(block, int((status != chgnet_kernel.FINE).nonzero()[0, 0]), before)
            parts.append(part)
            before += len(block)
        energy, forces, virial, magmoms = parts[0] if len(parts) == 1 else (torch.cat(column) for column in zip(*parts, strict=True))
        energy = energy + segment_sum(self.reference[crystals.species - 1], crystals.owner, len(crystals))
        return energy, forces, (virial + virial.mT) / (2 * crystals.volume[:, None, None]), magmoms

    def _refuse(self, crystals: Crystals, which: int, before: int) -> None:
        """BadInput that says why a crystal could not be evaluated; it is counted from `before`."""
        one = crystals[which]
        try:
            Bonds.of(one, self.radius, self.near_radius).refuse(one, 0)
        except BadInput as error:
            raise BadInput(error.message, f"crystal {before + which}") from None
        raise BadInput(f"{one.atoms} atoms need more memory than there is", f"crystal {before + which}")

    def _parts(self, crystals: Crystals) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Labels of consecutive batches that fit `batch_atoms` and the number of pairs."""
        parts, before = [], 0
        for block in crystals.split(BLOCK):
            bonds = Bonds.of(block, self.radius, self.near_radius)
            bonds.refuse(block, before)
            pairs, atoms, start = bonds.pairs_before(block), block.offsets, 0
            while start < len(block):
                fits = min(int(torch.searchsorted(atoms, atoms[start] + self.batch_atoms, right=True)),
                           int(torch.searchsorted(pairs, pairs[start] + self.pairs, right=True))) - 1
                stop = max(start + 1, fits)
                parts.append(self._label(block[start:stop], bonds.part(block, start, stop)))
                start = stop
            before += len(block)
        return parts

    def _label(self, crystals: Crystals, bonds: Bonds) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            vectors = bonds.vectors.to(self.dtype, copy=True).requires_grad_()
            site, magmoms = self.net(crystals.species, vectors, bonds)
            (slope,) = torch.autograd.grad(site.sum(), [vectors], materialize_grads=True)
        slope = slope.to(torch.float64)
        forces = segment_sum(slope, bonds.i, crystals.atoms) - segment_sum(slope, bonds.j, crystals.atoms)
        virial = segment_sum(bonds.vectors[:, :, None] * slope[:, None, :], crystals.owner[bonds.i], len(crystals))
        stress = (virial + virial.mT) / (2 * crystals.volume[:, None, None])
        energy = segment_sum(site.detach().to(torch.float64) + self.reference[crystals.species - 1], crystals.owner, len(crystals))
        return energy, forces, stress, magmoms.detach().to(torch.float64)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch with `count` threads while the context lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
