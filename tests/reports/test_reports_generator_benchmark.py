"""The page, tables and pictures of a benchmark of generators show its results, and what they must be read beside."""

from __future__ import annotations

import base64
import csv
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from efface.benchmark.generators.data import open_images
from efface.benchmark.generators.runs import GeneratorOutputs
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.runs import Run
from efface.evaluation.answers import Answers
from efface.files import canonical_json
from efface.randomness import numpy_draws
from efface.reports.generator_benchmark_charts import pareto
from efface.reports.generator_benchmark_page import write_generator_benchmark
from efface.reports.generator_benchmark_pictures import embedded
from efface.reports.generator_benchmark_tables import (
    cell,
    gap_agreement,
    in_words,
    tables_of,
    write_csv,
    write_markdown,
)
from support.generator_results import HOSTILE, results


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(results(), tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(results(scored=True), tmp_path_factory.mktemp("scored"))


def written(found: dict[str, Any], folder: Path) -> str:
    return write_generator_benchmark(found, folder, None).read_text(encoding="utf-8")


def markdown(found: dict[str, Any], folder: Path) -> str:
    write_markdown(found, folder / "results.md")
    return (folder / "results.md").read_text(encoding="utf-8")


def words(page: str) -> str:
    without_style = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without_style)).split())


def test_a_table_begins_with_the_references_and_numbers_the_methods(page: str) -> None:
    text = words(page)
    table = text[text.index("Forgetting") :]
    assert "original 0.600 0.590 to 0.610 −0.400 −0.410 to −0.390" in table
    assert "1 blank 1.05 1.04 to 1.06 0.0500 0.0400 to 0.0600" in table
    places = [
        table.index(start) for start in ("original 0.6", "retrained 1", "1 blank", "3 encoder-noise 1.62")
    ]
    assert places == sorted(places)


def test_every_column_says_its_goal_and_forget_columns_look_to_retraining(page: str) -> None:
    (table,) = [
        one for one in tables_of(results(), "digits", "centre:0.5") if one.title.startswith("Quality")
    ]
    goals = {column.name: column.goal for column in table.columns}
    assert goals["frechet_distance_forget"] == "as retrained"
    assert goals["frechet_distance_neutral"] == "down"
    assert goals["feature_cosine_retain"] == "up"
    assert "Goal towards 1 towards 0 at most 0 at most 0 at most 0" in words(page)


def test_headings_name_the_features_of_the_paper_where_they_are_used() -> None:
    found = results()

    def headings(extractor: str) -> set[str]:
        found["config"]["tasks"]["digits"]["evaluation"]["extractor"] = extractor
        return {
            column.heading for table in tables_of(found, "digits", "centre:0.5") for column in table.columns
        }

    assert "CLIP cosine, retain" in headings("clip:openai/clip-vit-base-patch32")
    assert "FID, forget" in headings("inception:weights.pt")
    assert {"feature cosine, retain", "Fréchet distance, forget"} <= headings("built-in")


def test_a_measure_that_no_row_has_takes_no_column() -> None:
    found = results()
    for row in found["tasks"]["digits"]["rows"]:
        for measures in row["measures"].values():
            for name in ("relearning_few", "frechet_distance_forget"):
                measures.pop(name)
    names = {column.name for table in tables_of(found, "digits", "centre:0.5") for column in table.columns}
    assert not names & {"relearning_few", "frechet_distance_forget", "robust"}
    assert "frechet_distance_retain" in names


def test_the_page_says_where_a_study_is_void_and_why(page: str, tmp_path: Path) -> None:
    text = words(page)
    assert "They are at least 20 % better than every fill" in text
    assert (
        "This study is void. Hole error of the originals on neutral images 0.0960 (0.0860 to 0.1060); filled without a "
        "model, with the mean 0.160, with the nearest 0.110." in text
    )
    found = results()
    both = found["tasks"]["digits"]["corruptions"]
    found["tasks"]["digits"] |= {"fills": {key: {} for key in both}, "void": dict.fromkeys(both, True)}
    (first, *_) = [line for line in markdown(found, tmp_path).split("\n") if line.startswith("Whether")]
    assert "is not known" in first


def test_rows_that_cannot_be_had_say_why(page: str) -> None:
    text = words(page)
    assert "broken none none" in text
    assert "broken: 2 runs cannot be had: no wings. --retry-failed tries again." in text


