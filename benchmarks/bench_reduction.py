"""What reducing a decoded picture costs, and how far its scores are from those of the definition.

    python benchmarks/bench_reduction.py BUNDLE VIDEO...

Frames of real videos, twelve a video, one each half second, reduced to the bundle's size: by libav as all video is
(``engines.footage.to_frame``); by its plain area average; by OpenCV's area average of the whole picture in RGB, as images
are; and by the definition (``engines.reduction``) with the averages of the planes rounded to 8 bits, too. Compared with the
definition: grey levels of pixels, and nats of surprise and damage. Times are of a call, the least and the median, on one
thread, in turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from rich.table import Table

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.console import console
from engines.frames import Image
from engines.reduction import LIBAV, averages, in_rgb, siting

FRAMES, EVERY_S = 12, 0.5
EXACT, TWICE = "exact", "rounded twice"

Size = tuple[int, int]
Reduce = Callable[[av.VideoFrame, Size], Image]


def main() -> None:
    """Command line; see the module's docstring."""
    cv2.setNumThreads(1)
    bundle, videos = open_bundle(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    engine = OnnxRuntimeEngine(bundle.model_path)
    ways: dict[str, Reduce] = {
        "libav": by_libav(LIBAV),
        "libav, plain": by_libav(Interpolation.AREA),
        "OpenCV, of RGB": by_opencv,
    }
    reduced: dict[str, list[Image]] = {name: [] for name in (*ways, TWICE, EXACT)}
    took_ms: dict[str, list[float]] = {name: [] for name in ways}
    for video in videos:
        for picture in pictures(video):
            for name, reduce in ways.items():
                began_s = time.perf_counter()
                reduced[name].append(reduce(picture, engine.input_size))
                took_ms[name].append(1e3 * (time.perf_counter() - began_s))
            lies = siting(picture, reduced["libav"][-1])
            means = averages(picture, engine.input_size, lies)
            reduced[EXACT].append(in_rgb(means, picture))
            reduced[TWICE].append(in_rgb(np.rint(means), picture))
    frames = {name: np.stack(images) for name, images in reduced.items()}
    scores = {name: engine.score(images) for name, images in frames.items()}
    table = Table(
        "", "least ms", "median ms", "grey levels", "most", "of values", "surprise, nats", "most", "damage", "most"
    )  # fmt: skip
    for name in (*ways, TWICE):
        levels = frames[name].astype(np.float64) - frames[EXACT]
        cells = [f"{levels.mean():+.2f}", f"{np.abs(levels).max():.0f}", f"{np.mean(levels != 0):.2%}"]
        for channel in ("surprise", "damage"):
            difference = np.abs(getattr(scores[name], channel) - getattr(scores[EXACT], channel))
            cells += [f"{np.median(difference):.4f}", f"{difference.max():.3f}"]
        times = took_ms.get(name)
        timed = [f"{min(times):.2f}", f"{np.median(times):.2f}"] if times else ["", ""]
        table.add_row(name, *timed, *cells)
    console().print(f"{len(frames[EXACT])} frames of {len(videos)} videos, compared with the definition")
    console().print(table)


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


if __name__ == "__main__":
    main()
