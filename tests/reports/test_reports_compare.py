"""Runs side by side: which compare, what is said of them, and which no other one beats."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efface.cli.report import report as report_verb
from efface.errors import InputError
from efface.evaluation.results import ModelName
from efface.evaluation.settings import EvaluationSettings
from efface.evaluation.verdict import verdict_of
from efface.metrics.image_error import HoleMse
from efface.reports.charts import Point, plane_chart
from efface.reports.compare_page import compare_runs
from efface.runs.compared import Change, change, differing_settings, gap
from efface.runs.comparing import check_comparable, compare, read_runs
from efface.runs.seal import write_seal
from support.found_runs import COUNTS, ORIGINAL, RETRAINED, a_requirement, some_findings, write_run
from support.report_runs import Page, a_record, a_training, an_evaluation, described, images_facts

NOISE = {"forget": 0.112, "retain": 0.0515, "neutral": 0.052}
BLANK = {"forget": 0.063, "retain": 0.0505, "neutral": 0.0502}
UNSEEN = {"forget": 0.057, "retain": 0.0530, "neutral": 0.053}


def method(name: str, **settings: Any) -> dict[str, Any]:
    return {"method": a_record()["method"] | {"name": name, "settings": settings}}


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Noise is beaten by blank; blank costs less than unseen, which is closer to the retrained model."""
    requirements = [
        a_requirement("detectability<=0.05", "not met"),
        a_requirement("retain-error<=1.2x", "met"),
    ]
    return [
        write_run(
            tmp_path / "noise",
            NOISE,
            record=method("encoder-noise", alpha=0.25, noise="standard-normal"),
            findings=some_findings(),
            requirements=requirements,
        ),
        write_run(
            tmp_path / "blank", BLANK, record=method("blank", alpha=0.3), findings=some_findings(0.58, 0.7)
        ),
        write_run(tmp_path / "unseen", UNSEEN, record=method("unseen", alpha=0.3)),
    ]


def page_of(runs: list[Path], out: Path) -> Page:
    page = Page(compare_runs(runs, out).read_text(encoding="utf-8"))
    assert not page.faults
    return page


