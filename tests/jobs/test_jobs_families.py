"""Every family from its first step to the report: trained, made to forget, compared, opened by its own library."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, UNet2DConditionModel, UNet2DModel
from torch import Tensor
from transformers import ViTMAEForPreTraining

import efface
from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.generators.base import Generator, View
from efface.generators.mage.network import MageModel
from efface.jobs.kinds import read_config
from efface.jobs.run import RunResult
from efface.randomness import Draws
from efface.runs.record import DeliveredFacts, GeneratorTraining, read_record
from efface.runs.verification import verify
from efface.weights import stored_digest
from support.family_runs import (
    CATS,
    OTHER_HOLE,
    SAMPLERS,
    STORIES,
    UNLEARNING,
    WITH_FIRST_STAGE,
    FamilyStory,
    evaluation,
    first_stage,
    from_base,
    trained,
)
from support.published import FOLDER
from support.run_making import texts_of

MAGE_FAST = pytest.mark.parametrize(
    "staged", ["mage", pytest.param("latent-inpainting", marks=pytest.mark.slow)], indirect=True
)
"""Of the families with a first stage only the faster one by default."""


def test_a_setting_that_classifiers_have_too_is_the_familys_own() -> None:
    sets = {"forget": ["a"], "retain": ["b"]}
    config = read_config(
        "unlearn", {"model": {"path": str(FOLDER / "palette.pth"), "image_size": 32}, "images": sets}
    )
    assert config.model.as_dict()["image_size"] == 32


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest, stories: dict[str, FamilyStory]) -> FamilyStory:
    return stories[request.param]


@pytest.fixture(params=WITH_FIRST_STAGE)
def staged(request: pytest.FixtureRequest, stories: dict[str, FamilyStory]) -> FamilyStory:
    return stories[request.param]


def after(result: RunResult) -> DeliveredFacts:
    facts = result.record.model.after
    assert facts is not None
    return facts


def with_hole(generator: Generator) -> View:
    """Two made pictures."""
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    return generator.view(images, parse_corruption("centre:0.5"), Draws(0, ("a", "b"), (0, 0)))


def restored(generator: Generator, sampler: str | None = None) -> Tensor:
    with torch.inference_mode():
        return generator.restore(with_hole(generator), sampler)


def predicted(generator: Generator) -> Tensor:
    with torch.inference_mode():
        return generator.predict(with_hole(generator))


# from the first step to the report


def test_every_digest_of_every_run_is_found_again(story: FamilyStory) -> None:
    checks = {run: verify(run) for run in story.runs}
    for run, found in checks.items():
        assert {check.outcome for check in found} == {"matches"}, run
    assert {check.what for check in checks[story.run.run]} >= {
        "weights in model/",
        "weights of the original model",
        "weights of the retrained model",
    }


@pytest.mark.slow
@pytest.mark.parametrize("story", ["mage", "palette"], indirect=True)
def test_it_is_trained_on_from_a_base_and_retrained_from_it(
    story: FamilyStory, photos: Path, tmp_path: Path
) -> None:
    base = story.reference
    for run in from_base(story.family, base.model, photos, tmp_path):
        assert run.record.claim.level == "exact from base"
        assert run.record.model.base is not None
        assert run.record.model.base.weights == after(base).weights
        assert {check.outcome for check in verify(run.run)} == {"matches"}


def test_tensors_need_no_family_to_be_compared(story: FamilyStory) -> None:
    record = story.run.record
    assert record.model.before
    assert record.retrained
    for model, facts in (
        (story.run.model, after(story.run)),
        (story.original.model, record.model.before),
        (story.reference.model, record.retrained),
    ):
        assert stored_digest(model) == facts.tensors


def test_the_record_says_what_each_model_is(story: FamilyStory) -> None:
    record = story.run.record
    assert record.model.before.description.family == story.family
    assert record.model.before.weights == after(story.original).weights
    assert record.retrained.weights == after(story.reference).weights
    assert record.retrained.stages == "all"
    assert len({record.model.before.weights, after(story.run).weights}) == 2
    assert [one.record.claim.level for one in (story.original, story.reference, story.run)] == [
        "exact",
        "exact",
        "empirical",
    ]


def test_the_record_names_the_models_own_masks_under_which_it_unlearned(story: FamilyStory) -> None:
    generator = efface.load(story.original.model)
    assert isinstance(generator, Generator)
    work = read_record(story.run.run).training
    assert isinstance(work, GeneratorTraining)
    assert work.settings.corruption == "own-mask"
    assert work.corruption == generator.training_corruption.label != read_record(story.run.run).corruption


def test_unlearning_changed_the_encoder_alone(story: FamilyStory) -> None:
    before, now = (efface.load(one.model) for one in (story.original, story.run))
    weights = now.network.state_dict()
    moved = {name for name, tensor in before.network.state_dict().items() if (tensor != weights[name]).any()}
    assert moved
    assert moved <= set(now.encoder_parameters())


def test_every_row_names_the_sampler_that_drew_the_pictures(story: FamilyStory) -> None:
    first, second = SAMPLERS[story.family]
    assert {(row.sampler, row.corruption) for row in story.run.rows} == {(first, "centre:0.5")}
    assert {(row.sampler, row.corruption) for row in story.evaluated.rows} == {(second, OTHER_HOLE)}
    header, *lines = (story.evaluated.run / "results.csv").read_text().splitlines()
    place = header.split(",").index("sampler")
    assert len(lines) == len(story.evaluated.rows)
    if second and "," not in second:
        assert all(second in line.split(",")[place:] for line in lines)
    if second:
        assert second in (story.evaluated.run / "report.html").read_text()


def test_a_default_sampler_is_named_too(
    stories: dict[str, FamilyStory], photos: Path, tmp_path: Path
) -> None:
    result = efface.evaluate(
        stories["mage"].original.model, images=photos, out=tmp_path / "run", evaluation={"resamples": 200},
        corruption="rectangle:0,0,0.25,0.25", **CATS,
    )  # fmt: skip
    assert {row.sampler for row in result.rows} == {"confidence:20,6"}


def test_all_three_models_are_compared_on_all_sets(story: FamilyStory) -> None:
    for rows in (story.run.rows, story.evaluated.rows):
        assert {(row.model, row.set) for row in rows} == {
            (model, name)
            for model in ("original", "unlearned", "retrained")
            for name in ("forget", "retain", "neutral")
        }
        errors = {row.model: row for row in rows if (row.set, row.metric) == ("forget", "hole_mse")}
        assert all(errors[model].value is not None for model in errors)
        assert errors["unlearned"].reference == "retrained"
        # a token model as little trained as this draws the same tokens from slightly other scores
        assert story.family == "mage" or errors["unlearned"].value != errors["original"].value


def test_nothing_that_is_handed_out_names_an_image_or_a_place(story: FamilyStory, photos: Path) -> None:
    secrets = [str(photos), *map(str, story.runs), *(path.name for path in photos.rglob("*.png"))]
    for run in (story.run, story.evaluated):
        for name, text in texts_of(run.run).items():
            assert not [secret for secret in secrets if secret in text], name
    for file in story.run.model.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], file.name


# the plain library opens what was saved


def test_a_saved_model_restores_as_the_trained_one(story: FamilyStory) -> None:
    """The figures of the run are those of the model in its folder, opened again."""
    generator = story.run.generator()
    one, other = (restored(generator, sampler) for sampler in SAMPLERS[story.family])
    again = restored(efface.load(story.run.model), SAMPLERS[story.family][0])
    assert torch.equal(one, again)
    if SAMPLERS[story.family] != (None, None):
        assert not torch.equal(one, other)


def test_the_plain_library_opens_the_saved_model_and_gives_the_same_pictures(story: FamilyStory) -> None:
    folder, generator = story.run.model, efface.load(story.run.model)
    other, (fast, _) = efface.load(story.original.model), SAMPLERS[story.family]
    assert not torch.equal(predicted(other), predicted(generator))
    opened: dict[str, Any]
    if story.family == "mae":
        opened = ViTMAEForPreTraining.from_pretrained(folder).state_dict()
    elif story.family == "mage":
        opened = MageModel.from_pretrained(folder).state_dict()
    elif story.family == "palette":
        opened = UNet2DModel.from_pretrained(folder).state_dict()
    else:
        opened = {
            f"{part}.{name}": tensor
            for part, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL))
            for name, tensor in kind.from_pretrained(folder, subfolder=part).state_dict().items()
        }
    other.network.load_state_dict(opened)
    assert torch.equal(predicted(other), predicted(generator))
    assert torch.equal(restored(other, fast), restored(generator, fast))


def test_diffusers_opens_the_whole_pipeline(stories: dict[str, FamilyStory]) -> None:
    """With its own scheduler, to which nothing was changed, it draws the same latents as this program."""
    from efface.generators.sampling import spread

    generator = efface.load(stories["latent-inpainting"].run.model)
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        stories["latent-inpainting"].run.model, text_encoder=None, tokenizer=None
    )
    assert pipeline.scheduler.config.num_train_timesteps == 1000
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    view = generator.view(images, parse_corruption("centre:0.5"), Draws(0, ("a",), (0,)))
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        ours = generator.sampled(view, "ddim:4", start)  # type: ignore[attr-defined]
        alphas = pipeline.scheduler.alphas_cumprod
        sample, levels = start, spread(1000, 4)
        for level, following in zip(levels, [*levels[1:], None], strict=True):
            shown = torch.cat([sample, view.shown], dim=1)  # type: ignore[attr-defined]
            noise = pipeline.unet(shown, level, torch.zeros(1, 1, 16)).sample
            clean = (sample - (1 - alphas[level]).sqrt() * noise) / alphas[level].sqrt()
            alpha = torch.tensor(1.0) if following is None else alphas[following]
            sample = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    assert torch.allclose(ours, sample, atol=1e-4)


# first stages


def test_the_limits_name_the_first_stage_that_was_not_changed(staged: FamilyStory) -> None:
    kind = after(staged.run).description.first_stage.kind
    assert kind in ("VQ-GAN tokenizer", "VAE")
    told = [line for line in staged.run.record.limits if line.startswith(f"The {kind} was not changed.")]
    assert len(told) == 1
    assert told[0] in (staged.run.run / "report.html").read_text()
    assert first_stage(after(staged.run)) == first_stage(staged.run.record.model.before)


def test_a_first_stage_that_was_trained_is_no_limit(staged: FamilyStory) -> None:
    for result in (staged.original, staged.reference):
        assert result.record.first_stage.kept is False
        assert result.record.first_stage.training.steps == 3
        assert not any(" was not changed" in line for line in result.record.limits)
    assert first_stage(after(staged.original)) != first_stage(after(staged.reference))


def test_without_a_first_stage_nothing_is_said_of_one(stories: dict[str, FamilyStory]) -> None:
    for family in ("mae", "palette"):
        for result in (stories[family].original, stories[family].run):
            assert result.record.first_stage is None
            assert not any(" was not changed" in line for line in result.record.limits)


@pytest.fixture(scope="session")
def kept(
    stories: dict[str, FamilyStory], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, RunResult]:
    """References that took over the original's first stage."""
    folder = tmp_path_factory.mktemp("kept")
    return {
        family: trained(
            photos, folder / family, family, like=stories[family].original.model, keep_first_stage=True,
            without="label:cats", seed=1,
        )
        for family in WITH_FIRST_STAGE
    }  # fmt: skip


