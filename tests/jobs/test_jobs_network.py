"""Whole jobs of networks that code of the user builds, or that are held in memory: from the reference to the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.benchmark.engines import InLineEngine
from efface.benchmark.generators.kind import GENERATORS
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.pool import Pool
from efface.benchmark.runs import PoolRun
from efface.jobs.rerun import rerun
from efface.jobs.run import RunResult
from efface.runs.lineage import follow
from efface.runs.verification import verify
from support.classifier_fixtures import FINE_TUNE, Story
from support.families import SHAPES
from support.family_runs import CATS, FEW, UNLEARNING, evaluation, from_base, trained
from support.own_classifier import build

CODE: dict[str, Any] = {"network": "support.networks:unet"}


@dataclass(frozen=True)
class Walked:
    """A network's runs: trained, retrained without the cats in its shape, and made to forget them."""

    original: RunResult
    reference: RunResult
    run: RunResult


def named(run: RunResult) -> dict[str, Any]:
    return {"path": str(run.model), **CODE}


@pytest.fixture(scope="module")
def walked(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """Its reference was trained in its shape without the cats; the unlearned one was questioned."""
    folder = tmp_path_factory.mktemp("network")
    original = trained(photos, folder / "original", "network")
    reference = trained(photos, folder / "reference", "network", like=named(original), without="label:cats")
    run = efface.unlearn(
        named(original), images=photos, retrained=reference.model, out=folder / "run", training=UNLEARNING,
        evaluation=evaluation("network"), probes=["extraction"], **CATS,
    )  # fmt: skip
    return Walked(original, reference, run)


def test_a_probe_questions_it_and_every_digest_is_met(walked: Walked) -> None:
    assert walked.run.probes is not None
    assert {figure.probe for figure in walked.run.probes.figures} == {"extraction"}
    for one in (walked.original, walked.reference, walked.run):
        unmet = {check.what: check.outcome for check in verify(one.run) if check.outcome != "matches"}
        # verification runs no code, and of the model that gave the shape no digest of bare tensors is kept
        assert unmet == ({"weights of the like model": "not checked"} if one is walked.reference else {})


@pytest.mark.slow
def test_it_is_trained_again_to_the_very_weights(walked: Walked) -> None:
    assert rerun(walked.run.run).outcome == "matches"


def test_its_chain_is_whole(walked: Walked) -> None:
    chain = follow(walked.run.run)
    assert chain.whole
    assert chain.begins == f"trained from fresh weights by {walked.original.run}"


def test_it_is_trained_on_from_a_base_and_retrained_from_it(
    walked: Walked, photos: Path, tmp_path: Path
) -> None:
    for one in from_base("network", walked.reference.model, photos, tmp_path, **CODE):
        assert one.record.claim.level == "exact from base"
        assert {check.outcome for check in verify(one.run)} == {"matches"}


@pytest.mark.parametrize("based", [False, True])
def test_a_benchmark_trains_retrains_and_unlearns_it(based: bool, walked: Walked, tmp_path: Path) -> None:
    training = {**FEW, "crop_scale": [1.0, 1.0], "corruption": "centre:0.5"}
    task = GeneratorTask.from_values(
        {
            "generator": "network",
            "images": {
                "data": "digits",
                "forget": "random:6",
                "limit": 20,
                "limit_test": 10,
                "image_size": 32,
            },
            "architecture": SHAPES["network"],
            "training": training,
            "unlearning": training,
            **({"base": str(walked.original.model)} if based else {}),
        }
    )
    pool = Pool(tmp_path / "pool", task, GENERATORS)
    runs = [
        PoolRun("original", 0),
        PoolRun("retrained", 0),
        PoolRun.unlearned({"name": "encoder-noise"}, 0, 0),
    ]
    assert pool.fill(runs, InLineEngine()) == []


def test_a_classifier_in_memory_forgets_and_is_measured_beside_what_came_of_it(
    story: Story, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"classes": list("0123"), "image_size": 8, "channels": 1, "scale": 255}
    module = efface.Module(build(), "mine", **settings)
    sets = {"images": story.digits.train, "forget": story.digits.forget, "copy_agreement": 1}
    run = efface.unlearn(module, method=FINE_TUNE, out=tmp_path / "run", **sets)
    before, after = run.record.model.before, run.record.model.after
    assert before is not None
    assert after is not None
    assert before.weights == efface.load(module).weights_digest() != after.weights
    assert before.description.origin == {"kind": "memory", "name": "memory:mine"}
    unlearned = efface.Module(run.classifier(network="memory:mine").network, "unlearned", **settings)
    for place in (run.model, unlearned):
        out = tmp_path / ("folder" if place == run.model else "memory")
        measured = efface.evaluate(module, place, out=out, **sets)
        assert measured.record.sources["unlearned"] == after.weights
