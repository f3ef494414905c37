"""What a method does to a classifier: edits and passes, all laid down before the first step. Imports no torch.

Because the list is a function of settings and set sizes alone, its cost is known before it runs, and a run that was
killed goes on at the very step. `training.classification` carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from efface.training.losses import cross_entropy
from efface.training.settings import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from efface.classifiers.classifier import Classifier
    from efface.training.classification import Labelled, Work


@dataclass(frozen=True)
class Facts:
    """What a method knows when it lays down its passes.

    sizes: images of each set (`forget`, `retain`, `validation`); classes: how many; blocks: the classifier's, from input
    to output; recipe: how the original was trained; seed: of unlearning. base: the model from which the original was
    trained on, with its classes, where one is named.
    """

    sizes: Mapping[str, int]
    classes: int
    blocks: tuple[str, ...]
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    base: Classifier | None = None


@dataclass(frozen=True)
class Optimiser:
    """SGD with momentum, or Adam; weight decay is added to the gradient.

    Passes that name the same one go on with its moments; a new name starts afresh.
    """

    learning_rate: float
    weight_decay: float = 5e-4
    momentum: float = 0.9
    kind: Literal["sgd", "adam"] = "sgd"
    name: str = "main"


Schedule = Callable[[float], float]
"""Factor of the learning rate at a share of the pass, from 0 (first step) to below 1."""


def constant(share: float) -> float:
    """The learning rate as it is."""
    return 1.0


def cosine(least: float = 0.0, part: int = 0, of: int = 1) -> Schedule:
    """Half a cosine from 1 to `least`; this pass is number `part` of `of` equal ones that share it."""

    def factor(share: float) -> float:
        return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * (part + share) / of))

    return factor


@dataclass(frozen=True)
class Edit:
    """A change of the weights at once: `apply(work)`. Gradients are off unless it turns them on.

    It computes first and changes the weights at its end: where its time runs out meanwhile, it leaves them as they were.
    A loop that takes no batches of `work` calls `work.check_time()` in each round.

    rebuilds: whether it changes which weights there are, so that a resumed run must do it again first.
    preparation: whether it stands for what was done before the deletion request, and is not counted as unlearning.
    """

    name: str
    apply: Callable[[Work], None]
    rebuilds: bool = False
    preparation: bool = False


@dataclass(frozen=True)
class Pass:
    """Training on batches of one or several sets.

    loss: a scalar from `(work, batches)`. streams: batch size of each set; an epoch is one pass over the first, the
    others start again when they end. epochs may be broken: 3.2 is `int(3.2 * steps of an epoch)` steps.
    trained: names of the weights that change (None: all); statistics of batch normalisation follow the images in mode
    `train`, and stay as they are in mode `eval`, which also turns dropout off. Where a stream has a single image in a
    batch, which has no variance, batch normalisation takes its running statistics for that step, in mode `train` too.
    before_step, after_step: called between gradient and step, and after the step.
    augment: as the recipe says, on every stream. preparation: as of `Edit`.
    """

    name: str
    loss: Callable[[Work, Mapping[str, Labelled]], Tensor]
    streams: Mapping[str, int]
    optimiser: Optimiser
    epochs: float = 1.0
    schedule: Schedule = constant
    trained: Callable[[Classifier], Iterable[str]] | None = None
    mode: Literal["train", "eval"] = "train"
    before_step: Callable[[Work], None] | None = None
    after_step: Callable[[Work], None] | None = None
    augment: bool = False
    preparation: bool = False

    def steps(self, sizes: Mapping[str, int]) -> int:
        """Optimizer steps, at least one."""
        leader = next(iter(self.streams))
        return max(1, int(self.epochs * len(spans(sizes[leader], self.streams[leader])) + 1e-9))


Passes = Sequence[Edit | Pass]


def training_pass(recipe: Recipe, stream: str, name: str = "train") -> Pass:
    """Training by the recipe on one set."""

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        batch = batches[stream]
        return cross_entropy(work.model(batch.images), batch.labels, work.class_weights)

    return Pass(
        name,
        loss,
        {stream: recipe.batch_size},
        Optimiser(recipe.learning_rate, recipe.weight_decay, kind=recipe.optimizer, name=name),
        recipe.epochs,
        cosine() if recipe.schedule == "cosine" else constant,
        augment=True,
    )


def spans(count: int, batch_size: int) -> list[tuple[int, int]]:
    """First and last place of each batch of an epoch; a single image left over joins the batch before it.

    Batch normalisation cannot work on a single image of a single pixel; a set of one image is a batch all the same.

    >>> spans(9, 4), spans(3, 8)
    ([(0, 4), (4, 9)], [(0, 3)])
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]


@dataclass(frozen=True)
class Cost:
    """Optimizer steps, and images that go forward and backward in them, without preparation."""

    steps: int
    images: int


def cost_of(passes: Passes, sizes: Mapping[str, int]) -> Cost:
    """What the passes will cost, before any of them runs. Edits are not counted."""
    steps = images = 0
    for one in passes:
        if isinstance(one, Pass) and not one.preparation:
            count = one.steps(sizes)
            steps += count
            for stream, batch_size in one.streams.items():
                lengths = [b - a for a, b in spans(sizes[stream], batch_size)]
                rounds, rest = divmod(count, len(lengths))
                images += rounds * sum(lengths) + sum(lengths[:rest])
    return Cost(steps, images)
