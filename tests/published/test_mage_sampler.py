"""The sampler of the released evaluation, step by step, against that of the released code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.generators.mage.generator import MageGenerator
from efface.generators.mage.sampling import complete, read_token_sampler, widened
from efface.randomness import Draws
from support.published import arrays
from support.released_mage import released_mage

HOLES = {"half": "centre:0.5", "quarter": "centre:0.25"}


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    return arrays("mage-sampler.npz")


@pytest.fixture(scope="module")
def generator() -> MageGenerator:
    return released_mage()


@pytest.mark.parametrize("hole", HOLES)
def test_every_step_draws_and_keeps_the_published_tokens(
    hole: str, stored: dict[str, np.ndarray], generator: MageGenerator
) -> None:
    sampler = read_token_sampler("maskgit")
    steps, unknown = stored[f"step_{hole}"], stored[f"masked_at_start_{hole}"].astype(bool)[None]
    draws = {name: torch.zeros(1, sampler.steps, 256, dtype=torch.float64) for name in ("uniform", "gumbel")}
    for name, values in draws.items():
        values[0, steps] = torch.from_numpy(stored[f"{name}_{hole}"])
    asked: list[Tensor] = []
    logits: list[Tensor] = []

    def scores(tokens: Tensor, hidden: Tensor) -> Tensor:
        asked.append(torch.where(hidden, -1, tokens)[0])
        logits.append(generator.network(tokens, hidden))
        return logits[-1]

    given = torch.from_numpy(stored[f"tokens_given_{hole}"].astype(np.int64))[None]
    with torch.no_grad():
        final = complete(scores, given, unknown, sampler, draws["uniform"], draws["gumbel"])
    np.testing.assert_array_equal(final[0], stored[f"final_{hole}"])
    assert [int((tokens < 0).sum()) for tokens in asked] == stored[f"masked_count_{hole}"].tolist()
    # behind the last step the release hides one token once more, and shows the draws all the same
    for tokens, wanted in zip(asked[1:], stored[f"tokens_after_{hole}"], strict=False):
        np.testing.assert_array_equal(tokens, wanted)
    torch.testing.assert_close(
        logits[0][0], torch.from_numpy(stored[f"first_logits_{hole}"]), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("hole", "tokens"), [("half", 100), ("quarter", 36)])
def test_a_hole_is_made_wider_by_one_token_as_published(
    hole: str, tokens: int, stored: dict[str, np.ndarray], generator: MageGenerator
) -> None:
    images = torch.zeros(1, 3, 256, 256)
    touched = parse_corruption(HOLES[hole]).apply(images, 16, Draws(0, ("",), (0,))).touched
    wider = widened(touched, read_token_sampler("maskgit").wider)
    np.testing.assert_array_equal(wider.reshape(-1), stored[f"masked_at_start_{hole}"].astype(bool))
    assert wider.sum() == tokens


def test_the_schedule_is_the_published_one(stored: dict[str, np.ndarray]) -> None:
    sampler = read_token_sampler("maskgit")
    for hole in HOLES:
        shares = [math.cos(math.pi / 2 * (step + 1) / sampler.steps) for step in range(sampler.steps)]
        np.testing.assert_allclose(shares, stored[f"mask_share_schedule_{hole}"], atol=1e-15)
        temperatures = [
            sampler.temperature * (1 - (step + 1) / sampler.steps) for step in stored[f"step_{hole}"]
        ]
        np.testing.assert_allclose(temperatures, stored[f"temperature_{hole}"], atol=1e-12)


@pytest.mark.parametrize(("hole", "evaluations"), [("half", 6), ("quarter", 2)])
def test_restoring_evaluates_the_network_as_often_as_published(
    hole: str, evaluations: int, stored: dict[str, np.ndarray], generator: MageGenerator
) -> None:
    image = torch.from_numpy(stored["image"]).repeat_interleave(4, 1).repeat_interleave(4, 2)[None]
    view = generator.view(image, parse_corruption(HOLES[hole]), Draws(0, ("one",), (0,)))
    calls: list[int] = []
    hook = generator.network.decoder.register_forward_hook(lambda *_: calls.append(1))
    generator.restore(view, "maskgit:20,6")
    assert len(calls) == evaluations
    calls.clear()
    generator.restore(view, "confidence:20,6")
    hook.remove()
    assert len(calls) == 20
