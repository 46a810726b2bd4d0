"""Writes an untrained model in the metatomic format: `python -I untrained_metatomic.py FILE`; TorchScript wants its types at the top of a file."""

import sys
from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput, NeighborListOptions, System


class Pairs(torch.nn.Module):
    """A random function of every distance within 4.5 Å."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.SiLU(), torch.nn.Linear(16, 1))
        self.options = NeighborListOptions(cutoff=4.5, full_list=True, strict=True)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [self.options]

    def forward(self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels] = None) -> Dict[str, TensorMap]:
        energies: List[torch.Tensor] = []
        for system in systems:
            block = system.get_neighbor_list(self.options)
            types = system.types.to(system.positions.dtype) / 50
            i, j = block.samples.column("first_atom").to(torch.long), block.samples.column("second_atom").to(torch.long)
            r = torch.linalg.vector_norm(block.values[:, :, 0], dim=1)
            fade = (1 - (r / 4.5) ** 2) ** 3
            pair = self.net(torch.stack([r, types[i] + types[j], types[i] * types[j]], dim=1))[:, 0] * fade
            energies.append(pair.sum())
        energy = torch.stack(energies)[:, None]
        sample = Labels(["system"], torch.arange(len(systems), device=energy.device)[:, None])
        single = Labels(["_"], torch.zeros(1, 1, dtype=torch.int64, device=energy.device))
        block = TensorBlock(energy, sample, [], Labels(["energy"], torch.zeros(1, 1, dtype=torch.int64, device=energy.device)))
        return {"energy": TensorMap(single, [block])}


if __name__ == "__main__":
    torch.manual_seed(0)
    can = ModelCapabilities(length_unit="angstrom", atomic_types=[1, 8, 11, 17, 22, 29], interaction_range=4.5, dtype="float64", supported_devices=["cpu"],
                            outputs={"energy": ModelOutput(quantity="energy", unit="eV", per_atom=False)})
    AtomisticModel(Pairs().double().eval(), ModelMetadata(name="pairs"), can).save(sys.argv[1])
