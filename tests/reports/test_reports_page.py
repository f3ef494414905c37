"""What stands in the report, in which order, and what never does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.reports.page import write_report
from efface.runs.record import digest_of
from support.report_runs import Page, a_record, a_training, images_facts, row, rows_of

Report = Callable[..., Page]
HOSTILE = 'sea\n<script>alert("1")</script>\u202e\udcff & co'
SHOWN = r'sea\n<script>alert("1")</script>\u202e\udcff & co'

ALL_SETS = [
    *rows_of("forget", 0.04, 0.10, 0.056),
    *rows_of("retain", 0.05, 0.0515, 0.0505),
    *rows_of("neutral", 0.05, 0.06, 0.05),
]
WORST = [
    {"set": "retain", "kind": "image", "name": "ab" * 32, "original": 0.05, "unlearned": 0.2, "ratio": 4.0},
    {"set": "retain", "kind": "class", "name": HOSTILE, "original": 0.05, "unlearned": 0.06, "ratio": 1.2},
]


def step(number: int, loss: float, **others: Any) -> str:
    values = {"phase": "unlearn", "step": number, "steps": 40, "gradient_norm": 0.3, "learning_rate": 1e-5}
    return (
        json.dumps({"event": "step", **values, "loss": loss, "retain": 0.1, "forget": 1.0, **others}) + "\n"
    )


LOG = (
    json.dumps({"event": "phase", "phase": "unlearn", "first": 0, "steps": 40})
    + "\n"
    + step(10, 0.5)
    + step(20, 0.4)
)


def in_order(text: str, *parts: str) -> bool:
    places = [text.find(part) for part in parts]
    return -1 not in places and places == sorted(places)


def test_the_claim_comes_first_and_the_parts_follow_in_order(report: Report) -> None:
    page = report(ALL_SETS, a_record(), WORST, LOG)
    assert in_order(
        page.text,
        "Claim level: empirical",
        "The delivered model was changed; nothing is proven.",
        "Is it gone?",
        "2.5 times the original's; the retrained model's is 1.4 times the original's",
        "What was asked",
        "What was done",
        "What it did",
        "Figures",
        "What is not shown",
        "dishonest operator",
        "What was erased, and what was not",
        "How to check it",
        "efface verify RUN",
    )


def test_request_and_work_are_told_in_words(report: Report) -> None:
    text = report(ALL_SETS, a_record(), WORST, LOG).text
    for told in (
        "R-7",
        "2 March 2026",
        "GDPR Art. 17",
        "consent withdrawn",
        "encoder only",
        "1 min 40 s",
        "alpha: 0.3",
    ):
        assert told in text
    assert "no copies or near-copies of forgotten images were found" in text
    assert "3 March 2026, 10:00 UTC" in text


@pytest.mark.parametrize(
    ("action", "words"),
    [("forget", "moved to the images to be forgotten"), ("ignore", "stayed where they were")],
)
def test_what_was_done_with_copies_is_said(report: Report, action: str, words: str) -> None:
    duplicates = {"exact": 1, "near": 2, "action": action, "agreement": 0.85, "apart": 0}
    text = report(ALL_SETS, a_record(images=images_facts(duplicates=duplicates))).text
    assert "1 exact copy and 2 near-copies found" in text
    assert words in text


def test_an_exact_claim_is_printed_as_such(report: Report) -> None:
    claim = {"level": "exact", "words": "Trained from fresh weights."}
    page = report(rows_of("forget", 0.04, 0.05, None), a_record(claim=claim))
    assert "Claim level: exact" in page.text
    assert "itself one that was trained without these images" in page.text


def test_no_string_from_outside_becomes_markup_or_breaks_a_line(report: Report) -> None:
    request = {"id": HOSTILE, "received": None, "regime": HOSTILE, "reason": HOSTILE}
    skipped = {"count": 1, "reasons": [HOSTILE]}
    record = a_record(
        request=request, notes=[HOSTILE], limits=[HOSTILE], images=images_facts(skipped=skipped)
    )
    record["method"]["name"] = record["corruption"] = HOSTILE
    rows = [
        *ALL_SETS,
        row("unlearned", "retain", None, "own" + HOSTILE, note=HOSTILE, unit=HOSTILE, direction=HOSTILE),
    ]
    log = (
        LOG
        + json.dumps({"event": "step", "phase": HOSTILE, "step": 1, "steps": 1, "loss": 1.0, HOSTILE: 2.0})
        + "\n"
    )
    page = report(rows, record, WORST, log)
    assert not page.named("script")
    assert page.text.count(SHOWN) > 12
    assert "\u202e" not in page.source
    assert SHOWN in page.text[page.text.index("Hit hardest") :]


def test_quotes_do_not_leave_an_attribute(report: Report) -> None:
    worst = [{**WORST[0], "name": 'x" onclick="evil()'}]
    page = report(ALL_SETS, a_record(), worst)
    assert not [attributes for _, attributes in page.tags if "onclick" in attributes]


def test_the_page_holds_no_picture_and_loads_nothing(report: Report) -> None:
    page = report(ALL_SETS, a_record(), WORST, LOG)
    assert not {"img", "image", "script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    loading = [
        v for _, a in page.tags for n, v in a.items() if n in ("src", "href", "xlink:href", "srcset", "data")
    ]
    assert all(value and value.startswith("#") for value in loading)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    assert "@import" not in page.source
    policy = [attributes["content"] for attributes in page.named("meta") if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_figures_have_text_alternatives_and_their_own_names(report: Report) -> None:
    page = report(ALL_SETS, a_record(), WORST, LOG)
    pictures = page.named("svg")
    assert len(pictures) == 3 + 4
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    assert "retrained 0.05600 (0.0504 to 0.0616)" in str(pictures[0]["aria-label"])
    names = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))


def test_a_step_that_was_done_again_counts_once_as_done_last(report: Report) -> None:
    log = LOG + step(20, 0.7) + '{"event": "step", "pha'
    page = report(ALL_SETS, a_record(), WORST, log)
    assert "Loss, value (no unit) along step. loss: 0.5000 at 10, 0.7000 at 20." in {
        svg["aria-label"] for svg in page.named("svg")
    }
    assert "1 line of the log could not be read" in page.text


def test_a_loss_that_left_the_numbers_is_a_gap(report: Report) -> None:
    page = report(
        ALL_SETS, a_record(), None, LOG + step(30, float("nan")) + step(40, float("inf"), forget=float("inf"))
    )
    assert "Loss, value (no unit) along step. loss: 0.5000 at 10, 0.4000 at 20." in {
        svg["aria-label"] for svg in page.named("svg")
    }


def test_a_figure_that_cannot_be_given_stands_with_its_reason(report: Report) -> None:
    reason = "not available: 40 images for 2048 features"
    absent = [
        row(model, "forget", None, "frechet_distance", note=reason) for model in ("original", "unlearned")
    ]
    text = report([*ALL_SETS, *absent], a_record()).text
    assert "not available" in text
    assert f"Note: {reason}" in text


def test_tables_give_intervals_directions_and_distances(report: Report) -> None:
    text = report(ALL_SETS, a_record()).text
    assert "0.1000 0.090 to 0.110" in text
    assert "the goal is the retrained model's value" in text
    assert "lower is better" in text
    assert "unlearned +0.044 0.043 to 0.045 restores worse than the retrained model: overshoot" in text
    assert "no difference found at this sample size" in text


def test_without_a_retrained_model_distances_are_to_the_original(report: Report) -> None:
    text = report(rows_of("forget", 0.04, 0.10, None), a_record()).text
    assert "whether the goal was reached cannot be told from them" in text
    assert "Distance to original" in text
    assert "overshoot" not in text.lower()
    assert "No retain images were measured" in text


def test_without_a_hole_there_is_no_chart_and_it_is_said(report: Report) -> None:
    page = report(rows_of("forget", 0.9, 0.5, 0.7, metric="ssim"), a_record(corruption="jpeg:5"))
    assert not page.named("svg")
    assert "No error of restored pixels was measured." in page.text


def test_an_evaluation_is_titled_as_one(report: Report) -> None:
    record = a_record(kind="evaluation", method=None, training=None, request=None)
    record["model"]["after"] = None
    page = report(ALL_SETS, record)
    assert page.text.startswith("Evaluation report")
    assert "weights, original model" in page.text


def test_the_page_says_how_much_of_the_model_was_trained(report: Report) -> None:
    text = report(ALL_SETS, a_record(training=a_training(changed_tensors=9, tensors=21))).text
    assert "9 of 21 weight tensors trained" in text


def test_results_alone_make_no_page(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match=r"holds no record\.json"):
        write_report(tmp_path)


def test_digests_are_short_with_the_full_ones_at_hand(report: Report) -> None:
    record = a_record()
    record["digest"] = digest_of(record)
    page = report(ALL_SETS, record)
    assert "model/model.safetensors dddddddddddddddd…" in page.text
    assert "d" * 64 in page.text
    assert record["digest"] in page.text
    assert page.named("details")


def test_files_that_are_not_those_of_the_record_raise_an_alarm(report: Report, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps([asdict(entry) for entry in ALL_SETS]))
    record = a_record(
        results={"files": {"results.json": sha256_of_file(tmp_path / "results.json")}, "rows": 6}
    )
    record["digest"] = digest_of(record)
    assert "Files do not match the record" not in report(ALL_SETS, record).text
    text = report(ALL_SETS[:3], record | {"notes": ["changed"]}).text
    assert "Files do not match the record" in text
    assert "the digest of record.json, results.json was not the recorded one" in text


def test_worst_hit_images_and_classes_are_listed(report: Report) -> None:
    text = report(ALL_SETS, a_record(), WORST).text.partition("Hit hardest")[2]
    assert in_order(text, "Retain images", "abababababababab…", "× 4.0", "Retain classes", "× 1.2")


def test_without_results_there_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(a_record()))
    with pytest.raises(InputError, match=r"holds no results\.json"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
