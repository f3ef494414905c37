"""Networks of classifiers: names, shapes and laws of their weights, equal draws for equal seeds, committees, blocks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from efface.classifiers.architecture import NetworkSettings
from efface.classifiers.committee import Committee
from efface.classifiers.networks import blocks_of, build, settings_of
from efface.classifiers.own_networks import Convolution, Mlp, ResNet, SmallConv
from efface.errors import InputError
from support.classifier_models import pictures, small, stirred

KINDS = {
    "resnet18": {"network": "resnet18", "classes": 4, "image_size": 16, "stem": "cifar"},
    "small-conv": {"network": "small-conv", "classes": 4, "channels": 1, "image_size": 8, "width": 4},
    "mlp": {"network": "mlp", "classes": 4, "channels": 1, "image_size": 8, "width": 6},
    "committee": {"network": "small-conv", "classes": 4, "image_size": 8, "width": 4, "committee": 3},
}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return set(mine) == set(theirs) and all(torch.equal(mine[name], theirs[name]) for name in mine)


# ResNet-18


@pytest.mark.parametrize(
    ("classes", "stem", "count"),
    [(1000, "imagenet", 11_689_512), (10, "imagenet", 11_181_642), (10, "cifar", 11_173_962)],
)
def test_a_resnet18_has_as_many_parameters_as_published(classes: int, stem: str, count: int) -> None:
    # the first is torchvision's published count; a 3x3 stem has 3 * 64 * (49 - 9) weights less
    with torch.device("meta"):
        assert parameters(ResNet(classes, stem=stem)) == count


def test_a_resnet18_has_the_names_and_shapes_of_torchvision() -> None:
    with torch.device("meta"):
        found = {name: tuple(tensor.shape) for name, tensor in ResNet(10).state_dict().items()}
    statistics = ("weight", "bias", "running_mean", "running_var")
    expected: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}
    expected |= {f"bn1.{part}": (64,) for part in statistics} | {"bn1.num_batches_tracked": ()}
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            start = f"layer{stage}.{block}"
            first = width // 2 if block == 0 and stage > 1 else width
            expected |= {
                f"{start}.conv1.weight": (width, first, 3, 3),
                f"{start}.conv2.weight": (width, width, 3, 3),
            }
            norms = [f"{start}.bn1", f"{start}.bn2"]
            if first != width:
                expected[f"{start}.downsample.0.weight"] = (width, first, 1, 1)
                norms.append(f"{start}.downsample.1")
            for norm in norms:
                expected |= {f"{norm}.{part}": (width,) for part in statistics}
                expected[f"{norm}.num_batches_tracked"] = ()
    expected |= {"fc.weight": (10, 512), "fc.bias": (10,)}
    assert found == expected


def test_convolutions_are_drawn_by_the_law_of_he_for_the_way_back() -> None:
    network = build(NetworkSettings(network="resnet18", classes=10, image_size=32), seed=1)
    for name, convolution in network.named_modules():
        if isinstance(convolution, Convolution):
            weight = convolution.weight
            law = math.sqrt(2 / (weight.shape[0] * weight.shape[2] * weight.shape[3]))
            assert weight.std().item() == pytest.approx(law, rel=5 / math.sqrt(2 * weight.numel())), name
            assert abs(weight.mean().item()) < 5 * law / math.sqrt(weight.numel()), name
            # a normal law has 4.55 % beyond two deviations, a uniform one none
            assert (weight.abs() > 2 * law).float().mean().item() == pytest.approx(0.0455, abs=0.01), name
        if isinstance(convolution, nn.BatchNorm2d):
            assert convolution.weight.eq(1).all()
            assert convolution.bias.eq(0).all()
    assert network.fc.weight.abs().max().item() == pytest.approx(1 / math.sqrt(512), rel=0.01)


def library_names(name: str) -> str:
    """What transformers calls a tensor of torchvision's ResNet-18."""
    parts = name.split(".")
    kinds = {"conv1": "convolution", "bn1": "normalization", "conv2": "convolution", "bn2": "normalization"}
    if parts[0] == "fc":
        return f"classifier.1.{parts[1]}"
    if parts[0] in kinds:
        return f"resnet.embedder.embedder.{kinds[parts[0]]}.{parts[1]}"
    start = f"resnet.encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
    if parts[2] == "downsample":
        return f"{start}.shortcut.{('convolution', 'normalization')[int(parts[3])]}.{parts[4]}"
    return f"{start}.layer.{int(parts[2][-1]) - 1}.{kinds[parts[2]]}.{parts[3]}"


