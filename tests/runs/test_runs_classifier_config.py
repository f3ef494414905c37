"""Configs of runs on classifiers: read strictly, and completed with what is noted beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efface.errors import InputError
from efface.jobs.kinds import names_classifier, read_config
from efface.methods.classifier.fine_tune import FineTuneClassifier
from efface.runs.config import differences
from efface.runs.recipes import noted_recipe
from efface.runs.train_config import ClassifierTrainConfig, TrainConfig
from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig, parse_time_limit


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As much of a classifier's folder as a config looks at."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "efface-classifier"}))
    (folder / "efface_training.json").write_text(json.dumps({"recipe": {"epochs": 7, "batch_size": 32}}))
    return folder


def values(model: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(model), "images": {"forget": ["a"]}, **more}


def test_the_model_decides_the_kind_of_the_config(model: Path, tmp_path: Path) -> None:
    assert isinstance(read_config("unlearn", values(model)), ClassifierRunConfig)
    (model / "config.json").write_text(json.dumps({"model_type": "vit_mae"}))
    assert isinstance(read_config("unlearn", values(model)), RunConfig)
    assert not names_classifier({"path": str(model)})
    # what cannot be read is left to the job, which names all faults of models and data together
    assert isinstance(read_config("unlearn", values(tmp_path / "nowhere")), RunConfig)


def test_a_training_is_of_a_classifier_if_it_names_one_or_is_like_one(model: Path) -> None:
    assert isinstance(read_config("train", {"images": "x", "classifier": "mlp"}), ClassifierTrainConfig)
    assert isinstance(read_config("train", {"images": "x", "like": str(model)}), ClassifierTrainConfig)
    assert isinstance(read_config("train", {"images": "x"}), TrainConfig)
    with pytest.raises(InputError, match="classifier, like or base: give one of them"):
        read_config("train", {"images": "x", "like": str(model), "classifier": "mlp"})
    with pytest.raises(InputError, match="with like, they are those of the model"):
        read_config("train", {"images": "x", "like": str(model), "architecture": {"image_size": 8}})


def test_the_recipe_is_the_one_noted_beside_the_model_with_the_configs_in_its_place(model: Path) -> None:
    config = read_config("unlearn", values(model, recipe={"epochs": 9}))
    assert isinstance(config, ClassifierRunConfig)
    assert (config.recipe.epochs, config.recipe.batch_size, config.recipe.optimizer) == (9, 32, "adam")
    assert noted_recipe(str(model))["epochs"] == 7
    assert noted_recipe("owner/name") == {}


def test_a_config_read_back_is_the_same(model: Path) -> None:
    config = ClassifierRunConfig.from_values(values(model, method="scrub", validation=["b"], budget="20%"))
    again = ClassifierRunConfig.from_values(config.as_dict())
    assert again == config
    assert again.digest() == config.digest()
    assert config.as_dict()["method"]["name"] == "scrub"
    other = ClassifierRunConfig.from_values(values(model, method="scrub", validation=["b"], budget="30%"))
    assert differences(config.as_dict(), other.as_dict()) == ["budget: '20%' -> '30%'"]


def test_keeping_working_files_does_not_decide_the_result(model: Path) -> None:
    kept = ClassifierRunConfig.from_values(values(model, keep_working_files=True))
    assert kept.digest() == ClassifierRunConfig.from_values(values(model)).digest()


def test_the_default_method_is_fine_tuning(model: Path) -> None:
    assert isinstance(ClassifierRunConfig.from_values(values(model)).method, FineTuneClassifier)


def test_every_fault_of_a_config_is_named_at_once(model: Path) -> None:
    wrong = values(
        model, method={"name": "scrubb"}, recipe={"epoch": 1}, budget="soon", statistics="drop", sede=1
    )
    with pytest.raises(InputError) as refused:
        read_config("unlearn", wrong)
    told = str(refused.value)
    assert "did you mean 'scrub'?" in told
    assert "recipe: unknown setting 'epoch'; did you mean 'epochs'?" in told
    assert "budget 'soon': write it as 90s, 10m, 1.5h, or 20% (of retraining)" in told
    assert "statistics: Input should be 'auto', 'keep' or 'recompute'" in told
    assert "unknown setting 'sede'; did you mean 'seed'?" in told


@pytest.mark.parametrize(
    ("text", "seconds", "share"),
    [("90s", 90, None), ("1.5h", 5400, None), ("20%", None, 0.2), (" 2.5 % ", None, 0.025)],
)
def test_bounds_on_time_are_read(text: str, seconds: float | None, share: float | None) -> None:
    limit = parse_time_limit(text)
    assert (limit.seconds, limit.share) == (seconds, pytest.approx(share) if share else None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("500steps", "follow from the method's epochs"),
        ("0%", "above 0"),
        ("0s", "write it"),
        ("5", "write it"),
    ],
)
def test_other_bounds_are_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_time_limit(text)
