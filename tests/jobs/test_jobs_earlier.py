"""A later request never trains an earlier one back in: the runs behind a model are followed before anything trains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import efface
from efface.errors import InputError
from efface.images.forgotten import Forgotten
from efface.images.sources import open_images
from efface.jobs.run import RunResult
from efface.runs.earlier import listed
from support.classifier_fixtures import FINE_TUNE, SETTINGS, Story
from support.run_fixtures import CommandLine
from support.run_making import SHORT

SHORTEST: dict[str, Any] = {**SHORT, "training": {**SHORT["training"], "steps": 2}}


@dataclass(frozen=True)
class Given:
    """Pictures of which the cats are forgotten by the first run, among others that nearly equal one of them."""

    photos: Path
    copy: Path


@pytest.fixture(scope="module")
def given(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Given:
    """The photographs once more, with a smaller, re-encoded cat among the dogs."""
    folder = tmp_path_factory.mktemp("given") / "photos"
    shutil.copytree(photos, folder)
    copy = folder / "dogs" / "sent.jpg"
    with Image.open(folder / "cats" / "cats-0.png") as cat:
        cat.resize((44, 36)).save(copy, quality=85)
    return Given(folder, copy)


@pytest.fixture(scope="module")
def second(finished: RunResult, given: Given, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A second request, on the model of the first, with everything else to be kept."""
    out = tmp_path_factory.mktemp("earlier") / "second"
    return efface.unlearn(
        finished.model, images=given.photos, forget="label:birds", out=out, request={"id": "8"}, **SHORTEST
    )


def members(run: RunResult, name: str, images: Path) -> int:
    """How many images of a folder are in a set of the run."""
    return len(Forgotten("it", *listed(run.run, run.record, name)).among(open_images(images)))


def test_what_the_first_request_forgot_is_no_retain_image_of_the_second(
    second: RunResult, finished: RunResult, given: Given
) -> None:
    assert members(finished, "forget", given.photos / "cats") == 3
    assert members(second, "retain", given.photos / "cats") == 0
    assert members(second, "retain", given.photos / "dogs") == second.record.images.count("retain") == 5


def test_record_page_and_lineage_say_how_many_and_for_which_request(
    second: RunResult, finished: RunResult, cli: CommandLine
) -> None:
    facts = second.record.images.earlier
    (request,) = facts.requests
    assert facts.followed
    assert (request.forgotten, request.taken_out, request.copies) == (3, {"retain": 3}, {"retain": 1})
    assert request.weights == finished.record.model.after.weights  # type: ignore[union-attr]
    name = f"request 1 (7) of {finished.record.finished[:10]}"
    assert request.name == name
    assert second.record.notes == [
        f"images forgotten earlier, by {name}, and left out: 3 retain images",
        f"near-copies of images forgotten earlier, by {name}, and left out: 1 retain image",
    ]
    page = (second.run / "report.html").read_text(encoding="utf-8")
    assert f"{name}: 3 images; taken out of the sets of this run: 4" in page
    assert "2 images, 4 forgotten earlier left out" in cli("lineage", second.run).out
    assert finished.record.images.earlier.requests == []


def test_nothing_forgotten_earlier_comes_near_the_working_files(finished: RunResult, given: Given) -> None:
    """Left out before anything is decoded: no note of a plan counts it either."""
    outlook = efface.plan(finished.model, images=given.photos, forget="label:birds", **SHORTEST)
    assert outlook.faults == []
    assert outlook.sets == {"forget": 2, "retain": 5, "neutral": 0}
    assert any("forgotten earlier, by request 1 (7)" in note for note in outlook.notes)


