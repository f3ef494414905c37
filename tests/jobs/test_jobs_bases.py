"""Training on from a base: what it claims, that the base is bound and told, and that one that saw the images is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError, RunRefused
from efface.jobs.rerun import rerun
from efface.jobs.run import RunResult
from efface.runs.lineage import follow
from efface.runs.record import BaseFacts
from efface.runs.verification import verify
from support.run_fixtures import CommandLine
from support.run_making import SHORT, SHORT_OPTIONS

TRAINING: dict[str, Any] = {"training": SHORT["training"]}
SMALL: dict[str, Any] = {
    "architecture": {"image_size": 32, "hidden_size": 32, "layers": 1, "decoder_hidden_size": 32}
}


@pytest.fixture(scope="module")
def tuned(tiny: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A public model that no run made, fine-tuned on all photographs."""
    return efface.train(photos, base=tiny, out=tmp_path_factory.mktemp("tuned") / "run", **TRAINING)


@pytest.fixture(scope="module")
def reference(
    tiny: Path, photos: Path, tuned: RunResult, tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    """The same without the cats; the base is found behind the model that it is to be like."""
    out = tmp_path_factory.mktemp("reference") / "run"
    return efface.train(photos, without="label:cats", like=tuned.model, out=out, **TRAINING)


def base_of(run: RunResult) -> BaseFacts:
    assert run.record.model.base is not None
    return run.record.model.base


def weights(run: RunResult) -> str:
    assert run.record.model.after is not None
    return run.record.model.after.weights


def test_a_model_trained_on_from_a_base_begins_with_its_weights(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    still = {"steps": 1, "learning_rate": 1e-12, "batch_size": 4, "precision": "fp32"}
    run = efface.train(photos, base=tiny, out=tmp_path / "run", training=still)
    before, after = efface.load(tiny).state_dict(), run.generator().state_dict()
    assert all(float((before[name] - after[name]).abs().max()) < 1e-6 for name in before)


def test_the_claim_is_of_the_fine_tuning_alone(tiny: Path, tuned: RunResult, reference: RunResult) -> None:
    claim, base = reference.record.claim, reference.record.model.base
    assert claim.level == "exact from base"
    assert "Whether the base itself was trained on images to be forgotten is not known" in claim.words
    assert base is not None
    assert base.weights == efface.load(tiny).weights_digest()
    assert base.saw == "not known"
    assert str(tiny) not in json.dumps(reference.record.as_dict())
    assert reference.record.sources == {"base": base.weights, "like": weights(tuned)}
    assert tuned.record.claim.level == "exact from base"
    assert "Whether" not in tuned.record.claim.words, "nothing was left out of it"


def test_the_base_is_verified_and_the_training_done_again(reference: RunResult) -> None:
    checks = {check.what: check.outcome for check in verify(reference.run)}
    assert set(checks.values()) == {"matches"}
    assert "weights of the base model" in checks
    assert rerun(reference.run).outcome == "matches"


def test_another_base_in_the_same_place_is_refused(tiny: Path, photos: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "run"
    shutil.copytree(tiny, base)
    efface.train(photos, base=base, out=out, **TRAINING)
    shutil.rmtree(base)
    efface.load(tiny).save(base)
    assert efface.train(photos, base=base, out=out, **TRAINING).run == out, "the same weights go on"
    other = efface.load(tiny)
    other.reinitialise(7)
    shutil.rmtree(base)
    other.save(base)
    with pytest.raises(RunRefused, match="the base model is no longer the one with which this run began"):
        efface.train(photos, base=base, out=out, **TRAINING)


def test_a_base_that_saw_the_images_makes_no_reference(
    photos: Path, tuned: RunResult, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"is no base .* it was trained on 3 of these 3"):
        efface.train(photos, without="label:cats", base=tuned.model, out=tmp_path / "run", **TRAINING)
    assert not (tmp_path / "run").exists()
    birds = tmp_path / "birds"
    shutil.copytree(photos / "birds", birds / "birds")
    seen = efface.train(birds, base=tuned.model, out=tmp_path / "seen", **TRAINING)
    assert base_of(seen).saw == "not known"
    config = {"images": photos, "forget": "label:cats", **SHORT}
    with pytest.raises(InputError, match="its base was trained on 3 of these 3"):
        efface.unlearn(tuned.model, retrained=seen.model, out=tmp_path / "judged", **config)


def test_a_base_whose_record_tells_of_all_its_training_is_known(photos: Path, tmp_path: Path) -> None:
    birds = tmp_path / "birds"
    shutil.copytree(photos / "birds", birds / "birds")
    base = efface.train(birds, out=tmp_path / "base", **SMALL, **TRAINING)
    run = efface.train(photos, without="label:cats", base=base.model, out=tmp_path / "run", **TRAINING)
    assert base_of(run).saw == "no"
    assert run.record.claim.words.endswith("no file to be forgotten is among it.")


def test_a_base_that_was_made_to_forget_them_allows_no_exact_claim(photos: Path, tmp_path: Path) -> None:
    birds, one = tmp_path / "birds", "glob:birds/birds-0.png"
    shutil.copytree(photos / "birds", birds / "birds")
    base = efface.train(birds, out=tmp_path / "base", **SMALL, **TRAINING)
    forgot = efface.unlearn(base.model, images=birds, forget=one, out=tmp_path / "forgot", **SHORT)
    run = efface.train(photos, without=one, base=forgot.model, out=tmp_path / "run", **TRAINING)
    assert base_of(run).saw == "forgotten"
    assert run.record.claim.level == "empirical"
    assert run.record.claim.words.endswith("and then changed to forget them.")
    with pytest.raises(InputError, match="trained on 1 of these 2"):
        efface.train(photos, without="label:birds", base=forgot.model, out=tmp_path / "no", **TRAINING)


def test_what_a_base_forgot_is_not_trained_in(finished: RunResult, photos: Path, tmp_path: Path) -> None:
    run = efface.train(photos, base=finished.model, out=tmp_path / "run", **TRAINING)
    assert run.record.images.count("retain") == 7
    assert [request.forgotten for request in run.record.images.earlier.requests] == [3]
    later = efface.plan(run.model, images=photos, forget="label:birds", **SHORT)
    assert later.sets["retain"] == 5, "it is followed through the base"


def test_a_reference_of_another_beginning_is_named(
    tuned: RunResult, reference: RunResult, photos: Path, tmp_path: Path
) -> None:
    fresh = efface.train(
        photos, without="label:cats", like=tuned.model, base=None, out=tmp_path / "fresh", **TRAINING
    )
    assert fresh.record.claim.level == "exact"
    config = {"images": photos, "forget": "label:cats", **SHORT}
    said = "The original was trained from a base, and the model given as retrained from fresh weights"
    assert any(said in note for note in efface.plan(tuned.model, retrained=fresh.model, **config).notes)
    assert not any(
        "they differ by more" in note
        for note in efface.plan(tuned.model, retrained=reference.model, **config).notes
    )


def test_a_chain_that_begins_with_a_base_says_so(tuned: RunResult, photos: Path, tmp_path: Path) -> None:
    run = efface.unlearn(tuned.model, images=photos, forget="label:cats", out=tmp_path / "run", **SHORT)
    chain = follow(run.run)
    assert (chain.whole, chain.begins) == (True, f"trained from a base model by {tuned.run}")


def test_the_command_line_takes_a_base(
    cli: CommandLine, tiny: Path, photos: Path, tuned: RunResult, tmp_path: Path
) -> None:
    options = SHORT_OPTIONS[: 2 * len(SHORT["training"])]
    done = cli("train", "--images", photos, "--from", tiny, *options, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert RunResult.read(tmp_path / "run").record.model.base is not None
    refused = cli(
        "train", "--images", photos, "--from", tiny, "--set", "architecture.patch_size=4",
        "--keep-first-stage", "--out", tmp_path / "no",
    )  # fmt: skip
    assert "architecture: with base, the shape is that of the model named there" in refused.err
    assert "keep_first_stage: with base, its tokenizer or VAE stays as it is" in refused.err


def test_unlearning_by_retraining_from_the_base_makes_the_very_reference(
    tiny: Path, photos: Path, tuned: RunResult, reference: RunResult, tmp_path: Path
) -> None:
    run = efface.unlearn(
        tuned.model, images=photos, forget="label:cats", method="retrain", base=tiny,
        retrained=reference.model, out=tmp_path / "run", **SHORT,
    )  # fmt: skip
    assert weights(run) == weights(reference)
    assert run.record.claim.level == "exact from base"
    assert set(run.record.sources) == {"model", "retrained", "base"}
    assert {check.outcome for check in verify(run.run)} == {"matches"}


def test_a_base_that_does_not_fit_is_named_with_all_else(
    tiny: Path, photos: Path, tuned: RunResult, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"images": photos, "forget": "label:cats", "method": "retrain", **SHORT}
    same = efface.plan(tuned.model, base=tuned.model, **config).faults
    assert any("the base has the same weights as the model" in fault for fault in same)
    assert any("was trained on 3 of these 3" in fault for fault in same)
    larger = efface.load(tiny)
    other = type(larger).new(0, **{**larger.config.to_dict(), "num_hidden_layers": 2})  # type: ignore[union-attr]
    other.save(tmp_path / "larger")
    faults = efface.plan(tuned.model, base=tmp_path / "larger", **config).faults
    assert any("is no base of this model: layers is 2 there and 1 here" in fault for fault in faults)
