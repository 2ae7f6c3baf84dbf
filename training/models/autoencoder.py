"""A convolutional autoencoder: what normal footage cannot be reduced to is reconstructed badly (Japkowicz et al.
1995)."""

from __future__ import annotations

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


class Autoencoder(nn.Module):
    """uint8 N×H×W×3 -> latent N × latent, early statistics, error N, error map N×H/8×W/8."""

    outputs = ("late", "early", "reconstruction", "heat")
    keeps_length = True

    def __init__(self, size: tuple[int, int] = (96, 144), latent: int = 64) -> None:
        super().__init__()
        check_size(size)
        self.size = size
        self.encoder = Encoder()
        self.narrow = nn.Linear(WIDTHS[-1] * (size[0] // STRIDE) * (size[1] // STRIDE), latent)
        self.decoder = Decoder(size, latent)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        x = pixels(frames)
        activations = self.encoder(x)
        latent = self.narrow(activations[-1].flatten(1))
        return latent, statistics(activations[0]), *errors(x, self.decoder(latent)[1])

    def loss(self, frames: Tensor, clean: Tensor, epoch: float) -> dict[str, Tensor]:
        latent = self.narrow(self.encoder(pixels(frames))[-1].flatten(1))
        return {"reconstruction": F.mse_loss(self.decoder(latent)[1], pixels(clean))}
