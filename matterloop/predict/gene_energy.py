"""The screen before relaxation: what formation energy a Wyckoff gene will have once relaxed, how sure that is, and how far above the hull it will lie.

A small ensemble of the networks of gene_energy_network.py, each of which reads the gene in an equivalent setting of its own, so that any setting of a gene
gives the same answer. B. Lakshminarayanan, A. Pritzel, C. Blundell, arXiv:1612.01474 (deep ensembles); V. Kuleshov, N. Fenner, S. Ermon, arXiv:1807.00263
(recalibration by the quantiles of held-out residuals). Weights: recipes/train_gene_energy.py, their card says from what and how well.

    mu = mean_k mu_k,  sigma^2 = c^2 (mean_k 2 b_k^2 + var_k mu_k),  P(E <= e) = F((e - mu) / sigma)

with mu_k, b_k centre and width of member k (Laplace), c and F fitted on chemical systems that no member has seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..archive import shipped
from ..archive.files import replacing
from ..base.errors import BadInput
from ..represent.wyckoff_gene import Gene
from .gene_energy_network import GeneNetwork, Sites, batch_of, sites_of

NAME = "gene_energy_chgnet"
BATCH = 512  # genes that the network reads at once
TAIL = 1.0  # widths over which probabilities fall to 1/e beyond the outermost quantile

Composition = Mapping[int, float]
Floor = Callable[[Sequence[Composition]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far truth lies from prediction on held-out chemical systems.

    factor     c of the module's equation: 68.3 % of the truths lie within one sigma
    quantiles  (k,) of (truth - mu) / sigma at the levels (i + 1/2) / k, ascending
    """

    factor: float
    quantiles: np.ndarray

    @staticmethod
    def of(error: np.ndarray, sigma: np.ndarray, count: int = 199) -> Calibration:
        """From errors truth - mu (genes,) and uncalibrated sigma (genes,); BadInput for fewer than 100 genes."""
        if len(error) < 100:
            raise BadInput(f"got {len(error)} genes to calibrate on, 100 are needed", "calibration")
        factor = float(np.quantile(np.abs(error) / sigma, 0.6827))
        return Calibration(factor, np.quantile(error / (factor * sigma), (np.arange(count) + 0.5) / count))

    def probability(self, z: np.ndarray) -> np.ndarray:
        """F(z): share of truths below mu + z sigma; strictly rising, 0 and 1 at infinity."""
        q, last = self.quantiles, 0.5 / len(self.quantiles)
        inside = np.interp(z, q, (np.arange(len(q)) + 0.5) / len(q))
        below, above = last * np.exp(np.minimum(z - q[0], 0) / TAIL), 1 - last * np.exp(np.minimum(q[-1] - z, 0) / TAIL)
        return np.where(z < q[0], below, np.where(z > q[-1], above, inside))


@dataclass(frozen=True, eq=False)
class Predicted:
    """What the predictor says of genes, in eV/atom.

    formation_energy, sigma  (genes,) of the relaxed crystal
    floor                    (genes,) formation energy of the hull at each composition, nan where a chemical system has no hull; None: no hull was given
    """

    formation_energy: np.ndarray
    sigma: np.ndarray
    floor: np.ndarray | None
    calibration: Calibration

    def __len__(self) -> int:
        return len(self.formation_energy)

    @property
    def above_hull(self) -> np.ndarray:
        """(genes,) signed distance to the hull; BadInput where no hull was given."""
        if self.floor is None:
            raise BadInput("there is no hull to be above; give GeneEnergy a `floor`, as generate/gene_screens.py does", "gene energy")
        return self.formation_energy - self.floor

    def probability(self, limit: float = 0.1) -> np.ndarray:
        """(genes,) calibrated chance that the relaxed crystal lies at most `limit` eV/atom above the hull; nan where there is no hull."""
        return self.calibration.probability((limit - self.above_hull) / self.sigma)


