"""Memorisation: worked by hand, and a planted wrong label that only memory can explain."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from efface.benchmark import memorisation as module
from efface.benchmark.classifiers.task import ClassifierTask, task_named
from efface.benchmark.engines import InLineEngine
from efface.benchmark.memorisation import estimate, memorisation
from efface.errors import InputError, Stopped
from efface.images.datasets import open_dataset
from efface.images.datasets.digits import read_digits
from efface.images.datasets.source import Source

RECIPE = {"epochs": 60, "batch_size": 64, "learning_rate": 0.02, "weight_decay": 0.0, "class_weights": False}
TINY = {
    "network": {"network": "mlp", "width": 64},
    "normalisation": "unit",
    "recipe": RECIPE,
}
IMAGES = {"limit": 80}


def tiny(**changes: object) -> ClassifierTask:
    """changes: of the images."""
    digits = task_named("digits").as_dict()
    return ClassifierTask.read({**digits, **TINY, "images": {**digits["images"], **IMAGES, **changes}})


def test_scores_are_right_with_less_right_without():
    member = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    correct = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=bool)
    found = memorisation(correct, member)
    assert found.scores[0] == 1.0 - 0.5
    assert found.scores[1] == pytest.approx(2 / 3 - 1.0)
    assert np.isnan(found.scores[2])
    assert np.isnan(found.low[2])
    assert found.seen.tolist() == [2, 3, 4]
    assert found.unseen.tolist() == [2, 1, 0]


def test_intervals_are_newcombes():
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 lies in 0.0524 to 0.3339, and 10/10 - 0/10 in 0.6075 to 1
    for (right, of), (wrong, others), interval in (
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ):
        member = np.arange(of + others)[:, None] < of
        correct = np.r_[np.arange(of) < right, np.arange(others) < wrong][:, None]
        found = memorisation(correct, member)
        assert (found.low[0], found.high[0]) == pytest.approx(interval, abs=5e-5)


def test_arrays_that_do_not_fit_are_refused_together():
    with pytest.raises(InputError, match=r"member: bool(.|\n)*differ in shape"):
        memorisation(np.zeros((2, 3), bool), np.zeros((2, 4)))


def mislabelled(side: int, channels: int) -> Source:
    """The digits, with the first five called the next digit."""
    digits = read_digits(side, channels)
    labels = digits.labels.copy()
    labels[:5] = (labels[:5] + 1) % 10
    return Source(digits.ids, labels, digits.classes, digits.pixels)


def test_a_wrong_label_is_memorised_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planted = [f"digits/{place:04d}" for place in range(5)]
    (tmp_path / "planted.txt").write_text("\n".join(planted))
    monkeypatch.setattr("efface.images.datasets.readers.read_digits", mislabelled)
    module._opened.cache_clear()
    task = tiny(forget=f"list:{tmp_path}/planted.txt")
    found = estimate(task, 10, InLineEngine(), tmp_path / "models")
    module._opened.cache_clear()
    train = open_dataset(task.images).train
    wrong = np.isin(train.ids, planted)
    assert found.scores[wrong].min() > 0.6
    assert np.nanmedian(found.scores[~wrong]) < 0.2
    assert np.all(found.seen + found.unseen == 10)
    with np.load(tmp_path / "models" / "scores.npz", allow_pickle=False) as kept:
        assert kept["ids"].tolist() == list(train.ids)
        assert np.array_equal(kept["scores"], found.scores, equal_nan=True)


def test_an_estimate_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    task = tiny(limit=40)
    begun: list[int] = []
    faulty = {2}
    carry_out = module.carry_out

    def counted(job: module.MemorisationJob) -> None:
        begun.append(job.number)
        if job.number in faulty:
            raise RuntimeError("out of memory")
        carry_out(job)

    monkeypatch.setattr(module, "carry_out", counted)
    with pytest.raises(
        Stopped, match="1 of 4 models could not be trained, the first for: RuntimeError: out of memory"
    ):
        estimate(task, 4, InLineEngine(), tmp_path / "stopped")
    assert begun == [0, 1, 2, 3]
    faulty.clear()
    found = estimate(task, 4, InLineEngine(), tmp_path / "stopped")
    assert begun[4:] == [2]
    whole = estimate(task, 4, InLineEngine(), tmp_path / "whole")
    assert np.array_equal(found.scores, whole.scores, equal_nan=True)
    assert np.all(found.seen.sum() == 4 * 28)


def test_the_scores_of_a_task_make_a_forget_set_of_it(tmp_path: Path):
    found = estimate(tiny(limit=40), 4, InLineEngine(), tmp_path)
    chosen = open_dataset(tiny(limit=40, forget=f"memorised:4@{tmp_path}/scores.npz").images)
    train = open_dataset(tiny(limit=40).images).train
    assert chosen.train.ids == train.ids
    taken = np.isin(train.ids, chosen.forget.ids)
    assert taken.sum() == 4
    rest = found.scores[~taken]
    assert found.scores[taken].min() >= np.nanmax(rest)


def test_models_of_another_estimate_are_not_mixed_in(tmp_path: Path):
    estimate(tiny(limit=40), 2, InLineEngine(), tmp_path)
    with pytest.raises(InputError, match="belongs to an estimate of another task, share or seed"):
        estimate(tiny(limit=40), 2, InLineEngine(), tmp_path, seed=1)
    # which images are to be forgotten does not matter to it
    estimate(tiny(limit=40, forget="random:0.2"), 2, InLineEngine(), tmp_path)
    (tmp_path / "model-00001.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"model-00001\.npz is damaged"):
        estimate(tiny(limit=40), 2, InLineEngine(), tmp_path)


def test_a_job_can_be_sent_to_a_worker():
    job = module.MemorisationJob("folder", tiny(), 3, 0.7, 0, "digest")
    assert pickle.loads(pickle.dumps(job)) == job
    assert job.place == Path("folder/model-00003.npz")


def test_an_estimate_needs_models_and_a_share(tmp_path: Path):
    with pytest.raises(InputError, match=r"models is 1(.|\n)*share is 1"):
        estimate(tiny(), 1, InLineEngine(), tmp_path, share=1)