def rows_beside(out: Path) -> list[dict[str, str]]:
    with open(out.with_suffix(".csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def problems(*runs: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        check_comparable(read_runs(runs))
    return caught.value.problems


def test_a_plot_tells_its_points_in_words_and_draws_no_label() -> None:
    points = [
        Point("<script>", 1.0, 0.5, 0.9, 1.1, 0.4, 0.6, key="1", on_front=True),
        Point("$x$", 2.0, 0.6, key="2"),
    ]
    chart = plane_chart("p", "Weighed", "cost", "distance", points, [Point("original", 1.0, 0.9)])
    assert chart
    assert (
        "<script>: 1.00 (0.90 to 1.10), 0.500 (0.400 to 0.600) (on the front); $x$: 2.00, 0.600" in chart.alt
    )
    assert "the original model: 1.00, 0.900" in chart.alt
    drawn = Page(str(chart.svg)).text.split()
    assert {"1", "2", "original", "cost", "distance"} <= set(drawn)
    assert "<script>" not in drawn
    assert plane_chart("p", "t", "x", "y", [Point("none", math.nan, 1.0)]) is None


def test_a_run_stands_beside_the_retrained_model_on_forget_and_the_original_on_other_images(
    three: list[Path],
) -> None:
    noise = read_runs(three)[0]
    forget, retain = (
        change(noise, "forget", "unlearned", "retrained"),
        change(noise, "retain", "unlearned", "original"),
    )
    assert forget is not None
    assert retain is not None
    assert forget.value == pytest.approx(2.0)
    assert retain.value == pytest.approx(1.03)
    assert forget.low is not None and forget.high is not None  # noqa: PT018
    # every image's error scatters by a tenth of its own around a common ratio: 0.1 * sqrt(2 / 40) * 2 to both sides
    assert 1.85 < forget.low < 1.95 < forget.value < 2.05 < forget.high < 2.2
    assert change(noise, "retain", "original", "original") == Change(1.0)


def test_an_interval_does_not_hang_on_the_key_under_which_images_are_named(three: list[Path]) -> None:
    folder = three[0]
    before = change(read_runs(three)[0], "forget", "unlearned", "retrained")
    with open(folder / "per_image.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(folder / "per_image.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            # digests put the names into another order, as another run's key does
            writer.writerow({**row, "image": sha256(row["image"].encode()).hexdigest()})
    assert change(read_runs(three)[0], "forget", "unlearned", "retrained") == before


def test_a_distance_is_the_same_for_twice_and_for_half() -> None:
    twice, half = gap(Change(2.0, 1.5, 3.0), True), gap(Change(0.5, 1 / 3, 1 / 1.5), True)
    assert twice == pytest.approx(half)
    assert twice.value == pytest.approx(math.log(2))
    assert gap(Change(1.1, 0.9, 1.3), True).low == 0
    assert gap(Change(-0.25, -0.5, -0.125), False) == Change(0.25, 0.125, 0.5)
    assert gap(Change(1.0), True) == Change(0.0)


def test_the_page_has_a_row_for_each_run_and_names_those_that_are_not_beaten(
    three: list[Path], tmp_path: Path
) -> None:
    page = page_of(three, tmp_path / "all.html")
    assert "Not beaten on both axes by another run: 2 (blank), 3 (unseen)." in page.text
    assert "Not in this plot, for want of a figure: 3." in page.text
    assert "1 noise encoder-noise alpha 0.25; noise standard-normal no verdict empirical 2.000" in page.text
    assert "✗ not met: detectability<=0.05 ✓ met: retain-error<=1.2x 1 min 40 s" in page.text
    assert "none was set" in page.text
    assert "original 0.714" in page.text
    assert "+0.42 (0.39 to 0.45)" in page.text
    told = [str(svg["aria-label"]) for svg in page.named("svg")]
    assert len(told) == 3
    assert "run 1: 0.1100 at 0, " in told[2]
    assert "run 2: 0.1100 at 0, " in told[2]
    assert "retrained: 0.05600 at 0, " in told[2]
    assert not {"img", "image", "script", "link"} & {tag for tag, _ in page.tags}


def test_detectability_is_weighed_by_its_goal(tmp_path: Path) -> None:
    def drawn(goal: str) -> str:
        runs = []
        for name, value in (("less", 0.47), ("more", 0.65)):
            found = some_findings(value)
            figures = tuple(dataclasses.replace(one, goal=goal) for one in found.figures)
            findings = dataclasses.replace(found, figures=figures)
            runs.append(write_run(tmp_path / goal / name, NOISE, findings=findings))
        page = page_of(runs, tmp_path / "c.html")
        return str(page.named("svg")[1]["aria-label"])

    assert "up: detectability: difference to retrained" in drawn("low")
    assert "less: 1.03 (< 1 to 1.07), 0 (0 to 0) (on the front); more" in drawn("low")
    assert "up: detectability: |difference| to retrained" in drawn("zero")
    assert ", 0.0800 (0.050 to 0.110) (on the front); more" in drawn("zero")


def test_detectability_beside_other_references_is_not_on_one_axis(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(n), NOISE, findings=some_findings(0.6 + n / 10)) for n in (1, 2)]
    found = some_findings(0.9)
    alone = dataclasses.replace(
        found, figures=tuple(dataclasses.replace(one, reference="original") for one in found.figures)
    )
    runs.append(write_run(tmp_path / "3", NOISE, findings=alone))
    (plane,) = [plane for plane in compare(runs).planes if plane.name == "pareto-detectability"]
    assert list(plane.points) == [1, 2]
    assert plane.y_name == "detectability: difference to retrained"


def test_the_table_beside_the_page_has_the_same_figures(three: list[Path], tmp_path: Path) -> None:
    compare_runs(three, tmp_path / "all.html")
    noise, blank, unseen = rows_beside(tmp_path / "all.html")
    assert noise["run"] == "noise"
    assert float(noise["forget_to_retrained"]) == pytest.approx(2.0)
    assert float(blank["retain_to_original"]) == pytest.approx(1.01)
    assert [row["pareto_forget"] for row in (noise, blank, unseen)] == ["False", "True", "True"]
    assert noise["require detectability<=0.05"] == "not met"
    assert float(noise["detectability difference"]) == pytest.approx(0.42)
    assert unseen["detectability difference"] == ""
    assert noise["training_seconds"] == "100.0"


def test_only_settings_that_differ_are_named(tmp_path: Path) -> None:
    settings = [{"alpha": 0.2, "norm": "mse"}, {"alpha": 0.3, "norm": "mse"}]
    runs = [
        write_run(
            tmp_path / str(n),
            NOISE,
            record=method("encoder-noise", **one) | {"training": a_training(seconds_per_step=0.1 * n)},
        )
        for n, one in enumerate(settings)
    ]
    assert differing_settings(read_runs(runs)) == [{"alpha": "0.2"}, {"alpha": "0.3"}]


def test_what_was_hidden_in_training_is_written_out_and_specific_said_as_the_verdict_says_it(
    tmp_path: Path,
) -> None:
    chance = np.exp(0.02 * np.random.default_rng(0).standard_normal((3, 40)))
    levels: dict[ModelName, float] = {"original": 0.04, "unlearned": 0.1, "retrained": 0.056}
    errors = {model: level * own for (model, level), own in zip(levels.items(), chance, strict=True)}
    word = verdict_of({"forget": errors}, HoleMse, EvaluationSettings(resamples=200))
    runs = [
        write_run(
            tmp_path / hidden,
            NOISE,
            record={
                "training": a_training(corruption=hidden, settings={"corruption": "own-mask"}),
                "verdict": word.model_dump(mode="json"),
            },
        )
        for hidden in ("centre:0.5", "random:0.75")
    ]
    page = page_of(runs, tmp_path / "page.html")
    assert "corruption centre:0.5" in page.text
    assert "corruption random:0.75" in page.text
    assert "own-mask" not in page.text
    assert page.text.count(word.specific.said) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"corruption": "centre:0.25"}, "corruption: centre:0.25; in run 1 (one): centre:0.5"),
        ({"evaluation": an_evaluation(seed=6)}, "seed of the evaluation: 6; in run 1 (one): 5"),
        (
            {"evaluation": an_evaluation(crops_per_image=4)},
            "views of each image: 4; in run 1 (one): 1",
        ),
        (
            {"evaluation": an_evaluation({"name": "clip", "digest": "b" * 64})},
            "feature extractor: clip bbbbbbbbbbbbbbbb; in run 1 (one): filter-bank-64 aaaaaaaaaaaaaaaa",
        ),
        (
            {"images": images_facts({"forget": 30, "retain": 80, "neutral": 40})},
            "forget images: 30; in run 1 (one): 40",
        ),
        (
            {"images": images_facts(COUNTS, proxy_retain=True)},
            "retain images: 80 (proxy); in run 1 (one): 80",
        ),
    ],
)
def test_runs_under_other_conditions_are_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    one, two = write_run(tmp_path / "one", NOISE), write_run(tmp_path / "two", BLANK, record=changes)
    assert f"run 2 (two): {told}" in problems(one, two)


