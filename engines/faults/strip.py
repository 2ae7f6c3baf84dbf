"""A clip as one picture: a strip of time, in which what happens over time can be seen at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.faults.timing import Timed
from engines.frames import Image


def liveliest_column(clip: Sequence[Timed]) -> int:
    """Return the column of pixels in which most happens."""
    if len(clip) < 2:
        return int(clip[0].image.shape[1]) // 2
    pictures = np.stack([image for _, image in clip[:: max(1, len(clip) // 40)]]).astype(np.int16)
    change = np.abs(np.diff(pictures, axis=0)).mean((0, 1, 3))
    return int(np.argmax(change))


def time_strip(
    clip: Iterable[Timed], column: int, moments: NDArray[np.float64], lasts_s: float, paper: Image
) -> Image:
    """Return one column of pixels of the pictures that are there at rising ``moments``, side by side, on a copy of
    ``paper`` (H × moments × 3).

    A picture is there from its time on until the next comes, but for no longer than ``lasts_s``. What stands still
    leaves level stripes, what shakes wavers, what is gone leaves a gap.
    """
    strip = paper.copy()
    for time_s, image in clip:
        # A later picture overwrites what an earlier one has left of the time to come.
        first, last = np.searchsorted(moments, (time_s - 1e-9, time_s + lasts_s))
        strip[:, first:last] = image[:, column, None]
    return strip
