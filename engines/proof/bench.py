"""How fast are engines, and how far from what the machine can do at best?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from engines.backends import Backend
from engines.backends.onnx_runtime import session_of
from engines.engine import Engine
from engines.errors import EngineError
from engines.frames import Image

_SGEMM = 1024
_FEWEST_CALLS = 10


@dataclass(frozen=True, slots=True)
class Speed:
    """One engine at one batch size. Latencies are of a whole batch. overhead: what ``Engine.score`` adds to the library's
    own call, at the median; share: of the machine's own float32 matrix product, at its best, None on a GPU."""

    backend: str
    precision: str
    batch: int
    calls: int
    frames_per_s: float
    best_frames_per_s: float
    p50_ms: float
    p99_ms: float
    overhead_ms: float
    overhead_percent: float
    share: float | None = None


def measure(engines: Sequence[Engine], frames: Image, seconds: float) -> list[Speed]:
    """Time every engine on ``frames``, and its library's own call, all in turns and in an order that changes, so that a
    noisy machine, and threads of one library that still spin when another begins, disturb all alike. ``seconds``: for
    each engine."""
    calls: list[Callable[[], object]] = []
    for engine in engines:
        calls += [lambda engine=engine: engine.score(frames), engine.bare(frames)]  # type: ignore[misc]
    times: list[list[float]] = [[] for _ in calls]
    for call in calls * 3:
        call()
    until = time.perf_counter() + seconds * len(engines)
    random = np.random.default_rng(0)
    while time.perf_counter() < until or len(times[0]) < _FEWEST_CALLS:
        for turn in random.permutation(len(calls)):
            started = time.perf_counter()
            calls[turn]()
            times[turn].append(time.perf_counter() - started)
    return [
        _speed(engine, len(frames), np.array(scored), np.array(plain))
        for engine, scored, plain in zip(engines, times[::2], times[1::2], strict=True)
    ]


def _speed(engine: Engine, batch: int, scored: np.ndarray, plain: np.ndarray) -> Speed:
    p50, p99 = np.percentile(scored, (50, 99))
    added = float(p50 - np.median(plain))
    best = batch / scored.min()
    return Speed(
        backend=engine.name,
        precision=engine.precision.value,
        batch=batch,
        calls=len(scored),
        frames_per_s=float(batch / p50),
        best_frames_per_s=float(best),
        p50_ms=1e3 * float(p50),
        p99_ms=1e3 * float(p99),
        overhead_ms=1e3 * added,
        overhead_percent=100 * added / float(np.median(plain)),
    )


def used_mb(backend: Backend) -> float | None:
    """Memory in use now, in MB: on the GPU, where the backend runs on one (by anybody), else by this process; None where
    nobody tells."""
    if backend.gpu:
        try:
            from engines.backends.cuda import used_memory

            return used_memory() / 2**20
        except (ImportError, EngineError):
            return None
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return None


def flops_per_frame(model: onnx.ModelProto) -> float:
    """Floating-point operations of the graph's convolutions and matrix products for one frame, 2 per
    multiply-add."""
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {i.name: tuple(i.dims) for i in inferred.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        # A free dimension is the batch: 1.
        shapes[value.name] = tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
    total = 0
    for node in inferred.node:
        if node.op_type in {"Conv", "MatMul", "Gemm"} and node.input[1] in shapes:
            total += 2 * math.prod(shapes.get(node.output[0], (0,))) * _summed(node, shapes[node.input[1]])
    return float(total)


def _summed(node: onnx.NodeProto, weights: tuple[int, ...]) -> int:
    """How many products each element of the output sums."""
    if node.op_type == "Conv":
        return math.prod(weights[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return weights[-1] if transposed or len(weights) == 1 else weights[-2]


def sgemm_peak(seconds: float = 0.3) -> float:
    """Floating-point operations a second of the best float32 matrix product, ONNX Runtime's or numpy's: what this
    machine can do in practice. Neither knows every processor: the OpenBLAS of numpy 2.4 reaches half of a Zen 5."""
    a = np.random.default_rng(0).random((_SGEMM, _SGEMM), np.float32)
    session = session_of(_product(a), "matrix product", 0)
    best_s = math.inf
    # numpy's last: its threads go on waiting busily.
    products: list[Callable[[], object]] = [lambda: session.run(None, {"left": a}), lambda: np.matmul(a, a)]
    for multiply in products:
        multiply()
        until = time.perf_counter() + seconds / 2
        while (started := time.perf_counter()) < until:
            multiply()
            best_s = min(best_s, time.perf_counter() - started)
    return 2.0 * _SGEMM**3 / best_s


def _product(right: NDArray[np.float32]) -> bytes:
    """The graph that multiplies by ``right``."""
    left, both = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, right.shape)
        for name in ("left", "product")
    )
    node = helper.make_node("MatMul", ["left", "right"], ["product"])
    graph = helper.make_graph([node], "product", [left], [both], [numpy_helper.from_array(right, "right")])
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())
