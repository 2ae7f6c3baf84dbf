"""Run fused graphs with ONNX Runtime, on the processor or through CUDA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from engines.engine import Arrays, Batches, Engine, OutOfMemoryError, Precision, checked
from engines.errors import EngineError
from engines.frames import Image, Resident
from engines.graph import FEATURES, OUTPUTS
from engines.machine import gpu_name, processor
from engines.planar import joining
from engines.scores import Features, Scores

T = TypeVar("T")

CPU, CUDA = "onnxruntime", "onnxruntime-cuda"
_GPU, _HOST = "cuda", "cpu"
SPIN_US = 25
"""How long a thread waits busily for its next share of a call, before it sleeps; not between calls. A layer of one small
frame takes 40 µs, and a thread that slept as long to wake; one that never slept would take whole cores from decoders."""
_SPINS_BRIEFLY = (1, 27)
"""ONNX Runtime's first version that surely knows how (its pull request 27916); in earlier ones threads sleep."""
_NO_ROOM = ("Failed to allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class OnnxRuntimeEngine:
    """``score(images)`` for any batch size; thread-safe, since a session is.

    model: a fused graph, or an encoder (which knows ``features`` alone). threads: how many cores one call may use; 0
    leaves it to ONNX Runtime (all of them). spin_us: how long its threads wait for each other before they sleep.
    """

    def __init__(
        self,
        model: Path | bytes,
        threads: int = 0,
        *,
        name: str = CPU,
        precision: Precision = Precision.FP32,
        spin_us: int = SPIN_US,
    ) -> None:
        self.name, self.precision = name, precision
        where = name if isinstance(model, bytes) else model
        self.session = _session(model, where, threads, name, spin_us)
        shape = self.session.get_inputs()[0].shape
        self.input = self.session.get_inputs()[0].name
        self.input_size: tuple[int, int] = (int(shape[1]), int(shape[2]))
        self.outputs = tuple(o.name for o in self.session.get_outputs())
        self._scores = list(OUTPUTS)
        self._features = [n for n in FEATURES if n in self.outputs]
        self._batches = Batches()
        self.device = _GPU if name == CUDA else _HOST
        self._joins: dict[int, Any] = {}

    def score(self, images: Image) -> Scores:
        """Score uint8 N×H×W×3 RGB frames at the input size; other shapes or types raise EngineError."""
        images = checked(images, self.input_size)
        return Scores(*self._batches.run(lambda part: self._run(self._scores, part), images))

    def features(self, images: Image) -> Features:
        """Return what the encoder says of the frames, before any density."""
        images = checked(images, self.input_size)
        values = self._batches.run(lambda part: self._run(self._features, part), images)
        return Features(**dict(zip(self._features, values, strict=True)))

    def bare(self, images: Image) -> Callable[[], object]:
        """ONNX Runtime's own call for the scores of ``images``."""
        session, names, feed = self.session, self._scores, {self.input: images}
        return lambda: session.run(names, feed)

    def close(self) -> None:
        """Let go of the session."""
        self.session = None
        self._joins = {}

    def reduction(self, graph: onnx.ModelProto) -> Callable[[Sequence[int]], Resident]:
        """See ``engines.engine.ResidentEngine``."""
        session = _session(graph.SerializeToString(), "reduction", 1, self.name)

        def reduced(addresses: Sequence[int]) -> _Kept:
            binding = session.io_binding()
            for plane, address in zip(session.get_inputs(), addresses, strict=True):
                binding.bind_input(plane.name, self.device, 0, np.uint8, plane.shape, address)
            value = _left(session, binding, self.device)
            return _Kept(value, value.numpy()[0])

        return lambda addresses: self._guarded(lambda: reduced(addresses), 1)

    def score_resident(self, pictures: Sequence[Image | Resident]) -> Scores:
        """See ``engines.engine.ResidentEngine``."""
        return Scores(*self._batches.run(self._run_resident, list(pictures)))

    def _run_resident(self, pictures: list[Image | Resident]) -> Arrays:
        """Join the pictures in the engine's memory, and score them there."""
        count = len(pictures)
        if count not in self._joins:
            graph = joining(count, self.input_size).SerializeToString()
            self._joins[count] = _session(graph, "joining", 1, self.name)
        join = self._joins[count]
        binding = join.io_binding()
        for index, picture in enumerate(pictures):
            if isinstance(picture, _Kept):
                binding.bind_ortvalue_input(f"image_{index}", picture.value)
            else:
                image = picture if isinstance(picture, np.ndarray) else picture.image
                binding.bind_cpu_input(f"image_{index}", checked(image[None], self.input_size))

        def scored() -> Arrays:
            scoring = self.session.io_binding()
            scoring.bind_ortvalue_input(self.input, _left(join, binding, self.device))
            for name in self._scores:
                scoring.bind_output(name)
            self.session.run_with_iobinding(scoring)
            return tuple(scoring.copy_outputs_to_cpu())

        return self._guarded(scored, count)

    def _run(self, names: list[str], images: Image) -> Arrays:
        return self._guarded(lambda: tuple(self.session.run(names, {self.input: images})), len(images))

    def _guarded(self, call: Callable[[], T], count: int) -> T:
        """Call, with the library's errors as ours. count: of frames."""
        if self.session is None:
            raise EngineError(self.name, "must be open to score, it was closed", "open it again")
        try:
            return call()
        except Exception as error:
            reason = _reason(error)
            if any(sign in reason for sign in _NO_ROOM):
                raise OutOfMemoryError(self.name, f"must have memory for {count} frames, had none") from error
            raise EngineError(self.name, f"must run the graph: {reason}", "verify the bundle") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """One picture in the engine's memory, 1×H×W×3, and its copy."""

    value: Any
    image: Image


def _left(session: Any, binding: Any, device: str) -> Any:
    """Run a session of one output with what is bound, and leave the output in the memory of ``device``."""
    binding.bind_output(session.get_outputs()[0].name, device, 0)
    session.run_with_iobinding(binding)
    return binding.get_outputs()[0]


class OnnxRuntime:
    """ONNX Runtime as a library of engines: an engine file is a graph, which the session prepares when it loads."""

    def __init__(self, name: str) -> None:
        self._name = name

    def version(self) -> str:
        return str(onnxruntime.__version__)

    def target(self) -> str:
        return gpu_name() or "no GPU" if self._name == CUDA else processor()

    def build(self, graph: onnx.ModelProto, precision: Precision) -> bytes:
        return bytes(graph.SerializeToString())

    def load(self, built: bytes, precision: Precision) -> Engine:
        return OnnxRuntimeEngine(built, name=self._name, precision=precision)


def library(name: str, folder: Path) -> OnnxRuntime:
    """``onnxruntime`` or ``onnxruntime-cuda`` (nothing is kept in ``folder``); the latter asks for ONNX Runtime's build with CUDA."""
    if name == CUDA and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ImportError("this build of onnxruntime has no CUDA provider", name="onnxruntime-gpu")
    return OnnxRuntime(name)


def values(model: onnx.ModelProto, names: Sequence[str], images: Image) -> dict[str, NDArray[np.float32]]:
    """Run any graph on frames and return the float32 values called ``names``, outputs or not."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    outputs = {o.name for o in opened.graph.output}
    for name in names:
        if name not in outputs:
            opened.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = _session(opened.SerializeToString(), "graph", 0, CPU)
    feed = session.get_inputs()[0].name
    parts = [session.run(list(names), {feed: images[i : i + 16]}) for i in range(0, len(images), 16)]
    return dict(zip(names, (np.concatenate(column) for column in zip(*parts, strict=True)), strict=True))


def _session(model: Path | bytes, where: object, threads: int, name: str, spin_us: int = SPIN_US) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    version = tuple(int(part) for part in str(onnxruntime.__version__).split(".")[:2])
    spins = spin_us > 0 and version >= _SPINS_BRIEFLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Without VNNI, 8-bit products are else added in pairs to 16 bits, which saturate.
    options.add_session_config_entry("session.x64quantprecision", "1")
    cuda = ("CUDAExecutionProvider", {"use_tf32": "0"})
    providers = [cuda, "CPUExecutionProvider"] if name == CUDA else ["CPUExecutionProvider"]
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(
            source,
            options,
            providers=providers,
            # It would quantise the layers that were kept in float for their sensitivity, between two that were not.
            disabled_optimizers=["WeightBiasQuantization"],
        )
    except Exception as error:
        raise EngineError(
            where, f"ONNX Runtime must be able to load it: {_reason(error)}", "verify the bundle"
        ) from error
    if name == CUDA and "CUDAExecutionProvider" not in session.get_providers():
        raise EngineError(
            name, "must find a GPU with a driver that fits, found none", "use --backend onnxruntime"
        )
    return session


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
