"""Tasks whose data lie in files, each made here in the layout in which it is given out."""

import io
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from efface.benchmark.classifiers.task import ClassifierTask, new_classifier, task_named
from efface.errors import InputError
from efface.images.datasets import DatasetSettings, open_dataset
from efface.images.datasets.ages import age_classes
from efface.images.datasets.readers import DATASETS, DatasetReader
from efface.images.datasets.source import Source, from_array

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def task(name: str, path: Path, **changes: object) -> DatasetSettings:
    return DatasetSettings.read({**task_named(name, str(path)).images.as_dict(), **changes})


def save(path: Path, value: int, size: tuple[int, int] = (8, 8)) -> None:
    """One picture of one grey, told by its value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def pack(path: Path, count: int, start: int, **columns: np.ndarray) -> None:
    """A packed archive of 16x16 PNG pictures whose values count from `start`."""
    blobs = []
    for place in range(count):
        file = io.BytesIO()
        Image.new("RGB", (16, 16), (start + place,) * 3).save(file, "PNG")
        blobs.append(file.getvalue())
    offset = np.cumsum([0, *(len(blob) for blob in blobs)])
    content = np.frombuffer(b"".join(blobs), dtype=np.uint8)
    names = np.array([f"{start + place}.png" for place in range(count)])
    np.savez(path, bytes=content, offset=offset, source=names, **columns)


# --- folders by class


def test_folders_by_class_are_split_by_shares(tmp_path: Path):
    for place in range(40):
        save(tmp_path / ("cat" if place % 2 else "dog") / f"{place}.png", place, (20, 8))
    data = open_dataset(task("folder", tmp_path, image_size=8))
    assert [len(images) for images in (data.forget, data.retain, data.validation, data.test)] == [2, 30, 4, 4]
    assert data.classes == ("cat", "dog")
    for images in (data.train, data.test):
        for id_, label, pixels in zip(images.ids, images.labels, images.pixels, strict=True):
            name, _, file = id_.partition("/")
            assert name == data.classes[label]
            assert np.all(pixels == int(file.removesuffix(".png")))


def test_parts_that_come_with_folders_stay_as_they_are(tmp_path: Path):
    for part, count in (("train", 20), ("val", 4), ("test", 6)):
        for place in range(count):
            save(tmp_path / part / "ab"[place % 2] / f"{place}.png", place)
    data = open_dataset(task("folder", tmp_path))
    assert [len(images) for images in (data.train, data.validation, data.test)] == [20, 4, 6]
    assert all(id_.startswith("test/") for id_ in data.test.ids)
    assert data.train.pixels.shape[1:] == (3, 32, 32)


def test_all_that_is_wrong_with_folders_is_said_at_once(tmp_path: Path):
    for name in ("train/a/1.png", "train/b/1.png", "train/loose.png", "test/c/1.png"):
        save(tmp_path / name, 1)
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(InputError) as error:
        open_dataset(task("folder", tmp_path))
    for problem in ("1 image lies directly in", "test: no training images of c", "no images in empty"):
        assert problem in str(error.value)


def test_images_that_cannot_be_read_are_named(tmp_path: Path):
    for place in range(20):
        save(tmp_path / "ab"[place % 2] / f"{place}.png", place)
    for name in ("a/2.png", "b/3.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"\b(1 image|2 images) cannot be read(.|\n)*3\.png: not an image"):
        open_dataset(task("folder", tmp_path, validation=0, test=0.05, forget="class:b"))


# --- faces with ages


def test_ten_classes_of_age_have_equal_width():
    ages = [0, 11, 12, 59, 60, 119]
    labels, classes = age_classes(ages, None)
    assert labels.tolist() == [0, 0, 1, 4, 5, 9]  # 0 to 120 in steps of 12
    assert classes[0] == "0-11"
    assert classes[9] == "108-119"
    labels, classes = age_classes(ages, [0, 3, 60])
    assert labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert classes == ("0-2", "3-59", "60-119")
    assert age_classes([0.5, 10.5], None)[1][1] == "1.6 to 2.7"
    with pytest.raises(InputError, match="images of age 0; let it begin there"):
        age_classes(ages, [1, 60])


def test_packed_faces_keep_their_test_part_and_say_what_they_are_not(tmp_path: Path):
    ages = np.arange(60, dtype=np.int16)
    pack(tmp_path / "faces-age64-train.npz", 60, 100, age=ages)
    pack(tmp_path / "faces-age64-test.npz", 20, 200, age=ages[:20])
    data = open_dataset(task("faces-age", tmp_path))
    assert [len(images) for images in (data.forget, data.retain, data.validation, data.test)] == [
        1,
        53,
        6,
        20,
    ]
    assert data.train.pixels.shape[1:] == (3, 32, 32)
    assert [np.unique(image).tolist() for image in data.test.pixels[:2]] == [[200], [201]]
    assert data.classes[0] == "0-5"
    assert any("stand-in" in note for note in data.notes)
    assert any("persons are not known" in note for note in data.notes)


def test_a_damaged_archive_is_named_with_all_its_faults(tmp_path: Path):
    np.savez(tmp_path / "faces-age64-train.npz", bytes=np.zeros(3, np.uint8), source=np.array(["a"]))
    with pytest.raises(InputError, match=r"array 'offset' is missing(.|\n)*array 'age' is missing"):
        open_dataset(task("faces-age", tmp_path))
    (tmp_path / "faces-age64-train.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="it is not an archive of NumPy arrays"):
        open_dataset(task("faces-age", tmp_path))


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("label", np.array([0, 10**15]), "labels from 0 to"),
        ("label", np.array([0, -1]), "labels from 0 to"),
        ("label", np.array(["a", "b"]), "'label' must be a row of whole numbers"),
        ("offset", np.array([-9, 3, 5]), "offset: 3 places within 'bytes'"),
        ("offset", np.zeros(3), "'offset' must be a row of whole numbers"),
        ("bytes", np.zeros((2, 2), np.uint8), "'bytes' must be a row of bytes"),
        ("source", np.zeros(2), "'source' must be a row of texts"),
    ],
)
def test_arrays_that_are_not_what_they_are_called_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, said: str
):
    arrays = {"bytes": np.zeros(9, np.uint8), "offset": np.array([0, 3, 5]), "source": np.array(["a", "b"])}
    np.savez(tmp_path / "x-train.npz", **{**arrays, "label": np.array([0, 1]), name: array})
    with pytest.raises(InputError, match=said):
        open_dataset(DatasetSettings(data="packed", path=str(tmp_path / "x")))


def faces(folder: Path, persons: bool, count: int = 60) -> None:
    rows = ["path,age,person_id" if persons else "path,age"]
    for place in range(count):
        save(folder / f"{place}.png", place)
        rows.append(f"{place}.png,{place % 50}" + (f",p{place % 12}" if persons else ""))
    (folder / "faces.csv").write_text("\n".join(rows))


def test_faces_with_persons_are_forgotten_and_split_by_person(tmp_path: Path):
    faces(tmp_path, persons=True)
    chosen = task("faces-age", tmp_path)
    assert chosen.forget == "person:0.02"
    data = open_dataset(chosen)
    sets = [data.forget, data.retain, data.validation, data.test]
    held = [{int(id_.removesuffix(".png")) % 12 for id_ in images.ids} for images in sets]
    assert [len(names) for names in held] == [1, 9, 1, 1]
    assert len(set.union(*held)) == 12
    assert data.notes == (
        "classes of age are ten of equal width, as the competition's; the oldest hold few images",
    )


def test_faces_without_persons_are_forgotten_at_random(tmp_path: Path):
    faces(tmp_path, persons=False)
    chosen = task("faces-age", tmp_path, age_edges=[0, 10, 40])
    assert chosen.forget == "random:0.02"
    data = open_dataset(chosen)
    assert data.classes == ("0-9", "10-39", "40-49")
    place = int(data.forget.ids[0].removesuffix(".png"))
    assert data.forget.labels[0] == np.searchsorted([10, 40], place % 50, side="right")


def test_all_faulty_rows_of_a_table_are_named(tmp_path: Path):
    faces(tmp_path, persons=False, count=3)
    with (tmp_path / "faces.csv").open("a") as file:
        file.write("\n0.png,3\nno.png,3\n1.png,old\n../x.png,2")
    with pytest.raises(InputError) as error:
        open_dataset(task("faces-age", tmp_path))
    for problem in ("row 5: no such file", "row 6: age is 'old'", "row 7: leads outside", "repeats an image"):
        assert problem in str(error.value)


# --- CASIA-SURF


def casia(folder: Path, persons: int = 40, images: int = 5) -> None:
    lines = []
    for person in range(persons):
        name = f"CLKJ_{person:06d}"
        lines.append(f"{name} {20 + person} {'MF'[person % 2]}")
        group = folder / "WBackground" / ("train" if person % 3 else "val") / name / "real.rssdk"
        for image in range(images):
            save(group / "color" / f"{image}.jpg", person)
            save(group / "depth" / f"{image}.jpg", 255)
    (folder / "Age_Gender.txt").write_text("\n".join(lines) + "\n")


def person_of(id_: str) -> str:
    return id_.split("/")[2]


def test_casia_is_split_by_person_and_fifteen_persons_are_forgotten(tmp_path: Path):
    casia(tmp_path / "CASIA_SURF_live")
    data = open_dataset(task("casia-surf", tmp_path))
    sets = [data.forget, data.retain, data.validation, data.test]
    held = [{person_of(id_) for id_ in images.ids} for images in sets]
    assert [len(names) for names in held] == [15, 17, 4, 4]
    assert len(set.union(*held)) == 40
    assert sum(len(images) for images in sets) == 200
    assert all("/color/" in id_ for images in sets for id_ in images.ids)
    assert data.classes[0] == "20-23"
    for id_, label, pixels in zip(data.forget.ids, data.forget.labels, data.forget.pixels, strict=True):
        number = int(person_of(id_)[5:])
        assert label == number // 4
        assert abs(int(pixels.mean()) - number) <= 2
    assert held[0] != {f"CLKJ_{person:06d}" for person in range(15)}


def test_the_compat_split_is_that_of_the_released_code(tmp_path: Path):
    casia(tmp_path)
    data = open_dataset(task("casia-surf", tmp_path, split="compat"))
    # the released loader: a list sorted by folder, shuffled by Python's generator at 43, cut at 80 and 90 %
    listed = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(tmp_path)
        for name in names
        if name.endswith(".jpg") and folder.endswith("color")
    )
    random.Random(43).shuffle(listed)
    train, validation, test = listed[:160], listed[160:180], listed[180:]
    assert {str(tmp_path / id_) for id_ in data.train.ids} == set(train)
    assert {str(tmp_path / id_) for id_ in data.validation.ids} == set(validation)
    assert {str(tmp_path / id_) for id_ in data.test.ids} == set(test)
    first = sorted({path.split("/")[-4] for path in train})[:15]
    assert {person_of(id_) for id_ in data.forget.ids} == set(first)
    assert any("not a random one" in note for note in data.notes)
    assert any("persons of the forget set are in validation or test too" in note for note in data.notes)


def test_a_faulty_table_of_casia_is_refused(tmp_path: Path):
    casia(tmp_path, persons=3, images=1)
    (tmp_path / "Age_Gender.txt").write_text("CLKJ_000000 20 M\nCLKJ_000000 21 M\nCLKJ_000001 x F\n")
    with pytest.raises(
        InputError, match=r"line 2: a second line(.|\n)*line 3: .* is not 'person age gender'"
    ):
        open_dataset(task("casia-surf", tmp_path))
    (tmp_path / "Age_Gender.txt").write_text("CLKJ_000000 20 M\n")
    with pytest.raises(InputError, match=r"person CLKJ_000001: no line(.|\n)*person CLKJ_000002: no line"):
        open_dataset(task("casia-surf", tmp_path))
    with pytest.raises(InputError, match=r"has no Age_Gender\.txt; it must hold"):
        open_dataset(task("casia-surf", tmp_path / "WBackground"))


# --- CIFAR-10

ROWS = 20


def batches() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    draws = np.random.default_rng(0)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return {
        name: (draws.integers(0, 256, (ROWS, 3072)).astype(np.uint8), np.arange(ROWS) % 10) for name in names
    }


def binary(folder: Path) -> Path:
    inner = folder / "cifar-10-batches-bin"
    inner.mkdir(parents=True)
    for name, (data, labels) in batches().items():
        (inner / f"{name}.bin").write_bytes(np.c_[labels.astype(np.uint8), data].tobytes())
    return folder


def python2_pickle(data: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch as Python 2 wrote it: byte strings, and the old name of numpy's module."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    content = data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"K" + bytes([len(data)]) + b"M" + (3072).to_bytes(2, "little") + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + state + text(b"labels") + numbers + b"u."


def pickled(folder: Path, old: bool) -> Path:
    inner = folder / "cifar-10-batches-py"
    inner.mkdir(parents=True)
    for name, (data, labels) in batches().items():
        new = pickle.dumps({b"data": data, b"labels": labels.tolist()})
        (inner / name).write_bytes(python2_pickle(data, labels) if old else new)
    return folder


def test_binary_and_pickled_batches_are_the_same_task(tmp_path: Path):
    found = open_dataset(task("cifar10", binary(tmp_path / "bin")))
    assert [len(images) for images in (found.forget, found.retain, found.validation, found.test)] == [
        10,
        90,
        10,
        10,
    ]
    data, labels = batches()["data_batch_2"]
    place = found.train.ids.index("train/00023")
    assert np.array_equal(found.train.pixels[place], data[3].reshape(3, 32, 32))
    assert found.train.labels[place] == labels[3] == found.classes.index("cat")
    for old in (False, True):
        assert open_dataset(task("cifar10", pickled(tmp_path / f"py{old}", old))).digest() == found.digest()


def test_the_starting_kit_gives_the_forget_set_and_halves_the_test_images(tmp_path: Path):
    binary(tmp_path)
    np.save(tmp_path / "forget_idx.npy", np.array([7, 99, 20]))
    chosen = task("cifar10", tmp_path)
    assert chosen.forget == "kit"
    data = open_dataset(chosen)
    assert data.forget.ids == ("train/00007", "train/00020", "train/00099")
    halves = torch.utils.data.random_split(
        range(ROWS), [0.5, 0.5], generator=torch.Generator().manual_seed(42)
    )
    for images, half in zip((data.test, data.validation), halves, strict=True):
        assert set(images.ids) == {f"test/{place:05d}" for place in half}
    assert len(open_dataset(chosen, "tuning").forget) == 3
    np.save(tmp_path / "forget_idx.npy", np.array([100]))
    with pytest.raises(InputError, match="0 to 99, are needed"):
        open_dataset(chosen)


def test_cifar_is_normalised_with_the_numbers_of_the_kit(tmp_path: Path):
    cifar = task_named("cifar10", str(binary(tmp_path))).as_dict()
    chosen = ClassifierTask.read({**cifar, "network": {"network": "small-conv", "width": 2}})
    model = new_classifier(chosen, open_dataset(chosen.images), 0)
    fed = model.prepare(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8))[0, :, 0, 0]
    expected = [(1 - 0.4914) / 0.2023, (1 - 0.4822) / 0.1994, (1 - 0.4465) / 0.2010]
    assert torch.allclose(fed, torch.tensor(expected), atol=1e-5)


class Harm:
    """Would make a file if it were unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.place,)


