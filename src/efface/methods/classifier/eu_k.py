"""`eu-k`: the last k blocks are drawn anew and trained on the retain images; all before them stays.

Follows: exact unlearning of the last k layers, Goel et al., arXiv:2201.06640: fresh weights in these layers alone, trained
for as long as the original. The recipe is the original's own; k = 2 as in Kurmanji et al., arXiv:2302.09880.
Deviations: k counts the blocks of the classifier, the head as the last. Blocks that do not train are in evaluation mode
(see `cf-k`). `share` shortens the training. The name's "exact" holds for the last blocks only: those before them have seen
the forget images, and the claim is `empirical`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.cf_k import Statistics, last_blocks, only_blocks
from efface.training.passes import Edit, Facts, Passes, training_pass

if TYPE_CHECKING:
    from efface.training.classification import Work


class EuK(ClassifierMethod):
    """Draw the last blocks anew and train them as the original was trained."""

    k: int = Field(2, ge=1, description="how many blocks are new, counted from the end; the head is the last")
    share: float = Field(1.0, gt=0, description="epochs as a share of the recipe's")
    statistics: Statistics = Field(
        "frozen", description="of blocks that do not train: frozen, or follow: their batch statistics move"
    )

    name: ClassVar[str] = "eu-k"
    summary: ClassVar[str] = "the last k blocks are drawn anew and trained on the retain images"
    source: ClassVar[str] = "Goel et al., arXiv:2201.06640"
    deviations: ClassVar[str] = "k counts blocks; batch statistics of blocks that do not train stay"
    needs_forget: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {"share": (0.03, 1.0)}
    reads_recipe: ClassVar[bool] = True

    def passes(self, facts: Facts) -> Passes:
        blocks = last_blocks(facts, self.k, self.name)
        whole = training_pass(facts.recipe, "retain")
        shorter = replace(whole, epochs=facts.recipe.epochs * self.share)
        return [
            Edit("fresh blocks", partial(renew, blocks)),
            only_blocks(shorter, blocks, self.statistics),
        ]


def renew(blocks: tuple[str, ...], work: Work) -> None:
    """Draw weights and statistics of these blocks anew."""
    work.model.reinitialise(work.seed, blocks)
