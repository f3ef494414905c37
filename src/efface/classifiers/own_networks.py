"""efface's own networks: ResNets, and small ones of which hundreds can be trained on a processor.

ResNets (He et al., CVPR 2016, table 1) have the tensor names, shapes and initialisation of torchvision's. Wide ones and
ResNeXts (Xie et al., CVPR 2017) differ by what lies inside their bottleneck blocks, those for CIFAR (section 4.2) by three
stages and shortcuts without weights.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

EXPANSION = 4
"""Of a bottleneck block: channels that it gives for each one of its stage."""
Stem = Literal["imagenet", "cifar"]
Shortcut = Literal["convolution", "padding"]


class Convolution(nn.Conv2d):
    """A convolution without bias, drawn from N(0, 2 / fan_out) (He et al., ICCV 2015, equation 14)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")


class Padding(nn.Module):
    """A shortcut without weights: every second pixel, and zeros for the new channels, half of them before the others."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: Tensor) -> Tensor:
        first = self.more // 2
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, first, self.more - first))


def _shortcut(inputs: int, outputs: int, stride: int, kind: Shortcut) -> nn.Module | None:
    """What stands beside a block whose shape changes."""
    if stride == 1 and inputs == outputs:
        return None
    if kind == "padding":
        return Padding(outputs - inputs, stride)
    return nn.Sequential(Convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut = "convolution") -> None:
        super().__init__()
        self.conv1 = Convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = Convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 (which has the stride, as in torchvision) and 1x1 beside a shortcut."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, stride: int, groups: int, shortcut: Shortcut
    ) -> None:
        super().__init__()
        self.conv1 = Convolution(inputs, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = Convolution(inner, inner, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = Convolution(inner, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """Logits `[B, classes]` of pictures `[B, channels, H, W]` of any size; a ResNet-18 by default.

    stem: `imagenet` begins with a 7x7 convolution and a 3x3 max-pooling, both of stride 2; `cifar` with one
    3x3 convolution of stride 1, as is usual for pictures of 32 px. stages: blocks of each. planes: channels of the first
    stage, doubled by each later one. inner: channels inside the first stage's bottleneck blocks; None: basic blocks.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        stem: Stem = "imagenet",
        *,
        stages: tuple[int, ...] = (2, 2, 2, 2),
        planes: int = 64,
        inner: int | None = None,
        groups: int = 1,
        shortcut: Shortcut = "convolution",
    ) -> None:
        super().__init__()
        self.stem, self.stages, self.planes, self.inner = stem, stages, planes, inner
        self.groups, self.shortcut = groups, shortcut
        self.conv1 = Convolution(channels, planes, *((7, 2) if stem == "imagenet" else (3, 1)))
        self.bn1 = nn.BatchNorm2d(planes)
        width = planes
        for number, depth in enumerate(stages):
            stage: list[nn.Module] = []
            for first in (True, *(False,) * (depth - 1)):
                stride, outputs = 2 if number and first else 1, planes * 2**number
                if inner is None:
                    stage.append(BasicBlock(width, outputs, stride, shortcut))
                else:
                    inside, outputs = inner * 2**number, EXPANSION * outputs
                    stage.append(Bottleneck(width, inside, outputs, stride, groups, shortcut))
                width = outputs
            self.add_module(f"layer{number + 1}", nn.Sequential(*stage))
        self.fc = nn.Linear(width, classes)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Its parts from input to output."""
        return ("conv1", "bn1", *(f"layer{number + 1}" for number in range(len(self.stages))), "fc")

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(images)))
        if self.stem == "imagenet":
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for number in range(len(self.stages)):
            x = self.get_submodule(f"layer{number + 1}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class ConvolutionBlock(nn.Module):
    """3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs, 3, stride)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        # in place: batch normalisation needs its input for the gradient, not its output
        return functional.relu_(self.norm(self.conv(x)))


class SmallConv(nn.Module):
    """Logits `[B, classes]` of pictures `[B, channels, H, W]`, meant for sides of 8 to 32 px.

    Blocks of `width`, `2 width` and `2 width` channels; the second and third halve the side by their stride, since
    convolving at the full side and pooling afterwards makes a step up to twice as long.
    """

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.block1 = ConvolutionBlock(channels, width, stride=1)
        self.block2 = ConvolutionBlock(width, 2 * width, stride=2)
        self.block3 = ConvolutionBlock(2 * width, 2 * width, stride=2)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block3(self.block2(self.block1(images))).mean((2, 3)))
        return logits


class Mlp(nn.Module):
    """Logits `[B, classes]` of pictures `[B, channels, image_size, image_size]`: two hidden layers of `width` units."""

    def __init__(self, channels: int, image_size: int, classes: int, width: int) -> None:
        super().__init__()
        self.channels, self.image_size = channels, image_size
        self.hidden1 = nn.Linear(channels * image_size**2, width)
        self.hidden2 = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.hidden1(images.flatten(1)))
        logits: Tensor = self.head(functional.relu(self.hidden2(x)))
        return logits
