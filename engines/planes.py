"""The decoder's own planes, as views where that is possible: luma and chroma at the resolution they were coded
in."""

from __future__ import annotations

import av.video.frame
import av.video.plane
import cv2
import numpy as np

from engines.frames import Image

_PLANAR = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
_DEEP = {f"{layout}p{bits}le": bits for layout in ("yuv420", "yuv422", "yuv444") for bits in (10, 12)}
"""The same in 16-bit words, of which so many bits count."""
_INTERLEAVED = {"nv12": (0, 1), "nv21": (1, 0)}
"""Formats whose second plane holds both chroma samples of a pixel, with the places of Cb and Cr."""

Chroma = tuple[Image, Image]


def planes(picture: av.video.frame.VideoFrame) -> tuple[Image, Chroma | None]:
    """Return luma (height × width) and chroma (Cb and Cr, smaller where the picture has fewer samples of them)
    of ``picture``, all uint8 and read-only.

    They are views into the decoder's buffer where that holds 8-bit planes; other formats are converted. Chroma
    is None for a grey format."""
    name = picture.format.name
    if name in _PLANAR:
        luma, blue, red = (_view(plane, plane.width) for plane in picture.planes[:3])
        return luma, (blue, red)
    if name in _DEEP:
        luma, blue, red = (_shallow(plane, plane.width, _DEEP[name]) for plane in picture.planes[:3])
        return luma, (blue, red)
    if name == "p010le":  # 10 bits at the top of 16, chroma interleaved
        light, colour = picture.planes[:2]
        luma, both = _shallow(light, light.width, 16), _shallow(colour, 2 * colour.width, 16)
        return luma, (both[:, 0::2], both[:, 1::2])
    if name in _INTERLEAVED:
        blue_at, red_at = _INTERLEAVED[name]
        both = _view(picture.planes[1], 2 * picture.planes[1].width)
        return _view(picture.planes[0], picture.planes[0].width), (both[:, blue_at::2], both[:, red_at::2])
    if name == "gray":
        return _view(picture.planes[0], picture.planes[0].width), None
    return planes(picture.reformat(format="yuv420p", threads=1))


def rgb_planes(picture: Image) -> tuple[Image, Chroma]:
    """Return the same for an RGB picture (height × width × 3 uint8), with half as many chroma samples each
    way, as a camera's stream would carry it."""
    luma, red, blue = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb))
    half = (max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2))
    chroma = [np.asarray(cv2.resize(p, half, interpolation=cv2.INTER_AREA), np.uint8) for p in (blue, red)]
    return np.asarray(luma, np.uint8), (chroma[0], chroma[1])


def _shallow(plane: av.video.plane.VideoPlane, width: int, bits: int) -> Image:
    """A plane of 16-bit words in 8 bits, rounded. libswscale would dither it, and its pattern looks like a sensor's
    mosaic."""
    words = np.frombuffer(memoryview(plane), np.dtype("<u2")).reshape(plane.height, plane.line_size // 2)
    half = 1 << (bits - 9)
    rounded = (np.minimum(words[:, :width], (255 << (bits - 8)) + half - 1) + np.uint16(half)) >> (bits - 8)
    small = rounded.astype(np.uint8)
    small.flags.writeable = False
    return small


def subsampling(luma: Image, chroma: Image) -> tuple[int, int]:
    """How many rows and columns of ``luma`` a sample of ``chroma`` stands for. Of an odd picture there are half as many,
    rounded up by decoders, and down by ``rgb_planes``."""
    down, across = (round(light / colour) for light, colour in zip(luma.shape, chroma.shape, strict=True))
    return down, across


def _view(plane: av.video.plane.VideoPlane, width: int) -> Image:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    rows.flags.writeable = False
    return np.asarray(rows[:, :width], np.uint8)
