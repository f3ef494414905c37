"""The end of every job: what is removed, the record, the page, the seal. And what later commands renew of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from efface.errors import Mismatch
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
from efface.runs.seal import is_as_sealed, is_sealed, read_seal, renew, write_seal
from efface.runs.state import RemovalPart, StartedPart


def conclude(config: JobConfig, run: RunFolder, progress: Progress, stated: Statement) -> None:
    """Purge the working files unless they are to be kept, write record and page, and last of all seal the run.

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
    write_seal(run.path, run.key, now())


def record_purge(path: Path) -> list[str]:
    """Remove the working files of a run; record, page and seal of a finished one say so afterwards.

    Raises `Mismatch` where the record is not the one that was sealed: the files are removed, and nothing is written.
    """
    removed = purge(path)
    if is_sealed(path):
        if not is_as_sealed(path, "record.json"):
            raise Mismatch(
                f"{len(removed)} working files removed from {path}. Its record.json is not the one that was sealed, so "
                "it was left as it is"
            )
        record = read_record(path)
        count = record.working_files.removed + len(removed)
        working = WorkingFiles(kept=[], removed=count, purged=now())
        write_record(path, record.model_copy(update={"working_files": working}))
        pages = [write_report(path).name] if (path / "report.html").exists() else []
        renew(path, "efface purge", now(), "record.json", *pages)
    return removed


def renew_report(path: Path) -> Path:
    """Write the page of a finished run anew, and note it in the seal; returns the page."""
    read_record(path)
    read_seal(path)
    page = write_report(path)
    renew(path, "efface report", now(), page.name)
    return page


def begin(run: RunFolder) -> None:
    """Remember when the run was started first."""
    if run.finished(StartedPart) is None:
        run.finish(StartedPart(at=now()))


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
