"""Bring your own model: what cannot be trusted is refused in one line, and the rest becomes a bundle like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.errors import InputError, SightlineError
from engines.footage import Drive, find_drives
from engines.graph import encoder_of, load_graph
from engines.opening import open_engine
from engines.proof.verify import verify_engine
from monitor.replay import replay
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
    pictures,
    scorer,
    seen,
    small,
    with_weights_beside_it,
)
from training.fit import DensityKind
from training.teach import Lesson, teach
from training.wrap import wrap
from training.wrap.command import wrap_command


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


def an_empty_file(path: Path) -> Path:
    path.touch()
    return path


def unknown_operator(path: Path) -> Path:
    node = helper.make_node("Telepathy", ["images"], ["features"], domain="mine", name="sixth_sense")
    return network(path, [node], {})


def a_scalar_beside_it(path: Path) -> Path:
    tail = [*convolution(), helper.make_node("ReduceMean", ["images"], ["level"], keepdims=0)]
    tail.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    return network(path, tail, KERNEL, ["features", "level"])


def with_branches(path: Path) -> Path:
    """Both read a constant that nothing outside of them reads."""

    def branch(kind: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(kind, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(kind, ["pooled", "shared"], [kind])], kind, [], [output])

    tail = [
        *convolution(),
        helper.make_node("ReduceMean", ["images"], ["level"], keepdims=0),
        helper.make_node("Greater", ["level", "least"], ["bright"]),
        helper.make_node("If", ["bright"], ["picked"], then_branch=branch("Mul"), else_branch=branch("Add")),
        helper.make_node("Reshape", ["picked", "target"], ["features"]),
    ]
    constants = {
        "shared": np.full((1, C, 1, 1), 2, np.float32),
        "least": np.float32(-1e9),
        "target": np.array([0, C]),
    }
    return network(path, tail, KERNEL | constants)


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
        (an_empty_file, STATED, "must be an ONNX file: it holds no graph"),
        (unknown_operator, STATED, "Telepathy"),
        (two_logits, SCORE, f"must be one number per frame to be a score, got N×{C}"),
        (batch_free, STATED | {"output": "feature"}, "must have a tensor 'feature'; it has features"),
        (batch_free, STATED | {"layout": "nhwc"}, f"declares ?×3×{H}×{W}"),
        (batch_free, STATED | {"size": "64x64"}, f"must take 3×64×64 .* declares ?×3×{H}×{W}"),
        (batch_free, STATED | {"size": "64"}, "--size: must be height x width"),
        (batch_free, STATED | {"scale": "1/0"}, "--scale: must be a number"),
        (batch_free, STATED | {"scale": "1e400"}, "--scale: must be a number"),
        (batch_free, STATED | {"mean": "1e400"}, "--mean: must be one number"),
        (a_scalar_beside_it, STATED | {"output": "features", "heat": "level"}, "must be a map N×h×w"),
        (batch_free, STATED | {"std": "1,0,1"}, "--std: must be one positive number"),
        (batch_free, STATED | {"heat": "features"}, "must be a map N×h×w"),
        (lambda p: small(p, shape=("N", 1, H, W)), STATED, "must take pictures of three channels"),
        (lambda p: small(p, shape=("N", 3, H)), STATED, "with 4 axes"),
        (lambda p: small(p, input_type=TensorProto.INT64), STATED, "float or uint8 pictures with 4 axes, got int64"),
        (lambda p: scorer(p, (-1,), gain=9.0), SCORE | {"as": "probability"}, "must lie between 0 and 1"),
        (lambda p: p, STATED, "must be an ONNX file; there is none"),
    ],
    ids=[
        "two inputs", "NaN on black", "labels", "weights lost", "not a model", "an empty file", "unknown operator", "many scores",
        "unknown output", "wrong layout", "wrong size", "half a size", "scale by zero", "scale beyond floats",
        "mean beyond floats", "a number as heat", "spread of zero", "a vector as heat", "grey", "three axes", "integers",
        "no probability", "no file",
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


def test_an_embedding_becomes_a_bundle(short_footage: Path, tmp_path: Path) -> None:
    path = small(tmp_path / "colours.onnx", 1, shape=(1, 3, H, W))
    wrap_command(
        path, [short_footage / "highway.mp4"], tmp_path / "b", [short_footage / "city.mp4"],
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


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_what_only_branches_read_stays(backend: str, short_footage: Path, tmp_path: Path) -> None:
    """The constants of branches were lost where the encoder is fused anew, as it is for OpenVINO and for int8."""
    wrap_command(
        with_branches(tmp_path / "n.onnx"), [short_footage / "highway.mp4"], tmp_path / "b",
        bgr=False, scale="1/255", mean="0", std="1", kind="embedding", rate=5.0,
    )  # fmt: skip
    bundle = open_bundle(tmp_path / "b")
    onnx.checker.check_model(encoder_of(load_graph(bundle.model_path)), full_check=True)
    images = bundle.probes().frames
    wanted = OnnxRuntimeEngine(bundle.model_path).score(images).surprise
    np.testing.assert_allclose(open_engine(bundle, backend).score(images).surprise, wanted, atol=1e-3)


def test_a_score_of_fixed_batch_is_watched_like_any_other(short_footage: Path, tmp_path: Path) -> None:
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
        path, [short_footage / "highway.mp4"], tmp_path / "b", bgr=False, scale="1/255", mean="0", std="1",
        output="pred_score", kind="score", higher_is="stranger", heat="anomaly_map", rate=5.0,
    )  # fmt: skip
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest.density == "the network's own score"
    engine = OnnxRuntimeEngine(bundle.model_path)
    assert verify_engine(engine, bundle).failed == ""
    assert engine.score(pictures(3)).heat.shape == (3, H, W)
    surprises: list[float] = []
    (city,) = find_drives([short_footage / "city.mp4"])
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


@pytest.mark.parametrize(
    ("kind", "gain", "advice"),
    [("score", 2.19, "needs --as probability"), ("probability", 2.3, "take an output before it is clipped")],
)
def test_a_score_that_cannot_reach_its_alarm_is_told(
    kind: str,
    gain: float,
    advice: str,
    short_footage: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A score clipped to 1 whose normal footage comes near 1 has its threshold there, or above: no picture ever alarms."""
    tail = [
        helper.make_node("ReduceMean", ["images"], ["level"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["level", "gain"], ["steep"]),
        helper.make_node("Clip", ["steep", "zero", "one"], ["score"]),
    ]
    constants = {"gain": np.float32(gain), "zero": np.float32(0), "one": np.float32(1)}
    path = network(tmp_path / "n.onnx", tail, constants, ["score"], opset=17)
    common = {"bgr": False, "scale": "1/255", "mean": "0", "std": "1", "higher_is": "stranger", "rate": 5.0}
    wrap_command(path, [short_footage / "highway.mp4"], tmp_path / "b", kind=kind, **common)  # type: ignore[arg-type]
    bundle = open_bundle(tmp_path / "b")
    assert bundle.probes().scores.surprise.max() <= bundle.calibration.channel("domain").threshold
    said = "".join(capsys.readouterr()).replace("\n", " ")
    assert "even black, white and noise" in said
    assert advice in said
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
    kind: str, changes: dict[str, object], said: str, short_footage: Path, tmp_path: Path
) -> None:
    path = scorer(tmp_path / "n.onnx", (-1,))
    if "other" in changes:
        changes = {"other": [short_footage / "city.mp4"]}
    with pytest.raises(InputError, match=said):
        wrap_command(
            path, [short_footage / "highway.mp4"], tmp_path / "b", bgr=False, scale="1/255", mean="0", std="1",
            output="score" if kind == "score" else "pooled", kind=kind, higher_is="stranger", **changes,
        )  # type: ignore[arg-type]  # fmt: skip
    assert not (tmp_path / "b").exists()


def test_the_command_names_the_missing_flags(short_footage: Path, tmp_path: Path) -> None:
    path = small(tmp_path / "n.onnx")
    command = [
        sys.executable,
        "-m",
        "sightline",
        "wrap",
        str(path),
        "--normal",
        str(short_footage / "highway.mp4"),
    ]
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


def test_a_torchvision_backbone(short_footage: Path, tmp_path: Path) -> None:
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
    wrapped = wrap(path, flags, find_drives([short_footage / "highway.mp4"]))
    assert wrapped.batch is None
    with torch.no_grad():
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        want = net(torch.from_numpy(seen(images, mean=mean, std=std))).numpy()
    np.testing.assert_allclose(answers(wrapped, images).late, want, rtol=1e-3, atol=1e-4)