def test_the_same_original_with_other_figures_gives_other_images_away(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", NOISE)
    two = write_run(tmp_path / "two", NOISE, original=ORIGINAL | {"retain": 0.0502})
    (problem,) = problems(one, two)
    assert "retain images: the original's figure is 0.05020, in run 1 (one) 0.05000" in problem
    assert "the images were not the same" in problem


def test_other_originals_are_a_caution_and_no_refusal(tmp_path: Path) -> None:
    other = {"before": {"weights": "1" * 64, "description": described()}, "after": None}
    one = write_run(tmp_path / "one", NOISE)
    two = write_run(tmp_path / "two", NOISE, original=ORIGINAL | {"retain": 0.0502}, record={"model": other})
    page = page_of([one, two], tmp_path / "c.html")
    assert "different original models" in page.text
    assert "the original model:" not in str([svg["aria-label"] for svg in page.named("svg")])


def test_without_any_retrained_model_nothing_is_weighed_by_it(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, NOISE, retrained=False) for name in ("one", "two")]
    page = page_of(runs, tmp_path / "c.html")
    assert "none can be said to behave like one" in page.text
    assert "There is nothing to weigh" in page.text
    assert not page.named("svg")


def test_a_run_without_a_retrained_model_is_left_out_of_its_plot(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "one", NOISE),
        write_run(tmp_path / "two", BLANK),
        write_run(tmp_path / "three", BLANK, retrained=False),
    ]
    text = page_of(runs, tmp_path / "c.html").text
    assert "No retrained model was measured in run 3" in text
    assert "Not in this plot, for want of a figure: 3." in text


