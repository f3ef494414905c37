"""Every kind of image is read correctly or refused with the reason."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from efface.images.items import ReadingError
from efface.images.reading import decode, header, jpeg_xl_size
from efface.images.signatures import encoding_of
from support.pictures import picture


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(ReadingError) as caught:
        decode(data)
    return caught.value.reason


def test_rgb_pixels_are_read_exactly() -> None:
    image = picture(0)
    pixels = decode(encoded(image))
    assert pixels.shape == (40, 48, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == np.asarray(image)).all()


def test_grey_becomes_three_equal_channels() -> None:
    assert decode(encoded(Image.new("L", (3, 2), 77))).tolist() == [[[77] * 3] * 3] * 2


def test_one_bit_images_are_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False]]))
    assert decode(encoded(image)).tolist() == [[[255] * 3, [0] * 3]]


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(Image.fromarray(values), kind))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_pgm_is_scaled_not_clipped() -> None:
    data = b"P5 3 1 65535\n" + np.array([0, 32768, 65535], ">u2").tobytes()
    assert decode(data)[0, :, 0].tolist() == [0, 128, 255]


def test_16_bit_colour_png_is_scaled_not_clipped() -> None:
    assert decode(png(1, 1, 16, 2, struct.pack(">HHH", 65535, 32896, 257))).tolist() == [[[255, 128, 1]]]


def test_16_bit_tiff_with_white_as_zero_is_inverted() -> None:
    image = Image.fromarray(np.array([[0, 65535]], np.uint16))
    assert decode(encoded(image, "TIFF", tiffinfo={262: 0}))[0, :, 0].tolist() == [255, 0]


def test_32_bit_and_floating_point_images_are_refused() -> None:
    assert "32-bit" in reason(encoded(Image.fromarray(np.full((2, 2), 1 << 20, np.int32)), "TIFF"))
    assert "floating-point" in reason(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


def test_cmyk_becomes_rgb() -> None:
    pixels = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 3


def test_transparency_is_composited_over_white() -> None:
    image = Image.new("RGBA", (2, 1))
    image.putdata([(10, 20, 30, 0), (0, 0, 0, 51)])  # invisible; black at one fifth
    assert decode(encoded(image)).tolist() == [[[255, 255, 255], [204, 204, 204]]]


def test_grey_with_alpha_is_composited_over_white() -> None:
    assert decode(encoded(Image.new("LA", (1, 1), (0, 51)))).tolist() == [[[204, 204, 204]]]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_transparent_palette_entries_become_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putdata([0, 1])
    assert decode(encoded(image, transparency=transparency)).tolist() == [[[200, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_becomes_white(mode: str) -> None:
    colour = 9 if mode == "L" else (9, 9, 9)
    assert decode(encoded(Image.new(mode, (1, 1), colour), transparency=colour)).tolist() == [[[255] * 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """The stored picture of each orientation, worked from the EXIF table, shows a, b above c, d."""
    stored = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "bdac", 7: "dbca", 8: "cadb"}
    value = {"a": 10, "b": 80, "c": 150, "d": 220}
    image = Image.fromarray(np.array([value[c] for c in stored[orientation]], np.uint8).reshape(2, 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(image, "PNG", exif=exif))
    assert pixels[..., 0].ravel().tolist() == [10, 80, 150, 220]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_counts_as_none() -> None:
    data = encoded(picture(0), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01")
    assert decode(data).shape == (40, 48, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_and_of_pages_the_first_picture_is_read(kind: str) -> None:
    frames = [picture(seed) for seed in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    alone = encoded(frames[0], kind, **options)
    assert (decode(data) == decode(alone)).all()
    assert (header(data).frames, header(alone).frames) == (3, 1)


def test_a_gif_with_one_frame_is_read() -> None:
    assert decode(encoded(picture(0), "GIF")).shape == (40, 48, 3)


def test_a_multi_picture_jpeg_is_read_as_its_first_picture() -> None:
    data = encoded(picture(0), "MPO", save_all=True, append_images=[picture(1)], quality=95)
    alone = encoded(picture(0), "JPEG", quality=95)
    assert (decode(data) == decode(alone)).all()


def test_an_empty_file_is_refused() -> None:
    assert "zero bytes" in reason(b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    data = encoded(picture(0, 200, 160), kind)
    assert decode(data).shape == (160, 200, 3)
    assert "damaged" in reason(data[: len(data) * 2 // 3])


def test_noise_is_not_an_image() -> None:
    assert "not an image" in reason(bytes(range(256)) * 4)


def test_a_format_that_runs_a_program_is_not_opened() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    assert reason(eps) == "PostScript, which cannot be read"


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    bomb = png(20_000, 20_000, 8, 0, b"")
    assert "oversized" in reason(bomb)
    with pytest.raises(ReadingError, match="oversized"):
        header(bomb)


def test_the_pixel_limit_is_exact() -> None:
    data = encoded(picture(0, 48, 40))
    assert decode(data, max_pixels=48 * 40).shape == (40, 48, 3)
    with pytest.raises(ReadingError, match="48 x 40 pixels"):
        decode(data, max_pixels=48 * 40 - 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_read_upright(orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    grey = picture(0).convert("L")  # of which nothing is lost
    heif.from_pillow(grey).save(buffer, quality=-1, exif=exif.tobytes())
    assert (decode(buffer.getvalue()) == decode(encoded(grey, exif=exif))).all()
    assert "damaged" in reason(buffer.getvalue()[:-200])


def test_of_several_pictures_in_heic_the_main_one_is_read_and_deep_ones_are_scaled() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    several = heif.from_pillow(picture(0).convert("L"))
    several.add_from_pillow(picture(1).convert("L"))
    several.save(buffer, quality=-1, primary_index=1)
    assert (decode(buffer.getvalue())[..., 0] == np.asarray(picture(1).convert("L"))).all()
    assert header(buffer.getvalue()).frames == 2
    deep = np.linspace(0, 65535, 64 * 64 * 3).astype(np.uint16).reshape(64, 64, 3)
    buffer = io.BytesIO()
    heif.from_bytes("RGB;16", (64, 64), deep.tobytes()).save(buffer, quality=-1)
    assert np.abs(decode(buffer.getvalue()) - deep / 257).max() < 8


@pytest.mark.parametrize("size", [(48, 40), (1, 1), (640, 480), (256, 8), (5000, 3)])
def test_jpeg_xl_is_read_and_its_size_known_before(size: tuple[int, int]) -> None:
    pytest.importorskip("pillow_jxl")
    for container in (False, True):
        data = encoded(picture(0, *size), "JXL", lossless=True, use_container=container)
        assert jpeg_xl_size(data) == size
        assert (decode(data) == np.asarray(picture(0, *size))).all()
        with pytest.raises(ReadingError, match="oversized"):
            header(data, max_pixels=size[0] * size[1] - 1)
        assert "damaged" in reason(data[: len(data) // 2])


def test_orientation_of_jpeg_xl_stands_in_its_codestream_unless_it_holds_a_jpeg(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(picture(0), "JXL", lossless=True, exif=exif.tobytes())).shape == (40, 48, 3)
    picture(0).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as jpeg:
        data = encoded(jpeg, "JXL", lossless_jpeg=True)
    assert (decode(data) == decode((tmp_path / "a.jpg").read_bytes())).all()


@pytest.mark.parametrize(("module", "kind"), [("pillow_heif", "HEIC"), ("pillow_jxl", "JPEG XL")])
def test_without_its_plug_in_a_format_says_what_to_install(
    module: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (module, f"{module}.JpegXLImagePlugin"):
        monkeypatch.setitem(sys.modules, name, None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" if kind == "HEIC" else b"\xff\x0a" + bytes(20)
    assert reason(data) == f"{kind}, which is read with: pip install 'efface[formats]'"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"FUJIFILMCCD-RAW 0201", "raw photo"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw photo"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "raw photo"),
        (b"\0\0\0\x14ftypqt  ", "a video"),
        (b"%PDF-1.7", "a PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"PK\3\4", "ZIP"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b'<?xml version="1.0"?><svg>', "SVG"),
        (b"bplist00", "iCloud"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(data: bytes, said: str) -> None:
    assert said in reason(data + b" " * 40)


def test_a_preview_in_front_of_a_raw_photo_is_not_taken_for_it() -> None:
    assert "raw photo" in reason(encoded(picture(0), "TIFF", tiffinfo={254: 1}))
    assert "raw photo" in reason(encoded(picture(0), "TIFF", tiffinfo={50706: b"\1\4\0\0"}))


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP", b"tIME", b"prVt"])
@pytest.mark.parametrize("before", [True, False])
def test_notes_in_a_png_may_be_long_or_damaged(name: bytes, before: bool) -> None:
    """A compressed text of 2 MiB, whose check sum is wrong too, before or behind the pixels."""
    content = b"XML:com.adobe.xmp\0" + b"\1\0\0\0" * (name == b"iTXt") + b"\0" + zlib.compress(bytes(1 << 21))
    data = encoded(picture(0))
    place = data.index(b"IDAT" if before else b"IEND") - 4
    note = struct.pack(">I", len(content)) + name + content + b"oops"
    assert (decode(data[:place] + note + data[place:]) == np.asarray(picture(0))).all()


@pytest.mark.parametrize("packed", [False, True])
def test_orientation_in_a_text_of_a_png_is_applied(packed: bool) -> None:
    notes = PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>', zip=packed)
    assert decode(encoded(picture(0), pnginfo=notes)).shape == (48, 40, 3)


def test_a_jpeg_may_speak_of_drawings() -> None:
    data = encoded(picture(0), "JPEG", comment=b"<svg> <html>")
    assert decode(data).shape == (40, 48, 3)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("path\nZoë.png\n".encode("utf-16"), "utf-16"),
        ("path\nZoë.png\n".encode("utf-16-le"), "utf-16-le"),
        ("path\nZoë.png\n".encode("utf-16-be"), "utf-16-be"),
        ("path\nZoë.png\n".encode("latin-1"), "utf-8"),
        (b"", "utf-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\r", None),
        (bytes(100), None),
    ],
)
def test_text_is_told_from_other_bytes(data: bytes, encoding: str | None) -> None:
    assert encoding_of(data) == encoding


def png(width: int, height: int, bits: int, colour: int, row: bytes) -> bytes:
    """A PNG file written by hand, with one row of samples."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"\0" + row)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
