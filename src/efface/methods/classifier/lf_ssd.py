"""`lf-ssd`: selective synaptic dampening without labels.

Follows: Foster, Schoepf and Brintrup, "Loss-Free Machine Unlearning" (ICLR 2024 Tiny Papers, arXiv:2402.19308): as
`ssd`, but the importance is the mean absolute gradient of the squared norm of the logits.
Deviations: as `ssd`; alpha and lambda are those of `ssd`, as the paper's own choice for each data set was not found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from efface.methods.classifier.ssd import Ssd

if TYPE_CHECKING:
    from torch import Tensor


class LfSsd(Ssd):
    """Dampen the weights to which the output on forget images is most sensitive."""

    name: ClassVar[str] = "lf-ssd"
    summary: ClassVar[str] = "as ssd, with the sensitivity of the output in place of the loss: no labels"
    source: ClassVar[str] = "Foster et al., ICLR 2024 Tiny Papers, arXiv:2402.19308"
    deviations: ClassVar[str] = "alpha and lambda of ssd; batches in an order keyed by the images' ids"
    needs_labels: ClassVar[bool] = False
    power: ClassVar[int] = 1

    def objective(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch of the squared norm of the logits."""
        return logits.square().sum(1).mean()
