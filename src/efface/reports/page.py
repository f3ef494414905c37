"""The report: `RUN/report.html`, one page that needs nothing beside it and shows no picture of any set.

It is for the people who answer for a deletion, so the claim comes first, then what was measured against the
retrained model, then what was asked and done, what is not shown, and how to check it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from efface.files import write_text
from efface.reports.account import asked, digests, done, left, surroundings
from efface.reports.kinds import WORDS, kind_of
from efface.reports.probe_tables import image_table, probe_sections, requirement_table
from efface.reports.run_charts import error_charts, loss_charts
from efface.reports.run_files import RunFiles
from efface.reports.tables import set_tables, worst_tables
from efface.reports.verdict import Verdict, verdict_of
from efface.wording import moment, printable, sentence

NO_CLAIM = {"level": "not stated", "words": "There is no record beside these results, so nothing is claimed."}


def write_report(run: Path) -> Path:
    """Write `RUN/report.html` from the files of the run folder, atomically; returns its path.

    Raises `InputError` where the folder holds no results, or a record or results that cannot be read. It
    works with sets, models, metrics, training log and record absent, and says so in the page.
    """
    run = Path(run)
    path = run / "report.html"
    write_text(path, render("report.html", **report_content(RunFiles.read(run))))
    return path


def report_content(files: RunFiles) -> dict[str, Any]:
    """What the template shows, as plain values."""
    record = files.record
    claim = files.section("claim") or NO_CLAIM
    evaluation = files.section("evaluation")
    extractor = evaluation.get("extractor") or {}
    extractor = extractor if isinstance(extractor, dict) else {"name": extractor}
    kind = kind_of(files.rows)
    return {
        "title": _title(files),
        "request_id": files.section("request").get("id"),
        "finished": record.get("finished"),
        "claim": claim,
        "verdict": _verdict(files, str(claim.get("level"))),
        "requirements": requirement_table(files.requirements),
        "probes": probe_sections(files.findings, _questions(files)),
        "set_before": files.section("requirements").get("words"),
        "substitute": record.get("substitute"),
        "probe_notes": files.findings.notes,
        "images": image_table(files.by_image),
        "mismatches": ", ".join(files.mismatches),
        "is_unlearning": _is_unlearning(files),
        "asked": asked(files),
        "done": done(files),
        "tables": set_tables(files.rows, str(extractor.get("digest", "")), bool(record.get("proxy_retain"))),
        "confidence": evaluation.get("confidence", 0.95),
        "comparable_to": extractor.get("comparable_to"),
        "has_retrained": any(row.model == "retrained" for row in files.rows),
        "words": WORDS[kind],
        "error_charts": error_charts(files.rows, kind),
        "phases": [(phase, loss_charts(phase, place)) for place, phase in enumerate(files.phases)],
        "damaged_lines": files.damaged_lines,
        "worst": worst_tables(files.worst),
        "limits": record.get("limits") or [],
        "left": left(files),
        "digests": digests(files),
        "record_digest": record.get("digest"),
        "surroundings": surroundings(files),
        "schema": record.get("schema"),
    }


def render(template: str, **content: Any) -> str:
    """The text of a template of this package. Every value is made printable, then escaped for HTML.

    Printable: line breaks, control and direction characters and lone surrogates appear as escapes such as
    `\\n` and `\\udcff`, so the text is always valid UTF-8 and reads in the order in which it is stored.
    """
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
    return environment.get_template(f"{template}.j2").render(content)


def _printable(value: Any) -> Any:
    return value if isinstance(value, Markup) else printable(str(value))


def _is_unlearning(files: RunFiles) -> bool:
    return bool(files.record.get("method"))


def _title(files: RunFiles) -> str:
    return "Unlearning report" if _is_unlearning(files) else "Evaluation report"


def _questions(files: RunFiles) -> dict[str, str]:
    """The question of each probe as it was asked."""
    asked = files.record.get("probes") or []
    return {str(one.get("name")): str(one.get("question") or "") for one in asked}


def _verdict(files: RunFiles, claim: str) -> Verdict:
    stages = str(files.section("retrained").get("stages") or "all")
    return verdict_of(files.rows, claim, stages)
