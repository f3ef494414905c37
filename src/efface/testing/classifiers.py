"""What every classifier keeps to, whatever its network is made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import efface.testing.models as tiny
from efface.classifiers.classifier import Classifier
from efface.testing.checking import random_states_kept, require, run_checks

COUNT = 4


def check_classifier(make: Callable[[], Classifier]) -> None:
    """Check a classifier, such as a reader of another layout opens. Raises `AssertionError`.

    make: gives the same small model each time, with networks that can draw their weights anew.
    """
    checks = (logits_of_pictures, blocks_hold_all_weights, the_head_gives_the_logits, a_copy_is_its_own,
              fresh_weights_are_keyed, the_digest_follows_the_weights, its_description_is_plain)  # fmt: skip
    run_checks(f"classifier {type(make().network).__name__}", [partial(check, make) for check in checks])


def logits_of_pictures(make: Callable[[], Classifier]) -> None:
    """One finite logit for each class and picture, of bytes and floats alike, whatever else is in the batch."""
    model = make().eval()
    images = _images(model)
    with torch.no_grad(), random_states_kept():
        logits = model(images)
        again, alone = model(images.float()), model(images[1:2])
    require(
        logits.shape == (COUNT, len(model.classes)),
        f"logits are {list(logits.shape)}, of {len(model.classes)} classes",
    )
    require(logits.isfinite().all(), "a logit is not finite")
    require(torch.equal(logits, again), "pictures as bytes and as floats have other logits")
    require(
        torch.allclose(logits[1:2], alone, rtol=1e-3, atol=1e-4),
        "alone a picture has other logits than among others",
    )
    require((logits - logits[0]).abs().max() > 0, "every picture has the same logits")


def blocks_hold_all_weights(make: Callable[[], Classifier]) -> None:
    """Its blocks hold all weights, each in one."""
    model = make()
    held = [name for block in model.blocks for name in model.parameters_of((block,))]
    twice = sorted({name for name in held if held.count(name) > 1})
    require(not twice, f"{twice[:3]} are in two blocks")
    left = sorted(set(dict(model.network.named_parameters())) - set(held))
    require(not left, f"{left[:3]} are in no block")


def the_head_gives_the_logits(make: Callable[[], Classifier]) -> None:
    """The last block is the head: what it is fed are the features, what it gives the logits."""
    model = make().eval()
    with torch.no_grad():
        features, logits = model.features_and_logits(_images(model))
    require(features.ndim == 2 and len(features) == COUNT, f"features are {list(features.shape)}")
    require(logits.shape[1] == len(model.classes), f"the head gives {logits.shape[1]} logits")


def a_copy_is_its_own(make: Callable[[], Classifier]) -> None:
    """A copy has weights of its own."""
    model = make()
    before, copy = tiny.weights_of(model), model.copy()
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(1.0)
    require(not tiny.changed(before, tiny.weights_of(model)), "the copy shares weights with the model")


def fresh_weights_are_keyed(make: Callable[[], Classifier]) -> None:
    """Fresh weights follow from their seed, and those of one block leave the others alone."""
    one, again, other = make(), make(), make()
    with random_states_kept():
        for model, seed in ((one, 1), (again, 1), (other, 2)):
            model.reinitialise(seed)
    require(one.weights_digest() == again.weights_digest(), "one seed gives two sets of weights")
    require(one.weights_digest() != other.weights_digest(), "two seeds give one set of weights")
    model = make()
    before = tiny.weights_of(model)
    model.reinitialise(1, (model.blocks[-1],))
    head = set(model.parameters_of((model.blocks[-1],)))
    moved = {name for name in tiny.changed(before, tiny.weights_of(model)) if name not in head}
    require(not moved, f"drawing the head anew changes {sorted(moved)[:3]}")


def the_digest_follows_the_weights(make: Callable[[], Classifier]) -> None:
    """The digest follows the weights."""
    model = make()
    before = model.weights_digest()
    require(make().weights_digest() == before, "the same model has two digests")
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    require(model.weights_digest() != before, "changed weights have the same digest")


def its_description_is_plain(make: Callable[[], Classifier]) -> None:
    """Its description counts its weights."""
    model = make()
    count = sum(parameter.numel() for parameter in model.network.parameters())
    require(
        model.describe().get("parameters") == count, f"it has {count} weights, and says {model.describe()}"
    )


def _images(model: Classifier) -> Tensor:
    pictures = tiny.pictures(COUNT, size=model.image_size)[:, : model.channels]
    return (pictures * 255).round().to(torch.uint8)
