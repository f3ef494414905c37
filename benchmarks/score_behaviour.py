"""The figures of docs/forgetting/score.md, measured: `python benchmarks/score_behaviour.py [PART ...]`.

Parts: ceiling, sensitivity, resolution, effect, shifted, coverage. Each writes its numbers into
benchmarks/results/score_behaviour.json, from which `docs/make.py` draws the pictures. On one core coverage takes about
15 minutes, the rest 6.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from efface.files import write_json
from efface.forgetting.apart import told_apart
from efface.forgetting.official import official_score
from efface.forgetting.robust import robust_score
from efface.randomness import numpy_draws

MEASURED = Path(__file__).parent / "results" / "score_behaviour.json"
Floats = NDArray[np.float64]
SIZES = (16, 64, 512)
FEW_DEALS = 99
"""In simulations; p is as right as with more, only coarser."""

LAWS: dict[str, Callable[[Floats], Floats]] = {
    "normal": lambda normal: 1.5 * normal,
    "heavy tails": lambda normal: stats.t.ppf(stats.norm.cdf(normal), 2),
    "mixture": lambda normal: np.where(normal < -0.5, -3 + normal, 2 + normal),
    "skewed, with ties": lambda normal: np.round(2 * -np.log(stats.norm.sf(normal))) / 2,
}


def draw(law: str, models: int, examples: int, *key: Any, shared: float = 0.0) -> Floats:
    """`[models, examples]` of a law; `shared` is the correlation of a model's values before the law is applied."""
    random = numpy_draws("docs-forgetting", law, models, *key)
    own, common = random.normal(size=(models, examples)), random.normal(size=(models, 1))
    return LAWS[law](np.sqrt(1 - shared) * own + np.sqrt(shared) * common)


def coverage(law: str, models: int, simulations: int, examples: int = 8, shared: float = 0.3) -> float:
    """How often models of one law are not told apart, which is how often the robust interval holds 1."""
    apart = 0
    for number in range(simulations):
        sides = [draw(law, models, examples, number, side, shared=shared) for side in (0, 1)]
        apart += told_apart(*sides, seed=number, deals=FEW_DEALS, rounds=0).told_apart
    return 1 - apart / simulations


def effect(
    shift: float, models: int, simulations: int, examples: int = 20, shared: float = 0.3
) -> dict[str, float]:
    """The equivalent shift of a known one: means, how often its interval holds it, and how often models are told apart."""
    found = []
    for number in range(simulations):
        u, r = (draw("normal", models, examples, number, side, "effect", shared=shared) for side in (0, 1))
        found.append(told_apart(u + 1.5 * shift, r, seed=number, deals=FEW_DEALS))
    held = [one.low <= shift <= one.high for one in found if one.low is not None and one.high is not None]
    return {
        "mean": float(np.mean([one.shift for one in found])),
        "auc": float(np.mean([one.auc for one in found])),
        "held": float(np.mean(held)),
        "told_apart": float(np.mean([one.told_apart for one in found])),
    }


def measure_effect(
    simulations: int = 200, sizes: tuple[int, ...] = (8, 16, 32, 64, 256), examples: int = 20
) -> dict[str, Any]:
    shifts = {
        str(shift): {str(n): effect(shift, n, simulations, examples) for n in sizes}
        for shift in (0.0, 0.25, 0.5, 1.0, 2.0)
    }
    return {"simulations": simulations, "examples": examples, "shared": 0.3, "shift": shifts}


def coverage_of_shift(
    shift: float, models: int, simulations: int, examples: int = 8, shared: float = 0.3
) -> float:
    """Share of robust 95 % intervals that hold the expected score (the mean of all) where one side is shifted."""
    found = []
    for number in range(simulations):
        u, r = (draw("normal", models, examples, number, side, "shift", shared=shared) for side in (0, 1))
        result = robust_score(u + 1.5 * shift, r, seed=number)
        assert result.interval is not None
        found.append((result.score, *result.interval))
    score, low, high = np.array(found).T
    return float(np.mean((low <= score.mean()) & (score.mean() <= high)))


