"""More passes for probes: the views of the evaluation, photo by photo, and what a change reaches."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from efface.corruptions import parse_corruption
from efface.probes.perturbation import _noise
from efface.probes.showing import kept_values, once, photos, showings, shown_errors
from support.subjects import forgetting, image_set, subject


def test_importing_every_probe_does_not_import_torch():
    code = "import sys, efface.probes.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_photo_with_several_entries_is_taken_at_its_first():
    assert once(image_set(["a", "b", "a", "c", "b"])) == [0, 1, 3]


def test_a_pass_without_a_change_gives_what_the_evaluation_found():
    one = forgetting("noise", count=5)
    twice = subject(one.models, {**one.sets, "forget": image_set([*one.sets["forget"].ids, "forget-1"])})
    assert len(twice.sets["forget"]) == 6
    errors = shown_errors(twice, photos(twice, "forget"), name="again")
    for model in ("original", "unlearned", "retrained"):
        assert errors[model].shape == (5, 1)
        assert errors[model][:, 0] == pytest.approx(kept_values(twice, model, "forget"), rel=1e-6)


def test_another_corruption_and_more_views_reach_the_models():
    one = forgetting("noise", count=3)
    settings = one.settings.model_copy(update={"crops_per_image": 2})
    errors = shown_errors(
        one,
        one.sets["forget"],
        name="more",
        corruption=parse_corruption("extend-left:0.25"),
        settings=settings,
    )
    assert errors["original"].shape == (3, 2)
    shown = next(
        showings(one, one.sets["forget"], name="side", corruption=parse_corruption("extend-left:0.25"))
    )
    assert shown.view.corrupted.region[:, :, :, :4].all()
    assert not shown.view.corrupted.region[:, :, :, 4:].any()


def test_a_change_alters_what_is_seen_and_not_what_is_wanted():
    one = forgetting("again", count=3)
    plain = next(showings(one, one.sets["forget"], name="plain"))
    noisy = next(showings(one, one.sets["forget"], name="noisy", change=_noise(0, 0.02)))
    known = plain.view.corrupted.known.expand_as(plain.truth)
    apart = (noisy.view.corrupted.condition - plain.view.corrupted.condition)[known]
    assert float(apart.std()) == pytest.approx(0.02, rel=0.1)
    assert np.array_equal(noisy.truth.numpy(), plain.truth.numpy())
