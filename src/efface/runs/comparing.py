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
from efface.runs.record import GeneratorTraining
from efface.runs.results import ByImage, FinishedRun
from efface.runs.yardsticks import YARDSTICKS, Yardstick, yardstick_of
from efface.wording import figure, printable, setting

SAME = 1e-3
"""Relative difference up to which one model's figures on the same images may differ between machines."""


class Change(NamedTuple):
    """How one thing stands to another, with the ends of its interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs: its number from 1, what it is called, what it left, and its single images' figures."""

    place: int
    name: str
    run: FinishedRun
    yardstick: Yardstick | None
    by_image: ByImage

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"run {self.place} ({printable(self.name)})"

    @property
    def measure(self) -> Yardstick:
        """The yardstick of a run that was found to be comparable."""
        assert self.yardstick is not None, f"{self.label} measured no unlearned model on forget images"
        return self.yardstick

    @cached_property
    def settings(self) -> dict[str, str]:
        """Settings of method and training, flat, in words."""
        method, training = self.run.record.method, self.run.record.training
        of_method = dict(_flat(method.settings)) if method else {}
        if training is None:
            return of_method
        if isinstance(training, GeneratorTraining):
            used = training.settings.as_dict()
        else:
            used = {"recipe": training.recipe.as_dict()}
        done = {"steps": training.steps, "precision": training.precision, "budget": training.budget}
        return of_method | dict(_flat({**used, **done}))

    def weights(self, which: str) -> str | None:
        """Digest of the weights of `original` or `retrained`; None where the record has none."""
        facts = self.run.record.retrained if which == "retrained" else self.run.record.model.before
        return facts.weights if facts else None

    def finding(self, name: str) -> Finding | None:
        """The unlearned model's figure of a probe."""
        return self.run.findings.find(name)


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """The runs in the order given; raises `InputError` that names every folder that cannot be read."""
    folders = [Path(folder) for folder in folders]
    runs: list[ComparedRun] = []
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
                run = FinishedRun.read(folder)
                yardstick = yardstick_of(run.rows) if _measured(run.rows) else None
                by_image = run.by_image([yardstick.metric]) if yardstick else ByImage()
                runs.append(ComparedRun(place, name, run, yardstick, by_image))
            except InputError as error:
                faults.problems += error.problems
    return runs


def check_comparable(runs: Sequence[ComparedRun]) -> list[str]:
    """Raise `InputError` for runs whose figures do not compare; returns sentences on what else to keep in mind.

    Ids of images are keyed by each run, so that the sets are the same is checked by their counts and, where the runs
    began with the same weights, by that model's figures, which then must be the same.
    """
    first = runs[0]
    with Faults("these runs cannot be compared") as faults:
        for run in runs:
            if run.yardstick is None:
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


def change(run: ComparedRun, set_name: str, model: str, other: str) -> Change | None:
    """How `model` stands to `other` on a set: a ratio of mean errors, or for other measures their difference.

    The interval is a paired bootstrap over images, made as those of requirements (ratios) and of results (differences);
    there is none below five images. None where either model was not measured.
    """
    yardstick = run.measure
    mine, its = (find(run.run.rows, name, set_name, yardstick.metric) for name in (model, other))
    if mine is None or its is None or mine.value is None or its.value is None:
        return None
    if yardstick.is_ratio and its.value <= 0:
        return None
    value = mine.value / its.value if yardstick.is_ratio else mine.value - its.value
    one, two = run.by_image.of(model, set_name), run.by_image.of(other, set_name)
    # in the file's order: that of keyed ids is another one in every run, and with it the draws
    names = [] if model == other else [name for name in one if name in two]
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


def differing_settings(runs: Sequence[ComparedRun]) -> list[dict[str, str]]:
    """For each run, its settings that not all runs share; a setting that only some have counts as differing."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    differing = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    return [{name: run.settings[name] for name in differing if name in run.settings} for run in runs]


def _interval(
    values: Sequence[float], others: Sequence[float], run: ComparedRun, is_ratio: bool
) -> Sequence[float] | None:
    evaluation = run.run.record.evaluation
    if evaluation is None or len(values) < FEWEST_GROUPS:
        return None
    interval = bootstrap_ratio if is_ratio else bootstrap_difference
    return interval(values, others, **evaluation.settings.resampling)


def _measured(rows: Iterable[Row]) -> bool:
    known = {yardstick.metric for yardstick in YARDSTICKS}
    return any(
        row.model == "unlearned" and row.set == "forget" and row.metric in known and row.value is not None
        for row in rows
    )


def _conditions(run: ComparedRun) -> dict[str, str]:
    """What must be the same for figures to compare, in words."""
    record, evaluation = run.run.record, run.run.record.evaluation
    extractor = evaluation.extractor if evaluation else None
    settings = evaluation.settings.as_dict() if evaluation else {}
    counts = {f"{name} images": str(record.images.count(name)) for name in SETS}
    return {
        "kind of model": record.model_kind,
        "measure": run.yardstick.words if run.yardstick else "none",
        **counts,
        "retain images": counts["retain images"] + (" (proxy)" if record.images.proxy_retain else ""),
        "hidden from the models": printable(record.corruption or "nothing"),
        "feature extractor": f"{extractor.name} {extractor.digest[:16]}" if extractor else "none",
        "seed of the evaluation": setting(settings.get("seed")),
        "views of each image": setting(settings.get("crops_per_image")),
        "sampler": setting(settings.get("sampler")),
        "confidence of intervals": setting(settings.get("confidence")),
    }


def _other_figures(first: ComparedRun, run: ComparedRun) -> list[str]:
    """Sets on which the original model, the same in both runs, has other figures."""
    if _precision(first) != _precision(run):
        return []
    odd = []
    for name in SETS:
        rows = (find(one.run.rows, "original", name, run.measure.metric) for one in (first, run))
        mine, its = (row.value if row else None for row in rows)
        if mine is not None and its is not None and not math.isclose(mine, its, rel_tol=SAME, abs_tol=1e-9):
            odd.append(
                f"{name} images: the original's figure is {figure(its)}, in {first.label} {figure(mine)}"
            )
    return odd


def _precision(run: ComparedRun) -> str:
    """The precision of the evaluation's forward passes."""
    evaluation = run.run.record.evaluation
    settings = evaluation.settings if evaluation else None
    return settings.precision if isinstance(settings, EvaluationSettings) else "fp32"


def _cautions(runs: Sequence[ComparedRun]) -> list[str]:
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
    if len({_precision(run) for run in runs}) > 1:
        found.append("The models were evaluated in different precisions.")
    asked = [_probe_settings(run) for run in runs]
    names = dict.fromkeys(name for one in asked for name in one)
    if odd := [name for name in names if len({one[name] for one in asked if name in one}) > 1]:
        found.append(f"These probes were asked with different settings and do not compare: {', '.join(odd)}.")
    found += [
        f"Files of run {run.place} are not those of its record: {printable(', '.join(run.run.mismatches))}. "
        "Do not rely on its figures before the cause is known."
        for run in runs
        if run.run.mismatches
    ]
    return found


def _probe_settings(run: ComparedRun) -> dict[str, str]:
    return {probe.name: canonical_json(probe.settings) for probe in run.run.record.probes}


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
