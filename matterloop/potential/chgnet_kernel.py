"""The compiled evaluation of CHGNet (kernels/chgnet.c) behind one class: finds the library, lays out weights, hands crystals to threads.

The source is compiled when the package is installed, once per instruction set; the best that the processor has is loaded. Where no compiler was at
hand the library is missing and potential/chgnet.py evaluates the same network with torch.
"""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from ..crystal.graph import MAX_IMAGES
from ..crystal.state import Crystals

LEVELS = {"AVX512": ("avx512", "avx2", "default"), "AVX2": ("avx2", "default")}  # what torch calls the processor -> libraries to try
FINE, REFUSED, NO_MEMORY = 0, 1, 2
EQUAL = {torch.float32: 2e-6, torch.float64: 1e-10}  # Å and radians: nearer than the precision resolves, lengths and angles are called equal
BASIS = 32  # functions of a basis, padded with zeros


class _Batch(ctypes.Structure):
    _fields_ = (
        [("crystals", ctypes.c_int64)] + [(name, ctypes.c_void_p) for name in ("offsets", "species", "order", "frac", "cell", "periodic")]
        + [(name, ctypes.c_double) for name in ("radius", "near_radius", "power", "most_images", "crowded", "coincident", "tolerance")]
        + [(name, ctypes.c_void_p) for name in ("energy", "forces", "virial", "magmoms", "status", "work")])


def library() -> Path | None:
    """The best compiled library for this processor, None where none was built."""
    folder = Path(__file__).parent / "kernels"
    for level in LEVELS.get(torch.backends.cpu.get_cpu_capability(), ("default",)):
        found = sorted(folder.glob(f"_chgnet_{level}.*"))
        if found := [f for f in found if f.suffix in (".so", ".pyd", ".dylib", ".dll")]:
            return found[0]
    return None


def load() -> ctypes.CDLL | None:
    """The library with its signatures, None where there is none."""
    path = library()
    if path is None:
        return None
    lib = ctypes.CDLL(str(path))
    lib.space_new.restype, lib.space_new.argtypes = ctypes.c_void_p, []
    lib.space_free.restype, lib.space_free.argtypes = None, [ctypes.c_void_p]
    lib.evaluate.restype = None
    lib.evaluate.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Batch), ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.POINTER(ctypes.c_int64)]
    return lib


