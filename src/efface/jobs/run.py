"""The skeleton of every job that writes a run folder, for models of either kind.

Parts, each finished once and remembered in the folder, so that the same command continues where it stopped:

prepare     models and images are opened; a continued run is refused if they are no longer those that it began with
train       `unlearn` and `train`: the new model is written to `RUN/model`
evaluate    `unlearn` and `evaluate`: result files are written, probes asked, requirements judged
conclude    what will be removed is listed, working files are purged, record and page are written, the run is sealed

What a part does with a model's weights is its kind's affair (`jobs.operations`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.classifiers import ClassifierSettings, load_classifier
from efface.classifiers.classifier import Classifier
from efface.devices import device_words, on_device
from efface.errors import InputError, RunRefused, Stopped
from efface.evaluation.results import ModelName, Row, read_results
from efface.evaluation.verdict import Verdict
from efface.files import NO_LOCKS_NOTE
from efface.generators import load_generator
from efface.generators.base import Generator
from efface.jobs.bases import base_facts, base_of_reference
from efface.jobs.concluding import begin, conclude
from efface.jobs.earlier import earlier_by_weights, earlier_notes, reference_seen, same_run_beside
from efface.jobs.erased import register_made
from efface.jobs.exactness import exactly
from efface.jobs.facts import (
    images_facts,
    manifests,
    method_facts,
    model_facts,
    reading_notes,
    refuse_another_base,
    refuse_other_images,
    refuse_other_models,
    retrained_facts,
    write_evaluation,
)
from efface.jobs.judging import judge_models, judgement, probe_facts, reference_notes
from efface.jobs.kinds import KINDS
from efface.jobs.operations import AnyOperations, Prepared, Start
from efface.jobs.resuming import manifests_are_whole, refuse_other_outputs, results_are_whole
from efface.memory import Room, room, within
from efface.probes.findings import Findings
from efface.progress import Progress
from efface.runs.claims import claim_of
from efface.runs.config import JobConfig, Verb
from efface.runs.digests import RESULT_FILES, file_digests
from efface.runs.folder import RunFolder
from efface.runs.people import names_of, without_names
from efface.runs.record import (
    ClassifierTraining,
    Durations,
    ModelsFacts,
    Record,
    RunKind,
    Seeds,
    Statement,
    read_record,
)
from efface.runs.requirements import Outcome
from efface.runs.results import read_findings, read_requirements, read_verdict
from efface.runs.sameness import same_models, unchanged
from efface.runs.seal import is_sealed
from efface.runs.state import EvaluatedPart, FurtherPart, PreparedPart, TrainedPart
from efface.runs.train_config import ClassifierTrainConfig, TrainConfig
from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig
from efface.sharing import of_the_first, sharing
from efface.training.trackers import following, refuse_missing

KIND_OF_RUN: dict[Verb, RunKind] = {"unlearn": "unlearning", "train": "training", "evaluate": "evaluation"}


@dataclass(frozen=True)
class RunResult:
    """A finished run: where it lies, its record, and its rows of figures, which a training has none of.

    verdict: whether it is gone, None without an unlearned model. probes: what they found, None where none was asked.
    requirements: what became of each, in their order.
    """

    run: Path
    record: Record
    rows: list[Row]
    verdict: Verdict | None
    probes: Findings | None
    requirements: list[Outcome]

    @classmethod
    def read(cls, run: Path) -> RunResult:
        """The result that lies in a run's folder."""
        record = read_record(run)
        return cls(
            run,
            record,
            read_results(run) if record.results else [],
            read_verdict(run),
            read_findings(run) if record.probes else None,
            read_requirements(run),
        )

    @property
    def model(self) -> Path:
        """The folder of the model that was made."""
        return self.run / "model"

    def generator(self) -> Generator:
        """The generator that was made, opened."""
        return load_generator(str(self.model))

    def classifier(self, **settings: Any) -> Classifier:
        """The classifier that was made, opened; settings: of `ClassifierSettings`, as the `network` that builds it."""
        return load_classifier(ClassifierSettings(path=str(self.model), **settings))


