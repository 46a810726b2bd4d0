"""The network of CHGNet in torch: any device, and the yardstick of the compiled evaluation. The equations and their source stand in chgnet.py."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base.errors import BadInput
from ..crystal.graph import Graph, Within, line_graph
from ..crystal.segments import Bins, offsets_of
from ..crystal.state import Crystals
from ..layers.gated_pairs import Gate, Pairs, centred, gated

CROWDED = 100  # neighbours within 3 Å; diamond has 28, and memory grows with their square
COINCIDENT = 1e-3  # Å; nearer atoms have no direction to each other


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
