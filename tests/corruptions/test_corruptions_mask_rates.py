"""A hidden share that is itself drawn: its distribution, its bounds, and what belongs to an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm

from efface.corruptions.patches import MaskRates
from efface.errors import InputError
from efface.randomness import Draws

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def hidden_counts(corruption: MaskRates, grid: int, times: int) -> np.ndarray:
    return np.array(
        [corruption.hidden(grid, grid, np.random.default_rng(seed)).sum() for seed in range(times)]
    )


@pytest.mark.parametrize(("least", "most"), [(0.5, 1.0), (0.0, 1.0), (0.2, 0.3)])
def test_the_share_comes_from_the_released_distribution(least: float, most: float) -> None:
    shares = hidden_counts(MaskRates(least, most), 16, 1500) / 256
    expected = truncnorm((least - 0.55) / 0.25, (most - 0.55) / 0.25, 0.55, 0.25)
    for probability in (0.1, 0.25, 0.5, 0.75, 0.9):
        found = np.quantile(shares, probability)
        # rounding up to a whole token adds half a token; a quantile's standard error is below 0.011
        assert found == pytest.approx(expected.ppf(probability), abs=0.03)
    assert shares.min() >= least
    assert shares.max() <= np.ceil(256 * most) / 256


def test_every_patch_is_hidden_alike() -> None:
    share = np.mean([MaskRates().hidden(16, 4, np.random.default_rng(seed)) for seed in range(500)], axis=0)
    assert np.abs(share - share.mean()).max() < 0.09


@pytest.mark.parametrize("grid", [2, 4, 16])
def test_something_is_hidden_and_something_seen_whatever_is_drawn(grid: int) -> None:
    for corruption in (MaskRates(0.0, 1e-9), MaskRates(0.999, 1.0), MaskRates(0.0, 1.0)):
        counts = hidden_counts(corruption, grid, 40)
        assert counts.min() >= 1
        assert counts.max() <= grid**2 - 1
        assert corruption.dropped(grid**2) <= counts.min()
        corruption.check(8 * grid, grid)


def test_whole_patches_are_hidden_and_a_rate_without_range_is_exact() -> None:
    mask = MaskRates(0.3, 0.3).hidden(80, 10, np.random.default_rng(0))
    whole = mask.reshape(10, 8, 10, 8).mean(axis=(1, 3))
    assert set(np.unique(whole)) == {0.0, 1.0}
    assert whole.sum() == 30
    assert MaskRates(0.3, 0.3).dropped(100) == 30
    assert MaskRates(0.5, 1.0).dropped(257) == 129, "rounded up, as released"


def test_a_mask_belongs_to_seed_visit_and_image_id() -> None:
    def known(images: torch.Tensor, ids: str, seed: int = 0, visit: int = 0) -> torch.Tensor:
        return MaskRates().apply(images, 8, Draws(seed, tuple(ids), (visit,) * len(ids))).known

    together = known(IMAGES, "abcd")
    assert len(set(together.flatten(1).sum(dim=1).tolist())) > 1, "each image has its own share"
    assert torch.equal(together[2:3], known(IMAGES[2:3], "c"))
    assert torch.equal(together, known(1 - IMAGES, "abcd"))
    assert not torch.equal(together, known(IMAGES, "abcd", seed=1))
    assert not torch.equal(together, known(IMAGES, "abcd", visit=1))


@pytest.mark.parametrize("arguments", ["", "0.5,1", "0,0.25", "0.3333333333333333,0.75", "0.4,0.4"])
def test_what_is_printed_reads_back(arguments: str) -> None:
    corruption = MaskRates.parse(arguments)
    assert MaskRates.parse(str(corruption).removeprefix("mask-rates:")) == corruption


@pytest.mark.parametrize("arguments", ["0.5", "1,0.5", "1,1", "0,0", "-0.1,1", "0,2", "half,1", "0,1,1"])
def test_arguments_that_leave_nothing_to_draw_are_refused(arguments: str) -> None:
    with pytest.raises(InputError, match=r"mask-rates:.*for example mask-rates:0\.5,1"):
        MaskRates.parse(arguments)
