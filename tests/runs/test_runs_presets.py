"""`preset: published`: written out when a config is built; what is given beside it wins, and is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efface.errors import InputError
from efface.generators.registry import FAMILIES
from efface.jobs.facts import method_facts
from efface.jobs.kinds import read_config
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.reports.facts import _method
from efface.runs.presets import as_published
from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig
from efface.training.settings import TrainingSettings

RELEASED = [family for family in FAMILIES.values() if family.release]


def config(family: str = "palette", **values: Any) -> RunConfig:
    model = {"path": "my-model", "family": family}
    return RunConfig.from_values(
        {"model": model, "images": {"forget": ["a"]}, "preset": "published", **values}
    )


@pytest.mark.parametrize("family", RELEASED, ids=lambda family: family.name)
def test_a_release_has_methods_that_there_are_with_settings_that_they_take(family: Any) -> None:
    assert list(family.release.methods) == [
        "encoder-noise", "max-loss", "noisy-label", "retain-label", "random-encoder",
    ]  # fmt: skip
    for name in family.release.methods:
        made = config(family.name, method=name)
        assert made.departures == []
        assert made.training.corruption != TrainingSettings().corruption
        assert isinstance(made.method, GENERATOR_METHODS[name])


def test_a_preset_is_written_out_in_the_config() -> None:
    made = config(method="max-loss").as_dict()
    assert made["preset"] == "published"
    assert made["method"] == {"name": "max-loss", "alpha": 0.1}
    training, evaluation = made["training"], made["evaluation"]
    assert (training["optimizer"], training["schedule"], training["weight_decay"]) == (
        "adam",
        "constant",
        0.0,
    )
    assert (training["epochs"], training["batch_size"], training["betas"]) == (3.0, 96, [0.9, 0.999])
    assert (training["corruption"], training["clip"], evaluation["sampler"]) == (
        "box-brush",
        None,
        "ancestral",
    )
    tokens = config("mage").as_dict()
    assert tokens["method"]["noise"] == "batch-matched"
    assert tokens["training"]["warmup"] == pytest.approx(5 / 6)
    assert config("mage", method="noisy-label").training.learning_rate == 2.5e-5


def test_what_is_given_beside_a_preset_wins_and_is_named() -> None:
    made = config(
        method={"name": "encoder-noise", "alpha": 0.5}, training={"steps": 60, "learning_rate": 5e-5}
    )
    assert (made.method.alpha, made.training.epochs) == (0.5, None)  # type: ignore[attr-defined]
    assert made.training.steps_on(10**6) == 60
    assert made.departures == [
        "method.alpha: 0.5 (published: 0.1)",
        "training.steps: 60 (published: 3 epochs)",
    ]
    again = RunConfig.from_values(made.as_dict())
    assert again == made
    assert again.departures == made.departures
    assert config(budget="10m").departures == ["budget: 10m"]


def test_record_and_page_name_the_preset_and_what_departs_from_it() -> None:
    facts = method_facts(config(training={"batch_size": 12}), "palette")
    assert (facts.preset, facts.departures) == ("published", ["training.batch_size: 12 (published: 96)"])
    lines = next(fact.lines for fact in _method(facts, None) if fact.term == "Its settings")
    assert lines[0] == "as published but for training.batch_size: 12 (published: 96)"
    assert as_published([]) == "as published"


def test_nothing_is_said_of_a_preset_that_was_not_asked_for() -> None:
    made = config(preset=None)
    assert "preset" not in made.as_dict()
    assert made.departures == []
    assert method_facts(made, "palette").preset is None


@pytest.mark.parametrize(
    ("method", "family", "said"),
    [
        ("noisy-label", "mage", "balanced batches"),
        ("noisy-label", "mae", "balanced batches; the form for masked autoencoders is ours"),
        ("max-loss", "palette", "balanced batches"),
        ("retain-label", "palette", "balanced batches"),
        ("retain-label", "mage", "balanced batches; two faults of the release are not reproduced"),
    ],
)
def test_only_deviations_on_the_runs_own_family_are_named(method: str, family: str, said: str) -> None:
    made = config(family, method=method, preset="published" if family != "mae" else None)
    assert method_facts(made, family).deviations == said


def test_families_of_deviations_exist() -> None:
    assert {family for method in GENERATOR_METHODS.values() for family in method.deviations_of} <= set(
        FAMILIES
    )


@pytest.mark.parametrize(
    ("family", "method", "said"),
    [
        (
            "palette",
            "blank",
            "blank is not in the release for palette models, which has encoder-noise, max-loss",
        ),
        ("mage", "fresh-noise", "fresh-noise is not in the release for mage models"),
        (
            "mae",
            "encoder-noise",
            "no released code that unlearns models of the family mae, only of mage and palette",
        ),
        (
            "latent-inpainting",
            "max-loss",
            "no released code that unlearns models of the family latent-inpainting",
        ),
    ],
)
def test_what_was_never_released_is_refused(family: str, method: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(family, method=method)


def test_a_model_of_which_nothing_is_known_has_no_preset(tmp_path: Path) -> None:
    nowhere = {"model": str(tmp_path / "nothing"), "images": {"forget": ["a"]}, "preset": "published"}
    with pytest.raises(InputError, match=r"of which family the model at .*nothing is cannot be told"):
        RunConfig.from_values(nowhere)
    with pytest.raises(InputError, match="preset"):
        config(preset="best")


def test_a_classifiers_defaults_are_the_published_settings_or_the_preset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "efface-classifier"}))
    common: dict[str, Any] = {"model": str(tmp_path), "images": {"forget": ["a"]}, "preset": "published"}
    for name, method in CLASSIFIER_METHODS.built_in.items():
        if not method.as_published:
            with pytest.raises(InputError, match=f"preset: {name} has no settings that were published"):
                read_config("unlearn", {**common, "method": name})
            continue
        made = read_config("unlearn", {**common, "method": name})
        assert isinstance(made, ClassifierRunConfig)
        assert made.departures == []
    changed = read_config("unlearn", {**common, "method": {"name": "kookmin", "epochs": 7}})
    assert isinstance(changed, ClassifierRunConfig)
    assert changed.departures == ["method.epochs: 7 (published: 5)"]
