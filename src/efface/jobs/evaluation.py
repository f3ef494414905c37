"""`evaluate`: figures, record and page for models that are there already."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from efface.corruptions import parse_corruption
from efface.errors import Faults
from efface.evaluation.requirements import Verdict
from efface.evaluation.results import ModelName, Row, read_results
from efface.generators import load_generator
from efface.generators.base import Generator
from efface.generators.registry import risks_of
from efface.jobs.account import (
    evaluation_facts,
    extractor_facts,
    images_facts,
    manifests,
    measure,
    model_facts,
    retrained_facts,
    similarity_facts,
    some_images,
    sources,
)
from efface.jobs.classifiers.evaluation import evaluate_classifiers_of
from efface.jobs.frame import begin, conclude, run_folder
from efface.jobs.preparation import (
    Prepared,
    attempt,
    load_reference,
    open_similarity,
    read_images,
    read_pairs,
)
from efface.jobs.probing import (
    Asked,
    found_in,
    judged,
    probe_and_judge,
    reference_notes,
)
from efface.metrics.extractors import load_extractor
from efface.probes.findings import Findings
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierEvaluateConfig
from efface.runs.config import EvaluateConfig
from efface.runs.folder import RunFolder
from efface.runs.record import COMPARED, Claim, Durations, ModelsFacts, Record, Seeds, Statement, read_record
from efface.runs.state import RecordedPart


@dataclass(frozen=True)
class EvaluateResult:
    """A finished evaluation: where it lies, its rows and its record; probes and requirements as in `UnlearnResult`."""

    run: Path
    rows: list[Row]
    record: Record
    probes: Findings | None = None
    requirements: list[Verdict] = field(default_factory=list)


def evaluate_models(
    config: EvaluateConfig | ClassifierEvaluateConfig, out: Path, progress: Progress | None = None
) -> EvaluateResult:
    """Compare the models that `config` names, in the folder `out`; raises as `unlearn` does."""
    with run_folder(config, out, progress) as (run, spoken):
        if run.finished(RecordedPart):
            spoken.say(f"{out} is finished already; nothing to do")
        elif isinstance(config, ClassifierEvaluateConfig):
            evaluate_classifiers_of(config, run, spoken)
        else:
            _evaluate(config, run, spoken)
        return EvaluateResult(
            run.path,
            read_results(run.path),
            read_record(run.path),
            *found_in(run.path),
        )


def _evaluate(config: EvaluateConfig, run: RunFolder, progress: Progress) -> None:
    began = time.monotonic()
    begin(run)
    models, prepared = _prepare(config, run, progress)
    risks = risks_of(prepared.generator, some_images(prepared, config.evaluation))
    for risk in risks:
        progress.say(f"warning: {risk}")
    notes = reference_notes(config, prepared.retrained is not None)
    for note in notes:
        progress.say(f"note: {note}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        evaluation = measure(config, run, models, prepared, device, progress)
        measured = time.monotonic() - began
        asked = Asked(config, models, prepared, evaluation, config.training)
        asking = probe_and_judge(asked, run, config.evaluation, progress)
        described = {name: model_facts(model) for name, model in models.items()}
        sets = manifests(run.path, prepared.sets, run.key)
    finally:
        prepared.cache.close()
    original, retrained = described["original"], described.get("retrained")
    extractor, similarity = extractor_facts(prepared.extractor), similarity_facts(prepared)
    conclude(
        config,
        run,
        progress,
        Statement(
            kind="evaluation",
            claim=Claim(level="empirical", words=COMPARED),
            request=config.request,
            durations=Durations(evaluation=round(measured, 3), probes=asking),
            model=ModelsFacts(before=original, after=None),
            retrained=retrained_facts(retrained, original, config.retrained_stages),
            sources=sources(**described),
            method=None,
            training=None,
            first_stage=None,
            statistics=None,
            corruption=prepared.corruption.label,
            seeds=Seeds(evaluation=config.evaluation.seed),
            images=images_facts(prepared.split, config.images.selectors, sets),
            notes=[*prepared.split.notes, *notes],
            risks=risks,
            evaluation=evaluation_facts(config.evaluation, extractor, similarity),
            **judged(config, run.path),
        ),
    )


def _prepare(
    config: EvaluateConfig, run: RunFolder, progress: Progress
) -> tuple[dict[ModelName, Generator], Prepared]:
    models: dict[ModelName, Generator] = {}
    with Faults("these models cannot be compared") as faults:
        original = attempt(lambda: load_generator(config.original), faults)
        if original:
            models["original"] = original
        asked: dict[ModelName, Any] = {"unlearned": config.unlearned, "retrained": config.retrained}
        for name, settings in asked.items():
            model = attempt(lambda settings=settings: load_reference(settings, original), faults)  # type: ignore[misc]
            if model:
                models[name] = model
        extractor = attempt(lambda: load_extractor(config.evaluation.extractor), faults)
        similarity = open_similarity(config.evaluation, extractor, faults)
        corruption = parse_corruption(config.corruption)
        if original:
            attempt(lambda: original.check_corruption(corruption), faults)
            attempt(lambda: original.sampler_name(config.evaluation.sampler), faults)
    assert original is not None
    assert extractor is not None
    cache, split = read_images(
        config.images, run.work / "cache", config.stored_side, original.image_size, False, progress
    )
    pairs = read_pairs(corruption, split, cache)
    return models, Prepared(
        original, corruption, split, cache, extractor, models.get("retrained"), pairs, similarity=similarity
    )
