"""The picture of `corruptions.md`, from bundled photos."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

from efface.corruptions import parse_corruption
from efface.images.crops import centre_crop
from efface.images.reading import decode
from efface.images.sources import open_images
from efface.randomness import Draws

PHOTOS = ("coffee", "chelsea")
SHOWN = (
    *("centre:0.5", "outpaint:0.6", "extend-right:0.25", "random:0.75", "brush:0.2,0.4", "box:0.25,0.5"),
    *("box-brush", "colour", "jpeg:5", "downsample:8", "blur:0.02", "sketch:0.006"),
)
SIDE, GRID, COLUMNS, LINE = 224, 14, 6, 14
SHRUNK = 128


def pictures() -> dict[str, Image.Image]:
    """The picture of the page."""
    photos = {item.label: item for item in open_images("bundled")}
    rows = []
    for name in PHOTOS:
        pixels = centre_crop(decode(photos[name].read_bytes()), SIDE)
        image = torch.from_numpy(pixels.copy())[None].float() / 255
        draws = Draws(1, (photos[name].id,), (0,))
        shown = [parse_corruption(text).apply(image, GRID, draws).condition[0] for text in SHOWN]
        rows.append([(tile.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for tile in shown])
    height = SHRUNK * len(PHOTOS) + LINE
    whole = Image.new("RGB", (SHRUNK * COLUMNS, height * (len(SHOWN) // COLUMNS)), "white")
    draw = ImageDraw.Draw(whole)
    for place, text in enumerate(SHOWN):
        left, top = place % COLUMNS * SHRUNK, place // COLUMNS * height
        draw.text((left + 3, top + 1), text, fill="black")
        for row, tiles in enumerate(rows):
            tile = Image.fromarray(tiles[place]).resize((SHRUNK, SHRUNK), Image.Resampling.LANCZOS)
            whole.paste(tile, (left, top + LINE + row * SHRUNK))
    return {"corruptions.jpg": whole}
