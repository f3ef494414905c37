"""`plan`: everything that is wrong or risky with a model and its data at once, and what a run would cost.

Nothing is changed and nothing is kept: only as many images are decoded as the timed steps need, and they stay in
memory where they fit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import JsonValue

from efface.devices import device_words, on_device
from efface.errors import Faults, InputError
from efface.images.selection import Split
from efface.jobs.bases import base_saw
from efface.jobs.earlier import earlier_notes, earlier_of, reference_seen
from efface.jobs.facts import description_of, reading_notes
from efface.jobs.judging import reference_notes
from efface.jobs.kinds import KINDS
from efface.jobs.operations import Changes, Prepared, RunEstimate, attempt
from efface.jobs.sets import measured_sets
from efface.memory import Room, within
from efface.progress import Progress
from efface.runs.earlier import EarlierRequests
from efface.runs.presets import as_published
from efface.runs.record import OF_BASE, Description
from efface.runs.requirements import foreseen
from efface.runs.sameness import same_models
from efface.runs.temporary import erase_abandoned
from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig
from efface.training.trackers import refuse_missing

COST = {"nothing": "no further passes", "passes": "further passes", "training": "training of copies"}
MANY = 0.5
"""Share of the images to be forgotten from which on training anew may serve better."""


@dataclass
class Plan:
    """What is to be known of a run before it starts; it can start if `faults` is empty."""

    faults: list[str] = field(default_factory=list)
    risks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sets: dict[str, int] = field(default_factory=dict)
    model: Description | None = None
    changes: Changes | None = None
    estimate: RunEstimate | None = None
    device: str = ""

    def as_dict(self) -> dict[str, JsonValue]:
        """Plain JSON-ready values."""
        return {**asdict(self), "model": self.model.as_dict() if self.model else None}


def plan(config: RunConfig | ClassifierRunConfig, progress: Progress | None = None) -> Plan:
    """Look at the run that `config` describes without starting it; raises nothing for what it finds."""
    try:
        with on_device(config.device), within(Room(config.batch_pixels)) as tried:
            outlook = _plan(config, progress or Progress())
            outlook.device = device_words()
    except InputError as error:
        return Plan(faults=list(error.problems))
    outlook.notes += tried.notes
    return outlook


def _plan(config: RunConfig | ClassifierRunConfig, progress: Progress) -> Plan:
    erase_abandoned()
    operations = KINDS[config.kind].operations
    outlook, faults = Plan(), Faults()
    models, pixels = operations.open(config, faults)
    compared: dict[Any, Any] = {**models, "yardstick": operations.yardstick(config, models, faults)}
    attempt(lambda: refuse_missing(config.training.trackers), faults)
    base = operations.base(config, models.get("original"), faults)
    based = base.facts.weights if base else None
    known = attempt(lambda: earlier_of(config, models, based), faults) if "original" in models else None
    earlier = known or EarlierRequests()
    split = attempt(lambda: operations.choose(config, earlier, progress), faults)
    digests = {name: model.weights_digest() for name, model in compared.items() if model}
    digests |= {"base": based} if based else {}
    attempt(lambda: same_models(digests), faults)
    descriptions = {name: description_of(model) for name, model in models.items()}
    outlook.model = descriptions.get("original")
    outlook.notes += reading_notes(descriptions)
    if split:
        attempt(lambda: operations.check_sets(config, models, split), faults)
        outlook.notes += [*split.notes, *earlier_notes(earlier)]
        outlook.notes += attempt(lambda: reference_seen(config, split), faults) or []
        if based:
            saw = attempt(lambda: base_saw(config, based, split), faults)
            outlook.notes += [OF_BASE[saw]] if saw else []
        outlook.sets = {name: len(images) for name, images in split.sets.items()}
        outlook.risks += _risks_of_sets(config, split) + operations.risks_of_sets(config, split, pixels)
    outlook.notes += [
        f"probe {probe.name}: {COST[probe.cost]}, not in the estimate" for probe in config.probes
    ]
    outlook.notes += [f"{config.method.name}: {as_published(config.departures)}"] if config.preset else []
    outlook.notes.append(config.evaluation.verdict_rule)
    outlook.notes += reference_notes(config, config.retrained is not None)
    if split and not faults:
        prepared = Prepared(models, split, pixels, base=base)
        if tried := attempt(lambda: operations.foresee(config, prepared), faults):
            outlook.changes, outlook.estimate = tried.changes, tried.estimate
            outlook.risks += tried.risks
            outlook.notes += tried.notes
    outlook.faults, outlook.risks = list(dict.fromkeys(faults.problems)), list(dict.fromkeys(outlook.risks))
    return outlook


def _risks_of_sets(config: RunConfig | ClassifierRunConfig, split: Split) -> list[str]:
    risks = []
    if config.retrained is None:
        risks.append(
            "no retrained model (--retrained): whether the result behaves like a model that never saw the forget "
            "images cannot be measured"
        )
    share = len(split.forget) / max(len(split.forget) + len(split.retain), 1)
    if share > MANY:
        risks.append(f"{share:.0%} of the images are to be forgotten: training anew may serve better")
    counts = {name: len(set(images.ids)) for name, images in measured_sets(split).items()}
    return [*risks, *foreseen(config.require, config.kind, counts, retrained=config.retrained is not None)]
