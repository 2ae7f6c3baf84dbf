"""Live cameras on one engine: what batching by deadline changes, measured in alternation in one run.

    python benchmarks/bench_cameras.py [--bundle BUNDLE] [--fps FPS ...] [--wait-ms MS ...] [--spin-us US ...] [--rounds 3] [--seconds 8]

The cameras are synthetic (libavfilter) at 640×360, one for each FPS; without, eight with 160 frames/s together. Every
round watches them with the real daemon once for each ``batch_wait_ms``, in turns, and counts from when every camera has
had its first verdicts. Latency is from the arrival of a frame to its verdict, what it waited for its turn included;
frames that were replaced by newer ones before their turn have none. Below what the machine can score, the processor time
of a scored frame says what batching saves; above it, scored frames a second do.

With ``--url`` every camera is that one instead (``loop:FILE``, say), decoded as ``--decode`` says; ``--backend`` and
``--precision`` choose the engine.

With several ``--spin-us`` so many engines take turns, whose threads wait so long for each other busily.

With ``--delay-ms`` a scripted engine takes so long a call and a quarter of it a frame, as a GPU would, without
using the processor. With a delay that the cameras overload, every camera should get the same share of scored
frames, those excepted that send less than that; ``--largest`` then makes calls too small for all."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.backends import backend_of
from engines.backends.onnx_runtime import SPIN_US, OnnxRuntimeEngine
from engines.backends.scripted import ScriptedEngine
from engines.bundle import Bundle, open_bundle
from engines.decoding import ON_PROCESSOR, Decode, Decoding, decoding
from engines.engine import Engine, Precision
from engines.frames import Frame
from engines.opening import load
from engines.resident import resident
from engines.scores import Scores
from monitor.camera_watch import Loaded, Watch
from monitor.config import CameraConfig
from monitor.events import Event
from monitor.pipeline import BATCH
from monitor.run import Daemon

FPS = (10, 10, 15, 20, 20, 25, 30, 30)
WARM_FRAMES = 5
WORDS = ("calls/s", "scored/s", "latency p50 ms", "latency p99 ms", "processor ms a scored frame")


class Timed(Watch):
    """A camera that keeps how long its frames took from arrival to verdict, and how many were the first of their batch."""

    def __init__(self, *arguments: Any) -> None:
        self.took_s: list[float] = []
        self.began = 0
        super().__init__(*arguments)

    def judge(self, frame: Frame, scores: Scores, row: int) -> tuple[Event, ...]:
        events = super().judge(frame, scores, row)
        self.took_s.append(time.monotonic() - frame.arrival_s)
        self.began += row == 0
        return events


class Nowhere:
    """Shows and delivers nothing."""

    every_s = float("inf")

    def put(self, message: object) -> None: ...

    def event(self, event: object, *, muted: bool = False) -> None: ...

    def log(self, text: str) -> None: ...

    def status(self, rows: Sequence[object]) -> None: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One watch of the cameras. scored: one number per camera; took_s: one per frame; cores: processors kept busy."""

    seconds: float
    calls: int
    cores: float
    scored: tuple[int, ...]
    took_s: tuple[float, ...]

    @property
    def facts(self) -> tuple[float, ...]:
        """In the order of WORDS."""
        p50, p99 = np.percentile(self.took_s, [50, 99])
        return (
            self.calls / self.seconds,
            sum(self.scored) / self.seconds,
            1e3 * p50,
            1e3 * p99,
            1e3 * self.cores * self.seconds / sum(self.scored),
        )


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--fps", type=int, nargs="+", default=FPS)
    parser.add_argument("--wait-ms", type=float, nargs="+", default=(0.0, 2.0, 5.0))
    parser.add_argument("--spin-us", type=int, nargs="+", default=(SPIN_US,))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--url")
    parser.add_argument("--decode", type=Decode, default=Decode.CPU)
    parser.add_argument("--backend")
    parser.add_argument("--precision", type=Precision, default=Precision.FP32)
    parser.add_argument("--delay-ms", type=float)
    parser.add_argument("--largest", type=int, default=BATCH)
    options = parser.parse_args()
    # As the command has it.
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = options.bundle or taught(Path(folder))
        bundle = open_bundle(path)
        # A GPU's decoder must be the first to begin CUDA.
        decoder = decoding(options.decode)
        engines: dict[str, Engine] = {
            f"spin {spin_us} µs": OnnxRuntimeEngine(bundle.model_path, spin_us=spin_us)
            for spin_us in options.spin_us
        }
        if options.backend is not None:
            opened = load(bundle, backend_of(options.backend), options.precision, print)
            engines = {f"{options.backend} {options.precision}": opened.engine}
        if options.delay_ms is not None:
            delay_s = options.delay_ms / 1e3
            size, dimensions = bundle.manifest.input_size, bundle.manifest.dimensions
            scripted = ScriptedEngine(size, dimensions, delay_s=delay_s, delay_per_frame_s=delay_s / 4)
            engines = {"scripted": scripted}
        seen: dict[tuple[float, str], list[Seen]] = {
            (wait_ms, spin): [] for wait_ms in options.wait_ms for spin in engines
        }
        for _ in range(options.rounds):
            for (wait_ms, spin), rounds in seen.items():
                engine = engines[spin]
                there = resident(decoder, engine)
                how = (wait_ms / 1e3, options.largest, options.seconds, options.url, there)
                rounds.append(watch(bundle, engine, options.fps, *how))
        tell(options.fps, seen)


