"""Bring your own model: what a foreign network sees is what was stated, what it answers is what it answered before, and
what nobody stated or nobody could trust is refused in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.adapt import SHARPEST_HEAT
from engines.backends import backend_of, library_of
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.engine import Precision
from engines.errors import EngineError, InputError
from engines.footage import Drive
from engines.grouped import one_group
from tests.networks import (
    IMAGENET,
    KERNEL,
    SCORE,
    STATED,
    C,
    H,
    W,
    answers,
    batch_free,
    convolution,
    network,
    original,
    pictures,
    scorer,
    seen,
    small,
    weights,
    with_weights_beside_it,
)
from training.wrap import wrap


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
    alike = one_group(wrapped.model)
    assert alike.graph.input[0].type.tensor_type.shape.dim[0].dim_value == (together or 0)
    onnx.checker.check_model(alike, full_check=True)
    count = together or len(images)
    got = OnnxRuntimeEngine(alike.SerializeToString()).features(images[:count]).late
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


def with_an_einsum(path: Path) -> Path:
    """As torch exports attention: axes in capitals, of which TensorRT takes none."""
    tail = [
        *convolution(),
        helper.make_node("Einsum", ["weighted", "mix"], ["mixed"], equation="NCHW,KC->NKHW"),
        helper.make_node("ReduceMean", ["mixed"], ["features"], axes=[2, 3], keepdims=0),
    ]
    return network(path, tail, KERNEL | {"mix": weights(C, C, seed=3)}, opset=17)


@pytest.mark.parametrize(
    "make",
    [
        in_opset_11,
        in_float16,
        with_weights_beside_it,
        with_weights_among_its_inputs,
        with_a_branch,
        with_functions,
        with_an_einsum,
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
    ("make", "batches"),
    [(with_an_einsum, (1, 4, 16)), (batch_of_one_in_its_bones, (1, 1, 1)), (batch_of_two, (2, 2, 2))],
    ids=["axes of an Einsum", "one frame at a time", "two at a time"],
)
def test_tensorrt_builds_it(
    make: Callable[[Path], Path], batches: tuple[int, ...], tmp_path: Path, drives: list[Drive]
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has no wheel for this platform")
    from engines.backends.tensor_rt import split

    wrapped = wrap(make(tmp_path / "n.onnx"), STATED, drives)
    library = library_of(backend_of("tensorrt-rtx"), tmp_path)
    description, _ = split(library.build(one_group(wrapped.model), Precision.FP32))
    assert description.profile == tuple((batch, H, W, 3) for batch in batches)
    first = -1 if batches[0] < batches[-1] else batches[0]
    assert [(v.name, v.shape[0]) for v in description.outputs] == [("late", first)]


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
