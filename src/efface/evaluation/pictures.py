"""What models restore of the first images of each set: the views of the evaluation, not chosen for their looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from efface.evaluation.results import MODELS, SETS, ModelName, SetName
from efface.images.items import ImageSet

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from efface.corruptions import Corruption
    from efface.evaluation.settings import EvaluationSettings
    from efface.generators.base import Generator
    from efface.images.cache import PixelCache
    from efface.training.data import Crops

BY_MODEL: dict[ModelName, str] = {
    "original": "by the original",
    "unlearned": "by the unlearned",
    "retrained": "by the retrained",
}


@dataclass
class RestoredPictures:
    """Rows of pictures of one set: each row the image, what a model sees, and what each model restores."""

    set_name: SetName
    columns: list[str]
    rows: list[list[Image]] = field(default_factory=list)


def restored(
    models: Mapping[ModelName, Generator],
    sets: Mapping[SetName, ImageSet],
    cache: PixelCache,
    corruption: Corruption,
    settings: EvaluationSettings,
    count: int,
    pairs: Mapping[str, str] | None = None,
) -> Iterator[RestoredPictures]:
    """The pictures of each set that is not empty: the first view of each of its first `count` images."""
    import torch

    from efface.evaluation.answers import view_batches
    from efface.memory import fitting

    order = [name for name in MODELS if name in models]
    if not order:
        raise ValueError("there is no model to restore anything")
    for model in models.values():
        model.eval()
    size = models[order[0]].image_size
    for set_name in SETS:
        images = sets.get(set_name, ImageSet())
        images = images.subset(range(min(count, len(images))))
        if not len(images):
            continue
        part = RestoredPictures(set_name, ["image", "what a model sees", *(BY_MODEL[name] for name in order)])

        def rows(crops: Crops) -> list[list[Image]]:
            with torch.inference_mode():
                columns = _columns([models[name] for name in order], crops, corruption, settings)
            first = [place for place, visit in enumerate(crops.draws.visits) if visit == 0]
            return [[_picture(column[place]) for column in columns] for place in first]

        batches = view_batches(images, cache, size, settings, pairs)
        part.rows += [row for some in fitting(batches, size, rows) for row in some]
        yield part


def _columns(
    models: list[Generator],
    crops: Crops,
    corruption: Corruption,
    settings: EvaluationSettings,
) -> list[Tensor]:
    """What stands in each column for one batch, `[B, 3, H, W]` each, in [0, 1]."""
    import torch

    columns: list[Tensor] = []
    for model in models:
        view = model.view(crops.images, corruption, crops.draws, condition=crops.conditions)
        if not columns:
            columns += [view.images, view.corrupted.condition]
        with torch.autocast(model.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            columns.append(model.restore(view, settings.sampler).float())
    return columns


def _picture(pixels: Tensor) -> Image:
    """`[3, H, W]` in [0, 1] as an RGB picture."""
    from PIL import Image

    array = pixels.detach().float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array)
