"""Each class keeps efface's contract, is found by its entry point, and takes two files: the class and its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from efface_example.hole_mae import HoleMae
from efface_example.retain_mean import RetainMean
from efface_example.stripes import Stripes
from efface_example.unevenness import Unevenness

from efface.cli.listing import What, list_
from efface.corruptions import CORRUPTIONS, parse_corruption
from efface.methods import GENERATOR_METHODS, read_method
from efface.metrics.base import Restored
from efface.metrics.catalogue import METRICS
from efface.plugins import Registry
from efface.probes.registry import PROBES
from efface.runs.requirements import Requirement, probes_for
from efface.testing import check_corruption, check_method, check_metric, check_probe

ROOT = Path(__file__).parents[1]
ADDED: list[tuple[Registry[type], type]] = [
    (GENERATOR_METHODS, RetainMean),  # type: ignore[list-item]
    (METRICS, HoleMae),  # type: ignore[list-item]
    (PROBES, Unevenness),  # type: ignore[list-item]
    (CORRUPTIONS, Stripes),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("registry", "added"), ADDED)
def test_its_entry_point_is_found_and_it_takes_two_files(registry: Registry[type], added: type) -> None:
    name = added.name  # type: ignore[attr-defined]
    assert registry.named(name) is added
    assert registry.distribution(name) == "efface-example 0.1.0"
    assert name not in registry.built_in
    assert (ROOT / "cards" / f"{name}.md").is_file()
    mentioned = [file for file in ROOT.rglob("*.py") if added.__name__ in file.read_text(encoding="utf-8")]
    assert len([file for file in mentioned if "tests" not in file.parts]) == 1


@pytest.mark.parametrize("what", [What.methods, What.metrics, What.probes, What.corruptions, What.settings])
def test_the_command_line_lists_it(what: What, capsys: pytest.CaptureFixture[str]) -> None:
    list_(what)
    names = {
        What.methods: "retain-mean", What.metrics: "hole_mae", What.probes: "unevenness", What.corruptions: "stripes",
        What.settings: "method[retain-mean].alpha",
    }  # fmt: skip
    assert names[what] in capsys.readouterr().out


def test_the_method_keeps_its_contract() -> None:
    check_method(RetainMean)
    assert read_method({"name": "retain-mean", "alpha": 1.0}) == RetainMean(alpha=1.0)


def test_the_metric_keeps_its_contract_and_has_a_value_worked_by_hand() -> None:
    check_metric(HoleMae)
    truth, region = torch.zeros(1, 3, 2, 2), torch.tensor([[[[True, True], [False, False]]]])
    made, none = truth.clone(), torch.zeros(1, 1)
    made[0, :, 0, 0], made[0, :, 1, 1] = 0.6, 1.0
    found = HoleMae().compute(Restored(made, truth, region, none, none, none, none))
    assert found.tolist() == pytest.approx([0.3])


def test_the_probe_keeps_its_contract_and_has_a_value_worked_by_hand() -> None:
    check_probe(Unevenness)
    assert Unevenness().spread({"forget": np.arange(5.0)}) == pytest.approx(2)


def test_the_corruption_keeps_its_contract_and_hides_every_second_stripe() -> None:
    check_corruption(Stripes)
    stripes = parse_corruption("stripes:2")
    assert isinstance(stripes, Stripes)
    rows = stripes.hidden(8, 4, np.random.default_rng(0))[:, 0]
    assert rows.tolist() == [False, False, True, True, False, False, True, True]


def test_metric_and_probe_can_be_required() -> None:
    assert Requirement.parse("retain-mae<=1.1x", "generator").row == ("retain", HoleMae)
    assert probes_for(["unevenness<=0.1"], "classifier") == ["unevenness"]
