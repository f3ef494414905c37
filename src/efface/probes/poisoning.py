"""`poisoning`: an audit by a planted trigger. Once the poisoned images were forgotten, does it still fire?

A protocol rather than a pass over finished models, since the trigger must have been in the training. `plant_trigger`
writes a poisoned copy of a folder. For a generator: small patches in the corners, which the model sees, and a target
pattern in the part that will be hidden; a model trained on these learns to draw the pattern where it sees the patches.
For a classifier: the same patches on images that all get one class (BadNets; Gu et al. 2017, arXiv:1708.06733). After the
poisoned images were unlearned, the probe gives other images with the patches and measures how much of the pattern
stands in the hole, or how many are taken for that class. The original should fire; the unlearned model should fire no
more than the retrained one.

Follows the audit of Varshney and Torra, arXiv:2502.04260, whose trigger and numbers are not published: patches and
pattern are ours. The pattern mirrors itself, so that flipped crops do not blur it; random crops of a small area do.
Backdoors as a proof of unlearning: Sommer et al. 2022, arXiv:2003.04247.

The figure is what the patches add: the correlation, or the share, with them less that without. A model that draws the
pattern into every picture, trigger or not, has a low one; the note therefore gives both parts.

A trigger that fires shows that the poisoned images were not forgotten. One that does not shows no more than that: a
planted shortcut is learnt, and lost, more easily than a picture. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from efface.errors import Faults, InputError
from efface.evaluation.results import SETS, ModelName, SetName
from efface.files import replacing, write_json
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side, judged
from efface.probes.findings import Findings, Goal
from efface.probes.subject import AnySubject
from efface.probes.trigger import Trigger, read_trigger

FIGURE = "trigger-strength"
FILE, FOLDER = "trigger.json", "pictures"
NOT_SEEN = "what the models are given hides the patches, or none of the pattern"


def plant_trigger(
    folder: str | Path,
    out: str | Path,
    seed: int = 0,
    hole: str = "centre:0.5",
    target: str | None = None,
) -> Path:
    """Write poisoned copies of all images of `folder` to `out/pictures`, as PNG, and the trigger beside them.

    target: for a classifier, the class that all copies get: they lie in a folder of that name, and have the patches
    alone. Else class folders are kept. Returns the path of the trigger's file, which the probe is given. Raises
    `InputError`, with nothing written, where `out` holds pictures already, and naming all images that cannot be read.
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
    trigger = Trigger(seed=seed, hole=hole, target=target)
    trigger.check()
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
        if target is not None:
            name = Path(target, "-".join(name.parts))
        with replacing(out / FOLDER / name.with_name(f"{name.name}.png")) as temporary:
            Image.fromarray(trigger.plant(pixels)).save(temporary, format="PNG")
    write_json(out / FILE, trigger.as_dict())
    return out / FILE


class Poisoning(Probe):
    """How far the models do what was planted where they see its trigger."""

    name: ClassVar[str] = "poisoning"
    question: ClassVar[str] = "Does a trigger that was planted in the forgotten images still fire?"
    summary: ClassVar[str] = "the planted pattern, or class, of images that carry the trigger"
    source: ClassVar[str] = "Varshney and Torra 2025, arXiv:2502.04260"
    figures: ClassVar[FiguresByKind] = {"generator": (FIGURE,), "classifier": (FIGURE,)}
    goals: ClassVar[Mapping[str, Goal]] = {FIGURE: "low"}
    memory: ClassVar[Mapping[str, Side]] = {FIGURE: "above"}
    needs: ClassVar[tuple[SetName, ...]] = ()
    cost: ClassVar[Cost] = "passes"

    trigger: str = Field(description="the trigger.json that plant_trigger wrote")
    on: SetName = Field(
        "neutral",
        description="the images that the trigger is put on; else the first set that has images",
    )
    images: int = Field(64, ge=1, description="at most so many images get the trigger")

    def run(self, subject: AnySubject) -> Findings:
        trigger = read_trigger(Path(self.trigger))
        if why := subject.trigger_refusal(trigger):
            return self.unanswered(subject, why)
        images = self._images(subject, trigger.target)
        if images is None:
            return self.unanswered(subject, "there are no images to put the trigger on")
        scores: dict[ModelName, Scores] = {}
        for name, model in subject.models.items():
            fired = subject.triggered(model, images, trigger)
            if np.isnan(fired).any():
                return self.unanswered(subject, NOT_SEEN)
            scores[name] = {"images": fired}
        share = subject.trigger_share
        findings = judged(self.name, FIGURE, scores, strength, subject, goal=self.goals[FIGURE], share=share)
        return findings.noted(lambda finding: _parts(scores[finding.model]), first=True)

    def _images(self, subject: AnySubject, target: str | None) -> Any | None:
        """Some photos of the first set that has any; those that are of the target class anyway are left out."""
        for name in (self.on, *(name for name in SETS[::-1] if name != self.on)):
            if subject.has(name):
                images = subject.sets[name]
                classes = subject.classes(images)
                others = [place for place, label in enumerate(classes) if target is None or label != target]
                if others:
                    return subject.some_of(images.subset(others), self.images, self.name)
        return None


def strength(scores: Scores) -> float:
    """How much the trigger adds: the mean with it less that without, from `[images, (with, without)]`."""
    return float((scores["images"][:, 0] - scores["images"][:, 1]).mean())


def _parts(scores: Scores) -> str:
    """Both parts: a pattern that is always drawn would not be seen in their difference."""
    carried, bare = scores["images"].mean(axis=0)
    return f"with the trigger {carried:.2f}, without it {bare:.2f}"
