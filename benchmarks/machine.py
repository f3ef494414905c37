"""What every benchmark's result carries: the machine, the command, and ratios of paired measurements."""

from __future__ import annotations

import argparse
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from efface.files import write_json
from efface.runs.environment import environment

RESULTS = Path(__file__).parent / "results"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks have."""
    parser.add_argument("--smoke", action="store_true", help="tiny, in seconds, only to see that it runs")
    parser.add_argument("--out", type=Path, help="folder of the result; default: benchmarks/results")


def finish(name: str, values: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the result. That of a smoke test is no result: it is only written where `--out` says."""
    if options.smoke and options.out is None:
        for key, value in values.items():
            print(f"{key}: {value}")
        return
    write_result(f"{name}_smoke" if options.smoke else name, values, options.out)


def write_result(name: str, values: dict[str, Any], folder: Path | None = None) -> None:
    """Write the result file, and print the values."""
    result_file(name, values, folder)
    for key, value in values.items():
        print(f"{key}: {value}")


def result_file(name: str, values: dict[str, Any], folder: Path | None = None) -> None:
    """Write `benchmarks/results/NAME.json`, or in another folder."""
    machine = environment().as_dict()
    machine.pop("source")
    result = {
        "benchmark": name,
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_shown, sys.argv[1:])]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        **values,
    }
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", result)


def _shown(argument: str) -> str:
    """An argument of the command; of a path only its last part, because results carry no paths."""
    return Path(argument).name if "/" in argument else argument


def spread(values: list[float]) -> dict[str, float]:
    """Smallest, median and largest of `values`."""
    return {
        "min": round(min(values), 4),
        "median": round(statistics.median(values), 4),
        "max": round(max(values), 4),
    }


def ratios(slow: list[float], fast: list[float]) -> dict[str, float]:
    """The ratios slow / fast of measurements taken in turn, pair by pair."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)])
