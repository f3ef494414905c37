"""The table of metrics agrees with the code and with the cards, and costs no import of torch."""

import re
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.evaluation.classifiers import FEWEST_ATTACKED, MOST_ATTACKED
from efface.metrics.base import SETS
from efface.metrics.catalogue import METRICS, PUBLISHED_INCEPTION, distance_title, metrics_of

CARDS = Path(__file__).parents[2] / "docs" / "metrics"
SECTIONS = ["Formula", "Direction", "Range and unit", "When it is not available", "Pitfalls", "Source"]
ATTACKS = ("membership_auc", "svc_membership")
COMPARISONS = ("activation_distance", "prediction_agreement")

every_metric = pytest.mark.parametrize("name", METRICS.built_in)


def card(name: str) -> str:
    return (CARDS / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_there_is_one_card_for_each_metric_of_any_kind_of_model() -> None:
    assert {path.stem for path in CARDS.glob("*.md")} == set(METRICS.built_in)


def test_each_name_in_a_requirement_means_one_metric_of_a_kind_of_model() -> None:
    for kind in ("generator", "classifier"):
        short = [metric.short for metric in metrics_of(kind).values()]
        assert len(set(short)) == len(short)


@every_metric
def test_the_card_has_its_title_and_its_sections_in_order(name: str) -> None:
    text = card(name)
    assert text.startswith(f"# {METRICS[name].title} (`{name}`)\n")
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    assert METRICS[name].unit in section(text, "Range and unit")


@every_metric
def test_directions_on_each_set_are_those_of_the_card(name: str) -> None:
    info = METRICS[name]
    forget = info.better if name in COMPARISONS else "match_retrained"
    elsewhere = info.better or "match_retrained"
    assert [info.direction(image_set) for image_set in SETS] == [elsewhere, elsewhere, forget]
    table = {"retain, neutral": "not measured" if name in ATTACKS else elsewhere, "forget": forget}
    table = {
        on: better.replace("match_retrained", "match the retrained model") for on, better in table.items()
    }
    if name in ATTACKS:
        table["a model that still knows the images"] = info.better
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section(card(name), "Direction"), re.M)
    assert dict(rows[1:]) == table


@pytest.mark.parametrize("name", metrics_of("classifier"))
def test_the_card_says_what_a_metric_of_classifiers_cannot_do_without(name: str) -> None:
    absent = section(card(name), "When it is not available")
    lines = {
        "labels": r"^- Without labels",
        "neutral": r"^- (Without|With fewer than .*) neutral images",
        "retrained": r"^- Without a retrained model",
    }
    found = {need for need, line in lines.items() if re.search(line, absent, re.M)}
    assert found == set(METRICS[name].requires)


def test_the_card_of_the_trained_attack_gives_its_limits() -> None:
    assert f"fewer than {FEWEST_ATTACKED} retain or neutral" in card("svc_membership")
    assert f"cut to {MOST_ATTACKED:,}" in card("svc_membership")


def test_better_directions() -> None:
    up = {name for name, info in METRICS.built_in.items() if info.better == "up"}
    of_generators = {"hole_psnr", "ssim", "feature_cosine", "inception_score"}
    assert up == of_generators | {"accuracy", "confidence", "membership_auc", "prediction_agreement"}


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'hole_mse'"):
        METRICS.named("hole_msa")
    with pytest.raises(InputError, match="did you mean 'forget'"):
        METRICS["ssim"].direction("forgett")


def test_only_the_published_network_gives_a_distance_the_name_fid() -> None:
    assert distance_title("frechet_distance", "inception-torchscript", PUBLISHED_INCEPTION) == "FID"
    assert distance_title("kernel_distance", "inception-torchscript", PUBLISHED_INCEPTION) == "KID"
    for extractor in ("filter-bank-64", "inception-torchscript", "clip:x"):
        assert "FID" not in distance_title("frechet_distance", extractor, "0" * 64)
        assert distance_title("inception_score", extractor, "0" * 64) == f"Inception score ({extractor})"
    assert (
        distance_title("inception_score", "inception-torchscript", PUBLISHED_INCEPTION) == "Inception score"
    )
