"""Squares cut from the bundled photos, each photo a class: natural pictures in hundreds that need no files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from efface.images.datasets.source import Source, from_array
from efface.images.reading import decode_image
from efface.images.sources import open_images

TILE = 48
"""Side of a square in the photo's own pixels."""
PLAINEST = 6.0
"""Standard deviation of its grey values, of 255, below which a square is left out: an empty sky cannot be remembered."""


def read_tiles(side: int, channels: int) -> Source:
    """All squares of 48 px that do not overlap, but the plain ones, in the order of photos, rows and columns."""
    ids: list[str] = []
    labels: list[int] = []
    tiles: list[np.ndarray] = []
    photos = open_images("bundled")
    for number, photo in enumerate(photos):
        picture = np.asarray(decode_image(photo.read_bytes()).convert("RGB"))
        for row in range(0, picture.shape[0] - TILE + 1, TILE):
            for column in range(0, picture.shape[1] - TILE + 1, TILE):
                tile = picture[row : row + TILE, column : column + TILE]
                if np.asarray(Image.fromarray(tile).convert("L")).std() >= PLAINEST:
                    ids.append(f"{photo.label}/{row:04d}-{column:04d}")
                    labels.append(number)
                    tiles.append(tile.transpose(2, 0, 1))
    return Source(
        ids=tuple(ids),
        labels=np.array(labels, np.int64),
        classes=tuple(str(label) for label in photos.labels),
        pixels=from_array(np.stack(tiles), side, channels),
        notes=("squares of one photo are in several parts, and neighbours of each other",),
    )
