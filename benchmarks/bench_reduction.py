"""How far the ways to reduce a decoded picture are from what it is defined to come to, in scores, and what they cost.

    python benchmarks/bench_reduction.py BUNDLE VIDEO...

Frames of real videos, twelve a video, one each half second, reduced to the bundle's size: by libav as all video is
(``engines.footage.to_frame``); by its plain area average; by area average of the whole picture in RGB, as images
are; by the definition (``engines.reduction``) with the averages of the planes rounded to 8 bits, too; and by the graph that
a GPU would run (``engines.planar``), on the processor. Compared with the definition: grey levels of pixels, and nats of
surprise and damage. Then the cost of what the processor may do, of one picture of the first video, 200 calls in turns on
one thread, the least and the median."""

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

from engines.backends.onnx_cuda import HOST, OnnxCudaEngine
from engines.bundle import open_bundle
from engines.console import console
from engines.frames import Image
from engines.reduction import LIBAV, averages, in_rgb, reduced_rgb, siting
from engines.resident import Keeper

FRAMES, EVERY_S, CALLS = 12, 0.5, 200
EXACT = "exact"
PICTURES, SIZES = ((720, 1280), (1080, 1920)), ((96, 144), (224, 336))

Size = tuple[int, int]
Reduce = Callable[[av.VideoFrame, Size], Image]


def main() -> None:
    """Command line; see the module's docstring."""
    cv2.setNumThreads(1)
    bundle, videos = open_bundle(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    ways: dict[str, Reduce] = {
        "libav": by_libav(LIBAV),
        "libav, plain": by_libav(Interpolation.AREA),
        "from RGB": by_rgb,
    }
    apart(OnnxCudaEngine(bundle.model_path, device=HOST), videos, ways)
    cost(next(pictures(videos[0])), ways)


def apart(engine: OnnxCudaEngine, videos: list[Path], ways: dict[str, Reduce]) -> None:
    """Print how far from the definition each way is."""
    reduced: dict[str, list[Image]] = {name: [] for name in (*ways, "rounded twice", "graph", EXACT)}
    for video in videos:
        keeper = Keeper(engine)
        for picture in pictures(video):
            for name, reduce in ways.items():
                reduced[name].append(reduce(picture, engine.input_size))
            means = averages(picture, engine.input_size, siting(picture, reduced["libav"][-1]))
            reduced[EXACT].append(in_rgb(means, picture))
            reduced["rounded twice"].append(in_rgb(np.rint(means), picture))
            kept = keeper.keep(picture, picture)
            if kept is None:
                raise SystemExit(f"{video}: {keeper.problem}")
            reduced["graph"].append(kept.image)
    frames = {name: np.stack(images) for name, images in reduced.items()}
    scores = {name: engine.score(images) for name, images in frames.items()}
    table = Table("", "grey levels", "most", "of values", "surprise, nats", "most", "damage", "most")
    for name in frames:
        levels = frames[name].astype(np.float64) - frames[EXACT]
        cells = [f"{levels.mean():+.2f}", f"{np.abs(levels).max():.0f}", f"{np.mean(levels != 0):.3%}"]
        for channel in ("surprise", "damage"):
            difference = np.abs(getattr(scores[name], channel) - getattr(scores[EXACT], channel))
            cells += [f"{np.median(difference):.4f}", f"{difference.max():.3f}"]
        table.add_row(name, *cells)
    console().print(f"{len(frames[EXACT])} frames of {len(videos)} videos, compared with the definition")
    console().print(table)


def cost(picture: av.VideoFrame, ways: dict[str, Reduce]) -> None:
    """Print what each way takes."""
    table = Table("ms", "from", "to", "least", "median")
    for height, width in PICTURES:
        source = picture.reformat(width, height, format="yuv420p")
        for size in SIZES:
            took_ms: dict[str, list[float]] = {name: [] for name in ways}
            # It would leave nothing of the picture in the cache for the others: it goes last.
            for name in (*("libav", "libav, plain") * CALLS, *("from RGB",) * CALLS):
                began_s = time.perf_counter()
                ways[name](source, size)
                took_ms[name].append(1e3 * (time.perf_counter() - began_s))
            for name, times in took_ms.items():
                to = f"{size[1]}×{size[0]}"
                table.add_row(name, f"{width}×{height}", to, f"{min(times):.2f}", f"{np.median(times):.2f}")
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


def by_rgb(picture: av.VideoFrame, size: Size) -> Image:
    """To RGB first, at full resolution."""
    whole = picture.to_ndarray(format="rgb24", threads=1)
    return reduced_rgb(whole, size)


if __name__ == "__main__":
    main()
