"""Methods by name, and their sections in a config."""

from __future__ import annotations

import pytest

from efface.errors import InputError
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS, read_classifier_method, read_method
from efface.methods.classifier.fine_tune import FineTuneClassifier
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.methods.generator.fine_tune import FineTune


def test_the_built_in_methods() -> None:
    assert list(GENERATOR_METHODS.built_in) == [
        "encoder-noise",
        "max-loss",
        "noisy-label",
        "retain-label",
        "random-encoder",
        "gradient-ascent",
        "fresh-noise",
        "retain-answer",
        "fine-tune",
        "shrink-perturb",
        "epsilon-constrained",
        "decouple",
        "bargaining",
        "blank",
        "neighbour",
        "level",
        "unseen",
        "retrain",
    ]
    assert len(CLASSIFIER_METHODS.built_in) == 26


def test_the_kinds_may_share_a_name() -> None:
    assert GENERATOR_METHODS["fine-tune"] is FineTune
    assert CLASSIFIER_METHODS["fine-tune"] is FineTuneClassifier


def test_the_methods_that_drive_the_model_away() -> None:
    every = [*GENERATOR_METHODS.built_in.values(), *CLASSIFIER_METHODS.built_in.values()]
    assert {method.name for method in every if method.drives_away} == {
        "encoder-noise",
        "noisy-label",
        "fresh-noise",
        "random-encoder",
        "max-loss",
        "gradient-ascent",
        "epsilon-constrained",
        "bargaining",
        "decouple",
        "neg-grad-plus",
        "random-labels",
        "salun",
        "scrub",
        "bad-teacher",
    }


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown method 'encoder-nose'; did you mean 'encoder-noise'"):
        read_method({"name": "encoder-nose"})


def test_each_kind_has_a_default() -> None:
    assert read_classifier_method({}) == FineTuneClassifier()
    assert read_method({"alpha": 0.1}) == EncoderNoise(alpha=0.1)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"name": "encoder-noise", "alhpa": 1}, "unknown setting 'alhpa'; did you mean 'alpha'"),
        ({"name": "encoder-noise", "alpha": -1}, "alpha: Input should be greater than or equal to 0"),
        ({"name": "encoder-noise", "alpha": float("nan")}, "alpha: Input should be a finite number"),
        ({"name": "encoder-noise", "noise": "gaussian"}, "noise: Input should be 'standard-normal'"),
        ({"name": "encoder-noise", "norm": "l1"}, "norm: Input should be 'mse' or 'l2'"),
        ({"name": "fine-tune", "alpha": 1}, "unknown setting 'alpha'. Valid: none"),
    ],
)
def test_wrong_settings_are_refused_with_their_method(section: dict, told: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_method(section)
    assert f"method {section['name']} cannot be used" in str(refusal.value)
    assert told in str(refusal.value)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(InputError) as refusal:
        read_method({"alpha": -1, "norm": "l1", "extra": 1})
    assert len(refusal.value.problems) == 3


def test_a_method_of_the_other_kind_of_models_is_called_that() -> None:
    with pytest.raises(InputError, match="the method encoder-noise is for generators"):
        read_classifier_method({"name": "encoder-noise"})
