"""`unlearn`: from a model and a deletion request to a model that has forgotten, a report and a record.

Each part is finished once and remembered in the run folder, so the same command continues where it
stopped: train, keep the model, evaluate, purge, write record and report.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from efface.errors import Stopped
from efface.evaluation.protocol import Evaluation, evaluate, view_batches
from efface.evaluation.results import ModelName, Row, SetName, read_results, write_results
from efface.files import flush_folder, write_json, write_text
from efface.generators import load_generator
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.jobs.limits import limits_of
from efface.jobs.preparation import Prepared, prepare
from efface.progress import Progress
from efface.reports.page import write_report
from efface.runs.config import RunConfig
from efface.runs.environment import environment
from efface.runs.folder import RunFolder, purge, working_files
from efface.runs.record import CLAIMS, RESULT_FILES, file_digests, read_record, write_manifest, write_record
from efface.training.data import pixel_moments
from efface.training.loop import Data, Trainer
from efface.training.optimisation import accelerator as make_accelerator
from efface.training.settings import parse_budget

IMAGES_FOR_RISKS = 16


@dataclass(frozen=True)
class UnlearnResult:
    """A finished run: where it lies, its rows of figures and its record."""

    run: Path
    rows: list[Row]
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The folder of the unlearned model."""
        return self.run / "model"

    def generator(self) -> Generator:
        """The unlearned model, opened."""
        return load_generator(str(self.model))


def unlearn(config: RunConfig, out: Path, progress: Progress | None = None) -> UnlearnResult:
    """Run, or continue, the run that `config` describes in the folder `out`.

    Raises `InputError` before anything changes, `RunRefused` if `out` cannot take the run, and `Stopped`
    with everything kept if it ends early. Under torchrun all processes call this; the first one writes.
    """
    accelerator = make_accelerator(config.training)
    first = accelerator.is_main_process
    with RunFolder(Path(out), config.as_dict(), shared=not first) as run:
        accelerator.wait_for_everyone()
        progress = (progress or Progress()) if first else Progress()
        if run.finished("record"):
            progress.say(f"{out} is finished already; nothing to do")
            return _result(run)
        if first:
            progress = progress.logging_to(run.log)
        try:
            return _Run(config, run, accelerator, progress).go()
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise Stopped(
                f"stopped: {error.strerror or error}{where}. What was finished is kept in {out}; the same command "
                "continues once the cause is removed"
            ) from error


