"""What leaves a run is typed: pages and commands get objects, never keys. The bounds only ever become smaller."""

from __future__ import annotations

import ast
import re

import pytest

from support.source import imports, nodes, reached, trees

BELOW_RUNS = {
    "images", "corruptions", "forgetting", "generators", "classifiers", "training", "methods", "metrics",
    "evaluation", "probes",
}  # fmt: skip
KEYS = {"efface.reports": 6, "efface.cli": 18}
"""How often a package reads something by a string: `record["forget"]`, `record.get("forget")`."""
UNTYPED_MAPPINGS = 170


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def reads_a_key(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        read = ast.unparse(node.value)
        # a name in capitals is a table of the module's own
        return is_text(node.slice) and read not in ("Literal", "os.environ") and not read.isupper()
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
        return False
    by_key = node.func.attr in ("get", "pop", "setdefault") and is_text(node.args[0])
    return by_key and ast.unparse(node.func.value) != "os.environ"


@pytest.mark.parametrize("package", KEYS)
def test_nothing_is_read_by_a_string_key(package: str) -> None:
    found = [ast.unparse(node) for node in nodes(package) if reads_a_key(node)]
    assert len(found) <= KEYS[package], found


def test_what_counts_as_reading_by_a_key() -> None:
    code = "a['b']; a.get('b'); a.pop('b', 1); a[b]; a.get(b); os.environ['b']; os.environ.get('b'); Literal['b']"
    assert sum(reads_a_key(node) for node in ast.walk(ast.parse(code))) == 3


def test_a_page_imports_nothing_below_runs() -> None:
    def below(module: str) -> set[str]:
        return {name for name in imports(module) if name.split(".")[1:2] and name.split(".")[1] in BELOW_RUNS}

    found = {
        module: below(module) for module in trees() if module.startswith("efface.reports") and below(module)
    }
    assert found == {}


def test_imports_make_no_circles() -> None:
    found = [module for module in trees() if module in reached(module)]
    assert found == []


UNTYPED = re.compile(r"(dict|\w*Mapping)\[str, (Any|object)\]")


def untyped_mappings(sources: list[ast.Module]) -> int:
    """Uses of mappings of `str` to `Any` or `object`, and of names that stand for one."""
    every = [node for tree in sources for node in ast.walk(tree)]
    direct = [
        node for node in every if isinstance(node, ast.Subscript) and UNTYPED.fullmatch(ast.unparse(node))
    ]
    aliases = {
        ast.unparse(node.targets[0])
        for node in every
        if isinstance(node, ast.Assign) and node.value in direct
    }
    return len(direct) + sum(isinstance(node, ast.Name) and node.id in aliases for node in every)


def test_mappings_of_anything_are_few() -> None:
    count = untyped_mappings(list(trees().values()))
    assert count <= UNTYPED_MAPPINGS


def test_an_alias_of_an_untyped_mapping_counts_wherever_it_is_used() -> None:
    code = "Json = dict[str, Any]\ndef f(a: Json, b: Mapping[str, object], c: dict[str, int]) -> Json: ..."
    assert untyped_mappings([ast.parse(code)]) == 5  # the definition, its name, two uses, and `b`
