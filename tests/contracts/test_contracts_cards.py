"""Every built-in method has a card that says what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from efface.methods.base import GeneratorMethod
from efface.methods.registry import GENERATOR_METHODS
from efface.training.settings import TrainingSettings

CARDS = Path(__file__).parents[2] / "docs" / "methods"
SECTIONS = ["Formula", "Needs", "Settings", "Suggested training", "What to expect", "Source", "Deviations"]


def card(method: type[GeneratorMethod]) -> str:
    return (CARDS / f"{method.name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> dict[str, str]:
    """First and second column of a Markdown table whose first column is code."""
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.M))


def written(value: Any) -> str:
    return f"`{value}`"


def test_there_is_one_card_for_each_built_in_method() -> None:
    assert {path.stem for path in CARDS.glob("*.md")} - {"README"} == {
        method.name for method in GENERATOR_METHODS.built_in.values()
    }


@pytest.mark.parametrize("method", GENERATOR_METHODS.built_in.values(), ids=lambda method: method.name)
def test_the_card_has_its_sections_in_order(method: type[GeneratorMethod]) -> None:
    text = card(method)
    assert re.match(rf"# .+ \(`{method.name}`\)\n", text)
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS


@pytest.mark.parametrize("method", GENERATOR_METHODS.built_in.values(), ids=lambda method: method.name)
def test_the_card_names_its_source(method: type[GeneratorMethod]) -> None:
    assert method.source in section(card(method), "Source")


@pytest.mark.parametrize("method", GENERATOR_METHODS.built_in.values(), ids=lambda method: method.name)
def test_the_card_lists_all_settings_with_their_defaults(method: type[GeneratorMethod]) -> None:
    table = rows(section(card(method), "Settings"))
    defaults = {name: info.default for name, info in method.model_fields.items()}
    assert table == {name: written(value) for name, value in defaults.items()}


@pytest.mark.parametrize("method", GENERATOR_METHODS.built_in.values(), ids=lambda method: method.name)
def test_the_card_suggests_what_the_code_recommends(method: type[GeneratorMethod]) -> None:
    table = rows(section(card(method), "Suggested training"))
    recommended = TrainingSettings(**method.recommended)
    shown = ("steps", "batch_size", "learning_rate", "weight_decay")
    assert {name: float(value.strip("`")) for name, value in table.items()} == {
        name: float(getattr(recommended, name)) for name in shown
    }


@pytest.mark.parametrize("method", GENERATOR_METHODS.built_in.values(), ids=lambda method: method.name)
def test_the_card_says_what_is_trained_and_needed(method: type[GeneratorMethod]) -> None:
    needs = section(card(method), "Needs")
    trained = "the encoder alone" if method.trains == "encoder" else "the whole model"
    assert f"| trains | {trained} |" in needs
    assert f"| retain images | {'yes' if method.needs_retain else 'no'} |" in needs
    assert f"| forget images in training | {'yes' if method.needs_forget else 'no'} |" in needs
    teacher = getattr(method, "needs_teacher", False)
    assert f"| frozen original beside it | {'yes' if teacher else 'no'} |" in needs
    assert f"| claim | {method.claim} |" in needs
