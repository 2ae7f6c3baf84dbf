"""Make the middle encoder that ships: layers of MobileNetV2 (Sandler et al. 2018) half way up, with their ImageNet weights as
they are.

    python -m training.shipped.middle_encoder --weights mobilenet_v2_1.0_224.npz --out engines/shipped/road-middle
    python -m training.shipped.background --data DRIVING --encoder engines/shipped/road-middle --seed 0 --layout 0

Nothing is trained. What comes behind is left out, which pays for more pixels at the cost of ``road``. The maps at strides 8 and
16 are brought to one grid and to length 1 in every cell, as ``training.models.dfkde`` does; 48 early statistics stand beside
them, as the road encoder has."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.whole_file import write_whole
from training.export import to_onnx
from training.models.convolutions import FLOOR, statistics
from training.models.dfkde import resampling
from training.shipped.teacher import MobileNetV2

INPUT_SIZE = (104, 156)
"""Height and width of a frame in pixels: 3:2, as many as 0.15 GFLOP allow."""
EARLY, JOINED = "stride4", ("stride8", "stride16")


class MiddleEncoder(nn.Module):
    """uint8 frames N×104×156×3 RGB -> late map N×128×7×10 and early statistics N×48 of the 24 channels at stride 4."""

    outputs = ("late", "early")

    def __init__(self, weights: Path, size: tuple[int, int] = INPUT_SIZE) -> None:
        super().__init__()
        self.size, self.network = size, MobileNetV2(weights)
        with torch.no_grad():
            shapes = [m.shape[2:] for m in self._maps(torch.zeros(1, *size, 3, dtype=torch.uint8))[1:]]
        for index, (height, width) in enumerate(shapes):
            self.register_buffer(f"rows{index}", resampling(height, shapes[-1][0]))
            self.register_buffer(f"columns{index}", resampling(width, shapes[-1][1]).T.contiguous())

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        early, *maps = self._maps(frames)
        joined = [
            F.normalize(self.get_buffer(f"rows{i}") @ (m @ self.get_buffer(f"columns{i}")), eps=FLOOR)
            for i, m in enumerate(maps)
        ]
        return torch.cat(joined, 1), statistics(early)

    def _maps(self, frames: Tensor) -> list[Tensor]:
        # Cast before transposing: TensorRT has no uint8 transpose.
        found = self.network.maps((frames.float().permute(0, 3, 1, 2) - 128.0) / 128.0)
        return [found[name] for name in (EARLY, *JOINED)]


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    module = MiddleEncoder(options.weights)
    options.out.mkdir(parents=True, exist_ok=True)
    graph = to_onnx(module, module.size, module.outputs)
    write_whole(options.out / "encoder.onnx", graph.SerializeToString())


if __name__ == "__main__":
    main()
