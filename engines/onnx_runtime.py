"""Run a fused graph with ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from engines.engine import Precision, checked
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import FEATURES, OUTPUTS
from engines.scores import Features, Scores


class OnnxRuntimeEngine:
    """``score(images)`` for any batch size; thread-safe, since a session is.

    threads: how many cores one call may use; 0 leaves it to ONNX Runtime (all of them).
    """

    name = "onnxruntime"
    precision = Precision.FP32

    def __init__(self, model: Path | bytes, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Spinning threads would take whole cores from the decoder between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source = model if isinstance(model, bytes) else str(model)
        try:
            self.session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = str(error).splitlines()[0]
            where = "model" if isinstance(model, bytes) else model
            raise EngineError(
                where, f"ONNX Runtime must be able to load it: {reason}", "verify the bundle"
            ) from error
        shape = self.session.get_inputs()[0].shape
        self.input = self.session.get_inputs()[0].name
        self.input_size: tuple[int, int] = (int(shape[1]), int(shape[2]))
        self.outputs = tuple(o.name for o in self.session.get_outputs())

    def score(self, images: Image) -> Scores:
        """Score uint8 N×H×W×3 RGB frames at the input size; other shapes or types raise EngineError."""
        values = self.session.run(list(OUTPUTS), {self.input: checked(images, self.input_size)})
        return Scores(*values)

    def features(self, images: Image) -> Features:
        """Return what the encoder says of the frames, before any density."""
        names = [n for n in FEATURES if n in self.outputs]
        values = self.session.run(names, {self.input: checked(images, self.input_size)})
        return Features(**dict(zip(names, values, strict=True)))

    def close(self) -> None:
        """Nothing is held that the garbage collector would not give back."""
