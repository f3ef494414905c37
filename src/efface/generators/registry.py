"""The families of generators, and which of them a model belongs to. Imports no torch, except for `.pth` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efface.errors import InputError
from efface.generators.families import Family
from efface.generators.settings import ModelSettings
from efface.model_files import contents_of
from efface.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator

FAMILIES: Registry[Family] = Registry(
    "generator",
    "efface.generators",
    Family,
    tuple(f"efface.generators.{name}.family:FAMILY" for name in ("mae", "mage", "palette", "latent")),
)


def risks_of(generator: Generator, images: Tensor) -> list[str]:
    """What looks wrong when `generator` is shown these real images, `[B, 3, H, W]`, one sentence each."""
    return FAMILIES.named(generator.family).risks(generator, images)


def family_of(settings: ModelSettings) -> Family:
    """The family of the model that `settings` names; raises `InputError` if it is of none, or plainly of another."""
    named = FAMILIES.named(settings.family) if settings.family is not None else None
    contents = contents_of(settings.path, settings.revision)
    found = [family for family in FAMILIES.values() if family.recognises(contents)]
    if named and found and named not in found:
        raise InputError(
            f"model.family is {named.name}, but {settings.path} is a model of the family {found[0].name}: leave it out"
        )
    if named or found:
        return named or found[0]
    known = "\n".join(f"  - {family.name}: {family.summary}" for family in FAMILIES.values())
    raise InputError(
        f"{settings.path} holds {contents}, which is no model that efface knows. Known are\n{known}"
    )


def foreign_options(settings: ModelSettings, family: Family) -> list[str]:
    """Sentences about given options that only other families read."""
    common = {"path", "revision", "family"}
    read = common | set(family.options.model_fields)
    return [
        f"model.{name} is not for this model, which is of the family {family.name}"
        for name, value in settings
        if name not in read and value is not None
    ]
