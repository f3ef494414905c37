"""Encoded bytes to 8-bit RGB pixels: every kind of image is read correctly, or refused with the reason.

- EXIF orientation is applied. A damaged EXIF block counts as none (Pillow warns of it).
- 16-bit samples are scaled to 8 bits (65535 becomes 255), never clipped.
- Transparency is composited over white.
- CMYK, palette, grey and 1-bit images become RGB. Colour profiles (ICC) are not applied: pixels are
  taken as sRGB, as the usual training pipelines do.
- Of an animation, pages or a multi-picture JPEG (MPO, written by phones) the first picture is read, as the usual
  loaders do; `Header.frames` tells.
- HEIC and JPEG XL are read by Pillow's plug-ins, where these are installed. They are imported with the first such
  picture, and what they add to Pillow is of no effect here: the formats to be tried are always named.
- Of a PNG only what pixels depend on is read: texts and profiles may be damaged, or larger than Pillow takes.
- Refused: empty, truncated and damaged files, previews of raw photos, more than `MAX_PIXELS` pixels or `MAX_BYTES`
  bytes, floating-point or 32-bit samples of unknown range, and formats outside `FORMATS`; among those are the ones that
  Pillow would hand to an external program.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from efface.images.items import ReadingError
from efface.images.signatures import HEAD_BYTES, what_it_is

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECODER_VERSION = 1  # raise it whenever pixels could come out differently: it is part of the cache key
MAX_PIXELS = 178_956_970  # where Pillow itself refuses: twice its warning level
MAX_BYTES = 1 << 30
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    [
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".mpo",
            ".png",
            ".apng",
            ".gif",
            ".webp",
            ".avif",
            ".heic",
            ".heif",
            ".hif",
            ".jxl",
            ".bmp",
            ".dib",
        ),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx"),
    ]
)

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0, section 8
SUBFILE_TYPE, REDUCED, DNG_VERSION = 254, 1, 50706  # TIFF 6.0, section 8; DNG 1.7, chapter 4
PNG_START = b"\x89PNG\r\n\x1a\n"
NEEDED_CHUNKS = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
"""Of those that a PNG may leave out: transparency, orientation, and the frames of an animation."""
ORIENTATION_TEXTS = (b"Raw profile type exif", b"XML:com.adobe.xmp")
TEXT_BYTES = 1 << 20  # what Pillow takes of a text in a PNG
NEEDS_FORMATS = "which is read with: pip install 'efface[formats]'"


@dataclass(frozen=True, slots=True)
class Header:
    """What an encoded image says of itself: pixels across and down as stored, and how many pictures it holds."""

    width: int
    height: int
    frames: int = 1


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Pixels of an encoded image: uint8 [H, W, 3], RGB, upright. Raises ReadingError."""
    return np.array(decode_image(data, max_pixels))


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The same as a Pillow image of mode RGB. Raises ReadingError."""
    image = _opened(data, max_pixels)
    try:
        image.load()
        return _in_rgb(_upright(image))
    except ReadingError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged data
        raise ReadingError(f"truncated or damaged ({_said(error)})") from None


def header(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """What the header tells, without decoding pixels (but those of JPEG XL). Raises ReadingError.

    Finds everything that a header can tell: format, frames, size. Truncation needs `decode`.
    """
    image = _opened(data, max_pixels)
    try:
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except MemoryError:
        raise
    except Exception as error:
        raise ReadingError(f"truncated or damaged ({_said(error)})") from None
    return Header(*image.size, frames)


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise ReadingError("the file is empty (zero bytes)")
    kind = what_it_is(data[:HEAD_BYTES])
    try:
        if kind == "HEIC":
            image = _heic(data)
        elif kind == "JPEG XL":
            image = _jpeg_xl(data, max_pixels)
        elif kind and kind != "AVIF":
            raise UnidentifiedImageError
        else:
            plain = _without_notes(data) if data.startswith(PNG_START) else data
            image = Image.open(io.BytesIO(plain), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ReadingError(f"oversized ({_said(error)})") from None
    except UnidentifiedImageError:
        unknown = f"not an image, damaged at its start, or not one of {', '.join(FORMATS)}"
        damaged = "AVIF, truncated or damaged, or this Pillow reads none"
        raise ReadingError(
            damaged if kind == "AVIF" else f"{kind}, which cannot be read" if kind else unknown
        ) from None
    except (MemoryError, ReadingError):
        raise
    except Exception as error:
        raise ReadingError(f"truncated or damaged ({_said(error)})") from None
    tags = getattr(image, "tag_v2", {})
    if DNG_VERSION in tags or int(tags.get(SUBFILE_TYPE, 0)) & REDUCED:
        raise ReadingError("a raw photo, of which only a small preview could be read; convert it")
    _check_size(*image.size, max_pixels)
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ReadingError(f"oversized: {width} x {height} pixels, more than {max_pixels:,}")


def _heic(data: bytes) -> Image.Image:
    """Its main picture, which the plug-in has turned upright already."""
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError:
        raise ReadingError(f"HEIC, {NEEDS_FORMATS}") from None
    image: Image.Image = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return image


def _jpeg_xl(data: bytes, max_pixels: int) -> Image.Image:
    """The plug-in decodes at once, so the size is read here before."""
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ModuleNotFoundError:
        raise ReadingError(f"JPEG XL, {NEEDS_FORMATS}") from None
    _check_size(*jpeg_xl_size(data), max_pixels)
    image: Image.Image = JXLImageFile(io.BytesIO(data))
    if not image.jpeg:  # type: ignore[attr-defined]  # else it is a JPEG within, which EXIF still has to turn
        image.info.pop("exif", None)
    return image


def jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """(width, height) in the header of a JPEG XL codestream (ISO 18181-1, table of the size header)."""
    stream = data if data.startswith(b"\xff\x0a") else data[data.find(b"\xff\x0a", 12) :]
    bits, place = int.from_bytes(stream[2:14].ljust(12, b"\0"), "little"), 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return bits >> (place - count) & ((1 << count) - 1)

    small = read(1)

    def side() -> int:
        return 8 * (read(5) + 1) if small else read((9, 13, 18, 30)[read(2)]) + 1

    height, ratio = side(), read(3)
    across, down = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return (height * across // down if ratio else side()), height


def _without_notes(data: bytes) -> bytes:
    """A PNG without the chunks that pixels do not depend on; from the first damaged place on it is left as it is."""
    kept, place = [PNG_START], len(PNG_START)
    while place + 12 <= len(data):
        length, name = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        end = place + 12 + length
        needed = name[:1].isupper() or name in NEEDED_CHUNKS or not name.isalpha()
        if needed or _turns(name, data[place + 8 : end - 4]):
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def _turns(name: bytes, content: bytes) -> bool:
    """Whether a chunk is a text in which the orientation may stand, and that Pillow reads."""
    key, _, text = content.partition(b"\0")
    if (
        name not in (b"tEXt", b"zTXt", b"iTXt")
        or key not in ORIENTATION_TEXTS
        or len(content) > 16 * TEXT_BYTES
    ):
        return False
    if name == b"iTXt":
        packed, text = text[:1] == b"\1", text[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        packed, text = name == b"zTXt", text[1:]
    try:
        return not packed or len(zlib.decompressobj().decompress(text, TEXT_BYTES)) < TEXT_BYTES
    except zlib.error:
        return False


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block says nothing about orientation
        turn = None
    return image if turn is None else image.transpose(turn)


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_deep_grey(image)
    if image.mode == "F":
        raise ReadingError("floating-point pixels, whose range is not known; convert it to 8 or 16 bits")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        upper = image.convert("RGBA")
        lower = Image.new("RGBA", upper.size, (255, 255, 255, 255))
        return Image.alpha_composite(lower, upper).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """More than 8 bits per grey sample, which Pillow's own `convert` would clip at 255."""
    values = np.asarray(image).astype(np.int64)
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(BITS_PER_SAMPLE, (16,)))
    if bits > 16 or values.min() < 0 or values.max() > 65535:
        raise ReadingError("32-bit pixels, whose range is not known; convert it to 8 or 16 bits")
    full = (1 << bits) - 1
    grey = (np.minimum(values, full) * 255 + full // 2) // full
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _said(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().rstrip(".").replace("\n", " ")
