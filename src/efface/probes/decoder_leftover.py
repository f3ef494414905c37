"""`decoder-leftover`: most methods change the encoder alone. Does the decoder behind it still hold the images?

Two attacks on the hole that an unlearned encoder leaves. `encoder`: a fresh encoder is trained on retain images with
the decoder frozen, and asked about forget images; beside it the same with the retrained model's decoder. `probe`: a
linear map (ridge regression) from the model's features to those that its decoder was made for, fitted on retain images
and half of the neutral ones; the decoder then draws from the mapped features of forget images. A decoder of the
unlearned model was made for the original's features; the retrained model's was made for its own.

Follows the reviewers of Li et al. (ICLR 2024), who asked whether something could be got out of the unchanged decoder,
with linear probes as of Alain and Bengio 2016 (arXiv:1610.01644). One linear map serves all places of a feature map.
The probe reads the model's own loss, since a generator of several steps draws no picture from one set of features.

It cannot show that a decoder holds nothing: a fresh encoder that is trained for a few hundred steps is a poor one, and
a map that is not linear, or an encoder that has seen the forget images' context, may bring back more. A retrained
decoder that is worse or better at everything looks the same as a leftover: the note gives the figure on neutral images
that nothing was fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from efface.errors import InputError
from efface.evaluation.results import ModelName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side, judged
from efface.probes.findings import Finding, Findings, Goal
from efface.probes.subject import Values

if TYPE_CHECKING:
    from efface.images.items import ImageSet
    from efface.probes.generator_subject import GeneratorSubject

PROBE, ENCODER = "decoder-leftover-probe", "decoder-leftover-encoder"

Errors = Mapping[ModelName, Mapping[str, Values]]
"""By model and set, the log error of each image."""


class DecoderLeftover(Probe):
    """Attacks on the frozen decoder, by a linear probe and by a fresh encoder."""

    name: ClassVar[str] = "decoder-leftover"
    question: ClassVar[str] = "Can the forgotten images be had from the decoder?"
    summary: ClassVar[str] = "a linear probe, and a fresh encoder, in front of the frozen decoder"
    source: ClassVar[str] = "reviews of Li et al., ICLR 2024; linear probes: arXiv:1610.01644"
    needs_retrained: ClassVar[bool] = True
    figures: ClassVar[FiguresByKind] = {"generator": (PROBE, ENCODER)}
    goals: ClassVar[Mapping[str, Goal]] = {PROBE: "low", ENCODER: "low"}
    memory: ClassVar[Mapping[str, Side]] = {PROBE: "above", ENCODER: "above"}
    cost: ClassVar[Cost] = "training"

    train_on: Literal["retain", "neutral"] = Field(
        "retain", description="what the fresh encoder is trained on"
    )
    steps: int = Field(300, ge=1, description="steps of training of the fresh encoder")
    learning_rate: float | None = Field(
        1e-3, gt=0, description="peak learning rate of the fresh encoder; null for the run's own"
    )
    images: int = Field(64, ge=1, description="at most so many images of a set are measured, or fitted on")
    ridge: float = Field(
        1e-3,
        gt=0,
        description="penalty of the linear map for not being the identity, as a share of the features' mean variance",
    )

    def run(self, subject: GeneratorSubject) -> Findings:
        return self._by_probe(subject).join(self._by_encoder(subject))

    def _by_probe(self, subject: GeneratorSubject) -> Findings:
        from efface.probes.passes_decoder import linear_maps, mapped_errors

        neutral = self._some(subject, "neutral")
        fitted_on = self._some(subject, "retain").union(neutral.subset(range(0, len(neutral), 2)))
        # images that the map was fitted to are no control
        control = neutral.subset(range(1, len(neutral), 2)).without(fitted_on.ids)
        measured = [("forget", self._some(subject, "forget"))]
        if len(control):
            measured.append(("neutral", control))
        if not len(fitted_on):
            return self.unmeasured(subject, (PROBE,), "there are no retain and no neutral images")
        errors: dict[ModelName, dict[str, Values]] = {}
        for name, model in subject.models.items():
            # what a decoder was made for: the unlearned one for the original's features
            wanted = model if name == "retrained" else subject.models.get("original", model)
            maps = linear_maps(model, wanted, fitted_on, subject, self.ridge)
            errors[name] = {of: mapped_errors(model, maps, images, subject) for of, images in measured}
        return self._judged(subject, PROBE, errors)

    def _by_encoder(self, subject: GeneratorSubject) -> Findings:
        from efface.probes.passes_decoder import decoder_digest, with_fresh_encoder

        if not subject.has(self.train_on):
            return self.unmeasured(subject, (ENCODER,), f"there are no {self.train_on} images")
        errors: dict[ModelName, Mapping[str, Values]] = {}
        known: dict[str, ModelName] = {}
        for name, model in subject.models.items():
            # the outcome is a function of the decoder: none is trained twice
            same = known.setdefault(decoder_digest(model), name)
            if same != name:
                errors[name] = errors[same]
                continue
            try:
                fresh = with_fresh_encoder(model, subject)
            except InputError as refusal:
                return self.unmeasured(subject, (ENCODER,), str(refusal))
            subject.train(
                fresh,
                subject.sets[self.train_on],
                ENCODER,
                steps=self.steps,
                learning_rate=self.learning_rate,
                trained="encoder",
            )
            errors[name] = {of: subject.log_errors(fresh, images) for of, images in self._measured(subject)}
        return self._judged(subject, ENCODER, errors)

    def _some(self, subject: GeneratorSubject, name: Literal["forget", "retain", "neutral"]) -> ImageSet:
        from efface.images.items import ImageSet

        return subject.some_of(subject.sets.get(name, ImageSet()), self.images, self.name)

    def _measured(self, subject: GeneratorSubject) -> list[tuple[str, ImageSet]]:
        """The forget images; and, as a control, the neutral ones, unless the encoder is trained on them."""
        measured = [("forget", self._some(subject, "forget"))]
        if subject.has("neutral") and self.train_on != "neutral":
            measured.append(("neutral", self._some(subject, "neutral")))
        return measured

    def _judged(self, subject: GeneratorSubject, figure: str, errors: Errors) -> Findings:
        """How far each model's error lies below the retrained model's; the note says the same of neutral images."""
        scores = {
            model: {"forget": np.stack([given["forget"], errors["retrained"]["forget"]], axis=-1)}
            for model, given in errors.items()
        }

        def control(finding: Finding) -> str | None:
            if "neutral" not in errors[finding.model] or finding.model == "retrained":
                return None
            lies = float((errors["retrained"]["neutral"] - errors[finding.model]["neutral"]).mean())
            return f"on neutral images: {lies:.3f}"

        return judged(self.name, figure, scores, lead, subject, unit="nats", goal=self.goals[figure]).noted(
            control
        )


def lead(scores: Scores) -> float:
    """Mean of how far the log error lies below the reference's, from `[images, (own, reference)]`."""
    return float((scores["forget"][:, 1] - scores["forget"][:, 0]).mean())
