"""The frame of every job that writes a run folder: lock, log, and what a full disk or lost right means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from efface.errors import InputError, Stopped
from efface.evaluation.results import read_results
from efface.progress import Progress
from efface.reports.page import write_report
from efface.runs.config import JobConfig
from efface.runs.digests import RESULT_FILES, file_digests
from efface.runs.environment import environment
from efface.runs.folder import RunFolder, purge, working_files
from efface.runs.limits import limits_of
from efface.runs.record import (
    ConfigFacts,
    Record,
    ResultsFacts,
    Statement,
    WorkingFiles,
    read_record,
    write_record,
)
from efface.runs.state import RecordedPart, RemovalPart, StartedPart


@contextmanager
def run_folder(
    config: JobConfig, out: Path, progress: Progress | None, first: bool = True
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


def conclude(config: JobConfig, run: RunFolder, progress: Progress, stated: Statement) -> None:
    """Purge the working files unless they are to be kept, write record and page, and seal the run.

    What will be removed is listed before anything is, so that a record written after a kill counts it too.
    """
    if run.finished(RemovalPart) is None:
        run.finish(RemovalPart(files=[] if config.keep_working_files else working_files(run.path)))
    removed = run.done(RemovalPart).files
    if not config.keep_working_files:
        purge(run.path)
    progress.log("purge", removed=len(removed))
    measured = (run.path / "results.json").exists()
    rows = read_results(run.path) if measured else []
    results = ResultsFacts(files=file_digests(run.path, RESULT_FILES), rows=len(rows)) if measured else None
    record = Record(
        **vars(stated),
        started=run.done(StartedPart).at,
        finished=now(),
        config=ConfigFacts(sha256=config.digest()),
        results=results,
        environment=environment(),
        working_files=WorkingFiles(kept=working_files(run.path), removed=len(removed)),
        limits=limits_of(stated, rows),
    )
    write_record(run.path, record)
    if measured:
        write_report(run.path)
    run.finish(RecordedPart())


def record_purge(path: Path) -> list[str]:
    """Remove the working files of a run; a finished run's record and page say so afterwards."""
    removed = purge(path)
    if (path / "record.json").exists():
        record = read_record(path)
        count = record.working_files.removed + len(removed)
        working = WorkingFiles(kept=[], removed=count, purged=now())
        write_record(path, record.model_copy(update={"working_files": working}))
        if (path / "report.html").exists():
            write_report(path)
    return removed


def begin(run: RunFolder) -> None:
    """Remember when the run was started first."""
    if run.finished(StartedPart) is None:
        run.finish(StartedPart(at=now()))


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
