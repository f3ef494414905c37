"""Finished runs beside each other: whether they compare at all, and what each of them cost and reached."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from efface.errors import Faults, InputError
from efface.evaluation.results import SETS, Row, find
from efface.evaluation.settings import EvaluationSettings
from efface.files import canonical_json
from efface.metrics.intervals import FEWEST_GROUPS, bootstrap_difference, bootstrap_ratio
from efface.probes.findings import Finding
from efface.reports.found_files import ByImage, read_by_image
from efface.reports.kinds import kind_of
from efface.reports.run_files import RunFiles
from efface.reports.verdict import YARDSTICKS, Yardstick
from efface.wording import figure, printable, setting

SAME = 1e-3
"""Relative difference up to which one model's figures on the same images may differ between machines."""
OUTCOMES = (
    *("seconds_per_step", "resumed_from", "changed_tensors", "changed_parameters", "processes", "cut"),
    *("preparation_seconds", "preparation_steps", "threads"),
)
"""What the record tells of training that is no setting."""


class Change(NamedTuple):
    """How one thing stands to another, with the ends of its interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Run:
    """One of the runs: its number from 1, what it is called, its files and its single images' figures."""

    place: int
    name: str
    files: RunFiles
    by_image: ByImage

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"run {self.place} ({printable(self.name)})"

    @cached_property
    def settings(self) -> dict[str, str]:
        """Settings of method and training, flat, in words."""
        method, training = self.files.section("method"), self.files.section("training")
        kept = {name: value for name, value in training.items() if name not in OUTCOMES}
        return dict(_flat(method.get("settings") or {})) | dict(_flat(kept))

    def weights(self, which: str) -> str | None:
        """Digest of the weights of `original` or `retrained`; None where the record has none."""
        facts = (
            self.files.section("retrained")
            if which == "retrained"
            else self.files.section("model").get("before")
        )
        return (facts or {}).get("weights")

    def finding(self, name: str) -> Finding | None:
        """The unlearned model's figure of a probe."""
        return self.files.findings.find(name)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in the order given; raises `InputError` that names every folder that cannot be read."""
    folders = [Path(folder) for folder in folders]
    runs: list[Run] = []
    with Faults("these runs cannot be compared") as faults:
        if len(folders) < 2:
            faults.add("a comparison needs two runs or more")
        if len({folder.resolve() for folder in folders}) < len(folders):
            faults.add("the same run is named twice")
        for place, (folder, name) in enumerate(zip(folders, _names(folders), strict=True), 1):
            try:
                if not (folder / "record.json").exists():
                    faults.add(
                        f"{printable(str(folder))} holds no record.json: it is no run, or not finished"
                    )
                    continue
                files = RunFiles.read(folder)
                metric = yardstick_of(files.rows).metric if _measured(files.rows) else ""
                runs.append(Run(place, name, files, read_by_image(folder, [metric])))
            except InputError as error:
                faults.problems += error.problems
    return runs


def check_comparable(runs: Sequence[Run]) -> list[str]:
    """Raise `InputError` for runs whose figures do not compare; returns sentences on what else to keep in mind.

    Ids of images are keyed by each run, so that the sets are the same is checked by their counts and, where the runs
    began with the same weights, by that model's figures, which then must be the same.
    """
    first = runs[0]
    with Faults("these runs cannot be compared") as faults:
        for run in runs:
            if not _measured(run.files.rows):
                faults.add(f"{run.label} measured no unlearned model on forget images")
        for run in runs[1:]:
            mine, others = _conditions(run), _conditions(first)
            for name in others:
                if mine[name] != others[name]:
                    faults.add(f"{run.label}: {name}: {mine[name]}; in {first.label}: {others[name]}")
            if not faults and run.weights("original") == first.weights("original") is not None:
                for what in _other_figures(first, run):
                    faults.add(
                        f"{run.label}: {what}, though both began with the same weights: the images were not the same"
                    )
    return _cautions(runs)


def yardstick_of(rows: Sequence[Row]) -> Yardstick:
    """The measure by which the page speaks: the first that there is on forget images."""
    has = {row.metric for row in rows if row.set == "forget" and row.value is not None}
    return next(yardstick for yardstick in YARDSTICKS if yardstick.metric in has)


def change(run: Run, set_name: str, model: str, other: str) -> Change | None:
    """How `model` stands to `other` on a set: a ratio of mean errors, or for other measures their difference.

    The interval is a paired bootstrap over images, made as those of requirements (ratios) and of results (differences);
    there is none below five images. None where either model was not measured.
    """
    yardstick = yardstick_of(run.files.rows)
    mine, its = (find(run.files.rows, name, set_name, yardstick.metric) for name in (model, other))
    if mine is None or its is None or mine.value is None or its.value is None:
        return None
    if yardstick.is_ratio and its.value <= 0:
        return None
    value = mine.value / its.value if yardstick.is_ratio else mine.value - its.value
    one, two = run.by_image.of(model, set_name), run.by_image.of(other, set_name)
    names = [] if model == other else sorted(one.keys() & two.keys())
    interval = _interval(
        [one[name] for name in names], [two[name] for name in names], run, yardstick.is_ratio
    )
    return Change(value, *interval[1:]) if interval else Change(value)


def gap(found: Change, is_ratio: bool) -> Change:
    """How far a change is from none, with its ends: |ln ratio|, or |difference|."""
    value, low, high = (None if one is None else _log(one) if is_ratio else one for one in found)
    assert value is not None
    if low is None or high is None:
        return Change(abs(value))
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Change(abs(value), nearest, max(abs(low), abs(high)))


def differing_settings(runs: Sequence[Run]) -> list[dict[str, str]]:
    """For each run, its settings that not all runs share; a setting that only some have counts as differing."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    differing = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    return [{name: run.settings[name] for name in differing if name in run.settings} for run in runs]


