"""The evaluation protocol, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.evaluation.results import Row, find
from support.known_models import KnownModel, MeanColour, NothingHidden, Pixels, cache_of, image_set, measured

SIX = tuple("abcdef")


def row_of(rows: list[Row], model: str, set_name: str, metric: str) -> Row:
    row = find(rows, model, set_name, metric)
    assert row is not None, (model, set_name, metric)
    return row


def test_hole_mse_is_the_mean_over_images_of_each_images_error() -> None:
    model = KnownModel({"a": 0.1, "b": 0.2, "c": 0.3})
    result = measured({"original": model}, {"retain": image_set("abc")})
    assert result.per_image["original", "retain"]["hole_mse"] == pytest.approx([0.01, 0.04, 0.09], rel=1e-5)
    row = row_of(result.rows, "original", "retain", "hole_mse")
    assert row.value == pytest.approx(0.14 / 3, rel=1e-5)
    assert (row.n, row.crops, row.corruption, row.unit) == (3, 1, "centre:0.5", "squared intensity, 0 to 1")
    # 10 log10(1 / mse) of each image, then the mean: not the PSNR of the mean
    psnr = row_of(result.rows, "original", "retain", "hole_psnr")
    assert psnr.value == pytest.approx(np.mean([20, 13.9794, 10.4576]), abs=1e-3)


def test_rows_say_of_how_many_answers_they_are_the_mean() -> None:
    model = KnownModel({"a": 0.1, "b": 0.3}, of_sample=(0.0, 0.1))
    rows = measured({"original": model}, {"retain": image_set("ab")}, samples=2).rows
    samples = {row.metric: row.samples for row in rows}
    of_set = {"frechet_distance": 1, "kernel_distance": 1}
    assert samples == {**dict.fromkeys(samples, 2), **of_set}
    error, mean, spread = (
        row_of(rows, "original", "retain", name).value
        for name in ("hole_mse", "mean_hole_mse", "hole_spread")
    )
    # answers off by e and e + 0.1: their product is the squared error of the mean, 0.1^2 / 2 the spread
    assert mean == pytest.approx((0.1 * 0.2 + 0.3 * 0.4) / 2, rel=1e-4)
    assert spread == pytest.approx(0.005, rel=1e-4)
    assert error == pytest.approx(mean + spread, rel=1e-6)
    assert row_of(rows, "original", "retain", "hole_spread").direction == "match_retrained"


def test_crops_are_averaged_within_an_image_before_images_are() -> None:
    model = KnownModel({"a": 0.1, "b": 0.2}, of_visit=(1, 2, 3))
    result = measured({"original": model}, {"retain": image_set("ab")}, crops_per_image=3)
    # each image: its squared error times (1 + 4 + 9) / 3
    assert result.per_image["original", "retain"]["hole_mse"] == pytest.approx(
        [0.01 * 14 / 3, 0.04 * 14 / 3], rel=1e-5
    )
    row = row_of(result.rows, "original", "retain", "hole_mse")
    assert (row.n, row.crops) == (2, 3)
    assert row.value == pytest.approx(0.05 / 2 * 14 / 3, rel=1e-5)


def test_entries_with_the_same_bytes_are_one_photo_but_count_as_images() -> None:
    model = KnownModel({"a": 0.1, "b": 0.3})
    result = measured({"original": model}, {"retain": image_set("aaab")})
    row = row_of(result.rows, "original", "retain", "hole_mse")
    assert row.n == 4
    assert row.value == pytest.approx((0.01 + 0.09) / 2, rel=1e-5)


def test_five_copies_of_one_photo_are_too_few_for_a_distance() -> None:
    result = measured({"original": KnownModel(0.1)}, {"forget": image_set("aaaaa")})
    row = row_of(result.rows, "original", "forget", "kernel_distance")
    assert (row.value, row.note) == (None, "not available: fewer than 5 photos")


def test_below_five_photos_there_is_no_interval_and_the_row_says_so() -> None:
    result = measured({"original": KnownModel(0.1)}, {"retain": image_set("abcd")})
    row = row_of(result.rows, "original", "retain", "hole_mse")
    assert (row.low, row.high) == (None, None)
    assert row.note == "interval not available: fewer than 5 photos"


def test_from_five_photos_the_interval_holds_the_value() -> None:
    errors = {id_: 0.1 + 0.02 * place for place, id_ in enumerate("abcde")}
    row = row_of(
        measured({"original": KnownModel(errors)}, {"retain": image_set("abcde")}).rows,
        "original",
        "retain",
        "hole_mse",
    )
    assert row.low is not None
    assert row.high is not None
    assert row.value is not None
    assert 0.01 <= row.low < row.value < row.high <= 0.0324
    assert row.note is None


def test_distances_are_to_the_original_where_no_model_was_retrained() -> None:
    models = {"original": KnownModel(0.1), "unlearned": KnownModel(0.3)}
    rows = measured(models, {"forget": image_set(SIX)}).rows
    unlearned = row_of(rows, "unlearned", "forget", "hole_mse")
    assert unlearned.reference == "original"
    assert unlearned.reference_value == pytest.approx(0.01, rel=1e-5)
    assert unlearned.distance == pytest.approx(0.08, rel=1e-5)
    # every image differs by the same amount, so the paired interval has no width
    assert unlearned.distance_low == pytest.approx(0.08, rel=1e-4)
    assert unlearned.distance_high == pytest.approx(0.08, rel=1e-4)
    original = row_of(rows, "original", "forget", "hole_mse")
    assert (original.reference, original.distance) == (None, None)


def test_distances_are_to_the_retrained_model_where_there_is_one() -> None:
    models = {"original": KnownModel(0.1), "unlearned": KnownModel(0.3), "retrained": KnownModel(0.2)}
    rows = measured(models, {"forget": image_set(SIX)}).rows
    assert row_of(rows, "unlearned", "forget", "hole_mse").reference == "retrained"
    assert row_of(rows, "unlearned", "forget", "hole_mse").distance == pytest.approx(0.05, rel=1e-5)
    assert row_of(rows, "original", "forget", "hole_mse").distance == pytest.approx(-0.03, rel=1e-5)
    assert row_of(rows, "retrained", "forget", "hole_mse").reference is None


def test_on_forget_images_the_goal_is_the_retrained_model_elsewhere_quality() -> None:
    rows = measured(
        {"original": KnownModel(0.1)},
        {"forget": image_set("ab"), "retain": image_set("cd"), "neutral": image_set("ef")},
    ).rows
    assert {row.direction for row in rows if row.set == "forget"} == {"match_retrained"}
    for set_name in ("retain", "neutral"):
        better = {row.metric: row.direction for row in rows if row.set == set_name}
        assert better == {
            "hole_mse": "down",
            "hole_psnr": "up",
            "ssim": "up",
            "feature_cosine": "up",
            "frechet_distance": "down",
            "kernel_distance": "down",
        }


def test_a_refused_frechet_distance_is_a_row_without_value_that_says_why() -> None:
    rows = measured({"original": KnownModel(0.1)}, {"retain": image_set("abc")}).rows
    row = row_of(rows, "original", "retain", "frechet_distance")
    assert (row.value, row.low, row.high, row.distance) == (None, None, None, None)
    assert row.note is not None
    assert "3" in row.note
    assert row.extractor == "mean-colour"


def test_frechet_distance_of_a_pure_shift_is_its_square() -> None:
    # the hole covers a quarter of the picture, so an error of 0.2 moves each mean colour by 0.05
    rows = measured({"original": KnownModel(0.2)}, {"retain": image_set(SIX)}, extractor=MeanColour(2)).rows
    row = row_of(rows, "original", "retain", "frechet_distance")
    assert row.value == pytest.approx(2 * 0.05**2, rel=1e-3)
    assert (row.low, row.high) == (None, None)
    assert row.note is not None
    assert row.note.startswith("a point value")


def test_all_models_see_the_very_same_views() -> None:
    models = {"original": KnownModel(0.1), "unlearned": KnownModel(0.3), "retrained": KnownModel(0.2)}
    noise = np.random.default_rng(0)
    cache = Pixels({id_: noise.integers(40, 130, (40, 48, 3), np.uint8) for id_ in SIX})
    measured(models, {"retain": image_set(SIX)}, "random:0.5", cache=cache, crops_per_image=3, batch_size=4)
    original, *others = [model.seen for model in models.values()]
    assert len(original) == 5
    masks = torch.cat([known for _, _, known in original])
    assert len(masks) == 18
    assert not all(torch.equal(masks[0], mask) for mask in masks[1:])
    for other in others:
        for (ids, pixels, known), (other_ids, other_pixels, other_known) in zip(original, other, strict=True):
            assert ids == other_ids
            assert torch.equal(pixels, other_pixels)
            assert torch.equal(known, other_known)


def test_results_do_not_depend_on_the_batch_size_nor_on_the_other_images() -> None:
    noise = np.random.default_rng(0)
    cache = Pixels({id_: noise.integers(40, 130, (40, 48, 3), np.uint8) for id_ in SIX})

    def errors(ids: tuple[str, ...], batch_size: int) -> dict[str, np.ndarray]:
        model = KnownModel({id_: 0.1 + 0.05 * place for place, id_ in enumerate(SIX)})
        result = measured(
            {"original": model},
            {"retain": image_set(ids)},
            "random:0.5",
            cache=cache,
            crops_per_image=3,
            batch_size=batch_size,
        )
        return result.per_image["original", "retain"]

    whole = errors(SIX, 32)
    for batch_size in (1, 4, 7):
        for metric, values in errors(SIX, batch_size).items():
            assert values == pytest.approx(whole[metric], rel=1e-6), metric
    reversed_ = errors(SIX[::-1], 32)
    for metric, values in reversed_.items():
        assert values[::-1] == pytest.approx(whole[metric], rel=1e-6), metric


def test_another_evaluation_seed_gives_other_views() -> None:
    model = KnownModel(0.1)
    measured({"original": model}, {"retain": image_set("ab")}, "random:0.5", seed=0)
    measured({"original": model}, {"retain": image_set("ab")}, "random:0.5", seed=1)
    assert not torch.equal(model.seen[0][2], model.seen[1][2])


def test_nothing_hidden_has_no_error_in_the_hidden_region() -> None:
    result = measured({"original": KnownModel(0.1)}, {"retain": image_set(SIX)}, NothingHidden())
    metrics = {row.metric for row in result.rows}
    assert metrics == {"ssim", "feature_cosine", "frechet_distance", "kernel_distance"}
    assert result.worst == []


def test_an_empty_set_has_no_rows() -> None:
    result = measured({"original": KnownModel(0.1)}, {"forget": image_set(""), "retain": image_set("ab")})
    assert {row.set for row in result.rows} == {"retain"}


def test_the_worst_hit_images_come_first_by_the_ratio_of_their_errors() -> None:
    labels = {"a": "cat", "b": "cat", "c": "dog", "d": "dog"}
    models = {
        "original": KnownModel({"a": 0.1, "b": 0.2, "c": 0.1, "d": 0.1}),
        "unlearned": KnownModel({"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.15}),
    }
    sets = {"forget": image_set("e"), "retain": image_set("abcd", labels)}
    for model in models.values():
        assert isinstance(model.errors, dict)
        model.errors["e"] = 0.5
    worst = measured(models, sets, worst=3).worst
    images = [(entry.name, round(entry.ratio, 3)) for entry in worst if entry.kind == "image"]
    assert images == [("c", 9.0), ("b", 4.0), ("d", 2.25)]
    classes = [(entry.name, round(entry.ratio, 3)) for entry in worst if entry.kind == "class"]
    # dog: (0.09 + 0.0225) / (0.01 + 0.01); cat: (0.01 + 0.16) / (0.01 + 0.04)
    assert classes == [("dog", 5.625), ("cat", 3.4)]
    assert {entry.set for entry in worst} == {"retain"}
    assert worst[0].original == pytest.approx(0.01, rel=1e-5)
    assert worst[0].unlearned == pytest.approx(0.09, rel=1e-5)


def test_a_perfect_original_does_not_divide_by_zero() -> None:
    models = {"original": KnownModel(0.0), "unlearned": KnownModel(0.1)}
    worst = measured(models, {"retain": image_set("ab")}).worst
    assert all(np.isfinite(entry.ratio) and entry.ratio > 1 for entry in worst)


def test_the_pictures_of_one_colour_differ() -> None:
    pictures = cache_of(SIX).pictures
    assert len({picture.tobytes() for picture in pictures.values()}) == 6