def test_a_kept_first_stage_takes_the_exact_claim_away(
    staged: FamilyStory, kept: dict[str, RunResult]
) -> None:
    result = kept[staged.family]
    assert first_stage(after(result)) == first_stage(after(staged.original))
    assert after(result).weights != after(staged.original).weights
    assert result.record.claim.level == "empirical"
    assert result.record.first_stage.as_dict() == {"kept": True, "training": None}
    assert any(" was taken over as it was. " in line for line in result.record.limits)
    assert {check.outcome for check in verify(result.run)} == {"matches"}


def test_only_the_first_stage_is_taken_over(staged: FamilyStory, kept: dict[str, RunResult]) -> None:
    one, other = (efface.load(result.model) for result in (staged.original, kept[staged.family]))
    first, weights = one.first_stage_parameters(), other.network.state_dict()
    assert all(torch.equal(parameter, weights[name]) for name, parameter in first.items())
    trained_anew = [name for name, parameter in one.trained_parameters("all").items() if parameter.ndim > 1]
    same = [name for name in trained_anew if torch.equal(weights[name], one.network.get_parameter(name))]
    assert same == []


@MAGE_FAST
@pytest.mark.parametrize(("kept_or_new", "level"), [("train", "exact"), ("keep", "empirical")])
def test_retraining_is_exact_only_with_a_first_stage_of_its_own(
    staged: FamilyStory,
    kept: dict[str, RunResult],
    photos: Path,
    tmp_path: Path,
    kept_or_new: str,
    level: str,
) -> None:
    result = efface.unlearn(
        staged.original.model, images=photos, method={"name": "retrain", "first_stage": kept_or_new},
        retrained=kept[staged.family].model, out=tmp_path / "run", training=UNLEARNING,
        evaluation=evaluation(staged.family), **CATS,
    )  # fmt: skip
    assert result.record.claim.level == level
    same = first_stage(after(result)) == first_stage(after(staged.original))
    assert same is (kept_or_new == "keep")
    assert any(" was not changed. " in line for line in result.record.limits) is same
    assert result.record.training.steps == (3 if same else 6)
    assert shares_first_stage_as_told(result)


