"""Find every part of the house by name without importing it.

A part is one file on a shelf. Its module-level `CARD = Card(...)` holds literals only, so it is read from the syntax tree:
listing a hundred parts imports none of them. Plug-ins offer files of the same form through the entry-point group
`matterloop.cards`, each entry naming a module that holds a CARD.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from .errors import BadInput, Missing

ROOT = Path(__file__).parents[1]
SHELVES = ("represent", "predict", "potential", "measure", "judge", "generate", "campaign", "archive", "bench")
ROLES = ("descriptor", "encoder", "regressor", "explanation", "pretraining", "potential", "generator", "search", "measure", "judge", "loop", "task", "source")
ENTRY_POINT_GROUP = "matterloop.cards"
_CARD = re.compile(r"^CARD = Card\(\n(?:[ \t].*\n)*\)", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """What a part claims of itself; the contract (bench/contract.py) holds it to every claim.

    name          id of the system in the catalogue where it stands there; `aliases` other names that find it
    build         class or function in the same file that makes the part
    role          one of ROLES
    paper, year   DOI or arXiv number of the source, and its year
    capabilities  what it can do, words of the contract ("forces", "stress", "magmoms", "learns", "formula", "space_group", ...)
    keeps         invariances it claims: rotation, reflection, translation, permutation, cell, supercell
    waives        check -> reason why it cannot hold, one by one (there is no waiver of everything)
    dtype         precision it computes in; `tolerance` is the relative error the contract allows; `tolerance_reason` why
    presets       name -> keyword arguments, for papers whose only novelty is a setting
    small         keyword arguments of a test-sized configuration
    reference     one number the contract re-computes: catches constant factors, see the contract
    differs       honest list of departures from the paper
    """

    name: str
    build: str
    role: str
    paper: str
    year: int
    capabilities: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    waives: dict[str, str] = field(default_factory=dict)
    dtype: str = "float64"
    tolerance: float = 1e-8
    tolerance_reason: str = ""
    presets: dict[str, dict] = field(default_factory=dict)
    small: dict = field(default_factory=dict)
    reference: float | None = None
    differs: tuple[str, ...] = ()
    summary: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A card and where it was found."""

    card: Card
    module: str
    path: Path
    plugin: str = ""  # distribution that brought it, empty for built-in parts


def read_card(path: Path) -> Card | None:
    """The card of a file, or None if it has none; BadInput if the file is not Python or the card not made of literals."""
    try:
        text = path.read_text(encoding="utf-8")
        if "CARD" not in text:
            return None
        tree = _tree(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise BadInput(f"cannot be read as Python: {error}", str(path)) from None
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if getattr(target, "id", "") == "CARD":
            return _literal_card(node.value, path)
    return None


def _tree(text: str) -> ast.Module:
    """The syntax tree of a file; of its card alone where that stands by itself, which is all that is read and ten times as fast."""
    if match := _CARD.search(text):
        try:
            return ast.parse("\n" * text.count("\n", 0, match.start()) + match[0])
        except SyntaxError:
            pass
    return ast.parse(text)


def _literal_card(call: ast.AST, path: Path) -> Card:
    if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Card" or call.args:
        raise BadInput("CARD must be written as Card(name=..., ...) with keywords only", str(path))
    known = {f.name for f in fields(Card)}
    values = {}
    for keyword in call.keywords:
        if keyword.arg not in known:
            raise BadInput(str(Missing("field of Card", str(keyword.arg), known)), f"{path}:{call.lineno}")
        try:
            values[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            raise BadInput(f"`{keyword.arg}` is not a literal", f"{path}:{keyword.value.lineno}") from None
    try:
        card = Card(**values)
    except TypeError as error:
        raise BadInput(str(error), f"{path}:{call.lineno}") from None
    if card.role not in ROLES:
        raise BadInput(str(Missing("role", card.role, ROLES)), f"{path}:{call.lineno}")
    return card


@cache
def built_in() -> dict[str, Entry]:
    """{name: entry} of every file with a card on the shelves of the package."""
    found: dict[str, Entry] = {}
    for path in sorted(p for shelf in SHELVES for p in (ROOT / shelf).rglob("*.py")):
        if (card := read_card(path)) is not None:
            module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
            if card.name in found:
                raise BadInput(f"two files claim the name {card.name!r}: {module} and {found[card.name].module}", "registry")
            found[card.name] = Entry(card, module, path)
    return found


def plugins() -> dict[str, Entry]:
    """{name: entry} of every installed plug-in; only its file is read, nothing is imported but the packages above it."""
    found = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            spec = importlib.util.find_spec(point.value)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.origin:
            raise BadInput(f"the plug-in {point.name!r} names the module {point.value!r}, which is not there", "entry point")
        card = read_card(Path(spec.origin))
        if card is None:
            raise BadInput("a plug-in module must hold CARD = Card(...)", spec.origin)
        if card.name in found:
            raise BadInput(f"two plug-ins claim the name {card.name!r}: {point.value} and {found[card.name].module}", "registry")
        found[card.name] = Entry(card, point.value, Path(spec.origin), point.dist.name if point.dist else point.name)
    return found


def entries() -> dict[str, Entry]:
    """Every known part, built-in first; a plug-in that takes a built-in name is an error."""
    ours, theirs = built_in(), plugins()
    if taken := ours.keys() & theirs.keys():
        raise BadInput(f"plug-ins claim names of built-in parts: {sorted(taken)}", "registry")
    return {**ours, **theirs}


def find(name: str, role: str | tuple[str, ...] | None = None) -> Entry:
    """The entry called `name`, of `role` (or one of several) if given; Missing with the nearest names otherwise.

    A built-in part is found whatever state the plug-ins are in.
    """
    roles = (role,) if isinstance(role, str) else role
    name = next((e.card.name for e in built_in().values() if name in e.card.aliases), name)
    if (entry := built_in().get(name)) is not None and (roles is None or entry.card.role in roles):
        return entry
    known = {n: e for n, e in entries().items() if roles is None or e.card.role in roles}
    if name not in known:
        raise Missing(" or ".join(roles) if roles else "part", name, known)
    return known[name]


def load(name: str, role: str | tuple[str, ...] | None = None, **options):
    """Import the file of the part called `name` and build it; `name:preset` takes the preset's options first."""
    name, _, preset = name.partition(":")
    entry = find(name, role)
    if preset:
        if preset not in entry.card.presets:
            raise Missing(f"preset of {name}", preset, entry.card.presets)
        options = {**entry.card.presets[preset], **options}
    build = getattr(importlib.import_module(entry.module), entry.card.build)
    known = inspect.signature(build).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()) and (unknown := [o for o in options if o not in known]):
        raise Missing(f"option of {entry.card.name}", unknown[0], list(known))
    return build(**options)
