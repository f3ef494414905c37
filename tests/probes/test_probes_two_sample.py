"""Two-sample tests: hand-worked values, and that data without a difference show none."""

from __future__ import annotations

import numpy as np
import pytest

from efface.errors import InputError
from efface.probes.two_sample import (
    area_within_folds,
    detect,
    kernel_difference,
    kernel_rows,
    matched,
    permutation_p,
)
from support.subjects import spread


def test_scores_are_compared_within_a_fold_only():
    # fold 0: forget 0.25 against 0.5 and 0.75, no pair won; fold 1: 1.75 against 1.25, one of one
    scores = {
        "forget": np.array([[1, 0.25], [1, 1.75]]),
        "neutral": np.array([[1, 0.5], [1, 0.75], [1, 1.25]]),
    }
    assert area_within_folds(scores) == pytest.approx(1 / 3)


def test_neutral_photos_count_by_their_weight_and_ties_count_half():
    # pairs of weight 3 (won), 1 (tied) and 2 (lost): (3 + 0.5) of 6
    scores = {"forget": np.array([[1, 0.5]]), "neutral": np.array([[3, 0.2], [1, 0.5], [2, 0.7]])}
    assert area_within_folds(scores) == pytest.approx(3.5 / 6)


def test_the_area_is_that_of_all_pairs_of_one_fold_counted_one_by_one():
    scores = detect(
        spread(9, 3, "f"), spread(14, 3, "n"), weights=np.linspace(0.5, 1.5, 14), folds=4, repeats=3
    )
    won = pairs = 0.0
    for column in (1, 2, 3):
        for mine in scores["forget"][:, column]:
            for weight, other in zip(scores["neutral"][:, 0], scores["neutral"][:, column], strict=True):
                if int(mine) == int(other):
                    pairs += weight
                    won += weight * ((mine > other) + 0.5 * (mine == other))
    assert area_within_folds(scores) == pytest.approx(won / pairs)


def test_every_photo_is_scored_once_a_repeat_by_a_model_that_did_not_see_it():
    scores = detect(spread(7, 3, "f"), spread(12, 3, "n"), folds=5, repeats=4)
    assert scores["forget"].shape == (7, 5)
    folds = np.floor(scores["forget"][:, 1:])
    assert all(sorted(np.bincount(column.astype(int)).tolist()) == [1, 1, 1, 2, 2] for column in folds.T)
    # a single forget photo that no other resembles cannot be told by a model that has not seen it
    lonely = np.zeros((10, 10))
    np.fill_diagonal(lonely, 100)
    assert area_within_folds(detect(lonely, np.zeros((10, 10)), repeats=2)) <= 0.5


@pytest.mark.parametrize(("forget", "neutral", "dimension"), [(30, 30, 4), (12, 24, 30)])
def test_data_without_a_difference_have_an_area_of_one_half(forget: int, neutral: int, dimension: int):
    areas = [
        area_within_folds(
            detect(
                spread(forget, dimension, "f", draw) ** 3,
                spread(neutral, dimension, "n", draw) ** 3,
                repeats=1,
                seed=draw,
            )
        )
        for draw in range(150)
    ]
    assert 0.47 < np.mean(areas) < 0.53


def test_a_difference_is_found():
    scores = detect(spread(20, 5, "f") + 2, spread(30, 5, "n"))
    assert area_within_folds(scores) > 0.95


def test_the_same_seed_gives_the_same_folds_to_other_features():
    one, other = (detect(spread(9, 3, name), spread(9, 3, name, "n"), seed=4) for name in "ab")
    assert np.array_equal(np.floor(one["forget"]), np.floor(other["forget"]))
    assert not np.array_equal(
        np.floor(one["forget"]), np.floor(detect(spread(9, 3, "a"), spread(9, 3, "b"), seed=5)["forget"])
    )


def test_one_photo_a_side_is_refused():
    with pytest.raises(InputError, match="1 forget from 8 neutral photos: at least 2 of each"):
        detect(spread(1, 3), spread(8, 3))


def test_neutral_photos_weigh_class_by_class_what_forget_photos_do():
    match = matched(["a", "a", "a", "b", "x"], ["a", "b", "b", "c", None])
    assert match.forget.tolist() == [0, 1, 2, 3]
    assert match.neutral.tolist() == [0, 1, 2]
    # class a is 3/4 of the forget and 1/3 of the neutral photos; class b 1/4 and 2/3
    assert match.weights.tolist() == pytest.approx([9 / 4, 3 / 8, 3 / 8])
    assert match.note == (
        "neutral images weighted class by class, 2 in common; 1 forget images of other classes left out"
    )


def test_without_a_common_class_all_are_compared_and_the_note_says_so():
    match = matched(["a", None], ["b", None, "c"])
    assert (len(match.forget), len(match.neutral)) == (2, 3)
    assert "no class in common" in match.note


def test_a_difference_of_classes_alone_is_not_a_difference():
    labels = ["a"] * 30 + ["b"] * 10, ["a"] * 10 + ["b"] * 30
    match = matched(*labels)
    strata = match.forget_strata, match.neutral_strata
    areas, weighted, p, p_weighted = [], [], [], []
    for draw in range(16):
        rows = [
            spread(40, 4, "class", name, draw) * 0.3 + np.array([[2.0 * (label == "a")] for label in side])
            for name, side in zip("fn", labels, strict=True)
        ]
        areas.append(area_within_folds(detect(*rows, repeats=1)))
        weighted.append(area_within_folds(detect(*rows, weights=match.weights, strata=strata, repeats=1)))
        p.append(permutation_p(kernel_rows(*rows), permutations=99))
        p_weighted.append(permutation_p(kernel_rows(*rows, match.weights), strata, permutations=99))
    assert np.mean(areas) > 0.65
    assert np.mean(weighted) == pytest.approx(0.5, abs=0.06)
    assert p == [0.01] * 16
    assert np.mean(p_weighted) == pytest.approx(0.5, abs=0.2)


def test_the_kernel_difference_is_the_unbiased_squared_discrepancy():
    f, n = spread(5, 2, "f"), spread(7, 2, "n") + 1
    rows = np.concatenate([f, n])
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    squared = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squared / (2 * np.median([squared[i, j] for i in range(12) for j in range(i)])))
    off = ~np.eye(12, dtype=bool)
    expected = (
        kernel[:5, :5][off[:5, :5]].mean() + kernel[5:, 5:][off[5:, 5:]].mean() - 2 * kernel[:5, 5:].mean()
    )
    assert kernel_difference(kernel_rows(f, n)) == pytest.approx(expected)


def test_a_photo_drawn_twice_is_not_compared_with_its_copy():
    rows = kernel_rows(spread(4, 2, "f"), spread(4, 2, "n"))
    doubled = {name: np.concatenate([values, values]) for name, values in rows.items()}
    assert kernel_difference(doubled) == pytest.approx(kernel_difference(rows))
    assert np.isnan(kernel_difference({**rows, "forget": rows["forget"][[1, 1, 1]]}))


def test_the_permutation_test_keeps_its_level_and_finds_a_difference():
    p = [
        permutation_p(kernel_rows(spread(10, 3, "f", n), spread(15, 3, "n", n)), permutations=99, seed=n)
        for n in range(60)
    ]
    assert 0.4 < np.mean(p) < 0.6
    assert np.mean(np.array(p) <= 0.1) < 0.2
    assert permutation_p(kernel_rows(spread(10, 3, "f") + 2, spread(15, 3, "n")), permutations=99) == 0.01
