"""How a classifier is named in a config, and the shape of a new one. Importing this module does not import torch."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from efface.settings import Settings
from efface.wording import counted

MODEL_TYPE: Literal["efface-classifier"] = "efface-classifier"
"""The `model_type` in the `config.json` of efface's own folders."""
NetworkName = Literal["resnet18", "small-conv", "mlp"]
VoteKind = Literal["mean", "argmax"]


class NetworkSettings(Settings):
    """The shape of a classifier of efface's own."""

    network: NetworkName = Field(
        description="resnet18, small-conv (three convolutions) or mlp (two hidden layers)"
    )
    classes: int = Field(ge=2, description="number of classes")
    channels: int = Field(3, ge=1, description="colour channels: 3, or 1 for grey pictures")
    image_size: int = Field(ge=1, description="side of the square input in pixels")
    width: int = Field(16, ge=1, description="small-conv: channels of the first block; mlp: hidden units")
    stem: Literal["imagenet", "cifar"] = Field(
        "imagenet",
        description="resnet18: 7x7 convolution and max-pooling, both of stride 2, or for small pictures one 3x3",
    )
    committee: int = Field(1, ge=1, description="members, which predict together")
    vote: VoteKind = Field(
        "mean", description="how a committee predicts: mean softmax, or argmax: shares of votes"
    )

    @model_validator(mode="after")
    def _only_what_the_network_has(self) -> Self:
        if self.network == "resnet18" and self.width != type(self).model_fields["width"].default:
            raise ValueError("width: a resnet18 has none; leave it out, or choose small-conv or mlp")
        if self.network != "resnet18" and self.stem != type(self).model_fields["stem"].default:
            raise ValueError(f"stem: only a resnet18 has one, not a {self.network}")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> Any:
        foreign = "width" if self.network == "resnet18" else "stem"
        return {name: value for name, value in write(self).items() if name != foreign}


class ClassifierSettings(Settings):
    """Where a trained classifier lies, and what its file cannot say of itself.

    A picture's values 0..255 become `(x / scale - mean) / std` before the network sees them.
    """

    path: str = Field(
        description="a folder saved by efface, transformers or timm, hub:owner/name, or a file of weights"
    )
    revision: str | None = Field(None, description="the hub revision (a commit hash pins the weights)")
    base: str | None = Field(
        None,
        description="the model that a LoRA adapter, given as the path, was trained for; default: as peft noted",
    )
    variant: str | None = Field(
        None,
        description="which files of a folder that holds several, such as fp16; default: plain ones, or the only ones",
    )
    entry: str | None = Field(
        None, description="which weights of a file that holds several, such as plain and averaged ones (EMA)"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="names of the classes, in the order of the logits"
    )
    image_size: int | None = Field(None, ge=1, description="side in pixels of the pictures that it is shown")
    scale: float | None = Field(
        None, gt=0, description="what values 0..255 are divided by: 255, or 1 for raw values"
    )
    mean: tuple[float, ...] | None = Field(None, description="mean that is subtracted, by channel")
    std: tuple[float, ...] | None = Field(
        None, description="standard deviation that is divided by, by channel"
    )

    @model_validator(mode="after")
    def _both_moments(self) -> Self:
        if (self.mean is None) != (self.std is None):
            given, left_out = ("std", "mean") if self.mean is None else ("mean", "std")
            raise ValueError(f"{left_out}: it is needed beside {given}")
        return self


class SavedNormalisation(Settings):
    """How pictures are normalised, as written in efface's own folders."""

    scale: float = Field(gt=0, description="what values 0..255 are divided by")
    mean: tuple[float, ...] = Field(min_length=1, description="mean that is subtracted, by channel")
    std: tuple[float, ...] = Field(
        min_length=1, description="standard deviation that is divided by, by channel"
    )


class SavedClassifier(Settings):
    """The `config.json` of a classifier folder of efface's own."""

    model_type: Literal["efface-classifier"] = Field(
        MODEL_TYPE, description="what tells the folder from others"
    )
    network: NetworkSettings = Field(description="the network whose weights lie in model.safetensors")
    classes: tuple[str, ...] = Field(description="names of the classes, in the order of the logits")
    normalisation: SavedNormalisation = Field(description="from values 0..255 to what the network is fed")

    @model_validator(mode="after")
    def _a_name_for_each_class(self) -> Self:
        if len(self.classes) != self.network.classes:
            raise ValueError(
                f"classes: {counted(len(self.classes), 'name')} for {self.network.classes} classes"
            )
        return self
