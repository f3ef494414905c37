"""`unlearn`: from a model and a deletion request to a model that has forgotten, a report and a record.

Each part is finished once and remembered in the run folder, so the same command continues where it
stopped: train, keep the model, evaluate, purge, write record and report.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

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
    delivered_facts,
    evaluation_facts,
    extractor_facts,
    generator_training,
    images_facts,
    keyed_pairs,
    manifests,
    measure,
    method_facts,
    model_facts,
    refuse_other_images,
    refuse_other_models,
    retrained_facts,
    save_model,
    shares_first_stage,
    similarity_facts,
    some_images,
    sources,
)
from efface.jobs.classifiers.unlearning import ClassifierRun
from efface.jobs.frame import begin, conclude, run_folder
from efface.jobs.preparation import Prepared, prepare
from efface.jobs.probing import (
    Asked,
    found_in,
    judged,
    probe_and_judge,
    reference_notes,
)
from efface.probes.findings import Findings
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierRunConfig
from efface.runs.config import RunConfig
from efface.runs.digests import file_digests
from efface.runs.folder import RunFolder
from efface.runs.record import (
    Claim,
    Durations,
    FurtherFacts,
    ModelsFacts,
    Record,
    Seeds,
    Statement,
    read_record,
)
from efface.runs.state import EvaluatedPart, FurtherPart, PreparedPart, RecordedPart, TrainedPart
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
    record: Record
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
            if run.finished(RecordedPart):
                spoken.say(f"{out} is finished already; nothing to do")
            else:
                ClassifierRun(config, run, spoken).go()
            return UnlearnResult(run.path, read_results(run.path), read_record(run.path))
    accelerator = make_accelerator(config.training)
    with run_folder(config, out, progress, accelerator.is_main_process) as (run, spoken):
        accelerator.wait_for_everyone()
        if run.finished(RecordedPart):
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
        if not self.run.finished(EvaluatedPart):
            self._train_and_evaluate()
        if self.accelerator.is_main_process:
            conclude(self.config, self.run, self.progress, self._statement())
        self.accelerator.wait_for_everyone()

    def _train_and_evaluate(self) -> None:
        first = self.accelerator.is_main_process
        began = time.monotonic()
        with self.accelerator.main_process_first():
            prepared = prepare(
                self.config, self.run.work / "cache", self.accelerator.num_processes, self.progress
            )
        try:
            if first and not self.run.finished(PreparedPart):
                begin(self.run)
                self.run.finish(self._preparation(prepared, time.monotonic() - began))
            elif first:
                self._refuse_changed_input(prepared)
            if not self.run.finished(TrainedPart):
                self._train(prepared)
            if first:
                self._evaluate(prepared)
        finally:
            prepared.cache.close()

    def _preparation(self, prepared: Prepared, seconds: float) -> PreparedPart:
        risks = risks_of(prepared.generator, some_images(prepared, self.config.evaluation))
        for risk in risks:
            self.progress.say(f"warning: {risk}")
        before = model_facts(prepared.generator)
        reference = model_facts(prepared.retrained) if prepared.retrained else None
        sets = manifests(self.run.path, prepared.sets, self.run.key)
        notes = reference_notes(self.config, prepared.retrained is not None)
        for note in notes:
            self.progress.say(f"note: {note}")
        return PreparedPart(
            seconds=round(seconds, 3),
            images=images_facts(prepared.split, self.config.images.selectors, sets),
            notes=[*prepared.split.notes, *notes],
            risks=risks,
            before=before,
            retrained=retrained_facts(reference, before, self.config.retrained_stages),
            pairs=keyed_pairs(prepared, self.run.key),
        )

    def _refuse_changed_input(self, prepared: Prepared) -> None:
        recorded = self.run.done(PreparedPart)
        refuse_other_images(prepared.sets, self.run.key, recorded.images)
        if keyed_pairs(prepared, self.run.key) != recorded.pairs:
            raise RunRefused(
                "the pairs are no longer those with which this run began: put the files of the corruption's folder or "
                "list back to continue it, or choose another --out folder"
            )
        refuse_other_models(prepared.generator, prepared.retrained, recorded)

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
            trains = config.method.trains
            self.run.finish(
                TrainedPart(
                    seconds=report.seconds,
                    work=generator_training(config.training, report, generator, trains, config.budget),
                    after=delivered_facts(generator, self.run.model),
                )
            )
        self.accelerator.wait_for_everyone()

    def _keep(self, name: str, generator: Generator) -> None:
        """Save the present model as a further result, in `RUN/path/NAME/`."""
        folder = self.run.path / "path" / name
        folder.parent.mkdir(exist_ok=True)
        save_model(generator.save, folder)
        facts = FurtherFacts(weights=generator.weights_digest(), files=file_digests(folder))
        kept = self.run.finished(FurtherPart)
        self.run.finish(FurtherPart(models={**(kept.models if kept else {}), name: facts}))

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
        self.run.finish(
            EvaluatedPart(
                seconds=seconds,
                probing=asking,
                extractor=extractor_facts(prepared.extractor),
                similarity=similarity_facts(prepared),
            )
        )

    def _statement(self) -> Statement:
        config, run, method = self.config, self.run, self.config.method
        preparation, training, evaluation = (
            run.done(PreparedPart),
            run.done(TrainedPart),
            run.done(EvaluatedPart),
        )
        before, further = preparation.before, run.finished(FurtherPart)
        assert before is not None
        assert evaluation.extractor is not None
        exact = (
            method.claim == "exact"
            and preparation.images.only_retain
            and not shares_first_stage(before, training.after)
        )
        return Statement(
            kind="unlearning",
            claim=Claim.of("exact" if exact else "empirical"),
            request=config.request,
            durations=Durations(
                preparation=preparation.seconds,
                training=round(training.seconds, 3),
                evaluation=evaluation.seconds,
                probes=evaluation.probing,
            ),
            model=ModelsFacts(before=before, after=training.after, path=further.models if further else {}),
            retrained=preparation.retrained,
            sources=sources(model=before, retrained=preparation.retrained),
            method=method_facts(method),
            training=training.work,
            first_stage=None,
            statistics=None,
            corruption=parse_corruption(config.corruption).label,
            seeds=Seeds(unlearning=config.seed, evaluation=config.evaluation.seed),
            images=preparation.images,
            notes=preparation.notes,
            risks=preparation.risks,
            evaluation=evaluation_facts(config.evaluation, evaluation.extractor, evaluation.similarity),
            **judged(config, run.path),
        )
