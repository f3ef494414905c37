"""Requirements, probes, curves and single images on the page of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from efface.errors import InputError
from efface.probes.findings import Curve, Finding, Findings
from efface.reports.charts import line_chart
from efface.reports.page import write_report
from efface.reports.probe_tables import MOST_IMAGES, image_table, meaning, probe_sections
from efface.reports.run_charts import model_lines
from efface.runs.results import read_by_image, read_findings
from support.found_runs import COUNTS, a_requirement, judged_figure, some_findings, write_images, write_run
from support.report_runs import Page

UNLEARNED = {"forget": 0.11, "retain": 0.0515, "neutral": 0.052}
NOT_MET = a_requirement(
    "detectability<=0.05",
    "not met",
    value=0.42,
    low=0.39,
    high=0.45,
    words="The value itself is not at most 0.05; retrain instead.",
)
OTHERS = [
    a_requirement(
        "retain-error<=1.2x", "met", value=1.03, low=1.0, high=1.07, words="All of it is at most 1.2x."
    ),
    a_requirement("near-copies<=0.01", "not measurable", words="It cannot be judged: one step only."),
]


def page_of(run: Path) -> Page:
    page = Page(write_report(run).read_bytes().decode("utf-8"))
    assert not page.faults
    return page


def between(text: str, first: str, last: str) -> str:
    return text.partition(first)[2].partition(last)[0]


def test_requirements_stand_between_the_claim_and_the_verdict_in_words(tmp_path: Path) -> None:
    text = page_of(write_run(tmp_path, UNLEARNED, requirements=[NOT_MET, *OTHERS])).text
    table = between(text, "Claim level: empirical", "Is it gone?")
    assert "Requirements set before the run" in table
    assert "1 of 3 is not met and 1 of 3 is not measurable" in table
    assert "Advice: retrain instead" in table
    assert "detectability<=0.05 ✗ not met 0.4200 0.3900 to 0.4500 The value itself" in table
    assert "retain-error<=1.2x ✓ met 1.030 1.000 to 1.070" in table
    assert "near-copies<=0.01 ? not measurable none It cannot be judged: one step only." in table


def test_met_requirements_advise_nothing_and_the_record_says_that_they_were_set_before(
    tmp_path: Path,
) -> None:
    words = "The thresholds are part of the config."
    record = {"requirements": {"words": words, "summary": "The requirement is met.", "outcomes": OTHERS[:1]}}
    text = page_of(write_run(tmp_path, UNLEARNED, requirements=OTHERS[:1], record=record)).text
    assert "The requirement is met." in text
    assert "The thresholds are part of the config." in text
    assert "Advice" not in text


def test_without_probes_and_requirements_the_page_speaks_of_neither(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, UNLEARNED))
    assert "Requirements set before" not in page.text
    assert "Probes" not in page.text
    assert len(page.named("svg")) == 3


def test_a_probe_has_its_question_every_models_value_and_differences(tmp_path: Path) -> None:
    asked = [
        {"name": "detectability", "question": "Does the output give it away?", "source": "", "settings": {}}
    ]
    run = write_run(tmp_path, UNLEARNED, findings=some_findings(), record={"probes": asked})
    text = between(page_of(run).text, "Each probe asks one question", "Error of the restored pixels")
    assert "Does the output give it away?" in text
    assert "0.5200 0.490 to 0.550 0.9700 0.94 to 1.00 0.5500 0.520 to 0.580" in text
    assert "unlearned +0.42 0.39 to 0.45 more than the retrained model's" in text
    assert "unlearned −2.0 −6.0 to 2.0 no difference found at this sample size" in text
    assert "not available none" in text
    assert "Note: Not measurable: one sampler step only." in text
    assert "Fine-tuned at the run's own learning rate." in text


def test_a_difference_is_read_by_its_goal_and_its_interval() -> None:
    def read(difference: float, half: float | None, goal: str) -> str:
        ends = (
            {}
            if half is None
            else {"difference_low": difference - half, "difference_high": difference + half}
        )
        return meaning(
            Finding(
                "p", "f", "unlearned", 1.0, reference="retrained", difference=difference, goal=goal, **ends
            )
        )

    assert read(0.3, 0.1, "low") == "more than the retrained model's"
    assert read(-0.3, 0.1, "low") == "no more than the retrained model's"
    assert read(-0.3, 0.1, "zero") == "differs from the retrained model"
    assert read(-0.3, 0.4, "zero") == read(-0.3, 0.4, "low") == "no difference found at this sample size"
    assert read(0.3, None, "zero") == "no interval: it may be chance"


def test_hits_are_listed_by_keyed_id_in_the_probes_order_and_the_rest_counted(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, UNLEARNED, findings=some_findings()))
    text = between(page.text, "worst-image: retain images", "worst-class")
    assert text.index("0" * 16 + "… 0.200 0.0500 1") < text.index("01" * 8 + "… 0.190") < text.index("09" * 8)
    assert "0a0a" not in text
    assert "2 more in probes.json" in text
    assert "sea <b>& sky</b> 0.0600 0.0500 7" in page.text
    assert not page.named("b")


def test_curves_are_drawn_for_each_model_on_a_log_axis_that_begins_at_zero(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, UNLEARNED, findings=some_findings()))
    told = [str(svg["aria-label"]) for svg in page.named("svg")]
    curve = next(
        alt for alt in told if alt.startswith("forget-error, forget-error along steps of fine-tuning")
    )
    assert "unlearned: 0.1100 at 0, " in curve
    assert "retrained: 0.05600 at 0, " in curve
    assert "steps of fine-tuning (log)" in page.text
    names = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_an_axis_is_logarithmic_only_beyond_a_decade() -> None:
    def axis_names(x: tuple[float, ...], y: tuple[float, ...]) -> str:
        chart = line_chart("c", "t", "across", "up", model_lines([Curve("p", "f", "unlearned", "x", x, y)]))
        assert chart
        return Page(str(chart.svg)).text

    assert "(log)" not in axis_names((1.0, 5.0, 10.0), (1.0, 2.0, 3.0))
    assert "across (log)" in axis_names((1.0, 5.0, 11.0), (1.0, 2.0, 3.0))
    assert "up (log)" in axis_names((1.0, 2.0, 3.0), (0.001, 0.1, 2.0))
    assert "(log)" not in axis_names((-1.0, 5.0, 100.0), (-1.0, 0.1, 30.0))
    assert line_chart("c", "t", "x", "y", model_lines([Curve("p", "f", "unlearned", "x", (), ())])) is None


def test_models_are_told_apart_without_colour() -> None:
    curves = [
        Curve("p", "f", model, "x", (0.0, 1.0), (0.0, 1.0))
        for model in ("retrained", "original", "unlearned")
    ]
    lines = model_lines(curves)  # type: ignore[arg-type]
    assert [line.label for line in lines] == ["original", "unlearned", "retrained"]
    assert len({str(line.look.dashes) for line in lines}) == len({line.look.marker for line in lines}) == 3


def test_names_from_a_probe_neither_become_markup_nor_formulas(tmp_path: Path) -> None:
    hostile = 'a$b_{c}$ <script>x</script> "q"\u202e'
    findings = Findings(
        tuple(
            judged_figure(
                hostile, hostile, {"unlearned": 1.0, "retrained": 0.5}, 0.1, unit=hostile, note=hostile
            )
        ),
        (Curve(hostile, hostile, "unlearned", hostile, (0.0, 1.0), (1.0, 2.0)),),
        notes=(hostile,),
    )
    page = page_of(write_run(tmp_path, UNLEARNED, findings=findings))
    assert not page.named("script")
    assert "\u202e" not in page.source
    assert page.text.count("<script>x</script>") >= 6


def test_single_forget_images_are_listed_those_farthest_from_the_retrained_model_first(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path, UNLEARNED)
    (run / "per_image.csv").write_text(
        "model,set,image,hole_mse\n"
        + "".join(
            f"{model},forget,{id_},{value}\n"
            for model, values in {
                "original": (0.1, 0.1, 0.1),
                "unlearned": (0.2, 0.05, 0.9),
                "retrained": (0.2, 0.2, 0.3),
            }.items()
            for id_, value in zip(("aa", "bb", "cc"), values, strict=True)
        )
    )
    page = page_of(run)
    text = between(page.text, "Forget images one by one", "What is not shown")
    assert "Unlearned to retrained bb 0.100 0.0500 0.200 × 0.25 cc 0.100 0.900 0.300 × 3.0 aa" in text
    assert "aa 0.100 0.200 0.200 unchanged" in text


def test_no_more_than_500_images_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    counts = COUNTS | {"forget": MOST_IMAGES + 3}
    write_images(tmp_path, {"original": UNLEARNED, "unlearned": UNLEARNED}, counts)
    table = image_table(read_by_image(tmp_path, ("hole_mse",)))
    assert table is not None
    assert table.reference == "original"
    assert (len(table.entries), table.left_out) == (500, 3)


def test_images_of_classifiers_are_compared_by_confidence_as_a_difference(tmp_path: Path) -> None:
    (tmp_path / "per_image.csv").write_text(
        "model,set,image,accuracy,confidence\n"
        "original,forget,aa,1.0,2.5\nunlearned,forget,aa,1.0,-0.5\nretrained,forget,aa,0.0,0.25\n"
    )
    table = image_table(read_by_image(tmp_path, ("hole_mse", "confidence")))
    assert table is not None
    assert table.words.startswith("confidence")
    assert table.entries[0]["change"] == "−0.75"


def test_a_number_that_is_not_finite_is_left_out_with_a_note(tmp_path: Path) -> None:
    findings = Findings((Finding("p", "f", "unlearned", 1.0, low=0.5, high=float("inf")),))
    (tmp_path / "probes.json").write_text(json.dumps(asdict(findings)))
    found = read_findings(tmp_path).figures[0]
    assert (found.value, found.low, found.high, found.note) == (1.0, 0.5, None, "not a finite number: high")


def test_a_gap_in_a_curve_is_passed_over(tmp_path: Path) -> None:
    curve: dict[str, Any] = {"probe": "p", "figure": "f", "model": "unlearned", "x_name": "x"}
    (tmp_path / "probes.json").write_text(
        json.dumps({"curves": [{**curve, "x": [0, 1, 2], "y": [1, None, 3]}]})
    )
    section = probe_sections(read_findings(tmp_path), {})[0]
    assert section.charts[0].alt == "f, f along x. unlearned: 1.000 at 0, 3.000 at 2."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("probes.json", "{"),
        ("probes.json", '{"figures": [{"probe": "p"}]}'),
        ("requirements.json", '[{"requirement": "a<=1"}]'),
        (
            "requirements.json",
            json.dumps([a_requirement("a<=1", "perhaps")]),
        ),
        ("per_image.csv", "model,set,image,hole_mse\nunlearned,forget,aa,much\n"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    run = write_run(tmp_path, UNLEARNED)
    (run / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name} (is damaged|cannot be read: it is not JSON)"):
        write_report(run)
