"""The table of metrics agrees with the code and with the cards, and costs no import of torch."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.metrics.catalogue import METRICS, PUBLISHED_INCEPTION, SETS, distance_title, metric

CARDS = Path(__file__).parents[2] / "docs" / "metrics"


def test_table_imports_no_torch() -> None:
    code = (
        "import sys, efface.metrics.catalogue, efface.metrics.extractors, efface.metrics.kernel, "
        "efface.metrics.frechet; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_metric_has_its_function_and_its_card() -> None:
    modules = {"frechet_distance": "frechet", "kernel_distance": "kernel"}
    for name in METRICS:
        module = importlib.import_module(f"efface.metrics.{modules.get(name, 'image_error')}")
        assert callable(getattr(module, name))
    assert {card.stem for card in CARDS.glob("*.md")} == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_forget_images_are_matched_with_the_retrained_model(name: str) -> None:
    info = metric(name)
    directions = {image_set: info.direction(image_set) for image_set in SETS}
    assert directions == {"retain": info.better, "neutral": info.better, "forget": "match_retrained"}
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert f"| retain, neutral | {info.better} |" in card
    assert "| forget | match the retrained model |" in card
    assert info.unit in card


def test_better_directions() -> None:
    up = {name for name, info in METRICS.items() if info.better == "up"}
    assert up == {"hole_psnr", "ssim", "feature_cosine"}


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'hole_mse'"):
        metric("hole_msa")
    with pytest.raises(InputError, match="did you mean 'forget'"):
        metric("ssim").direction("forgett")


def test_only_the_published_network_gives_a_distance_the_name_fid() -> None:
    assert distance_title("frechet_distance", "inception-torchscript", PUBLISHED_INCEPTION) == "FID"
    assert distance_title("kernel_distance", "inception-torchscript", PUBLISHED_INCEPTION) == "KID"
    for extractor in ("filter-bank-64", "inception-torchscript", "clip:x"):
        assert "FID" not in distance_title("frechet_distance", extractor, "0" * 64)
