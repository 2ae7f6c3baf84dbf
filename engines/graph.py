"""Fuse an encoder and a density into one ONNX graph: uint8 frames in, scores out.

The kernel sum is written as ``q·Yᵀ + (log w - ½‖Y‖²)`` -> ReduceLogSumExp -> ``- ½‖q‖²`` with everything
centred on the support's mean. All behind the encoder is float64 unless told otherwise: whitening divides by
the footage's smallest spread, and on steady footage that turns float32's rounding into hundredths of a nat
and more. The encoder outweighs this tail by far; the outputs are float32 again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from engines.density import NORM_FLOOR, Direct, Kde, LatentDensity, Mixture, Projection, Tilted
from engines.errors import EngineError
from engines.scores import Cells, Density

OUTPUTS = ("surprise", "background", "residual", "damage", "reconstruction", "latent", "heat")
FEATURES = ("late", "early", "reconstruction", "heat")
"""Outputs an encoder may have, of which ``late`` is needed. They stay outputs of the fused graph, so that any engine
can be checked against the reference; a decoder's ``reconstruction`` and ``heat`` are scores as they are."""

LENGTH_KEY = "sightline.length"
"""Metadata of an encoder's ONNX file: ``kept`` where the length of its features carries meaning (a VAE's latent);
without it, features are scaled to length 1."""

_LONG, _GROUPS = 256, 16

MARK, _PREFIX = "sightline/", "sightline_"
"""What the names of nodes behind the encoder begin with, and those of constants and values that fusing adds."""


