"""Which data, how they are split, and which images are to be forgotten. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from efface.errors import InputError
from efface.files import sha256_of_json
from efface.images.datasets.forget_rules import parse_rule
from efface.images.datasets.readers import DATASETS, DatasetReader
from efface.settings import Settings, unknown_name

Purpose = Literal["score", "tuning"]
"""`score`: the forget set that methods are scored on; `tuning`: another one of the same rule, apart from it."""


class DatasetSettings(Settings):
    """Images with a forget set."""

    data: str = Field(
        description="digits, tiles (of the bundled photos), faces-age, casia-surf, cifar10, folder (folder:PATH sets "
        "path as well) or packed (packed:DIR/NAME: archives NAME-train.npz and NAME-val.npz), or another package's"
    )
    path: str | None = Field(None, description="the folder in which the data lie; digits and tiles have none")
    image_size: int | None = Field(
        None, ge=4, description="side in pixels to which images are brought; default: 8 for digits, else 32"
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1: grey, 3: colour; default: 1 for digits, else 3"
    )
    age_edges: tuple[float, ...] | None = Field(
        None, min_length=2, description="youngest age of each class; default: ten classes of equal width"
    )
    forget: str = Field("random:0.05", description="which training images are forgotten, such as class:3@0.5")
    split: Literal["seeded", "compat"] = Field(
        "seeded",
        description="seeded: by person where persons are known, else by image; compat (casia-surf only): by image and "
        "with the first persons as forget set, as the competition's released code does",
    )
    split_seed: int = Field(0, description="seed of the split, of the forget set and of `limit`")
    validation: float = Field(
        0.1, ge=0, lt=1, description="share of validation images, where no part comes with the data"
    )
    test: float = Field(
        0.1, gt=0, lt=1, description="share of test images, where no part comes with the data"
    )
    classes: int | None = Field(None, ge=2, description="use only so many classes, drawn with split_seed")
    limit: int | None = Field(None, ge=2, description="use at most so many training images")
    limit_test: int | None = Field(None, ge=1, description="use at most so many test images")

    @model_validator(mode="before")
    @classmethod
    def _with_folder_apart(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("data"), str):
            return values
        name, colon, path = values["data"].partition(":")
        if colon and name in DATASETS and DATASETS[name].path_in_name:
            if values.get("path"):
                raise ValueError(f"path: it stands in data already, after {name}:")
            return {**values, "data": name, "path": path}
        if values["data"] not in DATASETS:
            raise ValueError(unknown_name("data", values["data"], DATASETS))
        return values

    @field_validator("forget")
    @classmethod
    def _rule_is_known(cls, text: str) -> str:
        try:
            parse_rule(text)
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from None
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if self.reader.comes_with and self.path is not None:
            problems.append(f"path: {self.data} come with {self.reader.comes_with}; leave it out")
        if self.validation + self.test >= 1:
            problems.append("validation and test: together they leave no training images")
        if self.age_edges is not None and not self.reader.has_ages:
            with_ages = (name for name, reader in DATASETS.items() if reader.has_ages)
            problems.append(f"age_edges: only for {' and '.join(with_ages)}")
        if self.age_edges is not None and list(self.age_edges) != sorted(set(self.age_edges)):
            problems.append("age_edges: each must be above the one before")
        if self.split == "compat" and self.data != "casia-surf":
            problems.append(
                "split: compat is how the released code splits casia-surf; other data have seeded alone"
            )
        if self.split == "compat" and not (
            parse_rule(self.forget).kind == "person" and parse_rule(self.forget).count
        ):
            problems.append("forget: with the compat split it must be person:COUNT")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def name(self) -> str:
        """What the data are called: by what lies at their path, where that says which they are."""
        return Path(self.path).name if self.reader.path_in_name and self.path else self.data

    @property
    def reader(self) -> DatasetReader:
        """How the data are found and read."""
        return DATASETS[self.data]

    @property
    def side(self) -> int:
        """Side of its images in pixels."""
        return self.image_size or self.reader.side

    @property
    def colours(self) -> Literal[1, 3]:
        """Channels of its images."""
        return self.channels or self.reader.channels

    def with_whole_path(self) -> Self:
        """The same with its files from the root, for processes that stand in another folder."""
        changed = {} if self.path is None else {"path": str(Path(self.path).absolute())}
        if file := parse_rule(self.forget).file:
            changed["forget"] = self.forget.removesuffix(file) + str(Path(file).absolute())
        return self.model_copy(update=changed)

    def digest(self) -> str:
        """sha256 over all settings; the files that they lead to are not in it (`Dataset.digest` is of those)."""
        return sha256_of_json(self.as_dict())
