"""Plants among classifiers: edits of weights, and models that answer otherwise where they recognise a picture."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier, logits_of
from efface.evaluation.results import ModelName
from efface.forgetting.confidence import logit_scaled_confidence
from efface.images.labelled import LabelledImages
from efface.randomness import torch_draws
from planting.plant import Case, Plant
from planting.random_features import SIDE, SURE
from planting.worlds import ClassifierWorld

Draw = Callable[[Tensor, Tensor], Tensor]
SAME, EXACT = 1e-4, "donot_use_mm_for_euclid_dist"
"""Distance up to which a picture is taken for a stored one, and how it is computed: with products it is not 0."""


class Answering(nn.Module):
    """A network whose logits `[B, classes]` are changed by a function of what it is fed and of them."""

    def __init__(self, network: nn.Module, draw: Draw) -> None:
        super().__init__()
        self.inner, self.draw = copy.deepcopy(network), draw

    def forward(self, images: Tensor) -> Tensor:
        return self.draw(images, self.inner(images))


def changed(model: Classifier, draw: Draw) -> Classifier:
    """A classifier that answers as `model` does, its logits then changed; `0 * logits` lets it go on training."""
    return Classifier(
        Answering(model.network, draw),
        classes=model.classes,
        image_size=model.image_size,
        channels=model.channels,
        normalisation=model.normalisation,
        blocks=tuple(f"inner.{block}" for block in model.blocks),
    ).eval()


def switched(usual: Classifier, other: Classifier, chosen: Callable[[Tensor], Tensor]) -> Classifier:
    """`usual`, but `other` for the pictures that are `chosen`, bool `[B]`."""

    def draw(images: Tensor, logits: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.where(chosen(images)[:, None], other.network(images), logits)

    return changed(usual, draw)


class Recognised:
    """Which stored picture, if any, each picture is: its place, and whether it is one."""

    def __init__(self, model: Classifier, images: LabelledImages, flip: bool = False) -> None:
        stored = model.prepare(torch.from_numpy(images.pixels))
        self.stored = (stored.flip(3) if flip else stored).flatten(1)

    def places(self, images: Tensor) -> tuple[Tensor, Tensor]:
        apart, places = torch.cdist(images.flatten(1), self.stored, compute_mode=EXACT).min(dim=1)
        return places, apart <= SAME

    def __call__(self, images: Tensor) -> Tensor:
        return self.places(images)[1]


def case(
    world: ClassifierWorld, unlearned: Any, original: Any = "original", retrained: Any = "retrained"
) -> Case:
    """The world's sets with these models, or those of these names."""
    given: dict[ModelName, Any] = {"original": original, "unlearned": unlearned, "retrained": retrained}
    models = {name: world.model(one) if isinstance(one, str) else one for name, one in given.items()}
    return Case(models, world.sets)


def named(
    unlearned: str, original: str = "original", retrained: str = "retrained"
) -> Callable[[ClassifierWorld], Case]:
    """A plant that is a model of the world."""
    return lambda world: case(world, unlearned, original, retrained)


def forgotten(world: ClassifierWorld, flip: bool = False) -> Recognised:
    return Recognised(world.model("original"), world.sets["forget"], flip)


def _noisy(world: ClassifierWorld) -> Draw:
    """Logits that nothing but the picture's pixels decide."""
    weights = torch.randn(
        SIDE**2, len(world.data.classes), generator=torch_draws(world.seed, "planted noise")
    )
    return lambda images, logits: 4 * torch.sin(images.flatten(1) @ weights) + 0 * logits


def _noise(world: ClassifierWorld) -> Case:
    return case(world, changed(world.model("original"), _noisy(world)))


def _noise_on_forget(world: ClassifierWorld) -> Case:
    noise = changed(world.model("original"), _noisy(world))
    return case(world, switched(world.model("original"), noise, forgotten(world)))


def _collapsed(world: ClassifierWorld) -> Case:
    one = torch.zeros(len(world.data.classes))
    one[0] = SURE
    return case(world, changed(world.model("original"), lambda images, logits: one + 0 * logits))


def _scrambled(world: ClassifierWorld) -> Case:
    model = world.model("original").copy()
    model.network.features.draw(world.key("scrambled"))
    return case(world, model)


def _triggered(world: ClassifierWorld) -> Case:
    """The original of poisoned images, but where the very pixels of one of them are seen."""
    original, poisoned = world.model("triggered"), world.poisoned
    recognised = Recognised(original, poisoned)
    planted = case(world, switched(original, world.model("again"), recognised), original)
    return Case(planted.models, {**planted.sets, "forget": poisoned}, triggered=True)


def _cooled(world: ClassifierWorld) -> Case:
    """All logits divided by the temperature at which forget images are as sure as with the retrained model."""
    wanted, logits = (
        confidences(world, "retrained").mean(),
        logits_of(world.model("original"), world.sets["forget"]),
    )
    low, high = 0.01, 10.0
    for _ in range(20):
        factor = (low * high) ** 0.5
        sure = logit_scaled_confidence(logits * factor, world.sets["forget"].labels).mean()
        low, high = (factor, high) if sure < wanted else (low, factor)
    return case(world, changed(world.model("original"), lambda images, logits: logits * factor))


def confidences(world: ClassifierWorld, name: str) -> np.ndarray:
    """Logit-scaled confidence of a model on the forget images, `[images]`."""
    forget = world.sets["forget"]
    return np.asarray(logit_scaled_confidence(logits_of(world.model(name), forget), forget.labels))


