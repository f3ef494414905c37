"""Image sets: order, identity, what may be published of them."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.wording import printable
from support.pictures import save_picture


def test_an_id_is_the_sha256_of_the_file(animals: Path) -> None:
    images = open_images(animals)
    assert images.ids[0] == sha256_of_file(animals / "cats" / "0.png")


def test_a_copy_keeps_its_own_entry_with_the_same_id(animals: Path) -> None:
    (animals / "dogs" / "copy.png").write_bytes((animals / "cats" / "0.png").read_bytes())
    images = open_images(animals)
    assert len(images) == 7
    assert len(set(images.ids)) == 6
    assert len(images.without([images.ids[0]])) == 5


def test_subset_keeps_the_given_order_and_union_takes_each_place_once(animals: Path) -> None:
    images = open_images(animals)
    part = images.subset([4, 1])
    assert part.ids == (images.ids[4], images.ids[1])
    assert part.union(images).ids == (part.ids + tuple(i for i in images.ids if i not in part.ids))


def test_keyed_ids_are_hmacs_and_depend_on_the_key(animals: Path) -> None:
    images = open_images(animals)
    expected = hmac.new(b"key", images.ids[0].encode(), hashlib.sha256).hexdigest()
    assert images.keyed_ids(b"key")[0] == expected
    assert images.keyed_ids(b"other")[0] != expected
    assert images.manifest(b"key")[0] == {"id": expected, "label": "cats"}


def test_a_manifest_holds_no_path(animals: Path) -> None:
    assert str(animals) not in str(open_images(animals).manifest(b"key"))


def test_a_digest_depends_on_order_and_labels_not_on_place(animals: Path, tmp_path: Path) -> None:
    images = open_images(animals)
    animals.rename(tmp_path / "moved")
    moved = open_images(tmp_path / "moved")
    assert moved.digest() == images.digest()
    assert moved.subset(reversed(range(6))).digest() != images.digest()
    assert open_images(tmp_path / "moved" / "cats").digest() != moved.subset(range(3)).digest()


def test_a_file_that_changed_since_indexing_is_noticed_when_read(animals: Path) -> None:
    images = open_images(animals)
    save_picture(animals / "cats" / "0.png", 99)
    with pytest.raises(InputError, match=r"0\.png: changed on disk since it was indexed"):
        images[0].read_bytes()


def test_a_file_that_is_gone_is_noticed_when_read(animals: Path) -> None:
    images = open_images(animals)
    (animals / "cats" / "0.png").unlink()
    with pytest.raises(InputError, match=r"0\.png: can no longer be read"):
        images[0].read_bytes()


def test_an_empty_set_is_a_set() -> None:
    assert len(ImageSet()) == 0
    assert ImageSet().classes == ()


def test_printable_is_one_line_of_valid_text() -> None:
    assert printable("plain ü.png") == "plain ü.png"
    assert printable("a\n\x1b[31m\udcff") == "a\\n\\x1b[31m\\udcff"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, efface.images, efface.images.selection, efface.images.cache, efface.images.bundled\n"
        "heavy = {'torch', 'skimage', 'datasets', 'pyarrow', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
