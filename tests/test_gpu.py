"""On a real NVIDIA GPU: the engine of ONNX Runtime, frames that stay there, the calls that TensorRT's engine is made of, and
training. What TensorRT runs itself is in ``test_tensor_rt.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends import backend_of
from engines.bundle import Bundle, open_bundle
from engines.decoding import ON_PROCESSOR, Decode, Decoding, decoding, shares_memory
from engines.engine import Engine, OutOfMemoryError, Precision
from engines.errors import EngineError, SightlineError
from engines.footage import Recording, find_drives
from engines.frames import Frame
from engines.machine import gpu_name
from engines.opening import load
from engines.proof.verify import verify_engine
from engines.rendered import Segment
from engines.resident import resident, score

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpu_name(), reason="no NVIDIA GPU with a driver is here"),
]

FP32, FP16 = Precision.FP32, Precision.FP16
STALL_S = 0.25


@pytest.fixture(scope="module")
def decoder() -> Decoding:
    """Settled before anything else begins CUDA, as the commands do."""
    try:
        return decoding(Decode.RESIDENT)
    except EngineError as error:
        return Decoding(reason=str(error))


@pytest.fixture(scope="module")
def bundle(rendered_bundle: Path, decoder: Decoding) -> Bundle:
    pytest.importorskip("onnxruntime")
    return open_bundle(rendered_bundle)


@pytest.fixture(scope="module", params=[FP32, FP16])
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Engine]:
    opened = load(bundle, backend_of("onnxruntime-cuda"), request.param, lambda line: None).engine
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def clip(rendered_clip: Callable[..., Path]) -> Path:
    return rendered_clip((Segment("highway", 2.0), Segment("city", 2.0)), 7, (482, 270))


def frames(clip: Path, size: tuple[int, int], where: Decoding = ON_PROCESSOR) -> list[Frame]:
    recording = Recording(find_drives([clip])[0], size, decoding=where)
    found = list(recording)
    assert recording.notes == []
    return found


def test_it_equals_the_reference(engine: Engine, bundle: Bundle) -> None:
    assert verify_engine(engine, bundle).failed == ""


def test_no_batch_of_live_cameras_waits_for_cudnn(engine: Engine, bundle: Bundle) -> None:
    pictures = np.resize(bundle.probes().frames, (16, *engine.input_size, 3))
    took_s = []
    for count in range(1, 17):
        began_s = time.perf_counter()
        engine.score(pictures[:count])
        took_s.append(time.perf_counter() - began_s)
    assert max(took_s) < STALL_S


def test_batches_of_any_size_score_alike(engine: Engine, bundle: Bundle) -> None:
    if engine.precision is not FP32:
        pytest.skip("in float16 sums of other sizes are rounded otherwise; what that costs, verify says")
    pictures = np.resize(bundle.probes().frames, (90, *engine.input_size, 3))
    whole = engine.score(pictures).surprise
    for batch in (1, 3, 16, 7):
        parts = [engine.score(pictures[i : i + batch]).surprise for i in range(0, len(pictures), batch)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-3, rtol=1e-6)


def test_two_engines_score_bit_for_bit_alike(engine: Engine, bundle: Bundle) -> None:
    other = load(bundle, backend_of("onnxruntime-cuda"), engine.precision, lambda line: None).engine
    pictures = bundle.probes().frames
    np.testing.assert_array_equal(engine.score(pictures).surprise, other.score(pictures).surprise)
    other.close()


@contextmanager
def nearly_full(leave: int) -> Iterator[None]:
    """A GPU of whose memory all is taken but ``leave`` bytes."""
    cuda = pytest.importorskip("engines.backends.cuda")
    free, _ = cuda.call(cuda.runtime.cudaMemGetInfo())
    blocks, size = [], free - leave
    while free - leave - sum(length for _, length in blocks) >= 1 << 20 and size >= 1 << 20:
        try:
            blocks.append((cuda.call(cuda.runtime.cudaMalloc(size)), size))
        except OutOfMemoryError:
            size //= 2
        size = min(size, free - leave - sum(length for _, length in blocks))
    try:
        yield
    finally:
        for block, _ in blocks:
            cuda.call(cuda.runtime.cudaFree(block))


def test_a_gpu_that_is_nearly_full_scores_right_or_says_so(bundle: Bundle) -> None:
    """ONNX Runtime would go on with the processor and print that it does."""
    pictures = np.resize(bundle.probes().frames, (256, *bundle.manifest.input_size, 3))

    def scored() -> np.ndarray | str:
        try:
            opened = load(bundle, backend_of("onnxruntime-cuda"), FP32, lambda line: None).engine
            try:
                return opened.score(pictures).surprise
            finally:
                opened.close()
        except EngineError as error:
            return str(error)

    wanted = scored()
    outcomes = []
    for leave_mb in (1, 32, 128, 512, 4096):
        with nearly_full(leave_mb << 20):
            outcomes.append(scored())
    print([one if isinstance(one, str) else "scored" for one in outcomes])
    assert not isinstance(outcomes[-1], str)
    for outcome in outcomes:
        if isinstance(outcome, str):
            assert "memory" in outcome
        else:
            np.testing.assert_allclose(outcome, wanted, atol=1e-3, rtol=1e-6)
    np.testing.assert_array_equal(scored(), wanted)


def test_an_engine_prints_nothing(bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    """cuDNN's front end turned down plans in hundreds of red lines."""
    opened = load(bundle, backend_of("onnxruntime-cuda"), FP16, lambda line: None).engine
    opened.score(bundle.probes().frames)
    opened.close()
    assert capfd.readouterr() == ("", "")


