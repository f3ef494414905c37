"""What is left in the decoder: planted leftovers are found, by the linear probe and by a fresh encoder."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from efface.errors import InputError
from efface.evaluation.results import ModelName
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.probes import passes_decoder
from efface.probes.decoder_leftover import DecoderLeftover
from efface.probes.findings import Findings
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.passes_decoder import linear_maps, with_fresh_encoder
from support.trained_subjects import OFF, World, digests, figure, world

PROBE = DecoderLeftover(steps=120, learning_rate=0.02)
FIGURES = ("decoder-leftover-probe", "decoder-leftover-encoder")


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@cache
def answered(unlearned: str, probe: DecoderLeftover = PROBE) -> Findings:
    made = world()
    other = made.retrained(seed=1) if unlearned == "retrained" else getattr(made, unlearned)()
    original = {"original": made.original()} if unlearned == "misread" else {}
    models = {**original, "unlearned": other, "retrained": made.retrained()}
    return probe.ask(made.subject(models))


@pytest.mark.parametrize("model", ["original", "unlearned"])
def test_a_decoder_that_kept_the_images_is_found(model: ModelName) -> None:
    findings = answered("misread")
    for name in FIGURES:
        finding = figure(findings, name, model)
        assert finding.difference > 1.5
        assert finding.difference_low > 1
        # on neutral images there is nothing to be had
        control = float((finding.note or "").rpartition("on neutral images: ")[2])
        assert abs(control) < 0.1


@pytest.mark.parametrize("unlearned", ["retrained", "noisy"])
def test_a_decoder_that_holds_nothing_of_them_passes(unlearned: str) -> None:
    findings = answered(unlearned)
    for name in FIGURES:
        assert figure(findings, name).difference < 0.1


def test_the_misread_decoder_gives_back_what_the_original_has() -> None:
    findings = answered("misread")
    for name in FIGURES:
        assert figure(findings, name).value == pytest.approx(
            figure(findings, name, "original").value, abs=0.1
        )


def test_a_linear_map_undoes_a_rotation(made: World) -> None:
    original, misread = made.original(), made.misread()
    subject = made.subject({"original": original})
    ((matrix, shift),) = linear_maps(misread, original, made.sets["retain"], subject, 1e-6)
    turn = misread.network.encoder.weight @ torch.linalg.pinv(original.network.encoder.weight)
    torch.testing.assert_close(matrix.float(), turn.detach(), atol=1e-3, rtol=0)
    assert shift.abs().max() < 1e-3


def test_where_features_are_the_originals_the_map_is_the_identity(made: World) -> None:
    original = made.original()
    subject = made.subject({"original": original})
    ((matrix, shift),) = linear_maps(original, original, made.sets["retain"].subset([0, 1]), subject, 1e-3)
    torch.testing.assert_close(matrix, torch.eye(6, dtype=torch.float64), atol=1e-9, rtol=0)
    assert shift.abs().max() < 1e-9


def test_the_probes_figure_is_the_log_ratio_of_losses(made: World) -> None:
    """Of one picture that the decoder holds, off by a known amount, against a retrained model's bland fill."""
    forget = made.sets["forget"].subset([4])  # far from every other
    models = {"original": made.original(), "retrained": made.retrained()}
    findings = PROBE.model_copy(update={"steps": 1}).ask(
        made.subject(models, sets={**made.sets, "forget": forget})
    )
    # holes are of 0.2 and 0.8, which the bland picture misses by 0.3 everywhere
    bland, held = 0.3**2, OFF**2
    value = figure(findings, "decoder-leftover-probe", "original").value
    assert value == pytest.approx(np.log(bland / held), abs=0.8)


def test_a_fresh_encoder_leaves_the_decoder_as_it_is(made: World) -> None:
    model = made.original()
    fresh = with_fresh_encoder(model, made.subject({}, seed=3))
    for name, parameter in model.decoder_parameters().items():
        assert torch.equal(parameter, fresh.decoder_parameters()[name]), name
    assert not torch.equal(model.network.encoder.weight, fresh.network.encoder.weight)


def test_decoders_that_are_the_same_are_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made_fresh = []

    def counted(model, subject):
        made_fresh.append(model)
        return with_fresh_encoder(model, subject)

    monkeypatch.setattr("efface.probes.passes_decoder.with_fresh_encoder", counted)
    quick = PROBE.model_copy(update={"steps": 1})
    findings = answered("misread", quick)
    assert len(made_fresh) == 2
    assert figure(findings, FIGURES[1]).value == figure(findings, FIGURES[1], "original").value


def test_models_keep_their_weights(made: World) -> None:
    models = {"original": made.original(), "unlearned": made.misread(), "retrained": made.retrained()}
    subject = made.subject(models)
    before = digests(subject)
    DecoderLeftover(steps=2).ask(subject)
    assert digests(subject) == before


def test_without_a_reference_or_images_it_says_why(made: World) -> None:
    findings = PROBE.ask(made.subject({"original": made.original(), "unlearned": made.misread()}))
    assert [(finding.figure, finding.note) for finding in findings.figures] == [
        (name, "not measurable: there is no retrained model") for name in FIGURES
    ]
    models = {"original": made.original(), "retrained": made.retrained()}
    findings = PROBE.ask(made.subject(models, sets={"forget": made.sets["forget"]}))
    assert [finding.value for finding in findings.figures] == [None, None]


def test_a_model_that_cannot_be_made_anew_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self, seed, keep_first_stage=False):
        raise InputError("low-rank factors cannot make a model anew")

    monkeypatch.setattr("support.trained_subjects.Storing.reinitialise", refuse)
    findings = answered("misread", DecoderLeftover(steps=2))
    assert "cannot make a model anew" in (figure(findings, FIGURES[1]).note or "")
    assert figure(findings, FIGURES[0]).value > 1.5


def test_the_control_is_measured_on_images_that_the_map_was_not_fitted_to(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: set[str] = set()
    measured: list[set[str]] = []
    maps, errors = passes_decoder.linear_maps, passes_decoder.mapped_errors

    def fit(
        model: Generator, wanted: Generator, images: ImageSet, subject: GeneratorSubject, penalty: float
    ) -> Any:
        fitted.update(images.ids)
        return maps(model, wanted, images, subject, penalty)

    def measure(model: Generator, maps_made: Any, images: ImageSet, subject: GeneratorSubject) -> Any:
        measured.append(set(images.ids))
        return errors(model, maps_made, images, subject)

    monkeypatch.setattr(passes_decoder, "linear_maps", fit)
    monkeypatch.setattr(passes_decoder, "mapped_errors", measure)
    models = {"unlearned": made.original(), "retrained": made.retrained()}
    PROBE.model_copy(update={"steps": 1}).ask(made.subject(models))
    neutral = set(made.sets["neutral"].ids)
    assert fitted & neutral
    assert any(images <= neutral for images in measured)
    assert all(not images & fitted for images in measured)
