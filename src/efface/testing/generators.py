"""What every generator keeps to, with every corruption that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

import efface.testing.models as tiny
from efface.corruptions import Corruption, parse_corruption
from efface.errors import InputError
from efface.generators import load_generator
from efface.generators.base import Generator, View
from efface.generators.families import LearntCrops
from efface.testing.checking import refused, require, run_checks

COUNT = 3
CORRUPTIONS = ("centre:0.5", "random:0.5", "box:0.2,0.4", "colour", "downsample:4")
"""What a generator is tried with unless others are named: holes that are fixed, drawn and free, and degradations."""
NOISES = ("standard-normal", "moment-matched", "batch-matched", "uniform", "constant")


def check_generator(
    make: Callable[[], Generator],
    corruptions: Sequence[str] = CORRUPTIONS,
    sampler: str | None = None,
) -> None:
    """Check a generator.

    make: gives the same small model each time; fresh weights, under which it answers nearly alike whatever it sees, are
    made larger. sampler: a fast one, where it has several. Raises `AssertionError`.
    """

    def made() -> Generator:
        return tiny.randomised(make())

    name = f"generator {made().family}"
    taken = [corruption for corruption in map(parse_corruption, corruptions) if takes(made(), corruption)]
    checks: list[Callable[[], None]] = [partial(it_takes_one, taken, corruptions)]
    for corruption in taken:
        checks += [
            partial(check, made, corruption)
            for check in (
                views_hold_what_was_asked_for,
                features_predictions_and_losses_have_their_shapes,
                student_and_teacher_agree,
                noise_views_differ_in_what_is_seen_alone,
                released_baselines_have_what_they_feed_and_compare,
                joined_views_are_both,
                kept_codes_give_the_same_view,
                whole_picture_views_are_of_the_same_pictures,
            )
        ]
        checks += [
            partial(restoring_keeps_known_pixels, made, corruption, sampler),
            partial(restoring_does_not_look_at_what_is_hidden, made, corruption, sampler),
        ]
    checks += [
        partial(foreign_corruptions_are_refused, made, corruptions),
        partial(parameters_belong_to_one_part, made),
        partial(samplers_are_named, made, taken),
        partial(a_saved_model_opens_as_it_was, made, taken),
    ]
    run_checks(name, checks)


def takes(generator: Generator, corruption: Corruption) -> bool:
    """Whether the generator says that it can be shown views under this corruption."""
    try:
        generator.check_corruption(corruption)
    except InputError:
        return False
    return True


def it_takes_one(taken: Sequence[Corruption], corruptions: Sequence[str]) -> None:
    """It takes one of the corruptions that it is tried with."""
    require(taken, f"it takes none of {', '.join(corruptions)}: name one that it does")


def foreign_corruptions_are_refused(make: Callable[[], Generator], corruptions: Sequence[str]) -> None:
    """What it does not take is refused with a sentence that begins with the corruption."""
    generator = make()
    for corruption in map(parse_corruption, corruptions):
        if not takes(generator, corruption):
            check = partial(generator.check_corruption, corruption)
            refused(check, f"corruption '{corruption.name}", "the message does not name the corruption")


def views_hold_what_was_asked_for(make: Callable[[], Generator], corruption: Corruption) -> None:
    """A view holds its images and its corruption, whose draws are keyed by image and visit."""
    generator = make()
    images = tiny.pictures(COUNT, size=generator.image_size)
    view = generator.view(images, corruption, tiny.draws(COUNT))
    require(len(view) == COUNT, f"a view of {COUNT} images has the length {len(view)}")
    require(torch.equal(view.images, images), "the view's images are not those given")
    applied = corruption.apply(images, generator.grid, tiny.draws(COUNT))
    require(
        torch.equal(view.corrupted.known, applied.known), "other pixels are known than the corruption says"
    )
    moved = _view(generator, corruption, visit=1)
    same = torch.equal(applied.condition, moved.corrupted.condition)
    require(
        same != corruption.is_random,
        f"'{corruption}': another visit shows {'the same' if same else 'another picture'}",
    )


def features_predictions_and_losses_have_their_shapes(
    make: Callable[[], Generator], corruption: Corruption
) -> None:
    """Features, predictions and losses have their shapes, and no prediction is nearer to itself than itself."""
    generator = make().eval()
    view = _view(generator, corruption)
    with torch.no_grad():
        features = generator.encode(view)
        prediction = generator.decode(features, view)
    require(isinstance(features, tuple), f"encode gives a {type(features).__name__}, not a tuple")
    require(
        all(len(one) == COUNT and one.isfinite().all() for one in features),
        "features are not finite, one an image",
    )
    target = generator.task_target(view)
    require(
        len(prediction) == len(target) == COUNT, f"{len(prediction)} predictions and {len(target)} targets"
    )
    noise = generator.noise_target(view, "uniform", tiny.MOMENTS)
    require(
        target.shape == noise.shape,
        f"the target is {list(target.shape)}, the noise target {list(noise.shape)}",
    )
    if target.is_floating_point():
        require(
            prediction.shape == target.shape,
            f"the prediction is {list(prediction.shape)}, the target {list(target.shape)}",
        )
        none = generator.prediction_loss(target, target, view).tolist()
        require(none == [0.0] * COUNT, f"the loss of the target itself is {none}")
    losses = generator.prediction_loss(prediction, target, view)
    require(
        losses.shape == (COUNT,) and losses.isfinite().all() and (losses > 0).all(), f"losses are {losses}"
    )
    # a prediction may be a target too, as when outputs are distilled
    own = generator.prediction_loss(prediction, prediction, view)
    other = generator.prediction_loss(prediction.roll(1, 0), prediction, view)
    require(
        (own <= other + 1e-6).all(),
        f"another image's prediction is nearer to one ({other}) than itself ({own})",
    )
    require(torch.equal(generator.predict(view), prediction), "predict is not decode of encode")
    require(torch.allclose(generator.task_loss(view), losses), "task_loss is not the loss of the prediction")


def restoring_keeps_known_pixels(
    make: Callable[[], Generator], corruption: Corruption, sampler: str | None
) -> None:
    """Restoring keeps known pixels, fills the others, stays a picture, repeats, and draws anew only where it draws."""
    generator = make().eval()
    view = _view(generator, corruption)
    restored = generator.restore(view, sampler)
    require(restored.shape == view.images.shape, f"restored pictures are {list(restored.shape)}")
    require(not restored.requires_grad, "restored pictures carry gradients")
    known = view.corrupted.known.expand_as(view.images)
    require(torch.equal(restored[known], view.images[known]), "known pixels are not kept")
    low, high = float(restored.min()), float(restored.max())
    require(0 <= low <= high <= 1, f"restored pictures hold values from {low:g} to {high:g}")
    # a random network saturates, and where the truth is black or white too, that is no difference
    grey = ~known & (view.images > 0) & (view.images < 1)
    require(
        (restored[grey] != view.images[grey]).float().mean() > 0.9,
        "hidden pixels are those of the true picture",
    )
    require(torch.equal(generator.restore(view, sampler), restored), "restoring the same view twice differs")
    other = generator.restore(generator.redrawn(view, 1), sampler)
    require(torch.equal(other[known], view.images[known]), "another answer does not keep known pixels")
    drawn, differs = generator.is_stochastic(sampler), not torch.equal(other, restored)
    require(
        differs == drawn,
        f"is_stochastic is {drawn}, and another answer {'' if differs else 'no '}other picture",
    )


def restoring_does_not_look_at_what_is_hidden(
    make: Callable[[], Generator], corruption: Corruption, sampler: str | None
) -> None:
    """Restoring does not look at what is hidden."""
    if not corruption.hides:
        return
    generator = make().eval()
    view = _view(generator, corruption)
    swapped = torch.where(view.corrupted.known, view.images, 1 - view.images)
    other = generator.view(swapped, corruption, tiny.draws(COUNT))
    hidden = ~view.corrupted.known.expand_as(view.images)
    same = torch.equal(generator.restore(other, sampler)[hidden], generator.restore(view, sampler)[hidden])
    require(same, "other hidden pixels give another restoration")


def released_baselines_have_what_they_feed_and_compare(
    make: Callable[[], Generator], corruption: Corruption
) -> None:
    """What the baselines of Li et al. feed are views, what they compare finite losses, and equal outputs have none."""
    generator = make().eval()
    retain, forget = _view(generator, corruption), _view(generator, corruption, visit=1)
    with torch.no_grad():
        fed, noise = generator.noisy_label(retain, forget, tiny.MOMENTS)
        output, shown = generator.output(retain), generator.encode(generator.taught_view(forget))
        losses = {
            "released_loss": generator.released_loss(generator.predict(fed), noise, fed),
            "output_loss": generator.output_loss(generator.output(forget).roll(1, 0), output, forget),
        }
        same = generator.output_loss(output, output, retain)
    for name, loss in losses.items():
        sound = loss.shape == (COUNT,) and loss.isfinite().all() and (loss > 0).all()
        require(sound, f"{name} is not a number above 0 for each image: {loss}")
    require(same.abs().max() < 1e-5, f"output_loss of outputs to themselves is {same}")
    require(torch.equal(fed.images, forget.images), "noisy_label changes the true pixels of its view")
    require(all(len(one) == COUNT for one in shown), "taught_view holds another number of images")


def student_and_teacher_agree(make: Callable[[], Generator], corruption: Corruption) -> None:
    """Before training, student and teacher agree on every view."""
    generator = make().eval()
    view = _view(generator, corruption)
    generator.keep_teacher()
    for at in (view, generator.noise_view(view, "standard-normal", tiny.MOMENTS)):
        with torch.no_grad():
            student = generator.encode(at)
        with generator.teacher():
            taught = generator.encode(at)
        require(_equal(student, taught), "the teacher gives other features")


def noise_views_differ_in_what_is_seen_alone(make: Callable[[], Generator], corruption: Corruption) -> None:
    """Noise views differ in what the encoder sees and in nothing else."""
    generator = make().eval()
    view = _view(generator, corruption)
    with torch.no_grad():
        own = generator.encode(view)
        for kind in NOISES:
            noisy = generator.noise_view(view, kind, tiny.MOMENTS)  # type: ignore[arg-type]
            kept = torch.equal(noisy.images, view.images) and torch.equal(
                noisy.corrupted.known, view.corrupted.known
            )
            require(kept and noisy.draws == view.draws, f"{kind}: images, mask or draws of the view changed")
            features = generator.encode(noisy)
            require(not _equal(own, features), f"{kind}: the encoder sees the picture itself")
            again = generator.encode(generator.noise_view(view, kind, tiny.MOMENTS))  # type: ignore[arg-type]
            require(_equal(features, again), f"{kind}: the same view gets other noise a second time")


def joined_views_are_both(make: Callable[[], Generator], corruption: Corruption) -> None:
    """A joined view is both views one after the other."""
    generator = make().eval()
    images = tiny.pictures(COUNT, size=generator.image_size)
    first = generator.view(images[:1], corruption, tiny.draws(1))
    second = generator.view(images[1:], corruption, tiny.draws(COUNT - 1, first=1))
    with torch.no_grad():
        both = generator.encode(first.join(second))
        apart = generator.encode(first), generator.encode(second)
    for joined, *split in zip(both, *apart, strict=True):
        near = torch.allclose(joined, torch.cat(split), rtol=1e-3, atol=1e-4 * float(joined.abs().max()))
        require(near, "features of a joined view are not those of its parts")


def kept_codes_give_the_same_view(make: Callable[[], Generator], corruption: Corruption) -> None:
    """A view made from kept codes is the same."""
    generator = make().eval()
    view = _view(generator, corruption)
    codes = generator.codes(view.images, corruption)
    if codes is None:
        return
    given = generator.view(view.images, corruption, tiny.draws(COUNT), codes=codes)
    with torch.no_grad():
        pairs = zip(generator.encode(given), generator.encode(view), strict=True)
        require(all(torch.allclose(one, other, atol=1e-5) for one, other in pairs), "features differ")


def whole_picture_views_are_of_the_same_pictures(
    make: Callable[[], Generator], corruption: Corruption
) -> None:
    """A view with codes of the whole picture keeps pictures, mask and draws; a model without a first stage has none."""
    generator = make().eval()
    view = _view(generator, corruption)
    whole = generator.whole_picture_view(view)
    if whole is None:
        return
    require(bool(generator.first_stage_parameters()), "it has codes of whole pictures, but no first stage")
    kept = torch.equal(whole.images, view.images) and torch.equal(whole.corrupted.known, view.corrupted.known)
    require(kept and whole.draws == view.draws, "images, mask or draws of the view changed")


def parameters_belong_to_one_part(make: Callable[[], Generator]) -> None:
    """Parameters belong to encoder, decoder or first stage alone."""
    generator = make()
    groups = {
        "encoder": set(generator.encoder_parameters()),
        "decoder": set(generator.decoder_parameters()),
        "first stage": set(generator.first_stage_parameters()),
    }
    for name in ("encoder", "decoder"):
        require(groups[name], f"the {name} has no parameters")
    everything = set.union(*groups.values())
    require(sum(map(len, groups.values())) == len(everything), "a parameter belongs to two parts")
    strange = everything - set(dict(generator.network.named_parameters()))
    require(not strange, f"{sorted(strange)[:3]} are no parameters of the network")
    staged = bool(groups["first stage"])
    require(
        (generator.first_stage_digest() is not None) == staged,
        "first_stage_digest and its parameters disagree",
    )
    codes = generator.codes(tiny.pictures(2, size=generator.image_size), generator.usual_corruption)
    require((codes is not None) == staged, "codes and the first stage's parameters disagree")


def samplers_are_named(make: Callable[[], Generator], taken: Sequence[Corruption]) -> None:
    """Samplers are named, its own is taken where none is, and unknown ones are refused."""
    generator = make().eval()
    own = generator.sampler_name(None)
    require(own is None or generator.sampler_name(own) == own, f"its own sampler '{own}' is read as another")
    refused(lambda: generator.sampler_name("no-such"), "sampler 'no-such'", "it takes the sampler 'no-such'")
    view = _view(generator, taken[0])
    require(
        torch.equal(generator.restore(view), generator.restore(view, own)),
        f"without a name it takes another than '{own}'",
    )


def a_saved_model_opens_as_it_was(make: Callable[[], Generator], taken: Sequence[Corruption]) -> None:
    """A saved model opens with the same weights, and remembers under which crops and with what it was trained."""
    generator = make()
    usual, other = generator.training_corruption, str(taken[-1])
    with TemporaryDirectory() as folder:
        for name, trained_with in (("usual", None), ("other", parse_corruption(other))):
            generator.trained_with = trained_with
            generator.learnt_crops = LearntCrops(scale=(0.5, 1.0), flip=False, per_image=None)
            generator.save(Path(folder) / name)
            opened = load_generator(generator.settings_at(str(Path(folder) / name)))
            require(
                opened.weights_digest() == generator.weights_digest(), "the opened model has other weights"
            )
            require(
                opened.learnt_crops == generator.learnt_crops, "the opened model was trained on other crops"
            )
            wanted = trained_with or usual
            require(
                opened.training_corruption == wanted,
                f"trained with {wanted}, it is opened as of {opened.training_corruption}",
            )


def _view(generator: Generator, corruption: Corruption, visit: int = 0) -> View:
    images = tiny.pictures(COUNT, size=generator.image_size)
    return generator.view(images, corruption, tiny.draws(COUNT, visit=visit))


def _equal(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
