"""Fit the springs of measure/stiffness.py: Hessians of small relaxed crystals by differences, then the numbers that bring the model nearest to them.

    python recipes/fit_stiffness.py measure WORK [--count 800]   one file for each crystal in WORK; starts again where it was stopped
    python recipes/fit_stiffness.py fit WORK                     writes matterloop/shipped/spring_stiffness.json and its card

Crystals: the MP-20 validation set (MATTERLOOP_DATA), at most 8 atoms, every element of it at least three times, relaxed by CHGNet first. Loss: Stein's,
tr(P^-1 H) - ln det(P^-1 H), per free coordinate: its first term grows where the model P is softer than the Hessian H, the second where it is stiffer.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from matterloop.archive.shipped import SHIPPED, write_card
from matterloop.archive.sources import load_frame
from matterloop.base.elements import MAX_Z
from matterloop.crystal.formats import read_text_of
from matterloop.crystal.graph import Within
from matterloop.crystal.state import Crystals
from matterloop.measure.coordinates import Frame, Origin
from matterloop.measure.relax import relax
from matterloop.measure.stiffness import REACH, STRAINS, Springs

STEP = 0.02  # Å; strains STEP / 2.5
SOFTEST = 0.3  # eV/Å^2; smaller and negative curvatures count as this
CREDIT = "Materials Project (CC BY 4.0), as split in MP-20 (Xie et al., ICLR 2022) and WyckoffTransformer's repository; CHGNet 0.3.0 (Deng et al. 2023)"


def chosen(count: int, most: int = 8) -> list[tuple[str, Crystals]]:
    """`count` random crystals, then more until no element is seen fewer than three times or none is left."""
    table = load_frame("mp20_biternary_val_test", "val.csv.gz").sample(frac=1, random_state=0)
    seen, out = Counter(), []
    for name, text in zip(table.material_id, table.cif, strict=True):
        elements = set(table_elements(text))
        if len(out) >= count and all(seen[e] >= 3 for e in elements):
            continue
        one = read_text_of(text).crystals.bare()
        if one.atoms <= most:
            seen.update(elements)
            out.append((name, one))
    return out


def table_elements(text: str) -> list[str]:
    """Elements of a CIF by its sum formula."""
    line = next(x for x in text.splitlines() if x.startswith("_chemical_formula_sum"))
    return [word.rstrip("0123456789") for word in line.split(maxsplit=1)[1].strip("'\" ").split()]


def plain(one: Crystals) -> Origin:
    """The crystal with z itself as coordinates."""
    return Origin(one.cart.numpy(), one.cell[0].numpy(), one.species.numpy(), one.periodic[0].numpy(), np.eye(3 * one.atoms + 6), np.eye(6), None, 0.0)


def hessian(one: Crystals, oracle) -> np.ndarray:
    """(3 n + 6, 3 n + 6) by forward differences of the generalised forces, symmetric."""
    origin = plain(one)
    size = origin.free
    steps = np.concatenate([np.full(size - 6, STEP), np.full(6, STEP / 2.5)])
    frame = Frame([origin] * (size + 1))
    at = frame.place([np.zeros(size), *np.diag(steps)])
    labels = oracle.label(at.crystals)
    force = frame.force(at, labels.forces.numpy(), labels.stress.numpy(), at.crystals.volume.numpy())
    h = np.stack([(force[0] - f) / s for f, s in zip(force[1:], steps, strict=True)])
    return (h + h.T) / 2


def measure(work: Path, count: int) -> None:
    from matterloop.potential.chgnet import CHGNetOracle

    work.mkdir(parents=True, exist_ok=True)
    oracle = CHGNetOracle()
    todo = [(n, c) for n, c in chosen(count) if not (work / f"{n}.npz").exists()]
    print(f"{len(todo)} crystals to do")
    for begin in range(0, len(todo), 16):
        part = todo[begin : begin + 16]
        found = relax(Crystals.join([c for _, c in part]), oracle, fmax=0.02, smax=6e-4, steps=100, keep_symmetry=True, symprec=0.1)
        for (name, _), one in zip(part, found, strict=True):
            if one.converged:
                c = one.crystal.bare()
                held = {"frac": c.frac.numpy(), "cell": c.cell[0].numpy(), "species": c.species.numpy(), "hessian": hessian(c, oracle)}
                np.savez(work / f"{name}.part.npz", **held)
                (work / f"{name}.part.npz").rename(work / f"{name}.npz")
        print(begin + len(part), flush=True)


class Sample:
    """A crystal of the fit: how every pair's vector answers to z, and its Hessian with soft curvatures raised."""

    def __init__(self, path: Path):
        with np.load(path) as held:
            crystal = Crystals.of(held["frac"], held["species"], held["cell"])
            h = held["hessian"]
        graph = Within(REACH, half=True)(crystal)
        vectors = graph.vectors(crystal)
        i, j, n = graph.receivers, graph.senders, crystal.atoms
        answer = torch.zeros(len(i), 3, 3 * n + 6, dtype=torch.float64)
        for axis in range(3):
            answer[torch.arange(len(i)), axis, 3 * j + axis] += 1
            answer[torch.arange(len(i)), axis, 3 * i + axis] -= 1
        answer[:, :, 3 * n :] = torch.einsum("kab,eb->eak", torch.from_numpy(STRAINS), vectors)
        self.length = vectors.norm(dim=-1)
        self.along = torch.einsum("ea,eax->ex", vectors / self.length[:, None], answer)
        self.whole = answer.reshape(-1, 3 * n + 6)
        self.ends, self.volume = (crystal.species[i], crystal.species[j]), float(crystal.volume[0])
        basis = torch.zeros(3 * n + 6, 3 * n + 3, dtype=torch.float64)  # without translations
        if n > 1:
            still = torch.eye(3, dtype=torch.float64).repeat(n, 1) / n**0.5
            basis[: 3 * n, : 3 * n - 3] = torch.linalg.svd(still, full_matrices=True)[0][:, 3:]
        basis[3 * n :, 3 * n - 3 :] = torch.eye(6)
        self.basis, self.atoms = basis, n
        self.whole, self.along = self.whole @ basis, self.along @ basis
        values, way = torch.linalg.eigh(basis.T @ torch.from_numpy(h) @ basis)
        self.h = way @ torch.diag(values.clamp(min=SOFTEST)) @ way.T
        self.log_det = values.clamp(min=SOFTEST).log().sum()

    def model(self, p: dict) -> torch.Tensor:
        """P in the basis."""
        k = torch.exp(p["log_strength"][self.ends[0]] + p["log_strength"][self.ends[1]] - p["decay"] * self.length) * (1 - (self.length / REACH) ** 2) ** 2
        across = p["across"].exp()
        out = self.whole.T @ ((k * across).repeat_interleave(3)[:, None] * self.whole) + self.along.T @ ((k * (1 - across))[:, None] * self.along)
        out = out + p["site"].exp() * self.basis[: 3 * self.atoms].T @ self.basis[: 3 * self.atoms]
        trace = torch.zeros(len(out), dtype=torch.float64)
        trace[-6:-3] = 1
        shear = torch.zeros(len(out), dtype=torch.float64)
        shear[-6:] = 1
        return out + self.volume * (p["volume"].exp() * torch.outer(trace, trace) + p["shear"].exp() * torch.diag(shear))

    def loss(self, p: dict) -> torch.Tensor:
        """Stein's loss per coordinate."""
        model = self.model(p)
        factor = torch.linalg.cholesky(model)
        return (torch.cholesky_solve(self.h, factor).diagonal().sum() + 2 * factor.diagonal().log().sum() - self.log_det) / len(model) - 1