def test_probes_with_other_settings_are_named(tmp_path: Path) -> None:
    def asked(steps: int) -> dict[str, Any]:
        return {
            "probes": [
                {"name": "relearning", "question": "?", "source": "", "settings": {"steps": steps}},
                {"name": "membership", "question": "?", "source": "", "settings": {}},
            ]
        }

    runs = [write_run(tmp_path / str(n), NOISE, record=asked(n), findings=some_findings()) for n in (1, 2)]
    assert check_comparable(read_runs(runs)) == [
        "These probes were asked with different settings and do not compare: relearning."
    ]


def test_what_cannot_be_read_or_compared_is_said_at_once(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", NOISE)
    bare = write_run(tmp_path / "bare", NOISE)
    (bare / "record.json").unlink()
    with pytest.raises(InputError) as caught:
        read_runs([good, bare, tmp_path / "absent"])
    assert "bare holds no record.json" in str(caught.value)
    assert "absent: no such file or folder" in str(caught.value)
    with pytest.raises(InputError, match="two runs or more"):
        read_runs([good])
    with pytest.raises(InputError, match="the same run is named twice"):
        read_runs([good, tmp_path / "x" / ".." / "good"])


def test_a_comparison_replaces_no_file_of_a_run(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, NOISE) for name in ("a", "b")]
    (runs[0] / "results.csv").write_text("its own")
    with pytest.raises(InputError, match="the folder of a run"):
        compare_runs(runs, runs[0] / "results.html")
    assert (runs[0] / "results.csv").read_text() == "its own"


def test_runs_of_one_folder_name_are_told_apart_by_more_of_their_path(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / name / "unlearned", NOISE) for name in ("a", "b")])
    assert [run.name for run in runs] == ["a/unlearned", "b/unlearned"]


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, NOISE) for name in ("<script>x<", "$a$")]
    page = page_of(runs, tmp_path / "c.html")
    assert not page.named("script")
    assert "<script>x<" in page.text


def test_classifiers_are_compared_by_accuracy_and_what_was_lost(tmp_path: Path) -> None:
    def accuracy(run: Path) -> Path:
        rows = json.loads((run / "results.json").read_text())
        for row in rows:
            row["metric"], row["value"] = "accuracy", 1 - row["value"]
        (run / "results.json").write_text(json.dumps(rows))
        return run

    runs = [accuracy(write_run(tmp_path / name, means)) for name, means in (("one", NOISE), ("two", UNSEEN))]
    text = page_of(runs, tmp_path / "c.html").text
    assert "the unlearned model's less the retrained model's; the goal is 0" in text
    one = rows_beside(tmp_path / "c.html")[0]
    assert float(one["forget_to_retrained"]) == pytest.approx(RETRAINED["forget"] - NOISE["forget"])
    told = str(Page((tmp_path / "c.html").read_text()).named("svg")[0]["aria-label"])
    assert "across: retain images: lost to original" in told
    assert "one: 0.00150, 0.0560" in told


def test_the_verb_compares_only_where_asked(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb: Callable[..., None] = report_verb
    verb(three, compare=True, out=tmp_path / "all.html")
    assert (tmp_path / "all.html").exists()
    assert capsys.readouterr().out.strip() == str(tmp_path / "all.html")
    write_seal(three[0], bytes(32), "2026-01-01T00:00:00+00:00")
    verb(three[:1], compare=False, out=None)
    assert (three[0] / "report.html").exists()
    for runs, side_by_side, out, told in (
        (three, False, None, "--compare"),
        (three, True, None, "--out FILE.html"),
        (three[:1], False, tmp_path / "x.html", "--out goes with --compare"),
        (three, True, tmp_path / "x.pdf", "is an .html file"),
        (three, True, tmp_path / "all.html" / "x.html", "cannot be written there"),
    ):
        with pytest.raises(InputError, match=told):
            verb(runs, compare=side_by_side, out=out)
