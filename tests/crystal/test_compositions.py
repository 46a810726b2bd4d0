"""Batches of compositions: reading, cutting, joining, and the composition of crystals."""

import pytest
import torch

from matterloop.base.errors import BadInput, Missing
from matterloop.base.quantities import Quantity
from matterloop.bench import examples as ex
from matterloop.crystal.compositions import Compositions, Elements, sizes
from matterloop.learn.data import Batches, Samples

STEEL = "Fe0.620C0.000953Ni0.192"


@pytest.fixture
def three():
    return Compositions.of(["NaCl", STEEL, {"O": 3, 26: 2, "Fe": 0.5}], {"gap": [5.0, float("nan"), 2.0]})


def test_formulas_and_amounts_are_read_as_they_stand(three):
    assert three.species.tolist() == [11, 17, 6, 26, 28, 8, 26]
    assert three.amount.tolist() == [1, 1, 0.000953, 0.62, 0.192, 3, 2.5] and three.amount.dtype == torch.float64
    assert three.counts.tolist() == [2, 3, 2] and three.owner.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert three.sizes.tolist() == pytest.approx([2, 0.812953, 5.5])
    assert three[2].share.tolist() == pytest.approx([6 / 11, 5 / 11])
    assert three.formula(1) == "C0.000953 Fe0.62 Ni0.192"


@pytest.mark.parametrize("source, why", [("NaXx", "Xx"), ({"Na": -1}, "-1"), ({}, "nothing"), ({119: 1}, "119"), ({"Na": float("nan")}, "nan"), (None, "items"), ("", "empty")])
def test_a_wrong_row_is_named(source, why):
    with pytest.raises(BadInput, match=why) as error:
        Compositions.of(["NaCl", source])
    assert error.value.where == "composition 1"


def test_parts_keep_their_labels(three):
    assert three[[2, 0]].get("gap").tolist() == [2, 5] and three[[2, 0]].species.tolist() == [8, 26, 11, 17]
    assert three[torch.tensor([False, True, False])].species.tolist() == [6, 26, 28]
    assert three[-1].species.tolist() == [8, 26] and three[1:].counts.tolist() == [3, 2] and len(three[3:]) == 0
    again = Compositions.join(three.split(3))
    assert [len(p) for p in three.split(3)] == [1, 1, 1] and [len(p) for p in three.split(5)] == [2, 1]
    assert torch.equal(again.amount, three.amount) and torch.equal(again.offsets, three.offsets)
    with pytest.raises(IndexError, match="composition 3"):
        three[3]
    with pytest.raises(BadInput, match="fields"):
        Compositions.join([three, three.bare()])
    with pytest.raises(Missing, match="gap"):
        three.get("gapp")


def test_fields_have_a_row_each(three):
    assert three.with_fields({"metal": torch.tensor([0, 1, 0])}).get("metal").tolist() == [0, 1, 0]
    with pytest.raises(BadInput, match="expected 3"):
        three.with_fields({"metal": torch.zeros(2)})
    assert three.to(torch.float32).amount.dtype == torch.float32 and three.to(torch.float32).species.dtype == torch.long


def test_the_composition_of_crystals():
    crystals = ex.every().with_fields(whole={"energy": torch.arange(8.0)}, quantities={"energy": Quantity(extensive=True)})
    found = Compositions.of_crystals(crystals)
    assert [found.formula(i) for i in range(8)] == ["Na4 Cl4", "Na2 Cl6", "Na2 Cl3", "Na1", "Na1 Cl1", "Na2 Cl3", "Na2 Cl2", "Na1 Cl2"]
    assert torch.equal(sizes(found), crystals.counts.double()) and torch.equal(sizes(crystals), crystals.counts)
    assert found.get("energy").tolist() == list(range(8)) and found.quantities["energy"].extensive


def test_an_element_of_a_crystal_stands_at_its_first_atom():
    crystals = ex.every().shuffled(ex.shuffle(ex.every()))
    graph, plain = Elements()(crystals), Elements()(Compositions.of_crystals(crystals))
    assert torch.equal(crystals.species[graph.receivers], Compositions.of_crystals(crystals).species)
    assert torch.equal(graph.edge["share"], plain.edge["share"]) and torch.equal(graph.senders, graph.receivers)
    for row in graph.receivers.tolist():
        i = int(crystals.owner[row])
        assert row == next(a for a in range(int(crystals.offsets[i]), crystals.atoms) if crystals.species[a] == crystals.species[row])


def test_batches_of_samples_carry_their_elements(three):
    many = Compositions.join([three] * 3)
    samples = Samples.of(many, Elements())
    batch = samples.batch([7, 0])
    assert batch.crystals.species.tolist() == [6, 26, 28, 11, 17] and batch.graph.receivers.tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(batch.graph.edge["share"], batch.crystals.share)
    rows = torch.cat([b.rows for b in Batches(samples, torch.arange(9), size=4).epoch(0)])
    assert sorted(rows.tolist()) == list(range(9))


@pytest.mark.data
def test_formulas_of_public_tables_are_read_as_pymatgen_reads_them(data_dir):
    """Steels with twelve elements, high-entropy alloys, superconductors: amounts to a part in a million."""
    from pymatgen.core import Composition

    from matterloop.archive.sources import load_frame

    tables = [("matbench_v01_official_tables", "matbench_steels.json.bz2", {}), ("roost_history_sets", "hea-vickers.csv", {}),
              ("roost_history_sets", "supercon.csv", {"header": None})]
    for name, file, options in tables:
        frame = load_frame(name, file, data_dir=data_dir, **options)
        texts = frame["composition" if "composition" in frame else 1].tolist()
        found = Compositions.of(texts)
        for i, text in enumerate(texts):
            theirs = Composition(text)
            assert dict(zip(found[i].species.tolist(), found[i].amount.tolist(), strict=True)) == pytest.approx({e.Z: n for e, n in theirs.items()}, rel=1e-6), text
