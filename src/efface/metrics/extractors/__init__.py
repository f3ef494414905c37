"""Feature extractors: what turns images into vectors that a distance can be taken between.

A distance belongs to its extractor: numbers from two extractors say nothing about each other. So each
one carries a name and a digest of its exact definition, and a result row prints both. Nothing here
imports torch before `load_extractor` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from efface.errors import InputError
from efface.settings import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

SPECS = {
    "built-in": "built-in",
    "inception": "inception:PATH",
    "clip": "clip:PATH_OR_ID",
    "dinov2": "dinov2:PATH_OR_ID",
}


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


def load_extractor(spec: str) -> FeatureExtractor:
    """The extractor named by `spec`.

    | spec | extractor |
    |---|---|
    | `built-in` | a fixed filter bank; no download, no weights |
    | `inception:PATH` | a TorchScript file, such as NVIDIA's inception-2015-12-05.pt. TorchScript is a program: name only files that you trust |
    | `clip:PATH_OR_ID`, `dinov2:PATH_OR_ID` | a folder or hub model in the format of transformers, safetensors only |

    Raises `InputError` for an unknown spec or one that cannot be loaded.
    """  # noqa: E501 - a table row cannot be broken
    kind, _, place = spec.partition(":")
    if kind not in SPECS:
        raise InputError(unknown_name("feature extractor", spec, SPECS.values()))
    if (kind == "built-in") != (not place):
        raise InputError(f"feature extractor '{spec}': write it as {SPECS[kind]}")
    return _LOADERS[kind](place)


def _built_in(_: str) -> FeatureExtractor:
    from efface.metrics.extractors.filter_bank import FilterBank

    return FilterBank()


def _inception(path: str) -> FeatureExtractor:
    from efface.metrics.extractors.inception import TorchScriptInception

    return TorchScriptInception(path)


def _clip(place: str) -> FeatureExtractor:
    from efface.metrics.extractors.pretrained import Clip

    return Clip(place)


def _dinov2(place: str) -> FeatureExtractor:
    from efface.metrics.extractors.pretrained import Dinov2

    return Dinov2(place)


_LOADERS: dict[str, Callable[[str], FeatureExtractor]] = {
    "built-in": _built_in,
    "inception": _inception,
    "clip": _clip,
    "dinov2": _dinov2,
}
