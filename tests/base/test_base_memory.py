"""Batches follow the size of pictures, and become smaller where memory ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier, logits_of
from efface.errors import Stopped
from efface.images.labelled import LabelledImages
from efface.memory import PIXELS, Room, fitting, images_at_once, in_batches, is_out_of_memory, within


class Narrow(nn.Module):
    """A network with room for `most` pictures at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.batches = most, list[int]()
        self.layer = nn.Linear(12, 3)

    def forward(self, pictures: Tensor) -> Tensor:
        if len(pictures) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.batches.append(len(pictures))
        return self.layer(pictures.flatten(1))  # type: ignore[no-any-return]


def labelled(count: int) -> LabelledImages:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 3, 2, 2)).astype(np.uint8)
    return LabelledImages(pixels, np.zeros(count, np.int64), tuple(str(number) for number in range(count)))


def narrow(most: int) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Narrow(most), classes=("a", "b", "c"), image_size=2, channels=3, blocks=("layer",))


@pytest.mark.parametrize(
    ("side", "count"), [(28, 512), (64, 512), (79, 512), (224, 64), (512, 12), (2048, 1)]
)
def test_the_usual_bound_by_hand(side: int, count: int) -> None:
    assert images_at_once(512, side) == count


def test_small_pictures_go_in_the_batches_that_are_asked_for_and_large_ones_in_smaller_ones() -> None:
    def sizes(side: int) -> list[int]:
        return list(in_batches(600, 512, side, len))

    assert sizes(32) == [512, 88]
    with within(Room(4 * 32 * 32)):
        assert sizes(32) == [4] * 150
    assert sizes(224) == [64] * 9 + [24]


def test_a_batch_that_does_not_fit_is_halved_and_no_later_one_is_as_large() -> None:
    model, told = narrow(most=5), list[str]()
    images = labelled(40)
    with within(Room(tell=told.append)) as room:
        found = logits_of(model, images, batch_size=16)
        assert model.network.batches == [4] * 10
        logits_of(model, images, batch_size=16)
    assert model.network.batches == [4] * 20
    assert told == room.notes
    assert [note.partition(":")[0] for note in told] == [
        "memory ended at a batch of 16 images of 2 px",
        "memory ended at a batch of 8 images of 2 px",
    ]
    assert room.pixels == 4 * 2 * 2
    np.testing.assert_allclose(found, logits_of(narrow(most=99), images), atol=1e-6)


def test_results_keep_their_order_when_a_batch_is_cut() -> None:
    def least(part: range) -> list[int]:
        if len(part) > 3:
            raise MemoryError
        return list(part)

    with within(Room()):
        parts = list(fitting([range(0, 10), range(10, 17)], 1, least))
    assert [number for part in parts for number in part] == list(range(17))


def test_no_memory_for_a_single_image_stops_with_a_way_out() -> None:
    with within(Room()), pytest.raises(Stopped, match=r"single image of 2 x 2 pixels.*--device cpu"):
        logits_of(narrow(most=0), labelled(3))


def test_other_errors_pass() -> None:
    def broken(part: range) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_batches(3, 3, 8, broken))


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                      "tried to allocate 400000000000000 bytes. Error code 12 (Cannot allocate memory)"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.6 GiB)"), True),
        (MemoryError(), True),
        (RuntimeError("expected scalar type Float but found Half"), False),
        (ValueError("out of memory of what was said"), False),
    ],
)  # fmt: skip
def test_what_counts_as_the_end_of_memory(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_torch_says_so_in_these_words_on_a_cpu() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


def test_outside_of_jobs_the_usual_bound_holds() -> None:
    assert images_at_once(10**9, 1) == PIXELS
