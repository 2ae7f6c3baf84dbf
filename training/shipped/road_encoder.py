"""The encoder that ships: a MobileNetV2 trunk (Sandler et al. 2018), cut after its last 160-channel block,
for small frames.

The network is built from the published block table and may start from ImageNet weights (see
``training.shipped.teacher``); a 1×1 convolution then maps its last features to the components it was distilled to
predict."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_SIZE = (96, 144)
"""Height and width of a frame in pixels: 3:2, a compromise between 4:3 and 16:9 cameras; stride 32 leaves 3 ×
5 cells."""

# expansion, channels, repeats, stride: table 2 of the paper, without its last 320-channel stage.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)


class InvertedResidual(nn.Module):
    """Expand, filter per channel, project; add the input where shapes allow. Batch norms are folded into the
    biases."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv(inputs, hidden, 1), nn.ReLU6()]
        layers += [_conv(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(), _conv(hidden, outputs, 1)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class RoadEncoder(nn.Module):
    """uint8 frames N×96×144×3 RGB -> late map N×C×3×5 (float) and early statistics N×48 (float).

    The late map keeps where things are; the early statistics are the mean and standard deviation over the
    picture of the 24 channels at stride 4, where blur, noise and exposure leave their traces."""

    def __init__(self, components: int = 128) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 32, 3, 2), nn.ReLU6())
        blocks: list[nn.Module] = []
        inputs = 32
        for expansion, channels, repeats, stride in _STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, channels, expansion, stride if repeat == 0 else 1))
                inputs = channels
        self.early = nn.Sequential(*blocks[:3])
        self.late = nn.Sequential(*blocks[3:])
        self.expand = nn.Sequential(_conv(inputs, 256, 1), nn.ReLU6())
        self.head = _conv(256, components, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        # Cast before transposing: TensorRT has no uint8 transpose.
        x = (frames.to(torch.float32).permute(0, 3, 1, 2) - 128.0) / 128.0
        early = self.early(self.stem(x))
        mean = early.mean((2, 3))
        # A flat frame has zero variance; the floor keeps the logarithm and every gradient finite.
        deviation = ((early - mean[:, :, None, None]) ** 2).mean((2, 3)).clamp_min(1e-8).sqrt()
        return self.head(self.expand(self.late(early))), torch.cat((mean, deviation), 1)

    def convolutions(self) -> list[nn.Conv2d]:
        """The trunk's convolutions in the order of the published network, for warm starting."""
        return [
            m
            for part in (self.stem, self.early, self.late)
            for m in part.modules()
            if isinstance(m, nn.Conv2d)
        ]


def multiply_adds(encoder: RoadEncoder) -> int:
    """Count the multiply-adds of the convolutions for one frame (one FLOP each way: GFLOP = 2 × this /
    1e9)."""
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += output[0].numel() * module.weight[0].numel()

    handles = [m.register_forward_hook(count) for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        encoder(torch.zeros(1, *INPUT_SIZE, 3, dtype=torch.uint8))
    for handle in handles:
        handle.remove()
    return total
