"""How a TensorRT engine is run, on a GPU made of software: CUDA's calls on the host's own memory, TensorRT's on ONNX
Runtime. It shows that batches, copies, recordings and errors are handled; what a GPU computes only a GPU can show
(``test_tensor_rt.py``, marked gpu)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, open_bundle
from engines.engine import Precision
from engines.errors import EngineError
from engines.frames import Image

runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings has no wheel for this platform")
from engines.backends.tensor_rt_engine import MOST_RECORDED, TensorRtEngine  # noqa: E402

GOOD, NO_MEMORY = runtime.cudaError_t.cudaSuccess, runtime.cudaError_t.cudaErrorMemoryAllocation
MOST = 16


class SoftwareGpu:
    """CUDA's runtime, as far as an engine uses it. room: bytes of device memory. recordable: whether work on a stream can
    be captured. most_contexts: for how many execution contexts there is room. launches and captures: how often each was
    done."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room, self.recordable, self.most_contexts = room, True, 1 << 30
        self.launches = self.captures = 0
        self.memory: dict[int, Any] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.streams: set[int] = set()
        self.graphs: dict[int, list[Callable[[], None]]] = {}

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in dir(self):
            if name.startswith("cuda"):
                monkeypatch.setattr(runtime, name, getattr(self, name))

    def do(self, work: Callable[[], None]) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def allocate(self, size: int) -> tuple[Any, ...]:
        if sum(len(block) for block in self.memory.values()) + size > self.room:
            return (NO_MEMORY, None)
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return (GOOD, ctypes.addressof(block))

    def free(self, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return (GOOD,)

    cudaMalloc = cudaMallocHost = allocate  # noqa: N815
    cudaFree = cudaFreeHost = free  # noqa: N815

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:  # noqa: N802
        return (GOOD, 1)

    def cudaDeviceGetAttribute(self, attribute: Any, device: int) -> tuple[Any, ...]:  # noqa: N802
        return (GOOD, 8)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert stream in self.streams
        self.do(lambda: ctypes.memmove(to, source, size))
        return (GOOD,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:  # noqa: N802
        self.streams.add(77)
        return (GOOD, 77)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert self.recording is None
        return (GOOD,)

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        self.streams.remove(stream)
        return (GOOD,)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any, ...]:  # noqa: N802
        self.recording = []
        return (GOOD,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        work, self.recording = self.recording, None
        if not self.recordable:
            return (runtime.cudaError_t.cudaErrorStreamCaptureUnsupported, None)
        self.captures += 1
        assert work is not None
        self.graphs[self.captures] = work
        return (GOOD, self.captures)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:  # noqa: N802
        return (GOOD, graph)

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:  # noqa: N802
        return (GOOD,)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:  # noqa: N802
        del self.graphs[graph]
        return (GOOD,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:  # noqa: N802
        self.launches += 1
        for work in self.graphs[graph]:
            work()
        return (GOOD,)


class SoftwareTensorRt:
    """TensorRT's module and engine at once, for one graph; a plan other than b"plan" is not one."""

    class ILogger:
        ERROR = 1

    class TensorIOMode:
        INPUT, OUTPUT = "in", "out"

    def __init__(self, model: Path, gpu: SoftwareGpu, batches: tuple[int, int]) -> None:
        self.gpu, self.batches = gpu, batches
        self.session = onnxruntime.InferenceSession(str(model))
        self.names = ["images", *(o.name for o in self.session.get_outputs())]
        self.num_io_tensors = len(self.names)
        self.works = True
        self.contexts = 0

    def Runtime(self, log: Any) -> SoftwareTensorRt:  # noqa: N802
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> SoftwareTensorRt | None:
        return self if plan == b"plan" else None

    def create_execution_context(self) -> SoftwareContext | None:
        self.contexts += 1
        return SoftwareContext(self) if self.contexts <= self.gpu.most_contexts else None

    def nptype(self, kind: Any) -> Any:
        return kind

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "images" else "out"

    def get_tensor_dtype(self, name: str) -> Any:
        return np.uint8 if name == "images" else np.float32


class SoftwareContext:
    """What of an engine depends on a shape. Work may be recorded only of a shape that has been run, and none other may run
    there after."""

    def __init__(self, engine: SoftwareTensorRt) -> None:
        self.engine, self.gpu = engine, engine.gpu
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()
        self.settled: tuple[int, ...] = ()
        self.recorded = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, most = self.engine.batches
        assert least <= shape[0] <= most
        self.shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name == "images":
            return self.shape
        dims = next(o.shape for o in self.engine.session.get_outputs() if o.name == name)
        return (self.shape[0], *dims[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream in self.gpu.streams
        shape, engine = self.shape, self.engine
        if self.gpu.recording is not None:
            assert shape == self.settled
            self.recorded = True
        assert not self.recorded or shape == self.settled
        self.settled = shape

        def work() -> None:
            images = np.frombuffer(ctypes.string_at(self.addresses["images"], int(np.prod(shape))), np.uint8)
            found = engine.session.run(engine.names[1:], {"images": images.reshape(shape)})
            for name, values in zip(engine.names[1:], found, strict=True):
                ctypes.memmove(self.addresses[name], values.tobytes(), values.nbytes)

        self.gpu.do(work)
        return engine.works


@pytest.fixture(scope="module")
def bundle(rendered_bundle: Path) -> Bundle:
    return open_bundle(rendered_bundle)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SoftwareGpu:
    found = SoftwareGpu()
    found.patch(monkeypatch)
    return found


def opened(
    bundle: Bundle, gpu: SoftwareGpu, plan: bytes = b"plan", batches: tuple[int, int, int] = (1, 4, MOST)
) -> tuple[TensorRtEngine, SoftwareTensorRt]:
    trt = SoftwareTensorRt(bundle.model_path, gpu, (batches[0], batches[-1]))
    profile = [(batch, 96, 144, 3) for batch in batches]
    return TensorRtEngine(trt, "tensorrt", Precision.FP32, plan, profile, Path("nowhere")), trt


def pictures(bundle: Bundle, count: int) -> Image:
    return np.resize(bundle.probes().frames, (count, 96, 144, 3))


@pytest.mark.parametrize("count", [1, 5, MOST, MOST + 1, 37])
def test_any_batch_scores_as_onnx_runtime_does(count: int, bundle: Bundle, gpu: SoftwareGpu) -> None:
    engine, _ = opened(bundle, gpu)
    images = pictures(bundle, count)
    wanted = OnnxRuntimeEngine(bundle.model_path)
    for _ in range(4):  # plain, recorded, repeated
        found = engine.score(images)
        np.testing.assert_allclose(found.surprise, wanted.score(images).surprise, atol=1e-3)
        np.testing.assert_allclose(found.heat, wanted.score(images).heat, atol=1e-3)
        images = images[::-1]
    np.testing.assert_allclose(engine.features(images).late, wanted.features(images).late, atol=1e-4)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_an_engine_of_one_batch_size_is_filled_up(count: int, bundle: Bundle, gpu: SoftwareGpu) -> None:
    engine, _ = opened(bundle, gpu, batches=(4, 4, 4))
    images = pictures(bundle, count)
    wanted = OnnxRuntimeEngine(bundle.model_path).score(images).surprise
    for _ in range(3):  # plain, recorded, repeated
        np.testing.assert_allclose(engine.score(images).surprise, wanted, atol=1e-3)
    assert (gpu.captures, engine.bare(images)()) == (1, None)


def test_an_engine_of_one_batch_size_takes_no_smaller_one(bundle: Bundle, gpu: SoftwareGpu) -> None:
    gpu.room = 1 << 20
    with pytest.raises(EngineError, match="not even for the smallest batch"):
        opened(bundle, gpu, batches=(MOST, MOST, MOST))


def test_batches_that_repeat_are_recorded_and_not_too_many(bundle: Bundle, gpu: SoftwareGpu) -> None:
    engine, _ = opened(bundle, gpu)
    for count in (3, 5, 3, 3):  # another size between does not matter
        engine.score(pictures(bundle, count))
    assert (gpu.captures, gpu.launches) == (1, 2)
    for count in (1, 2, 4, 5, 6, 7):
        engine.score(pictures(bundle, count))
        engine.score(pictures(bundle, count))
    assert gpu.captures == MOST_RECORDED


@pytest.mark.parametrize(("recordable", "contexts"), [(False, 9), (True, 1)])
def test_what_cannot_be_recorded_is_run_as_it_is(
    recordable: bool, contexts: int, bundle: Bundle, gpu: SoftwareGpu
) -> None:
    gpu.recordable, gpu.most_contexts = recordable, contexts
    engine, _ = opened(bundle, gpu)
    wanted = OnnxRuntimeEngine(bundle.model_path).score(pictures(bundle, 3)).surprise
    for _ in range(3):
        np.testing.assert_allclose(engine.score(pictures(bundle, 3)).surprise, wanted, atol=1e-3)
    assert gpu.launches == 0


def test_scores_are_the_callers_own(bundle: Bundle, gpu: SoftwareGpu) -> None:
    engine, _ = opened(bundle, gpu)
    first = engine.score(pictures(bundle, 2))
    kept = first.surprise.copy()
    engine.score(255 - pictures(bundle, 2))
    np.testing.assert_array_equal(first.surprise, kept)


def test_closing_gives_everything_back_and_ends_scoring(bundle: Bundle, gpu: SoftwareGpu) -> None:
    engine, _ = opened(bundle, gpu)
    for _ in range(2):
        engine.score(pictures(bundle, 2))
    engine.close()
    engine.close()
    assert (gpu.memory, gpu.streams, gpu.graphs) == ({}, set(), {})
    with pytest.raises(EngineError, match="tensorrt: must be open to score, it was closed"):
        engine.score(pictures(bundle, 1))


def test_a_gpu_with_little_room_takes_smaller_batches(bundle: Bundle, gpu: SoftwareGpu) -> None:
    gpu.room = 1 << 20
    engine, _ = opened(bundle, gpu)
    images = pictures(bundle, MOST)
    wanted = OnnxRuntimeEngine(bundle.model_path).score(images).surprise
    np.testing.assert_allclose(engine.score(images).surprise, wanted, atol=1e-3)
    engine.close()
    assert (gpu.memory, gpu.streams) == ({}, set())


def test_a_gpu_without_room_for_a_batch_is_an_error(bundle: Bundle, gpu: SoftwareGpu) -> None:
    gpu.room = 1 << 14
    with pytest.raises(
        EngineError, match=r"GPU: must have memory for the batch .*not even for the smallest batch; free"
    ):
        opened(bundle, gpu)
    assert (gpu.memory, gpu.streams) == ({}, set())


def test_an_engine_of_another_gpu_is_refused(bundle: Bundle, gpu: SoftwareGpu) -> None:
    with pytest.raises(EngineError, match="tensorrt engine: must be one that this library and GPU can run"):
        opened(bundle, gpu, b"of another GPU")
    assert (gpu.memory, gpu.streams) == ({}, set())


def test_a_run_that_fails_is_an_error(bundle: Bundle, gpu: SoftwareGpu) -> None:
    engine, trt = opened(bundle, gpu)
    trt.works = False
    with pytest.raises(EngineError, match="tensorrt: must run the engine"):
        engine.score(pictures(bundle, 2))


def test_the_bare_call_is_timed_for_any_batch(bundle: Bundle, gpu: SoftwareGpu) -> None:
    engine, _ = opened(bundle, gpu)
    for count in (1, 37):
        call = engine.bare(pictures(bundle, count))
        for _ in range(3):
            assert call() is None
