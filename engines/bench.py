"""How fast is an engine, and how far from what the machine can do at best?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import shape_inference

from engines.frames import Image
from engines.graph import OUTPUTS
from engines.onnx_runtime import OnnxRuntimeEngine

_SGEMM = 1024
_FEWEST_CALLS = 10


@dataclass(frozen=True, slots=True)
class Speed:
    """One batch size. Latencies are of a whole batch; the overhead is what Engine.score adds to the median bare call."""

    batch: int
    calls: int
    frames_per_s: float
    best_frames_per_s: float
    p50_ms: float
    p99_ms: float
    overhead_ms: float
    overhead_percent: float


def measure(engine: OnnxRuntimeEngine, frames: Image, seconds: float) -> Speed:
    """Time ``engine.score(frames)`` and the bare library call in turns, so that a noisy machine disturbs both alike."""

    def bare() -> None:
        engine.session.run(list(OUTPUTS), {engine.input: frames})

    calls: tuple[Callable[[], object], ...] = (lambda: engine.score(frames), bare)
    times: tuple[list[float], list[float]] = ([], [])
    for call in calls * 3:
        call()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times[0]) < _FEWEST_CALLS:
        for call, spent in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            spent.append(time.perf_counter() - started)
    scored, plain = (np.array(t) for t in times)
    p50, p99 = np.percentile(scored, (50, 99))
    return Speed(
        batch=len(frames),
        calls=len(scored),
        frames_per_s=float(len(frames) / p50),
        best_frames_per_s=float(len(frames) / scored.min()),
        p50_ms=1e3 * float(p50),
        p99_ms=1e3 * float(p99),
        overhead_ms=1e3 * float(p50 - np.median(plain)),
        overhead_percent=100 * float(p50 / np.median(plain) - 1),
    )


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
        if node.op_type in {"Conv", "MatMul", "Gemm"}:
            total += 2 * math.prod(shapes.get(node.output[0], (0,))) * _summed(node, shapes[node.input[1]])
    return float(total)


def _summed(node: onnx.NodeProto, weights: tuple[int, ...]) -> int:
    """How many products each element of the output sums."""
    if node.op_type == "Conv":
        return math.prod(weights[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return weights[-1] if transposed else weights[-2]


def sgemm_peak(seconds: float = 0.3) -> float:
    """Floating-point operations a second of numpy's best float32 matrix product: what this machine can do in
    practice."""
    a = np.random.default_rng(0).random((_SGEMM, _SGEMM), np.float32)
    best_s = math.inf
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or best_s == math.inf:
        started = time.perf_counter()
        np.matmul(a, a)
        best_s = min(best_s, time.perf_counter() - started)
    return 2.0 * _SGEMM**3 / best_s
