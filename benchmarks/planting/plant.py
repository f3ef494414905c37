"""What a plant is: models of which it is known whether the forget images are gone, and what is given to the product."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from efface.evaluation.results import ModelName, SetName

WorldT = TypeVar("WorldT")


@dataclass(frozen=True)
class Case:
    """One plant of one seed, as the product is given it.

    models: original, unlearned and reference; sets: the images. pictures: where pixels of generators are read, None for
    the world's own. triggered: whether a trigger was planted in the forget images.
    """

    models: Mapping[ModelName, Any]
    sets: Mapping[SetName, Any]
    pictures: Any = None
    triggered: bool = False


@dataclass(frozen=True)
class Plant(Generic[WorldT]):
    """A way to fail, or not to. name: as in results; words: one line for people.

    gone: whether the forget images are gone from what is called the unlearned model, so that *yes* is right. probes: those
    that are made to see it, without which nobody would expect it to be seen.
    """

    name: str
    words: str
    gone: bool
    make: Callable[[WorldT], Case]
    probes: Sequence[str] = field(default=())
