"""From a decoder's planes to the model's picture: what that means, in float64, and libav's flags that come to it.

Each plane is averaged over the area of every pixel of the small picture, exactly, at the places where its samples lie.
The averages go to RGB by the matrix and the range that the stream states, and are rounded once. Rounding the averages
as well would move the surprise of real frames by .19 nat at the median."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd

import av.video.frame
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from engines.frames import Image
from engines.planes import planes

Floats = NDArray[np.float64]

LIBAV = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without the second libswscale rounds down, and darkens by 1.7 grey levels; without the third, pairs of pixels share
their colour."""

_RED_AND_BLUE: dict[int, tuple[float, float]] = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.BT2020: (0.2627, 0.0593),
}
_OF_BT601 = (0.299, 0.114)
"""What red and blue have of luma; a stream that says nothing is BT.601, as libav has it."""


@dataclass(frozen=True, slots=True)
class Siting:
    """Where chroma samples lie: how far right of, and below, their place they count, in samples of their own."""

    right: float = 0.0
    down: float = 0.0


CENTRE, LEFT, TOP_LEFT = Siting(), Siting(0.25), Siting(0.25, 0.25)
"""Amid their four luma samples (MPEG-1, JPEG); amid the left two (MPEG-2, H.264, HEVC unless told otherwise); on the first
(BT.2020)."""

SITINGS = (LEFT, CENTRE, TOP_LEFT)


def to_rgb(colorspace: int, color_range: int) -> tuple[Floats, Floats]:
    """Return M (3 × 3) and t (3) with RGB = M · (Y, Cb, Cr) + t, all from 0 to 255. colorspace, color_range: those of
    an ``av.VideoFrame``."""
    red, blue = _RED_AND_BLUE.get(colorspace, _OF_BT601)
    green = 1.0 - red - blue
    of_blue, of_red = 2.0 * (1.0 - blue), 2.0 * (1.0 - red)
    matrix = np.array(
        [
            [1.0, 0.0, of_red],
            [1.0, -blue * of_blue / green, -red * of_red / green],
            [1.0, of_blue, 0.0],
        ]
    )
    black, scale = 0.0, np.ones(3)
    if color_range != ColorRange.JPEG:
        black, scale = 16.0, 255.0 / np.array([219.0, 224.0, 224.0])
    matrix = matrix * scale
    return matrix, -matrix @ np.array([black, 128.0, 128.0])


@cache
def shares(source: int, target: int, shift: float = 0.0) -> Floats:
    """target × source: what share each of a row's (or column's) samples has in each of the target's.

    shift: how much further on, in samples, the target begins; beyond the last sample, that one goes on."""
    edges = np.arange(target + 1) * source / target + shift
    begins, ends = np.arange(source, dtype=np.float64), np.arange(1.0, source + 1)
    begins[0], ends[-1] = min(0.0, edges[0]), max(float(source), edges[-1])
    low, high = edges[:-1, None], edges[1:, None]
    covered = np.clip(np.minimum(high, ends) - np.maximum(low, begins), 0.0, None)
    return np.asarray(covered / (high - low))


def reduced(picture: av.video.frame.VideoFrame, size: tuple[int, int]) -> Image:
    """Return ``picture`` at ``size`` (height, width), RGB, by libav."""
    height, width = size
    small = picture.reformat(width, height, format="rgb24", interpolation=LIBAV, threads=1)
    return np.asarray(small.to_ndarray(), np.uint8)


def reduced_rgb(image: Image, size: tuple[int, int]) -> Image:
    """Return ``image`` (height × width × 3) at ``size`` (height, width): the mean over the area of each pixel, to
    whole levels.

    OpenCV's area average goes through every sample alone. Whole rows are added up several times as fast, and leave it
    little to do; where hardly two rows of the result are made alike, it does all."""
    (tall, wide, _), (height, width) = image.shape, size
    alike = gcd(tall, height)
    many, few = tall // alike, height // alike
    if height < tall and width <= wide and many <= _MOST_ROWS and few <= _MOST_KINDS:
        columns = cv2.resize(_row_sums(image, many, few), size[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(np.rint(columns / np.float32(many)), np.uint8)
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


_MOST_KINDS, _MOST_ROWS = 32, 257
"""How many kinds of rows are worth it; how many times 255 sixteen bits hold."""


def _row_sums(image: Image, many: int, few: int) -> NDArray[np.float32]:
    """Every ``many`` rows added up to ``few``, each counted in ``few``-ths of a row: whole numbers, so nothing is
    rounded, and ``many`` times the mean."""
    groups = image.reshape(-1, many, image.shape[1] * image.shape[2])
    sums = np.empty((len(groups), few, groups.shape[2]), np.float32)
    for row in range(few):
        begin, end = row * many, (row + 1) * many
        first, last = -(-begin // few), end // few
        total = np.add.reduce(groups[:, first:last], axis=1, dtype=np.uint16)
        total *= np.uint16(few)
        for edge, share in ((first - 1, first * few - begin), (last, end - last * few)):
            if share:
                # Made 16 bits wide before it is multiplied: to do both at once takes NumPy twice as long.
                part = groups[:, edge].astype(np.uint16)
                part *= np.uint16(share)
                total += part
        sums[:, row] = total
    return sums.reshape(-1, *image.shape[1:])


def exactly(picture: av.video.frame.VideoFrame, size: tuple[int, int], siting: Siting = CENTRE) -> Image:
    """Return ``picture`` at ``size`` (height, width), RGB, by the definition; slow. It must have colour, in 8 bits."""
    return in_rgb(averages(picture, size, siting), picture)


def averages(picture: av.video.frame.VideoFrame, size: tuple[int, int], siting: Siting = CENTRE) -> Floats:
    """Y, Cb and Cr (height × width × 3): the means over the area of each pixel."""
    luma, chroma = planes(picture)
    assert chroma is not None
    return np.stack([averaged(luma, size), *(averaged(plane, size, siting) for plane in chroma)], axis=-1)


def in_rgb(values: Floats, picture: av.video.frame.VideoFrame) -> Image:
    """Y, Cb and Cr of ``picture`` in RGB, rounded to whole levels."""
    matrix, offset = to_rgb(picture.colorspace, picture.color_range)
    return np.clip(np.rint(values @ matrix.T + offset), 0, 255).astype(np.uint8)


def siting(picture: av.video.frame.VideoFrame, image: Image) -> Siting:
    """Where the chroma samples of ``picture`` lie, told from ``image``, to which libav reduced it: its scaler knows, and
    PyAV does not say."""
    size = (image.shape[0], image.shape[1])
    return min(SITINGS, key=lambda one: int((exactly(picture, size, one) != image).sum()))


def averaged(plane: Image, size: tuple[int, int], siting: Siting = CENTRE) -> Floats:
    """The mean of a plane over the area of each pixel of ``size``."""
    rows = shares(plane.shape[0], size[0], siting.down)
    columns = shares(plane.shape[1], size[1], siting.right)
    return np.asarray(rows @ plane.astype(np.float64) @ columns.T)
