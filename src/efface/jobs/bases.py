"""What a job states of the base from which a model is trained on, and what speaks against one."""

from __future__ import annotations

from typing import Any

from efface.errors import InputError
from efface.images.selection import Split
from efface.jobs.operations import Base
from efface.runs.bases import seen_by, trained_by
from efface.runs.people import keyed_word
from efface.runs.record import BaseFacts, Saw


def base_facts(config: Any, base: Base[Any] | None, split: Split, key: bytes) -> BaseFacts | None:
    """The base of a job for its record; raises `InputError` where it was trained on the forget images."""
    if base is None:
        return None
    facts = base.facts
    path, hub = str(config.base.path), facts.description.origin.get("hub")
    place = str(hub) if hub else keyed_word(key, path, "place")
    return BaseFacts(**vars(facts), place=place, saw=base_saw(config, facts.weights, split))


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


def base_of_reference(config: Any) -> BaseFacts | None:
    """The base from which the reference of a job was trained, by the records behind it."""
    settings = getattr(config, "retrained", None)
    try:
        made = trained_by(settings.path) if settings else None
    except InputError:
        return None
    return made[1].model.base if made else None
