"""Codes of recorded crops: what a frozen first stage makes of them, computed once and kept.

A tokenizer or a VAE costs several times what the encoder's own step costs, and it never changes while a model
unlearns. With K crops an image its codes, also those under a hole that never changes, are therefore computed once, into
a memory-mapped file of the run's working folder. They are as telling as pixels, and are removed with them when the run
ends. A note beside the file holds how far it is filled and a check sum of that; what does not fit it is computed anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor

from efface.corruptions import Corruption
from efface.documents import read_object
from efface.errors import InputError
from efface.files import sha256_of_json, write_json
from efface.generators.base import Generator
from efface.memory import in_batches
from efface.progress import Progress
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
    generator: Generator,
    ids: Iterable[str],
    cropper: Cropper,
    corruption: Corruption,
    folder: Path | None,
    progress: Progress,
) -> Codes | None:
    """Compute the codes of all crops of the images `ids` under `corruption`, or go on where a stopped run left off.

    None where there is nothing to keep: every visit has a new crop, or the model has no first stage. The file is
    named by what decides its content: images, crop settings, seed, corruption and the first stage's weights. Without a
    folder the codes are kept in memory.
    """
    settings, ids = cropper.settings, sorted(set(ids))
    crops = settings.crops_per_image
    if crops is None or not generator.first_stage_parameters():
        return None
    places = [(id_, crop) for id_ in ids for crop in range(crops)]
    file = folder / _name(generator, ids, cropper, corruption) if folder else None
    values, done, check = _opened(file, len(places)) if file else (None, 0, 0)
    start = done
    with progress.task("codes", len(places), done) as task:
        parts = in_batches(
            len(places) - done,
            BATCH,
            cropper.size,
            lambda part: _codes(
                generator, cropper, places[start + part.start : start + part.stop], corruption
            ),
        )
        for number, codes in enumerate(parts):
            first = done
            if values is None:
                values = _made(file, (len(places), *codes.shape[1:]), codes.dtype)
            values[first : first + len(codes)] = codes
            done, check = first + len(codes), zlib.crc32(np.ascontiguousarray(codes).data, check)
            if file and (number % FLUSH_EVERY == 0 or done == len(places)):
                _note(file, values, done, check)
            task.advance(len(codes))
    assert values is not None
    return Codes(values, {id_: row for row, id_ in enumerate(ids)}, crops)


def _name(generator: Generator, ids: list[str], cropper: Cropper, corruption: Corruption) -> str:
    settings = cropper.settings
    decided_by: dict[str, JsonValue] = {
        "images": [*ids],
        "crops": [
            settings.crops_per_image,
            [*cropper.crops.scale],
            cropper.crops.flip,
            cropper.size,
            cropper.seed,
        ],
        "corruption": str(corruption),
        "first_stage": generator.first_stage_digest(),
    }
    return f"{sha256_of_json(decided_by)[:16]}.npy"


def _made(file: Path | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Room for the codes, on disk or in memory."""
    if file is None:
        return np.empty(shape, dtype)
    file.parent.mkdir(parents=True, exist_ok=True)
    # never into a file that may have another name elsewhere
    file.unlink(missing_ok=True)
    return np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)


def _note(file: Path, values: npt.NDArray[Any], done: int, check: int) -> None:
    """Write down how many codes are whole on disk, and their check sum."""
    assert isinstance(values, np.memmap)
    values.flush()
    write_json(file.with_suffix(".json"), {"done": done, "check": check})


def _opened(file: Path, count: int) -> tuple[npt.NDArray[Any] | None, int, int]:
    """The file of codes with how many it holds and their check sum; nothing where it is not as it was written."""
    try:
        note = read_object(file.with_suffix(".json"))
        done, check = note["done"], note["check"]
        values = np.lib.format.open_memmap(file, mode="r+")
    except (InputError, OSError, ValueError, KeyError):
        return None, 0, 0
    if (
        not isinstance(done, int)
        or not isinstance(check, int)
        or len(values) != count
        or not values.flags.c_contiguous
    ):
        return None, 0, 0
    if zlib.crc32(values[:done].data) != check:
        return None, 0, 0
    return values, done, check


def _codes(
    generator: Generator, cropper: Cropper, places: list[tuple[str, int]], corruption: Corruption
) -> npt.NDArray[Any]:
    crops = torch.from_numpy(np.stack([cropper.crop(id_, crop) for id_, crop in places]))
    was_training = generator.training
    generator.eval()
    with torch.inference_mode():
        codes = generator.codes(crops.to(generator.device).float().div_(255), corruption)
    generator.train(was_training)
    assert codes is not None
    return _compact(codes).cpu().numpy()


def _compact(codes: Tensor) -> Tensor:
    """Tokens as 32-bit numbers; latents as they are."""
    return codes if codes.is_floating_point() else codes.to(torch.int32)
