"""Extraction: a memory is drawn out, in the share of draws in which it answers; a retrained model gives nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.probes.extraction import Extraction
from support.subjects import (
    Drawing,
    Pictures,
    Remembering,
    forgetting,
    image_set,
    numbered,
    subject,
    views_of,
)

PROBE = Extraction()


def test_every_photo_is_drawn_out_of_a_model_that_did_not_forget():
    findings = PROBE.ask(forgetting("original", count=8))
    copies, distance = findings.find("near-copies"), findings.find("copy-distance")
    assert copies is not None
    assert distance is not None
    assert (copies.value, copies.reference_value, copies.goal) == (1.0, 0.0, "low")
    assert copies.difference_low == pytest.approx(0.025 ** (1 / 8))
    assert distance.value is not None
    assert distance.value < 0.1
    assert distance.reference_value is not None
    assert distance.reference_value > 0.8
    assert [hit.value for hit in findings.hits] == sorted(hit.value for hit in findings.hits)
    assert len(findings.hits) == 5


def test_a_second_retraining_and_noise_give_no_copies():
    second = PROBE.ask(forgetting("second", count=8))
    noise = PROBE.ask(forgetting("noise", count=8))
    for findings in (second, noise):
        copies = findings.find("near-copies")
        assert copies is not None
        assert (copies.value, copies.difference) == (0.0, 0.0)
        assert findings.hits == ()
    near, far = second.find("copy-distance"), noise.find("copy-distance")
    assert near is not None
    assert far is not None
    assert near.difference == pytest.approx(0, abs=0.02)
    # noise is farther from the photo than a guess is
    assert far.difference_low is not None
    assert far.difference_low > 0.5


@pytest.mark.parametrize("corruption", ["centre:0.5", "random:0.5"])
def test_distances_are_relative_to_the_nearest_other_image_in_the_same_region(corruption: str):
    cache, sets = Pictures(), {"forget": numbered("forget", 3), "retain": numbered("retain", 5)}
    views = {name: views_of(images, cache) for name, images in sets.items()}
    model = Remembering(views["forget"][:0], error=0.0)
    one = subject({"original": model}, sets, cache, corruption)
    everything = torch.cat(list(views.values()))
    expected = []
    for place in range(3):
        view = model.view(views["forget"][[place]], one.corruption, _draws(one, place))
        region = view.corrupted.region.expand_as(view.images)
        apart = [
            ((view.images[0] - other) ** 2)[region[0]].mean()
            for n, other in enumerate(everything)
            if n != place
        ]
        error = ((model.restore(view) - view.images) ** 2)[region].mean()
        expected.append(float(torch.sqrt(error / min(apart))))
    distance = PROBE.ask(one).find("copy-distance", "original")
    assert distance is not None
    assert distance.value == pytest.approx(np.exp(np.mean(np.log(expected))), rel=1e-5)


def test_a_model_that_draws_is_asked_at_several_seeds():
    whole = forgetting("original", count=16)
    memory = views_of(whole.sets["forget"], Pictures())
    drawing = forgetting(Drawing(memory, share=0.5), count=16)
    drawn = {"unlearned": drawing.models["unlearned"], "retrained": Drawing(memory[:0], share=0.5)}
    one = subject(drawn, drawing.sets)
    findings = Extraction(seeds=6).ask(one)
    copies, distance = findings.find("near-copies"), findings.find("copy-distance")
    assert copies is not None
    assert copies.note == "6 draws of each photo"
    assert copies.value == pytest.approx(0.5, abs=0.15)
    assert copies.reference_value == 0
    assert distance is not None
    assert distance.value is not None
    assert distance.value < 0.2


def test_a_copy_of_the_photo_itself_is_no_other_image():
    one = forgetting("original", count=3)
    twice = subject(one.models, {**one.sets, "retain": image_set([*one.sets["retain"].ids, "forget-0"])})
    copies = PROBE.ask(twice).find("near-copies")
    assert copies is not None
    assert copies.value == 1.0
    alone = subject(one.models, {"forget": numbered("forget", 1)})
    assert {finding.note for finding in PROBE.ask(alone).figures} == {
        "not measurable: there is no other image to compare with"
    }


def _draws(one, place):
    from efface.randomness import Draws

    return Draws(one.settings.seed, (f"forget-{place}",), (0,))
