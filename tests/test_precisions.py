"""Encoders rewritten in 16 and 8 bits, the order that scores bring pictures into, and the clips that engines are judged by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine, values
from engines.bundle import Bundle, open_bundle
from engines.compiling.half import halved
from engines.compiling.quantise import HALF, layers_of, quantise
from engines.compiling.refit import MOST_MIXED, channel_map, refitted
from engines.encoders import open_encoder
from engines.engine import Precision
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import encoder_of, fuse, load_graph, parts_of
from engines.proof.probe_clip import STEP_S, ClipAlert, alerts, alike, probe_clips
from engines.proof.verify import rank_correlation, reference_of, verify_engine
from engines.scores import Scores

FP16, BF16, INT8 = Precision.FP16, Precision.BF16, Precision.INT8
ALERTS = "alerts of the probe clips"


@pytest.fixture(scope="module")
def bundle(rendered_bundle: Path) -> Bundle:
    return open_bundle(rendered_bundle)


def frames(count: int) -> Image:
    return np.random.default_rng(count).integers(0, 256, (count, 48, 64, 3)).astype(np.uint8)


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output, *graph.input)}


@pytest.mark.parametrize("precision", [FP16, BF16])
def test_products_are_narrow_and_everything_else_that_sums_is_not(
    precision: Precision, small_encoder: onnx.ModelProto
) -> None:
    model = halved(small_encoder, precision)
    kind = TensorProto.FLOAT16 if precision == FP16 else TensorProto.BFLOAT16
    found = types(model)
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert found[node.output[0]] == kind
        if node.op_type == "ReduceMean":
            assert found[node.output[0]] == TensorProto.FLOAT
    assert found["late"] == found["early"] == TensorProto.FLOAT
    weights = {i.data_type for i in model.graph.initializer if i.name.startswith("w")}
    assert weights == {kind}


def test_fp16_scores_as_verification_asks(bundle: Bundle) -> None:
    """ONNX Runtime's processor backend computes float16 by casting: right for rounding, of no use for speed."""
    encoder = halved(encoder_of(load_graph(bundle.model_path)), FP16)
    graph = fuse(encoder, bundle.density, np.float32).SerializeToString()
    report = verify_engine(OnnxRuntimeEngine(graph, precision=FP16), bundle)
    alerts = next(c for c in report.checks if c.name == ALERTS)
    # An alert of a clip that is barely strange may be a matter of a hair, of the strangest one it is none.
    assert {c.name for c in report.checks if not c.passed} <= {ALERTS}
    assert alerts.found.rpartition(", ")[2] == alerts.limit.rpartition(", ")[2] != ""
    ranks = {c.name: float(c.found) for c in report.checks if c.name.endswith("rank correlation")}
    # Rounded, and hardly.
    assert 0.999 <= min(ranks.values()) < 1.0


def test_fp16_halves_the_encoder() -> None:
    _, encoder, _ = open_encoder("road")
    assert len(halved(encoder, FP16).SerializeToString()) < 0.55 * len(encoder.SerializeToString())


def with_weight(model: onnx.ModelProto, value: float) -> onnx.ModelProto:
    weights = next(i for i in model.graph.initializer if i.name == "w3")
    array = numpy_helper.to_array(weights).copy()
    array.reshape(-1)[0] = value
    weights.CopyFrom(numpy_helper.from_array(array, "w3"))
    return model


def test_weights_beyond_float16_are_refused(small_encoder: onnx.ModelProto) -> None:
    with pytest.raises(
        EngineError, match=r"weight w3: must be within ±65504 for fp16, got 70000; use bf16 or fp32"
    ):
        halved(with_weight(small_encoder, 7e4), FP16)
    halved(with_weight(small_encoder, 7e4), BF16)


def test_a_bound_beyond_float16_stays_as_large_as_can_be(small_encoder: onnx.ModelProto) -> None:
    model = small_encoder
    six = next(i for i in model.graph.initializer if i.name == "six")
    six.CopyFrom(numpy_helper.from_array(np.float32(3e38), "six"))
    exact = values(model, ["late"], frames(2))["late"]
    np.testing.assert_allclose(values(halved(model, FP16), ["late"], frames(2))["late"], exact, atol=0.02)


