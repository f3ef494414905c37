"""The sentences at the head of the report."""

from __future__ import annotations

import pytest

from efface.reports.verdict import verdict_of
from support.report_runs import row, rows_of


def test_more_error_than_the_retrained_model_is_overshoot_and_no_success() -> None:
    verdict = verdict_of(rows_of("forget", 0.04, 0.10, 0.056))
    assert verdict.label == "Overshoot"
    assert "2.5 times the original's" in verdict.finding
    assert "1.4 times the original's" in verdict.finding
    assert "not stronger forgetting" in verdict.meaning
    assert verdict.tiles[0].change == "× 2.5"
    assert verdict.tiles[0].beside == "retrained: × 1.4"


def test_less_error_than_the_retrained_model_is_undershoot() -> None:
    verdict = verdict_of(rows_of("forget", 0.04, 0.045, 0.056))
    assert verdict.label == "Undershoot"
    assert "still restores" in verdict.meaning


def test_an_interval_that_includes_zero_is_not_called_equality() -> None:
    verdict = verdict_of(rows_of("forget", 0.04, 0.0561, 0.056))
    assert verdict.label == "No difference found"
    assert (
        "No difference from the retrained model was found at this sample size (40 forgotten images)"
        in verdict.meaning
    )
    assert "does not prove" in verdict.meaning
    assert "equal" not in verdict.meaning


def test_a_test_on_which_the_original_passes_too_is_said_to_show_little() -> None:
    verdict = verdict_of(rows_of("forget", 0.0562, 0.0561, 0.056))
    assert any("could hardly have shown forgetting" in caution for caution in verdict.cautions)


def test_without_a_retrained_model_nothing_is_judged() -> None:
    verdict = verdict_of(rows_of("forget", 0.04, 0.10, None))
    assert verdict.label == "Cannot be judged"
    assert "It cannot be judged whether the unlearned model behaves like a retrained model" in verdict.meaning
    assert "not by itself a success" in verdict.meaning


def test_no_change_from_the_original_is_said() -> None:
    verdict = verdict_of(rows_of("forget", 0.04, 0.0401, None))
    assert "Against the original there is no difference found at this sample size" in verdict.meaning


def test_an_exact_claim_is_not_asked_to_resemble_itself() -> None:
    verdict = verdict_of(rows_of("forget", 0.04, 0.05, None), claim="exact")
    assert verdict.label == "Retrained"
    assert "itself one that was trained without these images" in verdict.meaning


def test_a_distance_without_an_interval_is_named_but_not_certain() -> None:
    rows = [
        row("original", "forget", 0.04),
        row("unlearned", "forget", 0.1),
        row("retrained", "forget", 0.05),
    ]
    assert verdict_of(rows).label == "Overshoot, on too few images to be certain"
    assert "+0.050" in verdict_of(rows).meaning


def test_a_reference_that_was_retrained_in_part_is_named_so() -> None:
    verdict = verdict_of(rows_of("forget", 0.04, 0.10, 0.056), reference_stages="decoder")
    assert any("only: decoder" in caution for caution in verdict.cautions)


@pytest.mark.parametrize(("unlearned", "label"), [(0.5, "Overshoot"), (0.8, "Undershoot")])
def test_without_a_hole_similarity_is_the_yardstick_with_its_own_sign(unlearned: float, label: str) -> None:
    verdict = verdict_of(rows_of("forget", 0.9, unlearned, 0.7, metric="ssim"))
    assert verdict.label == label
    assert f"{unlearned:.4f} against the original's 0.9000" in verdict.finding
    assert any("No error in a hidden region" in caution for caution in verdict.cautions)


def test_costs_are_told_for_each_set_and_absence_too() -> None:
    rows = rows_of("forget", 0.04, 0.10, 0.056) + rows_of("retain", 0.05, 0.0515, 0.0505, half=0.0001)
    retain, neutral = verdict_of(rows).costs
    assert "3.0 % above the original's; the retrained model's is 1.0 % above the original's" in retain
    assert neutral.startswith("No neutral images were measured")


def test_a_cost_within_chance_is_said_to_be_that() -> None:
    rows = rows_of("forget", 0.04, 0.10, None) + rows_of("retain", 0.05, 0.0502, None)
    assert "(no difference found at this sample size from the original)" in verdict_of(rows).costs[0]


def test_nothing_measured_gives_no_verdict() -> None:
    assert verdict_of([]).label == "Not measured"
    assert verdict_of([row("unlearned", "forget", None)]).label == "Not measured"


def test_an_error_of_zero_does_not_divide() -> None:
    assert "0.1000 against 0" in verdict_of(rows_of("forget", 0.0, 0.1, None)).finding
