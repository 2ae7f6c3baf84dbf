"""Run fused graphs with ONNX Runtime on the processor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from engines.engine import Arrays, Batches, Engine, OutOfMemoryError, Precision, checked
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import FEATURES, OUTPUTS
from engines.machine import processor
from engines.scores import Features, Scores

T = TypeVar("T")

NAME = "onnxruntime"
SPIN_US = 25
"""How long a thread waits busily for its next share of a call, before it sleeps; not between calls. A layer of one small
frame takes 40 µs, and a thread that slept as long to wake; one that never slept would take whole cores from decoders."""
_SPINS_BRIEFLY = (1, 27)
"""ONNX Runtime's first version that surely knows how (its pull request 27916); in earlier ones threads sleep."""
FATAL = 4
"""The severity of what ONNX Runtime may print."""
_NO_ROOM = ("Failed to allocate memory", "out of memory", "STATUS_ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED")


class OnnxEngine(ABC):
    """What ONNX Runtime's engines have in common: what a session says of its graph, and the calls that follow from it."""

    def __init__(self, session: Any) -> None:
        pictures = session.get_inputs()[0]
        self.input = pictures.name
        self.input_size: tuple[int, int] = (int(pictures.shape[1]), int(pictures.shape[2]))
        self.outputs = tuple(o.name for o in session.get_outputs())
        # An encoder alone has none of the scores.
        self._scores = list(OUTPUTS)
        self._features = [n for n in FEATURES if n in self.outputs]
        self._batches = Batches()

    def score(self, images: Image) -> Scores:
        """Score uint8 N×H×W×3 RGB frames at the input size; other shapes or types raise EngineError."""
        images = checked(images, self.input_size)
        return Scores(*self._batches.run(lambda part: self._run(self._scores, part), images))

    def features(self, images: Image) -> Features:
        """Return what the encoder says of the frames, before any density."""
        images = checked(images, self.input_size)
        values = self._batches.run(lambda part: self._run(self._features, part), images)
        return Features(**dict(zip(self._features, values, strict=True)))

    @abstractmethod
    def _run(self, names: Sequence[str], images: Image) -> Arrays:
        """The outputs ``names`` of a batch."""


class OnnxRuntimeEngine(OnnxEngine):
    """``score(images)`` for any batch size; thread-safe, since a session is.

    model: a fused graph, or an encoder (which knows ``features`` alone). threads: how many cores one call may use; 0
    leaves it to ONNX Runtime (all of them). spin_us: how long its threads wait for each other before they sleep.
    """

    def __init__(
        self,
        model: Path | bytes,
        threads: int = 0,
        *,
        precision: Precision = Precision.FP32,
        spin_us: int = SPIN_US,
    ) -> None:
        self.name, self.precision = NAME, precision
        where = NAME if isinstance(model, bytes) else model
        self.session = session_of(model, where, threads, spin_us=spin_us)
        super().__init__(self.session)

    def bare(self, images: Image) -> Callable[[], object]:
        """ONNX Runtime's own call for the scores of ``images``."""
        session, names, feed = self.session, self._scores, {self.input: images}
        return lambda: session.run(names, feed)

    def close(self) -> None:
        """Let go of the session."""
        self.session = None

    def _run(self, names: Sequence[str], images: Image) -> Arrays:
        if self.session is None:
            raise EngineError(NAME, "must be open to score, it was closed", "open it again")
        return guarded(NAME, lambda: tuple(self.session.run(names, {self.input: images})), len(images))


class OnnxRuntime:
    """ONNX Runtime as a library of engines: an engine file is a graph, which the session prepares when it loads."""

    def version(self) -> str:
        return str(onnxruntime.__version__)

    def target(self) -> str:
        return processor()

    def build(self, graph: onnx.ModelProto, precision: Precision) -> bytes:
        return bytes(graph.SerializeToString())

    def load(self, built: bytes, precision: Precision) -> Engine:
        return OnnxRuntimeEngine(built, precision=precision)


def library(name: str, folder: Path) -> OnnxRuntime:
    """Nothing is kept in ``folder``."""
    return OnnxRuntime()


def values(model: onnx.ModelProto, names: Sequence[str], images: Image) -> dict[str, NDArray[np.float32]]:
    """Run any graph on frames and return the float32 values called ``names``, outputs or not."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    outputs = {o.name for o in opened.graph.output}
    for name in names:
        if name not in outputs:
            opened.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = session_of(opened.SerializeToString(), "graph", 0)
    feed = session.get_inputs()[0].name
    parts = [session.run(list(names), {feed: images[i : i + 16]}) for i in range(0, len(images), 16)]
    return dict(zip(names, (np.concatenate(column) for column in zip(*parts, strict=True)), strict=True))


def guarded(where: str, call: Callable[[], T], count: int) -> T:
    """Call ONNX Runtime, with its errors as ours. count: of frames."""
    try:
        return call()
    except EngineError:
        raise
    except Exception as error:
        if _wants_memory(error):
            raise OutOfMemoryError(where, f"must have memory for {count} frames, had none") from error
        raise EngineError(where, f"must run the graph: {_reason(error)}", "verify the bundle") from error


def session_of(
    model: Path | bytes,
    where: object,
    threads: int,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    spin_us: int = SPIN_US,
) -> Any:
    """Open a session; a graph that cannot be loaded raises EngineError about ``where``. It prints nothing: what goes wrong
    comes as an exception, too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = FATAL
    version = tuple(int(part) for part in str(onnxruntime.__version__).split(".")[:2])
    spins = spin_us > 0 and version >= _SPINS_BRIEFLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Without VNNI, 8-bit products are else added in pairs to 16 bits, which saturate.
    options.add_session_config_entry("session.x64quantprecision", "1")
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(
            source,
            options,
            providers=list(providers),
            # It would quantise the layers that were kept in float for their sensitivity, between two that were not.
            disabled_optimizers=["WeightBiasQuantization"],
            enable_fallback=0,
        )
    except Exception as error:
        if _wants_memory(error):
            raise OutOfMemoryError(
                where, "must have memory for the graph, had none", "free memory on it"
            ) from error
        raise EngineError(
            where, f"ONNX Runtime must be able to load it: {_reason(error)}", "verify the bundle"
        ) from error
    # Where a GPU fails in a call, it would go on with the processor, and say so on standard output. Older versions know no
    # other way to say no.
    session.disable_fallback()
    return session


def _wants_memory(error: Exception) -> bool:
    return any(sign in _reason(error) for sign in _NO_ROOM)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
