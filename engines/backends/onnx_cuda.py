"""Run fused graphs with ONNX Runtime on an NVIDIA GPU, in batches of few sizes.

A convolution makes its plan anew whenever the shape that it is given changes, half a second for all of a graph
(ONNX Runtime issue 23006). So there is a session for each of a few sizes, and batches are filled up to one; those of live
cameras are prepared when the engine opens. All copies are ONNX Runtime's, on its own stream and within its calls: Python's
of a value on the GPU waits for everything that decoders have queued there, and keeps all threads waiting."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from engines.backends.onnx_runtime import FATAL, OnnxEngine, guarded, session_of
from engines.engine import Arrays, Engine, OutOfMemoryError, Precision, checked
from engines.errors import EngineError
from engines.frames import Image, Resident
from engines.machine import gpu_name
from engines.planar import joining
from engines.scores import Scores

NAME = "onnxruntime-cuda"
GPU, HOST = "cuda", "cpu"
PROVIDER = "CUDAExecutionProvider"

SIZES = (1, 4, 16, 64, 256)
PREPARED = 16
"""The largest batch that is ready once the engine is open: the largest of live cameras."""

_OPTIONS = {
    # TF32 has ten bits.
    "use_tf32": "0",
    # By rules. To time all algorithms instead takes up to twice as long, gains a seventh at 64 frames and nothing at 1, 16 and
    # 256, and what is fastest, and so the rounding, may be another each time.
    "cudnn_conv_algo_search": "HEURISTIC",
}

_CUDA_ERROR = re.compile(r"(CUDA|CUBLAS|CUDNN) failure \d+: [^;\n]*\w")
"""What CUDA's libraries say of themselves in an error of ONNX Runtime's."""


class OnnxCudaEngine(OnnxEngine):
    """``score(images)`` for any batch size. Calls from several threads take turns.

    model: a fused graph, or an encoder (which knows ``features`` alone). device: ``cuda``, or ``cpu``, which plays its part
    where there is no GPU."""

    def __init__(
        self, model: Path | bytes, *, precision: Precision = Precision.FP32, device: str = GPU
    ) -> None:
        self.name, self.precision, self.device = NAME, precision, device
        self._turn = threading.Lock()
        self._model, self._where = model, NAME if isinstance(model, bytes) else model
        self._sessions: dict[int, Any] = {SIZES[0]: _session(model, self._where, device)}
        super().__init__(self._sessions[SIZES[0]])
        self._staged: dict[int, Image] = {}
        self._joins: dict[int, Any] = {}
        if device == GPU:
            self._prepare()

    def bare(self, images: Image) -> Callable[[], object]:
        """ONNX Runtime's own calls for the scores of ``images``, filled up."""
        names, height_width_3 = self._scores, images.shape[1:]
        calls = [
            (self._session(size), {self.input: np.resize(images[rows], (size, *height_width_3))})
            for rows, size in in_sizes(len(images))
        ]
        return lambda: [session.run(names, feed) for session, feed in calls]

    def close(self) -> None:
        """Let go of the sessions and of the GPU's memory; idempotent."""
        with self._turn:
            self._sessions, self._staged, self._joins = {}, {}, {}

    def reduction(self, graph: onnx.ModelProto) -> Callable[[Sequence[int]], Resident]:
        """See ``engines.engine.ResidentEngine``."""
        both = onnx.ModelProto()
        both.CopyFrom(graph)
        here = onnx.ValueInfoProto()
        here.CopyFrom(graph.graph.output[0])
        here.name = "here"
        both.graph.node.append(helper.make_node("Identity", [graph.graph.output[0].name], [here.name]))
        both.graph.output.append(here)
        session = _session(both.SerializeToString(), "reduction", self.device)

        def reduced(addresses: Sequence[int]) -> _Kept:
            binding = session.io_binding()
            for plane, address in zip(session.get_inputs(), addresses, strict=True):
                binding.bind_input(plane.name, self.device, 0, np.uint8, plane.shape, address)
            binding.bind_output(graph.graph.output[0].name, self.device, 0)
            binding.bind_output(here.name, HOST, 0)
            session.run_with_iobinding(binding)
            there, copy = binding.get_outputs()
            return _Kept(there, copy.numpy()[0])

        return lambda addresses: guarded(NAME, lambda: reduced(addresses), 1)

    def score_resident(self, pictures: Sequence[Image | Resident]) -> Scores:
        """See ``engines.engine.ResidentEngine``."""
        return Scores(*self._batches.run(lambda part: self._run(self._scores, part), list(pictures)))

    def _prepare(self) -> None:
        """Have batches up to PREPARED ready, as far as there is memory."""
        for size in SIZES[: SIZES.index(PREPARED) + 1]:
            try:
                self._run(self.outputs, np.zeros((size, *self.input_size, 3), np.uint8))
            except OutOfMemoryError:
                if size == SIZES[0]:
                    raise
                return

    def _run(self, names: Sequence[str], pictures: Image | list[Image | Resident]) -> Arrays:
        """The outputs ``names`` for pictures in one array, or one by one in either memory."""
        most = SIZES[-1] if isinstance(pictures, np.ndarray) else PREPARED

        def found() -> Arrays:
            parts = []
            for rows, size in in_sizes(len(pictures), most):
                part = pictures[rows]
                if isinstance(part, np.ndarray):
                    values = self._session(size).run(names, {self.input: self._filled(part, size)})
                else:
                    values = self._run_resident(names, part, size)
                parts.append(tuple(value[: len(part)] for value in values))
            return parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))

        with self._turn:
            if not self._sessions:
                raise EngineError(NAME, "must be open to score, it was closed", "open it again")
            return guarded(NAME, found, len(pictures))

    def _session(self, size: int) -> Any:
        """The session that batches of ``size`` alone go through."""
        if size not in self._sessions:
            self._sessions[size] = _session(self._model, self._where, self.device)
        return self._sessions[size]

    def _filled(self, images: Image, size: int) -> Image:
        """``images``, with what was there before behind them."""
        if len(images) == size:
            return images
        if size not in self._staged:
            self._staged[size] = np.zeros((size, *images.shape[1:]), np.uint8)
        self._staged[size][: len(images)] = images
        return self._staged[size]

    def _run_resident(self, names: Sequence[str], pictures: Sequence[Image | Resident], size: int) -> Arrays:
        """Join pictures from either memory in the engine's, the last one again in places that are left, and score them
        there."""
        if size not in self._joins:
            graph = joining(size, self.input_size).SerializeToString()
            self._joins[size] = _session(graph, "joining", self.device)
        join = self._joins[size]
        joined = join.io_binding()
        for index in range(size):
            picture = pictures[min(index, len(pictures) - 1)]
            name = f"image_{index}"
            if isinstance(picture, _Kept):
                joined.bind_ortvalue_input(name, picture.value)
            else:
                image = picture if isinstance(picture, np.ndarray) else picture.image
                joined.bind_cpu_input(name, checked(image[None], self.input_size))
        joined.bind_output(join.get_outputs()[0].name, self.device, 0)
        join.run_with_iobinding(joined)
        session = self._session(size)
        scoring = session.io_binding()
        scoring.bind_ortvalue_input(self.input, joined.get_outputs()[0])
        for name in names:
            scoring.bind_output(name, HOST, 0)
        session.run_with_iobinding(scoring)
        return tuple(value.numpy() for value in scoring.get_outputs())


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """One picture in the engine's memory, 1×H×W×3, and its copy."""

    value: Any
    image: Image


