"""What a benchmark will cost, before it runs: steps are counted, and their seconds timed where runs are carried out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from efface.benchmark.classifiers.task import ClassifierTask
from efface.benchmark.engines import Engine
from efface.benchmark.runs import Run
from efface.errors import EffaceError, Stopped
from efface.files import canonical_json, sha256_of_json, write_json
from efface.methods.registry import read_classifier_method
from efface.training.passes import Cost, Facts, Pass, cost_of, training_pass

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier
    from efface.images.labelled import LabelledImages

WARM_UP, TIMED = 5, 20


@dataclass(frozen=True)
class TimingJob:
    """Steps to be timed and counted by a worker; `file` takes what it found."""

    file: str
    task: str
    sections: tuple[str, ...]


@dataclass(frozen=True)
class Timing:
    """Steps of a training, a retraining and each method (by canonical JSON of its section), and their seconds.

    preparations: what a method does before it is asked to forget, which no limit binds and no share of time counts.
    step_seconds: of one step of training; run_seconds: of what every run does beside its steps. A method whose steps
    cannot be counted stands under `errors` with the reason.
    """

    step_seconds: float
    run_seconds: float
    batch_size: int
    original: Cost
    retrained: Cost
    methods: Mapping[str, Cost]
    preparations: Mapping[str, Cost]
    errors: Mapping[str, str]

    def seconds(self, run: Run, limit: float | None = None) -> float:
        """Worker seconds of a run. limit: share of a retraining at which unlearning is stopped.

        A step with more images than one of training takes longer in proportion; a smaller one no less, because small
        networks spend their time on the step itself. Edits are not counted.
        """
        cost = {"original": self.original, "retrained": self.retrained}.get(run.kind)
        if cost is None:
            cost = self.methods.get(run.method, Cost(0, 0))
        spent = self._of_steps(cost)
        if run.kind == "unlearned" and limit is not None:
            spent = min(spent, limit * self._of_steps(self.retrained))
        return spent + self._of_steps(self.preparations.get(run.method, Cost(0, 0))) + self.run_seconds

    def _of_steps(self, cost: Cost) -> float:
        return max(cost.steps, cost.images / self.batch_size) * self.step_seconds

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return {
            "step_seconds": self.step_seconds,
            "run_seconds": self.run_seconds,
            "original_steps": self.original.steps,
            "retrained_steps": self.retrained.steps,
        }


def time_steps(
    folder: Path, task: ClassifierTask, sections: Sequence[Mapping[str, Any]], engine: Engine
) -> Timing:
    """Time a few steps with the workers of `engine`, all at once, and count those of all methods; kept in `folder`.

    Raises `Stopped` where a worker fails, or where its file does not arrive here.
    """
    texts = tuple(canonical_json(dict(section)) for section in sections)
    # workers write their parts from wherever they stand
    folder = Path(folder).absolute()
    digest = sha256_of_json([task.as_dict(), engine.facts(), *texts])
    file = folder / f"timing-{digest[:10]}.json"
    if not file.exists():
        # workers slow each other down, so they are timed together
        parts = [file.with_suffix(f".{place}") for place in range(engine.workers)]
        task_text = canonical_json(task.with_whole_path().as_dict())
        jobs = [TimingJob(str(part), task_text, texts) for part in parts]
        for outcome in engine.run(carry_out_timing, jobs, lambda job: Path(job.file).exists()):
            if outcome.error:
                raise Stopped(f"the steps of this task cannot be timed: {outcome.error}")
        each = [json.loads(part.read_text(encoding="utf-8")) for part in parts]
        means = {name: fmean(one[name] for one in each) for name in ("step_seconds", "run_seconds")}
        write_json(file, each[0] | means)
        for part in parts:
            part.unlink()
    found = json.loads(file.read_text(encoding="utf-8"))
    methods, preparations = (
        {name: Cost(*cost) for name, cost in found.pop(part).items()} for part in ("methods", "preparations")
    )
    original, retrained = (Cost(*found.pop(part)) for part in ("original", "retrained"))
    return Timing(original=original, retrained=retrained, methods=methods, preparations=preparations, **found)


def carry_out_timing(job: TimingJob) -> None:
    """What the worker does: write the fields of `Timing`."""
    from efface.benchmark.classifiers.task import new_classifier
    from efface.images.datasets import open_dataset

    task = ClassifierTask.read(json.loads(job.task), where="the task")
    data = open_dataset(task, "score")
    model = new_classifier(task, data, 0)
    sets = {"forget": data.forget, "retain": data.retain, "validation": data.validation}
    sizes = {name: len(images) for name, images in sets.items()}
    facts = Facts(sizes, len(data.classes), model.blocks, task.recipe, 0)
    train = training_pass(task.recipe, "train")
    costs, preparations, errors = {}, {}, {}
    for text in job.sections:
        try:
            method = read_classifier_method(json.loads(text))
            own = {name: len(images) for name, images in method.own_sets(sets, facts).items()}
            full = replace(facts, sizes={**sizes, **own})
            passes = method.passes(full)
        except EffaceError as error:
            errors[text] = str(error)
            continue
        before = [
            replace(one, preparation=False) for one in passes if isinstance(one, Pass) and one.preparation
        ]
        costs[text] = _pair(cost_of(passes, full.sizes))
        preparations[text] = _pair(cost_of(before, full.sizes))
    everything = {**sets, "train": data.forget.join(data.retain)}
    steps, run_seconds = _timed(model, everything, facts, data.test)
    write_json(
        Path(job.file),
        {
            "step_seconds": steps,
            "run_seconds": run_seconds,
            "batch_size": task.recipe.batch_size,
            "original": _pair(cost_of([train], {"train": len(everything["train"])})),
            "retrained": _pair(cost_of([training_pass(task.recipe, "retain")], sizes)),
            "methods": costs,
            "preparations": preparations,
            "errors": errors,
        },
    )


def _timed(
    model: Classifier, sets: Mapping[str, LabelledImages], facts: Facts, test: LabelledImages
) -> tuple[float, float]:
    """Seconds of a step, and of measuring a model on all sets that are kept of a run."""
    from time import perf_counter

    from efface.benchmark.engines import worker_device
    from efface.classifiers.measuring import logits_of
    from efface.training.classification import run_passes

    model.to(worker_device())
    train = training_pass(facts.recipe, "train")
    an_epoch = replace(train, epochs=1).steps({"train": len(sets["train"])})
    for steps in (WARM_UP, TIMED):
        report = run_passes(model, [replace(train, epochs=steps / an_epoch)], sets, facts)
    began = perf_counter()
    for images in (sets["train"], test):
        logits_of(model, images)
    return report.seconds / report.steps, perf_counter() - began


def _pair(cost: Cost) -> tuple[int, int]:
    return cost.steps, cost.images
