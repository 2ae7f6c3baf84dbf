"""Small foreign networks, what they see and what they answer, for tests of ``wrap``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.frames import Image
from engines.scores import Features
from training.wrap import Wrapped

H, W, C = 24, 32, 8
STATED = {"order": "rgb", "scale": "1/255", "mean": "0", "std": "1", "as": "embedding"}
IMAGENET = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}
SCORE = STATED | {"as": "score", "higher-is": "stranger"}


def weights(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(
    path: Path,
    tail: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    outputs: Sequence[str] = ("features",),
    *,
    shape: Sequence[int | str] = ("N", 3, H, W),
    input_type: int = TensorProto.FLOAT,
    output_type: int = TensorProto.FLOAT,
    opset: int = 18,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A network from ``images`` to ``outputs`` by the nodes of ``tail``."""
    graph = helper.make_graph(
        list(tail),
        "network",
        [helper.make_tensor_value_info("images", input_type, list(shape))],
        [helper.make_tensor_value_info(name, output_type, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def convolution(source: str = "images") -> list[onnx.NodeProto]:
    """N×3×H×W -> ``pooled`` N×C×1×1, of which no two channels, rows or colours could be swapped unnoticed."""
    return [
        helper.make_node("Conv", [source, "kernel"], ["map"], strides=[4, 4], kernel_shape=[5, 5]),
        helper.make_node("Mul", ["map", "rows"], ["weighted"]),
        helper.make_node("GlobalAveragePool", ["weighted"], ["pooled"]),
    ]


KERNEL = {"kernel": weights(C, 3, 5, 5), "rows": weights(1, 1, 5, 7, seed=2)}


def small(path: Path, rows: int = 0, **changes: object) -> Path:
    """The usual network: ``features`` N×C, with ``rows`` in the target of its Reshape as exporters write it."""
    tail = [*convolution(), helper.make_node("Reshape", ["pooled", "target"], ["features"])]
    return network(path, tail, KERNEL | {"target": np.array([rows, C])}, **changes)  # type: ignore[arg-type]


def pictures(count: int = 5) -> Image:
    return np.random.default_rng(count).integers(0, 256, (count, H, W, 3)).astype(np.uint8)


def answers(wrapped: Wrapped, images: Image) -> Features:
    return OnnxRuntimeEngine(wrapped.model.SerializeToString()).features(images)


def original(path: Path, inputs: np.ndarray, output: str = "features") -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(path).run([output], {"images": inputs})[0])


def seen(images: Image, scale: float = 1 / 255, mean: object = 0.0, std: object = 1.0) -> np.ndarray:
    """N×H×W×3 to what a network of channels first is to see, in float64's arithmetic."""
    values = (images * scale - np.asarray(mean)) / np.asarray(std)
    return values.transpose(0, 3, 1, 2).astype(np.float32)


def scorer(path: Path, shape: Sequence[int], *, bounded: bool = False, gain: float = 1.0) -> Path:
    """``score``, a number per frame in ``shape``; and ``map``, N×C×5×7."""
    tail = [*convolution(), helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    tail.append(helper.make_node("Mul", ["mean", "gain"], ["steep"]))
    tail += [helper.make_node("Sigmoid", ["steep"], ["bounded"])] if bounded else []
    tail.append(helper.make_node("Reshape", ["bounded" if bounded else "steep", "target"], ["score"]))
    constants = KERNEL | {"target": np.array(shape), "gain": np.float32(gain)}
    return network(path, tail, constants, ["score"], opset=17)


def with_weights_beside_it(path: Path) -> Path:
    model = onnx.load(small(path))
    onnx.save(model, path, save_as_external_data=True, location="n.data", size_threshold=256)
    assert (path.parent / "n.data").is_file()
    return path


def batch_free(path: Path) -> Path:
    return small(path)
