"""Results of a benchmark of generators, made by hand: what its page and tables are written from."""

from __future__ import annotations

from typing import Any

HOSTILE = 'a|b $x$ <script>alert("1")</script>\u202e'
SETS = ("forget", "retain", "neutral")
OF_SETS = ("hole_mse", "ssim", "feature_cosine", "frechet_distance", "kernel_distance")


def estimate(value: float, reach: float = 0.01) -> dict[str, Any]:
    return {
        "value": value,
        "low": value - reach,
        "high": value + reach,
        "each": [value - 0.002, value + 0.002],
    }


def score(value: float) -> dict[str, Any]:
    def level(at: float) -> dict[str, float]:
        return {"value": at, "low": at - 0.05, "high": at + 0.05}

    return {
        "score": value,
        "interval": [value - 0.1, value + 0.1],
        "ceiling": 0.97,
        "floor": 0.01,
        "do_nothing": 0.12,
        "levels": {
            "ceiling": level(0.97),
            "floor": {"value": 0.01, "low": 0.01, "high": 0.01},
            "do_nothing": level(0.12),
        },
        "measurable": True,
    }


def a_row(
    label: str, gap: float, cost: float, robust: float | None = None, kind: str = "method"
) -> dict[str, Any]:
    """gap: of the forget error; cost: of the retain images."""
    measures = {
        "forget_ratio": estimate(1 + gap),
        "forget_gap": estimate(gap),
        "retain_cost": estimate(cost),
        "neutral_cost": estimate(cost + 0.001),
        "detectability": estimate(gap / 10),
        "relearning_retain": estimate(gap / 20),
        "relearning_few": estimate(gap / 30),
        "seconds_share": estimate(0.25),
    }
    for place, name in enumerate(OF_SETS):
        measures |= {f"{name}_{of_set}": estimate(0.1 + place + gap / 100) for of_set in SETS}
    curve = [[-3.0 + gap, -3.2, -3.3], [-3.1 + gap, -3.3, -3.4]]
    return {
        "label": label,
        "kind": kind,
        "section": {"name": label} if kind == "method" else {},
        "measures": {"centre:0.5": measures, "extend-left:0.25": dict(measures)},
        "scores": {} if robust is None else {"robust": score(robust), "official": score(robust / 5)},
        "curves": {"retain": curve, "few": curve},
        "models": 2,
        "failed": 0,
        "reason": None,
    }


def failed(label: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"measures": {}, "scores": {}, "curves": {}, "models": 0}
    return a_row(label, 0, 0) | empty | {"failed": 2, "reason": "no\nwings"}


def results(scored: bool = False, **others: Any) -> dict[str, Any]:
    """Two references, three methods of which one is hostile, and one that failed; of one task with two corruptions."""

    def robust(value: float) -> float | None:
        return value if scored else None

    rows = [
        a_row("original", -0.4, 1.0, robust(0.12), kind="original"),
        a_row("retrained", 0.0, 1.02, robust(0.55), kind="retrained"),
        a_row("blank", 0.05, 1.01, robust(0.8)),
        a_row(HOSTILE, -0.11, 1.002, robust(0.7)),
        a_row("encoder-noise", 0.62, 1.03, robust(0.1)),
        failed("broken"),
    ]
    task = {
        "images": {"forget": 30, "retain": 40, "neutral": 60},
        "trained_on": {"forget": 30, "retain": 170},
        "sets": list(SETS),
        "corruptions": ["centre:0.5", "extend-left:0.25"],
        "notes": ["who wrote which digit is not known"],
        "fills": {
            "centre:0.5": {"mean": 0.16, "nearest": 0.15},
            "extend-left:0.25": {"mean": 0.16, "nearest": 0.11},
        },
        "void": {"centre:0.5": False, "extend-left:0.25": True},
        "rows": rows,
        "task_sha256": "0" * 64,
    }
    config = {
        "tasks": {
            "digits": {
                "images": {"data": "digits", "path": None, "forget": "random:30"},
                "generator": "mae",
                "architecture": {"image_size": 16},
                "training": {"steps": 300},
                "unlearning": {"steps": 60},
                "evaluation": {"extractor": "built-in"},
                "relearning": {"steps": [5, 10]},
            }
        },
        "methods": ["blank"],
        "seed": 0,
    }
    machine = {
        "python": "3.11.1", "platform": "Linux x86_64", "processor": "Abacus 9", "cores": 2, "memory_gib": 7.5,
        "gpus": [], "threads": 1, "packages": {"torch": "2.9", "absent": None},
        "source": {"commit": "abc123", "changed": True},
    }  # fmt: skip
    return {
        "schema": 1,
        "finished": "2026-11-21T09:59:16+00:00",
        "models": 2,
        "scored": scored,
        "statistic": "log-hole-error",
        "confidence": 0.95,
        "tasks": {"digits": task},
        "cost": {
            "before": {"originals": 2, "retrained": 2, "unlearned": 8, "seconds": 100.0},
            "wall_seconds": 1234.0,
        },
        "machine": machine,
        "config": config,
        **others,
    }
