"""Other corruptions: forgetting under one hole only is found out, and named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from efface.errors import InputError
from efface.generators.base import View
from efface.probes.other_corruptions import OtherCorruptions
from support.subjects import SIZE, ForgetsWhere, Pictures, forgetting, numbered, views_of

PROBE = OtherCorruptions(corruptions=("centre:0.25", "extend-left:0.25", "centre:0.5"))
COUNT = 8


def central(view: View) -> Tensor:
    """Whether the middle is hidden."""
    return view.corrupted.region[:, 0, SIZE // 2, SIZE // 2]


def test_what_was_forgotten_under_central_holes_only_is_found_at_the_side():
    cache = Pictures()
    forget, retain = (views_of(numbered(name, COUNT), cache) for name in ("forget", "retain"))
    findings = PROBE.ask(forgetting(ForgetsWhere(torch.cat([forget, retain]), forget, central), count=COUNT))
    lowest = findings.find("other-corruptions")
    assert lowest is not None
    assert lowest.note == "extend-left:0.25, the lowest of 2; interval widened for the choice"
    assert lowest.value is not None
    assert lowest.value < 0.05
    assert lowest.difference_high is not None
    assert lowest.difference_high < -0.5
    centre = findings.find("other-corruptions:centre:0.25")
    assert centre is not None
    assert centre.difference_low is not None
    assert centre.difference_low > 1
    # the run's own corruption is not another one
    assert findings.find("other-corruptions:centre:0.5") is None


def test_a_model_that_did_not_forget_is_below_the_retrained_one_everywhere_and_a_second_retraining_is_not():
    kept = PROBE.ask(forgetting("original", count=COUNT))
    second = PROBE.ask(forgetting("second", count=COUNT))
    for figure in (
        "other-corruptions",
        "other-corruptions:centre:0.25",
        "other-corruptions:extend-left:0.25",
    ):
        finding, passed = kept.find(figure), second.find(figure)
        assert finding is not None
        assert finding.difference_high is not None
        assert finding.difference_high < -0.3
        assert passed is not None
        assert passed.difference == pytest.approx(0, abs=0.05)


def test_the_interval_of_the_chosen_corruption_is_the_wider_one():
    findings = PROBE.ask(forgetting("second", count=COUNT))
    lowest = findings.find("other-corruptions")
    assert lowest is not None
    assert lowest.note is not None
    own = findings.find(f"other-corruptions:{lowest.note.partition(',')[0]}")
    assert own is not None
    assert own.value == lowest.value
    assert own.high is not None
    assert own.low is not None
    assert lowest.high is not None
    assert lowest.low is not None
    assert lowest.high - lowest.low > own.high - own.low


def test_what_the_model_cannot_be_shown_is_a_note():
    one = forgetting("second", count=4)
    findings = OtherCorruptions(corruptions=("colour", "centre:0.9", "paired:edges")).ask(one)
    assert [finding.value for finding in findings.figures] == [None] * 4
    notes = {finding.figure: finding.note or "" for finding in findings.figures}
    assert notes["other-corruptions"] == "not measurable: the model takes none of these corruptions"
    assert "only restores hidden ones" in notes["other-corruptions:colour"]
    assert "leaves no visible patch" in notes["other-corruptions:centre:0.9"]


def test_an_unknown_corruption_is_refused_when_the_setting_is_read():
    with pytest.raises(InputError, match="unknown corruption 'center'; did you mean 'centre'"):
        OtherCorruptions.read({"corruptions": ["center:0.5"]})
