"""The frame of every job that writes a run folder: lock, log, and what a full disk or lost right means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from efface.errors import InputError, Stopped
from efface.evaluation.results import read_results
from efface.jobs.limits import limits_of
from efface.progress import Progress
from efface.reports.page import write_report
from efface.runs.environment import environment
from efface.runs.folder import STARTED, RunFolder, purge, working_files
from efface.runs.record import RESULT_FILES, file_digests, read_record, write_record


@contextmanager
def run_folder(
    config: Any, out: Path, progress: Progress | None, first: bool = True
) -> Iterator[tuple[RunFolder, Progress]]:
    """Hold `out` for the run of `config` while the block runs; only the first process writes and speaks.

    A fault of the file system becomes `Stopped`: what was finished is kept. Wrong input that is found before
    any part is finished leaves `out` as it was.
    """
    with RunFolder(Path(out), config.as_dict(), shared=not first) as run:
        spoken = (progress or Progress()) if first else Progress()
        try:
            yield run, spoken.logging_to(run.log) if first else spoken
        except InputError:
            run.abandon()
            raise
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise Stopped(
                f"stopped: {error.strerror or error}{where}. What was finished is kept in {out}; the same command "
                "continues once the cause is removed"
            ) from error


def conclude(config: Any, run: RunFolder, progress: Progress, facts: dict[str, Any]) -> dict[str, Any]:
    """Purge the working files unless they are to be kept, then write the record with `facts`."""
    removed = [] if config.keep_working_files else purge(run.path)
    progress.log("purge", removed=len(removed))
    measured = (run.path / "results.json").exists()
    rows = read_results(run.path) if measured else []
    return write_record(
        run.path,
        {
            **facts,
            "started": run.finished(STARTED),
            "finished": now(),
            "config": {"sha256": config.digest()},
            "results": {"files": file_digests(run.path, RESULT_FILES), "rows": len(rows)}
            if measured
            else None,
            "environment": environment(),
            "working_files": {"kept": working_files(run.path), "removed": len(removed)},
            "limits": limits_of(facts, rows),
        },
    )


def record_purge(path: Path) -> list[str]:
    """Remove the working files of a run; a finished run's record and page say so afterwards."""
    removed = purge(path)
    if (path / "record.json").exists():
        record = read_record(path)
        before = record["working_files"]
        record["working_files"] = {"kept": [], "removed": before["removed"] + len(removed), "purged": now()}
        write_record(
            path, {name: value for name, value in record.items() if name not in ("schema", "digest")}
        )
        if (path / "report.html").exists():
            write_report(path)
    return removed


def begin(run: RunFolder) -> None:
    """Remember when the run was started first."""
    if not run.finished(STARTED):
        run.finish(STARTED, now())


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