class OnnxCuda:
    """ONNX Runtime with CUDA as a library of engines: an engine file is a graph, which the session prepares."""

    def version(self) -> str:
        return str(onnxruntime.__version__)

    def target(self) -> str:
        return gpu_name() or "no GPU"

    def build(self, graph: onnx.ModelProto, precision: Precision) -> bytes:
        return bytes(graph.SerializeToString())

    def load(self, built: bytes, precision: Precision) -> Engine:
        return OnnxCudaEngine(built, precision=precision)


def library(name: str, folder: Path) -> OnnxCuda:
    """Asks for ONNX Runtime's build with CUDA; nothing is kept in ``folder``."""
    if PROVIDER not in onnxruntime.get_available_providers():
        raise ImportError("this build of onnxruntime has no CUDA provider", name="onnxruntime-gpu")
    _missing()
    # A library or a GPU that is missing is told by ``_session``; cuDNN's front end reports each plan that it turns down.
    onnxruntime.set_default_logger_severity(FATAL)
    return OnnxCuda()


def in_sizes(count: int, most: int = SIZES[-1]) -> Iterator[tuple[slice, int]]:
    """Split ``count`` frames into batches of SIZES up to ``most``: which rows, and the size that they are filled up to."""
    start = 0
    while start < count:
        left = count - start
        size = next((s for s in SIZES if s >= left), most)
        if left > PREPARED:
            # Whole batches first: filling up a large one costs more than a small one behind it.
            size = max(s for s in SIZES if s <= min(left, most))
        yield slice(start, start + size), size
        start += size


@cache
def _missing() -> str:
    """Load CUDA's libraries from the packages that may have brought them; the first one that is nowhere, in a line of ONNX
    Runtime's, empty where all are there. It prints, and a program's output is its own."""
    said = StringIO()
    with redirect_stdout(said):
        onnxruntime.preload_dlls()
    return next((line for line in said.getvalue().splitlines() if line.startswith("Failed")), "")


def _session(model: Path | bytes, where: object, device: str) -> Any:
    if device != GPU:
        return session_of(model, where, 1)
    try:
        session = session_of(model, where, 1, [(PROVIDER, _OPTIONS), "CPUExecutionProvider"])
    except EngineError as error:
        if (found := _CUDA_ERROR.search(error.problem)) is None:
            raise
        raise EngineError(
            NAME,
            f"must find a GPU with a driver that fits, and memory on it ({found[0]})",
            "free some, or use --backend onnxruntime",
        ) from error
    if PROVIDER not in session.get_providers():
        if gpu_name() and _missing():
            raise EngineError(
                NAME,
                f"must find CUDA's libraries: {_missing()}",
                "pip install 'sightline[cuda]', or install CUDA",
            )
        raise EngineError(
            NAME, "must find a GPU with a driver that fits, found none", "use --backend onnxruntime"
        )
    return session