def test_a_resnet18_agrees_with_that_of_transformers() -> None:
    ours = stirred(build(NetworkSettings(network="resnet18", classes=10, image_size=64), seed=2))
    config = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        num_labels=10,
    )
    with torch.device("meta"):
        theirs = ResNetForImageClassification(config)
    renamed = {library_names(name): tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(renamed, strict=True, assign=True)
    images = pictures(2, 64).float() / 127.5 - 1
    with torch.no_grad():
        mine, other = ours.eval()(images), theirs.eval()(images).logits
        assert mine.std() > 0.1
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-5)
        ours.train()
        theirs.train()
        assert torch.allclose(ours(images), theirs(images).logits, rtol=1e-5, atol=1e-5)
    assert torch.allclose(ours.bn1.running_var, theirs.resnet.embedder.embedder.normalization.running_var)


def test_a_cifar_stem_keeps_the_side_of_small_pictures() -> None:
    sides: list[int] = []
    for stem in ("imagenet", "cifar"):
        network = ResNet(4, stem=stem).eval()
        network.layer1.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
        with torch.no_grad():
            network(torch.zeros(1, 3, 32, 32))
    assert sides == [8, 32]


# small networks


@pytest.mark.parametrize(("channels", "width"), [(1, 8), (3, 5)])
def test_a_small_network_has_the_weights_that_its_settings_say(channels: int, width: int) -> None:
    convolutions = 9 * (channels * width + width * 2 * width + 2 * width * 2 * width)
    norms, head = 2 * (width + 2 * width + 2 * width), (2 * width + 1) * 10
    assert parameters(SmallConv(channels, 10, width)) == convolutions + norms + head
    hidden = (channels * 64 + 1) * width + (width + 1) * width
    assert parameters(Mlp(channels, 8, 10, width)) == hidden + (width + 1) * 10


def test_the_blocks_of_a_small_network_halve_the_side_twice() -> None:
    network = SmallConv(1, 10, 4).eval()
    x = torch.rand(2, 1, 8, 8)
    shapes = []
    for block in (network.block1, network.block2, network.block3):
        x = block(x)
        assert (x >= 0).all()
        shapes.append(tuple(x.shape))
    assert shapes == [(2, 4, 8, 8), (2, 8, 4, 4), (2, 8, 2, 2)]


def test_a_small_network_can_be_differentiated_picture_by_picture() -> None:
    """Sensitivities of single examples need `torch.func`, which takes only plain memory layouts."""
    network = small().network
    weights = dict(network.named_parameters())

    def loss(chosen: dict[str, Tensor], image: Tensor) -> Tensor:
        out = torch.func.functional_call(network, chosen, (image[None],))
        return -out.log_softmax(1)[0, 0]

    images = pictures().float() / 255
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, images)
    loss(weights, images[1]).backward()
    assert torch.allclose(each["block1.conv.weight"][1], weights["block1.conv.weight"].grad, atol=1e-6)


def test_a_multilayer_perceptron_is_what_it_says() -> None:
    network = Mlp(1, 2, 2, 2)
    with torch.no_grad():
        network.hidden1.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0]]))
        network.hidden1.bias.zero_()
        network.hidden2.weight.copy_(torch.tensor([[2.0, 0], [-1, 0]]))
        network.hidden2.bias.copy_(torch.tensor([1.0, 0.5]))
        network.head.weight.copy_(torch.tensor([[1.0, 4], [0, 1]]))
        network.head.bias.zero_()
        # hidden1: (3, relu(-5)); hidden2: (2 * 3 + 1, relu(-3 + 0.5)); head: (7, 0)
        assert network(torch.tensor([[[[3.0, 5.0], [9.0, 9.0]]]])).tolist() == [[7.0, 0.0]]


