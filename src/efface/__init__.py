"""efface makes an image model forget chosen images and shows what that did.

    import efface

    result = efface.unlearn("my-mae", forget="photos/remove", retain="photos/keep", out="runs/first")
    result.generator()          # the unlearned model; result.model is its folder
    efface.evaluate("my-mae", result.model, forget="photos/remove", retain="photos/keep", out="runs/again")

What goes wrong is raised as one of the errors below, whose text is for a person. Importing this package does not import
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from efface.errors import EffaceError, InputError, RunRefused, Stopped

if TYPE_CHECKING:
    from efface.api import Module, bench, bench_generators, compare_runs, evaluate, load, plan, train, unlearn

__all__ = [
    "EffaceError",
    "InputError",
    "Module",
    "RunRefused",
    "Stopped",
    "bench",
    "bench_generators",
    "compare_runs",
    "evaluate",
    "load",
    "plan",
    "train",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from efface import api

        return getattr(api, name)
    raise AttributeError(f"module 'efface' has no attribute {name!r}")
