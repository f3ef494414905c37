"""Class probabilities in a pool of generators: kept, read back, and made into a column."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from efface.benchmark.generators.reading import GeneratorReader
from efface.benchmark.generators.runs import GeneratorOutputs, read_outputs
from efface.benchmark.runs import PoolRun
from efface.benchmark.setups import experiments
from efface.benchmark.told_apart import apart_measures
from efface.evaluation.settings import EvaluationSettings
from efface.metrics.inception_score import inception_score
from efface.randomness import numpy_draws

VIEWS = 240


def written(folder: Path, views: int, *, classified: bool) -> GeneratorOutputs:
    """A run's file as it is kept, with two views of each image."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "features": random.normal(size=(views, 3)).astype(np.float32),
        "hole": np.zeros((views, 9), np.float32),
        "crops": 2,
        "pictures": np.zeros((0, 3, 8, 8), np.uint8),
        "hole_mse": random.random(views).astype(np.float32),
    }
    if classified:
        arrays["probabilities"] = random.dirichlet([0.2] * 5, views).astype(np.float32)
    place = folder / "run.npz"
    np.savez(
        place, seconds=1.0, steps=2, cut=False, **{f"centre:0.5|retain|{k}": v for k, v in arrays.items()}
    )
    return read_outputs(place)


def of_set(outputs: GeneratorOutputs, views: int) -> dict[str, float]:
    task = SimpleNamespace(evaluation=EvaluationSettings(seed=4))
    truth = {"retain": np.random.default_rng(1).normal(size=(views, 3)).astype(np.float32)}
    table: Any = SimpleNamespace(task=task, truth=truth)
    return GeneratorReader._of_set(table, outputs, "centre:0.5", "retain")


def test_probabilities_are_kept_and_make_an_inception_score(tmp_path: Path) -> None:
    outputs = written(tmp_path, VIEWS, classified=True)
    answers = outputs.answers["centre:0.5", "retain"]
    assert answers.probabilities is not None
    assert answers.probabilities.shape == (VIEWS, 5)
    assert set(answers.values) == {"hole_mse"}
    found = of_set(outputs, VIEWS)
    assert found["inception_score"] == pytest.approx(
        inception_score(answers.probabilities, order_seed=4).mean, rel=1e-12
    )
    assert 1 < found["inception_score"] < 5
    assert set(found) <= {"hole_mse", "frechet_distance", "kernel_distance", "inception_score"}


def test_a_row_says_whether_it_is_told_apart_and_so_does_retraining() -> None:
    def stacked(runs: tuple[PoolRun, ...]) -> np.ndarray:
        return np.stack(
            [numpy_draws(str(run)).normal(3.0 * (run.kind == "unlearned"), 1, 12) for run in runs]
        )

    experiment = experiments("reuse-n-n", {"name": "fine-tune"}, 24, 1)[0]
    config = SimpleNamespace(scored=True, seed=0)
    reader: Any = SimpleNamespace(config=config, stacked=stacked, _compared={})
    reader._comparison = partial(GeneratorReader._comparison, reader)
    row, retraining = (
        GeneratorReader.scores(reader, experiment),
        GeneratorReader.scores_of_retraining(reader, experiment),
    )
    assert row["p"].value < 0.05 < retraining["p"].value
    assert row["shift"].low is not None
    assert 2 < row["shift"].low < 3 < row["shift"].high <= 4  # type: ignore[operator]
    assert abs(retraining["shift"].value) < 0.6
    assert row["shown"].value > retraining["shown"].value
    assert row["epsilon_90"].value > retraining["epsilon_90"].value
    assert {*row} == {"official", "robust", *(measure.name for measure in apart_measures(""))}


def test_few_images_or_an_extractor_that_does_not_classify_have_no_such_column(tmp_path: Path) -> None:
    # 198 views, but of 99 images
    assert "inception_score" not in of_set(written(tmp_path, 198, classified=True), 198)
    outputs = written(tmp_path, VIEWS, classified=False)
    assert outputs.answers["centre:0.5", "retain"].probabilities is None
    assert "inception_score" not in of_set(outputs, VIEWS)
