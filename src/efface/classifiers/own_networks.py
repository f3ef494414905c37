"""efface's own networks: ResNet-18, and small ones of which hundreds can be trained on a processor.

ResNet-18 (He et al., CVPR 2016, table 1) has the tensor names, shapes and initialisation of torchvision's.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512)
BLOCKS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")


class Convolution(nn.Conv2d):
    """A convolution without bias, drawn from N(0, 2 / fan_out) (He et al., ICCV 2015, equation 14)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = Convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.downsample = (
            nn.Sequential(Convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            if changes
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    """Logits `[B, classes]` of pictures `[B, channels, H, W]` of any size.

    stem: `imagenet` begins with a 7x7 convolution and a 3x3 max-pooling, both of stride 2; `cifar` with one
    3x3 convolution of stride 1, as is usual for pictures of 32 px.
    """

    def __init__(
        self, classes: int, channels: int = 3, stem: Literal["imagenet", "cifar"] = "imagenet"
    ) -> None:
        super().__init__()
        self.stem = stem
        self.conv1 = Convolution(channels, WIDTHS[0], *((7, 2) if stem == "imagenet" else (3, 1)))
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], stride=2)
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], stride=2)
        self.fc = nn.Linear(WIDTHS[3], classes)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(images)))
        if self.stem == "imagenet":
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))


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
