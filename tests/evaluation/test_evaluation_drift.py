"""Drift over requests: the cumulated cost, the trend, and the rule that says when to retrain, worked out by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from efface.errors import InputError
from efface.evaluation.drift import (
    History,
    Limits,
    Remeasured,
    Request,
    cumulated_cost,
    gap_trend,
    retrain_due,
    since_fresh,
)


def requests(*errors: float) -> tuple[Request, ...]:
    """Requests between these errors on retain images: the first error is the original's."""
    pairs = pairwise(errors)
    return tuple(Request(f"request {n}", before, after) for n, (before, after) in enumerate(pairs, 1))


def test_the_cumulated_cost_is_the_product_and_cancels_to_last_over_first() -> None:
    assert cumulated_cost(requests(0.10, 0.11, 0.10, 0.12)) == pytest.approx(1.2)
    assert cumulated_cost(()) == 1


def test_a_cost_that_was_not_measured_leaves_the_product_unknown() -> None:
    assert cumulated_cost((*requests(0.1, 0.101), Request("request 2"))) is None


def test_the_trend_is_the_slope_of_the_logarithm_of_the_forget_ratio() -> None:
    def falling(number: int) -> Request:
        return Request(f"request {number}", forget=math.exp(-0.2 * number), retrained=1.0)

    assert gap_trend([falling(number) for number in range(4)]) == pytest.approx(-0.2)
    assert gap_trend([falling(0), Request("unmeasured"), falling(2), falling(3)]) == pytest.approx(-0.2)
    assert gap_trend([falling(0), falling(1)]) is None


def test_small_drift_with_room_for_one_more_request_is_no_reason() -> None:
    advice = retrain_due(History(requests(0.100, 0.101, 0.102)))
    assert advice.when == "not yet"
    assert advice.reasons == ()
    assert advice.cost == pytest.approx(1.02)
    assert advice.next_cost == pytest.approx(1.02 * math.sqrt(1.02))


def test_a_cumulated_cost_beyond_the_limit_says_now() -> None:
    advice = retrain_due(History(requests(0.100, 0.103, 0.106)))
    assert advice.when == "now"
    assert advice.reasons == (
        "error on retain images is 1.060x the first original's behind 2 requests, beyond the limit of 1.05x",
    )
    assert retrain_due(History(requests(0.100, 0.103, 0.106)), Limits(retain=1.2)).when == "not yet"


def test_drift_that_one_more_request_would_take_beyond_the_limit_says_at_the_next() -> None:
    advice = retrain_due(History(requests(0.100, 0.102, 0.104)))
    assert advice.when == "at the next request"
    assert advice.next_cost == pytest.approx(1.04 * math.sqrt(1.04))
    assert "foreseen, not measured" in advice.reasons[0]


def test_only_the_latest_requests_foretell_the_next() -> None:
    history = History(requests(0.100, 0.103, 0.103, 0.103))
    assert retrain_due(history, Limits(window=2)).next_cost == pytest.approx(1.03)
    assert retrain_due(history, Limits(window=3)).next_cost == pytest.approx(1.03 ** (4 / 3))


def test_a_direct_measurement_wins_over_the_product() -> None:
    advice = retrain_due(History(requests(0.100, 0.101, 0.102), direct=1.08))
    assert advice.when == "now"
    assert advice.cost == 1.08
    assert "measured against the first original; the product of the costs is 1.020x" in advice.notes


def test_a_direct_measurement_stands_in_for_costs_that_are_missing() -> None:
    history = History((Request("request 1"), Request("request 2")), direct=1.0404)
    advice = retrain_due(history)
    assert advice.when == "at the next request"
    assert advice.next_cost == pytest.approx(1.02**3)


def test_images_that_are_known_again_are_a_reason_whatever_retain_costs() -> None:
    chain = requests(0.100, 0.100, 0.100)
    earlier = Remeasured("cats", now=0.08, then=0.11, retrained=0.10)
    advice = retrain_due(History(chain, earlier=(earlier,)))
    assert advice.when == "now"
    assert advice.reasons == (
        "cats: error is 0.800x the retrained model's, below 0.9x: they are known again",
    )


def test_images_that_never_were_forgotten_are_not_said_to_have_come_back() -> None:
    earlier = Remeasured("cats", now=0.06, then=0.05, retrained=0.10)
    (reason,) = retrain_due(History(requests(0.1, 0.1), earlier=(earlier,))).reasons
    assert reason.endswith("they were not forgotten by their own request")


def test_without_a_retrained_model_earlier_images_are_held_against_their_own_request() -> None:
    chain = requests(0.1, 0.1, 0.1)
    assert retrain_due(History(chain, earlier=(Remeasured("cats", now=0.08, then=0.10),))).when == "now"
    assert retrain_due(History(chain, earlier=(Remeasured("cats", now=0.095, then=0.10),))).when == "not yet"


def test_a_request_that_was_not_met_is_a_reason() -> None:
    chain = (Request("request 1", 0.1, 0.1, unmet=("forget-error>=0.9x",)),)
    advice = retrain_due(History(chain))
    assert advice.when == "now"
    assert advice.reasons == ("request 1: forget-error>=0.9x not met",)


def test_what_was_not_measured_is_no_pass() -> None:
    advice = retrain_due(
        History((*requests(0.1, 0.1), Request("request 2", unmeasured=("detectability<=0.05",))))
    )
    assert advice.when == "not measurable"
    assert advice.cost is None
    assert "request 2: its cost on retain images was not measured" in advice.notes
    assert "request 2: detectability<=0.05 not measurable, which is no pass" in advice.notes


def test_drift_begins_anew_behind_a_retraining() -> None:
    chain = requests(0.100, 0.120, 0.130, 0.131)
    retrained = Request("request 2", 0.120, 0.130, fresh=True, unmet=("retain-error<=1.02x",))
    history = History((chain[0], retrained, chain[2]))
    assert since_fresh(history.requests) == (chain[2],)
    assert retrain_due(history).when == "not yet"
    assert retrain_due(history).cost == pytest.approx(0.131 / 0.130)


def test_a_chain_whose_beginning_is_missing_says_so_unless_a_retraining_came_after_it() -> None:
    note = "what was done to the first model of the chain is not known and not counted"
    chain = requests(0.1, 0.1, 0.1)
    assert note in retrain_due(History(chain, whole=False)).notes
    assert note not in retrain_due(History(chain)).notes
    fresh = (Request("request 0", fresh=True), *chain)
    assert note not in retrain_due(History(fresh, whole=False)).notes


def test_runs_that_measured_the_same_model_unlike_are_pointed_out() -> None:
    chain = (Request("request 1", 0.100, 0.101), Request("request 2", 0.202, 0.203))
    assert any(
        note.startswith("request 2 measured the model that request 1 left at 2.000x")
        for note in retrain_due(History(chain)).notes
    )


def test_limits_are_above_zero() -> None:
    with pytest.raises(InputError, match="retain"):
        Limits.read({"retain": 0})