def test_a_gpu_that_this_process_may_not_see_is_told_in_one_line(bundle: Bundle) -> None:
    command = [sys.executable, "-m", "sightline", "verify", str(bundle.path), "--backend", "onnxruntime-cuda"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=hidden, capture_output=True, text=True, timeout=120)
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert line.startswith("sightline: onnxruntime-cuda: must find a GPU")


def test_frames_stay_on_it(clip: Path, engine: Engine, decoder: Decoding) -> None:
    if decoder.accelerator is None or not shares_memory():
        pytest.skip(f"no GPU decodes here: {decoder.reason}")
    kept = resident(decoder, engine)
    assert kept.reason == ""
    there, here = frames(clip, engine.input_size, kept), frames(clip, engine.input_size)
    for left, right in zip(there, here, strict=True):
        assert left.resident is not None
        assert np.abs(left.image.astype(int) - right.image).max() <= 1
        np.testing.assert_array_equal(left.luma, right.luma)
    images = [frame.image for frame in there]
    np.testing.assert_allclose(
        score(engine, there[:16], images[:16]).surprise,
        engine.score(np.stack(images[:16])).surprise,
        atol=1e-4,
    )


def test_memory_streams_and_recorded_work_are_what_tensorrt_is_given() -> None:
    cuda = pytest.importorskip("engines.backends.cuda")
    assert cuda.capability() >= (7, 5)
    before = cuda.used_memory()
    first, second = (cuda.Buffer((1 << 20, 16), np.dtype(np.float32)) for _ in range(2))
    assert cuda.used_memory() - before >= 2 * first.host.nbytes
    stream = cuda.Stream()
    first.host[:] = np.random.default_rng(0).random(first.host.shape, np.float32)
    kept = first.host.copy()
    stream.begin_capture()
    first.upload(1000, stream.handle)
    first.download(1000, stream.handle)
    recorded = stream.end_capture()
    first.upload(len(kept), stream.handle)
    stream.wait()
    first.host[:] = 0.0
    first.download(500, stream.handle)
    stream.wait()
    np.testing.assert_array_equal(first.host[:500], kept[:500])
    assert not first.host[500:].any()
    first.host[:1000] = 1.0 - kept[:1000]
    stream.launch(recorded)
    stream.wait()
    np.testing.assert_array_equal(first.host[:1000], 1.0 - kept[:1000])
    stream.forget(recorded)
    stream.close()
    for buffer in (first, second):
        buffer.free()
        buffer.free()


def training(
    model: str, drives: Path, *, batch: int, size: tuple[int, int] = (48, 64), device: str = "cuda"
) -> tuple[Callable[[int], Any], Any]:
    """How to train so many epochs, and on what."""
    from training.models import MODELS
    from training.train.config import Config, Data, Optimisation
    from training.train.data import gather

    def options(epochs: int) -> Config:
        asked = Optimisation(epochs=epochs, batch=batch, device=device)
        return Config(model=MODELS[model].options(size), data=Data(rate=5.0), optimisation=asked)

    return options, gather([drives])


@pytest.fixture
def torch_on_gpu() -> Iterator[object]:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    yield torch
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("model", ["autoencoder", "vae", "lake"])
def test_it_trains_and_a_training_that_was_cut_short_goes_on(
    model: str, torch_on_gpu: object, tmp_path: Path, rendered_bundle: Path
) -> None:
    from training.train.loop import train

    options, sources = training(model, rendered_bundle.parent / "drives", batch=16)
    done = train(options(2), sources, tmp_path / "t", resume=False)
    assert done.state.epoch == 2
    further = train(options(3), sources, tmp_path / "t", resume=True)
    assert further.state.epoch == 3
    assert all(np.isfinite(p.detach().numpy()).all() for p in further.model.parameters())


def test_too_large_a_batch_is_told_with_one_to_try(
    torch_on_gpu: object, tmp_path: Path, rendered_bundle: Path
) -> None:
    import torch

    from training.train.loop import train

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (128 << 20) / total))
    options, sources = training("autoencoder", rendered_bundle.parent / "drives", batch=256, size=(256, 384))
    with pytest.raises(
        SightlineError, match=r"ran out of memory with 256 frames of 256 × 384; try --batch 128"
    ):
        train(options(1), sources, tmp_path / "t", resume=False)
