"""A decoder's planes to the model's picture as an ONNX graph: ``engines.reduction`` wherever ONNX Runtime computes.

Each plane goes in as it lies in memory, rows of bytes with padding behind them: columns that are nobody's share, or
another component's, have weight 0. Two matrix products average it, a third is the colour, and it is rounded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av.video.frame
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.reduction import Floats, Siting, shares, to_rgb

IMAGES = "images"

_PLANAR = ((0, 1, 0), (1, 1, 0), (2, 1, 0))
_COMPONENTS = {
    "nv12": ((0, 1, 0), (1, 2, 0), (1, 2, 1)),
    "yuv420p": _PLANAR,
    "yuvj420p": _PLANAR,
    "yuv444p": _PLANAR,
}
"""Of Y, Cb and Cr: the plane, the bytes from one sample to the next, and where in a row the first is."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the planes of a picture lie in memory, and what they mean.

    pixels: libav's name for that. samples: rows and columns of samples, row_bytes: from one row to the next; by plane.
    colorspace, color_range: of the ``av.VideoFrame``."""

    pixels: str
    samples: tuple[tuple[int, int], ...]
    row_bytes: tuple[int, ...]
    colorspace: int
    color_range: int

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and bytes of each plane, padding included."""
        return tuple((rows, size) for (rows, _), size in zip(self.samples, self.row_bytes, strict=True))


def layout_of(picture: av.video.frame.VideoFrame) -> Layout | None:
    """The layout of ``picture``, in whatever memory it is; None for one that no graph is known for."""
    pixels = (picture.sw_format or picture.format).name
    if pixels not in _COMPONENTS or any(plane.line_size < 0 for plane in picture.planes):
        return None
    samples = tuple((plane.height, plane.width) for plane in picture.planes)
    row_bytes = tuple(plane.line_size for plane in picture.planes)
    return Layout(pixels, samples, row_bytes, picture.colorspace, picture.color_range)


def planar(layout: Layout, size: tuple[int, int], siting: Siting) -> onnx.ModelProto:
    """Return the graph from ``plane_0``, ``plane_1`` … (uint8, ``layout.shapes``) to ``images``, uint8 1×H×W×3 RGB.

    size: H and W. All between is float32, in which an average is right to a ten-thousandth of a grey level."""
    steps = _Steps()
    matrix, offset = to_rgb(layout.colorspace, layout.color_range)
    stacked = steps.add("stacked", "Concat", *_averages(steps, layout, size, siting), axis=2)
    turned = steps.add("turned", "MatMul", stacked, steps.floats("matrix", matrix.T))
    rgb = steps.add("rgb", "Round", steps.add("moved", "Add", turned, steps.floats("offset", offset)))
    bounds = (steps.floats("black", np.array(0.0)), steps.floats("white", np.array(255.0)))
    whole = steps.add("whole", "Cast", steps.add("clipped", "Clip", rgb, *bounds), to=TensorProto.UINT8)
    steps.add(IMAGES, "Unsqueeze", whole, steps.constant("front", np.array([0])))
    planes = [_bytes(f"plane_{plane}", shape) for plane, shape in enumerate(layout.shapes)]
    return _model(steps.nodes, planes, _bytes(IMAGES, (1, *size, 3)), steps.constants)


def _averages(steps: _Steps, layout: Layout, size: tuple[int, int], siting: Siting) -> list[str]:
    """Y, Cb and Cr, each H×W×1: rows first, then columns."""
    for plane, (rows, _) in enumerate(layout.samples):
        down = steps.floats(f"down_{plane}", shares(rows, size[0], siting.down if plane else 0.0))
        floats = steps.add(f"floats_{plane}", "Cast", f"plane_{plane}", to=TensorProto.FLOAT)
        steps.add(f"rows_{plane}", "MatMul", down, floats)
    last = steps.constant("last", np.array([2]))
    found = []
    for name, (plane, apart, first) in zip(("y", "cb", "cr"), _COMPONENTS[layout.pixels], strict=True):
        columns = layout.samples[plane][1]
        across = np.zeros((layout.row_bytes[plane], size[1]))
        right = siting.right if plane else 0.0
        across[first : first + apart * columns : apart] = shares(columns, size[1], right).T
        means = steps.add(name, "MatMul", f"rows_{plane}", steps.floats(f"across_{name}", across))
        found.append(steps.add(f"{name}_last", "Unsqueeze", means, last))
    return found


class _Steps:
    """Nodes and constants, in order; each node is called by its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, result: str, kind: str, *inputs: str, **attributes: object) -> str:
        node = helper.make_node(kind, list(inputs), [result], name=f"planar/{result}", **attributes)
        self.nodes.append(node)
        return result

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def floats(self, name: str, value: Floats) -> str:
        return self.constant(name, value.astype(np.float32))


def joining(count: int, size: tuple[int, int]) -> onnx.ModelProto:
    """Return the graph from ``image_0`` … ``image_{count - 1}``, uint8 1×H×W×3, to all of them, uint8 N×H×W×3."""
    names = [f"image_{index}" for index in range(count)]
    step = helper.make_node("Concat", names, [IMAGES], axis=0)
    return _model([step], [_bytes(name, (1, *size, 3)) for name in names], _bytes(IMAGES, (count, *size, 3)))


def _bytes(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    output: onnx.ValueInfoProto,
    constants: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "planar", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
