"""How much a training remembers each single image: the estimate of Feldman and Zhang, from many trainings on subsets.

mem(i) = P[model is right on image i | i was trained on] - P[the same | it was not] (arXiv:2008.03703, equation 1 and
section 3). Images that are memorised are those that forgetting changes most; `memorised:COUNT@SCORES.npz` makes a
forget set of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from efface.arrays import read_arrays
from efface.errors import Faults, InputError, Stopped
from efface.files import private_files, replacing
from efface.randomness import key, numpy_draws
from efface.runs.folder import hold

if TYPE_CHECKING:
    from efface.benchmark.classifiers.task import ClassifierTask
    from efface.benchmark.engines import Engine, Outcome
    from efface.images.datasets import Dataset
    from efface.images.labelled import LabelledImages

SCORES = "scores.npz"
QUANTILE = 1.959964
"""Of the standard normal, for intervals at 95 %."""
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Memorisation:
    """For each image `[images]`: its score in -1..1, the interval of it at 95 %, and how many models saw it, or not.

    score, low and high are nan where no model saw the image, or every model did.
    """

    scores: Floats
    low: Floats
    high: Floats
    seen: npt.NDArray[np.int64]
    unseen: npt.NDArray[np.int64]


@dataclass(frozen=True)
class MemorisationJob:
    """One training on a share of a task's training images; `data` is the digest that they must have."""

    folder: str
    task: ClassifierTask
    number: int
    share: float
    seed: int
    data: str

    @property
    def place(self) -> Path:
        """Where what became of it is kept."""
        return Path(self.folder) / f"model-{self.number:05d}.npz"


def memorisation(correct: Bools, member: Bools) -> Memorisation:
    """Scores from which models are right, and which were trained, on which image: bool `[models, images]` both.

    Intervals are Newcombe's for a difference of proportions (Statistics in Medicine 17, 1998, method 10). Raises
    `InputError` where the arrays do not fit together.
    """
    correct, member = np.asarray(correct), np.asarray(member)
    with Faults("memorisation cannot be estimated") as faults:
        for name, values in (("correct", correct), ("member", member)):
            if values.dtype != np.bool_ or values.ndim != 2:
                faults.add(
                    f"{name}: bool [models, images] is needed, not {values.dtype} {list(values.shape)}"
                )
        if correct.shape != member.shape:
            faults.add(f"correct {list(correct.shape)} and member {list(member.shape)} differ in shape")
    seen, unseen = member.sum(0), (~member).sum(0)
    p, p_low, p_high = _proportion((correct & member).sum(0), seen)
    q, q_low, q_high = _proportion((correct & ~member).sum(0), unseen)
    low = p - q - np.hypot(p - p_low, q_high - q)
    high = p - q + np.hypot(p_high - p, q - q_low)
    return Memorisation(p - q, low, high, seen.astype(np.int64), unseen.astype(np.int64))


def estimate(
    task: ClassifierTask,
    models: int,
    engine: Engine,
    folder: Path,
    *,
    share: float = 0.7,
    seed: int = 0,
    each: Callable[[Outcome[MemorisationJob]], None] | None = None,
) -> Memorisation:
    """Train `models` models of a task on random shares of its training images, and score these images.

    Images are those of `Dataset.train`, in that order. The folder gets one file for each model, and `scores.npz` with
    the arrays of `Memorisation` and `ids`; the same call goes on where it stopped. each: called as models end. Raises
    `InputError` for a folder of another estimate, and `Stopped` where models could not be trained.
    """
    from efface.images.datasets import open_dataset

    with Faults() as faults:
        if models < 2:
            faults.add(
                f"models is {models}: two or more are needed, and some hundreds for scores that can be trusted"
            )
        if not 0 < share < 1:
            faults.add(
                f"share is {share}: the share of the images that each model is trained on lies between 0 and 1"
            )
    train = open_dataset(task.images).train
    # workers may stand in another folder
    place, whole = str(Path(folder).absolute()), task.with_whole_path()
    jobs = [MemorisationJob(place, whole, number, share, seed, _digest(train)) for number in range(models)]
    failed = []
    with ExitStack() as held:
        held.enter_context(private_files())
        hold(Path(folder), held)
        waiting = [job for job in jobs if _read(job) is None]
        for outcome in engine.run(carry_out, waiting, lambda job: job.place.exists()):
            if outcome.error:
                failed.append(outcome.error)
            if each:
                each(outcome)
    if failed:
        raise Stopped(
            f"{len(failed)} of {models} models could not be trained, the first for: {failed[0]}. The others are kept in "
            f"{folder}, and the same command goes on"
        )
    kept = [model for job in jobs if (model := _read(job))]
    result = memorisation(
        np.stack([model["correct"] for model in kept]), np.stack([model["member"] for model in kept])
    )
    _write(Path(folder) / SCORES, {"ids": np.array(train.ids), **vars(result)})
    return result


