"""Fuse an encoder and a density into one ONNX graph: uint8 frames in, scores out.

The kernel sum is written as ``q·Yᵀ + (log w - ½‖Y‖²)`` -> ReduceLogSumExp -> ``- ½‖q‖²`` with everything
centred on the support's mean. All behind the encoder is float64 unless told otherwise: whitening divides by
the footage's smallest spread, and on steady footage that turns float32's rounding into hundredths of a nat
and more. The encoder outweighs this tail by far; the outputs are float32 again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.density import Density, Kde, Projection
from engines.errors import EngineError

OUTPUTS = ("surprise", "background", "residual", "damage", "latent")
FEATURES = ("late", "early")
"""Encoder outputs that stay outputs of the fused graph, so that any engine can be checked against the
reference."""


class _Builder:
    """Appends nodes and constants to a graph under one prefix; constants have ``precision`` unless told."""

    def __init__(self, graph: onnx.GraphProto, precision: type[np.floating]) -> None:
        self.graph, self.precision, self.count = graph, precision, 0

    def constant(self, value: np.ndarray | float, dtype: type | None = None) -> str:
        name = f"sightline_c{self.count}"
        self.count += 1
        array: np.ndarray = np.asarray(value, dtype or self.precision)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        name = name or f"sightline_t{self.count}"
        self.count += 1
        self.graph.node.append(
            helper.make_node(kind, list(inputs), [name], name=f"sightline/{name}", **attributes)
        )
        return name

    def sum_of_squares(self, x: str) -> str:
        """Sum over axis 1, which stays as an axis of length 1."""
        axes = self.constant(np.array([1]), np.int64)
        return self.node("ReduceSumSquare", x, axes, keepdims=1)

    def enter(self, feature: str) -> str:
        """An encoder's output, in the precision of the graph's tail."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.precision))
        return self.node("Cast", feature, to=int(kind))

    def leave(self, x: str, output: str) -> str:
        """The float32 output called ``output``."""
        return self.node("Cast", x, name=output, to=TensorProto.FLOAT)

    def flat(self, x: str, output: str) -> str:
        """N × 1 -> N, the output called ``output``."""
        return self.leave(self.node("Reshape", x, self.constant(np.array([-1]), np.int64)), output)


def fuse(
    encoder: onnx.ModelProto, density: Density, precision: type[np.floating] = np.float64
) -> onnx.ModelProto:
    """Return the graph from ``images`` uint8 N×H×W×3 to the OUTPUTS and the encoder's features.

    Outputs are float32: surprise, background, residual, damage (N) and latent (N×d). ``precision`` is that of
    everything behind the encoder; float32 is for engines that know nothing wider."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    graph = model.graph
    names = [o.name for o in graph.output]
    if "late" not in names:
        raise EngineError(
            "encoder", f"must have an output called 'late', it has {', '.join(names)}", "rename the output"
        )
    builder = _Builder(graph, precision)
    centred = _centred(builder, _pooled(builder, builder.enter("late"), density.pooling), density.projection)
    latent = _latent(builder, centred, density.projection)
    builder.leave(latent, "latent")
    _surprise(builder, latent, density.normal, "surprise")
    _optional(builder, latent, density.background, "background")
    _residual(builder, centred, density.projection)
    early = latent
    if density.early_projection is not None:
        statistics = _centred(builder, builder.enter("early"), density.early_projection)
        early = _latent(builder, statistics, density.early_projection)
    _optional(builder, early, density.early, "damage")
    dimensions = density.projection.basis.shape[1]
    for name in OUTPUTS:
        shape = ["N", dimensions] if name == "latent" else ["N"]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    model.producer_name = "sightline"
    onnx.checker.check_model(model)
    return model


def _pooled(builder: _Builder, late: str, pooling: np.ndarray) -> str:
    cells, _ = pooling.shape
    # N×C×h×w -> N×C×cells -> N×C×K -> N × C·K; zeros copy N and C, whatever they are.
    rows = builder.node("Reshape", late, builder.constant(np.array([0, 0, cells]), np.int64))
    return builder.node("Flatten", builder.node("MatMul", rows, builder.constant(pooling)), axis=1)


def _centred(builder: _Builder, features: str, projection: Projection) -> str:
    length = builder.node("Sqrt", builder.sum_of_squares(features))
    safe = builder.node("Max", length, builder.constant(1e-12))  # as engines.density.normalised does
    unit = builder.node("Div", features, safe)
    return builder.node("Sub", unit, builder.constant(projection.mean))


def _latent(builder: _Builder, centred: str, projection: Projection) -> str:
    return builder.node("MatMul", centred, builder.constant(projection.basis / projection.scale))


def _residual(builder: _Builder, centred: str, projection: Projection) -> None:
    inside = builder.node("MatMul", centred, builder.constant(projection.basis))
    back = builder.node("MatMul", inside, builder.constant(projection.basis.T))
    outside = builder.node("Sub", centred, back)
    builder.flat(builder.node("Sqrt", builder.sum_of_squares(outside)), "residual")


def _surprise(builder: _Builder, latent: str, kde: Kde, output: str) -> None:
    dimensions = kde.support.shape[1]
    centre = np.exp(kde.log_weights) @ kde.support
    scaled = (kde.support - centre) / kde.bandwidth
    offset = kde.log_weights - 0.5 * (scaled**2).sum(1)
    constant = 0.5 * dimensions * np.log(2.0 * np.pi * kde.bandwidth**2)
    shifted = builder.node("Sub", latent, builder.constant(centre))
    query = builder.node("Mul", shifted, builder.constant(1.0 / kde.bandwidth))
    product = builder.node("MatMul", query, builder.constant(scaled.T))
    exponent = builder.node("Add", product, builder.constant(offset))
    axes = builder.constant(np.array([1]), np.int64)
    total = builder.node("ReduceLogSumExp", exponent, axes, keepdims=1)
    half = builder.node("Mul", builder.sum_of_squares(query), builder.constant(0.5))
    surprise = builder.node("Add", builder.node("Sub", half, total), builder.constant(constant))
    builder.flat(surprise, output)


def _optional(builder: _Builder, latent: str, kde: Kde | None, output: str) -> None:
    """A density that the bundle lacks scores 0, so that every graph has the same outputs."""
    if kde is not None:
        _surprise(builder, latent, kde, output)
        return
    axes = builder.constant(np.array([1]), np.int64)
    total = builder.node("ReduceSum", latent, axes, keepdims=0)
    builder.leave(builder.node("Mul", total, builder.constant(0.0)), output)


def input_size(model: onnx.ModelProto) -> tuple[int, int]:
    """Return the height and width of the graph's frames; anything but uint8 N×H×W×3 raises EngineError."""
    value = model.graph.input[0]
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    if (
        value.type.tensor_type.elem_type != TensorProto.UINT8
        or len(shape) != 4
        or shape[3] != 3
        or not all(shape[1:])
    ):
        raise EngineError(
            "encoder",
            f"input {value.name} must be uint8 N×H×W×3 with H and W fixed, got {shape}",
            "export it so",
        )
    return shape[1], shape[2]


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file; one that cannot be read raises EngineError."""
    try:
        return onnx.load(path)
    except Exception as error:
        raise EngineError(path, f"must be an ONNX file: {type(error).__name__}", "check the file") from error