def measure_coverage(simulations: int = 1000, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    null = {law: {str(n): coverage(law, n, simulations) for n in sizes} for law in LAWS}
    return {"simulations": simulations, "examples": 8, "shared": 0.3, "null": null}


def measure_shifted(simulations: int = 200, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    shifts = {
        str(shift): {str(n): coverage_of_shift(shift, n, simulations) for n in sizes}
        for shift in (0.25, 0.5, 1.0)
    }
    return {"simulations": simulations, "examples": 8, "shared": 0.3, "shift": shifts}


def measure_ceiling(examples: int = 400) -> list[dict[str, Any]]:
    """Retrained against retrained: both modes, by the number of models."""
    rows = []
    for models in (8, 16, 32, 64, 128, 256, 512):
        u, r = (draw("normal", models, examples, "ceiling", side) for side in (0, 1))
        interval = robust_score(u, r).interval
        rows.append(
            {
                "models": models,
                "official": official_score(u, r).score,
                "robust": robust_score(u, r, deals=0).score,
                "interval": interval,
            }
        )
    return rows


CHANGES: dict[str, Callable[[Floats], Floats]] = {
    "none": lambda u: u,
    "shift of 0.1 sd": lambda u: u + 0.15,
    "shift of 0.25 sd": lambda u: u + 0.375,
    "shift of 0.5 sd": lambda u: u + 0.75,
    "shift of 1 sd": lambda u: u + 1.5,
    "shift of 2 sd": lambda u: u + 3.0,
    "shift of 4 sd on every fourth image": lambda u: u + 6.0 * (np.arange(u.shape[1]) % 4 == 0),
    "spread x 0.8": lambda u: u * 0.8,
    "spread x 0.5": lambda u: u * 0.5,
    "spread x 0.1": lambda u: u * 0.1,
    "one model far off": lambda u: np.vstack([u[:1] + 30, u[1:]]),
    "2 % of models far off": lambda u: np.vstack([u[: max(1, len(u) // 50)] + 30, u[max(1, len(u) // 50) :]]),
    "10 % of models far off": lambda u: np.vstack([u[: len(u) // 10] + 30, u[len(u) // 10 :]]),
}


def measure_sensitivity(examples: int = 400, sizes: tuple[int, ...] = (32, 64, 512)) -> list[dict[str, Any]]:
    """Both modes against known changes of one side."""
    rows = []
    for name, change in CHANGES.items():
        row: dict[str, Any] = {"change": name}
        for models in sizes:
            u, r = (draw("normal", models, examples, "sensitivity", side) for side in (0, 1))
            row[f"official_{models}"] = official_score(change(u), r).score
            row[f"robust_{models}"] = robust_score(change(u), r, deals=0).score
            row[f"shift_{models}"] = told_apart(change(u), r, deals=FEW_DEALS, rounds=0).shift
        rows.append(row)
    return rows


def measure_resolution(examples: int = 400, models: int = 128) -> list[dict[str, Any]]:
    """Retrained against retrained in other units: the official grid is absolute, the robust mode has none."""
    rows = []
    for sigma in (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
        u, r = (draw("normal", models, examples, "resolution", side) / 1.5 * sigma for side in (0, 1))
        official = official_score(u, r)
        rows.append(
            {
                "sigma": sigma,
                "official": official.score,
                "unresolved": float(official.unresolved.mean()),
                "robust": robust_score(u, r, deals=0).score,
            }
        )
    return rows


PARTS: dict[str, Callable[..., Any]] = {
    "ceiling": measure_ceiling,
    "sensitivity": measure_sensitivity,
    "resolution": measure_resolution,
    "effect": measure_effect,
    "shifted": measure_shifted,
    "coverage": measure_coverage,
}
SMOKE: dict[str, dict[str, Any]] = {
    "ceiling": {"examples": 2},
    "sensitivity": {"examples": 2},
    "resolution": {"examples": 2, "models": 16},
    "effect": {"simulations": 2, "sizes": (16,), "examples": 2},
    "shifted": {"simulations": 2, "sizes": (16,)},
    "coverage": {"simulations": 2, "sizes": (16,)},
}
"""Sizes at which every part takes a second."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument(
        "--smoke", action="store_true", help="tiny, writing nothing, only to see that it runs"
    )
    options = parser.parse_args()
    for part in options.parts or PARTS:
        found = PARTS[part](**(SMOKE[part] if options.smoke else {}))
        if options.smoke:
            continue
        measured = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
        write_json(MEASURED, measured | {part: found})
        print(part, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
