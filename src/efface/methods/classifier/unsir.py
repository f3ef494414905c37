"""`unsir`: noise is learnt on which the model errs most for the forgotten classes, and the model is trained on it.

Follows: Tarun et al., "Fast Yet Effective Machine Unlearning" (TNNLS 2023, arXiv:2111.08947) and its published code:
noise from N(0, 1) for each forgotten class, 40 steps of Adam at 0.1 against -cross-entropy + 0.1 |noise|^2; then an epoch
on noise and retain images (impair, Adam at 0.02) and one on retain images alone (repair, Adam at 0.01), in batches of 256.
Deviations: the forgotten classes are those in the forget set. Noise is counted in standard deviations of the retain
images around their mean, by channel; the code means the same, where images are normalised. Several forgotten classes
share the 256 noise images that the code learns for one: its cost would grow with the classes of a random forget set.
Noise is mixed into each batch at a fixed share, that of the paper's 20 batches of noise among 9 times 1,000 images; a
slip of the code keeps 3 images of each of those batches, and another labels the noise of every class 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.memory import images_at_once
from efface.methods.classifier.base import ClassifierMethod
from efface.randomness import numpy_draws
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor

    from efface.images.labelled import LabelledImages
    from efface.training.classification import Labelled, Work

SAMPLE = "retain sample"
AXES = (0, 2, 3)
"""All but the channels, of images `[B, C, H, W]`."""


class Unsir(ClassifierMethod):
    """Impair the forgotten classes with learnt noise, then repair."""

    noise_images: int = Field(256, ge=1, description="noise images learnt, shared by the forgotten classes")
    noise_steps: int = Field(40, ge=1, description="steps of Adam on the noise")
    noise_rate: float = Field(0.1, gt=0, description="learning rate of the noise")
    noise_penalty: float = Field(0.1, ge=0, description="weight of the squared norm of a noise image")
    noise_share: float = Field(0.36, gt=0, lt=1, description="share of noise in an impair batch")
    retain_images: int = Field(1000, ge=1, description="retain images of each class that are used, at most")
    impair_epochs: float = Field(1, gt=0, description="passes over the retain sample with noise")
    impair_rate: float = Field(0.02, gt=0, description="learning rate of Adam with noise")
    repair_epochs: float = Field(1, gt=0, description="passes over the retain sample alone")
    repair_rate: float = Field(0.01, gt=0, description="learning rate of Adam without noise")
    batch_size: int = Field(256, ge=4, description="images a step")

    name: ClassVar[str] = "unsir"
    summary: ClassVar[str] = "learnt noise impairs the forgotten classes, retain images repair the others"
    source: ClassVar[str] = "Tarun et al., TNNLS 2023, arXiv:2111.08947"
    deviations: ClassVar[str] = (
        "forgotten classes are those in the forget set and share the noise images; noise in units of the retain images' "
        "own moments; a fixed share of noise in each batch"
    )
    needs_forget: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "impair_rate": (1e-5, 0.05),
        "repair_rate": (1e-5, 0.05),
    }

    def passes(self, facts: Facts) -> Passes:
        retained = self.batch_size - min(
            self.batch_size - 2, max(1, round(self.noise_share * self.batch_size))
        )
        impair, repair = (
            Optimiser(rate, 0.0, kind="adam", name=name)
            for rate, name in ((self.impair_rate, "impair"), (self.repair_rate, "repair"))
        )
        return [
            Edit("learn noise", self.learn_noise),
            Pass("impair", self.impair_loss, {SAMPLE: retained}, impair, self.impair_epochs),
            Pass("repair", repair_loss, {SAMPLE: self.batch_size}, repair, self.repair_epochs),
        ]

    def own_sets(self, sets: Mapping[str, LabelledImages], facts: Facts) -> dict[str, LabelledImages]:
        """Up to `retain_images` retain images of each class."""
        labels = sets["retain"].labels
        chosen = [
            numpy_draws(facts.seed, SAMPLE, int(label)).permutation(np.flatnonzero(labels == label))
            for label in np.unique(labels)
        ]
        return {SAMPLE: sets["retain"].subset(np.concatenate([one[: self.retain_images] for one in chosen]))}

    def learn_noise(self, work: Work) -> None:
        """Keep noise images in 0..255 (and beyond), and the classes on which they were learnt."""
        import torch

        mean, std = channel_moments(work)
        forgotten = np.unique(work.sets["forget"].labels).tolist()
        count = max(1, self.noise_images // len(forgotten))
        shape = (count, *work.sets["retain"].pixels.shape[1:])
        found, labels = [], []
        for label in forgotten:
            noise = torch.randn(
                shape, generator=work.draws("noise", label), device=work.device
            ).requires_grad_()
            classes = torch.full((count,), label, device=work.device)
            optimizer = torch.optim.Adam([noise], lr=self.noise_rate)
            for _ in range(self.noise_steps):
                work.check_time()
                with torch.enable_grad():
                    loss = self.noise_loss(noise, work.model(mean + std * noise), classes)
                    (noise.grad,) = torch.autograd.grad(loss, [noise])
                optimizer.step()
            found.append(mean + std * noise.detach())
            labels.append(classes)
        work.memory["noise"], work.memory["noise labels"] = torch.cat(found), torch.cat(labels)

    def noise_loss(self, noise: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """What the noise makes small: it errs, and stays small itself."""
        return self.noise_penalty * noise.square().flatten(1).sum(1).mean() - cross_entropy(logits, labels)

    def impair_loss(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """Cross-entropy on retain images and noise together."""
        import torch

        batch, noise = batches[SAMPLE], work.memory["noise"]
        count = max(1, round(len(batch) * self.noise_share / (1 - self.noise_share)))
        draws = work.draws("impair", *batch.places.tolist())
        chosen = torch.randint(len(noise), (count,), generator=draws, device=work.device)
        logits = work.model(torch.cat([batch.images.float(), noise[chosen]]))
        return cross_entropy(logits, torch.cat([batch.labels, work.memory["noise labels"][chosen]]))


def repair_loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    """Cross-entropy on the retain sample."""
    batch = batches[SAMPLE]
    return cross_entropy(work.model(batch.images), batch.labels)


def channel_moments(work: Work) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the retain sample's values 0..255, each `[1, channels, 1, 1]`."""
    sums = [(v.sum(AXES, keepdim=True), v.square().sum(AXES, keepdim=True)) for v in _values(work)]
    count = work.sets[SAMPLE].pixels[:, 0].size
    total, squares = (sum(parts[1:], parts[0]) for parts in zip(*sums, strict=True))
    mean = total / count
    deviation = (squares / count - mean * mean).clamp(min=1.0).sqrt()
    return mean.float(), deviation.float()


def _values(work: Work) -> Iterator[Tensor]:
    return (
        batch.images.double() for batch in work.batches(SAMPLE, images_at_once(512, work.model.image_size))
    )
