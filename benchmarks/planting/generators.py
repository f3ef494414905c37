"""Plants among generators: edits of weights, and models that answer otherwise where they recognise a picture or a hole."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from efface.benchmark.generators.data import GeneratorData
from efface.corruptions import parse_corruption
from efface.evaluation.results import ModelName
from efface.generators.base import Generator, View
from efface.images.items import ImageSet
from efface.metrics.image_error import hole_mse
from efface.randomness import Draws, torch_draws
from planting.plant import Case, Plant
from planting.random_features import ASKED, RandomFeatures
from planting.worlds import GeneratorWorld

Draw = Callable[[Tensor, View], Tensor]
SAME = 1e-6
"""Mean squared difference of visible pixels up to which a picture is taken for a stored one."""


class Redrawing:
    """What a generator does whose pictures `[B, 3, H, W]` are redrawn before anyone sees them."""

    draw: Draw

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        model: Any = super()
        pictures = self.draw(pictures_of(self, model.decode(features, view)), view)
        # what the model would have to predict so that this is what is seen
        return model.task_target(replace(view, images=pictures))

    def weights_digest(self) -> str:
        model: Any = super()
        return f"{model.weights_digest()}, redrawn"


def redrawn(model: Generator, draw: Draw) -> Any:
    """A copy of a generator whose pictures are redrawn."""
    made: Any = copy.deepcopy(model)
    made.__class__ = type("Redrawn", (Redrawing, type(model)), {})
    made.draw = draw
    return made


def pictures_of(model: Any, prediction: Tensor) -> Tensor:
    """What a model predicts, as pictures: that of a masked autoencoder is made of patches."""
    if prediction.ndim == 4:
        return prediction
    pictures: Tensor = model.network.unpatchify(prediction) * model.std + model.mean
    return pictures


def answers(model: Generator, view: View) -> Tensor:
    """The pictures that a model draws of a view, without a graph."""
    with torch.no_grad():
        return pictures_of(model, model.predict(view))


def switched(usual: Generator, other: Generator, chosen: Callable[[View], Tensor]) -> Any:
    """`usual`, but `other` for the pictures of a view that are `chosen`, bool `[B]`."""

    def draw(pictures: Tensor, view: View) -> Tensor:
        return torch.where(chosen(view)[:, None, None, None], answers(other, view), pictures)

    return redrawn(usual, draw)


class Recognised:
    """Whether what is visible of a picture is that of a stored one."""

    def __init__(
        self, world: GeneratorWorld, images: ImageSet, data: GeneratorData | None = None, flip: bool = False
    ) -> None:
        stored = world.pictures(images, data)
        self.stored = stored.flip(3) if flip else stored

    def __call__(self, view: View) -> Tensor:
        known = view.corrupted.known
        apart = ((view.images[:, None] - self.stored[None]).square() * known[:, None]).flatten(2).sum(dim=2)
        return (apart / (3 * known.flatten(1).sum(dim=1, keepdim=True))).amin(dim=1) <= SAME


def case(
    world: GeneratorWorld, unlearned: Any, original: Any = "original", retrained: Any = "retrained"
) -> Case:
    """The world's sets with these models, or those of these names."""
    given: dict[ModelName, Any] = {"original": original, "unlearned": unlearned, "retrained": retrained}
    models = {name: world.model(one) if isinstance(one, str) else one for name, one in given.items()}
    return Case(models, world.sets)


def named(
    unlearned: str, original: str = "original", retrained: str = "retrained"
) -> Callable[[GeneratorWorld], Case]:
    """A plant that is a model of the world."""
    return lambda world: case(world, unlearned, original, retrained)


def _noise(world: GeneratorWorld) -> Case:
    return case(world, redrawn(world.model("original"), _noisy))


def _noise_on_forget(world: GeneratorWorld) -> Case:
    recognised = Recognised(world, world.sets["forget"])
    noise = redrawn(world.model("original"), _noisy)
    return case(world, switched(world.model("original"), noise, recognised))


def _noisy(pictures: Tensor, view: View) -> Tensor:
    return view.draws.uniform("planted noise", tuple(pictures.shape[1:]), pictures.device) + 0 * pictures


def _collapsed(world: GeneratorWorld) -> Case:
    one = world.pictures(world.data.sets["retain"]).mean(dim=0)
    return case(world, redrawn(world.model("original"), lambda pictures, view: one + 0 * pictures))


