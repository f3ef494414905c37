"""A run folder by hand and its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from efface.evaluation.results import Row
from efface.reports.page import write_report
from support.report_runs import Page, a_record, write_sealed


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Page]:
    """`report(rows, record, worst, log)` writes a run folder and returns its page, which must be well formed."""

    def written(
        rows: list[Row],
        record: dict[str, Any] | None = None,
        worst: list[Any] | None = None,
        log: str | None = None,
    ) -> Page:
        (tmp_path / "results.json").write_text(json.dumps([asdict(entry) for entry in rows]))
        if worst is not None:
            (tmp_path / "worst.json").write_text(json.dumps(worst))
        if log is not None:
            (tmp_path / "log.jsonl").write_text(log)
        if record and "digest" in record:
            (tmp_path / "record.json").write_text(json.dumps(record))
        else:
            write_sealed(tmp_path, record or a_record())
        page = Page(write_report(tmp_path).read_bytes().decode("utf-8"))
        assert not page.faults
        return page

    return written