def test_a_branch_is_refused_by_name(small_encoder: onnx.ModelProto) -> None:
    model = small_encoder
    branch = helper.make_graph(
        [], "branch", [], [helper.make_tensor_value_info("late", TensorProto.FLOAT, None)]
    )
    model.graph.node.insert(
        0, helper.make_node("If", ["images"], ["x"], name="choice", then_branch=branch, else_branch=branch)
    )
    with pytest.raises(
        EngineError, match=r"node choice: must be no branch or loop to compute in fp16, it is If"
    ):
        halved(model, FP16)


def test_the_parts_of_a_fused_graph_are_what_was_fused(bundle: Bundle) -> None:
    fused = load_graph(bundle.model_path)
    encoder, behind = parts_of(fused)
    images = bundle.probes().frames[:4]
    features = values(encoder, ["late", "early"], images)
    assert [i.name for i in behind.graph.input] == ["late", "early"]
    again = OnnxRuntimeEngine(fuse(encoder, bundle.density).SerializeToString())
    np.testing.assert_array_equal(again.features(images).late, features["late"])
    wanted = OnnxRuntimeEngine(bundle.model_path).score(images).surprise
    np.testing.assert_array_equal(again.score(images).surprise, wanted)


def agreeing(answers: list[bool]):  # type: ignore[no-untyped-def]
    """A judge with answers of its own, and the models it was shown."""
    shown: list[onnx.ModelProto] = []

    def agrees(model: onnx.ModelProto) -> bool:
        shown.append(model)
        return answers[len(shown) - 1]

    return agrees, shown


def quantised(model: onnx.ModelProto, answers: list[bool], *, unsigned: bool = True):  # type: ignore[no-untyped-def]
    agrees, shown = agreeing(answers)
    advanced: list[str] = []
    done = quantise(
        model, frames(24), values, agrees, unsigned=unsigned, advance=lambda n, note="": advanced.append(note)
    )
    assert advanced == ["first", "second", "third"]
    return done, shown


@pytest.mark.parametrize("unsigned", [True, False])
def test_8_bits_stay_close_and_leave_no_bias(unsigned: bool, small_encoder: onnx.ModelProto) -> None:
    model = small_encoder
    done, _ = quantised(model, [True], unsigned=unsigned)
    assert done.floats == ()
    found, wanted = (values(m, ["late", "early"], frames(24)) for m in (done.model, model))
    for name in found:
        axes = (0, *range(2, wanted[name].ndim))
        spread = wanted[name].std(axis=axes)
        np.testing.assert_allclose(found[name].mean(axis=axes), wanted[name].mean(axis=axes), atol=1e-4)
        assert (np.abs(found[name] - wanted[name]).mean(axis=axes) < 0.2 * spread).all()
    assert np.abs(found["late"] - wanted["late"]).max() > 1e-4
    kinds = {i.data_type for i in done.model.graph.initializer if i.name.endswith("_zero") and not i.dims}
    assert kinds == {TensorProto.UINT8 if unsigned else TensorProto.INT8}
    if not unsigned:
        zeros = [numpy_helper.to_array(i) for i in done.model.graph.initializer if i.name.endswith("_zero")]
        assert all((zero == 0).all() for zero in zeros)


def test_channels_are_refitted_together(small_encoder: onnx.ModelProto) -> None:
    """What the map of channels leaves is less than what the best straight line of each channel would leave."""
    done, _ = quantised(small_encoder, [True])
    names = ["late", "early"]
    wanted, found = (values(m, names, frames(24)) for m in (small_encoder, done.model))
    plain = values(done.model, [f"{name}_plain" for name in names], frames(24))
    for name in names:
        axes = (0, *range(2, wanted[name].ndim))
        x, y = (v - v.mean(axis=axes, keepdims=True) for v in (plain[f"{name}_plain"], wanted[name]))
        slope = (x * y).sum(axis=axes, keepdims=True) / (x**2).sum(axis=axes, keepdims=True)
        assert ((found[name] - wanted[name]) ** 2).sum() < ((slope * x - y) ** 2).sum()


