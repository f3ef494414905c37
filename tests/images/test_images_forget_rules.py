"""Forget rules, on data made for the purpose: 4 classes, 20 persons, 200 images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from efface.errors import InputError
from efface.images.datasets.forget_rules import forget_places, named_places, parse_rule
from efface.images.datasets.source import Source
from efface.images.datasets.splitting import split_places

IMAGES = 200
SHARES = {"train": 0.0, "validation": 0.1, "test": 0.1}
TRAIN = np.arange(20, IMAGES)


def source(**changes: object) -> Source:
    made = Source(
        ids=tuple(f"a/{place}.png" for place in range(IMAGES)),
        labels=np.arange(IMAGES) % 4,
        classes=("cat", "dog", "frog", "ship"),
        pixels=lambda places: np.zeros((len(places), 1, 4, 4), np.uint8),
        # persons of 1 to 19 images
        persons=tuple(f"p{int((2 * place) ** 0.5):02d}" for place in range(IMAGES)),
    )
    return replace(made, **changes)


def chosen(rule: str, tuning: bool = False, seed: int = 0, **changes: object) -> np.ndarray:
    data = source(**changes)
    return forget_places(parse_rule(rule), data, TRAIN, seed, tuning=tuning)


@pytest.mark.parametrize(
    ("rule", "count"), [("random:0.05", 9), ("random:.5", 90), ("random:30", 30), ("random:0.001", 1)]
)
def test_a_random_set_has_its_share_or_count(rule: str, count: int):
    found = chosen(rule)
    assert len(found) == count
    assert set(found) <= set(TRAIN)
    assert np.array_equal(found, chosen(rule))
    assert count == 1 or not np.array_equal(found, chosen(rule, seed=1))


def test_a_random_set_that_leaves_too_little_is_refused():
    assert len(chosen("random:179")) == 179
    with pytest.raises(InputError, match="none is left to retain"):
        chosen("random:180")
    with pytest.raises(InputError, match="only 180 training images"):
        chosen("random:181")
    with pytest.raises(InputError, match="needs 100 more images, but only 80 are left"):
        chosen("random:100", tuning=True)


def test_a_class_is_forgotten_whole_or_in_part():
    labels = source().labels
    assert np.array_equal(chosen("class:dog"), TRAIN[labels[TRAIN] == 1])
    assert set(labels[chosen("class:dog,ship")]) == {1, 3}
    part = chosen("class:dog@0.2")
    assert len(part) == 9
    assert set(labels[part]) == {1}
    with pytest.raises(InputError, match="no class 'dgo'; did you mean 'dog'"):
        chosen("class:dgo")
    with pytest.raises(InputError, match="none is left to retain"):
        chosen("class:cat,dog,frog,ship")


def test_persons_are_forgotten_with_all_their_images():
    persons = np.array(source().persons)
    for tuning in (False, True):
        found = chosen("person:3", tuning)
        names = set(persons[found])
        assert len(names) == 3
        assert not names & set(persons[np.setdiff1d(TRAIN, found)])
    assert not set(persons[chosen("person:3")]) & set(persons[chosen("person:3", tuning=True)])
    assert abs(len(chosen("person:0.1")) - 18) <= 10
    with pytest.raises(InputError, match="only 14 persons"):
        chosen("person:90")
    with pytest.raises(InputError, match="do not say whom an image shows"):
        chosen("person:3", persons=None)


def test_the_most_memorised_are_taken_and_the_next_ones_for_tuning(tmp_path: Path):
    scores = np.full(IMAGES, np.nan)
    scores[[30, 40, 50, 60]] = 0.2, 0.9, 0.4, 0.6
    scores[5] = 1.0  # not a training image
    np.savez(tmp_path / "s.npz", ids=np.array(source().ids), scores=scores)
    rule = f"memorised:2@{tmp_path}/s.npz"
    assert chosen(rule).tolist() == [40, 60]
    assert chosen(rule, tuning=True).tolist() == [30, 50]
    with pytest.raises(InputError, match="only 4 of the 180 training images have a score"):
        chosen(f"memorised:5@{tmp_path}/s.npz")
    with pytest.raises(InputError, match=r"missing\.npz cannot be read"):
        chosen(f"memorised:5@{tmp_path}/missing.npz")


def test_a_list_names_ids_numbers_and_files(tmp_path: Path):
    text = f"# chosen by hand\na/33.png\n\n21\n{tmp_path}/data/a/44.png\n"
    (tmp_path / "list.txt").write_text(text)
    data = source(root=str(tmp_path / "data"))
    rule = parse_rule(f"list:{tmp_path}/list.txt")
    assert named_places(rule, data).tolist() == [21, 33, 44]
    second = forget_places(rule, data, TRAIN, 0, tuning=True)
    assert len(second) == 3
    assert not set(second) & {21, 33, 44}


def test_a_list_of_a_spreadsheet_names_the_same(tmp_path: Path):
    (tmp_path / "list.csv").write_bytes("a\\33.png\r\n a/44.png \r\n".encode("utf-16"))
    assert named_places(parse_rule(f"list:{tmp_path}/list.csv"), source()).tolist() == [33, 44]


def test_a_list_names_all_its_faults_at_once(tmp_path: Path):
    (tmp_path / "list.txt").write_text("a/33.pgn\n999\n" + "9" * 5000)
    with pytest.raises(InputError) as error:
        named_places(parse_rule(f"list:{tmp_path}/list.txt"), source())
    assert "line 1: no image 'a/33.pgn'; did you mean 'a/33.png'?" in str(error.value)
    assert "line 2: no image '999'" in str(error.value)
    assert "line 3: no image '99" in str(error.value)


def test_what_a_list_names_is_always_trained_on(tmp_path: Path):
    (tmp_path / "list.txt").write_text("\n".join(str(place) for place in range(0, IMAGES, 4)))
    data = source(persons=None)
    named = named_places(parse_rule(f"list:{tmp_path}/list.txt"), data)
    for limit in (None, 60):
        places = split_places(data, SHARES, 0, named, limit)
        assert set(named) <= set(places["train"])
        assert {part: len(found) for part, found in places.items()} == {
            "train": limit or 160,
            "validation": 20,
            "test": 20,
        }
    with pytest.raises(InputError, match="40 training images do not hold the 50"):
        split_places(data, SHARES, 0, named, 40)


def test_a_listed_image_of_a_test_part_that_comes_with_the_data_is_refused():
    data = source(parts=("test",) * 20 + ("train",) * 180)
    with pytest.raises(InputError, match="1 of 2 images that are to be forgotten are no training images"):
        split_places(data, SHARES, 0, np.array([3, 30]), None)


def test_persons_are_in_one_part_alone():
    data = source()
    places = split_places(data, SHARES, 0, np.zeros(0, np.int64), None)
    held = {part: {data.persons[place] for place in found} for part, found in places.items()}
    assert not held["train"] & held["test"]
    assert not held["train"] & held["validation"]
    assert not held["test"] & held["validation"]
    assert sum(len(found) for found in places.values()) == IMAGES
    assert abs(len(places["test"]) - 20) <= 10
    assert abs(len(places["validation"]) - 20) <= 10


def test_the_kit_needs_its_file():
    with pytest.raises(InputError, match=r"put the starting kit's there, or choose random:0\.1"):
        named_places(parse_rule("kit"), source())


@pytest.mark.parametrize(
    "rule", ["", "kit:3", "person:", "class:", "memorised:3", "memorised:0.1@f", "list:", "all:1"]
)
def test_what_is_no_rule_is_refused_with_the_forms(rule: str):
    with pytest.raises(InputError, match=r"is no rule.*Valid: random:0\.05"):
        parse_rule(rule)
