"""What every corruption keeps to."""

from __future__ import annotations

from functools import partial

import torch

import efface.testing.models as tiny
from efface.corruptions import Corruption
from efface.corruptions.base import Corrupted
from efface.testing.checking import random_states_kept, refused, require, run_checks, texts_are_given

COUNT = 3


def check_corruption(kind: type[Corruption], examples: tuple[str, ...] | None = None) -> None:
    """Check a corruption, on pictures of 32 px.

    examples: arguments behind `name:` to try it with; default: those of its `usage`. Raises `AssertionError`.
    """
    usage = getattr(kind, "usage", "")
    texts = (
        examples if examples is not None else tuple(part.partition(":")[2] for part in usage.split(" or "))
    )
    checks = [partial(texts_are_given, kind, ("name", "usage", "summary"))]
    for text in texts:
        checks += [
            partial(check, kind, text) for check in (it_reads_back, it_hides_what_it_says, it_is_keyed)
        ]
    run_checks(f"corruption {getattr(kind, 'name', kind.__name__)}", checks)


def it_reads_back(kind: type[Corruption], text: str) -> None:
    """As it is written it reads back to an equal one."""
    made = kind.parse(text)
    name, _, arguments = str(made).partition(":")
    require(name == kind.name, f"'{made}' does not begin with its name, {kind.name}")
    require(str(kind.parse(arguments)) == str(made), f"'{made}' reads back as '{kind.parse(arguments)}'")
    if not kind.paired:
        refused(lambda: kind.parse("no such arguments"), "", "it takes 'no such arguments'")


def it_hides_what_it_says(kind: type[Corruption], text: str) -> None:
    """What may be seen is the picture where it is known, and does not tell of what is hidden."""
    corruption, images = kind.parse(text), tiny.pictures(COUNT)
    before = images.clone()
    found = _applied(corruption)
    require(torch.equal(images, before), "it changes the pictures")
    shape = (COUNT, 1, tiny.SIZE, tiny.SIZE)
    for name, mask in (("known", found.known), ("region", found.region)):
        require(
            mask.shape == shape and mask.dtype == torch.bool,
            f"{name} must be bool {shape}, is {mask.dtype} {tuple(mask.shape)}",
        )
    require(
        found.condition.shape == images.shape, f"the condition has the shape {tuple(found.condition.shape)}"
    )
    low, high = float(found.condition.min()), float(found.condition.max())
    stays = 0 <= low <= high <= 1
    require(stays or not corruption.stays_in_range, f"the condition holds values from {low:g} to {high:g}")
    require(
        found.touched.shape == (COUNT, tiny.GRID, tiny.GRID),
        f"touched has the shape {found.touched.shape}",
    )
    if not corruption.hides:
        require(not found.known.any(), "it shows another picture, and calls pixels known")
        return
    require(
        found.region.flatten(1).any(1).all(), f"'{corruption}' hides nothing of a picture of {tiny.SIZE} px"
    )
    known = found.known.expand_as(images)
    require(torch.equal(found.condition[known], images[known]), "a known pixel is not the picture's")
    require(not (found.known & found.region).any(), "a pixel is both known and to be restored")
    swapped = torch.where(known, images, 1 - images)
    again = corruption.apply(swapped, tiny.GRID, tiny.draws(COUNT)).condition
    require(torch.equal(again, found.condition), "what may be seen depends on hidden pixels")


def it_is_keyed(kind: type[Corruption], text: str) -> None:
    """Its draws are keyed by image and visit."""
    corruption = kind.parse(text)
    with random_states_kept():
        first, again, moved = _applied(corruption), _applied(corruption), _applied(corruption, visit=1)
    require(torch.equal(first.condition, again.condition), "the same draws give something else")
    differs = not torch.equal(first.known, moved.known) or not torch.equal(first.condition, moved.condition)
    said = corruption.is_random
    require(
        differs == said,
        f"is_random is {said}, and another visit gives {'another' if differs else 'the same'} view",
    )


def _applied(corruption: Corruption, visit: int = 0) -> Corrupted:
    condition = tiny.pictures(COUNT, seed=9) if corruption.paired else None
    return corruption.apply(tiny.pictures(COUNT), tiny.GRID, tiny.draws(COUNT, visit=visit), condition)
