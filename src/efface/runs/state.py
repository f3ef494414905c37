"""What a run remembers of its finished parts, in `state.json`: one entry a part, typed like the record.

A part is finished once. Its entry holds what later parts and the record need of it, so that a run that was killed goes
on without doing it a second time.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from pydantic import Field

from efface.documents import Described
from efface.runs.config import RequestSettings
from efface.runs.record import (
    BaseFacts,
    ClassifierTraining,
    DeliveredFacts,
    EvaluationFacts,
    FirstStageTraining,
    FurtherFacts,
    GeneratorTraining,
    ImagesFacts,
    ModelFacts,
    ReferenceFacts,
    StatisticsFacts,
)


class RunPart(Described):
    """The entry of one part; `part` is its name in `state.json`."""

    part: ClassVar[str]


PartType = TypeVar("PartType", bound=RunPart)


class StartedPart(RunPart):
    """The run was started first; there before anything is finished."""

    part = "started"
    at: str = Field(description="when, UTC, ISO 8601")


class PreparedPart(RunPart):
    """Models and images are opened, and found to fit."""

    part = "preparation"
    seconds: float = Field(description="what it took")
    images: ImagesFacts = Field(description="the image sets")
    notes: list[str] = Field(description="sentences for the record")
    risks: list[str] = Field(default_factory=list, description="sentences for the record")
    before: ModelFacts | None = Field(None, description="the model that the run begins with")
    unlearned: ModelFacts | None = Field(None, description="of an evaluation, the model after unlearning")
    retrained: ReferenceFacts | None = Field(None, description="the reference model")
    yardstick: ModelFacts | None = Field(None, description="the second retrained model")
    request: RequestSettings | None = Field(None, description="what the operator stated, without names")
    substitute: str | None = Field(
        None, description="what was declared in the place of a reference, likewise"
    )
    base: BaseFacts | None = Field(None, description="the model from which one is trained on")
    like: str | None = Field(
        None, description="of a training, digest of the model that the new one is made like"
    )
    pairs: str | None = Field(None, description="keyed digest of which picture stands in for which image")
    limit_seconds: float | None = Field(None, description="the bound on a classifier's method")


class FurtherPart(RunPart):
    """Models that the method left on its way so far."""

    part = "path"
    models: dict[str, FurtherFacts] = Field(description="by name")


class TrainedPart(RunPart):
    """The delivered model is written."""

    part = "training"
    seconds: float = Field(description="what training took, over all starts")
    work: GeneratorTraining | ClassifierTraining = Field(description="how it was trained")
    first_stage: FirstStageTraining | None = Field(None, description="how a new tokenizer or VAE came about")
    statistics: StatisticsFacts | None = Field(None, description="running statistics of a classifier")
    risks: list[str] = Field(default_factory=list, description="further sentences for the record")
    notes: list[str] = Field(default_factory=list, description="where memory ended, for the record")
    after: DeliveredFacts = Field(description="the delivered model")


class EvaluatedPart(RunPart):
    """The result files are written."""

    part = "evaluation"
    seconds: float = Field(description="what measuring took")
    probing: float | None = Field(None, description="what probes and requirements took")
    facts: EvaluationFacts = Field(description="how models were measured")
    notes: list[str] = Field(default_factory=list, description="where memory ended, for the record")
    files: dict[str, str] = Field(description="digest of each result file, by name")


class RemovalPart(RunPart):
    """The working files that are to be removed are listed, at the end of the run and when it is purged later."""

    part = "removal"
    files: list[str] = Field(default_factory=list, description="their names")
    living_on: list[str] = Field(
        default_factory=list, description="those of them whose content has another name outside the run"
    )
