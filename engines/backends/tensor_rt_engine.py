"""Run an engine that TensorRT or TensorRT-RTX built: one stream, page-locked memory, CUDA graphs where batches repeat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from engines.backends.cuda import Buffer, Stream, capability
from engines.engine import Arrays, Batches, OutOfMemoryError, Precision, checked
from engines.errors import EngineError, OutputError
from engines.frames import Image
from engines.graph import FEATURES, OUTPUTS
from engines.scores import Features, Scores
from engines.whole_file import write_whole

MOST_RECORDED = 4
"""Batch sizes whose work is kept as a CUDA graph; cameras come in a few numbers, not in many."""


class TensorRtEngine:
    """``score(images)`` for any batch size: larger ones than the engine was built for are split, smaller ones filled up
    with what was there before. Calls from several threads take turns.

    trt: the library's module. plan: its engine. profile: shapes of the input, of the smallest batch first, and of the largest
    last. kernels: where TensorRT-RTX keeps what it compiled for this GPU."""

    def __init__(
        self,
        trt: Any,
        name: str,
        precision: Precision,
        plan: bytes,
        profile: Sequence[tuple[int, ...]],
        kernels: Path,
    ) -> None:
        self.name, self.precision = name, precision
        self._trt, self._turn, self._kernels = trt, threading.Lock(), kernels
        self._buffers: dict[str, Buffer] = {}
        self._recorded: dict[int, tuple[Any, Any]] = {}
        self._seen: set[int] = set()
        self._stream: Stream | None = None
        self._log = quiet_log(trt)
        capability()  # says in plain words that there is no GPU, or too old a driver
        runtime = trt.Runtime(self._log)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(
                f"{name} engine",
                f"must be one that this library and GPU can run: {self._log.last}",
                "compile it again on this machine",
            )
        self._runtime, self._engine = runtime, engine
        self._native_graphs = hasattr(trt, "CudaGraphStrategy")
        self._records = not self._native_graphs
        self._learnt: Any = None
        self._context = self._new_context()
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self._input = inputs[0]
        self._values = [n for n in names if n != self._input]
        self._least, most = profile[0][0], profile[-1]
        self.input_size: tuple[int, int] = (most[1], most[2])
        self._features = [n for n in FEATURES if n in self._values]
        self._stream = Stream()
        try:
            self._batches = Batches(self._allocate_what_fits(most))
        except EngineError:
            self.close()
            raise

    def score(self, images: Image) -> Scores:
        """Score uint8 N×H×W×3 RGB frames at the input size; other shapes or types raise EngineError."""
        images = checked(images, self.input_size)
        return Scores(*self._batches.run(lambda part: self._run(OUTPUTS, part), images))

    def features(self, images: Image) -> Features:
        """Return what the encoder says of the frames, before any density."""
        images = checked(images, self.input_size)
        values = self._batches.run(lambda part: self._run(tuple(self._features), part), images)
        return Features(**dict(zip(self._features, values, strict=True)))

    def bare(self, images: Image) -> Callable[[], object]:
        """The copies to and from the GPU and the library's call, with nothing taken out of page-locked memory."""
        most = self._batches.most or len(images)
        sizes = [min(most, len(images) - start) for start in range(0, len(images), most)]
        np.copyto(self._buffers[self._input].host[: sizes[0]], images[: sizes[0]])

        def run() -> None:
            for size in sizes:
                self._compute(size, OUTPUTS)

        return run

    def close(self) -> None:
        """Give back the GPU's memory and keep what was compiled for it; idempotent."""
        with self._turn:
            stream, self._stream = self._stream, None
            if stream is None:
                return
            self._keep_kernels()
            for graph, _ in self._recorded.values():
                stream.forget(graph)
            self._recorded = {}
            self._free()
            stream.close()
            self._context = self._engine = self._runtime = None

    def _new_context(self) -> Any:
        """TensorRT-RTX records its own CUDA graphs, and need not compile again what it kept."""
        engine = self._engine
        if self._native_graphs:
            settings = engine.create_runtime_config()
            settings.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._learnt = settings.create_runtime_cache()
            with suppress(OSError):
                self._learnt.deserialize(self._kernels.read_bytes())
            settings.set_runtime_cache(self._learnt)
            context = engine.create_execution_context(settings)
        else:
            context = engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"{self.name} engine", f"must find room on the GPU: {self._log.last}", "free memory on it"
            )
        return context

    def _keep_kernels(self) -> None:
        if self._learnt is not None:
            # What cannot be kept is compiled again next time.
            with suppress(OutputError):
                write_whole(self._kernels, bytes(self._learnt.serialize()))

    def _allocate_what_fits(self, most: tuple[int, ...]) -> int:
        """Take memory for the largest batch that the GPU has room for, and return its size."""
        rows = most[0]
        while True:
            try:
                self._allocate((rows, *most[1:]))
                return rows
            except OutOfMemoryError as error:
                self._free()
                if rows == self._least:
                    raise EngineError(
                        error.where, f"{error.problem}, not even for the smallest batch", "free memory on it"
                    ) from error
                rows = max((rows + 1) // 2, self._least)

    def _free(self) -> None:
        buffers, self._buffers = self._buffers, {}
        for buffer in buffers.values():
            buffer.free()

    def _allocate(self, most: tuple[int, ...]) -> None:
        """Memory for a batch, at addresses that never change: what CUDA graphs need."""
        context = self._context
        context.set_input_shape(self._input, most)
        for name in (self._input, *self._values):
            shape = tuple(context.get_tensor_shape(name))
            kind = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
            self._buffers[name] = Buffer(shape, kind)
        self._bind(context)

    def _bind(self, context: Any) -> None:
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, buffer.device)

    def _run(self, names: tuple[str, ...], images: Image) -> Arrays:
        with self._turn:
            if self._stream is None:
                raise EngineError(self.name, "must be open to score, it was closed", "open it again")
            rows = len(images)
            np.copyto(self._buffers[self._input].host[:rows], images)
            self._compute(rows, names)
            return tuple(self._buffers[name].host[:rows].copy() for name in names)

    def _compute(self, rows: int, names: tuple[str, ...]) -> None:
        """From page-locked memory through the engine and back, and wait for it."""
        stream = self._stream
        assert stream is not None
        rows = max(rows, self._least)
        if names is OUTPUTS and rows not in self._recorded and self._worth_recording(rows):
            self._record(rows)
        if names is OUTPUTS and rows in self._recorded:
            stream.launch(self._recorded[rows][0])
        else:
            self._enqueue(self._context, rows, names)
        stream.wait()

    def _record(self, rows: int) -> None:
        """Record the work of a batch size as a CUDA graph, if the engine can be recorded at all. It has a context of its own,
        which no other size changes, and has run once before, so that all that depends on the shape is settled."""
        stream, context = self._stream, self._engine.create_execution_context()
        assert stream is not None
        if context is None:  # there is no room for its memory
            self._records = False
            return
        self._bind(context)
        try:
            self._enqueue(context, rows, OUTPUTS)
            stream.wait()
            stream.begin_capture()
            try:
                self._enqueue(context, rows, OUTPUTS)
            except EngineError:
                with suppress(EngineError):
                    stream.forget(stream.end_capture())
                raise
            self._recorded[rows] = (stream.end_capture(), context)
        except EngineError:
            self._records = False

    def _worth_recording(self, rows: int) -> bool:
        """The second time that a batch size comes, as long as there is a place for it."""
        again = rows in self._seen
        self._seen.add(rows)
        return self._records and again and len(self._recorded) < MOST_RECORDED

    def _enqueue(self, context: Any, rows: int, names: tuple[str, ...]) -> None:
        stream = self._stream
        assert stream is not None
        pictures = self._buffers[self._input]
        context.set_input_shape(self._input, (rows, *pictures.host.shape[1:]))
        pictures.upload(rows, stream.handle)
        if not context.execute_async_v3(stream.handle):
            raise EngineError(self.name, f"must run the engine: {self._log.last}", "compile it again")
        for name in names:
            self._buffers[name].download(rows, stream.handle)


def quiet_log(trt: Any) -> Any:
    """A logger that keeps the last error in ``last`` instead of printing it."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = "no reason given"

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.last = " ".join(message.split())

    return Log()
