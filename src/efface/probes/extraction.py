"""Can the forgotten image be drawn out of the model again?

The model is shown what was visible of a forgotten photo. Its output's distance to the photo's hidden part is divided by
the distance from that hidden part to the one most like it among all other images, in the same region: below 1 the output
is closer to the forgotten photo than any other image is, and an output below `threshold` is a near-copy. Diffusion
models and others that draw are asked at several seeds. After Carlini et al. (2023), "Extracting training data from
diffusion models", arXiv:2301.13188, whose distances are taken relative to the nearest training images as well.

Deviations: they sample from a caption and divide by half the mean distance of the output to its 50 nearest training
images; here the picture in question is known and the yardstick is the nearest other image to the truth, which does not
move with the output. Distances are root mean squared errors of pixels in the region.

It cannot show that a longer search would not succeed. Holes that anyone can guess (sky, a wall) give near-copies without
memory: read the share beside the retrained model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import SETS, ModelName
from efface.evaluation.settings import EvaluationSettings
from efface.images.items import ImageSet
from efface.probes.base import FLOOR, Cost, FiguresByKind, Probe, Scores, Side, judged, mean
from efface.probes.findings import Findings, Goal, Hit
from efface.probes.subject import Share, Values, once
from efface.randomness import key, numpy_draws

if TYPE_CHECKING:
    from torch import Tensor

    from efface.probes.generator_subject import GeneratorSubject


class Extraction(Probe):
    """Near-copies of forgotten photos among a model's outputs."""

    seeds: int = Field(4, ge=1, description="draws of each photo, where the model draws at random; else one")
    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of the distance to the nearest other image below which is a near-copy",
    )
    others: int = Field(
        2000, ge=1, description="other images among which the nearest is sought; more are drawn from"
    )

    name: ClassVar[str] = "extraction"
    question: ClassVar[str] = "Can the forgotten image be drawn out of the model again?"
    summary: ClassVar[str] = "near-copies of forgotten images among outputs, at several seeds"
    source: ClassVar[str] = "Carlini et al. 2023, arXiv:2301.13188"
    cost: ClassVar[Cost] = "passes"
    figures: ClassVar[FiguresByKind] = {"generator": ("near-copies", "copy-distance")}
    goals: ClassVar[Mapping[str, Goal]] = {"near-copies": "low"}
    memory: ClassVar[Mapping[str, Side]] = {"near-copies": "above", "copy-distance": "below"}

    def run(self, subject: GeneratorSubject) -> Findings:
        images = subject.photos("forget")
        others = self._others(subject)
        if len(set(others.ids) | set(images.ids)) < 2:
            return self.unanswered(subject, "there is no other image to compare with")
        model = next(iter(subject.models.values()))
        draws = self.seeds if model.is_stochastic(subject.settings.sampler) else 1
        columns: dict[ModelName, list[Values]] = {name: [] for name in subject.models}
        for number in range(draws):
            for name, values in self._ratios(subject, images, others, number).items():
                columns[name].append(values)
        ratios = {name: np.stack(values, axis=1) for name, values in columns.items()}
        return self._findings(subject, images, ratios)

    def _findings(
        self, subject: GeneratorSubject, images: ImageSet, ratios: dict[ModelName, Values]
    ) -> Findings:
        draws = next(iter(ratios.values())).shape[1]
        copies: dict[ModelName, Scores] = {
            model: {"forget": (values < self.threshold).astype(np.float64)}
            for model, values in ratios.items()
        }
        nearest: dict[ModelName, Scores] = {
            model: {"forget": values.min(axis=1)} for model, values in ratios.items()
        }
        note = f"{draws} draws of each photo" if draws > 1 else "one draw of each photo"
        shares = judged(
            self.name,
            "near-copies",
            copies,
            mean("forget"),
            subject,
            goal=self.goals["near-copies"],
            note=note,
            share=Share(),
        )
        distances = judged(self.name, "copy-distance", nearest, geometric_mean, subject, note=note)
        hits: list[Hit] = []
        if "unlearned" in ratios:
            mine, reference = ratios["unlearned"].min(axis=1), subject.reference
            beside = ratios[reference].min(axis=1) if reference else None
            for place in np.argsort(mine, kind="stable")[: subject.settings.worst]:
                if mine[place] < self.threshold:
                    other = float(beside[place]) if beside is not None else None
                    hits.append(
                        Hit(self.name, "copy-distance", "forget", "image", images[int(place)].id,
                            float(mine[place]), other)
                    )  # fmt: skip
        return shares.join(distances).join(Findings(hits=tuple(hits)))

    def _others(self, subject: GeneratorSubject) -> ImageSet:
        """Images of all sets, each photo once, at most `others` of them."""
        together = [image for name in SETS for image in subject.sets.get(name, ())]
        everything = ImageSet(together)
        places = np.array(once(everything))
        chosen = numpy_draws(subject.seed, "extraction others").permutation(len(places))[: self.others]
        return everything.subset(places[np.sort(chosen)])

    def _ratios(
        self, subject: GeneratorSubject, images: ImageSet, others: ImageSet, number: int
    ) -> dict[ModelName, Values]:
        """Distance of the output over that of the nearest other image, `[photos]`, at one seed."""
        seed = subject.settings.seed if number == 0 else key(subject.seed, "extraction", number)
        settings = subject.settings.model_copy(update={"seed": seed, "crops_per_image": 1, "samples": 1})
        errors: dict[ModelName, list[Values]] = {model: [] for model in subject.models}
        truths: list[Tensor] = []
        regions: list[Tensor] = []
        first = next(iter(subject.models))
        name = f"extraction, draw {number + 1}"
        for restoration in subject.restorations(images, name=name, settings=settings):
            errors[restoration.model].append(restoration.errors())
            if restoration.model == first:
                truths.append(restoration.truth.cpu())
                regions.append(restoration.view.corrupted.region.cpu())
        gaps = _gaps(subject, images, others, truths, regions, settings)
        return {model: np.sqrt(np.concatenate(parts) / gaps) for model, parts in errors.items()}


def geometric_mean(scores: Scores) -> float:
    """Of `forget`; distances count as ratios."""
    return float(np.exp(np.log(np.maximum(scores["forget"], FLOOR)).mean()))


def _gaps(
    subject: GeneratorSubject,
    images: ImageSet,
    others: ImageSet,
    truths: list[Tensor],
    regions: list[Tensor],
    settings: EvaluationSettings,
) -> Values:
    """Mean squared error in the region between each image and the nearest of the others, `[images]`.

    `sum m (x - y)^2 = sum m x^2 - 2 (m x) . y + m . y^2`, so that batches of others are compared at once.
    """
    import torch

    from efface.evaluation.answers import view_batches

    truth = torch.cat(truths).double()
    mask = torch.cat(regions).double().expand_as(truth)
    masked, mask = (truth * mask).flatten(1), mask.flatten(1)
    own = (masked * truth.flatten(1)).sum(dim=1, keepdim=True)
    size = next(iter(subject.models.values())).image_size
    nearest = torch.full((len(truth),), torch.inf, dtype=torch.float64)
    ids = np.array(images.ids)
    for batch in view_batches(others, subject.cache, size, settings):
        rows = batch.images.double().div(255).flatten(1)
        squared = own - 2 * masked @ rows.T + mask @ rows.square().T
        same = torch.from_numpy(ids[:, None] == np.array(batch.draws.ids)[None])
        nearest = torch.minimum(nearest, squared.masked_fill(same, torch.inf).min(dim=1).values)
    gaps: Values = (nearest / mask.sum(dim=1)).clamp(min=FLOOR).numpy()
    return gaps
