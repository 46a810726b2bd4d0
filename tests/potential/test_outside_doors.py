"""Every door with an untrained model of its package, where its environment was made with `matterloop potentials setup`."""

import subprocess
from pathlib import Path

import pytest
import torch

from matterloop.bench import examples as ex
from matterloop.crystal.state import Crystals
from matterloop.potential.outside import DOORS, outside
from matterloop.potential.outside_environments import python_of

HERE = Path(__file__).parent
TOLERANCE = {"mace": 1e-6, "metatomic": 1e-6, "mattersim": 2e-3, "orb": 2e-3, "sevennet": 2e-3}  # eV/Å: double and single precision


@pytest.fixture(scope="module", params=sorted(DOORS))
def door(request, tmp_path_factory):
    python = python_of(request.param)
    if python is None:
        pytest.skip(f"no environment; run: matterloop potentials setup {request.param}")
    file = tmp_path_factory.mktemp("models") / f"{request.param}.{'pth' if request.param != 'metatomic' else 'pt'}"
    script, names = ("untrained_metatomic.py", []) if request.param == "metatomic" else ("untrained_models.py", [request.param])
    subprocess.run([str(python), "-I", str(HERE / script), *names, str(file)], check=True, capture_output=True)
    with outside(request.param, path=file, device="cpu") as oracle:
        yield request.param, oracle


@pytest.mark.slow
def test_forces_and_stress_are_slopes_of_the_energy(door):
    name, oracle = door
    base, eye = ex.low_symmetry(), torch.eye(3, dtype=torch.float64)
    labels = oracle.label(base)
    step, inverse = 0.01, torch.linalg.inv(base.cell[0])
    push = labels.forces / labels.forces.norm()
    moved = Crystals.join([base.put(frac=base.frac + s * step * push @ inverse) for s in (-1, 1)])
    energy = oracle.label(moved).energy
    assert float(labels.forces.norm()) > 1e-4
    assert -float(energy[1] - energy[0]) / (2 * step) == pytest.approx(float(labels.forces.norm()), rel=1e-2, abs=TOLERANCE[name])
    modes = [eye[i][:, None] * eye[j] for i, j in ((0, 0), (1, 1), (2, 2))] + [(eye[0][:, None] * eye[1] + eye[1][:, None] * eye[0]) / 2]
    for mode in modes:
        energy = oracle.label(Crystals.join([base.put(cell=base.cell @ (eye + s * step / 5 * mode)) for s in (-1, 1)])).energy
        slope = float(energy[1] - energy[0]) / (2 * step / 5) / float(base.volume)
        assert slope == pytest.approx(float((labels.stress[0] * mode).sum()), rel=1e-2, abs=TOLERANCE[name] / 10)


@pytest.mark.slow
def test_a_batch_is_answered_like_one_by_one_and_a_bad_crystal_is_named(door):
    name, oracle = door
    batch = ex.periodic()
    together = oracle.label(batch)
    alone = [oracle.label(batch[k]) for k in range(len(batch))]
    assert torch.allclose(together.energy, torch.cat([a.energy for a in alone]), rtol=0, atol=1e-5) and together.forces.shape == (batch.atoms, 3)
    assert oracle.versions["torch"] and oracle.name.startswith(f"{name}:")
    assert bool(together.stress.isfinite().all()) and float((together.stress - together.stress.mT).abs().max()) < 1e-7
