"""Split files of ImageNet-1K and Places365, on miniatures of both in each of their layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from efface.cli.split import split as split_verb
from efface.errors import InputError
from efface.images.released_classes import RELEASED
from efface.images.selection import ImagesSettings, split_images
from efface.images.sources import open_images
from efface.images.split_making import SplitSettings, make_split
from efface.images.splits import PART_OF_ROLE, digest_of, read_split, split_facts_of, write_split
from support.paper_sets import (
    SCENES,
    WNIDS,
    imagenet_archives,
    in_folders,
    kit_files,
    places_256,
    tar_of,
    train_files,
    val_files,
)

SMALL = {
    "rule": "random",
    "classes": 2,
    "per_class": 3,
    "val_per_class": 2,
    "neutral_classes": 1,
    "subset": True,
}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    root = in_folders(tmp_path / "imagenet", "train", train_files(WNIDS))
    return in_folders(root, "val", val_files(WNIDS))


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    return imagenet_archives(tmp_path / "archives", train_files(WNIDS), val_files(WNIDS))


@pytest.fixture
def places(tmp_path: Path) -> Path:
    train, val = places_files()
    return in_folders(
        in_folders(tmp_path / "places", "places365_standard/train", train), "places365_standard/val", val
    )


def places_files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    return train_files(SCENES, suffix="jpg"), val_files(SCENES, stem="Places365_val_", suffix="jpg")


def made(root: Path, data_set: str = "imagenet-1k", **settings: Any) -> dict[str, Any]:
    return make_split(SplitSettings(data_set=data_set, root=str(root), **(SMALL | settings)))


def written(root: Path, path: Path, **settings: Any) -> Path:
    write_split(path, made(root, **settings))
    return path


def refusal(root: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as refused:
        made(root, **settings)
    return str(refused.value)


def test_classes_and_images_of_the_roles_are_what_was_asked_for(imagenet: Path) -> None:
    values = made(imagenet)
    classes = values["classes"]
    assert [len(classes[name]) for name in ("forget", "retain", "neutral")] == [2, 2, 1]
    assert len({*classes["forget"], *classes["retain"], *classes["neutral"]}) == 5
    others = set(WNIDS) - {*classes["forget"], *classes["retain"]}
    of_role = {role: set(found) for role, found in values["images"].items()}
    assert of_role["forget"] == of_role["forget-val"] == set(classes["forget"])
    assert of_role["retain"] == of_role["retain-val"] == set(classes["retain"])
    assert of_role["neutral"] == set(classes["neutral"])
    assert of_role["proxy"] == others
    # 2 classes of 3 images to be kept, over 2 other classes: 3 of each stand in for them
    assert values["images_per_class"] == {"train": 3, "val": 2, "proxy": 3}
    for role, found in values["images"].items():
        for class_, files in found.items():
            there = {path.name for path in (imagenet / PART_OF_ROLE[role] / class_).iterdir()}
            assert set(files) <= there
            assert files == sorted(set(files))
            assert len(files) == (2 if PART_OF_ROLE[role] == "val" else 3)
    assert values["counts"]["forget"] == {"classes": 2, "images": 6}


def test_the_same_seed_draws_the_same_and_another_does_not(imagenet: Path) -> None:
    first = made(imagenet)
    assert made(imagenet) == first
    others = [made(imagenet, seed=seed) for seed in (1, 2, 3)]
    assert any(other["classes"] != first["classes"] for other in others)
    # the images of a class hang on the seed too, whatever the classes
    images = [
        made(imagenet, classes=3, neutral_classes=0, proxy_per_class=0, seed=seed)["images"]
        for seed in range(4)
    ]
    drawn = [{**found["forget"], **found["retain"]} for found in images]
    assert any(drawn[0][class_] != other[class_] for other in drawn[1:] for class_ in WNIDS)


def test_the_images_of_a_class_do_not_hang_on_the_other_roles(imagenet: Path) -> None:
    whole, bare = made(imagenet), made(imagenet, neutral_classes=0, proxy_per_class=0, val_per_class=0)
    assert bare["images"]["forget"] == whole["images"]["forget"]
    assert bare["images"]["proxy"] == bare["images"]["neutral"] == bare["images"]["forget-val"] == {}


def test_archives_and_folders_of_one_data_set_have_one_split(
    imagenet: Path, archives: Path, tmp_path: Path
) -> None:
    one = written(imagenet, tmp_path / "one.json")
    two = written(archives, tmp_path / "two.json")
    assert read_split(one).values["sha256"] == read_split(two).values["sha256"]
    for role in PART_OF_ROLE:
        unpacked, packed = (open_images(f"split:{path}#{role}") for path in (one, two))
        assert unpacked.ids == packed.ids
        assert unpacked.labels == packed.labels
        assert len(packed) == read_split(two).values["counts"][role]["images"]
    packed = open_images(f"split:{two}#forget")
    assert packed[0].source.where.startswith(f"{archives}/ILSVRC2012_img_train.tar#{packed[0].label}.tar#")
    assert sorted(path.name for path in archives.iterdir()) == [
        "ILSVRC2012_devkit_t12.tar.gz",
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
    ], "nothing is unpacked"


def test_both_layouts_of_places_have_one_split(places: Path, tmp_path: Path) -> None:
    one = written(places, tmp_path / "one.json", data_set="places-365")
    two = written(places_256(tmp_path / "256", *places_files()), tmp_path / "two.json", data_set="places-365")
    assert read_split(one).values["sha256"] == read_split(two).values["sha256"]
    for role in PART_OF_ROLE:
        assert open_images(f"split:{one}#{role}").ids == open_images(f"split:{two}#{role}").ids
    assert "arena-hockey" in {
        class_ for found in read_split(two).values["images"].values() for class_ in found
    }


def test_labels_come_from_an_unpacked_kit_or_a_list_too(archives: Path, tmp_path: Path) -> None:
    expected = digest_of(made(archives))
    val = val_files(WNIDS)
    (archives / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    in_folders(archives, "ILSVRC2012_devkit_t12/data", kit_files(val))
    assert digest_of(made(archives)) == expected
    shutil.rmtree(archives / "ILSVRC2012_devkit_t12")
    rows = [f"{name.split('/')[1].removesuffix('.JPEG')},{name.split('/')[0]} 1 2 3 4" for name in val]
    (tmp_path / "solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(rows))
    labelled = made(archives, val_labels=str(tmp_path / "solution.csv"))
    assert labelled["images"] == made_with_labels(archives, tmp_path)["images"]
    assert digest_of({**labelled, "val_labels": None}) == expected


def made_with_labels(archives: Path, tmp_path: Path) -> dict[str, Any]:
    """The same with the validation files beside each other in a folder, and labels with suffixes."""
    val = val_files(WNIDS)
    (archives / "ILSVRC2012_img_val.tar").unlink()
    in_folders(archives, "val", {name.split("/")[1]: data for name, data in val.items()})
    (tmp_path / "labels.txt").write_text(
        "".join(f"{name.split('/')[1]} {name.split('/')[0]}\n" for name in val)
    )
    return made(archives, val_labels=str(tmp_path / "labels.txt"))


def test_the_released_classes_are_those_of_the_authors() -> None:
    imagenet, places = RELEASED["imagenet-1k"], RELEASED["places-365"]
    assert [len(imagenet[role]) for role in ("forget", "retain")] == [100, 100]
    assert [len(places[role]) for role in ("forget", "retain")] == [50, 50]
    both = [*imagenet["forget"], *imagenet["retain"]]
    assert both == sorted(set(both)), "one list in the order of the ids, cut in two"
    assert len({*places["forget"], *places["retain"]}) == 100
    assert (both[0], both[99], both[100], both[199]) == ("n01443537", "n02423022", "n02437616", "n12267677")
    assert (places["retain"][0], places["retain"][49]) == ("badlands", "airplane_cabin")
    assert (places["forget"][0], places["forget"][49]) == ("archive", "airfield")


@pytest.mark.parametrize("data_set", ["imagenet-1k", "places-365"])
def test_the_released_rule_takes_them(tmp_path: Path, data_set: str) -> None:
    released = RELEASED[data_set]
    more = ["n00000001", "n99999999"] if data_set == "imagenet-1k" else ["yard", "zen_garden"]
    classes = [*released["forget"], *released["retain"], *more]
    for part, count in (("train", 2), ("val", 1)):
        in_folders(tmp_path, part, {f"{name}/{index}.jpg": b"" for name in classes for index in range(count)})
    settings = {
        "rule": "released",
        "classes": None,
        "per_class": 2,
        "val_per_class": 1,
        "neutral_classes": None,
    }
    values = made(tmp_path, data_set=data_set, **settings)
    assert values["classes"]["forget"] == list(released["forget"])
    assert values["classes"]["retain"] == list(released["retain"])
    assert values["classes"]["neutral"] == more
    assert values["rule"] == {"name": "released", "seed": 0}
    shutil.rmtree(tmp_path / "train" / released["forget"][3])
    said = refusal(tmp_path, data_set=data_set, **settings)
    assert f"1 of the chosen classes are not there: {released['forget'][3]}" in said


def test_lists_of_ones_own(places: Path, tmp_path: Path) -> None:
    (tmp_path / "forget.txt").write_text("# indoors\n/a/arena/hockey\nbar\n")
    (tmp_path / "retain.txt").write_text("sky # outdoors\n")
    lists = {"forget_classes": str(tmp_path / "forget.txt"), "retain_classes": str(tmp_path / "retain.txt")}
    values = made(places, data_set="places-365", rule="listed", **lists)
    assert values["classes"]["forget"] == ["arena-hockey", "bar"]
    assert values["classes"]["retain"] == ["sky"]
    (tmp_path / "retain.txt").write_text("bar\nbeech\n")
    said = refusal(places, data_set="places-365", rule="listed", **lists)
    assert "classes both to be forgotten and kept: bar" in said
    assert "1 of the chosen classes are not there: beech" in said
    assert "--forget-classes and --retain-classes" in refusal(places, data_set="places-365", rule="listed")


def test_a_missing_data_set_is_explained_with_what_to_download_and_where_to_put_it(tmp_path: Path) -> None:
    said = refusal(tmp_path)
    assert f"{tmp_path}/train with a folder for each class" in said
    assert "Download ILSVRC2012_img_train.tar (138 GB) from image-net.org" in said
    assert f"{tmp_path}/ILSVRC2012_img_val.tar" in said
    said = refusal(tmp_path, data_set="places-365")
    assert "places365standard_easyformat.tar" in said
    assert "val_256.tar" in said
    assert "places2.csail.mit.edu" in said
    assert str(tmp_path) in said
    assert "no such file or folder" in refusal(tmp_path / "imagenet")


def test_validation_images_without_classes_are_explained(archives: Path, tmp_path: Path) -> None:
    (archives / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    said = refusal(archives)
    assert "ILSVRC2012_devkit_t12.tar.gz" in said
    assert "--val-labels" in said
    assert made(archives, val_per_class=0)["counts"]["forget"]["images"] == 6, "they can be done without"
    places = places_256(tmp_path / "256", *places_files())
    (places / "places365_val.txt").unlink()
    said = refusal(places, data_set="places-365")
    assert "places365_val.txt is not in" in said
    assert "filelist_places365-standard.tar" in said


def test_everything_that_is_incomplete_is_told_at_once(imagenet: Path) -> None:
    shutil.rmtree(imagenet / "train" / WNIDS[0])
    for path in (imagenet / "train" / WNIDS[1]).iterdir():
        path.unlink()
    for path in list((imagenet / "val" / WNIDS[2]).iterdir())[:1]:
        path.unlink()
    classes = {"classes": 3, "neutral_classes": 0, "subset": False}
    said = refusal(imagenet, **classes)
    assert f"ImageNet-1K in {imagenet} is incomplete" in said
    assert "its train images are of 5 classes instead of 1,000" in said
    assert "--subset" in said
    assert "its val images are of 6 classes instead of 1,000" in said
    assert "6 classes are needed, 3 to forget and to keep each, 5 are there" in said
    assert f"too few train images, 3 are needed, in 1 class: {WNIDS[1]} 0" in said
    assert f"too few val images, 2 are needed, in 1 class: {WNIDS[2]} 1" in said


def test_more_than_the_smallest_class_has_may_be_asked_for_but_no_less_be_there(tmp_path: Path) -> None:
    """Places has 3,068 to 5,000 training images of a class; the paper asks for 5,000, at most."""
    files = {f"{name}/{index}.jpg": b"" for name in SCENES[:2] for index in range(3068)}
    in_folders(tmp_path, "train", files)
    settings = {"data_set": "places-365", "classes": 1, "per_class": 5000, "val_per_class": 0}
    said = refusal(tmp_path, **settings, subset=False)
    assert "too few" not in said
    assert "2 classes instead of 365" in said
    (tmp_path / "train" / SCENES[0] / "7.jpg").unlink()
    said = refusal(tmp_path, **settings, subset=False)
    assert f"too few train images, 3,068 are needed, in 1 class: {SCENES[0]} 3067" in said


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
def test_a_download_that_broke_off_is_noticed(archives: Path, name: str) -> None:
    data = (archives / name).read_bytes()
    (archives / name).write_bytes(data[: len(data) // 2])
    assert f"{name} is damaged, incomplete" in refusal(archives)
    (archives / name).write_bytes(tar_of({"x.tar": b""}, "gz"))
    assert f"{name} is damaged, incomplete or no uncompressed tar" in refusal(archives)


def test_an_inner_archive_that_broke_off_is_noticed(tmp_path: Path) -> None:
    root = imagenet_archives(tmp_path / "archives", train_files(WNIDS), val_files(WNIDS))
    inner = {f"{wnid}.tar": tar_of({f"{wnid}_0.JPEG": b"x" * 2000})[:1500] for wnid in WNIDS}
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))
    assert "ILSVRC2012_img_train.tar#n" in refusal(root)


def test_a_damaged_kit_is_noticed(archives: Path) -> None:
    (archives / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(
        tar_of({"ILSVRC2012_devkit_t12/readme": b""}, "gz")
    )
    assert "the development kit" in refusal(archives)


def test_a_split_chooses_the_sets_of_a_run(imagenet: Path, tmp_path: Path) -> None:
    path = written(imagenet, tmp_path / "split.json", val_per_class=1)
    counts = read_split(path).values["counts"]
    settings = ImagesSettings(
        forget=(f"split:{path}#forget",),
        retain=(f"split:{path}#retain",),
        neutral=(f"split:{path}#neutral",),
    )
    result = split_images(settings, needs_retain=True)
    assert (len(result.forget), len(result.retain), len(result.neutral)) == (6, 6, 1)
    assert set(result.forget.labels) == set(read_split(path).values["classes"]["forget"])
    within = split_images(
        ImagesSettings(
            images=f"split:{path}", forget=(f"split:{path}#forget",), neutral=(f"split:{path}#neutral",)
        ),
        needs_retain=True,
    )
    assert within.forget.ids == result.forget.ids
    assert within.retain.ids == result.retain.ids
    assert within.neutral.ids == result.neutral.ids
    proxy = split_images(
        ImagesSettings(forget=(f"split:{path}#forget",), proxy_retain=(f"split:{path}#proxy",)),
        needs_retain=True,
    )
    assert len(proxy.retain) == counts["proxy"]["images"] == 6


def test_a_label_and_a_folder_choose_among_the_images_of_a_split(imagenet: Path, tmp_path: Path) -> None:
    path = written(imagenet, tmp_path / "split.json")
    first, second = read_split(path).values["classes"]["forget"]
    result = split_images(
        ImagesSettings(images=f"split:{path}", forget=(f"label:{first}",)), needs_retain=True
    )
    assert set(result.forget.labels) == {first}
    assert second in result.retain.labels


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ("split:{path}#forgotten", "unknown role 'forgotten'; did you mean 'forget'"),
        ("split:{folder}/splits.json#forget", "did you mean 'split.json'"),
        ("split:{folder}/other.json", "is no split file"),
    ],
)
def test_a_wrong_selector_is_explained(imagenet: Path, tmp_path: Path, selector: str, told: str) -> None:
    path = written(imagenet, tmp_path / "split.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=told):
        open_images(selector.format(path=path, folder=tmp_path))


def test_only_the_root_of_a_split_may_be_edited(imagenet: Path, tmp_path: Path) -> None:
    path = written(imagenet, tmp_path / "split.json")
    ids = open_images(f"split:{path}#forget").ids
    imagenet.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="is not where it says; edit 'root' in it"):
        open_images(f"split:{path}#forget")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "root": str(tmp_path / "moved")}))
    assert open_images(f"split:{path}#forget").ids == ids
    role = values["images"]["forget"]
    role[next(iter(role))].pop()
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="was changed after it was written"):
        open_images(f"split:{path}#forget")


def test_images_that_are_gone_are_named(imagenet: Path, tmp_path: Path) -> None:
    path = written(imagenet, tmp_path / "split.json")
    class_, files = next(iter(read_split(path).images("forget").items()))
    (imagenet / "train" / class_ / files[1]).unlink()
    with pytest.raises(InputError, match=f"ImageNet-1K in .* lacks train/{class_}/{files[1]}"):
        open_images(f"split:{path}#forget")


def test_a_role_without_images_is_refused(imagenet: Path, tmp_path: Path) -> None:
    path = written(imagenet, tmp_path / "split.json", val_per_class=0)
    with pytest.raises(InputError, match="has no neutral images"):
        open_images(f"split:{path}#neutral")


def test_another_split_is_not_overwritten(imagenet: Path, tmp_path: Path) -> None:
    path = written(imagenet, tmp_path / "split.json")
    written(imagenet, path)
    with pytest.raises(InputError, match="holds another split"):
        written(imagenet, path, per_class=2)


def test_a_record_names_a_split_without_a_path(imagenet: Path, tmp_path: Path) -> None:
    path = written(imagenet, tmp_path / "split.json", seed=4)
    facts = split_facts_of([f"split:{path}#forget", f"split:{path}", "label:x", str(imagenet)])
    assert len(facts) == 1
    assert facts[0]["rule"] == {"name": "random", "seed": 4}
    assert facts[0]["sha256"] == read_split(path).values["sha256"]
    assert str(tmp_path) not in json.dumps(facts)


def test_the_verb_writes_the_file_and_says_how_to_name_its_parts(archives: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(split_verb)
    out = tmp_path / "split.json"
    options = ["--rule", "random", "--classes", "2", "--per-class", "3", "--val-per-class", "2", "--subset"]
    asked = ["imagenet", str(archives), "--out", str(out), *options]
    outcome = CliRunner().invoke(app, asked)
    assert outcome.exit_code == 0, outcome.output
    assert f"split:{out}#forget  6 images of 2 classes" in outcome.output
    assert read_split(out).values["counts"]["neutral"] == {"classes": 2, "images": 4}
    outcome = CliRunner().invoke(app, [*asked, "--json"])
    assert json.loads(outcome.stdout)["counts"]["forget"] == {"classes": 2, "images": 6}


def test_a_split_file_that_lacks_what_it_needs_is_refused_in_one_sentence(
    imagenet: Path, tmp_path: Path
) -> None:
    whole = json.loads(written(imagenet, tmp_path / "split.json").read_text())
    for name, value in (("images", []), ("data_set", "other"), ("root", 3), ("counts", {"forget": 3})):
        values = {**whole, name: value}
        values["sha256"] = digest_of(values)
        (tmp_path / "split.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match=f"split.json is damaged(.|\n)*{name}"):
            read_split(tmp_path / "split.json")


def test_a_damaged_development_kit_is_refused(archives: Path) -> None:
    kit = archives / "ILSVRC2012_devkit_t12.tar.gz"
    whole = kit.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + bytes(40) + whole[80:], b"", whole[:10]):
        kit.write_bytes(damaged)
        assert "the development kit in" in refusal(archives)
