"""Classifiers that code of the user builds: opened, saved, opened again, drawn anew, and what is said of faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from efface.classifiers import ClassifierSettings, is_classifier, load_classifier, save_classifier
from efface.classifiers.classifier import Normalisation
from efface.classifiers.heads import for_classes
from efface.errors import InputError
from efface.factories import hold
from efface.jobs.kinds import kind_of
from efface.testing.classifiers import check_classifier
from support.classifier_models import logits, stirred
from support.own_classifier import build

FACTORY = "support.own_classifier:build"
SAID: dict[str, Any] = {"network": FACTORY, "classes": 4, "image_size": 8, "channels": 1, "scale": 255}


@pytest.fixture
def weights(tmp_path: Path) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_file(stirred(build()).state_dict(), tmp_path / "own.safetensors")
    return str(tmp_path / "own.safetensors")


def opened(path: str, **changes: Any) -> Any:
    return load_classifier(ClassifierSettings.read({"path": path, **SAID, **changes}))


def refusal(path: str, **changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        opened(path, **changes)
    return str(refused.value)


def test_a_factory_and_a_file_of_weights_are_a_classifier(weights: str, tmp_path: Path) -> None:
    found = opened(weights)
    assert found.blocks == ("see.0", "see.1", "offset", "answer"), (
        "in the order in which a picture meets them"
    )
    assert (found.classes, found.channels, found.image_size) == (("0", "1", "2", "3"), 1, 8)
    assert kind_of({"model": {"path": weights, "network": FACTORY, "classes": 4}}).name == "classifier"
    assert kind_of({"model": {"path": weights, "network": FACTORY}}).name == "generator"
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\n\ndog\n")
    assert opened(weights, classes=str(names)).classes == ("ant", "bee", "cat", "dog")
    check_classifier(lambda: opened(weights))


def test_wrapped_weights_fit_the_network_that_is_built(weights: str, tmp_path: Path) -> None:
    tensors = {f"model.module.{name}": value for name, value in opened(weights).network.state_dict().items()}
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "own.ckpt")
    assert opened(str(tmp_path / "own.ckpt")).weights_digest() == opened(weights).weights_digest()


def test_a_saved_folder_opens_where_its_code_is_named_and_never_unasked(weights: str, tmp_path: Path) -> None:
    before = opened(weights, classes=["ant", "bee", "cat", "dog"], mean=(0.5,), std=(0.25,))
    folder = tmp_path / "model"
    save_classifier(before, folder)
    assert is_classifier(str(folder))
    with pytest.raises(InputError, match=f"code that is not run unless you name it.*model.network={FACTORY}"):
        load_classifier(folder)
    after = load_classifier(ClassifierSettings(path=str(folder), network=FACTORY))
    assert torch.equal(logits(after), logits(before))
    assert (after.classes, after.blocks, after.channels) == (before.classes, before.blocks, 1)
    assert after.normalisation == Normalisation(255.0, (0.5,), (0.25,))
    assert after.weights_digest() == before.weights_digest()


def test_code_that_was_named_for_one_model_may_run_for_its_reference(weights: str, tmp_path: Path) -> None:
    original = ClassifierSettings.read({"path": weights, **SAID, "arguments": {"width": 6}})
    save_classifier(load_classifier(original), tmp_path / "retrained")
    for reference in (tmp_path / "retrained", weights):
        beside = ClassifierSettings(path=str(reference)).beside(original)
        assert beside.network == FACTORY
        assert load_classifier(beside).weights_digest() == load_classifier(original).weights_digest()
    other = original.model_copy(update={"network": "elsewhere:build"})
    assert ClassifierSettings(path=str(tmp_path / "retrained")).beside(other).network is None


def test_fresh_weights_are_those_of_the_factory(weights: str) -> None:
    """The network has a weight that no layer could draw anew by itself."""
    found, again = opened(weights), opened(weights)
    before = found.network.get_parameter("offset.by").clone()
    found.reinitialise(1)
    again.reinitialise(1, ("answer",))
    assert not torch.equal(found.network.get_parameter("offset.by"), before)
    assert torch.equal(again.network.get_parameter("offset.by"), before)
    assert torch.equal(
        again.network.get_parameter("answer.weight"), found.network.get_parameter("answer.weight")
    )


def test_a_factory_that_reads_weights_draws_none_anew(weights: str) -> None:
    with pytest.raises(InputError, match=r"gives the same answer\.weight for every seed"):
        opened(weights, network="support.own_classifier:trained").reinitialise(1)


def test_a_network_in_memory_is_copied_saved_and_opened_by_what_builds_it(tmp_path: Path) -> None:
    network = stirred(build())
    place = hold("mine", network)
    found = opened(place, network=None)
    with torch.no_grad():
        found.network.get_parameter("answer.bias").add_(1)
    assert not torch.equal(found.network.get_parameter("answer.bias"), network.get_parameter("answer.bias"))
    save_classifier(found, tmp_path / "model")
    with pytest.raises(
        InputError, match=r"was held in memory: say what builds it with --set model\.network="
    ):
        load_classifier(tmp_path / "model")
    for code in (place, FACTORY):
        after = load_classifier(ClassifierSettings(path=str(tmp_path / "model"), network=code))
        assert torch.equal(logits(after), logits(found))
    with pytest.raises(InputError, match="was held in memory and is no longer"):
        opened("memory:other", network=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "model.classes: say the classes"),
        ({"classes": 5}, "answer, a Linear of 4 outputs, and there are 5 classes"),
        ({"channels": 3}, "cannot be shown a picture of 8 px and 3 channels"),
        ({"image_size": None, "scale": None}, "does not say the size of its pictures"),
        ({"blocks": ["answer", "offset", "see"]}, "the last part of the network is see, a Sequential"),
        ({"blocks": ["see", "answer"]}, "blocks: offset.by"),
        ({"arguments": {"width": 5}}, "answer.weight: stored as (4, 6)"),
        ({"network": "support.own_classifier:nothing"}, "nothing"),
    ],
)
def test_faults_are_named_with_what_to_do(changes: dict[str, Any], message: str, weights: str) -> None:
    assert message in refusal(weights, **changes)


class Answering(nn.Module):
    """Gives its logits in some form, and fails while it is trained where that is asked for."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.body, self.head, self.form = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), nn.Linear(4, 3), form

    def forward(self, x: torch.Tensor) -> Any:
        if self.form == "fails" and self.training:
            raise ValueError("not while training")
        logits = self.head(self.body(x))
        noisy = logits + torch.randn_like(logits)
        forms = {
            "mapping": {"logits": logits},
            "other": {"out": logits},
            "pair": (logits, logits),
            "draws": noisy,
        }
        return forms.get(self.form, logits)


