"""Whole jobs on a classifier: train, unlearn, evaluate, verify, report, with what they say and refuse."""

from __future__ import annotations

import html
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    MobileNetV1Config,
    MobileNetV1ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessor,
)

import efface
from efface.batch_norms import statistics_layers
from efface.classifiers import load_classifier
from efface.errors import InputError, RunRefused
from efface.evaluation.results import find
from efface.images.labelled import LabelledImages
from efface.jobs import timing
from efface.jobs.classifier import of_the_bound
from efface.jobs.kinds import read_config
from efface.jobs.plan import plan
from efface.jobs.run import RunResult
from efface.runs.erasing import working_files
from efface.runs.verification import verify
from efface.training.classification import PassesReport
from efface.training.passes import Edit, Facts, training_pass
from efface.training.settings import Recipe
from efface.weights import stored_digest
from support.classifier_fixtures import FINE_TUNE, SETTINGS, SMALL, Digits, Story

Forget = Callable[..., RunResult]


def text_of(page: Path) -> str:
    """What a reader sees of a page, on one line."""
    kept = re.sub(r"<(style|svg).*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", kept)).split())


def pixels_of(paths: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in paths])[:, None]


def test_a_trained_classifier_knows_its_classes_recipe_and_normalisation(story: Story) -> None:
    model = story.original.classifier()
    assert model.classes == ("0", "1", "2", "3")
    assert (model.image_size, model.channels) == (8, 1)
    note = json.loads((story.original.model / "efface_training.json").read_text())
    assert note["recipe"]["epochs"] == 2
    assert note["recipe"]["learning_rate"] == 0.02
    record = story.original.record
    assert record.claim.level == "exact"
    # 120 images in batches of 16 are 8 steps an epoch
    assert record.training.steps == 16
    statistics = {"batch_norm_layers": 3, "replaced_by_a_batch": 0, "turned": 0, "recomputed": 0}
    assert record.statistics.as_dict() == {**statistics, "handled": "of the new training alone"}
    assert {name: facts.count for name, facts in record.images.sets.items()} == {
        "forget": 0, "retain": 120, "neutral": 0
    }  # fmt: skip


