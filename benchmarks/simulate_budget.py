"""Does the false-alarm budget hold, whatever the correlation of the scores? A simulation whose truth is known.

    python benchmarks/simulate_budget.py

Clean drives only: surprise and latent are AR(1) processes with correlation times from 0 to 30 s, and each drive has
an offset of its own, as cameras and weather give it. The drives are split at random, over and over; each time the
decision is calibrated on one part and counted on the other: the share of drives with any alarm, beside two common
rules that look at frames. The budget is kept where the mean share is at most what was asked for; single splits
scatter around it. Ends with 1 if the calibrated decision exceeds its budget anywhere.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from engines.console import progress
from engines.decision import HeldOut, Rule, calibrate, held_out, run_channels

FPS = 2.0
DIMENSIONS = 4
OFFSET = 0.5
"""Standard deviation of a drive's own offset, in standard deviations of the frames within it."""
FRAME_P, WINDOW, ENOUGH = 0.01, 30, 15


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """One clean drive: what its channels did, and the raw surprise of each frame (N)."""

    unit: HeldOut
    surprise: np.ndarray


def simulate(correlation_s: float, seconds: float, rule: Rule, random: np.random.Generator) -> Drive:
    """One drive with unit variance within, at FPS frames per second."""
    times_s = np.arange(0.0, seconds, 1.0 / FPS)
    persistence = np.exp(-1.0 / (FPS * correlation_s)) if correlation_s else 0.0
    values = random.normal(size=(len(times_s), 2 + DIMENSIONS))
    values[1:] *= np.sqrt(1.0 - persistence**2)
    for row in range(1, len(values)):
        values[row] += persistence * values[row - 1]
    values += OFFSET * random.normal(size=2 + DIMENSIONS)
    channels = run_channels(
        list(times_s), values[:, 0], values[:, 2:], values[:, 1], np.eye(DIMENSIONS), rule
    )
    return Drive(held_out(0, times_s, channels, rule), values[:, 0])


def calibrated_share(taught: list[Drive], tested: list[Drive], rule: Rule, alpha: float) -> float:
    """Share of the tested drives in which an alarm of any channel starts, for at most ``alpha`` per drive."""
    found = calibrate([d.unit for d in taught], rule, "drive", alpha * 3600.0 / taught[0].unit.seconds)
    return float(np.mean([any(d.unit.peak[c.name] > c.threshold for c in found.channels) for d in tested]))


def per_frame_share(taught: list[Drive], tested: list[Drive], alpha: float) -> float:
    """The same where any single frame may alarm, at the level that a share ``alpha`` / frames of a drive exceeds."""
    limit = np.quantile(np.concatenate([d.surprise for d in taught]), 1.0 - alpha / len(taught[0].surprise))
    return float(np.mean([(d.surprise > limit).any() for d in tested]))


def counting_share(taught: list[Drive], tested: list[Drive]) -> float:
    """The same for ENOUGH of WINDOW frames above the level that a share FRAME_P exceeds: no budget can be asked of
    it."""
    limit = np.quantile(np.concatenate([d.surprise for d in taught]), 1.0 - FRAME_P)
    window = np.ones(WINDOW)
    return float(np.mean([(np.convolve(d.surprise > limit, window) >= ENOUGH).any() for d in tested]))


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drives", type=int, default=100, help="clean drives for each correlation time")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of a drive")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument(
        "--alpha", type=float, default=0.1, help="share of drives that may have a false alarm"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    exact, random = msgspec.structs.replace(Rule(), margin=1.0), np.random.default_rng(options.seed)
    table = Table(title=f"share of clean drives with an alarm, asked for: at most {options.alpha:g}")
    for heading in (
        "correlation",
        "calibrated, margin 1",
        f"as shipped, margin {Rule().margin:g}",
        "per frame",
        f"{ENOUGH} of {WINDOW}",
    ):
        table.add_column(heading, justify="right")
    kept = True
    for correlation_s in (0.0, 1.0, 5.0, 30.0):
        with progress(
            f"drives with a correlation of {correlation_s:g} s", options.drives, "drives"
        ) as advance:
            drives = []
            for _ in range(options.drives):
                drives.append(simulate(correlation_s, 60.0 * options.minutes, exact, random))
                advance(1)
        shares = []
        for _ in range(options.splits):
            order = random.permutation(len(drives))
            taught = [drives[i] for i in order[: len(drives) // 2]]
            tested = [drives[i] for i in order[len(drives) // 2 :]]
            shares.append((
                calibrated_share(taught, tested, exact, options.alpha),
                calibrated_share(taught, tested, Rule(), options.alpha),
                per_frame_share(taught, tested, options.alpha),
                counting_share(taught, tested),
            ))  # fmt: skip
        mean = np.mean(shares, axis=0)
        kept &= bool((mean[:2] <= options.alpha).all())
        table.add_row(f"{correlation_s:g} s", *(f"{share:.3f}" for share in mean))
    Console().print(table)
    print(f"{options.splits} random splits of {options.drives} drives of {options.minutes:g} min")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
