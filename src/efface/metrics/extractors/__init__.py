"""Feature extractors: what turns images into vectors that a distance can be taken between.

A distance belongs to its extractor: numbers from two extractors say nothing about each other. So each
one carries a name and a digest of its exact definition, and a result row prints both. Nothing here
imports torch before `load_extractor` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from efface.errors import InputError
from efface.plugins import Registry
from efface.settings import unknown_name

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


@dataclass(frozen=True)
class Extractor:
    """What is known of a sort of extractor before it is opened.

    usage: how it is named in a config: `name`, or `name:` and a place. opens: `module:attribute` of what makes it, called
    with the place if `usage` has one; raises `InputError` for what cannot be opened.
    """

    name: str
    usage: str
    summary: str
    opens: str

    def load(self, place: str = "") -> FeatureExtractor:
        """Open it; raises `InputError` if it cannot be, or if a place is missing or too many."""
        if (":" in self.usage) != bool(place):
            given = f"{self.name}:{place}" if place else self.name
            raise InputError(f"feature extractor '{given}': write it as {self.usage}")
        module, _, attribute = self.opens.partition(":")
        make = getattr(import_module(module), attribute)
        return cast("FeatureExtractor", make(place) if place else make())


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
    "clip:PATH_OR_ID",
    "a folder or hub model of CLIP in the format of transformers, safetensors only",
    "efface.metrics.extractors.pretrained:Clip",
)
DINOV2 = Extractor(
    "dinov2",
    "dinov2:PATH_OR_ID",
    "a folder or hub model of DINOv2 in the format of transformers, safetensors only",
    "efface.metrics.extractors.pretrained:Dinov2",
)

EXTRACTORS: Registry[Extractor] = Registry(
    "feature extractor",
    "efface.extractors",
    Extractor,
    tuple(f"efface.metrics.extractors:{name}" for name in ("BUILT_IN", "INCEPTION", "CLIP", "DINOV2")),
)


def load_extractor(spec: str) -> FeatureExtractor:
    """The extractor named by `spec`, such as `built-in` or `clip:openai/clip-vit-base-patch32`.

    Raises `InputError` for an unknown one or one that cannot be loaded.
    """
    name, _, place = spec.partition(":")
    if name not in EXTRACTORS:
        raise InputError(unknown_name("feature extractor", spec, (one.usage for one in EXTRACTORS.values())))
    return EXTRACTORS[name].load(place)