def test_a_refit_apart_is_cut_off_with_what_is_behind_the_encoder(bundle: Bundle) -> None:
    """So that a library can run the encoder in bfloat16 and the refit in float32."""
    images = bundle.probes().frames[:8]
    encoder = encoder_of(load_graph(bundle.model_path))
    wanted = values(encoder, ["late", "early"], images)
    found = {name: 0.8 * value + 0.1 for name, value in wanted.items()}
    fused = fuse(refitted(encoder, found, wanted, apart=True), bundle.density)
    narrow, behind = parts_of(fused)
    assert [o.name for o in narrow.graph.output] == ["late_plain", "early_plain"]
    assert [i.name for i in behind.graph.input] == ["late_plain", "early_plain"]
    assert {"refit" in n.name for n in narrow.graph.node} == {False}
    whole = values(fused, ["late", "late_plain", "early", "early_plain"], images)
    for name in wanted:
        np.testing.assert_array_equal(whole[f"{name}_plain"], wanted[name])
        np.testing.assert_allclose(whole[name], (wanted[name] - 0.1) / 0.8, rtol=1e-3, atol=1e-3)


def test_many_channels_keep_a_line_each() -> None:
    random = np.random.default_rng(0)
    wanted = random.normal(size=(40, MOST_MIXED + 1)).astype(np.float32)
    matrix, offset = channel_map(2.0 * wanted + 3.0, wanted)
    np.testing.assert_allclose(matrix, 0.5 * np.eye(MOST_MIXED + 1), atol=1e-5)
    np.testing.assert_allclose(offset, -1.5, atol=1e-4)


def test_the_most_sensitive_layers_stay_in_float_until_scores_agree(small_encoder: onnx.ModelProto) -> None:
    done, shown = quantised(small_encoder, [False, False, True])
    assert len(done.floats) == 2
    assert len(shown) == 3
    assert done.layers == 3
    counts = [
        sum(n.op_type == "DequantizeLinear" and "w" in n.input[0][:2] for n in m.graph.node) for m in shown
    ]
    assert counts == [3, 2, 1]


def test_a_layer_kept_in_float_is_not_quantised_behind_its_back(small_encoder: onnx.ModelProto) -> None:
    """Between two 8-bit layers ONNX Runtime quantised a float one by itself, with one scale for all its channels."""
    weights = next(i for i in small_encoder.graph.initializer if i.name == "w2")
    array = numpy_helper.to_array(weights).copy()
    array[:, 0, 0, 0] = np.geomspace(1.0, 100.0, len(array))
    weights.CopyFrom(numpy_helper.from_array(array, "w2"))
    # Averages of noise hardly differ: processors whose 8-bit sums saturate would keep the first layer for them.
    del small_encoder.graph.output[1]
    done, _ = quantised(small_encoder, [False, True])
    assert done.floats == ("second",)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    literal = onnxruntime.InferenceSession(done.model.SerializeToString(), options)
    wanted = literal.run(["late"], {"images": frames(8)})[0]
    np.testing.assert_allclose(
        values(done.model, ["late"], frames(8))["late"], wanted, atol=0.02 * wanted.std()
    )
    engine = OnnxRuntimeEngine(done.model.SerializeToString(), precision=INT8)
    np.testing.assert_allclose(engine.features(frames(8)).late, wanted, atol=0.02 * wanted.std())


def test_weights_leave_room_for_sums_of_two_products(small_encoder: onnx.ModelProto) -> None:
    agrees, _ = agreeing([True])
    done = quantise(
        small_encoder, frames(24), values, agrees, unsigned=True, advance=lambda n, note="": None, most=HALF
    )
    weights = [numpy_helper.to_array(i) for i in done.model.graph.initializer if i.name.endswith("_int8")]
    largest = max(int(np.abs(w.astype(int)).max()) for w in weights)
    assert largest == HALF
    assert 2 * largest * 255 < 2**15


def test_what_no_layer_keeps_right_is_refused(small_encoder: onnx.ModelProto) -> None:
    with pytest.raises(EngineError, match=r"int8: must rank pictures as float32 does"):
        quantised(small_encoder, [False] * 3)


def test_layers_are_found_with_what_follows_them(small_encoder: onnx.ModelProto) -> None:
    layers = layers_of(small_encoder)
    assert [(layer.name, layer.source, layer.target) for layer in layers] == [
        ("first", "centred", "r1"),
        ("second", "r1", "r2"),
        ("third", "r2", "late"),
    ]


