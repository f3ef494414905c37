"""The tables of `benchmark.md` and `README.md`, from the results of the benchmarks of classifiers.

A table's name is a folder in `benchmarks/results/`, perhaps with `short` for the few rows and columns of the README.
"""

from __future__ import annotations

from efface.benchmark.results import BenchRow, Estimate, read_bench_results
from efface.wording import with_interval
from making.pictures import RESULTS

TUNED, DEFAULT = "tuned", "default"
ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    "bench_digits": (
        ("retrained", "reference"),
        ("eu-k", TUNED),
        ("sun", TUNED),
        ("seif", TUNED),
        ("eu-k", DEFAULT),
        ("random-mask", TUNED),
        ("random-labels", TUNED),
        ("kookmin", TUNED),
        ("bad-teacher", TUNED),
        ("scrub", TUNED),
        ("fisher-forgetting", "default = tuned"),
        ("fine-tune", TUNED),
        ("kookmin", DEFAULT),
        ("fine-tune", DEFAULT),
        ("scrub", DEFAULT),
        ("seif", DEFAULT),
        ("original", "reference"),
    ),
    "bench_digits short": (
        ("eu-k", TUNED),
        ("seif", TUNED),
        ("bad-teacher", TUNED),
        ("fine-tune", DEFAULT),
        ("original", "reference"),
    ),
    "bench_faces_age_small": (
        ("retrained", "reference"),
        ("seif", DEFAULT),
        ("fine-tune", DEFAULT),
        ("kookmin", DEFAULT),
        ("ct", DEFAULT),
        ("original", "reference"),
        ("gradient-ascent", DEFAULT),
    ),
}
COLUMNS = {
    "official": ("F official", 3),
    "robust": ("F robust", 2),
    "p": ("told apart, p", 3),
    "shift": ("equivalent shift", 2),
    "u_lira": ("U-LiRA AUC", 2),
    "retain_ratio": ("retain", 2),
    "test_ratio": ("test", 2),
}
NAMES = {"retrained": "retrained (reference)", "original": "original (doing nothing)"}


def table(name: str) -> str:
    """The rows that `ROWS` names, with intervals where there is more than one original."""
    (task,) = read_bench_results(RESULTS / name.split(" ", maxsplit=1)[0] / "results.json").tasks.values()
    rows = {(row.label, row.settings): row for row in task.tables[0].rows}
    there = {one for row in rows.values() for one in row.measures}
    columns = {
        one: COLUMNS[one] for one in COLUMNS if one in there and ("short" not in name or one != "u_lira")
    }
    lines = [
        "| method | settings | " + " | ".join(title for title, _ in columns.values()) + " | time |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for label, settings in ROWS[name]:
        row = rows[label, settings]
        cells = [_estimate(row.measures.get(one), digits) for one, (_, digits) in columns.items()]
        told = "" if settings == "reference" else settings
        lines.append(
            f"| {NAMES.get(label, f'`{label}`')} | {told} | " + " | ".join([*cells, _time(row)]) + " |"
        )
    if "short" not in name and not any("p" in row.measures for row in rows.values()):
        lines += [
            "",
            "Whether each is told apart from retraining, and by how much, was not kept with these results.",
        ]
    return "\n".join(lines) + "\n"


def _estimate(found: Estimate | None, digits: int) -> str:
    if found is None:
        return ""
    return with_interval(found.value, found.low, found.high, digits)


def _time(row: BenchRow) -> str:
    return f"{row.measures['time_share'].value:.0%}" if row.kind == "method" else ""
