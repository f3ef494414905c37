"""A task that begins with a base: its models are trained on from it, and its runs lie apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from efface.benchmark.classifiers.kind import CLASSIFIERS
from efface.benchmark.classifiers.runs import fresh, sets_of
from efface.benchmark.classifiers.task import ClassifierBench, ClassifierTask, new_classifier
from efface.benchmark.engines import InLineEngine
from efface.benchmark.generators.data import digest_of, images_of
from efface.benchmark.generators.kind import GENERATORS
from efface.benchmark.generators.models import new_generator, trained, unlearn
from efface.benchmark.generators.task import GeneratorBench, GeneratorTask
from efface.benchmark.pool import Pool
from efface.benchmark.runs import PoolRun
from efface.classifiers import save_classifier
from efface.errors import InputError
from efface.images.datasets import open_dataset

SMALL = {"batch_size": 8, "crop_scale": [1.0, 1.0], "flip": False, "precision": "fp32"}
VALUES: dict[str, Any] = {
    "images": {"data": "digits", "forget": "random:12", "limit": 40, "limit_test": 20},
    "architecture": {
        "image_size": 8, "patch_size": 2, "hidden_size": 16, "layers": 1, "heads": 2,
        "decoder_hidden_size": 16, "decoder_layers": 1, "decoder_heads": 2,
    },
    "training": {**SMALL, "steps": 1, "learning_rate": 1e-12, "corruption": "centre:0.5"},
    "unlearning": {**SMALL, "steps": 2},
    "corruptions": ["centre:0.5"],
}  # fmt: skip
DIGITS: dict[str, Any] = {"data": "digits", "forget": "random:12", "limit": 120}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    new_generator(GeneratorTask.from_values(VALUES), seed=5).save(folder)
    return folder


def test_models_of_a_task_begin_with_its_base(base: Path) -> None:
    task = GeneratorTask.from_values({**VALUES, "base": str(base)})
    before, data = new_generator(task).network.state_dict(), images_of(task)
    original, _ = trained(task, data, data.sets["retain"], seed=0)
    after = {name: tensor.clone() for name, tensor in original.network.state_dict().items()}
    assert all(float((before[name] - after[name]).abs().max()) < 1e-6 for name in before)
    unlearn(original, {"name": "encoder-noise", "target": "base"}, task, data, seed=0)
    now = original.network.state_dict()
    moved = {name for name in now if not now[name].equal(after[name])}
    assert moved
    assert moved <= set(original.encoder_parameters())


def test_runs_of_another_base_or_none_lie_apart(base: Path, tmp_path: Path) -> None:
    plain = GeneratorTask.from_values(VALUES)
    assert "base" not in plain.as_dict(), "pools from before there were bases stay as they are"
    other = new_generator(plain, seed=6)
    other.save(tmp_path / "other")
    tasks = [GeneratorTask.from_values({**VALUES, "base": str(path)}) for path in (base, tmp_path / "other")]
    assert len({digest_of(one) for one in (plain, *tasks)}) == 3
    assert tasks[0].without_paths()["base"] == base.name


def test_a_method_that_asks_a_base_needs_one_and_it_has_the_tasks_size(base: Path) -> None:
    asking = {"methods": [{"name": "encoder-noise", "target": "base"}]}
    plain = GeneratorTask.from_values(VALUES)
    with pytest.raises(InputError, match="they ask the task's base, and it has none"):
        GENERATORS.check(GeneratorBench.read({"tasks": {"one": plain}, **asking}), plain)
    larger = {**VALUES, "base": str(base), "architecture": {**VALUES["architecture"], "image_size": 16}}
    with pytest.raises(InputError, match="is of mae and 8 px, the task of mae and 16 px"):
        new_generator(GeneratorTask.from_values(larger))


@pytest.fixture(scope="module")
def digits_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of digits with fresh weights, without batch normalisation."""
    folder = tmp_path_factory.mktemp("digits") / "model"
    task = ClassifierTask.from_values({"images": DIGITS, "network": {"network": "mlp", "width": 8}})
    save_classifier(new_classifier(task, open_dataset(task.images), seed=5), folder)
    return folder


def digits_task(base: Path | None, **changes: Any) -> ClassifierTask:
    recipe = {"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0, "optimizer": "sgd"}
    return ClassifierTask.from_values(
        {"images": DIGITS, "recipe": recipe, "base": base and str(base), **changes}
    )


def test_classifiers_of_a_task_begin_with_its_base(digits_base: Path, tmp_path: Path) -> None:
    task = digits_task(digits_base)
    data = open_dataset(task.images)
    model, facts = fresh(task, data, sets_of(data), seed=3)
    assert facts.base is not None
    assert (
        facts.base.weights_digest()
        == model.weights_digest()
        == new_classifier(task, data, 9).weights_digest()
    )
    pool = Pool(tmp_path / "pool", task, CLASSIFIERS)
    section = {"name": "bad-teacher", "teacher": "base"}
    runs = [PoolRun("original", 0), PoolRun("retrained", 1), PoolRun.unlearned(section, 0, 0)]
    assert pool.fill(runs, InLineEngine()) == []
    kept = [pool.outputs(run).confidence["forget"] for run in runs[:2]]
    assert abs(kept[0] - kept[1]).max() < 1e-4, "neither has moved from the base"
    assert CLASSIFIERS.digest(task) != CLASSIFIERS.digest(digits_task(None))


def test_a_classifiers_base_that_does_not_fit_is_refused(digits_base: Path) -> None:
    with pytest.raises(InputError, match="with base, they are the base's; leave them out"):
        digits_task(digits_base, network={"network": "small-conv"})
    larger = digits_task(digits_base, images={"data": "digits", "limit": 120, "image_size": 16})
    with pytest.raises(
        InputError, match="takes pictures of 8 px and 1 channels, the task has 16 px and 1 channels"
    ):
        CLASSIFIERS.check(ClassifierBench.read({"tasks": {"one": larger}, "methods": ["ssd"]}), larger)
