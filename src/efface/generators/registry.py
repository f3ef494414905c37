"""The families of generators, and which of them a model belongs to. Imports no torch, except for `.pth` files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from efface.errors import InputError
from efface.generators.families import Contents, Family
from efface.generators.latent.family import FAMILY as LATENT
from efface.generators.mae.family import FAMILY as MAE
from efface.generators.mage.family import FAMILY as MAGE
from efface.generators.palette.family import FAMILY as PALETTE
from efface.generators.settings import ModelSettings
from efface.settings import read_json, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator

FAMILIES: dict[str, Family] = {family.name: family for family in (MAE, MAGE, PALETTE, LATENT)}
CONFIGS = ("model_index.json", "config.json")


def family_named(name: str) -> Family:
    """The family of this name; raises `InputError` naming those that there are."""
    if name not in FAMILIES:
        raise InputError(unknown_name("generator", name, FAMILIES))
    return FAMILIES[name]


def risks_of(generator: Generator, images: Tensor) -> list[str]:
    """What looks wrong when `generator` is shown these real images, `[B, 3, H, W]`, one sentence each."""
    return family_named(generator.family).risks(generator, images)


def family_of(settings: ModelSettings) -> Family:
    """The family of the model that `settings` names; raises `InputError` if it is of none, or plainly of another."""
    named = family_named(settings.family) if settings.family is not None else None
    contents = contents_of(settings)
    found = [family for family in FAMILIES.values() if family.recognises(contents)]
    if named and found and named not in found:
        raise InputError(
            f"model.family is {named.name}, but {settings.path} is a model of the family {found[0].name}: leave it out"
        )
    if named or found:
        return named or found[0]
    known = "\n".join(f"  - {family.name}: {family.summary}" for family in FAMILIES.values())
    raise InputError(
        f"{settings.path} holds {_in_words(contents)}, which is no model that efface knows. Known are\n{known}"
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


def contents_of(settings: ModelSettings) -> Contents:
    """What lies at `settings.path`; raises `InputError` if nothing readable does."""
    path = Path(settings.path)
    if path.is_file():
        from efface.weights import tensor_names

        return Contents(tensors=tensor_names(path))
    if path.is_dir():
        return _folder(path)
    if path.is_absolute() or settings.path.count("/") != 1 or settings.path.startswith("."):
        raise InputError(f"no model at {settings.path}: neither a folder, a file nor a hub id (owner/name)")
    return _hub(settings)


def _folder(folder: Path) -> Contents:
    files = frozenset(entry.name for entry in folder.iterdir())
    for name in CONFIGS:
        if name in files:
            return Contents(read_json(folder / name), files)
    raise InputError(f"{folder} is not a model folder: it has no {' or '.join(reversed(CONFIGS))}")


def _hub(settings: ModelSettings) -> Contents:
    from huggingface_hub import hf_hub_download

    reasons = []
    for name in CONFIGS:
        try:
            found = hf_hub_download(settings.path, name, revision=settings.revision)
            return Contents(read_json(Path(found)), frozenset({name}))
        except (OSError, ValueError) as error:
            reasons.append((str(error).strip().splitlines() or [type(error).__name__])[0])
    raise InputError(
        f"the model at {settings.path} cannot be read: no folder of that name is here, and as a hub id: {reasons[-1]}"
    )


def _in_words(contents: Contents) -> str:
    for name in ("model_type", "_class_name"):
        if name in contents.config:
            return f"a '{contents.config[name]}' model"
    if contents.files:
        return "a config that names no model_type"
    some = ", ".join(sorted(contents.tensors)[:3])
    return f"the tensors {some}, ..." if some else "no tensors by name"
