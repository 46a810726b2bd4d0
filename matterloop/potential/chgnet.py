"""CHGNet, a universal potential with magnetic moments, evaluated by our own batched engine on the weights in the chgnet wheel.

Bowen Deng, Peichen Zhong, KyuJung Jun, Janosh Riebesell, Kevin Han, Christopher J. Bartel, Gerbrand Ceder, "CHGNet as a pretrained universal
neural network potential for charge-informed atomistic modelling", Nature Machine Intelligence 5, 1031 (2023), doi:10.1038/s42256-023-00716-3.

Atoms v, bonds b and angles a carry 64 features each. A gated layer of an input x is phi(x) = silu(LN(L x)) * sigmoid(LN(G x)). One block is
    v_i  += W sum_j  phi(v_i, b_ij, v_j) * w_ij                    over neighbours within 6 Å
    b_ij += W sum_k  phi(b_ij, b_ik, a_jik, v_i) * w_ij * w_ik     over neighbours within 3 Å, from both ends of the bond
    a_jik +=         phi(b_ij, b_ik, a_jik, v_i)
and the energy is a sum of site energies and of one reference energy per element. What follows from these equations is used to do less:
the first linear map of phi acts on every atom and bond before it is copied to pairs and angles; both directions of a bond and both orders of
an angle share what does not depend on direction; a bond longer than 3 Å keeps its first features; the last angle update changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from math import pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base.elements import MAX_Z, symbol
from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.registry import Card
from ..base.units import stress_to_gpa
from ..crystal.graph import Graph, Within, line_graph
from ..crystal.segments import Bins, offsets_of, segment_sum
from ..crystal.state import Crystals
from ..layers.gated_pairs import Gate, Pairs, centred, gated
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
CROWDED = 100  # neighbours within 3 Å; diamond has 28, and memory grows with their square
COINCIDENT = 1e-3  # Å; nearer atoms have no direction to each other
BLOCK = 5000  # atoms whose neighbours are searched together
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


@dataclass(frozen=True)
class Bonds:
    """Every bond of a batch once, sorted by its first atom.

    i, j     (bonds,)    atoms; i <= j
    vectors  (bonds, 3)  from i to the image of j in Å
    near     (near,)     bonds short enough to take part in angles
    """

    i: Tensor
    j: Tensor
    vectors: Tensor
    near: Tensor

    @staticmethod
    def of(crystals: Crystals, radius: float, near_radius: float) -> Bonds:
        """Search the neighbours of a batch."""
        graph = Within(radius, half=True)(crystals)
        vectors = graph.vectors(crystals)
        return Bonds(graph.receivers, graph.senders, vectors, (vectors.square().sum(-1) < near_radius**2).nonzero()[:, 0])

    def centres(self) -> Tensor:
        """(2 near,) where each directed near bond starts: d < near runs from i to j, d >= near from j to i."""
        return torch.cat([self.i[self.near], self.j[self.near]])

    def angles(self) -> tuple[Tensor, Tensor]:
        """Directed near bonds that share their start, every pair once: (left, right), left < right, (angles,) each."""
        centre = self.centres()
        left, right = line_graph(Graph(centre, centre, centre.new_zeros(0, 3)))
        keep = left < right
        return left[keep], right[keep]

    def pairs_before(self, crystals: Crystals) -> Tensor:
        """(crystals + 1,) bonds and angles of all crystals before each one: what memory and time grow with."""
        degree = torch.bincount(self.centres(), minlength=crystals.atoms)
        return torch.searchsorted(self.i, crystals.offsets) + offsets_of(degree * (degree - 1) // 2)[crystals.offsets]

    def refuse(self, crystals: Crystals, before: int) -> None:
        """BadInput naming a crystal, counted from `before`, whose atoms coincide or lie too dense for their angles to be listed."""
        degree = torch.bincount(self.centres(), minlength=crystals.atoms)
        if crystals.atoms and int(degree.max()) > CROWDED:
            atom = int(degree.argmax())
            raise BadInput(f"an atom has {int(degree[atom])} neighbours within the reach of angles, allowed are {CROWDED}: the crystal is crushed",
                           f"crystal {before + int(crystals.owner[atom])}")
        length = self.vectors[self.near].norm(dim=-1)
        if len(length) and float(length.min()) < COINCIDENT:
            atom = int(self.i[self.near[length.argmin()]])
            raise BadInput(f"two atoms are {float(length.min()):.1e} Å apart, allowed is {COINCIDENT:g} Å or more", f"crystal {before + int(crystals.owner[atom])}")

    def part(self, crystals: Crystals, start: int, stop: int) -> Bonds:
        """Bonds of the crystals start..stop of a batch, atoms counted from the first of them."""
        first = int(crystals.offsets[start])
        low, high = torch.searchsorted(self.i, crystals.offsets[[start, stop]]).tolist()
        near = self.near[(self.near >= low) & (self.near < high)]
        return Bonds(self.i[low:high] - first, self.j[low:high] - first, self.vectors[low:high], near - low)


class CHGNetOracle:
    """CHGNet as an oracle: energies with MP2020 corrections inside (scheme "mp2020"), forces, stresses and magnetic moments.

    version      "0.3.0" or "r2scan" (scheme "mp-r2scan")
    dtype        precision of the network; geometry and sums over atoms are float64 always
    batch_atoms  atoms evaluated together (fewer where they have very many bonds and angles), 100 on a CPU and 3000 elsewhere if absent;
                 answers do not depend on it
    device       "cpu", "cuda", ...; labels come back where the crystals are
    """

    name = "chgnet"
    elements = SUPPORTED

    def __init__(self, version: str = "0.3.0", dtype: torch.dtype = torch.float32, batch_atoms: int | None = None,
                 device: str | torch.device | None = None):
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
        """The same oracle with answers that do not depend on what else is in the batch, for runs that must be repeatable.

        Single precision rounds differently in batches of different sizes, and a relaxation carries that on to 4e-4 eV/atom at fmax 0.05: on a CPU
        every crystal is evaluated alone and by one thread (equal to the bit on any number of cores; a second thread gains little on one small
        crystal, and loses much on a busy machine), elsewhere in double precision (1e-13 apart).
        """
        if self.device.type == "cpu":
            return CHGNetOracle(self.version, self.dtype, 1, self.device)
        return CHGNetOracle(self.version, torch.float64, self.batch_atoms, self.device)

    def label(self, crystals: Crystals) -> Labels:
        """Energies (crystals,) eV, forces (atoms, 3) eV/Å, stresses (crystals, 3, 3) eV/Å^3 and magnetic moments (atoms,) in Bohr magnetons.

        Raises BadInput for elements outside SUPPORTED, for cells too flat to list their neighbours and for crushed crystals.
        """
        self.check(crystals)
        home = crystals.cell.device
        crystals = crystals.bare().to(torch.float64).to(self.device)
        with threads(1 if self.batch_atoms == 1 else torch.get_num_threads()):
            parts = self._parts(crystals)
        if not parts:
            empty = torch.zeros(0, dtype=torch.float64, device=home)
            return Labels(empty, empty.new_zeros(0, 3), empty.new_zeros(0, 3, 3), None, empty)
        energy, forces, stress, magmoms = (torch.cat(column).to(home) for column in zip(*parts, strict=True))
        return Labels(energy, forces, stress, None, magmoms)

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


class Network:
    """The layers of CHGNet as a function of bond vectors; `w` are the released weights by their names."""

    def __init__(self, w: dict[str, Tensor], settings: dict):
        self.w = w
        self.radius, self.near_radius = float(settings["atom_graph_cutoff"]), float(settings["bond_graph_cutoff"])
        self.power, self.blocks = int(settings["cutoff_coeff"]), int(settings["n_conv"])
        bond, angle = w["bond_embedding.weight"], w["angle_embedding.weight"]
        self.atom_layers = [Layer.read(w, f"atom_conv_layers.{k}", "twoBody_atom", 3, (None, bond, None)) for k in range(self.blocks)]
        embed = (None, None, angle, None)
        self.bond_layers = [Layer.read(w, f"bond_conv_layers.{k}", "twoBody_bond", 4, embed if k == 0 else ()) for k in range(self.blocks - 1)]
        self.angle_layers = [Layer.read(w, f"angle_layers.{k}", "twoBody_bond", 4, embed if k == 0 else ()) for k in range(self.blocks - 2)]
        layers = sorted(int(name.split(".")[2]) for name in w if name.startswith("mlp.") and name.endswith("weight"))
        self.readout = [(w[f"mlp.layers.{n}.weight"], w[f"mlp.layers.{n}.bias"]) for n in layers]

    def radial(self, length: Tensor, name: str, radius: float) -> Tensor:
        """(bonds, 31) sin(f r / rc) / r under a polynomial that ends smoothly at rc."""
        p, x = self.power, length / radius
        cut = 1 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x * x)
        cut = torch.where(x < 1, cut, torch.zeros_like(cut)) * sqrt(2 / radius) / length
        return torch.sin(x[:, None] * self.w[f"bond_basis_expansion.rbf_expansion_{name}.frequencies"]) * cut[:, None]

    def angular(self, one: Tensor, two: Tensor) -> Tensor:
        """(angles, 31) 1/sqrt 2, sin(f t), cos(f t) over sqrt pi of the angle t between unit vectors."""
        t = torch.acos((one * two).sum(-1) * (1 - 1e-6))[:, None] * self.w["angle_basis_expansion.fourier_expansion.frequencies"]
        return torch.cat([torch.full_like(t[:, :1], sqrt(0.5)), torch.sin(t), torch.cos(t)], 1) / sqrt(pi)

    def __call__(self, species: Tensor, vectors: Tensor, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Site energies in eV without the element references and magnetic moments in Bohr magnetons, (atoms,) each."""
        w, near = self.w, bonds.near
        neighbours = Pairs(bonds.i, bonds.j, len(species))
        left, right = bonds.angles()
        angles = Pairs(left, right, 2 * len(near))
        centre = Bins(bonds.centres(), len(species))
        twice = lambda x: torch.cat([x, x])  # both directions of near bonds

        length = vectors.norm(dim=-1)
        radial = self.radial(length, "ag", self.radius)
        weight = F.linear(radial, w["bond_weights_ag.weight"])
        near_vectors, near_length = vectors.index_select(0, near), length.index_select(0, near)
        near_weight = F.linear(self.radial(near_length, "bg", self.near_radius), w["bond_weights_bg.weight"])
        angle_weight = angles.there.take(twice(near_weight))  # the factor of the other bond; that of the own bond stands before the sum
        unit = near_vectors / near_length[:, None]
        angular = self.angular(*angles.here.take(torch.cat([unit, -unit])).chunk(2))

        atom = w["atom_embedding.embedding.weight"][species - 1]
        bond, grown, angle = F.linear(radial.index_select(0, near), w["bond_embedding.weight"]), None, angular
        for k, layer in enumerate(self.atom_layers):
            shared = F.linear(radial, layer.embedded[1])
            if grown is not None:
                shared = shared.index_add(0, near, F.linear(grown, layer.inputs[1]))
            total = gated(F.linear(atom, layer.inputs[0], layer.bias), F.linear(atom, layer.inputs[2]), shared, weight, neighbours, layer.gate)
            atom = atom + F.linear(total, layer.out)
            if k == self.blocks - 2:
                magmoms = F.linear(atom, w["site_wise.weight"], w["site_wise.bias"])[:, 0].abs()
            if k == self.blocks - 1:
                break
            layer = self.bond_layers[k]
            total = self.meet(layer, atom, bond, angle, angle_weight, centre, angles)
            new = F.linear((total[: len(near)] + total[len(near) :]) * near_weight, layer.out)
            bond, grown = bond + new, new if grown is None else grown + new
            if k < self.blocks - 2:
                new = self.meet(self.angle_layers[k], atom, bond, angle, None, centre, angles)
                angle = (twice(F.linear(angular, w["angle_embedding.weight"])) if k == 0 else angle) + new
        x = F.layer_norm(atom, atom.shape[1:], w["readout_norm.weight"], w["readout_norm.bias"])
        for n, (matrix, bias) in enumerate(self.readout):
            x = F.linear(F.silu(x) if n else x, matrix, bias)
        return x[:, 0], magmoms

    def meet(self, layer: Layer, atom: Tensor, bond: Tensor, angle: Tensor, weight: Tensor | None, centre: Bins, angles: Pairs) -> Tensor:
        """Messages of pairs of bonds that share an atom; before the first angle update `angle` is the angular basis, equal for both orders."""
        own, other = F.linear(bond, layer.inputs[0]), F.linear(bond, layer.inputs[1])
        own = torch.cat([own, own]) + centre.take(F.linear(atom, layer.inputs[3], layer.bias))
        return gated(own, torch.cat([other, other]), F.linear(angle, layer.embedded[2]), weight, angles, layer.gate)


