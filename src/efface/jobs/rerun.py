"""`efface verify --rerun`: a run's model trained again from its config, and its weights held against those delivered.

Where everything that decides the last bit is as it was, the weights match or differ. Where something is unlike, unequal
weights say nothing, and what is unlike is named. A run that was made `exact` depends on less of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

from efface.errors import InputError
from efface.jobs.concluding import begin
from efface.jobs.exactness import exactly
from efface.jobs.kinds import KINDS
from efface.jobs.operations import AnyOperations, Prepared, Start
from efface.progress import Progress
from efface.runs.config import Verb, deciding_digest
from efface.runs.digests import manifest_facts
from efface.runs.environment import environment
from efface.runs.erasing import purge
from efface.runs.folder import RunFolder, open_run
from efface.runs.record import ClassifierTraining, Record, RunKind, read_record
from efface.runs.state import PreparedPart
from efface.runs.temporary import erase_abandoned, temporary_folder
from efface.runs.verification import Check

VERBS: Mapping[RunKind, Verb] = {"unlearning": "unlearn", "training": "train"}
WHAT = "weights of the model trained again"
MOST_UNLIKE = 6


def rerun(
    run: Path,
    places: Mapping[str, JsonValue] | None = None,
    model: str | None = None,
    key: Path | None = None,
    progress: Progress | None = None,
) -> Check:
    """Train the model of a finished run again in a temporary folder, and compare its weights.

    places: selectors of the image sets as they are named now (`images`, `forget`, `retain`, `neutral`); others are those of
    the run. model: where the model lies now with which the run began. key: where `run.key` lies, if not in the run.
    Raises `InputError` where there is nothing to train by, or model or images are not those that the run began with.
    """
    erase_abandoned()
    record, values = read_record(run), open_run(run)
    if record.kind not in VERBS or record.training is None:
        raise InputError(f"{run} trained no model: there is nothing to do again")
    if record.config.purged:
        raise InputError(
            f"{run}/config.yaml was purged of names and places (efface purge --config), so it cannot be done again"
        )
    if deciding_digest(values) != record.config.sha256:
        raise InputError(
            f"{run}/config.yaml does not hold the settings of the run, so it cannot be done again"
        )
    work = record.training
    if isinstance(work, ClassifierTraining):
        values.pop("budget", None)
    elif work.budget and not work.budget.strip().endswith(("step", "steps")):
        values["budget"] = f"{work.steps}steps"
    values = _moved(values, places or {}, model)
    kind = KINDS[record.model_kind]
    config = kind.config(VERBS[record.kind], values)
    exact = bool(values.get("exact"))
    with (
        temporary_folder() as folder,
        _threads(record.environment.threads),
        exactly(exact),
    ):
        processes = kind.operations.processes(config)
        with RunFolder(folder / "run", config.as_dict()) as held:
            start = Start(config, held, progress or Progress(), processes)
            try:
                prepared = kind.operations.prepare(start)
                try:
                    compared = _refuse_others(prepared, record, key or run / "run.key")
                    begin(held)
                    held.finish(PreparedPart(seconds=0, images=record.images, notes=[]))
                    trained = kind.operations.train(start, prepared)
                finally:
                    prepared.close()
                assert trained is not None
                assert record.model.after is not None
                if trained.after.weights == record.model.after.weights:
                    return Check(
                        WHAT, "matches", "" if compared else "the images were not compared: no run.key"
                    )
                unlike = [*_unlike(record, trained.work.precision, processes.count, exact)]
                if not compared:
                    unlike.append("the images were not compared, because run.key is not here")
                difference = _largest_difference(kind.operations, held.model, run / "model")
            finally:
                purge(held.path)
    if unlike:
        return Check(WHAT, "not checked", f"{difference}; unlike: {'; '.join(unlike[:MOST_UNLIKE])}")
    return Check(WHAT, "differs", difference)


def _moved(
    values: dict[str, JsonValue], places: Mapping[str, JsonValue], model: str | None
) -> dict[str, JsonValue]:
    """The settings with models and images where they lie now."""
    if "method" not in values:
        renamed = {"forget": "without"}
        moved = {**values, **{renamed.get(name, name): value for name, value in places.items()}}
        section = "base" if moved.get("base") else "like"
    else:
        images = values["images"]
        assert isinstance(images, dict)
        moved, section = {**values, "images": {**images, **places}}, "model"
    named = moved.get(section)
    if model is not None and isinstance(named, dict):
        moved[section] = {**named, "path": model}
    if isinstance(named, dict) and section != "model":
        # the shape is that model's
        moved = {
            name: value for name, value in moved.items() if name not in ("architecture", "normalisation")
        }
    # what is measured beside the model, and what was asked of it, is not needed to train it
    for name in ("retrained", "yardstick", "require", "probes", "substitute"):
        moved.pop(name, None)
    return moved


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _refuse_others(prepared: Prepared[Any, Any], record: Record, key: Path) -> bool:
    """Whether the images could be compared; raises `InputError` where they or the model are others."""
    before, base = record.model.before, record.model.base
    if before and prepared.model.weights_digest() != before.weights:
        raise InputError("the model is not the one with which the run began; name that one with --model")
    if base and (prepared.base is None or prepared.base.facts.weights != base.weights):
        raise InputError("the base is not the one from which the run trained on; name that one with --model")
    if not key.is_file():
        return False
    secret = bytes.fromhex(key.read_text(encoding="ascii").strip())
    others = [
        name
        for name, facts in record.images.sets.items()
        if name not in prepared.split.sets or manifest_facts(prepared.split.sets[name], secret) != facts
    ]
    if others:
        raise InputError(
            f"the images are not those of the run, or in another order: {', '.join(others)}. Name them as the run did"
        )
    return True


def _unlike(record: Record, precision: str, processes: int, exact: bool) -> Iterator[str]:
    """What decides the last bits and is not as it was."""
    was, now, work = record.environment, environment(), record.training
    assert work is not None
    pairs = {
        "precision": (work.precision, precision),
        "processes": (work.processes, processes),
        "threads": (was.threads, now.threads),
        "python": (was.python, now.python),
        "platform": (was.platform, now.platform),
        "GPUs": (was.gpus, now.gpus),
        "instructions": (was.instructions, now.instructions),
        **({} if exact else {"processor": (was.processor, now.processor)}),
        **{
            name: (version, now.packages.get(name))
            for name, version in was.packages.items()
            if name != "efface"
        },
    }
    yield from (f"{name} {there} then, {here} now" for name, (there, here) in pairs.items() if there != here)
    if was.source != now.source or was.source.changed:
        yield "efface's source may have changed since"
    if was.gpus and not exact:
        yield "sums on a GPU are not done in one order"
    if isinstance(work, ClassifierTraining) and work.cut:
        yield "a bound on time decided when the method stopped"


def _largest_difference(operations: AnyOperations, one: Path, other: Path) -> str:
    if not other.is_dir():
        return "the delivered model is not here to be compared"
    mine, its = (operations.load(str(folder)).network.state_dict() for folder in (one, other))
    if mine.keys() != its.keys():
        return "the two models have other tensors"
    largest = max(
        float((mine[name].double() - its[name].double()).abs().max()) for name in mine if mine[name].numel()
    )
    return f"the largest difference of a weight is {largest:.3g}"
