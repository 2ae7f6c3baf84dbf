"""How long it takes, and how much memory, to fit the density to 40,000 frames of 512 features.

    python benchmarks/bench_kde_fit.py

Projection, choice of the bandwidth by held-out drives, support, background and calibration: everything ``fit`` does
behind the encoder. Each measurement runs in a process of its own. For comparison, the projection alone by a singular
value decomposition with the full N × N matrix of left vectors, as a well-known library has it (there 64 s and 7.5 GB
for 40,000), at a number of frames that memory allows."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from engines.decision import Rule
from training.encode import Encoded
from training.fit import fit

FRAMES, FEATURES, DRIVES = 40_000, 512, 40
FULL_FRAMES = 6_000
SECONDS, MEGABYTES = 10.0, 1000.0


def drives(frames: int) -> list[Encoded]:
    """Features of drives that wander, each around a place of its own, as float32; early statistics beside."""
    random = np.random.default_rng(0)
    length = frames // DRIVES
    mixing = random.normal(size=(64, FEATURES)).astype(np.float32)
    made = []
    for number in range(DRIVES):
        place = random.normal(size=64)
        latent = place + np.cumsum(random.normal(size=(length, 64)) * 0.05, axis=0)
        features = latent.astype(np.float32) @ mixing
        features += random.normal(size=features.shape).astype(np.float32)
        none = np.zeros((0, FEATURES), np.float32)
        early = random.normal(size=(length, 48)).astype(np.float32)
        pictures = np.zeros((0, 1, 1, 3), np.uint8)
        times_s = np.arange(length) / 10.0
        error = np.zeros(length, np.float32)
        made.append(
            Encoded(
                f"drive {number}", times_s, features, early, none, error, pictures, np.zeros(0, np.int64), ()
            )
        )
    return made


def measure(task: str, frames: int) -> dict[str, float]:
    """Run a task in this process; memory is what it adds to the footage itself."""
    footage = drives(frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.monotonic(), time.process_time()
    if task == "fit":
        fit(
            footage,
            (),
            None,
            np.ones((1, 1)),
            projection=None,
            relative=False,
            rule=Rule(),
            budget_per_hour=None,
        )
    else:
        rows = np.concatenate([e.features for e in footage]).astype(np.float64)
        np.linalg.svd(rows - rows.mean(0), full_matrices=True)
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # ru_maxrss: kilobytes.
    return {
        "frames": frames,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "megabytes": after / 1e3,
        "of_which_footage": before / 1e3,
    }


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=["fit", "full"], help="measure one, in this process")
    parser.add_argument("--frames", type=int, default=FRAMES)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(measure(options.task, options.frames)))
        return
    found = {}
    for task, frames in (("fit", options.frames), ("full", FULL_FRAMES)):
        command = [sys.executable, __file__, "--task", task, "--frames", str(frames)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found[task] = json.loads(run.stdout)
        figures, what = found[task], "whole fit" if task == "fit" else "full SVD alone"
        print(
            f"{what}: {frames} × {FEATURES} in {figures['seconds']:.1f} s ({figures['cpu_seconds']:.1f} s of CPU), "
            f"peak {figures['megabytes']:.0f} MB of which {figures['of_which_footage']:.0f} MB before it began"
        )
    good = found["fit"]["seconds"] <= SECONDS and found["fit"]["megabytes"] <= MEGABYTES
    print(f"target {SECONDS:.0f} s and {MEGABYTES:.0f} MB: {'met' if good else 'missed'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
