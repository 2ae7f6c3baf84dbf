"""Bring your own model: what a foreign network sees is what was stated, what it answers is what it answered before, and
what nobody stated or nobody could trust is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.adapt import SHARPEST_HEAT
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.errors import EngineError, InputError, SightlineError
from engines.footage import Drive, find_drives
from engines.frames import Image
from engines.proof.verify import verify_engine
from engines.rendered import Segment, render, write_video
from engines.scores import Features
from monitor.replay import replay
from training.fit import DensityKind
from training.teach import Lesson, teach
from training.wrap import Wrapped, wrap
from training.wrap.command import wrap_command

H, W, C = 24, 32, 8
STATED = {"order": "rgb", "scale": "1/255", "mean": "0", "std": "1", "as": "embedding"}
SCORE = STATED | {"as": "score", "higher-is": "stranger"}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A highway of 30 s, and a city."""
    folder = tmp_path_factory.mktemp("footage")
    for name, scene, seconds in (("highway", "highway", 30.0), ("city", "city", 5.0)):
        pictures = (image for _, _, image in render((Segment(scene, seconds),), 1, (160, 90), 5.0))
        write_video(folder / f"{name}.mp4", pictures, 5.0)
    return folder


@pytest.fixture(scope="module")
def drives(footage: Path) -> list[Drive]:
    return find_drives([footage / "highway.mp4"])


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


IMAGENET = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, lambda x: seen(x)),
        (IMAGENET, lambda x: seen(x, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])),
        ({"scale": "1", "mean": "128", "std": "128"}, lambda x: seen(x, 1.0, 128, 128)),
        (
            {"order": "bgr", "scale": "1", "mean": "104,117,123"},
            lambda x: seen(x[..., ::-1], 1.0, [104, 117, 123]),
        ),
    ],
    ids=["0 to 1", "imagenet", "-1 to 1", "caffe: BGR of 0 to 255"],
)
def test_the_network_sees_what_was_stated(
    flags: dict[str, str], expected: object, tmp_path: Path, drives: list[Drive]
) -> None:
    path, images = small(tmp_path / "n.onnx"), pictures()
    got = answers(wrap(path, STATED | flags, drives), images).late
    assert callable(expected)
    np.testing.assert_allclose(got, original(path, expected(images)), rtol=1e-4, atol=1e-5)


def test_channels_last_and_a_free_size(tmp_path: Path, drives: list[Drive]) -> None:
    first = helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2])
    tail = [first, *convolution("first"), helper.make_node("Flatten", ["pooled"], ["features"])]
    path = network(tmp_path / "n.onnx", tail, KERNEL, shape=("N", "h", "w", 3))
    flags = STATED | {"layout": "nhwc", "size": f"{H}x{W}", "channels": "1"}
    images = pictures()
    want = original(path, (images / 255).astype(np.float32))
    np.testing.assert_allclose(answers(wrap(path, flags, drives), images).late, want, rtol=1e-4, atol=1e-5)


def test_uint8_pixels_are_taken_as_they_are(tmp_path: Path, drives: list[Drive]) -> None:
    cast = helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT)
    tail = [cast, *convolution("float"), helper.make_node("Flatten", ["pooled"], ["features"])]
    path = network(tmp_path / "n.onnx", tail, KERNEL, input_type=TensorProto.UINT8)
    images = pictures()
    got = answers(wrap(path, {"order": "bgr", "as": "embedding"}, drives), images).late
    want = original(path, np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)
    with pytest.raises(InputError, match="leave out --scale"):
        wrap(path, STATED, drives)


@pytest.mark.parametrize(
    "metadata",
    [
        {
            "sightline.order": "bgr",
            "sightline.scale": "2/255",
            "sightline.mean": "1",
            "sightline.std": "1",
            "sightline.as": "embedding",
        },
        {
            "Image.BitmapPixelFormat": "Bgr8",
            "Image.NominalPixelRange": "Normalized_1_1",
            "sightline.as": "embedding",
        },
    ],
    ids=["our keys", "the standard's keys"],
)
def test_metadata_needs_no_flags(metadata: dict[str, str], tmp_path: Path, drives: list[Drive]) -> None:
    path, images = small(tmp_path / "n.onnx", metadata=metadata), pictures()
    want = original(path, seen(images[..., ::-1], 2 / 255, 1.0))
    np.testing.assert_allclose(answers(wrap(path, {}, drives), images).late, want, rtol=1e-4, atol=1e-5)
    # A flag has the last word.
    want = original(path, seen(images, 2 / 255, 1.0))
    got = answers(wrap(path, {"order": "rgb"}, drives), images).late
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_what_is_not_stated_is_asked_for_at_once(tmp_path: Path, drives: list[Drive]) -> None:
    path = small(tmp_path / "n.onnx", shape=("N", "c", "h", "w"))
    with pytest.raises(InputError) as caught:
        wrap(path, {"scale": "1/255"}, drives)
    line = str(caught.value)
    for flag in ("--size", "--layout", "--rgb or --bgr", "--mean", "--std", "--as"):
        assert flag in line
    assert "--scale" not in line
    assert "--output" not in line  # there is only one


