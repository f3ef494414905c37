"""What is to be forgotten: selectors, overlaps, duplicates, and faults that name themselves."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.labels import class_names, class_numbers
from efface.images.selection import ImagesSettings, Split, split_images
from efface.images.sources import open_images
from support.pictures import picture, save_picture


def split(needs_retain: bool = False, **settings: Any) -> Split:
    return split_images(ImagesSettings.read(settings), needs_retain=needs_retain)


def problems(needs_retain: bool = False, **settings: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        split(needs_retain, **settings)
    return caught.value.problems


def names(images: ImageSet) -> list[str]:
    """The last two parts of each path."""
    return ["/".join(path.split("/")[-2:]) for path in images.paths]


CATS = ["cats/0.png", "cats/1.png", "cats/2.png"]
DOGS = ["dogs/0.png", "dogs/1.png", "dogs/2.png"]


def test_a_folder_is_forgotten_and_everything_else_is_kept(animals: Path) -> None:
    result = split(images=str(animals), forget=(str(animals / "cats"),))
    assert (names(result.forget), names(result.retain)) == (CATS, DOGS)
    assert result.forget.labels == ("cats",) * 3
    assert any("1 file that is not an image (passed over: 1 .txt)" in note for note in result.notes)


def test_a_name_may_be_relative_to_the_images(animals: Path) -> None:
    assert names(split(images=str(animals), forget=("cats",)).forget) == CATS


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("label:dogs", DOGS),
        ("glob:cats/[01].png", CATS[:2]),
        ("glob:**/2.png", ["cats/2.png", "dogs/2.png"]),
        ("cats/1.png", ["cats/1.png"]),
    ],
)
def test_selectors_choose_among_the_images(animals: Path, selector: str, expected: list[str]) -> None:
    assert names(split(images=str(animals), forget=(selector,)).forget) == expected


def test_a_sha256_chooses_every_file_with_that_content(animals: Path) -> None:
    (animals / "dogs" / "copy.png").write_bytes((animals / "cats" / "0.png").read_bytes())
    digest = sha256_of_file(animals / "cats" / "0.png")
    assert names(split(images=str(animals), forget=(f"sha256:{digest.upper()}",)).forget) == [
        "cats/0.png",
        "dogs/copy.png",
    ]


def test_a_list_holds_paths_digests_and_comments(animals: Path, tmp_path: Path) -> None:
    digest = sha256_of_file(animals / "dogs" / "1.png")
    (tmp_path / "forget.txt").write_text(f"# request 17\r\ncats/0.png\r\n\n{digest}\ndata/dogs/2.png\n")
    result = split(images=str(animals), forget=(str(tmp_path / "forget.txt"),))
    assert names(result.forget) == ["cats/0.png", "dogs/1.png", "dogs/2.png"]


def test_a_manifest_chooses_rows_and_checks_their_digests(animals: Path) -> None:
    right, wrong = (sha256_of_file(animals / "cats" / f"{i}.png") for i in (0, 1))
    (animals / "forget.csv").write_text(f"path,sha256\ncats/0.png,{right}\n")
    assert names(split(images=str(animals), forget=("forget.csv",)).forget) == ["cats/0.png"]
    (animals / "forget.csv").write_text(f"path,sha256\ncats/0.png,{wrong}\n")
    (problem,) = problems(images=str(animals), forget=("forget.csv",))
    assert "forget.csv row 1 (" in problem
    assert "sha256" in problem


def test_copies_outside_the_images_choose_by_content(animals: Path, tmp_path: Path) -> None:
    (tmp_path / "request").mkdir()
    (tmp_path / "request" / "mine.png").write_bytes((animals / "dogs" / "1.png").read_bytes())
    assert names(split(images=str(animals), forget=(str(tmp_path / "request"),)).forget) == ["dogs/1.png"]


def test_every_entry_that_is_not_found_is_named_with_its_row(animals: Path, tmp_path: Path) -> None:
    stranger = save_picture(tmp_path / "stranger.png", 70)
    lines = ["cats/0.png", "cats/7.png", "0" * 64, str(stranger)]
    (tmp_path / "forget.txt").write_text("\n".join(lines))
    found = problems(images=str(animals), forget=(str(tmp_path / "forget.txt"), "label:cat", "birds"))
    assert len(found) == 5
    assert "line 2 (cats/7.png): no such file" in found[0]
    assert "line 4" in found[1]
    assert "not one of the main images" in found[1]
    assert "line 3: no image has the sha256 000" in found[2]
    assert "label:cat: no image has this label; did you mean 'cats'?" in found[3]
    assert "birds: no such file or folder" in found[4]


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("glob:*.jpg", "matches no image file"),
        ("glob:c*", "matches only folders"),
        ("sha256:12", "64 hexadecimal digits"),
        ("bundled:coffee", "not one of the main images"),
        ("bundled:tea", "no bundled photo 'tea'"),
    ],
)
def test_a_selector_that_matches_nothing_stops(animals: Path, selector: str, said: str) -> None:
    (problem,) = problems(images=str(animals), forget=(selector,))
    assert said in problem


def test_a_folder_that_is_only_partly_among_the_images_names_the_rest(animals: Path) -> None:
    (animals / "some.csv").write_text("path\ncats/0.png\ndogs/0.png\n")
    found = problems(images=str(animals / "some.csv"), forget=(str(animals / "cats"),))
    assert len(found) == 2
    assert all("not one of the main images" in problem for problem in found)


def test_an_empty_forget_list_is_refused(animals: Path, tmp_path: Path) -> None:
    (tmp_path / "forget.txt").write_text("# nobody\n")
    assert "has no entries" in problems(images=str(animals), forget=(str(tmp_path / "forget.txt"),))[0]
    assert "nothing is said to be forgotten" in problems(images=str(animals))[0]


def test_without_main_images_each_selector_is_its_own_source(animals: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "other" / "x.png", 60)
    result = split(
        True,
        forget=(str(animals / "cats"), str(animals / "cats" / "0.png")),
        retain=(f"glob:{animals}/dogs/*.png",),
        neutral=(str(tmp_path / "other"),),
    )
    assert (names(result.forget), names(result.retain)) == (CATS, DOGS)
    assert names(result.neutral) == ["other/x.png"]


def test_a_missing_retain_set_is_explained_with_the_three_ways(animals: Path) -> None:
    (problem,) = problems(True, forget=(str(animals / "cats"),))
    assert all(way in problem for way in ("--retain", "--images", "--proxy-retain"))
    assert len(split(False, forget=(str(animals / "cats"),)).retain) == 0


def test_labels_and_digests_need_main_images(animals: Path) -> None:
    assert len(problems(forget=("label:cats", "sha256:" + "0" * 64))) == 2


def test_images_chosen_for_both_are_taken_out_of_retain_with_a_note(animals: Path) -> None:
    result = split(True, forget=(str(animals / "cats"),), retain=(str(animals),))
    assert names(result.retain) == DOGS
    assert "3 images chosen for both forget and retain were taken out of retain" in result.notes


def test_neutral_images_are_taken_out_of_retain_with_a_note(animals: Path) -> None:
    result = split(images=str(animals), forget=("cats",), neutral=("dogs/0.png",))
    assert names(result.retain) == DOGS[1:]
    assert names(result.neutral) == DOGS[:1]
    assert "1 neutral image was taken out of retain" in result.notes


def test_an_image_cannot_be_both_forgotten_and_neutral(animals: Path) -> None:
    found = problems(images=str(animals), forget=("cats",), neutral=("glob:*/0.png",))
    assert len(found) == 1
    assert "cats/0.png is chosen both to be forgotten and as neutral" in found[0]


def test_validation_images_are_in_no_other_set(animals: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "apart" / "x.png", 60)
    settings = ImagesSettings(images=str(animals), forget=("cats",), neutral=("dogs/0.png", "dogs/1.png"))
    chosen = (str(tmp_path / "apart"), "dogs/1.png", "dogs/2.png")
    result = split_images(settings, needs_retain=False, validation=chosen)
    assert names(result.validation)[1:] == DOGS[1:3]
    assert len(result.validation) == 3
    assert (names(result.neutral), names(result.retain)) == (DOGS[:1], DOGS[3:])
    assert "1 validation image was taken out of neutral" in result.notes
    with pytest.raises(InputError, match=r"cats/0\.png is chosen both to be forgotten and as validation"):
        split_images(settings, needs_retain=False, validation=("cats/0.png",))


def test_a_proxy_stands_in_for_the_retain_set(animals: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "proxy" / "x.png", 60)
    result = split(True, images=str(animals), forget=("cats",), proxy_retain=(str(tmp_path / "proxy"),))
    assert result.proxy
    assert names(result.retain) == ["proxy/x.png"]
    assert any("both given" in p for p in problems(forget=("a",), retain=("b",), proxy_retain=("c",)))


def test_forgetting_everything_leaves_nothing_to_keep(animals: Path) -> None:
    assert "no image to keep is left" in problems(True, images=str(animals), forget=(str(animals),))[0]


def test_exact_and_near_copies_in_the_retain_set_stop_the_run(animals: Path) -> None:
    (animals / "dogs" / "copy.png").write_bytes((animals / "cats" / "0.png").read_bytes())
    picture(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(animals / "dogs" / "near.jpg", quality=60)
    found = problems(images=str(animals), forget=("cats",))
    assert len(found) == 2
    assert "dogs/copy.png (retain) has the same bytes as" in found[0]
    assert "dogs/near.jpg (retain) nearly equals" in found[1]
    assert "mirrored" in found[1]


def test_duplicates_are_moved_or_kept_when_that_is_chosen(animals: Path) -> None:
    (animals / "dogs" / "copy.png").write_bytes((animals / "cats" / "0.png").read_bytes())
    moved = split(images=str(animals), forget=("cats",), duplicates="forget")
    assert names(moved.forget) == [*CATS, "dogs/copy.png"]
    assert names(moved.retain) == DOGS
    kept = split(images=str(animals), forget=("cats",), duplicates="ignore")
    assert "dogs/copy.png" in names(kept.retain)
    for result, action in ((moved, "forget"), (kept, "ignore")):
        (pair,) = result.duplicates.pairs
        assert (pair.kind, pair.agreement, result.duplicates.action) == ("exact", 1, action)
        assert pair.forget_id == pair.other_id == sha256_of_file(animals / "cats" / "0.png")


def test_duplicates_in_a_proxy_are_found(animals: Path, tmp_path: Path) -> None:
    picture(2).resize((24, 20)).save(save_picture(tmp_path / "proxy" / "near.png", 0))
    (problem,) = problems(forget=(str(animals / "cats"),), proxy_retain=(str(tmp_path / "proxy"),))
    assert "near.png (retain) nearly equals" in problem


def test_the_stop_says_which_threshold_lets_look_alikes_pass(animals: Path) -> None:
    picture(1).save(animals / "dogs" / "near.jpg", quality=5)
    settings = ImagesSettings(images=str(animals), forget=("cats",))
    with pytest.raises(InputError) as caught:
        split_images(settings, needs_retain=True)
    said = re.search(r"set copy_agreement to (\S+)( \(only| \(now 0.85)", str(caught.value))
    assert said
    passing = settings.model_copy(update={"copy_agreement": float(said[1])})
    assert "dogs/near.jpg" in names(split_images(passing, needs_retain=True).retain)


@pytest.mark.parametrize("role", ["neutral", "validation"])
def test_copies_of_forget_images_in_sets_that_are_not_trained_on_are_found(
    animals: Path, tmp_path: Path, role: str
) -> None:
    (tmp_path / role).mkdir()
    picture(1).rotate(90, expand=True).save(tmp_path / role / "turned.png")
    save_picture(tmp_path / role / "other.png", 40)
    given = {"neutral": (str(tmp_path / role),)} if role == "neutral" else {}
    validation = (str(tmp_path / role),) if role == "validation" else ()
    settings = ImagesSettings(images=str(animals), forget=("cats",), **given)
    with pytest.raises(InputError, match=rf"the {role} set holds .* 1 near-copy") as caught:
        split_images(settings, needs_retain=True, validation=validation)
    assert f"turned.png ({role}) nearly equals" in caught.value.problems[0]
    moving = settings.model_copy(update={"duplicates": "forget"})
    moved = split_images(moving, needs_retain=True, validation=validation)
    assert len(moved.forget) == 4
    assert names(moved.sets[role]) == [f"{role}/other.png"]


def test_near_copies_of_what_is_never_trained_on_leave_the_sets_before_it(
    animals: Path, tmp_path: Path
) -> None:
    for name, seed in (("neutral", 60), ("validation", 61)):
        (tmp_path / name).mkdir()
        ImageOps.mirror(picture(seed)).save(tmp_path / name / "x.png")
        save_picture(tmp_path / name / "y.png", seed + 100)
    picture(61).save(tmp_path / "neutral" / "z.png")
    for seed in (60, 61):
        picture(seed).save(animals / "dogs" / f"{seed}.jpg", quality=60)
    settings = ImagesSettings(images=str(animals), forget=("cats",), neutral=(str(tmp_path / "neutral"),))
    validation = (str(tmp_path / "validation"),)
    apart = split_images(settings, needs_retain=True, validation=validation)
    assert names(apart.retain) == DOGS
    assert [len(apart.neutral), len(apart.validation), apart.duplicates.apart] == [2, 2, 3]
    assert "1 near-copy of neutral images was taken out of retain" in apart.notes
    ignoring = settings.model_copy(update={"duplicates": "ignore"})
    kept = split_images(ignoring, needs_retain=True, validation=validation)
    assert [len(kept.retain), len(kept.neutral), kept.duplicates.apart] == [5, 3, 0]


def test_a_stranger_that_looks_like_one_of_the_images_is_named_with_it(animals: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.mkdir()
    picture(1).resize((40, 33)).save(asked / "sent.jpg", quality=70)
    save_picture(asked / "unlike.png", 70)
    said = problems(images=str(animals), forget=(str(asked),))
    assert sum("is not one of the main images" in problem for problem in said) == 2
    (likely,) = [problem for problem in said if "nearly equals" in problem]
    assert re.search(r"sent.jpg nearly equals .*cats/1.png .* choose that one", likely)
    exact_only = problems(images=str(animals), forget=(str(asked),), copy_agreement=1)
    assert not any("nearly equals" in problem for problem in exact_only)


def test_near_copies_are_not_looked_for_when_switched_off(animals: Path) -> None:
    picture(1).save(animals / "dogs" / "near.jpg", quality=60)
    assert split(images=str(animals), forget=("cats",), copy_agreement=1).duplicates.pairs == ()


@pytest.mark.parametrize("cached", [False, True])
def test_one_error_names_all_unreadable_images_of_any_kind(
    animals: Path, tmp_path: Path, cached: bool
) -> None:
    (animals / "cats" / "empty.png").write_bytes(b"")
    whole = (animals / "dogs" / "0.png").read_bytes()
    (animals / "dogs" / "half.png").write_bytes(whole[: len(whole) // 2])
    cache = PixelCache(tmp_path / "cache", 32) if cached else None
    settings = ImagesSettings(images=str(animals), forget=("cats",))
    with pytest.raises(InputError) as caught:
        split_images(settings, needs_retain=True, cache=cache)
    assert [problem.split(": ")[0].rsplit("/", 1)[1] for problem in caught.value.problems] == [
        "empty.png",
        "half.png",
    ]
    relaxed = settings.model_copy(update={"skip_unreadable": True})
    result = split_images(relaxed, needs_retain=True, cache=cache)
    assert (names(result.forget), names(result.retain)) == (CATS, DOGS)
    assert sorted(os.path.basename(fault.path) for fault in result.skipped) == ["empty.png", "half.png"]
    assert any("2 images could not be read and were left out, 1 of them chosen" in n for n in result.notes)


def test_a_split_with_a_cache_finds_the_same_and_fills_it(animals: Path, tmp_path: Path) -> None:
    picture(1).save(animals / "dogs" / "near.jpg", quality=60)
    settings = ImagesSettings(images=str(animals), forget=("cats",), duplicates="forget")
    cache = PixelCache(tmp_path / "cache", 32)
    with_cache = split_images(settings, needs_retain=True, cache=cache)
    without = split_images(settings, needs_retain=True)
    assert with_cache.duplicates == without.duplicates
    assert with_cache.forget.ids == without.forget.ids
    assert all(image_id in cache for image_id in with_cache.retain.ids)


def test_bundled_photos_can_be_split_by_name() -> None:
    result = split(True, images="bundled", forget=("bundled:chelsea", "label:coffee"))
    assert result.forget.labels == ("chelsea", "coffee")
    assert len(result.retain) == len(open_images("bundled")) - 2
    assert result.duplicates.pairs == ()


def test_rows_of_a_data_set_are_chosen_by_label_pattern_and_digest(animals: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    files = sorted(animals.glob("*/*.png"))
    columns = {
        "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "label": [file.parent.name for file in files],
    }
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), tmp_path / "all.parquet")
    selectors = ("label:cats", "glob:*all.parquet#3", f"sha256:{sha256_of_file(files[5])}")
    result = split(images=str(tmp_path / "all.parquet"), forget=selectors)
    assert [path.rsplit("#")[1] for path in result.forget.paths] == ["0", "1", "2", "3", "5"]
    by_folder = split(images=str(tmp_path / "all.parquet"), forget=(str(animals / "dogs"),))
    assert [path.rsplit("#")[1] for path in by_folder.forget.paths] == ["3", "4", "5"]


def test_every_setting_has_a_help_text() -> None:
    assert all(field.description for field in ImagesSettings.model_fields.values())


def test_neutral_images_may_come_from_a_folder_outside_the_main_images(animals: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "unseen" / "new.png", seed=901)
    result = split(images=str(animals), forget=("cats",), neutral=(str(tmp_path / "unseen"),))
    assert names(result.neutral) == ["unseen/new.png"]
    assert names(result.retain) == DOGS


def test_a_copy_of_a_main_image_in_an_outside_neutral_folder_is_taken_out_of_retain(
    animals: Path, tmp_path: Path
) -> None:
    save_picture(tmp_path / "unseen" / "new.png", seed=903)
    (tmp_path / "unseen" / "copy.png").write_bytes((animals / "dogs" / "0.png").read_bytes())
    result = split(images=str(animals), forget=("cats",), neutral=(str(tmp_path / "unseen"),))
    assert names(result.neutral) == ["unseen/copy.png", "unseen/new.png"]
    assert names(result.retain) == DOGS[1:]
    assert "1 neutral image was taken out of retain" in result.notes


def test_a_neutral_folder_that_is_partly_outside_the_main_images_is_a_fault(
    animals: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.txt"
    save_picture(tmp_path / "new.png", seed=902)
    mixed.write_text(f"{animals / 'dogs' / '0.png'}\n{tmp_path / 'new.png'}\n")
    (problem,) = problems(images=str(animals), forget=("cats",), neutral=(str(mixed),))
    assert "new.png) is not one of the main images" in problem


def test_animated_images_are_taken_and_counted(animals: Path) -> None:
    picture(40).save(animals / "cats" / "moving.gif", save_all=True, append_images=[picture(41)])
    picture(42).save(animals / "dogs" / "moving.webp", save_all=True, append_images=[picture(43)])
    result = split(images=str(animals), forget=("cats",))
    assert (len(result.forget), len(result.retain)) == (4, 4)
    assert any(
        note.startswith("2 images (1 of them chosen to be forgotten) hold several") for note in result.notes
    )


def test_folders_for_the_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    for number, name in enumerate(("train/0", "train/1", "Test/2", "Test/3")):
        save_picture(tmp_path / "set" / f"{name}.png", number)
    said = "the folders Test, train hold the parts of a data set, and their names are no classes"
    for label in ("cat", "train"):
        with pytest.raises(InputError, match=said):
            split(needs_retain=True, images=str(tmp_path / "set"), forget=[f"label:{label}"])
    chosen = split(needs_retain=True, images=str(tmp_path / "set"), forget=["glob:train/0*"])
    assert any(said in note for note in chosen.notes), "where no class is asked for it is said"
    for refused in (
        lambda: class_names([chosen.retain]),
        lambda: class_numbers({"retain": chosen.retain}, ("Test", "train")),
    ):
        with pytest.raises(InputError, match=said):
            refused()


def test_classes_are_found_below_the_parts_of_a_data_set(tmp_path: Path) -> None:
    for number, name in enumerate(("train/cat/0", "train/dog/1", "val/cat/2", "val/dog/3")):
        save_picture(tmp_path / "set" / f"{name}.png", number)
    chosen = split(needs_retain=True, images=str(tmp_path / "set"), forget=["label:cat"])
    assert [Path(path).parent.parent.name for path in chosen.forget.paths] == ["train", "val"]
    assert chosen.retain.classes == ("dog",)
    assert (
        "the folders train, val hold the parts of a data set: classes are the folders in them"
        in chosen.notes[0]
    )
    part = split(needs_retain=True, images=str(tmp_path / "set" / "train"), forget=["label:cat"])
    assert (len(part.forget), len(part.retain), part.notes) == (1, 1, ())


def test_a_class_that_is_called_like_a_part_beside_other_classes_is_one(tmp_path: Path) -> None:
    for number, name in enumerate(("train/0", "car/1")):
        save_picture(tmp_path / f"{name}.png", number)
    assert len(split(needs_retain=True, images=str(tmp_path), forget=["label:train"]).forget) == 1
