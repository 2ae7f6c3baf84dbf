"""The few things of CUDA that an engine needs: a stream, memory on both sides, graphs. Bound by NVIDIA's cuda-bindings."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from cuda.bindings import runtime
from numpy.typing import NDArray

from engines.engine import OutOfMemoryError
from engines.errors import EngineError

_TOO_OLD = ("cudaErrorInsufficientDriver", "cudaErrorCompatNotSupportedOnDevice")
_ABSENT = (
    "cudaErrorNoDevice",
    "cudaErrorInitializationError",
    "cudaErrorStubLibrary",
    "cudaErrorSystemDriverMismatch",
)


def call(answer: tuple[Any, ...]) -> Any:
    """What a call of the CUDA runtime returned behind its error code; an error raises EngineError, a want of memory
    OutOfMemoryError."""
    code, *rest = answer
    if code != runtime.cudaError_t.cudaSuccess:
        _, text = runtime.cudaGetErrorString(code)
        problem = f"{code.name}: {text.decode() if isinstance(text, bytes) else text}"
        if code == runtime.cudaError_t.cudaErrorMemoryAllocation:
            raise OutOfMemoryError("GPU", f"must have memory for the batch ({problem})")
        if code.name in _ABSENT or call(runtime.cudaDriverGetVersion()) == 0:
            raise EngineError(
                "GPU", f"must be there with its driver ({problem})", "use a backend for processors"
            )
        if code.name in _TOO_OLD:
            raise EngineError(
                "GPU", f"needs a newer NVIDIA driver ({problem})", "update the driver, or use a CPU backend"
            )
        raise EngineError("GPU", f"must do as told ({problem})", "see the driver's log")
    return rest[0] if len(rest) == 1 else tuple(rest)


def capability(device: int = 0) -> tuple[int, int]:
    """Compute capability of a GPU, such as (8, 9); no GPU or no driver raises EngineError."""
    call(runtime.cudaGetDeviceCount())
    attributes = runtime.cudaDeviceAttr
    major = call(runtime.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMajor, device))
    minor = call(runtime.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMinor, device))
    return int(major), int(minor)


def used_memory() -> int:
    """Bytes in use on the current GPU, by anybody."""
    free, total = call(runtime.cudaMemGetInfo())
    return int(total) - int(free)


class Buffer:
    """One array on the GPU and its twin in page-locked memory of the host.

    host: the twin as a numpy array. Copies are asynchronous, of the first ``rows`` along the first axis."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.row_bytes = math.prod(shape[1:]) * dtype.itemsize
        size = max(shape[0] * self.row_bytes, 1)
        self._pinned = self.device = 0
        self.device = int(call(runtime.cudaMalloc(size)))
        try:
            self._pinned = int(call(runtime.cudaMallocHost(size)))
        except EngineError:
            self.free()
            raise
        raw = (ctypes.c_uint8 * size).from_address(self._pinned)
        flat = np.ctypeslib.as_array(raw)[: math.prod(shape) * dtype.itemsize]
        self.host: NDArray[Any] = flat.view(dtype).reshape(shape)

    def upload(self, rows: int, stream: int) -> None:
        """Host to GPU."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(runtime.cudaMemcpyAsync(self.device, self._pinned, rows * self.row_bytes, kind, stream))

    def download(self, rows: int, stream: int) -> None:
        """GPU to host."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(runtime.cudaMemcpyAsync(self._pinned, self.device, rows * self.row_bytes, kind, stream))

    def free(self) -> None:
        """Give both back; idempotent. ``host`` must not be used any more."""
        device, pinned, self.device, self._pinned = self.device, self._pinned, 0, 0
        if device:
            call(runtime.cudaFree(device))
        if pinned:
            call(runtime.cudaFreeHost(pinned))


class Stream:
    """One stream of the GPU, and graphs captured from it."""

    def __init__(self) -> None:
        self.handle = int(call(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)))

    def wait(self) -> None:
        """Until all that was asked of the stream is done."""
        call(runtime.cudaStreamSynchronize(self.handle))

    def begin_capture(self) -> None:
        """From now on the stream records instead of working."""
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call(runtime.cudaStreamBeginCapture(self.handle, mode))

    def end_capture(self) -> Any:
        """Return what was recorded, ready to ``launch``."""
        graph = call(runtime.cudaStreamEndCapture(self.handle))
        try:
            return call(runtime.cudaGraphInstantiate(graph, 0))
        finally:
            call(runtime.cudaGraphDestroy(graph))

    def launch(self, recorded: Any) -> None:
        """Do all that was recorded."""
        call(runtime.cudaGraphLaunch(recorded, self.handle))

    def forget(self, recorded: Any) -> None:
        """Give a recording back."""
        call(runtime.cudaGraphExecDestroy(recorded))

    def close(self) -> None:
        """Give the stream back; idempotent."""
        handle, self.handle = self.handle, 0
        if handle:
            call(runtime.cudaStreamDestroy(handle))
