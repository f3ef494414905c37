"""What a tokenizer is trained on when a model is made from scratch.

VQ-GAN (Esser et al., CVPR 2021) with the entropy term of MaskGIT's and MAGVIT's tokenizers (Yu et al., CVPR 2023),
which keeps the codebook in use. Deviation: there is no discriminator and no perceptual loss. Both need either weights
trained on other images, which would spoil a comparison with retraining, or a second optimizer and thousands of steps
before they help; in their place errors of edges are weighed at several scales (a Laplacian pyramid), which keeps
pictures sharper than pixel errors alone.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from efface.generators.mage.tokenizer import Tokenizer

COMMITMENT = 0.25
EDGES = 1.0
ENTROPY = 0.1
ENTROPY_TEMPERATURE = 0.1
PYRAMID_LEVELS = 3


def first_stage_loss(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    """The tokenizer's loss of each image, `[B]`, for `images` `[B, 3, H, W]` in [0, 1].

    One term speaks of the batch as a whole, and is the same for all its images: how evenly codes are used.
    """
    encoded = tokenizer.encoder(images)
    vectors = encoded.flatten(2).transpose(1, 2)
    distances = tokenizer.codebook.distances(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
    codes = tokenizer.codebook(distances.argmin(dim=2))
    # straight through: the encoder gets the gradient of the code that was put in its vector's place
    passed = vectors + (codes - vectors).detach()
    error = tokenizer.decoder(passed.transpose(1, 2).view_as(encoded)) - images
    pulled = (codes - vectors.detach()).pow(2) + COMMITMENT * (vectors - codes.detach()).pow(2)
    loss: Tensor = (
        _pixels(error)
        + EDGES * _edges(error)
        + pulled.mean(dim=(1, 2))
        + ENTROPY * code_entropy(distances, ENTROPY_TEMPERATURE)
    )
    return loss


def code_entropy(distances: Tensor, temperature: float) -> Tensor:
    """Entropy of each image's choices minus that of the whole batch's mean choice, `[B]` in nats.

    Low where every place chooses one code clearly while all codes are chosen alike. `distances` `[B, N, K]`.
    """
    logged = functional.log_softmax(-distances / temperature, dim=-1)
    chosen = logged.exp()
    single = -(chosen * logged).sum(dim=-1).mean(dim=1)
    mean = chosen.mean(dim=(0, 1))
    return single + (mean * mean.clamp(min=1e-9).log()).sum()


def _pixels(error: Tensor) -> Tensor:
    return error.abs().mean(dim=(1, 2, 3)) + error.pow(2).mean(dim=(1, 2, 3))


def _edges(error: Tensor) -> Tensor:
    """Mean absolute difference between the error and its own blur, summed over halved sizes, `[B]`."""
    total = error.new_zeros(len(error))
    for _ in range(PYRAMID_LEVELS):
        if error.shape[-1] % 2 or error.shape[-1] < 4:
            break
        coarse = functional.avg_pool2d(error, 2)
        detail = error - functional.interpolate(
            coarse, scale_factor=2.0, mode="bilinear", align_corners=False
        )
        total = total + detail.abs().mean(dim=(1, 2, 3))
        error = coarse
    return total
