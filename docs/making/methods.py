"""The tables of `methods/README.md`, from what the methods declare."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from efface.generators.registry import FAMILIES
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS, ClassifierMethod, GeneratorMethod
from efface.wording import setting


def table(name: str) -> str:
    """The table of the methods for one kind of model: `generators`, `competition` or `baselines` of classifiers; or
    `published`, what the preset of that name sets."""
    if name == "generators":
        return _generators()
    if name == "published":
        return _published()
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


def _published() -> str:
    """A row for each setting, a column for each family with a release."""
    families = {family.name: family.release for family in FAMILIES.values() if family.release}
    rows: dict[str, dict[str, JsonValue]] = {}
    for family, release in families.items():
        for section, settings in (("training", release.training), ("evaluation", release.evaluation)):
            for name, value in settings.items():
                rows.setdefault(f"`{section}.{name}`", {})[family] = value
        for method, settings in release.methods.items():
            for name, value in settings.items():
                if isinstance(value, Mapping):
                    of_training = {f"training.{inner}": one for inner, one in value.items()}
                else:
                    of_training = {f"method.{name}": value}
                for key, one in of_training.items():
                    rows.setdefault(f"`{key}` of `{method}`", {})[family] = one
    lines = [
        f"| setting | {' | '.join(f'`{name}`' for name in families)} |",
        "|---|" + "---|" * len(families),
    ]
    for name, values in rows.items():
        cells = (setting(values[family]) if family in values else "" for family in families)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


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