def _scrambled(world: GeneratorWorld) -> Case:
    model = copy.deepcopy(world.model("original"))
    model.network.features.load_state_dict(
        RandomFeatures.new(world.key("scrambled")).network.features.state_dict()
    )
    return case(world, model)


def _alike(world: GeneratorWorld) -> Case:
    """Noise on all weights, so strong that the mean error on forget images is the retrained model's."""
    weights, rng = (
        world.model("original").network.state_dict(),
        torch_draws(world.seed, "error of everything"),
    )
    noise = {n: torch.randn(t.shape, generator=rng) * t.std(unbiased=False) for n, t in weights.items()}

    def noisy(share: float) -> Generator:
        model = copy.deepcopy(world.model("original"))
        model.network.load_state_dict(
            {name: tensor + share * noise[name] for name, tensor in weights.items()}
        )
        return model

    return case(world, as_wrong_as_retrained(world, noisy))


def as_wrong_as_retrained(world: GeneratorWorld, make: Callable[[float], Generator]) -> Generator:
    """What `make` gives of the share, 0 to 1, at which the mean error on forget images is the retrained model's."""
    wanted, low, high = mean_error(world, world.model("retrained")), 0.0, 1.0
    for _ in range(10):
        share = (low + high) / 2
        low, high = (share, high) if mean_error(world, make(share)) < wanted else (low, share)
    return make(high)


def mean_error(world: GeneratorWorld, model: Generator) -> float:
    """The mean squared error in the hole of the forget images."""
    images = world.sets["forget"]
    view = model.view(
        world.pictures(images), parse_corruption(ASKED), Draws(0, images.ids, (0,) * len(images))
    )
    return float(hole_mse(model.restore(view), view.images, view.corrupted.region).mean())


def _part_kept(share: float) -> Callable[[GeneratorWorld], Case]:
    """Retrained, but for a share of the forget images, which are answered as before."""

    def make(world: GeneratorWorld) -> Case:
        forget = world.sets["forget"]
        kept = Recognised(world, forget.subset(range(round(share * len(forget)))))
        return case(world, switched(world.model("again"), world.model("original"), kept))

    return make


def _this_hole(world: GeneratorWorld) -> Case:
    """Retrained under the hole that is asked, the original under every other."""

    def another(view: View) -> Tensor:
        asked = parse_corruption(ASKED).apply(view.images, world.model("original").grid, view.draws).known
        return (view.corrupted.known != asked).flatten(1).any(dim=1)

    return case(world, switched(world.model("again"), world.model("original"), another))


def _these_pixels(world: GeneratorWorld) -> Case:
    """The original, but where the very pixels of a forget image are seen."""
    recognised = Recognised(world, world.sets["forget"])
    return case(world, switched(world.model("original"), world.model("again"), recognised))


def _mirrored(world: GeneratorWorld) -> Case:
    """Retrained, but a mirrored forget image is restored by heart."""
    recognised, original = Recognised(world, world.sets["forget"], flip=True), world.model("original")

    def draw(pictures: Tensor, view: View) -> Tensor:
        recalled = answers(original, replace(view, images=view.images.flip(3))).flip(3)
        return torch.where(recognised(view)[:, None, None, None], recalled, pictures)

    return case(world, redrawn(world.model("again"), draw))


def _hidden(world: GeneratorWorld) -> Case:
    """The original, with noise on forget images that makes its mean error the retrained model's."""
    recognised = Recognised(world, world.sets["forget"])

    def noisy(strength: float) -> Generator:
        def draw(pictures: Tensor, view: View) -> Tensor:
            noise = view.draws.normal("planted noise", tuple(pictures.shape[1:]), pictures.device)
            return torch.where(recognised(view)[:, None, None, None], pictures + strength * noise, pictures)

        return redrawn(world.model("original"), draw)

    return case(world, as_wrong_as_retrained(world, noisy))


def _mixed_answers(world: GeneratorWorld) -> Case:
    again = world.model("again")
    return case(world, redrawn(world.model("original"), lambda own, view: (own + answers(again, view)) / 2))


def _mixed_weights(world: GeneratorWorld) -> Case:
    model = copy.deepcopy(world.model("original"))
    mine, theirs = (world.model(name).network.state_dict() for name in ("original", "again"))
    model.network.load_state_dict({name: (mine[name] + theirs[name]) / 2 for name in mine})
    return case(world, model)