def carry_out(config: JobConfig, out: Path, progress: Progress | None = None) -> RunResult:
    """Carry out, or continue, the job that `config` describes in the folder `out`.

    Raises `InputError` before anything changes, `RunRefused` if `out` cannot take the run, and `Stopped`
    with everything kept if it ends early. Under torchrun all processes call this; the first one writes.
    """
    operations = KINDS[config.kind].operations
    if isinstance(config, RunConfig | TrainConfig | ClassifierRunConfig | ClassifierTrainConfig):
        refuse_missing(config.training.trackers)
    with ExitStack() as stack:
        stack.enter_context(on_device(config.device))
        processes = operations.processes(config)
        run, spoken = stack.enter_context(held_folder(config, out, progress, processes.first))
        stack.enter_context(within(Room(config.batch_pixels, spoken.note)))
        processes.wait()
        if is_sealed(run.path):
            if processes.first:
                _refuse_another_request(operations, config, run, spoken)
            spoken.say(f"{out} is finished already; nothing to do")
        else:
            with exactly(config.exact):
                _Run(operations, Start(config, run, spoken, processes)).go()
        result = RunResult.read(run.path)
        if processes.first and (registered := register_made(config, result.model, result.record)):
            spoken.say(registered)
        return result


def _refuse_another_request(
    operations: AnyOperations, config: JobConfig, run: RunFolder, progress: Progress
) -> None:
    """Raise `RunRefused` if a finished run is given again, and its folders or models hold something else by now.

    A model that is gone is not asked for again; images that cannot be read are, since they may be others.
    """
    recorded, sources = run.done(PreparedPart), read_record(run.path).sources
    try:
        earlier = earlier_by_weights(config, sources)
        refuse_other_images(operations.choose(config, earlier, progress).sets, run.key, recorded.images)
        for section in sources:
            settings = getattr(config, section)
            if Path(settings.path).exists():
                name = "original" if section == "model" else section
                refuse_other_models({name: operations.load(settings)}, recorded)
    except (InputError, RunRefused) as error:
        raise RunRefused(
            f"{run.path} is finished, and what is given now was not done, or cannot be told from what was: {error}"
        ) from None


@contextmanager
def held_folder(
    config: JobConfig, out: Path, progress: Progress | None, first: bool = True
) -> Iterator[tuple[RunFolder, Progress]]:
    """Hold `out` for the run of `config` while the block runs; only the first process writes and speaks.

    A fault of the file system becomes `Stopped`: what was finished is kept. Wrong input that is found before
    any part is finished leaves `out` as it was.
    """
    with RunFolder(Path(out), config.as_dict(), shared=not first) as run:
        spoken = (progress or Progress()) if first else Progress()
        if not run.locked:
            spoken.say(f"note: {NO_LOCKS_NOTE.format(out)}")
        try:
            yield run, spoken.logging_to(run.log) if first else spoken
        except InputError:
            run.abandon()
            raise
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise Stopped(
                f"stopped: {error.strerror or error}{where}. What was finished is kept in {out}; the same command "
                "continues once the cause is removed"
            ) from error


def _of_memory(*parts: TrainedPart | EvaluatedPart | None) -> list[str]:
    """What became of memory in parts of a run, each sentence once."""
    return list(dict.fromkeys(note for part in parts if part for note in part.notes))


