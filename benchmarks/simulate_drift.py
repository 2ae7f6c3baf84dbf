"""How often the drift detector proposes what it should not, and how soon what it should.

Scores are AR(1) with correlation times of 1 to 30 s and an offset of each drive's own, smoothed as the domain channel is.
Calibration is on 20 held-out drives of 10 min; then hours of new drives of 30 min each are watched, without and with a
rise of the level by a share of the way to the threshold, over an hour.

    python benchmarks/simulate_drift.py --hours 2000
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np

from engines.decision import Calibration, Levels, Rule, calibrate, held_out
from monitor.drift import Drift

STEP_S, UNIT_S, DRIVE_S, UNITS = 1.0, 600.0, 1800.0, 20


def scores(rng: np.random.Generator, seconds: float, correlation_s: float, offset: float) -> np.ndarray:
    """One drive's channel: AR(1) of variance 1 about the drive's own offset, smoothed over 1 s."""
    keeps, gain = math.exp(-STEP_S / correlation_s), 1.0 - math.exp(-STEP_S / Rule().smoothing_s)
    state, level, out = rng.normal(), 0.0, np.empty(int(seconds / STEP_S))
    for n, noise in enumerate(rng.normal(size=len(out)) * math.sqrt(1 - keeps**2)):
        state = keeps * state + noise
        level += (gain if n else 1.0) * (state - level)
        out[n] = level
    return out + offset * rng.normal()


def calibrated(rng: np.random.Generator, correlation_s: float, offset: float) -> Calibration:
    """From UNITS held-out drives, all channels alike."""
    times = np.arange(0.0, UNIT_S, STEP_S)
    units = []
    for n in range(UNITS):
        one = scores(rng, UNIT_S, correlation_s, offset)
        units.append(held_out(n, times, dict.fromkeys(("domain", "departure"), one), Rule()))
    return calibrate(units, Rule(), "drive")


def proposals(
    rng: np.random.Generator, hours: float, correlation_s: float, offset: float, rise: float = 0.0
) -> list[float]:
    """Media hours at which something was proposed, the level rising by ``rise`` of the way in the first hour."""
    calibration = calibrated(rng, correlation_s, offset)
    channel = calibration.channel("domain")
    drift, found, time_s = Drift("x", calibration), [], 0.0
    while time_s < 3600.0 * hours:
        for value in scores(rng, DRIVE_S, correlation_s, offset):
            raised = value + rise * (channel.threshold - channel.typical) * min(1.0, time_s / 3600.0)
            quiet = raised <= channel.threshold
            told = drift.update(time_s, Levels(raised, math.nan, math.nan), quiet=quiet)
            found += [time_s / 3600.0] if told is not None else []
            time_s += STEP_S
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=2000.0, help="simulated hours per row without drift")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    print(
        f"{'correlation s':>13} {'offset':>6} {'false per 1000 h':>17} "
        + " ".join(f"{f'rise {r:g}':>14}" for r in RISES)
    )
    for correlation_s in (1.0, 10.0, 30.0):
        for offset in (0.0, 0.5, 1.0):
            runs = max(1, round(chosen.hours / 20))
            false = sum(len(proposals(rng, 20.0, correlation_s, offset)) for _ in range(runs))
            cells = []
            for rise in RISES:
                firsts = [
                    next(iter(proposals(rng, 4.0, correlation_s, offset, rise)), None) for _ in range(10)
                ]
                told = [first for first in firsts if first is not None]
                cells.append(f"{len(told):>2}/10 {np.median(told) if told else math.nan:>5.1f} h")
            print(
                f"{correlation_s:>13g} {offset:>6g} {1000 * false / (20 * runs):>17.2f} "
                + " ".join(f"{c:>14}" for c in cells)
            )
            sys.stdout.flush()


RISES = (0.3, 0.6, 0.8)

if __name__ == "__main__":
    main()
