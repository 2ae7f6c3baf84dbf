"""Run fused graphs with OpenVINO on the processor."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import openvino

from engines.engine import Arrays, Engine, Precision, checked
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import FEATURES, OUTPUTS, parts_of
from engines.machine import processor
from engines.scores import Features, Scores

DEVICE = "CPU"
NAME = "openvino"


class OpenVinoEngine:
    """``score(images)`` for any batch size; calls from several threads take turns.

    models: the compiled graph, or the encoder's and that of everything behind it, each in a precision of its own."""

    name = NAME

    def __init__(self, models: list[Any], precision: Precision) -> None:
        self.precision = precision
        self._requests = [model.create_infer_request() for model in models]
        shape = models[0].input(0).get_partial_shape()
        self.input_size: tuple[int, int] = (shape[1].get_length(), shape[2].get_length())
        self._scores = [_place(models, name) for name in OUTPUTS]
        known = {name for model in models for port in model.outputs for name in port.get_names()}
        self._known = [name for name in FEATURES if name in known]
        self._features = [_place(models, name) for name in self._known]
        self._turn = threading.Lock()

    def score(self, images: Image) -> Scores:
        """Score uint8 N×H×W×3 RGB frames at the input size; other shapes or types raise EngineError."""
        return Scores(*self._run(self._scores, images))

    def features(self, images: Image) -> Features:
        """Return what the encoder says of the frames, before any density."""
        values = self._run(self._features, images)
        return Features(**dict(zip(self._known, values, strict=True)))

    def bare(self, images: Image) -> Callable[[], object]:
        """OpenVINO's own call, once per compiled graph."""
        return lambda: self._infer(images)

    def close(self) -> None:
        """Let go of the compiled graphs."""
        with self._turn:
            self._requests = []

    def _run(self, places: list[tuple[int, Any]], images: Image) -> Arrays:
        images = checked(images, self.input_size)
        with self._turn:
            if not self._requests:
                raise EngineError(self.name, "must be open to score, it was closed", "open it again")
            try:
                self._infer(images)
            except RuntimeError as error:
                raise EngineError(
                    self.name, f"must run the graph: {_reason(error)}", "verify the bundle"
                ) from error
            # Copied: what the request holds is overwritten by the next call.
            return tuple(np.array(self._requests[i].get_tensor(port).data) for i, port in places)

    def _infer(self, images: Image) -> None:
        first = self._requests[0]
        first.infer({0: images}, share_inputs=True, share_outputs=True)
        for request in self._requests[1:]:
            for port in request.model_inputs:
                request.set_tensor(port, first.get_tensor(port.get_any_name()))
            request.infer(share_outputs=True)


class OpenVino:
    """OpenVINO as a library of engines: an engine file holds the graphs it exported, already compiled."""

    def __init__(self) -> None:
        self._core = openvino.Core()

    def version(self) -> str:
        return str(openvino.__version__).partition("-")[0]

    def target(self) -> str:
        return processor()

    def build(self, graph: onnx.ModelProto, precision: Precision) -> bytes:
        if precision == Precision.BF16 and "BF16" not in self._core.get_property(
            DEVICE, "OPTIMIZATION_CAPABILITIES"
        ):
            raise EngineError(f"{NAME} bf16", "needs a processor with bf16, this one has none", "use fp32")
        # Its bf16 takes whole graphs; the density must not be among what it takes.
        graphs = parts_of(graph) if precision == Precision.BF16 else (graph,)
        exported = []
        for part, kind in zip(graphs, _kinds(precision), strict=False):
            try:
                model = self._core.read_model(part.SerializeToString())
                compiled = self._core.compile_model(model, DEVICE, _settings(kind))
            except RuntimeError as error:
                raise EngineError(
                    NAME, f"must be able to compile the graph: {_reason(error)}", "use onnxruntime"
                ) from error
            stream = io.BytesIO()
            compiled.export_model(stream)
            exported.append(stream.getvalue())
        return msgspec.msgpack.encode(exported)

    def load(self, built: bytes, precision: Precision) -> Engine:
        try:
            exported = msgspec.msgpack.decode(built, type=list[bytes])
            models = [
                self._core.import_model(io.BytesIO(blob), DEVICE, _settings(kind))
                for blob, kind in zip(exported, _kinds(precision), strict=False)
            ]
        except (RuntimeError, msgspec.DecodeError) as error:
            raise EngineError(
                f"{NAME} engine", f"must be as OpenVINO exported it: {_reason(error)}", "compile it again"
            ) from error
        for model, kind in zip(models, _kinds(precision), strict=False):
            found = model.get_property("INFERENCE_PRECISION_HINT").to_string()
            if found != kind:
                raise EngineError(
                    f"{NAME} engine", f"must compute in {kind}, it computes in {found}", "compile it again"
                )
        return OpenVinoEngine(models, precision)


def library(name: str, folder: Path) -> OpenVino:
    """The one library of this module."""
    return OpenVino()


def _kinds(precision: Precision) -> tuple[str, ...]:
    return ("bf16", "f32") if precision == Precision.BF16 else ("f32",)


def _settings(kind: str) -> dict[str, str]:
    """Left to itself, OpenVINO takes bf16 wherever the processor has it; when it imports, too."""
    return {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}


def _place(models: list[Any], name: str) -> tuple[int, Any]:
    """Which compiled graph has the output ``name``, and its port there."""
    for i, model in enumerate(models):
        for port in model.outputs:
            if name in port.get_names():
                return i, port
    raise EngineError(f"{NAME} engine", f"must have the output {name}, has not", "compile it again")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
