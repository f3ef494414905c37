"""Square views of an image: random resized crops for training, fixed ones for evaluation.

Pixels go in as uint8 [H, W, 3] and come out as uint8 [3, size, size]. A crop window is a whole number of
pixels; what lies outside it never bleeds in. Resizing is Pillow's antialiased bicubic filter, which
releases the interpreter lock. All randomness comes in as a generator, keyed by seed, epoch and image
id, so that order, batch size and number of processes change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from efface.images.threads import usable_cores
from efface.randomness import Part, numpy_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from efface.images.cache import PixelCache

    Pixels = NDArray[np.uint8]
    Crop = Callable[[Pixels, int, np.random.Generator], Pixels]

RESAMPLER = Image.Resampling.BICUBIC
ATTEMPTS = 10
SCALE = (0.2, 1.0)
RATIO = (3 / 4, 4 / 3)
"""Of a random crop: the share of the image's area, and width over height, from the smallest to the largest."""


def random_resized_crop(
    pixels: Pixels,
    size: int,
    draws: np.random.Generator,
    *,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
    flip: bool = True,
) -> Pixels:
    """A window of random area (a fraction within `scale`) and aspect (width/height within `ratio`).

    It is resized to size x size and, with `flip`, mirrored half of the time. Where ten draws do not fit into
    the image, the largest central window of a permitted aspect is taken (the augmentation of Szegedy
    et al., 2015, "Going deeper with convolutions", in its usual form). The number of draws is fixed.
    """
    height, width = pixels.shape[:2]
    mirrored = flip and bool(draws.random() < 0.5)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for area_draw, ratio_draw, down, right in draws.random((ATTEMPTS, 4)):
        area = height * width * (scale[0] + area_draw * (scale[1] - scale[0]))
        aspect = math.exp(low + ratio_draw * (high - low))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
            return _resized(pixels[top : top + h, left : left + w], size, mirrored)
    return _resized(_central(pixels, *_largest(height, width, ratio)), size, mirrored)


def centre_crop(pixels: Pixels, size: int) -> Pixels:
    """The largest central square, resized to size x size."""
    side = min(pixels.shape[:2])
    return _resized(_central(pixels, side, side), size)


def fitted(pixels: Pixels, like: Pixels) -> Pixels:
    """`pixels` resized to the height and width of `like`; as they are where those are equal.

    The same draws cut the same window out of two pictures only if their sizes are equal: otherwise rounding may
    let a window fit into one of them and not into the other, which then has quite another one.
    """
    height, width = like.shape[:2]
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), RESAMPLER))


def evaluation_crops(
    pixels: Pixels,
    size: int,
    count: int,
    draws: np.random.Generator,
    scale: tuple[float, float] = SCALE,
) -> Pixels:
    """`count` fixed views of one image, as a training with this `scale` cuts them: uint8 [count, 3, size, size].

    The first is the central window, the others are random crops, and none is mirrored. However many there are, the first
    of them are the same.
    """
    centre = _resized(_central(pixels, *central_window(pixels.shape[0], pixels.shape[1], scale)), size)
    others = [random_resized_crop(pixels, size, draws, scale=scale, flip=False) for _ in range(count - 1)]
    return np.stack([centre, *others])


def central_window(height: int, width: int, scale: tuple[float, float] = SCALE) -> tuple[int, int]:
    """Height and width of the window in the middle of an image that is its first view.

    It is the largest square that covers a share of the area within `scale`. Where a square leaves out more at the long
    sides, it is the largest window of an aspect that random crops have.
    """
    low, high = (share * height * width for share in scale)
    side = min(height, width)
    window = (side, side) if side * side >= low else _largest(height, width, RATIO)
    shrink = math.sqrt(min(1.0, high / (window[0] * window[1])))
    return max(1, round(window[0] * shrink)), max(1, round(window[1] * shrink))


def batch(
    cache: PixelCache,
    ids: Sequence[str],
    size: int,
    crop: Crop | None = None,
    keys: tuple[Part, ...] = (),
    *,
    threads: int | None = None,
) -> Pixels:
    """Views of the cached images `ids`: uint8 [B, 3, size, size], in their order.

    `crop(pixels, size, draws)` makes each view; without it, the centre crop. `draws` is keyed by (*keys,
    id), `keys` being for instance (seed, epoch): the same image has the same view in every batch of an
    epoch. Raises KeyError for an id that is not cached.
    """
    out = np.empty((len(ids), 3, size, size), np.uint8)

    def fill(first: int) -> None:
        for index in range(first, min(first + share, len(ids))):
            pixels = cache.read(ids[index])
            if crop is None:
                out[index] = centre_crop(pixels, size)
            else:
                out[index] = crop(pixels, size, numpy_draws("crop", *keys, ids[index]))

    threads = threads or usable_cores()
    share = max(1, math.ceil(len(ids) / threads))
    starts = range(0, len(ids), share)
    if len(starts) <= 1:
        for start in starts:
            fill(start)
    else:
        list(_pool(threads).map(fill, starts))
    return out


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="crops")


def _largest(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest window of a permitted aspect, width over height."""
    return min(height, max(1, round(width / ratio[0]))), min(width, max(1, round(height * ratio[1])))


def _central(pixels: Pixels, height: int, width: int) -> Pixels:
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _resized(window: Pixels, size: int, mirrored: bool = False) -> Pixels:
    if window.shape[:2] != (size, size):
        image = Image.fromarray(np.ascontiguousarray(window))
        window = np.asarray(image.resize((size, size), RESAMPLER))
    if mirrored:
        window = window[:, ::-1]
    return np.ascontiguousarray(window.transpose(2, 0, 1))
