"""The report: `RUN/report.html`, one page that needs nothing beside it and shows no picture of any set.

It is for the people who answer for a deletion, so the claim comes first, then what was measured against the
retrained model, then what was asked and done, what is not shown, and how to check it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from efface.files import write_text
from efface.reports.facts import digests, environment_facts, leftovers, request_facts, work_facts
from efface.reports.probe_tables import image_table, probe_sections, requirement_table
from efface.reports.run_charts import error_charts, loss_charts
from efface.reports.tables import set_tables, worst_tables
from efface.reports.verdict import headline_of
from efface.runs.record import Record
from efface.runs.results import FinishedRun
from efface.runs.words import WORDS, metrics_by_image
from efface.wording import moment, printable, sentence

NAME = "report.html"


def write_report(run: Path) -> Path:
    """Write `RUN/report.html` from the files of the run folder, atomically; returns its path.

    Raises `InputError` where the folder holds no record or no results, or one that cannot be read.
    """
    path = Path(run) / NAME
    write_text(path, report_text(FinishedRun.read(run)))
    return path


def report_text(run: FinishedRun) -> str:
    """The page of a finished run."""
    return render(NAME, **report_content(run))


def report_content(run: FinishedRun) -> dict[str, Any]:
    """What the template shows, as plain values."""
    record, evaluation = run.record, run.record.evaluation
    extractor = evaluation.extractor if evaluation else None
    kind = record.model_kind
    return {
        "title": _title(record),
        "request_id": record.request.id if record.request else None,
        "finished": record.finished,
        "claim": record.claim,
        "verdict": headline_of(
            run.verdict, run.rows, record.claim.level, record.retrained.stages if record.retrained else "all"
        ),
        "requirements": requirement_table(record.requirements),
        "probes": probe_sections(run.findings, {probe.name: probe.question for probe in record.probes}),
        "set_before": record.requirements.words if record.requirements else None,
        "substitute": record.substitute,
        "probe_notes": run.findings.notes,
        "images": image_table(run.by_image(metrics_by_image())),
        "mismatches": ", ".join(run.mismatches),
        "is_unlearning": record.method is not None,
        "asked": request_facts(record),
        "done": work_facts(record, run.log),
        "tables": set_tables(
            run.rows, kind, extractor.digest if extractor else "", record.images.proxy_retain
        ),
        "confidence": evaluation.settings.confidence if evaluation else None,
        "comparable_to": extractor.comparable_to if extractor else None,
        "has_retrained": any(row.model == "retrained" for row in run.rows),
        "words": WORDS[kind],
        "error_charts": error_charts(run.rows, kind),
        "phases": [(phase, loss_charts(phase, place)) for place, phase in enumerate(run.log.phases)],
        "damaged_lines": run.log.damaged_lines,
        "worst": worst_tables(run.worst),
        "limits": record.limits,
        "left": [leftovers(record.working_files)],
        "digests": digests(record),
        "record_digest": record.digest,
        "surroundings": environment_facts(record.environment),
        "schema": record.schema_name,
    }


def render(template: str, **content: Any) -> str:
    """The text of a template of this package. Every value is made printable, then escaped for HTML.

    Printable: line breaks, control and direction characters and lone surrogates appear as escapes such as
    `\\n` and `\\udcff`, so the text is always valid UTF-8 and reads in the order in which it is stored.
    """
    return _environment().get_template(f"{template}.j2").render(content)


@cache
def _environment() -> Environment:
    """The templates, each read once."""
    environment = Environment(
        loader=PackageLoader("efface.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    environment.filters |= {"moment": moment, "sentence": sentence}
    return environment


def _printable(value: Any) -> Any:
    return value if isinstance(value, Markup) else printable(str(value))


def _title(record: Record) -> str:
    return "Unlearning report" if record.method else "Evaluation report"
