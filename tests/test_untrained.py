"""The untrained encoder: the same shape, other weights, and a last layer that still says something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.errors import EngineError
from engines.graph import load_graph
from engines.untrained import untrained

RANDOM = np.random.default_rng(1)
PICTURES = RANDOM.integers(0, 256, (9, 24, 32, 3)).astype(np.uint8)


def deep(scale: float, layers: int = 12) -> onnx.ModelProto:
    """Convolutions of 8 channels without normalisation between; their trained weights are all ``scale``."""
    nodes = [helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Transpose", ["x"], ["t0"], perm=[0, 3, 1, 2]))
    weights = []
    for i in range(layers):
        shape = (8, 3 if i == 0 else 8, 3, 3)
        weights.append(numpy_helper.from_array(np.full(shape, scale, np.float32), f"w{i}"))
        weights.append(numpy_helper.from_array(np.full(8, scale, np.float32), f"b{i}"))
        last = "late" if i == layers - 1 else f"t{i + 1}"
        nodes.append(helper.make_node("Conv", [f"t{i}", f"w{i}", f"b{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh" if i % 2 else "Relu", [f"c{i}"], [last]))
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 24, 32, 3])],
        [helper.make_tensor_value_info("late", TensorProto.FLOAT, ["N", 8, 24, 32])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def late(model: onnx.ModelProto, pictures: np.ndarray) -> np.ndarray:
    return OnnxRuntimeEngine(model.SerializeToString()).features(pictures).late


def test_the_shipped_encoder_without_training_answers_in_the_same_shape(rendered_bundle: Path) -> None:
    bundle = open_bundle(rendered_bundle)
    fused = load_graph(bundle.model_path)
    before = fused.SerializeToString()
    pictures, drives = bundle.normal_pictures()
    assert pictures.shape[1:] == (*bundle.manifest.input_size, 3)
    assert set(drives) == set(range(len(bundle.manifest.drives)))
    drawn = untrained(fused, pictures)
    assert fused.SerializeToString() == before, "the bundle's own graph must stay as it is"
    assert [o.name for o in drawn.graph.output] == ["late"]
    assert not any(i.name.startswith("sightline_") for i in drawn.graph.initializer)
    found, trained = late(drawn, pictures), OnnxRuntimeEngine(bundle.model_path).features(pictures).late
    assert found.shape == trained.shape
    assert not np.allclose(found, trained)
    assert found.std() > 0.05
    assert found.std(axis=0).mean() > 0.01, "it must tell pictures apart"


def test_a_seed_is_a_network() -> None:
    model = deep(0.1)
    first, again, other = (late(untrained(model, PICTURES, seed), PICTURES) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6], ids=["dead", "faint", "loud"])
def test_nothing_of_the_training_is_left(scale: float) -> None:
    np.testing.assert_array_equal(
        late(untrained(deep(scale), PICTURES), PICTURES), late(untrained(deep(1.0), PICTURES), PICTURES)
    )


def test_every_channel_says_something() -> None:
    """Input from 0 to 255 and no normalisation: He's weights alone leave the first layers at hundreds, and some channels
    of a deep network dead. Half of what a rectifier gets is below 0; a hyperbolic tangent ends at 1."""
    found = late(untrained(deep(1.0), PICTURES), PICTURES)
    spread = found.std(axis=(0, 2, 3))
    assert spread.min() > 0.3
    assert spread.max() < 1.0


def test_a_layer_has_the_statistics_that_a_batch_normalisation_would_give_it() -> None:
    model = deep(1.0, layers=1)
    del model.graph.node[-1]
    model.graph.node[-1].output[0] = "late"
    found = late(untrained(model, PICTURES), PICTURES).astype(np.float64)
    np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), 0.0, atol=0.02)
    np.testing.assert_allclose(found.std(axis=(0, 2, 3)), 1.0, atol=0.02)


def test_normalisation_begins_anew() -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["late"]),
    ]
    trained = {"scale": 7.0, "bias": -3.0, "mean": 11.0, "var": 0.01}
    arrays = [numpy_helper.from_array(np.full(4, v, np.float32), k) for k, v in trained.items()]
    arrays.append(numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w"))
    graph = helper.make_graph(
        nodes,
        "normalised",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 24, 32, 3])],
        [helper.make_tensor_value_info("late", TensorProto.FLOAT, ["N", 4, 24, 32])],
        arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    values = {i.name: numpy_helper.to_array(i) for i in untrained(model, PICTURES).graph.initializer}
    assert [values[name].tolist() for name in ("scale", "bias", "mean", "var")] == [
        [1.0] * 4, [0.0] * 4, [0.0] * 4, [1.0] * 4
    ]  # fmt: skip


def test_an_encoder_without_weights_is_refused() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["x", "axes"], ["late"], keepdims=0),
        ],
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 24, 32, 3])],
        [helper.make_tensor_value_info("late", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(EngineError, match="must have layers with weights"):
        untrained(model, PICTURES)
