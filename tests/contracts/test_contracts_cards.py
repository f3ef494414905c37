"""Every built-in method has a card that says what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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


def test_the_card_has_its_sections_in_order() -> None:
    for method in GENERATOR_METHODS.built_in.values():
        text = card(method)
        assert re.match(rf"# .+ \(`{method.name}`\)\n", text), method.name
        assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS, method.name


def test_the_card_names_its_source() -> None:
    for method in GENERATOR_METHODS.built_in.values():
        assert method.source in section(card(method), "Source"), method.name


def test_the_card_lists_all_settings_with_their_defaults() -> None:
    for method in GENERATOR_METHODS.built_in.values():
        table = rows(section(card(method), "Settings"))
        defaults = {name: info.default for name, info in method.model_fields.items()}
        assert table == {name: written(value) for name, value in defaults.items()}, method.name


def test_the_card_suggests_what_the_code_recommends() -> None:
    for method in GENERATOR_METHODS.built_in.values():
        table = rows(section(card(method), "Suggested training"))
        recommended = TrainingSettings(**method.recommended)
        shown = ("steps", "batch_size", "learning_rate", "weight_decay")
        assert {name: float(value.strip("`")) for name, value in table.items()} == {
            name: float(getattr(recommended, name)) for name in shown
        }, method.name


def test_the_card_says_what_is_trained_and_needed() -> None:
    for method in GENERATOR_METHODS.built_in.values():
        needs = section(card(method), "Needs")
        trained = "the encoder alone" if method.trains == "encoder" else "the whole model"
        assert f"| trains | {trained} |" in needs, method.name
        assert f"| retain images | {'yes' if method.needs_retain else 'no'} |" in needs, method.name
        assert f"| forget images in training | {'yes' if method.needs_forget else 'no'} |" in needs, (
            method.name
        )
        teacher = getattr(method, "needs_teacher", False)
        assert f"| frozen original beside it | {'yes' if teacher else 'no'} |" in needs, method.name
        assert f"| claim | {method.claim} |" in needs, method.name