def batch_free(path: Path) -> Path:
    return small(path)


def batch_in_a_reshape(path: Path) -> Path:
    return small(path, 1, shape=(1, 3, H, W))


def batch_of_one_in_its_bones(path: Path) -> Path:
    """Two frames would make two rows of one."""
    tail = [*convolution(), helper.make_node("Concat", ["pooled", "token"], ["long"], axis=2)]
    tail.append(helper.make_node("Reshape", ["long", "target"], ["features"]))
    constants = KERNEL | {"token": weights(1, C, 2, 1), "target": np.array([1, 3 * C])}
    return network(path, tail, constants, shape=(1, 3, H, W))


def batch_of_two(path: Path) -> Path:
    tail = [*convolution(), helper.make_node("Add", ["pooled", "offset"], ["moved"])]
    tail.append(helper.make_node("Reshape", ["moved", "target"], ["features"]))
    offset = np.repeat(weights(1, C, 1, 1), 2, axis=0)
    return network(path, tail, KERNEL | {"offset": offset, "target": np.array([2, C])}, shape=(2, 3, H, W))


def batch_normalised_over_itself(path: Path) -> Path:
    """Frames side by side change each other's answers; alone, each has its own."""
    tail = [*convolution(), helper.make_node("ReduceMean", ["images"], ["level"], keepdims=1)]
    tail += [
        helper.make_node("Mul", ["pooled", "level"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["features"]),
    ]
    return network(path, tail, KERNEL)


@pytest.mark.parametrize(
    ("make", "together"),
    [
        (batch_free, None),
        (batch_in_a_reshape, None),
        (batch_of_one_in_its_bones, 1),
        (batch_of_two, 2),
        (batch_normalised_over_itself, 1),
    ],
)
def test_any_number_of_frames_is_answered_as_each_alone(
    make: object, together: int | None, tmp_path: Path, drives: list[Drive]
) -> None:
    assert callable(make)
    path = make(tmp_path / "n.onnx")
    wrapped = wrap(path, STATED, drives)
    assert wrapped.batch == together
    images, copies = pictures(), together or 1
    alone = [original(path, np.repeat(seen(i[None]), copies, axis=0))[:1] for i in images]
    for count in (1, 2, 5):
        got = answers(wrapped, images[:count]).late
        np.testing.assert_allclose(got, np.concatenate(alone[:count]), rtol=1e-4, atol=1e-5)


def test_a_fixed_batch_whose_frames_meddle_is_refused(tmp_path: Path, drives: list[Drive]) -> None:
    tail = [*convolution(), helper.make_node("ReduceMean", ["images"], ["level"], keepdims=1)]
    tail += [
        helper.make_node("Mul", ["pooled", "level"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "target"], ["features"]),
    ]
    path = network(tmp_path / "n.onnx", tail, KERNEL | {"target": np.array([2, C])}, shape=(2, 3, H, W))
    with pytest.raises(EngineError, match="whatever frames are beside it; exported for 2"):
        wrap(path, STATED, drives)


def in_opset_11(path: Path) -> Path:
    return small(path, opset=11)


def in_float16(path: Path) -> Path:
    tail = [*convolution(), helper.make_node("Flatten", ["pooled"], ["features"])]
    half = {name: value.astype(np.float16) for name, value in KERNEL.items()}
    kinds = {"input_type": TensorProto.FLOAT16, "output_type": TensorProto.FLOAT16}
    return network(path, tail, half, **kinds)  # type: ignore[arg-type]


def with_weights_beside_it(path: Path) -> Path:
    model = onnx.load(small(path))
    onnx.save(model, path, save_as_external_data=True, location="n.data", size_threshold=256)
    assert (path.parent / "n.data").is_file()
    return path


def with_weights_among_its_inputs(path: Path) -> Path:
    """As graphs of an old IR list them."""
    model = onnx.load(small(path))
    kernel = helper.make_tensor_value_info("kernel", TensorProto.FLOAT, [C, 3, 5, 5])
    model.graph.input.insert(0, kernel)
    onnx.save(model, path)
    return path


def with_a_branch(path: Path) -> Path:
    """An inner graph that reads tensors and weights of the outer one, called as the fused graph's own are."""
    yes = helper.make_graph(
        [helper.make_node("Mul", ["latent", "late"], ["chosen"])],
        "yes",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    no = helper.make_graph(
        [helper.make_node("Identity", ["latent"], ["surprise"])],
        "no",
        [],
        [helper.make_tensor_value_info("surprise", TensorProto.FLOAT, None)],
    )
    tail = [*convolution(), helper.make_node("Flatten", ["pooled"], ["latent"])]
    tail.append(helper.make_node("If", ["true"], ["features"], then_branch=yes, else_branch=no))
    return network(path, tail, KERNEL | {"late": weights(1, C, seed=3), "true": np.array(True)})


def with_functions(path: Path) -> Path:
    model = onnx.load(small(path))
    nodes = list(model.graph.node)
    function = helper.make_function(
        "mine", "Tail", ["x", "target"], ["y"],
        [helper.make_node("Reshape", ["x", "target"], ["y"])], [helper.make_opsetid("", 18)],
    )  # fmt: skip
    del model.graph.node[:]
    model.graph.node.extend(
        [*nodes[:-1], helper.make_node("Tail", ["pooled", "target"], ["features"], domain="mine")]
    )
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.append(function)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "make",
    [
        in_opset_11,
        in_float16,
        with_weights_beside_it,
        with_weights_among_its_inputs,
        with_a_branch,
        with_functions,
    ],
)
def test_models_come_in_many_shapes(make: object, tmp_path: Path, drives: list[Drive]) -> None:
    assert callable(make)
    path, images = make(tmp_path / "n.onnx"), pictures()
    got = answers(wrap(path, STATED, drives), images).late
    half = make is in_float16
    want = original(path, seen(images).astype(np.float16 if half else np.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=2e-2 if half else 1e-4, atol=2e-3 if half else 1e-5)


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        ({"output": "weighted"}, (C, 5, 7)),
        ({"output": "sequence", "channels": "1"}, (C,)),
        ({"output": "sequence", "channels": "2"}, (35,)),
        ({"output": "weighted", "channels": "3"}, (7, C, 5)),
        ({"output": "pooled"}, (C,)),
    ],
    ids=["a map", "a sequence", "a sequence of channels last", "a map of channels last", "a map of one cell"],
)
def test_any_tensor_is_an_embedding(
    flags: dict[str, str], shape: tuple[int, ...], tmp_path: Path, drives: list[Drive]
) -> None:
    """Also one inside the network: what stands before a classifier says more than its classes."""
    tail = [*convolution(), helper.make_node("Reshape", ["weighted", "target"], ["sequence"])]
    tail.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    path = network(tmp_path / "n.onnx", tail, KERNEL | {"target": np.array([0, C, 35])})
    images = pictures()
    got = answers(wrap(path, STATED | flags, drives), images).late
    assert got.shape == (5, *shape)
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info(flags["output"], TensorProto.FLOAT, None))
    onnx.save(model, path)
    raw = original(path, seen(images), flags["output"])
    axis = int(flags.get("channels", 1))
    moved = np.moveaxis(raw, axis, 1)
    want = (
        moved.reshape(5, *moved.shape[1:]) if len(shape) == 3 else moved.reshape(5, shape[0], -1).mean(axis=2)
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def scorer(path: Path, shape: Sequence[int], *, bounded: bool = False, gain: float = 1.0) -> Path:
    """``score``, a number per frame in ``shape``; and ``map``, N×C×5×7."""
    tail = [*convolution(), helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    tail.append(helper.make_node("Mul", ["mean", "gain"], ["steep"]))
    tail += [helper.make_node("Sigmoid", ["steep"], ["bounded"])] if bounded else []
    tail.append(helper.make_node("Reshape", ["bounded" if bounded else "steep", "target"], ["score"]))
    constants = KERNEL | {"target": np.array(shape), "gain": np.float32(gain)}
    return network(path, tail, constants, ["score"], opset=17)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("higher", ["stranger", "normal"])
def test_a_score_is_higher_when_stranger(
    shape: Sequence[int], higher: str, tmp_path: Path, drives: list[Drive]
) -> None:
    path, images = scorer(tmp_path / "n.onnx", shape), pictures()
    got = answers(wrap(path, SCORE | {"higher-is": higher}, drives), images).late
    want = original(path, seen(images), "score").reshape(5, 1)
    np.testing.assert_allclose(got, want if higher == "stranger" else -want, rtol=1e-4, atol=1e-6)


def test_a_probability_becomes_its_log_odds(tmp_path: Path, drives: list[Drive]) -> None:
    path, images = scorer(tmp_path / "n.onnx", (-1,), bounded=True, gain=3.0), pictures()
    got = answers(wrap(path, SCORE | {"as": "probability"}, drives), images).late[:, 0]
    p = original(path, seen(images), "score").astype(np.float64)
    np.testing.assert_allclose(got, np.log(p / (1 - p)), rtol=1e-3, atol=1e-4)


def test_a_probability_of_0_or_1_stays_finite(tmp_path: Path, drives: list[Drive]) -> None:
    path = scorer(tmp_path / "n.onnx", (-1,), bounded=True, gain=1e6)
    got = answers(wrap(path, SCORE | {"as": "probability"}, drives), pictures()).late
    np.testing.assert_allclose(np.abs(got), np.log(999), rtol=1e-4)


def test_a_sharp_map_becomes_a_coarse_heat_map(tmp_path: Path, drives: list[Drive]) -> None:
    tail = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", ["grey"], ["score"], axes=[1, 2, 3], keepdims=0),
    ]
    path = network(tmp_path / "n.onnx", tail, {}, ["score", "grey"], shape=("N", 3, 100, 150), opset=17)
    flags = SCORE | {"output": "score", "heat": "grey"}
    images = np.random.default_rng(0).integers(0, 256, (2, 100, 150, 3)).astype(np.uint8)
    heat = answers(wrap(path, flags, drives), images).heat
    assert heat is not None
    assert heat.shape == (2, 34, 50)
    assert max(heat.shape[1:]) <= SHARPEST_HEAT
    grey = images.mean(axis=3) / 255
    assert heat[0, 0, 0] == pytest.approx(grey[0, :3, :3].mean(), rel=1e-5)
    assert heat[1, -1, -1] == pytest.approx(grey[1, 99:, 147:].mean(), rel=1e-5)


def two_inputs(path: Path) -> Path:
    model = onnx.load(small(path))
    model.graph.input.append(helper.make_tensor_value_info("prompt", TensorProto.FLOAT, [1, 4]))
    onnx.save(model, path)
    return path


def nan_on_black(path: Path) -> Path:
    nodes = [
        *convolution(),
        helper.make_node("ReduceMean", ["images"], ["level"], keepdims=0, axes=[1, 2, 3]),
    ]
    nodes.append(helper.make_node("Div", ["level", "level"], ["score"]))
    return network(path, nodes, KERNEL, ["score"], opset=17)


def labels(path: Path) -> Path:
    nodes = [*convolution(), helper.make_node("ArgMax", ["pooled"], ["label"], axis=1)]
    return network(path, nodes, KERNEL, ["label"], output_type=TensorProto.INT64)


def weights_lost(path: Path) -> Path:
    with_weights_beside_it(path)
    (path.parent / "n.data").unlink()
    return path


def no_model(path: Path) -> Path:
    path.write_bytes(b"no model")
    return path


def unknown_operator(path: Path) -> Path:
    node = helper.make_node("Telepathy", ["images"], ["features"], domain="mine", name="sixth_sense")
    return network(path, [node], {})


def two_logits(path: Path) -> Path:
    tail = [*convolution(), helper.make_node("Flatten", ["pooled"], ["features"])]
    return network(path, tail, KERNEL)


@pytest.mark.parametrize(
    ("make", "flags", "said"),
    [
        (two_inputs, STATED, "must have one input, the picture; got images, prompt"),
        (nan_on_black, SCORE, "must be finite, but is not for black"),
        (labels, STATED, "must hold floating-point numbers"),
        (weights_lost, STATED, "must hold weights of n.onnx, but is missing"),
        (no_model, STATED, "must be an ONNX file"),
        (unknown_operator, STATED, "Telepathy"),
        (two_logits, SCORE, f"must be one number per frame to be a score, got N×{C}"),
        (batch_free, STATED | {"output": "feature"}, "must have a tensor 'feature'; it has features"),
        (batch_free, STATED | {"layout": "nhwc"}, f"declares ?×3×{H}×{W}"),
        (batch_free, STATED | {"size": "64x64"}, f"must take 3×64×64 .* declares ?×3×{H}×{W}"),
        (batch_free, STATED | {"size": "64"}, "--size: must be height x width"),
        (batch_free, STATED | {"scale": "1/0"}, "--scale: must be a number"),
        (batch_free, STATED | {"std": "1,0,1"}, "--std: must be one positive number"),
        (batch_free, STATED | {"heat": "features"}, "must be a map N×h×w"),
        (lambda p: small(p, shape=("N", 1, H, W)), STATED, "must take pictures of three channels"),
        (lambda p: small(p, shape=("N", 3, H)), STATED, "with 4 axes"),
        (lambda p: small(p, input_type=TensorProto.INT64), STATED, "float or uint8 pictures with 4 axes, got int64"),
        (lambda p: scorer(p, (-1,), gain=9.0), SCORE | {"as": "probability"}, "must lie between 0 and 1"),
        (lambda p: p, STATED, "must be an ONNX file; there is none"),
    ],
    ids=[
        "two inputs", "NaN on black", "labels", "weights lost", "not a model", "unknown operator", "many scores",
        "unknown output", "wrong layout", "wrong size", "half a size", "scale by zero", "spread of zero",
        "a vector as heat", "grey", "three axes", "integers", "no probability", "no file",
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_refused(
    make: object, flags: dict[str, str], said: str, tmp_path: Path, drives: list[Drive]
) -> None:
    assert callable(make)
    path = make(tmp_path / "n.onnx")
    with pytest.raises(SightlineError) as caught:
        wrap(path, flags, drives)
    assert "\n" not in str(caught.value)
    for part in said.split(" .* "):
        assert part in str(caught.value)


def test_channels_last_must_say_where_features_are(tmp_path: Path, drives: list[Drive]) -> None:
    first = helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2])
    path = network(
        tmp_path / "n.onnx", [first, *convolution("first")], KERNEL, ["pooled"], shape=("N", H, W, 3)
    )
    with pytest.raises(InputError, match="state --channels"):
        wrap(path, STATED, drives)


def test_an_embedding_becomes_a_bundle(footage: Path, tmp_path: Path) -> None:
    path = small(tmp_path / "colours.onnx", 1, shape=(1, 3, H, W))
    wrap_command(
        path, [footage / "highway.mp4"], tmp_path / "b", [footage / "city.mp4"],
        bgr=False, scale="1/255", mean="0", std="1", kind="embedding", density=DensityKind.GAUSSIAN, rate=5.0,
        ignore=["0,0.9,1,1"],
    )  # fmt: skip
    bundle = open_bundle(tmp_path / "b")
    assert bundle.ignored.shapes == ((0.0, 0.9, 1.0, 1.0),)
    assert (bundle.manifest.encoder.name, bundle.manifest.input_size) == ("colours", (H, W))
    assert bundle.manifest.density == "one Gaussian"
    assert bundle.manifest.relative
    engine = OnnxRuntimeEngine(bundle.model_path)
    assert verify_engine(engine, bundle).failed == ""


def test_a_score_of_fixed_batch_is_watched_like_any_other(footage: Path, tmp_path: Path) -> None:
    """As anomalib exports a PatchCore: two frames at a time, a score and a map beside labels."""
    tail = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Add", ["grey", "offset"], ["anomaly_map"]),
        helper.make_node("ReduceMax", ["anomaly_map"], ["flat"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["flat", "flat"], ["pred_score"]),
        helper.make_node("Cast", ["pred_score"], ["pred_label"], to=TensorProto.BOOL),
    ]
    offset = np.zeros((2, 1, H, W), np.float32)
    outputs = ["pred_score", "pred_label", "anomaly_map"]
    path = network(tmp_path / "n.onnx", tail, {"offset": offset}, outputs, shape=(2, 3, H, W), opset=17)
    wrap_command(
        path, [footage / "highway.mp4"], tmp_path / "b", bgr=False, scale="1/255", mean="0", std="1",
        output="pred_score", kind="score", higher_is="stranger", heat="anomaly_map", rate=5.0,
    )  # fmt: skip
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest.density == "the network's own score"
    engine = OnnxRuntimeEngine(bundle.model_path)
    assert verify_engine(engine, bundle).failed == ""
    assert engine.score(pictures(3)).heat.shape == (3, H, W)
    surprises: list[float] = []
    (city,) = find_drives([footage / "city.mp4"])
    replay(
        city,
        bundle,
        engine,
        on_frame=lambda w: surprises.append(w.surprise),
        on_event=lambda e: None,
        batch=3,
    )
    assert len(surprises) == 25
    assert np.isfinite(surprises).all()


def test_a_score_that_cannot_reach_its_alarm_is_told(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A score clipped to 1 whose normal footage comes near 1 has its threshold above: no picture ever alarms."""
    tail = [
        helper.make_node("ReduceMean", ["images"], ["level"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["level", "gain"], ["steep"]),
        helper.make_node("Clip", ["steep", "zero", "one"], ["score"]),
    ]
    constants = {"gain": np.float32(2.19), "zero": np.float32(0), "one": np.float32(1)}
    path = network(tmp_path / "n.onnx", tail, constants, ["score"], opset=17)
    common = {"bgr": False, "scale": "1/255", "mean": "0", "std": "1", "higher_is": "stranger", "rate": 5.0}
    wrap_command(path, [footage / "highway.mp4"], tmp_path / "b", kind="score", **common)  # type: ignore[arg-type]
    calibration = open_bundle(tmp_path / "b").calibration
    assert calibration.channel("domain").threshold > 1.0
    said = "".join(capsys.readouterr()).replace("\n", " ")
    assert "below the alarm" in said
    assert "of the network's score" in said
    assert "nats" not in said


@pytest.mark.parametrize(("relative", "where"), [(None, "other footage"), (True, "--relative")])
def test_a_score_is_not_compared_with_a_background(
    relative: bool | None, where: str, drives: list[Drive], tmp_path: Path
) -> None:
    """The score less itself is 0: every frame of every recording used to lie at the centre of the domain."""
    lesson = Lesson(DensityKind.DIRECT, relative)
    other = drives if relative is None else []
    with pytest.raises(InputError, match=f"{where}: needs a density to compare by"):
        teach(tmp_path / "b", ("score", onnx.ModelProto(), None), drives, other, lesson)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("score", {"other": True}, "--other"),
        ("embedding", {"density": DensityKind.DIRECT}, "--density direct"),
    ],
)
def test_what_does_not_go_together(
    kind: str, changes: dict[str, object], said: str, footage: Path, tmp_path: Path
) -> None:
    path = scorer(tmp_path / "n.onnx", (-1,))
    if "other" in changes:
        changes = {"other": [footage / "city.mp4"]}
    with pytest.raises(InputError, match=said):
        wrap_command(
            path, [footage / "highway.mp4"], tmp_path / "b", bgr=False, scale="1/255", mean="0", std="1",
            output="score" if kind == "score" else "pooled", kind=kind, higher_is="stranger", **changes,
        )  # type: ignore[arg-type]  # fmt: skip
    assert not (tmp_path / "b").exists()


def test_the_command_names_the_missing_flags(footage: Path, tmp_path: Path) -> None:
    path = small(tmp_path / "n.onnx")
    command = [sys.executable, "-m", "sightline", "wrap", str(path), "--normal", str(footage / "highway.mp4")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "b")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "--rgb or --bgr; --scale" in done.stderr
    assert not (tmp_path / "b").exists()


def test_nothing_of_the_exporters_machine_stays(tmp_path: Path, drives: list[Drive]) -> None:
    model = onnx.load(small(tmp_path / "n.onnx"))
    model.graph.node[0].metadata_props.add(key="stack_trace", value="File /home/somebody/secret.py")
    model.graph.node[0].doc_string = "File /home/somebody/secret.py"
    onnx.save(model, tmp_path / "n.onnx")
    assert b"secret" not in wrap(tmp_path / "n.onnx", STATED, drives).model.SerializeToString()


def test_a_torchvision_backbone(footage: Path, tmp_path: Path) -> None:
    """Exported by torch for one frame; weights are random, which is enough for the mechanics."""
    torch = pytest.importorskip("torch", reason="needs torch")
    torchvision = pytest.importorskip("torchvision", reason="needs torchvision")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v3_small(weights=None).eval()
    path = tmp_path / "mobilenet.onnx"
    torch.onnx.export(net, (torch.randn(1, 3, 64, 64),), str(path), dynamo=True, verbose=False)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    flags = STATED | IMAGENET
    wrapped = wrap(path, flags, find_drives([footage / "highway.mp4"]))
    assert wrapped.batch is None
    with torch.no_grad():
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        want = net(torch.from_numpy(seen(images, mean=mean, std=std))).numpy()
    np.testing.assert_allclose(answers(wrapped, images).late, want, rtol=1e-3, atol=1e-4)
