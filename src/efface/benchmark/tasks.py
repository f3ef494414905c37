"""What a task is, whatever is trained on it: images of which some are to be forgotten. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, JsonValue

from efface.benchmark.runs import Section
from efface.errors import InputError
from efface.files import sha256_of_json
from efface.images.datasets import DatasetSettings
from efface.settings import Settings

PLACE = "DATA"
"""What stands in a file for the folder of the images."""


class BenchTask(Settings):
    """Images with a forget set. Of which model and how it is trained, its subclasses say."""

    files: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Settings (section and name) that may hold `KIND:PATH`."""
    images: DatasetSettings = Field(description="the images and the forget set")
    base: str | None = Field(
        None,
        description="a folder with a model of this shape, from whose weights originals and retrained models are trained "
        "on; default: fresh weights",
    )

    @classmethod
    def from_values(cls, values: Section) -> Self:
        """A task from plain values; raises one `InputError` with all faults."""
        return cls.read(values, where="the task")

    def with_whole_path(self) -> Self:
        """The same with its files from the root, for processes that stand in another folder."""
        base = self.base and str(Path(self.base).absolute())
        return self.model_copy(update={"images": self.images.with_whole_path(), "base": base})

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, without a word about a base where there is none."""
        values = super().as_dict()
        if self.base is None:
            del values["base"]
        return values

    def without_paths(self) -> dict[str, JsonValue]:
        """Its settings as they may be published: of a path only its last part."""
        values = self.as_dict()
        if path := self.images.path:
            values["images"]["path"] = Path(path).name
        if self.base:
            values["base"] = Path(self.base).name
        for section, name in self.files:
            if text := values[section].get(name):
                values[section][name] = without_folder(text)
        return values

    def digest(self) -> str:
        """sha256 over all settings; the files that they lead to are not in it."""
        return sha256_of_json(self.as_dict())


def without_folder(text: str) -> str:
    """`KIND:PATH` with the last part of the path alone."""
    kind, colon, path = text.partition(":")
    return f"{kind}:{Path(path).name}" if colon else text


def with_data(task: Section, folder: str | None) -> dict[str, JsonValue]:
    """Plain values of a task with the folder of its images: in the place of `DATA`, or as their path.

    Raises `InputError` where `DATA` stands there and no folder is given.
    """
    given = task.get("images") or {}
    if not isinstance(given, Mapping):
        # refused with all other faults
        return dict(task)
    images = dict(given)
    holders = [name for name in ("data", "path") if PLACE in str(images.get(name, ""))]
    if holders and folder is None:
        text = images[holders[0]]
        raise InputError(f"images: {text}: give the folder in place of {PLACE} with --data")
    for name in holders:
        images[name] = str(images[name]).replace(PLACE, str(folder))
    if folder is not None and not holders:
        images["path"] = folder
    return {**task, "images": images}
