"""What an encoder costs, beside another: on a busy machine a ratio can be trusted, frames per second cannot."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.encoders import open_encoder
from engines.proof.bench import flops_per_frame
from training.leaderboard.figures import Cost

BATCH, TIMED_S, FEWEST_ROUNDS, THREADS = 16, 8.0, 6, 1
YARDSTICK = "road"
"""The encoder beside which all are timed."""


def cost(graph: onnx.ModelProto) -> Cost:
    """Size, arithmetic and speed in ONNX Runtime, a batch of this and a batch of YARDSTICK in turns."""
    mine, yardstick = _timed(graph), _timed(open_encoder(YARDSTICK)[1])
    times: list[tuple[float, float]] = []
    while sum(map(sum, times)) < TIMED_S or len(times) < FEWEST_ROUNDS:
        # Whoever comes second finds a warmer or a colder cache: each does so every other time.
        first, then = (mine, yardstick) if len(times) % 2 else (yardstick, mine)
        pair = first(), then()
        times.append(pair if first is mine else pair[::-1])
    spent = np.array(times)
    return Cost(
        frames_per_s=BATCH / float(spent[:, 0].min()),
        times=float(np.median(spent[:, 0] / spent[:, 1])),
        megabytes=len(graph.SerializeToString()) / 1e6,
        gflop=flops_per_frame(graph) / 1e9,
    )


def _timed(graph: onnx.ModelProto) -> Callable[[], float]:
    """Seconds of a batch, whenever asked."""
    engine = OnnxRuntimeEngine(graph.SerializeToString(), THREADS)
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, *engine.input_size, 3)).astype(np.uint8)
    engine.features(noise)

    def once() -> float:
        started = time.perf_counter()
        engine.features(noise)
        return time.perf_counter() - started

    return once
