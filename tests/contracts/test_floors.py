"""The floors of docs/architecture.md: a lower one never imports a higher one."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "efface"


def floors() -> dict[str, int]:
    """Package name to floor, read off the table in the docs."""
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ((?:`\w+` ?)+)\|", table, re.M)
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}


def imports(path: Path) -> set[str]:
    """Packages of efface that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("efface.")}
    return found


def test_every_package_has_a_floor():
    packages = {
        path.stem
        for path in SOURCE.iterdir()
        if not path.name.startswith("__") and path.suffix in ("", ".py")
    }
    assert packages == set(floors())


def test_no_floor_imports_a_higher_one():
    table = floors()
    wrong = []
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if package.startswith("__"):
            continue
        for other in imports(path):
            if other in table and table[other] > table[package]:
                wrong.append(f"{path.relative_to(SOURCE)} imports {other}")
    assert wrong == []
