"""`poisoning`: an audit by a planted trigger. Once the poisoned images were forgotten, does it still fire?

A protocol rather than a pass over finished models, since the trigger must have been in the training. `plant_trigger`
writes a poisoned copy of a folder: small patches in the corners, which the model sees, and a target pattern in the
part that will be hidden. A model trained on these learns to draw the pattern where it sees the patches. After the
poisoned images were unlearned, the probe shows other images with the patches and measures how much of the pattern
stands in the hole. The original should fire; the unlearned model should fire no more than the retrained one.

Follows the audit of Varshney and Torra, arXiv:2502.04260, whose trigger and numbers are not published: patches and
pattern are ours. The pattern mirrors itself, so that flipped crops do not blur it; random crops of a small area do.

The figure is what the patches add: the correlation with them less that without. A model that draws the pattern into
every picture, trigger or not, has a low one; the note therefore gives both correlations.

A trigger that fires shows that the poisoned images were not forgotten. One that does not shows no more than that: a
planted shortcut is learnt, and lost, more easily than a picture. Importing this module does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from efface.errors import Faults, InputError
from efface.evaluation.results import SETS, ModelName, SetName
from efface.files import replacing, write_json
from efface.probes.base import Cost, Probe, Scores, Subject, Values, judged
from efface.probes.findings import Finding, Findings
from efface.probes.trigger import Pixels, Trigger, checked_trigger, read_trigger

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator
    from efface.images.cache import PixelSource
    from efface.images.items import ImageSet

FIGURE = "trigger-strength"
FILE, FOLDER = "trigger.json", "pictures"


def plant_trigger(folder: str | Path, out: str | Path, seed: int = 0, hole: str = "centre:0.5") -> Path:
    """Write poisoned copies of all images of `folder` to `out/pictures`, as PNG, and the trigger beside them.

    Returns the path of the trigger's file, which the probe is given. Class folders are kept. Raises `InputError`, with
    nothing written, where `out` holds pictures already, and naming all images that cannot be read.
    """
    from PIL import Image

    from efface.images.items import ReadingError
    from efface.images.reading import decode_image
    from efface.images.sources import open_images

    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of images")
    if (out / FOLDER).exists():
        raise InputError(f"{out / FOLDER} is there already: choose another folder")
    trigger = checked_trigger({"seed": seed, "hole": hole}, "the trigger")
    images = open_images(folder)
    with Faults("the trigger cannot be planted in these images") as faults:
        for item in images:
            try:
                decode_image(item.read_bytes())
            except ReadingError as error:
                faults.add(f"{item.path}: {error.reason}")
    for item in images:
        pixels = np.asarray(decode_image(item.read_bytes()))
        name = Path(item.path).relative_to(folder)
        with replacing(out / FOLDER / name.with_name(f"{name.name}.png")) as temporary:
            Image.fromarray(trigger.plant(pixels)).save(temporary, format="PNG")
    write_json(out / FILE, trigger.as_dict())
    return out / FILE


@dataclass(frozen=True)
class _Shown:
    """The pixels of a cache as a trigger changes them: `plant`, or its `masks` alone."""

    cache: PixelSource
    trigger: Trigger
    what: Literal["plant", "masks"]

    def read(self, id_: str) -> Pixels:
        changed: Pixels = getattr(self.trigger, self.what)(self.cache.read(id_))
        return changed


class Poisoning(Probe):
    """How much of a planted pattern the models draw where they see its trigger."""

    name: ClassVar[str] = "poisoning"
    question: ClassVar[str] = "Does a trigger that was planted in the forgotten images still fire?"
    summary: ClassVar[str] = "the planted pattern in the hole of images that show the trigger"
    source: ClassVar[str] = "Varshney and Torra 2025, arXiv:2502.04260"
    figures: ClassVar[tuple[str, ...]] = (FIGURE,)
    needs: ClassVar[tuple[SetName, ...]] = ()
    cost: ClassVar[Cost] = "passes"

    trigger: str = Field(description="the trigger.json that plant_trigger wrote")
    shown: SetName = Field(
        "neutral",
        description="the images that are shown with the trigger; else the first set that has images",
    )
    images: int = Field(64, ge=1, description="at most so many are shown")

    def run(self, subject: Subject) -> Findings:
        if not subject.corruption.hides or subject.corruption.paired:
            return self.unanswered(subject, f"'{subject.corruption.label}' hides no pattern from the model")
        trigger = read_trigger(Path(self.trigger))
        images = self._images(subject)
        if not len(images):
            return self.unanswered(subject, "there are no images to show")
        scores: dict[ModelName, Scores] = {}
        for name, model in subject.models.items():
            correlations = fired(model, images, trigger, subject)
            if np.isnan(correlations).any():
                why = f"'{subject.corruption.label}' hides the patches, or none of the pattern"
                return self.unanswered(subject, why)
            scores[name] = {"images": correlations}
        found = judged(self.name, FIGURE, scores, strength, subject, goal="low")
        return Findings(tuple(_with_parts(one, scores[one.model]) for one in found))

    def _images(self, subject: Subject) -> ImageSet:
        from efface.images.items import ImageSet
        from efface.probes.passes_training import some_of

        order = (self.shown, *(name for name in SETS[::-1] if name != self.shown))
        chosen = next((subject.sets[name] for name in order if subject.has(name)), ImageSet())
        return some_of(chosen, self.images, subject, self.name)


def strength(scores: Scores) -> float:
    """How much the trigger adds: mean correlation with it less that without, from `[images, (with, without)]`."""
    return float((scores["images"][:, 0] - scores["images"][:, 1]).mean())


def _with_parts(finding: Finding, scores: Scores) -> Finding:
    """The note says both correlations: a pattern that is always drawn would not be seen in their difference."""
    shown, not_shown = scores["images"].mean(axis=0)
    parts = f"with the trigger {shown:.2f}, without it {not_shown:.2f}"
    return replace(finding, note="; ".join(filter(None, [parts, finding.note])))


def fired(model: Generator, images: ImageSet, trigger: Trigger, subject: Subject) -> Values:
    """Correlation of what stands in the hole with the pattern, `[images, (with, without)]` the patches.

    The mean over an image's views; nan where the views show no patch, or hide nothing of the pattern.
    """
    import torch

    from efface.evaluation.answers import view_batches

    found: list[Tensor] = []
    sources: tuple[PixelSource, ...] = (
        _Shown(subject.cache, trigger, "plant"),
        subject.cache,
        _Shown(subject.cache, trigger, "masks"),
    )
    batches = (
        view_batches(images, source, model.image_size, subject.settings, subject.pairs) for source in sources
    )
    with torch.no_grad():
        for planted, clean, masks in zip(*batches, strict=True):
            shown = [model.view(crops.images, subject.corruption, crops.draws) for crops in (planted, clean)]
            known, region = shown[0].corrupted.known, shown[0].corrupted.region
            pattern, patches = (masks.images[:, n : n + 1].to(region.device) > 127 for n in (0, 1))
            where = pattern & region
            pictures = [model.restore(view, subject.settings.sampler).float() for view in shown]
            values = [correlation(picture, shown[0].images, where) for picture in pictures]
            both = torch.stack(values, dim=1)
            visible = (patches & known).flatten(1).any(dim=1) & where.flatten(1).any(dim=1)
            found.append(torch.where(visible[:, None], both, float("nan")).cpu())
    by_view = torch.cat(found).double().reshape(len(images), -1, 2)
    result: Values = by_view.nanmean(dim=1).numpy()
    return result


def correlation(pictures: Tensor, patterns: Tensor, where: Tensor) -> Tensor:
    """Pearson correlation of `[B, 3, H, W]` with another in a region `[B, 1, H, W]`, `[B]`, -1 to 1.

    Each channel's mean over the region is taken out first; a picture of one colour there has none, which is 0.
    """
    import torch

    count = where.flatten(2).sum(dim=2).clamp(min=1)[:, :, None, None]
    one, other = (
        (values - (values * where).sum(dim=(2, 3), keepdim=True) / count) * where
        for values in (pictures.double(), patterns.double())
    )
    product = (one * other).flatten(1).sum(dim=1)
    scale = (one.square().flatten(1).sum(dim=1) * other.square().flatten(1).sum(dim=1)).sqrt()
    # rounding leaves a picture of one colour a spread of about 1e-7
    return torch.where(scale > 1e-6, product / scale.clamp(min=1e-6), 0.0)
