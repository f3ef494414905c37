"""The config: all faults at once, short forms, and a digest over what decides the result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from efface.errors import InputError
from efface.runs.config import StatedRequest, differences
from efface.runs.evaluate_config import EvaluateConfig
from efface.runs.train_config import TrainConfig
from efface.runs.unlearn_config import RunConfig

RUN: dict[str, Any] = {"model": "my-mae", "images": {"forget": ["cats"]}}


def problems_of(kind: type[RunConfig | TrainConfig | EvaluateConfig], values: Mapping[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        kind.from_values(values)
    return list(caught.value.problems)


def test_short_forms_are_sections() -> None:
    config = RunConfig.from_values({**RUN, "retrained": "other", "method": "fine-tune"})
    assert (config.model.path, config.method.name) == ("my-mae", "fine-tune")
    assert config.retrained is not None
    assert config.retrained.path == "other"


def test_a_method_brings_its_recommended_training_settings() -> None:
    ascent = RunConfig.from_values({**RUN, "method": "gradient-ascent", "training": {"steps": 3}})
    assert (ascent.training.steps, ascent.training.learning_rate) == (3, 1e-5)
    assert RunConfig.from_values(RUN).training.learning_rate == 5e-5


@pytest.mark.parametrize(
    ("measured", "asked", "trained"),
    [
        ("centre:0.5", None, "own-mask"),
        ("colour", None, "colour"),
        ("paired:drawings", None, "paired:drawings"),
        ("colour", "own-mask", "own-mask"),
        ("centre:0.5", "centre:0.25", "centre:0.25"),
    ],
)
def test_unlearning_hides_what_the_models_training_did_but_shows_a_condition_that_is_measured(
    measured: str, asked: str | None, trained: str
) -> None:
    training = {"training": {"corruption": asked}} if asked else {}
    assert RunConfig.from_values({**RUN, "corruption": measured, **training}).training.corruption == trained


def test_all_faults_of_all_sections_are_named_at_once() -> None:
    problems = problems_of(
        RunConfig,
        {
            "modell": "x",
            "images": {"forgett": ["cats"], "duplicates": "maybe"},
            "method": {"name": "encoder-noise", "alhpa": 1},
            "training": {"stpes": 3, "batch_size": 0},
            "corruption": "center:0.5",
            "evaluation": {"crops": 2},
            "budget": "soon",
        },
    )
    expected = [
        ("unknown setting 'modell'", "did you mean 'model'"),
        ("model: it is needed",),
        ("unknown setting 'images.forgett'", "did you mean 'forget'"),
        ("images.duplicates: ", "'maybe'"),
        ("method: unknown setting 'alhpa'", "did you mean 'alpha'"),
        ("training: unknown setting 'stpes'", "did you mean 'steps'"),
        ("training: batch_size: ", "got 0"),
        ("corruption: unknown corruption 'center'", "did you mean 'centre'"),
        ("unknown setting 'evaluation.crops'", "crops_per_image"),
        ("budget: budget 'soon': write it as 500steps",),
    ]
    assert len(problems) == len(expected), problems
    for parts in expected:
        assert any(all(part in problem for part in parts) for problem in problems), (parts, problems)


def test_an_unknown_method_is_refused_with_the_nearest_and_hides_no_other_fault() -> None:
    problems = problems_of(RunConfig, {**RUN, "method": "encoder-nois", "corruption": "nothing"})
    assert problems[0].startswith("method: unknown method 'encoder-nois'; did you mean 'encoder-noise'?")
    assert "corruption" in problems[1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": 5}, "method: give a name, or a section with a name, not 5"),
        ({"method": ["fine-tune"]}, "method: give a name"),
        ({"training": 7}, "training: give a section with settings, not 7"),
        ({"training": [1]}, "training: give a section"),
        ({"images": "cats"}, "images: "),
        ({"model": 5}, "model: "),
        ({"evaluation": None}, "evaluation: "),
    ],
)
def test_a_section_of_the_wrong_kind_is_a_fault_and_no_crash(values: dict[str, Any], said: str) -> None:
    problems = problems_of(RunConfig, {**RUN, **values})
    assert len(problems) == 1
    assert problems[0].startswith(said)


def test_a_training_config_names_all_its_faults_at_once() -> None:
    problems = problems_of(
        TrainConfig,
        {
            "architecture": {"image_size": 30, "hidden_size": 30, "decoder_hidden_size": 18},
            "training": {"steps": 0},
            "budget": "5 parsecs",
            "withuot": [],
        },
    )
    assert len(problems) == 7
    together = "\n".join(problems)
    for part in (
        "image_size 30 is not a multiple of patch_size 8",
        "hidden_size 30 is not a multiple of 4 and of its 4 heads",
        "decoder_hidden_size 18 is not a multiple of 4 and of its 4 heads",
        "training: steps: ",
        "budget '5 parsecs'",
        "images: it is needed",
        "'withuot'; did you mean 'without'",
    ):
        assert part in together


def test_an_evaluation_config_names_all_its_faults_at_once() -> None:
    problems = problems_of(EvaluateConfig, {"images": {}, "corruption": "x", "evaluation": {"resamples": 10}})
    assert [problem.split(":")[0] for problem in problems] == [
        "original",
        "corruption",
        "evaluation.resamples",
    ]


def test_the_digest_covers_what_decides_the_result_and_nothing_else() -> None:
    config = RunConfig.from_values(RUN)
    same = {**RUN, "keep_working_files": True, "with_pictures": True, "method": {"name": "encoder-noise"}}
    assert RunConfig.from_values(same).digest() == config.digest()
    for change in (
        {"seed": 1},
        {"training": {"steps": 9}},
        {"method": "fine-tune"},
        {"images": {"forget": ["x"]}},
    ):
        assert RunConfig.from_values({**RUN, **change}).digest() != config.digest()


def test_a_config_survives_its_own_file() -> None:
    config = RunConfig.from_values({**RUN, "request": {"received": "2026-01-02"}, "method": "noisy-label"})
    assert RunConfig.from_values(config.as_dict()).as_dict() == config.as_dict()
    assert config.as_dict()["method"]["name"] == "noisy-label"
    assert config.as_dict()["request"]["received"] == "2026-01-02"


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T23:30:00-05:00", "2026-01-02T23:30:00-05:00"),
        ("2026-01-02 23:30+0100", "2026-01-02T23:30:00+01:00"),
        ("2026-01-02T04:30:00Z", "2026-01-02T04:30:00Z"),
    ],
)
def test_when_a_request_came_in_is_kept_as_stated(stated: str, kept: str) -> None:
    config = RunConfig.from_values({**RUN, "request": {"received": stated}})
    assert config.as_dict()["request"]["received"] == kept
    assert RunConfig.from_values(config.as_dict()).request == config.request


@pytest.mark.parametrize(
    "stated", ["30.11.2026", "2026-02-30", "2026-01-02T10:00", "20260102", 20260102, 1.5, ""]
)
def test_a_date_that_can_be_misread_is_refused_with_the_form(stated: object) -> None:
    with pytest.raises(InputError, match=r"is no date; write 2026-11-30, or with time and zone"):
        RunConfig.from_values({**RUN, "request": {"received": stated}})


def test_a_request_cannot_have_come_in_in_the_future() -> None:
    now = datetime.now(UTC)
    for ahead in (now + timedelta(days=1, hours=1), (now + timedelta(days=3)).date()):
        with pytest.raises(InputError, match="is in the future"):
            RunConfig.from_values({**RUN, "request": {"received": ahead.isoformat()}})
        assert StatedRequest.model_validate({"received": ahead.isoformat()}).received == ahead
    tomorrow = now + timedelta(hours=23)  # somewhere it may be that day already
    for soon in (tomorrow, tomorrow.date()):
        RunConfig.from_values({**RUN, "request": {"received": soon.isoformat()}})


def test_differences_are_told_by_place() -> None:
    before = {"seed": 0, "method": {"name": "a", "alpha": 1}, "with_pictures": False}
    after = {"seed": 0, "method": {"name": "a", "alpha": 2, "norm": "l2"}, "with_pictures": True}
    assert differences(before, after) == ["method.alpha: 1 -> 2", "method.norm: None -> 'l2'"]
