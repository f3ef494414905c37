"""Micro-batches and activation checkpointing save memory and leave loss, gradient and weights as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier
from efface.errors import InputError, Stopped
from efface.generators.base import Generator
from efface.memory import Room, within
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS, read_method
from efface.methods.classifier.base import unlearn_classifier
from efface.recomputing import blocks_of, in_micro_batches, recomputing_blocks
from efface.testing.models import DIGITS, facts_of, other_classifier, tiny_classifier
from efface.training import micro_batches
from efface.training.data import Data
from efface.training.phases import Batch, Training
from efface.training.settings import StepMemory
from support.families import MODELS
from support.family_training import phases_of
from support.stopping import StopAt
from support.target_cases import MOMENTS
from support.tiny_models import changed, draws, pictures, settings, tiny, trainer, weights_of

Gradients = dict[str, Tensor]


@pytest.fixture(autouse=True)
def nothing_to_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batches, "release_memory", lambda: None)


PAIRS = [
    *(("mae", name) for name in (*GENERATOR_METHODS.built_in, "scratch")),
    *(("mage", name) for name in ("encoder-noise", "noisy-label", "retain-label", "scratch")),
    *((family, name) for family in ("palette", "latent-inpainting") for name in ("encoder-noise", "scratch")),
]


def gradients(generator: Generator, phase: Training) -> list[Gradients]:
    """Of the loss, or of each of its objectives, on five retain and five forget images."""
    corruption = generator.training_corruption
    views = {
        stream: generator.view(
            pictures(5, seed, generator.image_size), corruption, draws(5, first=100 * seed)
        )
        for seed, stream in enumerate(phase.streams)
    }
    loss = phase.loss(generator, Batch(views, MOMENTS, corruption=corruption))
    wanted = generator.trained_parameters(phase.trained)
    found = []
    for scalar in loss.objectives.values() or [loss.total]:
        parts = torch.autograd.grad(scalar, list(wanted.values()), retain_graph=True, allow_unused=True)
        found.append({name: part for name, part in zip(wanted, parts, strict=True) if part is not None})
    return found


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_gradients_are_those_of_the_whole_batch_for_every_method_and_family(family: str, name: str) -> None:
    for phase in phases_of(name):
        generator = MODELS[family]()
        if not isinstance(phase, Training) or not generator.trained_parameters(phase.trained):
            continue
        for module in generator.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        generator.keep_teacher(phase.trained)
        generator.keep_shadow()
        generator.train().set_trained(phase.trained)
        whole = gradients(generator, phase)
        with recomputing_blocks(generator.network):
            again = gradients(generator, phase)
        generator.micro_batches = 3
        parts = gradients(generator, phase)
        for one, other, kept in zip(whole, parts, again, strict=True):
            assert one.keys() == other.keys() == kept.keys()
            largest = max(float(value.abs().max()) for value in one.values())
            for key, value in one.items():
                torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-6 * max(largest, 1))
                assert torch.equal(kept[key], value), key


NETWORKS: dict[str, dict[str, Any]] = {
    "scrub": {},
    "salun": {"epochs": 1},
    "unsir": {"noise_images": 8, "noise_steps": 3},
    "sebastian": {"epochs": 1},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_a_classifier_are_those_of_whole_batches(name: str) -> None:
    method, model = CLASSIFIER_METHODS[name].read(NETWORKS[name]), other_classifier()

    def unlearned(memory: StepMemory) -> dict[str, Tensor]:
        made, report = unlearn_classifier(model, method, DIGITS, facts_of(model), memory=memory)
        assert (report.micro_batches, made.micro_batches) == (memory.gradient_accumulation, 1)
        return weights_of(made)

    whole, parts = unlearned(StepMemory()), unlearned(StepMemory(gradient_accumulation=3))
    assert changed(whole, weights_of(model))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fine-tune", "kookmin", "ssd"])
def test_running_statistics_are_taken_once_where_activations_are_computed_again(name: str) -> None:
    model, method = tiny_classifier(), CLASSIFIER_METHODS[name].read({})
    one, two = (
        unlearn_classifier(model, method, DIGITS, facts_of(model), memory=memory)[0]
        for memory in (StepMemory(), StepMemory(activation_checkpointing=True))
    )
    assert one.weights_digest() == two.weights_digest() != model.weights_digest()


def test_micro_batches_of_a_network_that_normalises_by_batch_are_refused() -> None:
    model, memory = tiny_classifier(), StepMemory(gradient_accumulation=2)
    with pytest.raises(InputError, match=r"batch normalisation.*training.activation_checkpointing"):
        unlearn_classifier(model, CLASSIFIER_METHODS["fine-tune"](), DIGITS, facts_of(model), memory=memory)
    # in evaluation mode, in which edits run, parts are the same as the whole
    unlearn_classifier(model, CLASSIFIER_METHODS["ssd"](), DIGITS, facts_of(model), memory=memory)


class Narrow(nn.Module):
    """A network with room for `most` images at once where it is to be trained; it counts what it was shown."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.seen = network, most, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled() and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append(len(images))
        return self.network(images)  # type: ignore[no-any-return]


