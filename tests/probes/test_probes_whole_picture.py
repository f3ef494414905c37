"""Codes of the whole picture: memory that no filled hole shows is found, and that of no other model is asked."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from efface.generators.base import View
from efface.probes.whole_picture import WholePicture
from support.mage_models import lively, tiny_mage
from support.subjects import Pictures, Remembering, forgetting, numbered, subject, views_of

COUNT = 8
PROBE = WholePicture()


class Seeping(Remembering):
    """Recalls what it remembers only from codes of the whole picture; of others it is told no more than is visible."""

    def whole_picture_view(self, view: View) -> View:
        return replace(view, corrupted=replace(view.corrupted, condition=view.images))

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        memory = self.memory
        if view.corrupted.condition is not view.images:
            self.memory = memory[:0]
        restored = super().restore(view)
        self.memory = memory
        return restored


def test_memory_that_only_whole_picture_codes_reach_is_found() -> None:
    cache = Pictures()
    sets = {name: numbered(name, COUNT) for name in ("forget", "retain", "neutral")}
    forget, retain = (views_of(sets[name], cache) for name in ("forget", "retain"))
    both = torch.cat([forget, retain])
    models = {"original": Seeping(both), "unlearned": Seeping(both), "retrained": Seeping(retain)}
    asked = subject(models, sets, cache)
    errors = {name: asked.evaluated_values(name, "forget").mean() for name in ("unlearned", "retrained")}
    assert errors["unlearned"] == errors["retrained"], "under a filled hole the two are alike"
    found = PROBE.ask(asked).find("whole-picture")
    assert found is not None
    assert found.value is not None
    assert found.value < 0.1
    assert found.difference_high is not None
    assert found.difference_high < -0.3


def test_a_second_retraining_is_as_the_first() -> None:
    cache = Pictures()
    sets = {name: numbered(name, COUNT) for name in ("forget", "retain", "neutral")}
    retain = views_of(sets["retain"], cache)
    models = {name: Seeping(retain) for name in ("original", "unlearned", "retrained")}
    found = PROBE.ask(subject(models, sets, cache)).find("whole-picture")
    assert found is not None
    assert found.difference == 0


def test_a_model_whose_codes_see_nothing_beyond_is_not_asked() -> None:
    (found,) = PROBE.ask(forgetting("second", count=4)).figures
    assert found.value is None
    assert found.note == "not measurable: no visible code of these models depends on hidden pixels"


def test_token_models_are_asked_with_their_tokens() -> None:
    cache = Pictures()
    sets = {name: numbered(name, 4) for name in ("forget", "neutral")}
    models = {
        name: lively(tiny_mage(image_size=16, tokenizer_patch=2), place)
        for name, place in (("original", 0.2), ("unlearned", 0.3))
    }
    asked = subject(models, sets, cache, sampler="greedy:1")
    found = PROBE.ask(asked).find("whole-picture")
    assert found is not None
    seen: dict[str, Tensor] = {}
    for name in ("forget", "neutral"):
        (view,) = asked.over_views(models["unlearned"], sets[name], lambda view: view)
        restored = models["unlearned"].restore(models["unlearned"].whole_picture_view(view), "greedy:1")
        hidden = view.corrupted.region.expand_as(restored)
        seen[name] = (restored - view.images)[hidden].square().mean()
    assert found.value is not None
    assert abs(found.value - float(seen["forget"] / seen["neutral"])) < 1e-4
