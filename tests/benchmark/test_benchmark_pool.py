"""A pool carries out each run once, goes on where it stopped, and gives what an independent training gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.benchmark import code
from efface.benchmark.classifiers.kind import CLASSIFIERS
from efface.benchmark.classifiers.runs import WARM_UP_STEPS, warm_up
from efface.benchmark.classifiers.task import ClassifierTask, new_classifier
from efface.benchmark.engines import InLineEngine, Outcome
from efface.benchmark.pool import Pool, RunFailure
from efface.benchmark.runs import PoolRun, RunJob
from efface.errors import InputError, RunRefused
from efface.forgetting.confidence import logit_scaled_confidence
from efface.images.datasets import open_dataset
from efface.images.labelled import LabelledImages
from efface.methods.classifier.base import unlearn_classifier
from efface.methods.classifier.fine_tune import FineTuneClassifier
from efface.methods.registry import CLASSIFIER_METHODS, read_classifier_method
from efface.progress import Progress
from efface.training.classification import run_passes
from efface.training.passes import Facts, training_pass

TASK = ClassifierTask.read(
    {
        "images": {"data": "digits", "limit": 150},
        "network": {"network": "small-conv", "width": 4},
        "recipe": {"epochs": 2, "learning_rate": 5e-3, "batch_size": 32},
    },
    where="the task",
)
METHOD = {"name": "fine-tune", "epochs": 1.0, "learning_rate": 0.05}


def with_images(**changes: str) -> ClassifierTask:
    return TASK.model_copy(update={"images": TASK.images.model_copy(update=changes)})


class Counting(InLineEngine):
    """Carries out at most `most` runs, and remembers which."""

    def __init__(self, most: int = 1000) -> None:
        self.most, self.done = most, list[PoolRun]()

    def run(self, function, tasks: Sequence[RunJob], done) -> Iterator[Outcome[RunJob]]:  # type: ignore[no-untyped-def, override]
        for outcome in super().run(function, tasks[: self.most - len(self.done)], done):
            self.done.append(outcome.task.run)
            yield outcome


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    filled = Pool(tmp_path_factory.mktemp("pool"), TASK, CLASSIFIERS)
    runs = [
        PoolRun("retrained", 0),
        PoolRun("retrained", 1),
        PoolRun.unlearned(METHOD, 0, 0),
        PoolRun.unlearned(METHOD, 0, 1),
    ]
    assert filled.fill(runs, InLineEngine()) == []
    return filled


def logits(model: torch.nn.Module, images: LabelledImages) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model(torch.from_numpy(images.pixels)).numpy()
    return found


def test_an_unlearned_run_is_the_method_on_the_original_by_hand(pool: Pool) -> None:
    data = open_dataset(TASK.images)
    sets = {"forget": data.forget, "retain": data.retain, "validation": data.validation}
    sizes = {name: len(images) for name, images in sets.items()}

    def facts(run: PoolRun) -> Facts:
        return Facts(sizes, 10, model.blocks, TASK.recipe, run.key)

    first, second = PoolRun("original", 0), PoolRun.unlearned(METHOD, 0, 1)
    model = new_classifier(TASK, data, first.key)
    run_passes(model, [training_pass(TASK.recipe, "train")], {**sets, "train": data.train}, facts(first))
    unlearned, report = unlearn_classifier(model, read_classifier_method(METHOD), sets, facts(second))
    kept = pool.outputs(second)
    for name, images in (("forget", data.forget), ("retain", data.retain), ("test", data.test)):
        found = logits(unlearned, images)
        confidence = logit_scaled_confidence(found, images.labels)
        np.testing.assert_allclose(kept.confidence[name], confidence, atol=1e-4)
        assert kept.accuracy(name) == pytest.approx((found.argmax(1) == images.labels).mean())
    np.testing.assert_allclose(kept.logits["test"], logits(unlearned, data.test), atol=1e-4)
    assert kept.spent.steps == report.steps
    assert kept.spent.seconds > 0


def test_runs_of_other_seeds_differ(pool: Pool) -> None:
    stacked = np.stack([pool.outputs(PoolRun("retrained", seed)).confidence["forget"] for seed in (0, 1)])
    assert stacked.shape == (2, len(open_dataset(TASK.images).forget))
    assert not np.allclose(stacked[0], stacked[1])
    assert not np.array_equal(
        *(pool.outputs(PoolRun.unlearned(METHOD, 0, seed)).confidence["forget"] for seed in (0, 1))
    )


def test_what_is_there_is_not_done_again_and_a_stopped_pool_goes_on(pool: Pool, tmp_path: Path) -> None:
    runs = [PoolRun("retrained", 0), PoolRun("retrained", 1), PoolRun.unlearned(METHOD, 0, 0)]
    started = Pool(tmp_path, TASK, CLASSIFIERS)
    started.fill(runs, Counting(most=2))
    again = Counting()
    assert Pool(tmp_path, TASK, CLASSIFIERS).fill(runs, again) == []
    assert len(again.done) == 2
    nothing = Counting()
    Pool(tmp_path, TASK, CLASSIFIERS).fill(runs, nothing)
    assert nothing.done == []
    for run in runs:
        np.testing.assert_array_equal(
            started.outputs(run).confidence["test"], pool.outputs(run).confidence["test"]
        )


def test_the_original_that_a_run_starts_from_is_made_first(tmp_path: Path) -> None:
    engine = Counting()
    Pool(tmp_path, TASK, CLASSIFIERS).fill([PoolRun.unlearned(METHOD, 5, 0)], engine)
    assert engine.done == [PoolRun("original", 5), PoolRun.unlearned(METHOD, 5, 0)]


def test_a_run_that_would_fail_again_is_remembered_and_not_tried_again(pool: Pool) -> None:
    wild = PoolRun.unlearned({"name": "fine-tune", "learning_rate": 1e30}, 0, 0)
    engine = Counting()
    for _ in range(2):
        (failure,) = pool.fill([wild], engine)
        assert failure.run == wild
        assert failure.lasting
        assert "the loss is not finite" in failure.error
    assert engine.done == [wild]
    with pytest.raises(InputError, match="does not hold the run"):
        pool.outputs(wild)


def test_results_are_told_no_place_of_this_machine() -> None:
    error = (
        "OSError: [Errno 2] No such file: '/home/someone/pool/run.npz'; see https://pypi.org/project/x or a/b"
    )
    told = RunFailure(PoolRun("original", 0), error, lasting=False).told
    assert told == "OSError: [Errno 2] No such file: 'run.npz'; see https://pypi.org/project/x or a/b"


def test_a_limit_of_time_is_kept_and_said(pool: Pool) -> None:
    long = PoolRun.unlearned({**METHOD, "epochs": 500.0}, 0, 0)
    pool.fill([long], InLineEngine(), limit=0.05)
    assert pool.spent(long).cut
    assert pool.spent(long).seconds < 5
    assert not pool.spent(PoolRun.unlearned(METHOD, 0, 0)).cut


def test_torch_is_warm_before_the_first_timed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []

    def noting(model, passes, sets, facts, **others):  # type: ignore[no-untyped-def]
        sizes = {name: len(images) for name, images in sets.items()}
        steps.append(sum(one.steps(sizes) for one in passes))
        return run_passes(model, passes, sets, facts, **others)

    warm_up.cache_clear()
    monkeypatch.setattr("efface.training.classification.run_passes", noting)
    state = torch.random.get_rng_state()
    warmed = Pool(tmp_path, TASK, CLASSIFIERS)
    warmed.fill([PoolRun("original", 0), PoolRun("original", 1)], InLineEngine())
    # 3 thrown-away steps once, then two trainings of two epochs
    assert steps == [WARM_UP_STEPS, steps[1], steps[1]]
    assert steps[1] > WARM_UP_STEPS
    assert {warmed.spent(PoolRun("original", seed)).steps for seed in (0, 1)} == {steps[1]}
    assert sorted(path.name for path in tmp_path.glob("score/original-*/*")) == [
        "0.npz", "0.safetensors", "1.npz", "1.safetensors"
    ]  # fmt: skip
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_warm_up_changes_no_run(pool: Pool, tmp_path: Path) -> None:
    warm_up.cache_clear()
    again = Pool(tmp_path, TASK, CLASSIFIERS)
    again.fill([PoolRun("retrained", 0)], InLineEngine())
    one, other = (some.outputs(PoolRun("retrained", 0)).confidence for some in (again, pool))
    np.testing.assert_array_equal(one["test"], other["test"])


class Losing(InLineEngine):
    """Its workers write where nobody reads."""

    def _run_once(self, function, tasks: Sequence[RunJob], *others) -> Iterator[Outcome[RunJob]]:  # type: ignore[no-untyped-def, override]
        yield from (Outcome(task) for task in tasks)


def test_a_run_that_ended_well_but_left_no_file_is_a_failure_that_says_so(tmp_path: Path) -> None:
    (failure,) = Pool(tmp_path, TASK, CLASSIFIERS).fill([PoolRun("retrained", 0)], Losing())
    assert failure.run == PoolRun("retrained", 0)
    assert not failure.lasting
    assert failure.error.startswith("the task ended without an error, but its result is not there")
    assert "shared" in failure.error


def test_workers_are_told_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[RunJob] = []

    class Noting(Losing):
        def _run_once(self, function, tasks: Sequence[RunJob], *others) -> Iterator[Outcome[RunJob]]:  # type: ignore[no-untyped-def, override]
            told.extend(tasks)
            yield from super()._run_once(function, tasks, *others)

    monkeypatch.chdir(tmp_path)
    rules = {"path": "images", "forget": "list:mine.txt"}
    Path("mine.txt").write_text("0\n1\n2\n", encoding="utf-8")
    started = Pool(Path("pool"), with_images(forget=rules["forget"]), CLASSIFIERS)
    started.fill([PoolRun("retrained", 0)], Noting())
    assert told[0].place.is_relative_to(tmp_path / "pool")
    assert json.loads(told[0].task)["images"]["forget"] == f"list:{tmp_path / 'mine.txt'}"
    folders = with_images(data="folder", **rules).with_whole_path()
    assert folders.images.path == str(tmp_path / "images")


def test_an_original_that_was_made_again_is_read_again(tmp_path: Path) -> None:
    first, second = PoolRun.unlearned(METHOD, 0, 0), PoolRun.unlearned(METHOD, 0, 1)
    refilled = Pool(tmp_path, TASK, CLASSIFIERS)
    refilled.fill([first, PoolRun("original", 1)], InLineEngine())
    expected = refilled.outputs(first).confidence["test"]
    # another original in its place
    (weights,) = tmp_path.glob("score/original-*/0.safetensors")
    weights.write_bytes(weights.with_stem("1").read_bytes())
    next(tmp_path.glob("score/unlearned/*/from-0/0.npz")).unlink()
    refilled.fill([first, second], InLineEngine())
    assert not np.allclose(refilled.outputs(first).confidence["test"], expected)


def test_an_original_whose_weights_were_removed_is_trained_again_for_a_new_method(tmp_path: Path) -> None:
    first, second = PoolRun.unlearned(METHOD, 0, 0), PoolRun.unlearned(METHOD, 0, 1)
    whole = Pool(tmp_path / "whole", TASK, CLASSIFIERS)
    assert whole.fill([first, second], InLineEngine()) == []
    removed = Pool(tmp_path / "removed", TASK, CLASSIFIERS)
    removed.fill([first], InLineEngine())
    (file,) = (tmp_path / "removed").glob("score/original-*/0.npz")
    measured = file.read_bytes()
    assert removed.drop_weights() == 1
    assert not list((tmp_path / "removed").rglob("*.safetensors"))
    engine = Counting()
    assert removed.fill([first], engine) == []
    assert engine.done == []
    assert removed.fill([second], engine) == []
    assert engine.done == [PoolRun("original", 0), second]
    assert file.read_bytes() == measured
    np.testing.assert_array_equal(
        removed.outputs(second).confidence["test"], whole.outputs(second).confidence["test"]
    )


def test_an_original_that_comes_out_unlike_the_measured_one_is_not_started_from(tmp_path: Path) -> None:
    runs = [PoolRun.unlearned(METHOD, 0, seed) for seed in (0, 1)]
    other = Pool(tmp_path, TASK, CLASSIFIERS)
    other.fill(runs[:1], InLineEngine())
    (file,) = tmp_path.glob("score/original-*/0.npz")
    with np.load(file) as arrays:
        changed = {**arrays, "weights": "0" * 64}
    np.savez(file, **changed)
    other.drop_weights()
    engine = Counting()
    failures = other.fill(runs, engine)
    assert [failure.run for failure in failures] == [PoolRun("original", 0), runs[1]]
    assert all("has other weights than the one that was measured" in failure.error for failure in failures)
    assert not any(failure.lasting for failure in failures)
    assert engine.done == [PoolRun("original", 0)]


def test_few_outputs_are_kept_in_memory_and_none_to_know_seconds(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [PoolRun("retrained", 0), PoolRun("retrained", 1), PoolRun.unlearned(METHOD, 0, 0)]
    monkeypatch.setattr("efface.benchmark.pool.KEPT", 2)
    fresh = Pool(pool.folder, TASK, CLASSIFIERS)
    assert fresh.seconds(runs) == np.mean([pool.outputs(run).spent.seconds for run in runs])
    assert list(fresh._read) == []
    for run in (*runs[:2], runs[0], runs[2]):
        fresh.outputs(run)
    # the one that was not asked for of late is gone
    assert list(fresh._read) == [runs[0], runs[2]]


PLUG_IN = """
from typing import ClassVar
from efface.methods.classifier.fine_tune import FineTuneClassifier
from {package}.amount import AMOUNT  # how much

