"""The same encoder without its training: what the architecture alone, and whitening, can see.

Random convolutions followed by a density are a stronger detector than one would think; a trained encoder beside
which they do as well has learnt nothing that matters here. Weights are drawn anew (He et al. 2015); a layer whose
output vanishes or explodes for all that, as it may in a deep network without normalisation, is scaled to unit
variance on probe pictures (after LSUV: Mishkin & Matas 2016)."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import encoder_of

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Layers whose weights are drawn anew, and the input that holds them."""
NORMALISED = "BatchNormalization"
PROBES = 8
FAINTEST, LOUDEST = 0.1, 10.0
"""Standard deviations of a layer's output between which it is left alone."""


def untrained(model: onnx.ModelProto, probes: Image, seed: int = 0) -> onnx.ModelProto:
    """Return the encoder of a fused graph, or an encoder, with random weights; its one output is ``late``.

    probes: N×H×W×3 uint8 pictures by which layers are scaled. The same seed gives the same network. A graph
    without weights that could be drawn raises EngineError."""
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
        layers.append((node.output[0], drawn))
    if not layers:
        raise EngineError("encoder", "must have layers with weights to be compared with an untrained one")
    _tame(encoder, layers, probes[np.unique(np.linspace(0, len(probes) - 1, PROBES).astype(int))])
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


def _tame(encoder: onnx.ModelProto, layers: list[tuple[str, onnx.TensorProto]], probes: Image) -> None:
    """Scale the first layer that is too faint or too loud, look again, until none is: each round settles one."""
    for _ in layers:
        for (_, drawn), spread in zip(layers, _spreads(encoder, [o for o, _ in layers], probes), strict=True):
            if spread > 0 and not FAINTEST <= spread <= LOUDEST:
                _set(drawn, numpy_helper.to_array(drawn) / spread)
                break
        else:
            return


def _spreads(encoder: onnx.ModelProto, outputs: list[str], probes: Image) -> list[float]:
    """Standard deviation of each layer's output over the probes."""
    probed = onnx.ModelProto()
    probed.CopyFrom(encoder)
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(output) for output in outputs)
    engine = OnnxRuntimeEngine(probed.SerializeToString())
    return [float(np.std(v, dtype=np.float64)) for v in engine.session.run(outputs, {engine.input: probes})]