def shares_first_stage_as_told(result: RunResult) -> bool:
    """Whether record, limits and page say that the reference was not retrained in every stage."""
    stages = "encoder and decoder only; the first stage is the original's"
    limit = f"The reference model was not retrained in every stage: {stages}"
    page = html.unescape((result.run / "report.html").read_text())
    return (
        result.record.retrained.stages == stages
        and any(line.startswith(limit) for line in result.record.limits)
        and limit in page
    )


@MAGE_FAST
def test_a_reference_that_shares_the_first_stage_is_not_retrained_in_every_stage(
    staged: FamilyStory, kept: dict[str, RunResult], photos: Path, tmp_path: Path
) -> None:
    result = efface.evaluate(
        staged.original.model, images=photos, retrained=kept[staged.family].model, out=tmp_path / "run",
        corruption="rectangle:0,0,0.25,0.25", evaluation=evaluation(staged.family), **CATS,
    )  # fmt: skip
    assert shares_first_stage_as_told(result)
    assert not any(" was not changed. " in line for line in result.record.limits)
    assert not shares_first_stage_as_told(staged.evaluated)


def test_a_kept_first_stage_needs_a_model_that_has_one(
    stories: dict[str, FamilyStory], photos: Path, tmp_path: Path
) -> None:
    for family in ("mae", "palette"):
        with pytest.raises(InputError, match=r"keep_first_stage: .* has no first stage"):
            trained(
                photos, tmp_path / "run", family, like=stories[family].original.model, keep_first_stage=True
            )
    with pytest.raises(InputError, match="keep_first_stage: only with like"):
        trained(photos, tmp_path / "run", "mage", keep_first_stage=True)
    assert not (tmp_path / "run").exists()