def test_scores_stand_between_their_levels_and_beside_the_simple_gap(page: str, scored: str) -> None:
    text = words(scored)
    assert (
        "F robust: ceiling 0.970 (0.920 to 1.020), floor 0.0100, doing nothing 0.120 (0.070 to 0.170)."
        in text
    )
    assert "F official (depends on a grid of thresholds; for comparison alone): ceiling" in text
    assert "1 blank 0.800 0.700 to 0.900" in text
    # retrained models are no other side for themselves: what they get is the ceiling
    assert "retrained 0.970 ceiling, 0.920 to 1.020" in text
    # 0.8 > 0.7 > 0.1, and |gap| 0.05 < 0.11 < 0.62
    assert "the order by |forget gap| is 1.00 (1.00 to 1.00 over 3 methods)" in text
    assert "Agreement with the simple gap" not in words(page)


def test_an_order_turned_round_has_no_agreement() -> None:
    found = results(scored=True)
    for row, robust in zip(found["tasks"]["digits"]["rows"][2:5], (0.1, 0.2, 0.3), strict=True):
        row["scores"]["robust"]["score"] = robust
    agreed = gap_agreement(found, found["tasks"]["digits"], "centre:0.5")
    assert agreed is not None
    assert agreed.tau == -1.0
    assert "is −1.00" in in_words(agreed)
    assert gap_agreement(found, found["tasks"]["digits"], "extend-left:0.25") is None


def test_charts_name_what_they_show(page: str, scored: str) -> None:
    # a Pareto plot for each corruption and two of relearning; with scores a rank chart, all for the first alone
    assert (page.count("<svg"), scored.count("<svg")) == (4, 5)
    text = unescape(page)
    assert "blank: 1.01 (1.00 to 1.02), 0.0500 (0.0400 to 0.0600)" in text
    assert "encoder-noise: 1.03 (1.02 to 1.04), 0.620 (0.610 to 0.630)" in text
    assert "original: -3.450 at 0, -3.350 at 10".replace("-", "−") in text
    assert "blank 0.8000 (0.700 to 0.900)" in unescape(scored)


def test_a_gap_of_nothing_is_drawn_at_zero_and_not_decades_below() -> None:
    task = results()["tasks"]["digits"]
    task["rows"][2]["measures"]["centre:0.5"]["forget_gap"] |= {"value": -3e-17, "low": -0.0002, "high": 0.02}
    chart = pareto(task, "centre:0.5", "plane")
    assert chart is not None
    assert "blank: 1.01 (1.00 to 1.02), 0 (0.0000 to 0.0200)" in chart.alt
    assert "e−" not in chart.svg


def test_the_page_needs_nothing_beside_it_and_runs_nothing(page: str, scored: str) -> None:
    for one in (page, scored):
        assert "<script" not in one
        assert not re.search(r'(src|href)="(?!#)', one)
        assert "\u202e" not in one
        inner = re.findall(r'id="([^"]+)"', one)
        assert len(inner) == len(set(inner))


def test_a_difference_that_cancels_is_zero() -> None:
    found = results()
    task = found["tasks"]["digits"]
    task["rows"][1]["measures"]["centre:0.5"]["forget_gap"] |= {"value": -1.4e-17}
    value, ends = cell(task["rows"][1], "forget_gap", task, "centre:0.5")
    assert (value, ends) == ("0", "−0.0100 to 0.0100")


def test_the_csv_has_a_line_for_each_figure_and_a_column_for_each_seed(tmp_path: Path) -> None:
    write_csv(results(scored=True), tmp_path / "results.csv")
    text = (tmp_path / "results.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))

    def line(row: str, measure: str, of_set: str, corruption: str = "centre:0.5") -> dict[str, str]:
        keys = {"corruption": corruption, "row": row, "measure": measure, "set": of_set, "task": "digits"}
        (found,) = [one for one in lines if keys.items() <= one.items()]
        return found

    gap = line("blank", "forget_gap", "forget", "extend-left:0.25")
    assert [float(gap[name]) for name in ("mean", "low", "high", "seed_0", "seed_1")] == pytest.approx(
        [0.05, 0.04, 0.06, 0.048, 0.052]
    )
    assert float(line(HOSTILE, "hole_mse", "neutral")["mean"]) == pytest.approx(0.0989)
    assert line("blank", "retain_cost", "retain")["mean"] == "1.01"
    assert line("blank", "relearning_few", "forget")
    assert line("blank", "seconds_share", "")["mean"] == "0.25"
    assert (line("blank", "F robust", "forget")["mean"], line("blank", "F robust", "forget")["seed_0"]) == (
        "0.8",
        None,
    )
    assert line("retrained", "F official, ceiling", "forget")["mean"] == "0.97"
    assert line("broken", "failed runs", "")["mean"] == "2"


def test_markdown_tables_have_as_many_cells_in_each_line(tmp_path: Path) -> None:
    text = markdown(results(scored=True), tmp_path)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) == 6
    for table in tables:
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table.strip().split("\n")}) == 1
    assert "| 1 | blank | 0.800 (0.700 to 0.900) |" in text
    assert "- broken: 2 runs cannot be had" in text


