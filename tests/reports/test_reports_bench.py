"""The page and the tables of a benchmark tell the numbers of its results, and what they must be read beside.

The results are those of real benchmarks, as they lie in `benchmarks/results`.
"""

from __future__ import annotations

import csv
import re
from html import unescape
from pathlib import Path

import pytest

from efface.benchmark.results import (
    BenchResults,
    BenchRow,
    Estimate,
    TaskResults,
    read_bench_results,
)
from efface.benchmark.tables import untold
from efface.benchmark.told_apart import apart_measures
from efface.errors import InputError
from efface.evaluation.verdict import Verdict
from efface.reports.bench_page import write_bench_page
from efface.reports.bench_tables import (
    cell,
    figures,
    remarks,
    strength,
    tables_of,
    write_csv,
    write_markdown,
)
from efface.runs.score import ScoreRange

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
HOSTILE = 'a|b $x$ <script>alert("1")</script>\u202e'


def of(name: str) -> BenchResults:
    return read_bench_results(RESULTS / name)


DIGITS = of("bench_digits")
SCORED = of("generators/score-digits.json")
SEEDS = of("generators/confirm-digits.json")
SEVERAL = of("generators/paper-mae.json")


def the_task(results: BenchResults) -> TaskResults:
    (task,) = results.tasks.values()
    return task


def changed(results: BenchResults, **row: object) -> BenchResults:
    """The same, with the last row changed."""
    ((name, task),) = results.tasks.items()
    first = task.tables[0]
    rows = [*first.rows[:-1], first.rows[-1].model_copy(update=row)]
    tables = [first.model_copy(update={"rows": rows}), *task.tables[1:]]
    return results.model_copy(update={"tasks": {name: task.model_copy(update={"tables": tables})}})


def page_of(results: BenchResults, folder: Path) -> str:
    return write_bench_page(results, folder).read_text(encoding="utf-8")


def words(page: str) -> str:
    without_style = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without_style)).split())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        name: page_of(results, tmp_path_factory.mktemp(name))
        for name, results in (("digits", DIGITS), ("scored", SCORED), ("seeds", SEEDS), ("several", SEVERAL))
    }


@pytest.mark.parametrize("name", ["digits", "scored", "seeds", "several"])
def test_a_page_needs_nothing_beside_it_and_runs_nothing(pages: dict[str, str], name: str) -> None:
    page = pages[name]
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page)
    assert len(set(re.findall(r'id="([^"]+)"', page))) == len(re.findall(r'id="([^"]+)"', page))


@pytest.mark.parametrize("results", [DIGITS, SCORED, SEEDS, SEVERAL])
def test_a_page_holds_every_figure_of_its_tables(results: BenchResults, tmp_path: Path) -> None:
    text = words(page_of(results, tmp_path))
    for task in results.tasks.values():
        for table in task.tables:
            for part in tables_of(results, table):
                for row, cells in part.lines:
                    line = " ".join(f"{value} {ends}" if ends else value for value, ends in cells)
                    assert f"{row.label} {row.settings} {line}" in text


def test_classifiers_are_read_between_ceiling_and_floor(pages: dict[str, str]) -> None:
    levels = the_task(DIGITS).levels["official"]
    ceiling = f"ceiling {levels.ceiling.value:.4f} ({levels.ceiling.low:.4f} to {levels.ceiling.high:.4f})"
    assert f"F official: {ceiling}, floor 0, doing nothing 0. Power 85 %." in words(pages["digits"])


def test_orders_costs_machine_and_config_are_told(pages: dict[str, str]) -> None:
    text = words(pages["digits"])
    assert "reuse-n-1 1.00 0.22" in text
    assert "reuse-n-1, official F reuse-n-1, robust F 24 0.85 0.72 to 0.95" in text
    assert "about 0.15 in place of 0.19" in text
    assert "what chance did to the retrained models" in text
    assert "before default settings, all setups 32 64 2846 12 min 49 s" in text
    assert DIGITS.machine.processor in text
    assert "Unlearning had no limit of time. Tuned rows: 6 trials of 4 models" in text
    assert "Who wrote which digit is not known" in text


def test_every_row_tells_each_experiment(pages: dict[str, str]) -> None:
    row = next(row for row in the_task(DIGITS).tables[0].rows if row.place == 1)
    each = ", ".join(f"{value:.4f}"[:6] for value in row.measures["official"].each)
    assert each[:5] in words(pages["digits"])


def test_memory_decides_whether_a_table_counts_and_strength_is_a_label(pages: dict[str, str]) -> None:
    table = the_task(SEEDS).tables[0]
    assert (table.memory, table.stronger) == (True, True)
    memory, stronger = strength(table)
    assert memory.startswith("Memory is shown: over seeds, the forget gap of the originals is")
    assert stronger.startswith("Stronger than filling: yes (by 20 % or more). Hole error of the originals")
    weak = table.model_copy(update={"memory": False, "stronger": False})
    memory, stronger = strength(weak)
    assert memory.endswith("tell nothing of forgetting.")
    assert stronger.startswith("Stronger than filling: no")
    unknown = table.model_copy(update={"fills": {}})
    assert "not known" in strength(unknown)[1]
    assert strength(the_task(DIGITS).tables[0]) == []