class GeneEnergy:
    """Predictor of relaxed energies from genes alone.

    networks     members of the ensemble
    scale        mean and spread of the labels in eV/atom
    floor        {composition} -> (genes,) formation energy of the hull, eV/atom; a look-up among known phases, never an oracle call
    """

    def __init__(self, networks: Sequence[GeneNetwork], scale: tuple[float, float], calibration: Calibration, floor: Floor | None = None):
        if not networks:
            raise BadInput("an ensemble needs at least one network", "gene energy")
        self.networks, self.scale, self.calibration, self.floor = tuple(n.eval() for n in networks), scale, calibration, floor

    def predict(self, genes: Sequence[Gene]) -> Predicted:
        """Energies of genes in any setting and order of sites; BadInput for a gene without sites or with elements beyond plutonium."""
        found = self.of_sites(sites_of(genes))
        if self.floor is None:
            return found
        return replace(found, floor=np.asarray(self.floor([g.composition for g in genes]), dtype=np.float64).reshape(-1))

    def of_sites(self, sites: Sites) -> Predicted:
        """As `predict` for genes that are arrays already; without a hull."""
        centre, width = self.members(sites)
        sigma = self.calibration.factor * np.sqrt((2 * width**2).mean(0) + centre.var(0))
        return Predicted(centre.mean(0), sigma, None, self.calibration)

    def members(self, sites: Sites) -> tuple[np.ndarray, np.ndarray]:
        """(members, genes) centre and width of each member's Laplace distribution, eV/atom."""
        out = np.zeros((len(self.networks), 2, len(sites)))
        order = np.argsort(sites.counts, kind="stable")
        with torch.inference_mode():
            for begin in range(0, len(sites), BATCH):
                rows = order[begin : begin + BATCH]
                part = sites.take(rows)
                choices = part.settings()
                for k, network in enumerate(self.networks):
                    out[k, :, rows] = network(batch_of(part, k * choices // len(self.networks))).double().numpy()
        mean, spread = self.scale
        return mean + spread * out[:, 0], spread * np.exp(out[:, 1])

    # files

    def save(self, path: Path) -> None:
        """Weights and calibration as safetensors."""
        from safetensors.torch import save_file

        tensors = {f"{k}.{name}": value.contiguous() for k, network in enumerate(self.networks) for name, value in network.state_dict().items()}
        tensors["calibration.quantiles"] = torch.from_numpy(self.calibration.quantiles.copy())
        facts = {"members": len(self.networks), "scale": self.scale, "factor": self.calibration.factor, "shape": shape_of(self.networks[0])}
        with replacing(Path(path)) as new:
            save_file(tensors, new, {"facts": json.dumps(facts)})

    @staticmethod
    def load(path: Path | str = NAME, floor: Floor | None = None) -> GeneEnergy:
        """From a file of `save`, or by the name of shipped weights; Missing for an unknown name, BadInput for a file that is something else."""
        from safetensors import SafetensorError, safe_open

        file = path if isinstance(path, Path) else shipped.path(path)
        try:
            with safe_open(file, "pt") as held:
                facts = json.loads((held.metadata() or {})["facts"])
                tensors = {name: held.get_tensor(name) for name in held.keys()}
        except (SafetensorError, KeyError, ValueError) as error:
            raise BadInput(f"does not hold a gene-energy ensemble: {error}", str(file)) from None
        networks = []
        for k in range(facts["members"]):
            network = GeneNetwork(**facts["shape"])
            network.load_state_dict({name.removeprefix(f"{k}."): value for name, value in tensors.items() if name.startswith(f"{k}.")})
            networks.append(network)
        return GeneEnergy(networks, tuple(facts["scale"]), Calibration(facts["factor"], tensors["calibration.quantiles"].numpy()), floor)


def shape_of(network: GeneNetwork) -> dict[str, int]:
    """Arguments that build a network of the same shape."""
    return {"width": network.element.out_features, "heads": network.blocks[0].heads, "blocks": len(network.blocks)}