@pytest.mark.parametrize(
    ("sets", "counts"),
    [
        ({"proxy_retain": "glob:*/*.*", "retain": None}, {"retain": 5}),
        ({"neutral": "label:cats"}, {"neutral": 0, "retain": 5}),
        ({"duplicates": "ignore"}, {"retain": 6}),
    ],
)
def test_proxy_and_neutral_sets_are_cleaned_alike(
    sets: dict[str, Any],
    counts: dict[str, int],
    finished: RunResult,
    given: Given,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Near-copies stay where copies are to be ignored."""
    monkeypatch.chdir(given.photos)
    outlook = efface.plan(
        finished.model, **{"images": given.photos, "forget": "label:birds", **SHORTEST, **sets}
    )
    assert outlook.faults == []
    assert outlook.sets == outlook.sets | counts


def test_the_same_request_again_is_said_to_be_the_same(finished: RunResult, photos: Path) -> None:
    outlook = efface.plan(finished.model, images=photos, forget="label:cats", **SHORTEST)
    assert any("all images to be forgotten were forgotten earlier" in note for note in outlook.notes)
    some = efface.plan(
        finished.model, images=photos, forget=["label:birds", "glob:cats/cats-1.png"], **SHORTEST
    )
    assert any(note.startswith("1 of the images to be forgotten") for note in some.notes)


def test_a_set_that_held_nothing_else_is_said_to_be_empty(
    finished: RunResult, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match="no retain image is left: 3 of them were forgotten by earlier requests"
    ):
        efface.unlearn(
            finished.model,
            images=photos,
            forget="label:birds",
            retain="label:cats",
            out=tmp_path / "run",
            **SHORTEST,
        )
    assert not (tmp_path / "run").exists()


# a chain that cannot be read


def without(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def with_other_key(run: Path) -> None:
    (run / "run.key").write_text("ab" * 32)


def with_edited_manifest(run: Path) -> None:
    path = run / "manifests" / "forget.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def with_edited_record(run: Path) -> None:
    values = json.loads((run / "record.json").read_text())
    values["images"]["sets"]["forget"]["count"] = 0
    (run / "record.json").write_text(json.dumps(values))


def with_torn_record(run: Path) -> None:
    path = run / "record.json"
    path.write_text(path.read_text()[:-20])


def with_only_the_model(run: Path) -> None:
    for path in (*run.glob("*.*"), run / "manifests"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def with_only_the_weights(run: Path) -> None:
    with_only_the_model(run)
    (run / "model" / "efface_forgotten.json").unlink()


DAMAGE = {
    "no key": (without("run.key"), "run.key is gone"),
    "another key": (with_other_key, "is not the key with which this run was made"),
    "no manifest": (without("manifests/forget.jsonl"), "forget.jsonl cannot be read"),
    "an edited manifest": (with_edited_manifest, "forget.jsonl was changed after it was written"),
    "an edited record": (with_edited_record, "record.json was changed after it was written"),
    "a torn record": (with_torn_record, "record.json cannot be read"),
    "no record": (without("record.json"), "holds no record.json"),
    "the model alone": (with_only_the_model, "is a copy of a model that was made by forgetting images"),
    "the weights alone": (with_only_the_weights, "is a copy of a model that was made by forgetting images"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_ancestor_that_cannot_be_read_stops_the_run(
    damage: str, finished: RunResult, photos: Path, tmp_path: Path
) -> None:
    spoil, said = DAMAGE[damage]
    first = tmp_path / "first"
    shutil.copytree(finished.run, first)
    spoil(first)
    with pytest.raises(InputError, match=said) as refusal:
        efface.unlearn(
            first / "model", images=photos, forget="label:birds", out=tmp_path / "second", **SHORTEST
        )
    assert "--earlier unknown" in str(refusal.value)
    assert not (tmp_path / "second").exists()
    outlook = efface.plan(first / "model", images=photos, forget="label:birds", **SHORTEST)
    assert any(said in fault for fault in outlook.faults)


def test_what_is_unknown_is_gone_on_with_and_said(finished: RunResult, photos: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(finished.run, first)
    (first / "run.key").unlink()
    run = efface.unlearn(
        first / "model",
        images=photos,
        forget="label:birds",
        earlier="unknown",
        out=tmp_path / "second",
        **SHORTEST,
    )
    assert not run.record.images.earlier.followed
    assert run.record.images.count("retain") == 8
    assert "the operator went on without" in run.record.notes[0]
    assert "could not be read to its beginning" in (run.run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("how", ["copied beside", "linked", "a file in it", "moved"])
def test_a_model_is_known_wherever_its_run_can_be_found(
    how: str, finished: RunResult, photos: Path, tmp_path: Path
) -> None:
    first = tmp_path / "runs" / "first"
    shutil.copytree(finished.run, first)
    model = tmp_path / "runs" / "latest"
    if how == "copied beside":
        shutil.copytree(first / "model", model)
    elif how == "linked":
        model.symlink_to(first / "model")
    elif how == "moved":
        shutil.move(tmp_path / "runs", tmp_path / "archive")
        model = tmp_path / "archive" / "first" / "model"
    else:
        model = first / "model" / "."
    outlook = efface.plan(model, images=photos, forget="label:birds", **SHORTEST)
    assert (outlook.faults, outlook.sets["retain"]) == ([], 5)


def test_the_whole_chain_counts_though_the_first_model_is_gone(
    second: RunResult, finished: RunResult, given: Given, tmp_path: Path
) -> None:
    """What no run made may be thrown away once it is unlearned; a run in the middle may not."""
    shutil.copytree(finished.run, tmp_path / finished.run.name)
    shutil.copytree(second.run, tmp_path / "second")
    third: dict[str, Any] = {"images": given.photos, "forget": "glob:dogs/dogs-0.png", **SHORTEST}
    outlook = efface.plan(tmp_path / "second" / "model", **third)
    assert (outlook.faults, outlook.sets["retain"]) == ([], 4)
    assert any("by request 2 (8)" in note for note in outlook.notes)


# other verbs


def test_a_training_like_an_unlearned_model_leaves_out_what_that_forgot(
    finished: RunResult, photos: Path, tmp_path: Path
) -> None:
    trained = efface.train(
        photos, like=finished.model, out=tmp_path / "trained", training=SHORTEST["training"]
    )
    assert trained.record.images.count("retain") == 7
    assert trained.record.sources == {"like": finished.record.model.after.weights}  # type: ignore[union-attr]
    outlook = efface.plan(trained.model, images=photos, forget="label:birds", **SHORTEST)
    assert outlook.sets["retain"] == 5, "the training is followed to the model that it is like"


def test_what_a_training_left_out_is_not_trained_in_by_a_later_request(photos: Path, tmp_path: Path) -> None:
    trained = efface.train(
        photos, without="label:cats", out=tmp_path / "trained", training=SHORTEST["training"]
    )
    outlook = efface.plan(trained.model, images=photos, forget="label:birds", **SHORTEST)
    assert outlook.sets["retain"] == 5
    assert any("forgotten earlier, by training 1" in note for note in outlook.notes)


def test_an_evaluation_measures_nothing_as_kept_that_was_forgotten(
    second: RunResult, tiny: Path, given: Given, tmp_path: Path
) -> None:
    evaluation = efface.evaluate(
        tiny,
        second.model,
        images=given.photos,
        forget="label:birds",
        neutral="label:cats",
        out=tmp_path / "evaluation",
        evaluation={"resamples": 200},
    )
    counts = {name: facts.count for name, facts in evaluation.record.images.sets.items()}
    assert counts == {"forget": 2, "retain": 5, "neutral": 0}
    assert [request.forgotten for request in evaluation.record.images.earlier.requests] == [3, 2]


def test_a_reference_that_saw_the_images_is_none(
    tiny: Path, photos: Path, finished: RunResult, tmp_path: Path
) -> None:
    reference = efface.train(
        photos, without="label:birds", like=tiny, out=tmp_path / "reference", training=SHORTEST["training"]
    )
    with pytest.raises(InputError, match="lists 3 of these 3 among the images that it was trained on"):
        efface.unlearn(
            finished.model,
            images=photos,
            forget="label:cats",
            retrained=reference.model,
            out=tmp_path / "run",
            **SHORTEST,
        )
    assert not (tmp_path / "run").exists()
    outlook = efface.plan(
        finished.model, images=photos, forget="label:birds", retrained=reference.model, **SHORTEST
    )
    assert any("was trained on 3 images that were forgotten earlier" in note for note in outlook.notes)


def test_a_second_request_to_a_classifier_keeps_out_the_first(story: Story, tmp_path: Path) -> None:
    run = efface.unlearn(
        story.unlearned.model,
        images=story.digits.train,
        forget="glob:2/00*.png",
        neutral=story.digits.test,
        method=FINE_TUNE,
        out=tmp_path / "second",
        **SETTINGS,
    )
    (request,) = run.record.images.earlier.requests
    assert (request.taken_out, request.forgotten) == ({"retain": 8}, 8)
    assert run.record.images.count("retain") == 120 - 8 - 10
    assert run.classifier().classes == story.unlearned.classifier().classes
