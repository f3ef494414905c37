"""What a job states of the base from which a model is trained on, and what speaks against one."""

from __future__ import annotations

from typing import Any

from efface.errors import InputError
from efface.images.selection import Split
from efface.runs.bases import seen_by
from efface.runs.people import keyed_word
from efface.runs.record import BaseFacts, ModelFacts, Saw


def base_facts(config: Any, base: ModelFacts | None, split: Split, key: bytes) -> BaseFacts | None:
    """The base of a job for its record; raises `InputError` where it is no base that never saw the forget images."""
    if base is None:
        return None
    path, hub = str(config.base.path), base.description.origin.get("hub")
    place = str(hub) if hub else keyed_word(key, path, "place")
    return BaseFacts(**vars(base), place=place, saw=base_saw(config, base.weights, split))


def base_saw(config: Any, weights: str, split: Split) -> Saw:
    """Whether the base was trained on images to be forgotten; raises `InputError` where it was, and still is.

    weights: the digest of its weights.
    """
    seen = seen_by(config.base.path, weights, split.forget)
    if seen.trained_on:
        raise InputError(
            f"{config.base.path} is no base for a model without the images to be forgotten: by the records behind it, it "
            f"was trained on {seen.trained_on} of these {len(set(split.forget.ids))}. Give one that was not, or make it "
            "forget them first"
        )
    return seen.saw