def narrow(most: int) -> Classifier:
    plain = other_classifier()
    return Classifier(Narrow(plain.network, most), classes=plain.classes, image_size=8, channels=1)


@pytest.mark.parametrize("name", ["fine-tune", "ssd"])
def test_memory_that_ends_in_a_step_or_an_edit_makes_smaller_micro_batches_and_the_same_model(
    name: str,
) -> None:
    method, roomy, small = CLASSIFIER_METHODS[name](), narrow(999), narrow(20)
    whole, _ = unlearn_classifier(roomy, method, DIGITS, facts_of(roomy))
    with within(Room()) as room:
        parts, report = unlearn_classifier(small, method, DIGITS, facts_of(small))
    assert report.micro_batches > 1
    assert [note.split(":")[0] for note in room.notes] == ["memory ended in a step of training"] * len(
        room.notes
    )
    for key, value in weights_of(whole).items():
        torch.testing.assert_close(weights_of(parts)[key], value, rtol=1e-4, atol=1e-5)


def test_memory_that_does_not_suffice_for_one_image_stops() -> None:
    model = narrow(0)
    with within(Room()), pytest.raises(Stopped, match=r"single image.*activation_checkpointing"):
        unlearn_classifier(model, CLASSIFIER_METHODS["fine-tune"](), DIGITS, facts_of(model))


@contextmanager
def room_for(generator: Generator, most: int) -> Iterator[list[int]]:
    """Memory for the gradients of so many images; gives the sizes that fitted."""
    seen: list[int] = []

    def check(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled() and len(inputs[0]) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        seen.append(len(inputs[0]))

    handle = generator.network.vit.register_forward_pre_hook(check)
    try:
        yield seen
    finally:
        handle.remove()


def test_a_generators_step_is_done_again_in_parts_and_a_stopped_run_goes_on_in_as_many(data: Data) -> None:
    phases = read_method({"name": "encoder-noise"}).phases()
    plain, small = tiny(), tiny()
    whole = trainer(plain, phases, data, asked=settings(steps=4)).run()
    with within(Room()) as room, room_for(small, most=2):
        report = trainer(small, phases, data, asked=settings(steps=4)).run()
    assert (whole.micro_batches, report.micro_batches) == (1, 2)
    assert len(room.notes) == 1
    assert "2 micro-batches" in room.notes[0]
    for key, value in weights_of(plain).items():
        torch.testing.assert_close(weights_of(small)[key], value, rtol=1e-4, atol=5e-6)


def test_an_interrupted_run_in_micro_batches_ends_bit_for_bit_as_one_that_was_not(
    data: Data, tmp_path: Path
) -> None:
    asked = settings(gradient_accumulation=2, activation_checkpointing=True)
    phases = read_method({"name": "encoder-noise"}).phases()
    straight, broken, again = (tiny(hidden_dropout_prob=0.1) for _ in range(3))
    trainer(straight, phases, data, asked=asked).run()
    with pytest.raises(Stopped):
        trainer(broken, phases, data, asked=asked, folder=tmp_path, progress=StopAt(5)).run()
    report = trainer(again, phases, data, asked=asked, folder=tmp_path).run()
    assert report.resumed_from == 5
    assert again.weights_digest() == straight.weights_digest()


def test_blocks_are_the_members_of_the_outermost_lists_and_the_network_stays_as_it_was() -> None:
    generator = MODELS["palette"]()
    blocks = blocks_of(generator.network)
    assert {*generator.network.down_blocks, *generator.network.up_blocks} <= {*blocks}
    before = dict(vars(blocks[0]))
    with recomputing_blocks(generator.network):
        assert "forward" in vars(blocks[0])
    assert vars(blocks[0]) == before


def test_parts_are_of_about_equal_size() -> None:
    seen: list[int] = []

    def count(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images

    assert len(in_micro_batches(4, count, torch.zeros(10, 1))) == 10
    assert len(in_micro_batches(4, count, torch.zeros(3, 1))) == 3
    assert seen == [2, 3, 2, 3, 1, 1, 1]
