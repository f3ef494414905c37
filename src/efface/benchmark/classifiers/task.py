"""What a task of classifiers is (its images, the network and its recipe), and a benchmark of methods for it. No torch.

`task_named("digits")` needs no files, and trains in a second. The headline setup is the competition's, `reuse-n-1`: every
experiment starts from another original, and intervals are over originals. The other setups tell whether the order of
methods depends on the setup.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np
from pydantic import (
    Field,
    JsonValue,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from efface.benchmark.config import BenchConfig, TuningSettings
from efface.benchmark.results import KindName
from efface.benchmark.runs import Section
from efface.benchmark.setups import Setup
from efface.benchmark.tasks import BenchTask
from efface.classifiers.architecture import AnyNetwork, NetworkName, NetworkSettings
from efface.errors import InputError
from efface.images.datasets import Dataset
from efface.images.datasets.cifar import MEAN, STD, kit_lies_in
from efface.images.datasets.faces import has_persons
from efface.images.datasets.readers import DATASETS
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.registry import read_classifier_method
from efface.settings import Settings, unknown_name
from efface.training.settings import Recipe

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier, Normalisation

RAW_VALUES = 255.0


class TaskNetwork(Settings):
    """The network of a task, but for what its data say: number of classes, channels and side."""

    network: AnyNetwork = Field(
        "resnet18", description="resnet18, small-conv, mlp, or code that builds it: package.module:build"
    )
    arguments: dict[str, JsonValue] = Field(
        {}, description="package.module:build: keyword arguments for that code"
    )
    width: int = Field(16, ge=1, description="small-conv: channels of the first block; mlp: hidden units")
    stem: Literal["imagenet", "cifar"] = Field("imagenet", description="resnet18: how it begins")

    @property
    def own(self) -> bool:
        """Whether it is one of efface's own."""
        return self.network in get_args(NetworkName)

    @model_serializer(mode="wrap")
    def _with_arguments_given(self, write: SerializerFunctionWrapHandler) -> Any:
        return {name: value for name, value in write(self).items() if name != "arguments" or value}

    @model_validator(mode="after")
    def _as_networks_are(self) -> Self:
        if not self.own:
            return self
        if self.arguments:
            raise ValueError(f"arguments: only code of yours takes some, not a {self.network}")
        try:
            NetworkSettings.model_validate({**self.as_dict(), "classes": 2, "image_size": 32})
        except ValidationError as error:
            raise ValueError(str(error.errors()[0].get("ctx", {}).get("error", error))) from None
        return self


class ClassifierTask(BenchTask):
    """A classifier trained on images of which some are to be forgotten."""

    network: TaskNetwork = Field(TaskNetwork(), description="the network")
    normalisation: Literal["raw", "unit", "standard"] = Field(
        "raw", description="raw: values 0..255; unit: 0..1; standard: mean 0 and deviation 1 in each channel"
    )
    recipe: Recipe = Field(Recipe(), description="how originals and retrained models are trained")

    @model_validator(mode="after")
    def _as_the_base_is(self) -> Self:
        if self.base and (
            (self.network.own and self.network != TaskNetwork()) or self.normalisation != "raw"
        ):
            raise ValueError(
                "network, normalisation: with base, they are the base's; leave them out, but for code that builds "
                "its network"
            )
        return self


def task_named(name: str, path: str | None = None) -> ClassifierTask:
    """A built-in task: `digits`, `faces-age`, `casia-surf`, `cifar10`, or `folder` with a path.

    Where the data that lie at `path` come with a forget set (`forget_idx.npy` of the starting kit) or with persons (a
    table of faces), the forget rule uses them. Raises `InputError` for another name.
    """
    kind = name.partition(":")[0]
    if name not in DATASETS and not (kind in DATASETS and DATASETS[kind].path_in_name):
        raise InputError(unknown_name("task", name, DATASETS))
    known = BUILT_IN.get(name, {})
    images = {"data": name, "path": path, **known.get("images", {})}
    if name == "cifar10" and path is not None and kit_lies_in(path):
        images["forget"] = "kit"
    if name == "faces-age" and path is not None and has_persons(path):
        images["forget"] = "person:0.02"
    return ClassifierTask.read({**known, "images": images}, where=f"task {name}")


BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    # few images and many epochs: single images are remembered, and a training takes half a second
    "digits": {
        "images": {"forget": "random:0.08", "limit": 700},
        "network": {"network": "small-conv", "width": 12},
        "recipe": {"epochs": 15, "learning_rate": 5e-3, "weight_decay": 0.0, "class_weights": False},
    },
    "faces-age": {"images": {"forget": "random:0.02"}},
    "casia-surf": {"images": {"forget": "person:15"}},
    # the starting kit's; how many epochs its original was trained for is not known
    "cifar10": {
        "images": {"forget": "random:0.1"},
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


def new_classifier(task: ClassifierTask, data: Dataset, seed: int) -> Classifier:
    """A network of the task before its training, fresh or the base, in evaluation mode; it takes raw values 0..255 and
    normalises them itself. The head of a base with other classes is drawn anew. Raises `InputError` where a base takes
    other pictures.
    """
    from efface.classifiers.architecture import NetworkSettings
    from efface.classifiers.classifier import Classifier
    from efface.classifiers.heads import for_classes
    from efface.classifiers.networks import blocks_of, build

    if task.base is not None:
        base = base_of(task, task.base)
        asked, there = (task.images.side, task.images.colours), (base.image_size, base.channels)
        if there != asked:
            raise InputError(
                f"base: {task.base} takes pictures of {there[0]} px and {there[1]} channels, the task has {asked[0]} "
                f"px and {asked[1]} channels"
            )
        return for_classes(base, data.classes, seed).eval()
    normalisation = _normalisation(task, data)
    if not task.network.own:
        from efface.classifiers.factory_network import new

        return new(
            task.network.network,
            task.network.arguments,
            seed,
            classes=data.classes,
            image_size=task.images.side,
            channels=task.images.colours,
            normalisation=normalisation,
        )
    values = {"classes": len(data.classes), "channels": task.images.colours, "image_size": task.images.side}
    network = build(NetworkSettings.read({**task.network.as_dict(), **values}, where="network"), seed)
    return Classifier(
        network,
        classes=data.classes,
        image_size=task.images.side,
        channels=task.images.colours,
        normalisation=normalisation,
        blocks=blocks_of(network),
    )


def base_of(task: ClassifierTask, path: str) -> Classifier:
    """The task's base; code that builds the task's network builds it too."""
    from efface.classifiers import ClassifierSettings, load_classifier

    return load_classifier(
        ClassifierSettings(path=path, network=None if task.network.own else task.network.network)
    )


def _normalisation(task: ClassifierTask, data: Dataset) -> Normalisation:
    from efface.classifiers.classifier import Normalisation

    if task.normalisation == "raw":
        return Normalisation(1.0)
    if task.normalisation == "unit":
        return Normalisation(RAW_VALUES)
    if task.images.data == "cifar10" and task.images.colours == len(MEAN):
        return Normalisation(RAW_VALUES, MEAN, STD)
    count, total, squares = 0, 0, 0
    # whole numbers, so that the sums do not depend on which images are to be forgotten
    for images in (data.forget, data.retain):
        values = images.pixels.astype(np.int64)
        count += values[:, 0].size
        total = total + values.sum((0, 2, 3))
        squares = squares + (values**2).sum((0, 2, 3))
    mean = np.asarray(total) / count
    std = np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 1.0))
    return Normalisation(RAW_VALUES, tuple((mean / RAW_VALUES).tolist()), tuple((std / RAW_VALUES).tolist()))


DEFAULTS: Mapping[str, Mapping[str, JsonValue]] = {
    # of 15 epochs, where the competition's limit is a fifth of 30: about as many epochs, for which methods were made
    "faces-age": {"time_limit": 0.2},
    "casia-surf": {"time_limit": 0.2, "tuning": None},
    "cifar10": {"time_limit": 0.2},
}
"""Settings by the name of a task: the competition's limit, and no tuning on its own task, for which methods were made.

Digits have no limit: retraining takes fifteen epochs there, and default settings take up to nine."""


class ClassifierBench(BenchConfig):
    """A benchmark of methods that make classifiers forget."""

    kind: ClassVar[KindName] = "classifiers"
    headline: ClassVar[Setup] = "reuse-n-1"
    task_type: ClassVar[type[BenchTask]] = ClassifierTask
    tasks: Mapping[str, SerializeAsAny[ClassifierTask]] = Field(min_length=1, description="the tasks by name")
    models: int = Field(
        32, ge=8, description="N: unlearned models of an experiment; twice as many are retrained"
    )
    setups: tuple[Setup, ...] = Field(
        ("reuse-n-1", "reuse-n-n", "bootstrap"),
        description="which setups are compared; reuse-n-1 is always among them",
    )
    tuning: TuningSettings | None = Field(
        TuningSettings(), description="budget of tuning; null: default settings only"
    )

    @classmethod
    def task_from(cls, name: str, folder: str | None) -> ClassifierTask:
        return task_named(name, folder)

    @classmethod
    def defaults_of(cls, name: str) -> Mapping[str, JsonValue]:
        return DEFAULTS.get(name, {})

    @classmethod
    def method_of(cls, section: Section) -> tuple[ClassifierMethod, dict[str, JsonValue], list[str]]:
        return read_classifier_method(section), {}, []
