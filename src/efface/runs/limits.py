"""What a run does not show, in plain sentences: printed in the record and the report."""

from __future__ import annotations

from collections.abc import Iterable

from efface.evaluation.results import Row
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.metrics.base import ModelKind
from efface.runs.record import ImagesFacts, Statement
from efface.wording import counted

FEW_IMAGES = 30
WEIGHTS_ONLY = (
    "Only the model's weights were changed. Copies of the images elsewhere, backups, earlier releases of the "
    "model, models derived from it, and optimizer states or averaged weights of its training are not reached."
)
MEASURED: dict[ModelKind, str] = {
    "generator": "The measurements ask what the model does with the views that were shown to it under one corruption. "
    "They do not prove that nothing of the images is left in the weights, nor that it cannot be brought back.",
    "classifier": "The measurements ask which class the model gives to one view of each image, its centre square, and "
    "how sure it is. They do not prove that nothing of the images is left in the weights, nor that it cannot be "
    "brought back. Attacks that train models of their own can tell more than those shown here.",
}
MEASURED_FURTHER = (
    "The measurements ask what the model does with the views that were shown to it, and what the probes named here found. "
    "They do not prove that nothing of the images is left in the weights, nor that it cannot be brought back in a way "
    "that was not tried."
)
OPERATOR = "A record can show what was done; it cannot make a dishonest operator honest."


def limits_of(stated: Statement, rows: Iterable[Row]) -> list[str]:
    """The limits of a run from what its job states and measured, most specific first."""
    rows = list(rows)
    limits = _of_references(stated) if rows else []
    limits += _of_sets(stated.images)
    if any(row.extractor and row.extractor.startswith("filter-bank") for row in rows):
        limits.append(
            "Fréchet and kernel distance use the small built-in extractor, which sees texture, edges and colour "
            "but no objects. They cannot be compared with published FID or KID values."
        )
    # a method that asks a base draws to its answers
    if stated.method and stated.model.base is None and _drives_away(stated.method.name, stated.model_kind):
        limits.append(
            "The method drives the model away from the forgotten images rather than towards a model that never "
            "saw them. Where the error exceeds the retrained model's, the overshoot itself can betray that an "
            "image was forgotten."
        )
    measured = MEASURED_FURTHER if stated.probes else MEASURED[stated.model_kind]
    return [*limits, *_of_first_stage(stated), *stated.risks, WEIGHTS_ONLY, measured, OPERATOR]


def _drives_away(name: str, kind: ModelKind) -> bool:
    methods = CLASSIFIER_METHODS if kind == "classifier" else GENERATOR_METHODS
    return name in methods and methods[name].drives_away


def _of_first_stage(stated: Statement) -> list[str]:
    """What a run leaves as it is because it lies before the encoder and behind the decoder."""
    before, after = stated.model.before, stated.model.after
    stage = after.description.first_stage if after else None
    if stage is None:
        return []
    if before:
        how, its = "not changed", before.description.first_stage
        same = its is not None and its.weights == stage.weights
    else:
        how, same = "taken over as it was", stated.first_stage is not None and stated.first_stage.kept
    if not same:
        return []
    return [
        f"The {stage.kind} was {how}. If it was trained on the forgotten images, it may still hold what it learnt "
        "of them."
    ]


def _of_references(stated: Statement) -> list[str]:
    limits = []
    if stated.retrained is None:
        limits.append(
            "No model retrained without the forgotten images was at hand. Whether the unlearned model behaves as "
            "such a model would cannot be said; distances are to the original model instead."
        )
    elif stated.retrained.stages != "all":
        limits.append(
            f"The reference model was not retrained in every stage: {stated.retrained.stages}. A stage that was not "
            "may still hold the forgotten images."
        )
    if not stated.images.count("neutral"):
        limits.append(
            "No neutral set (images in neither training nor request) was given, so it is not known how the "
            "model treats images that it never saw."
        )
    if not stated.images.count("retain"):
        limits.append("No retain images were given: what unlearning cost the rest was not measured.")
    return limits


def _of_sets(images: ImagesFacts) -> list[str]:
    limits = []
    if images.proxy_retain:
        limits.append(
            "Proxy images stood in for the retain set, in unlearning and in the figures named 'retain'. What it "
            "cost the real retain images was not measured."
        )
    copies = images.duplicates.exact + images.duplicates.near
    if copies and images.duplicates.action == "ignore":
        limits.append(
            f"The other sets hold {counted(copies, 'copy or near-copy', 'copies or near-copies')} of forgotten images, "
            "kept on request: the model may still know the images through them."
        )
    if images.skipped.count:
        limits.append(
            counted(
                images.skipped.count, "image could not be read and was", "images could not be read and were"
            )
            + " left out on request."
        )
    for name, facts in images.sets.items():
        if 0 < facts.count < FEW_IMAGES:
            limits.append(f"The {name} set has {counted(facts.count, 'image')}: its figures are uncertain.")
    return limits
