"""A variational autoencoder (Kingma & Welling 2014) with β (Higgins et al. 2017), KL warm-up (Bowman et al. 2016) and a
decoder whose noise is the best for each batch (Rybkin et al. 2021).

With a fixed noise, β would have to be tuned to the number of pixels, and a latent that says nothing is the usual
price of a wrong guess. The best variance is the mean squared error itself, which leaves ½·log of it as the
reconstruction's part of the bound. All terms are in nats per pixel value, whatever the size of the picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models.convolutions import (
    FLOOR,
    STRIDE,
    WIDTHS,
    Decoder,
    Encoder,
    check_size,
    errors,
    pixels,
    statistics,
)

LOG_VARIANCES = (-10.0, 10.0)
"""Bounds of a posterior's log variance: within them its exponential is finite in half precision too."""


class Vae(nn.Module):
    """uint8 N×H×W×3 -> mean of the posterior N × latent, early statistics, error N, error map N×H/8×W/8."""

    outputs = ("late", "early", "reconstruction", "heat")
    keeps_length = True

    def __init__(
        self, size: tuple[int, int] = (96, 144), latent: int = 64, beta: float = 1.0, warm_up: float = 5.0
    ) -> None:
        super().__init__()
        check_size(size)
        self.size, self.beta, self.warm_up = size, beta, warm_up
        self.encoder = Encoder()
        self.posterior = nn.Linear(WIDTHS[-1] * (size[0] // STRIDE) * (size[1] // STRIDE), 2 * latent)
        self.decoder = Decoder(size, latent)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        x = pixels(frames)
        activations = self.encoder(x)
        mean, _ = self.posterior(activations[-1].flatten(1)).chunk(2, 1)
        return mean, statistics(activations[0]), *errors(x, self.decoder(mean)[1])

    def loss(self, frames: Tensor, clean: Tensor, epoch: float) -> dict[str, Tensor]:
        mean, log_variance = self.posterior(self.encoder(pixels(frames))[-1].flatten(1)).chunk(2, 1)
        latent, divergence = sample(mean, log_variance, self.training)
        wanted = pixels(clean)
        return {
            "reconstruction": gaussian_nats(self.decoder(latent)[1], wanted),
            "divergence": warmth(epoch, self.warm_up) * self.beta * divergence / wanted[0].numel(),
        }


def warmth(epoch: float, warm_up: float) -> float:
    """The divergence's share of its weight at a (fractional) epoch: from 0, rising to 1 within the first ``warm_up``."""
    return min(1.0, epoch / warm_up) if warm_up else 1.0


def sample(mean: Tensor, log_variance: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """A draw from the posterior (its mean outside training), and the mean over the batch of its divergence from the
    standard normal, nats."""
    # float32 whatever the surroundings: squares and exponentials leave the range of half precision.
    mean, log_variance = mean.float(), log_variance.float().clamp(*LOG_VARIANCES)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
    if not training:
        return mean, divergence
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp(), divergence


def gaussian_nats(reconstructed: Tensor, wanted: Tensor) -> Tensor:
    """-log likelihood per pixel value under the noise that suits the batch best, without its constant, nats."""
    return 0.5 * (((reconstructed.float() - wanted) ** 2).mean() + FLOOR).log()