TASK = {
    "images": {"data": "digits", "forget": "random:6", "limit": 30, "limit_test": 8},
    "architecture": {"image_size": 8, "patch_size": 2},
    "corruptions": ["centre:0.5"],
    "measured": 7,
}
SHADES = {Run("original", 0): 50, Run("retrained", 0): 100, Run.unlearned({"name": "blank"}, 0, 0): 150}
DIMENSION = 64


class Kept:
    """A pool whose models restore plain pictures, each of a shade of its own."""

    task = GeneratorTask.from_values(TASK)

    def outputs(self, run: Run) -> GeneratorOutputs:
        draws = numpy_draws("kept", run.name)

        def answers(count: int) -> Answers:
            features = draws.normal(SHADES[run], 1, (count, DIMENSION)).astype(np.float32)
            pictures = np.full((2, 3, 8, 8), SHADES[run], np.uint8)
            return Answers({}, features, np.zeros((count, 3), np.float32), 1, pictures)

        found = {
            ("centre:0.5", name): answers(count)
            for name, count in (("forget", 6), ("retain", 7), ("neutral", 8))
        }
        return GeneratorOutputs(found, {}, 1.0, 1)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark whose pictures were asked for."""
    found = results()
    task = found["tasks"]["digits"]
    task["rows"] = [row for row in task["rows"] if row["label"] in ("original", "retrained", "blank")]
    task["corruptions"] = ["centre:0.5"]
    folder = tmp_path_factory.mktemp("seen")
    write_generator_benchmark(found, folder, {"digits": Kept()})  # type: ignore[dict-item]
    return folder


def test_pictures_stand_in_a_file_of_their_own_that_has_to_be_asked_for(seen: Path, tmp_path: Path) -> None:
    written(results(), tmp_path)
    assert not (tmp_path / "pictures.html").exists()
    assert "data:image" not in (seen / "report.html").read_text(encoding="utf-8")
    assert "shows images that were to be forgotten" in words(
        (seen / "pictures.html").read_text(encoding="utf-8")
    )


def test_a_row_of_pictures_is_the_true_one_and_what_each_model_restores(seen: Path) -> None:
    text = (seen / "pictures.html").read_text(encoding="utf-8")
    shown = re.findall(r'src="data:image/png;base64,([^"]+)" alt="(\w+) image (\d): ([^"]+)"', text)
    assert len(shown) == 3 * 2 * 5
    pictures = {
        tuple(place): np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data, *place in shown
    }
    for name, shade in (("original", 50), ("retrained", 100), ("1  blank", 150)):
        assert (pictures["retain", "2", name] == shade).all()
    data = open_images(canonical_json(Kept.task.as_dict()))
    second = data.measured(Kept.task)["neutral"].ids[1]
    true = pictures["neutral", "2", "image"]
    np.testing.assert_array_equal(true, data.pictures.read(second))
    hidden = pictures["neutral", "2", "what a model sees"]
    np.testing.assert_array_equal(hidden[:2], true[:2])
    assert (hidden[2:6, 2:6] != true[2:6, 2:6]).any()


def test_maps_stand_in_the_report_with_six_groups_and_again_alike(seen: Path) -> None:
    page = unescape((seen / "report.html").read_text(encoding="utf-8"))
    groups = ", ".join(f"{who}, forget (6), {who}, retain (7)" for who in ("true", "original", "unlearned"))
    assert f"1  blank: a t-SNE map of the features of pictures. Groups: {groups}." in page
    draws = numpy_draws("two groups")
    far = [
        ("true", "forget", draws.normal(0, 1, (15, 8))),
        ("original", "forget", draws.normal(60, 1, (15, 8))),
    ]
    one, other = (embedded(far) for _ in range(2))
    np.testing.assert_array_equal(one[0].places, other[0].places)
    apart = np.linalg.norm(np.mean(one[0].places, 0) - np.mean(one[1].places, 0))
    assert apart > max(np.std(cloud.places) for cloud in one)
    assert embedded([(who, name, features[:2]) for who, name, features in far]) == []
