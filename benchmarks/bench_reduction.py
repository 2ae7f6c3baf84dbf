"""What reducing a decoded picture costs, and what another way of reducing it does to its scores.

    python benchmarks/bench_reduction.py BUNDLE VIDEO...

Frames of real videos, twelve a video, one each half second, reduced to the bundle's size: by libav's area average as all
video is (``engines.footage.to_frame``); by the same with its flags for accurate rounding and full chroma; by OpenCV's area
average of the whole picture in RGB, as images are; and by the exact area average of the decoder's planes with the
standard's colour matrix, in float64: two matrix products a plane, which is what a GPU would compute from NVDEC's nv12.
Compared with the first: grey levels of pixels, and nats of surprise and damage. Times are of a call, the least and the
median, on one thread; the exact one is not timed, for numpy is no GPU."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray
from rich.table import Table

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.console import console
from engines.frames import Image
from engines.planes import planes

FRAMES, EVERY_S = 12, 0.5
ACCURATE = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
COLOURS = {True: (1.5748, 0.187324, 0.468124, 1.8556), False: (1.402, 0.344136, 0.714136, 1.772)}
"""Red of Cr, green of Cb and of Cr, blue of Cb: of ITU-R BT.709 and of BT.601."""

Size = tuple[int, int]
Floats = NDArray[np.float64]
Reduce = Callable[[av.VideoFrame, Size], Image]


def main() -> None:
    """Command line; see the module's docstring."""
    bundle, videos = open_bundle(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    engine = OnnxRuntimeEngine(bundle.model_path)
    ways: dict[str, Reduce] = {
        "libav, area": by_libav(Interpolation.AREA),
        "libav, area, accurate": by_libav(ACCURATE),
        "OpenCV, area, of RGB": by_opencv,
        "exact area": exactly,
    }
    reduced: dict[str, list[Image]] = {name: [] for name in ways}
    took_ms: dict[str, list[float]] = {name: [] for name in ways}
    for video in videos:
        for picture in pictures(video):
            for name, reduce in ways.items():
                began_s = time.perf_counter()
                reduced[name].append(reduce(picture, engine.input_size))
                took_ms[name].append(1e3 * (time.perf_counter() - began_s))
    frames = {name: np.stack(images) for name, images in reduced.items()}
    scores = {name: engine.score(images) for name, images in frames.items()}
    first = next(iter(ways))
    table = Table(
        "", "least ms", "median ms", "grey levels", "most", "surprise, nats", "most", "damage", "most"
    )
    for name in ways:
        levels = frames[name].astype(np.float64) - frames[first]
        cells = [f"{levels.mean():+.2f}", f"{np.abs(levels).max():.0f}"]
        for channel in ("surprise", "damage"):
            difference = np.abs(getattr(scores[name], channel) - getattr(scores[first], channel))
            cells += [f"{np.median(difference):.3f}", f"{difference.max():.3f}"]
        times = took_ms[name]
        timed = ["", ""] if name == "exact area" else [f"{min(times):.2f}", f"{np.median(times):.2f}"]
        table.add_row(name, *timed, *cells)
    exact, accurate = scores["exact area"].surprise, scores["libav, area, accurate"].surprise
    apart = np.abs(exact - accurate)
    console().print(f"{len(frames[first])} frames of {len(videos)} videos, compared with {first}")
    console().print(table)
    console().print(
        f"exact over accurate: {np.median(apart):.3f} nat at the median, {apart.max():.3f} at most"
    )


def pictures(video: Path) -> Iterator[av.VideoFrame]:
    """Decoded pictures, one each EVERY_S seconds."""
    with av.open(str(video)) as container:
        taken = 0
        for picture in container.decode(video=0):
            if (picture.time or 0.0) >= taken * EVERY_S:
                yield picture
                taken += 1
            if taken == FRAMES:
                return


def by_libav(flags: Interpolation) -> Reduce:
    """libav's own scaler, in the pass that converts."""

    def reduce(picture: av.VideoFrame, size: Size) -> Image:
        height, width = size
        small = picture.reformat(width, height, format="rgb24", interpolation=flags, threads=1)
        return small.to_ndarray().astype(np.uint8, copy=False)

    return reduce


def by_opencv(picture: av.VideoFrame, size: Size) -> Image:
    """To RGB first, at full resolution."""
    whole = picture.to_ndarray(format="rgb24", threads=1)
    return cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def exactly(picture: av.VideoFrame, size: Size) -> Image:
    """The mean of every plane over each pixel's area, then to RGB, rounded once."""
    luma, chroma = planes(picture)
    assert chroma is not None
    y, cb, cr = (averaged(plane, size) for plane in (luma, *chroma))
    if picture.color_range == ColorRange.JPEG:
        y, cb, cr = y, cb - 128.0, cr - 128.0
    else:
        y, cb, cr = (y - 16.0) * 255 / 219, (cb - 128.0) * 255 / 224, (cr - 128.0) * 255 / 224
    red, green_b, green_r, blue = COLOURS[picture.colorspace == Colorspace.ITU709]
    rgb = np.stack([y + red * cr, y - green_b * cb - green_r * cr, y + blue * cb], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def averaged(plane: Image, size: Size) -> Floats:
    """Area average of a plane."""
    rows, columns = (shares(n, m) for n, m in zip(plane.shape, size, strict=True))
    return np.asarray(rows @ plane.astype(np.float64) @ columns.T)


@cache
def shares(source: int, target: int) -> Floats:
    """target × source: what share each of the source's samples has in each of the target's."""
    edges = np.arange(target + 1) * source / target
    low, high = edges[:-1, None], edges[1:, None]
    samples = np.arange(source)
    covered = np.clip(np.minimum(high, samples + 1) - np.maximum(low, samples), 0.0, 1.0)
    return np.asarray(covered / covered.sum(axis=1, keepdims=True))


if __name__ == "__main__":
    main()
