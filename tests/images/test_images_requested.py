"""What is asked for is taken whole, or the run stops and names what might be a picture."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.images.selection import ImagesSettings, Split, split_images
from support.pictures import picture, save_picture


@pytest.fixture
def request_folder(tmp_path: Path) -> Path:
    """A folder of two pictures that are to be forgotten; beside it lies what is kept."""
    for index in range(2):
        save_picture(tmp_path / "mine" / f"{index}.png", index)
        save_picture(tmp_path / "keep" / f"{index}.png", 20 + index)
    return tmp_path / "mine"


def encoded(seed: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, kind)
    return buffer.getvalue()


def split(folder: Path, *forget: str, **settings: object) -> Split:
    values = {"retain": (str(folder.parent / "keep"),), "forget": forget or (str(folder),), **settings}
    return split_images(ImagesSettings.read(values), needs_retain=True)


def refused(folder: Path, *forget: str, **settings: object) -> str:
    with pytest.raises(InputError) as caught:
        split(folder, *forget, **settings)
    return str(caught.value)


NO_PICTURES = {
    ".DS_Store": b"\0\0\0\1Bud1",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\0",
    "desktop.ini": b"\xff\xfe[\0",
    "._0.png": b"\0\5\26\7",
    "Icon\r": b"\0",
    "0.xmp": b"<x:xmpmeta/>",
    "0.json": b"{}",
    "notes.txt": "Zoë".encode("latin-1"),
    "0.AAE": b"<?xml?>",
    ".hidden/.gitkeep": b"",
    "@eaDir/0.png/SYNOINDEX_MEDIA_INFO": b"\1\0\2",
    ".git/objects/aa": b"x\1\0",
    "README": b"hello",
    "__MACOSX/._0.png": b"\0\5\26\7",
    "0.MOV": b"\0\0\0\x14ftypqt  ",
    "index.html": b"<html></html>",
    "empty.csv": b"",
}


def test_what_systems_leave_behind_and_text_are_passed_over_and_counted(request_folder: Path) -> None:
    for name, content in NO_PICTURES.items():
        (request_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (request_folder / name).write_bytes(content)
    result = split(request_folder)
    assert len(result.forget) == 2
    assert any(note.startswith(f"{len(NO_PICTURES)} files that are not images") for note in result.notes)


MIGHT_BE = {
    "a.NEF": (encoded(9, "TIFF"), "a raw photo"), "b.psd": (b"8BPS\0\1", "a Photoshop file"),
    "c": (encoded(8)[:9], "damaged"), "d.bin": (bytes(range(256)), "not an image"),
    "e.txt": (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"), "f": (b"", "empty"),
    ".g.heic.icloud": (b"bplist00\1\0", "a placeholder of iCloud"), "h.zip": (b"PK\3\4\0", "a ZIP archive"),
    "i.pdf": (b"%PDF-1.7", "a PDF"), "j.mp4": (b"\0\0\0\x14ftypmp42", "a video"), "k.svg": (b"<svg/>", "a drawing (SVG)"),
}  # fmt: skip


def test_what_might_be_a_picture_and_is_not_read_stops_and_is_named_at_once(request_folder: Path) -> None:
    for name, (content, _) in MIGHT_BE.items():
        (request_folder / name).write_bytes(content)
    (request_folder / "gone").symlink_to("nowhere")
    (request_folder / "0.png").write_bytes(encoded(7)[:300])
    text = refused(request_folder)
    for name, (_, said) in {**MIGHT_BE, "gone": (b"", "No such file")}.items():
        assert f"{name}: might be a picture and is not read: " in text
        assert said in next(line for line in text.split("\n") if f"{name}:" in line)
    assert "0.png: truncated or damaged" in text
    result = split(request_folder, skip_unreadable=True)
    assert (len(result.forget), len(result.skipped)) == (1, len(MIGHT_BE) + 2)


@pytest.mark.parametrize(
    "name", ["IMG_0001", "photo.dat", "photo.txt", ".hidden.jpg", ".private/x.jpg", "a.jpg_original"]
)
@pytest.mark.parametrize("selector", ["folder", "glob"])
def test_a_picture_of_any_name_is_taken(request_folder: Path, name: str, selector: str) -> None:
    path = request_folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded(9))
    chosen = str(request_folder) if selector == "folder" else f"glob:{path}"
    assert path.name in [os.path.basename(path) for path in split(request_folder, chosen).forget.paths]
    list_ = request_folder.parent / "list.txt"
    list_.write_text(f"{path}\n")
    assert len(split(request_folder, str(list_)).forget) == len(split(request_folder, str(path)).forget) == 1


def test_among_main_images_a_picture_without_a_pictures_name_is_named(animals: Path) -> None:
    (animals / "cats" / "IMG_0001").write_bytes(encoded(9))
    (animals / "dogs" / "IMG_0002").write_bytes(encoded(10))
    for selector in ("cats", "label:cats", "glob:cats/*"):
        text = refused(animals, selector, images=str(animals), retain=())
        assert "cats/IMG_0001" in text
        assert "IMG_0002" not in text
    assert "is not one of the main images" in refused(animals, "cats", images=str(animals), retain=())


def test_images_without_a_row_of_metadata_are_asked_for_too(request_folder: Path) -> None:
    (request_folder / "metadata.csv").write_text("file_name,label\n0.png,x\n")
    assert split(request_folder).forget.labels == ("x", None)


def test_what_is_kept_is_chosen_by_name(request_folder: Path) -> None:
    (request_folder.parent / "keep" / "b.psd").write_bytes(b"8BPS\0\1")
    assert len(split(request_folder).retain) == 2
