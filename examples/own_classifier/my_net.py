"""A classifier of one's own, as anyone might have written it. It knows nothing of efface."""

from torch import Tensor, nn


class Net(nn.Module):
    """Logits `[B, classes]` of grey pictures `[B, 1, 8, 8]`."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width * 64, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images).flatten(1))
        return logits


def build(classes: int = 4, width: int = 8) -> nn.Module:
    """What `my_net:build` calls."""
    return Net(classes, width)
