"""The example's README on scikit-learn's digits, from training to evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from efface.jobs.run import RunResult


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of each of the digits 0 to 3 to train on, 15 that stay unseen, and a list of ten threes."""
    folder, data = tmp_path_factory.mktemp("digits") / "photos", load_digits()
    for label in range(4):
        for number, place in enumerate(np.flatnonzero(data.target == label)[:55]):
            path = folder / ("train" if number < 40 else "unseen") / str(label) / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((data.images[place] * 15).astype(np.uint8)).save(path)
    listed = (f"photos/train/3/{number:02d}.png\n" for number in range(10))
    (folder / "forget.txt").write_text("".join(listed), encoding="utf-8")
    return folder


def test_the_readme_from_training_to_evaluation(
    photos: Path, follow: Callable[[Path, Path], dict[str, str]]
) -> None:
    told = follow(Path(__file__).parent, photos)
    assert list(told) == ["train", "plan", "unlearn", "verify", "evaluate"]
    assert "differs" not in told["verify"]
    forgotten, measured = (RunResult.read(Path("runs") / name) for name in ("forgotten", "measured"))
    before, after = forgotten.record.model.before, forgotten.record.model.after
    assert before is not None
    assert before.description.origin["network"] == "my_net:build"
    assert forgotten.record.images.count("forget") == 10
    assert measured.record.model.before is not None
    assert after is not None
    assert measured.record.model.before.weights == after.weights
