"""The evaluation of classifiers: every model answers the same images once, and attacks ask whom it remembers.

An image's values come from the logits of its one view; intervals resample images. On forget images the goal is the
retrained model's value, of attacks too: a class that is gone from training looks unseen to any attack.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from efface.classifiers.classifier import Classifier
from efface.classifiers.measuring import logits_of
from efface.evaluation.figures import Figures, Values, figures_of, reference_of
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import SETS, ModelName, Row, SetName, Worst
from efface.evaluation.settings import ClassifierEvaluationSettings
from efface.forgetting.confidence import logit_scaled_confidence
from efface.forgetting.likelihood_attacks import population_attack
from efface.forgetting.membership import svc_attack
from efface.images.labelled import LabelledImages
from efface.metrics.catalogue import CLASSIFIER_METRICS
from efface.progress import Progress
from efface.randomness import key, numpy_draws

Logits = Mapping[tuple[ModelName, SetName], Values]

FEWEST_ATTACKED = 20
"""Retain and neutral images from which on an attack is trained."""
MOST_ATTACKED = 2000
"""Retain and neutral images on which an attack is trained at most: its cost grows with their square."""
ATTACKS = ("membership_auc", "svc_membership")


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
    return _Table(list(models), classes, present, logits, settings, proxy_retain).evaluation()


class _Table:
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
            row for name in self.sets for metric in CLASSIFIER_METRICS for row in self._rows(name, metric)
        ]
        worst = [entry for name in self.sets if name != "forget" for entry in self._worst(name)]
        return Evaluation(rows, worst, self.per_image)

    def _values(self, model: ModelName, name: SetName) -> dict[str, Values]:
        """Values `[images]` by metric of one model on one set."""
        logits, labels = self.logits[model, name], self.sets[name].labels
        values: dict[str, Values] = {
            "accuracy": (logits.argmax(1) == labels).astype(np.float64),
            "cross_entropy": logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels],
            "confidence": logit_scaled_confidence(logits, labels),
        }
        if name == "forget" and self.settings.attacks and self._sound(model, "neutral"):
            never_seen = logit_scaled_confidence(self.logits[model, "neutral"], self.sets["neutral"].labels)
            # the mean of the shares that each image beats is the area under the curve
            values["membership_auc"] = population_attack(values["confidence"], never_seen)
        if model != "retrained" and self._sound("retrained", name):
            other = self.logits["retrained", name]
            distances = np.linalg.norm(softmax(logits, axis=1) - softmax(other, axis=1), axis=1)
            values["activation_distance"] = distances
            values["prediction_agreement"] = (logits.argmax(1) == other.argmax(1)).astype(np.float64)
        return values

    def _sound(self, model: ModelName, name: SetName) -> bool:
        return self.sound.get((model, name), False)

    def _rows(self, name: SetName, metric: str) -> list[Row]:
        if metric in ATTACKS and (name != "forget" or not self.settings.attacks):
            return []
        asked = self.models
        if "retrained" in CLASSIFIER_METRICS[metric].requires:
            asked = [model for model in asked if model != "retrained" and "retrained" in self.models]
        if metric == "svc_membership":
            return self._svc_rows(asked)
        return [self._per_image_row(model, name, metric) for model in asked]

    def _per_image_row(self, model: ModelName, name: SetName, metric: str) -> Row:
        values = self.per_image[model, name].get(metric)
        if values is None:
            return self._row(model, name, metric, None, self._why_absent(model, name, metric))
        photos = np.arange(len(values))
        if "retrained" in CLASSIFIER_METRICS[metric].requires:
            # the value is a distance to the reference already
            return self._row(
                model,
                name,
                metric,
                figures_of(values, None, photos, self.settings.resampling),
                None,
                "retrained",
            )
        reference = reference_of(model, self.models)
        others = self.per_image[reference, name].get(metric) if reference else None
        figures = figures_of(values, others, photos, self.settings.resampling)
        return self._row(model, name, metric, figures, None, reference if others is not None else None)

    def _svc_rows(self, asked: list[ModelName]) -> list[Row]:
        refusal = self._svc_refusal()
        shares = {model: self._svc(model) for model in asked if not refusal and self._svc_sound(model)}
        rows = []
        for model in asked:
            if model not in shares:
                why = refusal or self._why_absent(model, "forget", "svc_membership")
                rows.append(self._row(model, "forget", "svc_membership", None, why))
                continue
            reference = reference_of(model, list(shares))
            beside = shares[reference] if reference else None
            distance = shares[model] - beside if beside is not None else None
            figures = Figures(shares[model], None, beside, distance, None, None)
            note = "a point value: the attack is trained once"
            rows.append(self._row(model, "forget", "svc_membership", figures, note, reference))
        return rows

    def _svc_sound(self, model: ModelName) -> bool:
        return all(self._sound(model, name) for name in self.sets)

    def _svc_refusal(self) -> str | None:
        if self.proxy_retain:
            return "not available: proxy images stand in for the retain images, and no member of the training is known"
        counts = {name: len(self.sets[name]) if name in self.sets else 0 for name in ("retain", "neutral")}
        few = [f"{count} {name}" for name, count in counts.items() if count < FEWEST_ATTACKED]
        return f"not available: {' and '.join(few)} images, and {FEWEST_ATTACKED} are needed" if few else None

    def _svc(self, model: ModelName) -> float:
        def answers(name: SetName) -> tuple[Values, NDArray[np.int64]]:
            probabilities = softmax(self.logits[model, name], axis=1)
            places = np.arange(len(probabilities))
            if name != "forget" and len(places) > MOST_ATTACKED:
                draws = numpy_draws(self.settings.seed, "svc attack", name)
                places = np.sort(draws.permutation(len(places))[:MOST_ATTACKED])
            return probabilities[places], self.sets[name].labels[places]

        seed = key(self.settings.seed, "svc attack")
        return svc_attack(
            answers("retain"), answers("neutral"), answers("forget"), feature="modified_entropy", seed=seed
        )

    def _why_absent(self, model: ModelName, name: SetName, metric: str) -> str:
        if metric in ATTACKS and "neutral" not in self.sets:
            return "not available: no neutral images, so there is nothing to tell forget images from"
        if not self.sound[model, name] or metric in ATTACKS:
            return "not available: the model answers with infinite or undefined values"
        return "not available: the retrained model answers with infinite or undefined values"

    def _row(
        self,
        model: ModelName,
        name: SetName,
        metric: str,
        figures: Figures | None,
        note: str | None,
        reference: ModelName | None = None,
    ) -> Row:
        info = CLASSIFIER_METRICS[metric]
        f = figures or Figures(np.nan, None, None, None, None, None)
        return Row(
            model=model,
            set=name,
            metric=metric,
            value=f.value if figures else None,
            low=f.interval.low if f.interval else None,
            high=f.interval.high if f.interval else None,
            direction=info.direction(name),
            reference=reference,
            reference_value=f.reference_value,
            distance=f.distance,
            distance_low=f.distance_interval.low if f.distance_interval else None,
            distance_high=f.distance_interval.high if f.distance_interval else None,
            unit=info.unit,
            n=len(self.sets[name]),
            crops=1,
            corruption="none",
            sampler=None,
            extractor=None,
            seed=self.settings.seed,
            note=note or f.note,
        )

    def _worst(self, name: SetName) -> list[Worst]:
        """Images by the fall of confidence, classes by the rise of the error rate; only those that lost."""
        before, after = (self.per_image.get((model, name), {}) for model in ("original", "unlearned"))
        if not before or not after:
            return []
        count, labels = self.settings.worst, self.sets[name].labels
        falls = before["confidence"] - after["confidence"]
        images = [
            Worst(
                name,
                "image",
                self.sets[name].ids[int(place)],
                float(before["confidence"][place]),
                float(after["confidence"][place]),
                None,
                "confidence",
            )
            for place in np.argsort(-falls, kind="stable")[:count]
            if falls[place] > 0
        ]
        classes = []
        for label in np.unique(labels):
            errors = [1 - float(side["accuracy"][labels == label].mean()) for side in (before, after)]
            if errors[1] > errors[0]:
                class_ = self.classes[int(label)]
                classes.append(Worst(name, "class", class_, errors[0], errors[1], None, "error_rate"))
        return images + sorted(classes, key=lambda entry: entry.original - entry.unlearned)[:count]
