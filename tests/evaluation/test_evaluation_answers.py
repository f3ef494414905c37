"""What models answer, field by field, and which extractor each metric is made with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.errors import Faults, InputError
from efface.evaluation.answers import Answers, Truth, Wanted, answers_of
from efface.evaluation.results import Row, find
from efface.evaluation.settings import EvaluationSettings
from efface.jobs.generator_images import open_similarity
from efface.metrics import kernel
from efface.metrics.hole_statistics import HOLE_STATISTICS
from efface.metrics.inception_score import inception_score
from support.known_models import SIZE, KnownModel, MeanColour, Pixels, cache_of, image_set, measured

MANY = tuple(f"{number:03}" for number in range(100))
ERRORS = {"a": 0.1, "b": 0.2, "c": 0.3}


@dataclass
class Classifier(MeanColour):
    """Thinks each picture of the class of its brightest channel, and counts how often it looks at one."""

    name: str = "classifier"
    looks: list[int] = field(default_factory=list)

    def features(self, images: Tensor) -> Tensor:
        self.looks.append(len(images))
        return super().features(images)

    def probabilities(self, images: Tensor) -> Tensor:
        return (20 * images.mean(dim=(2, 3))).softmax(dim=1)


@dataclass
class OnePass(Classifier):
    """Gives both at once."""

    def probabilities(self, images: Tensor) -> Tensor:
        raise AssertionError("one pass gives both")

    def features_and_probabilities(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.features(images), Classifier.probabilities(self, images)


@dataclass
class Brightness(MeanColour):
    """A second extractor: one number, 1 plus the brightness, and its negative."""

    name: str = "brightness"

    def features(self, images: Tensor) -> Tensor:
        light = images.mean(dim=(1, 2, 3))
        return torch.stack([1 - light, light], dim=1)


def answers(
    ids: str = "abc",
    *,
    model: KnownModel | None = None,
    cache: Pixels | None = None,
    extractor: MeanColour | None = None,
    similarity: MeanColour | None = None,
    wanted: Wanted | None = None,
    **settings: Any,
) -> tuple[Answers, Truth]:
    found, truth = answers_of(
        {"original": model or KnownModel(ERRORS)},  # type: ignore[dict-item]
        image_set(ids),
        cache or cache_of(ids),
        parse_corruption("centre:0.5"),
        extractor or MeanColour(3),
        EvaluationSettings(**settings),
        wanted=wanted,
        similarity=similarity,
    )
    return found["original"], truth


def colours(ids: str) -> np.ndarray:
    pictures = cache_of(ids).pictures
    return np.stack([pictures[id_][0, 0] / 255 for id_ in ids])


def rows_of(extractor: MeanColour, ids: tuple[str, ...] = MANY, **settings: Any) -> list[Row]:
    errors = {id_: 0.05 + 0.002 * number for number, id_ in enumerate(ids)}
    noise = np.random.default_rng(0)
    pictures = Pixels(
        {id_: np.broadcast_to(noise.integers(40, 120, 3, np.uint8), (SIZE, SIZE, 3)) for id_ in ids}
    )
    sets = {"retain": image_set(ids)}
    return measured(
        {"original": KnownModel(errors)}, sets, cache=pictures, extractor=extractor, **settings
    ).rows


def test_features_are_of_the_restored_pictures_and_of_the_true_ones() -> None:
    found, truth = answers()
    np.testing.assert_allclose(truth.features, colours("abc"), rtol=1e-5)
    # the hole is a quarter of the picture
    moved = np.array(list(ERRORS.values()))[:, None] / 4
    np.testing.assert_allclose(found.features, colours("abc") + moved, rtol=1e-5)
    assert found.features.dtype == truth.features.dtype == np.float32


def test_values_are_those_of_each_view_and_then_of_each_image() -> None:
    model = KnownModel({"a": 0.1, "b": 0.2, "c": 0.25}, of_visit=(1, 2))
    found, _ = answers(model=model, crops_per_image=2, batch_size=4)
    errors = np.array([0.01, 0.04, 0.04, 0.16, 0.0625, 0.25])
    np.testing.assert_allclose(found.values["hole_mse"], errors, rtol=1e-5)
    np.testing.assert_allclose(found.values["hole_psnr"], -10 * np.log10(errors), rtol=1e-5)
    np.testing.assert_allclose(found.of_images("hole_mse"), [0.025, 0.1, 0.15625], rtol=1e-5)
    assert found.crops == 2
    assert set(found.values) == {"ssim", "feature_cosine", "hole_mse", "hole_psnr"}
    by_hand = found.features.reshape(3, 2, 3).mean(axis=1)
    np.testing.assert_array_equal(found.image_features, by_hand)


def test_of_several_answers_the_error_of_their_mean_and_their_spread_are_told_apart() -> None:
    model = KnownModel(ERRORS, of_sample=(0.0, 0.1, -0.04, 0.02))
    found, _ = answers(model=model, samples=4)
    off = np.array(list(ERRORS.values()))[:, None] + np.array([[0.0, 0.1, -0.04, 0.02]])
    mean, spread = off.mean(axis=1), off.var(axis=1, ddof=1)
    np.testing.assert_allclose(found.values["hole_mse"], (off**2).mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(found.values["hole_spread"], spread, rtol=1e-4)
    np.testing.assert_allclose(found.values["mean_hole_mse"], mean**2 - spread / 4, rtol=1e-4)
    # what needs no mean of pictures is the mean over the answers; vectors and statistics are of the first
    np.testing.assert_allclose(found.values["hole_psnr"], (-20 * np.log10(off)).mean(axis=1), rtol=1e-4)
    alone, _ = answers()
    np.testing.assert_array_equal(found.features, alone.features)
    np.testing.assert_array_equal(found.hole, alone.hole)


def test_a_model_of_one_answer_has_neither_and_is_asked_once() -> None:
    model = KnownModel(ERRORS)
    found, _ = answers(model=model, samples=4)
    assert set(found.values) == {"ssim", "feature_cosine", "hole_mse", "hole_psnr"}
    assert len(model.samplers) == 1
    drawing, _ = answers(model=KnownModel(ERRORS, of_sample=(0.0, 0.1)), samples=1)
    assert set(drawing.values) == set(found.values)


def test_the_hole_is_seen_without_the_truth_beside_it() -> None:
    found, _ = answers()
    hole = dict(zip(HOLE_STATISTICS, found.hole.T, strict=True))
    shown = colours("abc") + np.array(list(ERRORS.values()))[:, None]
    for place, name in enumerate(("red", "green", "blue")):
        np.testing.assert_allclose(hole[name], shown[:, place], rtol=1e-5)
        np.testing.assert_allclose(hole[f"{name} spread"], 0, atol=1e-6)
    # the hole stands off from its surroundings by the error in every channel
    np.testing.assert_allclose(hole["seam"], [0.01, 0.04, 0.09], rtol=1e-4)
    np.testing.assert_allclose(hole["edges"], 0, atol=1e-12)
    assert found.seen.shape == (3, 3 + len(HOLE_STATISTICS))
    np.testing.assert_array_equal(found.seen[:, 3:], found.hole)


def test_pictures_are_kept_of_the_first_images_first_views() -> None:
    found, truth = answers(crops_per_image=2, batch_size=3, wanted=Wanted(pictures=2))
    assert found.pictures.shape == truth.pictures.shape == (2, 3, SIZE, SIZE)
    np.testing.assert_array_equal(truth.pictures[:, :, 0, 0], np.rint(colours("ab") * 255))
    middle = found.pictures[:, :, SIZE // 2, SIZE // 2].astype(int)
    np.testing.assert_array_equal(middle - np.rint(colours("ab") * 255), [[26] * 3, [51] * 3])


def test_an_extractor_that_does_not_classify_leaves_no_probabilities() -> None:
    found, _ = answers()
    assert found.probabilities is None


@pytest.mark.parametrize("kind", [Classifier, OnePass])
def test_probabilities_are_of_the_restored_pictures_and_nothing_is_looked_at_twice(kind: type) -> None:
    extractor = kind(3)
    found, _ = answers(extractor=extractor, batch_size=2)
    logits = np.exp(20 * found.features.astype(np.float64))
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities, logits / logits.sum(axis=1, keepdims=True), rtol=1e-3)
    # each batch once as truth and once restored
    assert extractor.looks == [2, 2, 1, 1]


def test_a_file_without_a_class_head_has_features_alone() -> None:
    class Headless(OnePass):
        def features_and_probabilities(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
            return self.features(images), None

    found, _ = answers(extractor=Headless(3))
    assert found.probabilities is None
    assert found.features.shape == (3, 3)


def test_likeness_is_taken_with_the_extractor_named_for_it_and_distances_with_the_other() -> None:
    alone, _ = answers()
    found, truth = answers(similarity=Brightness())
    np.testing.assert_array_equal(found.features, alone.features)
    assert truth.features.shape == (3, 3)
    before, after = (
        np.stack([1 - light, light], axis=1) for light in (truth.features.mean(1), found.features.mean(1))
    )
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    expected = (before * after).sum(axis=1) / lengths
    np.testing.assert_allclose(found.values["feature_cosine"], expected, rtol=1e-5)
    assert np.abs(found.values["feature_cosine"] - alone.values["feature_cosine"]).max() > 1e-3


def test_rows_name_the_extractor_of_each_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        "efface.evaluation.answers.load_extractor", lambda spec, _: opened.append(spec) or Brightness()
    )
    rows = rows_of(Classifier(3), similarity="clip:folder")
    assert opened == ["clip:folder"]
    assert {row.metric: row.extractor for row in rows} == {
        "hole_mse": None,
        "hole_psnr": None,
        "ssim": None,
        "feature_cosine": "brightness",
        "frechet_distance": "classifier",
        "kernel_distance": "classifier",
        "inception_score": "classifier",
    }
    same = rows_of(Classifier(3), similarity="built-in")
    assert opened == ["clip:folder"], "the extractor itself is not opened again"
    assert {row.extractor for row in same if row.metric == "feature_cosine"} == {"classifier"}
    others = [row for row in same if row.metric != "feature_cosine"]
    assert others == [row for row in rows if row.metric != "feature_cosine"]


def test_the_inception_score_is_a_row_with_its_spread_in_words() -> None:
    rows = rows_of(Classifier(3), seed=3)
    row = find(rows, "original", "retain", "inception_score")
    assert row is not None
    result = answers_for_score(seed=3)
    assert row.value == pytest.approx(result.mean, rel=1e-6)
    assert 1 < result.mean < 3
    assert row.note is not None
    assert f"whose standard deviation is {result.std:.3g}; no interval" in row.note
    assert (row.low, row.high, row.direction, row.unit) == (None, None, "up", "1 to the number of classes")


def answers_for_score(seed: int) -> Any:
    """The score of what `rows_of` shows the classifier, made again from its parts."""
    noise = np.random.default_rng(0)
    shades = np.stack([noise.integers(40, 120, 3, np.uint8) for _ in MANY]) / 255
    shades = shades + (0.05 + 0.002 * np.arange(100))[:, None] / 4
    logits = np.exp(20 * shades)
    return inception_score(logits / logits.sum(axis=1, keepdims=True), order_seed=seed)


def test_a_set_too_small_for_an_inception_score_says_so() -> None:
    row = find(rows_of(Classifier(3), MANY[:99]), "original", "retain", "inception_score")
    assert row is not None
    assert row.value is None
    assert row.note is not None
    assert "needs at least 100 images, got 99" in row.note


def test_without_probabilities_there_is_no_row_of_them() -> None:
    assert find(rows_of(MeanColour(3)), "original", "retain", "inception_score") is None


def test_views_are_read_in_a_thread_and_its_faults_come_out() -> None:
    readers: set[str] = set()

    class Broken(Pixels):
        def read(self, id_: str) -> np.ndarray:
            readers.add(threading.current_thread().name.partition("_")[0])
            if id_ == "c":
                raise KeyError("image c is not there")
            return super().read(id_)

    cache = Broken(cache_of("abc").pictures)
    with pytest.raises(KeyError, match="image c is not there"):
        answers(cache=cache, batch_size=1)
    assert readers == {"efface-views"}


def test_the_batches_come_in_order_whatever_is_read_ahead() -> None:
    model = KnownModel(0.1)
    ids = "".join(chr(ord("a") + number) for number in range(11))
    answers(ids, model=model, batch_size=2)
    assert "".join(id_ for seen, _, _ in model.seen for id_ in seen) == ids


def test_a_setting_that_is_not_asked_for_is_not_written_down() -> None:
    assert "similarity" not in EvaluationSettings().as_dict()
    asked = EvaluationSettings(similarity="clip:folder")
    assert asked.as_dict()["similarity"] == "clip:folder"
    for settings in (asked, EvaluationSettings()):
        assert EvaluationSettings.read(settings.as_dict()) == settings


def test_an_extractor_that_cannot_be_opened_is_refused_before_any_view_is_made(tmp_path: Path) -> None:
    model = KnownModel(0.1)
    with pytest.raises(InputError, match="no such file"):
        measured(
            {"original": model}, {"retain": image_set("ab")}, similarity=f"inception:{tmp_path / 'absent.pt'}"
        )
    assert model.seen == []


def test_a_run_finds_the_fault_of_the_second_extractor_with_all_others(tmp_path: Path) -> None:
    faults = Faults()
    absent = EvaluationSettings(similarity=f"inception:{tmp_path / 'absent.pt'}")
    assert open_similarity(absent, MeanColour(), faults) is None
    assert len(faults.problems) == 1
    assert "no such file" in faults.problems[0]
    one = MeanColour()
    assert open_similarity(EvaluationSettings(), one, faults) is one
    assert open_similarity(EvaluationSettings(similarity="built-in"), one, faults) is one
    assert len(faults.problems) == 1


def test_the_kernel_distance_of_a_set_is_made_once_for_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    interval = kernel.kernel_distance_interval

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(1)
        return interval(*args, **kwargs)

    monkeypatch.setattr(kernel, "kernel_distance_interval", counted)
    models = {"original": KnownModel(0.1), "unlearned": KnownModel(0.3), "retrained": KnownModel(0.2)}
    rows = measured(models, {"forget": image_set("abcdef")}).rows
    assert len(made) == 3
    unlearned, retrained = (
        find(rows, model, "forget", "kernel_distance") for model in ("unlearned", "retrained")
    )
    assert unlearned is not None
    assert retrained is not None
    assert unlearned.reference_value == retrained.value
    assert unlearned.value is not None
    assert unlearned.distance == pytest.approx(unlearned.value - (retrained.value or 0), rel=1e-12)
