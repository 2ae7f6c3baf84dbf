"""LAKE: a layer-constrained variational autoencoder and kernel density (Lv, Wang & Chen 2020, "Layer-constrained
variational autoencoding kernel density estimation model for anomaly detection").

Each layer of the decoder must reproduce what its mirror image in the encoder said, so that a picture unlike the
taught ones is told by all of them. The density stands on the activation before the posterior's mean, and beside it on
how far and in which direction the reconstruction lies: ‖x-x̂‖/‖x‖ and cos(x, x̂)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.convolutions import (
    STRIDE,
    WIDTHS,
    Decoder,
    Encoder,
    check_size,
    errors,
    pixels,
    statistics,
)
from training.models.vae import gaussian_nats, sample, warmth

GREY_LEVEL = 1.0 / 255.0


class Lake(nn.Module):
    """uint8 N×H×W×3 -> feature N × (hidden + 2), early statistics, error N, error map N×H/8×W/8.

    The projection of a density has 64 directions, so hidden + 2 ≤ 64 keeps every one of them, and whitens every
    channel."""

    outputs = ("late", "early", "reconstruction", "heat")
    keeps_length = True

    def __init__(
        self,
        size: tuple[int, int] = (96, 144),
        latent: int = 32,
        hidden: int = 62,
        beta: float = 1.0,
        warm_up: float = 5.0,
        tie: float = 1.0,
    ) -> None:
        super().__init__()
        check_size(size)
        self.size, self.beta, self.warm_up, self.tie = size, beta, warm_up, tie
        self.encoder = Encoder()
        cells = WIDTHS[-1] * (size[0] // STRIDE) * (size[1] // STRIDE)
        self.hidden = nn.Sequential(nn.Linear(cells, hidden), nn.LeakyReLU(0.1))
        self.posterior = nn.Linear(hidden, 2 * latent)
        self.decoder = Decoder(size, latent)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        x = pixels(frames)
        activations = self.encoder(x)
        hidden = self.hidden(activations[-1].flatten(1))
        reconstructed = self.decoder(self.posterior(hidden).chunk(2, 1)[0])[1]
        feature = torch.cat((hidden, distances(x, reconstructed)), 1)
        return feature, statistics(activations[0]), *errors(x, reconstructed)

    def loss(self, frames: Tensor, clean: Tensor, epoch: float) -> dict[str, Tensor]:
        activations = self.encoder(pixels(frames))
        mean, log_variance = self.posterior(self.hidden(activations[-1].flatten(1))).chunk(2, 1)
        latent, divergence = sample(mean, log_variance, self.training)
        mirrored, reconstructed = self.decoder(latent)
        wanted = pixels(clean)
        layers = [F.mse_loss(b.float(), a.float()) for a, b in zip(activations, mirrored, strict=True)]
        return {
            "reconstruction": gaussian_nats(reconstructed, wanted),
            "divergence": warmth(epoch, self.warm_up) * self.beta * divergence / wanted[0].numel(),
            "layers": self.tie * torch.stack(layers).mean(),
        }


def distances(x: Tensor, reconstructed: Tensor) -> Tensor:
    """Relative distance and cosine between pictures and their reconstructions, N × 2, finite for any picture.

    The cosine is that of what deviates from the picture's mean: between raw pictures, which have no negative
    values, it is near 1 whatever they show. Lengths are divided by one grey level at least: a black picture has
    length 0, and a flat one no deviation."""
    flat, other = x.flatten(1), reconstructed.flatten(1)
    floor = GREY_LEVEL * flat.shape[1] ** 0.5
    distance = (flat - other).norm(dim=1) / flat.norm(dim=1).clamp_min(floor)
    flat, other = flat - flat.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    lengths = flat.norm(dim=1).clamp_min(floor) * other.norm(dim=1).clamp_min(floor)
    return torch.stack((distance, (flat * other).sum(1) / lengths), 1)