def test_training_without_the_forget_images_is_what_the_method_retrain_does(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    assert story.retrained.record.images.sets["forget"].count == 8
    run = forget_digits(tmp_path / "run", method="retrain", retrained=None)
    assert run.record.claim.level == "exact"
    weights = run.record.model.after.weights
    assert weights == story.retrained.record.model.after.weights
    assert weights != story.original.record.model.after.weights


def test_a_run_has_the_record_of_a_generators_run(story: Story) -> None:
    record = story.unlearned.record
    assert {name: facts.count for name, facts in record.images.sets.items()} == {
        "forget": 8, "retain": 112, "neutral": 40
    }  # fmt: skip
    assert record.claim.level == "empirical"
    assert (record.corruption, record.first_stage) == (None, None)
    assert record.method.name == "fine-tune"
    # 112 retain images in batches of 16, twice
    assert record.training.steps == 14
    assert record.training.recipe.epochs == 2
    assert record.statistics.handled == "kept (may hold forgotten images)"
    assert any("3 layers of batch normalisation" in risk for risk in record.risks)
    assert any("3 layers of batch normalisation" in limit for limit in record.limits)
    assert set(record.sources) == {"model", "retrained"}
    assert not working_files(story.unlearned.run)
    told = json.dumps(record.as_dict())
    assert str(story.digits.train) not in told


def test_the_figures_are_those_of_the_delivered_model_on_the_pictures(story: Story) -> None:
    """Accuracy and cross-entropy computed here from the files alone."""
    model = load_classifier(str(story.unlearned.model))
    paths = sorted(story.digits.test.glob("*/*.png"))
    labels = torch.tensor([int(path.parent.name) for path in paths])
    with torch.no_grad():
        logits = model(torch.from_numpy(pixels_of(paths)))
    right = float((logits.argmax(1) == labels).float().mean())
    loss = float(torch.nn.functional.cross_entropy(logits, labels))
    accuracy = find(story.unlearned.rows, "unlearned", "neutral", "accuracy")
    entropy = find(story.unlearned.rows, "unlearned", "neutral", "cross_entropy")
    assert accuracy is not None
    assert accuracy.value == pytest.approx(right)
    assert (accuracy.n, accuracy.corruption, accuracy.reference) == (40, "none", "retrained")
    assert entropy is not None
    assert entropy.value == pytest.approx(loss, rel=1e-4)


def test_the_page_speaks_of_a_classifier(story: Story) -> None:
    text = text_of(story.unlearned.run / "report.html")
    row = find(story.unlearned.rows, "unlearned", "forget", "accuracy")
    assert row is not None
    assert "On the 8 forgotten images the unlearned model's accuracy is" in text
    assert "Every model was asked for the class of the same images." in text
    assert "image classifier (SmallConv, efface layout) of 4 classes; 976 parameters, 8 px, grey" in text
    assert "Running statistics of batch normalisation 3 layers: kept (may hold forgotten images)" in text
    assert "Membership attack by a threshold (AUC)" in text
    assert (
        "Images that the model should go on classifying as before. 112 images; the centre square of each."
        in text
    )
    assert "near-copies were not looked for" in text
    assert "hidden" not in text
    assert "restor" not in text


def test_a_run_is_verified_and_an_edited_model_is_found(story: Story, tmp_path: Path) -> None:
    copy = shutil.copytree(story.unlearned.run, tmp_path / "run")
    checks = {check.what: check for check in verify(copy)}
    assert all(check.passed for check in checks.values())
    assert checks["weights in model/"].outcome == "matches"
    assert checks["weights of the original model"].outcome == "matches"
    record = story.unlearned.record
    assert record.model.after
    assert record.model.before
    assert stored_digest(copy / "model") == record.model.after.tensors
    assert stored_digest(story.original.model) == record.model.before.tensors
    shutil.copy(story.original.model / "model.safetensors", copy / "model" / "model.safetensors")
    failed = {check.what for check in verify(copy) if not check.passed}
    assert failed == {"model/model.safetensors"}


def test_evaluating_the_models_again_gives_the_same_rows(story: Story, tmp_path: Path) -> None:
    result = efface.evaluate(
        story.original.model,
        story.unlearned.model,
        retrained=story.retrained.model,
        images=story.digits.train,
        forget=story.digits.forget,
        neutral=story.digits.test,
        out=tmp_path / "again",
        **SETTINGS,
    )
    assert result.rows == story.unlearned.rows
    assert result.record.kind == "evaluation"
    assert result.record.model.after is None
    assert all(check.passed for check in verify(result.run))
    assert "Evaluation report" in text_of(result.run / "report.html")


def test_recomputed_statistics_are_those_of_the_retain_images(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    """The first layer's mean and variance over the retain images, by the definition."""
    run = forget_digits(tmp_path / "run", statistics="recompute")
    assert run.record.statistics.as_dict() == {
        "batch_norm_layers": 3,
        "replaced_by_a_batch": 0,
        "turned": 0,
        "recomputed": 3,
        "handled": "recomputed from retain images",
    }
    assert not any("batch normalisation" in limit for limit in run.record.limits)
    model = run.classifier()
    forgotten = set(story.digits.forget.read_text(encoding="utf-8").split())
    paths = [path for path in sorted(story.digits.train.glob("*/*.png")) if str(path) not in forgotten]
    assert len(paths) == 112
    with torch.no_grad():
        inputs = model.network.block1.conv(model.prepare(torch.from_numpy(pixels_of(paths))))  # type: ignore[union-attr, operator]
    norm: Any = model.network.block1.norm  # type: ignore[union-attr]
    assert torch.allclose(norm.running_mean, inputs.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, inputs.var((0, 2, 3)), rtol=1e-3)


def test_a_network_whose_statistics_one_batch_replaces_is_named_and_trains_with_the_other_momentum(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    """transformers' MobileNetV1, whose momentum is 0.9997."""
    config = MobileNetV1Config(
        num_channels=1, depth_multiplier=0.1, min_depth=4, num_labels=4, image_size=8,
        id2label={number: str(number) for number in range(4)},
    )  # fmt: skip
    model = tmp_path / "mobilenet"
    network = MobileNetV1ForImageClassification(config)
    for layer in statistics_layers(network).values():
        layer.running_mean.fill_(0.1)  # type: ignore[union-attr]
    network.save_pretrained(model)
    ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5]).save_pretrained(
        model
    )
    named = "27 layers of batch normalisation have a momentum of 0.9997: one batch replaces more than half"
    risks = plan(config_of(story, model, method=FINE_TUNE, statistics="keep")).risks
    (risk,) = [risk for risk in risks if "momentum" in risk]
    assert risk.startswith(named)
    assert "with statistics: keep the model is delivered so; auto trains with 1 - momentum" in risk
    run = forget_digits(tmp_path / "run", model=model, method={**FINE_TUNE, "epochs": 1}, retrained=None)
    assert run.record.statistics.as_dict() == {
        "batch_norm_layers": 27,
        "replaced_by_a_batch": 27,
        "turned": 27,
        "recomputed": 0,
        "handled": "kept (may hold forgotten images)",
    }
    told = "27 layers (of 27, one batch replaces more than half; 27 took 1 - momentum of each): kept"
    assert told in text_of(run.run / "report.html")
    assert '"event": "statistics", "layers": 27, "handled": "turned"' in (run.run / "log.jsonl").read_text()


def test_an_mlp_has_no_statistics_and_says_so(digits: Digits, tmp_path: Path) -> None:
    trained = efface.train(
        digits.train, out=tmp_path / "mlp", **{**SMALL, "classifier": "mlp", "recipe": {"epochs": 1}}
    )
    assert trained.record.statistics.batch_norm_layers == 0
    assert trained.record.statistics.handled == "none in this model"


def test_averaged_weights_beside_a_model_are_named(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    model = shutil.copytree(story.original.model, tmp_path / "model")
    (model / "model_ema.safetensors").write_bytes(b"")
    run = forget_digits(tmp_path / "run", model=model)
    assert any("averaged ones (model_ema.safetensors)" in limit for limit in run.record.limits)


def test_a_model_with_shuffled_classes_is_a_risk(story: Story) -> None:
    values = {
        "model": {"path": str(story.original.model), "classes": ["3", "2", "1", "0"]},
        "images": {
            "images": str(story.digits.train),
            "forget": [str(story.digits.forget)],
            "copy_agreement": 1,
        },
        "method": FINE_TUNE,
    }
    found = plan(read_config("unlearn", values))
    assert not found.faults
    assert any("its classes, image size or normalisation may not be those" in risk for risk in found.risks)


def test_labels_that_are_no_classes_are_named_all_at_once(story: Story, tmp_path: Path) -> None:
    images = shutil.copytree(story.digits.train, tmp_path / "train")
    (images / "3").rename(images / "three")
    Image.new("L", (8, 8), 77).save(images / "loose.png")
    with pytest.raises(InputError) as refused:
        efface.unlearn(
            story.original.model, images=images, forget="label:0", out=tmp_path / "run", **SETTINGS
        )
    assert (
        "retain: 30 images have the label 'three', no class of the model; its classes are 0, 1, 2, 3"
        in str(refused.value)
    )
    assert "retain: 1 image has no label" in str(refused.value)
    assert "model.classes: the model's classes have no names; give names in the order" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_there_twice_count_once(story: Story, tmp_path: Path) -> None:
    images = shutil.copytree(story.digits.train, tmp_path / "train")
    shutil.copy(images / "0" / "000.png", images / "0" / "again.png")
    shutil.copy(images / "0" / "000.png", images / "1" / "mislabelled.png")
    result = efface.train(images, out=tmp_path / "run", **SMALL)
    assert result.record.images.sets["retain"].count == 120
    assert any(
        note.startswith("retain: 2 more files with the bytes of another one") for note in result.record.notes
    )
    assert any(note.startswith("retain: 1 of these had another label") for note in result.record.notes)


def test_copies_of_forget_images_that_are_kept_are_trained_on_and_named(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    images = shutil.copytree(story.digits.train, tmp_path / "train")
    shutil.copy(images / "3" / "000.png", images / "3" / "again.png")
    forget = [str(images / "3" / f"{number:03d}.png") for number in range(8)]
    (tmp_path / "list.txt").write_text("\n".join(forget))
    sets = {"images": images, "forget": tmp_path / "list.txt"}
    with pytest.raises(InputError, match=r"again\.png \(retain\) has the same bytes as"):
        forget_digits(tmp_path / "stopped", **sets)
    run = forget_digits(tmp_path / "run", **sets, duplicates="ignore", method="retrain")
    assert run.record.images.sets["retain"].count == 113
    assert run.record.claim.level == "empirical"
    assert any("1 copy or near-copy of forgotten images" in limit for limit in run.record.limits)


def test_validation_images_are_shown_to_the_method_alone(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    validation = str(story.digits.test / "2")
    run = forget_digits(tmp_path / "run", method={"name": "amnesiacs"}, validation=[validation])
    counts = {name: facts.count for name, facts in run.record.images.sets.items()}
    assert counts == {"forget": 8, "retain": 112, "neutral": 30, "validation": 10}
    assert (run.run / "manifests" / "validation.jsonl").exists()
    measured = {row.set: row.n for row in run.rows}
    assert measured == {"forget": 8, "retain": 112, "neutral": 30}
    assert "10 for validation (shown to the method only)" in text_of(run.run / "report.html")


def test_validation_images_are_asked_for_where_a_method_needs_them_and_refused_elsewhere(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="amnesiacs needs validation images"):
        forget_digits(tmp_path / "run", method="amnesiacs")
    with pytest.raises(InputError, match="fine-tune uses no validation images"):
        forget_digits(tmp_path / "run", validation=[str(story.digits.test / "2")])
    assert not (tmp_path / "run").exists()


def test_a_reference_of_other_classes_is_refused(
    story: Story, forget_digits: Forget, digits: Digits, tmp_path: Path
) -> None:
    images = tmp_path / "two"
    for label in ("0", "1"):
        shutil.copytree(digits.train / label, images / label)
    other = efface.train(images, out=tmp_path / "other", **{**SMALL, "recipe": {"epochs": 1}})
    with pytest.raises(InputError, match="it has 2 classes, the original 4"):
        forget_digits(tmp_path / "run", retrained=other.model)


def test_a_bound_on_time_is_a_share_of_retraining_and_its_cut_is_named(
    forget_digits: Forget, tmp_path: Path
) -> None:
    run = forget_digits(tmp_path / "run", method="retrain", budget="0.01%")
    assert run.record.training.cut is True
    assert run.record.training.budget == "0.01%"
    # drawing the weights anew took longer already
    assert run.record.training.steps == 0
    assert run.record.claim.level == "empirical"
    assert any("stopped by its bound on time after 0 steps," in limit for limit in run.record.limits)


def test_a_method_that_ended_too_late_is_not_said_to_have_been_stopped(
    forget_digits: Forget, tmp_path: Path
) -> None:
    run = forget_digits(tmp_path / "run", method="ssd", budget="1000s")
    assert not any("bound on time" in limit for limit in run.record.limits)
    late = PassesReport(0, 1001.0, 0, 0.0, cut=True, finished=True, resumed_from=None)
    assert of_the_bound(late) == ["the method went to its end, but took longer than its bound on time allows"]


def test_scrub_rewinds_with_validation_images_and_asks_for_them(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    rewinding = {"name": "scrub", "epochs": 2, "rewind": True}
    validation = [str(story.digits.test / "3")]
    with pytest.raises(InputError, match="scrub needs validation images"):
        forget_digits(tmp_path / "run", method=rewinding)
    with pytest.raises(InputError, match="scrub uses no validation images"):
        forget_digits(tmp_path / "run", method={**rewinding, "rewind": False}, validation=validation)
    run = forget_digits(tmp_path / "run", method=rewinding, validation=validation)
    assert run.record.images.sets["validation"].count == 10
    assert run.record.training.cut is False


def config_of(story: Story, model: Path, **changed: Any) -> Any:
    images = {
        "images": str(story.digits.train),
        "forget": [str(story.digits.forget)],
        "copy_agreement": 1,
    }
    return read_config("unlearn", {"model": {"path": str(model)}, "images": images, **changed})


def test_a_recipe_that_nobody_named_is_a_risk_where_it_is_read(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    bare = shutil.copytree(story.original.model, tmp_path / "bare")
    (bare / "efface_training.json").unlink()
    short = {**FINE_TUNE, "epochs": 1}

    def risky(model: Path, **changed: Any) -> list[str]:
        found = plan(config_of(story, model, **changed)).risks
        return [risk for risk in found if "how the model was trained is not known" in risk]

    assert "(30 epochs of adam at 0.0001, 64 images a step), and retrain trains by it" in risky(
        bare, method={"name": "retrain"}
    )[0]  # fmt: skip
    assert "share of retraining in the budget" in risky(bare, method=short, budget="20%")[0]
    for model, changed in (
        (bare, {"method": short, "budget": "20s"}),
        (bare, {"method": {"name": "retrain"}, "recipe": {"epochs": 2}}),
        (story.original.model, {"method": {"name": "retrain"}}),
    ):
        assert not risky(model, **changed)

    run = forget_digits(tmp_path / "run", model=bare, method=short, budget="20%")
    assert any("how the model was trained is not known" in risk for risk in run.record.risks)
    assert not (run.model / "efface_training.json").exists()


def test_a_committee_that_could_not_be_saved_is_refused_before_any_work(
    story: Story, forget_digits: Forget, tmp_path: Path
) -> None:
    settings = ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1], layer_type="basic",
        num_labels=4, id2label={number: str(number) for number in range(4)},
    )  # fmt: skip
    foreign = tmp_path / "foreign"
    ResNetForImageClassification(settings).save_pretrained(foreign)
    processor = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5])
    processor.save_pretrained(foreign)
    refused = (
        "sisa makes a committee of networks like the model's, and this ResNetForImageClassification is none"
    )
    with pytest.raises(InputError, match=refused):
        forget_digits(tmp_path / "run", model=foreign, method="sisa", retrained=None)
    assert not (tmp_path / "run").exists()
    faults = plan(config_of(story, foreign, method={"name": "sisa"})).faults
    assert any(refused in fault for fault in faults)
    committee = forget_digits(tmp_path / "committee", method="sisa", retrained=None)
    faults = plan(config_of(story, committee.model, method={"name": "sisa"})).faults
    assert any("this Committee is a committee already" in fault for fault in faults)


def test_steps_of_preparation_stand_apart_in_the_record(forget_digits: Forget, tmp_path: Path) -> None:
    training = forget_digits(tmp_path / "run", method={"name": "sisa", "shards": 2}).record.training
    # two members, about 60 images each in batches of 16, two epochs: all redone without the forget images
    assert 12 <= training.preparation_steps <= 18
    assert 12 <= training.steps <= 18
    assert training.preparation_seconds > 0


def numbered(count: int) -> LabelledImages:
    pixels = np.zeros((count, 1, 8, 8), dtype=np.uint8)
    return LabelledImages(pixels, np.arange(count) % 4, tuple(map(str, range(count))))


def test_the_time_of_edits_does_not_grow_with_the_steps(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "SAMPLE", 40)
    fixed = Edit("fixed", lambda work: time.sleep(0.1))
    grows = Edit("grows", lambda work: time.sleep(0.002 * len(work.sets["retain"])))
    free = Edit("free", lambda work: time.sleep(0.1), preparation=True)
    model, train = story.original.classifier(), training_pass(Recipe(epochs=100, batch_size=4), "retain")
    facts = Facts({"retain": 40}, 4, model.blocks)
    few, many = {"retain": numbered(40)}, {"retain": 1040}
    found = timing.times_of(model, [fixed, free, train], few, facts, {"retain": 40})
    assert found.edits == pytest.approx(0.1, abs=0.05)
    assert 0 < found.step < 0.05
    # 0.002 s for each of 1040 images, beside the 0.1 s
    assert timing.times_of(model, [fixed, grows], few, facts, many).edits == pytest.approx(2.18, rel=0.25)


def test_a_committee_of_shards_is_delivered_verified_and_measured(
    forget_digits: Forget, tmp_path: Path
) -> None:
    run = forget_digits(tmp_path / "run", method={"name": "sisa"})
    assert run.record.claim.level == "exact"
    assert all(check.passed for check in verify(run.run))
    assert run.record.model.after.description.network == "Committee"
    assert find(run.rows, "unlearned", "forget", "membership_auc") is not None


def test_a_run_with_another_config_is_refused(story: Story, forget_digits: Forget) -> None:
    with pytest.raises(RunRefused, match=r"seed: 0 -> 1"):
        forget_digits(story.unlearned.run, seed=1)
    with pytest.raises(RunRefused, match=r"method\.epochs: 2\.0 -> 3\.0"):
        forget_digits(story.unlearned.run, method={**FINE_TUNE, "epochs": 3})