# building


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_build_equal_networks_and_leave_the_global_state_alone(kind: str) -> None:
    settings = NetworkSettings.read(KINDS[kind])
    before = torch.get_rng_state()
    one = build(settings, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert same(one, build(settings, seed=5))
    assert not same(one, build(settings, seed=6))
    assert not one.training
    assert settings_of(one, settings.image_size) == settings


@pytest.mark.parametrize("kind", ["small-conv", "mlp", "committee"])
def test_reinitialising_draws_what_building_draws(kind: str) -> None:
    classifier = small(seed=1, **{**KINDS[kind], "channels": 3})
    settings = settings_of(classifier.network, classifier.image_size)
    assert settings is not None
    assert not same(classifier.network, build(settings, seed=4))
    classifier.reinitialise(4)
    assert same(classifier.network, build(settings, seed=4))


def test_settings_that_do_not_belong_to_the_network_are_refused() -> None:
    for changes, message in (
        ({"network": "resnet18", "width": 32}, "width: a resnet18 has none; leave it out"),
        ({"network": "mlp", "stem": "cifar"}, "stem: only a resnet18 has one, not a mlp"),
        ({"network": "resnet50"}, "'resnet18', 'small-conv', 'mlp' or 'resnet'"),
        ({"network": "mlp", "classes": 1}, "classes: Input should be greater than or equal to 2"),
        ({"network": "mlp", "widht": 1}, "did you mean 'width'?"),
    ):
        with pytest.raises(InputError) as refused:
            NetworkSettings.read({"classes": 10, "image_size": 8, **changes})
        assert message in str(refused.value)


# committees


class Always(nn.Module):
    """The same class probabilities whatever it is shown."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.head = nn.Linear(1, len(probabilities))
        with torch.no_grad():
            self.head.weight.zero_()
            # logits are free up to a constant, which must not weigh a member more
            self.head.bias.copy_(torch.tensor(probabilities).log() + 3 * probabilities[0])

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(images.flatten(1)[:, :1])
        return out


def test_a_committee_predicts_the_mean_softmax_of_its_members() -> None:
    committee = Committee([Always(0.8, 0.2), Always(0.4, 0.6), Always(0.3, 0.7)])
    out = committee(torch.rand(2, 1, 2, 2))
    assert out.shape == (2, 2)
    assert out.exp()[0].tolist() == pytest.approx([0.5, 0.5])


def test_a_committee_of_certain_members_stays_finite() -> None:
    committee = Committee([Always(1 - 1e-7, 1e-7), Always(1e-38, 1.0)])
    out = committee(torch.rand(1, 1, 2, 2))
    assert out.exp()[0].tolist() == pytest.approx([0.5, 0.5])
    out.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in committee.parameters())


def test_the_members_of_a_committee_differ_and_the_first_is_the_network_alone() -> None:
    settings = NetworkSettings.read(KINDS["committee"])
    committee = build(settings, seed=5)
    assert isinstance(committee, Committee)
    assert len(committee.members) == 3
    assert same(
        committee.members[0], build(settings.model_copy(update={"committee": 1, "vote": "mean"}), seed=5)
    )
    assert not same(committee.members[0], committee.members[1])
    alone = Committee(
        [build(settings.model_copy(update={"committee": 1, "vote": "mean"}), seed=seed) for seed in (1, 2)]
    )
    assert settings_of(alone, 8) == settings.model_copy(update={"committee": 2})
    assert settings_of(Committee([SmallConv(3, 4, 4), SmallConv(3, 4, 5)]), 8) is None
    assert settings_of(nn.Linear(2, 2), 8) is None


# blocks


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        ("resnet18", ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")),
        ("small-conv", ("block1", "block2", "block3", "head")),
        ("mlp", ("hidden1", "hidden2", "head")),
        ("committee", ("members.0", "members.1", "members.2", "vote")),
    ],
)
def test_blocks_run_from_input_to_head(kind: str, blocks: tuple[str, ...]) -> None:
    with torch.device("meta"):
        assert blocks_of(build(NetworkSettings.read(KINDS[kind]), seed=0)) == blocks


def test_networks_of_transformers_are_opened_down_to_their_layers() -> None:
    with torch.device("meta"):
        resnet = ResNetForImageClassification(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])
        )
        vit = ViTForImageClassification(
            ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
        )
    stages = tuple(f"resnet.encoder.stages.{number}" for number in range(2))
    assert blocks_of(resnet) == ("resnet.embedder", *stages, "classifier.1")
    found = blocks_of(vit)
    assert found[0] == "vit.embeddings"
    assert found[-1] == "classifier"
    assert len(found) == 5, "embeddings, two layers, the last normalisation, the head"
    for network, blocks in ((resnet, blocks_of(resnet)), (vit, found)):
        held = [
            name for name, _ in network.named_parameters() if name.startswith(tuple(f"{b}." for b in blocks))
        ]
        assert len(held) == len(list(network.parameters()))
        assert isinstance(network.get_submodule(blocks[-1]), nn.Linear)


def test_a_plain_chain_of_layers_has_each_as_a_block() -> None:
    chain = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert blocks_of(chain) == ("1", "3")


def test_weights_outside_of_all_parts_have_no_block() -> None:
    network = Always(0.5, 0.5)
    network.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(InputError, match="Always has weights of its own beside its parts"):
        blocks_of(network)
