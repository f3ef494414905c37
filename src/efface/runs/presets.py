"""`preset: published`: the settings with which a method was published, in the place of efface's own.

They are written out when a config is built, under what it says itself; what it says in their place is told from the
config later on. Of generators they are those of the release for the model's family; of classifiers, a method's own
defaults, where these are the published settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from efface.errors import InputError
from efface.generators.registry import FAMILIES, read_model
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.registry import CLASSIFIER_METHODS
from efface.wording import setting

Preset = Literal["published"]
Sections = dict[str, dict[str, Any]]


def with_release(values: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The values of a generator's config with those of the release under them; raises `InputError` where there is none."""
    model = read_model(values.get("model"))
    if model.family is None:
        raise InputError(
            f"preset: of which family the model at {model.path} is cannot be told, and so not what was published for it: "
            "check the path, or give model.family"
        )
    merged = dict(values)
    for name, published in release_sections(model.family, method).items():
        given = values.get(name) or {}
        if isinstance(given, Mapping):
            merged[name] = {**published, **given}
            if "steps" in given and "epochs" not in given:
                merged[name]["epochs"] = None
    return merged


def release_sections(family: str, method: str) -> Sections:
    """What the release for a family sets of a method, of its training, and of the evaluation; raises `InputError`."""
    release = FAMILIES.named(family).release
    if release is None:
        others = " and ".join(one.name for one in FAMILIES.values() if one.release)
        raise InputError(
            f"preset: there is no released code that unlearns models of the family {family}, only of {others}; leave the "
            "preset out, and see the method's card"
        )
    if method not in release.methods:
        raise InputError(
            f"preset: {method} is not in the release for {family} models, which has {', '.join(release.methods)}; leave "
            "the preset out, and see the method's card"
        )
    own = dict(release.methods[method])
    training = own.pop("training", {})
    assert isinstance(training, Mapping)
    return {
        "method": own,
        "training": {**release.training, **training},
        "evaluation": dict(release.evaluation),
    }


def published_section(family: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's section of a method with the release's settings under its own, and a label that names what departs.

    The sampler is the task's. Raises `InputError` where there is no release of it.
    """
    given = {name: value for name, value in section.items() if name not in ("preset", "label")}
    name, training = str(given.get("name")), given.get("training") or {}
    published = release_sections(family, name)
    if "steps" in training:
        training = {"epochs": None, **training}
    made = {**published["method"], **given, "training": {**published["training"], **training}}
    compared = {"method": published["method"], "training": published["training"]}
    departed = departures(compared, {"method": made, "training": made["training"]}, None)
    return {**made, "label": section.get("label") or f"{name} ({as_published(departed)})"}


def check_published(method: ClassifierMethod) -> None:
    """Raise `InputError` for a method for classifiers whose defaults are no published settings."""
    if not method.as_published:
        names = ", ".join(name for name, one in CLASSIFIER_METHODS.items() if one.as_published)
        raise InputError(
            f"preset: {method.name} has no settings that were published for every model; its card says what its defaults "
            f"follow. Those with published settings are {names}: their defaults"
        )


def as_published(departed: list[str]) -> str:
    """A run with a preset in words: `as published`, and what it does otherwise."""
    return f"as published but for {'; '.join(departed)}" if departed else "as published"


def departures(published: Sections, actual: Mapping[str, Any], budget: str | None) -> list[str]:
    """What `actual`, the values of a config, say in the place of the published settings, a line each."""
    lines = []
    for section, settings in published.items():
        for name, wanted in settings.items():
            given = actual[section][name]
            if given == wanted:
                continue
            if name == "epochs" and given is None:
                lines.append(f"{section}.steps: {actual[section]['steps']} (published: {wanted:g} epochs)")
            else:
                lines.append(f"{section}.{name}: {setting(given)} (published: {setting(wanted)})")
    return [*lines, *([f"budget: {budget}"] if budget else [])]