def test_a_pickle_that_asks_for_more_than_arrays_is_refused_and_not_run(tmp_path: Path):
    pickled(tmp_path, old=False)
    harm = pickle.dumps({b"data": Harm(tmp_path / "harm"), b"labels": []})
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(harm)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(InputError) as error:
        open_dataset(task("cifar10", tmp_path))
    assert "data_batch_3 cannot be read as a pickle of arrays alone" in str(error.value)
    assert "take the binary version" in str(error.value)
    assert "test_batch is missing" in str(error.value)
    assert not (tmp_path / "harm").exists()


def test_cut_binary_batches_are_refused(tmp_path: Path):
    binary(tmp_path)
    place = tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin"
    place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(InputError, match="61459 bytes are no rows of 3073"):
        open_dataset(task("cifar10", tmp_path))


def test_packed_cifar_is_halved_as_the_kit_does(tmp_path: Path):
    names = np.array(["x", "y"])
    pack(tmp_path / "cifar10-train.npz", 30, 0, label=np.arange(30) % 2, classes=names)
    pack(tmp_path / "cifar10-test.npz", 9, 100, label=np.arange(9) % 2, classes=names)
    data = open_dataset(task("cifar10", tmp_path))
    assert [len(images) for images in (data.forget, data.retain, data.validation, data.test)] == [3, 27, 4, 5]
    assert data.classes == ("x", "y")


