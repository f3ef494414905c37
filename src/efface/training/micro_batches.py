"""Into how many micro-batches a step is cut, for generators and classifiers: as asked for, and more where memory ends."""

from __future__ import annotations

from torch import nn

from efface.errors import InputError, Stopped
from efface.memory import release_memory, room
from efface.recomputing import normalises_by_batch
from efface.training.settings import StepMemory

BY_BATCH = (
    "this network has batch normalisation, which takes mean and variance of all images of a step: of micro-batches they "
    "would be others, and so would the method"
)


def refuse_micro_batches(network: nn.Module, settings: StepMemory) -> None:
    """Raise `InputError` where the network, when it trains, computes something else in parts."""
    if settings.gradient_accumulation > 1 and normalises_by_batch(network, training=True):
        raise InputError(
            f"training.gradient_accumulation: {BY_BATCH}. Take training.activation_checkpointing, which needs no parts"
        )


def more_micro_batches(network: nn.Module, count: int, images: int, processes: int = 1) -> int:
    """Twice as many after memory ended; raises `Stopped` where that cannot help.

    images: of one step in this process.
    """
    if count >= images or processes > 1 or normalises_by_batch(network):
        why = (
            "the other processes cannot follow: give training.gradient_accumulation"
            if processes > 1
            else "a step of a single image is the least"
            if count >= images
            else BY_BATCH
        )
        raise Stopped(
            f"stopped: memory does not suffice for a step in {count} micro-batch{'es' * (count > 1)}, and more cannot be "
            f"taken: {why}. Give training.activation_checkpointing, or another device (--device)"
        )
    room().note(
        f"memory ended in a step of training: from here on each batch goes in {2 * count} micro-batches "
        f"(training.gradient_accumulation={2 * count}), with the same loss and gradient"
    )
    release_memory()
    return 2 * count
