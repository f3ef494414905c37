"""Statistics of a hole against a slow loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.metrics.hole_statistics import HOLE_STATISTICS, hole_statistics


def looped(image: np.ndarray, region: np.ndarray) -> list[float]:
    """One picture [3, H, W] and its region [H, W], pixel by pixel."""
    _, height, width = image.shape
    inside = [(y, x) for y in range(height) for x in range(width) if region[y, x]]
    pixels = np.array([image[:, y, x] for y, x in inside])
    edges, seams, grain = [], [], []
    for y in range(height):
        for x in range(width):
            for down, right in ((1, 0), (0, 1)):
                if y + down < height and x + right < width:
                    step = np.mean((image[:, y, x] - image[:, y + down, x + right]) ** 2)
                    shared = int(region[y, x]) + int(region[y + down, x + right])
                    edges += [step] if shared == 2 else []
                    seams += [step] if shared == 1 else []
    for y, x in inside:
        # beyond the border stands the nearest pixel
        around = [
            image[:, min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1)]
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
        grain.append(np.mean((image[:, y, x] - np.mean(around, axis=0)) ** 2))
    means = [np.mean(some) if some else 0.0 for some in (edges, grain, seams)]
    return [*pixels.mean(axis=0), *pixels.std(axis=0), *means]


def regions(kind: str, size: tuple[int, int]) -> Tensor:
    region = torch.zeros(4, 1, *size, dtype=torch.bool)
    if kind == "inner":
        region[:, :, 3:6, 2:8] = True
    elif kind == "at the border":
        region[:, :, :3, 5:] = True
    elif kind == "everywhere":
        region[:] = True
    elif kind == "one pixel":
        region[:, :, 4, 4] = True
    else:
        # each image its own, scattered or apart
        region[:2] = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(5)) < 0.3
        region[2, :, :2, :2] = True
        region[3, :, -3:, -2:] = True
    return region


@pytest.mark.parametrize("kind", ["inner", "at the border", "everywhere", "one pixel", "of each its own"])
def test_statistics_equal_a_loop_over_pixels(kind: str) -> None:
    size = (9, 11)
    images = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(1))
    region = regions(kind, size)
    found = hole_statistics(images, region)
    assert found.shape == (4, len(HOLE_STATISTICS))
    assert found.dtype == torch.float32
    for number in range(4):
        expected = looped(images[number].double().numpy(), region[number, 0].numpy())
        np.testing.assert_allclose(found[number].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_a_flat_hole_in_a_flat_picture_shows_its_colour_and_its_seam_alone() -> None:
    images = torch.full((1, 3, 8, 8), 0.5)
    region = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    region[:, :, 2:4, 2:4] = True
    images = torch.where(region, torch.tensor([0.1, 0.5, 0.8])[None, :, None, None], images)
    found = dict(zip(HOLE_STATISTICS, hole_statistics(images, region)[0].tolist(), strict=True))
    assert [found[name] for name in ("red", "green", "blue")] == pytest.approx([0.1, 0.5, 0.8])
    assert [found[f"{name} spread"] for name in ("red", "green", "blue")] == pytest.approx([0] * 3, abs=1e-7)
    assert found["edges"] == pytest.approx(0, abs=1e-12)
    # every step across the border goes from 0.5 to the colour: (0.16 + 0 + 0.09) / 3
    assert found["seam"] == pytest.approx(0.25 / 3, rel=1e-5)
    # each pixel of a hole of two by two sees four of its own colour among nine: 5 / 9 of the way to 0.5
    assert found["grain"] == pytest.approx(0.25 / 3 * (5 / 9) ** 2, rel=1e-5)


def test_a_region_without_a_border_has_no_seam() -> None:
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    found = hole_statistics(images, torch.ones(2, 1, 6, 6, dtype=torch.bool))
    assert found[:, HOLE_STATISTICS.index("seam")].tolist() == [0.0, 0.0]
    assert (found[:, HOLE_STATISTICS.index("edges")] > 0).all()


def test_what_stands_outside_and_not_next_to_the_hole_does_not_matter() -> None:
    images = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    region = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    region[:, :, 4:7, 4:7] = True
    others = images.clone()
    others[:, :, :3], others[:, :, 8:], others[..., :3], others[..., 8:] = 0, 1, 1, 0
    assert torch.equal(hole_statistics(images, region), hole_statistics(others, region))
    others[:, :, 3, 5] = 0.0
    assert not torch.equal(hole_statistics(images, region), hole_statistics(others, region))
