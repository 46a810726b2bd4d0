"""Parts are found by name without being imported."""

import subprocess
import sys
from dataclasses import fields

import pytest

from matterloop.archive import shipped
from matterloop.base import registry
from matterloop.base.errors import BadInput, Missing
from matterloop.base.registry import ROLES, SHELVES, Card, built_in, entries, find, load, plugins, read_card

GOOD = 'from matterloop.base.registry import Card\n\nCARD = Card(name="{name}", build="Made", role="encoder", paper="none", year=2026{more})\n\n\nclass Made:\n    def __init__(self, width=3):\n        self.width = width\n'


@pytest.fixture
def written(tmp_path):
    """Write a file and read its card."""
    def write(text):
        path = tmp_path / "part.py"
        path.write_text(text, encoding="utf-8")
        return read_card(path)
    return write


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a plug-in: a module on the path, and the dist-info that a wheel would bring."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, module="", more="", text=None, dist="plugged"):
        module = module or f"{dist}_{name}"
        (tmp_path / f"{module}.py").write_text(GOOD.format(name=name, more=more) if text is None else text, encoding="utf-8")
        info = tmp_path / f"{dist}_{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINT_GROUP}]\n{name} = {module}\n")
        return module
    return install


def test_listing_imports_no_part_and_takes_less_than_half_a_second():
    code = ("import sys, time; t = time.perf_counter(); from matterloop.base.registry import entries; found = entries(); d = time.perf_counter() - t; "
            "heavy = [m for m in ('torch', 'numpy', 'pymatgen', 'ase', 'pandas') if m in sys.modules]; "
            "rooms = [m for m in sys.modules if m.startswith('matterloop.') and not m.startswith('matterloop.base')]; "
            "print(len(found), d, heavy, rooms); sys.exit(bool(heavy) or bool(rooms) or d > 0.5 or len(found) < 10)")
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
    assert any(r.returncode == 0 for r in runs), [r.stdout + r.stderr for r in runs]


def test_every_role_but_source_has_an_inhabitant():
    assert {e.card.role for e in built_in().values()} == set(ROLES) - {"source"}


def test_built_in_parts_lie_on_shelves_and_bring_what_they_build():
    for name, entry in built_in().items():
        assert entry.module.split(".")[1] in SHELVES and entry.path.is_file() and not entry.plugin and entry.card.name == name
        assert f"class {entry.card.build}" in entry.path.read_text() or f"def {entry.card.build}(" in entry.path.read_text()


UNDER = {"sevennet": "mattersim", "ecomformer": "comformer", "gemnet": "dimenet", "screened": "wyckoff_transformer", "crystal_nn": "atomic_fingerprints", "composition_statistics": "magpie", "structure_statistics": "atomic_fingerprints", "elastic_net": "random_forest", "gradient_boosting": "random_forest", "stacking": "random_forest",
         "crystal_transformer": "ct_uae", "property_diffusion": "crysdiff"}  # a part with a file of its own -> the entry of the catalogue that lists it among others

BELOW = {"m3gnet": "predict"}  # a network without its potential stands in a lower room than the entry of the catalogue


def test_names_are_ids_of_the_catalogue_in_its_room():
    systems = {s["id"]: s["room"] for s in shipped.read_json("systems")}
    assert len(systems) == 215
    for name, entry in built_in().items():
        name = UNDER.get(name, name)
        assert name in systems, f"{name} is no id of the catalogue"
        assert entry.module.split(".")[1] in (systems[name], BELOW.get(name)), f"{name} stands in {entry.module}, the catalogue puts it into {systems[name]}"


def test_a_file_without_a_card_is_no_part(written):
    assert written("x = 1\n") is None and written("# CARD = Card() stands in a comment only\n") is None


def test_an_annotated_card_is_read(written):
    assert written('CARD: Card = Card(name="a", build="b", role="judge", paper="p", year=2000)').name == "a"


