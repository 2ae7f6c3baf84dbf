"""The same encoder without its training: what the architecture alone, and whitening, can see.

Random convolutions followed by a density are a stronger detector than one would think; a trained encoder beside
which they do as well has learnt nothing that matters here. Weights are drawn anew (He et al. 2015), and every channel of
every layer is brought to mean 0 and variance 1 over probe pictures, as a batch normalisation would do (Ioffe & Szegedy
2015): shipped encoders have theirs folded into weights, and a deep network without any would say next to nothing."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.density import Floats
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import encoder_of

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Layers whose weights are drawn anew, and the input that holds them."""
NORMALISED = "BatchNormalization"
PROBES = 8
FAINTEST = 1e-6
"""Standard deviation below which a channel says nothing that could be scaled up."""


def untrained(model: onnx.ModelProto, probes: Image, seed: int = 0) -> onnx.ModelProto:
    """Return the encoder of a fused graph, or an encoder, with random weights; its one output is ``late``.

    probes: N×H×W×3 uint8 pictures by which layers are normalised; real ones, for noise has no structure to keep. The
    same seed gives the same network. A graph without weights that could be drawn raises EngineError."""
    encoder = encoder_of(model)
    late = [output for output in encoder.graph.output if output.name == "late"]
    del encoder.graph.output[:]
    encoder.graph.output.extend(late)
    weights = {i.name: i for i in encoder.graph.initializer}
    random = np.random.default_rng(seed)
    layers = []
    for node in encoder.graph.node:
        if node.op_type == NORMALISED:
            _make_neutral(node, weights)
        if node.op_type not in WEIGHTED or len(node.input) < 2 or node.input[1] not in weights:
            continue
        drawn = weights[node.input[1]]
        shape = tuple(drawn.dims)
        _set(drawn, random.standard_normal(shape) * np.sqrt(2.0 / max(1, _summed(node, shape))))
        if len(node.input) > 2 and node.input[2] in weights:
            _set(weights[node.input[2]], np.zeros(tuple(weights[node.input[2]].dims)))
        layers.append(node)
    if not layers:
        raise EngineError("encoder", "must have layers with weights to be compared with an untrained one")
    _normalise(encoder, layers, probes[np.unique(np.linspace(0, len(probes) - 1, PROBES).astype(int))])
    return encoder


def _summed(node: onnx.NodeProto, shape: tuple[int, ...]) -> int:
    """How many products each output of the layer sums."""
    if node.op_type == "Conv":
        return int(np.prod(shape[1:]))
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return shape[-1] if transposed else int(np.prod(shape[:-1]))


def _make_neutral(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> None:
    """Scale 1, bias 0, mean 0, variance 1: what a normalisation is before it has seen anything."""
    for name, value in zip(node.input[1:5], (1.0, 0.0, 0.0, 1.0), strict=True):
        if name in weights:
            _set(weights[name], np.full(tuple(weights[name].dims), value))


def _set(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    kind = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, kind), tensor.name))


def _normalise(encoder: onnx.ModelProto, layers: list[onnx.NodeProto], probes: Image) -> None:
    """Bring the output of every layer, one behind the other, to variance 1 per channel, and to mean 0 where it has a
    bias."""
    weights = {i.name: i for i in encoder.graph.initializer}
    for node in layers:
        mean, spread = _statistics(encoder, node, probes)
        drawn = weights[node.input[1]]
        values, axis = numpy_helper.to_array(drawn), _outputs_axis(node)
        if values.shape[axis] != len(spread):
            # A grouped transposed convolution: what a weight's output is depends on its group.
            spread = np.sqrt(np.mean(spread**2, keepdims=True))
        shape = [1] * values.ndim
        shape[axis] = -1
        _set(drawn, values / spread.reshape(shape))
        if len(node.input) > 2 and node.input[2] in weights:
            _set(weights[node.input[2]], -mean / spread)


def _outputs_axis(node: onnx.NodeProto) -> int:
    """Along which axis of its weights a layer's outputs lie."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if any(a.name == "transB" and a.i for a in node.attribute) else -1


def _statistics(encoder: onnx.ModelProto, node: onnx.NodeProto, probes: Image) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each channel of a layer's output over the probes; 1 where it never varies."""
    probed = onnx.ModelProto()
    probed.CopyFrom(encoder)
    del probed.graph.output[:]
    probed.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.output[0]))
    engine = OnnxRuntimeEngine(probed.SerializeToString())
    found = engine.session.run([node.output[0]], {engine.input: probes})[0].astype(np.float64)
    if node.op_type in ("Conv", "ConvTranspose"):
        found = np.moveaxis(found, 1, -1)
    rows = found.reshape(-1, found.shape[-1])
    spread = rows.std(0)
    return rows.mean(0), np.where(spread > FAINTEST, spread, 1.0)
