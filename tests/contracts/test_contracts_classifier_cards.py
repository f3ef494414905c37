"""Every built-in method for classifiers has a card that says what the code says, and a line in the table of methods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from efface.methods.classifier.base import ClassifierMethod
from efface.methods.registry import CLASSIFIER_METHODS

DOCS = Path(__file__).parents[2] / "docs"
CARDS = DOCS / "methods" / "classifier"
SECTIONS = ["Formula", "Needs", "Settings", "Cost", "What to expect", "Source", "Deviations"]


def card(method: type[ClassifierMethod]) -> str:
    return (CARDS / f"{method.name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_there_is_one_card_for_each_built_in_method() -> None:
    assert {path.stem for path in CARDS.glob("*.md")} == {
        method.name for method in CLASSIFIER_METHODS.built_in.values()
    }


def test_the_card_has_its_sections_in_order() -> None:
    for method in CLASSIFIER_METHODS.built_in.values():
        text = card(method)
        assert re.match(rf"# .+ \(`{method.name}`\)\n", text), method.name
        assert f"--method {method.name}" in text, method.name
        assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS, method.name


def test_the_card_names_its_source() -> None:
    for method in CLASSIFIER_METHODS.built_in.values():
        assert method.source in section(card(method), "Source"), method.name


def test_the_card_lists_all_settings_with_their_defaults() -> None:
    for method in CLASSIFIER_METHODS.built_in.values():
        table = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section(card(method), "Settings"), re.M))
        defaults: dict[str, Any] = {name: info.default for name, info in method.model_fields.items()}
        assert table == {name: str(value) for name, value in defaults.items()}, method.name


def test_the_card_says_what_is_needed() -> None:
    for method in CLASSIFIER_METHODS.built_in.values():
        found = dict(re.findall(r"^\| ([a-z ]+) \| (\w+) \|", section(card(method), "Needs"), re.M))
        wanted = {
            "retain images": method.needs_retain,
            "forget images": method.needs_forget,
            "validation images": method.needs_validation,
            "labels": method.needs_labels,
            "frozen original beside it": method.needs_original,
            "deterministic": method.deterministic,
        }
        assert {name: found[name] for name in wanted} == {
            name: "yes" if value else "no" for name, value in wanted.items()
        }, method.name
        assert found["claim"] == method.claim, method.name
