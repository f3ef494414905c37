"""A digest of the code that decides a run: a changed method is another run, and does not void the retrained models.

Counted are a class's module and the modules that it imports, in functions too, as far as they are its own package's or
one of those of efface that decide numbers. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

DECIDING = (
    *(
        "efface.classifiers",
        "efface.corruptions",
        "efface.evaluation",
        "efface.forgetting",
        "efface.generators",
    ),
    *("efface.methods", "efface.metrics", "efface.randomness", "efface.training"),
)
"""Packages of efface whose code decides what a run gives; that of data is in the digest of the images."""


@cache
def code_digest(roots: tuple[str, ...]) -> str:
    """sha256 over the code that these modules and those that they import consist of; "" where no source is to be had."""
    own = tuple({root.partition(".")[0] for root in roots} - {"efface"})
    digest, sources = hashlib.sha256(), 0
    for module in sorted(_reached(roots, (*DECIDING, *own))):
        tree = _tree(module)
        if tree is not None:
            sources += 1
            digest.update(f"{module}\n{ast.dump(tree, annotate_fields=False)}\n".encode())
    return digest.hexdigest() if sources else ""


def _reached(roots: Iterable[str], packages: tuple[str, ...]) -> set[str]:
    """The modules of `packages` that the roots are or import, directly or by way of others of them."""
    waiting, reached = list(roots), set[str]()
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += [
                name for name in _imports(module) if _within(name, packages) and _path(name) is not None
            ]
    return reached


@cache
def _imports(module: str) -> tuple[str, ...]:
    """What a module imports, but for its types alone."""
    tree = _tree(module)
    names: list[str] = []
    for node in [] if tree is None else _run_nodes(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            # `from package import module` and `from module import name` look alike
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(names))


def _run_nodes(tree: ast.AST) -> Iterable[ast.AST]:
    """All nodes that are run, which those under `if TYPE_CHECKING` are not."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield node
            yield from _run_nodes(node)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return str(node.module)
    path = _path(module)
    package = module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


@cache
def _tree(module: str) -> ast.Module | None:
    """The code of a module without its docstrings; None without a source."""
    path = _path(module)
    if path is None or path.suffix != ".py":
        return None
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _path(module: str) -> Path | None:
    """Where a module's source lies; None if it is no module, or has no file."""
    known = getattr(sys.modules.get(module), "__file__", None)
    if known:
        return Path(known)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
