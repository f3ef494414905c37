"""Every kind of image is read correctly or refused with the reason."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from efface.images.items import ReadingError
from efface.images.reading import decode, stored_size
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


def test_an_animation_is_refused_with_its_frames() -> None:
    frames = [picture(seed) for seed in range(3)]
    for kind in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert reason(data) == "animated, 3 frames"


def test_a_gif_with_one_frame_is_read() -> None:
    assert decode(encoded(picture(0), "GIF")).shape == (40, 48, 3)


def test_a_tiff_with_pages_is_refused() -> None:
    data = encoded(picture(0), "TIFF", save_all=True, append_images=[picture(1)])
    assert reason(data) == "has several pages, 2 pages"


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
    assert "not an image" in reason(eps)


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    bomb = png(20_000, 20_000, 8, 0, b"")
    assert "oversized" in reason(bomb)
    with pytest.raises(ReadingError, match="oversized"):
        stored_size(bomb)


def test_the_pixel_limit_is_exact() -> None:
    data = encoded(picture(0, 48, 40))
    assert decode(data, max_pixels=48 * 40).shape == (40, 48, 3)
    with pytest.raises(ReadingError, match="48 x 40 pixels"):
        decode(data, max_pixels=48 * 40 - 1)


def png(width: int, height: int, bits: int, colour: int, row: bytes) -> bytes:
    """A PNG file written by hand, with one row of samples."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"\0" + row)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