class Kernel:
    """CHGNet on a CPU: `kernel(crystals)` gives energies without element references, forces, virials and magnetic moments.

    lib      from `load`
    network  potential.chgnet.Network, whose weights are laid out for the library
    dtype    torch.float32 or torch.float64
    merge    evaluate equal atoms, bonds and angles once
    """

    def __init__(self, lib: ctypes.CDLL, network, dtype: torch.dtype, *, merge: bool = True, crowded: int, coincident: float):
        self.lib, self.single = lib, dtype == torch.float32
        self.settings = {
            "radius": network.radius, "near_radius": network.near_radius, "power": network.power, "most_images": MAX_IMAGES, "crowded": crowded,
            "coincident": coincident, "tolerance": EQUAL[dtype] if merge else -1.0}
        self.weights = [w.detach().to("cpu", dtype).contiguous() for w in _layout(network)]
        self.pointers = (ctypes.c_void_p * len(self.weights))(*(w.data_ptr() for w in self.weights))
        self._spaces: list[int] = []  # scratch memory of threads that are not at work
        self._lock = threading.Lock()

    def __del__(self):
        for space in getattr(self, "_spaces", ()):
            self.lib.space_free(space)

    def __call__(self, crystals: Crystals, threads: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(energy (crystals,) eV, forces (atoms, 3), virial (crystals, 3, 3) eV, magmoms (atoms,), status (crystals,), work (crystals, 2)).

        Where status is not FINE the numbers are zero. work: rows of atom and bond convolutions that were evaluated, after merging.
        """
        n, atoms = len(crystals), crystals.atoms
        frac, cell = crystals.frac.detach().contiguous(), crystals.cell.detach().contiguous()
        species, offsets, periodic = crystals.species.contiguous(), crystals.offsets.contiguous(), crystals.periodic.to(torch.uint8).contiguous()
        order = torch.argsort(crystals.counts, descending=True, stable=True)  # the largest first: no thread is left with one at the end
        zeros = lambda *shape: torch.zeros(shape, dtype=torch.float64)
        energy, forces, virial, magmoms = zeros(n), zeros(atoms, 3), zeros(n, 3, 3), zeros(atoms)
        status, work = torch.zeros(n, dtype=torch.long), torch.zeros(n, 2, dtype=torch.long)
        at = lambda x: x.data_ptr()
        batch = _Batch(
            crystals=n, offsets=at(offsets), species=at(species), order=at(order), frac=at(frac), cell=at(cell), periodic=at(periodic), energy=at(energy),
            forces=at(forces), virial=at(virial), magmoms=at(magmoms), status=at(status), work=at(work), **self.settings)
        taken = ctypes.c_int64(0)

        def share() -> None:
            with self._lock:
                space = self._spaces.pop() if self._spaces else self.lib.space_new()
            if not space:
                raise MemoryError("no memory for the scratch space of CHGNet")
            try:
                self.lib.evaluate(space, ctypes.byref(batch), self.pointers, int(self.single), ctypes.byref(taken))
            finally:
                with self._lock:
                    self._spaces.append(space)

        threads = min(threads, n)
        if threads <= 1:
            share()
        else:
            with ThreadPoolExecutor(threads - 1) as pool:
                others = [pool.submit(share) for _ in range(threads - 1)]
                share()
                for other in others:
                    other.result()
        return energy, forces, virial, magmoms, status, work


def _layout(network) -> list[Tensor]:
    """Weights in the order in which kernels/chgnet_network.h reads them; matrices (inputs, outputs), each followed by its transpose."""
    w = network.w
    pad = lambda x, size: torch.nn.functional.pad(x, (0, size - len(x)))
    pair = lambda matrix: (matrix.T.contiguous(), matrix.contiguous())  # of a weight (outputs, inputs)

    def basis(matrix: Tensor) -> tuple[Tensor, Tensor]:
        """A map from 31 basis functions, whose padding hears nothing."""
        return pair(torch.nn.functional.pad(matrix, (0, BASIS - matrix.shape[1])))

    def rest(layer) -> list[Tensor]:
        gate, out = layer.gate, [layer.bias]
        if gate.hidden is not None:
            core, side, bias = gate.hidden  # (inputs, outputs) already
            out += [core, core.T, side, side.T, bias]
        out += [gate.scale.reshape(-1), gate.shift.reshape(-1)]
        return out + ([*pair(layer.out)] if layer.out is not None else [])

    out = [w["atom_embedding.embedding.weight"], *(pad(w[f"bond_basis_expansion.rbf_expansion_{name}.frequencies"], BASIS) for name in ("ag", "bg")),
           pad(w["angle_basis_expansion.fourier_expansion.frequencies"], 16)]
    for name in ("bond_weights_ag", "bond_weights_bg", "bond_embedding", "angle_embedding"):
        out += basis(w[name + ".weight"])
    for layer in network.atom_layers:
        out += [*pair(layer.inputs[0]), *pair(layer.inputs[2]), *basis(layer.embedded[1]), *pair(layer.inputs[1]), *rest(layer)]
    for layers in (network.bond_layers, network.angle_layers):
        for k, layer in enumerate(layers):
            angle = basis(layer.embedded[2]) if k == 0 else pair(layer.inputs[2])
            out += [*pair(layer.inputs[0]), *pair(layer.inputs[1]), *angle, *pair(layer.inputs[3]), *rest(layer)]
    out += [w["site_wise.weight"][0], w["site_wise.bias"], w["readout_norm.weight"], w["readout_norm.bias"]]
    for matrix, bias in network.readout[:-1]:
        out += [*pair(matrix), bias]
    matrix, bias = network.readout[-1]
    return [x.contiguous() for x in (*out, matrix[0], bias)]
