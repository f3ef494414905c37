"""`evaluate` of classifiers that are there already: the same figures, record and page as unlearning gives."""

from __future__ import annotations

import time

from efface.errors import Faults
from efface.evaluation.classifiers import evaluate_classifiers
from efface.jobs.account import (
    images_facts,
    manifests,
    model_facts,
    retrained_facts,
    sources,
    write_evaluation,
)
from efface.jobs.classifiers.models import device, open_models, risks_of
from efface.jobs.classifiers.sets import read_sets
from efface.jobs.frame import begin, conclude
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierEvaluateConfig
from efface.runs.folder import RunFolder
from efface.runs.record import COMPARED, Claim, Durations, EvaluationFacts, ModelsFacts, Seeds, Statement


def evaluate_classifiers_of(config: ClassifierEvaluateConfig, run: RunFolder, progress: Progress) -> None:
    """Compare the models that `config` names in the folder of `run`; raises as `jobs.evaluation.evaluate_models`."""
    began = time.monotonic()
    begin(run)
    with Faults("these models cannot be compared") as faults:
        others = {"unlearned": config.unlearned, "retrained": config.retrained}
        models = open_models(config.original, others, faults)  # type: ignore[arg-type]
    split = read_sets(config.images, models["original"], run.work / "cache", progress, needs_retain=False)
    looked_at = split.labelled.get("retain", split.labelled["forget"])
    risks = risks_of(models["original"], config.original, looked_at)
    for risk in risks:
        progress.say(f"warning: {risk}")
    described = {name: model_facts(model) for name, model in models.items()}
    evaluation = evaluate_classifiers(
        {name: model.to(device()) for name, model in models.items()},
        split.measured,
        config.evaluation,
        proxy_retain=split.split.proxy,
        progress=progress,
    )
    write_evaluation(run.path, evaluation, split.sets, run.key)
    original, sets = described["original"], manifests(run.path, split.sets, run.key)
    conclude(
        config,
        run,
        progress,
        Statement(
            kind="evaluation",
            claim=Claim(level="empirical", words=COMPARED),
            request=config.request,
            durations=Durations(evaluation=round(time.monotonic() - began, 3)),
            model=ModelsFacts(before=original, after=None),
            retrained=retrained_facts(described.get("retrained"), original, config.retrained_stages),
            sources=sources(**described),
            method=None,
            training=None,
            first_stage=None,
            corruption=None,
            statistics=None,
            seeds=Seeds(evaluation=config.evaluation.seed),
            images=images_facts(split.split, config.images.selectors, sets),
            notes=list(split.split.notes),
            risks=risks,
            evaluation=EvaluationFacts(settings=config.evaluation, extractor=None),
        ),
    )
