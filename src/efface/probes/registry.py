"""The probes by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from efface.errors import InputError
from efface.probes.after_handling import AfterHandling
from efface.probes.base import Probe
from efface.probes.collateral import Collateral
from efface.probes.decoder_leftover import DecoderLeftover
from efface.probes.detectability import Detectability
from efface.probes.extraction import Extraction
from efface.probes.membership import Membership
from efface.probes.other_corruptions import OtherCorruptions
from efface.probes.perturbation import Perturbation
from efface.probes.poisoning import Poisoning
from efface.probes.relearning import Relearning
from efface.settings import unknown_name

PROBES: tuple[type[Probe], ...] = (
    Detectability,
    Collateral,
    Membership,
    Extraction,
    OtherCorruptions,
    Perturbation,
    Relearning,
    DecoderLeftover,
    Poisoning,
    AfterHandling,
)


def probes() -> dict[str, type[Probe]]:
    """All probes by name, in the order in which reports show them."""
    return {probe.name: probe for probe in PROBES}


def read_probe(section: str | Mapping[str, Any]) -> Probe:
    """A probe from its name, or from a section with its name and settings; raises `InputError`."""
    values = {"name": section} if isinstance(section, str) else dict(section)
    name = values.pop("name", None)
    if name not in probes():
        raise InputError(unknown_name("probe", str(name), probes()))
    return probes()[str(name)].read(values, where=f"probe {name}")
