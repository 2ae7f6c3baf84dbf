"""Read an ONNX image network as it comes: which inputs and outputs it has, in a form that every library takes."""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, inliner, version_converter

from engines.errors import EngineError, InputError
from engines.graph import load_graph

OPSET = 18
"""The least that what stands behind an encoder needs."""
MOST_BYTES = 2**31 - 2**20
"""A serialised graph holds no more, and a bundle keeps its graph in one file."""

FLOATING = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
IMAGE_TYPES = FLOATING | {TensorProto.UINT8}


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network as it was read.

    element_type: of its input (``onnx.TensorProto.FLOAT`` and so on). shape: its input's four axes, None where
    free. outputs: its declared outputs, by name."""

    path: Path
    model: ModelProto
    element_type: int
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]

    @property
    def batch(self) -> int | None:
        return self.shape[0]


def read_network(path: Path) -> Network:
    """Read an ONNX file, its external data too; whatever is no network from one picture raises EngineError."""
    _check_files(path)
    model = load_graph(path)
    if model.functions:
        model = inliner.inline_local_functions(model)
    _forget_origin(model)
    _in_small_letters(model)
    graph = model.graph
    weights = {i.name for i in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise EngineError(
            path, f"must have one input, the picture; got {names}", "export it with the others fixed"
        )
    del graph.input[:]
    graph.input.extend(inputs)
    tensor = inputs[0].type.tensor_type
    shape = tuple(length(d) for d in tensor.shape.dim)
    if tensor.elem_type not in IMAGE_TYPES or len(shape) != 4:
        got = f"{_type_name(tensor.elem_type)} {[n or '?' for n in shape]}"
        raise EngineError(
            path,
            f"input {inputs[0].name} must be float or uint8 pictures with 4 axes, got {got}",
            "export it so",
        )
    if not {shape[1], shape[3]} & {3, None}:
        got = "×".join(str(n or "?") for n in shape)
        raise EngineError(path, f"must take pictures of three channels, got {got}", "export it for colours")
    return Network(path, model, tensor.elem_type, shape, tuple(o.name for o in graph.output))


def _check_files(path: Path) -> None:
    """Weights may lie in files beside the graph."""
    if not path.is_file():
        raise InputError(path, "must be an ONNX file; there is none", "check the path")
    graph = load_graph(path, weights=False).graph
    stored = [e.value for i in graph.initializer for e in i.external_data if e.key == "location"]
    files = [path.parent / name for name in dict.fromkeys(stored)]
    for file in files:
        if not file.is_file():
            raise InputError(file, f"must hold weights of {path.name}, but is missing", "copy it there, too")
    size = sum(file.stat().st_size for file in (path, *files))
    if size > MOST_BYTES:
        raise EngineError(
            path, f"must be under 2 GB with its weights, got {size / 1e9:.1f} GB", "export it smaller"
        )


def length(dimension: onnx.TensorShapeProto.Dimension) -> int | None:
    """Of an axis; None where it is free."""
    return dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value > 0 else None


def _type_name(element_type: int) -> str:
    return str(TensorProto.DataType.Name(element_type)).lower()


def _forget_origin(model: ModelProto) -> None:
    """Exporters leave stack traces on every node, with the paths of the machine they ran on."""
    model.ir_version = max(model.ir_version, 8)
    for graph in graphs(model.graph):
        del graph.metadata_props[:]
        del graph.quantization_annotation[:]
        graph.ClearField("doc_string")
        for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            del part.metadata_props[:]
            part.ClearField("doc_string")


def _in_small_letters(model: ModelProto) -> None:
    """Name the axes of every Einsum by small letters: torch names them by capitals, and TensorRT takes none."""
    for graph in graphs(model.graph):
        for node in graph.node:
            equation = next((a for a in node.attribute if a.name == "equation"), None)
            if node.op_type != "Einsum" or equation is None:
                continue
            axes = dict.fromkeys(c for c in equation.s.decode() if c.isalpha())
            if len(axes) <= len(string.ascii_lowercase):
                names = str.maketrans(dict(zip(axes, string.ascii_lowercase, strict=False)))
                equation.s = equation.s.decode().translate(names).encode()


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all that stand in its branches and loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from graphs(inner)


def converted(network: Network) -> ModelProto:
    """The network's model in an opset of at least OPSET, converted where it is older."""
    version = next((o.version for o in network.model.opset_import if o.domain in {"", "ai.onnx"}), OPSET)
    if version >= OPSET:
        return network.model
    try:
        return version_converter.convert_version(network.model, OPSET)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise EngineError(
            network.path, f"must be opset {OPSET} or convertible to it; opset {version} is not: {reason}",
            f"export it with opset {OPSET}",
        ) from error  # fmt: skip


def tensor_type(network: Network, name: str) -> int:
    """Element type of a tensor of the network (0: unknown); one that it lacks raises EngineError with the likeliest
    names."""
    try:
        graph = onnx.shape_inference.infer_shapes(network.model).graph
    except onnx.shape_inference.InferenceError as error:
        raise EngineError(
            network.path, f"must be a graph of known operators: {' '.join(str(error).split())}", "check it"
        ) from error
    made = [output for node in graph.node for output in node.output if output]
    if name not in made:
        near = [n for n in network.outputs if n != name] + difflib.get_close_matches(name, made, 3)
        raise EngineError(
            network.path,
            f"must have a tensor {name!r}; it has {', '.join(dict.fromkeys(near))}",
            "check the name",
        )
    values: tuple[ValueInfoProto, ...] = (*graph.output, *graph.value_info)
    return next((v.type.tensor_type.elem_type for v in values if v.name == name), 0)
