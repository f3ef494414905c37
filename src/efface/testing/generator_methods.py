"""What every method for generators keeps to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

import efface.testing.models as tiny
from efface.corruptions import parse_corruption
from efface.generators.base import Generator, View
from efface.generators.mae.generator import MaeGenerator
from efface.methods.base import GeneratorMethod
from efface.testing.checking import (
    one_thread,
    published_settings_lie_in_their_ranges,
    random_states_kept,
    require,
    run_checks,
    settings_are_documented,
    texts_are_given,
    unknown_settings_are_refused,
)
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.phases import Batch, EditPhase, Training
from efface.training.settings import TrainingSettings


def check_generator_method(method: GeneratorMethod) -> None:
    """All checks, on a tiny masked autoencoder."""
    kind = type(method)
    checks: list[Callable[[], None]] = [
        partial(texts_are_given, kind, ("name", "summary", "source", "deviations")),
        partial(settings_are_documented, kind),
        partial(settings_read_back, method),
        partial(unknown_settings_are_refused, kind),
        partial(traits_agree_with_phases, method),
        partial(recommendations_are_valid, kind),
        partial(published_settings_lie_in_their_ranges, kind),
        *(
            partial(steps_train_what_is_declared, method, tiny.tiny_generator, corruption)
            for corruption in ("centre:0.5", "random:0.75")
        ),
        partial(losses_leave_their_batch_alone, method),
        partial(training_repeats_and_changes_nothing_else, method),
    ]
    run_checks(f"method {getattr(kind, 'name', kind.__name__)}", checks)


def settings_read_back(method: GeneratorMethod) -> None:
    """Settings that are written down give the same method again."""
    require(
        type(method).read(method.as_dict()) == method,
        f"{method.as_dict()} is read as {type(method).read(method.as_dict())}",
    )


def traits_agree_with_phases(method: GeneratorMethod) -> None:
    """The traits agree with the phases."""
    kind, phases = type(method), method.phases()
    names = [phase.name for phase in phases]
    require(len(set(names)) == len(names), f"two phases have one name: {names}")
    training = [phase for phase in phases if isinstance(phase, Training)]
    streams = {stream for phase in training for stream in phase.streams}
    require(
        streams <= {"retain", "forget"},
        f"its streams are {sorted(streams)}, and only retain and forget exist",
    )
    for stream, needed in (("retain", kind.needs_retain), ("forget", kind.needs_forget)):
        require(
            needed == (stream in streams),
            f"needs_{stream} is {needed}, but its streams are {sorted(streams)}",
        )
    # a first stage is trained only where everything is made anew
    exact = kind.claim == "exact"
    trained = {phase.trained for phase in training} - ({"first-stage"} if exact else set())
    require(
        trained == {kind.trains},
        f"it says that it trains {kind.trains}, and its phases train {sorted(trained)}",
    )
    if exact:
        require(
            isinstance(phases[0], EditPhase), "it claims to be exact, and does not begin with fresh weights"
        )
        require(streams == {"retain"}, f"it claims to be exact, and sees {sorted(streams)} images")


def recommendations_are_valid(kind: type[GeneratorMethod]) -> None:
    """The recommended training settings are valid, and give way to the user's."""
    recommended = kind.training_settings({})
    require(
        recommended == TrainingSettings(**kind.recommended), "they are not those that `recommended` names"
    )
    own = kind.training_settings({"steps": 7})
    require((own.steps, own.learning_rate) == (7, recommended.learning_rate), f"steps=7 gives {own}")


def steps_train_what_is_declared(
    method: GeneratorMethod, make: Callable[[], Generator], corruption: str = "centre:0.5"
) -> None:
    """The loss is a finite scalar with gradients on the declared weights only, and a step moves these.

    make: gives the same fresh model each time.
    """
    generator = make().train()
    before = tiny.weights_of(generator)
    phases = _training_phases(method, generator)
    for phase in phases:
        generator.set_trained(phase.trained)
        if phase.needs_teacher:
            generator.keep_teacher(phase.trained)
        views = {"retain": _view(generator, 3, 1, corruption), "forget": _view(generator, 3, 2, corruption)}
        loss = phase.loss(generator, Batch({stream: views[stream] for stream in phase.streams}, tiny.MOMENTS))
        _check_loss(loss.total, loss.parts, phase)
        generator.zero_grad()
        loss.total.backward()
        trained = generator.trained_parameters(phase.trained)
        reached = {name: p.grad for name, p in generator.network.named_parameters() if p.grad is not None}
        others = sorted(reached.keys() - trained.keys())
        require(not others, f"phase '{phase.name}': gradients reach {others[:3]}, which it does not train")
        missed = sorted(trained.keys() - reached.keys())
        require(len(missed) < 0.1 * len(trained), f"phase '{phase.name}': no gradients reach {missed[:3]}")
        require(all(gradient.isfinite().all() for gradient in reached.values()), "a gradient is not finite")
        require(generator.active is generator.network, "the loss left the teacher in the student's place")
        earlier = tiny.weights_of(generator)
        torch.optim.SGD(trained.values(), lr=0.1).step()
        moved = tiny.changed(earlier, tiny.weights_of(generator))
        require(
            len(moved & trained.keys()) > 0.8 * len(trained),
            f"phase '{phase.name}': a step moves {len(moved)} of {len(trained)} tensors",
        )
    allowed = {name for phase in phases for name in generator.trained_parameters(phase.trained)}
    others = sorted(tiny.changed(before, tiny.weights_of(generator)) - allowed)
    require(not others, f"{others[:3]} changed, which no phase trains")


