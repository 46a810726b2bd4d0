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
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from math import pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base.elements import MAX_Z, symbol
from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.registry import Card
from ..crystal.graph import Graph, Within, line_graph
from ..crystal.segments import segment_sum
from ..crystal.state import Crystals
from .oracle import Labels

CARD = Card(
    name="chgnet",
    build="CHGNetOracle",
    role="potential",
    paper="10.1038/s42256-023-00716-3",
    year=2023,
    summary="pretrained on the relaxation trajectories of the Materials Project; energy, forces, stress and magnetic moments",
    capabilities=("energy", "forces", "stress", "magmoms", "pretrained"),
    keeps=("rotation", "reflection", "translation", "permutation", "cell", "supercell"),
    dtype="float32",
    tolerance=1e-4,
    tolerance_reason="the published weights were trained and released in single precision; dtype='float64' evaluates them in double",
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
    """Who meets whom: every bond once, the near ones among them, and every angle once.

    i, j, shift     (bonds,), (bonds, 3)  atom i and the image of atom j, each pair once, sorted by i
    near            (near,)               bonds that take part in angles
    left, right     (angles,)             directed near bonds sharing their centre, left < right; d < near runs i to j, d >= near runs j to i
    """

    i: Tensor
    j: Tensor
    shift: Tensor
    near: Tensor
    left: Tensor
    right: Tensor

    def vectors(self, crystals: Crystals) -> Tensor:
        """(bonds, 3) from i to the image of j in Å."""
        return Graph(self.j, self.i, self.shift).vectors(crystals)

    @staticmethod
    def of(crystals: Crystals, radius: float, near_radius: float) -> Bonds:
        """Search the neighbours of a batch."""
        graph = Within(radius, half=True)(crystals)
        near = (graph.vectors(crystals.bare()).norm(dim=-1) < near_radius).nonzero()[:, 0]
        i, j = graph.receivers, graph.senders
        centre = torch.cat([i[near], j[near]])
        left, right = line_graph(Graph(centre, centre, graph.shift[:0]))
        keep = left < right
        return Bonds(i, j, graph.shift, near, left[keep], right[keep])


class CHGNetOracle:
    """CHGNet as an oracle: energies with MP2020 corrections inside (scheme "mp2020"), forces, stresses and magnetic moments.

    version      "0.3.0" or "r2scan" (scheme "mp-r2scan")
    dtype        precision of the network; geometry and sums over atoms are float64 always
    batch_atoms  atoms evaluated together; memory grows with it, answers do not depend on it
    device       "cpu", "cuda", ...; labels come back where the crystals are
    """

    name = "chgnet"

    def __init__(self, version: str = "0.3.0", dtype: torch.dtype = torch.float32, batch_atoms: int = 200, device: str | torch.device | None = None):
        weights, settings = read_weights(version)
        self.version, self.dtype, self.batch_atoms = version, dtype, batch_atoms
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if version != "0.3.0":
            self.name = f"chgnet:{version}"
        self.energy_scheme = WEIGHTS[version][2]
        self.radius, self.near_radius = float(settings["atom_graph_cutoff"]), float(settings["bond_graph_cutoff"])
        self.reference = weights["composition_model.fc.weight"][0].to(self.device, torch.float64)
        self.net = Network({k: v.to(self.device, dtype) for k, v in weights.items()}, settings)
        self._known = torch.zeros(MAX_Z + 1, dtype=torch.bool)
        self._known[list(SUPPORTED)] = True

    def check(self, crystals: Crystals) -> None:
        """BadInput naming the first atom whose element CHGNet has never seen."""
        bad = ~self._known.to(crystals.species.device)[crystals.species]
        if bool(bad.any()):
            atom = int(bad.nonzero()[0, 0])
            crystal, z = int(crystals.owner[atom]), int(crystals.species[atom])
            what = "an undecided element (0)" if z == 0 else f"the element {symbol(z)}"
            raise BadInput(f"an atom is of {what}; CHGNet knows H to Bi and Ac to Pu", f"crystal {crystal}, atom {atom - int(crystals.offsets[crystal])}")

    def label(self, crystals: Crystals) -> Labels:
        """Energies (crystals,) eV, forces (atoms, 3) eV/Å, stresses (crystals, 3, 3) eV/Å^3 and magnetic moments (atoms,) in Bohr magnetons.

        Raises BadInput for elements outside SUPPORTED and for cells too flat to list their neighbours.
        """
        self.check(crystals)
        home = crystals.cell.device
        parts = [self._label(part.bare().to(torch.float64).to(self.device)) for part in crystals.split(self.batch_atoms)]
        if not parts:
            empty = torch.zeros(0, dtype=torch.float64, device=home)
            return Labels(empty, empty.new_zeros(0, 3), empty.new_zeros(0, 3, 3), None, empty)
        energy, forces, stress, magmoms = (torch.cat(column).to(home) for column in zip(*parts, strict=True))
        return Labels(energy, forces, stress, None, magmoms)

    def _label(self, crystals: Crystals) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        bonds = Bonds.of(crystals, self.radius, self.near_radius)
        exact = bonds.vectors(crystals)
        with torch.enable_grad():
            vectors = exact.to(self.dtype, copy=True).requires_grad_()
            site, magmoms = self.net(crystals.species, vectors, bonds)
            (slope,) = torch.autograd.grad(site.sum(), [vectors], materialize_grads=True)
        slope = slope.to(torch.float64)
        forces = segment_sum(slope, bonds.i, crystals.atoms) - segment_sum(slope, bonds.j, crystals.atoms)
        virial = segment_sum(exact[:, :, None] * slope[:, None, :], crystals.owner[bonds.i], len(crystals))
        stress = (virial + virial.mT) / (2 * crystals.volume[:, None, None])
        energy = segment_sum(site.detach().to(torch.float64) + self.reference[crystals.species - 1], crystals.owner, len(crystals))
        return energy, forces, stress, magmoms.detach().to(torch.float64)


class Network:
    """The layers of CHGNet as a function of bond vectors; `w` are the released weights by their names."""

    def __init__(self, w: dict[str, Tensor], settings: dict):
        self.w = w
        self.radius, self.near_radius = float(settings["atom_graph_cutoff"]), float(settings["bond_graph_cutoff"])
        self.power = int(settings["cutoff_coeff"])
        self.blocks = int(settings["n_conv"])

    def radial(self, length: Tensor, name: str, radius: float) -> Tensor:
        """(bonds, 31) sin(f r / rc) / r under a polynomial that ends smoothly at rc."""
        p, x = self.power, length / radius
        cut = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
        cut = torch.where(x < 1, cut, torch.zeros_like(cut)) * sqrt(2 / radius) / length
        return torch.sin(x[:, None] * self.w[f"bond_basis_expansion.rbf_expansion_{name}.frequencies"]) * cut[:, None]

    def angular(self, left: Tensor, right: Tensor) -> Tensor:
        """(angles, 31) 1/sqrt 2, sin(f t), cos(f t) over sqrt pi of the angle t between unit vectors."""
        t = torch.acos((left * right).sum(-1) * (1 - 1e-6))[:, None] * self.w["angle_basis_expansion.fourier_expansion.frequencies"]
        return torch.cat([torch.full_like(t[:, :1], sqrt(0.5)), torch.sin(t), torch.cos(t)], 1) / sqrt(pi)

    def first(self, prefix: str, inner: str, *widths: int) -> tuple[list[Tensor], Tensor]:
        """First linear maps of both halves of a gated layer, cut by input: ([(128, width)], bias (128,))."""
        parts = [self.w[f"{prefix}.mlp_{half}.layers.{inner}.weight"] for half in ("core", "gate")]
        bias = torch.cat([self.w[f"{prefix}.mlp_{half}.layers.{inner}.bias"] for half in ("core", "gate")])
        return list(torch.cat(parts).split(widths, 1)), bias

    def gate(self, prefix: str, x: Tensor, hidden: bool) -> Tensor:
        """silu(LN(core)) * sigmoid(LN(gate)) of pre-activations (rows, 128): (rows, 64)."""
        core, gate = (F.silu(x) if hidden else x).chunk(2, -1)
        w = self.w
        if hidden:
            core = F.linear(core, w[f"{prefix}.mlp_core.layers.3.weight"], w[f"{prefix}.mlp_core.layers.3.bias"])
            gate = F.linear(gate, w[f"{prefix}.mlp_gate.layers.3.weight"], w[f"{prefix}.mlp_gate.layers.3.bias"])
        core = F.layer_norm(core, (64,), w[f"{prefix}.bn1.weight"], w[f"{prefix}.bn1.bias"])
        gate = F.layer_norm(gate, (64,), w[f"{prefix}.bn2.weight"], w[f"{prefix}.bn2.bias"])
        return F.silu(core) * torch.sigmoid(gate)

    def __call__(self, species: Tensor, vectors: Tensor, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Site energies in eV without the element references and magnetic moments in Bohr magnetons, (atoms,) each."""
        w = self.w
        length = vectors.norm(dim=-1)
        radial = self.radial(length, "ag", self.radius)
        weight = F.linear(radial, w["bond_weights_ag.weight"])
        near_length = length[bonds.near]
        near_weight = F.linear(self.radial(near_length, "bg", self.near_radius), w["bond_weights_bg.weight"])
        unit = vectors[bonds.near] / near_length[:, None]
        unit = torch.cat([unit, -unit])
        near, left, right = len(bonds.near), bonds.left, bonds.right
        angle = F.linear(self.angular(unit[left], unit[right]), w["angle_embedding.weight"])
        angle = (angle, angle)
        embed = w["bond_embedding.weight"]
        atom = w["atom_embedding.embedding.weight"][species - 1]
        b0 = F.linear(radial[bonds.near], embed)
        b = b0
        centre = torch.cat([bonds.i[bonds.near], bonds.j[bonds.near]])
        atoms = len(species)
        for k in range(self.blocks):
            prefix = f"atom_conv_layers.{k}"
            (c, m, n), bias = self.first(prefix + ".twoBody_atom", "0", 64, 64, 64)
            pc, pn = F.linear(atom, c, bias), F.linear(atom, n)
            shared = F.linear(radial, m @ embed)
            if k:
                shared = shared.index_add(0, bonds.near, F.linear(b - b0, m))
            forward = self.gate(prefix + ".twoBody_atom", pc[bonds.i] + pn[bonds.j] + shared, True) * weight
            backward = self.gate(prefix + ".twoBody_atom", pc[bonds.j] + pn[bonds.i] + shared, True) * weight
            total = segment_sum(forward, bonds.i, atoms) + segment_sum(backward, bonds.j, atoms)
            atom = atom + F.linear(total, w[prefix + ".mlp_out.layers.1.weight"])
            if k == self.blocks - 2:
                magmoms = F.linear(atom, w["site_wise.weight"], w["site_wise.bias"])[:, 0].abs()
            if k == self.blocks - 1:
                break
            prefix = f"bond_conv_layers.{k}"
            to_left, to_right = self.angles(prefix + ".twoBody_bond", "0", atom, b, angle, centre, left, right, True)
            double = torch.cat([near_weight, near_weight])
            total = segment_sum(to_left * double[right], left, 2 * near) + segment_sum(to_right * double[left], right, 2 * near)
            total = (total[:near] + total[near:]) * near_weight
            b = b + F.linear(total, w[prefix + ".mlp_out.layers.1.weight"])
            if k < self.blocks - 2:
                more = self.angles(f"angle_layers.{k}.twoBody_bond", "1", atom, b, angle, centre, left, right, False)
                angle = (angle[0] + more[0], angle[1] + more[1])
        x = F.layer_norm(atom, (64,), w["readout_norm.weight"], w["readout_norm.bias"])
        layers = sorted(int(name.split(".")[2]) for name in w if name.startswith("mlp.") and name.endswith("weight"))
        for n in layers:
            x = F.linear(x if n == layers[0] else F.silu(x), w[f"mlp.layers.{n}.weight"], w[f"mlp.layers.{n}.bias"])
        return x[:, 0], magmoms

    def angles(self, prefix, inner, atom, b, angle, centre, left, right, hidden):
        (p, q, r, s), bias = self.first(prefix, inner, 64, 64, 64, 64)
        one = F.linear(b, p, bias)
        one = torch.cat([one, one]) + F.linear(atom, s)[centre]
        two = F.linear(b, q)
        two = torch.cat([two, two])
        return (self.gate(prefix, one[left] + two[right] + F.linear(angle[0], r), hidden),
                self.gate(prefix, one[right] + two[left] + F.linear(angle[1], r), hidden))
