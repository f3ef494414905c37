"""Codes of recorded crops: what a frozen first stage makes of them, computed once and kept.

A tokenizer or a VAE costs several times what the encoder's own step costs, and it never changes while a model
unlearns. With K crops an image its codes are therefore computed once, into a memory-mapped file of the run's
working folder. They are as telling as pixels, and are removed with them when the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import NonNegativeInt
from torch import Tensor

from efface.documents import read_object
from efface.files import sha256_of_json, write_json
from efface.generators.base import Generator
from efface.progress import Progress
from efface.settings import Settings
from efface.training.data import Cropper

BATCH = 16
FLUSH_EVERY = 8
"""Batches between two notes of how far the file is filled."""


class Codes:
    """The kept codes of every crop of every image; `read` gives those of one crop."""

    def __init__(self, values: npt.NDArray[Any], rows: dict[str, int], crops: int) -> None:
        self.values, self.rows, self.crops = values, rows, crops

    def read(self, id_: str, crop: int) -> npt.NDArray[Any]:
        """Codes of one crop, in the shape that the first stage gives them."""
        codes: npt.NDArray[Any] = self.values[self.rows[id_] * self.crops + crop]
        return codes


def keep_codes(
    generator: Generator, ids: Iterable[str], cropper: Cropper, folder: Path, progress: Progress
) -> Codes | None:
    """Compute the codes of all crops of the images `ids`, or go on where a stopped run left off.

    None where there is nothing to keep: every visit has a new crop, or the model has no first stage. The file is
    named by what decides its content: images, crop settings, seed and the first stage's weights.
    """
    settings, ids = cropper.settings, sorted(set(ids))
    crops = settings.crops_per_image
    if crops is None or not generator.first_stage_parameters():
        return None
    digest = sha256_of_json(
        {
            "images": ids,
            "crops": [crops, settings.crop_scale, settings.flip, cropper.size, cropper.seed],
            "first_stage": generator.first_stage_digest(),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    file, note = folder / f"{digest[:16]}.npy", folder / f"{digest[:16]}.json"
    places = [(id_, crop) for id_ in ids for crop in range(crops)]
    values, done = _opened(file, note)
    with progress.task("codes", len(places), done) as task:
        for number, first in enumerate(range(done, len(places), BATCH)):
            some = places[first : first + BATCH]
            codes = _codes(generator, cropper, some)
            if values is None:
                shape = (len(places), *codes.shape[1:])
                values = np.lib.format.open_memmap(file, mode="w+", dtype=codes.dtype, shape=shape)
            values[first : first + len(some)] = codes
            if number % FLUSH_EVERY == 0:
                values.flush()
                write_json(note, {"done": first + len(some)})
            task.advance(len(some))
    assert values is not None
    values.flush()
    write_json(note, {"done": len(places)})
    return Codes(values, {id_: row for row, id_ in enumerate(ids)}, crops)


class Done(Settings):
    """How many codes a file holds already."""

    done: NonNegativeInt


def _opened(file: Path, note: Path) -> tuple[np.memmap[Any, Any] | None, int]:
    """The file of codes, if it was begun, and how many of them it holds already."""
    if file.exists() and note.exists():
        return np.lib.format.open_memmap(file, mode="r+"), Done.read(read_object(note), where=str(note)).done
    return None, 0


def _codes(generator: Generator, cropper: Cropper, places: list[tuple[str, int]]) -> npt.NDArray[Any]:
    crops = torch.from_numpy(np.stack([cropper.crop(id_, crop) for id_, crop in places]))
    was_training = generator.training
    generator.eval()
    with torch.inference_mode():
        codes = generator.codes(crops.to(generator.device).float().div_(255))
    generator.train(was_training)
    assert codes is not None
    return _compact(codes).cpu().numpy()


def _compact(codes: Tensor) -> Tensor:
    """Tokens as 32-bit numbers; latents as they are."""
    return codes if codes.is_floating_point() else codes.to(torch.int32)