def said_of(word: str, reason: str, **changes: object) -> Verdict:
    nothing = {"word": "not measured", "more": {}, "times": {}}
    gap = {"value": -0.05, "low": -0.06, "high": -0.04}
    numbers = {
        "figure": "hole_mse", "better": "down", "margin": 0.25, "ruin": 1.5, "photos": {"forget": 60}, "kept": {},
        "models": ["original", "unlearned", "retrained"], "gap": gap, "to_retrained": gap, "to_original": gap, "left": gap,
        "reference": nothing, "specific": nothing, "probes": {}, "word": word, "reason": reason,
    }  # fmt: skip
    return Verdict.model_validate({**numbers, **changes})


def test_the_head_says_of_memory_what_the_verdicts_below_say(tmp_path: Path) -> None:
    ((name, task),) = SEEDS.tasks.items()
    first = task.tables[0]
    verdicts = {"original": said_of("no", "As before."), "retrained": None}
    partly = said_of("partly", "It lies between.")
    rows = [row.model_copy(update={"verdict": verdicts.get(row.label, partly)}) for row in first.rows]
    (shown, _) = strength(first.model_copy(update={"rows": rows}))
    assert "over photos, their figure less the retrained models' is −0.0500 (−0.0600 to −0.0400)" in shown
    unsure = rows[0].measures["forget_gap"].model_copy(update={"low": -0.4, "high": 0.1, "value": -0.15})
    rows = [untold(row, unsure) for row in rows]
    table = first.model_copy(update={"rows": rows, "memory": False})
    (shown, _) = strength(table)
    why = "No memory was shown: over seeds, the forget gap of the originals is −0.150 (−0.400 to 0.100)."
    assert shown == f"{why} The figures below tell nothing of forgetting."
    assert {row.verdict and (row.verdict.word, row.verdict.reason, row.verdict.left) for row in rows} == {
        None, ("cannot be told", why, None),
    }  # fmt: skip
    tables = {name: task.model_copy(update={"tables": [table, *task.tables[1:]]})}
    text = write_markdown(SEEDS.model_copy(update={"tasks": tables}), tmp_path).read_text(encoding="utf-8")
    assert "| # | row | settings | is it gone? |" in text
    assert f"| 1 | {rows[2].label} | default | cannot be told |" in text
    ruined = said_of("ruined", "Noise.")
    assert ruined.without_memory("so it is") == ruined


def test_generators_with_few_seeds_have_no_score_and_say_so(pages: dict[str, str]) -> None:
    assert "There is no forgetting score: it needs 8 models or more." in words(pages["seeds"])
    assert "F robust" not in words(pages["seeds"])
    text = words(pages["scored"])
    assert "F is the forgetting score of 32 unlearned and 32 retrained models" in text
    assert "rank by robust F rank by |forget gap|" in text


def test_charts_tell_what_they_draw(pages: dict[str, str]) -> None:
    def titles(name: str) -> list[str]:
        return [words(found) for found in re.findall(r"<figcaption>(.*?)</figcaption>", pages[name])]

    assert titles("digits") == [
        "F, official, with its interval",
        "F, robust, with its interval",
        "tau-b of each pair, with intervals over methods",
    ]
    assert titles("seeds") == [
        "Cost on retain images, and distance from the retrained model",
        "Relearning: fine-tuned on retain images",
        "Relearning: fine-tuned on a few forget images, the others measured",
    ]
    best = the_task(SEEDS).tables[0].rows[2]
    assert f"{best.label}: " in unescape(pages["seeds"])
    # each corruption has its own plane of costs
    assert titles("several").count("Cost on retain images, and distance from the retrained model") == 2


def test_every_column_says_its_goal_and_forget_columns_look_to_retraining() -> None:
    parts = {part.title: part for part in tables_of(SEVERAL, next(iter(SEVERAL.tasks.values())).tables[0])}
    goals = {column.name: column.goal for part in parts.values() for column in part.columns}
    assert goals["kernel_distance_forget"] == "as retrained"
    assert goals["kernel_distance_neutral"] == "down"
    assert goals["feature_cosine_retain"] == "up"
    # what no row has a figure of has no column
    assert "inception_score_forget" not in goals
    assert list(parts) == ["Forgetting", "What it cost", "Quality of what is restored"]


