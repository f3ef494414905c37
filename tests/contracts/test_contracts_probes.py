"""What every probe keeps to, built in or not: its card, its figures, and the models that it is given."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from efface.benchmark.generators.data import images_of
from efface.benchmark.generators.models import new_generator
from efface.benchmark.generators.task import GeneratorTask
from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.evaluation.answers import Wanted
from efface.evaluation.protocol import evaluate
from efface.evaluation.settings import EvaluationSettings
from efface.files import write_json
from efface.metrics.base import ModelKind
from efface.metrics.extractors import load_extractor
from efface.probes.base import Probe
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.registry import PROBES, read_probe
from efface.probes.subject import AnySubject
from efface.probes.trigger import Trigger
from efface.training.settings import TrainingSettings
from support.labelled_subjects import labelled_world

DOCS = Path(__file__).resolve().parents[2] / "docs" / "probes"
NAMES = list(PROBES)
FEW: dict[str, dict[str, Any]] = {
    "relearning": {"steps": 2, "shots": 2},
    "decoder-leftover": {"steps": 2},
    "after-handling": {"steps": 2},
}
"""Settings with which a probe that trains takes a moment."""
TASK = GeneratorTask.from_values(
    {
        "images": {"data": "digits", "forget": "random:8", "limit": 30, "limit_test": 12},
        "architecture": {
            "image_size": 8, "patch_size": 2, "hidden_size": 16, "layers": 1, "heads": 2,
            "decoder_hidden_size": 16, "decoder_layers": 1, "decoder_heads": 2,
        },
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def subjects() -> dict[ModelKind, AnySubject]:
    world = labelled_world(forget=6, retain=8, neutral=6)
    labelled = world.subject(
        {"original": world.original(), "unlearned": world.hushed(), "retrained": world.retrained()}
    )
    return {"generator": generators(), "classifier": labelled}


def generators() -> GeneratorSubject:
    data = images_of(TASK)
    sets: Any = {name: data.sets[name] for name in ("forget", "retain", "neutral")}
    models: Any = {
        name: new_generator(TASK, seed) for seed, name in enumerate(("original", "unlearned", "retrained"))
    }
    settings = EvaluationSettings(resamples=200)
    extractor, corruption = load_extractor("built-in"), parse_corruption("centre:0.5")
    evaluation = evaluate(
        models, sets, data.pictures, corruption, extractor, settings, wanted=Wanted(task_loss=True)
    )
    training = TrainingSettings(batch_size=4, steps=2, precision="fp32", crop_scale=(1.0, 1.0), threads=1)
    return GeneratorSubject(
        models=models, sets=sets, cache=data.pictures, corruption=corruption, extractor=extractor,
        settings=settings, evaluation=evaluation, training=training,
    )  # fmt: skip


@pytest.fixture(
    params=[(name, kind) for name, probe in PROBES.items() for kind in probe.figures], ids="-".join
)
def case(
    request: pytest.FixtureRequest, subjects: dict[ModelKind, AnySubject], tmp_path: Path
) -> tuple[Probe, AnySubject]:
    """A probe of each name, with settings that it cannot be without, and a subject of each kind that it questions."""
    name, kind = request.param
    trigger = Trigger(target="cat" if kind == "classifier" else None)
    write_json(tmp_path / "trigger.json", trigger.as_dict())
    needed = {"poisoning": {"trigger": str(tmp_path / "trigger.json")}}
    return read_probe({"name": name, **FEW.get(name, {}), **needed.get(name, {})}), subjects[kind]


def test_a_probe_leaves_the_models_as_they_are_and_gives_its_figures(case: tuple[Probe, AnySubject]) -> None:
    probe, subject = case
    before = {name: model.weights_digest() for name, model in subject.models.items()}
    findings = probe.ask(subject)
    assert {name: model.weights_digest() for name, model in subject.models.items()} == before
    assert not any(model.training for model in subject.models.values())
    named = {finding.figure.partition(":")[0] for finding in findings.figures}
    assert named == set(probe.figures[subject.kind])
    assert {finding.probe for finding in findings.figures} == {probe.name}
    for finding in findings.figures:
        assert finding.value is not None or finding.note
        if finding.low is not None and finding.high is not None:
            assert finding.low <= finding.high
        if finding.difference is not None:
            assert finding.reference == "retrained"
            assert finding.reference_value is not None
            assert finding.value is not None
            assert finding.difference == pytest.approx(finding.value - finding.reference_value)


def test_a_probe_without_its_images_says_what_is_missing(case: tuple[Probe, AnySubject]) -> None:
    probe, subject = case
    if not probe.needs:
        pytest.skip("it needs no set of its own")
    missing = probe.needs[0]
    without: Any = {**subject.sets, missing: subject.sets[missing].subset([])}
    findings = probe.ask(replace(subject, sets=without))
    assert {finding.figure for finding in findings.figures} == set(probe.figures[subject.kind])
    assert all(finding.value is None and missing in str(finding.note) for finding in findings.figures)


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
        figures = [figure for probe in PROBES.values() for figure in probe.figures.get(kind, ())]
        assert len(figures) == len(set(figures))


def test_the_list_of_probes_is_up_to_date() -> None:
    page = (DOCS / "README.md").read_text(encoding="utf-8")
    for name, probe in PROBES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| [`{name}`]"))
        assert probe.question in row
        assert all(f"`{figure}`" in row for names in probe.figures.values() for figure in names)


def test_an_unknown_probe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'detectability'"):
        read_probe("detectabilty")
