"""Page and card of a run made anew from its record and figures, and held against those that lie there.

Every word and figure is compared, and what a chart says in words; how its curves are drawn is matplotlib's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from efface.errors import InputError
from efface.reports.canvas import UNDRAWN
from efface.reports.card import NAME as CARD
from efface.reports.card import card_of, further_card, further_name
from efface.reports.page import NAME as PAGE
from efface.reports.page import report_text
from efface.runs.environment import source_state
from efface.runs.record import Record, read_record
from efface.runs.results import FinishedRun
from efface.runs.seal import read_seal
from efface.runs.verification import Check

CHART = re.compile(rb'(<svg role="img" aria-label="[^"]*")[^>]*>.*?</svg>', re.DOTALL)


@dataclass(frozen=True)
class _Text:
    """A text that is made of a run: how a check names it, of which files, and by what."""

    what: str
    of: Sequence[str]
    make: Callable[[Path, Record], str]


TEXTS: Mapping[str, _Text] = {
    PAGE: _Text(
        "the page",
        ("record.json", "results.json", "per_image.csv", "worst.json", "probes.json", "verdict.json",
         "requirements.json", "log.jsonl", PAGE),
        lambda run, _: report_text(FinishedRun.read(run)),
    ),
    CARD: _Text("the model card", ("record.json", "results.json", "probes.json", CARD), card_of),
}  # fmt: skip


def check_texts(run: Path, checks: Sequence[Check]) -> Iterator[Check]:
    """A check of each text that the run has. checks: those of its files, of which only whole ones are compared."""
    spoilt = {check.what for check in checks if check.outcome != "matches"}
    for name, text in {**TEXTS, **_further(run)}.items():
        others = sorted(spoilt.intersection(text.of))
        if others:
            yield Check(text.what, "not checked", f"not those of the run: {', '.join(others)}")
        elif (run / name).is_file():
            yield _checked(run, name, text)


def _further(run: Path) -> dict[str, _Text]:
    """The cards of models that were kept on the way."""
    try:
        kept = read_record(run).model.path
    except InputError:
        return {}
    return {
        further_name(name): _Text(
            f"the card of path/{name}/",
            ("record.json", further_name(name)),
            lambda _, record, name=name: further_card(record, name),  # type: ignore[misc]
        )
        for name in kept
    }


def _checked(run: Path, name: str, text: _Text) -> Check:
    try:
        record = read_record(run)
        there, token = (run / name).read_bytes(), UNDRAWN.set(True)
        try:
            anew = text.make(run, record)
        finally:
            UNDRAWN.reset(token)
    except (InputError, OSError) as error:
        return Check(text.what, "not checked", str(error))
    if record.digest.encode() not in there:
        return Check(text.what, "differs", f"{name} does not carry the digest of this record")
    if _words(there) == _words(anew.encode("utf-8", "backslashreplace")):
        return Check(text.what, "matches")
    source = source_state()
    renewed = any(name in one.files for one in read_seal(run).renewals)
    if renewed or source.changed or source != record.environment.source:
        return Check(text.what, "not checked", "another version of efface wrote it")
    return Check(text.what, "differs", f"{name} does not say what record and figures say")


def _words(page: bytes) -> bytes:
    """A page without what is drawn in its charts."""
    return CHART.sub(rb"\1>", page)
