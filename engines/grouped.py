"""Run a network of a fixed batch size on any number of frames, inside its graph: no engine needs to know."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from engines.pixels import IMAGES

_PREFIX, _GROUP = "grouped/", "group/"
"""Of what is around the loop, and of what goes into its body and comes out."""
_CAST, _FLOAT, _SCAN = f"{_PREFIX}cast", f"{_PREFIX}float", f"{_PREFIX}scan"


def grouped(encoder: ModelProto) -> ModelProto:
    """An encoder of batch size K, IMAGES K×H×W×3 in, as one of any batch size N: frames go through it K at a time,
    the last group filled up with the last frame."""
    batch, *picture = _shape(encoder.graph.input[0])
    result = ModelProto()
    result.CopyFrom(encoder)
    graph = result.graph
    body = _body(encoder.graph)
    del graph.node[:], graph.initializer[:], graph.sparse_initializer[:], graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", *picture]))
    # Floats from here on: TensorRT moves no uint8 about.
    cast = helper.make_node("Cast", [IMAGES], [_FLOAT], name=_CAST, to=TensorProto.FLOAT)
    graph.node.append(cast)
    frames = _FLOAT if batch == 1 else _filled(graph, batch)
    _add(graph, "Reshape", [frames, _constant(graph, "groups", [-1, batch, *picture])], "grouped/images")
    names = [o.name for o in encoder.graph.output]
    scan = helper.make_node(
        "Scan",
        ["grouped/images"],
        [f"grouped/{n}" for n in names],
        name=_SCAN,
        body=body,
        num_scan_inputs=1,
    )
    graph.node.append(scan)
    for output in encoder.graph.output:
        shape = _shape(output)[1:]
        rows = _constant(graph, f"{output.name}_shape", [-1, *shape])
        flat = f"grouped/{output.name}_rows"
        _add(graph, "Reshape", [f"grouped/{output.name}", rows], output.name if batch == 1 else flat)
        if batch > 1:
            zero = _constant(graph, f"{output.name}_zero", [0])
            _add(graph, "Slice", [flat, zero, "grouped/count", zero], output.name)
        graph.output.append(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["N", *shape]))
    return result


def one_group(model: ModelProto) -> ModelProto:
    """What ``grouped`` made, or a graph on top of that, for exactly one group of K frames and without its loop; any other
    graph as it is. For libraries that know no loops: they are called a group at a time."""
    scan = next((node for node in model.graph.node if node.name == _SCAN), None)
    if scan is None:
        return model
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    batch, *picture = _shape(body.input[0])
    renamed = {body.input[0].name: _FLOAT} | {o.name: o.name.removeprefix(_GROUP) for o in body.output}
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    cast = [node for node in model.graph.node if node.name == _CAST]
    behind = [node for node in model.graph.node if not node.name.startswith(_PREFIX)]
    del graph.node[:], graph.input[:], graph.value_info[:]
    graph.node.extend([*cast, *body.node])
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    graph.node.extend(behind)
    graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, [batch, *picture]))
    graph.initializer.extend(body.initializer)
    graph.sparse_initializer.extend(body.sparse_initializer)
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = batch
    return result


def _body(graph: GraphProto) -> GraphProto:
    """The encoder's graph under names that its surroundings do not use."""
    body = GraphProto()
    body.CopyFrom(graph)
    renamed = {value.name: _GROUP + value.name for value in (*body.input, *body.output)}
    values: Iterable[ValueInfoProto] = (*body.input, *body.output)
    for value in values:
        value.name = renamed[value.name]
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in body.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return body


def _filled(graph: GraphProto, batch: int) -> str:
    """Frames up to a multiple of ``batch``, the last one repeated; makes ``grouped/count``, N, too."""
    one, size = _constant(graph, "one", [1]), _constant(graph, "batch", [batch])
    _add(graph, "Shape", [IMAGES], "grouped/shape")
    _add(graph, "Slice", ["grouped/shape", _constant(graph, "first", [0]), one], "grouped/count")
    _add(graph, "Add", ["grouped/count", _constant(graph, "most", [batch - 1])], "grouped/up")
    _add(graph, "Div", ["grouped/up", size], "grouped/groups")
    _add(graph, "Mul", ["grouped/groups", size], "grouped/total")
    _add(graph, "Squeeze", ["grouped/total"], "grouped/stop")
    zero, step = _constant(graph, "start", 0), _constant(graph, "step", 1)
    _add(graph, "Range", [zero, "grouped/stop", step], "grouped/range")
    _add(graph, "Sub", ["grouped/count", one], "grouped/last")
    _add(graph, "Min", ["grouped/range", "grouped/last"], "grouped/index")
    _add(graph, "Gather", [_FLOAT, "grouped/index"], "grouped/filled")
    return "grouped/filled"


def _add(graph: GraphProto, kind: str, inputs: list[str], output: str) -> None:
    node: NodeProto = helper.make_node(kind, inputs, [output], name=f"grouped/{kind}/{output}")
    graph.node.append(node)


def _constant(graph: GraphProto, name: str, value: list[int] | int) -> str:
    name = f"grouped/constant/{name}"
    graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    return name


def _shape(value: ValueInfoProto) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim]
