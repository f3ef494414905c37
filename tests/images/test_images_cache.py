"""The pixel cache: decoded once, survives a kill, shared by processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efface.errors import InputError, Stopped
from efface.images import cache as cache_module
from efface.images.cache import PixelCache, estimate_bytes
from efface.images.items import ImageSet
from efface.images.reading import decode_image
from efface.images.sources import open_images
from support.pictures import picture, save_picture


@pytest.fixture
def images(animals: Path) -> ImageSet:
    return open_images(animals)


def pixels_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_small_images_are_stored_as_they_are(images: ImageSet, tmp_path: Path) -> None:
    with PixelCache(tmp_path / "c", 64) as cache:
        assert cache.add(images) == ()
        assert cache.read(images.ids[2]).tolist() == np.asarray(picture(2)).tolist()


def test_large_images_are_shrunk_to_the_short_side(images: ImageSet, tmp_path: Path) -> None:
    with PixelCache(tmp_path / "c", 20, "bicubic") as cache:
        cache.add(images)
        expected = picture(0).resize((24, 20), Image.Resampling.BICUBIC)
        assert (cache.read(images.ids[0]) == np.asarray(expected)).all()


def test_a_read_is_a_view_that_cannot_be_written(images: ImageSet, tmp_path: Path) -> None:
    cache = PixelCache(tmp_path / "c", 64)
    cache.add(images)
    with pytest.raises(ValueError, match="read-only"):
        cache.read(images.ids[0])[0, 0, 0] = 1


def test_what_is_stored_is_not_decoded_again(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PixelCache(tmp_path / "c", 64).add(images.subset(range(4)))
    decoded = []
    decode = cache_module.decode_image
    monkeypatch.setattr(cache_module, "decode_image", lambda data: decoded.append(1) or decode(data))
    cache = PixelCache(tmp_path / "c", 64)
    cache.add(images)
    assert len(decoded) == 2
    assert len(cache) == 6


def test_another_size_or_resampler_is_another_cache(images: ImageSet, tmp_path: Path) -> None:
    PixelCache(tmp_path / "c", 64).add(images)
    assert images.ids[0] not in PixelCache(tmp_path / "c", 32)
    assert images.ids[0] not in PixelCache(tmp_path / "c", 64, "box")
    with pytest.raises(InputError, match="unknown resampler 'lanzcos'"):
        PixelCache(tmp_path / "c", 64, "lanzcos")


def test_an_image_that_is_not_stored_is_a_key_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="not in the pixel cache"):
        PixelCache(tmp_path / "c", 64).read("0" * 64)


def test_the_estimate_is_what_caching_takes(images: ImageSet, tmp_path: Path) -> None:
    for short_side in (20, 64):
        folder = tmp_path / str(short_side)
        PixelCache(folder, short_side).add(images)
        assert len(pixels_on_disk(folder)) == estimate_bytes(images, short_side)


def test_a_disk_that_is_too_small_is_refused_before_decoding(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PixelCache(tmp_path / "c", 64)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match="caching 6 images at short side 64 needs"):
        cache.add(images)


def test_unreadable_images_are_named_together_and_the_rest_is_kept(animals: Path, tmp_path: Path) -> None:
    whole = (animals / "cats" / "0.png").read_bytes()
    for name in ("x.png", "y.png"):
        (animals / "cats" / name).write_bytes(whole[: len(whole) // 2] + name.encode())
    images = open_images(animals)
    save_picture(animals / "dogs" / "0.png", 77)
    cache = PixelCache(tmp_path / "c", 64)
    with pytest.raises(InputError) as caught:
        cache.add(images)
    assert len(caught.value.problems) == 3
    assert "changed on disk" in caught.value.problems[2]
    skipped = cache.add(images, skip_unreadable=True)
    assert [os.path.basename(fault.path) for fault in skipped] == ["x.png", "y.png", "0.png"]
    assert len(cache) == 5


def test_shards_are_bounded(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 2 * 48 * 40 * 3)
    cache = PixelCache(tmp_path / "c", 64)
    cache.add(images)
    assert len(list((tmp_path / "c").rglob("pixels-*.bin"))) == 3
    assert all(cache.read(item.id).any() for item in images)
    assert (cache.read(images.ids[2]) == np.asarray(picture(2))).all()


WRITER = """
import sys
from efface.images import cache
from efface.images.sources import open_images

cache.COMMIT_IMAGES = 8

def slow(what, done, total):
    print(done, flush=True)
    import time
    time.sleep(float(sys.argv[3]))

