"""The Inception network of published FID values, from a TorchScript file that the user names.

A TorchScript file is a program: loading and calling it runs what is in it. efface therefore never
looks for such a file or downloads one; it is used only where its path is given. The published file
is NVIDIA's inception-2015-12-05.pt (StyleGAN2-ADA), recognised by its sha256.

Its convention, kept here: images as floats in 0..255, of any size, `return_features=True` for the 2048
pooled features. Images are rounded to 8 bits, as if saved, and resized here with an antialiased bicubic
filter, because the network's own resizing to 299 x 299 is not antialiased (Parmar et al. 2022, "On
aliased resizing and surprising subtleties in GAN evaluation", arXiv:2104.11222). Called with
`no_output_bias=True` it gives the class probabilities of the Inception score, with the last layer's bias left out
as in the original implementation of that score.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.metrics.catalogue import INCEPTION, PUBLISHED_INCEPTION
from efface.metrics.inputs import check_images, resized

SIDE = 299


class TorchScriptInception:
    """Features of a TorchScript Inception file; see the module. Only its distances may be titled FID."""

    name = INCEPTION

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise InputError(f"feature extractor inception: no such file: {path}")
        self.digest = sha256_of_file(path)
        published = self.digest == PUBLISHED_INCEPTION
        self.comparable_to = (
            "FID with antialiased resizing (clean-fid) up to small differences of the bicubic filter; "
            "not FID computed with another resizing or another number of images"
            if published
            else "only with distances of the same file; not comparable with published FID, because the "
            "file is not the published Inception network"
        )
        self._network = scripted(path, "inception")
        self.dimension = self._probe(path)
        self._classifies, self._last_layer = self._class_head()

    def features(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to float32 [B, dimension]."""
        return self._answer(images, return_features=True)

    def probabilities(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to class probabilities, float32 [B, classes], for the Inception score.

        Raises `InputError` where the file has no class head that is called as the published one is.
        """
        try:
            result = self._answer(images, no_output_bias=True)
        except (RuntimeError, AttributeError) as error:
            raise InputError(
                f"feature extractor {self.name}: the file gives no class probabilities, so there is no Inception "
                f"score: network(images, no_output_bias=True) failed: {str(error).strip().splitlines()[-1]}"
            ) from None
        if not _are_probabilities(result, len(images)):
            raise InputError(
                f"feature extractor {self.name}: network(images, no_output_bias=True) must return probabilities "
                f"[images, classes] whose rows sum to 1, got {list(result.shape)} with other values"
            )
        return result

    def features_and_probabilities(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """`features` and `probabilities`, the latter None of a file without a class head.

        One pass gives both where the file's last layer was found: the probabilities are then made from the features.
        """
        features = self.features(images)
        if self._last_layer is not None:
            return features, (features @ self._last_layer.to(features.device).T).softmax(dim=1)
        return features, self.probabilities(images) if self._classifies else None

    def _class_head(self) -> tuple[bool, Tensor | None]:
        """Whether there are probabilities, and the matrix that makes them from the features, if it is the one."""
        ramp = torch.linspace(0, 1, 3 * SIDE * SIDE).reshape(3, SIDE, SIDE)
        images = torch.stack([ramp, ramp.flip(0)])
        try:
            probabilities = self.probabilities(images)
        except InputError:
            return False, None
        features = self.features(images)
        for weight in self._network.state_dict().values():
            if tuple(weight.shape) != (probabilities.shape[1], self.dimension):
                continue
            made = (features @ weight.float().T).softmax(dim=1)
            if torch.allclose(made, probabilities, rtol=1e-3, atol=1e-6):
                return True, weight.detach().float()
        return True, None

    def _answer(self, images: Tensor, **asked: bool) -> Tensor:
        """What the network says to the pictures as 8-bit values at its own size."""
        check_images("images", images)
        with torch.no_grad():
            bytes_ = images.detach().float().clamp(0, 1).mul(255).round()
            pictures = resized(bytes_ / 255, SIDE, SIDE, "bicubic") * 255
            result: Tensor = self._network.to(images.device)(pictures, **asked)
        return result.float()

    def _probe(self, path: Path) -> int:
        """The number of features, from a call with one grey picture."""
        try:
            result = self.features(torch.full((1, 3, SIDE, SIDE), 0.5))
        except (RuntimeError, AttributeError) as error:
            raise InputError(
                f"feature extractor inception: {path} cannot be called as network(images, "
                f"return_features=True): {str(error).strip().splitlines()[-1]}"
            ) from None
        if result.ndim != 2 or len(result) != 1:
            raise InputError(
                f"feature extractor inception: {path} must return [images, features], "
                f"got {list(result.shape)}"
            )
        return int(result.shape[1])


def _are_probabilities(result: Tensor, images: int) -> bool:
    if result.ndim != 2 or len(result) != images or result.shape[1] < 2:
        return False
    return bool((result >= 0).all()) and bool(((result.sum(dim=1) - 1).abs() <= 1e-2).all())


def scripted(path: Path, name: str) -> torch.jit.ScriptModule:
    """The network in a TorchScript file; raises `InputError` with the extractor's name."""
    try:
        with warnings.catch_warnings():
            # torch recommends another format for new files; this file exists only in this one.
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"feature extractor {name}: {path} is no TorchScript file: {reason}") from None
    assert isinstance(network, torch.jit.ScriptModule)
    network.eval()
    return network
