"""How ONNX Runtime's threads should wait for each other: asleep, briefly busy, or busy? Measured in alternation in one run.

    python benchmarks/bench_threads.py BUNDLE|ENCODER [--threads 2] [--rounds 8] [--batches 1 2 4 16 64]

A graph of small layers hands work to its threads every few hundredths of a millisecond, and a thread that slept takes about
as long to wake. One that waits busily starts at once, and takes its core from whoever else could have used it: decoders,
above all. Here the library's own call is timed on random pictures, on the clock and in processor time of a frame; what it
means under cameras is told by ``bench_cameras.py``. However long threads wait busily, they stop when the call ends. ENCODER
is the name of one that ships, run without a density."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
from rich.table import Table

from engines.backends.onnx_runtime import SPIN_US, OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.console import console
from engines.encoders import open_encoder

FRAMES = 32
"""Scored a round with each way of waiting."""
LONG_US = 1_000_000


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 2, 4, 16, 64))
    options = parser.parse_args()
    many, whole = options.threads, Path(options.model).is_dir()
    model = open_bundle(options.model).model_path if whole else open_encoder(options.model)[1]
    source = model if isinstance(model, Path) else model.SerializeToString()
    engines = {
        "one thread": OnnxRuntimeEngine(source, 1),
        f"{many} threads, asleep": OnnxRuntimeEngine(source, many, spin_us=0),
        f"{many} threads, {SPIN_US} µs busy": OnnxRuntimeEngine(source, many),
        f"{many} threads, busy": OnnxRuntimeEngine(source, many, spin_us=LONG_US),
    }
    size = engines["one thread"].input_size
    table = Table("batch", "waiting", "frames/s median", "best", "processor ms a frame")
    random = np.random.default_rng(0)
    for batch in options.batches:
        images = random.integers(0, 256, (batch, *size, 3)).astype(np.uint8)
        took_s: dict[str, list[float]] = {name: [] for name in engines}
        cpu_s = dict.fromkeys(engines, 0.0)
        for _ in range(options.rounds):
            for name, engine in engines.items():
                call = engine.bare(images) if whole else partial(engine.features, images)
                # Whoever waited busily before has stopped by then.
                time.sleep(0.02)
                for _ in range(max(1, FRAMES // batch)):
                    began_s, began_cpu_s = time.perf_counter(), time.process_time()
                    call()
                    took_s[name].append((time.perf_counter() - began_s) / batch)
                    cpu_s[name] += (time.process_time() - began_cpu_s) / batch
        for name, times in took_s.items():
            rates = f"{1 / np.median(times):.0f}", f"{1 / min(times):.0f}"
            table.add_row(str(batch), name, *rates, f"{1e3 * cpu_s[name] / len(times):.2f}")
    console().print(table)


if __name__ == "__main__":
    main()
