"""What every part must keep, whatever its paper: checks chosen by the role and the capabilities of its card, never by its name.

A part keeps an invariance or waives it with a reason; silence is an error, and so is a waiver of everything. A plug-in runs the
same checks as the house:

    @pytest.mark.parametrize("check", checks(part_of("my_package.my_model")), ids=lambda c: c.name)
    def test_contract(check): check.run()
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ..base.errors import BadInput, Missing, NeedsPackage
from ..base.registry import Card, entries, read_card
from .comparing import TOLERANCE, Broken, Check, Part, require
from .examples import INVARIANCES

ROLES = {
    "descriptor": "contract_descriptor", "encoder": "contract_encoder", "regressor": "contract_regressor", "explanation": "contract_explanation", "pretraining": "contract_pretraining", "potential": "contract_potential",
    "generator": "contract_generator", "search": "contract_generator", "measure": "contract_measure", "judge": "contract_judge", "loop": "contract_loop",
    "task": "contract_task", "source": "contract_source"}
SHORTEST_REASON = 10  # characters
BOOKKEEPING = ("card", "presets", "answers", "inputs_untouched", "repeatable")  # checks that hold no claim of the paper
OUTSIDE = "needs_package"


def role_of(card: Card) -> ModuleType:
    """The module that knows the checks of the card's role."""
    if card.role not in ROLES:
        raise Missing("role with a contract", card.role, ROLES)
    return importlib.import_module(f"{__package__}.{ROLES[card.role]}")


def checks(part: Part) -> Iterator[Check]:
    """The checks of a part, waived ones left out; the first is of the card itself, nothing is imported or built before a check runs."""
    every = list(role_of(part.card).checks(part))
    yield Check("card", "fast", lambda: check_card(part.card, [c.name for c in every]))
    if part.card.presets:
        yield Check("presets", "full", lambda: _presets(part))
    yield from (c for c in every if c.name not in part.card.waives)


def check_card(card: Card, names: list[str]) -> None:
    """Broken unless the card obeys the rules; `names` are the checks of its role and capabilities."""
    role = role_of(card)
    applies = set(role.invariances(card))
    keeps, waives = set(card.keeps), card.waives
    for word in keeps - set(INVARIANCES):
        raise Broken(f"keeps: {Missing('invariance', word, INVARIANCES)}")
    if idle := keeps - applies:
        raise Broken(f"keeps {', '.join(sorted(idle))}, which says nothing for the role {card.role!r} with these capabilities")
    if silent := applies - keeps - waives.keys():
        raise Broken(f"neither kept nor waived: {', '.join(sorted(silent))}")
    if both := keeps & waives.keys():
        raise Broken(f"kept and waived at once: {', '.join(sorted(both))}")
    for word, reason in waives.items():
        require(word in names or word in applies, f"waives: {Missing(f'check of the role {card.role}', word, {*names, *applies})}")
        require(len(reason.strip()) >= SHORTEST_REASON, f"{word} is waived without a reason ({reason!r}); say why in {SHORTEST_REASON} characters or more")
    claims = (set(names) | applies) - set(BOOKKEEPING)
    require(not claims or bool(claims - waives.keys()), "everything is waived: a part must keep something")
    for word in card.capabilities:
        require(word in role.CAPABILITIES or "::" in word,
                f"capabilities: {Missing(f'capability of the role {card.role}', word, role.CAPABILITIES)}; a word of your own carries '::'")
    require(card.dtype in ("float32", "float64"), f"dtype is {card.dtype!r}, allowed are 'float32' and 'float64'")
    require(0 <= card.tolerance < 1, f"tolerance is {card.tolerance}, allowed are numbers from 0 to 1")
    require(card.tolerance == TOLERANCE or len(card.tolerance_reason.strip()) >= SHORTEST_REASON,
            f"tolerance is {card.tolerance:g} instead of {TOLERANCE:g} and tolerance_reason does not say why")
    for field in ("name", "build", "paper", "summary"):
        require(bool(getattr(card, field).strip()), f"`{field}` is empty")
    require(card.name.replace("_", "").isalnum() and card.name == card.name.lower(), f"the name {card.name!r} must be lower case, digits and _")
    require(1600 < card.year < 2100, f"the year of the paper is {card.year}")


def _presets(part: Part) -> None:
    for name, options in part.card.presets.items():
        try:
            part.build(**options)
        except (TypeError, BadInput, LookupError) as error:
            raise Broken(f"the preset {name!r} does not build: {type(error).__name__}: {error}") from error


# parts by name, module or file


def part_of(what: str) -> Part:
    """The part called `what`: a name of the registry, an importable module or the path of a .py file, each with a CARD.

    Missing for a name that nothing answers to; BadInput for a file or module without a card, or one that cannot be imported.
    """
    if what.endswith(".py") or "/" in what or "\\" in what:
        return _of_file(Path(what))
    known = entries()
    if what in known:
        return Part(known[what].card, _maker(known[what].card, lambda: importlib.import_module(known[what].module), what))
    try:
        spec = importlib.util.find_spec(what)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise Missing("part or module", what, known)
    card = _card_of(Path(spec.origin))
    return Part(card, _maker(card, lambda: importlib.import_module(what), what))


def _card_of(path: Path) -> Card:
    card = read_card(path)
    if card is None:
        raise BadInput("holds no CARD = Card(...)", str(path))
    return card


def _of_file(path: Path) -> Part:
    if not path.is_file():
        raise BadInput("there is no such file", str(path))
    card = _card_of(path)

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"matterloop_part_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return Part(card, _maker(card, load, str(path)))


def _maker(card: Card, load: Callable[[], ModuleType], where: str) -> Callable[..., object]:
    def make(**options):
        try:
            module = load()
        except Exception as error:  # foreign code may raise anything
            raise BadInput(f"cannot be imported: {type(error).__name__}: {error}", where) from error
        if not hasattr(module, card.build):
            raise BadInput(f"the card builds {card.build!r}, which is not in the file", where)
        return getattr(module, card.build)(**options)

    return make


def run_contract(module_or_name: str, full: bool = False, names: list[str] | None = None) -> list[dict[str, Any]]:
    """Run the checks of one part; one dict each: part, check, passed, seconds, note.

    `passed` is None where a package that the part needs is not installed. Waivers are listed with their reason; the full run says where one is not
    needed. `names` picks checks.
    Errors of the part inside a check are that check's failure; errors as `part_of`.
    """
    part, rows = part_of(module_or_name), []
    for check in checks(part):
        if (check.tier == "full" and not full) or (names is not None and check.name not in names):
            continue
        begun = time.perf_counter()
        passed, note = run_check(part, check)
        rows.append({"part": part.card.name, "check": check.name, "passed": passed, "seconds": round(time.perf_counter() - begun, 3), "note": note})
    for name, why in part.card.waives.items():
        if names is None or name in names:
            idle = full and any(run_check(part, c)[0] for c in role_of(part.card).checks(part) if c.name == name)
            rows.append({"part": part.card.name, "check": name, "passed": True, "seconds": 0.0, "note": f"waived: {why}" + ("; yet it passes here" if idle else "")})
    return rows


def run_check(part: Part, check: Check) -> tuple[bool | None, str]:
    """(passed, note) of one check; None where the part needs a package that is not there and its card says so."""
    try:
        check.run()
    except Broken as error:
        return False, str(error)
    except NeedsPackage as error:
        return (None, f"not run: {error}") if part.can(OUTSIDE) else (False, f"{type(error).__name__}: {error}")
    except Exception as error:  # a part that raises has not kept the contract, whatever it raises
        return False, f"{type(error).__name__}: {error}"
    return True, ""
