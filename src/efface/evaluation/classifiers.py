"""The evaluation of classifiers: every model answers the same images once, and attacks ask whom it remembers.

An image's values come from the logits of its one view; intervals resample images. On forget images the goal is the
retrained model's value, of attacks too: a class that is gone from training looks unseen to any attack.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from efface.classifiers.classifier import Classifier, logits_of
from efface.evaluation.figures import Figures, Values, figures_of, reference_of
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import SETS, ModelName, Row, SetName, Worst
from efface.evaluation.settings import ClassifierEvaluationSettings
from efface.forgetting.confidence import Confidence
from efface.forgetting.outputs import Accuracy
from efface.images.labelled import LabelledImages
from efface.metrics.base import AttackMetric, Classified, Metric
from efface.metrics.catalogue import classifier_metrics, metrics_of
from efface.progress import Progress
from efface.randomness import key, numpy_draws

Logits = Mapping[tuple[ModelName, SetName], Values]

FEWEST_ATTACKED = 20
"""Retain and neutral images from which on an attack is trained."""
MOST_ATTACKED = 2000
"""Retain and neutral images on which an attack is trained at most: its cost grows with their square."""


def evaluate_classifiers(
    models: Mapping[ModelName, Classifier],
    sets: Mapping[SetName, LabelledImages],
    settings: ClassifierEvaluationSettings,
    *,
    proxy_retain: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure `models` on `sets`. Models are left in evaluation mode.

    proxy_retain: the retain images stand in for those trained on, so no attack can learn from them what a member is.
    """
    progress = progress or Progress()
    present = {name: sets[name] for name in SETS if name in sets and len(sets[name])}
    logits: dict[tuple[ModelName, SetName], Values] = {}
    for set_name, images in present.items():
        with progress.task(f"measure {set_name}", len(images) * len(models)) as task:
            for model_name, model in models.items():
                logits[model_name, set_name] = logits_of(model, images, settings.batch_size).astype(
                    np.float64
                )
                task.advance(len(images))
    classes = next(iter(models.values())).classes
    return _Figures(list(models), classes, present, logits, settings, proxy_retain).evaluation()