cache.PixelCache(sys.argv[2], 64).add(open_images(sys.argv[1]), slow)
"""


def writer(data: Path, folder: Path, pause: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(data), str(folder), str(pause)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_killed_run_continues_and_leaves_no_stray_pixels(tmp_path: Path) -> None:
    for seed in range(40):
        save_picture(tmp_path / "data" / f"{seed:02}.png", seed)
    images = open_images(tmp_path / "data")
    process = writer(tmp_path / "data", tmp_path / "c", 0.02)
    assert process.stdout
    while int(process.stdout.readline()) < 20:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (folder,) = (tmp_path / "c").iterdir()
    with open(folder / "pixels-00000.bin", "ab") as file:
        file.write(b"stray pixels")  # as if killed between the pixels and their index entry
    with open(folder / "index", "ab") as file:
        file.write(b"torn record")
    cache = PixelCache(tmp_path / "c", 64)
    done = len(cache)
    assert done in (16, 24)
    assert all((cache.read(images.ids[i]) == np.asarray(picture(i))).all() for i in range(done))
    cache.add(images)
    assert b"stray" not in pixels_on_disk(tmp_path / "c")
    assert len(cache) == 40
    assert all((cache.read(images.ids[i]) == np.asarray(picture(i))).all() for i in range(40))
    assert len(pixels_on_disk(tmp_path / "c")) == estimate_bytes(images, 64)


def test_two_writers_do_not_corrupt_the_cache_and_a_reader_sees_their_work(tmp_path: Path) -> None:
    for seed in range(30):
        save_picture(tmp_path / "data" / f"{seed:02}.png", seed)
    images = open_images(tmp_path / "data")
    reader = PixelCache(tmp_path / "c", 64)
    processes = [writer(tmp_path / "data", tmp_path / "c", 0.01) for _ in range(2)]
    deadline = time.monotonic() + 20
    while images.ids[0] not in reader and time.monotonic() < deadline:
        time.sleep(0.01)
    decoded = [len(process.communicate()[0].split()) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(decoded) == [0, 30]  # the second waited, and found nothing left to do
    assert all((reader.read(images.ids[i]) == np.asarray(picture(i))).all() for i in range(30))
    assert len(pixels_on_disk(tmp_path / "c")) == estimate_bytes(images, 64)


def filled(images: ImageSet, folder: Path) -> Path:
    """A cache of `images`, closed; the folder of its files."""
    with PixelCache(folder, 64) as cache:
        cache.add(images)
    (inside,) = folder.iterdir()
    return inside


def rows(images: ImageSet, cache: PixelCache) -> list[bool]:
    whole = (np.asarray(decode_image(item.read_bytes())) for item in images)
    return [bool((cache.read(item.id) == pixels).all()) for item, pixels in zip(images, whole, strict=True)]


def test_pixels_that_changed_on_disk_are_decoded_again(images: ImageSet, tmp_path: Path) -> None:
    shard = filled(images, tmp_path / "c") / "pixels-00000.bin"
    content = bytearray(shard.read_bytes())
    content[3 * 48 * 40 + 7] ^= 1  # one bit of the second image
    shard.write_bytes(content)
    cache = PixelCache(tmp_path / "c", 64)
    assert [id_ in cache for id_ in images.ids] == [True, False, True, True, True, True]
    with pytest.raises(Stopped, match="changed on disk; the same command decodes them again"):
        cache.read(images.ids[1])
    cache.add(images)
    assert all(rows(images, cache))
    assert all(rows(images, PixelCache(tmp_path / "c", 64)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda index: b"\xff" * (3 * len(index)),
        lambda index: bytes(len(index)),
        lambda index: index[::-1],
        lambda index: index[: len(index) // 2] + index,
        lambda index: b"",
        lambda index: index[:33] + bytes([index[33] ^ 64]) + index[34:],
    ],
    ids=["ones", "zeros", "reversed", "shifted", "empty", "a bit of an offset"],
)
def test_an_index_that_does_not_fit_is_made_again(
    images: ImageSet, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    index = filled(images, tmp_path / "c") / "index"
    index.write_bytes(damage(index.read_bytes()))
    with PixelCache(tmp_path / "c", 64) as cache:
        cache.add(images)
        assert all(rows(images, cache))
    with PixelCache(tmp_path / "c", 64) as cache:
        assert all(rows(images, cache))


def test_shards_that_are_gone_or_cut_short_are_filled_again(images: ImageSet, tmp_path: Path) -> None:
    shard = filled(images, tmp_path / "c") / "pixels-00000.bin"
    os.truncate(shard, 10_000)
    with PixelCache(tmp_path / "c", 64) as cache:
        assert [id_ in cache for id_ in images.ids] == [True] + 5 * [False]
        cache.add(images)
        assert all(rows(images, cache))
        shard.unlink()
        cache.add(images)
        assert all(rows(images, cache))


def test_files_are_their_owners_alone_whatever_the_umask(images: ImageSet, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        inside = filled(images, tmp_path / "c")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o77 for path in (inside, *inside.iterdir())] == 4 * [0]


def test_a_cache_in_memory_gives_what_one_on_disk_gives(images: ImageSet, tmp_path: Path) -> None:
    with PixelCache(tmp_path / "c", 20) as on_disk, PixelCache(None, 20) as in_memory:
        assert on_disk.add(images) == in_memory.add(images) == ()
        assert all((on_disk.read(id_) == in_memory.read(id_)).all() for id_ in images.ids)
        one, other = (cache.fingerprints(images.ids).read(0, 6) for cache in (on_disk, in_memory))
        assert one.tobytes() == other.tobytes()
        assert len(in_memory) == 6
        assert images.ids[0] in in_memory
        assert "0" * 64 not in in_memory
        with pytest.raises(KeyError):
            in_memory.read("0" * 64)
