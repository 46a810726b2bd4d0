"""A generator behind the gene screens: what passes, in which order, what is counted, and where it ends."""

import numpy as np
import pytest
import torch

from matterloop.archive.records import Ask, Candidate, Reason, Verdict
from matterloop.base.errors import BadInput
from matterloop.crystal.state import Crystals
from matterloop.generate.screened import ScreenedGenerator, gene_of

METALS = (11, 12, 13, 19, 20, 21, 22, 23, 24, 25)


def salt(z, anion=17, named=True):
    crystal = Crystals.of([[0, 0, 0], [0.5, 0.5, 0.5]], [z, anion], 2.8 * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    return crystal, ({"gene": gene_of(Candidate("", crystal, "")).key} if named else {})


class Salts:
    """Rock salts of METALS in turn; each block begins anew, so that genes repeat from block to block."""

    name = "salts"

    def __init__(self):
        self.heard = []

    def propose(self, ask, count, seed):
        made = [salt(METALS[i % len(METALS)], named=i % 2 == 0) for i in range(count)]
        return [Candidate(f"salts-{seed}-{i}", crystal, self.name, (), seed, about) for i, (crystal, about) in enumerate(made)]

    def observe(self, verdicts):
        self.heard += verdicts


class Heavier:
    """A predictor that likes heavy metals."""

    def predict(self, genes):
        self.chance = np.array([max(z for z in g.composition if z != 17) / 100 for g in genes])
        return self

    def probability(self, limit):
        return self.chance


def metals(found):
    return [int(c.crystal.species[0]) for c in found]


def test_the_likeliest_half_of_each_block_passes_in_the_order_drawn():
    one = ScreenedGenerator(Salts(), share=0.5, novel=False, predictor=Heavier(), block=6)
    found = one.propose(Ask(), 10, 0)
    assert metals(found) == [19, 20, 21]  # of the first six; later blocks bring the same six again
    assert [c.key for c in found] == ["screened-0-0", "screened-0-1", "screened-0-2"] and found[0].about["base"].startswith("salts-")
    assert one.report["drawn"] == 24 and one.report["passed"] == 3
    assert one.report["screened_out"] == {"duplicate gene": 18, "energy predicted too high": 3}


def test_without_a_predictor_every_new_gene_passes_once():
    one = ScreenedGenerator(Salts(), share=1.0, novel=False, block=4)
    assert metals(one.propose(Ask(), 3, 0)) == [11, 12, 13] and one.report["drawn"] == 4
    assert metals(one.propose(Ask(), 9, 0)) == [11, 12, 13, 19]  # a proposal knows nothing of the one before


def test_a_longer_proposal_begins_with_the_shorter_one_and_none_is_none():
    make = lambda: ScreenedGenerator(Salts(), share=0.5, novel=False, predictor=Heavier(), block=6)
    assert metals(make().propose(Ask(), 3, 1))[:2] == metals(make().propose(Ask(), 2, 1)) and make().propose(Ask(), 0, 1) == []


def test_known_genes_do_not_pass():
    one = ScreenedGenerator(Salts(), share=1.0, block=10)
    found = metals(one.propose(Ask(), 10, 0))
    assert 11 not in found and one.report["screened_out"]["known gene"] >= 1  # NaCl is in the reference


def test_the_base_hears_verdicts_under_its_own_keys():
    base = Salts()
    one = ScreenedGenerator(base, share=1.0, novel=False, block=4)
    found = one.propose(Ask(), 2, 0)
    one.observe([Verdict(found[1].key, (Reason("x", 0.0, 0.0, "", True),)), Verdict("other-0-0")])
    assert [v.key for v in base.heard] == [found[1].about["base"], "other-0-0"]


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.5}, {"block": 0}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(BadInput):
        ScreenedGenerator(Salts(), **options)
