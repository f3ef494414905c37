"""What every probe keeps to, built in or not: its card, its figures, and the models that it is given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from efface.errors import InputError
from efface.files import write_json
from efface.metrics.base import ModelKind
from efface.probes.base import Probe
from efface.probes.registry import PROBES, read_probe
from efface.probes.trigger import Trigger
from efface.testing import check_probe

DOCS = Path(__file__).resolve().parents[2] / "docs" / "probes"
NAMES = list(PROBES.built_in)


@pytest.mark.parametrize("probe", PROBES.built_in.values(), ids=lambda probe: probe.name)
def test_a_probe_keeps_its_contract(probe: type[Probe], tmp_path: Path) -> None:
    short: dict[str, object] = {name: 2 for name in ("steps", "shots") if name in probe.model_fields}
    if "trigger" not in probe.model_fields:
        check_probe(probe.read(short))
        return
    for kind, target in (("generator", None), ("classifier", "3")):
        place = tmp_path / f"{kind}.json"
        write_json(place, Trigger(target=target).as_dict())
        check_probe(probe.read({**short, "trigger": str(place)}), kinds=(kind,))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_the_figures_the_settings_and_the_source(name: str) -> None:
    card = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    probe = PROBES[name]
    figures = [figure for names in probe.figures.values() for figure in names]
    missing = [word for word in (*figures, *probe.model_fields) if f"`{word}`" not in card]
    assert not missing
    words = re.sub(r"\s+", " ", card)
    assert any(part.strip() in words for part in re.split(r"[;,]", probe.source))


def test_no_two_probes_share_a_figure() -> None:
    for kind in get_args(ModelKind):
        figures = [figure for probe in PROBES.built_in.values() for figure in probe.figures.get(kind, ())]
        assert len(figures) == len(set(figures))


def test_the_list_of_probes_is_up_to_date() -> None:
    page = (DOCS / "README.md").read_text(encoding="utf-8")
    for name, probe in PROBES.built_in.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| [`{name}`]"))
        assert probe.question in row
        assert all(f"`{figure}`" in row for names in probe.figures.values() for figure in names)


def test_an_unknown_probe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'detectability'"):
        read_probe("detectabilty")
