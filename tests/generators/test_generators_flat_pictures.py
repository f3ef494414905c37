"""Group norms on flat pictures, whose small variances torch loses on a CPU where channels lie last in memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier
from efface.corruptions import parse_corruption
from efface.group_norms import keep_contiguous
from support.family_training import fresh
from support.mage_models import tiny_mage
from support.tiny_models import draws


def flat(size: int, count: int = 4) -> Tensor:
    """Pictures of one colour each, with the faintest of noise, channels last in memory."""
    rng = torch.Generator().manual_seed(0)
    colours = torch.rand(count, 3, 1, 1, generator=rng)
    pictures = colours + 1e-4 * torch.randn(count, 3, size, size, generator=rng)
    return pictures.clamp(0, 1).contiguous(memory_format=torch.channels_last)


def normed(network: nn.Module) -> list[tuple[nn.GroupNorm, Tensor, Tensor]]:
    """Every group norm that runs from now on, with what it is given and what it makes of it."""
    seen: list[tuple[nn.GroupNorm, Tensor, Tensor]] = []

    def note(module: nn.GroupNorm, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((module, inputs[0].detach(), output.detach()))

    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_hook(note)  # type: ignore[arg-type]
    return seen


def error(module: nn.GroupNorm, inputs: Tensor, output: Tensor) -> float:
    """The largest difference to the same in float64."""
    weight, bias = module.weight.double(), module.bias.double()
    exact = nn.functional.group_norm(
        inputs.double().contiguous(), module.num_groups, weight, bias, module.eps
    )
    return float((exact - output).detach().abs().max())


@pytest.mark.parametrize("family", ["mage", "palette", "latent-inpainting"])
def test_no_group_norm_of_a_family_has_its_channels_last(family: str) -> None:
    generator = fresh(family)
    seen = normed(generator.network.to(memory_format=torch.channels_last))
    images = flat(generator.image_size)
    generator.restore(generator.view(images, parse_corruption("centre:0.5"), draws(len(images))))
    assert seen
    assert all(inputs.is_contiguous() for _, inputs, _ in seen)


def test_group_norms_of_a_classifier_are_right_on_flat_pictures() -> None:
    layers = [nn.Conv2d(3, 8, 3), nn.GroupNorm(8, 8, eps=1e-6), nn.Flatten(), nn.Linear(8 * 14 * 14, 2)]
    nn.init.constant_(layers[0].bias, 3.0)  # type: ignore[arg-type]
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    loose = copy.deepcopy(network)
    classifier = Classifier(network, classes=("a", "b"), image_size=16).eval()
    images, ours, plain = flat(16), normed(network), normed(loose)
    classifier(255 * images)
    loose(images)
    keep_contiguous(loose)
    loose(images)
    assert error(*ours[0]) < 0.01
    assert error(*plain[0]) > 0.05, "torch no longer loses them: efface.group_norms can go"
    assert error(*plain[1]) < 0.01


def test_tokens_and_pictures_of_flat_pictures_are_those_of_float64() -> None:
    generator = tiny_mage(
        image_size=128,
        tokenizer_groups=16,
        tokenizer_patch=1,
        tokenizer_multipliers=[1, 1, 1],
        codebook_size=512,
    )
    nn.init.normal_(generator.network.tokenizer.codebook.weight)
    exact = copy.deepcopy(generator.network.tokenizer).double()
    for images in (flat(128), flat(128).contiguous()):
        tokens = generator.tokens(images)
        vectors = exact.encoder(images.double()).flatten(2).transpose(1, 2)
        assert torch.equal(tokens, torch.cdist(vectors, exact.codebook.weight).argmin(dim=2))
        given = exact.codebook(tokens).transpose(1, 2).unflatten(2, (32, 32))
        torch.testing.assert_close(
            generator.pictures(tokens).double(), exact.decoder(given).clamp(0, 1), atol=1e-3, rtol=0
        )
