"""`kookmin`: the convolution weights on which retain and forget images differ least are drawn anew, and trained.

Follows: Kookmin, a winner of the competition (arXiv:2406.09073), with the settings of its notebook as ported in
github.com/xcadet/deepunlearn (arXiv:2410.01276, which calls it masked small gradients): the gradient of cross-entropy
on as many retain images as there are forget images, less that on the forget images; in each convolution, the 30 % of
weights where it is smallest are drawn from N(0, 2 / fan_out). Then five epochs on the retain images, in which weights
of convolutions that were kept have a tenth of the rate; all others, biases and batch normalisation too, the full one.
Deviations: the code's message speaks of a global ranking, and its lines rank layer by layer; the latter was scored in
the competition and is the default (`ranking`). Gradients are taken in evaluation mode; in the competition's loop they
were in training mode for the first run alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod, labelled_loss
from efface.methods.classifier.layers import convolution_weights, smallest
from efface.randomness import numpy_draws
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes, spans

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from efface.training.classification import Labelled, Work

DRAWN = "kookmin drawn "
"""Before a convolution's name in the memory: where its weights were drawn anew."""


class Kookmin(ClassifierMethod):
    """Draw anew what the forget images do not set apart, and learn it from the retain images."""

    share: float = Field(0.3, gt=0, le=1, description="share of convolution weights that are drawn anew")
    ranking: Literal["layer", "global"] = Field(
        "layer", description="layer: the share of each convolution; global: of all convolutions together"
    )
    epochs: int = Field(5, ge=1, description="epochs on the retain images")
    learning_rate: float = Field(
        1e-3, gt=0, description="learning rate of the middle epoch; it climbs and falls evenly"
    )
    kept_factor: float = Field(
        0.1, ge=0, description="factor of the gradient of convolution weights that were kept"
    )
    weight_decay: float = Field(5e-4, ge=0, description="weight decay, of all weights alike")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "kookmin"
    summary: ClassVar[str] = "convolution weights of the smallest retain-less-forget gradient are drawn anew"
    source: ClassVar[str] = "Kookmin, a winner of the competition, arXiv:2406.09073"
    deviations: ClassVar[str] = "gradients are taken in evaluation mode"
    competition: ClassVar[bool] = True
    as_published: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "share": (0.05, 0.9),
        "learning_rate": (1e-4, 1e-2),
    }

    def passes(self, facts: Facts) -> Passes:
        return [Edit("draw anew", self.draw_anew), *(self._epoch(number) for number in range(self.epochs))]

    def draw_anew(self, work: Work) -> None:
        """Replace the weights of the smallest gradients, and remember which they were."""
        from torch.nn.init import kaiming_normal_

        weights = convolution_weights(work.model, self.name)
        chosen = self.masks(retain_less_forget(work, weights, self.batch_size))
        for name, weight in weights.items():
            draws = work.draws(self.name, name)
            fresh = kaiming_normal_(weight.clone(), mode="fan_out", nonlinearity="relu", generator=draws)
            weight.copy_(fresh.where(chosen[name], weight))
            work.memory[DRAWN + name] = chosen[name]

    def masks(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Where the weights lie that are drawn anew, for each convolution."""
        import torch

        sizes = {name: gradient.abs() for name, gradient in gradients.items()}
        if self.ranking == "layer":
            return {name: smallest(values, self.share) for name, values in sizes.items()}
        chosen = smallest(torch.cat([values.flatten() for values in sizes.values()]), self.share)
        parts = chosen.split([values.numel() for values in sizes.values()])
        return {name: part.view_as(sizes[name]) for name, part in zip(sizes, parts, strict=True)}

    def slow_what_was_kept(self, work: Work) -> None:
        """Scale the gradients of kept convolution weights; weight decay comes on top, unscaled."""
        for name, weight in convolution_weights(work.model, self.name).items():
            if weight.grad is not None:
                weight.grad.copy_(
                    weight.grad.where(work.memory[DRAWN + name], weight.grad * self.kept_factor)
                )

    def _epoch(self, number: int) -> Pass:
        up = (self.epochs + 1) // 2
        factor = (number + 1) / up if number < up else (self.epochs - number) / (self.epochs - up + 1)
        return Pass(
            f"retain {number + 1}",
            labelled_loss,
            {"retain": self.batch_size},
            Optimiser(self.learning_rate * factor, self.weight_decay),
            before_step=self.slow_what_was_kept,
        )


def retain_less_forget(work: Work, weights: Mapping[str, Parameter], batch_size: int) -> dict[str, Tensor]:
    """Gradient of the batches' mean losses on a random part of the retain images, as many as there are forget images,
    less that on the forget images; summed over the batches, in evaluation mode."""
    import torch

    sums = [weight.new_zeros(weight.shape) for weight in weights.values()]
    forget, retain = work.batches("forget", batch_size), _retain_part(work, batch_size)
    with torch.enable_grad():
        for sign, batch in [*((-1, batch) for batch in forget), *((1, batch) for batch in retain)]:
            loss = sign * cross_entropy(work.model(batch.images), batch.labels)
            gradients = torch.autograd.grad(loss, list(weights.values()))
            sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
    return dict(zip(weights, sums, strict=True))


def _retain_part(work: Work, batch_size: int) -> Iterator[Labelled]:
    order = numpy_draws(work.seed, "kookmin retain").permutation(len(work.sets["retain"]))
    places = order[: len(work.sets["forget"])]
    for a, b in spans(len(places), batch_size):
        yield work.batch("retain", places[a:b])