def losses_leave_their_batch_alone(method: GeneratorMethod) -> None:
    """A loss does not change its batch, and gives the same again: draws are keyed by image."""
    generator = tiny.tiny_generator()
    generator.keep_teacher("all")
    views = {"retain": _view(generator, 3, 1), "forget": _view(generator, 2, 2)}
    before = {name: _tensors(view) for name, view in views.items()}
    for phase in _training_phases(method, generator):
        batch = Batch({stream: views[stream] for stream in phase.streams}, tiny.MOMENTS)
        first, second = phase.loss(generator, batch).total, phase.loss(generator, batch).total
        require(
            torch.equal(first, second),
            f"phase '{phase.name}': the same batch gives {first} and then {second}",
        )
    for name, view in views.items():
        same = all(torch.equal(one, other) for one, other in zip(before[name], _tensors(view), strict=True))
        require(same, f"it changes the {name} images of its batch")


def training_repeats_and_changes_nothing_else(method: GeneratorMethod) -> None:
    """Training repeats with its seed, and changes the declared weights and nothing else."""
    data = tiny.training_data()
    stored = {id_: data.cache.read(id_).copy() for images in data.sets.values() for id_ in images.ids}

    def trained(seed: int) -> MaeGenerator:
        generator = tiny.tiny_generator()
        short = TrainingSettings(steps=4, batch_size=4, learning_rate=1e-3, precision="fp32", threads=1)
        Trainer(generator, method.phases(), data, short, seed, accelerator(short)).run()
        return generator

    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        with random_states_kept():
            one = trained(seed=1)
        torch.default_generator.manual_seed(2)
        again, other = trained(seed=1), trained(seed=2)
    before, after = tiny.weights_of(tiny.tiny_generator()), tiny.weights_of(one)
    moved, declared = tiny.changed(before, after), set(one.trained_parameters(method.trains))
    require(moved == declared, f"not exactly what it trains has changed: {sorted(moved ^ declared)[:3]}")
    require(all(tensor.isfinite().all() for tensor in after.values()), "a weight is not finite")
    require(one.weights_digest() == again.weights_digest(), "two runs with one seed differ")
    alike = one.weights_digest() == other.weights_digest()
    require(
        alike == method.deterministic,
        f"deterministic is {method.deterministic}, and other seeds give {'the same' if alike else 'other'} weights",
    )
    same = all((data.cache.read(id_) == pixels).all() for id_, pixels in stored.items())
    require(same, "it changed the images")


def _training_phases(method: GeneratorMethod, generator: Generator) -> list[Training]:
    phases = method.phases()
    return [p for p in phases if isinstance(p, Training) and generator.trained_parameters(p.trained)]


def _view(generator: Generator, count: int, seed: int, corruption: str = "centre:0.5") -> View:
    shown = parse_corruption(corruption if generator.takes_holes else "colour")
    images = tiny.pictures(count, seed, size=generator.image_size)
    return generator.view(images, shown, tiny.draws(count, first=100 * seed))


def _tensors(view: View) -> list[Tensor]:
    return [value.clone() for value in vars(view).values() if isinstance(value, Tensor)]


def _check_loss(total: Tensor, parts: Mapping[str, Tensor], phase: Training) -> None:
    require(total.shape == () and total.isfinite(), f"phase '{phase.name}': the loss is {total}")
    require(
        set(parts) == set(phase.streams),
        f"phase '{phase.name}': its parts are {sorted(parts)}, its streams {phase.streams}",
    )
    for name, part in parts.items():
        sound = part.shape == () and part.isfinite() and not part.requires_grad
        require(
            sound,
            f"phase '{phase.name}': the part '{name}' must be a finite scalar without gradient, is {part}",
        )
