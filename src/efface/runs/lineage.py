"""Where a model comes from: the unlearning runs behind it, one deletion request after another, followed back by records.

Each run names the model that it began with, by place in its config and by its weights' digest in its record. Where that
model is another run's, and both records agree on its weights, the chain goes on. Records and result files are checked
against their digests; model files are not read (`efface verify RUN` does that).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.evaluation.drift import History, Remeasured, Request
from efface.evaluation.results import Row, find, read_results
from efface.files import refuse_absent, sha256_of_file
from efface.metrics.catalogue import HOLE_ERROR
from efface.runs.ancestry import behind, run_of, weights_after
from efface.runs.record import Record, is_intact, read_record


@dataclass(frozen=True)
class Link:
    """One unlearning run: its request, its method, how many images it forgot, and what it measured.

    left_out: images of its sets that earlier requests had forgotten, and their near-copies, which it therefore left out.
    before, after: weights digests of the models that it began with and left.
    """

    run: Path
    request: str | None
    finished: str
    method: str
    claim: str
    forgotten: int
    left_out: int
    before: str
    after: str
    corruption: str | None
    measured: Request

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        plain = {name: value for name, value in vars(self).items() if name != "measured"}
        figures = {"retain_cost": self.measured.cost, "forget_gap": self.measured.gap}
        return {**plain, "run": str(self.run), **figures, "not_met": list(self.measured.unmet)}


@dataclass(frozen=True)
class Lineage:
    """A chain of unlearning runs, oldest first, and where it begins, in words.

    whole: whether that is a beginning (a training, a retraining, or a model that no run made) rather than a place where
    the chain cannot be followed. breaks: what does not fit together on the way.
    """

    links: tuple[Link, ...]
    begins: str
    whole: bool
    breaks: tuple[str, ...] = ()

    def history(self, evaluations: Iterable[Path] = ()) -> History:
        """What `evaluation.drift.retrain_due` judges.

        evaluations: evaluation runs of the latest model. One whose original is the chain's first gives the cost measured
        directly; forget images in any give how those stand now. Raises `InputError` for one of another model, or whose
        results were changed.
        """
        direct, earlier = None, list[Remeasured]()
        for number, run in enumerate(map(Path, evaluations), 1):
            record, rows = read_record(run), read_results(run)
            if record.sources.get("unlearned") != self.links[-1].after:
                raise InputError(
                    f"{run} is no evaluation of this model: its unlearned model has other weights; evaluate the latest "
                    "model with `efface evaluate --original FIRST --unlearned LATEST`"
                )
            if not _intact(run, record):
                raise InputError(
                    f"{run}/results.json is not the one of which the record speaks: evaluate again"
                )
            if record.sources.get("original") == self._first():
                before, after = _value(rows, "original", "retain"), _value(rows, "unlearned", "retain")
                direct = after / before if before and after else direct
            now = _value(rows, "unlearned", "forget")
            if now is not None:
                earlier.append(
                    Remeasured(f"evaluation {number}", now, retrained=_value(rows, "retrained", "forget"))
                )
        return History(tuple(self._numbered()), direct, tuple(earlier), self.whole)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        links = [link.as_dict() for link in self.links]
        return {"requests": links, "begins": self.begins, "whole": self.whole, "breaks": list(self.breaks)}

    def _numbered(self) -> Iterator[Request]:
        """The requests by number and id: an advice may stand on a page that is handed out, which names no folder."""
        for number, link in enumerate(self.links, 1):
            name = f"request {number}" + (f" ({link.request})" if link.request else "")
            yield replace(link.measured, name=name)

    def _first(self) -> str:
        """Weights of the model that drift is counted from."""
        fresh = [link.after for link in self.links if link.measured.fresh]
        return fresh[-1] if fresh else self.links[0].before


def follow(path: Path) -> Lineage:
    """The chain behind `path`: a finished unlearning run, its `model`, or a further model in its `path/NAME`.

    Raises `InputError` if it is none. What cannot be followed further back is said in the result and raises nothing.
    """
    refuse_absent(path)
    run, part = run_of(Path(path))
    if run is None:
        raise InputError(
            f"{path} is no finished run, nor the model of one: there is no record.json beside it"
        )
    record = read_record(run)
    if record.kind != "unlearning":
        raise InputError(f"{run} is a run of kind {record.kind}; a chain ends in an unlearning run")
    links, breaks, visited = list[Link](), list[str](), set[Path]()
    while True:
        visited.add(run.resolve())
        breaks += _altered(run, record)
        links.append(_link(run, record, part))
        earlier = behind(run, record, visited)
        breaks += earlier.breaks
        if earlier.run is None or earlier.record is None or earlier.whole or earlier.breaks:
            break
        run, record, part = earlier.run, earlier.record, earlier.part
    return Lineage(tuple(reversed(links)), earlier.words, earlier.whole, tuple(reversed(breaks)))


def _link(run: Path, record: Record, part: str | None) -> Link:
    before, after, method = record.model.before, weights_after(record, part), record.method
    if before is None or after is None or method is None:
        raise InputError(
            f"{run}/record.json is damaged: an unlearning run has a method, and models before and after"
        )
    return Link(
        run,
        record.request.id if record.request else None,
        record.finished,
        method.name,
        record.claim.level,
        record.images.count("forget"),
        sum(request.left_out for request in record.images.earlier.requests),
        before.weights,
        after,
        record.corruption,
        _measured(run, record, part),
    )


def _measured(run: Path, record: Record, part: str | None) -> Request:
    """The run's figures; none of a further model, which its run did not measure, nor of altered result files."""
    outcomes = record.requirements.outcomes if record.requirements else []
    unmet, unmeasured = (
        tuple(outcome.requirement for outcome in outcomes if outcome.state == state)
        for state in ("not met", "not measurable")
    )
    rows = [] if part or not _intact(run, record) else read_results(run)
    return Request(
        run.name,
        _value(rows, "original", "retain"),
        _value(rows, "unlearned", "retain"),
        _value(rows, "unlearned", "forget"),
        _value(rows, "retrained", "forget"),
        record.claim.level != "empirical",
        unmet,
        unmeasured,
    )


def _value(rows: list[Row], model: str, set_name: str) -> float | None:
    row = find(rows, model, set_name, HOLE_ERROR)
    return row.value if row else None


def _intact(run: Path, record: Record) -> bool:
    path, digest = run / "results.json", record.results.files.get("results.json") if record.results else None
    return digest is not None and path.is_file() and sha256_of_file(path) == digest


def _altered(run: Path, record: Record) -> list[str]:
    breaks = []
    if not is_intact(run):
        breaks.append(f"{run}/record.json was changed after it was written")
    if record.kind == "unlearning" and not _intact(run, record):
        breaks.append(
            f"{run}/results.json is not the one of which the record speaks; its figures are not used"
        )
    return breaks
