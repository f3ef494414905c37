"""Unlearning from end to end: what a run leaves, what it does not leave, and the kinds of sets."""

from __future__ import annotations

import hashlib
import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, ViTMAEForPreTraining

import efface
from efface.errors import InputError, RunRefused
from efface.evaluation.results import find
from efface.jobs.concluding import record_purge
from efface.jobs.run import RunResult
from efface.runs.erasing import working_files
from efface.runs.folder import RunFolder, open_run
from efface.runs.record import GeneratorTraining, read_record
from efface.runs.verification import verify
from support.run_making import SHORT, make_model, save_photo, texts_of, with_note

PROMISED = {
    "model",
    "manifests",
    "config.yaml",
    "results.json",
    "results.csv",
    "per_image.csv",
    "worst.json",
    "verdict.json",
    "record.json",
    "seal.json",
    "report.html",
    "log.jsonl",
    "run.key",
    "state.json",
    ".lock",
}


def passes(run: Path) -> bool:
    return all(check.passed for check in verify(run))


def test_unlearning_trains_on_the_crops_that_were_learnt_and_says_where_it_does_not(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    model = with_note(tiny, tmp_path / "near", scale=[0.9, 1.0], flip=False)
    chosen: dict[str, Any] = {"forget": "label:cats", "images": photos}
    same = efface.unlearn(model, out=tmp_path / "same", **chosen, **SHORT)
    assert isinstance(same.record.training, GeneratorTraining)
    settings = same.record.training.settings
    assert (settings.crop_scale, settings.flip) == ((0.9, 1.0), False)
    assert not [risk for risk in same.record.risks if "crops" in risk]
    assert all(check.passed for check in verify(same.run))
    said = (
        "unlearning trains on crops of 0.2 to 1 of an image's area, none mirrored; the model learnt crops of 0.9 to 1 of "
        "an image's area, none mirrored"
    )
    other = {**SHORT, "training": {**SHORT["training"], "crop_scale": [0.2, 1.0]}}
    run = efface.unlearn(model, out=tmp_path / "run", **chosen, **other)
    assert said in run.record.risks
    # there a sentence begins with a capital
    assert said[1:] in html.unescape((run.run / "report.html").read_text(encoding="utf-8"))
    assert said in efface.plan(model, **chosen, training=other["training"]).notes
    like = efface.train(images=photos, like=model, out=tmp_path / "like", training=SHORT["training"])
    assert isinstance(like.record.training, GeneratorTraining)
    settings = like.record.training.settings
    assert (settings.crop_scale, settings.flip) == ((0.9, 1.0), False)
    assert all(check.passed for check in verify(like.run))


def test_a_run_leaves_what_is_promised_and_nothing_else(finished: RunResult) -> None:
    assert {path.name for path in finished.run.iterdir()} == PROMISED
    rows = json.loads((finished.run / "results.json").read_text())
    assert all(
        {"model", "set", "metric", "value", "low", "high", "direction", "reference"} <= set(row)
        for row in rows
    )
    assert {(row["model"], row["set"]) for row in rows} == {
        (model, set_name)
        for model in ("original", "unlearned")
        for set_name in ("forget", "retain", "neutral")
    }
    events = [json.loads(line)["event"] for line in (finished.run / "log.jsonl").read_text().splitlines()]
    assert events[0] == "start"
    assert events.count("step") == 6
    assert events[-1] == "purge"


def test_the_model_opens_with_plain_transformers(finished: RunResult) -> None:
    network = ViTMAEForPreTraining.from_pretrained(finished.model)
    assert network.config.mask_ratio == 0.75
    values = json.loads((finished.model / "preprocessor_config.json").read_text())
    assert values["size"] == {"height": 32, "width": 32}
    processor = AutoImageProcessor.from_pretrained(finished.model, backend="pil")
    pixels = processor(np.zeros((50, 60, 3), np.uint8), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32)
    assert network(pixels).logits.shape == (1, 16, 192)


def test_the_encoder_changed_and_the_decoder_did_not(finished: RunResult, tiny: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, finished.model))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("vit.") for name in changed)
    assert len(changed) == finished.record.training.changed_tensors


