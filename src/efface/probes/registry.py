"""The probes by name. Another package adds its own by an entry point in the group `efface.probes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import JsonValue

from efface.metrics.base import ModelKind
from efface.plugins import Registry, read_named
from efface.probes.base import Probe
from efface.probes.findings import Findings

PROBES: Registry[type[Probe]] = Registry(
    "probe",
    "efface.probes",
    Probe,
    (
        "efface.probes.detectability:Detectability",
        "efface.probes.collateral:Collateral",
        "efface.probes.unmoved:Unmoved",
        "efface.probes.membership:Membership",
        "efface.probes.closer_to_retrained:CloserToRetrained",
        "efface.probes.extraction:Extraction",
        "efface.probes.other_corruptions:OtherCorruptions",
        "efface.probes.whole_picture:WholePicture",
        "efface.probes.other_scales:OtherScales",
        "efface.probes.perturbation:Perturbation",
        "efface.probes.relearning:Relearning",
        "efface.probes.decoder_leftover:DecoderLeftover",
        "efface.probes.poisoning:Poisoning",
        "efface.probes.after_handling:AfterHandling",
    ),
)
"""In the order in which reports show them."""
Group = Literal["all", "cheap"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""What may stand in the place of a name."""


def probes_of(kind: ModelKind) -> dict[str, type[Probe]]:
    """The probes that can question models of this kind, by name."""
    return {name: probe for name, probe in PROBES.items() if kind in probe.figures}


def probes_of_group(group: Group, kind: ModelKind) -> list[str]:
    """Names of all probes of a kind, or of those that do not train; those that need settings are left out."""
    return [
        name
        for name, probe in probes_of(kind).items()
        if group == "all" or probe.cost != "training"
        if not any(field.is_required() for field in probe.model_fields.values())
    ]


def probes_by_figure(kind: ModelKind) -> dict[str, str]:
    """The name of the probe that gives a figure of this kind of models, by the figure's name."""
    return {figure: name for name, probe in probes_of(kind).items() for figure in probe.figures[kind]}


def contradicting(findings: Findings) -> dict[str, bool]:
    """By figure of the unlearned model that tells of memory and has an interval: whether it says that more is remembered
    than by the retrained model, by its whole interval. What the verdict asks of probes.

    Of figures that stand beside a model that is the difference; one that is a comparison itself stands beside none.
    """
    found = {}
    for one in findings.figures:
        side = PROBES[one.probe].memory.get(one.figure) if one.probe in PROBES else None
        if side is None or one.model != "unlearned" or one.reference == "original":
            continue
        low, high = (one.difference_low, one.difference_high) if one.reference else (one.low, one.high)
        if low is not None and high is not None:
            found[one.figure] = low > 0 if side == "above" else high < 0
    return found


def read_probe(section: str | Mapping[str, JsonValue]) -> Probe:
    """A probe from its name, or from a section with its name and settings; raises `InputError`."""
    return read_named(PROBES, section)
