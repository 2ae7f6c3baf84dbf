"""MobileNetV2 1.0 with ImageNet weights, read from an ``.npz`` of folded convolutions.

The file holds ``wNN``/``bNN`` (output, height, width, input; depthwise 1, height, width, channel) and a JSON
``meta`` that lists the operations with stride, activation and tensors. Input is RGB, (x - 128) / 128, padding
SAME."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.errors import InputError
from training.shipped.imagenet_encoder import channels_first

LINEAR, RELU6 = 0, 3
"""Activations, as the file numbers them."""
LAYERS = ("stride2", "stride4", "stride8", "stride16", "stride32", "features")
"""Maps that can be had: the last block's at each stride, and the last features."""


class MobileNetV2(nn.Module):
    """The network's maps at every stride; see ``maps``.

    last: channels of the stage behind which it is cut; None for the whole network."""

    def __init__(self, path: Path, last: int | None = None) -> None:
        super().__init__()
        try:
            with np.load(path, allow_pickle=False) as stored:
                self._operations = json.loads(str(stored["meta"]))
                for name in (n for n in stored.files if n != "meta"):
                    self.register_buffer(name, torch.from_numpy(channels_first(stored[name])))
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                path, f"must be the MobileNetV2 weights as .npz: {error}", "see --weights"
            ) from error
        if last is not None:
            self._operations = self._operations[: self._end(last)]

    def _end(self, channels: int) -> int:
        """How many operations there are up to the end of the last block of so many channels."""
        ends = [
            i
            for i, o in enumerate(self._operations)
            if "w" in o and o["act"] == LINEAR and len(self.get_buffer(o["w"])) == channels
        ]
        end = ends[-1] + 1
        return end + int(self._operations[end]["op"] == "ADD")

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised pictures N×3×H×W -> every one of LAYERS."""
        tensors = {self._operations[0]["i"][0]: x}
        found, result, stride = {}, x, 1
        for operation in self._operations:
            if operation["op"] == "AVERAGE_POOL_2D":
                break
            if operation["op"] == "ADD":
                result = tensors[operation["i"][0]] + tensors[operation["i"][1]]
            else:
                result = self._convolve(tensors[operation["i"][0]], operation)
            tensors[operation["o"][0]] = result
            stride *= operation.get("stride", 1)
            # A block ends in a linear projection.
            if operation["act"] == LINEAR:
                found[f"stride{stride}"] = result
        return found | {"features": result}

    def _convolve(self, x: Tensor, operation: dict[str, object]) -> Tensor:
        name, stride = str(operation["w"]), int(str(operation["stride"]))
        weight, bias = self.get_buffer(name), self.get_buffer("b" + name[1:])
        size = weight.shape[-1]
        if size > 1:
            vertical, horizontal = (max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[-2:])
            x = F.pad(
                x, (horizontal // 2, horizontal - horizontal // 2, vertical // 2, vertical - vertical // 2)
            )
        groups = x.shape[1] if weight.shape[1] == 1 and x.shape[1] > 1 else 1
        y = F.conv2d(x, weight, bias, stride=stride, groups=groups)
        return y.clamp(0.0, 6.0) if operation["act"] == RELU6 else y
