"""Encoded bytes to 8-bit RGB pixels: every kind of image is read correctly, or refused with the reason.

- EXIF orientation is applied. A damaged EXIF block counts as none (Pillow warns of it).
- 16-bit samples are scaled to 8 bits (65535 becomes 255), never clipped.
- Transparency is composited over white.
- CMYK, palette, grey and 1-bit images become RGB. Colour profiles (ICC) are not applied: pixels are
  taken as sRGB, as the usual training pipelines do.
- A multi-picture JPEG (MPO, written by phones) is read as its first picture.
- Refused: empty, truncated and damaged files, more than one frame or page, more than `MAX_PIXELS`
  pixels or `MAX_BYTES` bytes, floating-point or 32-bit samples of unknown range, and formats outside
  `FORMATS`; among those are the ones that Pillow would hand to an external program.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from efface.images.items import ReadingError

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


def stored_size(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) from the header, without decoding pixels. Raises ReadingError.

    Finds everything that a header can tell: format, frames, size. Truncation needs `decode`.
    """
    return _opened(data, max_pixels).size


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise ReadingError("the file is empty (zero bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ReadingError(f"oversized ({_said(error)})") from None
    except UnidentifiedImageError:
        raise ReadingError(
            f"not an image, damaged at its start, or not one of {', '.join(FORMATS)}"
        ) from None
    except MemoryError:
        raise
    except Exception as error:
        raise ReadingError(f"truncated or damaged ({_said(error)})") from None
    if frames > 1:
        kind = "has several pages" if image.format == "TIFF" else "animated"
        raise ReadingError(f"{kind}, {frames} {'pages' if image.format == 'TIFF' else 'frames'}")
    width, height = image.size
    if width * height > max_pixels:
        raise ReadingError(f"oversized: {width} x {height} pixels, more than {max_pixels:,}")
    return image


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
