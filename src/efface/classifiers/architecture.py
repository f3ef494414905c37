"""How a classifier is named in a config, and the shape of a new one. Importing this module does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from efface.documents import read_object
from efface.factories import is_held, is_installed
from efface.settings import Settings, unknown_name
from efface.wording import counted

CONFIG = "config.json"
MODEL_TYPE: Literal["efface-classifier"] = "efface-classifier"
"""The `model_type` in the `config.json` of efface's own folders."""
BY_FACTORY: Literal["efface-classifier-by-factory"] = "efface-classifier-by-factory"
"""The same of folders with a network that other code builds."""
NetworkName = Literal["resnet18", "small-conv", "mlp"]
VoteKind = Literal["mean", "argmax"]


class ResNetShape(Settings):
    """What tells ResNets apart; a ResNet-18 by default."""

    stages: tuple[int, ...] = Field((2, 2, 2, 2), description="blocks of each stage")
    planes: int = Field(64, ge=1, description="channels of the first stage, doubled by each later one")
    inner: int | None = Field(
        None, ge=1, description="channels inside the first stage's bottleneck blocks; null: basic blocks"
    )
    groups: int = Field(1, ge=1, description="groups of their 3x3 convolutions")
    shortcut: Literal["convolution", "padding"] = Field(
        "convolution", description="where the shape changes: a 1x1 convolution, or zeros, without weights"
    )


RESNETS = ("resnet18", "resnet")


class NetworkSettings(Settings):
    """The shape of a classifier of efface's own."""

    network: Literal["resnet18", "small-conv", "mlp", "resnet"] = Field(
        description="resnet18, small-conv (three convolutions) or mlp (two hidden layers); resnet: any other ResNet"
    )
    classes: int = Field(ge=2, description="number of classes")
    channels: int = Field(3, ge=1, description="colour channels: 3, or 1 for grey pictures")
    image_size: int = Field(ge=1, description="side of the square input in pixels")
    width: int = Field(16, ge=1, description="small-conv: channels of the first block; mlp: hidden units")
    stem: Literal["imagenet", "cifar"] = Field(
        "imagenet",
        description="resnet18: 7x7 convolution and max-pooling, both of stride 2, or for small pictures one 3x3",
    )
    resnet: ResNetShape = Field(ResNetShape(), description="resnet: its shape")
    committee: int = Field(1, ge=1, description="members, which predict together")
    vote: VoteKind = Field(
        "mean", description="how a committee predicts: mean softmax, or argmax: shares of votes"
    )

    @model_validator(mode="after")
    def _only_what_the_network_has(self) -> Self:
        if self.network in RESNETS and self.width != type(self).model_fields["width"].default:
            raise ValueError(f"width: a {self.network} has none; leave it out, or choose small-conv or mlp")
        if self.network not in RESNETS and self.stem != type(self).model_fields["stem"].default:
            raise ValueError(f"stem: only a resnet18 has one, not a {self.network}")
        if self.network != "resnet" and self.resnet != ResNetShape():
            raise ValueError(f"resnet: only a resnet has a shape of its own, not a {self.network}")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> Any:
        foreign = (
            ("width",)
            if self.network == "resnet"
            else ("resnet", "width" if self.network == "resnet18" else "stem")
        )
        return {name: value for name, value in write(self).items() if name not in foreign}


def class_names(said: object) -> object:
    """Names of classes as they are written: in a list, as a count, or in a file with a name in each line.

    Raises `ValueError` for a file that cannot be read.

    >>> class_names(3)
    ('0', '1', '2')
    """
    if isinstance(said, int) and not isinstance(said, bool):
        return tuple(str(number) for number in range(said))
    if not isinstance(said, str):
        return said
    try:
        lines = Path(said).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{said}: {why}; give a list of names, a count, or a file with a name in each line"
        ) from None
    return tuple(line.strip() for line in lines if line.strip())


def _a_network(name: str) -> str:
    """The name of an own network, or of code that builds another one; raises `ValueError` for anything else."""
    if name not in get_args(NetworkName) and ":" not in name and not is_installed(name):
        raise ValueError(
            f"{unknown_name('network', name, get_args(NetworkName))}, or code of yours that builds one, as "
            "package.module:build"
        )
    return name


AnyNetwork = Annotated[str, AfterValidator(_a_network)]
"""A network of efface's own by name, or code that builds another one."""
ClassNames = Annotated[tuple[str, ...], BeforeValidator(class_names)]


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
    network: str | None = Field(
        None,
        description="code that builds the network: package.module:build, or an entry point of efface.networks",
    )
    arguments: dict[str, JsonValue] = Field({}, description="keyword arguments for that code")
    blocks: tuple[str, ...] | None = Field(
        None,
        description="parts of that network from input to output, by the names of its modules; the last is the head",
    )
    channels: Literal[1, 3] | None = Field(None, description="colour channels of that network; default: 3")
    classes: ClassNames | None = Field(
        None,
        description="the classes in the order of the logits: a list of names, a count, or a file with a name in each line",
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

    def beside(self, named: ClassifierSettings) -> ClassifierSettings:
        """This model as it stands beside the one that `named` names: code that the user named for that one may run for it.

        A saved folder tells the rest; a file of weights is of the same network.
        """
        code = named.path if is_held(named.path) else named.network
        if code is None or self.network is not None or is_held(self.path):
            return self
        if Path(self.path).is_file():
            said = {name: getattr(named, name) for name in SAID if getattr(self, name) in (None, {})}
            return self.model_copy(update={**said, "network": code})
        config = Path(self.path) / CONFIG
        saved = read_object(config) if config.is_file() else {}
        built_by = saved.get("network") or (code if is_held(code) else None)
        same = saved.get("model_type") == BY_FACTORY and built_by in (code, named.network)
        return self.model_copy(update={"network": code}) if same else self


SAID = ("arguments", "blocks", "channels", "classes", "image_size", "scale", "mean", "std")
"""What the settings say of a network that a file of its weights cannot."""


class SavedNormalisation(Settings):
    """How pictures are normalised, as written in efface's own folders."""

    scale: float = Field(gt=0, description="what values 0..255 are divided by")
    mean: tuple[float, ...] = Field(min_length=1, description="mean that is subtracted, by channel")
    std: tuple[float, ...] = Field(
        min_length=1, description="standard deviation that is divided by, by channel"
    )


class SavedByFactory(Settings):
    """The `config.json` of a folder with a network that other code builds; null where it was held in memory."""

    model_type: Literal["efface-classifier-by-factory"] = Field(
        BY_FACTORY, description="what tells the folder from others"
    )
    network: str | None = Field(description="the code, as in the section of a model; never run unasked")
    arguments: dict[str, JsonValue] = Field(description="keyword arguments for that code")
    classes: tuple[str, ...] = Field(description="names of the classes, in the order of the logits")
    image_size: int = Field(description="side in pixels of the pictures that it is shown")
    channels: Literal[1, 3] = Field(description="their colour channels")
    blocks: tuple[str, ...] = Field(description="its parts from input to output")
    normalisation: SavedNormalisation = Field(description="from values 0..255 to what the network is fed")


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
