"""Writes an untrained model of an outside package: `python -I untrained_models.py PACKAGE FILE [SEED]`, run in the environment of the package."""

import sys

import torch

ELEMENTS = [1, 8, 11, 17, 22, 29]


def mace(file):
    from mace import modules  # isort: skip  (before e3nn: it prepares torch for it)
    import numpy as np
    from e3nn import o3

    blocks = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=4.5, num_bessel=6, num_polynomial_cutoff=5, max_ell=2, interaction_cls=blocks, interaction_cls_first=blocks, num_interactions=2,
        num_elements=len(ELEMENTS), hidden_irreps=o3.Irreps("8x0e + 8x1o"), MLP_irreps=o3.Irreps("8x0e"), gate=torch.nn.functional.silu,
        atomic_energies=np.linspace(-1, -6, len(ELEMENTS)), avg_num_neighbors=20.0, atomic_numbers=ELEMENTS, correlation=2, radial_type="bessel",
        atomic_inter_scale=1.0, atomic_inter_shift=0.0)
    torch.save(model.double(), file)


def mattersim(file):
    from mattersim.forcefield.m3gnet.m3gnet import M3Gnet

    model = M3Gnet(num_blocks=2, units=16, device="cpu")
    torch.save({"model_name": "m3gnet", "model_args": model.model_args, "model": model.state_dict()}, file)


def orb(file):
    from orb_models.forcefield import pretrained

    made = {}

    def keep(model, path, *args, **kwargs):
        made.update(model.state_dict())
        return model

    pretrained.load_model_for_inference = pretrained.load_model = keep
    pretrained.orb_v3_conservative_inf_mpa(device="cpu", compile=False)
    torch.save(made, file)


def sevennet(file):
    from sevenn._const import model_defaults
    from sevenn.model_build import build_E3_equivariant_model

    settings = {
        "version": "0.13.0", "_type_map": {z: i for i, z in enumerate(ELEMENTS)}, "_number_of_species": len(ELEMENTS), "chemical_species": [str(z) for z in ELEMENTS],
        "cutoff": 4.5, "channel": 8, "lmax": 1, "num_convolution_layer": 2, "shift": -1.0, "scale": 1.0, "conv_denominator": 5.0, "interaction_type": "nequip"}
    settings = {**model_defaults(settings), **settings}
    torch.save({"config": settings, "model_state_dict": build_E3_equivariant_model(settings).state_dict()}, file)


if __name__ == "__main__":
    torch.manual_seed(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    {f.__name__: f for f in (mace, mattersim, orb, sevennet)}[sys.argv[1]](sys.argv[2])
