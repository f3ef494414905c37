"""What a run does not show, in plain sentences: printed in the record and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from efface.evaluation.results import Row
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS

FEW_IMAGES = 30
WEIGHTS_ONLY = (
    "Only the model's weights were changed. Copies of the images elsewhere, backups, earlier releases of the "
    "model, models derived from it, and optimizer states or averaged weights of its training are not reached."
)
ASKED = {
    "generator": "The measurements ask what the model does with the views that were shown to it under one corruption. "
    "They do not prove that nothing of the images is left in the weights, nor that it cannot be brought back.",
    "classifier": "The measurements ask which class the model gives to one view of each image, its centre square, and "
    "how sure it is. They do not prove that nothing of the images is left in the weights, nor that it cannot be "
    "brought back. Attacks that train models of their own can tell more than those shown here.",
}
ASKED_FURTHER = (
    "The measurements ask what the model does with the views that were shown to it, and what the probes named here found. "
    "They do not prove that nothing of the images is left in the weights, nor that it cannot be brought back in a way "
    "that was not tried."
)
OPERATOR = "A record can show what was done; it cannot make a dishonest operator honest."


def limits_of(facts: Mapping[str, Any], rows: Iterable[Row]) -> list[str]:
    """The limits of a run from the facts of its record, most specific first."""
    rows = list(rows)
    limits = _of_references(facts) if rows else []
    limits += _of_sets(facts)
    if any(row.extractor and row.extractor.startswith("filter-bank") for row in rows):
        limits.append(
            "Fréchet and kernel distance use the small built-in extractor, which sees texture, edges and colour "
            "but no objects. They cannot be compared with published FID or KID values."
        )
    if facts.get("method") and _drives_away(facts["method"]["name"], _is_classifier(facts)):
        limits.append(
            "The method drives the model away from the forgotten images rather than towards a model that never "
            "saw them. Where the error exceeds the retrained model's, the overshoot itself can betray that an "
            "image was forgotten."
        )
    kind = "classifier" if _is_classifier(facts) else "generator"
    asked = ASKED_FURTHER if facts.get("probes") else ASKED[kind]
    return [*limits, *_of_first_stage(facts), *facts["risks"], WEIGHTS_ONLY, asked, OPERATOR]


def _drives_away(name: str, of_classifiers: bool) -> bool:
    methods = CLASSIFIER_METHODS if of_classifiers else GENERATOR_METHODS
    return name in methods and methods[name].drives_away


def _is_classifier(facts: Mapping[str, Any]) -> bool:
    model = facts["model"]["before"] or facts["model"]["after"]
    return bool(model["description"].get("kind") == "classifier")


def _of_first_stage(facts: Mapping[str, Any]) -> list[str]:
    """What a run leaves as it is because it lies before the encoder and behind the decoder."""
    before, after = facts["model"]["before"], facts["model"]["after"]
    stage = after["description"].get("first_stage") if after else None
    if not stage:
        return []
    if before:
        how = "not changed"
        same = before["description"]["first_stage"]["weights"] == stage["weights"]
    else:
        how = "taken over as it was"
        same = facts["first_stage"]["kept"]
    if not same:
        return []
    return [
        f"The {stage['kind']} was {how}. If it was trained on the forgotten images, it may still hold what it learnt "
        "of them."
    ]


def _of_references(facts: Mapping[str, Any]) -> list[str]:
    counts = _counts(facts)
    limits = []
    retrained = facts.get("retrained")
    if retrained is None:
        limits.append(
            "No model retrained without the forgotten images was at hand. Whether the unlearned model behaves as "
            "such a model would cannot be said; distances are to the original model instead."
        )
    elif retrained["stages"] != "all":
        limits.append(
            f"The reference model was not retrained in every stage: {retrained['stages']}. A stage that was not "
            "may still hold the forgotten images."
        )
    if not counts.get("neutral"):
        limits.append(
            "No neutral set (images in neither training nor request) was given, so it is not known how the "
            "model treats images that it never saw."
        )
    if not counts.get("retain"):
        limits.append("No retain images were given: what unlearning cost the rest was not measured.")
    return limits


def _of_sets(facts: Mapping[str, Any]) -> list[str]:
    limits = []
    if facts["proxy_retain"]:
        limits.append(
            "Proxy images stood in for the retain set, in unlearning and in the figures named 'retain'. What it "
            "cost the real retain images was not measured."
        )
    duplicates = facts["duplicates"]
    copies = duplicates["exact"] + duplicates["near"]
    if copies and duplicates["action"] == "ignore":
        limits.append(
            f"The retain set holds {copies} copies or near-copies of forgotten images, and they were kept on "
            "request: the model may still know the images through them."
        )
    if facts["skipped"]["count"]:
        limits.append(f"{facts['skipped']['count']} images could not be read and were left out on request.")
    for name, count in _counts(facts).items():
        if 0 < count < FEW_IMAGES:
            limits.append(f"The {name} set has {count} image{'s' * (count > 1)}: its figures are uncertain.")
    return limits


def _counts(facts: Mapping[str, Any]) -> dict[str, int]:
    return {name: values["count"] for name, values in facts["sets"].items()}
