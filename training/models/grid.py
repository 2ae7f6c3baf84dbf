"""Maps of several layers brought to one grid, so that they can be joined cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.convolutions import FLOOR


class Gridded(nn.Module):
    """A network whose maps are brought to one grid by two products each, which every engine knows."""

    def lay_grid(self, shapes: Sequence[tuple[int, int]], grid: tuple[int, int]) -> None:
        """Prepare for maps of these heights and widths, in order."""
        for index, (height, width) in enumerate(shapes):
            self.register_buffer(f"rows{index}", resampling(height, grid[0]))
            self.register_buffer(f"columns{index}", resampling(width, grid[1]).T.contiguous())

    def on_grid(self, maps: Iterable[Tensor]) -> list[Tensor]:
        """N×C×h×w each, in that order -> each on the grid and of length 1 in every cell: no layer outweighs another."""
        return [
            F.normalize(self.get_buffer(f"rows{i}") @ (m @ self.get_buffer(f"columns{i}")), eps=FLOOR)
            for i, m in enumerate(maps)
        ]


def resampling(size: int, wanted: int) -> Tensor:
    """Matrix wanted × size that averages over equal shares of an axis, or interpolates where there is more to fill than
    there is."""
    matrix = torch.zeros(wanted, size)
    if wanted <= size:
        edges = torch.linspace(0.0, size, wanted + 1)
        cells = torch.arange(size)
        overlap = torch.minimum(edges[1:, None], cells + 1.0) - torch.maximum(edges[:-1, None], cells + 0.0)
        return overlap.clamp_min(0.0) * (wanted / size)
    places = ((torch.arange(wanted) + 0.5) * size / wanted - 0.5).clamp(0.0, size - 1.0)
    low = places.floor().long()
    share = places - low
    rows = torch.arange(wanted)
    matrix[rows, low] = 1.0 - share
    matrix[rows, (low + 1).clamp_max(size - 1)] += share
    return matrix
