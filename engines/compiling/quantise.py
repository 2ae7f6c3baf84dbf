"""An encoder rewritten to compute in 8 bits: QuantizeLinear and DequantizeLinear around its convolutions and products.

Ranges come from frames of normal footage (static quantisation, Nagel et al. 2021, "A White Paper on Neural Network
Quantization"): per tensor, at the least mean square error; weights per output channel, symmetric. A few layers carry
most of the damage, so layers are tried one by one, and the most sensitive ones stay in float until the scores agree
with the float encoder's.

What stands behind the encoder is refitted through the quantised one: ``engines.compiling.refit``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.compiling.refit import refitted
from engines.console import Advance
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import read_by

Run = Callable[[onnx.ModelProto, Sequence[str], Image], dict[str, NDArray[np.float32]]]
"""Runs a model on frames and returns the named values, which need not be outputs of the model."""

BATCH = 16
SAMPLES = 4096
"""Values kept of each tensor and batch, drawn at random, to choose its range by."""
TRIED = 16
"""Frames on which single layers are tried."""
SHARES = np.linspace(0.3, 1.0, 36)
"""What share of the largest value a range may end at."""
WHOLE, HALF = 127, 63
"""Largest weights of 8 and of 7 bits: 2 · 63 · 255 is less than 2¹⁵."""
ACTIVATIONS = frozenset({"Relu", "Clip"})


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A node with constant weights. axis: of the weights, that of its output channels. target: its output, behind the
    activation that follows it."""

    name: str
    source: str
    weights: str
    axis: int
    target: str


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """value = scale · (q - zero), q of ``kind``."""

    scale: np.float32
    zero: int
    kind: type[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """The rewritten encoder; floats names the layers that stayed in float, of ``layers`` in all."""

    model: onnx.ModelProto
    floats: tuple[str, ...]
    layers: int


def quantise(
    encoder: onnx.ModelProto,
    frames: Image,
    run: Run,
    agrees: Callable[[onnx.ModelProto], bool],
    *,
    unsigned: bool,
    advance: Advance,
    most: int = WHOLE,
) -> Quantised:
    """Quantise as many layers as ``agrees`` accepts, once shown the result.

    most: the largest 8-bit weight (WHOLE, or HALF for processors whose sums of two products saturate).
    unsigned: activations as uint8 with any zero, for processors; else int8 around zero, for TensorRT. advance is
    called once per layer (``layers_of`` counts them). No layer that could be quantised raises EngineError."""
    layers = layers_of(encoder)
    ranges = _ranges(encoder, layers, frames, run, unsigned)
    names = [n for n in ("late", "early") if n in {o.name for o in encoder.graph.output}]
    wanted = run(encoder, names, frames)
    some = slice(None, None, max(1, len(frames) // TRIED))
    error = []
    for layer in layers:
        found = run(_inserted(encoder, [layer], ranges, most), names, frames[some])
        error.append(sum(_relative(found[n], wanted[n][some]) for n in names))
        advance(1, layer.name)
    order = [layers[i] for i in np.argsort(error)]
    for kept in _fewest_first(len(order)):
        model = _inserted(encoder, order[: len(order) - kept], ranges, most)
        model = refitted(model, run(model, names, frames), wanted)
        if agrees(model):
            floats = tuple(layer.name for layer in order[len(order) - kept :])
            return Quantised(model, floats, len(layers))
    raise EngineError(
        "int8",
        "must rank pictures as float32 does; a single layer in 8 bits changes their order already",
        "use another precision",
    )


def layers_of(encoder: onnx.ModelProto) -> list[Layer]:
    """What can be quantised; nothing at all raises EngineError."""
    constants = {i.name: len(i.dims) for i in encoder.graph.initializer}
    outputs = {o.name for o in encoder.graph.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in encoder.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    layers = []
    for node in encoder.graph.node:
        axis = _channel_axis(node, constants)
        if axis is None:
            continue
        target, after = node.output[0], users.get(node.output[0], [])
        if target not in outputs and len(after) == 1 and after[0].op_type in ACTIVATIONS:
            target = after[0].output[0]
        layers.append(Layer(node.name or node.output[0], node.input[0], node.input[1], axis, target))
    if not layers:
        raise EngineError(
            "int8", "must find convolutions or products with constant weights, found none", "use fp32"
        )
    return layers


def _channel_axis(node: onnx.NodeProto, constants: dict[str, int]) -> int | None:
    """The axis of a layer's output channels in its weights; None for what is no layer."""
    if len(node.input) < 2 or node.input[1] not in constants or node.input[0] in constants:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul" and constants[node.input[1]] == 2:
        return 1
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return None


def _fewest_first(layers: int) -> list[int]:
    """How many layers to keep in float, in the order of trying: each step about a third more than the last."""
    counts = [0]
    while counts[-1] < layers - 1:
        counts.append(min(layers - 1, counts[-1] + 1 + counts[-1] // 3))
    return counts


def _relative(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Squared error as a share of the spread over frames and cells."""
    spread = float(((wanted - wanted.mean(axis=0)) ** 2).sum())
    return float(((found - wanted) ** 2).sum()) / max(spread, 1e-12)


def _ranges(
    encoder: onnx.ModelProto, layers: Sequence[Layer], frames: Image, run: Run, unsigned: bool
) -> dict[str, Range]:
    outputs = {o.name for o in encoder.graph.output}
    names = list(
        dict.fromkeys(n for layer in layers for n in (layer.source, layer.target) if n not in outputs)
    )
    random = np.random.default_rng(0)
    samples: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for start in range(0, len(frames), BATCH):
        for name, values in run(encoder, names, frames[start : start + BATCH]).items():
            flat = values.reshape(-1)
            drawn = flat[random.integers(flat.size, size=SAMPLES)]
            samples[name].append(np.append(drawn, (flat.min(), flat.max())))
    return {name: _range(np.concatenate(values), unsigned) for name, values in samples.items()}


def _range(values: NDArray[np.float32], unsigned: bool) -> Range:
    """The range of least mean square error for ``values``."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    best, least = Range(np.float32(1.0), 0, np.uint8 if unsigned else np.int8), np.inf
    for share in SHARES:
        if unsigned:
            scale = share * (high - low) / 255.0
            zero = round(-share * low / max(scale, 1e-30))
            first, last = 0, 255
        else:
            scale, zero = share * max(high, -low) / 127.0, 0
            first, last = -127, 127
        # Rounded down, so that the range of a Clip never reaches past its bound and engines can leave the Clip out.
        step = np.nextafter(np.float32(scale), np.float32(0.0))
        if step <= np.finfo(np.float32).tiny:
            continue
        kept = np.clip(np.rint(values / step) + zero, first, last)
        error = float(np.mean((step * (kept - zero) - values) ** 2))
        if error < least:
            best, least = Range(step, zero, best.kind), error
    return best


def _inserted(
    encoder: onnx.ModelProto, layers: Sequence[Layer], ranges: dict[str, Range], most: int
) -> onnx.ModelProto:
    """Return the encoder with ``layers`` in 8 bits."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    graph = model.graph
    # What an 8-bit layer gives is 8-bit for all who read it; what it only reads stays float for everybody else.
    given = {layer.target for layer in layers} & ranges.keys()
    read = {layer.source for layer in layers} & ranges.keys()
    axes = {layer.weights: layer.axis for layer in layers}
    chosen = {layer.name for layer in layers}
    nodes = [
        _weights(graph, item, axes[item.name], most) for item in list(graph.initializer) if item.name in axes
    ]
    nodes += _around(graph, read.intersection(i.name for i in graph.input), ranges)
    for node in graph.node:
        layer = (node.name or node.output[0]) in chosen
        for place, name in enumerate(node.input):
            if name in given or (layer and (name in read or place == 1)):
                node.input[place] = f"{name}_dequantised"
        nodes.append(node)
        nodes += _around(graph, (given | read).intersection(node.output), ranges)
    del graph.node[:]
    graph.node.extend(nodes)
    used = read_by(nodes)
    kept = [item for item in graph.initializer if item.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _weights(graph: onnx.GraphProto, item: onnx.TensorProto, axis: int, most: int) -> onnx.NodeProto:
    """Add 8-bit weights, symmetric per output channel, and return the node that reads them."""
    value = numpy_helper.to_array(item)
    others = tuple(i for i in range(value.ndim) if i != axis)
    largest = np.abs(value).max(axis=others)
    scale = np.where(largest > 0.0, largest / most, 1.0).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(value.ndim)]
    whole = np.clip(np.rint(value / scale.reshape(shape)), -most, most).astype(np.int8)
    name = item.name
    graph.initializer.append(numpy_helper.from_array(whole, f"{name}_int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(len(scale), np.int8), f"{name}_zero"))
    inputs = [f"{name}_int8", f"{name}_scale", f"{name}_zero"]
    return helper.make_node(
        "DequantizeLinear", inputs, [f"{name}_dequantised"], name=f"dequantise/{name}", axis=axis
    )


def _around(graph: onnx.GraphProto, names: set[str], ranges: dict[str, Range]) -> list[onnx.NodeProto]:
    """The nodes that take float values to 8 bits and back."""
    nodes = []
    for name in sorted(names):
        found = ranges[name]
        graph.initializer.append(numpy_helper.from_array(found.scale, f"{name}_scale"))
        graph.initializer.append(numpy_helper.from_array(np.array(found.zero, found.kind), f"{name}_zero"))
        by, whole, back = [f"{name}_scale", f"{name}_zero"], f"{name}_whole", f"{name}_dequantised"
        nodes.append(helper.make_node("QuantizeLinear", [name, *by], [whole], name=f"quantise/{name}"))
        nodes.append(helper.make_node("DequantizeLinear", [whole, *by], [back], name=f"dequantise/{name}"))
    return nodes
