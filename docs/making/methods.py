"""The tables of `methods/README.md`, from what the methods declare."""

from __future__ import annotations

from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS, ClassifierMethod, GeneratorMethod


def table(name: str) -> str:
    """The table of the methods for one kind of model: `generators`, `competition` or `baselines` of classifiers."""
    if name == "generators":
        return _generators()
    is_entry = name == "competition"
    return _classifiers(
        [method for method in CLASSIFIER_METHODS.built_in.values() if method.competition == is_entry]
    )


def _generators() -> str:
    lines = [
        "| method | what it does | trains | retain images | forget images in training | claim |",
        "|---|" + "---|" * 5,
    ]
    return "\n".join(lines + [_generator(method) for method in GENERATOR_METHODS.built_in.values()]) + "\n"


def _generator(method: type[GeneratorMethod]) -> str:
    trains = "encoder" if method.trains == "encoder" else "whole model"
    cells = [trains, _said(method.needs_retain), _said(method.needs_forget), method.claim]
    return f"| [`{method.name}`]({method.name}.md) | {method.summary} | " + " | ".join(cells) + " |"


def _classifiers(methods: list[type[ClassifierMethod]]) -> str:
    head = (
        "| method | what it does | forget images | validation | labels | original | deterministic | claim |"
    )
    lines = [head, "|---|" + "---|" * 7]
    for method in methods:
        traits = (method.needs_forget, method.needs_validation, method.needs_labels, method.needs_original)
        cells = [*map(_said, (*traits, method.deterministic)), method.claim]
        link = f"[`{method.name}`](classifier/{method.name}.md)"
        lines.append(f"| {link} | {method.summary} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _said(trait: bool) -> str:
    return "yes" if trait else ""
