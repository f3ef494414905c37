"""`unlearn` on a classifier: the parts of a run, each finished once and remembered, as for generators."""

from __future__ import annotations

import time
from dataclasses import dataclass

from efface.classifiers import load_classifier
from efface.classifiers.classifier import Classifier
from efface.errors import Faults
from efface.evaluation.classifiers import evaluate_classifiers
from efface.evaluation.results import ModelName
from efface.jobs.account import (
    delivered_facts,
    images_facts,
    manifests,
    method_facts,
    model_facts,
    refuse_other_images,
    refuse_other_models,
    retrained_facts,
    save_model,
    sources,
    write_evaluation,
)
from efface.jobs.classifiers.models import (
    changed_tensors,
    device,
    open_models,
    rebuilding_faults,
    recipe_risks,
    recompute_statistics,
    risks_of,
    save_with_recipe,
    statistics_facts,
    statistics_risks,
)
from efface.jobs.classifiers.sets import LabelledSplit, facts_for, read_sets, validation_faults
from efface.jobs.classifiers.timing import retraining_seconds
from efface.jobs.frame import begin, conclude
from efface.jobs.preparation import attempt
from efface.methods.classifier.base import check_sets
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierRunConfig, parse_time_limit
from efface.runs.folder import RunFolder
from efface.runs.record import (
    Claim,
    ClassifierTraining,
    Durations,
    EvaluationFacts,
    GeneratorTraining,
    ModelsFacts,
    Seeds,
    Statement,
)
from efface.runs.state import EvaluatedPart, PreparedPart, TrainedPart
from efface.training.classification import PassesReport, run_passes
from efface.training.passes import Cost, cost_of
from efface.training.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """The models and labelled sets of a run."""

    models: dict[ModelName, Classifier]
    split: LabelledSplit

    @property
    def original(self) -> Classifier:
        """The model before unlearning."""
        return self.models["original"]


