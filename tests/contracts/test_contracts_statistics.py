"""Every statistic of forgetting has a card that says what the code and the catalogue say; the page's tables are current."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from efface.forgetting.declared import statistics
from making.statistics import BETTER, anchor, heading

STATISTICS = statistics()
DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "forgetting" / "statistics.md"
PARTS = [
    "What it asks", "Formula", "Inputs", "Range and direction", "What to expect of retrained models", "Pitfalls", "Source"
]  # fmt: skip

every_statistic = pytest.mark.parametrize("name", STATISTICS)


def sections() -> dict[str, str]:
    """Text of each section by the name in its heading."""
    pieces = re.split(r"^## .+ \(`(\w+)`\)\n", PAGE.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def part(name: str, title: str) -> str:
    return re.split(r"^\*\*", sections()[name].split(f"**{title}.**")[1], maxsplit=1, flags=re.M)[0]


def anchors(path: Path) -> set[str]:
    """What links to the headings of a page are called."""
    return {anchor(title) for title in re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)}


def test_there_is_one_section_for_each_statistic_in_the_order_of_the_catalogue() -> None:
    titles = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.M)
    assert titles == [heading(info) for info in STATISTICS.values()]


@every_statistic
def test_the_section_has_its_parts_in_order(name: str) -> None:
    assert re.findall(r"^\*\*(.+?)\.\*\*", sections()[name], re.M) == PARTS


@every_statistic
def test_the_section_says_what_the_catalogue_says(name: str) -> None:
    info = STATISTICS[name]
    said = part(name, "Range and direction")
    assert info.range in said
    assert f"Better: {BETTER[info.direction]}." in said
    assert info.source in part(name, "Source")


@every_statistic
def test_the_call_is_that_of_the_function_with_its_defaults(name: str) -> None:
    (call,) = re.findall(r"^    (\S+\(.*?\))   #", part(name, "Inputs"), re.M)
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    assert ast.unparse(node.func) == STATISTICS[name].function
    module, function = STATISTICS[name].function.split(".")
    found = inspect.signature(getattr(importlib.import_module(f"efface.forgetting.{module}"), function))
    wanted: dict[str, Any] = {key: value.default for key, value in found.parameters.items()}
    given: dict[str, Any] = {ast.unparse(argument): inspect.Parameter.empty for argument in node.args}
    given |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    assert list(given.items()) == list(wanted.items())


def test_every_link_to_a_statistic_leads_to_its_section() -> None:
    pages = [PAGE, *(DOCS / "metrics").glob("*.md"), DOCS / "forgetting" / "score.md"]
    found = 0
    for page in pages:
        for path, section in re.findall(
            r"\]\(([\w./]*\.md)?(?:#([\w-]+))?\)", page.read_text(encoding="utf-8")
        ):
            target = page.parent / path if path else page
            assert target.is_file(), f"{page.name}: {path}"
            assert not section or section in anchors(target), f"{page.name}: {section}"
            found += target.name == PAGE.name
    assert found >= len(STATISTICS) + 5
