"""What a run changed as one file: base and delta make the run's model again, to the bit, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import efface
from efface.errors import InputError, Mismatch, RunRefused
from efface.jobs.run import RunResult
from efface.runs.delta import CARD, KEY, NAME, apply_delta, read_delta, write_delta
from efface.runs.digests import file_digests
from efface.runs.verification import verify
from efface.weights import with_product
from support.classifier_fixtures import Story
from support.family_runs import STORIES, UNLEARNING, FamilyStory, evaluation
from support.run_fixtures import CommandLine


@pytest.fixture(params=STORIES)
def family(request: pytest.FixtureRequest, stories: dict[str, FamilyStory]) -> FamilyStory:
    return stories[request.param]


@pytest.fixture
def delta(finished: RunResult, tmp_path: Path) -> Path:
    return write_delta(finished.run, out=tmp_path / NAME).path


def test_base_and_delta_make_the_model_of_every_family_again(family: FamilyStory, tmp_path: Path) -> None:
    made = write_delta(family.run.run, family.original.model, tmp_path / NAME)
    applied = apply_delta(family.original.model, made.path, tmp_path / "model")
    assert file_digests(tmp_path / "model") == file_digests(family.run.model)
    assert 0 < applied.changed == made.changed < made.tensors == applied.tensors
    efface.load(tmp_path / "model")


def test_and_that_of_a_classifier(story: Story, tmp_path: Path, cli: CommandLine) -> None:
    assert cli("delta", story.unlearned.run).code == 0
    assert {check.outcome for check in verify(story.unlearned.run)} == {"matches", "not bound"}
    outcome = cli(
        "apply", story.original.model, story.unlearned.run / NAME, "--out", tmp_path / "model", "--json"
    )
    (story.unlearned.run / NAME).unlink()
    assert file_digests(tmp_path / "model") == file_digests(story.unlearned.model)
    after = story.unlearned.record.model.after
    assert after
    assert json.loads(outcome.out)["weights"] == after.weights


def test_of_low_rank_factors_only_the_factors_are_shipped(
    stories: dict[str, FamilyStory], photos: Path, tmp_path: Path, cli: CommandLine
) -> None:
    original, run = stories["latent-inpainting"].original.model, tmp_path / "run"
    sections = {
        "training": UNLEARNING,
        "evaluation": evaluation("latent-inpainting"),
        "model": {"lora_rank": 2},
    }
    settings = [
        text
        for section, values in sections.items()
        for name, value in values.items()
        for text in ("--set", f"{section}.{name}={value}")
    ]
    sets = ("--images", photos, "--forget", "label:cats", "--neutral", "label:birds")
    assert cli("unlearn", original, *sets, "--out", run, *settings).code == 0
    made = write_delta(run, original)
    factors = [place for place in read_delta(made.path)[1] if ".lora_" in place]
    assert made.changed == len(factors) > 0
    assert made.facts.low_rank
    apply_delta(original, made.path, tmp_path / "model")
    assert file_digests(tmp_path / "model") == file_digests(run / "model")


def test_a_product_of_factors_is_added_in_one_order() -> None:
    draws = torch.Generator().manual_seed(0)
    weight, a, b = (
        torch.randn(*shape, generator=draws) for shape in ((6, 4, 3, 3), (2, 4, 3, 3), (6, 2, 1, 1))
    )
    added = with_product(weight, a, b)
    expected = weight.double() + (b.double().flatten(1) @ a.double().flatten(1)).view(6, 4, 3, 3)
    assert torch.allclose(added.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(added, with_product(weight, a, b))


def test_tensors_are_told_by_what_they_hold_in_whatever_file_the_base_lies(
    finished: RunResult, tiny: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny / "model.safetensors")
    torch.save(
        {"model": {f"module.{name}": tensor for name, tensor in tensors.items()}}, tmp_path / "base.pth"
    )
    made = write_delta(finished.run, tiny, tmp_path / NAME)
    apply_delta(tmp_path / "base.pth", made.path, tmp_path / "model")
    assert file_digests(tmp_path / "model") == file_digests(finished.model)


def test_another_base_is_refused_on_both_sides(
    finished: RunResult, delta: Path, tmp_path: Path, cli: CommandLine
) -> None:
    with pytest.raises(InputError, match="cannot be taken for the model with which"):
        write_delta(finished.run, finished.model, tmp_path / "other")
    with pytest.raises(InputError, match=r"is not the model that .* was made from"):
        apply_delta(finished.model, delta, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    outcome = cli("apply", tmp_path / "nothing", delta, "--out", tmp_path / "model")
    assert outcome.code == 2
    assert "no model at" in outcome.err


def rewritten(delta: Path, change: Any) -> None:
    """The delta with its tensors and facts changed, as who may write the file can do."""
    with safe_open(delta, "pt") as file:
        metadata = dict(file.metadata())
    tensors, facts = load_file(delta), json.loads(metadata[KEY])
    change(tensors, facts)
    save_file(tensors, delta, metadata={**metadata, KEY: json.dumps(facts)})


def a_weight(tensors: dict[str, torch.Tensor]) -> str:
    return next(place for place in tensors if place.endswith(".weight"))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, _: tensors[a_weight(tensors)].view(-1)[:1].add_(1e-3),
        lambda tensors, _: tensors.pop(a_weight(tensors)),
        lambda tensors, _: tensors.pop("config.json"),
        lambda tensors, _: tensors["model.safetensors#the header"].add_(1),
        lambda _, facts: facts["kept"].popitem(),
        lambda _, facts: facts["kept"].update({next(iter(facts["kept"])): "0" * 64}),
        lambda _, facts: facts["files"].update({"config.json": "0" * 64}),
    ],
)
def test_a_delta_that_was_changed_is_refused(delta: Path, tiny: Path, tmp_path: Path, change: Any) -> None:
    rewritten(delta, change)
    with pytest.raises((Mismatch, InputError)):
        apply_delta(tiny, delta, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME]


def test_no_delta_writes_outside_of_its_folder(delta: Path, tiny: Path, tmp_path: Path) -> None:
    rewritten(delta, lambda _, facts: facts["files"].update({"../evil": "0" * 64}))
    with pytest.raises(InputError, match="would write outside"):
        apply_delta(tiny, delta, tmp_path / "model")


def test_what_is_no_delta_and_a_folder_in_use_are_named(delta: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no delta of efface"):
        apply_delta(tiny, tiny / "model.safetensors", tmp_path / "model")
    with pytest.raises(InputError, match="not readable"):
        apply_delta(tiny, tiny / "config.json", tmp_path / "model")
    with pytest.raises(RunRefused, match="is not empty"):
        apply_delta(tiny, delta, tiny)


def test_a_run_whose_model_was_changed_or_has_no_base_gives_no_delta(
    finished: RunResult, story: Story, tmp_path: Path
) -> None:
    import shutil

    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    (run / "model" / "config.json").write_text("{}")
    with pytest.raises(Mismatch, match="is not what the run wrote"):
        write_delta(run)
    with pytest.raises(InputError, match="began with fresh weights"):
        write_delta(story.original.run)


def test_the_card_goes_with_the_delta_as_it_is(
    finished: RunResult, delta: Path, tiny: Path, tmp_path: Path
) -> None:
    apply_delta(tiny, delta, tmp_path / "model")
    assert (tmp_path / "model" / CARD).read_text() == (finished.model / CARD).read_text()