def test_an_encoder_without_layers_cannot_be_quantised(small_encoder: onnx.ModelProto) -> None:
    model = small_encoder
    for node in list(model.graph.node):
        if node.op_type == "Conv":
            model.graph.node.remove(node)
    with pytest.raises(EngineError, match="must find convolutions or products with constant weights"):
        layers_of(model)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0], 1.0),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0),
        ([1.0, 1.0002, 3.0], [1.0002, 1.0, 3.0], 1.0),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], 0.8),
        ([1.0, 2.0, np.nan], [1.0, 2.0, 3.0], 0.0),
        ([5.0, 5.0, 5.0], [1.0, 1.0, 1.0], 1.0),
        ([5.0, 5.0, 5.0], [1.0, 2.0, 3.0], 0.0),
    ],
    ids=["same", "reversed", "ties", "one swap", "not finite", "both constant", "constant"],
)
def test_rank_correlation(one: list[float], other: list[float], wanted: float) -> None:
    assert rank_correlation(np.array(one), np.array(other)) == pytest.approx(wanted)


def test_the_clips_show_every_picture_and_alarm_the_stranger_ones(bundle: Bundle) -> None:
    clips = probe_clips(bundle)
    assert len(clips.orders) == 6
    assert sorted(set(np.concatenate(clips.orders).tolist())) == list(range(len(clips.pictures)))
    assert all(len(order) * STEP_S == pytest.approx(24.0) for order in clips.orders)
    told = reference_of(bundle).told
    assert told
    assert told[-1].clip == 5
    assert 10.0 < told[-1].start_s < 16.0 < told[-1].end_s
    assert {alert.clip for alert in told} < set(range(6))


def test_mirrored_clips_are_others_of_the_same_kind(bundle: Bundle) -> None:
    clips, mirrored = probe_clips(bundle), probe_clips(bundle, mirrored=True)
    assert [len(o) for o in clips.orders] == [len(o) for o in mirrored.orders]
    np.testing.assert_array_equal(clips.pictures[0], mirrored.pictures[0][:, ::-1])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([ClipAlert(1, 3.0, 9.0)], True),
        ([ClipAlert(1, 3.1, 8.9)], True),
        ([ClipAlert(1, 3.2, 9.0)], False),
        ([ClipAlert(2, 3.0, 9.0)], False),
        ([], False),
        ([ClipAlert(1, 3.0, 9.0), ClipAlert(1, 12.0, 13.0)], False),
    ],
    ids=["equal", "a step", "two steps", "another clip", "none", "one more"],
)
def test_alerts_are_alike_within_a_step(other: list[ClipAlert], same: bool) -> None:
    assert alike([ClipAlert(1, 3.0, 9.0)], other) == same


def test_alerts_follow_the_scores(bundle: Bundle) -> None:
    """Nothing alarms where every score is typical, and everything where all are far above the threshold."""
    clips, reference = probe_clips(bundle), reference_of(bundle)
    count = len(clips.pictures)
    calm = OnnxRuntimeEngine(bundle.model_path).score(np.repeat(clips.pictures[:1], count, axis=0))
    assert alerts(clips, calm, bundle) == ()
    loud = replace(calm, surprise=calm.surprise + 1e4)
    assert [(a.clip, a.end_s) for a in alerts(clips, loud, bundle)] == [
        (i, pytest.approx(24.0)) for i in range(6)
    ]
    assert reference.told != alerts(clips, loud, bundle)


class Deaf:
    """An engine whose scores never change."""

    name, precision, input_size = "deaf", Precision.FP32, (96, 144)

    def __init__(self, bundle: Bundle) -> None:
        self._engine = OnnxRuntimeEngine(bundle.model_path)
        self._first = bundle.probes().frames[:1]
        self.bare, self.close = self._engine.bare, self._engine.close

    def score(self, images: Image) -> Scores:
        return self._engine.score(np.repeat(self._first, len(images), axis=0))

    def features(self, images: Image) -> object:
        return self._engine.features(np.repeat(self._first, len(images), axis=0))


def test_an_engine_that_agrees_with_itself_alone_fails(bundle: Bundle) -> None:
    """Behind its encoder all is right: only order, alerts and what was taught give it away."""
    failed = verify_engine(Deaf(bundle), bundle).failed
    assert failed.split(", ") == [
        "surprise as when taught", "domain rank correlation", "damage rank correlation", "alerts of the probe clips",
    ]  # fmt: skip
