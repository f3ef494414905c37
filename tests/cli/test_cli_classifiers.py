"""The command line on classifiers: the same verbs, and what only generators have is refused at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.classifier_fixtures import Digits, Story
from support.run_fixtures import CommandLine

EXACT_COPIES_ONLY = ("--set", "images.copy_agreement=1")


@pytest.fixture
def sets(digits: Digits) -> tuple[str, ...]:
    return (
        "--images", str(digits.train), "--forget", str(digits.forget), "--neutral", str(digits.test),
        *EXACT_COPIES_ONLY,
    )  # fmt: skip


def test_a_classifier_is_trained_unlearned_verified_and_reported(
    cli: CommandLine, digits: Digits, tmp_path: Path, sets: tuple[str, ...]
) -> None:
    shape = (
        "architecture.image_size=8",
        "architecture.channels=1",
        "architecture.width=4",
        "recipe.epochs=1",
    )
    options = [text for setting in shape for text in ("--set", setting)]
    trained = cli(
        "train", "--images", digits.train, "--classifier", "small-conv", *options, "--out", tmp_path / "m"
    )
    assert trained.code == 0, trained.err
    model = tmp_path / "m" / "model"
    assert trained.out.strip() == str(model)
    reference = cli(
        "train", "--images", digits.train, "--without", digits.forget, "--like", model, "--out", tmp_path / "r",
        "--set", "copy_agreement=1",
    )  # fmt: skip
    assert reference.code == 0, reference.err
    run = tmp_path / "run"
    done = cli("unlearn", model, *sets, "--retrained", tmp_path / "r" / "model", "--out", run, "--set",
               "evaluation.resamples=200")  # fmt: skip
    assert done.code == 0, done.err
    assert "membership_auc" in done.out
    assert "prediction_agreement" in done.out
    assert cli("verify", run).code == 0
    assert cli("report", run).out.strip() == str(run / "report.html")
    again = cli("evaluate", run, "--out", tmp_path / "again", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["results"] == json.loads((run / "results.json").read_text())


def test_options_of_generators_are_refused_together(
    cli: CommandLine, story: Story, sets: tuple[str, ...], tmp_path: Path
) -> None:
    outcome = cli(
        "unlearn", story.original.model, *sets, "--corruption", "centre:0.5", "--extractor", "built-in",
        "--with-pictures", "--set", "training.steps=3", "--set", "model.norm_pix_loss=true",
        "--set", "evaluation.sampler=ddim:5", "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 2
    named = "corruption, evaluation.extractor, evaluation.sampler, model.norm_pix_loss, training.steps, with_pictures"
    assert f"{named}: settings of generators, and this model is a classifier; leave them out" in outcome.err
    assert not (tmp_path / "run").exists()
    evaluated = cli(
        "evaluate", "--original", story.original.model, *sets, "--corruption", "centre:0.5", "--out", tmp_path
    )
    assert (
        "corruption: a setting of generators, and this model is a classifier; leave it out" in evaluated.err
    )
    trained = cli(
        "train",
        "--classifier",
        "mlp",
        "--images",
        "x",
        "--size",
        "tiny",
        "--generator",
        "mae",
        "--out",
        tmp_path,
    )
    assert "generator: a setting of generators" in trained.err


def test_steps_are_no_bound_for_a_classifier(
    cli: CommandLine, story: Story, sets: tuple[str, ...], tmp_path: Path
) -> None:
    outcome = cli("unlearn", story.original.model, *sets, "--budget", "500steps", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "bound its time instead, as 90s, 10m, or 20% of retraining" in outcome.err


def test_a_plan_counts_steps_and_images_beside_retraining(
    cli: CommandLine, story: Story, sets: tuple[str, ...]
) -> None:
    options = ("--set", "method.name=fine-tune", "--set", "method.epochs=1", "--set", "method.batch_size=16")
    plan = ("plan", story.original.model, *sets, *options)
    found = json.loads(cli(*plan, "--json").out)
    assert found["faults"] == []
    assert found["sets"] == {"forget": 8, "retain": 112, "neutral": 40}
    # one pass over 112 retain images in batches of 16, where the original's recipe makes two
    counted = {
        name: found["changes"][name] for name in ("steps", "images", "retraining_steps", "retraining_images")
    }
    assert counted == {"steps": 7, "images": 112, "retraining_steps": 14, "retraining_images": 224}
    assert found["changes"]["share"] == 0.5
    assert found["estimate"]["steps"] == 7
    assert found["estimate"]["training_seconds"] > 0
    assert any("no retrained model" in risk for risk in found["risks"])
    told = cli(*plan).out
    assert "model: SmallConv, 4 classes, 8 px" in told
    assert "cost: 7 steps, 112 images forward and backward; retraining: 14 steps, 224 images" in told
    assert "50.0% of it" in told


def test_a_plan_names_all_faults_of_model_labels_and_method(
    cli: CommandLine, story: Story, digits: Digits, tmp_path: Path
) -> None:
    outcome = cli(
        "plan", story.original.model, "--images", digits.train, "--forget", "label:3", "--method", "amnesiacs",
        *EXACT_COPIES_ONLY, "--set", 'model.classes=["0", "1", "2", "x"]', "--json",
    )  # fmt: skip
    assert outcome.code == 2
    faults = json.loads(outcome.out)["faults"]
    assert any("amnesiacs needs validation images" in fault for fault in faults)
    assert any("forget: 30 images have the label '3', no class of the model" in fault for fault in faults)


def test_lists_show_both_kinds(cli: CommandLine) -> None:
    methods = json.loads(cli("list", "methods", "--json").out)
    kinds = {(row["name"], row["kind"]) for row in methods}
    assert {("fine-tune", "generator"), ("fine-tune", "classifier"), ("scrub", "classifier")} <= kinds
    networks = {row["name"] for row in json.loads(cli("list", "classifiers", "--json").out)}
    assert {"resnet18", "small-conv", "mlp"} <= networks
    metrics = {row["name"]: row["kind"] for row in json.loads(cli("list", "metrics", "--json").out)}
    assert (metrics["accuracy"], metrics["hole_mse"]) == ("classifier", "generator")
    settings = json.loads(cli("list", "settings", "--json").out)
    kind_of = {(row["name"], row["kind"]) for row in settings}
    assert {("statistics", "[classifier]"), ("corruption", "[generator]"), ("images.forget", "")} <= kind_of


def test_a_method_of_classifiers_on_no_model_at_all_names_the_model(cli: CommandLine, tmp_path: Path) -> None:
    outcome = cli(
        "unlearn", tmp_path / "nowhere", "--forget", "x", "--method", "scrub", "--out", tmp_path / "r"
    )
    assert outcome.code == 2
    assert "the method scrub is for classifiers, but no model at" in outcome.err
    assert "unknown method" not in outcome.err
