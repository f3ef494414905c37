"""The program's source as syntax trees: which module imports which, without importing any."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"


@cache
def trees() -> dict[str, ast.Module]:
    """Syntax tree of each module, by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def nodes(package: str) -> Iterator[ast.AST]:
    """Every node of every module of a package, such as `efface.reports`."""
    for name, tree in trees().items():
        if f"{name}.".startswith(f"{package}."):
            yield from ast.walk(tree)


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of the program that a module imports anywhere in it, but for those that only a type checker reads."""
    names: set[str] = set()
    waiting: list[ast.AST] = [trees()[module]]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        waiting += ast.iter_child_nodes(node)
    return frozenset(name for name in names if name in trees() and name != module)


def reached(module: str) -> set[str]:
    """Modules that a module imports, itself or through others; itself among them if it lies in a circle."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        new = imports(waiting.pop()) - seen
        seen |= new
        waiting += new
    return seen
