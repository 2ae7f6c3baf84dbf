"""The libraries that can run a bundle's graph, in one table, and how to get an engine from one of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from engines.bundle import Bundle
from engines.engine import Engine, Precision
from engines.errors import EngineError

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Backend:
    """One library: the module that runs it, the extra that brings it, the precisions it is offered in."""

    name: str
    module: str
    extra: str
    precisions: tuple[Precision, ...]


BACKENDS = {b.name: b for b in (Backend("onnxruntime", "engines.onnx_runtime", "", (Precision.FP32,)),)}


def open_engine(
    bundle: Bundle,
    backend: str = AUTO,
    precision: Precision = Precision.FP32,
    *,
    unverified: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Engine:
    """Return the engine of a bundle that ``backend`` runs, verified unless told otherwise.

    ``auto`` takes the fastest verified one of this machine. ``say`` is told in one line what was chosen and why, and
    when something had to be built. What cannot be opened, or is not equal to the reference, raises EngineError."""
    name = "onnxruntime" if backend == AUTO else backend
    if name not in BACKENDS:
        raise EngineError(backend, f"must be {AUTO} or one of {', '.join(BACKENDS)}", "check --backend")
    opened: Engine = importlib.import_module(BACKENDS[name].module).OnnxRuntimeEngine(bundle.model_path)
    return opened
