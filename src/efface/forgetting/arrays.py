"""Checks of the arrays that every statistic reads: one `InputError` names all that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efface.arrays import REAL
from efface.errors import Faults
from efface.wording import counted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INFINITE = (
    "logit-scaled confidences as the competition computes them stay within 103.7; "
    "clip or recompute them with efface.forgetting.confidence"
)


def models_by_examples(
    arrays: Mapping[str, ArrayLike],
    fewest: int = 1,
    *,
    equal_models: bool = False,
    keep_singles: bool = False,
) -> list[Floats]:
    """The named arrays as finite float64 `[models, examples]` over the same examples, in the order given.

    float64 input is not copied. `keep_singles`: float32 arrays stay so, for published code that then computes in
    float32. Raises one `InputError` with every fault: not numbers, not two-dimensional,
    fewer than `fewest` models, no example, NaN or infinite values, different numbers of examples, and
    with `equal_models` different numbers of models.
    """
    made: dict[str, Floats] = {}
    with Faults("these confidences cannot be scored") as faults:
        for name, given in arrays.items():
            values = _real(given)
            if values is None:
                faults.add(f"{name}: holds something that is not a real number")
                continue
            problems = _problems(name, values, fewest)
            for problem in problems:
                faults.add(problem)
            if values.ndim == 2:
                is_single = keep_singles and np.asarray(given).dtype == np.float32
                made[name] = cast("Floats", values.astype(np.float32)) if is_single else values
        _add_unequal(faults, {name: values.shape[1] for name, values in made.items()}, "examples")
        if equal_models:
            _add_unequal(faults, {name: values.shape[0] for name, values in made.items()}, "models")
    return list(made.values())


def numbers(values: ArrayLike, name: str, faults: Faults, ndim: int = 1) -> Floats:
    """`values` as finite float64 with `ndim` axes; what is wrong goes to `faults`."""
    array = _real(values)
    if array is None:
        faults.add(f"{name}: holds something that is not a real number")
        return np.zeros((0,) * ndim)
    if array.ndim != ndim or 0 in array.shape:
        faults.add(f"{name}: needs {ndim} axes, none of them empty, got the shape {array.shape}")
    elif not np.isfinite(array).all():
        faults.add(f"{name}: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
    return array


def _real(values: ArrayLike) -> Floats | None:
    """`values` as float64; None where they are texts, dates, complex numbers, yes and no, or objects."""
    try:
        array = np.asarray(values)
        return array.astype(np.float64, copy=False) if array.dtype.kind in REAL else None
    except (TypeError, ValueError):
        return None


def labels_of(labels: ArrayLike, classes: int, count: int, faults: Faults) -> Integers:
    """True classes `[examples]` as integers from 0 to `classes` - 1; what is wrong goes to `faults`."""
    array: NDArray[Any] = np.asarray(labels)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        faults.add(
            f"labels: need one whole number for each of {count} examples, got {array.dtype} {array.shape}"
        )
        return np.zeros(count, dtype=np.int64)
    if count and not 0 <= int(array.min()) <= int(array.max()) < classes:
        faults.add(f"labels: must lie from 0 to {classes - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _problems(name: str, values: Floats, fewest: int) -> list[str]:
    if values.ndim != 2:
        return [f"{name}: needs the shape [models, examples], got {values.shape}"]
    models, examples = values.shape
    problems = []
    if models < fewest:
        problems.append(f"{name}: {counted(models, 'model')}, but at least {fewest} are needed")
    if examples == 0:
        problems.append(f"{name}: no example to be scored")
    # A sum finds NaN and infinities without a mask of the whole array.
    if values.size and not np.isfinite(values.sum()):
        wrong, infinite = np.isnan(values), np.isinf(values)
        if wrong.any():
            model, example = np.argwhere(wrong)[0]
            problems.append(
                f"{name}: {wrong.sum()} values are NaN, the first of model {model}, example {example}"
            )
        if infinite.any():
            model, example = np.argwhere(infinite)[0]
            problems.append(
                f"{name}: {infinite.sum()} values are infinite, the first of model {model}, example {example}; {INFINITE}"
            )
    return problems


def _add_unequal(faults: Faults, counts: dict[str, int], of: str) -> None:
    if len(set(counts.values())) > 1:
        faults.add(
            "; ".join(f"{name} has {count} {of}" for name, count in counts.items()) + ": they must be equal"
        )
