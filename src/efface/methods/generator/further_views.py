"""Further views for targets: other pixels under the mask and the draws of a view, and what a view shows.

Shared by the methods whose targets are the original's answers to other pictures. Knows no family: a corruption that
hides pixels shows the others; one that hides nothing shows another picture in full.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from efface.corruptions.base import HIDDEN_GREY

if TYPE_CHECKING:
    from torch import Tensor

    from efface.corruptions import Corruption
    from efface.generators.base import Generator, View


def shown(view: View) -> tuple[Tensor, Tensor]:
    """What is seen of each image: pictures `[B, 3, H, W]` in [0, 1], and which of their pixels, bool `[B, 1, H, W]`.

    The known pixels, or all pixels of the condition where none is known.
    """
    known = view.corrupted.known
    nowhere = ~known.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    return view.corrupted.condition, known | nowhere


def further_view(
    student: Generator, corruption: Corruption, view: View, images: Tensor, condition: Tensor
) -> View:
    """A view of `images` `[B, 3, H, W]` in [0, 1] with the mask and every draw of `view`, which stays as it is.

    condition: what is shown in their place, of the same shape and range, by a corruption that hides nothing.
    """
    corrupted = view.corrupted
    if corruption.hides:
        condition = images.masked_fill(~corrupted.known, HIDDEN_GREY)
    return student.make_view(
        images, corruption, replace(corrupted, condition=condition), view.draws, codes=None
    )
