"""Networks from their settings and back, committees of them, and the blocks of any network."""

from __future__ import annotations

import torch
from torch import nn

from efface.classifiers.architecture import RESNETS, NetworkSettings, ResNetShape
from efface.classifiers.committee import Committee
from efface.classifiers.own_networks import Mlp, ResNet, SmallConv
from efface.errors import InputError
from efface.randomness import key


def build(settings: NetworkSettings, seed: int) -> nn.Module:
    """An untrained network in evaluation mode. The global random state is left as it was.

    The same as `Classifier.reinitialise(seed)` makes of any network of these settings.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the accelerators too, which nothing sets back
        torch.default_generator.manual_seed(key(seed, "initialise"))
        members = [_single(settings) for _ in range(settings.committee)]
    network = members[0] if settings.committee == 1 else Committee(members, settings.vote)
    return network.eval()


def settings_of(network: nn.Module, image_size: int) -> NetworkSettings | None:
    """The settings with which `build` makes a network like this one; None if it is none of efface's own."""
    if isinstance(network, Committee):
        alike = {settings_of(member, image_size) for member in network.members}
        one = alike.pop() if len(alike) == 1 else None
        if one is None or one.committee > 1:
            return None
        return one.model_copy(update={"committee": len(network.members), "vote": network.vote.kind})
    if type(network) is ResNet:
        shape = ResNetShape(
            stages=network.stages,
            planes=network.planes,
            inner=network.inner,
            groups=network.groups,
            shortcut=network.shortcut,
        )
        return NetworkSettings(
            network="resnet18" if shape == ResNetShape() else "resnet",
            classes=network.fc.out_features,
            channels=network.conv1.in_channels,
            image_size=image_size,
            stem=network.stem,
            resnet=shape,
        )
    if type(network) is SmallConv:
        first = network.block1.conv
        return NetworkSettings(
            network="small-conv",
            classes=network.head.out_features,
            channels=first.in_channels,
            image_size=image_size,
            width=first.out_channels,
        )
    if type(network) is Mlp:
        return NetworkSettings(
            network="mlp",
            classes=network.head.out_features,
            channels=network.channels,
            image_size=network.image_size,
            width=network.head.in_features,
        )
    return None


def blocks_of(network: nn.Module) -> tuple[str, ...]:
    """Names of a network's parts from input to output, the last of them its head; together they hold all weights.

    A network of transformers or timm is opened down to the first list of layers or stages on each way; each of these is
    a block. The order is that in which the parts were registered, which is the way through in such networks.
    Raises `InputError` where weights belong to no part.
    """
    if isinstance(network, ResNet):
        return network.blocks
    if isinstance(network, Committee):
        return (*(f"members.{number}" for number in range(len(network.members))), "vote")
    blocks = _opened(network, "")
    if not blocks or not blocks[0]:
        raise InputError(
            f"{type(network).__name__} has weights of its own beside its parts: its blocks cannot be told apart"
        )
    while (parts := _parts(network.get_submodule(blocks[-1]))) and not _own(
        network.get_submodule(blocks[-1])
    ):
        blocks = [*blocks[:-1], *(f"{blocks[-1]}.{name}" for name in parts)]
    return tuple(blocks)


def _single(settings: NetworkSettings) -> nn.Module:
    if settings.network in RESNETS:
        shape = settings.resnet
        return ResNet(
            settings.classes,
            settings.channels,
            settings.stem,
            stages=shape.stages,
            planes=shape.planes,
            inner=shape.inner,
            groups=shape.groups,
            shortcut=shape.shortcut,
        )
    if settings.network == "small-conv":
        return SmallConv(settings.channels, settings.classes, settings.width)
    return Mlp(settings.channels, settings.image_size, settings.classes, settings.width)


def _opened(module: nn.Module, name: str) -> list[str]:
    """The blocks of what lies at `name`: itself, or those of its parts where there is a list of layers in it."""
    parts = _parts(module)
    below = {part: f"{name}.{part}" if name else part for part in parts}
    if not _own(module) and _is_list(module):
        return list(below.values())
    inside = any(_is_list(part) for part in module.modules())
    if _own(module) or (name and not inside):
        return [name]
    return [block for part, module in parts.items() for block in _opened(module, below[part])]


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.Sequential) and bool(_parts(module))


def _parts(module: nn.Module) -> dict[str, nn.Module]:
    return {name: child for name, child in module.named_children() if any(True for _ in child.parameters())}


def _own(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))
