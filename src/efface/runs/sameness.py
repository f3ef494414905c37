"""Models with equal weights where a comparison takes them to be different ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from efface.errors import Faults
from efface.runs.state import PreparedPart, TrainedPart


def same_models(weights: Mapping[Any, str]) -> list[str]:
    """Sentences on models with the same weights. weights: the digest of each.

    Raises `InputError` where the reference is the original itself, which was trained on what is to be forgotten, or the
    yardstick either of these.
    """
    original, unlearned, retrained, yardstick, base = (
        weights.get(name) for name in ("original", "unlearned", "retrained", "yardstick", "base")
    )
    with Faults("these models cannot be compared") as faults:
        if original is not None and base == original:
            faults.add(
                "the base has the same weights as the model: nothing was trained on from it. Name the model from which "
                "this one was fine-tuned, or leave --from out"
            )
        if retrained is not None and retrained == original:
            faults.add(
                "the model given as retrained has the same weights as the original: it is no model trained without the "
                "images. Give one that is (efface train --without), or leave --retrained out"
            )
        if yardstick is not None and yardstick in (original, retrained):
            whose = (
                "original: it is no model trained without the images"
                if yardstick == original
                else "retrained one"
            )
            faults.add(
                f"the model given as yardstick has the same weights as the {whose}. Give one trained without them by "
                "another seed (efface train --without ... --seed), or leave --yardstick out"
            )
    notes = []
    if unlearned is not None and unlearned == original:
        notes.append(
            "The unlearned model has the same weights as the original: nothing was forgotten, and every figure of the two "
            "is the same."
        )
    if unlearned is not None and unlearned == retrained:
        notes.append(
            "The unlearned model has the same weights as the one given as retrained: unless it was trained anew from the "
            "same images and seed, one of the two was given twice."
        )
    if unlearned is not None and unlearned == yardstick:
        notes.append(
            "The unlearned model has the same weights as the one given as yardstick: one of the two was given twice."
        )
    return notes


def unchanged(prepared: PreparedPart, trained: TrainedPart | None) -> list[str]:
    """What is odd about the weights of the model that a run made."""
    if trained is None or prepared.before is None:
        return []
    made = {"original": prepared.before.weights, "unlearned": trained.after.weights}
    beside = {"retrained": prepared.retrained, "yardstick": prepared.yardstick}
    return same_models({**made, **{name: facts.weights for name, facts in beside.items() if facts}})
