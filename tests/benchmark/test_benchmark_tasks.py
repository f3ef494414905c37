"""Tasks on the digits: settings, splits, the second forget set, fresh classifiers."""

import numpy as np
import pytest
import torch

from efface.benchmark.classifiers.task import ClassifierTask, new_classifier, task_named
from efface.errors import InputError
from efface.images.datasets import Dataset, open_dataset

DIGITS = task_named("digits")


def digits(**changes: object) -> ClassifierTask:
    """changes: of the task, or else of its images."""
    values = DIGITS.as_dict()
    own = {name: value for name, value in changes.items() if name in values}
    return ClassifierTask.read(
        {**values, **own, "images": {**values["images"], **changes_of_images(changes)}}
    )


def changes_of_images(changes: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in changes.items() if name not in ClassifierTask.model_fields}


def ids(data: Dataset) -> dict[str, set[str]]:
    return {name: set(getattr(data, name).ids) for name in ("forget", "retain", "validation", "test")}


def test_the_digits_are_split_by_their_shares_and_no_image_is_in_two_parts():
    data = open_dataset(digits(limit=None, forget="random:0.05").images)
    assert {name: len(found) for name, found in ids(data).items()} == {
        "forget": 72,  # a twentieth of 1437
        "retain": 1365,
        "validation": 180,
        "test": 180,
    }
    assert len(set.union(*ids(data).values())) == 1797
    assert data.forget.pixels.shape == (72, 1, 8, 8)
    assert data.train.pixels.max() == 255
    assert data.classes == tuple("0123456789")


def test_values_of_the_digits_are_stretched_to_a_byte():
    from sklearn.datasets import load_digits

    raw = load_digits()
    train = open_dataset(digits(limit=None).images).train
    for place in (0, 700):
        number = int(train.ids[place].removeprefix("digits/"))
        assert np.array_equal(train.pixels[place, 0], np.floor(raw.images[number] * 255 / 16 + 0.5))
        assert train.labels[place] == raw.target[number]


def test_a_task_opens_alike_each_time_and_otherwise_for_another_seed():
    assert open_dataset(DIGITS.images).digest() == open_dataset(DIGITS.images).digest()
    assert open_dataset(DIGITS.images).digest() != open_dataset(digits(split_seed=1).images).digest()
    assert DIGITS.digest() == digits().digest() != digits(split_seed=1).digest()


@pytest.mark.parametrize("rule", ["random:0.1", "random:40", "class:3@0.5", "class:3,5"])
def test_the_forget_set_for_tuning_is_another_one_and_all_else_stays(rule: str):
    scored, tuned = (open_dataset(digits(forget=rule).images, purpose) for purpose in ("score", "tuning"))
    assert not ids(scored)["forget"] & ids(tuned)["forget"]
    assert ids(scored)["forget"] <= ids(tuned)["retain"]
    assert scored.train.ids == tuned.train.ids
    assert ids(scored)["test"] == ids(tuned)["test"]
    assert ids(scored)["validation"] == ids(tuned)["validation"]
    if rule.startswith("random"):
        assert len(scored.forget) == len(tuned.forget)
    else:
        assert not set(scored.forget.labels) & set(tuned.forget.labels)
        assert len(set(scored.forget.labels)) == len(set(tuned.forget.labels))


def test_a_limit_draws_training_images_and_leaves_the_others():
    whole, few = open_dataset(digits(limit=None).images), open_dataset(digits(limit=100).images)
    assert (len(few.forget), len(few.retain)) == (8, 92)
    assert set(few.train.ids) <= set(whole.train.ids)
    assert few.test.ids == whole.test.ids


def test_images_are_brought_to_the_size_and_the_channels_that_were_asked_for():
    data = open_dataset(digits(image_size=12, channels=3, limit=20).images)
    assert data.retain.pixels.shape[1:] == (3, 12, 12)
    assert np.array_equal(data.test.pixels[:, 0], data.test.pixels[:, 2])
    assert len(open_dataset(digits(validation=0, limit=20).images).validation) == 0


