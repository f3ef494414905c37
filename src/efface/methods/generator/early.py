"""Another model's weights in the place of a generator's, if both are of one family and shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efface.errors import InputError
from efface.generators import load_generator
from efface.training.phases import EditPhase

if TYPE_CHECKING:
    from efface.generators.base import Generator

NOT_OF_THE_WEIGHTS = {
    *("origin", "first_stage", "sampler", "prompt", "guidance_scale", "lora"),
    "parameters",  # low-rank factors count among them
}
"""What `describe()` says of where a model is from and how it is used, not of what its weights mean."""
SHOWN = 3


def put_in_place(generator: Generator, path: str) -> None:
    """Give `generator` the weights of the model at `path`; raises one `InputError` that says all that does not fit."""
    other = load_generator(generator.settings_at(path))
    if problems := differences(generator, other):
        raise InputError(*problems, what=f"the model at {path} cannot stand in for this one")
    generator.take_weights(other)


def keep_as_shadow(base: Generator) -> EditPhase:
    """The phase that makes `base` the shadow; the original's weights stay."""

    def keep(generator: Generator, seed: int) -> None:
        generator.take_weights(base)
        generator.keep_shadow()
        generator.return_to_teacher()

    return EditPhase("keep base", keep)


def differences(generator: Generator, other: Generator, *, first_stage: bool = True) -> list[str]:
    """Why the weights of `other` mean something else in `generator`, one sentence each.

    first_stage: whether both must have the same tokenizer or VAE.
    """
    if generator.family != other.family:
        return [f"it is of the family {other.family}, this model of {generator.family}"]
    problems = []
    mine, its = generator.describe(), other.describe()
    for key in sorted((mine.keys() | its.keys()) - NOT_OF_THE_WEIGHTS):
        if mine.get(key) != its.get(key):
            problems.append(f"{key} is {its.get(key)} there and {mine.get(key)} here")
    shapes = _shapes(generator), _shapes(other)
    unequal = sorted(n for n in shapes[0].keys() | shapes[1].keys() if shapes[0].get(n) != shapes[1].get(n))
    if unequal:
        named = ", ".join(unequal[:SHOWN]) + (", ..." if len(unequal) > SHOWN else "")
        problems.append(f"{len(unequal)} weights are missing or of another shape: {named}")
    elif first_stage and generator.first_stage_digest() != other.first_stage_digest():
        problems.append("its first stage is another one, so that its codes mean something else")
    return problems


def _shapes(generator: Generator) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in generator.weights().items()}
