"""An encoder rewritten to compute in 16 bits, with casts where it must not: what strongly typed engines ask for.

Convolutions and matrix products run in 16 bits, and what follows them value by value. What sums many values or
divides by their spread stays float32, as in mixed precision training (Micikevicius et al. 2018), and so do inputs and
outputs: the density behind the encoder never sees 16 bits."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from engines.engine import Precision
from engines.errors import EngineError

KINDS = {Precision.FP16: TensorProto.FLOAT16, Precision.BF16: TensorProto.BFLOAT16}

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What always computes in 16 bits: the work is here."""

FOLLOWING = frozenset({
    "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Gelu", "Mish",
    "Add", "Mul", "Sum", "Max", "Min", "Where", "MaxPool", "GlobalMaxPool", "Concat", "Identity", "Reshape", "Flatten",
    "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Pad", "Expand", "Tile", "DepthToSpace",
    "SpaceToDepth", "Resize", "Dropout",
})  # fmt: skip
"""What computes in 16 bits where all it is given comes in 16 bits. Everything else is float32."""

LARGEST = {Precision.FP16: 65504.0, Precision.BF16: 3.3e38}


def halved(encoder: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Return ``encoder`` in ``precision`` (fp16 or bf16); the outputs are float32 again.

    Weights beyond the range of the type, or a graph with branches or loops, raise EngineError."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    _Rewriter(model.graph, precision, _floats(encoder)).run()
    onnx.checker.check_model(model)
    return model


def _floats(model: onnx.ModelProto) -> set[str]:
    """The names of all float32 values."""
    graph = shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    names = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {i.name for i in graph.initializer if i.data_type == TensorProto.FLOAT}


class _Rewriter:
    """Walks a graph in its order, which is topological, and gives every node the type it should compute in."""

    def __init__(self, graph: onnx.GraphProto, precision: Precision, floats: set[str]) -> None:
        self.graph, self.precision, self.kind, self.floats = graph, precision, KINDS[precision], floats
        self.narrow: set[str] = set()
        self.casts: dict[tuple[str, int], str] = {}
        self.weights = {i.name: i for i in graph.initializer}
        self.nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        outputs = {o.name for o in self.graph.output}
        for node in self.graph.node:
            self._visit(node, outputs)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        # Their types are no longer true.
        del self.graph.value_info[:]
        used = {name for node in self.nodes for name in node.input}
        kept = [i for i in self.graph.initializer if i.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _visit(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise EngineError(
                f"node {node.name or node.output[0]}",
                f"must be no branch or loop to compute in {self.precision}, it is {node.op_type}",
                "use fp32, or export the network without it",
            )
        computed = [name for name in node.input if name in self.floats and name not in self.weights]
        follows = bool(computed) and self.narrow.issuperset(computed)
        narrow = node.op_type in PRODUCTS or (node.op_type in FOLLOWING and follows)
        # Resize has float inputs that are not pictures: its region and its scales.
        pictures = 1 if node.op_type == "Resize" else len(node.input)
        for place, name in enumerate(node.input):
            if name in self.floats and place < pictures:
                node.input[place] = self._as(name, self.kind if narrow else TensorProto.FLOAT)
        self.nodes.append(node)
        for place, name in enumerate(node.output):
            if not narrow or name not in self.floats:
                continue
            if name in outputs:
                node.output[place] = f"{name}_{self.precision}"
                self._add_cast(node.output[place], name, TensorProto.FLOAT)
                self.casts[name, self.kind] = node.output[place]
            else:
                self.narrow.add(name)

    def _as(self, name: str, kind: int) -> str:
        """The name under which a float value is there in ``kind``; casts it once if need be."""
        if (self.kind if name in self.narrow else TensorProto.FLOAT) == kind:
            return name
        if (name, kind) not in self.casts:
            self.casts[name, kind] = f"{name}_{TensorProto.DataType.Name(kind).lower()}"
            if name in self.weights:
                self._add_weight(name, self.casts[name, kind])
            else:
                self._add_cast(name, self.casts[name, kind], kind)
        return self.casts[name, kind]

    def _add_cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], name=f"cast/{target}", to=kind))

    def _add_weight(self, name: str, target: str) -> None:
        value = numpy_helper.to_array(self.weights[name])
        largest = LARGEST[self.precision]
        finite = np.isfinite(value)
        if finite.all() and np.abs(value).max(initial=0.0) > largest and value.size > 1:
            raise EngineError(
                f"weight {name}",
                f"must be within ±{largest:g} for {self.precision}, got {np.abs(value).max():g}",
                "use bf16 or fp32",
            )
        # A single bound, such as the upper one of a Clip, may be anything: it only has to stay as large as can be.
        narrow = np.clip(value, -largest, largest).astype(helper.tensor_dtype_to_np_dtype(self.kind))
        self.graph.initializer.append(numpy_helper.from_array(narrow, target))
