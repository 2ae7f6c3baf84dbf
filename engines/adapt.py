"""Make any ONNX image network an encoder: uint8 frames in, ``late`` (and ``heat``) out, any batch size.

Nothing here runs a network; ``training.wrap`` does, to prove that what it made answers as the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from engines.errors import EngineError
from engines.graph import LENGTH_KEY
from engines.network import graphs, length
from engines.pixels import IMAGES, Pixels, preprocessing

PREFIX = "network/"
SHARPEST_HEAT = 64
"""A finer map of where it is strange is averaged down to at most so many cells a side."""
PROBABILITY_FLOOR = 1e-3
"""Nearer to 0 or 1 than this, float32 leaves too little of a probability for its log odds to be steady."""


class Kind(StrEnum):
    """What an output is: features to put a density on, a score as it is, or a score between 0 and 1 whose log odds
    are taken, since a threshold above such a score could never be crossed."""

    EMBEDDING = "embedding"
    SCORE = "score"
    PROBABILITY = "probability"


class Higher(StrEnum):
    """What a higher score means."""

    STRANGER = "stranger"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Answer:
    """Which tensors of a network are read, and as what.

    output, heat: names of tensors; heat, a map of where it is strange, may be none. channels: the axis of an
    embedding's features."""

    output: str
    kind: Kind
    higher: Higher = Higher.STRANGER
    heat: str = ""
    channels: int = 1


def joined(model: ModelProto, pixels: Pixels, element_type: int, batch: int | None) -> ModelProto:
    """The model behind its preprocessing: IMAGES uint8 batch×H×W×3 in, no outputs yet, every name of its own with
    PREFIX. ``batch`` None frees it, as far as a graph lets itself be freed."""
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    if batch is None:
        _free_reshapes(graph)
    _prefix(graph)
    nodes, constants = preprocessing(pixels, graph.input[0].name, element_type)
    own = list(graph.node)
    del graph.input[:], graph.output[:], graph.node[:]
    # Shapes that were inferred for another batch size would mislead whoever reads them.
    del graph.value_info[:]
    graph.node.extend([*nodes, *own])
    graph.initializer.extend(constants)
    shape = ["N" if batch is None else batch, *pixels.size, 3]
    graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, shape))
    kept = [p for p in result.metadata_props if p.key == LENGTH_KEY]
    del result.metadata_props[:]
    result.metadata_props.extend(kept)
    return result


def _free_reshapes(graph: GraphProto) -> None:
    """Exporters of a fixed batch write it into the target of every Reshape; there, let it follow from the rest."""
    batch = length(graph.input[0].type.tensor_type.shape.dim[0])
    constants = {i.name: i for i in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[0] in constants or node.input[1] not in constants:
            continue
        target = numpy_helper.to_array(constants[node.input[1]])
        if batch is None or len(target) < 2 or target[0] != batch:
            continue
        freed = np.concatenate([[0 if (target[1:] == -1).any() else -1], target[1:]])
        # A constant may have other readers, which keep it.
        name = f"{node.output[0]}/freed"
        graph.initializer.append(numpy_helper.from_array(freed.astype(np.int64), name))
        node.input[1] = name


def fits(encoder: ModelProto, batch: int) -> bool:
    """Whether shapes can be inferred without contradiction for ``batch`` frames; true is no proof."""
    model = ModelProto()
    model.CopyFrom(encoder)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = batch
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def _prefix(graph: GraphProto) -> None:
    """Put PREFIX before every name, in inner graphs too: what refers to an outer tensor still does."""
    for part in graphs(graph):
        for node in part.node:
            node.name = PREFIX + node.name if node.name else ""
            node.input[:] = [PREFIX + name if name else "" for name in node.input]
            node.output[:] = [PREFIX + name if name else "" for name in node.output]
        for value in (*part.input, *part.output, *part.value_info, *part.initializer):
            value.name = PREFIX + value.name
        for sparse in part.sparse_initializer:
            sparse.values.name = PREFIX + sparse.values.name


def with_outputs(model: ModelProto, answer: Answer) -> ModelProto:
    """``joined`` with the raw tensors of the answer as float32 outputs ``late`` and ``heat``, whatever their shape."""
    result = ModelProto()
    result.CopyFrom(model)
    for output, name in (("late", answer.output), ("heat", answer.heat)):
        if name:
            node = helper.make_node(
                "Cast", [PREFIX + name], [output], name=f"answer/{output}", to=TensorProto.FLOAT
            )
            result.graph.node.append(node)
            result.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return result


class _Tail:
    """Appends nodes to a graph; every operator in them is of opset 9 or older."""

    def __init__(self, graph: GraphProto, tensor: str, prefix: str) -> None:
        self.graph, self.tensor, self.prefix = graph, tensor, prefix

    def then(self, kind: str, *constants: np.ndarray, **attributes: object) -> _Tail:
        """Put a node behind the last one; ``constants`` are its further inputs."""
        count = len(self.graph.node)
        names = [f"{self.prefix}/{count}_{i}" for i in range(len(constants))]
        pairs = zip(constants, names, strict=True)
        self.graph.initializer.extend(numpy_helper.from_array(value, name) for value, name in pairs)
        output = f"{self.prefix}/{count}"
        self.graph.node.append(
            helper.make_node(kind, [self.tensor, *names], [output], name=output, **attributes)
        )
        self.tensor = output
        return self

    def reshape(self, shape: Sequence[int]) -> _Tail:
        return self.then("Reshape", np.array(shape, np.int64))


def finished(
    model: ModelProto, answer: Answer, late: tuple[int, ...], heat: tuple[int, ...], batch: int | None
) -> ModelProto:
    """``joined`` as an encoder: ``late`` N×C×h×w or N×C (N×1 for a score, higher is stranger), ``heat`` N×h×w.

    late, heat: shapes of the raw tensors without their first axis, as they were measured; heat empty where
    there is none. batch: None where it is free. Shapes that cannot be read so raise EngineError."""
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    first: int | str = "N" if batch is None else batch
    rows = -1 if batch is None else batch

    def close(tail: _Tail, output: str, shape: Sequence[int]) -> None:
        tail.reshape([rows, *shape])
        graph.node[-1].output[0] = output
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [first, *shape]))

    tail = _Tail(graph, PREFIX + answer.output, "late").then("Cast", to=TensorProto.FLOAT)
    shape = _embedding(tail, answer, late) if answer.kind == Kind.EMBEDDING else _score(tail, answer, late)
    close(tail, "late", shape)
    if answer.heat:
        tail = _Tail(graph, PREFIX + answer.heat, "heat").then("Cast", to=TensorProto.FLOAT)
        close(tail, "heat", _map(tail, answer, heat))
    return result


