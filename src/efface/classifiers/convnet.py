"""Small classifiers, of which hundreds can be trained on a processor: three convolutions, or two hidden layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from efface.classifiers.resnet import Convolution


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