class _Run:
    """One start of a run."""

    def __init__(self, config: RunConfig, run: RunFolder, accelerator: Accelerator, progress: Progress) -> None:
        self.config, self.run, self.accelerator, self.progress = config, run, accelerator, progress
        self.started = run.finished("started") or datetime.now(UTC).isoformat(timespec="seconds")

    def go(self) -> UnlearnResult:
        self.progress.log("start", config=self.config.digest(), processes=self.accelerator.num_processes)
        with self.accelerator.main_process_first():
            began = time.monotonic()
            prepared = prepare(
                self.config, self.run.work / "cache", self.accelerator.num_processes, self.progress
            )
        try:
            if self.accelerator.is_main_process and not self.run.finished("started"):
                self.run.finish("started", self.started)
                self.run.finish("preparation", self._preparation(prepared, time.monotonic() - began))
            if not self.run.finished("training"):
                self._train(prepared)
            if self.accelerator.is_main_process:
                if not self.run.finished("evaluation"):
                    self._evaluate(prepared)
                self._conclude(prepared)
        finally:
            prepared.cache.close()
        self.accelerator.wait_for_everyone()
        return _result(self.run)

    def _preparation(self, prepared: Prepared, seconds: float) -> dict[str, Any]:
        split, key = prepared.split, self.run.key
        risks = prepared.generator.risks(_some_images(prepared, self.config))
        for risk in risks:
            self.progress.say(f"warning: {risk}")
        return {
            "seconds": round(seconds, 3),
            "risks": risks,
            "notes": list(split.notes),
            "proxy": split.proxy,
            "skipped": {"count": len(split.skipped), "reasons": sorted({fault.reason for fault in split.skipped})},
            "duplicates": {
                "exact": split.duplicates.count("exact"),
                "near": split.duplicates.count("near"),
                "action": split.duplicates.action,
                "distance": split.duplicates.distance,
            },
            "sets": {name: write_manifest(self.run.path, name, images, key) for name, images in prepared.sets.items()},
            "before": {"weights": prepared.generator.weights_digest(), "description": prepared.generator.describe()},
            "retrained": {
                "weights": prepared.retrained.weights_digest(),
                "description": prepared.retrained.describe(),
                "stages": self.config.retrained_stages,
            }
            if prepared.retrained
            else None,
        }

    def _train(self, prepared: Prepared) -> None:
        config, split, generator = self.config, prepared.split, prepared.generator
        trainer = Trainer(
            generator,
            config.method.phases(),
            Data(
                {"forget": split.forget, "retain": split.retain},
                prepared.cache,
                prepared.corruption,
                pixel_moments(split.forget, prepared.cache),
            ),
            config.training,
            config.seed,
            self.accelerator,
            folder=self.run.work,
            config_digest=config.digest(),
            budget=parse_budget(config.budget) if config.budget else None,
            progress=self.progress,
        )
        report = trainer.run()
        if self.accelerator.is_main_process:
            _save_model(generator, self.run)
            self.run.finish(
                "training",
                {
                    **asdict(report),
                    "changed_parameters": sorted(_trained_names(config, generator)),
                    "after": {
                        "weights": generator.weights_digest(),
                        "files": file_digests(self.run.model),
                        "description": load_generator(str(self.run.model)).describe(),
                    },
                },
            )
        self.accelerator.wait_for_everyone()

    def _evaluate(self, prepared: Prepared) -> None:
        began = time.monotonic()
        device = self.accelerator.device
        models: dict[ModelName, Generator] = {
            "original": load_generator(self.config.model),
            "unlearned": load_generator(str(self.run.model)),
        }
        if prepared.retrained:
            models["retrained"] = prepared.retrained
        for model in models.values():
            model.to(device)
        evaluation = evaluate(
            models,
            prepared.sets,
            prepared.cache,
            prepared.corruption,
            prepared.extractor,
            self.config.evaluation,
            progress=self.progress,
        )
        write_evaluation(self.run.path, evaluation, prepared.sets, self.run.key)
        if self.config.with_pictures:
            from efface.reports.pictures import write_pictures

            write_pictures(
                self.run.path, models, prepared.sets, prepared.cache, prepared.corruption, self.config.evaluation
            )
        self.run.finish(
            "evaluation",
            {
                "seconds": round(time.monotonic() - began, 3),
                "extractor": {
                    "name": prepared.extractor.name,
                    "dimension": prepared.extractor.dimension,
                    "digest": prepared.extractor.digest,
                    "comparable_to": prepared.extractor.comparable_to,
                },
            },
        )

    def _conclude(self, prepared: Prepared) -> None:
        prepared.cache.close()
        removed = [] if self.config.keep_working_files else purge(self.run.path)
        self.progress.log("purge", removed=len(removed))
        config, run = self.config, self.run
        preparation, training, evaluation = (run.finished(p) for p in ("preparation", "training", "evaluation"))
        method = config.method
        claim = "exact" if method.claim == "exact" and not _inexact(preparation) else "empirical"
        rows = read_results(run.path)
        write_record(
            run.path,
            {
                "claim": {"level": claim, "words": CLAIMS[claim]},
                "request": config.request.as_dict(),
                "started": self.started,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "durations": {
                    "preparation": preparation["seconds"],
                    "training": round(training["seconds"], 3),
                    "evaluation": evaluation["seconds"],
                },
                "config": {"sha256": config.digest()},
                "model": {"before": preparation["before"], "after": training["after"]},
                "retrained": preparation["retrained"],
                "method": {
                    "name": method.name,
                    "source": method.source,
                    "deviations": method.deviations,
                    "settings": method.model_dump(mode="json"),
                    "trains": method.trains,
                },
                "training": {
                    **config.training.as_dict(),
                    "steps": training["steps"],
                    "precision": training["precision"],
                    "processes": training["processes"],
                    "seconds_per_step": training["seconds_per_step"],
                    "budget": config.budget,
                    "changed_parameters": len(training["changed_parameters"]),
                },
                "corruption": config.corruption,
                "seeds": {"unlearning": config.seed, "evaluation": config.evaluation.seed},
                "sets": preparation["sets"],
                "proxy_retain": preparation["proxy"],
                "skipped": preparation["skipped"],
                "duplicates": preparation["duplicates"],
                "notes": preparation["notes"],
                "risks": preparation["risks"],
                "evaluation": {**config.evaluation.as_dict(), "extractor": evaluation["extractor"]},
                "results": {"files": file_digests(run.path, RESULT_FILES), "rows": len(rows)},
                "environment": environment(),
                "working_files": {"kept": working_files(run.path), "removed": len(removed)},
                "limits": limits_of(config, preparation, rows),
            },
        )
        write_report(run.path)
        run.finish("record", True)


