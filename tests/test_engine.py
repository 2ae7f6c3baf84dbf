"""The ONNX Runtime engine, and verify and bench as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.encoders import open_encoder
from engines.errors import EngineError, InputError
from engines.proof.verify import compare, verify_engine


@pytest.fixture(scope="module")
def engine(rendered_bundle: Path) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(rendered_bundle / "model.onnx")


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 96, 144, 3)).astype(np.uint8)


def test_engine_equals_the_reference(rendered_bundle: Path, engine: OnnxRuntimeEngine) -> None:
    checks = verify_engine(engine, open_bundle(rendered_bundle)).checks
    assert [c for c in checks if not c.passed] == []
    assert [c.name for c in checks] == [
        "surprise", "background", "residual", "damage", "reconstruction", "latent", "heat",
        "surprise as when taught", "surprise one by one", "background one by one", "damage one by one",
        "domain rank correlation", "damage rank correlation", "alerts of the probe clips",
    ]  # fmt: skip


def test_another_rounding_of_the_encoder_is_no_disagreement(rendered_bundle: Path) -> None:
    """Without its fusions the runtime rounds float32 as another processor might; verify called that a failure."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    engine = OnnxRuntimeEngine(rendered_bundle / "model.onnx")
    engine.session = onnxruntime.InferenceSession(str(rendered_bundle / "model.onnx"), options)
    assert verify_engine(engine, open_bundle(rendered_bundle)).failed == ""


class Mirrored:
    """A runtime whose pictures arrive with their colours swapped."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        swapped = {name: np.ascontiguousarray(images[..., ::-1]) for name, images in feeds.items()}
        return list(self._session.run(names, swapped))


def test_other_pictures_than_the_taught_are_a_disagreement(rendered_bundle: Path) -> None:
    engine = OnnxRuntimeEngine(rendered_bundle / "model.onnx")
    engine.session = Mirrored(engine.session)
    assert "surprise as when taught" in verify_engine(engine, open_bundle(rendered_bundle)).failed


@pytest.mark.parametrize("batch", [1, 2, 7, 16, 40])
def test_batch_size_does_not_change_a_score(batch: int, engine: OnnxRuntimeEngine) -> None:
    images = frames(40)
    whole = engine.score(images).surprise
    parts = np.concatenate([engine.score(images[i : i + batch]).surprise for i in range(0, 40, batch)])
    assert np.abs(parts - whole).max() <= 1e-4


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_have_finite_scores(level: int, engine: OnnxRuntimeEngine) -> None:
    scores = engine.score(np.full((2, 96, 144, 3), level, np.uint8))
    for values in (scores.surprise, scores.background, scores.residual, scores.damage, scores.latent):
        assert np.isfinite(values).all()


def test_views_and_read_only_arrays_score_like_copies(engine: OnnxRuntimeEngine) -> None:
    images = frames(8)
    view = images[::2, :, ::-1]
    locked = view.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(engine.score(view).surprise, engine.score(locked).surprise)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, 96, 144, 3), np.uint8),
        np.zeros((1, 96, 144, 3), np.float32),
        np.zeros((1, 144, 96, 3), np.uint8),
        np.zeros((96, 144, 3), np.uint8),
        np.zeros((1, 96, 144, 4), np.uint8),
    ],
    ids=["empty", "float", "transposed", "no batch", "rgba"],
)
def test_wrong_arrays_are_refused(images: np.ndarray, engine: OnnxRuntimeEngine) -> None:
    with pytest.raises(EngineError, match="images: must"):
        engine.score(images)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match="must be able to load it"):
        OnnxRuntimeEngine(tmp_path / "model.onnx")


def test_an_unknown_encoder_is_refused_with_those_known() -> None:
    with pytest.raises(InputError, match="road"):
        open_encoder("rode")


def test_shipped_encoder_keeps_its_promises() -> None:
    name, model, background = open_encoder("road")
    assert background is not None
    assert len(model.SerializeToString()) <= 6e6
    assert name == "road"
    assert background.projection.basis.shape[1] == 64


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e-3], ids=["nan", "inf", "too far"])
def test_compare_can_fail(bad: float) -> None:
    wanted = np.array([0.0, 1.0])
    assert compare("x", wanted.copy(), wanted).passed
    assert not compare("x", wanted + np.array([0.0, bad]), wanted).passed


def sightline(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_verify_and_bench_write_what_they_print(rendered_bundle: Path, tmp_path: Path) -> None:
    done = sightline("verify", rendered_bundle, "--backend", "onnxruntime", "--json", tmp_path / "v.json")
    assert done.returncode == 0, done.stderr
    assert "FAIL" not in done.stdout
    engines = json.loads((tmp_path / "v.json").read_text())["engines"]
    assert [(e["backend"], e["precision"], e["passed"]) for e in engines] == [("onnxruntime", "fp32", True)]
    assert all(c["passed"] for c in engines[0]["checks"])
    done = sightline("bench", rendered_bundle, "--batch", 2, "--seconds", 0.2, "--json", tmp_path / "b.json")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "b.json").read_text())
    assert figures["batches"][0]["frames_per_s"] > 0
    (share,) = (row["share"] for row in figures["batches"] if row["backend"] == "onnxruntime")
    # Nothing in float32 exceeds what the machine can do, if that was measured as it is.
    assert 0.0 < share < 1.0
    assert 0.01 < figures["gflop_per_frame"] < 10


def test_verify_refuses_an_unknown_backend(rendered_bundle: Path) -> None:
    done = sightline("verify", rendered_bundle, "--backend", "abacus")
    assert done.returncode == 5
    assert (
        done.stderr
        == "sightline: abacus: must be one of onnxruntime, onnxruntime-cuda, openvino, tensorrt, tensorrt-rtx; check its name\n"
    )