@pytest.mark.parametrize("name", ["cifar10", "faces-age", "casia-surf", "folder"])
def test_an_empty_folder_is_told_what_it_must_hold(name: str, tmp_path: Path):
    with pytest.raises(InputError, match="it must hold"):
        open_dataset(task(name, tmp_path))


# --- what is at hand in development alone


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize("name", ["cifar10", "faces-age"])
def test_the_shared_archives_open(name: str):
    # the parts for validation and test are read as a whole, so the sides are small
    data = open_dataset(task(name, SHARED, limit=200, image_size=8, validation=0.001))
    assert len(data.train) == 200
    assert len(data.test) == {"cifar10": 2500, "faces-age": 1995}[name]
    assert len(data.classes) == 10


def test_another_package_adds_data_that_tasks_then_name():
    pixels = np.arange(20, dtype=np.uint8)[:, None, None, None] + np.zeros((20, 3, 16, 16), np.uint8)

    def read(settings: DatasetSettings) -> Source:
        assert settings.side == 16
        return Source(
            ids=tuple(f"shade/{place:02d}" for place in range(20)),
            labels=np.arange(20) % 2,
            classes=("even", "odd"),
            pixels=from_array(pixels, settings.side, settings.colours),
        )

    with DATASETS.added(DatasetReader("shades", read, comes_with="a test", side=16)):
        chosen = task_named("shades")
        data = open_dataset(chosen.images)
        assert data.classes == ("even", "odd")
        assert data.train.pixels.shape[1:] == (3, 16, 16)
        with pytest.raises(InputError, match="shades come with a test"):
            task_named("shades", "somewhere")
    with pytest.raises(InputError, match="unknown data 'shades'"):
        DatasetSettings.read({"data": "shades"})
