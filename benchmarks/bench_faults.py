"""What camera faults cost, and how much of a scene each severity leaves.

    python benchmarks/bench_faults.py [--drives FOLDER]

Without drives: milliseconds a picture of every mode at severity 3, at the model's size and at 1080p, best of a few
runs; layers that a seed draws once (mud, cracks, drops) are warm, their first picture is given apart.

With a folder of drives: the share of drives that the shipped encoder still tells apart. One picture of each drive is
damaged, and counts where its late features are nearest (by cosine, about the mean) to a clean picture of its own drive
taken a second later, among those of all drives. ``KEEPS_SCENE`` in ``engines/faults/augment.py`` comes from it."""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.encoders import SHIPPED
from engines.faults import FAULTS, FaultMode, Timed, apply
from engines.footage import Recording, find_drives
from engines.frames import Image
from engines.rendered import Segment, render

FRAME_MODES = tuple(mode for mode, fault in FAULTS.items() if fault.on_frame is not None)
APART_S = 1.0


def cost_ms(fault: FaultMode, image: Image) -> tuple[float, float]:
    """Return milliseconds of the first picture and of the fastest of those that follow."""
    endless = (Timed(20 + n / 25, image) for n in itertools.count())
    broken, spent = fault.in_clip(endless, 3, 0), []
    while len(spent) < 4 or (sum(spent) < 100 and len(spent) < 40):
        start = time.perf_counter()
        next(broken)
        spent.append(1e3 * (time.perf_counter() - start))
    return spent[0], min(spent[1:])


def costs() -> Table:
    table = Table(title="ms a picture at severity 3 (first picture)")
    sizes = ((144, 96), (1920, 1080))
    for heading in ("mode", *(f"{width}x{height}" for width, height in sizes)):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    images = [next(render((Segment("highway", 1.0),), 3, size))[2] for size in sizes]
    for mode, fault in FAULTS.items():
        each = [cost_ms(fault, image) for image in images]
        table.add_row(mode, *(f"{warm:.2f} ({first:.0f})" for first, warm in each))
    return table


def scenes(folder: Path) -> tuple[list[Image], list[Image]]:
    """Return a picture of each video, and one taken APART_S later."""
    now, later = [], []
    for drive in find_drives([folder]):
        if drive.is_video:
            height, width = next(iter(Recording(drive, (2, 2)))).luma.shape
            size = (round(height * min(1.0, 640 / width)), min(640, width))
            frames = list(itertools.islice(Recording(drive, size, every_s=APART_S), 3))
            if len(frames) == 3:
                now.append(frames[1].image)
                later.append(frames[2].image)
    return now, later


def kept(folder: Path) -> Table:
    engine = OnnxRuntimeEngine(SHIPPED / "road" / "encoder.onnx")
    high, wide = engine.input_size

    def features(images: list[Image]) -> np.ndarray:
        small = [cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA) for image in images]
        late = engine.features(np.stack(small).astype(np.uint8)).late
        return late.reshape(len(images), -1)

    now, later = scenes(folder)
    middle = features(later).mean(axis=0)

    def directions(images: list[Image]) -> np.ndarray:
        away = features(images) - middle
        return away / np.linalg.norm(away, axis=1, keepdims=True)

    clean = directions(later)

    def told(images: list[Image]) -> float:
        return float(np.mean(np.argmax(directions(images) @ clean.T, axis=1) == np.arange(len(images))))

    table = Table(title=f"share of {len(now)} drives told apart; undamaged {told(now):.2f}")
    for heading in ("mode", *"12345"):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    for mode in FRAME_MODES:
        damaged = ([apply(image, mode, s, seed=n) for n, image in enumerate(now)] for s in range(1, 6))
        table.add_row(mode, *(f"{told(images):.2f}" for images in damaged))
    return table


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drives", type=Path)
    options = parser.parse_args()
    Console().print(costs() if options.drives is None else kept(options.drives))


if __name__ == "__main__":
    main()
