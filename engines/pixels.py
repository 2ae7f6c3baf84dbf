"""How a network wants its pictures, and the piece of graph that turns uint8 frames into that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

IMAGES = "images"


class Layout(StrEnum):
    """Which axes a picture has: channels first or last."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Order(StrEnum):
    """Which colour comes first."""

    RGB = "rgb"
    BGR = "bgr"


@dataclass(frozen=True, slots=True)
class Pixels:
    """A network sees ``(value · scale - mean) / std`` of values 0 to 255.

    size: height and width. mean, std: one per channel, in the network's own order of channels."""

    size: tuple[int, int]
    layout: Layout
    order: Order
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __str__(self) -> str:
        def numbers(values: tuple[float, ...]) -> str:
            return ",".join(f"{v:g}" for v in values)

        height, width = self.size
        arithmetic = f"({self.order} × {self.scale:g} - {numbers(self.mean)}) / {numbers(self.std)}"
        return f"{height}x{width} {self.layout}, {arithmetic}"


def preprocessing(
    pixels: Pixels, output: str, element_type: int
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes and constants that make ``output`` (a tensor of ``element_type`` in the network's layout) from
    IMAGES, uint8 N×H×W×3 RGB.

    Every operator in it is older than any opset in use. Frames are floats before anything moves: TensorRT
    transposes no uint8."""
    scale = np.asarray(pixels.scale / np.asarray(pixels.std), np.float32)
    offset = np.asarray(np.asarray(pixels.mean) / np.asarray(pixels.std), np.float32)
    constants = {"scale": scale, "offset": offset, "order": np.array([2, 1, 0], np.int64)}
    steps: list[tuple[str, list[str], dict[str, object]]] = [("Cast", [], {"to": TensorProto.FLOAT})]
    if pixels.order == Order.BGR:
        steps.append(("Gather", ["order"], {"axis": 3}))
    if (scale != 1.0).any():
        steps.append(("Mul", ["scale"], {}))
    if offset.any():
        steps.append(("Sub", ["offset"], {}))
    if pixels.layout == Layout.NCHW:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    steps.append(("Cast", [], {"to": element_type}))
    nodes, tensor = [], IMAGES
    for index, (kind, wanted, attributes) in enumerate(steps):
        last = index == len(steps) - 1
        result = output if last else f"pixels/{index}"
        inputs = [tensor, *(f"pixels/{name}" for name in wanted)]
        nodes.append(helper.make_node(kind, inputs, [result], name=f"pixels/{kind}_{index}", **attributes))
        tensor = result
    used = {name for _, wanted, _ in steps for name in wanted}
    return nodes, [numpy_helper.from_array(constants[name], f"pixels/{name}") for name in sorted(used)]
