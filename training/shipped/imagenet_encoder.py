"""Make the large encoder that ships: MobileNetV2 (Sandler et al. 2018) with its ImageNet weights as they are.

    python -m training.shipped.imagenet_encoder --weights mobilenet_v2_1.0_224.npz --out engines/shipped/road-large

Nothing is trained. The network is cut after its 320-channel stage, whose features tell roads apart across
cameras better than those before and behind it; 48 early statistics stand beside them, as the road encoder has.
Numpy and onnx alone. The weights' file is described in ``training.shipped.mobilenet``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.errors import InputError
from engines.whole_file import write_whole

INPUT_SIZE = (224, 336)
"""Height and width of a frame in pixels: 3:2; stride 32 leaves 7 × 11 cells."""
LATE, EARLY = 320, 24
"""Channels of the stages whose last maps are taken."""
VARIANCE_FLOOR = 1e-8
"""A flat picture has no variance; its square root stays finite with all its derivatives."""


class _Network:
    """The published operations, one after the other, as ONNX nodes; keeps every tensor's name and shape."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.names: dict[int, str] = {}
        self.shapes: dict[str, tuple[int, int, int]] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def add(self, operation: dict[str, Any]) -> str:
        left, right = (self.names[i] for i in operation["i"])
        result = self.node("Add", [left, right], f"add{operation['o'][0]}")
        self.shapes[result] = self.shapes[left]
        return result

    def convolve(
        self, operation: dict[str, Any], weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> str:
        source, stride, label = self.names[operation["i"][0]], int(operation["stride"]), operation["w"]
        channels, height, width = self.shapes[source]
        kernel, outputs = weight.shape[2], weight.shape[0]
        # Padding SAME: what is odd goes behind.
        lack = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (height, width)]
        result = self.node(
            "Conv",
            [source, self.constant(label, weight), self.constant(f"{label}_bias", bias)],
            f"conv_{label}",
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[*(n // 2 for n in lack), *(n - n // 2 for n in lack)],
            group=channels if weight.shape[1] == 1 and channels > 1 else 1,
        )
        if operation["act"] == 3:
            result = self.node("Clip", [result, "zero", "six"], f"relu6_{label}")
        self.shapes[result] = (outputs, -(-height // stride), -(-width // stride))
        return result

    def last(self, channels: int) -> str:
        """The last tensor of that many channels."""
        return [name for name, shape in self.shapes.items() if shape[0] == channels][-1]


def make_encoder(weights: Path, size: tuple[int, int] = INPUT_SIZE, late: int = LATE) -> onnx.ModelProto:
    """uint8 frames N×H×W×3 RGB -> ``late``, the last map of that many channels, and ``early`` N×48: mean and
    deviation over the picture of the 24 channels at stride 4."""
    try:
        with np.load(weights, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        operations = json.loads(str(arrays["meta"]))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            weights, f"must be the MobileNetV2 weights as .npz: {error}", "see --weights"
        ) from error
    network = _Network()
    _enter(network, operations[0]["i"][0], size)
    for operation in operations:
        if operation["op"] == "AVERAGE_POOL_2D":
            break
        if operation["op"] == "ADD":
            result = network.add(operation)
        else:
            label = operation["w"]
            weight, bias = (channels_first(arrays[n]) for n in (label, "b" + label[1:]))
            result = network.convolve(operation, weight, bias)
        network.names[operation["o"][0]] = result
    last = network.last(late)
    network.node("Identity", [last], "late")
    _leave_early(network, network.last(EARLY))
    return _model(network, size, network.shapes[last])


def _enter(network: _Network, first: int, size: tuple[int, int]) -> None:
    for name, value in (("zero", 0.0), ("six", 6.0), ("middle", 128.0), ("floor", VARIANCE_FLOOR)):
        network.constant(name, np.array(value, np.float32))
    # Cast before transposing: TensorRT has no uint8 transpose.
    pixels = network.node("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
    channels = network.node("Transpose", [pixels], "channels_first", perm=[0, 3, 1, 2])
    centred = network.node("Sub", [channels, "middle"], "centred")
    network.names[first] = network.node("Div", [centred, "middle"], "scaled")
    network.shapes["scaled"] = (3, *size)


def _leave_early(network: _Network, source: str) -> None:
    axes = network.constant("axes", np.array([2, 3], np.int64))
    kept = network.node("ReduceMean", [source, axes], "early_kept", keepdims=1)
    mean = network.node("Flatten", [kept], "early_mean", axis=1)
    squares = network.node("Mul", [network.node("Sub", [source, kept], "early_centred")] * 2, "early_squares")
    variance = network.node("ReduceMean", [squares, axes], "early_variance", keepdims=0)
    deviation = network.node("Sqrt", [network.node("Max", [variance, "floor"], "early_floored")], "early_std")
    network.node("Concat", [mean, deviation], "early", axis=1)


def _model(network: _Network, size: tuple[int, int], late: tuple[int, int, int]) -> onnx.ModelProto:
    graph = helper.make_graph(
        network.nodes,
        "mobilenet_v2",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *size, 3])],
        [
            helper.make_tensor_value_info("late", TensorProto.FLOAT, ["N", *late]),
            helper.make_tensor_value_info("early", TensorProto.FLOAT, ["N", 2 * EARLY]),
        ],
        network.weights,
    )
    _forget_unused(graph)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model.producer_name = "sightline"
    onnx.checker.check_model(model)
    return model


def _forget_unused(graph: onnx.GraphProto) -> None:
    """Leave out what no output needs: the operations behind the cut, and their weights."""
    needed = {o.name for o in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    weights = [w for w in graph.initializer if w.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(weights)


def channels_first(weight: NDArray[np.floating]) -> NDArray[np.float32]:
    """(output, height, width, input), depthwise (1, height, width, channel) -> (output, input, height, width), as
    ONNX and torch have it; biases as they are."""
    weight = weight.astype(np.float32)
    if weight.ndim != 4:
        return weight
    depthwise = weight.shape[0] == 1 and weight.shape[1] == 3
    return np.ascontiguousarray(weight.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2)))


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=INPUT_SIZE, help="height and width of a frame")
    parser.add_argument("--late", type=int, default=LATE, help="channels of the stage behind which it is cut")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model = make_encoder(options.weights, (options.size[0], options.size[1]), options.late)
    write_whole(options.out / "encoder.onnx", model.SerializeToString())


if __name__ == "__main__":
    main()
