"""More passes of generators: the views of the evaluation, photo by photo, and what a change reaches."""

from __future__ import annotations

import numpy as np
import pytest

from efface.corruptions import parse_corruption
from efface.probes.perturbation import _noise
from efface.probes.subject import once
from support.subjects import forgetting, image_set, subject


def test_a_photo_with_several_entries_is_taken_at_its_first():
    assert once(image_set(["a", "b", "a", "c", "b"])) == [0, 1, 3]


def test_a_pass_without_a_change_gives_what_the_evaluation_found():
    once_each = forgetting("noise", count=5)
    entries = image_set([*once_each.sets["forget"].ids, "forget-1"])
    twice = subject(once_each.models, {**once_each.sets, "forget": entries})
    assert len(twice.sets["forget"]) == 6
    errors = twice.restored_errors(twice.photos("forget"), name="a pass")
    for model in ("original", "unlearned", "retrained"):
        assert errors[model].shape == (5, 1)
        assert errors[model][:, 0] == pytest.approx(twice.evaluated_values(model, "forget"), rel=1e-6)


def test_another_corruption_and_more_views_reach_the_models():
    noisy, side = forgetting("noise", count=3), parse_corruption("extend-left:0.25")
    settings = noisy.settings.model_copy(update={"crops_per_image": 2})
    errors = noisy.restored_errors(noisy.sets["forget"], name="more", corruption=side, settings=settings)
    assert errors["original"].shape == (3, 2)
    restoration = next(noisy.restorations(noisy.sets["forget"], name="side", corruption=side))
    assert restoration.view.corrupted.region[:, :, :, :4].all()
    assert not restoration.view.corrupted.region[:, :, :, 4:].any()


def test_a_change_alters_what_is_seen_and_not_what_is_wanted():
    second = forgetting("second", count=3)
    plain = next(second.restorations(second.sets["forget"], name="plain"))
    noisy = next(second.restorations(second.sets["forget"], name="noisy", change=_noise(0, 0.02)))
    known = plain.view.corrupted.known.expand_as(plain.truth)
    apart = (noisy.view.corrupted.condition - plain.view.corrupted.condition)[known]
    assert float(apart.std()) == pytest.approx(0.02, rel=0.1)
    assert np.array_equal(noisy.truth.numpy(), plain.truth.numpy())
