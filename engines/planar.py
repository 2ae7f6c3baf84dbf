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
    steps: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def step(result: str, kind: str, *inputs: str, **attributes: object) -> str:
        steps.append(helper.make_node(kind, list(inputs), [result], name=f"planar/{result}", **attributes))
        return result

    for plane, (rows, _) in enumerate(layout.samples):
        down = constant(f"down_{plane}", _float(shares(rows, size[0], siting.down if plane else 0.0)))
        floats = step(f"floats_{plane}", "Cast", f"plane_{plane}", to=TensorProto.FLOAT)
        step(f"rows_{plane}", "MatMul", down, floats)
    last = constant("last", np.array([2]))
    averages = []
    for name, (plane, apart, first) in zip(("y", "cb", "cr"), _COMPONENTS[layout.pixels], strict=True):
        right = siting.right if plane else 0.0
        across = np.zeros((layout.row_bytes[plane], size[1]))
        columns = layout.samples[plane][1]
        across[first : first + apart * columns : apart] = shares(columns, size[1], right).T
        means = step(name, "MatMul", f"rows_{plane}", constant(f"across_{name}", _float(across)))
        averages.append(step(f"{name}_last", "Unsqueeze", means, last))
    matrix, offset = to_rgb(layout.colorspace, layout.color_range)
    stacked = step("stacked", "Concat", *averages, axis=2)
    turned = step("turned", "MatMul", stacked, constant("matrix", _float(matrix.T)))
    rgb = step("rgb", "Round", step("moved", "Add", turned, constant("offset", _float(offset))))
    bounds = (constant("black", np.array(0.0, np.float32)), constant("white", np.array(255.0, np.float32)))
    whole = step("whole", "Cast", step("clipped", "Clip", rgb, *bounds), to=TensorProto.UINT8)
    step(IMAGES, "Unsqueeze", whole, constant("front", np.array([0])))
    graph = helper.make_graph(
        steps,
        "planar",
        [
            helper.make_tensor_value_info(f"plane_{plane}", TensorProto.UINT8, shape)
            for plane, shape in enumerate(layout.shapes)
        ],
        [helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, (1, *size, 3))],
        constants,
    )
    return _model(graph)


def joining(count: int, size: tuple[int, int]) -> onnx.ModelProto:
    """Return the graph from ``image_0`` … ``image_{count - 1}``, uint8 1×H×W×3, to all of them, uint8 N×H×W×3."""
    names = [f"image_{index}" for index in range(count)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, (1, *size, 3)) for name in names]
    joined = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, (count, *size, 3))
    step = helper.make_node("Concat", names, [IMAGES], axis=0)
    return _model(helper.make_graph([step], "joining", inputs, [joined]))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _float(values: Floats) -> NDArray[np.float32]:
    return values.astype(np.float32)
