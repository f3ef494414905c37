"""The training log of a run, read as a stream: damage is counted, and however long it is, what is kept is bounded."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import pytest

from efface.runs import log as module
from efface.runs.log import read_log


def line(step: int, phase: str = "unlearn", **values: object) -> str:
    return json.dumps({"event": "step", "phase": phase, "step": step, "steps": 9, **values}) + "\n"


def test_damaged_lines_are_counted_and_a_repeated_step_counts_as_done_last(tmp_path: Path) -> None:
    lines = [
        '{"event": "phase", "phase": "unlearn", "steps": 9}\n',
        line(1, loss=3.0, part=1.0),
        line(2, loss=2.0),
        "[1]\n",
        "[" * 5000 + "\n",
        "x" * (module.MOST_LINE + 5) + "\n",
        line(2, loss=1.5, part=None, name="text"),
        '{"event": "step", "phase": "unl',
    ]
    (tmp_path / "log.jsonl").write_text("".join(lines))
    log = read_log(tmp_path / "log.jsonl")
    assert log.damaged_lines == 4
    (steps,) = log.phases
    assert (steps.phase, steps.planned, steps.steps, steps.is_thinned) == ("unlearn", 9, [1, 2], False)
    assert steps.values["loss"] == [3.0, 1.5]
    assert list(steps.losses) == ["loss", "part"]
    assert math.isnan(steps.values["part"][1])
    assert read_log(tmp_path / "absent").phases == []


@pytest.mark.parametrize("every", [1, 7, 10])
def test_a_long_log_is_thinned_out_and_takes_bounded_memory(
    every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 64)
    with open(tmp_path / "log.jsonl", "w", encoding="utf-8") as file:
        file.writelines(
            line(1 + every * number, loss=float(number), **{f"n{number}": 1}) for number in range(3000)
        )
        file.writelines(line(1, phase=f"phase {number}") for number in range(300))
    tracemalloc.start()
    log = read_log(tmp_path / "log.jsonl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    steps = log.phases[0]
    assert steps.is_thinned
    assert 24 <= len(steps.steps) <= 64
    assert len({b - a for a, b in zip(steps.steps, steps.steps[1:], strict=False)}) == 1
    assert steps.values["loss"] == [(step - 1) / every for step in steps.steps]
    assert len(steps.values) <= module.MOST_VALUES
    assert len(log.phases) == module.MOST_PHASES
