"""Training from scratch: repeatable, without what is left out, in the shape of another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.errors import InputError, RunRefused
from efface.jobs import generator as job
from efface.jobs.run import RunResult
from efface.runs.verification import verify
from support.run_making import SHORT, TINY, make_photos

SHAPE = {
    "image_size": 32,
    "hidden_size": 32,
    "layers": 1,
    "heads": 2,
    "decoder_hidden_size": 32,
    "decoder_layers": 1,
    "decoder_heads": 2,
}
SETTINGS: dict[str, Any] = {"architecture": SHAPE, "training": SHORT["training"]}


@pytest.fixture(scope="module")
def without_cats(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    out = tmp_path_factory.mktemp("trained") / "run"
    return efface.train(photos, out=out, without="label:cats", neutral="label:birds", **SETTINGS)


def weights(result: RunResult) -> str:
    digest: str = result.record.model.after.weights
    return digest


def test_what_is_left_out_is_not_in_the_manifest(without_cats: RunResult) -> None:
    counts = {name: facts.count for name, facts in without_cats.record.images.sets.items()}
    assert counts == {"forget": 3, "retain": 5, "neutral": 2}
    lines = {
        name: set((without_cats.run / "manifests" / f"{name}.jsonl").read_text().splitlines())
        for name in counts
    }
    assert [len(lines[name]) for name in counts] == [3, 5, 2]
    assert not lines["retain"] & (lines["forget"] | lines["neutral"])


def test_the_record_says_that_it_is_a_training(without_cats: RunResult) -> None:
    record = without_cats.record
    assert (record.kind, record.claim.level, record.seeds.training) == (
        "training",
        "exact",
        0,
    )
    assert (record.method, record.results, record.evaluation, record.model.before) == (None,) * 4
    assert record.training.steps == 6
    assert record.training.settings.learning_rate == 6e-4
    assert record.working_files.kept == []
    checks = verify(without_cats.run)
    assert {check.outcome for check in checks} == {"matches"}
    assert {"model/model.safetensors", "manifests/retain.jsonl", "config.yaml"} <= {
        check.what for check in checks
    }
    generator = without_cats.generator()
    assert generator.weights_digest() == weights(without_cats)
    learnt = generator.learnt_crops
    assert learnt is not None
    assert (learnt.scale, learnt.flip, learnt.per_image) == ((0.2, 1.0), True, None)


def test_the_same_seed_gives_the_same_weights_and_another_others(
    photos: Path, tmp_path: Path, without_cats: RunResult
) -> None:
    sets = {"without": "label:cats", "neutral": "label:birds"}
    same = efface.train(photos, out=tmp_path / "same", **sets, **SETTINGS)
    other = efface.train(photos, out=tmp_path / "other", seed=1, **sets, **SETTINGS)
    assert weights(same) == weights(without_cats)
    assert weights(other) != weights(same)


def test_leaving_images_out_changes_the_weights(
    photos: Path, tmp_path: Path, without_cats: RunResult
) -> None:
    everything = efface.train(photos, out=tmp_path / "run", **SETTINGS)
    assert everything.record.images.sets["retain"].count == 10
    assert weights(everything) != weights(without_cats)


def test_neutral_images_alone_can_be_left_out(photos: Path, tmp_path: Path) -> None:
    record = efface.train(photos, out=tmp_path / "run", neutral="label:birds", **SETTINGS).record
    assert {name: facts.count for name, facts in record.images.sets.items()} == {
        "forget": 0,
        "retain": 8,
        "neutral": 2,
    }


def test_a_model_like_another_has_its_shape_and_fresh_weights(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    result = efface.train(photos, out=tmp_path / "run", like=tiny, training=SHORT["training"])
    told = result.record.model.after.description
    assert (told.image_size, told.details["hidden_size"], told.details["layers"]) == (32, 32, 1)
    config = json.loads((result.model / "config.json").read_text())
    assert {name: config[name] for name in TINY} == TINY
    assert weights(result) != efface.load(tiny).weights_digest()
    assert all(check.passed for check in verify(result.run))


def test_an_architecture_that_does_not_fit_is_refused_with_all_faults(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        efface.train(
            photos,
            out=tmp_path / "run",
            architecture={"image_size": 30, "hidden_size": 30},
            training={"steps": 0},
        )
    text = str(caught.value)
    assert "image_size 30 is not a multiple of patch_size 8" in text
    assert "hidden_size 30 is not a multiple of 4" in text
    assert "training: steps" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"without": "label:horses"}, "no image has this label"),
        ({"training": {"corruption": "center:0.5"}}, "did you mean 'centre'"),
        ({"training": {"corruption": "centre:0.9"}}, "leaves no visible patch"),
        ({"like": "/no/such/model"}, "no model at /no/such/model"),
    ],
)
def test_wrong_input_leaves_no_folder(
    photos: Path, tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        efface.train(photos, out=tmp_path / "run", **{**SETTINGS, **values})
    assert not (tmp_path / "run").exists()


def test_ignored_copies_of_what_is_left_out_take_the_exact_claim_away(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    (photos / "dogs" / "copy.png").write_bytes((photos / "cats" / "cats-0.png").read_bytes())
    with pytest.raises(InputError, match="1 copy"):
        efface.train(photos, out=tmp_path / "run", without="label:cats", **SETTINGS)
    record = efface.train(
        photos, out=tmp_path / "run", without="label:cats", duplicates="ignore", **SETTINGS
    ).record
    assert record.claim.level == "empirical"
    record = efface.train(
        photos, out=tmp_path / "moved", without="label:cats", duplicates="forget", **SETTINGS
    ).record
    assert record.claim.level == "exact"
    assert record.images.sets["forget"].count == 4


class Crash(BaseException):
    pass


def test_a_crashed_training_continues_to_the_same_weights_but_not_with_other_images(
    tmp_path: Path, without_cats: RunResult, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise Crash

    data = make_photos(tmp_path / "photos")

    def call() -> RunResult:
        return efface.train(
            data, out=tmp_path / "run", without="label:cats", neutral="label:birds", **SETTINGS
        )

    with monkeypatch.context() as patched:
        patched.setattr(job, "save_model", crash)
        with pytest.raises(Crash):
            call()
    gone = (data / "dogs" / "dogs-0.png").rename(tmp_path / "gone.png")
    with pytest.raises(RunRefused, match="retain: 5 images when the run began, 4 now"):
        call()
    gone.rename(data / "dogs" / "dogs-0.png")
    result = call()
    assert result.record.training.resumed_from == 4
    assert weights(result) == weights(without_cats)
