"""Runs of every family: a tiny model of 32 px trained from scratch, and settings for a few steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.generators.registry import FAMILIES
from efface.jobs.run import RunResult
from efface.runs.record import ModelFacts
from support.families import SAMPLERS, SHAPES
from support.run_fixtures import charts_left_empty

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mae": {
        "image_size": 32, "hidden_size": 32, "layers": 1, "heads": 2, "decoder_hidden_size": 32, "decoder_layers": 1,
        "decoder_heads": 2,
    },
    **SHAPES,
}  # fmt: skip
STORIES = [family for family in SAMPLERS if family != "network"]
"""A network's code is named wherever one of its folders is opened, so its runs have tests of their own."""
WITH_FIRST_STAGE = ("mage", "latent-inpainting")
FEW: dict[str, Any] = {
    "steps": 3,
    "batch_size": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "precision": "fp32",
    "threads": 1,
}
UNLEARNING: dict[str, Any] = {**FEW, "batch_size": 4, "learning_rate": 2e-2}
CATS: dict[str, Any] = {"forget": "label:cats", "neutral": "label:birds"}
OTHER_HOLE = "rectangle:0.25,0.25,0.5,0.25"


def trained(photos: Path, out: Path, family: str, **settings: Any) -> RunResult:
    """A model of this family after three steps on all photos but the birds; `like` takes its shape from another."""
    own: dict[str, Any] = {"training": FEW, "neutral": "label:birds"}
    if FAMILIES[family].first_stage is not None:
        own["first_stage"] = FEW
    if "like" not in settings:
        own |= {"generator": family, "architecture": ARCHITECTURES[family]}
    return efface.train(photos, out=out, **{**own, **settings})


def from_base(
    family: str, base: Path, photos: Path, folder: Path, **code: Any
) -> tuple[RunResult, RunResult]:
    """A model trained on from a base that left the cats out, so that it does too, and one retrained from it in fewer steps.

    code: what builds a network.
    """
    given = {"path": str(base), **code}
    tuned = efface.train(photos, base=given, neutral="label:birds", out=folder / "tuned", training=FEW)
    retrained = efface.unlearn(
        {"path": str(tuned.model), **code}, images=photos, base=given, method="retrain", out=folder / "retrained",
        training={**FEW, "steps": 2}, evaluation=evaluation(family), **CATS,
    )  # fmt: skip
    return tuned, retrained


def evaluation(family: str, number: int = 0) -> dict[str, Any]:
    return {"resamples": 200, "sampler": SAMPLERS[family][number], "samples": 2}


def first_stage(facts: ModelFacts) -> str | None:
    """The digest of the first stage in a model's facts."""
    assert facts.description.first_stage is not None
    return facts.description.first_stage.weights


@dataclass(frozen=True)
class FamilyStory:
    """What became of one family: a model, its reference, the unlearned model, and a second evaluation."""

    family: str
    original: RunResult
    reference: RunResult
    run: RunResult
    evaluated: RunResult

    @property
    def runs(self) -> tuple[Path, ...]:
        return tuple(one.run for one in (self.original, self.reference, self.run, self.evaluated))


def story_of(family: str, photos: Path, folder: Path) -> FamilyStory:
    original = trained(photos, folder / "original", family)
    reference = trained(photos, folder / "reference", family, like=original.model, without="label:cats")
    run = efface.unlearn(
        original.model, images=photos, retrained=reference.model, out=folder / "unlearned", training=UNLEARNING,
        evaluation=evaluation(family), **CATS,
    )  # fmt: skip
    evaluated = efface.evaluate(
        original.model, run.model, retrained=reference.model, images=photos, out=folder / "evaluated",
        corruption=OTHER_HOLE, evaluation=evaluation(family, 1), **CATS,
    )  # fmt: skip
    return FamilyStory(family, original, reference, run, evaluated)


@pytest.fixture(scope="session")
def stories(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FamilyStory]:
    """Their pages are drawn where pages are tested, and there once more from the same records."""
    folder = tmp_path_factory.mktemp("families")
    with charts_left_empty():
        return {family: story_of(family, photos, folder / family) for family in STORIES}
