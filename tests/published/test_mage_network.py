"""The released layout: the same numbers as the released code, also after saving, and the full-size names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from efface.corruptions import Corrupted
from efface.generators.mage.family import SIZES, MageSettings
from efface.generators.mage.generator import MageGenerator, MageView
from efface.generators.mage.network import MageConfig, MageModel
from efface.generators.mage.released import (
    converted_model,
    converted_tokenizer,
    model_sizes,
    token_grid,
    tokenizer_sizes,
)
from support.mage_models import opened
from support.published import FOLDER
from support.published import arrays as published
from support.tiny_models import draws

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in published("mage.npz").items()}


def loaded(arrays: dict[str, Tensor], **options: object) -> MageGenerator:
    heads = {"heads": int(arrays["num_heads"]), "decoder_heads": int(arrays["decoder_num_heads"])}
    return opened(FOLDER / "mage.pth", **heads, **options)


def view_with(generator: MageGenerator, arrays: dict[str, Tensor]) -> MageView:
    """The view with the release's own masks; their first column is the class position."""
    images, tokens = arrays["image"], generator.tokens(arrays["image"])
    hidden = arrays["token_mask"][:, 1:].bool()
    kept = torch.stack([(row == 0).nonzero().flatten() for row in arrays["drop_mask"]])
    known = torch.zeros(len(images), 1, 256, 256, dtype=torch.bool)
    corrupted = Corrupted(images, known, ~known, hidden.view(-1, 16, 16).numpy())
    return MageView(images, corrupted, draws(len(images)), tokens, tokens, hidden, kept)


@torch.no_grad()
def check(generator: MageGenerator, arrays: dict[str, Tensor]) -> None:
    def same(one: Tensor, name: str) -> None:
        torch.testing.assert_close(one, arrays[name], atol=TOLERANCE, rtol=0)

    seen = view_with(generator, arrays)
    assert torch.equal(seen.tokens, arrays["token_ids"])
    (latent,) = generator.encode(seen)
    same(latent, "latent")
    whole = generator.network.decode(latent, seen.hidden, seen.kept, whole_vocabulary=True)
    same(whole[:1], "logits")
    prediction = generator.decode((latent,), seen)
    assert torch.equal(prediction.argmax(dim=-1), whole[:, 1:, :64].argmax(dim=-1))
    same(generator.prediction_loss(prediction, seen.tokens, seen).mean(), "loss")
    same(generator.network.tokenizer.pictures(seen.tokens[:1]), "decoded")


@pytest.mark.parametrize("tied", [None, True])
def test_a_released_checkpoint_gives_the_released_numbers(
    arrays: dict[str, Tensor], tied: bool | None
) -> None:
    check(loaded(arrays, tied=tied), arrays)


def test_so_it_does_with_the_stand_alone_tokenizer(arrays: dict[str, Tensor]) -> None:
    check(loaded(arrays, tokenizer=str(FOLDER / "mage-vqgan.pth")), arrays)


def test_so_it_does_after_saving_and_opening_with_the_plain_class(
    arrays: dict[str, Tensor], tmp_path: Path
) -> None:
    generator = loaded(arrays)
    generator.save_pretrained(tmp_path)
    plain = MageGenerator(MageModel.from_pretrained(tmp_path))
    check(plain, arrays)
    assert plain.weights_digest() == generator.weights_digest() == opened(tmp_path).weights_digest()


def full_size() -> dict[str, Tensor]:
    """The full-size release's tensors without their values, from the list in which repeated ones are folded."""
    tensors = {}
    for line in (FOLDER / "layout-mage-full-size.txt").read_text().splitlines():
        if found := re.fullmatch(r"(\S+) \[([\d, ]+)\](?: i=(\S+)(?: \((\d+)\))?)?", line):
            shape = [int(number) for number in found[2].split(",")]
            for numbers in places(found[3] or "", int(found[4] or 0)):
                name = found[1]
                for number in numbers:
                    name = name.replace("{i}", number, 1)
                tensors[name] = torch.empty(shape, device="meta")
    return tensors


def places(text: str, count: int) -> list[list[str]]:
    """`0,1` or `0..11`, or pairs `0.0,1.1` or `0.0..2.0` of a level and one of its two blocks."""
    if ".." not in text:
        return [place.split(".") for place in text.split(",")]
    first, last = (place.split(".") for place in text.split(".."))
    if len(first) == 1:
        every = [[str(number)] for number in range(int(first[0]), int(last[0]) + 1)]
    else:
        pairs = [(level, block) for level in range(5) for block in range(2)]
        low, high = (pairs.index((int(place[0]), int(place[1]))) for place in (first, last))
        every = [[str(level), str(block)] for level, block in pairs[low : high + 1]]
    assert len(every) == count
    return every


def test_every_tensor_of_the_full_size_release_has_its_place_and_shape() -> None:
    tensors = full_size()
    inner = {
        name.removeprefix("vqgan."): value for name, value in tensors.items() if name.startswith("vqgan.")
    }
    model = {name: value for name, value in tensors.items() if not name.startswith("vqgan.")}
    sizes = tokenizer_sizes(inner) | model_sizes(model, MageSettings(path="vitb.pth"))
    given = converted_tokenizer(inner) | converted_model(model)
    with torch.device("meta"):
        network = MageModel(MageConfig(**sizes, image_size=16 * token_grid(model), tied=True))
    wanted = network.state_dict()
    assert {name: tuple(value.shape) for name, value in given.items()} == {
        name: tuple(value.shape) for name, value in wanted.items()
    }
    base = SIZES["base"]
    told = {"multipliers": "tokenizer_multipliers", "heads": "heads", "decoder_heads": "decoder_heads"}
    for name in (
        *told.values(),
        "codebook_size",
        "code_dimension",
        "tokenizer_blocks",
        "layers",
        "hidden_size",
    ):
        stored = sizes[name]
        assert (list(stored) if isinstance(stored, tuple) else stored) == base[name]