class _Builder:
    """Appends nodes and constants to a graph under one prefix; constants have ``precision`` unless told."""

    def __init__(self, graph: onnx.GraphProto, precision: type[np.floating]) -> None:
        self.graph, self.precision, self.count = graph, precision, 0

    def constant(self, value: np.ndarray | float, dtype: type | None = None) -> str:
        name = f"{_PREFIX}c{self.count}"
        self.count += 1
        array: np.ndarray = np.asarray(value, dtype or self.precision)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        name = name or f"{_PREFIX}t{self.count}"
        self.count += 1
        self.graph.node.append(
            helper.make_node(kind, list(inputs), [name], name=f"{MARK}{name}", **attributes)
        )
        return name

    def leading(self, x: str, count: int) -> str:
        """N × d -> N × count, its first columns."""
        bounds = [self.constant(np.array([n]), np.int64) for n in (0, count, 1)]
        return self.node("Slice", x, *bounds)

    def sum_of_squares(self, x: str) -> str:
        """N × M -> N × 1."""
        return self.node("ReduceSumSquare", x, self.constant(np.array([1]), np.int64), keepdims=1)

    def logsumexp(self, x: str) -> str:
        """N × M -> N × 1."""
        axis = self.constant(np.array([1]), np.int64)
        if self.precision != np.float64:
            return self.node("ReduceLogSumExp", x, axis, keepdims=1)
        # What is left of the largest exponent is 0 to 1, which float32 holds to a ten-millionth; its exp is many times
        # as fast as float64's, of which a heat map takes a thousand in every cell.
        largest = self.node("ReduceMax", x, axis, keepdims=1)
        below = self.node("Cast", self.node("Sub", x, largest), to=TensorProto.FLOAT)
        total = self.node("ReduceSum", self.node("Exp", below), axis, keepdims=1)
        return self.node("Add", self.node("Cast", self.node("Log", total), to=TensorProto.DOUBLE), largest)

    def product(self, x: str, weights: np.ndarray) -> str:
        """N × D times D × d. In float32 long sums go by groups: one after another, their rounding would be the largest
        error of the whole tail."""
        long, wide = weights.shape
        groups = next((g for g in range(_GROUPS, 1, -1) if long % g == 0), 1)
        if self.precision != np.float32 or long < _LONG or groups == 1:
            return self.node("MatMul", x, self.constant(weights))
        shape = self.constant(np.array([-1, groups, long // groups]), np.int64)
        rows = self.node("Transpose", self.node("Reshape", x, shape), perm=[1, 0, 2])
        parts = self.node("MatMul", rows, self.constant(weights.reshape(groups, -1, wide)))
        # Keeping the axis: see _mixture.
        total = self.node("ReduceSum", parts, self.constant(np.array([0]), np.int64), keepdims=1)
        return self.node("Reshape", total, self.constant(np.array([-1, wide]), np.int64))

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

    Outputs are float32: surprise, background, residual, damage, reconstruction (N), latent (N×d), heat (N×h×w);
    see ``engines.scores.Scores``. ``precision`` is that of everything behind the encoder; float32 is for engines
    that know nothing wider."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    graph = model.graph
    names = [o.name for o in graph.output]
    map_shape = late_shape(encoder)
    builder = _Builder(graph, precision)
    centred = _centred(builder, _pooled(builder, builder.enter("late"), density.pooling), density.projection)
    latent = _latent(builder, centred, density.projection)
    builder.leave(latent, "latent")
    builder.flat(_surprise(builder, latent, density.normal), "surprise")
    _optional(builder, latent, density.background, "background")
    _residual(builder, centred, density.projection)
    early = latent
    if density.early_projection is not None:
        statistics = _centred(builder, builder.enter("early"), density.early_projection)
        early = _latent(builder, statistics, density.early_projection)
    _optional(builder, early, density.early, "damage")
    if "reconstruction" not in names:
        _nothing(builder, latent, "reconstruction", [-1])
    heat = _heat(builder, density.cells, latent, map_shape) if "heat" not in names else []
    shapes = {"latent": ["N", density.projection.basis.shape[1]], "heat": ["N", *heat]}
    for name in OUTPUTS:
        if name not in names:
            shape = shapes.get(name, ["N"])
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    model.producer_name = "sightline"
    onnx.checker.check_model(model)
    return model


def encoder_of(fused: onnx.ModelProto) -> onnx.ModelProto:
    """Return the encoder that ``fuse`` was given, so that it can be fused anew in another precision."""
    encoder, _ = parts_of(fused)
    return encoder


def parts_of(fused: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Split what ``fuse`` joined: the encoder, and everything behind it, whose inputs are the encoder's features."""
    encoder, rest = onnx.ModelProto(), onnx.ModelProto()
    encoder.CopyFrom(fused)
    rest.CopyFrom(fused)
    added = {output for node in fused.graph.node if node.name.startswith(MARK) for output in node.output}
    _keep(encoder.graph, lambda node: not node.name.startswith(MARK), lambda output: output not in added)
    _keep(rest.graph, lambda node: node.name.startswith(MARK), lambda output: output in added)
    read = {name for node in rest.graph.node for name in node.input}
    del rest.graph.input[:]
    rest.graph.input.extend(o for o in encoder.graph.output if o.name in read)
    return encoder, rest


def _keep(
    graph: onnx.GraphProto, node: Callable[[onnx.NodeProto], bool], output: Callable[[str], bool]
) -> None:
    """Leave only the nodes and outputs that the predicates say, and the constants those read."""
    nodes, outputs = [n for n in graph.node if node(n)], [o for o in graph.output if output(o.name)]
    read = read_by(nodes)
    constants = [c for c in graph.initializer if c.name in read]
    for field, kept in ((graph.node, nodes), (graph.output, outputs), (graph.initializer, constants)):
        del field[:]
        field.extend(kept)
    del graph.value_info[:]


def read_by(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Every name that nodes read, in their branches and loops too."""
    read: set[str] = set()
    for node in nodes:
        read.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                read |= read_by(inner.node).union(output.name for output in inner.output)
    return read


def _pooled(builder: _Builder, late: str, pooling: np.ndarray) -> str:
    cells, _ = pooling.shape
    # N×C×h×w -> N×C×cells -> N×C×K -> N × C·K; zeros copy N and C, whatever they are.
    rows = builder.node("Reshape", late, builder.constant(np.array([0, 0, cells]), np.int64))
    return builder.node("Flatten", builder.node("MatMul", rows, builder.constant(pooling)), axis=1)


def _centred(builder: _Builder, features: str, projection: Projection) -> str:
    if projection.unit:
        length = builder.node("Sqrt", builder.sum_of_squares(features))
        safe = builder.node("Max", length, builder.constant(NORM_FLOOR))
        features = builder.node("Div", features, safe)
    return builder.node("Sub", features, builder.constant(projection.mean))


def _latent(builder: _Builder, centred: str, projection: Projection) -> str:
    return builder.product(centred, projection.basis / projection.scale)


def _residual(builder: _Builder, centred: str, projection: Projection) -> None:
    inside = builder.node("MatMul", centred, builder.constant(projection.basis))
    back = builder.node("MatMul", inside, builder.constant(projection.basis.T))
    outside = builder.node("Sub", centred, back)
    builder.flat(builder.node("Sqrt", builder.sum_of_squares(outside)), "residual")


def _surprise(builder: _Builder, latent: str, density: LatentDensity) -> str:
    """N × d latent -> N × 1 surprise."""
    match density:
        case Kde():
            return _kde(builder, builder.leading(latent, density.points.shape[1]), density)
        case Mixture():
            return _mixture(builder, latent, density)
        case Direct():
            return builder.leading(latent, 1)
        case Tilted():
            return _tilted(builder, latent, density)
    raise TypeError(f"no graph is known for {type(density).__name__}")


def _kde(builder: _Builder, latent: str, kde: Kde) -> str:
    dimensions = kde.points.shape[1]
    centre = np.exp(kde.log_weights) @ kde.points
    scaled = (kde.points - centre) / kde.bandwidth
    offset = kde.log_weights - 0.5 * (scaled**2).sum(1)
    constant = 0.5 * dimensions * np.log(2.0 * np.pi * kde.bandwidth**2)
    shifted = builder.node("Sub", latent, builder.constant(centre))
    query = builder.node("Mul", shifted, builder.constant(1.0 / kde.bandwidth))
    product = builder.node("MatMul", query, builder.constant(scaled.T))
    exponent = builder.node("Add", product, builder.constant(offset))
    total = builder.logsumexp(exponent)
    half = builder.node("Mul", builder.sum_of_squares(query), builder.constant(0.5))
    return builder.node("Add", builder.node("Sub", half, total), builder.constant(constant))


def _mixture(builder: _Builder, latent: str, mixture: Mixture) -> str:
    """All components in one product: N × d times d × K·d, then half the squares, summed over each component's d."""
    count, dimensions = mixture.means.shape
    factors = np.concatenate(mixture.factors, axis=1)
    shifts = np.einsum("kd,kde->ke", mixture.means, mixture.factors).reshape(-1)
    product = builder.node("MatMul", latent, builder.constant(factors))
    centred = builder.node("Sub", product, builder.constant(shifts))
    # Sums over blocks as a product: OpenVINO's processor backend adds the offsets to the wrong places behind a
    # reduction that drops its axis.
    blocks = np.kron(np.eye(count), np.full((dimensions, 1), 0.5))
    squares = builder.node("Mul", centred, centred)
    half = builder.node("MatMul", squares, builder.constant(blocks))
    exponent = builder.node("Sub", builder.constant(mixture.offsets), half)
    return builder.node("Neg", builder.logsumexp(exponent))


def _tilted(builder: _Builder, latent: str, tilted: Tilted) -> str:
    plain = _surprise(builder, latent, tilted.density)
    weighed = builder.node("Mul", plain, builder.constant(tilted.weight))
    tilt = builder.node("MatMul", latent, builder.constant(tilted.direction[:, None]))
    return builder.node("Sub", weighed, builder.node("Add", tilt, builder.constant(tilted.offset)))


def _optional(builder: _Builder, latent: str, density: LatentDensity | None, output: str) -> None:
    """A density that the bundle lacks scores 0, so that every graph has the same outputs."""
    if density is not None:
        builder.flat(_surprise(builder, latent, density), output)
    else:
        _nothing(builder, latent, output, [-1])


def _nothing(builder: _Builder, latent: str, output: str, shape: list[int]) -> None:
    """Zeros, as many as there are frames."""
    axes = builder.constant(np.array([1]), np.int64)
    total = builder.node("ReduceSum", latent, axes, keepdims=1)
    zeros = builder.node("Mul", total, builder.constant(0.0))
    builder.leave(builder.node("Reshape", zeros, builder.constant(np.array(shape), np.int64)), output)


def _heat(builder: _Builder, cells: Cells | None, latent: str, shape: tuple[int, ...]) -> list[int]:
    """The output ``heat``; returns its height and width."""
    if cells is None:
        _nothing(builder, latent, "heat", [-1, 1, 1])
        return [1, 1]
    channels, height, width = shape
    # N×C×h×w -> N×h×w×C -> N·h·w × C: every cell is a row of its own.
    last = builder.node("Transpose", builder.enter("late"), perm=[0, 2, 3, 1])
    rows = builder.node("Reshape", last, builder.constant(np.array([-1, channels]), np.int64))
    latents = _latent(builder, _centred(builder, rows, cells.projection), cells.projection)
    surprise = _surprise(builder, latents, cells.density)
    back = builder.constant(np.array([-1, height, width]), np.int64)
    builder.leave(builder.node("Reshape", surprise, back), "heat")
    return [height, width]


def late_shape(encoder: onnx.ModelProto) -> tuple[int, ...]:
    """Shape of an encoder's ``late`` output without the batch, (C, h, w) or (C,); without such an output
    EngineError is raised."""
    inferred = shape_inference.infer_shapes(encoder).graph
    late = next((o for o in inferred.output if o.name == "late"), None)
    if late is None:
        names = ", ".join(o.name for o in inferred.output)
        raise EngineError(
            "encoder", f"must have an output called 'late', it has {names}", "rename the output"
        )
    shape = tuple(d.dim_value for d in late.type.tensor_type.shape.dim)[1:]
    if len(shape) not in (1, 3) or not all(shape):
        raise EngineError(
            "encoder", f"output late must be N×C×h×w or N×C with all but N fixed, got {shape}", "export it so"
        )
    return shape


def keeps_length(model: onnx.ModelProto) -> bool:
    """Whether the length of the encoder's features carries meaning; see LENGTH_KEY."""
    return any(p.key == LENGTH_KEY and p.value == "kept" for p in model.metadata_props)


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


def load_graph(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Read an ONNX file, without the weights stored beside it if told; one that cannot be read raises EngineError."""
    try:
        model = onnx.load(path, load_external_data=weights)
    except Exception as error:
        raise EngineError(path, f"must be an ONNX file: {type(error).__name__}", "check the file") from error
    if not model.HasField("graph"):
        raise EngineError(path, "must be an ONNX file: it holds no graph", "check the file")
    return model
