"""Make the default encoder that ships: MobileNetV2 (Sandler et al. 2018) for small frames, with its ImageNet weights as they are.

    python -m training.shipped.road_encoder --weights mobilenet_v2_1.0_224.npz --out engines/shipped/road
    python -m training.shipped.background --data DRIVING --encoder engines/shipped/road --seed 0 --layout 0 --channels 128

Nothing is trained. The network is cut after its last 160-channel block, and what it says half way up is kept beside what it
says at the end: the maps at strides 8 and 16 tell one camera's roads apart best, the one at stride 32 tells roads apart across
cameras. 48 early statistics stand beside them, where blur, noise and exposure leave their traces."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from engines.whole_file import write_whole
from training.export import to_onnx
from training.models.convolutions import FLOOR, statistics
from training.models.grid import Gridded
from training.shipped.mobilenet import MobileNetV2

INPUT_SIZE = (96, 144)
"""Height and width of a frame in pixels: 3:2, a compromise between 4:3 and 16:9 cameras; as many as 0.15 GFLOP allow."""
EARLY, MIDDLE, DEEP = "stride4", ("stride8", "stride16"), "stride32"
LAST = 160
"""Channels of the stage behind which the network is cut."""
DEEP_LENGTH = 1.5
"""Length of a picture's deep feature, where its middle one has 1: weight of the deep directions among a picture's
principal axes."""


class RoadEncoder(Gridded):
    """uint8 frames N×96×144×3 RGB -> late map N×288×6×9 and early statistics N×48.

    The late map holds 128 middle channels, then 160 deep ones. Every map has length 1 in every cell, and each of the two
    parts is scaled so that its average over the picture has a length that is the same for all pictures: no part is
    louder because its cells agree."""

    outputs = ("late", "early")

    def __init__(self, weights: Path, size: tuple[int, int] = INPUT_SIZE) -> None:
        super().__init__()
        self.size, self.network = size, MobileNetV2(weights, LAST)
        with torch.no_grad():
            _, *maps = self._maps(torch.zeros(1, *size, 3, dtype=torch.uint8))
        shapes = [(m.shape[2], m.shape[3]) for m in maps]
        self.lay_grid(shapes, shapes[len(MIDDLE) - 1])

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        early, *maps = self._maps(frames)
        *middle, deep = self.on_grid(maps)
        return torch.cat([_even(torch.cat(middle, 1)), DEEP_LENGTH * _even(deep)], 1), statistics(early)

    def _maps(self, frames: Tensor) -> list[Tensor]:
        # Cast before transposing: TensorRT has no uint8 transpose.
        found = self.network.maps((frames.float().permute(0, 3, 1, 2) - 128.0) / 128.0)
        return [found[name] for name in (EARLY, *MIDDLE, DEEP)]


def _even(cells: Tensor) -> Tensor:
    """N×C×h×w, scaled so that the average over its cells has length 1."""
    return cells / cells.mean((2, 3), keepdim=True).norm(dim=1, keepdim=True).clamp_min(FLOOR)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    module = RoadEncoder(options.weights)
    options.out.mkdir(parents=True, exist_ok=True)
    graph = to_onnx(module, module.size, module.outputs)
    write_whole(options.out / "encoder.onnx", graph.SerializeToString())


if __name__ == "__main__":
    main()
