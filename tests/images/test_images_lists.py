"""Lists as people and their programs hand them over: every dialect names the same two images."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import unicodedata
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.images.lists import list_entries
from efface.images.selection import ImagesSettings, Split, split_images
from efface.images.sources import open_images
from support.pictures import save_picture

TWO = "cats/0.png", "dogs/1.png"


def chosen(animals: Path, list_: Path) -> list[str]:
    return ["/".join(path.split("/")[-2:]) for path in split(animals, list_).forget.paths]


def split(animals: Path, list_: Path) -> Split:
    return split_images(ImagesSettings(images=str(animals), forget=(str(list_),)), needs_retain=False)


def problems(source: Path, animals: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        split(animals, source) if animals else open_images(source)
    return "\n".join(caught.value.problems)


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


TABLE = "path{0}label\r\ncats/0.png{0}a\r\ndogs/1.png{0}b\r\n"
DIALECTS: dict[str, str | bytes] = {
    "commas.csv": TABLE.format(","),
    "semicolons.csv": "\ufeff" + TABLE.format(";"),
    "tabs.tsv": TABLE.format("\t"),
    "tabs.txt": TABLE.format("\t"),
    "bars.csv": TABLE.format("|"),
    "excel.csv": "sep=;\r\n" + TABLE.format(";"),
    "blank-rows.csv": "\n" + TABLE.format(";") + ";\r\n\r\n",
    "marked.csv": TABLE.format(",").encode("utf-16"),
    "little.csv": TABLE.format("\t").encode("utf-16-le"),
    "big.txt": "cats/0.png\r\ndogs/1.png\r\n".encode("utf-16-be"),
    "capital.csv": "File Name,Klasse\ncats/0.png,x\ndogs/1.png,x\n",
    "quoted.csv": 'img\n"cats/0.png"\n"dogs/1.png"\n',
    "no-heading.csv": "cats/0.png;a\ndogs/1.png;b\n",
    "windows.csv": "path\r\ncats\\0.png\r\ndogs\\1.png\r\n",
    "windows.txt": ".\\cats\\0.png\r\n.\\dogs\\1.png\r\n",
    "blanks.txt": "  cats/0.png  \n\tdogs/1.png\t\n",
    "quoted.txt": "\"cats/0.png\"\n'dogs/1.png' \n",
    "labelled.txt": "cats/0.png 3\ndogs/1.png 4\n",
    "one-line.txt": "cats/0.png, dogs/1.png\n",
    "comments.txt": "# request 17\n#cats/1.png\ncats/0.png\n#\ndogs/1.png",
    "old-mac.txt": "cats/0.png\rdogs/1.png\r",
    "old-mac.csv": "path,label\rcats/0.png,a\rdogs/1.png,b\r",
    "no-suffix": "cats/0.png\ndogs/1.png\n",
    "array.json": '["cats/0.png", "dogs/1.png"]',
    "objects.json": '[{"image": "cats/0.png"},\n {"image": "dogs/1.png"}]',
    "within.json": '{"info": {}, "images": [{"file_name": "cats/0.png"}, {"file_name": "dogs/1.png"}]}',
    "lines.json": '{"image": {"path": "cats/0.png", "bytes": null}}\n{"data": {"img": "dogs/1.png"}}\n',
    "texts.jsonl": '"cats/0.png"\n\n"dogs/1.png"\n',
    "several.jsonl": '{"file_names": ["cats/0.png", "dogs/1.png"], "label": "x"}',
    "starred.jsonl": '{"image_file_name": "cats/0.png"}\n{"image_file_name": "dogs/1.png"}\n',
}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("beside", [True, False])
def test_a_list_of_any_dialect_is_read(animals: Path, name: str, beside: bool) -> None:
    """Beside the images, and elsewhere."""
    place = animals if beside else animals.parent / "lists"
    assert chosen(animals, written(place / name, DIALECTS[name])) == list(TWO)


def test_a_list_may_be_relative_to_where_efface_runs(animals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(animals.parent)
    for name in ("here.txt", "here.csv"):
        list_ = written(animals.parent / "lists" / name, "path\ndata/cats/0.png\ndata/dogs/1.png\n")
        assert chosen(animals, list_) == list(TWO)


def test_addresses_of_files_are_names(animals: Path) -> None:
    named = (animals / "cats" / "a picture.png").as_uri()
    (animals / "cats" / "0.png").rename(animals / "cats" / "a picture.png")
    assert chosen(animals, written(animals.parent / "addresses.txt", f"{named}\n")) == ["cats/a picture.png"]


@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"]])
def test_the_output_of_sha256sum_names_files_and_binds_their_content(
    animals: Path, options: list[str]
) -> None:
    save_picture(animals / "cats" / "back\\slash\nbreak.png", 90)
    command = ["sha256sum", *options, *TWO, "cats/back\\slash\nbreak.png"]
    output = subprocess.run(command, cwd=animals, capture_output=True, check=True).stdout
    sums = written(animals.parent / "SHA256SUMS", output)
    assert chosen(animals, sums) == [TWO[0], "cats/back\\slash\nbreak.png", TWO[1]]
    save_picture(animals / "cats" / "0.png", 91)
    assert "its sha256 is" in problems(sums, animals)


def test_a_sum_of_a_file_that_is_elsewhere_finds_its_content(animals: Path) -> None:
    digest = sha256_of_file(animals / "cats" / "0.png")
    assert chosen(animals, written(animals / "sums", f"{digest.upper()} */home/anna/mine.png\n")) == [
        "cats/0.png"
    ]
    assert chosen(animals, written(animals / "sums.csv", f"sha256\n{digest}\n")) == ["cats/0.png"]


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha512"])
def test_other_sums_are_refused_in_words(animals: Path, kind: str) -> None:
    digest = hashlib.new(kind, (animals / "cats" / "0.png").read_bytes()).hexdigest()
    for line in (f"{digest}  cats/0.png", digest):
        text = problems(written(animals / "sums", line), animals)
        assert f"is a line of {kind}sum; give the output of sha256sum" in text
    assert "is a line of MD5" in problems(
        written(animals / "sums", f"MD5 (cats/0.png) = {'0' * 32}"), animals
    )


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD", "latin-1"])
def test_names_are_found_in_any_form_of_their_letters(animals: Path, on_disk: str, asked: str) -> None:
    folder = unicodedata.normalize(on_disk, "Zoë")
    save_picture(animals / folder / unicodedata.normalize(on_disk, "é.png"), 90)
    name = "Zoë/é.png"
    encoded = name.encode("latin-1") if asked == "latin-1" else unicodedata.normalize(asked, name).encode()
    for list_ in ("list.txt", "list.csv"):
        assert len(split(animals, written(animals / list_, b"path\n" + encoded)).forget) == 1
    if asked != "latin-1":
        spelled = unicodedata.normalize(asked, "Zoë")
        for selector in (spelled, f"{animals}/{spelled}", f"glob:{spelled}/*", f"label:{spelled}"):
            assert len(split(animals, Path(selector)).forget) == 1


def test_a_line_that_names_a_file_is_that_file_whatever_it_looks_like(animals: Path) -> None:
    names = ["#1 beach.png", "a,b.png", "path", "0" * 64, '"q".png', " blank.png", "a.png b"]
    for seed, name in enumerate(names):
        save_picture(animals / "x.png", 50 + seed).rename(animals / name)
    listing = list_entries(written(animals / "list.txt", "path\n" + "\n".join(names)))
    assert [os.path.basename(candidate.path) for candidate in listing.candidates] == [
        "path",
        *names[:2],
        *names[3:],
    ]
    assert not listing.problems


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("#0017 beach.png\ncats/0.png", "line 1 (#0017 beach.png): no such file; a comment has a blank"),
        ("C:\\photos\\cats\\0.png", "is a path on a Windows machine"),
        ("\\\\server\\cats\\0.png", "is a path on a Windows machine"),
        ("cats", "is a folder; a list names files"),
        ("cats/0.png,cat,dogs/1.png", "no such file"),
        ("cats/0.png dogs/1.png", "no such file"),
        ("cats/0.png\0", "is no text"),
        ("", "has no entries"),
    ],
)
def test_an_entry_that_leads_nowhere_is_named(animals: Path, content: str, said: str) -> None:
    assert said in problems(written(animals / "list.txt", content), animals)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "path,label\ncats/0.png,a\na, b.png,c\n", "row 2: has more cells than the heading"),
        ("a.csv", "md5,size\n0,1\n", "needs a column 'path' or 'file_name', has md5, size"),
        ("a.csv", '"' + "x" * 200_000 + '"\n', "needs a column"),
        ("a.csv", 'path\n"' + "x" * 200_000 + '"\n', "field larger than field limit"),
        ("a.csv", "path\n" + "x" * 5000, "no such file"),
        ("a.jsonl", "[" * 100_000, "line 1 cannot be read"),
        ("a.jsonl", '{"path": "x", "n": ' + "9" * 5000 + "}", "line 1 cannot be read"),
        ("a.jsonl", '{"path": 3}', "'path' must be the name of a file"),
        ("a.jsonl", "3", "line 1: must be a JSON object, or a text"),
        ("a.jsonl", '{"path": "a\\u0000"}', "line 1 cannot be read"),
        (
            "a.jsonl",
            '{"a_file_name": "x", "b_file_name": "y"}',
            "names several images (a_file_name, b_file_name)",
        ),
        ("a.json", '{"path": "cats/0.png", "sha256": 12}', "sha256 must be 64 hexadecimal digits"),
        ("a.json", "[]", "has no entries"),
        ("a.txt", b"PK\3\4\0\0\0\0", "a ZIP archive"),
        ("a.csv", "path\ncats/0.png".encode("utf-16")[:-1], "not valid UTF-16"),
    ],
)
def test_a_damaged_or_hostile_list_is_one_sentence(
    animals: Path, name: str, content: str | bytes, said: str
) -> None:
    text = problems(written(animals / name, content))
    assert said in text
    assert len(text) < 1000


def test_rows_that_repeat_an_image_count_once_and_are_told(animals: Path) -> None:
    for name in ("list.txt", "list.csv"):
        result = split(animals, written(animals / name, "path\ncats/0.png\ndogs/1.png\ncats/../cats/0.png\n"))
        assert len(result.forget) == 2
        assert "1 row of a list repeats an image of another row and counts once" in result.notes
    rows = "path,label\ncats/0.png,a\ncats/0.png,b\n"
    assert "repeats the image of list.csv row 1 with another label" in problems(
        written(animals / "list.csv", rows)
    )


def test_a_list_of_ones_own_may_lead_anywhere_and_a_table_may_not(animals: Path) -> None:
    outside = save_picture(animals.parent / "outside.png", 70)
    assert len(open_images(written(animals / "list.txt", f"../outside.png\n{animals}/cats/0.png\n"))) == 2
    for name, content in (("a.csv", "path\n../outside.png"), ("a.json", json.dumps([str(outside)]))):
        assert "leads outside the manifest's folder" in problems(written(animals / name, content))


def test_metadata_below_a_folder_gives_the_labels_there(tmp_path: Path) -> None:
    for part in ("train", "test"):
        rows = []
        for index in range(2):
            save_picture(tmp_path / part / "deep" / f"{index}.png", index + 10 * (part == "test"))
            rows.append(json.dumps({"file_name": f"deep/{index}.png", "label": f"{part}{index}"}))
        written(tmp_path / part / "metadata.jsonl", "\n".join(rows[: 2 if part == "train" else 1]))
    images = open_images(tmp_path)
    assert images.labels == ("test0", "train0", "train1")
    assert images.passed_over == {"(image without a row in metadata.jsonl)": 1}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("twice.csv", "path,path\n0.png,1.png\n", "has the column path twice"),
        ("two.csv", "path,file_name\n0.png,1.png\n", "names several images (path, file_name)"),
        ("two.json", '{"files": ["0.png"], "more": ["1.png"]}', "holds several lists (files, more)"),
    ],
)
def test_no_part_of_a_list_is_left_out_without_a_word(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    for number in range(2):
        save_picture(tmp_path / f"{number}.png", number)
    (tmp_path / name).write_text(text)
    try:
        told = list_entries(tmp_path / name).problems
    except InputError as error:
        told = list(error.problems)
    assert len(told) == 1
    assert said in told[0]


def test_two_columns_that_name_the_same_image_are_one_name(tmp_path: Path) -> None:
    save_picture(tmp_path / "0.png", 0)
    (tmp_path / "list.csv").write_text("path,file_name\n./0.png,0.png\n")
    assert len(list_entries(tmp_path / "list.csv").candidates) == 1


def test_the_line_of_excel_needs_no_heading_below_it(tmp_path: Path) -> None:
    for number in range(2):
        save_picture(tmp_path / f"{number}.png", number)
    (tmp_path / "list.csv").write_text("sep=;\n0.png\n1.png\n")
    assert len(list_entries(tmp_path / "list.csv").candidates) == 2
