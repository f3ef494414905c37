"""What a method for classifiers is: typed settings, declared traits, and the edits and passes that it lays down.

Method files import no torch: losses call tensors' own methods and `training.losses`; an edit that needs torch imports
it in its function.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from efface.methods.base import Kind, Method
from efface.training.losses import cross_entropy
from efface.training.passes import Facts, Passes
from efface.training.settings import StatisticsChoice

if TYPE_CHECKING:
    from torch import Tensor

    from efface.classifiers.classifier import Classifier
    from efface.images.labelled import LabelledImages
    from efface.training.classification import Labelled, PassesReport, Work
    from efface.training.settings import StepMemory


class ClassifierMethod(Method):
    """A method for classifiers. Subclasses declare their traits and give `passes`.

    Sets: `forget` and `retain` are always there, `validation` if `uses_validation`.
    """

    kind: ClassVar[Kind] = "classifier"
    needs_validation: ClassVar[bool] = False
    """Whether it uses images that were in neither set, whatever its settings."""
    reads_recipe: ClassVar[bool] = False
    """Whether it trains as the original was trained."""
    rebuilds: ClassVar[bool] = False
    """Whether it delivers a network of another make than the one it was given: only of efface's own can these be saved."""
    like_for_like: ClassVar[bool] = True
    """Whether its models are of the retrained models' kind, so that scores compare like with like."""
    needs_labels: ClassVar[bool] = True
    """Whether it reads the labels of the images that it uses."""
    needs_original: ClassVar[bool] = False
    """Whether it asks the frozen original while it trains."""
    as_published: ClassVar[bool] = False
    """Whether its defaults are the settings of its authors' code, as a port of it has them."""
    competition: ClassVar[bool] = False
    """Whether it was an entry to the first NeurIPS unlearning competition."""

    @property
    def uses_validation(self) -> bool:
        """Whether it uses validation images with these settings."""
        return self.needs_validation

    @abstractmethod
    def passes(self, facts: Facts) -> Passes:
        """What is done, in order: a function of settings, set sizes and recipe alone."""

    def own_sets(self, sets: Mapping[str, LabelledImages], facts: Facts) -> dict[str, LabelledImages]:
        """Further sets that its passes name, made of the given ones."""
        return {}


def labelled_loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    """Plain cross-entropy on the retain batch, as most methods use."""
    batch = batches["retain"]
    return cross_entropy(work.model(batch.images), batch.labels)


def unlearn_classifier(
    classifier: Classifier,
    method: ClassifierMethod,
    sets: Mapping[str, LabelledImages],
    facts: Facts,
    *,
    limit: float | None = None,
    memory: StepMemory | None = None,
    statistics: StatisticsChoice = "auto",
) -> tuple[Classifier, PassesReport]:
    """A new classifier that has gone through `method`, and what was done; the given one stays as it was.

    sets: `forget`, `retain` and, where the method needs it, `validation`. limit: seconds after which it stops where it
    is. memory: what a step may hold. statistics: of batch normalisation, as in `run_passes`. Raises one `InputError` for
    all that does not fit, and `Stopped` where a loss is not finite.
    """
    from efface.training.classification import run_passes

    check_sets(method, sets, len(classifier.classes))
    model = classifier.copy()
    everything, facts = with_own_sets(method, sets, facts)
    report = run_passes(
        model, method.passes(facts), everything, facts, limit=limit, memory=memory, statistics=statistics
    )
    return model, report


def with_own_sets(
    method: ClassifierMethod, sets: Mapping[str, LabelledImages], facts: Facts
) -> tuple[dict[str, LabelledImages], Facts]:
    """The sets with those that the method makes of them, and the facts with the sizes of all."""
    everything = {**sets, **method.own_sets(sets, facts)}
    return everything, replace(facts, sizes={name: len(images) for name, images in everything.items()})


def check_sets(method: ClassifierMethod, sets: Mapping[str, LabelledImages], classes: int) -> None:
    """Raise one `InputError` if the sets are not what the method needs."""
    from efface.errors import Faults

    needed = ["forget", "retain", *(["validation"] if method.uses_validation else [])]
    with Faults(f"{method.name} cannot run on these sets") as faults:
        for name in needed:
            if name not in sets or len(sets[name]) == 0:
                faults.add(f"{name}: no images; {method.name} needs some")
        for name, images in sets.items():
            if len(images) and int(images.labels.max()) >= classes:
                faults.add(f"{name}: label {int(images.labels.max())}, but the model has {classes} classes")
        held = [set(sets[name].ids) for name in ("forget", "retain") if name in sets]
        if len(held) == 2 and held[0] & held[1]:
            faults.add(f"{len(held[0] & held[1])} images are in both forget and retain")