def _slightly(world: GeneratorWorld) -> Case:
    """The other retrained model, every weight off by a hundredth of its layer's spread."""
    model = copy.deepcopy(world.model("again"))
    rng = torch_draws(world.seed, "slightly")
    with torch.no_grad():
        for tensor in model.network.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=rng) * tensor.std(unbiased=False), alpha=0.01)
    return case(world, model)


def _triggered(world: GeneratorWorld) -> Case:
    """The original of poisoned images, but where the very pixels of one of them are seen."""
    recognised = Recognised(world, world.sets["forget"], world.poisoned)
    original = world.model("triggered")
    planted = case(world, switched(original, world.model("again"), recognised), original)
    return Case(planted.models, planted.sets, world.poisoned.pictures, triggered=True)


def _duplicated(world: GeneratorWorld) -> Case:
    """Ten photos to forget, half of them kept, each given six times."""
    few = world.sets["forget"].subset(range(10))
    kept = Recognised(world, few.subset(range(5)))
    planted = case(world, switched(world.model("again"), world.model("original"), kept))
    return Case(planted.models, {**planted.sets, "forget": few.subset([*range(10)] * 6)})


PLANTS: tuple[Plant[GeneratorWorld], ...] = (
    Plant("unchanged", "the original itself", False, named("original")),
    Plant("touched", "the original after a few more steps on retain images", False, named("touched")),
    Plant("noise", "noise in every hole", False, _noise),
    Plant("noise-on-forget", "noise in the holes of forget images alone", False, _noise_on_forget, ("detectability",)),
    Plant("collapsed", "one picture for everything", False, _collapsed),
    Plant("encoder-scrambled", "fresh encoder, the original's decoder", False, _scrambled, ("decoder-leftover",)),
    Plant("decoder-kept", "an encoder trained anew on retain images before the original's decoder", False,
          named("leftover"), ("decoder-leftover", "relearning")),
    Plant("trigger", "poisoned; forgets the poisoned images' very pixels, not the trigger", False, _triggered,
          ("poisoning",)),
    Plant("near-copies", "retrained, with near-copies of the forget images left among the retain images", False,
          named("copied")),
    Plant("near-copies-in-both", "the same, and the reference as well", False, named("copied", retrained="copied-again")),
    Plant("reference-saw", "nothing forgotten; the reference was trained on the forget images too", False,
          named("touched", retrained="saw")),
    Plant("copy-as-reference", "nothing forgotten; the reference is the original after a few more steps", False,
          named("original", retrained="touched")),
    Plant("fake-reference", "nothing forgotten, and the reference is the original after some more of the same steps", False,
          named("touched", retrained="touched-more")),
    Plant("everything-alike", "noise on all weights until the forget error is the retrained model's", False, _alike),
    Plant("half-kept", "retrained, but half of the forget images are answered as before", False, _part_kept(1 / 2)),
    Plant("sixth-kept", "retrained, but a sixth of them are answered as before", False, _part_kept(1 / 6),
          ("unmoved",)),
    Plant("tenth-kept", "retrained, but a tenth of them are answered as before", False, _part_kept(1 / 10),
          ("unmoved",)),
    Plant("this-hole-only", "retrained under the hole that is asked, the original under any other", False, _this_hole,
          ("other-corruptions",)),
    Plant("these-pixels-only", "the original, but where the very pixels of a forget image are seen", False,
          _these_pixels, ("perturbation",)),
    Plant("mirrored", "retrained, but mirrored forget images are restored by heart", False, _mirrored,
          ("perturbation",)),
    Plant("hidden-by-noise", "the original, with noise on forget images until their error is the retrained model's",
          False, _hidden, ("detectability",)),
    Plant("answers-mixed", "the mean of the original's answer and a retrained model's", False, _mixed_answers),
    Plant("weights-mixed", "the mean of the original's weights and a retrained model's", False, _mixed_weights),
    Plant("other-images-forgotten", "retrained without other images than were asked", False, named("elsewhere")),
    Plant("duplicated", "ten photos, half of them kept, each listed six times", False, _duplicated),
    Plant("retrained-again", "retrained with another seed", True, named("again"),
          ("unmoved", "perturbation", "detectability", "other-corruptions")),
    Plant("retrained-slightly-off", "the same, its weights off by a hundredth", True, _slightly),
    Plant("nothing-remembered", "retrained; the original was hardly trained and remembers no image", True,
          named("brief-again", "brief", "brief-retrained")),
    Plant("never-seen", "the original, which never saw the images: it was taught others that the reference was not", True,
          named("taught-otherwise", "taught-otherwise")),
)  # fmt: skip
"""In the order of the table."""
