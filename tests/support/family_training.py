"""Training a tiny model of any family: models whose step is a function of its seed alone, phases, kept codes."""

from __future__ import annotations

from typing import Any

from efface.generators import registry
from efface.generators.base import Generator
from efface.methods import read_method
from efface.methods.generator.retrain import from_scratch
from efface.training.phases import Phase
from support.families import SHAPES
from support.tiny_models import tiny

FAMILIES = ("mae", *SHAPES)
WITH_FIRST_STAGE = ("mage", "latent-inpainting")


def fresh(family: str, **changes: Any) -> Generator:
    """An untrained model of 32 px; without dropout unless it is asked for."""
    if family == "mae":
        return tiny(**changes)
    known = registry.FAMILIES.named(family)
    plain = {"dropout": 0.0} if "dropout" in known.architecture.model_fields else {}
    return known.new(known.architecture.read({**SHAPES[family], **plain, **changes}), 0).eval()


def dropping(family: str) -> Generator:
    """The same with dropout where the family has it, so that the global random state matters too."""
    if family == "mae":
        return fresh(family, hidden_dropout_prob=0.1)
    return fresh(family, **({} if family == "latent-inpainting" else {"dropout": 0.1}))


def phases_of(what: str) -> list[Phase]:
    """Those of a method, or with `scratch` those of `train`."""
    return list(from_scratch(True)) if what == "scratch" else read_method({"name": what}).phases()