class Outside(FineTuneClassifier):
    name: ClassVar[str] = "outside"
"""


def plug_in(folder: Path, package: str, amount: str = "AMOUNT = 1\n") -> type[FineTuneClassifier]:
    """A method of another package, whose code is written down."""
    place = folder / package
    place.mkdir(exist_ok=True)
    (place / "__init__.py").write_text("", encoding="utf-8")
    (place / "method.py").write_text(PLUG_IN.format(package=package), encoding="utf-8")
    (place / "amount.py").write_text(amount, encoding="utf-8")
    for cached in (code._tree, code._imports, code._path, code.code_digest):
        cached.cache_clear()
    method: type[FineTuneClassifier] = import_module(f"{package}.method").Outside
    return method


def test_a_method_whose_code_changed_is_carried_out_anew_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    runs = [PoolRun("retrained", 0), PoolRun.unlearned({"name": "outside", "epochs": 1.0}, 0, 0)]
    told: list[str] = []

    class Telling(Progress):
        def say(self, text: str) -> None:
            told.append(text)

    def filled(amount: str) -> list[PoolRun]:
        method = plug_in(tmp_path, "efface_outside", amount)
        engine = Counting()
        with CLASSIFIER_METHODS.added(method):
            assert Pool(tmp_path / "pool", TASK, CLASSIFIERS).fill(runs, engine, Telling()) == []
        return engine.done

    assert filled("AMOUNT = 1\n") == [PoolRun("original", 0), *runs]
    assert filled('"""What is said of it does not count."""\n\nAMOUNT = 1  # nor this\n') == []
    assert not any("changed" in line for line in told)
    assert filled("AMOUNT = 2\n") == runs[1:]
    assert any("its code has changed" in line and "outside" in line for line in told)
    # what was there is there again
    assert filled("AMOUNT = 1\n") == []


def test_a_run_is_decided_by_the_code_of_its_training_and_its_method_alone() -> None:
    original = CLASSIFIERS.code(TASK, PoolRun("original", 0))
    section = {"name": "salun"}
    of_method = set(CLASSIFIERS.code(TASK, PoolRun.unlearned(section, 0, 0))) - set(original)
    assert of_method == {"efface.methods.classifier.salun"}
    reached = code._reached(original, code.DECIDING)
    assert {"efface.training.classification", "efface.classifiers.networks"} <= reached
    assert not any(name.startswith("efface.methods.classifier.s") for name in reached)
    # a method is not decided by what lays down another one, unless it imports that
    assert "efface.methods.classifier.random_labels" in code._reached(list(of_method), code.DECIDING)
    assert "efface.methods.classifier.scrub" not in code._reached(list(of_method), code.DECIDING)


def test_a_folder_of_another_task_is_refused(pool: Pool) -> None:
    with pytest.raises(RunRefused, match="a pool of another task"):
        Pool(pool.folder, with_images(forget="random:0.1"), CLASSIFIERS)
    note = json.loads((pool.folder / "task.json").read_text(encoding="utf-8"))
    assert note["contents"] == open_dataset(TASK.images).digest()
