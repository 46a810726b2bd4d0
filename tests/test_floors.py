"""The house rules that the syntax tree can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "matterloop"
FLOOR = {
    room: floor for floor, rooms in enumerate((
        ("base",), ("crystal",), ("represent", "archive"), ("layers",), ("learn",), ("predict",), ("potential",), ("measure",), ("judge",),
        ("generate",), ("campaign",), ("bench",), ("app",)), 1) for room in rooms}
FOREIGN = {"pymatgen", "ase", "moyopy", "pyxtal"}
FOREIGN_DOORS = ("crystal/formats", "crystal/symmetry", "crystal/matching", "crystal/prototypes", "potential/outside", "measure/")
FILES = sorted(ROOT.rglob("*.py"))


def imports(tree: ast.AST, own: tuple[str, ...]):
    """(absolute module, line) of every import, relative ones resolved against the package path `own`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield node.module, node.lineno
            else:
                base = ("matterloop", *own)[: len(own) + 2 - node.level]
                if node.module:
                    yield ".".join((*base, node.module)), node.lineno
                else:
                    yield from ((".".join((*base, a.name)), node.lineno) for a in node.names)


def upward(path: Path, source: str) -> list[str]:
    """Imports of `path` that go to a higher floor or to a sibling room on the same one."""
    own = path.relative_to(ROOT).parts[:-1]
    if not own or own[0] not in FLOOR:
        return []
    wrong = []
    for module, line in imports(ast.parse(source), own):
        parts = module.split(".")
        if parts[0] == "matterloop" and len(parts) > 1 and parts[1] in FLOOR and parts[1] != own[0] and FLOOR[parts[1]] >= FLOOR[own[0]]:
            wrong.append(f"{path.relative_to(ROOT)}:{line} imports {parts[1]}")
    return wrong


def test_imports_go_strictly_down():
    wrong = [w for path in FILES for w in upward(path, path.read_text())]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("source", ["from ..campaign import loop", "from matterloop.app.cli import main", "import matterloop.bench.contract", "from ..generate.x import y"])
def test_an_upward_import_is_caught(source):
    assert upward(ROOT / "judge" / "planted.py", source)


def test_rooms_are_all_on_a_floor():
    rooms = {p.name for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists()} - {"shipped"}
    assert rooms == set(FLOOR)


def test_foreign_structure_types_stay_at_their_doors():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in FILES if not str(path.relative_to(ROOT)).startswith(FOREIGN_DOORS)
        for module, line in imports(ast.parse(path.read_text()), path.relative_to(ROOT).parts[:-1]) if module.split(".")[0] in FOREIGN]
    assert not wrong, "\n".join(wrong)


def test_only_the_app_prints_or_draws():
    wrong = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "app":
            continue
        tree = ast.parse(path.read_text())
        wrong += [f"{path}:{n.lineno} prints" for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]
        wrong += [f"{path}:{line} imports {m}" for m, line in imports(tree, path.relative_to(ROOT).parts[:-1])
                  if m.split(".")[0] in {"matplotlib", "plotly", "pymatviz", "rich", "typer"}]
    assert not wrong, "\n".join(wrong)


def test_room_files_named_init_are_empty():
    assert not [p for p in ROOT.rglob("__init__.py") if p.parent != ROOT and p.read_text().strip()]


def test_nothing_dangerous_is_called():
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                wrong.append(f"{path}:{node.lineno} bare except")
            if isinstance(node, ast.Import) and any(a.name in ("pickle", "joblib", "dill") for a in node.names):
                wrong.append(f"{path}:{node.lineno} imports a pickler")
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("eval", "exec") or name.endswith((".manual_seed_all", "set_default_dtype", "random.seed", "torch.manual_seed")):
                    wrong.append(f"{path}:{node.lineno} calls {name}")
                if name == "torch.load" and not any(k.arg == "weights_only" and getattr(k.value, "value", None) is True for k in node.keywords):
                    wrong.append(f"{path}:{node.lineno} torch.load without weights_only=True")
                if any(k.arg == "shell" and getattr(k.value, "value", None) is True for k in node.keywords):
                    wrong.append(f"{path}:{node.lineno} runs a shell string")
    assert not wrong, "\n".join(wrong)


def test_importing_the_package_is_quick_and_loads_no_torch():
    code = ("import time,sys; t=time.perf_counter(); import matterloop; d=time.perf_counter()-t; "
            "bad=[m for m in ('torch','pymatgen','pandas','scipy') if m in sys.modules]; print(d, bad); sys.exit(bool(bad) or d > 0.3)")
    best = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
    assert any(b.returncode == 0 for b in best), [b.stdout + b.stderr for b in best]
