"""ONNX Runtime's engine for GPUs, on the processor, which plays the GPU's part; ``test_gpu.py`` runs it on one."""

from __future__ import annotations

import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engines.backends import backend_of, library_of, onnx_cuda
from engines.backends.onnx_cuda import HOST, PREPARED, SIZES, OnnxCudaEngine, in_sizes
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.errors import EngineError
from engines.frames import Image
from engines.proof.verify import verify_engine
from engines.scores import Scores


@pytest.fixture(scope="module")
def engine(small_bundle: Path) -> OnnxCudaEngine:
    return OnnxCudaEngine(open_bundle(small_bundle).model_path, device=HOST)


def pictures(count: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 64, 3)).astype(np.uint8)


def same(one: Scores, other: Scores) -> None:
    for field in fields(one):
        found, wanted = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-6, err_msg=field.name)


@pytest.mark.parametrize("most", [PREPARED, SIZES[-1]])
def test_batches_have_few_sizes_and_hold_every_frame_once_in_order(most: int) -> None:
    for count in range(1, 600):
        parts = list(in_sizes(count, most))
        assert [row for rows, size in parts for row in range(count)[rows]] == list(range(count))
        assert {size for _, size in parts} <= {size for size in SIZES if size <= most}
        filled = sum(size for _, size in parts) - count
        # What is computed for nothing: less than the largest live batch, and nothing behind whole ones.
        assert 0 <= filled < PREPARED
        assert count not in SIZES or count > most or len(parts) == 1


@pytest.mark.parametrize("count", [1, 2, 5, 16, 17, 70])
def test_frames_beside_what_fills_a_batch_up_score_as_alone(
    count: int, engine: OnnxCudaEngine, small_bundle: Path
) -> None:
    images = pictures(count, count)
    wanted = OnnxRuntimeEngine(open_bundle(small_bundle).model_path).score(images)
    same(engine.score(images), wanted)
    # What an earlier batch left behind is not seen.
    engine.score(255 - pictures(16, 99))
    same(engine.score(images), wanted)
    late = engine.features(images).late
    assert len(late) == count


def test_every_session_sees_one_shape_alone(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of shape makes cuDNN plan every convolution anew."""
    opened: list[Spied] = []

    class Spied:
        def __init__(self, session: Any) -> None:
            self.session, self.shapes = session, set[tuple[int, ...]]()
            opened.append(self)

        def run(self, names: list[str], feed: dict[str, Image]) -> Any:
            self.shapes |= {value.shape for value in feed.values()}
            return self.session.run(names, feed)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.session, name)

    real = onnx_cuda.session_of
    monkeypatch.setattr(onnx_cuda, "session_of", lambda *given: Spied(real(*given)))
    engine = OnnxCudaEngine(open_bundle(small_bundle).model_path, device=HOST)
    for count in (1, 3, 16, 2, 9, 70, 1, 300):
        engine.score(pictures(count))
        engine.bare(pictures(count))()
    assert [len(spied.shapes) for spied in opened] == [1] * len(SIZES)


def test_scores_are_the_callers_own(engine: OnnxCudaEngine) -> None:
    first = engine.score(pictures(3))
    kept = first.latent.copy()
    engine.score(pictures(3, 1))
    np.testing.assert_array_equal(first.latent, kept)
    first.latent[:] = 0.0
    np.testing.assert_array_equal(engine.score(pictures(3)).latent, kept)


def test_it_is_verified_like_any_other(engine: OnnxCudaEngine, small_bundle: Path) -> None:
    assert verify_engine(engine, open_bundle(small_bundle)).failed == ""


def test_threads_take_turns(engine: OnnxCudaEngine) -> None:
    images = pictures(12)
    wanted = engine.score(images).surprise
    wrong: list[int] = []

    def score_one(row: int) -> None:
        for _ in range(30):
            found = engine.score(images[row : row + 1]).surprise
            if not np.allclose(found, wanted[row], atol=1e-4):
                wrong.append(row)

    threads = [threading.Thread(target=score_one, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_engine_says_so(small_bundle: Path) -> None:
    engine = OnnxCudaEngine(open_bundle(small_bundle).model_path, device=HOST)
    engine.close()
    engine.close()
    for call in (engine.score, engine.features):
        with pytest.raises(EngineError, match="onnxruntime-cuda: must be open to score, it was closed"):
            call(pictures(1))


def test_a_build_without_cuda_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"needs the package onnxruntime-gpu.*sightline\[cuda\]"):
        library_of(backend_of("onnxruntime-cuda"), tmp_path)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(
            "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=a ; line=44",
            "onnxruntime-cuda: must find a GPU with a driver that fits, and memory on it "
            "(CUDA failure 100: no CUDA-capable device is detected); free some, or use --backend onnxruntime",
            id="hidden",
        ),
        pytest.param(
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a",
            "model.onnx: must have memory for the graph, had none; free memory on it",
            id="full",
        ),
        pytest.param(
            "Load model failed: Protobuf parsing failed.",
            "model.onnx: ONNX Runtime must be able to load it: Load model failed: Protobuf parsing failed.; "
            "verify the bundle",
            id="damaged",
        ),
    ],
)
def test_what_keeps_a_gpu_from_opening_a_graph_is_told(
    said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*given: object, **options: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refusing)
    with pytest.raises(EngineError) as raised:
        OnnxCudaEngine(Path("model.onnx"))
    assert str(raised.value) == told


def test_a_session_does_not_go_on_with_another_processor(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """After an error of a GPU ONNX Runtime printed so, and scored on the processor from then on."""

    def failing(session: object, *given: object) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.EPFail("CUDA failure 700: an illegal memory access")

    engine = OnnxCudaEngine(open_bundle(small_bundle).model_path, device=HOST)
    monkeypatch.setattr(onnxruntime.capi._pybind_state.InferenceSession, "run", failing)
    with pytest.raises(EngineError, match="onnxruntime-cuda: must run the graph: CUDA failure 700"):
        engine.score(pictures(1))
    assert capfd.readouterr() == ("", "")
