"""What a task is: its data, how they are split, which images are forgotten, the network and its recipe. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from efface.classifiers.architecture import NetworkName, NetworkSettings
from efface.errors import InputError
from efface.files import sha256_of_json
from efface.oracles.tasks.cifar import kit_lies_in
from efface.oracles.tasks.faces import has_persons
from efface.oracles.tasks.forget_sets import parse_rule
from efface.settings import Settings, unknown_name
from efface.training.recipe import Recipe

DataName = Literal["digits", "tiles", "faces-age", "casia-surf", "cifar10", "folder", "packed"]
DATA: tuple[str, ...] = get_args(DataName)
WITH_AGES = ("faces-age", "casia-surf")
WITHOUT_PATH = {"digits": "scikit-learn", "tiles": "scikit-image and scikit-learn"}
WITH_PATH = ("folder", "packed")
Purpose = Literal["score", "tuning"]
"""`score`: the forget set that methods are scored on; `tuning`: another one of the same rule, apart from it."""


class TaskNetwork(Settings):
    """The network of a task, but for what its data say: number of classes, channels and side."""

    network: NetworkName = Field("resnet18", description="resnet18, small-conv or mlp")
    width: int = Field(16, ge=1, description="small-conv: channels of the first block; mlp: hidden units")
    stem: Literal["imagenet", "cifar"] = Field("imagenet", description="resnet18: how it begins")

    @model_validator(mode="after")
    def _as_networks_are(self) -> Self:
        try:
            NetworkSettings(network=self.network, width=self.width, stem=self.stem, classes=2, image_size=32)
        except ValidationError as error:
            raise ValueError(str(error.errors()[0].get("ctx", {}).get("error", error))) from None
        return self


class DataSettings(Settings):
    """Images with a forget set."""

    data: DataName = Field(
        description="digits, tiles (of the bundled photos), faces-age, casia-surf, cifar10, folder (folder:PATH sets "
        "path as well) or packed (packed:DIR/NAME: archives NAME-train.npz and NAME-val.npz)"
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
        if name in WITH_PATH and colon:
            if values.get("path"):
                raise ValueError(f"path: it stands in data already, after {name}:")
            return {**values, "data": name, "path": path}
        if values["data"] not in DATA:
            raise ValueError(unknown_name("data", values["data"], DATA))
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
        if self.data in WITHOUT_PATH and self.path is not None:
            problems.append(f"path: {self.data} come with {WITHOUT_PATH[self.data]}; leave it out")
        if self.validation + self.test >= 1:
            problems.append("validation and test: together they leave no training images")
        if self.age_edges is not None and self.data not in WITH_AGES:
            problems.append(f"age_edges: only for {' and '.join(WITH_AGES)}")
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
    def side(self) -> int:
        """Side of its images in pixels."""
        return self.image_size or (8 if self.data == "digits" else 32)

    @property
    def colours(self) -> Literal[1, 3]:
        """Channels of its images."""
        return self.channels or (1 if self.data == "digits" else 3)

    def with_whole_path(self) -> Self:
        """The same with its files from the root, for processes that stand in another folder."""
        changed = {} if self.path is None else {"path": str(Path(self.path).absolute())}
        if file := parse_rule(self.forget).file:
            changed["forget"] = self.forget.removesuffix(file) + str(Path(file).absolute())
        return self.model_copy(update=changed)

    def digest(self) -> str:
        """sha256 over all settings; the files that they lead to are not in it (`TaskData.digest` is of those)."""
        return sha256_of_json(self.as_dict())


class TaskSettings(DataSettings):
    """A classification task with a forget set."""

    network: TaskNetwork = Field(TaskNetwork(), description="the network")
    normalisation: Literal["raw", "unit", "standard"] = Field(
        "raw", description="raw: values 0..255; unit: 0..1; standard: mean 0 and deviation 1 in each channel"
    )
    recipe: Recipe = Field(Recipe(), description="how originals and retrained models are trained")


def task_named(name: str, path: str | None = None) -> TaskSettings:
    """A built-in task: `digits`, `faces-age`, `casia-surf`, `cifar10`, or `folder` with a path.

    Where the data that lie at `path` come with a forget set (`forget_idx.npy` of the starting kit) or with persons (a
    table of faces), the forget rule uses them. Raises `InputError` for another name.
    """
    if name not in DATA and name.partition(":")[0] not in WITH_PATH:
        raise InputError(unknown_name("task", name, DATA))
    values: dict[str, Any] = {"data": name, "path": path, **BUILT_IN.get(name, {})}
    if name == "cifar10" and path is not None and kit_lies_in(path):
        values["forget"] = "kit"
    if name == "faces-age" and path is not None and has_persons(path):
        values["forget"] = "person:0.02"
    return TaskSettings.read(values, where=f"task {name}")


BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    # few images and many epochs: single images are remembered, and a training takes half a second
    "digits": {
        "forget": "random:0.08",
        "limit": 700,
        "network": {"network": "small-conv", "width": 12},
        "recipe": {"epochs": 15, "learning_rate": 5e-3, "weight_decay": 0.0, "class_weights": False},
    },
    "faces-age": {"forget": "random:0.02"},
    "casia-surf": {"forget": "person:15"},
    # the starting kit's; how many epochs its original was trained for is not known
    "cifar10": {
        "forget": "random:0.1",
        "normalisation": "standard",
        "recipe": {
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "weight_decay": 5e-4,
            "batch_size": 128,
            "class_weights": False,
            "augment": "crop-flip",
        },
    },
}
"""The settings of the built-in tasks that are not the defaults. Faces keep the competition's network and recipe."""
