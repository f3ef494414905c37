"""Criteria: what a figure is made of, given an attack's scores by group. Each returns a number, or nan."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from efface.probes.base import Criterion, Scores
from efface.probes.subject import Values

FLOOR = 1e-12
"""Below any error of 8-bit pictures: an error of 0 has no logarithm."""


def auc(positives: str, negatives: str) -> Criterion:
    """Area under the curve of telling `positives` (higher scores) from `negatives`: 0.5 is chance, ties count half."""

    def criterion(scores: Scores) -> float:
        return area(scores[positives], scores[negatives])

    return criterion


def ratio_of_means(above: str, below: str) -> Criterion:
    """Mean of one group over the mean of another."""

    def criterion(scores: Scores) -> float:
        mean = float(scores[below].mean())
        return float(scores[above].mean()) / mean if mean else float("nan")

    return criterion


def mean(group: str) -> Criterion:
    """Mean of a group; of true and false: a share."""

    def criterion(scores: Scores) -> float:
        return float(scores[group].mean())

    return criterion


def logs(errors: Values) -> Values:
    """Natural logarithms of errors from 0 up."""
    values: Values = np.log(np.maximum(errors, FLOOR))
    return values


def area(positives: Values, negatives: Values) -> float:
    """Share of pairs in which the positive has the higher score (Mann and Whitney 1947); nan for an empty side."""
    if not len(positives) or not len(negatives):
        return float("nan")
    ranks = rankdata(np.concatenate([positives, negatives]))[: len(positives)]
    return float((ranks.mean() - (len(positives) + 1) / 2) / len(negatives))