# what is refused before anything changes


@pytest.mark.parametrize(
    ("family", "sampler", "said"),
    [
        ("mae", "ddim:5", "sampler 'ddim:5': a mae model restores in one pass and has none"),
        ("mage", "ddim:5", "unknown sampler 'ddim'.*confidence"),
        ("palette", "confidence:5", "unknown sampler 'confidence'.*ddim"),
        ("palette", "ddim:0", "steps go from 1 to"),
        ("latent-inpainting", "ddpm", "unknown sampler 'ddpm'.*dpm-solver"),
        ("latent-inpainting", "ddim:1001", "steps go from 1 to 1000"),
    ],
)
def test_a_sampler_that_the_family_lacks_is_refused_with_what_is_offered(
    stories: dict[str, FamilyStory], photos: Path, tmp_path: Path, family: str, sampler: str, said: str
) -> None:
    model, out = stories[family].original.model, tmp_path / "run"
    chosen: dict[str, Any] = {"images": photos, "evaluation": {"resamples": 200, "sampler": sampler}, **CATS}
    with pytest.raises(InputError, match=said):
        efface.unlearn(model, out=out, training=UNLEARNING, **chosen)
    with pytest.raises(InputError, match=said):
        efface.evaluate(model, out=out, **chosen)
    assert not out.exists()
    faults = efface.plan(model, training=UNLEARNING, **chosen).faults
    assert len(faults) == 1
    assert "sampler" in faults[0]


def test_a_reference_of_another_family_is_refused(
    stories: dict[str, FamilyStory], photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"of the family palette .* they cannot see the same views"):
        efface.unlearn(
            stories["mage"].original.model, images=photos, retrained=stories["palette"].original.model,
            out=tmp_path / "run", training=UNLEARNING, **CATS,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


# what a plan says


def test_a_plan_names_the_corruption_of_training_and_that_the_asked_one_is_unknown(
    stories: dict[str, FamilyStory], photos: Path
) -> None:
    model = stories["palette"].original.model
    chosen: dict[str, Any] = {"images": photos, "training": UNLEARNING, "evaluation": evaluation("palette")}
    found = efface.plan(model, corruption="colour", **chosen, **CATS)
    assert found.faults == []
    assert any("was trained with box-brush, not with colour" in risk for risk in found.risks), found.risks
    assert "unlearning trains under colour; the model was trained with box-brush" in found.notes
    hole = efface.plan(model, corruption="centre:0.5", **chosen, **CATS)
    assert not any("was trained with" in risk for risk in hole.risks)
    assert "unlearning trains under box-brush, which the model was trained with" in hole.notes
    fixed = efface.plan(model, **{**chosen, "training": {**UNLEARNING, "corruption": "centre:0.5"}}, **CATS)
    assert "unlearning trains under centre:0.5; the model was trained with box-brush" in fixed.notes


@pytest.mark.parametrize(
    "family",
    ["mage", *(pytest.param(other, marks=pytest.mark.slow) for other in STORIES if other != "mage")],
)
def test_a_plan_estimates_a_run_of_every_family(
    stories: dict[str, FamilyStory], family: str, photos: Path
) -> None:
    story = stories[family]
    training = {**UNLEARNING, "crops_per_image": 3}
    found = efface.plan(
        story.original.model, images=photos, training=training, evaluation=evaluation(story.family), **CATS
    )
    assert found.faults == []
    assert found.estimate is not None
    assert 0 < found.estimate.seconds_per_step < 10
    assert found.changes.trains == "encoder"
    assert 0 < found.changes.share < 1
    assert json.dumps(found.as_dict())
