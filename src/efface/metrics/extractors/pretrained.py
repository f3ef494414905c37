"""CLIP and DINOv2 as feature extractors, from a local folder or the hub through transformers.

Weights are read from safetensors only, and no code of a model folder is run. Pictures are prepared
here, in torch, with size, mean and standard deviation of the model's own configuration, with one
difference: the whole picture is resized to the network's input, where the usual preparation resizes
the short side and crops the centre. A hole at the border would be cropped away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efface.errors import InputError
from efface.files import canonical_json
from efface.hub import HUB, NothingThere, source_of
from efface.metrics.inputs import check_images, resized


@dataclass(frozen=True)
class Preparation:
    """How pictures in [0, 1] become a network's input: resized (bicubic), then (x - mean) / std."""

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Preparation:
        """From an image processor's configuration; raises `KeyError` or `TypeError` if it lacks a part."""
        size = config["crop_size"] if config.get("do_center_crop", True) and config.get("crop_size") else None
        height, width = _height_and_width(size or config["size"])
        return cls(
            height, width, tuple(map(float, config["image_mean"])), tuple(map(float, config["image_std"]))
        )

    def __call__(self, images: Tensor) -> Tensor:
        pictures = resized(images.detach().float(), self.height, self.width, "bicubic")
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.std))
        return (pictures - mean) / std


class Clip:
    """Image embeddings of a CLIP model (Radford et al. 2021, arXiv:2103.00020), after its projection.

    `place` is a folder or `hub:owner/name`. Distances are not comparable with published FID.
    """

    def __init__(self, place: str) -> None:
        from transformers import CLIPModel

        self.name = f"clip:{_shown(place)}"
        self._network, self._prepare, self.digest = _loaded(CLIPModel, place, f"clip:{place}")
        self.dimension = int(self._network.config.projection_dim)
        self.comparable_to = only_with_itself(self.name)

    def features(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to float32 [B, dimension], not normalised."""
        check_images("images", images)
        with torch.no_grad():
            output = self._network.to(images.device).get_image_features(pixel_values=self._prepare(images))
        pooled: Tensor = output.pooler_output
        return pooled.float()


class Dinov2:
    """Class-token features of a DINOv2 model (Oquab et al. 2023, arXiv:2304.07193), after its last norm.

    `place` is a folder or `hub:owner/name`. Distances are not comparable with published FID.
    """

    def __init__(self, place: str) -> None:
        from transformers import Dinov2Model

        self.name = f"dinov2:{_shown(place)}"
        self._network, self._prepare, self.digest = _loaded(Dinov2Model, place, f"dinov2:{place}")
        self.dimension = int(self._network.config.hidden_size)
        self.comparable_to = only_with_itself(self.name)

    def features(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to float32 [B, dimension]."""
        check_images("images", images)
        with torch.no_grad():
            output = self._network.to(images.device)(pixel_values=self._prepare(images))
        pooled: Tensor = output.pooler_output
        return pooled.float()


def _loaded(model: Any, place: str, name: str) -> tuple[Any, Preparation, str]:
    """The frozen network, its preparation, and the digest over both."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        source = source_of(place)
        network, report = model.from_pretrained(
            source, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        config, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except NothingThere as error:
        raise InputError(f"feature extractor {name}: {error}") from None
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"feature extractor {name} cannot be loaded; it needs config.json, model.safetensors and "
            f"preprocessor_config.json: {reason}"
        ) from None
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"feature extractor {name}: {len(missing)} weights are missing, the first is '{missing[0]}'; "
            "this is the folder of another kind of model"
        )
    try:
        prepare = Preparation.of_config(config)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"feature extractor {name}: preprocessor_config.json must state size, image_mean and image_std, "
            f"reading it failed at {error}"
        ) from None
    network.eval().requires_grad_(False)
    return network, prepare, digest_of_network(network, prepare)


def digest_of_network(network: nn.Module, prepare: Preparation) -> str:
    """sha256 over the preparation and all weights by name: the same for a folder and its hub original."""
    digest = hashlib.sha256(canonical_json(asdict(prepare)).encode())
    for key, weight in sorted(network.state_dict().items()):
        digest.update(f"{key} {weight.dtype} {list(weight.shape)}".encode())
        digest.update(weight.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _height_and_width(size: int | Mapping[str, int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def only_with_itself(name: str) -> str:
    """What the distances of an extractor may be compared with."""
    return f"only with {name} distances of the same digest; not comparable with published FID"


def _shown(place: str) -> str:
    """A hub name as it is; of a folder only its last part, because results and records carry no paths."""
    return Path(place).name if Path(place).is_dir() else place.removeprefix(HUB)
