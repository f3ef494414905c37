"""Methods by name: built in, added by other packages, and refused."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from efface.errors import InputError
from efface.methods import registry
from efface.methods.base import OneLossMethod
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.methods.registry import (
    GENERATOR_METHODS,
    all_methods,
    by_kind,
    method_class,
    methods,
    read_method,
)
from efface.training.phases import Batch, Loss

ours = "efface.methods.generator.encoder_noise.EncoderNoise"


class Elsewhere(OneLossMethod):
    """A method of another package."""

    name: ClassVar[str] = "elsewhere"
    summary: ClassVar[str] = "from another package"
    source: ClassVar[str] = "nowhere"

    def loss(self, student: Any, batch: Batch) -> Loss:
        raise NotImplementedError


class SameName(Elsewhere):
    name: ClassVar[str] = "encoder-noise"


class Nameless(OneLossMethod):
    def loss(self, student: Any, batch: Batch) -> Loss:
        raise NotImplementedError


class Point:
    """An entry point as importlib.metadata gives it."""

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        self.name, self.value, self.load = name, "package.module:Class", load


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretend that a package with these entry points is installed."""

    def installed(*points: Point) -> None:
        asked: list[str] = []

        def entry_points(*, group: str) -> tuple[Point, ...]:
            asked.append(group)
            return points if group == "efface.methods" else ()

        monkeypatch.setattr(registry, "entry_points", entry_points)
        all_methods.cache_clear()

    yield installed
    monkeypatch.undo()
    all_methods.cache_clear()


def test_the_built_in_methods() -> None:
    assert list(by_kind(GENERATOR_METHODS)["generator"]) == [
        "encoder-noise",
        "max-loss",
        "noisy-label",
        "retain-label",
        "random-encoder",
        "gradient-ascent",
        "fine-tune",
        "shrink-perturb",
        "epsilon-constrained",
        "decouple",
        "bargaining",
        "blank",
        "neighbour",
        "level",
        "unseen",
        "retrain",
    ]
    assert method_class("retrain") in GENERATOR_METHODS


def test_a_package_adds_a_method(install: Callable[..., None]) -> None:
    install(Point("elsewhere", lambda: Elsewhere))
    assert methods()["elsewhere"] is Elsewhere
    assert isinstance(read_method({"name": "elsewhere"}), Elsewhere)
    assert set(methods()) == {method.name for method in GENERATOR_METHODS} | {"elsewhere"}


def test_the_real_entry_points_are_asked_for() -> None:
    from importlib.metadata import entry_points

    assert importlib.import_module("efface.methods.registry").entry_points is entry_points
    assert registry.ENTRY_POINTS == "efface.methods"


def test_two_methods_of_one_name_are_refused(install: Callable[..., None]) -> None:
    install(Point("encoder-noise", lambda: SameName))
    with pytest.raises(InputError, match="two methods are named 'encoder-noise'") as refusal:
        methods()
    assert ours in str(refusal.value)
    assert f"{SameName.__module__}.SameName" in str(refusal.value)
    with pytest.raises(InputError, match="two methods are named"):
        by_kind([EncoderNoise, EncoderNoise])


@pytest.mark.parametrize("thing", [int, Elsewhere.model_construct(), "elsewhere", None])
def test_what_is_no_method_is_refused(thing: Any, install: Callable[..., None]) -> None:
    install(Point("elsewhere", lambda: thing))
    with pytest.raises(InputError, match="is no subclass of GeneratorMethod or ClassifierMethod"):
        methods()


def test_a_method_without_a_name_is_refused() -> None:
    with pytest.raises(InputError, match="Nameless is a method without a name"):
        by_kind([Nameless])


def test_a_package_that_cannot_be_loaded_is_named(install: Callable[..., None]) -> None:
    install(Point("elsewhere", lambda: importlib.import_module("no_such_package_anywhere")))
    with pytest.raises(InputError, match=r"method 'elsewhere' .* from package.module:Class.*no_such_package"):
        methods()


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown method 'encoder-nose'; did you mean 'encoder-noise'"):
        read_method({"name": "encoder-nose"})


def test_encoder_noise_is_the_default() -> None:
    assert read_method({"alpha": 0.1}) == EncoderNoise(alpha=0.1)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"name": "encoder-noise", "alhpa": 1}, "unknown setting 'alhpa'; did you mean 'alpha'"),
        ({"name": "encoder-noise", "alpha": -1}, "alpha: Input should be greater than or equal to 0"),
        ({"name": "encoder-noise", "alpha": float("nan")}, "alpha: Input should be a finite number"),
        ({"name": "encoder-noise", "noise": "gaussian"}, "noise: Input should be 'standard-normal'"),
        ({"name": "encoder-noise", "norm": "l1"}, "norm: Input should be 'mse' or 'l2'"),
        ({"name": "fine-tune", "alpha": 1}, "unknown setting 'alpha'. Valid: none"),
    ],
)
def test_wrong_settings_are_refused_with_their_method(section: dict, told: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_method(section)
    assert f"method {section['name']} cannot be used" in str(refusal.value)
    assert told in str(refusal.value)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(InputError) as refusal:
        read_method({"alpha": -1, "norm": "l1", "extra": 1})
    assert len(refusal.value.problems) == 3