def carry_out(job: MemorisationJob) -> None:
    """Train one model on its share, and write on which images it is right."""
    from efface.benchmark.classifiers.task import new_classifier
    from efface.classifiers.classifier import logits_of
    from efface.devices import chosen_device
    from efface.training.classification import run_passes
    from efface.training.passes import Facts, training_pass

    data, train = _opened(json.dumps(job.task.images.as_dict()), job.data)
    member = _members(job, len(train))
    draw = key("memorisation", job.seed, job.number)
    model = new_classifier(job.task, data, draw).to(chosen_device())
    # named retain, because class weights are counted on forget and retain images
    sets = {"retain": train.subset(np.flatnonzero(member))}
    sizes = {name: len(images) for name, images in sets.items()}
    facts = Facts(sizes, len(data.classes), model.blocks, job.task.recipe, draw)
    run_passes(model, [training_pass(job.task.recipe, "retain")], sets, facts)
    correct = logits_of(model, train).argmax(1) == train.labels
    _write(job.place, {"correct": correct, "member": member, "made_by": np.array(_made_by(job))})


def _members(job: MemorisationJob, images: int) -> Bools:
    """Which images a model is trained on: as many for each model."""
    chosen = numpy_draws(job.seed, "memorisation members", job.number).permutation(images)
    member = np.zeros(images, dtype=np.bool_)
    member[chosen[: min(images - 1, max(2, round(job.share * images)))]] = True
    return member


def _proportion(right: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Share, and Wilson's interval around it; nan of none."""
    count = np.where(of > 0, of, np.nan)
    p, z = right / count, QUANTILE
    middle, scale = (p + z**2 / (2 * count)), 1 + z**2 / count
    reach = z * np.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    # at 0 and at 1 Wilson's end is the share itself, up to rounding
    return p, np.minimum((middle - reach) / scale, p), np.maximum((middle + reach) / scale, p)


@lru_cache(maxsize=1)
def _opened(images: str, digest: str) -> tuple[Dataset, LabelledImages]:
    """The data of a task, whose section `images` is given as JSON, opened once in each worker."""
    from efface.images.datasets import DatasetSettings, open_dataset

    data = open_dataset(DatasetSettings.read(json.loads(images), where="images"))
    train = data.train
    if _digest(train) != digest:
        raise InputError("the training images are no longer those with which the estimate began")
    return data, train


def _digest(train: LabelledImages) -> str:
    from efface.files import sha256_of_bytes

    text = "\n".join(train.ids).encode("utf-8", "surrogateescape")
    return sha256_of_bytes(text + train.labels.tobytes() + train.pixels.tobytes())


def _made_by(job: MemorisationJob) -> str:
    """What the file of a model depends on; the forget set of the task is not part of it."""
    from efface.files import sha256_of_json

    task = job.task
    settings = task.as_dict()
    described = {name: settings[name] for name in ("network", "normalisation", "recipe")}
    described["data"] = task.images.data
    return sha256_of_json([described, job.data, job.number, job.share, job.seed])


def _read(job: MemorisationJob) -> dict[str, Any] | None:
    """What is kept of a model, or None."""
    if not job.place.exists():
        return None
    try:
        found = read_arrays(job.place, names := ("correct", "member", "made_by"))
        kept = {name: found[name] for name in names}
    except (InputError, KeyError) as error:
        raise InputError(
            f"{job.place} is damaged ({error}); remove it, and the same command makes it anew"
        ) from None
    if str(kept["made_by"]) != _made_by(job):
        raise InputError(
            f"{job.place} belongs to an estimate of another task, share or seed; choose another folder"
        )
    return kept


def _write(place: Path, arrays: dict[str, Any]) -> None:
    with replacing(place) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
