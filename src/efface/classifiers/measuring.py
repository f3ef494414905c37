"""What a classifier says of a set of images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from efface.classifiers.classifier import Classifier
from efface.images.labelled import LabelledImages

BATCH = 512


@torch.no_grad()
def logits_of(model: Classifier, images: LabelledImages, batch_size: int = BATCH) -> npt.NDArray[np.float32]:
    """Logits float32 `[images, classes]` in evaluation mode; the model is left in the mode that it was in."""
    device, before = next(model.parameters()).device, model.training
    model.eval()
    parts = [
        model(torch.from_numpy(np.ascontiguousarray(images.pixels[first : first + batch_size])).to(device))
        for first in range(0, len(images), batch_size)
    ]
    model.train(before)
    return torch.cat(parts).float().cpu().numpy() if parts else np.zeros((0, len(model.classes)), np.float32)
