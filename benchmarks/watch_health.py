"""What the health checks make of recordings in which nothing is wrong with the camera.

    python benchmarks/watch_health.py DRIVE...

Watches every recording with the real reader, health checks and detector; scores of the scene are left out. Lists
what was believed, what was suspected for a while, and the checks that came nearest: how high each held for as long
as it takes to be believed, over its threshold.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from engines.decision import Calibration, Channel, Rule
from engines.footage import Drive, Recording, find_drives
from engines.health import HealthChecks, held_levels
from monitor.detector import Detector, Sample
from monitor.events import Phase

DEAF = Calibration(
    Rule(), (Channel("domain", 1e9, 0.0), Channel("departure", 1e9, 0.0)), "drive", 9, 60.0, 1.0
)
INPUT, NEAREST = (96, 144), 6


def watch(drive: Drive) -> tuple[list[str], dict[str, float]]:
    """Return lines on one recording, and the level that each check held."""
    checks, detector = HealthChecks(), Detector(drive.name, DEAF, np.eye(2))
    times, healths, begun = [], [], []
    suspected: defaultdict[str, list[float]] = defaultdict(list)
    for frame in Recording(drive, INPUT):
        health = checks.check(frame)
        times.append(frame.time_s)
        healths.append(health)
        for suspicion in health.suspicions:
            suspected[f"{suspicion.fault}.{suspicion.statistic}"].append(frame.time_s)
        for event in detector.update(Sample(frame.time_s, 0.0, np.zeros(2), health)).events:
            if event.phase == Phase.START:
                checks.forget_waiting()
                begun.append(
                    f"  BELIEVED {event.mode} at {event.detected_s:.1f} s: {event.channel} {event.value:.3g} "
                    f"(threshold {event.threshold:g})"
                )
    levels = held_levels(np.array(times), np.stack([health.levels for health in healths]))
    lines = [f"{drive.name}: {len(times)} frames, {times[-1]:.1f} s", *begun]
    lines += [
        f"  suspected {name}: {len(when)} frames, {when[0]:.1f} to {when[-1]:.1f} s"
        for name, when in suspected.items()
    ]
    nearest = sorted(levels, key=lambda name: -levels[name])[:NEAREST]
    lines.append("  held: " + ", ".join(f"{name} {levels[name]:.2f}" for name in nearest))
    return lines, levels


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("drives", type=Path, nargs="+")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    highest: dict[str, tuple[float, str]] = {}
    wrong = 0
    for drive in find_drives(options.drives):
        lines, levels = watch(drive)
        wrong += sum("BELIEVED" in line for line in lines)
        print("\n".join(lines), flush=True)
        for name, level in levels.items():
            highest[name] = max(highest.get(name, (0.0, "")), (level, drive.name))
    print("\nhighest level held, over the threshold, by check")
    for name, (level, where) in sorted(highest.items(), key=lambda item: -item[1][0]):
        print(f"  {name:<32} {level:5.2f}  {where}")
    print(f"{wrong} camera faults believed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