def answering(form: str) -> Any:
    said = {name: value for name, value in SAID.items() if name != "network"} | {"classes": 3}
    return load_classifier(ClassifierSettings.read({"path": hold("answering", Answering(form)), **said}))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("other", r"returns a dict \(out: Tensor\), where logits are wanted"),
        ("pair", r"returns a tuple \(0: Tensor, 1: Tensor\)"),
        ("draws", "draws at random in evaluation mode"),
    ],
)
def test_what_a_network_returns_is_named_where_it_is_no_logits(form: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        answering(form)
    assert "truncated" not in str(refused.value)


def test_logits_in_a_mapping_are_taken_and_what_fails_in_training_is_said() -> None:
    picture = torch.zeros(2, 1, 8, 8)
    assert answering("mapping")(picture).shape == (2, 3)
    with pytest.raises(InputError, match="Answering fails in training mode: ValueError: not while training"):
        answering("fails").train()(picture)


def test_a_head_for_other_classes_is_left_to_the_code(weights: str) -> None:
    found = opened(weights)
    assert for_classes(found, ("0", "1"), 0).classes == found.classes
    with pytest.raises(InputError, match="a head for 5 classes has to come from there"):
        for_classes(found, [str(number) for number in range(5)], 0)


def test_classes_in_a_file_that_is_missing_are_refused(weights: str) -> None:
    with pytest.raises(
        InputError, match=r"classes: gone\.txt: No such file.*a list of names, a count, or a file"
    ):
        opened(weights, classes="gone.txt")
