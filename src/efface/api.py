"""The Python API: the command line's jobs with plain arguments and typed results."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from efface.generators import ModelSettings, load_generator
from efface.generators.base import Generator
from efface.jobs.evaluation import EvaluateResult, evaluate_models
from efface.jobs.planning import Plan
from efface.jobs.planning import plan as plan_run
from efface.jobs.training import TrainResult
from efface.jobs.training import train as train_run
from efface.jobs.unlearning import UnlearnResult
from efface.jobs.unlearning import unlearn as unlearn_run
from efface.progress import Progress
from efface.runs.config import EvaluateConfig, RunConfig, TrainConfig

PathOrName = str | PathLike[str]
Selection = PathOrName | Iterable[PathOrName] | None


def load(model: PathOrName, **settings: Any) -> Generator:
    """Open a trained model: a folder, a hub id, or a released `.pth` file.

    `settings` as in `ModelSettings`, for example `norm_pix_loss=True`. Raises `InputError`.
    """
    return load_generator(ModelSettings.read({"path": fspath(model), **settings}, where="model"))


def unlearn(
    model: PathOrName,
    *,
    out: PathOrName,
    forget: Selection,
    retain: Selection = None,
    neutral: Selection = None,
    proxy_retain: Selection = None,
    images: PathOrName | None = None,
    retrained: PathOrName | None = None,
    method: str | dict[str, Any] = "encoder-noise",
    progress: Progress | None = None,
    **settings: Any,
) -> UnlearnResult:
    """Make a model forget images, in the run folder `out`; the same call continues an interrupted run.

    Sets are selectors as on the command line (a folder, `label:cat`, `glob:*.png`, ...) or several of them.
    `settings` are those of `RunConfig`: `corruption`, `seed`, `budget`, `training={...}`, `evaluation={...}`,
    and of its sets: `duplicates`, `near_duplicate_distance`, `skip_unreadable`.
    Raises `InputError` before anything changes, `RunRefused`, and `Stopped` with everything kept.
    """
    sets = _images(images, forget, retain, neutral, proxy_retain, settings)
    models = _models(model=model, retrained=retrained)
    config = RunConfig.from_values({**models, "images": sets, "method": method, **settings})
    return unlearn_run(config, Path(out), progress)


def plan(
    model: PathOrName,
    *,
    forget: Selection,
    retain: Selection = None,
    neutral: Selection = None,
    proxy_retain: Selection = None,
    images: PathOrName | None = None,
    retrained: PathOrName | None = None,
    method: str | dict[str, Any] = "encoder-noise",
    progress: Progress | None = None,
    **settings: Any,
) -> Plan:
    """All faults and risks of such a run, what it would change and cost; nothing is written."""
    sets = _images(images, forget, retain, neutral, proxy_retain, settings)
    models = _models(model=model, retrained=retrained)
    config = RunConfig.from_values({**models, "images": sets, "method": method, **settings})
    return plan_run(config, progress)


def train(
    images: PathOrName,
    *,
    out: PathOrName,
    without: Selection = None,
    neutral: Selection = None,
    like: PathOrName | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> TrainResult:
    """Train a model from scratch; `settings` are those of `TrainConfig`, for example `generator="mage"`."""
    values = {
        "images": fspath(images),
        "without": _selectors(without),
        "neutral": _selectors(neutral),
        **({"like": fspath(like)} if like is not None else {}),
        **settings,
    }
    return train_run(TrainConfig.from_values(values), Path(out), progress)


def evaluate(
    original: PathOrName,
    unlearned: PathOrName | None = None,
    *,
    out: PathOrName,
    forget: Selection,
    retain: Selection = None,
    neutral: Selection = None,
    images: PathOrName | None = None,
    retrained: PathOrName | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> EvaluateResult:
    """Compare models that are there already; `settings` are those of `EvaluateConfig`."""
    sets = _images(images, forget, retain, neutral, None, settings)
    models = _models(original=original, unlearned=unlearned, retrained=retrained)
    values = {**models, "images": sets, **settings}
    return evaluate_models(EvaluateConfig.from_values(values), Path(out), progress)


def _models(**models: PathOrName | None) -> dict[str, Any]:
    return {name: {"path": fspath(model)} for name, model in models.items() if model is not None}


def _images(
    images: PathOrName | None,
    forget: Selection,
    retain: Selection,
    neutral: Selection,
    proxy_retain: Selection,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The section of the image sets; what else belongs to it is taken out of `settings`."""
    values: dict[str, Any] = {
        "forget": _selectors(forget),
        "retain": _selectors(retain),
        "neutral": _selectors(neutral),
        "proxy_retain": _selectors(proxy_retain),
    }
    if images is not None:
        values["images"] = fspath(images)
    of_sets = ("duplicates", "near_duplicate_distance", "skip_unreadable")
    return values | {name: settings.pop(name) for name in of_sets if name in settings}


def _selectors(selection: Selection) -> tuple[str, ...]:
    if selection is None:
        return ()
    if isinstance(selection, str | PathLike):
        return (fspath(selection),)
    return tuple(fspath(one) for one in selection)