class _Figures:
    """All rows of figures, from the logits of every model on every set."""

    def __init__(
        self,
        models: list[ModelName],
        classes: tuple[str, ...],
        sets: Mapping[SetName, LabelledImages],
        logits: Logits,
        settings: ClassifierEvaluationSettings,
        proxy_retain: bool,
    ) -> None:
        self.models, self.sets, self.logits, self.settings = models, sets, logits, settings
        self.classes, self.proxy_retain = classes, proxy_retain
        # a model that was driven away too far may answer with infinities: it has no figures, and its rows say so
        self.sound = {place: bool(np.isfinite(values).all()) for place, values in logits.items()}
        self.per_image = {
            (model, name): self._values(model, name) if self.sound[model, name] else {}
            for name in sets
            for model in models
        }

    def evaluation(self) -> Evaluation:
        rows = [
            row
            for name in self.sets
            for metric in metrics_of("classifier").values()
            for row in self._rows(name, metric)
        ]
        worst = [entry for name in self.sets if name != "forget" for entry in self._worst(name)]
        return Evaluation(rows, worst, self.per_image)

    def _values(self, model: ModelName, name: SetName) -> dict[str, Values]:
        """Values `[images]` by metric of one model on one set."""
        logits, labels = self.logits[model, name], self.sets[name].labels
        retrained = neutral = None
        if name == "forget" and self.settings.attacks and self._sound(model, "neutral"):
            neutral = self.logits[model, "neutral"], self.sets["neutral"].labels
        if model != "retrained" and self._sound("retrained", name):
            retrained = self.logits["retrained", name]
        answers = Classified(logits, labels, retrained, neutral)
        there = {
            "labels",
            *(["neutral"] if neutral else []),
            *(["retrained"] if retrained is not None else []),
        }
        return {
            metric.name: metric().compute(answers)
            for metric in classifier_metrics()
            if there.issuperset(metric.requires)
        }

    def _sound(self, model: ModelName, name: SetName) -> bool:
        return self.sound.get((model, name), False)

    def _rows(self, name: SetName, metric: type[Metric]) -> list[Row]:
        if "neutral" in metric.requires and (name != "forget" or not self.settings.attacks):
            return []
        asked = self.models
        if "retrained" in metric.requires:
            asked = [model for model in asked if model != "retrained" and "retrained" in self.models]
        if issubclass(metric, AttackMetric):
            return self._attack_rows(metric, asked)
        return [self._per_image_row(model, name, metric) for model in asked]

    def _per_image_row(self, model: ModelName, name: SetName, metric: type[Metric]) -> Row:
        values = self.per_image[model, name].get(metric.name)
        if values is None:
            absent = Figures(None, note=self._why_absent(model, name, metric))
            return self._row(model, name, metric, absent)
        photos = np.arange(len(values))
        if "retrained" in metric.requires:
            # the value is a distance to the reference already
            figures = figures_of(values, None, photos, self.settings.resampling)
            return self._row(model, name, metric, figures, "retrained")
        reference = reference_of(model, self.models)
        others = self.per_image[reference, name].get(metric.name) if reference else None
        figures = figures_of(values, others, photos, self.settings.resampling)
        return self._row(model, name, metric, figures, reference if others is not None else None)

    def _attack_rows(self, metric: type[AttackMetric], asked: list[ModelName]) -> list[Row]:
        refusal = self._attack_refusal()
        shares = {
            model: self._attack(metric, model)
            for model in asked
            if not refusal and all(self._sound(model, name) for name in self.sets)
        }
        rows = []
        for model in asked:
            if model not in shares:
                why = refusal or self._why_absent(model, "forget", metric)
                rows.append(self._row(model, "forget", metric, Figures(None, note=why)))
                continue
            reference = reference_of(model, list(shares))
            beside = shares[reference] if reference else None
            distance = shares[model] - beside if beside is not None else None
            note = "a point value: the attack is trained once"
            figures = Figures(shares[model], None, beside, distance, None, note)
            rows.append(self._row(model, "forget", metric, figures, reference))
        return rows

    def _attack_refusal(self) -> str | None:
        if self.proxy_retain:
            return "not available: proxy images stand in for the retain images, and no member of the training is known"
        counts = {name: len(self.sets[name]) if name in self.sets else 0 for name in ("retain", "neutral")}
        few = [f"{count} {name}" for name, count in counts.items() if count < FEWEST_ATTACKED]
        return f"not available: {' and '.join(few)} images, and {FEWEST_ATTACKED} are needed" if few else None

    def _attack(self, metric: type[AttackMetric], model: ModelName) -> float:
        def answers(name: SetName) -> tuple[Values, NDArray[np.int64]]:
            places = np.arange(len(self.sets[name]))
            if name != "forget" and len(places) > MOST_ATTACKED:
                draws = numpy_draws(self.settings.seed, "svc attack", name)
                places = np.sort(draws.permutation(len(places))[:MOST_ATTACKED])
            return self.logits[model, name][places], self.sets[name].labels[places]

        sets: tuple[SetName, ...] = ("retain", "neutral", "forget")
        return metric().attack({name: answers(name) for name in sets}, key(self.settings.seed, "svc attack"))

    def _why_absent(self, model: ModelName, name: SetName, metric: type[Metric]) -> str:
        attack = "neutral" in metric.requires
        if attack and "neutral" not in self.sets:
            return "not available: no neutral images, so there is nothing to tell forget images from"
        if not self.sound[model, name] or attack:
            return "not available: the model answers with infinite or undefined values"
        return "not available: the retrained model answers with infinite or undefined values"

    def _row(
        self,
        model: ModelName,
        name: SetName,
        metric: type[Metric],
        figures: Figures,
        reference: ModelName | None = None,
    ) -> Row:
        count, seed = len(self.sets[name]), self.settings.seed
        return figures.row(model, name, metric, reference, n=count, seed=seed)

    def _worst(self, name: SetName) -> list[Worst]:
        """Images by the fall of confidence, classes by the rise of the error rate; only those that lost."""
        before, after = (self.per_image.get((model, name), {}) for model in ("original", "unlearned"))
        if not before or not after:
            return []
        count, labels = self.settings.worst, self.sets[name].labels
        falls = before[Confidence.name] - after[Confidence.name]
        images = [
            Worst(
                name,
                "image",
                self.sets[name].ids[int(place)],
                float(before[Confidence.name][place]),
                float(after[Confidence.name][place]),
                None,
                Confidence.name,
            )
            for place in np.argsort(-falls, kind="stable")[:count]
            if falls[place] > 0
        ]
        classes = []
        for label in np.unique(labels):
            errors = [1 - float(side[Accuracy.name][labels == label].mean()) for side in (before, after)]
            if errors[1] > errors[0]:
                class_ = self.classes[int(label)]
                classes.append(Worst(name, "class", class_, errors[0], errors[1], None, "error_rate"))
        return images + sorted(classes, key=lambda entry: entry.original - entry.unlearned)[:count]
