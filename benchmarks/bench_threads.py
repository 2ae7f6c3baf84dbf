"""How ONNX Runtime's threads should wait for each other: busily, or asleep? Measured in alternation in one run.

    python benchmarks/bench_threads.py BUNDLE [--threads 2] [--rounds 8] [--batches 1 2 4 16 64]

A graph of small layers hands work to its threads every few hundredths of a millisecond, and a thread that slept takes about
as long to wake. One that waits busily starts at once, and takes its core from whoever else could have used it: decoders,
above all. Here the library's own call is timed on random pictures, on the clock and in processor time of a frame; what it
means under cameras is told by ``bench_cameras.py``. Busy waiting ends with the call here (``force_spinning_stop``)."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime
from rich.table import Table

from engines.bundle import open_bundle
from engines.console import console
from engines.graph import OUTPUTS

FRAMES = 32
"""Scored a round with each way of waiting."""


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 2, 4, 16, 64))
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    many = options.threads
    sessions = {
        "one thread": session(bundle.model_path, 1, busy=False),
        f"{many} threads, asleep": session(bundle.model_path, many, busy=False),
        f"{many} threads, busy": session(bundle.model_path, many, busy=True),
    }
    table = Table("batch", "waiting", "frames/s median", "best", "processor ms a frame")
    random = np.random.default_rng(0)
    for batch in options.batches:
        images = random.integers(0, 256, (batch, *bundle.manifest.input_size, 3)).astype(np.uint8)
        took_s: dict[str, list[float]] = {name: [] for name in sessions}
        cpu_s = dict.fromkeys(sessions, 0.0)
        for _ in range(options.rounds):
            for name, one in sessions.items():
                # Whoever waited busily before has stopped by then.
                time.sleep(0.02)
                for _ in range(max(1, FRAMES // batch)):
                    began_s, began_cpu_s = time.perf_counter(), time.process_time()
                    one.run(list(OUTPUTS), {"images": images})
                    took_s[name].append((time.perf_counter() - began_s) / batch)
                    cpu_s[name] += (time.process_time() - began_cpu_s) / batch
        for name, times in took_s.items():
            rates = f"{1 / np.median(times):.0f}", f"{1 / min(times):.0f}"
            table.add_row(str(batch), name, *rates, f"{1e3 * cpu_s[name] / len(times):.2f}")
    console().print(table)


def session(model: Path, threads: int, *, busy: bool) -> onnxruntime.InferenceSession:
    """As ``engines.backends.onnx_runtime`` makes it, but for how threads wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if busy else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
