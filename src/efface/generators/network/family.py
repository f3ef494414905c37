"""The family `network`: how any network from picture to picture is named, fed and read. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, PositiveFloat, PrivateAttr, model_validator

from efface.corruptions import parse_corruption
from efface.documents import read_object
from efface.errors import InputError
from efface.generators.families import Architecture, Family, ModelSettings
from efface.model_files import Contents
from efface.settings import Settings

MODEL_TYPE = "efface-network"
"""What stands in the `config.json` of a saved folder."""
CONFIG = "config.json"
PARTS = {
    "picture": "the corrupted picture",
    "mask": "1 where pixels are hidden, else 0",
    "known": "1 where pixels are known, else 0",
    "noise-level": "the noise's standard deviation, one number an image `[B, 1, 1, 1]`, in units of the value range",
    "noise-map": "the same for each pixel, `[B, 1, H, W]`",
}
"""What a network can be fed."""
INPUT = re.compile(r"(?:(?P<keyword>[^\W\d]\w*)=)?(?P<parts>[a-z-]+(?:\+[a-z-]+)*)")


def _an_input(text: str) -> str:
    match = INPUT.fullmatch(text)
    unknown = [part for part in match["parts"].split("+") if part not in PARTS] if match else [text]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: an input is one of {', '.join(PARTS)}, several joined by + as channels of one "
            "input, with keyword= before it where the network takes it by name"
        )
    if "noise-level" in text and "+" in text:
        raise ValueError("noise-level has no height and width to be joined with others: take noise-map")
    return text


def _a_corruption(text: str) -> str:
    try:
        corruption = parse_corruption(text)
    except InputError as error:
        raise ValueError("; ".join(error.problems)) from None
    if corruption.paired:
        raise ValueError(
            "what a network was trained with cannot name a place of paired pictures: leave it out"
        )
    return str(corruption)


class Use(Settings):
    """How a network is fed, read and cut; what its file cannot say of itself."""

    network: str | None = Field(
        None,
        description="what builds the network: package.module:build, installed or in the working directory, or the name "
        "of an entry point of the group efface.networks. Its code runs",
    )
    arguments: dict[str, JsonValue] = Field({}, description="keyword arguments of what builds the network")
    encoder: tuple[str, ...] = Field(
        (),
        description="modules or parameters of the network that are its encoder; default: what runs first, up to half of "
        "the parameters, which plan proposes",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="colour channels of its input: 3, or 1 for grey; default: what it takes"
    )
    value_range: tuple[float, float] = Field(
        (0.0, 1.0), description="what black and white are to the network, for example [0, 255] or [-1, 1]"
    )
    mean: tuple[float, ...] | None = Field(
        None, description="channel means that are taken from values in that range"
    )
    std: tuple[PositiveFloat, ...] | None = Field(
        None, description="channel standard deviations by which they are then divided"
    )
    output_range: tuple[float, float] | None = Field(
        None, description="what black and white are in its answer; default: as in its input"
    )
    output: str | int | None = Field(
        None, description="name or place of the picture among several outputs; default: the only picture"
    )
    condition: tuple[Annotated[str, AfterValidator(_an_input)], ...] = Field(
        ("picture",),
        min_length=1,
        description=f"its inputs in order: {', '.join(PARTS)}; joined by + they are channels of one input, as in "
        "picture+mask",
    )
    hidden_value: float = Field(
        0.5, ge=0, le=1, description="what stands in a hole: 0 black, 0.5 mid-grey, 1 white"
    )
    scale: int = Field(
        1,
        ge=1,
        description="of super-resolution: how often larger its answer is than the picture that it is fed",
    )
    loss: Literal["l1", "l2", "charbonnier"] = Field(
        "l1", description="the loss of its training, over what is to be restored"
    )
    trained_with: Annotated[str, AfterValidator(_a_corruption)] | None = Field(
        None,
        description="the corruption that it was trained to undo; default: downsample:SCALE of super-resolution, noise:25 "
        "where it is told the noise level, else not known, and the run's stands in",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Use:
        for name in ("value_range", "output_range"):
            low, high = getattr(self, name) or (0, 1)
            if not low < high:
                raise ValueError(f"{name}: give the value of black, then the larger one of white")
        for name in ("mean", "std"):
            if (numbers := getattr(self, name)) is not None and len(numbers) not in (1, 3):
                raise ValueError(f"{name}: give one number or three, not {len(numbers)}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean, std: give both of them or neither")
        if not any("picture" in text for text in self.condition):
            raise ValueError("condition: the network must be fed the picture")
        if self.scale > 1 and any(part in text for text in self.condition for part in ("mask", "known")):
            raise ValueError(
                "condition: a network that enlarges pictures fills no holes, so it is fed no mask"
            )
        return self

    @property
    def parts(self) -> set[str]:
        """What it is fed, of `PARTS`."""
        return {part for text in self.condition for part in text.rpartition("=")[2].split("+")}

    @property
    def own_corruption(self) -> str | None:
        """The corruption that it was trained to undo, as far as the settings tell."""
        if self.trained_with is not None:
            return self.trained_with
        if self.scale > 1:
            return f"downsample:{self.scale}"
        return "noise:25" if self.parts & {"noise-level", "noise-map"} else None


class NetworkSettings(Use, ModelSettings):
    """Where the weights of a network lie, and how it is built, fed, read and cut."""

    image_size: int | None = Field(
        None,
        ge=8,
        description="side of the square pictures that it answers with, in pixels; a saved folder tells it",
    )

    _assumed: str | None = PrivateAttr(None)
    """The corruption of a job, in the place of what nobody has said; neither saved nor recorded as the network's own."""

    @property
    def undoes(self) -> str | None:
        return self.own_corruption

    @property
    def assumed(self) -> str | None:
        """The corruption that stands in where nothing says what the network was trained to undo."""
        return self._assumed

    def under(self, corruption: str) -> Self:
        if self.undoes is not None or parse_corruption(corruption).paired:
            return self
        told = self.model_copy()
        told._assumed = corruption
        return told

    def beside(self, other: ModelSettings) -> Self:
        """Code that the user names for one model may run for the other, if that was built by it."""
        if self.network is not None or not isinstance(other, NetworkSettings) or other.network is None:
            return self
        config = Path(self.path) / CONFIG
        same = config.is_file() and read_object(config).get("network") == other.network
        return self.model_copy(update={"network": other.network}) if same else self


class NetworkArchitecture(Use, Architecture):
    """A network to be trained from scratch."""

    def faults(self) -> list[str]:
        """What does not fit together."""
        return [] if self.network else ["network: name what builds it, as package.module:build"]


def recognises(contents: Contents) -> bool:
    """A folder that efface saved; other files are told by the settings that name them."""
    return contents.config.get("model_type") == MODEL_TYPE


FAMILY = Family(
    name="network",
    summary="any torch network from picture to picture (model.network=package.module:build and a file of weights)",
    architecture=NetworkArchitecture,
    sizes={"tiny": {}},
    settings=NetworkSettings,
    module="efface.generators.network.checkpoint",
    recognises=recognises,
    named_by="network",
    training={"learning_rate": 1e-4, "weight_decay": 0.0},
)
