"""How close replay comes to its floor: decode alone, engine alone, and replay, on one clip in one run.

    python benchmarks/bench_replay.py [--clip VIDEO] [--bundle BUNDLE] [--rounds 5]

Without a clip a drive is rendered at 1280×720. The floor is the CPU time of decoding every frame to the
model's size plus that of scoring every frame in batches; what replay takes beyond it is health checks,
detector and bookkeeping. The three alternate, round by round, and the ratio is that of the medians, so that a
noisy machine disturbs all alike."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.footage import Recording, find_drives
from monitor.pipeline import BATCH
from monitor.replay import replay


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of ``work``, all threads counted."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def sightline(*arguments: str) -> None:
    """Run the command line; its progress is of no interest here."""
    subprocess.run([sys.executable, "-m", "sightline", *arguments], check=True, capture_output=True)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip, bundle_path = options.clip, options.bundle
        if clip is None:
            clip = Path(folder) / "drive.mp4"
            sightline("render", "--out", str(clip), "--size", "1280x720", "--fps", "30", "--seconds", "12")
        if bundle_path is None:
            bundle_path = Path(folder) / "clip.bundle"
            normal = Path(folder) / "normal.mp4"
            sightline("render", "--out", str(normal), "--fps", "10", "--seconds", "60", "--seed", "1")
            sightline("fit", "--normal", str(normal), "--out", str(bundle_path))
        measure(clip, bundle_path, options.rounds)


def measure(clip: Path, bundle_path: Path, rounds: int) -> None:
    """Alternate the three and print their rates and the ratio."""
    bundle = open_bundle(bundle_path)
    engine = OnnxRuntimeEngine(bundle.model_path)
    drive = find_drives([clip])[0]
    images = np.stack([f.image for f in Recording(drive, engine.input_size)])

    def decode() -> None:
        for _ in Recording(drive, engine.input_size):
            pass

    def score() -> None:
        for start in range(0, len(images), BATCH):
            engine.score(images[start : start + BATCH])

    def whole() -> None:
        replay(drive, bundle, engine, on_frame=lambda _: None, on_event=lambda _: None, batch=BATCH)

    parts = {"decode only": decode, "engine only": score, "replay": whole}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for work in parts.values():
        work()
    for _ in range(rounds):
        for name, work in parts.items():
            times[name].append(timed(work))
    cpu = {}
    print(f"{clip.name}: {len(images)} frames, median of {rounds} alternating rounds")
    for name, pairs in times.items():
        wall_s, cpu[name] = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(
            f"{name:<12} {len(images) / wall_s:7.0f} frames/s {1e3 * cpu[name] / len(images):7.2f} ms CPU a frame"
        )
    ratio = cpu["replay"] / (cpu["decode only"] + cpu["engine only"])
    print(f"CPU of replay over decode + engine: {ratio:.2f} (target 1.15)")


if __name__ == "__main__":
    main()