def test_a_fresh_classifier_is_keyed_by_its_seed_and_takes_raw_values():
    data = open_dataset(DIGITS.images)
    first, again, other = (new_classifier(DIGITS, data, seed) for seed in (1, 1, 2))
    assert first.weights_digest() == again.weights_digest() != other.weights_digest()
    assert first(torch.from_numpy(data.test.pixels[:3])).shape == (3, 10)
    assert first.blocks == ("block1", "block2", "block3", "head")
    assert first.normalisation.scale == 1.0


def test_standard_normalisation_is_that_of_the_training_images_whichever_are_forgotten():
    task = digits(normalisation="standard")
    data = open_dataset(task.images)
    fed = new_classifier(task, data, 0).prepare(torch.from_numpy(data.train.pixels))
    assert abs(float(fed.mean())) < 1e-4
    assert abs(float(fed.std()) - 1) < 1e-3
    tuned = new_classifier(task, open_dataset(task.images, "tuning"), 0)
    assert tuned.normalisation == new_classifier(task, data, 0).normalisation


def test_the_recipe_of_the_digits_learns_them_in_few_steps():
    from efface.classifiers.classifier import logits_of
    from efface.training.classification import run_passes
    from efface.training.passes import Facts, cost_of, training_pass

    data, recipe = open_dataset(DIGITS.images), DIGITS.recipe
    model, passes = new_classifier(DIGITS, data, 0), [training_pass(recipe, "train")]
    sizes = {"train": len(data.train)}
    assert cost_of(passes, sizes).steps < 250
    run_passes(model, passes, {"train": data.train}, Facts(sizes, 10, model.blocks, recipe, 0))
    right = {
        name: (logits_of(model, images).argmax(1) == images.labels).mean()
        for name, images in (("train", data.train), ("test", data.test))
    }
    assert right["train"] > 0.99
    assert right["test"] > 0.93


def test_images_of_the_same_pixels_as_a_forget_image_are_noted():
    from efface.images.datasets.opening import _copies
    from efface.images.labelled import LabelledImages

    one = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    sets = {name: LabelledImages(one, np.zeros(1, np.int64), (name,)) for name in ("forget", "retain")}
    sets |= {name: LabelledImages(one + 1, np.zeros(1, np.int64), (name,)) for name in ("validation", "test")}
    assert _copies(sets) == ["1 retain image has the very pixels of a forget image"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"path": "x"}, "digits come with scikit-learn"),
        ({"validation": 0.5, "test": 0.5}, "leave no training images"),
        ({"forget": "radnom:0.1"}, "did you mean 'random'"),
        ({"forget": "random:1.5"}, "Valid: random:0.05"),
        ({"forget": "random:0"}, "Valid: random:0.05"),
        ({"network": {"network": "resnet18", "width": 8}}, "a resnet18 has none"),
        ({"split": "compat"}, "compat is how the released code splits casia-surf"),
        ({"age_edges": [5, 3]}, "age_edges: only for"),
        ({"age_edges": [5, 3]}, "each must be above"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        digits(**changes)


def test_every_built_in_task_stands_and_another_name_is_refused():
    for name in ("digits", "faces-age", "casia-surf", "cifar10"):
        assert task_named(name).images.data == name
    assert task_named("faces-age").recipe.epochs == 30
    assert task_named("cifar10").recipe.optimizer == "sgd"
    assert task_named("folder:some/where").images.path == "some/where"
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        task_named("cifar100")


@pytest.mark.parametrize("name", ["faces-age", "casia-surf", "cifar10", "folder"])
def test_a_task_without_its_path_says_what_must_lie_there(name: str):
    with pytest.raises(InputError, match=r"path: .* need the folder in which they lie: .+"):
        open_dataset(task_named(name).images)
