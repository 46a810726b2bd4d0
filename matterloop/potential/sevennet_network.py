"""The network of SevenNet (NequIP's, Simon Batzner and others, Nature Communications 13, 2453 (2022), doi:10.1038/s41467-022-29939-5) from its weights.

Features of degree l are kept as (atoms, 2 l + 1, channels). One block is
    x <- gate(W2 sum_e sum_paths w(r_e) (x_s(e) W1) Y(e) C / n  +  x Ws)
with a radial network w, spherical harmonics Y and couplings C. What follows from it is used to do less: w depends on the length alone, so that it and its
derivative are computed once for every length of the batch (both directions of a bond, and what symmetry makes equal), and no array per edge and
channel is ever written where the compiled convolution (kernels/sevennet.c) is there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base.errors import BadInput
from ..crystal.segments import segment_sum

SILU = 1.6791767923989418  # 1 / sqrt(mean of silu(x)^2 over normal x): e3nn's normalize2mom
LEVELS = {"AVX512": ("avx512", "avx2", "default"), "AVX2": ("avx2", "default")}  # what torch calls the processor -> libraries to try
BLOCK = 16  # channels the compiled convolution takes at a time
GRID = 2.0**20  # lengths equal to 1e-6 Å are one length in single precision


class _Layer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("paths", "y_width", "w_width")] + [("path", ctypes.c_void_p), ("term", ctypes.c_void_p)]


class _Term(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in "ikj"] + [("value", ctypes.c_double)]


class _Edges(ctypes.Structure):
    _fields_ = [("atoms", ctypes.c_int64)] + [(name, ctypes.c_void_p) for name in ("first", "sender", "length")]


def library() -> ctypes.CDLL | None:
    """The compiled convolution for this processor, None where none was built."""
    folder = Path(__file__).parent / "kernels"
    for level in LEVELS.get(torch.backends.cpu.get_cpu_capability(), ("default",)):
        for file in sorted(folder.glob(f"_sevennet_{level}.*")):
            if file.suffix in (".so", ".pyd", ".dylib", ".dll"):
                return ctypes.CDLL(str(file))
    return None


@dataclass(frozen=True)
class Edges:
    """Neighbours of a batch, sorted by centre.

    vectors             (edges, 3) Å, from centre to neighbour, float64
    senders, receivers  (edges,)   atoms
    first               (atoms + 1,) where the edges of each atom begin
    length              (edges,)   row of `lengths`
    lengths             (lengths,) Å, float64
    """

    vectors: Tensor
    senders: Tensor
    receivers: Tensor
    first: Tensor
    length: Tensor
    lengths: Tensor

    @staticmethod
    def of(vectors: Tensor, senders: Tensor, receivers: Tensor, atoms: int, dtype: torch.dtype) -> Edges:
        """What is equal in `dtype` gets one length."""
        r = vectors.norm(dim=-1)
        lengths, length = torch.unique((r * GRID).round() / GRID if dtype == torch.float32 else r, return_inverse=True)
        first = torch.searchsorted(receivers, torch.arange(atoms + 1, device=receivers.device))
        return Edges(vectors, senders, receivers, first, length, lengths)


@dataclass(frozen=True)
class Triple:
    """One coupling (l1, l2, l3) of a convolution: what kernels/sevennet.c calls a path; `coupling` is (2 l1 + 1, 2 l2 + 1, 2 l3 + 1)."""

    l1: int
    l2: int
    l3: int
    mul: int
    x_at: int
    out_at: int
    width: int
    begin: int
    w_at: int
    coupling: Tensor


class Convolution:
    """The sum over neighbours of one block: shapes, couplings and the radial network.

    x, out  channels by degree; features are flat: all atoms of degree 0, then those of degree 1 as (atoms, 3, channels), ...
    """

    def __init__(self, weights: Mapping[str, Tensor], name: str, x: list[int], degrees: int, top: int, dtype: torch.dtype, device: torch.device):
        self.x, self.y_width, self.dtype = x, degrees**2, dtype
        order = [(l1, l2, l3) for l1 in range(len(x)) for l2 in range(degrees) for l3 in range(abs(l1 - l2), min(l1 + l2, top) + 1)]
        self.out = [sum(x[p[0]] for p in order if p[2] == l3) for l3 in range(top + 1)]
        before = lambda channels, degree: sum((2 * k + 1) * channels[k] for k in range(degree))
        self.paths = [
            Triple(l1, l2, l3, x[l1], before(x, l1), before(self.out, l3), self.out[l3], sum(x[p[0]] for p in order[:n] if p[2] == l3), sum(x[p[0]] for p in order[:n]),
                 _coupling(weights, f"{name}.convolution._compiled_main_left_right._w3j_{l1}_{l2}_{l3}", l1, l2, l3).to(device, dtype))
            for n, (l1, l2, l3) in enumerate(order)]
        self.out_width = before(self.out, top + 1)
        self.denominator = float(weights[f"{name}.denominator"])
        layers = [weights[f"{name}.weight_nn.layer{k}.weight"] for k in range(3)]
        self.radial = [(w.to(device, torch.float64) / sqrt(len(w))).to(dtype) for w in layers]
        self._lay_out()

    def _lay_out(self) -> None:
        """The tables that kernels/sevennet.c reads; they live as long as this object."""
        rows, terms = [], []
        for p in self.paths:
            mine = [(i, k, j + p.l2**2, float(p.coupling[i, j, k])) for i, k, j in p.coupling.transpose(1, 2).nonzero().tolist()]
            rows += [p.l1, p.l2, p.l3, p.mul, p.x_at, p.out_at, p.width, p.begin, p.w_at, len(terms), len(mine)]
            terms += mine
        self._rows, self._terms = (ctypes.c_int64 * len(rows))(*rows), (_Term * len(terms))(*terms)
        self.shape = _Layer(len(self.paths), self.y_width, self.radial[-1].shape[1], ctypes.addressof(self._rows), ctypes.addressof(self._terms))
        self.fits = all(m % BLOCK == 0 for m in self.x) and len(self.x) <= 4 and self.y_width <= 16

    def weights(self, basis: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """(lengths, paths * channels) the radial network and its derivative by the length, from those of the radial basis."""
        for w in self.radial[:-1]:
            h, dh = basis @ w, slope @ w
            s = torch.sigmoid(h)
            basis, slope = SILU * h * s, SILU * dh * s * (1 + h * (1 - s))
        return basis @ self.radial[-1], slope @ self.radial[-1]

    def plain(self, x: Tensor, r: Tensor, y: Tensor, edges: Edges, w: Tensor, dw: Tensor) -> Tensor:
        """The sum by torch alone, flat."""
        weight = w[edges.length] + dw[edges.length] * (r - r.detach())[:, None]
        atoms = len(edges.first) - 1
        by_degree, sums = [part[edges.senders] for part in split(x, self.x, atoms)], {}
        for p in self.paths:
            z = torch.einsum("ej,ijk->eki", y[:, p.l2**2 : (p.l2 + 1) ** 2], p.coupling)
            sums.setdefault(p.l3, []).append(torch.bmm(z, by_degree[p.l1] * weight[:, None, p.w_at : p.w_at + p.mul]))
        return torch.cat([segment_sum(torch.cat(parts, -1), edges.receivers, atoms).flatten() for _, parts in sorted(sums.items())])


class _Compiled(torch.autograd.Function):
    """`Convolution.plain` by the library; differentiable once."""

    @staticmethod
    def forward(ctx, x, r, y, conv, edges, w, dw, lib):
        x, y = x.contiguous(), y.contiguous()
        out = x.new_zeros((len(edges.first) - 1) * conv.out_width)
        ctx.conv, ctx.edges, ctx.lib, ctx.kept = conv, edges, lib, (x, y, w, dw)
        _call(lib, "convolve", conv, edges, x, y, w, out)
        return out

    @staticmethod
    def backward(ctx, slope):
        x, y, w, dw = ctx.kept
        gx = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        gy, gr = torch.zeros_like(y), y.new_empty(len(y))
        _call(ctx.lib, "convolve_back", ctx.conv, ctx.edges, x, y, w, dw, slope.contiguous(), gx, gy, gr)
        return gx, gr, gy, None, None, None, None, None


def _call(lib: ctypes.CDLL, name: str, conv: Convolution, edges: Edges, *arrays: Tensor | None) -> None:
    pointer = lambda a: ctypes.c_void_p(None if a is None else a.data_ptr())
    many = _Edges(len(edges.first) - 1, *(a.data_ptr() for a in (edges.first, edges.senders, edges.length)))
    function = getattr(lib, name + ("_f32" if conv.dtype == torch.float32 else "_f64"))
    function.restype = None
    function(ctypes.byref(conv.shape), ctypes.byref(many), *(pointer(a) for a in arrays))


def harmonics(unit: Tensor, degrees: int) -> Tensor:
    """(edges, degrees^2) real spherical harmonics of unit vectors, polar axis y, mean square 1 each as in e3nn; up to degree 3."""
    x, y, z = unit.unbind(-1)
    found, flat = [torch.ones_like(x), sqrt(3) * x, sqrt(3) * y, sqrt(3) * z], x * x + z * z
    if degrees > 2:
        a, b = sqrt(3) * x * z, sqrt(3) / 2 * (z * z - x * x)
        found += [sqrt(5) * q for q in (a, sqrt(3) * x * y, y * y - flat / 2, sqrt(3) * y * z, b)]
    if degrees > 3:
        c = sqrt(3 / 8) * (4 * y * y - flat)
        found += [sqrt(7) * q for q in (sqrt(5 / 6) * (a * z + b * x), sqrt(5) * a * y, c * x, y * (y * y - 1.5 * flat), c * z, sqrt(5) * b * y, sqrt(5 / 6) * (b * z - a * x))]
    return torch.stack(found[: degrees**2], -1)


def _coupling(weights: Mapping[str, Tensor], name: str, l1: int, l2: int, l3: int) -> Tensor:
    """(2 l1 + 1, 2 l2 + 1, 2 l3 + 1) sqrt(2 l3 + 1) times the Wigner 3j symbol, by the signs that the weights were trained with."""
    if name in weights:
        return weights[name].to(torch.float64) * sqrt(2 * l3 + 1)
    if l1 == 0:
        return torch.eye(2 * l2 + 1, dtype=torch.float64)[None]
    if l2 == 0:
        return torch.eye(2 * l1 + 1, dtype=torch.float64)[:, None]
    return torch.eye(2 * l1 + 1, dtype=torch.float64)[:, :, None] / sqrt(2 * l1 + 1)


def _linear(weights: Mapping[str, Tensor], name: str, into: list[int], out: list[int], dtype: torch.dtype, device: torch.device, divisor: float = 1.0) -> list[Tensor]:
    """One (channels in, channels out) matrix for every degree, normalised as e3nn does and divided by `divisor`."""
    flat, matrices, at = weights[f"{name}.linear.weight"].to(device, torch.float64), [], 0
    for a, b in zip(into, out, strict=False):
        matrices.append((flat[at : at + a * b].reshape(a, b) / (sqrt(a) * divisor)).to(dtype).contiguous())
        at += a * b
    if at != len(flat):
        raise BadInput(f"{name} holds {len(flat)} weights, {at} expected; the checkpoint is of another network than SevenNet-0's kind", "SevenNet")
    return matrices


class Network:
    """Site energies in eV from kinds of atoms and edge vectors.

    settings, weights  as in a released checkpoint
    compiled           take the compiled convolution where it is there and fits
    """

    def __init__(self, settings: Mapping, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device, compiled: bool = True):
        if settings["is_parity"] or settings["self_connection_type"] != "linear" or settings["readout_as_fcn"] or settings["lmax"] > 3:
            raise BadInput("this network is not of SevenNet-0's kind", "SevenNet")
        self.settings, self.dtype, self.degrees = settings, dtype, settings["lmax"] + 1
        irreps = [[int(part.partition("x")[0]) for part in text.split("+")] for text in settings["irreps_manual"]]  # "128x0e+64x1e" -> channels by degree
        self.frequencies = weights["edge_embedding.basis_function.coeffs"].to(device, torch.float64)
        self.blocks = []
        for t, (x, out) in enumerate(zip(irreps[:-1], irreps[1:], strict=True)):
            conv = Convolution(weights, f"{t}_convolution", x, self.degrees, len(out) - 1, dtype, device)
            gated = [out[0] + sum(out[1:]), *out[1:]]  # a scalar for every channel of higher degree opens and shuts it
            matrices = (_linear(weights, f"{t}_self_interaction_1", x, x, dtype, device), _linear(weights, f"{t}_self_interaction_2", conv.out, gated, dtype, device, conv.denominator),
                        _linear(weights, f"{t}_self_connection_intro", x, gated, dtype, device))
            self.blocks.append((x, out, gated, conv, *matrices))
        kinds = settings["_number_of_species"]
        (self.embedding,) = _linear(weights, "onehot_to_feature_x", [kinds], irreps[0], dtype, device)
        hidden = irreps[-1][0] // 2
        (first,) = _linear(weights, "reduce_input_to_hidden", irreps[-1], [hidden], torch.float64, device)
        (second,) = _linear(weights, "reduce_hidden_to_energy", [hidden], [1], torch.float64, device)
        self.readout = (first @ second).to(dtype)  # nothing stands between the two
        self.shift, self.scale = (weights[f"rescale_atomic_energy.{k}"].to(device, torch.float64) for k in ("shift", "scale"))
        self.lib = library() if compiled and device.type == "cpu" and all(b[3].fits for b in self.blocks) else None

    def basis(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """(lengths, functions) the radial basis under its cutoff, and its derivative; float64."""
        cutoff, settings = float(self.settings["cutoff"]), self.settings["cutoff_function"]
        if settings["cutoff_function_name"] == "XPLOR":
            on, off, s = settings["cutoff_on"] ** 2, cutoff**2, r.square()
            fade = torch.where(s < on, 1.0, (off - s).square() * (off + 2 * s - 3 * on) / (off - on) ** 3)
            fading = torch.where(s < on, 0.0, 12 * r * (off - s) * (on - s) / (off - on) ** 3)
        else:
            p, s = settings.get("poly_cut_p_value", 6), r / cutoff
            fade = 1 - (p + 1) * (p + 2) / 2 * s**p + p * (p + 2) * s ** (p + 1) - p * (p + 1) / 2 * s ** (p + 2)
            fading = -p * (p + 1) * (p + 2) / 2 * s ** (p - 1) * (1 - s).square() / cutoff
        r, fade, fading = r[:, None], fade[:, None], fading[:, None]
        phase = self.frequencies * r
        wave = 2 / cutoff * torch.sin(phase) / r
        found, slope = wave * fade, wave * fading + (2 / cutoff * self.frequencies * torch.cos(phase) - wave) / r * fade
        return found.to(self.dtype), slope.to(self.dtype)

    def __call__(self, kinds: Tensor, vectors: Tensor, edges: Edges) -> Tensor:
        """(atoms,) site energies in float64, differentiable once in `vectors` (edges, 3), which hold the numbers of edges.vectors in the network's precision."""
        radial = self.basis(edges.lengths)
        r = vectors.norm(dim=-1)
        y = harmonics(vectors / r[:, None], self.degrees)
        x = [self.embedding[kinds][:, None]]
        for block in self.blocks:
            x = self._block(x, r, y, edges, radial, *block)
        return self.shift[kinds] + self.scale[kinds] * (x[0][:, 0] @ self.readout)[:, 0].to(torch.float64)

    def _block(self, x, r, y, edges, radial, width, out, gated, conv, first, second, own) -> list[Tensor]:
        """Features by degree, (atoms, 2 l + 1, channels) each, after one block."""
        atoms = len(x[0])
        mixed = torch.cat([_times(part, w).flatten() for part, w in zip(x, first, strict=True)])
        w, dw = conv.weights(*radial)
        if self.lib is not None:
            summed = _Compiled.apply(mixed, r, y, conv, edges, w, dw, self.lib)
        else:
            summed = conv.plain(mixed, r, y, edges, w, dw)
        new = [_times(part, w) for part, w in zip(split(summed, conv.out, atoms), second, strict=True)]
        new = [part + _times(x[degree], own[degree]) if degree < len(own) else part for degree, part in enumerate(new)]
        scalars = SILU * F.silu(new[0])
        gates = scalars[:, :, out[0] :].split(out[1:], 2)
        return [scalars[:, :, : out[0]], *(part * gate for part, gate in zip(new[1:], gates, strict=True))]


def _times(part: Tensor, matrix: Tensor) -> Tensor:
    return (part.reshape(-1, part.shape[2]) @ matrix).reshape(*part.shape[:2], -1)


def split(flat: Tensor, channels: list[int], atoms: int) -> list[Tensor]:
    """Flat features by degree: (atoms, 2 l + 1, channels) each."""
    parts = flat.split([atoms * (2 * degree + 1) * n for degree, n in enumerate(channels)])
    return [part.reshape(atoms, 2 * degree + 1, n) for degree, (part, n) in enumerate(zip(parts, channels, strict=True))]
