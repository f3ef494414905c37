"""The page and the tables of a benchmark show the numbers of its results, and what they must be read beside."""

from __future__ import annotations

import csv
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from efface.benchmark.table import MEASURES
from efface.reports.benchmark_page import write_benchmark_page
from efface.reports.benchmark_tables import (
    figures,
    remarks,
    shown,
    value_of,
    write_csv,
    write_markdown,
)

HOSTILE = 'a|b $x$ <script>alert("1")</script>\u202e'
COST = {"originals": 40, "retrained": 64, "unlearned": 500, "worker_hours": 0.25}


def a_row(label: str, settings: str, official: float | None, **others: Any) -> dict[str, Any]:
    measures = {}
    if official is not None:
        for place, name in enumerate(MEASURES):
            value = official + place / 1000
            measures[name] = {
                "value": value,
                "low": value / 2,
                "high": value * 2,
                "each": [value / 2, value * 2],
            }
    plain = {
        "label": label,
        "settings": settings,
        "section": {"name": label, "epochs": 3},
        "measures": measures,
        "share_of_ceiling": None if official is None else official / 0.19,
        "experiments": 2,
        "runs": 64,
        "cut": 0,
        "failed": 0,
        "reason": None,
        "failure_file": None,
        "needs": ["forget", "retain"],
        "deterministic": False,
        "alike": False,
        "like_for_like": True,
    }
    return plain | others


def results(**others: Any) -> dict[str, Any]:
    level = {"value": 0.1873, "low": 0.15, "high": 0.2246}
    floor = {"value": 0.0, "low": 0.0, "high": 0.0}
    levels = {
        "equal_models": 32,
        "ceiling": 0.1873,
        "floor": 0.0,
        "power": 0.8,
        "measurable": True,
        "levels": {"ceiling": level, "floor": floor},
    }
    order = {"methods": 9, "tau": -0.4321, "low": -0.7, "high": 0.1}
    none = {"methods": 2, "tau": None, "low": None, "high": None}
    setups = {
        name: {
            "experiments": 2,
            "official": {"fine-tune": [0.05 + place, 0.07 + place], "broken": []},
            "robust": {"fine-tune": [0.5 + place], "broken": []},
        }
        for place, name in enumerate(("reuse-n-1", "reuse-n-n", "bootstrap"))
    }
    machine = {
        "python": "3.11.1", "platform": "Linux x86_64", "processor": "Abacus 9", "cores": 2, "memory_gib": 7.5,
        "gpus": [], "threads": 1, "packages": {"torch": "2.9", "absent": None}, "commit": "abc123", "changed": True,
    }  # fmt: skip
    before = {"published": COST, "tuning": COST, "tuned_at_most": COST, "total_at_most": COST}
    return {
        "schema": 1,
        "finished": "2026-11-21T09:59:16+00:00",
        "task": "digits",
        "images": {"forget": 72, "retain": 1365, "validation": 180, "test": 180},
        "notes": ["who wrote which digit is not known"],
        "models": 32,
        "headline": "reuse-n-1",
        "limit_seconds": 12.0,
        "levels": {"official": levels, "robust": levels},
        "rows": [
            a_row("retrained", "reference", 0.1734, runs=0),
            a_row("fine-tune", "published", 0.0876),
            a_row("fine-tune", "tuned", 0.0765, cut=12),
            a_row(HOSTILE, "published", 0.0543, deterministic=True),
            a_row("original", "reference", 0.0123, runs=0, deterministic=True),
            a_row(
                "broken",
                "published",
                None,
                failed=64,
                reason="no\nwings",
                failure_file="pool/broken/0.failed.json",
            ),
        ],
        "setups": setups,
        "stability": [
            {"one": "reuse-n-1", "other": "reuse-n-n", **order},
            {"one": "reuse-n-1", "other": "bootstrap", **none},
        ],
        "cost": {
            "before": {**before, "workers": 2, "hours_at_most": 0.5},
            "after": {
                "published": COST,
                "tuning": COST,
                "tuned": COST,
                "total": COST,
                "wall_seconds": 1234.0,
            },
            "wall_seconds": 1234.0,
        },
        "machine": machine,
        "config": {"time_limit": 0.2, "tuning": {"trials": 6, "models": 4}, "confidence": 0.95, "models": 32},
        **others,
    }


@pytest.fixture
def page(tmp_path: Path) -> str:
    return write_benchmark_page(results(), tmp_path).read_text(encoding="utf-8")


def words(page: str) -> str:
    without_style = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without_style)).split())


def test_the_page_holds_the_numbers_of_its_rows_in_their_order(page: str) -> None:
    text = words(page)
    table = text[text.index("The table") :]
    places = [table.index(number) for number in ("0.173", "0.0876", "0.0765", "0.0543", "0.0123")]
    assert places == sorted(places)
    assert "0.0876 0.0438 to 0.1752" in table
    # the value of each experiment
    assert "0.0438, 0.175" in table
    assert "46 %" in text  # 0.0876 of the ceiling


def test_the_page_says_what_scores_are_read_between(page: str) -> None:
    text = words(page)
    assert (
        "F, official: ceiling 0.1873 (0.1500 to 0.2246), floor 0, doing nothing 0.01230. Power 80 %" in text
    )


def test_the_page_tells_of_cut_and_failed_runs_and_of_odd_methods(page: str) -> None:
    text = words(page)
    assert "cut at the limit in 12 of 64 runs" in text
    assert "failed in 64 of 64 runs: no wings; kept in pool/broken/0.failed.json, tried again" in text
    assert "deterministic: its runs from one original are all alike" in text
    assert "Unlearning was stopped at 20 % of a retraining (12.0 s)." in text


