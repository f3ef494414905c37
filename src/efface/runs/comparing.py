"""Finished runs beside each other: whether they compare at all, and what is to be kept in mind where they do.

Ids of images are keyed by each run, so that the sets are the same is checked by their counts and, where the runs began
with the same weights, by that model's figures, which then must be the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from efface.errors import Faults, InputError
from efface.evaluation.results import SETS, ModelName, SetName, find
from efface.evaluation.settings import EvaluationSettings
from efface.files import canonical_json
from efface.runs.compared import Change, ComparedRun, change, differing_settings
from efface.runs.planes import Plane, planes_of, shared_references
from efface.runs.results import ByImage, FinishedRun
from efface.runs.words import lead_metric
from efface.wording import figure, printable, setting, span

SAME = 1e-3
"""Relative difference up to which one model's figures on the same images may differ between machines."""
BESIDE: Mapping[SetName, ModelName] = {"forget": "retrained", "retain": "original", "neutral": "original"}
"""Which model another one is put beside on each set."""

Changes = Mapping[SetName, Change | None]


@dataclass(frozen=True)
class RunComparison:
    """Runs that compare, and everything that was computed of them.

    changes: for each run, how its unlearned model stands to the model of `BESIDE`. differing: its settings that not all
    runs share. references: the same changes of the models that all runs share.
    """

    runs: Sequence[ComparedRun]
    cautions: Sequence[str]
    changes: Sequence[Changes]
    differing: Sequence[Mapping[str, str]]
    references: Mapping[ModelName, Changes]
    planes: Sequence[Plane]


def compare(folders: Sequence[Path]) -> RunComparison:
    """Compare finished runs; raises `InputError` where a folder is none, or where they do not compare, with all reasons."""
    runs = read_runs(folders)
    cautions = check_comparable(runs)
    return RunComparison(
        runs,
        cautions,
        [_changes(run, "unlearned") for run in runs],
        differing_settings(runs),
        {name: _changes(runs[0], name) for name in shared_references(runs)},
        planes_of(runs),
    )


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
                run = FinishedRun.read(folder)
                measure = lead_metric(row for row in run.rows if row.model == "unlearned")
                by_image = run.by_image([measure.name]) if measure else ByImage()
                runs.append(ComparedRun(place, name, run, measure, by_image))
            except InputError as error:
                faults.problems += error.problems
    return runs


def check_comparable(runs: Sequence[ComparedRun]) -> list[str]:
    """Raise `InputError` for runs whose figures do not compare; returns sentences on what else to keep in mind."""
    first = runs[0]
    with Faults("these runs cannot be compared") as faults:
        for run in runs:
            if run.compared_by is None:
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


def _changes(run: ComparedRun, model: ModelName) -> Changes:
    return {set_name: change(run, set_name, model, other) for set_name, other in BESIDE.items()}


def _conditions(run: ComparedRun) -> dict[str, str]:
    """What must be the same for figures to compare, in words."""
    record, evaluation = run.run.record, run.run.record.evaluation
    extractor = evaluation.extractor if evaluation else None
    settings = evaluation.settings.as_dict() if evaluation else {}
    measured = evaluation.settings if evaluation else None
    scale = span(*measured.scale) if isinstance(measured, EvaluationSettings) else "none"
    counts = {f"{name} images": str(record.images.count(name)) for name in SETS}
    return {
        "kind of model": record.model_kind,
        "measure": run.compared_by.words if run.compared_by else "none",
        **counts,
        "retain images": counts["retain images"] + (" (proxy)" if record.images.proxy_retain else ""),
        "corruption": printable(record.corruption or "nothing"),
        "feature extractor": f"{extractor.name} {extractor.digest[:16]}" if extractor else "none",
        "seed of the evaluation": setting(settings.get("seed")),
        "views of each image": setting(settings.get("crops_per_image")),
        "share of an image that views cover": scale,
        "sampler": setting(settings.get("sampler")),
        "answers to each view": setting(settings.get("samples")),
        "confidence of intervals": setting(settings.get("confidence")),
    }


def _other_figures(first: ComparedRun, run: ComparedRun) -> list[str]:
    """Sets on which the original model, the same in both runs, has other figures."""
    if _precision(first) != _precision(run):
        return []
    odd = []
    for name in SETS:
        rows = (find(each.run.rows, "original", name, run.measure.name) for each in (first, run))
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
    cautions = []
    if len({run.weights("original") for run in runs}) > 1 or runs[0].weights("original") is None:
        cautions.append(
            "The runs began with different original models (their weights differ, or are not recorded). Ratios are to "
            "each run's own original, and that the images are the same cannot be checked beyond their number."
        )
    without = [str(run.place) for run in runs if run.weights("retrained") is None]
    if without and len(without) < len(runs):
        cautions.append(
            f"No retrained model was measured in run {', '.join(without)}: its distance is not known."
        )
    elif without:
        cautions.append("No run measured a retrained model, so none can be said to behave like one.")
    if len({run.weights("retrained") for run in runs} - {None}) > 1:
        cautions.append("The runs were held against different retrained models, which differ by chance.")
    if len({_precision(run) for run in runs}) > 1:
        cautions.append("The models were evaluated in different precisions.")
    probes = [_probe_settings(run) for run in runs]
    names = dict.fromkeys(name for settings in probes for name in settings)
    if odd := [name for name in names if len({each[name] for each in probes if name in each}) > 1]:
        cautions.append(
            f"These probes were asked with different settings and do not compare: {', '.join(odd)}."
        )
    cautions += [
        f"Files of run {run.place} are not those of its record: {printable(', '.join(run.run.mismatches))}. "
        "Do not rely on its figures before the cause is known."
        for run in runs
        if run.run.mismatches
    ]
    return cautions


def _probe_settings(run: ComparedRun) -> dict[str, str]:
    return {probe.name: canonical_json(probe.settings) for probe in run.run.record.probes}


def _names(folders: Sequence[Path]) -> list[str]:
    """The fewest last parts of each path by which all differ."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max((len(part) for part in parts), default=0) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
