"""The head of the report: the verdict's own words, and what each set's figures did."""

from __future__ import annotations

import numpy as np

from efface.evaluation.settings import EvaluationSettings
from efface.evaluation.verdict import Verdict, verdict_of
from efface.metrics.image_error import HoleMse
from efface.reports.verdict import headline_of
from support.report_runs import row, rows_of

CHANCE = np.exp(0.02 * np.random.default_rng(0).standard_normal((3, 40)))


def verdict(unlearned: float, retrained: float | None = 0.056) -> Verdict:
    levels = {"original": 0.04, "unlearned": unlearned, "retrained": retrained}
    forget = {
        model: level * CHANCE[place]
        for place, (model, level) in enumerate(levels.items())
        if level is not None
    }
    return verdict_of({"forget": forget}, HoleMse, EvaluationSettings(resamples=200))  # type: ignore[arg-type]


def test_word_and_reason_are_the_verdicts_own() -> None:
    beyond = verdict(0.10)
    headline = headline_of(beyond, rows_of("forget", 0.04, 0.10, 0.056))
    assert (headline.label, headline.reason) == ("Beyond", beyond.reason)
    assert headline.specific == beyond.specific.said
    assert str(beyond.gap) in headline.basis
    assert str(beyond.to_retrained) in headline.basis
    assert "2.5 times the original's" in headline.finding
    assert headline.tiles[0].change == "× 2.5"
    assert headline.tiles[0].beside == "retrained: × 1.4"


def test_a_yes_is_as_far_as_was_tested() -> None:
    headline = headline_of(verdict(0.056), rows_of("forget", 0.04, 0.056, 0.056))
    assert headline.label == "Yes, as far as was tested"


def test_an_exact_claim_is_said_beside_the_verdict() -> None:
    headline = headline_of(verdict(0.05, None), rows_of("forget", 0.04, 0.05, None), claim="exact")
    assert headline.label == "Cannot be told"
    assert any("itself one that was trained without these images" in one for one in headline.cautions)


def test_a_reference_that_was_retrained_in_part_is_named_so() -> None:
    headline = headline_of(verdict(0.1), rows_of("forget", 0.04, 0.10, 0.056), reference_stages="decoder")
    assert any("only: decoder" in caution for caution in headline.cautions)


def test_without_a_hole_similarity_is_said_to_be_the_yardstick() -> None:
    headline = headline_of(verdict(0.1), rows_of("forget", 0.9, 0.5, 0.7, metric="ssim"))
    assert "0.5000 against the original's 0.9000" in headline.finding
    assert any("No error of restored pixels" in caution for caution in headline.cautions)


def test_costs_are_told_for_each_set_and_absence_too() -> None:
    rows = rows_of("forget", 0.04, 0.10, 0.056) + rows_of("retain", 0.05, 0.0515, 0.0505, half=0.0001)
    retain, neutral = headline_of(verdict(0.1), rows).costs
    assert "3.0 % above the original's; the retrained model's is 1.0 % above the original's" in retain
    assert neutral.startswith("No neutral images were measured")


def test_a_cost_within_chance_is_said_to_be_that() -> None:
    rows = rows_of("forget", 0.04, 0.10, None) + rows_of("retain", 0.05, 0.0502, None)
    assert "(no difference found at this sample size from the original)" in headline_of(None, rows).costs[0]


def test_without_an_unlearned_model_there_is_no_verdict() -> None:
    assert headline_of(None, []).label == "No verdict"
    assert headline_of(None, [row("unlearned", "forget", None)]).label == "No verdict"


def test_an_error_of_zero_does_not_divide() -> None:
    assert "0.1000 against 0" in headline_of(None, rows_of("forget", 0.0, 0.1, None)).finding
