"""What is read of each image of a run: its error, and the statistic of the forgetting score."""

from __future__ import annotations

import numpy as np

from efface.benchmark.generators.task import Statistic
from efface.evaluation.answers import Answers
from efface.forgetting.arrays import Floats
from efface.metrics.catalogue import HOLE_ERROR
from efface.metrics.image_error import FeatureCosine, Ssim

SMALLEST_ERROR = 1e-8
"""Errors below it count as it when a logarithm is taken: an exact copy would be infinite."""


def errors_of(answers: Answers) -> Floats:
    """Hole error of each image, or what structural similarity lacks to 1 where nothing was hidden."""
    errors = (
        answers.of_images(HOLE_ERROR) if HOLE_ERROR in answers.values else 1 - answers.of_images(Ssim.name)
    )
    return np.maximum(errors, SMALLEST_ERROR)


def statistic_of(answers: Answers, statistic: Statistic) -> Floats:
    """`[images]` of the statistic that the forgetting score reads."""
    if statistic == "feature-distance":
        return 1 - answers.of_images(FeatureCosine.name)
    if statistic == "task-loss":
        return np.log(np.maximum(answers.of_images("task_loss"), SMALLEST_ERROR))
    return np.log(errors_of(answers))