def _interval(
    values: Sequence[float], others: Sequence[float], run: Run, is_ratio: bool
) -> Sequence[float] | None:
    evaluation = run.files.section("evaluation")
    said = {name: evaluation[name] for name in ("seed", "confidence", "resamples") if name in evaluation}
    if len(values) < FEWEST_GROUPS:
        return None
    settings = EvaluationSettings.read(said, where="the record's evaluation settings")
    interval = bootstrap_ratio if is_ratio else bootstrap_difference
    return interval(values, others, **settings.resampling)


def _measured(rows: Iterable[Row]) -> bool:
    known = {yardstick.metric for yardstick in YARDSTICKS}
    return any(
        row.model == "unlearned" and row.set == "forget" and row.metric in known and row.value is not None
        for row in rows
    )


def _conditions(run: Run) -> dict[str, str]:
    """What must be the same for figures to compare, in words."""
    record, evaluation = run.files.record, run.files.section("evaluation")
    sets = run.files.section("sets")
    extractor = evaluation.get("extractor")
    extractor = extractor if isinstance(extractor, Mapping) else {"name": extractor}
    counts = {f"{name} images": str((sets.get(name) or {}).get("count", 0)) for name in SETS}
    return {
        "kind of model": kind_of(run.files.rows),
        "measure": yardstick_of(run.files.rows).words if _measured(run.files.rows) else "none",
        **counts,
        "retain images": counts["retain images"] + (" (proxy)" if record.get("proxy_retain") else ""),
        "hidden from the models": printable(str(record.get("corruption") or "nothing")),
        "feature extractor": f"{extractor.get('name')} {str(extractor.get('digest') or '')[:16]}".strip(),
        "seed of the evaluation": setting(evaluation.get("seed")),
        "views of each image": setting(evaluation.get("crops_per_image")),
        "sampler": setting(evaluation.get("sampler")),
        "confidence of intervals": setting(evaluation.get("confidence")),
    }


def _other_figures(first: Run, run: Run) -> list[str]:
    """Sets on which the original model, the same in both runs, has other figures."""
    if first.files.section("evaluation").get("precision") != run.files.section("evaluation").get("precision"):
        return []
    metric, odd = yardstick_of(run.files.rows).metric, []
    for name in SETS:
        one, two = (find(one.files.rows, "original", name, metric) for one in (first, run))
        mine, its = one.value if one else None, two.value if two else None
        if mine is not None and its is not None and not math.isclose(mine, its, rel_tol=SAME, abs_tol=1e-9):
            odd.append(
                f"{name} images: the original's figure is {figure(its)}, in {first.label} {figure(mine)}"
            )
    return odd


def _cautions(runs: Sequence[Run]) -> list[str]:
    """What does not forbid the comparison and yet must be read beside it."""
    found = []
    if len({run.weights("original") for run in runs}) > 1 or runs[0].weights("original") is None:
        found.append(
            "The runs began with different original models (their weights differ, or are not recorded). Ratios are to "
            "each run's own original, and that the images are the same cannot be checked beyond their number."
        )
    without = [str(run.place) for run in runs if run.weights("retrained") is None]
    if without and len(without) < len(runs):
        found.append(
            f"No retrained model was measured in run {', '.join(without)}: its distance is not known."
        )
    elif without:
        found.append("No run measured a retrained model, so none can be said to behave like one.")
    if len({run.weights("retrained") for run in runs} - {None}) > 1:
        found.append("The runs were held against different retrained models, which differ by chance.")
    if len({str(run.files.section("evaluation").get("precision")) for run in runs}) > 1:
        found.append("The models were evaluated in different precisions.")
    asked = [_probe_settings(run) for run in runs]
    names = dict.fromkeys(name for one in asked for name in one)
    if odd := [name for name in names if len({one[name] for one in asked if name in one}) > 1]:
        found.append(f"These probes were asked with different settings and do not compare: {', '.join(odd)}.")
    found += [
        f"Files of run {run.place} are not those of its record: {printable(', '.join(run.files.mismatches))}. "
        "Do not rely on its figures before the cause is known."
        for run in runs
        if run.files.mismatches
    ]
    return found


def _probe_settings(run: Run) -> dict[str, str]:
    return {
        str(one.get("name")): canonical_json(one.get("settings"))
        for one in run.files.record.get("probes") or []
    }


def _names(folders: Sequence[Path]) -> list[str]:
    """The fewest last parts of each path by which all differ."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max((len(one) for one in parts), default=0) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            yield before + name, setting(value)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
