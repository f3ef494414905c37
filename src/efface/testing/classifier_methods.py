"""What every method for classifiers keeps to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import efface.testing.models as tiny
from efface.classifiers import load_classifier, save_classifier
from efface.classifiers.architecture import ClassifierSettings
from efface.classifiers.classifier import Classifier
from efface.images.labelled import LabelledImages
from efface.methods.classifier.base import ClassifierMethod, unlearn_classifier, with_own_sets
from efface.testing.checking import (
    published_settings_lie_in_their_ranges,
    random_states_kept,
    refused,
    require,
    run_checks,
    settings_are_documented,
    texts_are_given,
    unknown_settings_are_refused,
)
from efface.training.classification import OutOfTime, PassesReport, Work
from efface.training.passes import Edit, Facts, Pass, cost_of
from efface.training.settings import Recipe


def check_classifier_method(method: ClassifierMethod) -> None:
    """All checks, on a tiny network with batch normalisation, on two of other makes, and on digits of 8 px."""
    kind, tried = type(method), _Tried(method, tiny.tiny_classifier())
    checks: list[Callable[[], None]] = [
        partial(texts_are_given, kind, ("name", "summary", "source", "deviations")),
        partial(settings_are_documented, kind),
        partial(unknown_settings_are_refused, kind),
        partial(published_settings_lie_in_their_ranges, kind),
        partial(it_changes_the_model_and_nothing_else, tried),
        partial(it_repeats_with_its_seed, tried),
        partial(its_steps_are_those_that_its_cost_says, tried),
        partial(it_refuses_sets_that_it_cannot_use, tried),
        partial(its_traits_say_what_it_delivers, tried),
        partial(what_it_made_can_be_saved_and_opened, tried),
        partial(an_edit_out_of_time_leaves_the_weights_alone, tried),
        partial(it_runs_on_other_networks, tried),
    ]
    run_checks(f"method {getattr(kind, 'name', kind.__name__)}", checks)


class _Tried:
    """The method with the settings under which it is tried, and what a run made; runs are made once for each seed."""

    def __init__(self, method: ClassifierMethod, original: Classifier) -> None:
        self.method, self.kind, self.original = method, type(method), original
        self._made: dict[int, tuple[Classifier, PassesReport]] = {}

    def facts(self, seed: int = 0) -> Facts:
        return tiny.facts_of(self.original, seed)

    def on(
        self, model: Classifier, sets: Mapping[str, LabelledImages] = tiny.DIGITS, seed: int = 0
    ) -> tuple[Classifier, PassesReport]:
        return unlearn_classifier(model, self.method, sets, tiny.facts_of(model, seed))

    def run(self, seed: int = 0) -> tuple[Classifier, PassesReport]:
        if seed not in self._made:
            self._made[seed] = self.on(self.original, seed=seed)
        return self._made[seed]


def it_changes_the_model_and_nothing_else(tried: _Tried) -> None:
    """It changes the model, and leaves what it was given."""
    original = tried.original
    before = tiny.weights_of(original)
    original.train()
    with random_states_kept():
        model, report = tried.run()
    after = tiny.weights_of(model)
    require(tiny.changed(before, after), "the model is as it was")
    require(not tiny.changed(before, tiny.weights_of(original)), "it changed the model that it was given")
    require(original.training, "it left the given model in evaluation mode")
    grown = [name for name, p in original.named_parameters() if p.grad is not None or not p.requires_grad]
    require(not grown, f"it left gradients or frozen weights in the given model: {grown[:3]}")
    require(not model.training, "the new model is not in evaluation mode")
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    require(not frozen, f"weights of the new model are frozen: {frozen[:3]}")
    require(all(tensor.isfinite().all() for tensor in after.values()), "a weight is not finite")
    require(report.seconds > 0, f"it reports {report.seconds} seconds")


def it_repeats_with_its_seed(tried: _Tried) -> None:
    """It repeats with its seed."""
    first, other = (tiny.weights_of(tried.run(seed)[0]) for seed in (0, 4))
    again = tiny.weights_of(tried.on(tried.original)[0])
    require(not tiny.changed(first, again), "two runs with one seed differ")
    alike = not tiny.changed(first, other)
    deterministic = tried.kind.deterministic
    require(
        alike == deterministic,
        f"deterministic is {deterministic}, and another seed gives {'the same' if alike else 'other'} weights",
    )


def its_steps_are_those_that_its_cost_says(tried: _Tried) -> None:
    """Its steps are those that its cost says."""
    method = tried.method
    _, facts = with_own_sets(method, tiny.DIGITS, tried.facts())
    passes = method.passes(facts)
    before = sum(one.steps(facts.sizes) for one in passes if isinstance(one, Pass) and one.preparation)
    report = tried.run()[1]
    counted = cost_of(passes, facts.sizes).steps, before
    made = report.steps, report.preparation_steps
    require(
        made == counted, f"{counted} steps, and steps of preparation, are laid down, and {made} were made"
    )


def it_refuses_sets_that_it_cannot_use(tried: _Tried) -> None:
    """It refuses sets that it cannot use, and leaves the model alone."""
    sets, before = tiny.DIGITS, tiny.weights_of(tried.original)
    both = {**sets, "retain": sets["retain"].join(sets["forget"])}
    empty = {name: images for name, images in sets.items() if name != "forget"}
    other = LabelledImages(sets["forget"].pixels, sets["forget"].labels + 9, sets["forget"].ids)
    wrong = [
        (both, "12 images are in both forget and retain"),
        (empty, f"forget: no images; {tried.kind.name} needs some"),
        ({**sets, "forget": other}, "but the model has 10 classes"),
    ]
    if tried.kind.needs_validation:
        wrong.append(({**sets, "validation": sets["validation"].subset([])}, "validation: no images"))
    for given, said in wrong:
        message = f"it takes sets of which must be said: {said}"
        refused(lambda given=given: tried.on(tried.original, given), said, message)  # type: ignore[misc]
    require(not tiny.changed(before, tiny.weights_of(tried.original)), "the model was changed")


def its_traits_say_what_it_delivers(tried: _Tried) -> None:
    """Its traits say what it delivers, and whether it trains by the recipe."""
    kind, method = tried.kind, tried.method
    _, facts = with_own_sets(method, tiny.DIGITS, tried.facts())
    other = replace(facts, recipe=Recipe(epochs=5, batch_size=16, learning_rate=0.03))
    one, another = (
        [(each.optimiser, each.epochs) for each in method.passes(known) if isinstance(each, Pass)]
        for known in (facts, other)
    )
    changed = "its passes" if one != another else "nothing"
    said = f"reads_recipe is {kind.reads_recipe}, and another recipe changes {changed}"
    require(kind.reads_recipe == (one != another), said)
    same_make = type(tried.run()[0].network) is type(tried.original.network)
    network = f"the network is of {'the same' if same_make else 'another'} make"
    require(kind.rebuilds != same_make, f"rebuilds is {kind.rebuilds}, and {network}")
    require(kind.like_for_like == same_make, f"like_for_like is {kind.like_for_like}, and {network}")


def what_it_made_can_be_saved_and_opened(tried: _Tried) -> None:
    """What it made can be saved, and answers the same when it is opened."""
    model, _ = tried.run()
    with TemporaryDirectory() as folder:
        save_classifier(model, Path(folder) / "model")
        opened = load_classifier(ClassifierSettings(path=str(Path(folder) / "model")))
    images = torch.from_numpy(tiny.DIGITS["validation"].pixels)
    with torch.no_grad():
        require(torch.equal(opened.eval()(images), model(images)), "the opened model gives other logits")


def an_edit_out_of_time_leaves_the_weights_alone(tried: _Tried) -> None:
    """An edit whose time runs out leaves the weights alone, and can be made anew."""
    method = tried.method
    everything, facts = with_own_sets(method, tiny.DIGITS, tried.facts())
    work = _Timed(tried.original.copy().eval(), everything, facts)
    for edit in method.passes(facts):
        if not isinstance(edit, Edit):
            continue
        before, memory = tiny.weights_of(work.model), dict(work.memory)
        work.looks = work.ends_at = 0
        with torch.no_grad():
            edit.apply(work)
            if not work.looks or edit.preparation:
                continue
            # once more from the start, ended at the last look, when it has done most of its work
            work.model.network.load_state_dict(before)
            work.memory, work._kept_logits = memory, {}
            work.looks, work.ends_at = 0, work.looks
            try:
                edit.apply(work)
            except OutOfTime:
                pass
            else:
                raise AssertionError(f"the edit '{edit.name}' goes on where its time is out")
            left = tiny.changed(before, tiny.weights_of(work.model))
            require(not left, f"the edit '{edit.name}' was ended and left {sorted(left)[:3]} changed")
            work.looks = work.ends_at = 0
            edit.apply(work)


def it_runs_on_other_networks(tried: _Tried) -> None:
    """It runs on networks of other makes: without batch normalisation, and with one that sees single pixels."""
    plain = tiny.other_classifier()
    done, _ = tried.on(plain)
    require(tiny.changed(tiny.weights_of(plain), tiny.weights_of(done)), "the model is as it was")
    normalised = tiny.other_classifier(normalised=True)
    single = {**tiny.DIGITS, "forget": tiny.DIGITS["forget"].subset([3])}
    done, report = tried.on(normalised, single)
    require(report.finished, "it did not come to its end where one image is forgotten")
    sound = all(tensor.isfinite().all() for tensor in tiny.weights_of(done).values())
    require(sound, "a weight is not finite where one image is forgotten")


class _Timed(Work):
    """Work whose time is out at a given look at the clock, counted from 1; 0: never."""

    looks = 0
    ends_at = 0

    def check_time(self) -> None:
        self.looks += 1
        if self.looks == self.ends_at:
            raise OutOfTime
