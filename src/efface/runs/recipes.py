"""How a classifier is trained from scratch: noted beside the model by efface, or given in a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from efface.documents import read_object
from efface.errors import Faults, InputError
from efface.generators.families import TRAINING_NOTE
from efface.runs.config import chosen
from efface.training.settings import Recipe


def recipe_of(values: Mapping[str, JsonValue], model: str, faults: Faults) -> Recipe:
    """The recipe beside the model named in the section `model`, with what the config says in its place."""
    named = values.get(model)
    path = str(named["path"]) if isinstance(named, Mapping) and "path" in named else None

    def read(section: Mapping[str, JsonValue]) -> Recipe:
        return Recipe.read({**(noted_recipe(path) if path else {}), **section}, where="recipe")

    return chosen(read, values, "recipe", Recipe(), faults)


def noted_recipe(path: str) -> dict[str, JsonValue]:
    """The recipe that efface noted beside a model that it trained; empty where there is no note."""
    note = Path(path) / TRAINING_NOTE
    if not note.is_file():
        return {}
    try:
        recipe = read_object(note)["recipe"]
        return Recipe.model_validate(recipe).as_dict()
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{note} cannot be read: {error}. Remove it, and give the recipe in the config"
        ) from None