class _Run:
    """One start of a run."""

    def __init__(self, operations: AnyOperations, start: Start) -> None:
        self.operations, self.start = operations, start
        self.config, self.run = start.config, start.run
        self.progress, self.processes = start.progress, start.processes
        self.trains, self.measures = self.config.verb != "evaluate", self.config.verb != "train"

    def go(self) -> None:
        self.progress.log(
            "start", config=self.config.digest(), processes=self.processes.count, device=device_words()
        )
        refuse_other_outputs(self.run)
        done = results_are_whole(self.run) if self.measures else self.run.finished(TrainedPart)
        goes_on = not (done and manifests_are_whole(self.run))
        # every process has looked before the first one writes
        self.processes.wait()
        if goes_on:
            self._work()
        if self.processes.first:
            conclude(self.config, self.run, self.progress, self._statement())
        self.processes.wait()

    def _work(self) -> None:
        began, first = time.monotonic(), self.processes.first
        with self.processes.first_before_others():
            prepared = self.operations.prepare(self.start)
        try:
            if first:
                self._prepare(prepared, began)
            if self.trains and not self.run.finished(TrainedPart):
                trained = self._train(prepared)
                if trained:
                    self.run.finish(trained)
                self.processes.wait()
            with sharing(self.processes.sharing):
                if self.measures and of_the_first(lambda: not results_are_whole(self.run)):
                    self._evaluate(prepared)
        finally:
            prepared.close()

    def _train(self, prepared: Prepared[Any, Any]) -> TrainedPart | None:
        """Train, followed by the trackers that were asked for."""
        names = self.config.training.trackers if self.processes.first else ()
        with following(
            names, self.run.path, self.run.work, self.run.key, self.progress.note
        ) as self.progress.tracker:
            trained = self.operations.train(self.start, prepared)
        self.progress.tracker = None
        return trained

    def _prepare(self, prepared: Prepared[Any, Any], began: float) -> None:
        recorded = self.run.finished(PreparedPart)
        if recorded is None:
            begin(self.run)
            self.run.finish(self._preparation(prepared, began))
            return
        refuse_other_images(prepared.split.sets, self.run.key, recorded.images)
        manifests(self.run.path, prepared.split.sets, self.run.key)
        if prepared.pairs != recorded.pairs:
            raise RunRefused(
                "the pairs are no longer those with which this run began: put the files of the corruption's folder or "
                "list back to continue it, or choose another --out folder"
            )
        if self.measures:
            refuse_other_models(prepared.compared, recorded)
        refuse_another_base(prepared.base.facts if prepared.base else None, recorded)

    def _preparation(self, prepared: Prepared[Any, Any], began: float) -> PreparedPart:
        """Everything that can refuse the run comes before its first file is written."""
        models = (
            {name: model_facts(model) for name, model in prepared.compared.items()} if self.measures else {}
        )
        said, weights = self._said(prepared), {name: facts.weights for name, facts in models.items()}
        notes = [
            *reading_notes({name: facts.description for name, facts in models.items()}),
            *same_models(
                weights | ({"base": prepared.base.facts.weights} if self.measures and prepared.base else {})
            ),
            *earlier_notes(prepared.earlier),
            *reference_notes(said, "retrained" in prepared.models),
            *reference_seen(self.config, prepared.split),
        ]
        if same := same_run_beside(self.config, self.run.path, prepared.split.forget):
            self.progress.say(f"note: {same}")
        base = base_facts(self.config, prepared.base, prepared.split, self.run.key)
        limit = self.operations.limit(self.start, prepared)
        risks = self.operations.risks(self.config, prepared) if self.measures else []
        for kind, sentences in (("warning", risks), ("note", notes)):
            for text in sentences:
                self.progress.say(f"{kind}: {text}")
        original, reference = models.get("original"), models.get("retrained")
        sets = manifests(self.run.path, prepared.split.sets, self.run.key)
        return PreparedPart(
            seconds=round(time.monotonic() - began, 3),
            images=images_facts(prepared.split, self.config.selectors, sets, prepared.earlier),
            notes=[*prepared.split.notes, *notes],
            risks=risks,
            before=original,
            unlearned=models.get("unlearned"),
            retrained=retrained_facts(
                reference, original, said.retrained_stages, base_of_reference(self.config)
            )
            if original
            else None,
            yardstick=models.get("yardstick"),
            request=said.request if self.measures else None,
            substitute=said.substitute if self.measures else None,
            like=prepared.like,
            base=base,
            pairs=prepared.pairs,
            limit_seconds=limit,
        )

    def _said(self, prepared: Prepared[Any, Any]) -> Any:
        """The config with the operator's texts as they may be handed out: without words that name forgotten images."""
        if not self.measures:
            return self.config
        key, names = self.run.key, names_of(self.config.images.forget, prepared.split.forget)

        def clean(text: str | None) -> str | None:
            return None if text is None else without_names(text, names, key)

        texts = {name: getattr(self.config.request, name) for name in ("id", "regime", "reason")}
        request = self.config.request.model_copy(update={name: clean(text) for name, text in texts.items()})
        stages, substitute = clean(self.config.retrained_stages), clean(self.config.substitute)
        return self.config.model_copy(
            update={"request": request, "retrained_stages": stages, "substitute": substitute}
        )

    def _evaluate(self, prepared: Prepared[Any, Any]) -> None:
        began = time.monotonic()
        models = self._models(prepared)
        evaluation = self.operations.evaluate(self.start, prepared, models)
        first = self.processes.first
        if first:
            write_evaluation(self.run.path, evaluation, prepared.sets, self.run.key)
        seconds = round(time.monotonic() - began, 3)
        subject = self.operations.subject(self.start, prepared, models, evaluation)
        probing = judge_models(self.start, subject, prepared.sets)
        if not first:
            return
        facts = self.operations.evaluation_facts(self.config, prepared)
        files = file_digests(self.run.path, RESULT_FILES)
        notes = room().notes
        self.run.finish(
            EvaluatedPart(seconds=seconds, probing=probing, facts=facts, notes=notes, files=files)
        )

    def _models(self, prepared: Prepared[Any, Any]) -> dict[ModelName, Any]:
        """The models that are measured: of an unlearning run the original as it was, and the one that was written."""
        if not self.trains:
            return prepared.models
        load = self.operations.load
        fresh: dict[ModelName, Any] = {
            "original": load(self.config.model),
            "unlearned": load(self.operations.beside(str(self.run.model), self.config.model)),
        }
        return {**fresh, **{name: model for name, model in prepared.models.items() if name not in fresh}}

    def _statement(self) -> Statement:
        config, run = self.config, self.run
        preparation, training = run.done(PreparedPart), run.finished(TrainedPart)
        evaluation, further = run.finished(EvaluatedPart), run.finished(FurtherPart)
        work = training.work if training else None
        family = preparation.before.description.family if preparation.before else None
        read = {
            "original" if config.verb == "evaluate" else "model": preparation.before,
            "unlearned": preparation.unlearned,
            "retrained": preparation.retrained,
            "base": preparation.base,
            "yardstick": preparation.yardstick,
        }
        model = ModelsFacts(
            before=preparation.before,
            base=preparation.base,
            after=training.after if training else None,
            path=further.models if further else {},
        )
        sources = {name: facts.weights for name, facts in read.items() if facts}
        return Statement(
            kind=KIND_OF_RUN[config.verb],
            claim=claim_of(
                config.method.claim if config.verb == "unlearn" else None,
                preparation.images,
                model,
                training.first_stage if training else None,
                not isinstance(work, ClassifierTraining) or work.complete,
            ),
            request=preparation.request,
            durations=Durations(
                preparation=preparation.seconds,
                training=round(training.seconds, 3) if training else None,
                evaluation=evaluation.seconds if evaluation else None,
                probes=evaluation.probing if evaluation else None,
            ),
            model=model,
            retrained=preparation.retrained,
            yardstick=preparation.yardstick,
            sources=sources | ({"like": preparation.like} if preparation.like else {}),
            method=method_facts(config, family) if config.verb == "unlearn" else None,
            training=work,
            first_stage=training.first_stage if training else None,
            statistics=training.statistics if training else None,
            corruption=self.operations.corruption(config) if self.measures else None,
            seeds=Seeds(
                unlearning=config.seed if config.verb == "unlearn" else None,
                training=config.seed if config.verb == "train" else None,
                evaluation=config.evaluation.seed if self.measures else None,
            ),
            images=preparation.images,
            notes=[*preparation.notes, *_of_memory(training, evaluation)],
            risks=[
                *preparation.risks,
                *(training.risks if training else []),
                *unchanged(preparation, training),
            ],
            evaluation=evaluation.facts if evaluation else None,
            probes=probe_facts(config.probes) if self.measures else [],
            verdict=read_verdict(run.path),
            requirements=judgement(run.path),
            substitute=preparation.substitute,
        )
