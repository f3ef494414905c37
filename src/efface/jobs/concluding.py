"""The end of every job: what is removed, the record, the page, the seal. And what later commands renew of them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from efface.documents import yaml_text
from efface.errors import InputError, Mismatch
from efface.evaluation.results import read_results
from efface.files import write_text
from efface.progress import Progress
from efface.reports.page import write_report
from efface.runs.config import JobConfig
from efface.runs.digests import RESULT_FILES, file_digests
from efface.runs.environment import environment
from efface.runs.erasing import living_on, purge, sweep, working_entries, working_files
from efface.runs.folder import RunFolder, open_run
from efface.runs.limits import limits_of
from efface.runs.people import config_without_names
from efface.runs.record import (
    CLOCK_SET_BACK,
    CONFIG_NAMES,
    CONFIG_PURGED,
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

CLOCK = f"by this machine's clock the run was started at {{}} and finished at {{}}: {CLOCK_SET_BACK}"


def conclude(config: JobConfig, run: RunFolder, progress: Progress, stated: Statement) -> None:
    """Purge the working files unless they are to be kept, write record and page, and last of all seal the run.

    What will be removed is listed before anything is, so that a record written after a kill counts it too.
    """
    if config.keep_working_files:
        run.finish(removal := run.finished(RemovalPart) or RemovalPart())
    else:
        removal = _list_removal(run)
        purge(run.path)
    progress.log("purge", removed=len(removal.files))
    measured = (run.path / "results.json").exists()
    rows = read_results(run.path) if measured else []
    results = ResultsFacts(files=file_digests(run.path, RESULT_FILES), rows=len(rows)) if measured else None
    started, finished = run.done(StartedPart).at, now()
    if finished < started:
        stated = stated.model_copy(update={"notes": [*stated.notes, CLOCK.format(started, finished)]})
        finished = started
    record = Record(
        **vars(stated),
        started=started,
        finished=finished,
        config=ConfigFacts(sha256=config.digest(), names=CONFIG_NAMES),
        results=results,
        environment=environment(),
        working_files=WorkingFiles(
            kept=working_files(run.path), removed=len(removal.files), living_on=len(removal.living_on)
        ),
        limits=limits_of(stated, rows),
    )
    write_record(run.path, record)
    if measured:
        write_report(run.path)
    write_seal(run.path, run.key, max(finished, now()))


def record_purge(run: RunFolder) -> WorkingFiles:
    """Remove the working files of a run; record, page and seal of a finished one say so afterwards.

    Returns what became of all that were ever removed of it. Raises `Mismatch` where the record is not the one that was
    sealed: the files are removed, and nothing is written.
    """
    path = run.path
    if is_sealed(path) and not is_as_sealed(path, "record.json"):
        raise Mismatch(
            f"{len(purge(path))} working files removed from {path}. Its record.json is not the one that was sealed, so "
            "it was left as it is"
        )
    if is_sealed(path) and not working_files(path):
        written = read_record(path).working_files
        if not written.kept:
            return written
    removal = _list_removal(run)
    purge(path)
    working = WorkingFiles(
        kept=working_files(path),
        removed=len(removal.files),
        living_on=len(removal.living_on),
        purged=now(),
    )
    if is_sealed(path):
        record = read_record(path)
        working = working.model_copy(update={"purged": max(record.finished, now())})
        write_record(path, record.model_copy(update={"working_files": working}))
        pages = [write_report(path).name] if (path / "report.html").exists() else []
        renew(path, "efface purge", now(), "record.json", "state.json", *pages)
    return working


def purge_config(run: RunFolder) -> None:
    """Put keyed words in the place of names in the config of a finished run; record, page and seal say so afterwards.

    The run can then no longer be continued or rerun. Raises `InputError` for one that is not finished, and `Mismatch`
    where record or config are not those that were sealed.
    """
    path = run.path
    if not is_sealed(path):
        raise InputError(
            f"{path} is not finished, and goes on by its config: finish it first, or remove the folder"
        )
    record = read_record(path)
    if record.config.purged:
        return
    before = open_run(path)
    config = config_without_names(before, run.key)
    sealed = {name: is_as_sealed(path, name) for name in ("record.json", "config.yaml")}
    # an interrupted purge has written the config and nothing else
    if not sealed["record.json"] or not (sealed["config.yaml"] or config == before):
        raise Mismatch(
            f"record.json or config.yaml of {path} is not what was sealed: both were left as they are"
        )
    if config != before:
        os.link(path / "config.yaml", path / ".config.yaml.before.tmp")
        write_text(path / "config.yaml", yaml_text(config))
        sweep(path)
    facts = record.config.model_copy(update={"names": CONFIG_PURGED, "purged": now()})
    write_record(path, record.model_copy(update={"config": facts}))
    pages = [write_report(path).name] if (path / "report.html").exists() else []
    renew(path, "efface purge --config", now(), "config.yaml", "record.json", *pages)


def _list_removal(run: RunFolder) -> RemovalPart:
    """Note what is about to be removed, beside what an interrupted removal listed before."""
    before, entries = run.finished(RemovalPart) or RemovalPart(), working_entries(run.path)
    removal = RemovalPart(
        files=sorted({*before.files, *(entry.name for entry in entries)}),
        living_on=sorted({*before.living_on, *living_on(entries)}),
    )
    run.finish(removal)
    return removal


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
