"""How models are compared. Importing this module does not import torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from efface.images.crops import SCALE
from efface.metrics.extractors import ExtractorInput
from efface.metrics.intervals import Resampling
from efface.settings import Settings

CropShare = Annotated[float, Field(gt=0, le=1)]


class MeasuringSettings(Settings):
    """How figures of any kind of model are made."""

    seed: int = Field(0, description="seed of every draw of the evaluation, bootstrap included")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of all intervals")
    resamples: int = Field(2000, ge=200, description="bootstrap resamples")
    margin: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="of the verdict: share of the gap between original and retrained within which two models are alike",
    )
    ruin: float = Field(1.5, gt=0)
    worst: int = Field(10, ge=1, description="how many of the worst-hit images and classes are listed")

    @property
    def verdict_rule(self) -> str:
        """Margin and ruin in a sentence, for plans."""
        ruined = f"{'below' if self.ruin < 1 else 'above'} {self.ruin:g} times the original's figure"
        return (
            f"verdict: like the retrained model means within {self.margin:.0%} of the gap between original and retrained; "
            f"ruined means {ruined} on retain and neutral images"
        )

    @property
    def resampling(self) -> Resampling:
        """What functions of `metrics.intervals` are to be given."""
        return {"confidence": self.confidence, "resamples": self.resamples, "seed": self.seed}


class EvaluationSettings(MeasuringSettings):
    """For generators: which views of which images are measured, and with what."""

    extractor: str = Field(
        "built-in",
        description="features: built-in, natural, inception:FILE, clip:PLACE, dinov2:PLACE (a folder or hub:owner/name), "
        "torchscript:FILE or module:PACKAGE:BUILD",
    )
    similarity: str | None = Field(
        None,
        description="another extractor for feature_cosine alone, named as `extractor` is; default: that extractor",
    )
    extractor_input: ExtractorInput = Field(
        ExtractorInput(), description="how pictures are prepared for torchscript: and module:"
    )
    ruin: float = Field(
        1.5,
        gt=1,
        description="of the verdict: times the original's error from which on retain and neutral images are ruined",
    )
    crops_per_image: int = Field(
        1, ge=1, description="fixed views of each image: the central one, others as training crops at random"
    )
    crop_scale: tuple[CropShare, CropShare] | None = Field(
        None,
        description="share of an image's area that a view covers, smallest and largest; default: that of the crops with "
        "which the model was trained, or 0.2 and 1 where it does not say",
    )
    sampler: str | None = Field(
        None, description="how a generator of several steps draws, such as ddim:20; default: its family's own"
    )
    samples: int = Field(
        4,
        ge=1,
        description="answers to each view of a generator that draws them; one that does not gives one",
    )
    batch_size: int = Field(32, ge=1, description="views a batch")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="precision of the models' forward passes")

    def under(self, learnt: tuple[float, float] | None) -> Self:
        """These settings with the scale of the crops that a model learnt, unless they name one or it does not say."""
        return self if self.crop_scale or learnt is None else self.model_copy(update={"crop_scale": learnt})

    @property
    def scale(self) -> tuple[float, float]:
        """The share of an image's area that views cover, smallest and largest."""
        return self.crop_scale or SCALE

    @model_validator(mode="after")
    def _input_of_what_takes_one(self) -> Self:
        named = (self.extractor, self.similarity or "")
        given = self.extractor_input != ExtractorInput()
        if given and not any(text.startswith(("torchscript:", "module:")) for text in named):
            raise ValueError(
                "extractor_input: only torchscript:FILE and module:PACKAGE:BUILD take it; leave it out"
            )
        return self

    @field_validator("crop_scale")
    @classmethod
    def _in_order(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale and scale[0] > scale[1]:
            raise ValueError(f"the smallest share, {scale[0]:g}, is above the largest, {scale[1]:g}")
        return scale

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked_for(self, write: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        values: dict[str, JsonValue] = write(self)
        # runs and pools that were begun before these settings were there compare what they wrote with this
        if self.similarity is None:
            del values["similarity"]
        if self.extractor_input == ExtractorInput():
            del values["extractor_input"]
        return values


class ClassifierEvaluationSettings(MeasuringSettings):
    """For classifiers: every image is shown once, its centre square in the model's size."""

    ruin: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="of the verdict: share of the original's accuracy below which retain and neutral images are ruined",
    )
    batch_size: int = Field(256, ge=1, description="images a batch")
    attacks: bool = Field(
        True, description="try to tell forget images from neutral ones by the models' answers"
    )
