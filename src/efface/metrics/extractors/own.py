"""Feature networks of the user's own: a TorchScript file, or what an importable factory builds.

Either is called as `network(images)` on pictures prepared by size, mean and deviation, and gives `[images, dimensions]`.
Both are programs that run here, so they are used only where they are named. They are called by the digest of weights and
preparation, and by no name of their own: a distance says nothing beside one of another network.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from efface.errors import InputError
from efface.factories import build
from efface.files import canonical_json, sha256_of_bytes, sha256_of_file
from efface.metrics.extractors import ExtractorInput
from efface.metrics.extractors.inception import scripted
from efface.metrics.extractors.pretrained import Preparation, digest_of_network, only_with_itself
from efface.metrics.inputs import check_images


class _Own:
    """A frozen network from prepared pictures to vectors."""

    kind: str

    def __init__(self, network: nn.Module, digest: str, prepared: ExtractorInput, spec: str) -> None:
        self.digest, self.name = digest, f"{self.kind}-{digest[:8]}"
        self.comparable_to = only_with_itself(self.name)
        self._network = network.eval()
        self._prepare = preparation(prepared)
        self.dimension = self._probe(spec)

    def features(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to float32 [B, dimension]."""
        check_images("images", images)
        with torch.no_grad():
            result: Tensor = self._network.to(images.device)(self._prepare(images))
        return result.float()

    def _probe(self, spec: str) -> int:
        """The number of dimensions, from a call with two grey pictures."""
        try:
            result = self.features(torch.full((2, 3, 64, 64), 0.5))
        # whatever other people's code may raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise InputError(
                f"feature extractor {spec} cannot be called as network(images): {reason}"
            ) from None
        if result.ndim != 2 or len(result) != 2:
            raise InputError(
                f"feature extractor {spec} must give [images, dimensions], got {list(result.shape)} for 2"
            )
        return int(result.shape[1])


class TorchScript(_Own):
    """Features of a TorchScript file; its digest is that of the file and the preparation."""

    kind = "torchscript"

    def __init__(self, place: str, prepared: ExtractorInput) -> None:
        spec = f"{self.kind}:{Path(place).name}"
        if not Path(place).is_file():
            raise InputError(f"feature extractor {spec}: no such file: {place}")
        parts = [sha256_of_file(Path(place)), prepared.as_dict()]
        super().__init__(
            scripted(Path(place), spec), sha256_of_bytes(canonical_json(parts).encode()), prepared, spec
        )


class Module(_Own):
    """Features of a network that a factory builds, with its weights; its digest is that of weights and preparation."""

    kind = "module"

    def __init__(self, place: str, prepared: ExtractorInput) -> None:
        network = build(place, {}).eval()
        digest = digest_of_network(network, preparation(prepared))
        super().__init__(network, digest, prepared, f"{self.kind}:{place}")


def preparation(prepared: ExtractorInput) -> Preparation:
    """The settings as what is done with pictures."""
    return Preparation(prepared.size, prepared.size, prepared.mean, prepared.deviation)
