"""Folders, manifests, data sets and bundled photographs."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.images.bundled import CREDITS
from efface.images.reading import decode
from efface.images.selection import ImagesSettings, split_images
from efface.images.sources import open_images
from efface.images.tables import list_parquet
from support.pictures import picture, save_picture


def names(images: object) -> list[str]:
    return [os.path.basename(path) for path in images.paths]  # type: ignore[attr-defined]


def problems(source: str | Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        open_images(source)
    return caught.value.problems


def test_sub_folders_are_classes(animals: Path) -> None:
    images = open_images(animals)
    assert images.classes == ("cats", "dogs")
    assert images.labels == ("cats",) * 3 + ("dogs",) * 3


def test_a_flat_folder_has_no_labels(animals: Path) -> None:
    assert open_images(animals / "cats").labels == (None,) * 3


def test_deeper_folders_keep_the_class_of_the_first(animals: Path) -> None:
    save_picture(animals / "cats" / "deep" / "9.png", 9)
    assert open_images(animals).labels.count("cats") == 4


def test_the_order_is_that_of_the_names_bytes(tmp_path: Path) -> None:
    for seed, name in enumerate(["b.png", "a.png", "B.png", "ä.png", "10.png", "9.png"]):
        save_picture(tmp_path / name, seed)
    assert names(open_images(tmp_path)) == ["10.png", "9.png", "B.png", "a.png", "b.png", "ä.png"]


def test_what_is_passed_over_is_counted_by_suffix(animals: Path) -> None:
    for name in ("a.TXT", "b.csv", "c", ".hidden.png"):
        (animals / name).write_text("x")
    assert open_images(animals).passed_over == {"(hidden)": 1, "(none)": 1, ".csv": 1, ".txt": 2}


def test_names_may_hold_markup_line_breaks_and_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    data = save_picture(tmp_path / "plain.png", 0).read_bytes()
    odd = [b"<script>.png", b"[bold]x.png", b"line\nbreak.png", b"\xff\xfe.png", b" space .png"]
    for name in odd:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(data)
    images = open_images(folder)
    assert sorted(os.fsencode(os.path.basename(path)) for path in images.paths) == sorted(odd)
    assert all(item.read_bytes() == data for item in images)


def test_class_names_that_are_not_utf_8_can_be_published(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"\xffclass")
    os.mkdir(folder)
    with open(os.path.join(folder, b"a.png"), "wb") as file:
        file.write(save_picture(tmp_path / "b.png", 0).read_bytes())
    rows = open_images(tmp_path).manifest(b"k")
    assert "\\udcffclass" in [row["label"] for row in rows]
    json.dumps(rows, ensure_ascii=False).encode()


def test_linked_files_and_folders_are_followed_once(animals: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "elsewhere" / "x.png", 20)
    (animals / "more").symlink_to(tmp_path / "elsewhere")
    (animals / "loop").symlink_to(animals)
    images = open_images(animals)
    assert len(images) == 7
    assert images.passed_over["(folder linked twice)"] == 1


def test_one_error_names_every_image_that_cannot_be_read(animals: Path) -> None:
    (animals / "cats" / "empty.png").write_bytes(b"")
    (animals / "dogs" / "noise.jpg").write_bytes(b"noise")
    (animals / "dogs" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(animals / "dogs" / "pipe.png")
    found = problems(animals)
    assert len(found) == 4
    for name, said in [
        ("empty", "zero bytes"),
        ("noise", "not an image"),
        ("gone", "No such"),
        ("pipe", "regular"),
    ]:
        assert any(name in problem and said in problem for problem in found)


def test_unreadable_images_are_skipped_only_when_asked_for_and_named(animals: Path) -> None:
    (animals / "cats" / "empty.png").write_bytes(b"")
    images = open_images(animals, skip_unreadable=True)
    assert len(images) == 6
    assert [os.path.basename(fault.path) for fault in images.skipped] == ["empty.png"]


def test_a_missing_folder_is_refused_with_the_nearest_name(animals: Path) -> None:
    (problem,) = problems(animals.parent / "dta")
    assert "did you mean 'data'?" in problem


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_text("x")
    (problem,) = problems(tmp_path)
    assert "no images found" in problem
    assert "1 .psd" in problem


def test_a_csv_manifest_gives_order_and_labels(animals: Path) -> None:
    (animals / "m.csv").write_text("file_name,label\ndogs/1.png,d\ncats/0.png,\n")
    images = open_images(animals / "m.csv")
    assert names(images) == ["1.png", "0.png"]
    assert images.labels == ("d", None)


def test_a_jsonl_manifest_may_state_the_sha256(animals: Path) -> None:
    digest = sha256_of_file(animals / "cats" / "0.png")
    rows = [{"path": "cats/0.png", "label": 3, "sha256": digest}, {"path": "cats/1.png", "sha256": digest}]
    (animals / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (problem,) = problems(animals / "m.jsonl")
    assert "line 2 (" in problem
    assert "sha256" in problem
    (animals / "m.jsonl").write_text(json.dumps(rows[0]))
    assert open_images(animals / "m.jsonl").labels == ("3",)


def test_manifest_rows_that_lead_nowhere_are_all_named(animals: Path) -> None:
    (animals / "m.csv").write_text('path\ncats/0.png\ncats/00.png\n\nbirds/1.png\n""\n')
    found = problems(animals / "m.csv")
    assert len(found) == 3
    assert "row 2 (cats/00.png): no such file or folder; did you mean '0.png'?" in found[0]
    assert "row 3 (birds/1.png)" in found[1]
    assert "row 4: needs a 'path'" in found[2]


@pytest.mark.parametrize("row", ["../secret.png", "{absolute}", "link.png", "linked/secret.png"])
def test_a_manifest_row_may_not_lead_outside_its_folder(animals: Path, row: str) -> None:
    secret = save_picture(animals.parent / "secret.png", 50)
    (animals / "link.png").symlink_to(secret)
    (animals / "linked").symlink_to(animals.parent)
    (animals / "m.csv").write_text(f"path\n{row.format(absolute=secret)}\n")
    (problem,) = problems(animals / "m.csv")
    assert "leads outside the manifest's folder" in problem


def test_an_absolute_path_inside_the_manifests_folder_is_fine(animals: Path) -> None:
    (animals / "m.csv").write_text(f"path\n{animals / 'cats' / '0.png'}\n")
    assert len(open_images(animals / "m.csv")) == 1


def test_a_manifest_may_name_files_with_line_breaks_and_odd_bytes(tmp_path: Path) -> None:
    data = save_picture(tmp_path / "plain.png", 0).read_bytes()
    for name in (b"a\nb.png", b"\xff.png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(data)
    (tmp_path / "m.csv").write_bytes(b'\xef\xbb\xbfpath\n"a\nb.png"\n\xff.png\n')
    assert len(open_images(tmp_path / "m.csv")) == 2


def test_a_manifest_without_a_path_column_is_refused(animals: Path) -> None:
    (animals / "m.csv").write_text("paht,label\ncats/0.png,x\n")
    (problem,) = problems(animals / "m.csv")
    assert "needs a column 'path'" in problem
    assert "did you mean 'paht'?" in problem


def test_a_jsonl_line_that_is_not_json_is_named(animals: Path) -> None:
    (animals / "m.jsonl").write_text('{"path": "cats/0.png"}\n{oops\n')
    assert "line 2 cannot be read: it is not JSON" in problems(animals / "m.jsonl")[0]


def test_a_folder_with_metadata_is_read_by_it_and_counts_the_rest(animals: Path) -> None:
    (animals / "metadata.csv").write_text("file_name,label\ncats/0.png,tabby\n")
    images = open_images(animals)
    assert images.labels == ("tabby",)
    assert images.passed_over == {"(image without a row in metadata.csv)": 5, ".txt": 1}


def encoded_png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(path: Path, seeds: list[int], labels: list[int] | None = None) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = []
    for seed in seeds:
        rows.append({"bytes": encoded_png(seed), "path": f"{seed}.png"})
    columns: dict[str, list[object]] = {"image": [*rows]}
    if labels is not None:
        columns["label"] = [*labels]
    table = pyarrow.table(columns)
    if labels is not None:
        features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


def test_parquet_rows_are_images_with_class_names(tmp_path: Path) -> None:
    path = parquet(tmp_path / "train.parquet", [0, 1, 2, 3, 4], [0, 1, 1, 0, 1])
    images = open_images(path)
    assert images.labels == ("cat", "dog", "dog", "cat", "dog")
    assert names(images)[3] == "train.parquet#3"
    for index in (4, 0, 3):
        assert (decode(images[index].read_bytes()) == np.asarray(picture(index))).all()


def test_a_parquet_file_takes_no_more_memory_than_its_images_are_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    # one picture of 8 MiB that is said to be two hundred: 1.6 GiB in 519 bytes
    same = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(np.zeros(200, np.int32)), pyarrow.array([bytes(8 << 20)])
    )
    pq.write_table(
        pyarrow.table({"image": same}), tmp_path / "same.parquet", compression="zstd", store_schema=False
    )
    locator = list_parquet([tmp_path / "same.parquet"]).candidates[0].source
    before = pyarrow.default_memory_pool().max_memory()
    monkeypatch.setattr("efface.images.tables.MAX_GROUP_BYTES", 1 << 26)
    with pytest.raises(OSError, match="column 'image' holds more than 64 MiB at once"):
        locator.read_bytes()
    assert pyarrow.default_memory_pool().max_memory() < max(before, 1 << 28)
    nothing = pyarrow.array([None] * 100_000, pyarrow.binary())
    pq.write_table(pyarrow.table({"image": nothing}), tmp_path / "many.parquet")
    (found,) = problems(tmp_path / "many.parquet")
    assert re.search(r"many\.parquet says that its [\d,]+ bytes hold 100,000 rows", found)
    monkeypatch.setattr("efface.images.tables.MAX_LABEL_BYTES", 1 << 20)
    labels = pyarrow.table({"image": [encoded_png(0)] * 200, "label": ["long" * 2000] * 200})
    pq.write_table(labels, tmp_path / "labels.parquet")
    (found,) = problems(tmp_path / "labels.parquet")
    assert "its column 'label' holds more than 1 MiB at once" in found


@pytest.mark.parametrize("name", ["x.parquet", "x.tar", "saved"])
def test_a_pipe_among_the_data_is_not_waited_for(name: str, tmp_path: Path) -> None:
    place = tmp_path / name
    if name == "saved":
        (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    os.mkfifo(place)
    (found,) = problems(tmp_path)
    assert found == f"{place} cannot be read: it is a pipe or a device, not a file"


def test_a_folder_of_parquet_files_is_one_data_set(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00001.parquet", [2])
    parquet(tmp_path / "data" / "train-00000.parquet", [0, 1])
    (tmp_path / "README.md").write_text("card")
    images = open_images(tmp_path)
    assert names(images) == ["train-00000.parquet#0", "train-00000.parquet#1", "train-00001.parquet#0"]
    assert images.passed_over == {".md": 1}


def test_a_parquet_file_without_images_names_its_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"text": ["a"]}), tmp_path / "t.parquet")
    assert "its columns are text" in problems(tmp_path / "t.parquet")[0]
    (tmp_path / "u.parquet").write_bytes(b"noise")
    assert "not a parquet file" in problems(tmp_path / "u.parquet")[0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets that `datasets` has saved: `set`, and `splits` of it; CIFAR-100's names for the columns."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("saved")
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "fine_label": datasets.ClassLabel(names=["cat", "dog"]),
            "note": datasets.Value("string"),
        }
    )
    files = [str(save_picture(folder / f"{seed}.png", seed)) for seed in (0, 1)]
    data = datasets.Dataset.from_dict(
        {"img": files, "fine_label": [0, 1], "note": ["x", "y"]}, features=features
    )
    data.save_to_disk(str(folder / "set"))
    undecoded = data.cast_column("img", datasets.Image(decode=False))
    datasets.DatasetDict({"train": data, "test": undecoded}).save_to_disk(str(folder / "splits"))
    return folder


def test_a_saved_data_set_is_read(saved: Path) -> None:
    images = open_images(saved / "set")
    assert images.ids == tuple(sha256_of_file(saved / f"{seed}.png") for seed in (0, 1))
    assert images.labels == ("cat", "dog")
    both = open_images(saved / "splits")
    assert both.labels == ("cat", "dog") * 2
    assert names(both) == ["train#0", "train#1", "test#0", "test#1"]


def test_a_damaged_data_set_is_one_fault(saved: Path, tmp_path: Path) -> None:
    for damage in ("arrow", "state", "elsewhere", "split"):
        folder = tmp_path / damage
        shutil.copytree(saved / ("splits" if damage == "split" else "set"), folder)
        if damage == "arrow":
            arrow = next(folder.glob("*.arrow"))
            arrow.write_bytes(arrow.read_bytes()[:700])
        elif damage == "split":
            (folder / "train" / "state.json").unlink()
        else:
            stated = '{"_data_files": [{"filename": "../set/x.arrow"}]}' if damage == "elsewhere" else "{"
            (folder / "state.json").write_text(stated)
        assert len(problems(folder)) == 1


def test_a_folder_of_images_may_hold_a_file_of_the_name_that_data_sets_use(animals: Path) -> None:
    (animals / "state.json").write_text("{}")
    assert len(open_images(animals)) == 6


@pytest.mark.parametrize("place", [4, -300, -60, "half"])
def test_a_damaged_parquet_file_is_refused_or_its_rows_are(tmp_path: Path, place: int | str) -> None:
    path = parquet(tmp_path / "train.parquet", [0, 1, 2], [0, 1, 1])
    content = bytearray(path.read_bytes())
    if isinstance(place, str):
        del content[len(content) // 2 :]
    else:
        place %= len(content)
        content[place : place + 10] = b"\xff" * 10
    path.write_bytes(content)
    assert all("train.parquet" in problem for problem in problems(path))


def test_the_image_column_is_the_one_that_is_called_so_and_a_lone_class_is_the_label(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    data = encoded_png(3)
    columns = {"mask": [{"bytes": b"x"}], "Image": [data], "thumb": [b"y"], "species": [1]}
    features = {"info": {"features": {"species": {"names": ["cat", "dog"]}}}}
    table = pyarrow.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, tmp_path / "t.parquet")
    images = open_images(tmp_path / "t.parquet")
    assert images.labels == ("dog",)
    assert images[0].read_bytes() == data


def tar(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            archive.addfile(member)
    return path


def test_the_shards_of_a_data_set_are_read_where_they_lie(tmp_path: Path) -> None:
    members = {"./0.png": encoded_png(0), "./0.cls": b"3\n", "0.json": b"{}", "/../1.png": encoded_png(1)}
    tar(tmp_path / "shard-0.tar", members, {"again.png": "0.png"})
    tar(tmp_path / "shard-1.tar", {"2.png": encoded_png(2)})
    images = open_images(tmp_path)
    assert names(images) == ["shard-0.tar#0.png", "1.png", "shard-0.tar#again.png", "shard-1.tar#2.png"]
    assert images.labels == ("3", None, None, None)
    assert images.passed_over == {".cls": 1, ".json": 1}
    assert [item.id for item in images][::2] == [images.ids[0], images.ids[0]]
    chosen = split_images(ImagesSettings(images=str(tmp_path), forget=("glob:[02].png",)), needs_retain=False)
    assert names(chosen.forget) == ["shard-0.tar#0.png", "shard-1.tar#2.png"]
    whole = split_images(ImagesSettings(forget=(str(tmp_path / "shard-1.tar"),)), needs_retain=False)
    assert len(whole.forget) == 1
    tar(tmp_path / "shard-1.tar", {"2.png": encoded_png(2), "3": b"8BPS"})
    with pytest.raises(
        InputError, match=r"shard-1\.tar#3: might be a picture and is not read: a Photoshop file"
    ):
        split_images(ImagesSettings(forget=(str(tmp_path / "shard-1.tar"),)), needs_retain=False)


def test_a_link_in_an_archive_is_named(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"0.png": encoded_png(0)}, {"gone.png": "nowhere.png"})
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("soft.png")
        member.type, member.linkname = tarfile.SYMTYPE, "0.png"
        archive.addfile(member)
    said = problems(path)
    assert [
        place in line for place, line in zip(("a.tar#gone.png", "a.tar#soft.png"), said, strict=True)
    ] == [True] * 2
    assert all("is a link, which is not followed" in line for line in said)


def test_a_packed_or_cut_archive_is_refused_in_words(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar", {"0.png": encoded_png(0)}).read_bytes()
    (tmp_path / "a.tar").write_bytes(gzip.compress(whole))
    assert "unpack it" in problems(tmp_path / "a.tar")[0]
    (tmp_path / "a.tar").write_bytes(whole[:700])
    assert "is damaged, incomplete or no uncompressed tar archive" in problems(tmp_path / "a.tar")[0]
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" + bytes(30))
    assert "compressed with gzip" in problems(tmp_path / "a.tar.gz")[0]
    assert "a ZIP archive" in problems(tmp_path / "a.zip")[0]


def test_a_hub_data_set_that_cannot_be_had_is_one_fault() -> None:
    pytest.importorskip("datasets")
    assert "data set hub:nobody/nothing:test cannot be loaded" in problems("hub:nobody/nothing:test")[0]


def test_bundled_photos_are_real_credited_and_distinct() -> None:
    photos = open_images("bundled")
    assert len(photos) == len(CREDITS) == 15
    assert len(set(photos.ids)) == 15
    assert all(credit.licence and credit.holder and credit.stated for credit in CREDITS)
    chelsea = open_images("bundled:chelsea")
    assert decode(chelsea[0].read_bytes()).shape == (300, 451, 3)


def test_an_unknown_bundled_photo_is_refused_with_the_nearest_name() -> None:
    assert "did you mean 'coffee'?" in problems("bundled:cofee")[0]
