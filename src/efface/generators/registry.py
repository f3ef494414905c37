"""The families of generators, and which of them a model belongs to. Imports no torch, except for `.pth` files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efface.errors import Faults, InputError
from efface.generators.families import Family, ModelSettings
from efface.memory import fitting
from efface.model_files import UnknownModel, contents_of
from efface.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from efface.corruptions import Corruption
    from efface.generators.base import Generator

FAMILIES: Registry[Family] = Registry(
    "generator",
    "efface.generators",
    Family,
    tuple(
        f"efface.generators.{name}.family:FAMILY" for name in ("mae", "mage", "palette", "latent", "network")
    ),
)


def risks_of(generator: Generator, images: Tensor, corruption: Corruption | None = None) -> list[str]:
    """What looks wrong when `generator` is shown these real images, `[B, 3, H, W]`, one sentence each.

    corruption: under which it will be asked; None: only whether it is opened as it was trained.
    """

    def risks(some: Tensor) -> list[str]:
        asked = generator.view_risks(some, corruption) if corruption else []
        return FAMILIES.named(generator.family).risks(generator, some) + asked

    # of as many as memory has room for
    return next(fitting([images], generator.image_size, risks))


def family_of(settings: ModelSettings) -> Family:
    """The family of the model that `settings` names; raises `InputError` if it is of none, or plainly of another."""
    named = FAMILIES.named(settings.family) if settings.family is not None else None
    if named and named.named_by and getattr(settings, named.named_by, None):
        return named
    contents = contents_of(settings.path, settings.revision, settings.entry, settings.base)
    found = [family for family in FAMILIES.values() if family.recognises(contents)]
    if named and found and named not in found:
        raise InputError(
            f"model.family is {named.name}, but {settings.path} is a model of the family {found[0].name}: leave it out"
        )
    if named or found:
        return named or found[0]
    known = "\n".join(f"  - {family.name}: {family.summary}" for family in FAMILIES.values())
    raise UnknownModel(
        f"{settings.path} holds {contents}, which is no model that efface knows. Known are\n{known}"
    )


def read_model(values: object) -> ModelSettings:
    """The settings of a model, of the class and with the options of its family; raises `InputError` with all faults.

    Where no model can be told, only what all families have is read: whoever opens it says what is wrong.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"a model is named by a section with its path, not by {values!r}")
    common = ModelSettings.read(
        {name: value for name, value in values.items() if name in ModelSettings.model_fields}, where="a model"
    )
    try:
        family = named_by_option(values) or family_of(common)
    except InputError:
        if common.family is None and set(values) <= set(ModelSettings.model_fields):
            return common
        if common.family is None:
            raise
        family = FAMILIES.named(common.family)
    with Faults() as faults:
        for name in values:
            if name not in family.settings.model_fields and (others := _families_with(name)):
                faults.add(
                    f"{name} is an option of the family {' and of '.join(others)}, and {common.path} is a model of the "
                    f"family {family.name}: leave it out"
                )
    return family.settings.read({**values, "family": family.name}, where="a model")


def named_by_option(values: Mapping[str, object]) -> Family | None:
    """The family that an option tells, whatever the file looks like; None where the file does."""
    if values.get("family") is not None:
        return None
    families = [family for family in FAMILIES.values() if family.named_by and values.get(family.named_by)]
    return families[0] if families else None


def load_generator(settings: ModelSettings | str) -> Generator:
    """Open a trained model; raises `InputError` with every fault found."""
    given = ModelSettings(path=settings) if isinstance(settings, str) else settings
    family = family_of(given)
    if not isinstance(given, family.settings):
        given = family.settings.read(given.as_dict(), where=f"a model of the family {family.name}")
    return family.load(given)


def _families_with(option: str) -> list[str]:
    return [family.name for family in FAMILIES.values() if option in family.settings.model_fields]
