"""Configs of several families: each brings its own fields, and what belongs to another one is said to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import efface
from efface.errors import InputError
from efface.generators.base import Generator
from efface.generators.families import ModelSettings
from efface.generators.registry import FAMILIES, family_of
from efface.jobs.generator import new_generator
from efface.runs.train_config import TrainConfig
from efface.runs.unlearn_config import RunConfig
from support.family_runs import ARCHITECTURES
from support.tiny_models import tiny


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained model of every family in its own format."""
    folder = tmp_path_factory.mktemp("untrained")
    for name, family in FAMILIES.items():
        made: Generator = family.new(family.architecture.read(ARCHITECTURES[name]), 0)
        made.save_pretrained(folder / name)
    return {name: folder / name for name in FAMILIES}


CODE: dict[str, dict[str, str]] = {"network": {"network": "support.networks:unet"}}
"""What has to be named beside the files of a family."""


def training(**values: Any) -> TrainConfig:
    return TrainConfig.from_values({"images": "photos", **values})


def problems_of(**values: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        training(**values)
    return list(caught.value.problems)


# the architecture of a new model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_brings_its_own_fields(family: str) -> None:
    config = training(generator=family, architecture=ARCHITECTURES[family])
    assert config.generator == family
    assert type(config.architecture) is FAMILIES[family].architecture
    for name, value in ARCHITECTURES[family].items():
        assert getattr(config.architecture, name) == value


def test_without_a_name_the_new_model_is_a_masked_autoencoder() -> None:
    config = training(architecture={"patch_size": 8})
    assert config.generator == "mae"


@pytest.mark.parametrize(
    ("family", "field", "hint"),
    [
        ("mage", "codebook_sise", "codebook_size"),
        ("palette", "inner_chanels", "inner_channels"),
        ("latent-inpainting", "vae_chanels", "vae_channels"),
        ("mae", "patch_sise", "patch_size"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest(family: str, field: str, hint: str) -> None:
    problems = problems_of(generator=family, architecture={field: 8})
    assert len(problems) == 1
    assert problems[0].startswith(f"architecture: unknown setting '{field}'; did you mean '{hint}'")


@pytest.mark.parametrize(
    ("family", "field"),
    [("mae", "codebook_size"), ("mage", "patch_size"), ("palette", "hidden_size"), ("latent-inpainting", "heads")],
)  # fmt: skip
def test_a_field_of_another_family_is_unknown(family: str, field: str) -> None:
    problems = problems_of(generator=family, architecture={field: 8})
    assert len(problems) == 1
    assert f"unknown setting '{field}'" in problems[0]


@pytest.mark.parametrize(
    ("family", "architecture", "said"),
    [
        ("mage", {"image_size": 33}, "image_size 33 is not a multiple of the 8 px of a token"),
        ("palette", {"inner_channels": 40}, "inner_channels 40 is not a multiple of 32"),
        ("latent-inpainting", {"image_size": 36}, "image_size 36 is no multiple of 8"),
    ],
)
def test_what_does_not_fit_together_is_a_fault_beside_the_others(
    family: str, architecture: dict[str, Any], said: str
) -> None:
    problems = problems_of(generator=family, architecture=architecture, training={"steps": 0}, budget="x")
    assert len(problems) == 3
    assert problems[0].startswith(f"architecture: {said}")


def test_an_unknown_family_and_size_are_refused_with_those_there_are() -> None:
    assert problems_of(generator="mag")[0].startswith("unknown generator 'mag'; did you mean 'mage'?")
    problems = problems_of(generator="latent-inpainting", architecture={"size": "base"})
    assert len(problems) == 1
    assert "unknown size 'base'" in problems[0]
    assert "small" in problems[0]


def test_a_size_is_written_out_and_what_is_given_beside_it_counts() -> None:
    config = training(generator="mage", architecture={"size": "base", "layers": 3})
    assert (config.architecture.image_size, config.as_dict()["architecture"]["hidden_size"]) == (256, 768)
    assert config.as_dict()["architecture"]["layers"] == 3
    assert "size" not in config.as_dict()["architecture"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_config_of_every_family_survives_its_own_file(family: str) -> None:
    config = training(generator=family, architecture=ARCHITECTURES[family], training={"steps": 3})
    again = TrainConfig.from_values(json.loads(json.dumps(config.as_dict())))
    assert again.as_dict() == config.as_dict()
    assert again.digest() == config.digest()


def test_the_family_decides_the_digest() -> None:
    digests = {training(generator=family, architecture=CODE.get(family, {})).digest() for family in FAMILIES}
    assert len(digests) == len(FAMILIES)


def test_a_family_recommends_settings_and_what_is_given_counts() -> None:
    mage, palette = training(generator="mage"), training(generator="palette")
    assert (mage.training.learning_rate, mage.first_stage.learning_rate) == (1e-3, 2e-3)
    assert (palette.training.learning_rate, palette.training.weight_decay) == (5e-4, 0.0)
    chosen = training(
        generator="mage", training={"learning_rate": 0.5, "steps": 7}, first_stage={"steps": 9, "clip": 2.0}
    )
    assert chosen.training.learning_rate == 0.5
    assert (chosen.first_stage.steps, chosen.first_stage.clip) == (9, 2.0)
    assert chosen.first_stage.learning_rate == 2e-3, "the family's own, not that of the rest"
    only = training(generator="mage", training={"steps": 7, "batch_size": 6})
    assert (only.first_stage.steps, only.first_stage.batch_size) == (7, 6)


def test_faults_of_the_first_stage_are_named_with_it() -> None:
    problems = problems_of(generator="mage", first_stage={"stpes": 3})
    assert problems == [problem for problem in problems if problem.startswith("first_stage: ")]
    assert "did you mean 'steps'" in problems[0]


# a model like another


@pytest.mark.parametrize("family", FAMILIES)
def test_like_takes_over_family_and_shape(family: str, models: dict[str, Path]) -> None:
    code = CODE.get(family, {})
    config = training(like={"path": str(models[family]), **code}, seed=1)
    assert config.generator == family
    made, before = (
        new_generator(config, efface.load(models[family], **code)),
        efface.load(models[family], **code),
    )
    assert made.family == family
    assert {n: t.shape for n, t in made.network.state_dict().items()} == {
        n: t.shape for n, t in before.network.state_dict().items()
    }
    assert made.weights_digest() != before.weights_digest()


def test_like_and_a_generator_that_differ_are_refused(
    models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    said = "generator: palette is asked for, but .* is of the family mage: leave one of them out"
    with pytest.raises(InputError, match=said):
        efface.train(photos, out=tmp_path / "run", like=models["mage"], generator="palette")
    assert not (tmp_path / "run").exists()
    assert training(like=str(models["mage"]), generator="mage").generator == "mage"


def test_the_family_of_like_recommends_its_settings(models: dict[str, Path]) -> None:
    assert training(like=str(models["palette"])).training.learning_rate == 5e-4


def test_keeping_a_first_stage_needs_a_model_to_take_it_from(models: dict[str, Path]) -> None:
    problems = problems_of(generator="mage", keep_first_stage=True)
    assert len(problems) == 1
    assert "keep_first_stage: only with like, a model whose first stage is taken over" in problems[0]
    for family in ("mae", "palette"):
        said = f"keep_first_stage: a model of the family {family} has no first stage; leave it out"
        assert problems_of(like=str(models[family]), keep_first_stage=True) == [said]


def test_a_config_is_silent_about_a_first_stage_that_the_family_does_not_have() -> None:
    assert "first_stage" in training(generator="mage").as_dict()
    assert not {"first_stage", "keep_first_stage"} & set(training(generator="palette").as_dict())
    (problem,) = problems_of(generator="mae", first_stage={"steps": 3})
    assert problem == "first_stage: a model of the family mae has no first stage; leave it out"


@pytest.mark.parametrize("family", ["mage", "latent-inpainting"])
def test_a_kept_first_stage_is_the_others_bit_for_bit(family: str, models: dict[str, Path]) -> None:
    before = efface.load(models[family])
    kept = new_generator(
        training(like=str(models[family]), keep_first_stage=True, seed=1), efface.load(models[family])
    )
    anew = new_generator(training(like=str(models[family]), seed=1), efface.load(models[family]))
    assert kept.first_stage_digest() == before.first_stage_digest() != anew.first_stage_digest()
    weights = (kept.network.state_dict(), anew.network.state_dict())
    for name in kept.trained_parameters("all"):
        assert torch.equal(weights[0][name], weights[1][name]), "the rest is fresh, and the same in both"


# which family a model is of


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_known_by_its_files(family: str, models: dict[str, Path]) -> None:
    assert family_of(ModelSettings(path=str(models[family]))).name == family
    code = CODE.get(family, {})
    assert efface.load(models[family], **code).family == family
    assert efface.load(models[family], family=family, **code).family == family


@pytest.mark.parametrize("named", FAMILIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_named_family_that_does_not_fit_the_files_is_an_error_that_says_so(
    family: str, named: str, models: dict[str, Path]
) -> None:
    if family == named:
        return
    with pytest.raises(InputError) as caught:
        efface.load(models[family], family=named)
    told = f"model.family is {named}, but {models[family]} is a model of the family {family}: leave it out"
    assert list(caught.value.problems) == [told]


def test_a_named_family_is_believed_where_the_files_say_nothing(
    models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert family_of(ModelSettings(path=str(tmp_path), family="mage")).name == "mage"


def test_an_unknown_family_is_refused_with_the_nearest(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="unknown generator 'pallete'; did you mean 'palette'"):
        efface.load(models["palette"], family="pallete")


def test_what_is_no_model_is_told_with_what_could_be_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError) as caught:
        efface.load(tmp_path)
    text = str(caught.value)
    assert "holds a 'bert' model, which is no model that efface knows" in text
    assert all(family.summary in text for family in FAMILIES.values())


# options of a model


@pytest.mark.parametrize(
    ("family", "option", "value", "other"),
    [
        ("mae", "tied", True, "mage"),
        ("mae", "train_noise_steps", 100, "palette"),
        ("mage", "norm_pix_loss", True, "mae"),
        ("palette", "lora_rank", 2, "latent-inpainting"),
        ("latent-inpainting", "tokenizer", "vqgan.ckpt", "mage"),
        ("palette", "heads", 2, "mae and of mage"),
    ],
)
def test_an_option_of_another_family_is_refused(
    models: dict[str, Path], family: str, option: str, value: Any, other: str
) -> None:
    said = (
        f"{option} is an option of the family {other}, and {models[family]} is a model of the family {family}: "
        "leave it out"
    )
    with pytest.raises(InputError) as caught:
        efface.load(models[family], **{option: value})
    assert list(caught.value.problems) == [said]
    with pytest.raises(InputError) as caught:
        RunConfig.from_values({"model": {"path": str(models[family]), option: value}})
    assert f"model: {said}" in caught.value.problems


def test_every_option_that_does_not_fit_is_named(models: dict[str, Path]) -> None:
    with pytest.raises(InputError) as caught:
        efface.load(models["mae"], tied=True, prompt="a cat", norm_pix_loss=False)
    assert [problem.split()[0] for problem in caught.value.problems] == ["tied", "prompt"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_holds_the_options_of_its_models_family_alone(family: str, models: dict[str, Path]) -> None:
    config = RunConfig.from_values({"model": str(models[family]), "images": {"forget": ["x"]}})
    assert type(config.model) is FAMILIES[family].settings
    assert set(config.as_dict()["model"]) == set(FAMILIES[family].settings.model_fields)
    assert config.as_dict()["model"]["family"] == family
    assert RunConfig.from_values(config.as_dict()) == config


def test_a_model_that_is_not_there_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    values = {"model": str(tmp_path / "absent"), "images": {"forget": ["x"]}}
    assert type(RunConfig.from_values(values).model) is ModelSettings
    values["model"] = {"path": str(tmp_path / "absent"), "norm_pix_loss": True}
    with pytest.raises(InputError, match="model: no model at"):
        RunConfig.from_values(values)


def test_an_unknown_option_is_refused_with_the_nearest(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="unknown setting 'promt'; did you mean 'prompt'"):
        efface.load(models["latent-inpainting"], promt="a cat")


def test_every_option_may_be_left_out() -> None:
    for family in FAMILIES.values():
        required = [name for name, field in family.settings.model_fields.items() if field.is_required()]
        assert required == ["path"]


def test_a_shape_beside_like_is_refused(tmp_path: Path) -> None:
    tiny().save(tmp_path / "model")
    values = {"images": "photos", "like": str(tmp_path / "model")}
    assert TrainConfig.from_values(values).generator == "mae"
    with pytest.raises(InputError, match="architecture: with like, the shape is that of the model"):
        TrainConfig.from_values({**values, "architecture": {"layers": 7}})