def fit(work: Path, rounds: int = 40) -> None:
    samples = [Sample(p) for p in sorted(work.glob("*.npz")) if ".part" not in p.name]
    train, held = [s for k, s in enumerate(samples) if k % 8], samples[::8]
    real = lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True)
    p = {"log_strength": torch.full((MAX_Z + 1,), 2.5, dtype=torch.float64, requires_grad=True), "decay": real(1.7),
         "across": real(np.log(0.04)), "site": real(np.log(0.22)), "volume": real(np.log(0.3)), "shear": real(np.log(0.013))}
    optimizer = torch.optim.Adam([{"params": [v], "lr": 0.1 if k == "log_strength" else 0.05} for k, v in p.items()])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds)
    for turn in range(rounds):
        optimizer.zero_grad()
        loss = sum(s.loss(p) for s in train) / len(train)
        total = loss + 1e-4 * (p["log_strength"] - p["log_strength"].mean().detach()).square().sum()
        total.backward()
        optimizer.step()
        schedule.step()
        if turn % 10 == 9:
            print(turn + 1, f"{loss.item():.4f}", f"{float(sum(s.loss(p) for s in held) / len(held)):.4f}", {k: round(float(v.detach()), 3) for k, v in p.items() if v.dim() == 0}, flush=True)
    seen = torch.zeros(MAX_Z + 1, dtype=torch.bool)
    for s in samples:
        seen[s.ends[0]] = True
    strength = p["log_strength"].detach()
    strength[~seen] = strength[seen].mean()
    with torch.no_grad():
        spread = torch.cat([torch.linalg.eigvals(torch.linalg.solve(s.model(p), s.h)).real for s in held])
    quantiles = [round(float(q), 3) for q in torch.quantile(spread, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64))]
    print("eigenvalues of P^-1 H on crystals held out, 5 25 50 75 95 %:", quantiles)
    file = SHIPPED / "spring_stiffness.json"
    out = {k: round(float(v.detach().exp() if k != "decay" else v.detach()), 5) for k, v in p.items() if v.dim() == 0}
    file.write_text(json.dumps(out | {"log_strength": [round(x, 4) for x in strength.tolist()]}) + "\n", encoding="utf-8")
    write_card(file, what="numbers of the spring model of measure/stiffness.py: one strength for each element (by atomic number) and five for all", credit=CREDIT,
               made_by="python recipes/fit_stiffness.py measure WORK; python recipes/fit_stiffness.py fit WORK", protocol="Hessians by differences, Stein's loss",
               crystals=len(samples), elements=int(seen.sum()), loss_train=round(loss.item(), 4), loss_held_out=round(float(sum(s.loss(p) for s in held) / len(held)), 4),
               eigenvalues_held_out=quantiles)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("measure", "fit"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=800)
    ask = parser.parse_args()
    measure(ask.work, ask.count) if ask.what == "measure" else fit(ask.work)
