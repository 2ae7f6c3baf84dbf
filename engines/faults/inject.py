"""Break pictures and clips: the three ways to ask for a fault."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from engines.errors import InputError
from engines.faults.mixture import faults_of
from engines.faults.table import FAULTS, FaultMode
from engines.faults.timing import Timed, rising
from engines.frames import Image

SMALLEST = 32
"""Fewest pixels on a side."""


def apply(image: Image, mode: str, severity: int = 3, seed: int = 0) -> Image:
    """Return a copy of ``image`` (H × W × 3 uint8 RGB) as a camera with the fault ``mode`` would give it.

    ``mode`` is one of FAULTS, or two, as mud+noise, of which the first acts first. Raises InputError for an unknown
    mode, one that only a clip can show, a pair that cannot be seen together, a severity outside 1..5, another shape
    or type.
    """
    faults = faults_of(mode, severity)
    _check(image)
    for fault in faults:
        if fault.on_frame is None:
            possible = ", ".join(name for name, known in FAULTS.items() if known.on_frame is not None)
            raise InputError(
                f"fault {fault.mode}",
                f"acts on a sequence, not on one picture, as do: {possible}",
                "use inject",
            )
        image = fault.on_frame(image, severity, seed)
    return image


def inject(
    frames: Iterable[Image],
    mode: str,
    start: int = 0,
    stop: int | None = None,
    severity: int = 3,
    seed: int = 0,
    fps: float = 15.0,
) -> Iterator[Image]:
    """Yield ``frames`` with the fault on those with start <= index < stop (None: to the end).

    ``mode`` is one of FAULTS, or two, as mud+noise, of which the first acts first. Works on endless streams; frames
    outside the interval pass untouched. A mode that loses frames yields fewer. fps: for modes that change with time.
    InputError for an unknown mode, a pair that cannot be seen together, a severity outside 1..5, a negative start or
    a stop before it is raised at the call, not at the first frame.
    """
    faults = faults_of(mode, severity)
    if start < 0 or (stop is not None and stop < start):
        raise InputError(
            f"fault {mode}", f"start and stop must be 0 <= start <= stop, not {start} and {stop}"
        )
    if not 0 < fps < float("inf"):
        raise InputError(f"fault {mode}", f"fps must be more than nothing, not {fps}")
    timed = (Timed(index / fps, image) for index, image in enumerate(frames))
    return (
        image
        for _, image in _injected(
            timed, faults, start / fps, None if stop is None else stop / fps, severity, seed
        )
    )


def inject_timed(
    frames: Iterable[Timed],
    mode: str,
    start_s: float = 0.0,
    stop_s: float | None = None,
    severity: int = 3,
    seed: int = 0,
) -> Iterator[Timed]:
    """The same for (time_s, image) pairs, broken where start_s <= time_s < stop_s.

    Modes of timing change when pictures come, or whether; times that come out always rise.
    """
    faults = faults_of(mode, severity)
    if start_s < 0 or (stop_s is not None and stop_s < start_s):
        raise InputError(
            f"fault {mode}", f"start and stop must be 0 <= start <= stop, not {start_s} and {stop_s}"
        )
    # A picture that came late may have come later than the first good one was due.
    return rising(_injected(iter(frames), faults, start_s, stop_s, severity, seed))


def _injected(
    frames: Iterator[Timed],
    faults: tuple[FaultMode, ...],
    start_s: float,
    stop_s: float | None,
    severity: int,
    seed: int,
) -> Iterator[Timed]:
    after: list[Timed] = []

    def broken(first: Timed) -> Iterator[Timed]:
        for frame in itertools.chain([first], frames):
            if stop_s is not None and frame.time_s >= stop_s - 1e-9:
                after.append(frame)
                return
            _check(frame.image)
            yield frame

    for frame in frames:
        if frame.time_s < start_s - 1e-9:
            yield frame
            continue
        source = seen = broken(frame)
        for fault in faults:
            seen = fault.in_clip(seen, severity, seed)
        yield from seen
        if stop_s is None:
            return
        deque(source, maxlen=0)  # what the fault did not ask for is lost in it
        break
    yield from after
    yield from frames


def _check(image: Image) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < SMALLEST:
        raise InputError(
            "fault",
            f"image must be uint8 of shape H × W × 3 and at least {SMALLEST} × {SMALLEST} pixels, "
            f"not {image.dtype} of shape {image.shape}",
        )
