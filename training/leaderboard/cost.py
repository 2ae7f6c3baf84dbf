"""What an encoder costs."""

from __future__ import annotations

import time

import numpy as np

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.proof.bench import flops_per_frame
from training.leaderboard.models import Model
from training.leaderboard.page import Cost

TIMED_S, FEWEST_CALLS, THREADS = 1.0, 3, 1


def cost(model: Model) -> Cost:
    """Speed in ONNX Runtime on THREADS threads, size and arithmetic."""
    engine = OnnxRuntimeEngine(model.graph.SerializeToString(), THREADS)
    noise = np.random.default_rng(0).integers(0, 256, (16, *engine.input_size, 3)).astype(np.uint8)
    engine.features(noise)
    spent: list[float] = []
    while sum(spent) < TIMED_S or len(spent) < FEWEST_CALLS:
        started = time.perf_counter()
        engine.features(noise)
        spent.append(time.perf_counter() - started)
    size = len(model.graph.SerializeToString()) / 1e6
    return Cost(len(noise) / min(spent), size, flops_per_frame(model.graph) / 1e9)