@dataclass(frozen=True)
class Layer:
    """One gated layer: first linear map cut by input, what follows it, and the linear map after the sum.

    inputs    (128, 64) for every input: [core, gate] by features
    embedded  the same applied to an embedding, for inputs that are still linear in a basis
    """

    inputs: tuple[Tensor, ...]
    embedded: tuple[Tensor, ...]
    bias: Tensor
    gate: Gate
    out: Tensor | None

    @staticmethod
    def read(w: dict[str, Tensor], prefix: str, inner: str, inputs: int, embeddings: tuple[Tensor | None, ...]) -> Layer:
        """Pick the weights of a layer by name."""
        halves = [f"{prefix}.{inner}.mlp_{half}.layers." for half in ("core", "gate")]
        hidden = halves[0] + "3.weight" in w
        first = "0" if hidden else "1"
        matrix = torch.cat([w[f"{half}{first}.weight"] for half in halves])
        bias = torch.cat([w[f"{half}{first}.bias"] for half in halves])
        width = len(bias) // 2
        deep = None
        if hidden:
            core, side = (centred(w[half + "3.weight"], width).T.contiguous() for half in halves)
            deep = (core, side, centred(torch.cat([w[half + "3.bias"] for half in halves]), width))
        else:
            matrix, bias = centred(matrix, width), centred(bias, width)
        norm = lambda what: torch.stack([w[f"{prefix}.{inner}.bn{n}.{what}"] for n in (1, 2)])
        parts = tuple(p.contiguous() for p in matrix.chunk(inputs, 1))
        embedded = tuple(p if e is None else p @ e for p, e in zip(parts, embeddings or (None,) * inputs, strict=True))
        return Layer(parts, embedded, bias, Gate(deep, norm("weight"), norm("bias")), w.get(f"{prefix}.mlp_out.layers.1.weight"))
