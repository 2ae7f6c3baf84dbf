"""Sequences whose time went wrong: nothing comes, comes late, comes again, or stands still.

Each takes an iterator of Timed pictures and returns one. Times are those at which pictures come, so they go
up whatever the fault: a picture out of order is one that shows an earlier scene at a later time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from engines.frames import Image

CYCLE_S = 10.0
"""A link that comes and goes does so once in this time."""


SOON_S = 0.001
"""How soon after one picture the next can come."""


class Timed(NamedTuple):
    """A picture and the media time in seconds at which it comes."""

    time_s: float
    image: Image


def rising(frames: Iterable[Timed]) -> Iterator[Timed]:
    """Yield ``frames`` with times that strictly rise: one that would come before its forerunner comes right after."""
    last_s = -np.inf
    for time_s, image in frames:
        last_s = time_s if time_s > last_s else last_s + SOON_S
        yield Timed(last_s, image)


def disconnected(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """No pictures for the first 1.5, 3, 5 or 8 of each 10 s; at severity 5 none at all."""
    gone_s = (1.5, 3.0, 5.0, 8.0, CYCLE_S)[severity - 1]
    if gone_s == CYCLE_S:
        return
    first_s: float | None = None
    for frame in frames:
        first_s = frame.time_s if first_s is None else first_s
        if (frame.time_s - first_s) % CYCLE_S >= gone_s:
            yield frame


def irregular(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """Pictures are lost, come late, or change places with the next."""
    rng = np.random.default_rng(seed)
    lost, late_steps, swapped = (
        (0.05, 0.3, 0.02), (0.12, 0.8, 0.06), (0.25, 1.5, 0.12), (0.45, 2.5, 0.2), (0.75, 4.0, 0.3)
    )[severity - 1]  # fmt: skip
    last_in_s: float | None = None
    last_out_s = -np.inf
    held: Image | None = None
    for time_s, image in frames:
        step_s = 0.0 if last_in_s is None else time_s - last_in_s
        last_in_s = time_s
        drop, late, swap = rng.random() < lost, rng.exponential(late_steps) * step_s, rng.random() < swapped
        if drop:
            continue
        # A picture never overtakes the one before it, and two never share a time.
        last_out_s = max(time_s + late, last_out_s + 0.05 * step_s)
        if swap and held is None:
            held = image
            continue
        yield Timed(last_out_s, image)
        if held is not None:
            last_out_s += 0.05 * step_s
            yield Timed(last_out_s, held)
            held = None


def freeze(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """The first picture again and again, bit for bit: all or nothing, whatever the severity."""
    held: Image | None = None
    for time_s, image in frames:
        held = image.copy() if held is None else held
        yield Timed(time_s, held.copy())


def partial_freeze(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """Part of the picture stands still: a band of rows for an even seed, scattered tiles for an odd one."""
    share = (0.08, 0.2, 0.4, 0.65, 0.92)[severity - 1]
    held: Image | None = None
    still: np.ndarray | None = None
    for time_s, image in frames:
        if held is None or still is None or held.shape != image.shape:
            held = image.copy()
            still = (
                _tiles(image.shape[0], image.shape[1], share, seed)
                if seed % 2
                else _rows(image.shape[0], image.shape[1], share, seed)
            )
        yield Timed(time_s, np.where(still[..., None], held, image))


def _rows(height: int, width: int, share: float, seed: int) -> np.ndarray:
    count = max(1, round(share * height))
    top = int(np.random.default_rng(seed).integers(height - count + 1))
    rows = np.arange(height)[:, None]
    return np.broadcast_to((rows >= top) & (rows < top + count), (height, width))


def _tiles(height: int, width: int, share: float, seed: int) -> np.ndarray:
    down, across = 6, 8
    order = np.random.default_rng(seed).permutation(down * across).reshape(down, across)
    chosen = order < max(1, round(share * down * across))
    return chosen[np.arange(height)[:, None] * down // height, np.arange(width) * across // width]


def loop(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """The last pictures of a stale buffer over and over: a shorter loop the worse, from 32 down to 2 pictures."""
    length = (32, 16, 8, 4, 2)[severity - 1]
    buffer: deque[Image] = deque()
    for time_s, image in frames:
        if len(buffer) < length:
            buffer.append(image.copy())
        else:
            buffer.rotate(-1)
        yield Timed(time_s, buffer[-1].copy())