def taught(folder: Path) -> Path:
    """Render a drive and teach it."""
    normal, bundle = folder / "normal.mp4", folder / "clip.bundle"
    for arguments in (
        ("render", "--out", normal, "--fps", "10", "--seconds", "60", "--seed", "1"),
        ("fit", "--normal", normal, "--out", bundle),
    ):
        command = [sys.executable, "-m", "sightline", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)
    return bundle


def watch(
    bundle: Bundle,
    engine: Engine,
    cameras_fps: Sequence[int],
    wait_s: float,
    largest: int,
    seconds: float,
    url: str | None = None,
    decoder: Decoding = ON_PROCESSOR,
) -> Seen:
    """Watch the cameras for so many seconds."""
    arrived, stop = threading.Event(), threading.Event()
    loaded = Loaded(bundle, engine)
    cameras = [
        CameraConfig(name=f"camera{i}", url=url or f"lavfi:testsrc2=size=640x360:rate={fps}")
        for i, fps in enumerate(cameras_fps)
    ]
    watches = [Timed(camera, loaded, arrived, decoder) for camera in cameras]
    daemon = Daemon(watches, arrived, Nowhere(), Nowhere(), batch_wait_s=wait_s, batch=largest)
    thread = threading.Thread(target=daemon.run, args=(stop,))
    thread.start()
    try:
        while min(len(watch.took_s) for watch in watches) < WARM_FRAMES:
            time.sleep(0.05)
        before, calls = [len(w.took_s) for w in watches], sum(w.began for w in watches)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        time.sleep(seconds)
        passed_s = time.monotonic() - began_s
        took_s = [one.took_s[count:] for one, count in zip(watches, before, strict=True)]
        return Seen(
            passed_s,
            sum(w.began for w in watches) - calls,
            (time.process_time() - began_cpu_s) / passed_s,
            tuple(map(len, took_s)),
            tuple(took for one in took_s for took in one),
        )
    finally:
        stop.set()
        thread.join()


def tell(cameras_fps: Sequence[int], seen: dict[tuple[float, str], list[Seen]]) -> None:
    """Print the medians over the rounds of each wait and spin, and the ratios to those of the first."""
    print("cameras' frames/s    " + " ".join(f"{fps:5}" for fps in cameras_fps))
    medians: dict[tuple[float, str], np.ndarray] = {}
    for (wait_ms, spin), rounds in seen.items():
        rates = np.median([np.array(one.scored) / one.seconds for one in rounds], axis=0)
        facts = medians[wait_ms, spin] = np.median([one.facts for one in rounds], axis=0)
        print(f"wait {wait_ms:3g} ms, {spin}, scored/s " + " ".join(f"{rate:5.1f}" for rate in rates))
        shares = rates / np.array(cameras_fps)
        print(f"{'':9}share of a camera's own frames {shares.min():.2f} to {shares.max():.2f}")
        print(
            f"{'':9}least scored camera over most scored {rates.min() / rates.max():.2f}; "
            f"{facts[1] / facts[0]:.1f} frames a call"
        )
        print(f"{'':9}" + ", ".join(f"{word} {fact:.1f}" for word, fact in zip(WORDS, facts, strict=True)))
    first, *others = medians
    for one in others:
        ratios = medians[one] / medians[first]
        told = ", ".join(f"{word} {ratio:.2f}" for word, ratio in zip(WORDS, ratios, strict=True))
        print(
            f"{one[0]:g} ms, {one[1]} over {first[0]:g} ms, {first[1]}, medians of {len(seen[first])} rounds: {told}"
        )


if __name__ == "__main__":
    main()