def test_the_page_shows_orders_costs_machine_and_config(page: str) -> None:
    text = words(page)
    assert "−0.43" in text
    assert "−0.70 to 0.10" in text
    assert (
        "Expected before the first run: at most 30 min 0 s with 2 at a time, from timed steps. Taken: 20 min 34 s"
        in text
    )
    assert "before as published, all setups 40 64 500 15 min 0 s" in text
    assert "Abacus 9, 2 cores, 7.5 GiB" in text
    assert "abc123 with changes" in text
    assert "absent" not in text
    assert "time_limit: 0.2 tuning: trials: 6" in text
    assert "Who wrote which digit is not known." in text


def test_the_page_needs_nothing_beside_it_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "\u202e" not in page
    assert page.count("<svg") == 3


def test_a_page_without_limit_tuning_or_measurable_levels_says_so(tmp_path: Path) -> None:
    found = results(config={"time_limit": None, "tuning": None, "confidence": 0.9}, limit_seconds=None)
    found["levels"]["official"] = {**found["levels"]["official"], "measurable": False}
    text = words(write_benchmark_page(found, tmp_path).read_text(encoding="utf-8"))
    assert "Unlearning had no limit of time. Settings are as published; nothing was tuned." in text
    assert "this number of models cannot show anything" in text
    assert "bounds are at 90 %" in text


def test_the_csv_has_every_measure_of_every_row(tmp_path: Path) -> None:
    write_csv(results(), tmp_path / "results.csv")
    lines = list(csv.DictReader((tmp_path / "results.csv").read_text(encoding="utf-8").split("\n")))
    assert len(lines) == 6
    assert float(lines[1]["official"]) == 0.0876
    assert float(lines[1]["official_high"]) == 0.1752
    assert set(MEASURES) <= set(lines[0])
    assert lines[3]["method"] == HOSTILE
    assert lines[4]["official"] == "0.0123"
    assert (lines[5]["official"], lines[5]["failed"]) == ("", "64")


def test_the_markdown_table_has_as_many_cells_in_each_line(tmp_path: Path) -> None:
    write_markdown(results(), tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    table = [line for line in text.split("\n") if line.startswith("|")]
    cells = {len(re.split(r"(?<!\\)\|", line)) for line in table[:8]}
    assert len(cells) == 1
    assert "ceiling 0.1873 (0.1500 to 0.2246), floor 0." in text
    # what is only referred to, and what has no number, takes no place
    assert [line.split("|")[1].strip() for line in table[2:8]] == ["", "1", "2", "3", "", ""]
    assert "| fine-tune | 0.0600 / 0.500 | 1.06 / 1.50 | 2.06 / 2.50 |" in text
    assert "| broken | none / none | none / none | none / none |" in text
    assert "compares a pool with itself" in text
    assert "| reuse-n-1 | reuse-n-n | 9 | -0.43 | -0.70 to 0.10 |" in text


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.997, 0.9968, 0.9972), ("0.9970", "0.9968 to 0.9972")),
        ((0.997, 0.95, 1.04), ("0.997", "0.950 to 1.040")),
        ((0.0, 0.0, 0.0), ("0", "0 to 0")),
        ((0.5, 0.5, 0.5), ("0.500", "0.500 to 0.500")),
        ((0.5, 0.4999999, 0.5000001), ("0.500000", "0.500000 to 0.500000")),
        ((12.34, 10.0, 14.68), ("12.3", "10.0 to 14.7")),
        ((-0.0012, -0.013, 0.0106), ("−0.00120", "−0.01300 to 0.01060")),
    ],
)
def test_bounds_agree_with_their_value_and_differ_where_they_differ(
    numbers: tuple[float, float, float], expected: tuple[str, str]
) -> None:
    value, low, high = numbers
    assert figures({"value": value, "low": low, "high": high}) == expected


def test_the_page_shows_every_setup_and_what_bootstrap_is_worth(page: str) -> None:
    text = words(page)
    assert "reuse-n-1, official reuse-n-1, robust reuse-n-n, official" in text
    assert "fine-tune 0.0600 0.500 1.06 1.50 2.06 2.50" in text
    assert "about 0.15 in place of 0.19" in text
    assert "what chance did to the retrained models" in text
    assert "accuracy on the same test images" in text


def test_remarks_tell_what_is_odd_about_a_row() -> None:
    def remark(**facts: Any) -> str:
        return remarks(a_row("fine-tune", "published", 0.1, **facts))

    assert remark(alike=True) == "measured: its runs from one original are all alike"
    assert remark(alike=True, deterministic=True) == "deterministic: its runs from one original are all alike"
    assert remark(like_for_like=False).endswith("single networks: no like for like")
    both = remarks(a_row("fine-tune", "published = tuned", 0.1))
    assert both == "the published settings were the best of all trials"


def test_a_value_in_few_signs() -> None:
    row = a_row("fine-tune", "published", 0.0876)
    assert shown(row, "official") == "0.0876 (0.0438 to 0.1752)"
    assert value_of(row, "official") == "0.0876"
    assert shown(a_row("broken", "published", None), "official") == "none"
    # a share of time means nothing for models that nobody unlearned
    assert shown(a_row("original", "reference", 0.1), "time_share") == "none"
    assert remarks(row) == ""