class ClassifierRun:
    """One start of a run."""

    def __init__(self, config: ClassifierRunConfig, run: RunFolder, progress: Progress) -> None:
        self.config, self.run, self.progress = config, run, progress

    def go(self) -> None:
        """Do what is not finished yet; raises as `jobs.unlearning.unlearn`."""
        self.progress.log("start", config=self.config.digest(), processes=1)
        if not self.run.finished(EvaluatedPart):
            self._unlearn_and_evaluate()
        conclude(self.config, self.run, self.progress, self._statement())

    def _unlearn_and_evaluate(self) -> None:
        began = time.monotonic()
        prepared = self._prepare()
        recorded = self.run.finished(PreparedPart)
        if recorded is None:
            begin(self.run)
            self.run.finish(self._preparation(prepared, time.monotonic() - began))
        else:
            refuse_other_images(prepared.split.named, self.run.key, recorded.images)
            refuse_other_models(prepared.original, prepared.models.get("retrained"), recorded)
        if not self.run.finished(TrainedPart):
            self._unlearn(prepared)
        self._evaluate(prepared)

    def _prepare(self) -> Prepared:
        """Open everything that the config names; raises one `InputError` with all faults found."""
        config = self.config
        with Faults("this run cannot start") as faults:
            models = open_models(config.model, {"retrained": config.retrained}, faults)
            faults.problems += validation_faults(config.method, config.validation)
            if "original" in models:
                faults.problems += rebuilding_faults(config.method, models["original"])
            if config.method.claim == "exact" and "original" in models:
                # better now than after all images were read: not every network can draw its weights anew
                attempt(lambda: models["original"].copy().reinitialise(config.seed), faults)
        original = models["original"]
        cache = self.run.work / "cache"
        split = read_sets(config.images, original, cache, self.progress, config.validation)
        check_sets(config.method, split.for_method(config.method), len(original.classes))
        return Prepared(models, split)

    def _preparation(self, prepared: Prepared, seconds: float) -> PreparedPart:
        config, split, original = self.config, prepared.split, prepared.original
        risks = [*risks_of(original, config.model, split.labelled["retain"]), *recipe_risks(config)]
        for risk in risks:
            self.progress.say(f"warning: {risk}")
        before = model_facts(original)
        reference = prepared.models.get("retrained")
        sets = manifests(self.run.path, split.named, self.run.key)
        selectors = (*config.images.selectors, *config.validation)
        return PreparedPart(
            seconds=round(seconds, 3),
            images=images_facts(split.split, selectors, sets),
            notes=list(split.split.notes),
            risks=risks,
            before=before,
            retrained=retrained_facts(
                model_facts(reference) if reference else None, before, config.retrained_stages
            ),
            limit_seconds=self._limit(prepared),
        )

    def _limit(self, prepared: Prepared) -> float | None:
        """The bound in seconds. A share of retraining is measured once, so that a continued run has the same bound."""
        if self.config.budget is None:
            return None
        limit = parse_time_limit(self.config.budget)
        if limit.share is None:
            return limit.seconds
        config = self.config
        given = prepared.split.for_method(config.method)
        facts, _ = facts_for(prepared.original, config.method, given, config.recipe, config.seed)
        whole = retraining_seconds(prepared.original.copy().to(device()), given, facts)
        self.progress.say(
            f"retraining would take about {whole:.1f} s; the method may take {limit.share:.0%} of it"
        )
        return limit.share * whole

    def _unlearn(self, prepared: Prepared) -> None:
        config, given = self.config, prepared.split.for_method(self.config.method)
        facts, everything = facts_for(prepared.original, config.method, given, config.recipe, config.seed)
        model, passes = prepared.original.copy().to(device()), config.method.passes(facts)
        report = run_passes(
            model,
            passes,
            everything,
            facts,
            limit=self.run.done(PreparedPart).limit_seconds,
            folder=self.run.work,
            digest=config.digest(),
            progress=self.progress,
        )
        if config.statistics == "recompute":
            recompute_statistics(model, given["retain"])
        exact = config.method.claim == "exact" and report.finished
        # a recipe that nobody named is noted only where the delivered model was trained by it
        noted = config.recipe if config.knows_recipe or exact else None
        save_model(lambda folder: save_with_recipe(model, noted, folder), self.run.model)
        self.run.finish(
            TrainedPart(
                seconds=report.seconds,
                work=classifier_training(
                    report,
                    cost_of(passes, facts.sizes),
                    prepared.original,
                    model,
                    config.recipe,
                    config.budget,
                ),
                complete=report.finished,
                statistics=statistics_facts(model, config.statistics, exact),
                after=delivered_facts(model, self.run.model),
            )
        )

    def _evaluate(self, prepared: Prepared) -> None:
        began = time.monotonic()
        split, where = prepared.split, device()
        models: dict[ModelName, Classifier] = {
            "original": prepared.original,
            "unlearned": load_classifier(str(self.run.model)),
        }
        if "retrained" in prepared.models:
            models["retrained"] = prepared.models["retrained"]
        evaluation = evaluate_classifiers(
            {name: model.to(where) for name, model in models.items()},
            split.measured,
            self.config.evaluation,
            proxy_retain=split.split.proxy,
            progress=self.progress,
        )
        write_evaluation(self.run.path, evaluation, split.sets, self.run.key)
        self.run.finish(EvaluatedPart(seconds=round(time.monotonic() - began, 3)))

    def _statement(self) -> Statement:
        config, run, method = self.config, self.run, self.config.method
        preparation, training, evaluation = (
            run.done(PreparedPart),
            run.done(TrainedPart),
            run.done(EvaluatedPart),
        )
        assert training.statistics is not None
        exact = method.claim == "exact" and preparation.images.only_retain and training.complete
        return Statement(
            kind="unlearning",
            claim=Claim.of("exact" if exact else "empirical"),
            request=config.request,
            durations=Durations(
                preparation=preparation.seconds,
                training=round(training.seconds, 3),
                evaluation=evaluation.seconds,
            ),
            model=ModelsFacts(before=preparation.before, after=training.after),
            retrained=preparation.retrained,
            sources=sources(model=preparation.before, retrained=preparation.retrained),
            method=method_facts(method),
            training=training.work,
            first_stage=None,
            corruption=None,
            statistics=training.statistics,
            seeds=Seeds(unlearning=config.seed, evaluation=config.evaluation.seed),
            images=preparation.images,
            notes=preparation.notes,
            risks=[
                *preparation.risks,
                *statistics_risks(training.statistics),
                *_of_the_bound(training.work, training.complete),
            ],
            evaluation=EvaluationFacts(settings=config.evaluation, extractor=None),
        )


def classifier_training(
    report: PassesReport,
    cost: Cost,
    before: Classifier,
    after: Classifier,
    recipe: Recipe,
    budget: str | None,
) -> ClassifierTraining:
    """What the record tells of a classifier's training. cost: what was laid down, without preparation."""
    steps = cost.steps if report.finished else report.steps
    return ClassifierTraining(
        steps=report.steps,
        seconds_per_step=report.seconds / steps if steps else None,
        precision="fp32",
        processes=1,
        resumed_from=report.resumed_from,
        changed_tensors=changed_tensors(before, after),
        tensors=len(after.network.state_dict()),
        budget=budget,
        recipe=recipe,
        cut=report.cut,
        preparation_steps=report.preparation_steps,
        preparation_seconds=report.preparation_seconds,
    )


def _of_the_bound(work: GeneratorTraining | ClassifierTraining, complete: bool) -> list[str]:
    if not isinstance(work, ClassifierTraining) or not work.cut:
        return []
    if complete:
        return ["the method went to its end, but took longer than its bound on time allows"]
    steps = work.steps
    return [
        f"the method was stopped by its bound on time after {steps} step{'s' * (steps != 1)}, before its end: the "
        "delivered model is what it had come to"
    ]
