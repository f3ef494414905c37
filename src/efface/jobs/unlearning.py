"""`unlearn`: from a model and a deletion request to a model that has forgotten, a report and a record.

Each part is finished once and remembered in the run folder, so the same command continues where it
stopped: train, keep the model, evaluate, purge, write record and report.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from efface.classifiers import load_classifier
from efface.classifiers.classifier import Classifier
from efface.corruptions import parse_corruption
from efface.errors import RunRefused
from efface.evaluation.requirements import Verdict
from efface.evaluation.results import ModelName, Row, read_results
from efface.generators import load_generator
from efface.generators.base import Generator
from efface.generators.registry import risks_of
from efface.jobs.account import (
    extractor_facts,
    keyed_pairs,
    manifests,
    measure,
    method_facts,
    model_facts,
    only_retain_images,
    refuse_other_images,
    refuse_other_models,
    retrained_facts,
    save_model,
    shares_first_stage,
    some_images,
    sources,
    split_facts,
    training_facts,
)
from efface.jobs.classifiers.unlearning import ClassifierRun
from efface.jobs.frame import begin, conclude, run_folder
from efface.jobs.preparation import Prepared, prepare
from efface.jobs.probing import (
    Asked,
    found_in,
    judgement_facts,
    probe_and_judge,
    reference_notes,
)
from efface.probes.findings import Findings
from efface.progress import Progress
from efface.reports.page import write_report
from efface.runs.classifier_config import ClassifierRunConfig
from efface.runs.config import RunConfig
from efface.runs.folder import RunFolder
from efface.runs.record import CLAIMS, file_digests, read_record
from efface.training.data import Data, pixel_moments
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator as make_accelerator
from efface.training.settings import parse_budget


@dataclass(frozen=True)
class UnlearnResult:
    """A finished run: where it lies, its rows of figures and its record.

    probes: what they found, None where none was asked. requirements: what became of each, in their order.
    """

    run: Path
    rows: list[Row]
    record: dict[str, Any]
    probes: Findings | None = None
    requirements: list[Verdict] = field(default_factory=list)

    @property
    def model(self) -> Path:
        """The folder of the unlearned model."""
        return self.run / "model"

    def generator(self) -> Generator:
        """The unlearned generator, opened."""
        return load_generator(str(self.model))

    def classifier(self) -> Classifier:
        """The unlearned classifier, opened."""
        return load_classifier(str(self.model))


def unlearn(
    config: RunConfig | ClassifierRunConfig, out: Path, progress: Progress | None = None
) -> UnlearnResult:
    """Run, or continue, the run that `config` describes in the folder `out`.

    Raises `InputError` before anything changes, `RunRefused` if `out` cannot take the run, and `Stopped`
    with everything kept if it ends early. Under torchrun all processes call this; the first one writes.
    """
    if isinstance(config, ClassifierRunConfig):
        with run_folder(config, out, progress) as (run, spoken):
            if run.finished("record"):
                spoken.say(f"{out} is finished already; nothing to do")
            else:
                ClassifierRun(config, run, spoken).go()
            return UnlearnResult(run.path, read_results(run.path), read_record(run.path))
    accelerator = make_accelerator(config.training)
    with run_folder(config, out, progress, accelerator.is_main_process) as (run, spoken):
        accelerator.wait_for_everyone()
        if run.finished("record"):
            spoken.say(f"{out} is finished already; nothing to do")
        else:
            _Run(config, run, accelerator, spoken).go()
        return UnlearnResult(
            run.path,
            read_results(run.path),
            read_record(run.path),
            *found_in(run.path),
        )


class _Run:
    """One start of a run."""

    def __init__(
        self, config: RunConfig, run: RunFolder, accelerator: Accelerator, progress: Progress
    ) -> None:
        self.config, self.run, self.accelerator, self.progress = config, run, accelerator, progress

    def go(self) -> None:
        self.progress.log("start", config=self.config.digest(), processes=self.accelerator.num_processes)
        if not self.run.finished("evaluation"):
            self._train_and_evaluate()
        if self.accelerator.is_main_process:
            conclude(self.config, self.run, self.progress, self._facts())
            write_report(self.run.path)
            self.run.finish("record", True)
        self.accelerator.wait_for_everyone()

    def _train_and_evaluate(self) -> None:
        first = self.accelerator.is_main_process
        began = time.monotonic()
        with self.accelerator.main_process_first():
            prepared = prepare(
                self.config, self.run.work / "cache", self.accelerator.num_processes, self.progress
            )
        try:
            if first and not self.run.finished("preparation"):
                begin(self.run)
                self.run.finish("preparation", self._preparation(prepared, time.monotonic() - began))
            elif first:
                self._refuse_changed_input(prepared)
            if not self.run.finished("training"):
                self._train(prepared)
            if first:
                self._evaluate(prepared)
        finally:
            prepared.cache.close()

    def _preparation(self, prepared: Prepared, seconds: float) -> dict[str, Any]:
        risks = risks_of(prepared.generator, some_images(prepared, self.config.evaluation))
        for risk in risks:
            self.progress.say(f"warning: {risk}")
        before = model_facts(prepared.generator)
        reference = model_facts(prepared.retrained) if prepared.retrained else None
        split = split_facts(prepared.split, self.config.images.selectors)
        notes = reference_notes(self.config, prepared.retrained is not None)
        for note in notes:
            self.progress.say(f"note: {note}")
        return {
            "seconds": round(seconds, 3),
            "risks": risks,
            **split,
            "notes": [*split["notes"], *notes],
            "sets": manifests(self.run.path, prepared.sets, self.run.key),
            "pairs": keyed_pairs(prepared, self.run.key),
            "before": before,
            "retrained": retrained_facts(reference, before, self.config.retrained_stages),
        }

    def _refuse_changed_input(self, prepared: Prepared) -> None:
        recorded = self.run.finished("preparation")
        refuse_other_images(prepared.sets, self.run.key, recorded["sets"])
        if keyed_pairs(prepared, self.run.key) != recorded.get("pairs"):
            raise RunRefused(
                "the pairs are no longer those with which this run began: put the files of the corruption's folder or "
                "list back to continue it, or choose another --out folder"
            )
        refuse_other_models({"before": prepared.generator, "retrained": prepared.retrained}, recorded)

    def _train(self, prepared: Prepared) -> None:
        config, split, generator = self.config, prepared.split, prepared.generator
        moments = pixel_moments(split.forget, prepared.cache)
        sets = {"forget": split.forget, "retain": split.retain}
        report = Trainer(
            generator,
            config.method.phases(),
            Data(sets, prepared.cache, prepared.corruption, moments, prepared.training_pairs),
            config.training,
            config.seed,
            self.accelerator,
            folder=self.run.work,
            config_digest=config.digest(),
            budget=parse_budget(config.budget) if config.budget else None,
            progress=self.progress,
            keep=self._keep,
        ).run()
        if self.accelerator.is_main_process:
            save_model(generator.save, self.run.model)
            after = {**model_facts(generator), "files": file_digests(self.run.model)}
            changed = len(generator.trained_parameters(config.method.trains))
            self.run.finish("training", {**asdict(report), "changed_tensors": changed, "after": after})
        self.accelerator.wait_for_everyone()

    def _keep(self, name: str, generator: Generator) -> None:
        """Save the present model as a further result, in `RUN/path/NAME/`."""
        folder = self.run.path / "path" / name
        folder.parent.mkdir(exist_ok=True)
        save_model(generator.save, folder)
        facts = {"weights": generator.weights_digest(), "files": file_digests(folder)}
        self.run.finish("path", {**(self.run.finished("path") or {}), name: facts})

    def _evaluate(self, prepared: Prepared) -> None:
        began = time.monotonic()
        models: dict[ModelName, Generator] = {
            "original": load_generator(self.config.model),
            "unlearned": load_generator(str(self.run.model)),
        }
        if prepared.retrained:
            models["retrained"] = prepared.retrained
        config = self.config
        evaluation = measure(config, self.run, models, prepared, self.accelerator.device, self.progress)
        seconds = round(time.monotonic() - began, 3)
        exact = config.method.claim == "exact"
        processes = self.accelerator.num_processes
        asked = Asked(config, models, prepared, evaluation, config.training, exact, processes)
        asking = probe_and_judge(asked, self.run, config.evaluation, self.progress)
        facts = {"seconds": seconds, "features": extractor_facts(prepared)}
        self.run.finish("evaluation", {**facts, "asking": asking})

    def _facts(self) -> dict[str, Any]:
        config, run = self.config, self.run
        preparation, training, evaluation = (
            run.finished(p) for p in ("preparation", "training", "evaluation")
        )
        method = config.method
        exact = (
            method.claim == "exact"
            and only_retain_images(preparation)
            and not shares_first_stage(preparation["before"], training["after"])
        )
        claim = "exact" if exact else "empirical"
        asking, path = evaluation.get("asking"), run.finished("path")
        return {
            "kind": "unlearning",
            "claim": {"level": claim, "words": CLAIMS[claim]},
            "request": config.request.as_dict(),
            "durations": {
                "preparation": preparation["seconds"],
                "training": round(training["seconds"], 3),
                "evaluation": evaluation["seconds"],
                **({"probes": asking} if asking is not None else {}),
            },
            "model": {
                "before": preparation["before"],
                "after": training["after"],
                **({"path": path} if path else {}),
            },
            "retrained": preparation["retrained"],
            "sources": sources(model=preparation["before"], retrained=preparation["retrained"]),
            "method": method_facts(method, method.trains),
            "training": training_facts(config.training, training, config.budget),
            "first_stage": None,
            "statistics": None,
            "corruption": parse_corruption(config.corruption).label,
            "seeds": {"unlearning": config.seed, "evaluation": config.evaluation.seed},
            **{
                name: preparation[name]
                for name in ("sets", "split_files", "proxy_retain", "skipped", "duplicates", "notes", "risks")
            },
            "evaluation": {**config.evaluation.as_dict(), **evaluation["features"]},
            **judgement_facts(config, run.path),
        }