def write_evaluation(
    folder: Path, evaluation: Evaluation, sets: Mapping[SetName, ImageSet], key: bytes
) -> None:
    """Write results.json, results.csv, per_image.csv and worst.json; images appear by keyed id."""
    write_results(folder, evaluation.rows)
    keyed = {
        id_: keyed_id for images in sets.values() for id_, keyed_id in zip(images.ids, images.keyed_ids(key), strict=True)
    }
    table = io.StringIO()
    metrics = list(dict.fromkeys(name for values in evaluation.per_image.values() for name in values))
    writer = csv.writer(table)
    writer.writerow(["model", "set", "image", *metrics])
    for (model, set_name), values in evaluation.per_image.items():
        for place, id_ in enumerate(sets[set_name].ids):
            row = [repr(float(values[name][place])) if name in values else "" for name in metrics]
            writer.writerow([model, set_name, keyed[id_], *row])
    write_text(folder / "per_image.csv", table.getvalue())
    worst = [
        {**asdict(entry), "name": keyed[entry.name] if entry.kind == "image" else entry.name}
        for entry in evaluation.worst
    ]
    write_json(folder / "worst.json", worst)


def _result(run: RunFolder) -> UnlearnResult:
    return UnlearnResult(run.path, read_results(run.path), read_record(run.path))


def _inexact(preparation: Mapping[str, Any]) -> bool:
    """Whether something other than the named retain images may have reached the retrained model."""
    duplicates = preparation["duplicates"]
    ignored = duplicates["action"] == "ignore" and (duplicates["exact"] or duplicates["near"])
    return bool(preparation["proxy"] or ignored)


def _trained_names(config: RunConfig, generator: Generator) -> set[str]:
    return set(generator.trained_parameters(config.method.trains))


def _some_images(prepared: Prepared, config: RunConfig) -> torch.Tensor:
    images = prepared.split.retain if len(prepared.split.retain) else prepared.split.forget
    some = images.subset(range(min(len(images), IMAGES_FOR_RISKS)))
    settings = config.evaluation.model_copy(update={"batch_size": IMAGES_FOR_RISKS, "crops_per_image": 1})
    return next(view_batches(some, prepared.cache, prepared.generator.image_size, settings))[0]


def _save_model(generator: Generator, run: RunFolder) -> None:
    """Put the unlearned model in place at once: written beside, flushed, renamed."""
    temporary = run.path / ".model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    generator.save_pretrained(temporary)
    for path in temporary.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
    if run.model.exists():
        shutil.rmtree(run.model)
    os.replace(temporary, run.model)
    flush_folder(run.path)