def _embedding(tail: _Tail, answer: Answer, shape: tuple[int, ...]) -> list[int]:
    """Features to N×C×h×w or N×C; of a sequence (N×T×C or N×C×T) the mean over T. Returns C, h, w or C."""
    if len(shape) not in (1, 2, 3) or not 1 <= answer.channels <= len(shape):
        raise EngineError(
            f"output {answer.output}", f"must be N×C, N×C×h×w or a sequence with its channels on axis {answer.channels}, "
            f"got {_words(shape)}", "name another output, or its axis of channels",
        )  # fmt: skip
    axes = [answer.channels, *(a for a in range(1, len(shape) + 1) if a != answer.channels)]
    if axes != sorted(axes):
        tail.then("Transpose", perm=[0, *axes])
    ordered = [shape[a - 1] for a in axes]
    if len(ordered) == 2:
        tail.then("GlobalAveragePool")
    is_map = len(ordered) == 3 and ordered[1:] != [1, 1]
    return ordered if is_map else ordered[:1]


def _score(tail: _Tail, answer: Answer, shape: tuple[int, ...]) -> list[int]:
    """A number per frame, in whatever shape, to N×1, stranger when higher."""
    if int(np.prod(shape, dtype=int)) != 1:
        raise EngineError(
            f"output {answer.output}", f"must be one number per frame to be a {answer.kind}, got {_words(shape)}",
            "name another output, or state --as embedding",
        )  # fmt: skip
    if answer.kind == Kind.PROBABILITY:
        floor = np.array(PROBABILITY_FLOOR, np.float32)
        tail.then("Max", floor).then("Min", 1 - floor)
        # log(p / (1 - p)) = -log(1/p - 1)
        tail.then("Reciprocal").then("Sub", np.array(1, np.float32)).then("Log").then("Neg")
    if answer.higher == Higher.NORMAL:
        tail.then("Neg")
    return [1]


def _map(tail: _Tail, answer: Answer, shape: tuple[int, ...]) -> list[int]:
    """N×1×h×w or N×h×w to N×h×w of at most SHARPEST_HEAT cells a side, stranger when higher."""
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        raise EngineError(
            f"output {answer.heat}",
            f"must be a map N×h×w to be a heat map, got {_words(shape)}",
            "check --heat",
        )
    step = -(-max(shape) // SHARPEST_HEAT)
    cells = [-(-n // step) for n in shape]
    if step > 1:
        tail.reshape([-1, 1, *shape])
        missing = [n * step - length for n, length in zip(cells, shape, strict=True)]
        pads = [0, 0, *missing]
        tail.then("AveragePool", kernel_shape=[step, step], strides=[step, step], pads=pads)
    if answer.higher == Higher.NORMAL:
        tail.then("Neg")
    return cells


def _words(shape: tuple[int, ...]) -> str:
    return "×".join(["N", *map(str, shape)])
