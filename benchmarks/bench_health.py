"""What the health checks cost: milliseconds of one core a frame, in all and by kind of evidence.

    python benchmarks/bench_health.py [--clip VIDEO] [--size 1920x1080] [--rounds 5]

Without a clip a drive is rendered and encoded. Frames come from the real reader and are held in memory, so that
decoding is not counted; the time is the thread's own, which a busy machine disturbs less. The target is 2 ms a frame
at 1920 × 1080. A picture that is suddenly another one is asked whether it is the old one laid out anew, which takes
longer: that of a cut back to the first frame is told apart."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from engines.footage import Recording, find_drives
from engines.frames import Frame
from engines.health import HealthChecks, judge
from engines.rendered import Segment, render, write_video
from monitor.render_command import parse_size

TARGET_MS = 2.0
INPUT = (96, 144)


def timed(spent: dict[str, float], name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """``work``, adding the thread's seconds to ``spent``."""

    def run(*arguments: Any, **options: Any) -> Any:
        begun = time.thread_time()
        result = work(*arguments, **options)
        spent[name] += time.thread_time() - begun
        return result

    return run


def cost(frames: list[Frame], apart: bool) -> dict[str, float]:
    """Milliseconds a frame, and of a cut; by kind of evidence if ``apart``, which costs a little itself."""
    checks, spent = HealthChecks(), defaultdict[str, float](float)
    look = judge.look
    if apart:
        judge.look = timed(spent, "view", look)
        for evidence in checks.evidence:
            evidence.measure = timed(spent, type(evidence).__name__.lower(), evidence.measure)  # type: ignore[method-assign]
    check = timed(spent, "all", checks.check)
    try:
        for frame in frames:
            check(frame)
    finally:
        judge.look = look
    parts = {name: 1e3 * seconds / len(frames) for name, seconds in spent.items()}
    begun, last = time.thread_time(), frames[-1]
    checks.check(replace(frames[0], index=last.index + 1, time_s=last.time_s + 0.1))
    return {**parts, "cut": 1e3 * (time.thread_time() - begun)}


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--size", type=parse_size, default=(1920, 1080))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clip = options.clip or Path(folder) / "drive.mp4"
        if options.clip is None:
            drive = render((Segment("highway", 16.0),), 1, options.size, 10.0)
            write_video(clip, (image for _, _, image in drive), 10.0)
        frames = list(Recording(find_drives([clip])[0], INPUT))
    cost(frames, apart=False)
    alls = [cost(frames, apart=False) for _ in range(options.rounds)]
    parts = [cost(frames, apart=True) for _ in range(options.rounds)]
    height, width = frames[0].luma.shape
    print(f"{width}x{height}, {len(frames)} frames, {options.rounds} rounds")
    for name in parts[0]:
        if name not in ("all", "cut"):
            print(f"{name:<10} {statistics.median(part[name] for part in parts):6.3f} ms a frame")
    median, least = (f(each["all"] for each in alls) for f in (statistics.median, min))
    print(f"{'all':<10} {median:6.3f} ms a frame, least {least:.3f} (target {TARGET_MS:g})")
    print(f"{'a cut':<10} {statistics.median(each['cut'] for each in alls):6.3f} ms")
    return 0 if least <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
