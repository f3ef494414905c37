"""The end of every job: what is removed, the record, card and page, the seal. And what later commands renew of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from efface.documents import yaml_text
from efface.errors import InputError, Mismatch
from efface.evaluation.results import read_results
from efface.files import json_text
from efface.progress import Progress
from efface.reports.card import cards_of, write_cards
from efface.reports.page import NAME as PAGE
from efface.reports.page import report_text, write_report
from efface.runs.config import JobConfig
from efface.runs.digests import RESULT_FILES, file_digests
from efface.runs.environment import environment
from efface.runs.erasing import living_on, purge, working_entries, working_files
from efface.runs.folder import RunFolder, open_run, read_state
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
    record_text,
    with_digest,
    write_record,
)
from efface.runs.results import FinishedRun
from efface.runs.seal import (
    finish_renewal,
    is_as_sealed,
    is_sealed,
    read_seal,
    renew,
    stage_renewal,
    write_seal,
)
from efface.runs.state import RemovalPart, StartedPart
from efface.wording import counted

CLOCK = f"by this machine's clock the run was started at {{}} and finished at {{}}: {CLOCK_SET_BACK}"


def conclude(config: JobConfig, run: RunFolder, progress: Progress, stated: Statement) -> None:
    """Purge the working files unless they are to be kept, write record, card and page, and last of all seal the run.

    What will be removed is listed before anything is, so that a record written after a kill counts it too.
    """
    if config.keep_working_files:
        run.finish(removal := run.finished(RemovalPart) or RemovalPart())
    else:
        run.finish(removal := _removal(run))
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
    record = write_record(run.path, record)
    write_cards(run.path, record)
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
            f"{counted(len(purge(path)), 'working file')} removed from {path}. Its record.json is not the one that was "
            "sealed, so it was left as it is"
        )
    if is_sealed(path) and not working_files(path):
        written = read_record(path).working_files
        if not written.kept:
            return written
    removal, record = _removal(run), read_record(path) if is_sealed(path) else None
    if record is None:
        run.finish(removal)
    else:
        # what is to be removed is written down before anything is, and stands in its place afterwards
        state = json_text({**read_state(path), removal.part: removal.as_dict()})
        _stage_purge(path, record, removal, [], {"state.json": state})
    purge(path)
    finish_renewal(path)
    left = working_files(path)
    if record and left:
        _stage_purge(path, record, removal, left, {})
        finish_renewal(path)
    return _purged(removal, left, record.finished if record else "")


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
    if not all(is_as_sealed(path, name) for name in ("record.json", "config.yaml")):
        raise Mismatch(
            f"record.json or config.yaml of {path} is not what was sealed: both were left as they are"
        )
    facts = record.config.model_copy(update={"names": CONFIG_PURGED, "purged": now()})
    texts = _told(path, record.model_copy(update={"config": facts}))
    renew(path, "efface purge --config", now(), {"config.yaml": yaml_text(config), **texts})


def _purged(removal: RemovalPart, left: list[str], finished: str) -> WorkingFiles:
    return WorkingFiles(
        kept=left,
        removed=len(removal.files),
        living_on=len(removal.living_on),
        purged=max(finished, now()),
    )


def _stage_purge(
    path: Path, record: Record, removal: RemovalPart, left: list[str], more: Mapping[str, str]
) -> None:
    """Get record and page ready that tell of a removal."""
    facts = _purged(removal, left, record.finished)
    texts = _told(path, record.model_copy(update={"working_files": facts}))
    stage_renewal(path, "efface purge", now(), {**texts, **more})


def _removal(run: RunFolder) -> RemovalPart:
    """What is about to be removed, beside what an interrupted removal listed before."""
    before, entries = run.finished(RemovalPart) or RemovalPart(), working_entries(run.path)
    return RemovalPart(
        files=sorted({*before.files, *(entry.name for entry in entries)}),
        living_on=sorted({*before.living_on, *living_on(entries)}),
    )


def _told(path: Path, record: Record) -> dict[str, str]:
    """The text of a record with its digest, and of the card and the page that name it, where the run has them; by name."""
    record = with_digest(record)
    texts = {"record.json": record_text(record)}
    texts |= {name: text for name, text in cards_of(path, record).items() if (path / name).exists()}
    if (path / PAGE).exists():
        texts[PAGE] = report_text(replace(FinishedRun.read(path), record=record))
    return texts


def renew_report(path: Path) -> Path:
    """Write the page of a finished run anew, and its models' cards, and note it in the seal; returns the page."""
    read_seal(path)
    page = report_text(FinishedRun.read(path))
    cards = cards_of(path, read_record(path))
    there = {name: text for name, text in cards.items() if (path / name).parent.is_dir()}
    renew(path, "efface report", now(), {PAGE: page, **there})
    return path / PAGE


def begin(run: RunFolder) -> None:
    """Remember when the run was started first."""
    if run.finished(StartedPart) is None:
        run.finish(StartedPart(at=now()))


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