def test_working_files_are_purged_and_the_record_says_so(finished: RunResult) -> None:
    assert working_files(finished.run) == []
    assert finished.record.working_files.kept == []
    assert finished.record.working_files.removed > 0


def test_nothing_that_is_handed_out_names_an_image_or_a_place(
    finished: RunResult, photos: Path, tiny: Path
) -> None:
    texts = texts_of(finished.run)
    assert len(texts) == 10
    files = sorted(photos.rglob("*.png"))
    secrets = [hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in files]
    secrets += [file.name for file in files] + [str(photos), str(tiny), str(finished.run), tiny.name]
    assert len(secrets) == 24
    for name, text in texts.items():
        assert not [secret for secret in secrets if secret in text], name


def test_keyed_ids_are_in_the_manifests_and_tables_and_differ_between_runs(
    finished: RunResult, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    other = efface.unlearn(
        tiny, forget="label:cats", neutral="label:birds", images=photos, out=tmp_path / "run", **SHORT
    )

    def ids(run: Path) -> list[str]:
        lines = (run / "manifests" / "forget.jsonl").read_text().splitlines()
        return [json.loads(line)["id"] for line in lines]

    first, second = ids(finished.run), ids(other.run)
    assert len(first) == len(second) == 3
    assert all(len(id_) == 64 for id_ in first)
    assert not set(first) & set(second)
    per_image = (finished.run / "per_image.csv").read_text()
    assert all(per_image.count(id_) == 2 for id_ in first)
    # apart from the ids, the two runs are the same to the last bit
    assert other.record.model.after.weights == finished.record.model.after.weights
    assert other.rows == finished.rows


def test_the_same_call_on_a_finished_run_does_nothing(finished: RunResult, tiny: Path, photos: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        return {
            str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in finished.run.rglob("*") if f.is_file()
        }

    before = state()
    again = efface.unlearn(
        tiny,
        forget="label:cats",
        neutral="label:birds",
        images=photos,
        out=finished.run,
        request={"id": "7"},
        **SHORT,
    )
    assert state() == before
    assert again.record == finished.record
    assert again.rows == finished.rows


def test_a_changed_config_is_refused_with_the_difference(
    finished: RunResult, tiny: Path, photos: Path
) -> None:
    with pytest.raises(RunRefused) as caught:
        efface.unlearn(
            tiny, forget="label:cats", neutral="label:birds", images=photos, out=finished.run, seed=5,
            request={"id": "7"}, **SHORT,
        )  # fmt: skip
    assert "seed: 0 -> 5" in str(caught.value)
    assert caught.value.exit_code == 3


def test_kept_working_files_are_listed_and_purging_removes_them(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    run = efface.unlearn(
        tiny,
        forget=photos / "cats",
        retain=photos / "dogs",
        out=tmp_path / "run",
        keep_working_files=True,
        **SHORT,
    ).run
    kept = read_record(run).working_files.kept
    assert kept == working_files(run)
    assert "work/checkpoint.pt" in kept
    assert any(name.startswith("work/cache/") for name in kept)
    assert "kept on request" in (run / "report.html").read_text()
    assert passes(run)
    with RunFolder(run, open_run(run)) as held:
        after = record_purge(held)
    assert read_record(run).working_files == after
    assert (after.kept, after.removed) == ([], len(kept))
    assert after.purged is not None
    assert working_files(run) == []
    assert "kept on request" not in (run / "report.html").read_text()
    assert passes(run)


def test_gradient_ascent_needs_no_retain_images(tiny: Path, photos: Path, tmp_path: Path) -> None:
    result = efface.unlearn(
        tiny, forget=photos / "cats", method="gradient-ascent", out=tmp_path / "run", **SHORT
    )
    assert {row.set for row in result.rows} == {"forget"}
    assert result.record.images.sets["retain"].count == 0
    assert any("No retain images were given" in limit for limit in result.record.limits)
    before, after = (find(result.rows, model, "forget", "hole_mse") for model in ("original", "unlearned"))
    assert before is not None
    assert after is not None
    assert before.value != after.value
    assert passes(result.run)


def test_other_methods_ask_for_retain_images(tiny: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--retain .* --images .* or --proxy-retain"):
        efface.unlearn(tiny, forget=photos / "cats", out=tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def test_a_proxy_is_named_as_a_limit(tiny: Path, photos: Path, tmp_path: Path) -> None:
    record = efface.unlearn(
        tiny, forget=photos / "cats", proxy_retain=photos / "dogs", out=tmp_path / "run", **SHORT
    ).record
    assert record.images.proxy_retain is True
    assert any(limit.startswith("Proxy images stood in for the retain set") for limit in record.limits)


@pytest.mark.parametrize(
    ("retain", "level"), [({"retain": "dogs"}, "exact"), ({"proxy_retain": "dogs"}, "empirical")]
)
def test_retraining_is_exact_but_not_with_a_proxy(
    tiny: Path, photos: Path, tmp_path: Path, retain: dict[str, str], level: str
) -> None:
    sets = {name: photos / label for name, label in retain.items()}
    result = efface.unlearn(
        tiny, forget=photos / "cats", method="retrain", out=tmp_path / "run", **sets, **SHORT
    )
    assert result.record.claim.level == level
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, result.model))
    fresh = [name for name in before if not torch.equal(before[name], after[name])]
    assert any(name.startswith("decoder.") for name in fresh)
    assert any(name.startswith("vit.") for name in fresh)


@pytest.fixture
def with_copies(photos: Path, tmp_path: Path) -> Path:
    """The photos, with a copy of one cat and a hardly changed one of another among the dogs."""
    shutil.copytree(photos, tmp_path / "copies")
    shutil.copy(photos / "cats" / "cats-0.png", tmp_path / "copies" / "dogs" / "copy.png")
    save_photo(tmp_path / "copies" / "dogs" / "near.png", 101, side=80)
    return tmp_path / "copies"


def test_copies_of_forgotten_images_stop_the_run(tiny: Path, with_copies: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        efface.unlearn(tiny, forget="label:cats", images=with_copies, out=tmp_path / "run", **SHORT)
    text = str(caught.value)
    assert "1 copy and 1 near-copy" in text
    assert "dogs/copy.png (retain) has the same bytes as forget image" in text
    assert "dogs/near.png (retain) nearly equals" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("action", "forget", "retain"), [("forget", 5, 7), ("ignore", 3, 9)])
def test_copies_are_forgotten_too_or_ignored_and_recorded(
    tiny: Path, with_copies: Path, tmp_path: Path, action: str, forget: int, retain: int
) -> None:
    record = efface.unlearn(
        tiny,
        forget="label:cats",
        images=with_copies,
        out=tmp_path / "run",
        duplicates=action,
        method="retrain",
        **SHORT,
    ).record
    assert record.images.duplicates.as_dict() == {
        "exact": 1,
        "near": 1,
        "action": action,
        "agreement": 0.85,
        "apart": 0,
    }
    assert {name: facts.count for name, facts in record.images.sets.items()} == {
        "forget": forget,
        "retain": retain,
        "neutral": 0,
    }
    told = any("2 copies or near-copies of forgotten images" in limit for limit in record.limits)
    assert told is (action == "ignore")
    assert record.claim.level == ("empirical" if action == "ignore" else "exact")


def test_unreadable_images_stop_the_run_or_are_left_out_and_counted(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    whole = (data / "dogs" / "dogs-0.png").read_bytes()
    (data / "dogs" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (data / "dogs" / "empty.png").write_bytes(b"")
    sets: dict[str, Any] = {"forget": "label:cats", "images": data, "out": tmp_path / "run"}
    with pytest.raises(InputError) as caught:
        efface.unlearn(tiny, **sets, **SHORT)
    assert len(caught.value.problems) == 2
    assert "torn.png: truncated or damaged" in str(caught.value)
    assert "empty.png: the file is empty" in str(caught.value)
    record = efface.unlearn(tiny, **sets, skip_unreadable=True, **SHORT).record
    assert record.images.skipped.as_dict() == {
        "count": 2,
        "reasons": ["the file is empty", "truncated or damaged"],
    }
    assert record.images.sets["retain"].count == 7
    assert any(limit.startswith("2 images could not be read") for limit in record.limits)


def test_a_retrained_reference_takes_the_place_of_the_original(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    reference = efface.train(
        photos, out=tmp_path / "reference", without="label:cats", like=tiny, training=SHORT["training"]
    )
    result = efface.unlearn(
        tiny, forget="label:cats", images=photos, retrained=reference.model, out=tmp_path / "run", **SHORT
    )
    assert {
        row.reference for row in result.rows if row.model != "retrained" and row.distance is not None
    } == {"retrained"}
    assert result.record.retrained.weights == reference.record.model.after.weights
    assert result.record.retrained.stages == "all"
    assert not any("No model retrained" in limit for limit in result.record.limits)
    assert {check.what for check in verify(result.run)} >= {
        "weights of the original model",
        "weights of the retrained model",
    }


def test_a_reference_of_another_shape_is_refused(tiny: Path, photos: Path, tmp_path: Path) -> None:
    from efface.generators.mae.generator import MaeGenerator
    from support.run_making import TINY

    MaeGenerator.new(0, **{**TINY, "image_size": 64}).save_pretrained(tmp_path / "large")
    with pytest.raises(InputError, match="they cannot see the same views"):
        efface.unlearn(
            tiny,
            forget="label:cats",
            images=photos,
            retrained=tmp_path / "large",
            out=tmp_path / "run",
            **SHORT,
        )
    assert not (tmp_path / "run").exists()


def test_a_neutral_set_is_measured_and_never_trained_on(finished: RunResult) -> None:
    neutral = [row for row in finished.rows if row.set == "neutral"]
    assert {row.model for row in neutral} == {"original", "unlearned"}
    assert {row.n for row in neutral} == {2}
    assert finished.record.images.sets["neutral"].count == 2
    assert not any("No neutral set" in limit for limit in finished.record.limits)


def test_wrong_input_leaves_the_folder_free_for_a_corrected_call(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for forget, said in (
        (photos / "cts", "did you mean 'cats'"),
        ("label:horses", "no image has this label"),
    ):
        with pytest.raises(InputError, match=said):
            efface.unlearn(tiny, forget=str(forget), images=photos, out=out, **SHORT)
        assert not out.exists()
    with pytest.raises(InputError, match="leaves no visible patch"):
        efface.unlearn(tiny, forget="label:cats", images=photos, out=out, corruption="centre:0.9", **SHORT)
    assert not out.exists()
    with pytest.raises(InputError, match="does not divide evenly"):
        efface.unlearn(
            tiny, forget="label:cats", images=photos, out=out, **{**SHORT, "training": {"batch_size": 3}}
        )
    out.mkdir()
    with pytest.raises(InputError, match="no model at"):
        efface.unlearn(tmp_path / "absent", forget="label:cats", images=photos, out=out, **SHORT)
    assert list(out.iterdir()) == []
    assert passes(efface.unlearn(tiny, forget="label:cats", images=photos, out=out, **SHORT).run)


def test_the_result_opens_as_a_generator(finished: RunResult) -> None:
    assert finished.generator().weights_digest() == finished.record.model.after.weights
    assert efface.load(finished.model).weights_digest() == finished.record.model.after.weights


def test_another_original_gives_another_result(photos: Path, tmp_path: Path, finished: RunResult) -> None:
    other = make_model(tmp_path / "other", seed=3)
    result = efface.unlearn(
        other, forget="label:cats", neutral="label:birds", images=photos, out=tmp_path / "run", **SHORT
    )
    assert result.record.model.after.weights != finished.record.model.after.weights
    assert result.rows != finished.rows