def test_the_csv_has_every_figure(tmp_path: Path) -> None:
    for results in (DIGITS, SEEDS):
        lines = list(csv.DictReader(write_csv(results, tmp_path).read_text(encoding="utf-8").splitlines()))
        task = the_task(results)
        figures_ = sum(len(row.measures) for table in task.tables for row in table.rows)
        levels = sum(3 for _ in task.levels)
        extra = sum(bool(row.failed) + bool(row.cut) for table in task.tables for row in table.rows)
        assert len(lines) == figures_ + levels + extra
    row = the_task(SEEDS).tables[0].rows[2]
    (line,) = [one for one in lines if (one["row"], one["measure"]) == (row.label, "forget_gap")]
    found = row.measures["forget_gap"]
    assert (float(line["mean"]), float(line["low"]), float(line["each_1"])) == (
        found.value, found.low, found.each[1],
    )  # fmt: skip
    assert (line["corruption"], line["set"], line["settings"]) == ("centre:0.5", "forget", "default")


def test_the_markdown_table_has_as_many_cells_in_each_line(tmp_path: Path) -> None:
    text = write_markdown(changed(DIGITS, label=HOSTILE), tmp_path).read_text(encoding="utf-8")
    table = [line for line in text.split("\n") if line.startswith("|")]
    rows = len(the_task(DIGITS).tables[0].rows)
    assert len({len(re.split(r"(?<!\\)\|", line)) for line in table[: rows + 3]}) == 1
    assert "\u202e" not in text
    assert "compares a pool with itself" in text
    assert "| reuse-n-1, official F | reuse-n-1, robust F | 24 | 0.85 | 0.72 to 0.95 |" in text


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    page = page_of(changed(SEEDS, label=HOSTILE), tmp_path)
    assert "<script" not in page
    assert "\u202e" not in page


def test_the_page_tells_of_cut_and_failed_runs(tmp_path: Path) -> None:
    facts = {"measures": {}, "place": None, "runs": 64, "failed": 64, "reason": "no\nwings"}
    found = changed(DIGITS, **facts, failure_file="pools/digits/0.failed.json", cut=3)
    text = words(page_of(found, tmp_path))
    assert "cut at the limit in 3 of 64 runs; failed in 64 of 64 runs: no wings" in text
    assert "kept in pools/digits/0.failed.json, tried a second time with --retry-failed" in text


def a_row(**facts: object) -> BenchRow:
    return BenchRow.model_validate({"label": "fine-tune", "kind": "method", "settings": "default", **facts})


def test_remarks_tell_what_is_odd_about_a_row() -> None:
    assert remarks(a_row()) == ""
    assert remarks(a_row(alike=True)) == "measured: its runs from one original are all alike"
    both = a_row(alike=True, deterministic=True)
    assert remarks(both) == "deterministic: its runs from one original are all alike"
    assert remarks(a_row(like_for_like=False)).endswith("single networks: no like for like")
    same = a_row(settings="default = tuned")
    assert remarks(same) == "the default settings were the best of all trials"


def test_a_value_in_few_signs() -> None:
    measures = {measure.name: measure for measure in DIGITS.measures}
    found = {
        name: Estimate(value=value, low=value / 2, high=value * 2, each=[value])
        for name, value in (("official", 0.0876), ("time_share", 0.25))
    }
    row = a_row().model_copy(update={"measures": found})
    assert cell(row, measures["official"]) == ("0.0876", "0.0438 to 0.1752")
    assert cell(row, measures["time_share"]) == ("25 %", None)
    assert cell(row, measures["robust"]) == ("none", None)
    for p, said in ((0.05, ("yes", "p = 0.050")), (0.2, ("no", "p = 0.20"))):
        tested = {"p": Estimate(value=p, low=None, high=None, each=[p])}
        assert cell(row.model_copy(update={"measures": tested}), apart_measures("")[0]) == said
    # a share of time means nothing for models that nobody unlearned
    assert cell(row.model_copy(update={"kind": "original"}), measures["time_share"]) == ("none", None)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.997, 0.9968, 0.9972), ("0.9970", "0.9968 to 0.9972")),
        ((0.997, 0.95, 1.04), ("0.997", "0.950 to 1.040")),
        ((0.0, 0.0, 0.0), ("0", "0 to 0")),
        ((1e-17, -0.01, 0.01), ("0", "−0.0100 to 0.0100")),
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
    assert figures(ScoreRange(value=value, low=low, high=high)) == expected


def test_results_of_another_layout_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bench_results(tmp_path)
    (tmp_path / "results.json").write_text('{"schema": 1}', encoding="utf-8")
    with pytest.raises(InputError, match="efface-bench/3") as caught:
        read_bench_results(tmp_path)
    assert any("kind" in problem for problem in caught.value.problems)
    (tmp_path / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"efface-bench/3|JSON"):
        read_bench_results(tmp_path)


def test_every_committed_result_is_read() -> None:
    for path in [*RESULTS.glob("generators/*.json"), *RESULTS.glob("bench_*/results.json")]:
        assert read_bench_results(path).tasks
