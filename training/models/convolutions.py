"""What the trained encoders share: a convolutional encoder, its mirror image, and the errors between a picture and its
reconstruction.

No batch statistics anywhere: a frame's score must not depend on its neighbours in a batch, and what was trained on two
processes must be what was trained on one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.errors import ConfigError

WIDTHS = (32, 64, 96, 128)
"""Channels of the stages, each at half the resolution of the one before."""
STRIDE = 2 ** len(WIDTHS)
HEAT_CELL = 8
"""Side in pixels of one cell of an error map."""
FLOOR = 1e-6
"""Smallest mean square whose root is taken: a thousandth of the range of a pixel, so that no gradient is infinite."""


def pixels(frames: Tensor) -> Tensor:
    """uint8 N×H×W×3 -> float N×3×H×W in 0..1."""
    # Cast before transposing: TensorRT has no uint8 transpose.
    return frames.float().permute(0, 3, 1, 2) / 255.0


def check_size(size: tuple[int, int]) -> None:
    """Raise ConfigError unless height and width can be halved at every stage."""
    if any(n % STRIDE or n < 2 * STRIDE for n in size):
        raise ConfigError(
            "size",
            f"must be multiples of {STRIDE}, at least {2 * STRIDE}, got {size[0]} × {size[1]}",
            f"for example {max(2, round(size[0] / STRIDE)) * STRIDE} × {max(2, round(size[1] / STRIDE)) * STRIDE}",
        )


class Encoder(nn.Module):
    """N×3×H×W in 0..1 -> the activations of every stage, the last N×128×H/16×W/16."""

    def __init__(self) -> None:
        super().__init__()
        pairs = zip((3, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.LeakyReLU(0.1)) for i, o in pairs
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        activations = []
        # Pixels are centred, for the first convolution to see contrast rather than brightness.
        x = 2.0 * x - 1.0
        for stage in self.stages:
            x = stage(x)
            activations.append(x)
        return activations


class Decoder(nn.Module):
    """N × latent -> the activations of every stage, in the order and the shapes of the encoder's, and the picture
    N×3×H×W in 0..1."""

    def __init__(self, size: tuple[int, int], latent: int) -> None:
        super().__init__()
        self.cells = (WIDTHS[-1], size[0] // STRIDE, size[1] // STRIDE)
        channels, height, width = self.cells
        self.widen = nn.Sequential(nn.Linear(latent, channels * height * width), nn.LeakyReLU(0.1))
        pairs = zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1), nn.LeakyReLU(0.1))
            for i, o in pairs
        )
        self.paint = nn.ConvTranspose2d(WIDTHS[0], 3, 4, stride=2, padding=1)

    def forward(self, latent: Tensor) -> tuple[list[Tensor], Tensor]:
        x = self.widen(latent).unflatten(1, self.cells)
        activations = [x]
        for stage in self.stages:
            x = stage(x)
            activations.append(x)
        return activations[::-1], self.paint(x).sigmoid()


def statistics(activations: Tensor) -> Tensor:
    """N×C×h×w -> N × 2C, mean and standard deviation of each channel over the picture: where blur, noise and exposure
    leave their traces."""
    mean = activations.mean((2, 3))
    variance = ((activations - mean[:, :, None, None]) ** 2).mean((2, 3))
    return torch.cat((mean, (variance + FLOOR).sqrt()), 1)


def errors(x: Tensor, reconstructed: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square error of a picture (N) and of each of its cells (N×H/8×W/8); 1 is the whole range of a pixel."""
    square = ((x - reconstructed) ** 2).mean(1, keepdim=True)
    heat = F.avg_pool2d(square, HEAT_CELL)
    # The mean of the cells is the mean of the picture, since cells tile it.
    return (heat.mean((1, 2, 3)) + FLOOR).sqrt(), (heat[:, 0] + FLOOR).sqrt()
