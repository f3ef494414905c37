"""What does a feature extractor see of a filled hole: texture, or the object?

    python benchmarks/extractors.py
    python benchmarks/extractors.py --smoke

Crops of 128 px of the bundled photographs; what is in their middle half is blurred, made noisy, or replaced by the middle
of another photograph, with the true mean and deviation of each channel: a wrong object of the right colours. Beside it
stands noise with the very same squared error. Measured is how far the changed picture's features are from the true
one's, 1 less the cosine, and how many times farther a wrong object is than each other change.

And are crops of one photograph told from those of others, without their colours: all grey, of one mean and deviation,
as they are, and blurred and compared with sharp ones? The AUC of the cosine, 0.5 by chance. Intervals are over photographs.
`docs/metrics/feature_cosine.md` reads the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

from efface.images.bundled import CREDITS, FOLDERS, _folder
from efface.metrics.extractors import FeatureExtractor, load_extractor
from efface.metrics.intervals import bootstrap_difference, bootstrap_mean, bootstrap_ratio
from efface.randomness import numpy_draws
from machine import add_options, finish

EXTRACTORS = ("built-in", "natural")
SIDE, CROPS, SHARE = 128, 8, 0.5
BLURS, NOISES = (1.0, 2.0, 4.0), (0.05, 0.1, 0.2)
WRONG = "wrong object"
Pictures = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    options = parser.parse_args()
    crops, photos = crops_of_photographs(2 if options.smoke else CROPS)
    changed = changes(crops, photos)
    values = {
        "photographs": len(CREDITS),
        "crops": len(crops),
        "error": {name: round(float(((other - crops) ** 2).mean()), 5) for name, other in changed.items()},
        "extractors": {name: seen_by(name, crops, changed, photos) for name in EXTRACTORS},
        "same photograph": told_apart(crops, photos),
    }
    finish("extractors", values, options)


def crops_of_photographs(each: int) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Square crops `[N, SIDE, SIDE, 3]` in [0, 1], of half to the whole short side, and of which photograph each is."""
    found, photos = [], []
    for number, credit in enumerate(CREDITS):
        picture = Image.open(_folder(*FOLDERS[credit.stated]) / credit.file).convert("RGB")
        draws = numpy_draws(0, "extractors", credit.name)
        for _ in range(each):
            side = int(min(picture.size) * draws.uniform(SHARE, 1))
            left, top = (int(draws.integers(0, length - side + 1)) for length in picture.size)
            crop = picture.crop((left, top, left + side, top + side)).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
            found.append(np.asarray(crop, dtype=np.float64) / 255)
            photos.append(number)
    return np.stack(found), np.array(photos)


def changes(crops: Pictures, photos: npt.NDArray[np.int64]) -> dict[str, Pictures]:
    """The crops with another middle, by what was done to it."""
    hole = slice(SIDE // 4, 3 * SIDE // 4)
    noise = numpy_draws(0, "extractors", "noise").standard_normal(crops.shape)
    # the partner is a crop of another photograph
    partner = np.roll(np.arange(len(crops)), int((photos == photos[0]).sum()))
    middles, others = crops[:, hole, hole], crops[partner][:, hole, hole]
    mean, deviation = (each(middles, axis=(1, 2), keepdims=True) for each in (np.mean, np.std))
    theirs = [each(others, axis=(1, 2), keepdims=True) for each in (np.mean, np.std)]
    wrong = ((others - theirs[0]) / (theirs[1] + 1e-6) * deviation + mean).clip(0, 1)
    error = ((wrong - middles) ** 2).mean(axis=(1, 2, 3), keepdims=True)
    filled = {WRONG: wrong}
    filled |= {
        f"blur {sigma:g} px": ndimage.gaussian_filter(crops, (0, sigma, sigma, 0))[:, hole, hole]
        for sigma in BLURS
    }
    filled |= {f"noise {sigma:g}": middles + sigma * noise[:, hole, hole] for sigma in NOISES}
    filled["noise of the wrong object's error"] = middles + np.sqrt(error) * noise[:, hole, hole]
    changed = {}
    for name, middle in filled.items():
        changed[name] = crops.copy()
        changed[name][:, hole, hole] = middle.clip(0, 1)
    return changed


def seen_by(
    name: str, crops: Pictures, changed: Mapping[str, Pictures], photos: npt.NDArray[np.int64]
) -> dict[str, dict[str, list[float]]]:
    """How far each change is by this extractor, and how many times farther a wrong object is; with intervals."""
    true = features(name, crops)
    far = {
        change: (1 - torch.cosine_similarity(features(name, pictures), true)).numpy().astype(np.float64)
        for change, pictures in changed.items()
    }
    ratios = {
        change: bootstrap_ratio(far[WRONG], values, photos)
        for change, values in far.items()
        if change != WRONG
    }
    means = {change: bootstrap_mean(values, photos) for change, values in far.items()}
    return {
        "distance": {
            change: [round(float(end), 6) for end in found] for change, found in means.items() if found
        },
        "wrong object over it": {
            change: [round(float(end), 3) for end in found] for change, found in ratios.items() if found
        },
    }


def told_apart(crops: Pictures, photos: npt.NDArray[np.int64]) -> dict[str, dict[str, list[float]]]:
    """The AUC with which crops of one photograph are told from others, by extractor, and the paired difference."""
    centred = crops - crops.mean(axis=(1, 2), keepdims=True)
    plain = (centred / (centred.std(axis=(1, 2), keepdims=True) + 1e-6) * 0.2 + 0.5).clip(0, 1)
    grey = np.repeat(plain.mean(axis=-1, keepdims=True), 3, axis=-1)
    shown = {"grey": grey, "grey, blurred by 3 px": ndimage.gaussian_filter(grey, (0, 3, 3, 0))}
    found: dict[str, dict[str, list[float]]] = {}
    for what, pictures in shown.items():
        areas = {
            name: areas_of(features(name, pictures), features(name, grey), photos) for name in EXTRACTORS
        }
        first, second = areas.values()
        intervals = {name: bootstrap_mean(values, photos) for name, values in areas.items()}
        intervals["natural less built-in"] = bootstrap_difference(second, first, photos)
        found[what] = {name: [round(float(end), 4) for end in one] for name, one in intervals.items() if one}
    return found


def areas_of(asked: torch.Tensor, sharp: torch.Tensor, photos: npt.NDArray[np.int64]) -> list[float]:
    """Of each crop: how often another crop of its photograph is nearer to it than one of another photograph."""
    near = torch.cosine_similarity(asked[:, None], sharp[None], dim=-1).numpy()
    same, others = photos[:, None] == photos[None], ~np.eye(len(photos), dtype=bool)
    return [
        float((row[mine & other][:, None] > row[~mine][None]).mean())
        for row, mine, other in zip(near, same, others, strict=True)
    ]


@cache
def opened(name: str) -> FeatureExtractor:
    """The extractor of that name."""
    return load_extractor(name)


def features(name: str, pictures: Pictures) -> torch.Tensor:
    """What an extractor makes of pictures, `[N, D]`."""
    batches = torch.tensor(pictures, dtype=torch.float32).permute(0, 3, 1, 2).split(32)
    return torch.cat([opened(name).features(batch) for batch in batches])


if __name__ == "__main__":
    main()
