"""Samplers: how they are named, and that the reverse loop reaches known answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from efface.errors import InputError
from efface.generators.sampling import Sampler, Scheduler, denoise, make_scheduler, read_sampler, spread

OFFERED = {"ddim": 20, "dpm-solver++": 15, "ancestral": 1000}
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
MEAN, DEVIATION = 0.3, 0.5
START = torch.linspace(-2.5, 2.5, 11)[None]
# the probability flow carries a standard normal start to the same quantile of the data
ANSWER = MEAN + DEVIATION * START


def exact_noise(scheduler: Scheduler) -> Callable[[Tensor, int], Tensor]:
    """The best noise estimate where clean values are normal with `MEAN` and `DEVIATION`."""

    def predict(noisy: Tensor, step: int) -> Tensor:
        gamma = scheduler.alphas_cumprod[step]
        return (1 - gamma).sqrt() * (noisy - gamma.sqrt() * MEAN) / (gamma * DEVIATION**2 + 1 - gamma)

    return predict


def reached(name: str, steps: int) -> Tensor:
    scheduler = make_scheduler(Sampler(name, steps), **SCHEDULE, prediction_type="epsilon")
    return denoise(scheduler, steps, exact_noise(scheduler), START)


# names


@pytest.mark.parametrize(
    ("text", "canonical"),
    [(None, "ddim:20"), ("ddim", "ddim:20"), (" ddim:50 ", "ddim:50"), ("dpm-solver++", "dpm-solver++:15")],
)
def test_a_sampler_reads_back_from_its_name(text: str | None, canonical: str) -> None:
    sampler = read_sampler(text, OFFERED, "ddim", 1000)
    assert str(sampler) == canonical
    assert read_sampler(canonical, OFFERED, "ddim", 1000) == sampler


def test_default_steps_never_exceed_the_schedule() -> None:
    assert read_sampler("ancestral", OFFERED, "ddim", 50).steps == 50


@pytest.mark.parametrize("text", ["dimm", "", "ddim-20", "euler:20"])
def test_an_unknown_sampler_is_refused_with_those_on_offer(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sampler(text, OFFERED, "ddim")
    assert all(name in str(caught.value) for name in OFFERED)


@pytest.mark.parametrize("steps", ["0", "-1", "1001", "2.5", "many", ""])
def test_steps_out_of_bounds_are_refused_with_the_bounds(steps: str) -> None:
    with pytest.raises(InputError, match="1 to 1000"):
        read_sampler(f"ddim:{steps}", OFFERED, "ddim", 1000)


# levels


@pytest.mark.parametrize("trained", [1, 7, 20, 1000, 2000])
def test_spread_steps_begin_in_noise_fall_and_are_all_different(trained: int) -> None:
    for steps in {1, 2, 3, min(20, trained), trained - trained // 3, trained} - {0}:
        if steps <= trained:
            chosen = spread(trained, steps)
            assert chosen[0] == trained - 1
            assert chosen[-1] >= 0
            assert len(chosen) == steps
            assert all(one > other for one, other in itertools.pairwise(chosen))


# answers


def test_ddim_over_the_whole_schedule_reaches_the_known_answer() -> None:
    assert (reached("ddim", 1000) - ANSWER).abs().max() < 0.01


def test_ddim_carries_normal_noise_to_the_datas_mean_and_deviation() -> None:
    scheduler = make_scheduler(Sampler("ddim", 200), **SCHEDULE)
    start = torch.randn(1, 20000, generator=torch.Generator().manual_seed(0))
    samples = denoise(scheduler, 200, exact_noise(scheduler), start)
    assert abs(float(samples.mean()) - MEAN) < 0.02
    assert abs(float(samples.std()) - DEVIATION) < 0.02


def test_the_second_order_needs_fewer_steps() -> None:
    assert (reached("dpm-solver++", 50) - ANSWER).abs().max() < 0.005
    assert (reached("ddim", 50) - ANSWER).abs().max() > 0.02


@pytest.mark.parametrize("steps", [1, 5, 20, 50])
def test_ddim_is_diffusers_ddim_where_steps_divide_the_schedule(steps: int) -> None:
    theirs = DDIMScheduler(**SCHEDULE, clip_sample=False, timestep_spacing="trailing")
    theirs.set_timesteps(steps)
    scheduler = make_scheduler(Sampler("ddim", steps), **SCHEDULE)
    predict, noisy = exact_noise(scheduler), START
    for step in theirs.timesteps:
        noisy = theirs.step(predict(noisy, int(step)), int(step), noisy).prev_sample
    # a single step divides values of 2.5 by the root of 4e-5, the first level: 400 times float32's last place
    atol = 5e-5 if steps == 1 else 1e-5
    torch.testing.assert_close(reached("ddim", steps), noisy, atol=atol, rtol=0)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++"])
@pytest.mark.parametrize("steps", [1, 3, 30, 70])
def test_every_number_of_steps_ends_at_a_clean_picture(name: str, steps: int) -> None:
    scheduler = make_scheduler(Sampler(name, steps), **SCHEDULE, prediction_type="sample")
    clean = torch.full_like(START, 0.7)
    torch.testing.assert_close(denoise(scheduler, steps, lambda noisy, step: clean, START), clean)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++"])
def test_what_the_network_predicts_does_not_change_the_answer(name: str) -> None:
    results = []
    for kind in ("epsilon", "sample", "v_prediction"):
        scheduler = make_scheduler(Sampler(name, 20), **SCHEDULE, prediction_type=kind)
        noise_of = exact_noise(scheduler)

        def predict(
            noisy: Tensor,
            step: int,
            kind: str = kind,
            gammas: Tensor = scheduler.alphas_cumprod,
            noise_of: Callable[[Tensor, int], Tensor] = noise_of,
        ) -> Tensor:
            noise, gamma = noise_of(noisy, step), gammas[step]
            clean = (noisy - (1 - gamma).sqrt() * noise) / gamma.sqrt()
            velocity = gamma.sqrt() * noise - (1 - gamma).sqrt() * clean
            return {"epsilon": noise, "sample": clean, "v_prediction": velocity}[kind]

        results.append(denoise(scheduler, 20, predict, START))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-3, rtol=0)


# the loop


def test_known_values_are_put_back_after_every_step_with_the_level_they_belong_to() -> None:
    levels = []

    def put_back(noisy: Tensor, level: float) -> Tensor:
        levels.append(level)
        return torch.where(torch.arange(11) < 3, 9.0, noisy)

    seen = []

    def predict(noisy: Tensor, step: int) -> Tensor:
        seen.append(float(noisy[0, 0]))
        return torch.zeros_like(noisy)

    scheduler = make_scheduler(Sampler("ddim", 7), **SCHEDULE)
    result = denoise(scheduler, 7, predict, START, put_back)
    assert levels == sorted(levels)
    assert levels[-1] == 1
    assert levels[:-1] == [float(scheduler.alphas_cumprod[step]) for step in spread(1000, 7)[1:]]
    assert seen[1:] == [9.0] * 6
    assert result[0, :3].tolist() == [9.0] * 3


def test_sampling_leaves_no_graph_and_repeats_itself() -> None:
    weight = torch.ones(1, requires_grad=True)
    results = []
    for _ in range(2):
        scheduler = make_scheduler(Sampler("dpm-solver++", 5), **SCHEDULE)
        results.append(denoise(scheduler, 5, lambda noisy, step: noisy * weight, START))
    assert not results[0].requires_grad
    assert torch.equal(*results)


def test_a_whole_scheduler_config_is_taken() -> None:
    config = {**SCHEDULE, "_class_name": "PNDMScheduler", "skip_prk_steps": True, "clip_sample": False}
    scheduler = make_scheduler(Sampler("ddim", 20), **config)
    assert torch.equal(
        scheduler.alphas_cumprod, make_scheduler(Sampler("ddim", 20), **SCHEDULE).alphas_cumprod
    )