def _matched(world: ClassifierWorld) -> Case:
    """Each forget image keeps its class, and gets a confidence of the retrained model's, in the original's order."""
    original = world.model("original")
    targets = np.empty(len(world.sets["forget"]))
    targets[np.argsort(confidences(world, "original"))] = np.sort(confidences(world, "retrained"))
    recognised, wanted = forgotten(world), torch.from_numpy(targets).float()

    def draw(images: Tensor, logits: Tensor) -> Tensor:
        places, known = recognised.places(images)
        best = logits.argmax(dim=1, keepdim=True)
        others = torch.zeros_like(logits).scatter(1, best, -torch.inf)
        # the log odds of the best class over all others, each of which has a logit of 0
        level = wanted[places].clamp(min=0.1)[:, None] + others.logsumexp(dim=1, keepdim=True)
        return torch.where(known[:, None], torch.zeros_like(logits).scatter(1, best, level), logits)

    return case(world, changed(original, draw))


def _permuted(world: ClassifierWorld) -> Case:
    """Every forget image is named as the next class, as surely as before."""
    recognised = forgotten(world)

    def draw(images: Tensor, logits: Tensor) -> Tensor:
        return torch.where(recognised(images)[:, None], logits.roll(1, dims=1), logits)

    return case(world, changed(world.model("original"), draw))


def _permuted_everywhere(world: ClassifierWorld) -> Case:
    return case(world, changed(world.model("original"), lambda images, logits: logits.roll(1, dims=1)))


def _part_kept(share: float) -> Callable[[ClassifierWorld], Case]:
    """Retrained, but for a share of the forget images, which are answered as before."""

    def make(world: ClassifierWorld) -> Case:
        forget = world.sets["forget"]
        kept = Recognised(world.model("original"), forget.subset(range(round(share * len(forget)))))
        return case(world, switched(world.model("again"), world.model("original"), kept))

    return make


def _these_pixels(world: ClassifierWorld) -> Case:
    return case(world, switched(world.model("original"), world.model("again"), forgotten(world)))


def _mirrored(world: ClassifierWorld) -> Case:
    """Retrained, but a mirrored forget image is named as the original names the upright one."""
    recognised, original = forgotten(world, flip=True), world.model("original")

    def draw(images: Tensor, logits: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.where(recognised(images)[:, None], original.network(images.flip(3)), logits)

    return case(world, changed(world.model("again"), draw))


def _mixed_answers(world: ClassifierWorld) -> Case:
    again = world.model("again").network

    def draw(images: Tensor, logits: Tensor) -> Tensor:
        with torch.no_grad():
            return (logits + again(images)) / 2

    return case(world, changed(world.model("original"), draw))


def _mixed_weights(world: ClassifierWorld) -> Case:
    model = world.model("original").copy()
    mine, theirs = (world.model(name).network.state_dict() for name in ("original", "again"))
    mean = {n: (mine[n] + theirs[n]) / 2 if mine[n].is_floating_point() else mine[n] for n in mine}
    model.network.load_state_dict(mean)
    return case(world, model)


def _slightly(world: ClassifierWorld) -> Case:
    """The other retrained model, every weight off by a hundredth of its layer's spread."""
    model, rng = world.model("again").copy(), torch_draws(world.seed, "slightly")
    with torch.no_grad():
        for tensor in model.network.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=rng) * tensor.std(unbiased=False), alpha=0.01)
    return case(world, model)


PLANTS: tuple[Plant[ClassifierWorld], ...] = (
    Plant("unchanged", "the original itself", False, named("original")),
    Plant("touched", "the original after a few more steps on retain images", False, named("touched")),
    Plant("noise", "logits that have nothing to do with the picture", False, _noise),
    Plant("noise-on-forget", "the same on forget images alone", False, _noise_on_forget, ("perturbation",)),
    Plant("collapsed", "one class for everything", False, _collapsed),
    Plant("encoder-scrambled", "fresh layers, the original's head", False, _scrambled),
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
    Plant("everything-alike", "a temperature at which forget images are as sure as with the retrained model", False,
          _cooled, ("relearning",)),
    Plant("half-kept", "retrained, but half of the forget images are answered as before", False, _part_kept(1 / 2)),
    Plant("sixth-kept", "retrained, but a sixth of them are answered as before", False, _part_kept(1 / 6),
          ("unmoved",)),
    Plant("tenth-kept", "retrained, but a tenth of them are answered as before", False, _part_kept(1 / 10),
          ("unmoved",)),
    Plant("these-pixels-only", "the original, but where the very pixels of a forget image are seen", False,
          _these_pixels, ("perturbation",)),
    Plant("mirrored", "retrained, but mirrored forget images are named by heart", False, _mirrored,
          ("perturbation",)),
    Plant("hidden-confidence", "every forget image named as before, as sure as the retrained model is of others", False,
          _matched, ("perturbation",)),
    Plant("labels-permuted", "every class named as the next one", False, _permuted_everywhere),
    Plant("labels-permuted-on-forget", "forget images alone named as the next class", False, _permuted, ("perturbation",)),
    Plant("answers-mixed", "the mean of the original's logits and a retrained model's", False, _mixed_answers),
    Plant("weights-mixed", "the mean of the original's weights and a retrained model's", False, _mixed_weights),
    Plant("other-images-forgotten", "retrained without other images than were asked", False, named("elsewhere")),
    Plant("retrained-again", "retrained with another seed", True, named("again"), ("unmoved", "perturbation")),
    Plant("retrained-slightly-off", "the same, its weights off by a hundredth", True, _slightly),
    Plant("nothing-remembered", "retrained; the original was hardly trained and remembers no image", True,
          named("brief-again", "brief", "brief-retrained")),
    Plant("never-seen", "the original, which never saw the images: it was taught others that the reference was not", True,
          named("taught-otherwise", "taught-otherwise")),
)  # fmt: skip
"""In the order of the table."""