@pytest.mark.parametrize("text, message", [
    ('CARD = Card(name="a", build="b", role="encoder", paper="p", year=1 + YEAR)', "`year` is not a literal"),
    ('CARD = Card(name=NAME, build="b", role="encoder", paper="p", year=2000)', "`name` is not a literal"),
    ('CARD = Card(nam="a")', "no field of Card called 'nam'; did you mean name"),
    ('CARD = Card(**settings)', "no field of Card called 'None'"),
    ('CARD = Card("a")', "keywords only"),
    ('CARD = make_card(name="a")', "CARD must be written as"),
    ('CARD = Card(name="a")', "missing 4 required positional arguments"),
    ('CARD = Card(name="a", build="b", role="encodr", paper="p", year=2000)', "no role called 'encodr'; did you mean encoder"),
    ("CARD = Card(", "cannot be read as Python"),
    ("CARD = '\x00'", "cannot be read as Python"),
])
def test_a_card_that_cannot_be_read_says_where_and_why(written, text, message):
    with pytest.raises(BadInput) as caught:
        written(text)
    assert message in str(caught.value) and "part.py" in str(caught.value)


def test_a_file_of_another_encoding_is_bad_input(tmp_path):
    (tmp_path / "part.py").write_bytes(b"# CARD \xff\xfe\n")
    with pytest.raises(BadInput, match="cannot be read as Python"):
        read_card(tmp_path / "part.py")


def test_two_files_cannot_claim_one_name(tmp_path, monkeypatch):
    for shelf, file in (("judge", "one"), ("measure", "two")):
        (tmp_path / "house" / shelf).mkdir(parents=True)
        (tmp_path / "house" / shelf / f"{file}.py").write_text(GOOD.format(name="same", more=""))
    monkeypatch.setattr(registry, "ROOT", tmp_path / "house")
    with pytest.raises(BadInput, match="two files claim the name 'same': house.judge.one and house.measure.two|two files claim"):
        built_in.__wrapped__()


def test_a_plug_in_is_listed_with_its_distribution_and_loads(plugin):
    module = plugin("my_encoder", more=', presets={"wide": {"width": 9}}')
    assert find("my_encoder").plugin == "plugged" and find("my_encoder").module == module and module not in sys.modules
    assert load("my_encoder").width == 3 and load("my_encoder:wide").width == 9 and load("my_encoder:wide", width=4).width == 4
    assert load("my_encoder", role=("judge", "encoder")).width == 3


def test_a_plug_in_cannot_take_the_name_of_a_built_in_part(plugin):
    plugin("chgnet")
    with pytest.raises(BadInput, match="plug-ins claim names of built-in parts.*chgnet"):
        entries()


def test_two_plug_ins_cannot_claim_one_name(plugin):
    plugin("mine", dist="one")
    plugin("mine", dist="two")
    with pytest.raises(BadInput, match="two plug-ins claim the name 'mine'"):
        plugins()


@pytest.mark.parametrize("text, message", [("x = 1\n", "must hold CARD"), ("CARD = Card(name=f())\n", "not a literal"), ("CARD = (\n", "cannot be read as Python")])
def test_a_broken_plug_in_says_so_and_leaves_built_in_parts_alone(plugin, text, message):
    plugin("broken", text=text)
    with pytest.raises(BadInput, match=message):
        entries()
    assert find("chgnet").card.role == "potential" and load("lennard_jones").name == "lennard_jones"


def test_a_plug_in_whose_module_is_gone_says_so(plugin, tmp_path):
    module = plugin("gone")
    (tmp_path / f"{module}.py").unlink()
    with pytest.raises(BadInput, match="names the module 'plugged_gone', which is not there"):
        entries()


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(Missing, match="no part called 'chgnett'; did you mean chgnet"):
        find("chgnett")
    with pytest.raises(Missing, match="no potential called 'schnet'"):
        find("schnet", role="potential")
    with pytest.raises(Missing, match="no generator or search called 'random_serch'; did you mean random_search"):
        find("random_serch", role=("generator", "search"))
    with pytest.raises(Missing, match="no preset of lennard_jones called 'argn'; did you mean argon"):
        load("lennard_jones:argn")


def test_a_preset_sets_options_and_options_overrule_it():
    assert load("lennard_jones:argon").cutoff == 8.5125 and load("lennard_jones:argon", cutoff=7.0).cutoff == 7.0


def test_cards_hold_literals_only():
    assert all(isinstance(getattr(e.card, f.name), (str, int, float, tuple, dict, type(None))) for e in built_in().values() for f in fields(Card))


def test_an_alias_finds_the_part_it_names():
    assert registry.find("sevennet-0", "potential").card.name == "sevennet"
    with pytest.raises(Missing, match="sevennet"):
        registry.find("sevenet-0", "potential")
